"""`%load_ext reenact` and runs in a kernel: a real kernel executes every cell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from commands import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def execute(desk: Desk, *cells: str) -> list[str]:
    """Execute cells in one kernel as Jupyter does; return what each of them showed."""
    document: Any = nbformat.v4.new_notebook(  # type: ignore[no-untyped-call]
        cells=[nbformat.v4.new_code_cell(cell) for cell in cells]  # type: ignore[no-untyped-call]
    )
    client = NotebookClient(
        document,
        allow_errors=True,
        record_timing=False,
        resources={"metadata": {"path": str(desk.project)}},
    )
    client.execute(env={**os.environ, **desk.env})
    return [_shown(cell.outputs) for cell in document.cells]


def _shown(outputs: list[Any]) -> str:
    texts = []
    for output in outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif output.output_type == "error":
            texts.append(f"<{output.ename}: {output.evalue}>\n")
        else:
            texts.append(f"[{output.data['text/plain']}]\n")
    return "".join(texts)


def records(desk: Desk) -> list[dict[str, Any]]:
    return sorted((desk.record(run) for run in desk.ids()), key=lambda record: record["created"])


def test_a_cell_runs_as_a_run_with_other_values_for_what_it_assigns(desk: Desk) -> None:
    shown = execute(
        desk,
        "%load_ext reenact\nimport reenact",
        "%%reenact lr=0.5 depth=3 name=baseline label=first tags=a,b\n"
        "lr = 0.1\nepochs = 2\nreenact.log(loss=lr)\nlr * depth",
        "lr, epochs, depth",
    )

    (record,) = records(desk)
    said, value = shown[1].splitlines()
    assert said.startswith(f"run {record['id'][:8]} completed in 0.")
    assert value == "[1.5]"
    assert shown[2] == "[(0.5, 2, 3)]\n"
    assert record["operation"]["name"] == "baseline"
    assert record["flags"] == {"lr": 0.5, "epochs": 2, "depth": 3}
    assert record["given"] == ["lr", "depth"]
    assert record["metrics"]["loss"]["last"] == 0.5
    assert desk.json("show", record["id"])["notes"] == {"label": "first", "tags": ["a", "b"]}
    source = desk.ok("cat", record["id"], "cells.py")
    assert source.startswith("# cell 1\n%load_ext reenact\nimport reenact\n")
    assert "%%reenact lr=0.5" in source


@pytest.mark.parametrize(
    ("code", "error"), [("1 / 0", "ZeroDivisionError"), ("int('x')", "ValueError")]
)
def test_a_cell_that_fails_is_a_failed_run_and_the_error_is_shown_once(
    desk: Desk, code: str, error: str
) -> None:
    shown = execute(desk, "%load_ext reenact", f"%%reenact\nx = 1\n{code}", "x")

    (record,) = records(desk)
    assert shown[1].count(f"{error}: ") == 1
    assert f"run {record['id'][:8]} failed in" in shown[1]
    assert record["failure"]["type"] == error
    assert "ipython.py" not in record["failure"]["traceback"]
    assert shown[2] == "[1]\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("%%reenact fast", "error: `fast` is no `name=value`"),
        ("%%reenact lr=fast", "error: flag `lr`"),
        ("%%reenact lr='0.1", "cannot be read"),
        ("%reenact nonsense", "%reenact runs [FILTER]"),
        ("%reenact runs 'lr <'", "error: "),
    ],
)
def test_what_cannot_be_understood_is_said_and_nothing_is_run(
    desk: Desk, line: str, message: str
) -> None:
    shown = execute(desk, "%load_ext reenact", f"{line}\nlr = 0.1\nprint('ran')")

    assert message in shown[1]
    assert "Traceback" not in shown[1]
    assert ("ran" in shown[1]) == (line == "%reenact nonsense")
    assert desk.ids() == []


def test_a_cell_that_is_no_python_is_a_syntax_error_as_without_us(desk: Desk) -> None:
    shown = execute(desk, "%load_ext reenact", "%%reenact\nx = = 1")

    assert "SyntaxError" in shown[1]
    assert desk.ids() == []


def test_runs_are_listed(desk: Desk) -> None:
    shown = execute(
        desk,
        "%load_ext reenact\nimport reenact",
        "for lr in (0.25, 0.5):\n    with reenact.start(lr=lr, name=f'try {lr}'):\n"
        "        reenact.log({'system/cpu': 3, 'loss': lr / 2})",
        "%reenact runs lr > 0.3",
    )

    lines = shown[2].splitlines()
    assert len(lines) == 2
    assert lines[0].split() == "RUN OPERATION STATUS TOOK LABEL FLAGS AND METRICS".split()
    assert "try 0.5" in lines[1]
    assert lines[1].endswith("lr=0.5  loss: 0.25")


def test_start_in_a_kernel_keeps_the_cells_and_the_imported_modules(desk: Desk) -> None:
    desk.write("model.py", "x = 1\n")

    execute(
        desk,
        "from model import x\ndef loss():\n    return x / 2",
        "import reenact\nwith reenact.start():\n    reenact.log(loss=loss())",
        "run = reenact.run(loss)",
    )

    first, second = records(desk)
    assert first["operation"]["name"] == "notebook"
    assert desk.ok("ls", first["id"], "--source").split() == ["cells.py", "model.py"]
    assert "def loss():" in desk.ok("cat", first["id"], "cells.py")
    assert second["operation"]["name"] == "loss"
    assert second["operation"]["kind"] == "function"
    assert "run = reenact.run(loss)" in desk.ok("cat", second["id"], "cells.py")


def test_the_notebook_s_name_is_that_of_the_run_where_the_server_tells_it(desk: Desk) -> None:
    desk.env["JPY_SESSION_NAME"] = str(desk.project / "study.ipynb")

    execute(desk, "import reenact\nwith reenact.start():\n    pass")

    assert records(desk)[0]["operation"]["name"] == "study.ipynb"
