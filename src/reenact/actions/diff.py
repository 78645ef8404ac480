"""Say what differs between two runs: what they were given, ran from and ran in, and what came out.

Not differences: times, durations, ids, load and other samples of the machine, permission bits other
than the owner's right to execute. What cannot be compared, because a blob is gone or something was
never recorded, is named in `remarks` and makes a section incomplete: it never counts as equal.
"""

from __future__ import annotations

import os
import re
import shlex
from array import array
from collections.abc import Callable, Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from reenact.actions.compare import SAMPLED
from reenact.actions.context import Context
from reenact.actions.find import find_run, list_runs
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.model.environment import (
    CondaPackage,
    Environment,
    Machine,
    Package,
    decode_environment,
    decode_machine,
)
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest
from reenact.model.metrics import Summary, json_number, summarize
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import File, Run, Status
from reenact.model.secrets import REDACTED
from reenact.snapshot.git import GitView
from reenact.snapshot.project_root import ProjectRoot, find_root, hash_text
from reenact.snapshot.tree import read_tree, take_snapshot
from reenact.store.blobs import Blobs
from reenact.store.files import read_file
from reenact.store.metric_log import Series, read_points, read_series
from reenact.store.store import RECORD_DIRECTORY, StoredRun

SECTIONS = (
    "run", "flags", "source", "inputs", "environment", "machine", "outputs", "metrics"
)  # fmt: skip

_EXECUTE = 0o100
_CONTEXT_LINES = 3


class ChangeKind(StrEnum):
    """What became of something on the way from A to B."""

    CHANGED = "changed"
    ADDED = "added"
    """Only B has it."""
    REMOVED = "removed"
    """Only A has it."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A fact that differs; `group` says of what sort it is where a section has several."""

    name: str
    kind: ChangeKind
    group: str | None = None
    a: FlagValue = None
    b: FlagValue = None


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """A source file in one of the runs; a symbolic link has a target and no digest."""

    mode: int
    size_bytes: int
    digest: Digest | None = None
    target: str | None = None


class SourceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A source file that differs.

    Attributes:
        diff: as `git diff` would print it; None where a content is gone.
        added_lines: how many lines only B has; None where contents are gone or binary.
        removed_lines: how many lines only A has.
        remark: what the diff does not show, and why.
    """

    name: str
    kind: ChangeKind
    a: SourceState | None = None
    b: SourceState | None = None
    diff: str | None = None
    added_lines: int | None = None
    removed_lines: int | None = None
    remark: str | None = None


class Reported(msgspec.Struct, frozen=True):
    """One point of a series; a value that JSON has no number for is a string."""

    step: int
    value: float | str


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where two series differ; None for the one that has ended there."""

    index: int
    a: Reported | None = None
    b: Reported | None = None


class MetricChange(msgspec.Struct, frozen=True, kw_only=True):
    """A metric that differs. `first` is None where the points of a run are gone."""

    name: str
    kind: ChangeKind
    a: Summary | None = None
    b: Summary | None = None
    first: Divergence | None = None


_Change = TypeVar("_Change", Change, SourceChange, MetricChange)


class Section(msgspec.Struct, Generic[_Change], frozen=True):
    """What differs in one respect; `is_complete`: everything was compared."""

    changes: tuple[_Change, ...] = ()
    remarks: tuple[str, ...] = ()
    is_complete: bool = True


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between A and B; a section is None when nobody asked for it.

    Attributes:
        b: None where A is compared with the working tree, which `working` then names.
    """

    a: StoredRun
    b: StoredRun | None = None
    working: str | None = None
    run: Section[Change] | None = None
    flags: Section[Change] | None = None
    source: Section[SourceChange] | None = None
    inputs: Section[Change] | None = None
    environment: Section[Change] | None = None
    machine: Section[Change] | None = None
    outputs: Section[Change] | None = None
    metrics: Section[MetricChange] | None = None

    @property
    def sections(
        self,
    ) -> dict[str, Section[Change] | Section[SourceChange] | Section[MetricChange]]:
        """The sections that were asked for, by name."""
        found = {name: getattr(self, name) for name in SECTIONS}
        return {name: section for name, section in found.items() if section is not None}

    @property
    def differs(self) -> bool:
        """Something differs."""
        return any(section.changes for section in self.sections.values())

    @property
    def is_complete(self) -> bool:
        """All that was asked for could be compared."""
        return all(section.is_complete for section in self.sections.values())


def find_pair(context: Context, a: str | None, b: str | None) -> tuple[StoredRun, StoredRun]:
    """Return the runs to compare: the last two unless named, the latest as B.

    Raises:
        NotFound, Ambiguous: a text means no run, or several, or there are no two runs.
        UsageError: A is the latest run, and nothing is said to compare it with.
    """
    if a is None:
        latest = list_runs(context, limit=2)
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
        "flags": lambda: _diff_flags(old, new),
        "source": lambda: _diff_source(blobs, a, b, patterns),
        "inputs": lambda: _diff_files(a, b, old.inputs, new.inputs),
        "environment": lambda: _diff_environment(blobs, old, new),
        "machine": lambda: _diff_machine(blobs, old, new),
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
    if context.project.id != run.project.id:
        path = text_to_path(run.project.root)
        if not os.path.isdir(path):
            raise NotFound(
                f"the project of run {a.id[:8]} is not at `{run.project.root}` any more",
                hint="go to a copy of it with `-C DIRECTORY`",
            )
        root = find_root(path, context.home)
    names = {"a": _name(a, "A"), "b": "the working tree"}
    if run.source is None:
        return RunDiff(a=a, working=path_to_text(root.path), source=_unknown_source([names["a"]]))
    try:
        before = _recorded_source(context.store.blobs, run.source.tree)
    except ReenactError as error:
        section = Section[SourceChange]((), (f"{names['a']}: {error.message}",), False)
        return RunDiff(a=a, working=path_to_text(root.path), source=section)
    after = _working_source(context, root, before)
    return RunDiff(
        a=a, working=path_to_text(root.path), source=_diff_trees(before, after, patterns)
    )


# --- facts ---


def _compare_facts(
    a: Mapping[str, FlagValue], b: Mapping[str, FlagValue], *, group: str | None = None
) -> list[Change]:
    return [
        Change(
            name=name, kind=_kind(name in a, name in b), group=group, a=a.get(name), b=b.get(name)
        )
        for name in sorted({*a, *b})
        if name not in a or name not in b or not _is_same(a[name], b[name])
    ]


def _kind(is_in_a: bool, is_in_b: bool) -> ChangeKind:
    if is_in_a and is_in_b:
        return ChangeKind.CHANGED
    return ChangeKind.REMOVED if is_in_a else ChangeKind.ADDED


def _is_same(a: FlagValue, b: FlagValue) -> bool:
    """Compare by what a record says, so that `1`, `1.0` and `true` differ and NaN is itself."""
    return to_json(flag_to_json(a)) == to_json(flag_to_json(b))


def _diff_facts(a: StoredRun, b: StoredRun) -> Section[Change]:
    found = _compare_facts(_facts(a), _facts(b))
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
    }
    return {name: value for name, value in facts.items() if value is not None}


def _command(stored: StoredRun, *, is_own: bool = False) -> str:
    """Return a run's command; `is_own`: its own directory and id are replaced by words."""
    text = shlex.join(stored.record.command)
    if is_own:
        text = text.replace(stored.directory, "<run directory>").replace(stored.id, "<run id>")
    return text


def _diff_flags(a: Run, b: Run) -> Section[Change]:
    hidden = [
        f"`{name}` is redacted in both runs: whether it differs is not known"
        for name in sorted(a.flags)
        if a.flags[name] == REDACTED and b.flags.get(name) == REDACTED
    ]
    return Section(tuple(_compare_facts(a.flags, b.flags)), tuple(hidden), not hidden)


# --- files ---


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
            kind = _kind(old is not None, new is not None)
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


# --- environment and machine ---

_Described = TypeVar("_Described", Environment, Machine)


def _load(
    blobs: Blobs,
    a: Digest | None,
    b: Digest | None,
    decode: Callable[..., _Described],
    what: str,
) -> tuple[_Described, _Described] | Section[Change]:
    """Return both values, or the section that can be made without them."""
    missing = [name for name, digest in (("A", a), ("B", b)) if digest is None]
    if missing:
        remark = f"{' and '.join(missing)}: no {what} was recorded"
        return Section((), (remark,), False)
    assert a is not None
    assert b is not None
    if a == b:
        return Section()
    try:
        old, new = blobs.get(a), blobs.get(b)
        return decode(old, where=f"{what} of A"), decode(new, where=f"{what} of B")
    except ReenactError as error:
        change = Change(name="digest", kind=ChangeKind.CHANGED, a=a, b=b)
        return Section((change,), (f"what differs is not known: {error.message}",), False)


def _diff_environment(blobs: Blobs, a: Run, b: Run) -> Section[Change]:
    own = _compare_facts(dict(a.variables), dict(b.variables), group="set for the run")
    loaded = _load(blobs, a.environment, b.environment, decode_environment, "environment")
    if isinstance(loaded, Section):
        return Section((*loaded.changes, *own), loaded.remarks, loaded.is_complete)
    before, after = loaded
    remarks: list[str] = []
    changes: list[Change] = []
    for field in ("python", "packages", "conda", "leftovers"):
        if _is_known(field, before, after, remarks):
            facts = _entries(before, field), _entries(after, field)
            changes += _compare_facts(*facts, group=field.removesuffix("s"))
    changes += _compare_facts(dict(before.variables), dict(after.variables), group="variable")
    return Section((*changes, *own), tuple(remarks), not remarks)


def _entries(environment: Environment, field: str) -> dict[str, FlagValue]:
    value = getattr(environment, field)
    if field == "python":
        facts = msgspec.structs.asdict(value) if value is not None else {}
        return {name: fact for name, fact in facts.items() if fact is not None}
    if field == "leftovers":
        return dict.fromkeys(value, True)
    return {package.name: _version(package) for package in value or ()}


def _version(package: Package | CondaPackage) -> str:
    if isinstance(package, CondaPackage):
        return " ".join(filter(None, (package.version, package.build, package.channel)))
    origin = package.origin
    if origin is None:
        return package.version
    exact = origin.commit or origin.digest
    place = f"{origin.url}@{exact}" if exact else origin.url
    if origin.subdirectory:
        place += f"#subdirectory={origin.subdirectory}"
    return f"{package.version} ({origin.kind} {place})"


def _is_known(field: str, before: _Described, after: _Described, remarks: list[str]) -> bool:
    """Tell whether both know a field; say so where only one does not, or says why it does not."""
    unknown = [
        (name, value.reasons.get(field))
        for name, value in (("A", before), ("B", after))
        if getattr(value, field) is None
    ]
    # Both ignorant for the same reason, or both without such a thing, is no difference.
    if len({reason for _, reason in unknown}) == len(unknown):
        for name, reason in unknown:
            remarks.append(f"{name}: {field} not known" + (f": {reason}" if reason else ""))
    return not unknown


def _diff_machine(blobs: Blobs, a: Run, b: Run) -> Section[Change]:
    loaded = _load(blobs, a.machine, b.machine, decode_machine, "machine")
    if isinstance(loaded, Section):
        return loaded
    before, after = loaded
    remarks: list[str] = []
    changes: list[Change] = []
    for field in Machine.__struct_fields__:
        has_reason = field in before.reasons or field in after.reasons
        if field == "reasons" or (has_reason and not _is_known(field, before, after, remarks)):
            continue
        if field == "cpu_features":
            sets = [dict.fromkeys(m.cpu_features or (), True) for m in loaded]
            changes += _compare_facts(dict(sets[0]), dict(sets[1]), group="CPU feature")
        else:
            changes += _compare_facts(_machine_fact(before, field), _machine_fact(after, field))
    return Section(tuple(changes), tuple(remarks), not remarks)


def _machine_fact(machine: Machine, field: str) -> dict[str, FlagValue]:
    value = getattr(machine, field)
    if value is None:
        return {}
    return {field: msgspec.to_builtins(value)}


# --- metrics ---


def _diff_metrics(a: StoredRun, b: StoredRun) -> Section[MetricChange]:
    summaries = _summaries(a), _summaries(b)
    series = _series(a), _series(b)
    remarks = _unfinished(a, b)
    changes = []
    for name in sorted({*summaries[0], *summaries[1]}):
        old, new = summaries[0].get(name), summaries[1].get(name)
        first = None
        if old is not None and new is not None:
            points = series[0].get(name), series[1].get(name)
            if points[0] is not None and points[1] is not None:
                first = find_divergence(points[0], points[1])
            else:
                remarks.append(f"points of `{name}` are gone: only what they come to is compared")
        if first is not None or to_json(old) != to_json(new):
            kind = _kind(old is not None, new is not None)
            changes.append(MetricChange(name=name, kind=kind, a=old, b=new, first=first))
    return Section(tuple(changes), tuple(remarks), not remarks)


def _summaries(stored: StoredRun) -> dict[str, Summary]:
    metrics = stored.record.metrics
    if stored.record.ended is None:
        metrics = summarize(read_points(f"{stored.directory}/{RECORD_DIRECTORY}"))
    return {name: found for name, found in metrics.items() if not name.startswith(SAMPLED)}


def _series(stored: StoredRun) -> dict[str, Series]:
    try:
        return read_series(f"{stored.directory}/{RECORD_DIRECTORY}")
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


# --- source ---


class _Tree(NamedTuple):
    """Source files by path, and how to read one."""

    files: dict[str, SourceState]
    read: Callable[[str, SourceState], bytes]


def _diff_source(
    blobs: Blobs, a: StoredRun, b: StoredRun, patterns: tuple[str, ...]
) -> Section[SourceChange]:
    old, new = a.record.source, b.record.source
    if old is None or new is None:
        sides = ((old, _name(a, "A")), (new, _name(b, "B")))
        return _unknown_source([name for source, name in sides if source is None])
    if old.tree == new.tree:
        return Section()
    try:
        before, after = _recorded_source(blobs, old.tree), _recorded_source(blobs, new.tree)
    except ReenactError as error:
        change = SourceChange(name="*", kind=ChangeKind.CHANGED)
        return Section((change,), (f"which files differ is not known: {error.message}",), False)
    return _diff_trees(before, after, patterns)


def _name(stored: StoredRun, side: str) -> str:
    return f"{side} ({stored.id[:8]})"


def _unknown_source(names: list[str]) -> Section[SourceChange]:
    return Section((), (f"{' and '.join(names)}: no source was kept",), False)


def _recorded_source(blobs: Blobs, digest: Digest) -> _Tree:
    tree = read_tree(blobs, digest)
    files = {
        path: SourceState(mode=mode, size_bytes=size, digest=content)
        for path, mode, size, content in tree.files
    }
    files.update({path: _link_state(target) for path, target in tree.links})

    def read(_path: str, state: SourceState) -> bytes:
        assert state.digest is not None
        return blobs.get(state.digest)

    return _Tree(files, read)


def _working_source(context: Context, root: ProjectRoot, recorded: _Tree) -> _Tree:
    view = GitView(root.path, context.env) if root.toplevel is not None else None
    listed = view.files if view is not None else None
    if view is not None and view.problem is not None:
        listed = None
    only = None
    if root.is_loose and listed is None:
        # A script among things that are no project: what lies beside it was never its source.
        only = sorted({text_to_path(path).partition("/")[0] for path in recorded.files})
    now = take_snapshot(
        root.path,
        listed=listed,
        blobs=None,
        cache_path=f"{context.store.cache_directory}/tree-{hash_text(root.path)}",
        only=only,
    )
    files = {
        path_to_text(f.path): SourceState(mode=f.mode, size_bytes=f.size, digest=f.digest)
        for f in now.sources
    }
    files.update({path_to_text(p): _link_state(path_to_text(t)) for p, t in now.source_links})

    def read(path: str, _state: SourceState) -> bytes:
        return read_file(f"{root.path}/{text_to_path(path)}")

    return _Tree(files, read)


def _link_state(target: str) -> SourceState:
    return SourceState(mode=0o777, size_bytes=len(os.fsencode(text_to_path(target))), target=target)


def _diff_trees(before: _Tree, after: _Tree, patterns: tuple[str, ...]) -> Section[SourceChange]:
    changes = []
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if patterns and not any(
            fnmatchcase(path, p) or fnmatchcase(path.rpartition("/")[2], p) for p in patterns
        ):
            continue
        if old is None or new is None or not _is_same_source(old, new):
            changes.append(_source_change(path, old, new, before, after))
    lost = tuple(change.name for change in changes if change.diff is None)
    return Section(tuple(changes), (), not lost)


def _is_same_source(old: SourceState, new: SourceState) -> bool:
    return (
        old.digest == new.digest
        and old.target == new.target
        and old.mode & _EXECUTE == new.mode & _EXECUTE
    )


def _source_change(
    path: str, old: SourceState | None, new: SourceState | None, before: _Tree, after: _Tree
) -> SourceChange:
    kind = _kind(old is not None, new is not None)
    change = SourceChange(name=path, kind=kind, a=old, b=new)
    if old is not None and new is not None and (old.target is None) != (new.target is None):
        remark = "a file became a link" if new.target is not None else "a link became a file"
        change = msgspec.structs.replace(change, remark=remark)
    try:
        contents = _content(path, old, before), _content(path, new, after)
    except (ReenactError, OSError) as error:
        message = error.message if isinstance(error, ReenactError) else str(error.strerror)
        return msgspec.structs.replace(change, remark=message)
    header = _header(path, old, new)
    if contents[0] == contents[1]:
        return msgspec.structs.replace(change, diff=header, added_lines=0, removed_lines=0)
    if any(b"\0" in content for content in contents):
        names = _header_names(path, old, new)
        diff = f"{header}Binary files {names[0]} and {names[1]} differ\n"
        return msgspec.structs.replace(change, diff=diff, remark="binary")
    texts, not_text = _texts(contents)
    body, added, removed = unified_diff(*texts)
    if body:
        names = _header_names(path, old, new)
        # A tab ends a name that has blanks in it, as git writes it.
        ends = ["\t\n" if " " in name else "\n" for name in names]
        header += f"--- {names[0]}{ends[0]}+++ {names[1]}{ends[1]}"
    return msgspec.structs.replace(
        change,
        diff=header + body,
        added_lines=added,
        removed_lines=removed,
        remark=not_text or change.remark,
    )


def _content(path: str, state: SourceState | None, tree: _Tree) -> bytes:
    if state is None:
        return b""
    if state.target is not None:
        return os.fsencode(text_to_path(state.target))
    return tree.read(path, state)


def _texts(contents: tuple[bytes, bytes]) -> tuple[tuple[str, str], str | None]:
    try:
        return (contents[0].decode(), contents[1].decode()), None
    except UnicodeDecodeError:
        texts = [content.decode("utf-8", "backslashreplace") for content in contents]
        return (texts[0], texts[1]), r"not UTF-8: other bytes are shown as \xNN"


def unified_diff(old: str, new: str) -> tuple[str, int, int]:
    """Return the hunks that lead from one text to another, and how many lines come and go."""
    from difflib import unified_diff as compare

    before, after = _lines(old), _lines(new)
    # What is alike at both ends costs difflib most of its time; the lines of context stay.
    start = max(0, _common(before, after) - _CONTEXT_LINES)
    rest = min(len(before), len(after)) - start
    tail = min(_common(before[start:][::-1], after[start:][::-1]), rest)
    tail = max(0, tail - _CONTEXT_LINES)
    found = compare(
        before[start : len(before) - tail], after[start : len(after) - tail], n=_CONTEXT_LINES
    )
    lines = []
    added = removed = 0
    for line in list(found)[2:]:
        if line.startswith("@@"):
            line = _HUNK.sub(lambda m: f"{m[1]}{int(m[2]) + start}", line)
        added += line.startswith("+")
        removed += line.startswith("-")
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines), added, removed


_HUNK = re.compile(r"( [-+])(\d+)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def _lines(text: str) -> list[str]:
    # Not str.splitlines: a form feed or a carriage return ends no line of a patch.
    return _LINE.findall(text)


def _common(a: list[str], b: list[str]) -> int:
    for count, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return count
    return min(len(a), len(b))


def _header(path: str, old: SourceState | None, new: SourceState | None) -> str:
    """Return the lines by which `git apply` knows the file."""
    text = f"diff --git {_quoted(f'a/{path}')} {_quoted(f'b/{path}')}\n"
    if old is None and new is not None:
        return f"{text}new file mode {_git_mode(new)}\n"
    if new is None and old is not None:
        return f"{text}deleted file mode {_git_mode(old)}\n"
    assert old is not None
    assert new is not None
    if _git_mode(old) != _git_mode(new):
        text += f"old mode {_git_mode(old)}\nnew mode {_git_mode(new)}\n"
    return text


def _header_names(path: str, old: SourceState | None, new: SourceState | None) -> tuple[str, str]:
    return (
        "/dev/null" if old is None else _quoted(f"a/{path}"),
        "/dev/null" if new is None else _quoted(f"b/{path}"),
    )


def _git_mode(state: SourceState) -> str:
    if state.target is not None:
        return "120000"
    return "100755" if state.mode & _EXECUTE else "100644"


def _quoted(path: str) -> str:
    """Quote a path as git does: in double quotes with octal bytes where it is not plain."""
    raw = os.fsencode(text_to_path(path))
    if "\\" not in path and '"' not in path and path.isprintable():
        return path
    escaped = "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in raw
    )
    return f'"{escaped}"'
