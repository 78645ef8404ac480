"""Measure verdicts: how long a series of 1,000,000 points takes, and how often a verdict is wrong.

Usage: `python benchmarks/bench_verdicts.py [CASES]`, 1,000 simulated cases of each kind unless told.
Series are measured with and without NumPy, each in a process of its own: the least of several, in
milliseconds of processor time. A case are N original and M new runs of normal values, whose means
are so many margins apart. At the margin, `reproduced` is wrong in 5 % of cases at most; at zero,
`differs` is. For the default margin, an estimate of two deviations, the new runs are shifted by two
true ones. The last lines are not normal: heaps, skewed, coarse, another spread.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable

POINTS = 1_000_000
ROUNDS = 5
TRUE_DEFAULT = 2.0
SIZES = ((2, 2), (3, 3), (5, 3), (5, 5), (10, 3), (10, 10), (30, 10), (10, 30))
Draw = Callable[[random.Random], float]


def measure_series() -> None:
    from reenact.judge.series import judge_series
    from reenact.judge.tolerance import Tolerance
    from reenact.store.metric_block import numpy_for

    chance = random.Random(1)
    steps = array("q", range(POINTS))
    loss = array("d", (2 + 1 / (1 + at / 1e4) + chance.gauss(0, 0.1) for at in steps))
    close = array("d", (value * (1 + 1e-9 * chance.random()) for value in loss))
    around = array("d", (chance.gauss(0, 1) for _ in steps))
    other = array("d", (chance.gauss(0, 1) for _ in steps))
    broken = array("d", (value if chance.random() > 0.001 else float("nan") for value in loss))
    last = array("d", loss)
    last[-1] += 1e-9
    thousand = array("q", (at % 1000 for at in steps))
    tolerance = Tolerance(relative=1e-6)
    numpy_for(POINTS)
    for what, a, b in (
        ("equal", (steps, loss), (steps, loss[:])),
        ("the last point differs", (steps, loss), (steps, last)),
        ("all differ, and are allowed", (steps, loss), (steps, close)),
        ("NaN in a thousandth", (steps, loss), (steps, broken)),
        ("unrelated, both signs", (steps, around), (steps, other)),
        ("half of the steps", (steps, loss), (steps[::2], close[::2])),
        (
            "steps that begin anew, the first is missing",
            (thousand, loss),
            (thousand[1:], close[1:]),
        ),
    ):
        times = []
        for _ in range(ROUNDS):
            begin = time.process_time()
            verdict = judge_series("loss", a, b, tolerance)
            times.append((time.process_time() - begin) * 1000)
        print(f"{what:44} {min(times):6.0f} ms   {verdict.verdict}")


def simulate(
    cases: int,
    sizes: tuple[int, int],
    *,
    shift: float,
    margin: float | None,
    draw: Draw = lambda chance: chance.gauss(0, 1),
    new: Draw | None = None,
    paired: float = 0.0,
    seed: int = 1,
) -> Counter[str]:
    """Return how often each verdict was given.

    Args:
        cases: how many.
        sizes: original and new runs.
        shift: what new runs are off, in margins.
        margin: as the user says it; None for the default.
        draw: a value of an original run, less 100.
        new: of a new run, less 100 and the shift; None for the same.
        paired: correlation of runs with the same seed; 0 for no seeds.
        seed: of the whole simulation.
    """
    from reenact.judge.statistics import judge_samples
    from reenact.judge.tolerance import Tolerance

    chance = random.Random(seed)
    found: Counter[str] = Counter()
    new = new or draw
    for _ in range(cases):
        common = [paired**0.5 * draw(chance) for _ in range(max(sizes))]
        own = (1 - paired) ** 0.5
        original = [100 + common[at] + own * draw(chance) for at in range(sizes[0])]
        limit = TRUE_DEFAULT if margin is None else margin
        reproduced = [
            100 + common[at] + own * new(chance) + shift * limit for at in range(sizes[1])
        ]
        seeds = (range(sizes[0]), range(sizes[1])) if paired else None
        of_user = None if margin is None else Tolerance(absolute=margin)
        verdict = judge_samples("acc", original, reproduced, margin=of_user, seeds=seeds)
        found[verdict.verdict.value] += 1
    return found


def coarse(chance: random.Random) -> float:
    """Return an accuracy of 200 examples, say."""
    return round(chance.gauss(0, 1))


def skewed(chance: random.Random) -> float:
    return chance.expovariate(1) - 1


def heaps(chance: random.Random) -> float:
    return chance.gauss(chance.choice((-2, 2)), 0.5)


def measure_verdicts(cases: int) -> None:
    from reenact.judge import statistics

    # How many further runs are proposed is not measured, and takes most of the time.
    statistics.MOST_SEEDS = 1
    print(f"\n{'':34}{'shift 0':>22}{'shift 1 margin':>25}")
    print(f"{'runs, margin':34}{'reproduced   differs':>22}{'reproduced   differs':>25}")
    kinds: list[tuple[str, dict[str, object]]] = [
        (f"{n} + {m}, {label}", {"sizes": (n, m), "margin": margin})
        for label, margin in (("1 sd", 1.0), ("2 sd", 2.0), ("default", None))
        for n, m in SIZES
    ]
    kinds += [
        (f"{n} + {m}, 0.5 sd, paired 0.9", {"sizes": (n, m), "margin": 0.5, "paired": 0.9})
        for n, m in ((5, 5), (10, 5), (10, 10))
    ]
    for name, draw in (("skewed", skewed), ("heaps", heaps), ("coarse", coarse)):
        for n, m in ((5, 5), (10, 10)):
            kinds.append(
                (f"{n} + {m}, 2 sd, {name}", {"sizes": (n, m), "margin": 2.0, "draw": draw})
            )
    for n, m in ((5, 5), (10, 10), (10, 3)):
        wide = {"sizes": (n, m), "margin": 2.0, "new": lambda chance: chance.gauss(0, 3)}
        kinds.append((f"{n} + {m}, 2 sd, new sd thrice", wide))
    for label, options in kinds:
        cells = []
        for shift in (0.0, 1.0):
            found = simulate(cases, shift=shift, **options)  # type: ignore[arg-type]
            good = sum(
                found[v] for v in ("identical", "within tolerance", "statistically equivalent")
            )
            cells += [100 * good / cases, 100 * found["differs"] / cases]
        print(f"{label:34}{cells[0]:10.1f} %{cells[1]:8.1f} %{cells[2]:13.1f} %{cells[3]:8.1f} %")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--series"]:
        if "--without-numpy" in sys.argv:
            sys.modules["numpy"] = None  # type: ignore[assignment]
        measure_series()
        sys.exit()
    for option in ((), ("--without-numpy",)):
        print("\n".join(option) or "with NumPy", flush=True)
        subprocess.run([sys.executable, __file__, "--series", *option], check=True)
    measure_verdicts(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
