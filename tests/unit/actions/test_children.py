"""How many parts run at once, and which GPUs each of them sees."""

from __future__ import annotations

import pytest

from reenact.actions.children import check_jobs, find_gpus, make_places
from reenact.errors import CannotRun, UsageError


def test_one_part_at_a_time_has_the_terminal() -> None:
    (place,) = make_places(None, None, None)

    assert place.has_terminal
    assert place.gpus is None


def test_parts_that_run_side_by_side_are_quiet() -> None:
    places = make_places(3, None, None)

    assert [place.number for place in places] == [0, 1, 2]
    assert not any(place.has_terminal for place in places)


def test_gpus_are_shared_out_and_none_is_seen_twice() -> None:
    places = make_places(None, 2, ["0", "1", "2", "3", "4"])

    assert [place.gpus for place in places] == ["0,1", "2,3"]


def test_no_more_parts_run_than_there_are_gpus_for() -> None:
    assert [place.gpus for place in make_places(8, 1, ["a", "b"])] == ["a", "b"]
    assert [place.gpus for place in make_places(1, 1, ["a", "b"])] == ["a"]


@pytest.mark.parametrize(
    ("gpus", "complaint"),
    [(None, "nobody knows which GPUs"), ([], "there are none"), (["0"], "there is 1")],
)
def test_gpus_that_are_not_there_are_refused(gpus: list[str] | None, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make_places(None, 2, gpus)


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ("0,1", ["0", "1"]),
        (" 3 , GPU-12ab", ["3", "GPU-12ab"]),
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
    ],
)
def test_the_gpus_that_the_environment_shows_are_those_that_there_are(
    named: str, found: list[str]
) -> None:
    assert find_gpus({"CUDA_VISIBLE_DEVICES": named}) == found


def test_runs_in_place_run_one_after_the_other() -> None:
    check_jobs(1, in_place=True)

    with pytest.raises(CannotRun, match="side by side"):
        check_jobs(2, in_place=True)
