"""What real libraries print: curves are one series with what they report, settings are no metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fidelity import Both, run_both
from frameworks import python_with
from reenact.model.metrics import kind_of
from reenact.store.metric_log import MetricLog


def printed_by(both: Both) -> set[str]:
    """Return the metrics that were found in the output and nowhere else."""
    names = filter(None, MetricLog(f"{both.world.run_directory}/.reenact").names)
    sources: dict[str, set[str]] = {}
    for known in names:
        sources.setdefault(known.name, set()).add(kind_of(known.source))
    return {name for name, kinds in sources.items() if kinds == {"output"}}


def _record(both: Both) -> dict[str, Any]:
    path = both.world.run_directory / ".reenact" / "run.json"
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record


def _run(directory: Path, script: str, *modules: str, **env: str) -> Both:
    both = run_both(
        directory,
        {"train.py": script},
        "train.py",
        python=python_with(*modules),
        env={"OMP_NUM_THREADS": "1", **env},
    )
    assert both.recorded.status == both.plain.status == 0, both.plain.stderr
    return both


def test_warnings_and_chosen_params_of_sklearn_are_no_metrics(tmp_path: Path) -> None:
    script = """
        from sklearn.datasets import load_iris
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GridSearchCV
        from sklearn.svm import SVC

        X, y = load_iris(return_X_y=True)
        LogisticRegression(max_iter=1).fit(X, y)
        SVC(max_iter=1).fit(X, y)
        search = GridSearchCV(SVC(), {"C": [0.1, 1.0], "gamma": [0.5]}).fit(X, y)
        print(search.best_params_)
        print("best params:", search.best_params_)
        print(search.best_estimator_.get_params())
        print(GridSearchCV(SVC(C=2.5), {"C": [0.125, 0.25, 0.375, 0.5, 0.625, 0.75]}, n_jobs=1))
        print({"accuracy": search.best_score_, "C": 1.0})
        print("mine: 7")
    """

    both = _run(tmp_path, script, "sklearn")

    assert b"max_iter=1" in both.recorded.stderr
    assert printed_by(both) == {"accuracy", "C", "mine"}
    explained = both.world.reenact("doctor", both.world.run_directory.name, "--lines")
    assert "it is printed with other params" in explained


def test_a_printed_optimizer_and_module_of_torch_are_no_metrics(tmp_path: Path) -> None:
    script = """
        import torch

        model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.25)
        print(model)
        print(optimizer)
        print("optimizer:", optimizer)
        for step in range(2):
            print(f"step {step} loss: {0.5 / (step + 1)} lr: 0.25")
    """

    assert printed_by(_run(tmp_path, script, "torch")) == {"loss", "lr"}


def test_a_summary_of_keras_gives_no_metrics_and_its_bars_one_series(tmp_path: Path) -> None:
    script = """
        import keras
        import numpy as np

        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["mae"])
        model.summary()
        x, y = np.ones((8, 4)), np.ones(8)
        model.fit(x, y, epochs=2, verbose=2, validation_data=(x, y))
        model.fit(x, y, epochs=1, verbose=1)
    """

    both = _run(tmp_path, script, "keras", KERAS_BACKEND="torch")

    assert b"Total params: " in both.recorded.stdout
    assert printed_by(both) == set()
    metrics = _record(both)["metrics"]
    assert {name: metrics[name]["count"] for name in ("loss", "val_mae")} == {
        "loss": 3,
        "val_mae": 2,
    }


def test_curves_that_boosters_print_are_those_that_they_report(tmp_path: Path) -> None:
    script = """
        import lightgbm as lgb
        import numpy as np
        import xgboost as xgb

        X = np.random.default_rng(0).random((200, 3))
        y = X.sum(1)
        params = {"objective": "l2", "metric": ["l2", "l1"], "verbose": -1}
        data = lgb.Dataset(X, y)
        lgb.train(
            params, data, 3, valid_sets=[data, data.create_valid(X, y)],
            valid_names=["training", "my set"], callbacks=[lgb.log_evaluation(1)],
        )
        lgb.cv(params, lgb.Dataset(X, y), 2, nfold=2, stratified=False,
               callbacks=[lgb.log_evaluation(1)])
        matrix = xgb.DMatrix(X, y)
        xgb.train({"seed": 1}, matrix, 3, evals=[(matrix, "train")])
        xgb.XGBRegressor(n_estimators=2).fit(X, y, eval_set=[(X, y)])
    """

    both = _run(tmp_path, script, "lightgbm", "xgboost", "sklearn")

    assert b"my set's l1: " in both.recorded.stdout
    assert b"validation_0-rmse:" in both.recorded.stdout
    assert printed_by(both) == set()
    metrics = _record(both)["metrics"]
    for name in ("my-set-l1", "valid-l2-mean", "train-rmse", "validation_0-rmse"):
        assert name in metrics
