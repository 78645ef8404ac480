"""Say what differs between two runs: what they were given, ran from and ran in, and what came out.

Not differences: times, durations, ids, load and other samples of the machine, permission bits other
than the owner's right to execute. What cannot be compared, because a blob is gone or something was
never recorded, is named in `remarks` and makes a section incomplete: it never counts as equal.
"""

from __future__ import annotations

import os
import shlex
from array import array
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from reenact.actions.changes import (
    SECTIONS,
    Change,
    Divergence,
    MetricChange,
    Reported,
    RunDiff,
    Section,
    SourceChange,
    compare_facts,
    kind_of,
)
from reenact.actions.context import Context
from reenact.actions.diff_environment import diff_environment, diff_machine, diff_runtime
from reenact.actions.diff_source import (
    diff_source,
    diff_trees,
    is_outside_source,
    name_of,
    recorded_source,
    unknown_source,
    working_source,
)
from reenact.actions.find import BATCHES, find_run, list_runs
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.execute.data_sets import read_data_set
from reenact.model.flags import FlagValue
from reenact.model.metrics import SAMPLED, Summary, json_number
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.record import to_json
from reenact.model.run import Dataset, File, Randomness, Run, Status
from reenact.model.secrets import REDACTED
from reenact.snapshot.project_root import find_root
from reenact.store.blobs import Blobs
from reenact.store.metric_log import MetricLog, Series, read_series
from reenact.store.store import RECORD_DIRECTORY, StoredRun

_SMALL_DATA_BYTES = 1 << 16
"""Data in memory that is no larger is digested whatever it costs, if it can be."""


def find_pair(context: Context, a: str | None, b: str | None) -> tuple[StoredRun, StoredRun]:
    """Return the runs to compare: the last two unless named, the latest as B.

    Raises:
        NotFound, Ambiguous: a text means no run, or several, or there are no two runs.
        UsageError: A is the latest run, and nothing is said to compare it with.
    """
    if a is None:
        latest = list_runs(context, limit=2, without=[BATCHES])
        if len(latest) < 2:
            raise NotFound(
                "there are no two runs of this project to compare",
                hint="name runs of other projects by their ids",
            )
        return find_run(context, latest[1].id), find_run(context, latest[0].id)
    found = find_run(context, a), find_run(context, b or "@latest")
    if b is None and found[0].id == found[1].id:
        raise UsageError(
            f"run `{a}` is the latest one", hint="name a second run to compare it with"
        )
    return found


def diff_runs(
    context: Context,
    a: StoredRun,
    b: StoredRun,
    *,
    sections: frozenset[str] = frozenset(SECTIONS),
    patterns: tuple[str, ...] = (),
) -> RunDiff:
    """Compare two runs.

    Args:
        context: where the store is.
        a: the run that differences start from.
        b: the run that they lead to.
        sections: which of `SECTIONS`.
        patterns: globs; of source, only files that one of them fits, whole or in the last part.

    Raises:
        Damaged: a record cannot be read.
    """
    blobs = context.store.blobs
    old, new = a.record, b.record
    makers: dict[str, Callable[[], object]] = {
        "run": lambda: _diff_facts(a, b),
        "flags": lambda: _diff_redacted(old.flags, new.flags),
        "params": lambda: _diff_redacted(old.params, new.params),
        "source": lambda: diff_source(blobs, a, b, patterns),
        "inputs": lambda: _diff_inputs(blobs, a, b),
        "environment": lambda: diff_environment(blobs, old, new),
        "machine": lambda: diff_machine(blobs, old, new),
        "runtime": lambda: _diff_runtime(blobs, a, b),
        "outputs": lambda: _diff_files(a, b, old.outputs, new.outputs),
        "metrics": lambda: _diff_metrics(a, b),
    }
    found: dict[str, Any] = {name: make() for name, make in makers.items() if name in sections}
    return RunDiff(a=a, b=b, **found)


def diff_working(context: Context, a: StoredRun, *, patterns: tuple[str, ...] = ()) -> RunDiff:
    """Compare the source that a run was made from with the project's files as they are now.

    The project is the one around the working directory if it is the run's, else where it was.

    Raises:
        NotFound: the project is not there any more.
        Damaged: the record cannot be read.
    """
    run = a.record
    root = context.root
    if context.project.id != run.project.id or run.operation.package is not None:
        path = text_to_path(run.project.root)
        if not os.path.isdir(path):
            raise NotFound(
                f"the project of run {a.id[:8]} is not at `{run.project.root}` any more",
                hint="go to a copy of it with `-C DIRECTORY`",
            )
        root = find_root(path, context.home)
    names = {"a": name_of(a, "A"), "b": "the working tree"}
    if run.source is None:
        return RunDiff(a=a, working=path_to_text(root.path), source=unknown_source([names["a"]]))
    try:
        before = recorded_source(context.store.blobs, run.source.tree)
    except ReenactError as error:
        section = Section[SourceChange]((), (f"{names['a']}: {error.message}",), False)
        return RunDiff(a=a, working=path_to_text(root.path), source=section)
    after = working_source(context, root, before)
    return RunDiff(a=a, working=path_to_text(root.path), source=diff_trees(before, after, patterns))


# --- facts ---


def _diff_facts(a: StoredRun, b: StoredRun) -> Section[Change]:
    found = compare_facts(_facts(a), _facts(b))
    if _command(a, is_own=True) == _command(b, is_own=True):
        found = [change for change in found if change.name != "command"]
    return Section(tuple(found))


def _facts(stored: StoredRun) -> dict[str, FlagValue]:
    run = stored.record
    vcs = run.source.vcs if run.source is not None else None
    facts: dict[str, FlagValue | None] = {
        "status": stored.status.value,
        "exit": run.exit.describe() if run.exit is not None else None,
        "operation": run.operation.name,
        "project": run.project.id,
        "command": _command(stored),
        "directory": run.cwd,
        "in place": run.in_place,
        "commit": vcs.commit if vcs is not None else None,
        "branch": vcs.branch if vcs is not None else None,
        "uncommitted changes": vcs.is_dirty if vcs is not None else None,
        **_chance_in(run),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _chance_in(run: Run) -> dict[str, FlagValue | None]:
    """Return what decided about chance in a run, as far as its result may depend on it."""
    found = run.randomness or Randomness()
    is_used = "reenact" in found.seeded.values()
    return {
        "seed": run.seed if is_used else None,
        "deterministic": run.is_deterministic or None,
    }


def _command(stored: StoredRun, *, is_own: bool = False) -> str:
    """Return a run's command; `is_own`: its own directory and id are replaced by words."""
    text = shlex.join(stored.record.command)
    if is_own:
        text = text.replace(stored.directory, "<run directory>").replace(stored.id, "<run id>")
    return text


def _diff_redacted(a: Mapping[str, FlagValue], b: Mapping[str, FlagValue]) -> Section[Change]:
    hidden = [
        f"`{name}` is redacted in both runs: whether it differs is not known"
        for name in sorted(a)
        if a[name] == REDACTED and b.get(name) == REDACTED
    ]
    return Section(tuple(compare_facts(a, b)), tuple(hidden), not hidden)


# --- files ---


def _diff_inputs(blobs: Blobs, a: StoredRun, b: StoredRun) -> Section[Change]:
    """Compare inputs, those in memory too; of data sets that differ, file by file.

    Modules from outside the project are source.
    """
    before = {file.path: file for file in a.record.inputs if not is_outside_source(file)}
    after = {file.path: file for file in b.record.inputs if not is_outside_source(file)}
    remarks: list[str] = []
    for path in [p for p in before if p in after and before[p].digest == after[p].digest]:
        if before[path].files is not None and before[path].digest is not None:
            # What is equal as a whole is not taken apart.
            del before[path], after[path]
    old = [part for file in before.values() for part in _parts(blobs, file, remarks)]
    new = [part for file in after.values() for part in _parts(blobs, file, remarks)]
    section = _diff_files(a, b, tuple(old), tuple(new))
    in_memory = _diff_datasets(a.record, b.record, remarks)
    every = (*section.remarks, *dict.fromkeys(remarks))
    changes = (*section.changes, *in_memory)
    return Section(changes, every, section.is_complete and not remarks)


def _diff_datasets(a: Run, b: Run, remarks: list[str]) -> list[Change]:
    """Compare what frameworks were given in memory; say in `remarks` what cannot be compared."""
    before, after = ({_name_of_data(d): _facts_of_data(d) for d in r.datasets} for r in (a, b))
    large = {_name_of_data(d) for d in a.datasets if (d.size_bytes or 0) > _SMALL_DATA_BYTES}
    for name, facts in before.items():
        if "digest" not in facts and after.get(name) == facts:
            why = "was too large to digest" if name in large else "has no digest"
            remarks.append(f"`{name}` {why}: whether it differs is not known")
    return compare_facts(before, after, group="in memory")


def _name_of_data(data: Dataset) -> str:
    return " ".join(filter(None, (data.model, data.role, data.name)))


def _facts_of_data(data: Dataset) -> dict[str, FlagValue]:
    facts: dict[str, FlagValue] = {
        "shape": list(data.shape),
        "dtype": data.dtype,
        "digest": data.digest,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _parts(blobs: Blobs, file: File, remarks: list[str]) -> list[File]:
    """Return the files that an input is made of: itself, unless it is a data set."""
    if file.files is None or file.digest is None:
        return [file]
    try:
        entries = read_data_set(blobs, file.digest).files
    except (ReenactError, msgspec.DecodeError) as error:
        why = error.message if isinstance(error, ReenactError) else str(error)
        remarks.append(f"which files of `{file.path}` differ is not known: {why}")
        return [file]
    prefix = "" if file.path == "." else f"{file.path}/"
    return [
        File(path=prefix + path, size_bytes=size, digest=digest) for path, size, digest in entries
    ]


def _diff_files(
    a: StoredRun, b: StoredRun, a_files: tuple[File, ...], b_files: tuple[File, ...]
) -> Section[Change]:
    before = {file.path: file for file in a_files}
    after = {file.path: file for file in b_files}
    changes = []
    remarks = _unfinished(a, b)
    for path in sorted({*before, *after}):
        old, new = before.get(path), after.get(path)
        is_same = _is_same_file(old, new) if old is not None and new is not None else False
        if is_same is None:
            reason = next((f.reason for f in (old, new) if f is not None and f.reason), None)
            remarks.append(f"`{path}` was not read{f' ({reason})' if reason else ''}: not compared")
        elif not is_same:
            kind = kind_of(old is not None, new is not None)
            changes.append(Change(name=path, kind=kind, a=_described(old), b=_described(new)))
    return Section(tuple(changes), tuple(remarks), not remarks)


def _is_same_file(old: File, new: File) -> bool | None:
    """Tell whether two files hold the same; None where that is not known."""
    if old.target != new.target:
        return False
    if old.digest is not None and new.digest is not None:
        return old.digest == new.digest
    if old.target is not None and old.digest == new.digest:
        return True
    if None not in (old.size_bytes, new.size_bytes) and old.size_bytes != new.size_bytes:
        return False
    return None


def _described(file: File | None) -> FlagValue:
    if file is None:
        return None
    facts: dict[str, FlagValue] = {
        "size_bytes": file.size_bytes,
        "digest": file.digest,
        "target": file.target,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _unfinished(a: StoredRun, b: StoredRun) -> list[str]:
    return [
        f"run {stored.id[:8]} has not ended: what it does from now on is not compared"
        for stored in {a.id: a, b.id: b}.values()
        if stored.status in (Status.RUNNING, Status.PENDING)
    ]


def _diff_runtime(blobs: Blobs, a: StoredRun, b: StoredRun) -> Section[Change]:
    if remarks := _unfinished(a, b):
        return Section((), tuple(remarks), False)
    return diff_runtime(blobs, a.record, b.record)


# --- metrics ---


_Pair: TypeAlias = tuple[dict[str, Series], dict[str, Series]]


def _diff_metrics(a: StoredRun, b: StoredRun) -> Section[MetricChange]:
    summaries = _summaries(a), _summaries(b)
    remarks = _unfinished(a, b)
    try:
        series: _Pair | None = (_series(a), _series(b))
    except ReenactError as error:
        hint = f"; {error.hint}" if error.hint else ""
        remarks.append(f"only what metrics come to is compared: {error.message}{hint}")
        series = None
    changes = []
    for name in sorted({*summaries[0], *summaries[1]}):
        old, new = summaries[0].get(name), summaries[1].get(name)
        first = None
        if series is not None and old is not None and new is not None:
            points = series[0].get(name), series[1].get(name)
            if points[0] is not None and points[1] is not None:
                first = find_divergence(points[0], points[1])
            else:
                remarks.append(f"points of `{name}` are gone: only what they come to is compared")
        if first is not None or to_json(old) != to_json(new):
            kind = kind_of(old is not None, new is not None)
            changes.append(MetricChange(name=name, kind=kind, a=old, b=new, first=first))
    return Section(tuple(changes), tuple(remarks), not remarks)


def _summaries(stored: StoredRun) -> dict[str, Summary]:
    metrics = stored.record.metrics
    if stored.record.ended is None:
        log = MetricLog(f"{stored.directory}/{RECORD_DIRECTORY}")
        metrics = log.summarize().summaries()
    return {name: found for name, found in metrics.items() if not name.startswith(SAMPLED)}


def _series(stored: StoredRun) -> dict[str, Series]:
    try:
        kinds = stored.record.kinds_of_series
        return read_series(f"{stored.directory}/{RECORD_DIRECTORY}", kinds=kinds)
    except OSError:
        return {}


def find_divergence(a: Series, b: Series) -> Divergence | None:
    """Return the first place where two series have another step or another value.

    Values are compared to the last bit, except that any NaN is like any other.
    """
    if a.steps == b.steps and a.values.tobytes() == b.values.tobytes():
        return None
    common = min(len(a.steps), len(b.steps))
    for at in _unequal(a, b, common):
        x, y = a.values[at], b.values[at]
        if a.steps[at] != b.steps[at] or not (x != x and y != y):
            return Divergence(index=at, a=_reported(a, at), b=_reported(b, at))
    if len(a.steps) == len(b.steps):
        return None
    return Divergence(index=common, a=_reported(a, common), b=_reported(b, common))


def _unequal(a: Series, b: Series, end: int) -> list[int]:
    """Return where steps or the bits of values differ, in order."""
    bits = [array("q", series.values.tobytes()) for series in (a, b)]
    pairs = zip(a.steps, b.steps, *bits, strict=False)
    return [at for at, (s, t, x, y) in enumerate(pairs) if (s != t or x != y) and at < end]


def _reported(series: Series, at: int) -> Reported | None:
    if at >= len(series.steps):
        return None
    return Reported(series.steps[at], json_number(series.values[at]))
