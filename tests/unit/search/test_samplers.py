"""Samplers by name."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from reenact.errors import CannotRun, UsageError
from reenact.search.samplers import Direction, Spaces
from reenact.search.samplers.registry import make_sampler
from reenact.search.values import FloatSpace

SPACES: Spaces = {"x": FloatSpace(low=0.0, high=1.0)}
DOWN = (Direction.MINIMIZE,)

PLUGIN = """
class Middle:
    def __init__(self, spaces, directions, seed):
        self.spaces, self.directions, self.seed = spaces, directions, seed

    def ask(self, count):
        return [{name: (s.low + s.high) / 2 for name, s in self.spaces.items()}] * count

    def tell(self, settings, values):
        pass

    def expect(self, settings):
        pass

def broken(spaces, directions, *, seed):
    raise RuntimeError("no licence")

def middle(spaces, directions, *, seed):
    return Middle(spaces, directions, seed)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "middle_sampler.py").write_text(PLUGIN)
    about = tmp_path / "middle_sampler-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: middle-sampler\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[reenact.samplers]\nmiddle = middle_sampler:middle\nbroken = middle_sampler:broken\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "own"),
    [("random", "random"), ("cma-es", "cmaes"), ("nsga-ii", "nsga2"), ("tpe", "tpe")],
)
def test_a_sampler_has_one_name_here(name: str, own: str) -> None:
    made = make_sampler(name, SPACES, DOWN)

    assert (made.name, made.remark) == (own, None)


@pytest.mark.parametrize("name", ["forest", "gbrt"])
def test_what_is_not_the_same_is_said(name: str) -> None:
    made = make_sampler(name, SPACES, DOWN)

    assert made.name == "tpe"
    assert made.remark == f"there is no `{name}` here: `tpe` searches instead, which is near to it"


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("tpr", "did you mean `tpe`?"),
        ("midle", "did you mean `middle`?"),
        ("hyperopt", "there are random, grid, tpe, gp, cmaes, nsga2, broken, middle"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"there is no optimizer `{name}`") as caught:
        make_sampler(name, SPACES, DOWN)

    assert (caught.value.hint or "").split(", ")[:2] == hint.split(", ")[:2]


@pytest.mark.usefixtures("plugin")
def test_an_entry_point_is_a_sampler() -> None:
    made = make_sampler("middle", SPACES, DOWN, seed=3)

    assert made.sampler.ask(1) == [{"x": 0.5}]
    assert (made.sampler.directions, made.sampler.seed) == (DOWN, 3)


@pytest.mark.usefixtures("plugin")
def test_a_broken_entry_point_is_named() -> None:
    with pytest.raises(CannotRun, match=r"`broken` of `middle_sampler:broken`.*no licence"):
        make_sampler("broken", SPACES, DOWN)


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("tpe", "optuna", "reenact[search]"),
        ("nsga2", "optuna", "reenact[search]"),
        ("cmaes", "cmaes", "reenact[search]"),
        ("gp", "optuna", "reenact[search]"),
    ],
)
def test_what_is_not_installed_is_said_in_one_line(
    name: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(UsageError) as caught:
        make_sampler(name, SPACES, DOWN)

    assert caught.value.message == (
        f"the optimizer `{name}` needs {module}, which is not installed beside Reenact"
    )
    assert caught.value.hint == f"install `{package}`, or use `--optimizer random`"


@pytest.mark.parametrize("module", ["torch", "scipy"])
def test_without_what_a_gaussian_process_needs_another_search_stands_in(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("torch", "scipy"):
        # Found, whether it is installed or not: the search is made, and never asked.
        found = types.ModuleType(other)
        found.__spec__ = ModuleSpec(other, None)
        monkeypatch.setitem(sys.modules, other, found)
    assert make_sampler("gp", SPACES, DOWN).name == "gp"
    monkeypatch.setitem(sys.modules, module, None)

    made = make_sampler("bayesian", SPACES, DOWN)

    assert made.name == "tpe"
    assert made.remark == (
        f"`gp` needs {module}, which is not installed beside Reenact: `tpe` searches instead; "
        f"install `{module}` for `gp`"
    )
    assert made.sampler.ask(1)


def test_a_search_needs_something_to_search() -> None:
    with pytest.raises(UsageError, match="nothing to search"):
        make_sampler("random", {}, DOWN)


def test_a_search_that_learns_needs_to_know_what_is_better() -> None:
    assert make_sampler("grid", SPACES, ()).sampler.ask(1)
    with pytest.raises(UsageError, match="needs to know what is better"):
        make_sampler("tpe", SPACES, ())
