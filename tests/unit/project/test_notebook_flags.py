"""Flags in notebooks: what is found in the cells, and cells with other values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notebooks import notebook, tagged
from reenact.errors import CannotRun, ReenactError
from reenact.model.flags import FlagSet, Global
from reenact.project.notebook import find_notebook_flags, read_notebook, rewrite_notebook


def flags_of(content: str) -> FlagSet:
    read = read_notebook(content.encode(), "train.ipynb")
    return find_notebook_flags(read, content.encode(), "train.ipynb")


def defaults(*cells: str | dict[str, Any]) -> dict[str, Any]:
    return {flag.name: flag.default for flag in flags_of(notebook(*cells)).flags}


def rewritten(content: str, **values: Any) -> dict[str, Any]:
    changes = []
    for name, value in values.items():
        flag = flags_of(content).find(name)
        assert flag is not None
        assert isinstance(flag.binding, Global)
        changes.append((flag.binding, value))
    document: dict[str, Any] = json.loads(rewrite_notebook(content.encode(), changes))
    return document


def test_literals_of_all_cells_are_flags_with_the_place_where_they_stand() -> None:
    flags = flags_of(notebook("import os\nlr = 0.1", "x = os.sep", "epochs = 3\n\nname = 'a'"))

    assert [(f.name, f.default, f.found) for f in flags.flags] == [
        ("lr", 0.1, "train.ipynb: cell 1, line 2"),
        ("epochs", 3, "train.ipynb: cell 3, line 1"),
        ("name", "a", "train.ipynb: cell 3, line 3"),
    ]
    assert flags.kind == "globals"


def test_a_name_that_another_cell_assigns_again_is_none_unless_its_cell_is_tagged() -> None:
    again = "lr = lr / 2"

    assert defaults("lr = 0.1\nn = 1", again) == {"n": 1}
    assert defaults(tagged("lr = 0.1", "parameters"), "n = 1", again) == {"lr": 0.1, "n": 1}


def test_the_tagged_cell_counts_wherever_it_stands() -> None:
    cells = ("lr = 0.5", tagged("lr = 0.1", "parameters"))

    assert defaults(*cells) == {"lr": 0.1}
    sources = [c["source"] for c in rewritten(notebook(*cells), lr=0.25)["cells"]]
    assert sources == ["lr = 0.5", "lr = 0.25"]


@pytest.mark.parametrize(
    "line",
    [
        "%matplotlib inline",
        "%%time",
        "!pip install it's ( {",
        "!ls \\\n  -l",
        "os?",
        "os.path??",
        "?os",
        "%time lr * 2",
        "files = !ls data",
        "a, b = %sql select 1",
        "  %load_ext x",
        "!echo '''",
        "%%capture out",
        "await something()",
    ],
)
def test_what_only_ipython_understands_does_not_hide_the_rest(line: str) -> None:
    found = flags_of(notebook(f"{line.strip() if '%%' in line else line}\nlr = 0.1"))

    if line.startswith("  "):
        # Python does not take the indentation, and IPython does not either.
        assert [flag.name for flag in found.flags] in ([], ["lr"])
    else:
        assert [(f.name, f.default) for f in found.flags] == [("lr", 0.1)]
        assert found.remarks == ()


def test_magics_in_blocks_and_signs_that_only_look_like_one_stay_what_they_are() -> None:
    source = (
        "if True:\n    %time x = 5\n    !ls\nremainder = (7\n  % 4)\ntext = '''\n%no magic\n'''"
    )

    assert defaults(source) == {"remainder": 3, "text": "\n%no magic\n"}


def test_a_cell_of_another_language_has_no_flags() -> None:
    assert defaults("%%bash\nlr=0.1", "%%writefile x.py\nlr = 0.1", "n = 1") == {"n": 1}


def test_a_cell_that_is_no_python_is_named_and_the_others_count() -> None:
    flags = flags_of(notebook("a = 1", "b = = 2\nc = 3", "d = 4"))

    assert [flag.name for flag in flags.flags] == ["a", "d"]
    assert flags.remarks == ("cell 2: not understood as Python: line 1: invalid syntax",)


def test_only_the_literal_changes() -> None:
    content = notebook(
        {"source": ["%matplotlib inline\n", "größe = 'ä'; lr = 0.1  # é\n", "n = [1,\n", " 2]"]},
        "print(lr)",
        metadata={"kernelspec": {"name": "python3", "language": "python"}, "x": [1]},
    )

    after = rewritten(content, lr=0.25, n=[3], größe="ß")

    before = json.loads(content)
    assert after["cells"][0].pop("source") == [
        "%matplotlib inline\n",
        "größe = 'ß'; lr = 0.25  # é\n",
        "n = ([3]\n",
        ")",
    ]
    before["cells"][0].pop("source")
    assert after == before


def test_an_unchanged_notebook_is_written_as_jupyter_writes_it() -> None:
    content = notebook("lr = 0.1", "print('ü')")
    flag = flags_of(content).find("lr")
    assert flag is not None
    assert isinstance(flag.binding, Global)

    assert rewrite_notebook(content.encode(), [(flag.binding, 0.1)]).decode() == content


def test_a_notebook_that_changed_meanwhile_is_not_rewritten() -> None:
    flag = flags_of(notebook("lr = 0.1")).find("lr")
    assert flag is not None
    assert isinstance(flag.binding, Global)

    with pytest.raises(ReenactError, match="changed after its flags were found"):
        rewrite_notebook(notebook("lr = 0.2").encode(), [(flag.binding, 0.5)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[]", "it has no cells"),
        (b'{"cells": 3}', "it has no cells"),
        (b"[" * 100_000, "no JSON"),
        (b'{"nbformat": 3, "worksheets": []}', "of version 3"),
    ],
)
def test_what_is_no_notebook_is_said(content: bytes, message: str) -> None:
    with pytest.raises(CannotRun, match=message):
        read_notebook(content, "train.ipynb")


def test_strange_notebooks_are_read_as_far_as_they_go() -> None:
    content = json.dumps(
        {
            "cells": [
                3,
                {"cell_type": "code"},
                {"cell_type": "code", "source": [1, "a = 1"], "metadata": {"tags": "parameters"}},
                {"cell_type": "code", "source": "b = '\ud800'", "metadata": []},
            ],
            "metadata": {"kernelspec": 5},
        }
    )

    read = read_notebook(content.encode(), "x.ipynb")

    assert (read.language, read.kernel, len(read.cells)) == ("python", None, 3)
    assert [f.name for f in find_notebook_flags(read, content.encode(), "x.ipynb").flags] == ["a"]


@pytest.mark.parametrize(
    ("metadata", "language", "kernel"),
    [
        ({}, "python", None),
        ({"kernelspec": {"name": "python3"}}, "python", "python3"),
        ({"kernelspec": {"name": "mine", "language": "python"}}, "python", "mine"),
        ({"kernelspec": {"name": "ir", "language": "R"}}, "r", "ir"),
        ({"kernelspec": {"name": "ir"}}, "ir", "ir"),
        ({"language_info": {"name": "julia"}}, "julia", None),
    ],
)
def test_the_language_is_what_the_notebook_says(
    metadata: dict[str, Any], language: str, kernel: str | None
) -> None:
    read = read_notebook(notebook("x", metadata=metadata).encode(), "x.ipynb")

    assert (read.language, read.kernel) == (language, kernel)
