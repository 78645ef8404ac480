"""Staged runs as a queue hands them out, when another queue is faster."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from commands import Desk
from reenact.actions.children import End, Place
from reenact.actions.context import Context
from reenact.actions.queue import StagedRuns
from reenact.errors import CannotRun
from reenact.model.identity import RunId
from reenact.model.run import Status

HERE = Place(0)


class Heard:
    """What a queue has said."""

    def __init__(self) -> None:
        self.words: list[tuple[object, ...]] = []

    def started(self, run: RunId) -> None:
        self.words.append(("started", run))

    def ended(self, run: RunId, status: Status | None, problem: str | None) -> None:
        self.words.append(("ended", run, status, problem))

    def waits(self) -> None:
        self.words.append(("waits",))


@pytest.mark.parametrize("values", ["x=1", "x=[1,2]"])
def test_a_queue_that_comes_second_says_nothing(tmp_path: Path, values: str) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", "x = 0\nprint(f'loss: {x}')")
    run_id = RunId(desk.ok("run", "train.py", values, "--stage").strip())
    context = Context({**os.environ, **desk.env}, str(desk.project), str(desk.store))
    heard = Heard()
    slow = StagedRuns(context, heard, once=True, all_projects=False)
    part = slow.ask()
    assert part is not None
    assert part.run_id == run_id
    slow.started(part, HERE)

    desk.ok("queue", "--once")
    with pytest.raises(CannotRun) as caught:
        part.body(HERE)
    slow.tell(End(part, context.store.read_run(run_id), caught.value.message))

    assert heard.words == []
    assert slow.ask() is None
    assert desk.status(run_id) == "completed"
