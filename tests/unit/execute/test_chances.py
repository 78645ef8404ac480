"""Which listings of directories have an order, and which do not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from reenact.execute.chances import has_order, read_told
from reenact.model.run import Chance

ORDERED = [
    "for n in sorted(os.listdir(d)): pass",
    "n = sorted([p for p in os.listdir(d) if p])",
    "n = sorted(Path(d).glob('*'), key=str)[0]",
    "n = len(os.listdir(d))",
    "n = {p: 1 for p in sorted(glob.glob(d))}",
    "n = {p.name for p in Path(d).iterdir()}",
    "n = set(os.listdir(d))",
    "n = max(glob.iglob(d), key=os.path.getmtime)",
    "assert 'a' in os.listdir(d)",
    "if not os.listdir(d): pass",
    "while os.listdir(d): pass",
    "n = os.listdir(d)\nn.sort()",
    "n = os.listdir(d)\nfor m in sorted(n): pass",
    "def f():\n    n = [p for p in os.scandir(d)]\n    n.sort(key=str)",
    "for a, b, c in os.walk(d):\n    b.sort()",
    "for a, b, c in os.walk(d):\n    for x in sorted(c): pass",
    "os.listdir(d)",
]
LOOSE = [
    "for n in os.listdir(d): pass",
    "n = os.listdir(d)[0]",
    "n = [p for p in glob.glob(d)]",
    "n = os.listdir(d)\nfor m in n: pass",
    "def f():\n    n = os.listdir(d)\n    return n\ndef g(n):\n    n.sort()",
    "for a, b, c in os.walk(d):\n    for x in c: pass",
    "for a in os.walk(d): pass",
    "n = list(Path(d).rglob('*'))",
    "f(os.listdir(d))",
    "return_ = dict(enumerate(os.listdir(d)))",
]


def order_at_the_listing(source: str) -> bool:
    """Tell whether the listing in some source has an order."""
    lines = source.splitlines()
    names = ("listdir", "glob", "iterdir", "scandir", "walk")
    line = next(i for i, text in enumerate(lines, 1) if any(name in text for name in names))
    return has_order(ast.parse(source), line, None)


@pytest.mark.parametrize("source", ORDERED)
def test_what_is_sorted_or_only_counted_has_order(source: str) -> None:
    assert order_at_the_listing(source)


@pytest.mark.parametrize("source", LOOSE)
def test_what_is_used_as_it_comes_has_none(source: str) -> None:
    assert not order_at_the_listing(source)


def test_of_two_listings_in_a_line_the_column_says_which() -> None:
    tree = ast.parse("a = sorted(os.listdir(d)) + os.listdir(e)")

    assert has_order(tree, 1, 11)
    assert not has_order(tree, 1, 28)
    assert not has_order(tree, 1, None)


def test_a_generator_is_in_order_where_it_is_consumed_so() -> None:
    tree = ast.parse(
        "found = Path(d).glob('*')\nfor f in sorted(found): pass\nfor f in found: pass"
    )

    assert has_order(tree, 2, None)
    assert not has_order(tree, 3, None)


def test_what_processes_told_is_taken_together(tmp_path: Path) -> None:
    run, record = tmp_path / "run", tmp_path / "run/.reenact"
    record.mkdir(parents=True)
    script = run / "train.py"
    script.write_text("for n in os.listdir(d): pass\nfor n in sorted(os.listdir(d)): pass\n")
    listing = {"chance": "listing", "what": "os.listdir"}
    lines = [
        {"generator": "random", "by": "reenact", "pid": 1},
        {"generator": "random", "value": "3", "at": [str(script), 9], "pid": 1},
        {"generator": "random", "by": "reenact", "pid": 2},
        {"generator": "torch", "value": "3", "by": "library.seeds", "pid": 1},
        {**listing, "at": [str(script), 1], "pid": 1},
        {**listing, "at": [str(script), 1], "pid": 1, "count": 4},
        {**listing, "at": [str(script), 1], "pid": 2},
        {**listing, "at": [str(script), 2], "pid": 2},
        {**listing, "at": ["/elsewhere/gone.py", 2], "pid": 2},
        {"chance": "operation", "what": "put_", "pid": 2},
        {"chance": "uuid", "what": "uuid.uuid4", "at": ["/tmp/ipykernel_7/123.py", 2], "pid": 2},
        {"chance": 5},
        "nonsense",
    ]
    text = "\n".join(map(repr, lines)) + "\n{'chance': 'torn"
    (record / "randomness").write_text(text)

    told = read_told(str(record), str(run), str(tmp_path / "project"))

    assert told.seeded == {"random": "3 at train.py:9", "torch": "3 at library.seeds"}
    assert told.chances == (
        Chance(kind="listing", what="os.listdir", place="train.py:1", count=5),
        Chance(kind="listing", what="os.listdir", place="/elsewhere/gone.py:2"),
        Chance(kind="operation", what="put_"),
        Chance(kind="uuid", what="uuid.uuid4", place="a cell:2"),
    )


def test_what_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    record = tmp_path / ".reenact"
    record.mkdir()
    (tmp_path / "cell").write_text("%matplotlib\nos.listdir('.')")
    line = {"chance": "listing", "what": "os.listdir", "at": [str(tmp_path / "cell"), 2], "pid": 1}
    (record / "randomness").write_text(repr(line))

    told = read_told(str(record), str(tmp_path), "/project")

    assert [chance.place for chance in told.chances] == ["cell:2"]


def test_without_a_word_nothing_is_told(tmp_path: Path) -> None:
    assert read_told(str(tmp_path), str(tmp_path), "/project") == ({}, ())
