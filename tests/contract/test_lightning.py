"""Lightning under both of its names, run for real."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fidelity import run_both
from frameworks import QUICK, python_with

TRAINING = """
    import hashlib, logging, os, warnings
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    import PACKAGE as L

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    class Regression(L.LightningModule):
        def __init__(self, hidden=16, lr=0.01):
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Sequential(torch.nn.Linear(8, hidden), torch.nn.Linear(hidden, 1))

        def loss(self, batch, name):
            x, y = batch
            loss = ((self.net(x) - y) ** 2).mean()
            self.log(name, loss)
            return loss

        def training_step(self, batch, index):
            return self.loss(batch, "train_loss")

        def validation_step(self, batch, index):
            self.loss(batch, "val_loss")

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)

    class Data(L.LightningDataModule):
        def __init__(self, batch_size=16):
            super().__init__()
            self.save_hyperparameters()

        def setup(self, stage):
            self.data = TensorDataset(torch.randn(128, 8), torch.randn(128, 1))

        def train_dataloader(self):
            return DataLoader(self.data, batch_size=self.hparams.batch_size, shuffle=True)

        def val_dataloader(self):
            return DataLoader(self.data, batch_size=64)

    L.seed_everything(1, verbose=False)
    model = Regression()
    trainer = L.Trainer(
        max_epochs=2,
        logger=LOGGER,
        log_every_n_steps=2,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir="out",
    )
    trainer.fit(model, datamodule=Data())
    content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    print(hashlib.sha256(content).hexdigest(), trainer.callback_metrics)
"""


@pytest.mark.parametrize(
    ("package", "logger"), [("lightning", "False"), ("pytorch_lightning", "True")]
)
def test_a_fit_is_recorded_and_comes_out_the_same(
    tmp_path: Path, package: str, logger: str
) -> None:
    script = TRAINING.replace("PACKAGE", package).replace("LOGGER", logger)

    done = run_both(
        tmp_path,
        {"train.py": script},
        "train.py",
        recorded=["--save-models", "train.py"],
        python=python_with("torch", package),
        env=QUICK,
    )

    assert done.plain.status == 0, done.plain.stderr
    assert done.recorded[:2] == done.plain[:2], done.recorded.stderr
    record = json.loads((done.world.run_directory / ".reenact/run.json").read_bytes())
    assert "capture" not in [warning["code"] for warning in record.get("warnings", ())], record
    params = record["params"]
    assert params["Trainer.max_epochs"] == 2
    assert params["Trainer.precision"] == "32-true"
    assert params["Trainer.accelerator"] == "CPUAccelerator"
    assert params["Trainer.datamodule"] == "Data"
    assert (params["Regression.hidden"], params["Regression.lr"]) == (16, 0.01)
    assert params["Regression.parameters"] == 8 * 16 + 16 + 16 + 1
    assert params["Data.batch_size"] == 16
    assert params["Adam.lr"] == 0.01
    assert params["Adam.models"] == ["Regression"]
    (model,) = record["models"]
    assert (model["framework"], model["path"]) == ("lightning", "models/Regression.pt")
    metrics = record["metrics"]
    assert metrics["train_loss"]["last_step"] == 15
    assert metrics["val_loss"]["last_step"] == 15
    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    checkpoints = [path for path in roles if path.endswith(".ckpt")]
    assert [roles[path] for path in checkpoints] == ["model"]
    names = {capture["framework"]: capture for capture in record["captures"]}
    assert names[package]["version"]


def test_metrics_are_recorded_at_the_steps_and_as_often_as_they_are_logged(
    tmp_path: Path,
) -> None:
    script = TRAINING.replace("PACKAGE", "lightning").replace("LOGGER", "False")

    done = run_both(
        tmp_path,
        {"train.py": script},
        "train.py",
        python=python_with("torch", "lightning"),
        env=QUICK,
    )

    record = json.loads((done.world.run_directory / ".reenact/run.json").read_bytes())
    # 16 steps of which every second is logged; validation after each of two epochs.
    assert record["metrics"]["train_loss"]["count"] == 8
    assert record["metrics"]["val_loss"]["count"] == 2
    printed = done.recorded.stdout.decode().partition("'val_loss': tensor(")[2].partition(")")[0]
    assert record["metrics"]["val_loss"]["last"] == pytest.approx(float(printed), abs=1e-4)
