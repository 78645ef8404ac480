"""Files that the real libraries write, by two runs of one program and by programs a little off."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from frameworks import QUICK, python_with
from reenact.judge.outputs.formats import FORMATS
from reenact.judge.outputs.output import judge_output
from reenact.model.verdict import Verdict

MAKER = Path(__file__).parents[1] / "made_outputs.py"
TOLERANCE = (1e-4, 1e-7)


class Case(NamedTuple):
    """A file, and what is expected of it.

    Attributes:
        how: name of the comparison.
        left_out: what of two runs of one program differs and is left out; None where the bytes of
            such runs are equal.
        is_near: whether a program that is a little off leaves a file that is so too. A tree splits
            elsewhere, a picture has other pixels.
    """

    name: str
    how: str
    left_out: str | None = None
    is_near: bool = True


CASES = [
    Case("array.npy", "npy"),
    Case("arrays.npz", "zip"),
    Case("packed.npz", "zip"),
    Case("records.npy", "npy"),
    Case("objects.npy", "npy"),
    Case("table.csv", "csv"),
    Case("table.csv.gz", "gzip", "date in the header"),
    Case("table.csv.bz2", "bzip2"),
    Case("table.csv.xz", "xz"),
    Case("table.parquet", "parquet"),
    Case("table.feather", "arrow"),
    Case("frame.pkl", "pickle"),
    Case("table.h5", "hdf5", ""),
    Case("table.xlsx", "office", "document properties"),
    Case("results.json", "json"),
    Case("log.jsonl", "text"),
    Case("log.txt", "text"),
    Case("backup.tar", "tar", "dates of 2 members, date in the header"),
    Case("backup.tgz", "gzip", "dates of 2 members, date in the header"),
    Case("backup.zip", "zip", "dates of 2 members"),
    Case("figure.png", "png", is_near=False),
    Case("figure.svg", "svg", "date, random names of", is_near=False),
    Case("figure.pdf", "pdf", "date", is_near=False),
    Case("figure.jpg", "image", is_near=False),
    Case("notebook.ipynb", "notebook", "name of 1 cell"),
    Case("page.html", "html", "random name of 1 line"),
    Case("words.pkl", "pickle", ""),
    Case("several.pickle", "pickle"),
    Case("script.pkl", "pickle", ""),
    Case("figure.eps", "text", "date", is_near=False),
    Case("classifier.pkl", "pickle"),
    Case("forest.joblib", "pickle", is_near=False),
    Case("packed.joblib", "zlib"),
    Case("weights.joblib", "pickle"),
    Case("model.pt", "torch"),
    Case("legacy.pt", "torch", ""),
    Case("checkpoint.pt", "torch"),
    Case("scripted.pt", "torch"),
    Case("model.safetensors", "safetensors"),
    Case("model.keras", "keras", "date of the model"),
    Case("model.weights.h5", "hdf5"),
    Case("legacy.h5", "hdf5"),
    Case("booster.json", "json", is_near=False),
    Case("booster.ubj", "ubjson", is_near=False),
    Case("booster.pkl", "pickle", is_near=False),
    Case("booster.txt", "text"),
    Case("results.sqlite", "sqlite"),
    Case("events.out.tfevents.1700000000.host.1.0", "events", "times of 29 events"),
    Case("data.tfrecord", "tfrecord"),
    Case("sound.wav", "wav"),
    Case("model.skops", "skops", "memory locations of 33 objects"),
    Case("data.nc", "hdf5"),
]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of `first`, `second` (the same again), `near` and `other`."""
    python = python_with("torch", "keras", "sklearn", "xgboost", "lightgbm", "h5py", "tables")
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "outputs"
    # Of several workers one makes them for all.
    with open(f"{root}.lock", "w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not (root / "done").exists():
            _make(python, root)
            (root / "done").touch()
    return root


def _make(python: str, root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    environment = {**os.environ, **QUICK}
    for targets in (("first=same", "near=near", "other=other"), ("second=same",)):
        # A zip file knows dates to two seconds.
        time.sleep(2)
        subprocess.run(
            [python, "-W", "ignore", str(MAKER), *(f"{root}/{target}" for target in targets)],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
class TestOutput:
    """What holds for the files of every format."""

    def test_the_same_program_leaves_the_same_result(self, made: Path, case: Case) -> None:
        found = judge_output(case.name, made / "first" / case.name, made / "second" / case.name)

        if case.left_out is None:
            assert (found.verdict, found.how) == (Verdict.IDENTICAL, "bytes")
            return
        assert (found.verdict, found.how) == (Verdict.WITHIN_TOLERANCE, case.how)
        assert found.detail is not None
        assert found.detail.startswith("same content")
        assert case.left_out in found.detail
        assert found.largest_absolute is None

    def test_numbers_that_are_a_little_off_are_tolerated_if_that_is_asked(
        self, made: Path, case: Case
    ) -> None:
        paths = made / "first" / case.name, made / "near" / case.name

        exact = judge_output(case.name, *paths)
        tolerant = judge_output(case.name, *paths, tolerance=TOLERANCE)

        assert exact.verdict is Verdict.DIFFERS
        assert exact.how == case.how
        expected = Verdict.WITHIN_TOLERANCE if case.is_near else Verdict.DIFFERS
        assert tolerant.verdict is expected, tolerant.detail
        assert tolerant.largest_absolute is not None
        assert float(tolerant.largest_absolute) > 0
        if case.is_near:
            assert tolerant.detail is not None
            assert "differ" in tolerant.detail
            assert " -> " in tolerant.detail

    def test_another_result_differs_and_the_place_is_said(self, made: Path, case: Case) -> None:
        paths = made / "first" / case.name, made / "other" / case.name

        found = judge_output(case.name, *paths, tolerance=TOLERANCE)

        assert (found.verdict, found.how) == (Verdict.DIFFERS, case.how)
        assert found.detail is not None
        assert " -> " in found.detail or "pixels differ" in found.detail
        assert "cannot be read" not in found.detail

    def test_a_damaged_file_differs(self, made: Path, case: Case, tmp_path: Path) -> None:
        content = (made / "other" / case.name).read_bytes()
        middle = len(content.rstrip(b"\0")) // 2
        damages = {
            "short": content[:middle],
            "shorter": content[:40],
            "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "zeros": content[:middle] + bytes(len(content) - middle),
        }

        for damage, damaged in damages.items():
            (tmp_path / damage).write_bytes(damaged)
            for original in ("first", "other"):
                paths = made / original / case.name, tmp_path / damage
                found = judge_output(case.name, *paths)
                again = judge_output(case.name, paths[1], paths[0])
                assert found.verdict is Verdict.DIFFERS or damage == "flipped", found
                assert again.verdict is found.verdict


def test_every_format_is_proven_by_a_file() -> None:
    proven = {case.how for case in CASES}

    missing = {form.name for form in FORMATS} - proven

    # Where it is not there, that is said; and CatBoost is too large: tests of their own.
    assert missing == {"zstd", "cbm"}
