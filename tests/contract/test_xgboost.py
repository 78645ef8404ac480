"""XGBoost, run for real: what `train`, `cv` and its estimators leave in the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fidelity import Both, Files, run_both
from frameworks import QUICK, python_with

Record = dict[str, Any]

SCRIPT = """
    import numpy as np
    import xgboost as xgb

    rng = np.random.default_rng(0)
    X, X_val = rng.random((300, 5)), rng.random((100, 5))
    y, y_val = X.sum(1) + rng.normal(size=300) * 0.1, X_val.sum(1)
    dtrain, dval = xgb.DMatrix(X, label=y), xgb.DMatrix(X_val, label=y_val)
    params = {"max_depth": 3, "eta": 0.3, "eval_metric": ["rmse", "mae"]}
    booster = xgb.train(
        params, dtrain, num_boost_round=50, evals=[(dtrain, "train"), (dval, "eval")],
        early_stopping_rounds=3, verbose_eval=10,
    )
    print(booster.best_iteration, booster.best_score, params, booster.num_boosted_rounds())
    more = xgb.train(params, dtrain, 5, evals=[(dval, "eval")], xgb_model=booster, verbose_eval=0)
    print(more.predict(dval)[:5])
    print(xgb.cv({"max_depth": 2}, dtrain, num_boost_round=4, nfold=3, seed=1))
    booster.save_model("net.json")
    model = xgb.XGBRegressor(n_estimators=5, max_depth=2)
    model.fit(X, y, eval_set=[(X_val, y_val)], verbose=True)
    model.save_model("sklearn.ubj")
    print(model, model.evals_result(), model.predict(X_val)[:5])
"""


def run(directory: Path, files: Files, *words: str, **env: str) -> Both:
    """Run `train.py` under plain Python and under `reenact run`; they must print the same."""
    both = run_both(
        directory,
        files,
        "train.py",
        recorded=[*words, "train.py"],
        python=python_with("xgboost", "sklearn", "pandas"),
        env={**QUICK, **env},
    )
    assert both.recorded.stdout == both.plain.stdout, both.recorded.stderr
    assert both.recorded.status == both.plain.status == 0, both.plain.stderr
    return both


def record_of(both: Both) -> Record:
    path = both.world.run_directory / ".reenact" / "run.json"
    record: Record = json.loads(path.read_bytes())
    return record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    both = run(tmp_path_factory.mktemp("xgboost"), {"train.py": SCRIPT}, "--save-models")
    assert both.recorded.stderr == both.plain.stderr
    return record_of(both)


def test_params_are_recorded_as_given_and_as_filled_in(record: Record) -> None:
    params = record["params"]

    assert params["Booster.max_depth"] == 3
    assert params["Booster.eval_metric"] == ["rmse", "mae"]
    assert params["Booster.num_boost_round"] == 50
    assert params["Booster.early_stopping_rounds"] == 3
    assert params["Booster.subsample"] == 1
    assert "Booster.learning_rate" not in params
    assert params["cv.nfold"] == 3
    assert params["XGBRegressor.max_depth"] == 2


def test_each_iteration_has_its_metrics(record: Record) -> None:
    metrics = record["metrics"]

    best = int(metrics["best_iteration"]["last"])
    assert metrics["train-mae"]["last_step"] == metrics["eval-mae"]["last_step"] == best + 3
    assert metrics["best_score"]["last_step"] == best
    assert metrics["Booster-2/eval-rmse"]["last_step"] == best + 3 + 5
    assert metrics["test-rmse-mean"]["last_step"] == 3
    assert metrics["train-rmse-std"]["count"] == 4
    assert metrics["validation_0-rmse"]["last_step"] == 4


def test_models_data_and_files_are_known(record: Record) -> None:
    data = {(entry["model"], entry["role"], entry["name"]): entry for entry in record["datasets"]}
    assert data["Booster", "train", "X"]["shape"] == [300, 5]
    assert data["Booster", "validation", "X_val"]["digest"]
    models = {model["name"]: model for model in record["models"]}
    assert models["Booster"]["path"] == "net.json"
    assert models["Booster-2"]["path"] == "models/Booster-2.ubj"
    assert "XGBRegressor" in models
    assert "Booster-3" not in models
    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    assert roles["net.json"] == roles["sklearn.ubj"] == roles["models/Booster-2.ubj"] == "model"


def test_a_search_is_not_recorded_fit_by_fit(tmp_path: Path) -> None:
    script = """
    import numpy as np, xgboost as xgb
    from sklearn.model_selection import GridSearchCV

    X = np.random.default_rng(0).random((60, 3))
    model = xgb.XGBRegressor(n_estimators=3)
    search = GridSearchCV(model, {"max_depth": [1, 2]}, cv=2)
    search.fit(X, X.sum(1), eval_set=[(X, X.sum(1))], verbose=False)
    print(search.best_params_)
    """

    metrics = record_of(run(tmp_path, {"train.py": script}))["metrics"]

    assert not [name for name in metrics if "validation_0" in name]


def test_what_xgboost_warns_of_comes_from_where_it_came_from(tmp_path: Path) -> None:
    script = """
    import numpy as np, xgboost as xgb

    X = np.random.default_rng(0).random((60, 3))
    data = xgb.DMatrix(X, X.sum(1))
    booster = xgb.train({"max_depth": 2}, data, 3, evals=[(data, "train")], verbose_eval=False)
    refreshed = {"process_type": "update", "updater": "refresh", "refresh_leaf": True}
    xgb.train(refreshed, data, 3, evals=[(data, "again")], xgb_model=booster, verbose_eval=False)
    """

    both = run(tmp_path, {"train.py": script})

    warnings = [
        [line for line in outcome.stderr.decode().splitlines() if "UserWarning" in line]
        for outcome in (both.plain, both.recorded)
    ]
    places = [[line.partition(": ")[0] for line in lines] for lines in warnings]
    assert places[0] == places[1] != []
    assert record_of(both)["metrics"]["again-rmse"]["last_step"] == 2


def test_another_version_is_said_not_to_be_captured_and_the_script_goes_on(tmp_path: Path) -> None:
    files = {
        "train.py": "import xgboost\nprint(xgboost.train({}, None))\n",
        "old/xgboost/__init__.py": "from xgboost.training import train\n__version__ = '0.1'\n",
        "old/xgboost/core.py": "class Booster:\n    pass\n",
        "old/xgboost/callback.py": "class TrainingCallback:\n    pass\n",
        "old/xgboost/training.py": """
            import xgboost.callback, xgboost.core

            def train(params, dtrain):
                return "trained"
        """,
    }

    both = run(tmp_path, files, PYTHONPATH="{project}/old")

    assert both.recorded.stdout == b"trained\n"
    record = record_of(both)
    (capture,) = [c for c in record["captures"] if c["framework"] == "xgboost"]
    assert capture["version"] == "0.1"
    assert capture["is_captured"] is False
    assert "CallbackContainer" in capture["detail"]
