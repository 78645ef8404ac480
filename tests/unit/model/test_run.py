from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.model.identity import RunId, is_digest, is_run_id, new_run_id
from reenact.model.run import Exit, Operation, OperationKind, Project, Run, Status

START = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)


def a_run(**facts: Any) -> Run:
    return Run(
        id=RunId("0" * 32),
        operation=Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        project=Project(id="path:/p", name="p", root="/p"),
        command=("python", "train.py"),
        created=START,
        **facts,
    )


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (Exit(code=0), Status.COMPLETED),
        (Exit(code=1), Status.FAILED),
        (Exit(signal=signal.SIGSEGV), Status.FAILED),
        (Exit(code=0, requested="stop"), Status.TERMINATED),
        (Exit(signal=signal.SIGINT, requested="interrupt"), Status.TERMINATED),
    ],
)
@pytest.mark.parametrize("is_locked", [True, False])
def test_an_end_that_was_recorded_decides_whoever_holds_the_lock(
    end: Exit, status: Status, is_locked: bool
) -> None:
    assert a_run(started=START, exit=end).status(is_locked=is_locked) is status


def test_a_run_under_lock_is_pending_until_its_process_has_started() -> None:
    assert a_run().status(is_locked=True) is Status.PENDING
    assert a_run(started=START).status(is_locked=True) is Status.RUNNING


@pytest.mark.parametrize("ended", [None, START])
@pytest.mark.parametrize("started", [None, START])
def test_a_run_without_end_and_lock_was_killed(
    started: datetime | None, ended: datetime | None
) -> None:
    assert a_run(started=started, ended=ended).status(is_locked=False) is Status.KILLED


def test_a_duration_needs_both_ends() -> None:
    end = START + timedelta(seconds=90)

    assert a_run(started=START, ended=end).duration_s == 90
    assert a_run(started=START).duration_s is None
    assert a_run(ended=end).duration_s is None


@pytest.mark.parametrize(
    ("end", "status", "words"),
    [
        (Exit(code=0), 0, "exit status 0"),
        (Exit(code=3), 3, "exit status 3"),
        (Exit(signal=9), 137, "SIGKILL"),
        (Exit(signal=15), 143, "SIGTERM"),
        (Exit(signal=200), 328, "signal 200"),
    ],
)
def test_an_end_is_what_a_shell_would_show(end: Exit, status: int, words: str) -> None:
    assert (end.shell_status, end.describe()) == (status, words)


def test_new_ids_are_ids_and_differ() -> None:
    ids = {new_run_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(map(is_run_id, ids))


@given(st.text(max_size=70))
def test_only_lower_case_hexadecimal_of_the_right_length_is_a_name(text: str) -> None:
    is_hexadecimal = set(text) <= set("0123456789abcdef")

    assert is_run_id(text) == (is_hexadecimal and len(text) == 32)
    assert is_digest(text) == (is_hexadecimal and len(text) == 64)
