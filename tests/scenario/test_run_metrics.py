"""Metrics of real runs: from output, from any program's file, from event files."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reenact

EVENTS = """
import os, struct

def crc32c(data):
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

def record(data):
    head = struct.pack("<Q", len(data))
    return head + struct.pack("<I", crc32c(head)) + data + struct.pack("<I", crc32c(data))

def field(number, kind, data):
    return bytes([number << 3 | kind]) + data

def text(number, data):
    return field(number, 2, bytes([len(data)]) + data)

def scalar(tag, step, value, time):
    value = text(1, tag.encode()) + field(2, 5, struct.pack("<f", value))
    event = field(1, 1, struct.pack("<d", time)) + field(2, 0, bytes([step]))
    return record(event + text(5, text(1, value)))

os.makedirs("logs")
with open("logs/events.out.tfevents.1.host", "wb") as file:
    for step in range(3):
        file.write(scalar("train/loss", step, 0.5 / (step + 1), 1700000000.0 + step))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.setenv("REENACT_HOME", str(tmp_path / "store"))
    monkeypatch.chdir(root)
    return root


def ok(*words: str, **options: Any) -> str:
    command = [sys.executable, "-m", "reenact", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def metrics() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ok("show", "--json"))["metrics"]
    return found


def test_event_files_below_the_run_directory_are_read(project: Path) -> None:
    (project / "board.py").write_text(EVENTS)

    ok("run", "board.py")

    loss = metrics()["train/loss"]
    assert (loss["count"], loss["last_step"], loss["first"]) == (3, 2, 0.5)


def test_any_program_may_append_to_the_metrics_file(project: Path) -> None:
    script = 'echo "loss 0.5 7" >> "$REENACT_METRICS"; echo \'{"acc": NaN, "step": 9}\' >> "$REENACT_METRICS"'

    ok("run", "--", "sh", "-c", script)

    found = metrics()
    assert (found["loss"]["last"], found["loss"]["last_step"]) == (0.5, 7)
    assert (found["acc"]["last"], found["acc"]["nan_count"]) == ("NaN", 1)


def test_numbers_in_the_output_keep_their_last_digit_and_their_order(project: Path) -> None:
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 16777217.0, math.inf, -math.inf, math.nan]
    (project / "print.py").write_text(
        f"from math import inf, nan\nfor value in {values!r}:\n    print(f'value: {{value!r}}')\n"
    )

    ok("run", "print.py")

    found = metrics()["value"]
    assert (found["count"], found["nan_count"], found["last"]) == (8, 1, "NaN")
    assert (found["minimum"], found["maximum"]) == ("-Infinity", "Infinity")
    seen = list(reenact.get("@latest").metrics["value"].series.values)
    assert [value.hex() for value in seen[:-1]] == [value.hex() for value in values[:-1]]


def test_what_the_output_says_of_flags_times_and_versions_is_no_metric(project: Path) -> None:
    (project / "train.py").write_text(
        "import argparse\nparser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float, default=0.1)\n"
        "print('lr:', parser.parse_args().lr)\n"
        "print('2026-11-20 12:30:45,123 INFO torch==2.1.0 on cuda:0, /tmp/a.b/3, 10.0.0.1:8080')\n"
        "print('epoch 3 loss: 0.5 acc: 91.2%')\n"
    )

    ok("run", "train.py")

    assert {name: found["last"] for name, found in metrics().items()} == {"loss": 0.5, "acc": 91.2}
    assert metrics()["loss"]["last_step"] == 3


def test_only_one_stream_is_printed_when_asked_for(project: Path) -> None:
    (project / "both.py").write_text("import sys\nprint('out')\nprint('err', file=sys.stderr)\n")
    ok("run", "both.py")

    assert ok("log", "--stdout") == "out\n"
    assert ok("log", "--stderr") == "err\n"


def test_flags_are_edited_before_the_run(project: Path) -> None:
    (project / "train.py").write_text("lr = 0.1\nname = 'a b'\nprint(lr, name)\n")
    editor = project.parent / "editor.py"
    editor.write_text(
        "import sys\npath = sys.argv[1]\ntext = open(path).read()\n"
        "open(path, 'w').write(text.replace('lr: 0.1', 'lr: 0.25'))\n"
    )

    out = ok(
        "run", "train.py", "--edit", env={**os.environ, "EDITOR": f"{sys.executable} {editor}"}
    )

    assert out == "0.25 a b\n"
    assert json.loads(ok("show", "--json"))["run"]["given"] == ["lr"]


def test_gpus_are_shown_to_the_run_by_their_variable(project: Path) -> None:
    (project / "gpu.py").write_text("import os\nprint(repr(os.environ['CUDA_VISIBLE_DEVICES']))\n")

    assert ok("run", "gpu.py", "--gpus", "0,1") == "'0,1'\n"
    assert ok("run", "gpu.py", "--gpus", "none") == "''\n"
