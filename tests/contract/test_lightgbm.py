"""LightGBM, run for real: what `train`, `cv` and its estimators leave in the record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fidelity import run_both
from frameworks import QUICK, python_with

Record = dict[str, Any]

SCRIPT = """
    import lightgbm as lgb
    import numpy as np

    rng = np.random.default_rng(0)
    X, X_val = rng.random((300, 5)), rng.random((100, 5))
    y, y_val = X.sum(1) + rng.normal(size=300) * 0.1, X_val.sum(1)
    params = {"num_leaves": 7, "metric": ["l2", "l1"], "verbose": -1, "seed": 1}
    train = lgb.Dataset(X, label=y, free_raw_data=False)
    booster = lgb.train(
        params, train, num_boost_round=80, valid_sets=[train, lgb.Dataset(X_val, label=y_val)],
        valid_names=["train", "eval"],
        callbacks=[lgb.early_stopping(3, verbose=False), lgb.log_evaluation(20)],
    )
    print(booster.best_iteration, dict(booster.best_score), params)
    more = lgb.train(params, train, num_boost_round=5, init_model=booster)
    print(more.num_trees())
    print(lgb.cv(params, lgb.Dataset(X, y), num_boost_round=4, nfold=3, stratified=False))
    booster.save_model("net.txt")
    model = lgb.LGBMRegressor(n_estimators=5, verbose=-1)
    model.fit(X, y, eval_set=[(X_val, y_val)])
    print(model, model.evals_result_, model.predict(X_val)[:5])
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    both = run_both(
        tmp_path_factory.mktemp("lightgbm"),
        {"train.py": SCRIPT},
        "train.py",
        recorded=["--save-models", "train.py"],
        python=python_with("lightgbm", "sklearn", "pandas"),
        env=QUICK,
    )
    assert both.recorded.stdout == both.plain.stdout, both.recorded.stderr
    assert both.recorded.stderr == both.plain.stderr
    assert both.recorded.status == both.plain.status == 0, both.plain.stderr
    path = both.world.run_directory / ".reenact" / "run.json"
    record: Record = json.loads(path.read_bytes())
    return record


def test_params_and_settings_are_recorded(record: Record) -> None:
    params = record["params"]

    assert params["Booster.num_leaves"] == 7
    assert params["Booster.metric"] == ["l2", "l1"]
    assert params["Booster.num_boost_round"] == 80
    assert params["cv.nfold"] == 3
    assert params["LGBMRegressor.n_estimators"] == 5


def test_each_iteration_has_its_metrics(record: Record) -> None:
    metrics = record["metrics"]

    best = int(metrics["best_iteration"]["last"])
    assert metrics["train-l2"]["count"] == metrics["eval-l1"]["count"] >= best
    assert metrics["valid-l2-mean"]["last_step"] == 3
    assert metrics["valid-l2-stdv"]["count"] == 4
    assert metrics["valid_0-l2"]["last_step"] == 4


def test_models_data_and_files_are_known(record: Record) -> None:
    data = {(entry["model"], entry["role"], entry["name"]): entry for entry in record["datasets"]}
    assert data["Booster", "train", "X"]["digest"]
    validation = [key for key in data if key[:2] == ("Booster", "validation")]
    assert [data[key]["shape"] for key in validation] == [[100, 5]]
    models = {model["name"]: model for model in record["models"]}
    assert models["Booster"]["path"] == "net.txt"
    assert models["Booster"]["signature"]["features"][0] == "Column_0"
    assert models["Booster-2"]["path"] == "models/Booster-2.txt"
    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    assert roles["net.txt"] == "model"
