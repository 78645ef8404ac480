"""The trials of a batch: every combination of what its flags are set to.

The last flag varies fastest, seeds faster still, and the rows of files slowest. Equal combinations
are planned once; who wants one several times says so (`[0.1]*3`) or gives seeds.
"""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import msgspec

from reenact.errors import UsageError
from reenact.model.flags import FlagSet, FlagValue
from reenact.search import draws
from reenact.search.values import Sequence as Several
from reenact.search.values import Setting, Single, identity

MAX_TRIALS = 1_000_000
"""As many trials may be planned without saying how many are wanted."""

SEED_FLAGS = ("seed", "random_seed", "random-seed")
"""Flags, in order of preference, that `--seeds` sets."""

Row: TypeAlias = Mapping[str, Setting]
_Key: TypeAlias = tuple[object, ...]

_SEED_PART = re.compile(r"([0-9]+)(?:\.\.([0-9]+)(?:\.\.([0-9]+))?)?\Z")


class Trial(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of a batch's runs as planned.

    Attributes:
        number: from 1, in the order in which trials begin.
        settings: flag name to value; what is missing is left to its default.
        seed: of `--seeds`; it is among the settings too where the operation has a flag for it.
    """

    number: int
    settings: dict[str, FlagValue]
    seed: int | None = None


def plan_trials(
    settings: Mapping[str, Setting],
    *,
    rows: Sequence[Row] = (),
    seeds: Sequence[int] = (),
    seed_flag: str | None = None,
    limit: int | None = None,
    random_seed: int = 0,
) -> list[Trial]:
    """Return the trials of a batch that is no search.

    Args:
        settings: what the user set, in the user's order. It wins over rows.
        rows: of files of trials; each is combined with the settings.
        seeds: each combination is planned with each of them.
        seed_flag: the flag that takes the seed; None where there is none.
        limit: plan so many at most. Of a larger batch they are chosen at random, each combination
            once, and planned in the order of choosing: a larger limit only adds trials at the end.
            With seeds it is the combinations that are counted.
        random_seed: decides what is chosen.

    Raises:
        UsageError: a setting is a space, a limit is no number of trials, the seed is also set by
            name, or there are more trials than anybody wants.
    """
    grids = [_Grid({**row, **settings}, list(row) + list(settings)) for row in rows or ({},)]
    if limit is not None and limit < 1:
        raise UsageError(f"`--trials {limit}` plans nothing", hint="give a number from 1")
    if seeds and seed_flag is not None and any(seed_flag in grid.names for grid in grids):
        raise UsageError(f"`{seed_flag}` is set, and so are `--seeds`", hint="give one of them")
    total = sum(grid.size for grid in grids)
    if (total if limit is None else min(total, limit)) * max(1, len(seeds)) > MAX_TRIALS:
        raise UsageError(
            f"this makes {total * max(1, len(seeds))} trials, and at most {MAX_TRIALS} may be",
            hint="choose some of them with `--trials`",
        )
    is_drawn = limit is not None and limit < total
    chosen = _drawn(grids, total, random_seed) if is_drawn else _all(grids)
    if len(grids) > 1:
        chosen = _once(chosen)
    return _numbered(itertools.islice(chosen, limit), seeds, seed_flag)


def count_trials(settings: Mapping[str, Setting]) -> int:
    """Return how many combinations the settings make, equal ones counted once."""
    return _Grid(settings, list(settings)).size


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read `0..9`, `0..9..3`, `1,5,7` and lists of these; both ends count, no seed counts twice.

    Raises:
        UsageError: it is none of these.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        found = _SEED_PART.match(part.strip())
        if found is None:
            raise UsageError(
                f"`--seeds {text}`: `{part.strip()}` is no seed",
                hint="write `0..9`, `0..9..3` or `1,5,7`",
            )
        first = int(found[1])
        last = first if found[2] is None else int(found[2])
        step = 1 if found[3] is None else int(found[3])
        if last < first or step < 1:
            raise UsageError(
                f"`--seeds {text}`: `{part.strip()}` cannot be counted through",
                hint="write the smaller seed first, and a step from 1: `0..9..3`",
            )
        count = (last - first) // step + 1
        if count > MAX_TRIALS:
            raise UsageError(
                f"`--seeds {text}`: `{part.strip()}` is {count} seeds, and at most {MAX_TRIALS} "
                "may be",
                hint="name fewer, or take a larger step: `0..9..3`",
            )
        seeds.update(dict.fromkeys(range(first, last + 1, step)))
    return tuple(seeds)


def find_seed_flag(flags: FlagSet) -> str | None:
    """Return the flag that `--seeds` sets, or None where the operation has none."""
    for name in SEED_FLAGS:
        flag = flags.find(name)
        if flag is not None:
            return flag.name
    return None


class _Grid:
    """All combinations of a row's settings, by number, without making them."""

    def __init__(self, settings: Mapping[str, Setting], order: Iterable[str]) -> None:
        self.names = tuple(dict.fromkeys(order))
        self.axes = [_axis(name, settings[name]) for name in self.names]
        self.size = math.prod(len(axis) for axis in self.axes)

    def __iter__(self) -> Iterator[tuple[dict[str, FlagValue], _Key]]:
        for point in itertools.product(*self.axes):
            yield self._settings(point)

    def at(self, index: int) -> tuple[dict[str, FlagValue], _Key]:
        point = []
        for axis in reversed(self.axes):
            index, place = divmod(index, len(axis))
            point.append(axis[place])
        return self._settings(point[::-1])

    def _settings(
        self, point: Sequence[tuple[FlagValue, _Key]]
    ) -> tuple[dict[str, FlagValue], _Key]:
        values = {name: value for name, (value, _) in zip(self.names, point, strict=True)}
        return values, tuple(key for _, key in point)


def _axis(name: str, setting: Setting) -> list[tuple[FlagValue, _Key]]:
    """List a flag's values, each with what it is known by: equal values, equal rounds."""
    if isinstance(setting, Single):
        return [(setting.value, (name, identity(setting.value), 0))]
    if not isinstance(setting, Several):
        raise UsageError(
            f"flag `{name}` is a space to search, which has no end of trials",
            hint="say how to search it with `--optimizer`, and how long with `--trials`",
        )
    values = {identity(value): value for value in setting.values}
    return [(value, (name, key, i)) for i in range(setting.times) for key, value in values.items()]


def _all(grids: Sequence[_Grid]) -> Iterator[tuple[dict[str, FlagValue], _Key]]:
    return itertools.chain.from_iterable(grids)


def _drawn(
    grids: Sequence[_Grid], total: int, seed: int
) -> Iterator[tuple[dict[str, FlagValue], _Key]]:
    ends = list(itertools.accumulate(grid.size for grid in grids))
    for index in draws.shuffled(total, seed, "trials"):
        place = bisect.bisect_right(ends, index)
        yield grids[place].at(index - (ends[place - 1] if place else 0))


def _once(
    chosen: Iterable[tuple[dict[str, FlagValue], _Key]],
) -> Iterator[tuple[dict[str, FlagValue], _Key]]:
    """Drop what came before, even if its flags came in another order."""
    seen = set()
    for settings, key in chosen:
        known = frozenset(key)
        if known not in seen:
            seen.add(known)
            yield settings, key


def _numbered(
    chosen: Iterable[tuple[dict[str, FlagValue], _Key]],
    seeds: Sequence[int],
    seed_flag: str | None,
) -> list[Trial]:
    if not seeds:
        return [Trial(number, settings) for number, (settings, _) in enumerate(chosen, 1)]
    numbers = itertools.count(1)
    return [
        Trial(next(numbers), settings if seed_flag is None else {**settings, seed_flag: seed}, seed)
        for settings, _ in chosen
        for seed in dict.fromkeys(seeds)
    ]
