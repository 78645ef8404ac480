"""What a difference between two runs is made of."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from reenact.model.flags import FlagValue
from reenact.model.identity import Digest
from reenact.model.metrics import Summary
from reenact.model.record import flag_to_json, to_json
from reenact.store.store import StoredRun

SECTIONS = (
    "run", "flags", "params", "source", "inputs", "environment", "machine", "runtime", "outputs",
    "metrics",
)  # fmt: skip
"""What is compared of two runs, in the order in which it is shown."""


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


ChangeT = TypeVar("ChangeT", Change, SourceChange, MetricChange)


class Section(msgspec.Struct, Generic[ChangeT], frozen=True):
    """What differs in one respect; `is_complete`: everything was compared."""

    changes: tuple[ChangeT, ...] = ()
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
    params: Section[Change] | None = None
    source: Section[SourceChange] | None = None
    inputs: Section[Change] | None = None
    environment: Section[Change] | None = None
    machine: Section[Change] | None = None
    runtime: Section[Change] | None = None
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


def kind_of(is_in_a: bool, is_in_b: bool) -> ChangeKind:
    """Tell what became of something by where it is."""
    if is_in_a and is_in_b:
        return ChangeKind.CHANGED
    return ChangeKind.REMOVED if is_in_a else ChangeKind.ADDED


def compare_facts(
    a: Mapping[str, FlagValue], b: Mapping[str, FlagValue], *, group: str | None = None
) -> list[Change]:
    """Return what differs between two sets of facts, sorted by name."""
    return [
        Change(
            name=name, kind=kind_of(name in a, name in b), group=group, a=a.get(name), b=b.get(name)
        )
        for name in sorted({*a, *b})
        if name not in a or name not in b or not _is_same(a[name], b[name])
    ]


def _is_same(a: FlagValue, b: FlagValue) -> bool:
    """Compare by what a record says, so that `1`, `1.0` and `true` differ and NaN is itself."""
    return to_json(flag_to_json(a)) == to_json(flag_to_json(b))
