"""Verdicts: whether a result came back when it was run again, how surely, and where it parted."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from reenact.model.identity import Digest, RunId
from reenact.model.metrics import JsonNumber
from reenact.model.run import Remark

FORMAT = 1
"""Version of the record of a reproduction. See `docs/reference/format.md`."""
STDOUT = "stdout"
"""The path in a verdict on what was printed, which is no file."""
PRINTED = "printed"
"""How it was compared."""


class Verdict(StrEnum):
    """What became of a result, from the surest yes to the surest no."""

    IDENTICAL = "identical"
    """Equal digests, or for numbers equal bits. Never said of anything else."""
    WITHIN_TOLERANCE = "within tolerance"
    """Not the same bytes, and the same result: by its content, or by what the user tolerates."""
    EQUIVALENT = "statistically equivalent"
    """Over many runs, the means lie surely within a margin of each other."""
    INCONCLUSIVE = "inconclusive"
    """What was seen fits a result that came back and one that did not."""
    DIFFERS = "differs"
    COULD_NOT_RUN = "could not run"


class Expectation(StrEnum):
    """What may be asked of a reproduction, from what is known before it starts."""

    IDENTICAL = "identical"
    TOLERANCE = "tolerance"
    """Something that numbers depend on is another: instruction set, GPU, driver, threads, packages."""
    STATISTICS = "statistics"
    """Other seeds: single results may differ, their distribution may not."""


class Parting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first place where two series are not the same.

    Attributes:
        step: None where a series that has no more points ends.
        original: its value there, None where it has none; so `reproduced`.
    """

    step: int
    original: JsonNumber | None = None
    reproduced: JsonNumber | None = None


class SeriesVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a metric's series came back.

    Attributes:
        points: how many the original has.
        first_parting: the first step at which the bits differ.
        first_beyond: the first step at which they differ by more than is tolerated.
        largest_absolute: the largest difference of two values of one step.
        largest_relative: the largest of them divided by the larger magnitude of the two.
        largest_ulps: the same in units in the last place of a double.
        tolerance: what was tolerated, as the user wrote it.
        reason: why the verdict is what it is, where the numbers do not say it.
    """

    name: str
    verdict: Verdict
    points: int
    reproduced_points: int
    original_last: JsonNumber | None = None
    reproduced_last: JsonNumber | None = None
    first_parting: Parting | None = None
    first_beyond: Parting | None = None
    largest_absolute: JsonNumber | None = None
    largest_relative: JsonNumber | None = None
    largest_ulps: int | None = None
    tolerance: str | None = None
    reason: str | None = None


class OutputVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a file that the run left came back.

    Attributes:
        how: what was compared: `digest`, or the name of the comparison of its content: `zip`.
        detail: the first place that differs, or what was left out of the comparison.
        largest_absolute: the largest difference of two numbers, where the content is numbers.
        largest_relative: the largest of them divided by the larger magnitude of the two.
        largest_ulps: the same in units in the last place.
    """

    path: str
    verdict: Verdict
    how: str = "digest"
    original: Digest | None = None
    reproduced: Digest | None = None
    detail: str | None = None
    largest_absolute: JsonNumber | None = None
    largest_relative: JsonNumber | None = None
    largest_ulps: int | None = None

    @property
    def is_printed(self) -> bool:
        """Whether this is about what was printed, and not about a file."""
        return self.how == PRINTED


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the values of one metric in several runs come to.

    Attributes:
        values: one for each run, in the order of the runs.
        sd: standard deviation with n - 1; None for a single run.
        low: lower end of the 95 % confidence interval of the mean; None for a single run.
        high: its upper end.
        modes: around which values they gather, where that is more than one.
    """

    values: tuple[JsonNumber, ...]
    mean: JsonNumber | None = None
    sd: JsonNumber | None = None
    minimum: JsonNumber | None = None
    maximum: JsonNumber | None = None
    low: JsonNumber | None = None
    high: JsonNumber | None = None
    modes: tuple[float, ...] = ()


class StatisticVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the distribution of a metric's value per run came back.

    Attributes:
        margin: how far the means may be apart, in the metric's unit.
        margin_source: where the margin comes from: `user`, `2 sd`, `1 % of the mean`.
        difference: of the means, reproduced less original.
        low: lower end of the 90 % confidence interval of the difference.
        high: its upper end.
        p_equivalence: of the two one-sided tests, the larger.
        p_difference: of the prediction and of Welch's test, the larger, two-sided.
        prediction_low: lower end of the interval in which the mean of the new runs lies in 95 % of
            cases, if nothing has changed.
        prediction_high: its upper end.
        effect: Hedges' g.
        pairs: how many pairs of runs with the same seed were compared; 0 for unpaired samples.
        more_seeds: how many further runs would decide it with a power of 80 %, where it is
            inconclusive.
        reason: why the verdict is what it is: `single run`.
    """

    name: str
    verdict: Verdict
    original: Sample
    reproduced: Sample
    margin: JsonNumber | None = None
    margin_source: str | None = None
    difference: JsonNumber | None = None
    low: JsonNumber | None = None
    high: JsonNumber | None = None
    p_equivalence: JsonNumber | None = None
    p_difference: JsonNumber | None = None
    prediction_low: JsonNumber | None = None
    prediction_high: JsonNumber | None = None
    effect: JsonNumber | None = None
    pairs: int = 0
    more_seeds: int | None = None
    reason: str | None = None


class ClaimVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a stated result was confirmed.

    Attributes:
        verdict: identical, within tolerance or equivalent confirm it; differs refutes it.
        claimed: the stated value.
        found: the value of the reproduction; the mean of several.
        tolerance: what the claim allows, as it is written.
        duration_s: how long its runs took together.
    """

    name: str
    verdict: Verdict
    metric: str
    claimed: JsonNumber
    found: JsonNumber | None = None
    runs: int = 1
    tolerance: str | None = None
    paper: str | None = None
    reason: str | None = None
    duration_s: float | None = None


class Cause(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was not the same in the reproduction, and may be why the result is not.

    Attributes:
        kind: `source`, `input`, `flag`, `seed`, `package`, `python`, `variable`, `machine`,
            `threads`, `nondeterminism`.
        what: the file, package, flag.
        detail: how it differs: `1.26.4 -> 2.0.0`, `line 12`.
    """

    kind: str
    what: str
    original: Any = None
    reproduced: Any = None
    detail: str | None = None


class Reproduction(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """The record of a reproduction: a result was run again, and this came of it.

    Attributes:
        id: as that of a run.
        originals: the runs whose result it is; the first one is that which was run again.
        runs: that were made to reproduce it, in the order of their start.
        environment: `current` or `recorded`.
        expectation: what could be asked, and `reasons` why no more.
        causes: what was not the same.
        printed: how what was written to standard output came back; None where there was nothing.
        verdict: in all; None while the runs are not done, or were interrupted.
        summary: why, in one line.
        asked: the options of the request, by which one that was interrupted goes on.
        remarks: what its reader must know.
        reenact: version that judged.
    """

    id: RunId
    originals: tuple[RunId, ...]
    created: datetime
    verdict: Verdict | None = None
    summary: str = ""
    asked: dict[str, Any] = {}
    runs: tuple[RunId, ...] = ()
    environment: str = "current"
    expectation: Expectation = Expectation.IDENTICAL
    reasons: tuple[str, ...] = ()
    causes: tuple[Cause, ...] = ()
    series: tuple[SeriesVerdict, ...] = ()
    outputs: tuple[OutputVerdict, ...] = ()
    printed: OutputVerdict | None = None
    statistics: tuple[StatisticVerdict, ...] = ()
    claims: tuple[ClaimVerdict, ...] = ()
    remarks: tuple[Remark, ...] = ()
    ended: datetime | None = None
    reenact: str = ""
