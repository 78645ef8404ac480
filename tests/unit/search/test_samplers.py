"""Samplers by name."""

from __future__ import annotations

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from reenact.errors import CannotRun, UsageError
from reenact.model.flags import FlagValue
from reenact.search.samplers import Direction, Spaces
from reenact.search.samplers.registry import make_sampler
from reenact.search.values import FloatSpace

SPACES: Spaces = {"x": FloatSpace(low=0.0, high=1.0)}
DOWN = (Direction.MINIMIZE,)

PLUGIN = """
class Middle:
    def __init__(self, spaces, directions, seed, how_far):
        self.spaces, self.directions, self.seed = spaces, directions, seed
        self.how_far = how_far

    def ask(self, count):
        return [
            {name: s.high - (s.high - s.low) * self.how_far for name, s in self.spaces.items()}
        ] * count

    def tell(self, settings, values):
        pass

    def expect(self, settings):
        pass

def broken(spaces, directions, *, seed):
    raise RuntimeError("no licence")

def middle(spaces, directions, *, seed, how_far=0.5):
    return Middle(spaces, directions, seed, how_far)
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

    assert (made.name, made.remarks) == (own, ())


@pytest.mark.parametrize("name", ["forest", "gbrt"])
def test_what_is_not_the_same_is_said(name: str) -> None:
    made = make_sampler(name, SPACES, DOWN)

    assert made.name == "tpe"
    assert made.remarks == (
        f"there is no `{name}` here: `tpe` searches instead, which is near to it",
    )


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
    assert made.remarks == (
        (
            f"`gp` needs {module}, which is not installed beside Reenact: `tpe` searches instead; "
            f"install `{module}` for `gp`"
        ),
    )
    assert made.sampler.ask(1)


def test_a_search_needs_something_to_search() -> None:
    with pytest.raises(UsageError, match="nothing to search"):
        make_sampler("random", {}, DOWN)


def test_a_search_that_learns_needs_to_know_what_is_better() -> None:
    assert make_sampler("grid", SPACES, ()).sampler.ask(1)
    with pytest.raises(UsageError, match="needs to know what is better"):
        make_sampler("tpe", SPACES, ())


# --- settings ---


def proposals(name: str, settings: dict[str, str | FlagValue], count: int) -> list[float]:
    """Search a bowl; return what was tried of one flag."""
    # Of one flag alone, a mutation of NSGA-II is a random draw.
    spaces: Spaces = {**SPACES, "y": FloatSpace(low=0.0, high=1.0)}
    sampler = make_sampler(name, spaces, DOWN, settings=settings).sampler
    tried = []
    for _ in range(count):
        proposed = sampler.ask(1)[0]
        tried.append(proposed["x"])
        sampler.tell(proposed, [(proposed["x"] - 0.25) ** 2 + proposed["y"]])
    return tried


@pytest.mark.parametrize(
    ("name", "settings", "same"),
    [
        ("tpe", {"random-starts": 3}, 3),
        ("tpe", {"random_starts": "3"}, 3),
        ("tpe", {"candidates": 2}, 10),
        ("nsga2", {"population": 4}, 4),
        ("cmaes", {"population": 4}, 4),
    ],
)
def test_settings_change_what_is_proposed_after_the_first_trials(
    name: str, settings: dict[str, str | FlagValue], same: int
) -> None:
    usual, other = proposals(name, {}, same + 6), proposals(name, settings, same + 6)

    assert usual[:same] == other[:same]
    assert usual[same:] != other[same:]


def test_the_spread_of_the_first_generation_is_a_setting() -> None:
    narrow = proposals("cmaes", {"sigma": 0.01}, 4)

    assert all(abs(x - 0.5) < 0.06 for x in narrow)
    assert any(abs(x - 0.5) > 0.06 for x in proposals("cmaes", {}, 4))


@pytest.mark.parametrize(
    ("name", "settings", "foreseen"),
    [
        ("random", {}, None),
        ("grid", {}, None),
        ("tpe", {}, 10),
        ("tpe", {"random-starts": 2}, 2),
        ("nsga2", {}, 20),
        ("nsga2", {"population": 6}, 6),
        ("cmaes", {}, 6),
        ("cmaes", {"population": 5}, 5),
    ],
)
def test_results_do_not_change_the_first_proposals(
    name: str, settings: dict[str, str | FlagValue], foreseen: int | None
) -> None:
    made = make_sampler(name, SPACES, DOWN, settings=settings)
    together = make_sampler(name, SPACES, DOWN, settings=settings).sampler

    assert made.foreseen == foreseen
    count = foreseen or 5
    expected = together.ask(count)
    for number in range(count):
        (proposed,) = made.sampler.ask(1)
        assert proposed == expected[number]
        made.sampler.tell(proposed, None if number % 3 == 1 else [float(number)])


@pytest.mark.usefixtures("plugin")
def test_settings_of_a_plugin_are_its_keyword_arguments() -> None:
    made = make_sampler("middle", SPACES, DOWN, settings={"how-far": "0.25"})

    assert made.sampler.ask(1) == [{"x": 0.75}]
    assert made.settings == {"how-far": 0.25}
    with pytest.raises(UsageError, match="unknown flag `how-fat` for the optimizer `middle`") as e:
        make_sampler("middle", SPACES, DOWN, settings={"how-fat": "1"})
    assert e.value.hint == "did you mean `how-far`?"
