from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.snapshot.rules import CODE, DATA, is_source_candidate, is_text, suffix


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("train.py", "py"),
        ("Train.PY", "py"),
        ("archive.tar.gz", "gz"),
        ("Makefile", ""),
        (".gitignore", ""),
        ("trailing.", ""),
        ("", ""),
    ],
)
def test_a_suffix_is_what_follows_the_last_dot(name: str, ending: str) -> None:
    assert suffix(name) == ending


@given(st.text())
def test_every_name_has_a_suffix(name: str) -> None:
    assert name.lower().endswith(suffix(name)) or suffix(name) not in CODE | DATA


def test_no_suffix_is_both_code_and_data() -> None:
    assert CODE.isdisjoint(DATA)


@pytest.mark.parametrize(
    "path",
    [
        "train.py",
        "Makefile",
        "README",
        "config/base.yaml",
        "params.json",
        "data/loader.py",
        "runs/plot.R",
        "outputs/deep/analyse.jl",
        "prompts/system.txt",
        ".env",
    ],
)
def test_what_a_person_wrote_may_be_source(path: str) -> None:
    assert is_source_candidate(path, path.rpartition("/")[2])


@pytest.mark.parametrize(
    "path",
    [
        "train.csv",
        "model.pt",
        "data/labels.txt",
        "DATA/labels.txt",
        "deep/datasets/labels.json",
        "logs/run.txt",
        "events.out.tfevents.123.host",
        "figure.PNG",
        "weights.safetensors",
    ],
)
def test_data_is_not(path: str) -> None:
    assert not is_source_candidate(path, path.rpartition("/")[2])


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"", True),
        (b"print(1)\n", True),
        ("déjà vu".encode("latin-1"), True),
        (b"\x89PNG\r\n\x1a\n\0\0", False),
        (b"x" * 8000 + b"\0", True),
    ],
)
def test_text_is_what_git_takes_for_text(head: bytes, answer: bool) -> None:
    assert is_text(head) is answer
