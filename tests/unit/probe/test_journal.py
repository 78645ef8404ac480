"""The probe's journal where it is tight: many threads, and windows that are full at once."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fidelity import interpreters
from reenact.execute.journals import JournalTail

SHIM = Path(__file__).parents[3] / "src" / "reenact" / "probe" / "shim"

_RACE = """
import mmap, sys, threading
from _reenact import api, journal

journal._FIRST_WINDOW = journal._LARGEST_WINDOW = mmap.PAGESIZE
sys.setswitchinterval(1e-6)

def work(number):
    for step in range(4000):
        api.log({"own%d" % number: step / 3, "shared": 1.0}, step=step)

threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
def test_a_window_that_other_threads_have_filled_meanwhile_costs_no_point(
    tmp_path: Path, python: str
) -> None:
    env = {**os.environ, "PYTHONPATH": str(SHIM), "REENACT_RECORD_DIR": str(tmp_path)}

    done = subprocess.run([python, "-c", _RACE], env=env, capture_output=True, check=True)

    assert done.stderr == b""
    tail = JournalTail(str(tmp_path))
    points = [point for reported in tail.finish() for point in reported.points]
    counts = Counter(point.name for point in points)
    assert counts == {"shared": 64_000, **{f"own{number}": 4000 for number in range(16)}}
    assert all(p.value == p.step / 3 for p in points if p.name != "shared")
    assert tail.lost == 0
