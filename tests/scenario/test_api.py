"""The Python API on real runs."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import reenact
from reenact.errors import BadFilter, CannotRun, NotFound, UnknownFlag, UsageError

SCRIPT = """
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", type=float, default=0.5)
parser.add_argument("--label", default="none")
arguments = parser.parse_args()
for step in range(3):
    print(f"step {step} loss: {arguments.learning_rate / (step + 1)!r}")
print("score: nan")
open("model.txt", "w").write("weights")
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(root)
    monkeypatch.setenv("REENACT_HOME", str(tmp_path / "store"))
    return root


def test_a_run_is_returned_with_flags_metrics_and_outputs() -> None:
    run = reenact.run("train.py", {"learning-rate": 0.25, "label": "x"}, quiet=True)

    assert (run.status, run.exit_status) == ("completed", 0)
    assert run.flags == {"learning-rate": 0.25, "label": "x"}
    assert list(run.metrics) == ["loss", "score"]
    assert list(run.metrics["loss"].series.values) == [0.25, 0.125, 0.25 / 3]
    assert [point.step for point in run.metrics["loss"].points()] == [0, 1, 2]
    assert math.isnan(run.metrics["score"].last)
    assert [path.read_text() for path in run.outputs] == ["weights"]
    assert run.log("stdout").endswith("score: nan\n")


def test_output_goes_on_to_our_own_unless_it_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    reenact.run("train.py", quiet=True)
    quiet = capfd.readouterr().out
    reenact.run("train.py")
    loud = capfd.readouterr().out

    assert quiet == ""
    assert loud.startswith("step 0 loss: 0.5\n")


def test_a_failed_run_is_returned_and_not_raised(project: Path) -> None:
    (project / "fail.py").write_text("raise SystemExit(3)")

    run = reenact.run("fail.py", quiet=True)

    assert (run.status, run.exit_status) == ("failed", 3)


def test_a_command_and_a_module_run_too(project: Path) -> None:
    package = project / "tool"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "go.py").write_text("size = 1\nprint('size is', size)")

    module = reenact.run("tool.go", module=True, size=7, quiet=True)
    command = reenact.run(["echo", "{word}"], word="hello", quiet=True)

    assert module.log() == "size is 7\n"
    assert command.log() == "hello\n"


def test_runs_are_found_by_filter_and_sorted(tmp_path: Path) -> None:
    for rate in (0.3, 0.1, 0.2):
        reenact.run("train.py", {"learning-rate": rate}, quiet=True)

    chosen = reenact.runs("learning-rate < 0.3", sort="learning-rate")

    assert [run.flags["learning-rate"] for run in chosen] == [0.1, 0.2]
    assert len(reenact.runs(limit=1)) == 1
    assert reenact.get("@latest").id == reenact.runs()[0].id
    assert len(reenact.runs(store=tmp_path / "elsewhere")) == 0


def test_notes_are_edited_through_a_run() -> None:
    run = reenact.run("train.py", quiet=True)

    run.label = "baseline"
    run.comment = "good"
    run.is_marked = True
    run.tag("a", "b", remove=["a"])

    again = reenact.get("baseline")
    assert (again.id, again.comment, again.is_marked, again.tags) == (run.id, "good", True, ("b",))


def test_a_dataframe_has_a_row_per_run_and_keeps_flags_and_metrics_apart(project: Path) -> None:
    (project / "clash.py").write_text("loss = 4\nprint('loss: 0.5')")
    reenact.run("clash.py", quiet=True)
    reenact.run("train.py", quiet=True)

    frame = reenact.runs().dataframe()

    assert list(frame["operation"]) == ["train.py", "clash.py"]
    assert frame.loc[1, "=loss"] == 4
    assert frame.loc[1, "loss"] == 0.5
    assert math.isnan(frame.loc[0, "score"])


def test_what_the_user_can_act_on_is_raised_as_such() -> None:
    with pytest.raises(UnknownFlag, match="learningrate"):
        reenact.run("train.py", learningrate=1)
    with pytest.raises(CannotRun, match=r"no script `nope\.py`"):
        reenact.run("nope.py")
    with pytest.raises(BadFilter):
        reenact.runs("lr <")
    with pytest.raises(NotFound):
        reenact.get("cafe")


def test_importing_it_loads_nothing_else() -> None:
    code = "import sys, reenact; print(sorted(m for m in sys.modules if 'reenact' in m))"

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )

    assert done.stdout == "['reenact']\n"


def test_a_run_in_another_thread_works() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: reenact.run("train.py", quiet=True), range(2)))

    assert [run.status for run in runs] == ["completed", "completed"]


def test_scripts_and_commands_may_be_named_by_paths(project: Path) -> None:
    script = reenact.run(Path("train.py"), quiet=True)
    command = reenact.run([Path(sys.executable), "-c", "pass"], quiet=True)

    assert (script.operation, command.status) == ("train.py", "completed")


@pytest.mark.parametrize(
    ("operation", "options", "message"),
    [
        (5, {}, "`5` is nothing that can be run"),
        (None, {}, "`None` is nothing that can be run"),
        ([], {}, r"`\[\]` is nothing that can be run"),
        (["python", 5], {}, "is nothing that can be run"),
        ("train.py", {"label": 5}, "a label is a text, and not `5`"),
        ("train.py", {"comment": 5}, "a comment is a text, and not `5`"),
        ("train.py", {"tags": "abc"}, "tags are a list of texts, and not `'abc'`"),
        ("train.py", {"tags": [5]}, "tags are a list of texts"),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(
    operation: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        reenact.run(operation, **options)
    if options:
        with pytest.raises(UsageError, match=message):
            reenact.start("n", **options)

    assert len(reenact.runs()) == 0


@pytest.mark.parametrize("flags", [5, "lr=1", {5: 1}])
def test_flags_that_are_no_dictionary_by_name_are_refused(flags: Any) -> None:
    with pytest.raises(UsageError, match="flags are a dictionary by name"):
        reenact.run("train.py", flags)
    with pytest.raises(UsageError, match="flags are a dictionary by name"):
        reenact.start("n", flags=flags)


def test_notes_of_a_wrong_type_are_refused_on_a_run_that_there_is() -> None:
    run: Any = reenact.run("train.py", quiet=True, label="first", tags=["a"])

    with pytest.raises(UsageError, match="a label is a text"):
        run.label = 5
    with pytest.raises(UsageError, match="a comment is a text"):
        run.comment = 5
    with pytest.raises(UsageError, match="tags are a list of texts"):
        run.tag(5)
    with pytest.raises(UsageError, match="tags are a list of texts"):
        run.tag(remove="a")

    run.refresh()
    assert (run.label, run.comment, run.tags) == ("first", None, ("a",))
