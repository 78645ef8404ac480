"""Keras, run for real: what `fit`, `evaluate` and saved models leave in the record."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from fidelity import Both, run_both
from frameworks import QUICK, python_with

Record = dict[str, Any]

BEGIN = """
    import hashlib
    import keras
    import numpy as np

    keras.utils.set_random_seed(0)
    x_train = np.random.rand(96, 8).astype("float32")
    y_train = (x_train.sum(1) > 4).astype("float32")
    x_test = np.random.rand(32, 8).astype("float32")
    y_test = (x_test.sum(1) > 4).astype("float32")

    def make(rate=0.01):
        model = keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dropout(0.1),
             keras.layers.Dense(1, activation="sigmoid")]
        )
        model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
        return model

    def digest(model):
        content = b"".join(weight.tobytes() for weight in model.get_weights())
        return hashlib.sha256(content).hexdigest()
"""

TRAINING = """
    model = make()
    history = model.fit(
        x_train, y_train, batch_size=32, epochs=3, validation_data=(x_test, y_test), verbose=0
    )
    print(history.history["loss"], model.evaluate(x_test, y_test, verbose=0))
    model.evaluate(x_train, y_train, verbose=0)
    model.save("net.keras")
    print(digest(model), np.random.rand(3), list(model.history.history))
"""


def run(directory: Path, script: str, *words: str, status: int = 0) -> Both:
    """Run a script under plain Python and under `reenact run`; they must print the same."""
    both = run_both(
        directory,
        {"train.py": BEGIN + script},
        "train.py",
        recorded=[*words, "train.py"],
        python=python_with("keras", "torch"),
        env={**QUICK, "KERAS_BACKEND": "torch"},
    )
    assert both.recorded.stdout == both.plain.stdout, both.recorded.stderr
    assert both.recorded.status == both.plain.status == status, both.plain.stderr
    return both


def record_of(both: Both) -> Record:
    path = both.world.run_directory / ".reenact" / "run.json"
    record: Record = json.loads(path.read_bytes())
    assert "capture" not in [warning["code"] for warning in record.get("warnings", ())], record
    return record


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return run(tmp_path_factory.mktemp("training"), TRAINING)


def test_a_seeded_training_comes_out_the_same_to_the_last_bit(training: Both) -> None:
    assert training.recorded.stderr == training.plain.stderr
    assert set(training.recorded.made) == set(training.plain.made)


def test_optimizer_loss_epochs_and_batch_size_are_params(training: Both) -> None:
    params = record_of(training)["params"]

    assert params["Adam.learning_rate"] == 0.01
    assert params["Adam.beta_2"] == 0.999
    assert params["compile.loss"] == "binary_crossentropy"
    assert params["compile.metrics"] == ["accuracy"]
    assert params["fit.epochs"] == 3
    assert params["fit.batch_size"] == 32
    assert params["fit.steps_per_epoch"] == 3
    assert params["Sequential.layers"] == ["Dense", "Dropout", "Dense"]
    assert params["Sequential.parameters"] == 8 * 16 + 16 + 16 + 1
    # The loaders that Keras makes of arrays are its own.
    assert not [name for name in params if name.startswith("DataLoader")]


def test_the_model_comes_with_its_summary_shapes_and_file(training: Both) -> None:
    record = record_of(training)

    model = next(model for model in record["models"] if model["framework"] == "keras")
    assert model["type"] == "keras.src.models.sequential.Sequential"
    assert "dropout (Dropout)" in model["summary"]
    assert "Total params: 161" in " ".join(model["summary"].split()) or "161" in model["summary"]
    assert model["signature"]["inputs"][0]["shape"] == [None, 8]
    assert model["path"] == "net.keras"
    (file,) = [output for output in record["outputs"] if output["path"] == "net.keras"]
    assert file["role"] == "model"


def test_each_epoch_has_its_metrics_of_training_and_validation(training: Both) -> None:
    metrics = record_of(training)["metrics"]

    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        assert (metrics[name]["count"], metrics[name]["last_step"]) == (3, 2), name
    assert metrics["test_loss"]["count"] == metrics["train_loss"]["count"] == 1
    assert metrics["test_loss"]["last"] == pytest.approx(metrics["val_loss"]["last"], rel=1e-5)
    assert metrics["test_loss"]["last_step"] == 2


def test_the_data_is_known_by_its_variables_and_digests(training: Both) -> None:
    record = record_of(training)

    found = {(data["role"], data["name"]): data for data in record["datasets"]}
    assert found["train", "x_train"]["shape"] == [96, 8]
    assert found["train", "x_train"]["dtype"] == "float32"
    assert found["train", "y_train"]["model"] == "Sequential"
    validation, test = found["validation", "x_test"], found["test", "x_test"]
    assert validation["digest"] == test["digest"]
    assert len(validation["digest"]) == hashlib.blake2b(digest_size=16).digest_size * 2


def test_further_fits_go_on_counting_and_other_models_have_names_of_their_own(
    tmp_path: Path,
) -> None:
    script = """
    model = make()
    for _ in range(3):
        model.fit(x_train, y_train, epochs=2, verbose=0)
    model.fit(x_train, y_train, epochs=8, initial_epoch=6, verbose=0)
    other = make(rate=0.5)
    other.fit(x_train, y_train, epochs=1, verbose=0)
    """

    record = record_of(run(tmp_path, script))

    metrics = record["metrics"]
    assert (metrics["loss"]["count"], metrics["loss"]["last_step"]) == (8, 7)
    assert metrics["Sequential-2/loss"]["count"] == 1
    assert record["params"]["Adam-2.learning_rate"] == 0.5
    assert record["params"]["fit-4.initial_epoch"] == 6
    assert "Adam-3.learning_rate" not in record["params"]


def test_callbacks_early_stopping_and_checkpoints_work_as_ever(tmp_path: Path) -> None:
    script = """
    class Mine(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            print(epoch, sorted(logs))

    model = make()
    model.fit(
        x_train, y_train, epochs=20, validation_split=0.25, verbose=0,
        callbacks=[
            Mine(),
            keras.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=10.0),
            keras.callbacks.ModelCheckpoint("best.keras"),
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        ],
    )
    """

    record = record_of(run(tmp_path, script))

    assert record["params"]["fit.callbacks"][:2] == ["Mine", "EarlyStopping"]
    assert record["metrics"]["learning_rate"]["last"] == pytest.approx(0.0025)
    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    assert roles["best.keras"] == "model"


def test_a_model_with_code_of_its_own_is_not_called_to_describe_it(tmp_path: Path) -> None:
    script = """
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, activation="sigmoid")

        def call(self, x, training=False):
            print("called")
            return self.dense(x)

        def summary(self, *args, **kwargs):
            print("summary")

    net = Net()
    net.compile("sgd", "mse")
    generator = ((x_train[i : i + 8], y_train[i : i + 8]) for i in range(0, 96, 8))
    net.fit(generator, steps_per_epoch=4, epochs=2, verbose=0)
    """

    record = record_of(run(tmp_path, script))

    model = next(model for model in record["models"] if model["framework"] == "keras")
    assert "Dense" in model["summary"]
    assert record["params"]["fit.x"] == "builtins.generator"
    assert record["metrics"]["loss"]["count"] == 2


def test_an_error_in_fit_is_the_scripts_own(tmp_path: Path) -> None:
    script = """
    try:
        make().fit(x_train, y_train[:5], verbose=0)
    except ValueError as error:
        print("refused", str(error)[:40])
    make().fit("nonsense")
    """

    both = run(tmp_path, script, status=1)

    assert both.recorded.stderr == both.plain.stderr


def test_the_trained_model_is_kept_on_request(tmp_path: Path) -> None:
    script = """
    model = make()
    model.fit(x_train, y_train, verbose=0)
    """

    both = run(tmp_path, script, "--save-models")

    record = record_of(both)
    model = next(model for model in record["models"] if model["framework"] == "keras")
    assert model["path"] == "models/Sequential.keras"
    assert (both.world.run_directory / "models" / "Sequential.keras").stat().st_size > 1000
