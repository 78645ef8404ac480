"""Scripts that are instrumented for other trackers, run for real, without network and keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fidelity import Both, run_both
from frameworks import QUICK, python_with

Record = dict[str, Any]


def run(directory: Path, module: str, script: str, **env: str) -> Both:
    """Run a script under plain Python and under `reenact run`."""
    quiet = {"DO_NOT_TRACK": "1", "WANDB_SILENT": "true", "GIT_PYTHON_REFRESH": "quiet"}
    return run_both(
        directory,
        {"train.py": script},
        "train.py",
        python=python_with(module),
        env={**QUICK, **quiet, **env},
    )


def alike(both: Both) -> Record:
    """Return the record of a run that printed and ended as it does under plain Python."""
    assert both.recorded.stdout == both.plain.stdout, both.recorded.stderr
    assert both.recorded.status == both.plain.status == 0, both.plain.stderr
    return record_of(both)


def record_of(both: Both) -> Record:
    path = both.world.run_directory / ".reenact" / "run.json"
    record: Record = json.loads(path.read_bytes())
    assert "capture" not in codes(record), record["warnings"]
    return record


def codes(record: Record) -> list[str]:
    return [warning["code"] for warning in record.get("warnings", ())]


def outputs(record: Record) -> dict[str, str | None]:
    return {output["path"]: output.get("role") for output in record["outputs"]}


def points(record: Record, name: str) -> tuple[int, int, float]:
    """Return how many points a metric has, the last step and the last value."""
    summary = record["metrics"][name]
    return summary["count"], summary["last_step"], summary["last"]


WANDB = """
    import numpy as np
    import wandb

    run = wandb.init(project="digits", config={"lr": 0.1, "net": {"width": 3}}, tags=["a", "b"])
    run.name = "first"
    wandb.config.epochs = 3
    wandb.config.update({"batch": 8})
    for i in range(3):
        wandb.log({"loss": 1 / (i + 1), "val": {"acc": i / 10}})
    run.log({"late": 1.5}, step=10)
    wandb.log({"picture": wandb.Image(np.zeros((4, 4, 3), dtype="uint8"))}, step=11)
    wandb.log({"rows": wandb.Table(columns=["a", "b"], data=[[1, 2], [3, 4]])}, step=12)
    run.summary["best"] = 0.9
    with open("net.bin", "w") as file:
        file.write("weights")
    artifact = wandb.Artifact("net", type="model")
    artifact.add_file("net.bin")
    run.log_artifact(artifact)
    wandb.finish()
    with wandb.init(project="digits", config={"lr": 0.2}) as second:
        second.log({"loss": 5.0})
    print("done")
"""


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_wandb(tmp_path: Path, mode: str) -> None:
    record = alike(run(tmp_path, "wandb", WANDB, WANDB_MODE=mode))

    params = record["params"]
    assert (params["lr"], params["net"], params["epochs"], params["batch"]) == (
        0.1,
        {"width": 3},
        3,
        8,
    )
    assert params["wandb.project"] == "digits"
    assert params["wandb.name"] == "first"
    assert params["wandb.tags"] == ["a", "b"]
    assert params["run-2.lr"] == 0.2
    assert points(record, "loss") == (3, 2, 1 / 3)
    assert points(record, "val.acc") == (3, 2, 0.2)
    assert points(record, "late") == (1, 10, 1.5)
    assert points(record, "best")[2] == 0.9
    assert points(record, "run-2/loss")[2] == 5.0
    files = outputs(record)
    assert files["net.bin"] == "model"
    assert list(files.values()).count("image") == 1
    assert list(files.values()).count("table") == 1
    assert "tracker-offline" not in codes(record)


def test_wandb_without_a_key_stays_offline_and_the_record_says_so(tmp_path: Path) -> None:
    script = """
    import os, wandb

    run = wandb.init(project="p")
    run.log({"loss": 1.0})
    run.finish()
    print(run.offline, os.environ["WANDB_MODE"])
    """

    both = run(tmp_path, "wandb", script)

    assert both.plain.status == 1
    assert both.recorded.stdout == b"True offline\n"
    record = record_of(both)
    assert codes(record) == ["tracker-offline"]
    assert "WANDB_MODE=offline" in record["warnings"][0]["message"]
    assert points(record, "loss") == (1, 0, 1.0)


def test_wandb_with_a_key_or_a_mode_of_its_own_is_left_alone(tmp_path: Path) -> None:
    script = """
    import os, wandb

    run = wandb.init(project="p", mode="disabled")
    print(os.environ.get("WANDB_MODE"), run.disabled)
    run.finish()
    os.environ["WANDB_API_KEY"] = "k" * 40
    try:
        wandb.init(project="p", settings=wandb.Settings(init_timeout=1))
    except Exception as error:
        print(type(error).__name__)
    print(os.environ.get("WANDB_MODE"))
    """

    record = alike(run(tmp_path, "wandb", script, WANDB_BASE_URL="http://127.0.0.1:9"))

    assert codes(record) == []


def test_mlflow(tmp_path: Path) -> None:
    script = """
    import mlflow

    mlflow.set_tracking_uri("sqlite:///own.db")
    mlflow.set_experiment("digits")
    with mlflow.start_run(run_name="first", tags={"team": "a"}):
        mlflow.log_param("lr", 0.1)
        mlflow.log_params({"layers": 3, "name": "net", "bias": True})
        for i in range(3):
            mlflow.log_metric("loss", 1 / (i + 1), step=i)
        mlflow.log_metrics({"acc": 0.5, "f1": 0.25}, step=2)
        mlflow.set_tag("stage", "trial")
        mlflow.log_text("hello", "notes/hello.txt")
        with open("rows.csv", "w") as file:
            file.write("a")
        mlflow.log_artifact("rows.csv")
        with mlflow.start_run(nested=True):
            mlflow.log_metric("loss", 9.0)
    print(mlflow.get_tracking_uri())
    """

    record = alike(run(tmp_path, "mlflow", script))

    params = record["params"]
    assert (params["lr"], params["layers"], params["name"], params["bias"]) == (0.1, 3, "net", True)
    assert params["mlflow.run_name"] == "first"
    assert params["mlflow.tags.team"] == "a"
    assert params["mlflow.tags.stage"] == "trial"
    assert "mlflow-2.run_name" not in params
    assert points(record, "loss") == (3, 2, 1 / 3)
    assert points(record, "f1") == (1, 2, 0.25)
    assert points(record, "run-2/loss") == (1, 0, 9.0)
    files = outputs(record)
    assert files["rows.csv"] == "table"
    assert [role for path, role in files.items() if path.endswith("notes/hello.txt")] == ["text"]


def test_mlflows_own_autologging(tmp_path: Path) -> None:
    script = """
    import mlflow
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import Ridge

    mlflow.autolog(silent=True, log_models=False)
    data, target = load_diabetes(return_X_y=True)
    model = Ridge(alpha=0.5)
    model.fit(data, target)
    r2 = model.score(data, target)
    print(r2)
    """

    record = alike(run(tmp_path, "mlflow", script))

    assert record["params"]["Ridge.alpha"] == record["params"]["alpha"] == 0.5
    assert points(record, "training_r2_score")[2] == pytest.approx(0.4875, abs=1e-3)
    # What the script asks for goes through MLflow; what MLflow asks for itself is no metric.
    assert points(record, "r2")[0] == 1
    assert "original_result" not in record["metrics"]
    assert [data["name"] for data in record["datasets"]] == ["data", "target"]


def test_trackio(tmp_path: Path) -> None:
    script = """
    import numpy as np, trackio

    trackio.init(project="digits", name="first", config={"lr": 0.1})
    for i in range(3):
        trackio.log({"loss": 1 / (i + 1), "val": {"acc": i / 10}})
    trackio.log({"picture": trackio.Image(np.zeros((4, 4, 3), dtype="uint8"))})
    trackio.log({"rows": trackio.Table(columns=["a"], data=[[1], [2]])}, step=7)
    trackio.finish()
    """

    record = alike(run(tmp_path, "trackio", script))

    assert record["params"]["lr"] == 0.1
    assert record["params"]["trackio.name"] == "first"
    assert points(record, "loss") == (3, 2, 1 / 3)
    assert points(record, "val.acc") == (3, 2, 0.2)
    files = outputs(record)
    assert files["outputs/trackio/picture-000003.png"] == "image"
    assert "table" in files.values()


def test_aim(tmp_path: Path) -> None:
    script = """
    import aim, numpy as np

    run = aim.Run(experiment="digits", system_tracking_interval=None)
    run["hparams"] = {"lr": 0.1, "net": {"width": 3}}
    run["seed"] = 3
    run.name = "first"
    run.add_tag("a")
    for i in range(3):
        run.track(1 / (i + 1), name="loss", step=i, context={"subset": "train"})
    run.track({"acc": 0.5, "f1": 0.25}, step=3)
    run.track(aim.Image(np.zeros((4, 4, 3), dtype="uint8")), name="picture", step=0)
    run.track(aim.Text("hello"), name="words", step=0)
    run.close()
    print("done")
    """

    record = alike(run(tmp_path, "aim", script))

    params = record["params"]
    assert (params["hparams.lr"], params["hparams.net.width"], params["seed"]) == (0.1, 3, 3)
    assert params["aim.experiment"] == "digits"
    assert params["aim.name"] == "first"
    assert params["aim.tags"] == ["a"]
    assert points(record, "train/loss") == (3, 2, 1 / 3)
    assert points(record, "f1") == (1, 3, 0.25)
    files = outputs(record)
    assert files["outputs/aim/picture-000000.png"] == "image"
    assert files["outputs/aim/words-000000.txt"] == "text"


def test_neptune_without_a_token(tmp_path: Path) -> None:
    script = """
    import neptune

    run = neptune.init_run(project="w/digits", name="first", tags=["a"])
    run["parameters"] = {"lr": 0.1, "net": {"width": 3}}
    run["config/optimizer"] = "adam"
    for i in range(3):
        run["train/loss"].append(1 / (i + 1))
    run["train/acc"].append(0.5, step=10)
    run["test/acc"] = 0.75
    with open("notes.txt", "w") as file:
        file.write("hello")
    run["files/notes"].upload("notes.txt")
    run["sys/tags"].add("b")
    run.stop()
    """

    both = run(tmp_path, "neptune", script)

    assert both.plain.status == 1
    assert both.recorded.status == 0, both.recorded.stderr
    record = record_of(both)
    assert codes(record) == ["tracker-offline"]
    params = record["params"]
    assert (params["parameters.lr"], params["parameters.net.width"]) == (0.1, 3)
    assert params["config.optimizer"] == "adam"
    assert params["neptune.name"] == "first"
    assert params["neptune.tags"] == ["a", "b"]
    assert points(record, "train/loss") == (3, 2, 1 / 3)
    assert points(record, "train/acc") == (1, 10, 0.5)
    assert points(record, "test/acc")[2] == 0.75
    assert outputs(record)["notes.txt"] == "text"


def test_comet_without_a_key(tmp_path: Path) -> None:
    script = """
    import comet_ml

    one = comet_ml.Experiment(project_name="p", display_summary_level=0)
    one.log_metric("loss", 0.5, step=1)
    one.log_metrics({"acc": 0.25}, step=2)
    one.log_parameters({"lr": 0.1})
    one.end()
    two = comet_ml.start(
        project_name="p",
        experiment_config=comet_ml.ExperimentConfig(
            auto_output_logging=False, log_env_details=False, display_summary_level=0
        ),
    )
    two.set_name("second")
    two.add_tag("a")
    two.log_parameters({"lr": 0.2})
    with two.train():
        two.log_metric("loss", 0.75, step=4)
    with open("net.bin", "w") as file:
        file.write("weights")
    two.log_model("net", "net.bin")
    two.end()
    """

    both = run(tmp_path, "comet_ml", script)

    assert both.plain.status == 1
    assert both.recorded.status == 0, both.recorded.stderr
    record = record_of(both)
    assert codes(record) == ["tracker-offline"]
    assert record["params"]["lr"] == 0.1
    assert record["params"]["run-2.lr"] == 0.2
    assert record["params"]["comet-2.name"] == "second"
    assert record["params"]["comet-2.tags"] == ["a"]
    assert points(record, "loss") == (1, 1, 0.5)
    assert points(record, "acc") == (1, 2, 0.25)
    assert points(record, "run-2/train_loss") == (1, 4, 0.75)
    assert outputs(record)["net.bin"] == "model"
