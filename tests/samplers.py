"""What every sampler must do. A test class says how its sampler is made, and what it can do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest

from reenact.model.flags import FlagValue
from reenact.search.samplers import Direction, Sampler, Spaces
from reenact.search.samplers.points import fit
from reenact.search.samplers.registry import make_sampler
from reenact.search.values import Choices, FloatSpace, IntSpace

MIXED: Spaces = {
    "lr": FloatSpace(low=1e-5, high=1.0, log=True),
    "dropout": FloatSpace(low=-0.5, high=0.5),
    "layers": IntSpace(low=1, high=6),
    "units": IntSpace(low=1, high=1000, log=True),
    "optimizer": Choices(values=("adam", "sgd", None, 1, 1.5, True, [1, 2], {"a": 1})),
}
NUMBERS: Spaces = {"x": FloatSpace(low=-10.0, high=10.0), "y": FloatSpace(low=-10.0, high=10.0)}

Objective = Callable[[Mapping[str, FlagValue]], float]


def bowl(settings: Mapping[str, FlagValue]) -> float:
    x, y = settings["x"], settings["y"]
    assert isinstance(x, float)
    assert isinstance(y, float)
    return (x - 3) ** 2 + (y + 4) ** 2


def search(sampler: Sampler, objective: Objective, trials: int) -> list[float]:
    """Search one by one; return what the objective was each time."""
    found = []
    for _ in range(trials):
        (settings,) = sampler.ask(1)
        found.append(objective(settings))
        sampler.tell(settings, [found[-1]])
    return found


class SamplerContract:
    """Subclass with the name of a sampler.

    Attributes:
        trials: after so many it must be better than random search.
        startup: from so many trials on it uses what it was told.
        is_random: the seed decides.
        learns: results decide.
        objectives: as many as it can have.
    """

    name: ClassVar[str]
    trials: ClassVar[int] = 60
    startup: ClassVar[int] = 12
    is_random: ClassVar[bool] = True
    learns: ClassVar[bool] = True
    objectives: ClassVar[int] = 2

    def make(
        self,
        spaces: Spaces,
        *,
        seed: int = 0,
        directions: tuple[Direction, ...] = (Direction.MINIMIZE,),
    ) -> Sampler:
        sampler: Sampler = make_sampler(self.name, spaces, directions, seed=seed).sampler
        return sampler

    def test_every_proposal_is_inside_the_spaces(self) -> None:
        sampler = self.make(MIXED)

        for i in range(self.startup + 8):
            (settings,) = sampler.ask(1)
            assert list(settings) == list(MIXED)
            assert repr(fit(MIXED, settings)) == repr(settings)
            sampler.tell(settings, [math.sin(i)])

    def test_equal_seeds_propose_equally(self) -> None:
        first, second = self.make(MIXED, seed=5), self.make(MIXED, seed=5)

        for i in range(self.startup + 3):
            asked = first.ask(1)
            assert repr(asked) == repr(second.ask(1))
            first.tell(asked[0], [i % 4])
            second.tell(asked[0], [i % 4])

    def test_other_seeds_propose_otherwise(self) -> None:
        is_equal = self.make(MIXED, seed=1).ask(3) == self.make(MIXED, seed=2).ask(3)

        assert is_equal is not self.is_random

    def test_it_makes_no_difference_who_tried(self) -> None:
        own = self.make(NUMBERS)
        results = []
        for _ in range(self.startup // 4 + 1):
            for settings in own.ask(4):
                results.append((settings, bowl(settings)))
                own.tell(settings, [bowl(settings)])
        resumed = self.make(NUMBERS)
        for settings, value in results:
            resumed.tell(settings, [value])

        assert resumed.ask(2) == own.ask(2)

    def test_what_is_being_tried_survives_a_kill(self) -> None:
        own = self.make(NUMBERS)
        results = [(settings, bowl(settings)) for settings in own.ask(self.startup)]
        for settings, value in results:
            own.tell(settings, [value])
        running = own.ask(2)
        resumed = self.make(NUMBERS)
        for settings, value in results:
            resumed.tell(settings, [value])
        for settings in running:
            resumed.expect(settings)

        assert resumed.ask(2) == own.ask(2)

    def test_what_is_asked_for_together_is_different(self) -> None:
        sampler = self.make(NUMBERS)
        search(sampler, bowl, self.startup)

        together = sampler.ask(4)

        assert len({repr(settings) for settings in together}) == 4

    def test_failures_and_nan_are_lived_with(self) -> None:
        sampler = self.make(NUMBERS)
        outcomes = [None, [math.nan], [math.inf], [-math.inf], [1e300], [3.0]]

        for i in range(self.startup + len(outcomes)):
            (settings,) = sampler.ask(1)
            sampler.tell(settings, outcomes[i % len(outcomes)])

        assert fit(NUMBERS, sampler.ask(1)[0])

    def test_nothing_but_failures_is_lived_with(self) -> None:
        sampler = self.make(NUMBERS)

        for _ in range(self.startup + 2):
            sampler.tell(sampler.ask(1)[0], None)

        assert fit(NUMBERS, sampler.ask(1)[0])

    def test_results_of_elsewhere_teach_nothing(self) -> None:
        sampler = self.make(NUMBERS)

        sampler.tell({"x": 11.0, "y": 0.0}, [0.0])
        sampler.tell({"x": 1.0}, [0.0])
        sampler.tell({"x": "high", "y": 0.0, "z": 1}, [0.0])

        assert fit(NUMBERS, sampler.ask(1)[0])

    def test_earlier_runs_have_flags_of_other_types_and_more_of_them(self) -> None:
        spaces: Spaces = {"n": IntSpace(low=1, high=3), "p": FloatSpace(low=0.0, high=1.0)}
        one, other = self.make(spaces), self.make(spaces)

        one.tell({"n": 3.0, "p": "0.5", "epochs": 7}, [1])
        other.tell({"n": 3, "p": 0.5}, [1.0])

        assert one.ask(2) == other.ask(2)

    def test_a_finite_space_is_tried_once_and_then_there_is_an_end(self) -> None:
        spaces: Spaces = {"n": IntSpace(low=1, high=5), "c": Choices(values=("a", "b", [1]))}
        sampler = self.make(spaces)
        tried = []

        while proposed := sampler.ask(4):
            for settings in proposed:
                tried.append(repr(settings))
                sampler.tell(settings, [float(len(tried))])

        assert len(tried) == len(set(tried)) == 15

    def test_a_maximum_is_the_minimum_of_the_opposite(self) -> None:
        down = self.make(NUMBERS, directions=(Direction.MINIMIZE,))
        up = self.make(NUMBERS, directions=(Direction.MAXIMIZE,))

        for _ in range(self.startup):
            (settings,) = down.ask(1)
            assert up.ask(1) == [settings]
            down.tell(settings, [bowl(settings)])
            up.tell(settings, [-bowl(settings)])

        assert down.ask(1) == up.ask(1)

    def test_it_learns(self) -> None:
        last = self.trials // 3
        own = search(self.make(NUMBERS, seed=1), bowl, self.trials)[-last:]
        chance = search(
            make_sampler("random", NUMBERS, [Direction.MINIMIZE], seed=1).sampler,
            bowl,
            self.trials,
        )[-last:]

        assert (sum(own) < sum(chance) / 2) is self.learns

    def test_it_weighs_several_objectives(self) -> None:
        directions = (Direction.MINIMIZE, Direction.MAXIMIZE)
        if self.objectives < 2:
            with pytest.raises(Exception, match="one objective"):
                self.make(NUMBERS, directions=directions)
            return
        sampler = self.make(NUMBERS, directions=directions)

        for i in range(self.startup + 3):
            (settings,) = sampler.ask(1)
            values = [bowl(settings), math.nan if i % 5 == 0 else float(i)]
            sampler.tell(settings, values)

        assert fit(NUMBERS, sampler.ask(1)[0])

    def test_it_does_not_depend_on_how_python_hashes(self) -> None:
        code = (
            "import sys, json; sys.path += json.loads(sys.argv[2]); import samplers\n"
            "down = [samplers.Direction.MINIMIZE]\n"
            "s = samplers.make_sampler(sys.argv[1], samplers.MIXED, down).sampler\n"
            f"for i in range({self.startup}): s.tell(s.ask(1)[0], [i % 5])\n"
            "print(json.dumps(s.ask(2)))"
        )
        path = [place for place in sys.path if place]
        answers = {
            subprocess.run(
                [sys.executable, "-c", code, self.name, json.dumps(path)],
                env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.path.dirname(__file__)},
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for seed in ("1", "2")
        }

        assert len(answers) == 1
