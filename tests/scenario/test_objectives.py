"""Batches whose objective the trials never report, and what a search can tell before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from commands import Desk

TRAIN = """
x = 0.5
y = 1
fail = False
if fail:
    raise SystemExit(1)
print(f"loss: {(x - 0.25) ** 2 + y}")
if x >= 0:
    print(f"accuracy: {x}")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("train.py", TRAIN)
    return desk


def record(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = desk.json("show", "@latest")["run"]
    return found


# --- an objective that nobody reports ---


def test_a_trial_that_does_not_report_the_objective_is_said_once_and_at_the_end(
    desk: Desk,
) -> None:
    done = desk.reenact("run", "train.py", "x=[0.1,0.2,0.3]", "--minimize", "lss")

    lines = done.complaint
    during = [n for n, line in enumerate(lines) if line.startswith("warning: trial ")]
    assert len(during) == 1
    assert lines[during[0]] == (
        "warning: trial 1 completed and did not report `lss`, which is to minimize; "
        "did you mean `loss`?"
    )
    assert lines[during[0] - 1].startswith("trial 1/3 ")
    assert lines[during[0] + 1].startswith("trial 2/3 ")
    assert lines[-2] == (
        "warning: no completed trial reported `lss`, which was to minimize; did you mean `loss`?"
    )
    # All that was asked for has been run.
    assert done.status == 0
    assert [w["code"] for w in record(desk)["warnings"]] == ["objective"]
    assert record(desk)["batch"].get("best") is None
    assert desk.reenact("show", "@latest/best").status == 1


@pytest.mark.parametrize(
    ("optimizer", "status"), [("random", 0), ("grid", 0), ("tpe", 1), ("./next.py", 1)]
)
def test_a_search_that_had_nothing_to_learn_from_has_failed(
    desk: Desk, optimizer: str, status: int
) -> None:
    desk.write(
        "next.py",
        "import os\nopen(os.environ['REENACT_PROPOSALS'], 'w').write('{\"x\": 0.25}\\n')\n",
    )

    done = desk.reenact("run", "train.py", "x=[0.0:1.0]", "--optimizer", optimizer,
                        "--maximize", "auc", "--trials", "2", "-q")  # fmt: skip

    assert done.status == status
    assert "no completed trial reported `auc`, which was to maximize" in done.err
    assert "it reported `accuracy`, `loss`" in done.err
    assert record(desk)["batch"]["completed"] == 2


def test_a_search_that_got_nothing_but_nan_has_failed_and_says_so(desk: Desk) -> None:
    desk.write("train.py", "x = 0.5\nprint('loss: nan')\n")

    done = desk.reenact("run", "train.py", "x=[0.0:1.0]", "-o", "tpe", "-N", "loss", "--trials",
                        "2", "-q")  # fmt: skip

    assert done.status == 1
    assert done.complaint == ["warning: `loss` was NaN or infinite in every completed trial"]


def test_some_trials_may_lack_an_objective(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "x=[0.5,-1.0,0.75]", "-X", "accuracy", "-N", "loss")

    assert done.status == 0
    assert not [line for line in done.complaint if line.startswith("warning: trial ")]
    assert "1 of 3 completed trials did not report `accuracy`" in done.err
    assert "did not report `loss`" not in done.err
    assert record(desk)["batch"]["best"] is not None


def test_a_trial_that_failed_is_not_asked_for_its_objective(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "x=[0.5]", "fail=[yes]", "-N", "loss")

    assert done.status == 1
    assert "report" not in done.err
    assert record(desk).get("warnings", []) == []


def test_an_objective_that_is_no_number_is_said(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "x=[0.5,1.0]", "--minimize", "label", "-q")

    assert done.status == 0
    assert "no completed trial reported `label`" in done.err


def test_who_goes_on_with_a_batch_hears_it_as_well(desk: Desk) -> None:
    desk.ok("run", "train.py", "x=[0.1,0.2]", "-N", "lss", "--stage")

    done = desk.reenact("run", "--restart", "@latest", "-q")

    assert "no completed trial reported `lss`" in done.err


# --- before it starts ---


def dry(desk: Desk, *words: str) -> Any:
    found = desk.json("run", "train.py", *words, "--dry-run")
    assert desk.ids() == [] or found["earlier"]
    return found


def tried(desk: Desk, *names: str) -> list[tuple[Any, ...]]:
    trials = desk.json("show", "@latest")["trials"]
    return [tuple(trial["flags"][name] for name in names) for trial in trials]


SEARCH = ("x=[0.0:1.0]", "y=[1:9]", "--minimize", "loss")


@pytest.mark.parametrize(
    ("words", "foreseen"),
    [
        (["-o", "random", "--trials", "4"], 4),
        (["-o", "random", "--trials", "3", "--random-seed", "7"], 3),
        (["-o", "grid", "-Fo", "points=3"], 9),
        (["-o", "tpe", "-Fo", "random-starts=3", "--trials", "5"], 3),
        (["-o", "nsga2", "-Fo", "population=4", "--trials", "6", "-X", "accuracy"], 4),
        (["-o", "cmaes", "--trials", "8"], 6),
        (["-o", "cmaes", "-Fo", "population=4", "--trials", "6"], 4),
    ],
)
def test_what_no_result_can_change_is_told_before_a_search_starts(
    desk: Desk, words: list[str], foreseen: int
) -> None:
    told = dry(desk, *SEARCH, *words)
    desk.ok("run", "train.py", *SEARCH, *words, "-q")

    assert len(told["trials"]) == foreseen
    first = [(trial["flags"]["x"], trial["flags"]["y"]) for trial in told["trials"]]
    assert first == tried(desk, "x", "y")[:foreseen]


def test_a_plan_of_a_search_says_what_is_known_of_it(desk: Desk) -> None:
    told = dry(desk, *SEARCH, "-o", "bayesian", "-Fo", "random-starts=2", "--trials", "30",
               "--random-seed", "5", "--jobs", "3")  # fmt: skip

    batch = told["batch"]
    assert batch["optimizer"] in ("gp", "tpe")  # as there is torch, or not
    assert batch["optimizer_flags"] == {"random-starts": 2}
    assert batch["objectives"] == [["minimize", "loss"]]
    assert (batch["trials"], batch["seed"], batch["jobs"]) == (30, 5, 3)
    assert batch["spaces"] == {"x": "[0.0:1.0]", "y": "[1:9]"}
    assert told["operation"]["name"] == "train.py"
    assert (told["ok"], told["earlier"]) == (True, 0)


def test_a_plan_of_a_search_says_how_many_earlier_runs_count(desk: Desk) -> None:
    desk.ok("run", "train.py", "x=[0.1,0.2,7.0]", "y=3", "-q")

    told = dry(desk, *SEARCH, "-o", "tpe", "-Fo", "random-starts=4")
    done = desk.reenact("run", "train.py", *SEARCH, "-o", "tpe", "--dry-run")

    assert (told["earlier"], len(told["trials"])) == (2, 2)
    assert done.err == (
        "a search of 2 flags in at most 20 trials by `tpe`; 2 earlier runs count; "
        "the first 8 are known\n"
    )
    assert len(done.out.splitlines()) == 8


def test_a_plan_of_an_operation_that_searches_runs_nothing(desk: Desk) -> None:
    desk.write("next.py", "raise SystemExit('must not run')")

    told = dry(desk, *SEARCH, "-o", "next.py")
    done = desk.reenact("run", "train.py", *SEARCH, "-o", "next.py", "--print-trials")

    assert told["trials"] == []
    assert done.err.endswith("by `./next.py`; it is asked when a trial can start\n")
    assert desk.ids() == []


def test_a_plan_of_a_batch_has_its_trials_and_what_they_have_in_common(desk: Desk) -> None:
    told = dry(desk, "x=[0.5,0.75]", "y=2", "--jobs", "2", "-X", "accuracy")

    assert told["batch"]["trials"] == 2
    assert told["batch"]["objectives"] == [["maximize", "accuracy"]]
    assert [trial["flags"] for trial in told["trials"]] == [
        {"x": 0.5, "y": "2"}, {"x": 0.75, "y": "2"},
    ]  # fmt: skip
