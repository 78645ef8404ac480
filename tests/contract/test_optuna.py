"""Studies of Optuna that a script runs by itself, for real."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from fidelity import Both, run_both
from frameworks import QUICK, python_with


def run(tmp_path: Path, script: str) -> tuple[Both, dict[str, Any]]:
    done = run_both(
        tmp_path,
        {"search.py": script},
        "search.py",
        python=python_with("optuna"),
        env=QUICK,
    )
    assert done.recorded.status == done.plain.status, done.recorded.stderr
    assert done.recorded.stdout == done.plain.stdout
    record = json.loads((done.world.run_directory / ".reenact/run.json").read_bytes())
    assert "capture" not in [warning["code"] for warning in record.get("warnings", ())], record
    return done, record


def test_every_trial_is_recorded_whatever_its_end(tmp_path: Path) -> None:
    done, record = run(
        tmp_path,
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.CRITICAL)

        def objective(trial):
            x = trial.suggest_float("x", -1, 1)
            kind = trial.suggest_categorical("kind", ["a", "b"])
            trial.report(100.0, 0)
            if trial.number == 3:
                raise optuna.TrialPruned()
            if trial.number == 4:
                raise ValueError("bad luck")
            if trial.number > 5:
                trial.suggest_int("n", 1, 3)
            return x**2 + (kind == "a")

        study = optuna.create_study(
            study_name="search", sampler=optuna.samplers.TPESampler(seed=0)
        )
        study.optimize(objective, n_trials=10, catch=(ValueError,))
        print(study.best_value, study.best_params, [t.params for t in study.trials])
        study.optimize(lambda trial: 1 / 0, n_trials=1)
        """,
    )

    assert done.recorded.status == 1
    metrics = record["metrics"]
    assert metrics["optuna.value"]["count"] == 8
    assert metrics["optuna.value"]["last_step"] == 9
    assert metrics["optuna.value"]["maximum"] < 100.0
    assert metrics["optuna.params.x"]["count"] == 10
    assert metrics["optuna.params.n"]["count"] == 4
    best = float(done.recorded.stdout.split()[0])
    assert metrics["optuna.best_value"]["last"] == best == metrics["optuna.value"]["minimum"]
    params = record["params"]
    assert params["Study.name"] == "search"
    assert params["Study.direction"] == "minimize"
    assert params["Study.sampler"] == "TPESampler"
    assert params["Study.trials_complete"] == 8
    assert params["Study.trials_pruned"] == 1
    assert params["Study.trials_fail"] == 2
    assert params["Study.best_value"] == best
    assert params["Study.best_params"]["kind"] == "b"
    table = (done.world.run_directory / "tables/optuna-trials.csv").read_text()
    rows = list(csv.DictReader(table.splitlines()))
    assert [row["number"] for row in rows] == [str(number) for number in range(11)]
    assert [rows[number]["state"] for number in (3, 4, 5)] == ["PRUNED", "FAIL", "COMPLETE"]
    assert rows[0]["params.kind"] in ("a", "b")
    assert (rows[0]["params.n"], rows[9]["params.n"] in ("1", "2", "3")) == ("", True)
    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    assert roles["tables/optuna-trials.csv"] == "table"


def test_asking_and_telling_two_objectives_and_threads_are_recorded(tmp_path: Path) -> None:
    _, record = run(
        tmp_path,
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        two = optuna.create_study(
            directions=["minimize", "maximize"], sampler=optuna.samplers.RandomSampler(seed=1)
        )
        for _ in range(3):
            trial = two.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
            two.tell(trial, [trial.params["x"], 1 - trial.params["x"]])
        two.tell(two.ask().number, state=optuna.trial.TrialState.FAIL)
        two.tell(0, [1.0, 1.0], skip_if_finished=True)
        print(len(two.best_trials))
        many = optuna.create_study(direction="maximize")
        many.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=40, n_jobs=4)
        print(len(many.trials))
        """,
    )

    metrics, params = record["metrics"], record["params"]
    assert metrics["optuna.value_0"]["count"] == metrics["optuna.value_1"]["count"] == 3
    assert params["Study.direction"] == ["minimize", "maximize"]
    assert params["Study.trials_complete"] == 3
    assert params["Study.trials_fail"] == 1
    assert metrics["optuna-2.value"]["count"] == 40
    assert metrics["optuna-2.best_value"]["last"] == metrics["optuna-2.value"]["maximum"]
    assert params["Study-2.n_jobs"] == 4
    assert params["Study-2.trials_complete"] == 40
    assert params["Study-2.best_params"]["x"] == pytest.approx(params["Study-2.best_value"])
