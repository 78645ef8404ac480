"""`reenact claims`: what a project states, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from commands import Desk

TRAIN = """
import random

lr = 0.1
print("acc:", 0.9 + lr / 100 + random.random() * 1e-3)
print("rows: 40")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", TRAIN)
    return desk


def project(desk: Desk, claims: str) -> None:
    desk.write("reenact.yml", f"train:\n  main: train\n\nclaims:\n{claims}")


def check(desk: Desk, *words: str) -> tuple[int, dict[str, Any]]:
    done = desk.reenact("claims", "check", *words, "--json")
    assert done.out, done
    found: dict[str, Any] = json.loads(done.out)["reproductions"][0]
    return done.status, found


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in found["claims"]}


def test_a_claim_is_confirmed_or_refuted_by_its_tolerance(desk: Desk) -> None:
    project(
        desk,
        "  C1: {run: train, metric: acc, value: 0.902, tolerance: 0.003, paper: Table 2}\n"
        "  C2: {run: train, metric: acc, value: 0.95, tolerance: 0.003}\n"
        "  C3: {run: train, metric: rows, value: 40}\n"
        "  C4: {run: train, metric: acc, value: 0.5, direction: at-least}\n",
    )
    status, found = check(desk)
    assert verdicts(found) == {
        "C1": "within tolerance", "C2": "differs", "C3": "identical", "C4": "within tolerance",
    }  # fmt: skip
    assert (status, found["verdict"]) == (3, "differs")
    assert len(desk.ids()) == 1, "claims of equal needs share their runs"
    status, found = check(desk, "C1", "C3")
    assert (status, set(verdicts(found))) == (0, {"C1", "C3"})
    said = desk.reenact("claims", "check", "C2").out
    assert "refuted" in said
    assert "claim `C2`: 0.90" in said


def test_several_seeds_decide_by_the_interval_of_their_mean(desk: Desk) -> None:
    project(
        desk,
        "  near: {run: train, metric: acc, value: 0.9015, tolerance: 0.002, seeds: 0..9}\n"
        "  far: {run: train, metric: acc, value: 0.91, tolerance: 0.002, seeds: 0..9}\n"
        "  open: {run: train, metric: acc, value: 0.9035, tolerance: 0.002, seeds: 0..9}\n",
    )
    status, found = check(desk, "--jobs", "2")
    assert verdicts(found) == {
        "near": "statistically equivalent", "far": "differs", "open": "inconclusive",
    }  # fmt: skip
    assert status == 3
    assert len(desk.ids()) == 10
    assert sorted(desk.record(run)["seed"] for run in desk.ids()) == list(range(10))


def test_what_a_run_has_shown_is_written_and_holds(desk: Desk) -> None:
    before = "# what we run\ntrain:\n  main: train   # the script\n"
    desk.write("reenact.yml", before)
    run = desk.run("train", "lr=0.2")
    desk.ok("claims", "write", "acc", "--paper", "Table 1")
    desk.ok("claims", "write", "rows", "--from", run, "--tolerance", "1%")
    text = (desk.project / "reenact.yml").read_text()
    assert text.startswith(before)
    listed = desk.json("claims")["claims"]
    assert [(one["name"], one["metric"], one["flags"]) for one in listed] == [
        ("C1", "acc", {"lr": 0.2}),
        ("C2", "rows", {"lr": 0.2}),
    ]
    assert listed[0]["baseline"] == run
    status, found = check(desk)
    assert (status, set(verdicts(found).values())) == (0, {"identical"}), found
    assert found["originals"] == [run]
    assert not found.get("causes")


def test_changed_packages_are_named(desk: Desk) -> None:
    project(
        desk,
        "  C1: {run: train, metric: rows, value: 40, packages: [msgspec==0.0.1, nosuch==1.0]}\n",
    )
    _, found = check(desk)
    assert [(c["what"], c["original"]) for c in found["causes"]] == [
        ("msgspec", "0.0.1"),
        ("nosuch", "1.0"),
    ]


def test_a_failed_run_confirms_nothing(desk: Desk) -> None:
    desk.write("bad.py", "raise ValueError('no data')\n")
    project(
        desk,
        "  C1: {run: bad.py, metric: acc, value: 1}\n  C2: {run: train, metric: accu, value: 1}\n",
    )
    status, found = check(desk)
    assert (status, set(verdicts(found).values())) == (1, {"could not run"})
    assert "did you mean `acc`?" in found["claims"][1]["reason"]
    assert "ValueError: no data" in found["remarks"][0]["message"]


@pytest.mark.parametrize(
    ("claims", "words", "message"),
    [
        ("  C1: {run: train, metric: acc}\n", [], "reenact.yml:5: claim `C1` has no `value`"),
        ("  C1: {run: train, metric: acc, value: x}\n", [], "takes a number, not `x`"),
        ("  C1: {run: train, metric: acc, value: 1, tolerance: few}\n", [], "no tolerance"),
        ("  C1: {run: train, metric: acc, value: 1, seeds: x}\n", [], "`x` is no seed"),
        ("  C1: {run: train, metric: acc, value: 1, direction: up}\n", [], "takes one of `both`"),
        ("  C1: {run: trian, metric: acc, value: 1}\n", [], "neither an operation nor a script"),
        ("  C1: {run: train, metric: acc, value: 1, flags: {lrr: 1}}\n", [], "lrr"),
        ("  C1: {run: train, metric: acc, value: 1, seeds: 1, repeat: 2}\n", [], "has both"),
    ],
)
def test_what_cannot_be_checked_is_refused_with_its_line(
    desk: Desk, claims: str, words: list[str], message: str
) -> None:
    project(desk, claims)
    done = desk.reenact("claims", "check", *words)
    assert (done.status, message in done.err) == (2, True), done
    assert "reenact.yml:5" in done.err
    assert desk.ids() == []
    # Nothing else is kept from being used.
    assert desk.reenact("run", "train").status == 0


def test_no_claims_and_unknown_names(desk: Desk) -> None:
    assert "claims nothing" in desk.reenact("claims").err
    project(desk, "  accuracy: {run: train, metric: acc, value: 1}\n")
    done = desk.reenact("claims", "check", "acuracy")
    assert (done.status, "did you mean `accuracy`?" in done.err) == (1, True), done
    assert desk.reenact("claims", "chekc").status == 2


def test_an_operation_may_be_called_claims(desk: Desk) -> None:
    desk.write("reenact.yml", "claims:\n  main: train\n")
    assert desk.reenact("run", "claims").status == 0


@pytest.mark.parametrize(
    "before",
    [
        "",
        "train:\n  main: train",
        "train:\r\n  main: train\r\n",
        "# about\ntrain:\n  main: train  # here\n\n# end\n",
        "- model: m\n  operations:\n    train: train\n",
        "claims:  # none yet\ntrain: train\n",
        "train: train\nclaims:\n  # mine\n  A:\n    run: train\n    metric: acc\n    value: 1\n\nz: t\n",
    ],
)
def test_claims_are_added_and_all_other_lines_stay(desk: Desk, before: str) -> None:
    desk.run("train.py")
    if before:
        desk.write("reenact.yml", before)
    desk.ok("claims", "write", "acc", "rows")
    names = [claim["name"] for claim in desk.json("claims")["claims"]]
    assert names[-2:] == ["C1", "C2"]
    after = (desk.project / "reenact.yml").read_bytes().decode()
    left = iter(after.splitlines(keepends=True))
    assert all(line in left for line in before.splitlines(keepends=True)[:-1])
    assert ("\r\n" in before) == ("\r\n" in after)


@pytest.mark.parametrize(
    "before",
    [
        "{train: {main: train}}\n",
        "claims: {A: {run: train, metric: acc, value: 1}}  # mine\ntrain: train\n",
    ],
)
def test_a_file_that_claims_cannot_be_added_to_stays_as_it_was(desk: Desk, before: str) -> None:
    desk.run("train.py")
    desk.write("reenact.yml", before)
    done = desk.reenact("claims", "write", "acc")
    assert (done.status, "cannot be added" in done.err) == (1, True), done
    assert (desk.project / "reenact.yml").read_text() == before


def test_what_would_be_written_is_printed_as_json(desk: Desk) -> None:
    desk.run("train.py", "lr=0.2")
    found = desk.json("claims", "write", "rows", "--print")
    assert [(c["metric"], c["value"]) for c in found["claims"]] == [("rows", 40)]
    assert not (desk.project / "reenact.yml").exists()
