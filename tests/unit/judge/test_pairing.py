"""Files of two runs are paired by their paths, or by what their names are made of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reenact.judge.pairing import pair_paths

NAMES = st.lists(st.from_regex(r"[a-c]{1,2}/?[a-c0-9]{1,3}\.txt", fullmatch=True), unique=True)


def test_equal_paths_are_pairs_and_the_rest_stays_alone() -> None:
    assert pair_paths(["a", "b"], ["b", "c"]) == [("a", None), ("b", "b"), (None, "c")]


def test_times_ids_and_hosts_in_names_do_not_matter() -> None:
    before = [
        "logs/Nov20_16-21-14_host1/events.out.tfevents.1700000000.host1.123.0",
        "model-3f2a1c9d.pt",
        "run 17/loss.csv",
    ]
    after = [
        "logs/Dec01_09-01-59_host2/events.out.tfevents.1700009999.host2.77.0",
        "model-8be1f003.pt",
        "run 18/loss.csv",
    ]
    assert pair_paths(before, after, ["host1", "host2"]) == list(zip(before, after, strict=True))


def test_several_of_one_form_are_paired_in_their_order() -> None:
    found = pair_paths(["e_2", "e_10", "e_1"], ["f_1", "e_7", "e_8"])
    assert dict(pair for pair in found if pair[0]) == {"e_1": "e_7", "e_10": "e_8", "e_2": None}


@given(NAMES, NAMES)
def test_each_path_is_in_one_pair(before: list[str], after: list[str]) -> None:
    found = pair_paths(before, after)
    assert [old for old, _ in found if old is not None] == before
    assert sorted(new for _, new in found if new is not None) == sorted(after)
    for path in {*before} & {*after}:
        assert (path, path) in found
