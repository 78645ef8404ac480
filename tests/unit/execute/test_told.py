"""What processes tell comes from anywhere: whatever it is, the record can hold it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from reenact.execute.journals import Event
from reenact.execute.told import Told, collect, with_roles
from reenact.model.record import to_json
from reenact.model.run import File

STRANGE = "a\udcff\ud800"


def tell(kind: str, directory: str = "/run", **fields: Any) -> Told:
    return collect([Event("1-a", kind, fields)], directory, ["hunter2"])


def test_text_that_is_no_unicode_can_be_recorded_wherever_it_stands() -> None:
    events = [
        Event("1-a", "params", {"scope": None, "values": {"path": STRANGE, STRANGE: [STRANGE]}}),
        Event("1-a", "model", {"name": STRANGE, "type": "t", "framework": "f", "path": "/m\udcff"}),
        Event("1-a", "dataset", {"name": STRANGE, "role": "train", "dtype": STRANGE}),
        Event("1-a", "framework", {"name": STRANGE, "version": STRANGE, "detail": STRANGE}),
        Event("1-a", "remark", {"code": STRANGE, "message": STRANGE}),
        Event("1-a", "output", {"path": "/run/\udcff", "role": "figure", "title": STRANGE}),
        Event("1-a", "exception", {"type": STRANGE, "message": STRANGE, "traceback": STRANGE}),
        Event("1-a", "runtime", {"libraries": [STRANGE], "frameworks": {STRANGE: STRANGE}}),
    ]

    found = collect(events, "/run")

    for part in (found.params, found.models, found.datasets, found.captures, found.remarks):
        assert part
        assert to_json(part)
    assert to_json(found.roles)
    assert to_json(found.failure)
    assert to_json(found.runtime)


def test_numbers_that_do_not_fit_and_endless_nesting_can_be_recorded() -> None:
    deep: Any = "inside"
    for _ in range(900):
        deep = {"more": [deep]}

    found = tell("params", values={"large": 10**30, "deep": deep, "fits": -(1 << 63)})

    assert found.params["large"] == "1" + "0" * 30
    assert found.params["fits"] == -(1 << 63)
    assert to_json(found.params)


def test_files_are_known_by_every_name_of_the_run_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    named = str(tmp_path / "link")

    for at in (named, os.path.realpath(named)):
        roles = tell("output", named, path=f"{at}/s/../fig.png", role="figure", title="t").roles
        (model,) = tell(
            "model", named, name="m", type="t", framework="f", path=f"{at}/models/m.pt"
        ).models

        (file,) = with_roles([File(path="fig.png")], roles)
        assert (file.role, file.title) == ("figure", "t")
        assert model.path == "models/m.pt"


def test_files_outside_keep_their_absolute_path() -> None:
    roles = tell("output", path="/project/fig.png", role="figure").roles

    assert with_roles([File(path="/project/fig.png")], roles)[0].role == "figure"


def test_a_secret_is_nowhere() -> None:
    captured = tell("framework", name="f", detail="cannot log in with hunter2").captures

    assert captured[0].detail == "cannot log in with <redacted>"


def test_a_worker_takes_nothing_back_of_what_was_said_of_a_framework() -> None:
    one = {"name": "sklearn", "version": "1.9", "state": "captured"}
    events = [
        Event("1-a", "framework", one),
        Event("1-a", "framework", {**one, "detail": "not all of it"}),
        Event("2-b", "framework", one),
    ]

    (capture,) = collect(events, "/run").captures

    assert (capture.detail, capture.is_captured) == ("not all of it", True)
