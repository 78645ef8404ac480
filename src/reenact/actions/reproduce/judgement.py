"""Judge runs against the run that they are to show again: series, outputs, samples, and why."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC
from typing import NamedTuple, TypeAlias, TypeVar

import msgspec

from reenact.actions.changes import Change, ChangeKind, RunDiff
from reenact.actions.context import Context
from reenact.actions.diff import diff_runs
from reenact.judge.names import is_occasional
from reenact.judge.outputs.moments import Period
from reenact.judge.outputs.output import judge_output
from reenact.judge.outputs.printed import Printed, judge_printed
from reenact.judge.overall import worst
from reenact.judge.pairing import pair_paths
from reenact.judge.series import judge_series
from reenact.judge.statistics import correct_for_many, judge_samples
from reenact.judge.tolerance import ROUNDING, Tolerance, Tolerances
from reenact.model.identity import RunId
from reenact.model.metrics import SAMPLED
from reenact.model.paths import printable, text_to_path
from reenact.model.run import File, Run, Status
from reenact.model.secrets import redact_text
from reenact.model.verdict import (
    STDOUT,
    Cause,
    Expectation,
    OutputVerdict,
    SeriesVerdict,
    StatisticVerdict,
    Verdict,
)
from reenact.store.blobs import digest_file
from reenact.store.metric_log import Series, read_series
from reenact.store.output_log import STDERR, read_output
from reenact.store.output_log import STDOUT as STDOUT_STREAM
from reenact.store.store import RECORD_DIRECTORY, StoredRun

_Judged = TypeVar("_Judged", SeriesVerdict, OutputVerdict)
_Points: TypeAlias = tuple["array[int]", "array[float]"]
_MOST_CHANCES = 20
_MOST_WORDS = 1000
_MOST_PRINTED = 64 << 20
_MOST_NAMES = 200
_LONG_NAME = 6
"""A shorter name than this may stand in a text by chance."""


_OTHER_SOFTWARE = msgspec.structs.replace(ROUNDING, text="0.001 % (other packages)")
"""As `ROUNDING`; but what is beyond it differs: that is what an upgrade is tested for."""


class Rules(NamedTuple):
    """What is asked of a result.

    Attributes:
        tolerances: per metric, and per output by its path.
        margins: how far means may be apart, per metric.
        expectation: what may be asked at best.
        is_other_machine: sums may be rounded otherwise, for whatever comes of that.
    """

    tolerances: Tolerances
    margins: Tolerances
    expectation: Expectation = Expectation.IDENTICAL
    is_other_machine: bool = False

    def tolerance(self, name: str) -> Tolerance | None:
        """Return what is tolerated of a metric or output."""
        found = self.tolerances.for_metric(name)
        if found is None and self.expectation is Expectation.TOLERANCE:
            return ROUNDING if self.is_other_machine else _OTHER_SOFTWARE
        return found

    @property
    def named(self) -> frozenset[str]:
        """Metrics and outputs that the user named: they count whatever they are called."""
        return frozenset((*self.tolerances.names(), *self.margins.names()))


class Judged(NamedTuple):
    """What came of one reproducing run."""

    series: tuple[SeriesVerdict, ...]
    outputs: tuple[OutputVerdict, ...]
    printed: OutputVerdict | None = None


def judge_run(original: StoredRun, reproduced: StoredRun, rules: Rules) -> Judged:
    """Compare what a run left with what its reproduction left."""
    before, after = _series(original), _series(reproduced)
    series = []
    for name, points in before.items():
        pair = _columns(points), _columns(after.get(name))
        if is_occasional(name):
            pair = _in_both(*pair)
            if not pair[0][0]:
                continue
        tolerance = rules.tolerance(name)
        series.append(
            judge_series(
                name,
                *pair,
                tolerance,
                expectation=rules.expectation,
                is_cut=was_cut(original),
            )
        )
    outputs = tuple(_outputs(original, reproduced, rules))
    return Judged(tuple(series), outputs, _judge_printed(original, reproduced, rules))


def was_cut(original: StoredRun) -> bool:
    """Tell whether a run was stopped by something else than itself."""
    end = original.record.exit
    return end is None or end.signal is not None or end.requested is not None


def failure_of(original: StoredRun, reproduced: StoredRun) -> str | None:
    """Say why a reproduction gave no result; None where it ended as the original did."""
    run = reproduced.run
    if run is None:
        return reproduced.damage or "its record is damaged"
    if run.exit is None:
        return f"it was {reproduced.status}: there is no result"
    before = None if original.run is None else original.run.exit
    now = run.exit
    if reproduced.status is Status.COMPLETED:
        return None
    words = failure_words(reproduced)
    is_same = before is not None and (before.code, before.signal) == (now.code, now.signal)
    if is_same and now.requested is None:
        return None
    return f"{words}; it can read nothing from the keyboard" if "EOFError" in words else words


def failure_words(stored: StoredRun) -> str:
    """Say how a run failed: its exit status, and the exception as far as it is known."""
    run = stored.run
    if run is None or run.exit is None:
        return stored.damage or f"it is {stored.status}"
    text = run.exit.describe()
    if run.failure is not None:
        return f"{text}: {run.failure.type}: {run.failure.message}"
    last = _last_words(stored)
    return f"{text}: {last}" if last else text


def _last_words(stored: StoredRun) -> str:
    """Return the last line that a run wrote to standard error: the exception, in Python."""
    told = b""
    with suppress(OSError):
        for piece in read_output(f"{stored.directory}/{RECORD_DIRECTORY}"):
            if piece.stream == STDERR:
                told = (told + piece.data)[-_MOST_WORDS:]
    lines = printable(redact_text(told.decode(errors="replace"))).splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def worst_of(
    found: Iterable[Iterable[_Judged]], name_of: Callable[[_Judged], str]
) -> tuple[_Judged, ...]:
    """Return, for each metric or output, the verdict of the run in which it came back least."""
    by_name: dict[str, _Judged] = {}
    for one in (one for verdicts in found for one in verdicts):
        known = by_name.setdefault(name_of(one), one)
        if worst([known.verdict, one.verdict]) is not known.verdict:
            by_name[name_of(one)] = one
    return tuple(by_name.values())


# --- series ---


def _series(stored: StoredRun) -> dict[str, Series]:
    run = stored.record
    found = read_series(f"{stored.directory}/{RECORD_DIRECTORY}", kinds=run.kinds_of_series)
    return {name: series for name, series in found.items() if not name.startswith(SAMPLED)}


def _columns(series: Series | None) -> _Points:
    return (array("q"), array("d")) if series is None else (series.steps, series.values)


def _in_both(original: _Points, reproduced: _Points) -> tuple[_Points, _Points]:
    """Return the points at steps that both series have."""
    steps = set(original[0]).intersection(reproduced[0])
    one, other = (
        [point for point in zip(*points, strict=True) if point[0] in steps]
        for points in (original, reproduced)
    )
    return _points(one), _points(other)


def _points(pairs: Sequence[tuple[int, float]]) -> _Points:
    return array("q", [step for step, _ in pairs]), array("d", [value for _, value in pairs])


# --- outputs ---


def _outputs(original: StoredRun, reproduced: StoredRun, rules: Rules) -> Iterable[OutputVerdict]:
    before, after = _by_place(original), _by_place(reproduced)
    pairs = pair_paths(before, after, _hosts())
    names = _renamed(pairs)
    for path, other in pairs:
        if path is None:
            continue
        old, new = before[path], after.get(other or "")
        if old.target is not None or (new is not None and new.target is not None):
            yield _judge_link(path, old.target, None if new is None else new.target)
            continue
        tolerance = rules.tolerance(path)
        pair = None if tolerance is None else (tolerance.relative, tolerance.absolute)
        yield judge_output(
            path,
            _content(original, old),
            None if new is None else _content(reproduced, new),
            original_digest=old.digest,
            reproduced_digest=None if new is None else new.digest,
            tolerance=pair,
            directories=(original.directory, reproduced.directory),
            periods=_periods(original, reproduced),
            names=names,
        )


def _renamed(pairs: Iterable[tuple[str | None, str | None]]) -> list[tuple[str, str]]:
    """Return what outputs are called that have other names in each run, the longest first."""
    found = {}
    for path, other in pairs:
        if path is not None and other is not None and path != other:
            parts = zip(path.split("/"), other.split("/"), strict=False)
            found[path] = other
            found.update((one, two) for one, two in parts if one != two and len(one) >= _LONG_NAME)
    return sorted(found.items(), key=lambda pair: -len(pair[0]))[:_MOST_NAMES]


def _by_place(stored: StoredRun) -> dict[str, File]:
    """Return outputs by their paths in the project: a run in place has written them there."""
    root = f"{stored.record.project.root}/"
    return {file.path.removeprefix(root): file for file in stored.record.outputs}


def _content(stored: StoredRun, file: File) -> str | None:
    """Return where the content of an output is; None where another one is there now."""
    path = os.path.join(stored.directory, text_to_path(file.path))
    if not os.path.isabs(file.path):
        return path
    # Whoever came later may have written to the same file.
    try:
        return path if digest_file(path)[0] == file.digest else None
    except OSError:
        return None


def _periods(original: StoredRun, reproduced: StoredRun) -> tuple[Period, Period] | None:
    """Return when both ran; None where one has no end."""
    one, other = (
        None if run.started is None or run.ended is None else Period(run.started, run.ended)
        for run in (original.record, reproduced.record)
    )
    return None if one is None or other is None else (one, other)


def _judge_link(path: str, before: str | None, after: str | None) -> OutputVerdict:
    is_same = before == after
    return OutputVerdict(
        path=path,
        verdict=Verdict.IDENTICAL if is_same else Verdict.DIFFERS,
        how="link",
        detail=None if is_same else f"it led to {before or 'no other file'}, now to {after}",
    )


def _hosts() -> tuple[str, ...]:
    return (os.uname().nodename,)


# --- what was printed ---


def _judge_printed(
    original: StoredRun, reproduced: StoredRun, rules: Rules
) -> OutputVerdict | None:
    """Compare standard output; None where neither run printed anything."""
    tolerance = rules.tolerance(STDOUT)
    found = judge_printed(
        _printed(original),
        _printed(reproduced),
        tolerance=None if tolerance is None else (tolerance.relative, tolerance.absolute),
        directories=(original.directory, reproduced.directory),
        periods=_periods(original, reproduced),
        names=_renamed(pair_paths(_by_place(original), _by_place(reproduced), _hosts())),
    )
    if found is None or found.detail is None:
        return found
    return msgspec.structs.replace(found, detail=redact_text(found.detail))


def _printed(stored: StoredRun) -> Printed:
    """Return what a run wrote to standard output; of very much, the beginning."""
    run = stored.record
    data = bytearray()
    with suppress(OSError):
        for piece in read_output(f"{stored.directory}/{RECORD_DIRECTORY}"):
            if piece.stream == STDOUT_STREAM:
                data += piece.data
            if len(data) > _MOST_PRINTED:
                break
    times = [time for time in (run.started, run.ended) if time is not None]
    days = {time.astimezone(zone).date() for time in times for zone in (UTC, None)}
    return Printed(bytes(data[:_MOST_PRINTED]), sorted(days))


# --- samples ---


def judge_many(
    originals: Sequence[StoredRun], reproduced: Sequence[StoredRun], rules: Rules
) -> tuple[StatisticVerdict, ...]:
    """Compare how the values of each metric are distributed over two groups of runs.

    The value of a run is the last one of a series; runs that gave none are left out.
    """
    before, after = [last_values(one) for one in originals], [last_values(o) for o in reproduced]
    # The last of scores that not every fit has is that of another fit.
    names = dict.fromkeys(name for values in before for name in values if not is_occasional(name))
    seeds = [_seed(one) for one in originals], [_seed(one) for one in reproduced]
    found = []
    for name in names:
        old = [(v[name], s) for v, s in zip(before, seeds[0], strict=True) if name in v]
        new = [(v[name], s) for v, s in zip(after, seeds[1], strict=True) if name in v]
        found.append(
            judge_samples(
                name,
                [value for value, _ in old],
                [value for value, _ in new],
                margin=rules.margins.for_metric(name),
                seeds=([seed for _, seed in old], [seed for _, seed in new]),
            )
        )
    return correct_for_many(found)


def last_values(stored: StoredRun) -> dict[str, float]:
    """Return the last value of each metric of a run."""
    run = stored.run
    if run is None:
        return {}
    return {
        name: float(summary.last)
        for name, summary in run.metrics.items()
        if not name.startswith(SAMPLED)
    }


def _seed(stored: StoredRun) -> int | None:
    return None if stored.run is None else seed_of(stored.run)


def seed_of(run: Run) -> int | None:
    """Return the seed that a run had, by a flag or by Reenact."""
    from reenact.search.trials import SEED_FLAGS

    for name in SEED_FLAGS:
        value = run.flags.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return run.seed


# --- causes ---

_SECTIONS = frozenset(["flags", "source", "inputs", "environment", "machine", "runtime"])
_DECISIVE = ("architecture", "gpus", "gpu_driver")


def find_causes(context: Context, original: StoredRun, reproduced: StoredRun) -> list[Cause]:
    """Name everything that was not the same in a reproduction, the most telling first."""
    diff = diff_runs(context, original, reproduced, sections=_SECTIONS)
    causes = list(_source_causes(diff))
    causes += [_cause("input", c) for c in _changes(diff.inputs) if _is_content(c)]
    causes += [_cause("flag", change) for change in _changes(diff.flags)]
    old, new = original.record, reproduced.record
    if old.seed != new.seed:
        causes.append(Cause(kind="seed", what="seed", original=old.seed, reproduced=new.seed))
    for change in _changes(diff.environment):
        kinds = {"package": "package", "conda": "package", "python": "python"}
        if change.group == "leftover":
            continue
        causes.append(_cause(kinds.get(change.group or "", "variable"), change))
    for change in _changes(diff.machine):
        if change.name in _DECISIVE or change.group == "CPU feature":
            causes.append(_cause("machine", change))
    for change in _changes(diff.runtime):
        if change.group == "thread pool":
            causes.append(_cause("threads", change))
    return causes


def chances_of(runs: Iterable[Run]) -> list[Cause]:
    """Name the sources of chance that were seen in runs: what remains where nothing else differs."""
    found: dict[tuple[str, str | None], Cause] = {}
    for run in runs:
        for chance in run.randomness.chances if run.randomness is not None else ():
            found[chance.what, chance.place] = Cause(
                kind="nondeterminism", what=chance.what, detail=chance.place
            )
    return list(found.values())[:_MOST_CHANCES]


def _changes(section: object) -> tuple[Change, ...]:
    changes: tuple[Change, ...] = getattr(section, "changes", ())
    return changes


def _is_content(change: Change) -> bool:
    """Whether an input is another one, and not only elsewhere."""
    return change.kind is ChangeKind.CHANGED or change.group != "data"


def _cause(kind: str, change: Change) -> Cause:
    return Cause(kind=kind, what=change.name, original=change.a, reproduced=change.b)


def _source_causes(diff: RunDiff) -> Iterable[Cause]:
    if diff.source is None:
        return
    for change in diff.source.changes:
        lines = None
        if change.added_lines is not None and change.removed_lines is not None:
            lines = f"+{change.added_lines} -{change.removed_lines} lines"
            if (at := _first_line(change.diff)) is not None:
                lines += f", first at line {at}"
        yield Cause(kind="source", what=change.name, detail=lines or str(change.kind))


def _first_line(diff: str | None) -> int | None:
    """Return the number of the first line that differs, in the new file."""
    number = 0
    is_inside = False
    for line in (diff or "").splitlines():
        if line.startswith("@@"):
            number = int(line.split("+", 1)[1].split(",")[0].split(" ")[0])
            is_inside = True
        elif is_inside:
            if line[:1] in "+-":
                return number
            number += 1
    return None


def ids(runs: Iterable[StoredRun]) -> tuple[RunId, ...]:
    """Return the ids of runs."""
    return tuple(one.id for one in runs)
