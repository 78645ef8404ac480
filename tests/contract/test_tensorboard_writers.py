"""TensorBoard's writers, run for real: what the supervisor does not read in event files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fidelity import Both, run_both
from frameworks import QUICK, python_with

SCRIPT = """
    import os
    import torch
    import tensorboardX
    from torch.utils.tensorboard import SummaryWriter

    elsewhere = os.environ["ELSEWHERE"]

    class Own(SummaryWriter):
        def add_scalar(self, *words, **options):
            super().add_scalar(*words, **options)

    def write(kind, directory, prefix):
        with kind(directory) as writer:
            for step in range(3):
                writer.add_scalar(prefix + "loss", torch.tensor(0.5), global_step=step)
            writer.add_scalars(prefix + "both", {"a": 1.0, "b": 2.0}, 5)
            writer.add_hparams({"lr": 0.1, prefix: "x"}, {prefix + "accuracy": 0.75})

    write(SummaryWriter, "runs/in", "in-")
    write(Own, elsewhere + "/torch", "torch-")
    write(tensorboardX.SummaryWriter, elsewhere + "/x", "x-")
    write(tensorboardX.SummaryWriter, "runs/x", "inx-")
    print("done")
"""


def run(tmp_path: Path) -> tuple[Both, dict[str, Any]]:
    elsewhere = tmp_path / "elsewhere"
    done = run_both(
        tmp_path,
        {"train.py": SCRIPT},
        "train.py",
        python=python_with("torch", "tensorboard", "tensorboardX"),
        env={**QUICK, "ELSEWHERE": str(elsewhere)},
    )
    assert done.plain.status == done.recorded.status == 0, done.recorded.stderr
    assert done.recorded.stdout == done.plain.stdout
    record = json.loads((done.world.run_directory / ".reenact/run.json").read_bytes())
    assert "capture" not in [warning["code"] for warning in record.get("warnings", ())], record
    return done, record


def test_scalars_count_once_wherever_the_writer_writes(tmp_path: Path) -> None:
    _, record = run(tmp_path)

    metrics = record["metrics"]
    for prefix in ("in", "torch", "x", "inx"):
        assert metrics[f"{prefix}-loss"]["count"] == 3
        assert metrics[f"{prefix}-loss"]["last_step"] == 2
        assert metrics[f"{prefix}-accuracy"]["last"] == 0.75
    assert metrics["torch-both/a"]["last"] == 1.0
    assert metrics["x-both/b"]["last_step"] == 5
    params = record["params"]
    assert params["hparams.lr"] == 0.1
    assert params["hparams.in-"] == "x"
    assert params["hparams-4.inx-"] == "x"
    names = {capture["framework"]: capture.get("version") for capture in record["captures"]}
    assert names["tensorboard"]
    assert names["tensorboardX"]
