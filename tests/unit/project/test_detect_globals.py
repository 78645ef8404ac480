"""Flags that are module-level literals, and scripts that are strange."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reenact.model.flags import FlagType, Global
from reenact.project.detect import detect
from unit.project.conftest import Project


def found(project: Project, source: str | bytes) -> dict[str, object]:
    return {name: flag.default for name, flag in project.flags(source).items()}


@pytest.mark.parametrize(
    ("line", "default", "kind"),
    [
        ("x = 3", 3, FlagType.INT),
        ("x = -3", -3, FlagType.INT),
        ("x: int = 3", 3, FlagType.INT),
        ("x = 0.1", 0.1, FlagType.FLOAT),
        ("x = 1/3", 1 / 3, FlagType.FLOAT),
        ("x = 2**5", 32, FlagType.INT),
        ("x = 60 * 60", 3600, FlagType.INT),
        ("x = int(1e6)", 1000000, FlagType.INT),
        ("x = float('inf')", float("inf"), FlagType.FLOAT),
        ("x = True", True, FlagType.BOOL),
        ("x = not True", False, FlagType.BOOL),
        ("x = 'adam'", "adam", FlagType.STRING),
        ("x = 'a' 'b'", "ab", FlagType.STRING),
        ("x = None", None, FlagType.ANY),
        ("x = [1, 2]", [1, 2], FlagType.LIST),
        ("x = (0.9, 0.999)", [0.9, 0.999], FlagType.LIST),
        ("x = 1, 2", [1, 2], FlagType.LIST),
        ("x = {3}", [3], FlagType.LIST),
        ("x = [[1], (2,)]", [[1], [2]], FlagType.LIST),
    ],
)
def test_literals_are_flags(project: Project, line: str, default: object, kind: FlagType) -> None:
    flag = project.flags(line + "\n")["x"]

    assert (flag.default, flag.type) == (default, kind)
    assert flag.found == "train.py:1"
    assert isinstance(flag.binding, Global)
    assert flag.binding.file == "train.py"


@pytest.mark.parametrize(
    "source",
    [
        "_x = 1",
        "__version__ = '1'",
        "x = y = 1",
        "x, y = f()",
        "x, *y = 1, 2",
        "x, y = 1, 2\ny = 3\nx = 4",
        "x = []",
        "x = {}",
        "x = print",
        "x = lambda: 1",
        "x = f'{1}'",
        "x = b'bytes'",
        "x = 1j",
        "x = ...",
        "x = 2 ** 10 ** 10",
        "x = 'a' * 10 ** 9",
        "x = 1 / 0",
        "x = 'long' * 300",
        "x = {1: 'one', 'two words': 2}",
        "x: int",
        "'''x = 1'''",
        "class A:\n    x = 1",
        "def f():\n    x = 1",
        "if True:\n    x = 1",
        "x = 1\nx = 2",
        "x = 1\nx += 1",
        "x = 1\ndel x",
        "x = 1\nfor x in []: pass",
        "x = 1\nfor i in []:\n    x = 2",
        "x = 1\nif i:\n    x = 2",
        "x = 1\nwith open('f') as x: pass",
        "x = 1\ntry:\n    pass\nexcept OSError as x:\n    pass",
        "x = 1\nimport x",
        "x = 1\nfrom os import path as x",
        "x = 1\ndef x(): pass",
        "x = 1\nclass x: pass",
        "x = 1\nprint(x := 2)",
        "x = 1\nmatch 1:\n    case x: pass",
        "x = 1\nif __name__ == '__main__':\n    x = 2",
    ],
)
def test_what_is_no_setting_is_no_flag(project: Project, source: str) -> None:
    assert found(project, source + "\n") == {}


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\ndef f():\n    global x\n    x = 2",
        "x = 1\nprint([x for x in range(3)])",
        "x = 1\nprint(lambda x: x)",
        "x = 1\nclass A:\n    x = 2",
        "import os\nif __name__ == '__main__':\n    x = 1\n    print(x)",
    ],
)
def test_what_does_not_bind_the_name_again_does_no_harm(project: Project, source: str) -> None:
    assert found(project, source + "\n")["x"] == 1


def test_names_that_are_assigned_together_are_flags_of_their_own(project: Project) -> None:
    source = "lr, epochs = 0.1, 10\n[name, size] = ['u', (1, 2)]\n"

    assert found(project, source) == {"lr": 0.1, "epochs": 10, "name": "u", "size": [1, 2]}


def test_members_of_dicts_and_namespaces_are_flags(project: Project) -> None:
    source = """
from types import SimpleNamespace
import argparse
config = {"lr": 0.1, "optimizer": {"name": "adam", "betas": (0.9, 0.99)}, "n": len("x")}
args = SimpleNamespace(epochs=3, seed=config["lr"])
more = dict(depth=4)
opt = argparse.Namespace(width=8)
easy = EasyDict({"k": 5})
config["lr"] = 0.2
more.depth = 7
"""

    assert found(project, source) == {
        "config.optimizer.name": "adam",
        "config.optimizer.betas": [0.9, 0.99],
        "args.epochs": 3,
        "opt.width": 8,
        "easy.k": 5,
    }


def test_settings_in_capitals_are_flags(project: Project) -> None:
    assert found(project, "EPOCHS = 3\nlr = 0.1\n") == {"EPOCHS": 3, "lr": 0.1}


def test_values_that_the_script_sets_arrive(project: Project) -> None:
    source = (
        "import json\nlr = 0.1\nlayers = (1, 2)\nopt = dict(name='sgd', k=1)\n"
        "rate, count = 0.5, 2\n"
        "if __name__ == '__main__':\n    epochs = 3\n"
        "    print(json.dumps([lr, isinstance(layers, tuple), layers, opt, epochs, rate, count]))\n"
    )
    new = project.rewritten(source, "lr=1e-4", "layers=3", "opt.name=adam", "epochs=5", "count=9")
    project.write("train.py", new)

    assert project.run() == [1e-4, True, [3], {"name": "adam", "k": 1}, 5, 0.5, 9]


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (b"def f(:\n", "train.py:1: not understood as Python: "),
        (b"x = '\xff'\n", "train.py"),
        (b"\x00", "train.py"),
        (b"# coding: nonsense\nx = 1\n", "train.py"),
        (b"x = " + b"(" * 500 + b")" * 500, "train.py"),
        (b"\xff\xfex\x00", "train.py"),
    ],
)
def test_what_is_not_python_is_said_and_has_no_flags(
    project: Project, content: bytes, remark: str
) -> None:
    flags = project.detect(content)

    assert flags.kind == "none"
    assert len(flags.remarks) == 1
    assert flags.remarks[0].startswith(remark)


def test_a_script_that_is_not_there_is_said(tmp_path: Path) -> None:
    flags = detect(tmp_path / "no.py", tmp_path)

    assert flags.remarks == ("no.py: No such file or directory",)


def test_an_empty_script_has_no_flags(project: Project) -> None:
    flags = project.detect("")

    assert (flags.kind, flags.flags, flags.remarks) == ("none", (), ())


def test_a_broken_module_is_remarked_and_does_no_harm(project: Project) -> None:
    project.write("options.py", "import argparse\ndef make(:\n    argparse.ArgumentParser()\n")

    flags = project.detect("from options import make\nlr = 0.1\nmake().parse_args()\n")

    assert [flag.name for flag in flags.flags] == ["lr"]
    assert flags.remarks[0].startswith("options.py:2: not understood")


def test_warnings_of_the_script_are_not_ours(project: Project) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        assert found(project, "x = '\\d'\ny = 1 is 1\n")["x"] == "\\d"


def test_modules_that_import_each_other_are_no_trap(project: Project) -> None:
    project.write("a.py", "from b import *\nimport argparse\ndef f(): return g()\n")
    project.write("b.py", "from a import *\nimport argparse\ndef g(): return f()\n")

    script = "import argparse\nfrom a import f\nimport train\np = f()\n"
    assert project.detect(script + "p = argparse.ArgumentParser()\np.parse_args()\n").flags == ()


def test_a_function_that_calls_itself_is_no_trap(project: Project) -> None:
    script = (
        "import argparse\ndef f(n):\n    p = argparse.ArgumentParser()\n    f(n + 1); f(n + 2)\n"
        "    p.add_argument('--lr')\n    return p\nf(0).parse_args()\n"
    )

    assert [flag.name for flag in project.detect(script).flags] == ["lr"]


STATEMENTS = st.sampled_from(
    r"""
import argparse, click, typer, tyro
p = argparse.ArgumentParser()
p.add_argument('--x', default=y, type=f, choices=A)
p.add_argument(*y, **y)
p.parse_args()
p, y = p.parse_known_args()
p.add_subparsers(dest=y).add_parser(y, parents=[p])
p = argparse.ArgumentParser(parents=[p], prefix_chars=y)
p.parents = [p]
y = [y]
y = {**y, 'a': p}
y = p if y else A
y, *p = y
y[0].b = p
y += 1
del y
@click.command()\n@click.option('--z', default=y, type=click.Choice(y))\ndef f(y=1): f(y)
@click.group()\n@f\ndef p(*a, y, **k): return p(*a, **k)
def f(y=1, *a, **k):\n  yield p.parse_args(f(y))\n  return p
class A(A):\n  x: int = 1\n  def g(self): return super().g(), p.parse_args()
class A(argparse.ArgumentParser):\n  def add_argument(self, *a, **k): super().add_argument(*a, **k)
p = A(); p.g(); p.add_argument('y')
f(*y, **y)()
for y in f(): y = p
while y: p.add_argument(y)
with f(p) as (y, p): pass
try:\n  import tyro as y\nexcept y:\n  p.parse_args([])
tyro.cli(A)
typer.run(f)
from . import train
from train import *
lambda y: p
f'{y!r:>{y}} {p}'
y @ p < y in p
y = [p for y in y if p]
async def f(): await p.parse_args()
match p:\n  case A(y): p = y
if (y := p): p.add_argument('--w')
""".strip().splitlines()
).map(lambda line: line.replace("\\n", "\n"))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=150,
)
@given(st.lists(STATEMENTS, max_size=25))
def test_no_heap_of_statements_makes_detection_fail(project: Project, lines: list[str]) -> None:
    project.detect("\n".join(["import argparse, click, typer, tyro", *lines]))


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=100,
)
@given(st.binary(max_size=200))
def test_no_heap_of_bytes_makes_detection_fail(project: Project, content: bytes) -> None:
    project.detect(content)
