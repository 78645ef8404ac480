"""Runs: the record of one execution, the notes on it, and what follows from both."""

from __future__ import annotations

import signal
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from reenact.model.identity import Digest, RunId
from reenact.model.metrics import Summary

FORMAT = 1
"""Version of the record. See `docs/reference/format.md`."""


class Status(StrEnum):
    """What has become of a run. Never stored: derived from its lock, times and exit."""

    PENDING = "pending"
    """The run is being prepared; its process has not started."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    """The script ended with an exit status other than 0, or by a signal nobody asked for."""
    TERMINATED = "terminated"
    """The user, the system or a time limit asked for the end: Ctrl-C, `stop`, SIGTERM, SIGHUP."""
    KILLED = "killed"
    """The supervisor is gone and never wrote how the run ended."""
    DAMAGED = "damaged"
    """The record cannot be read."""


class OperationKind(StrEnum):
    """What starts an operation."""

    SCRIPT = "script"
    MODULE = "module"
    COMMAND = "command"


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was run.

    Attributes:
        name: what the user calls it (`train.py`, `pkg.train`, `Rscript train.R`).
        target: path of the script relative to the project's root, the module's name, or the
            command's first word.
        arguments: a command's words as the user wrote them, before `{name}` was filled in.
        flags_kind: how flags reach it; see `FlagSet.kind`.
    """

    name: str
    kind: OperationKind
    target: str
    arguments: tuple[str, ...] = ()
    flags_kind: str = "none"


class Project(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which project a run belongs to.

    Attributes:
        id: `git:<root commit>[:folder]`, else `path:<root>`. Runs of equal ids are one project's.
        root: where the project was on the machine that ran it.
    """

    id: str
    name: str
    root: str


class Vcs(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """State of version control when the run started; `commit` is None before the first one."""

    commit: str | None = None
    branch: str | None = None
    is_dirty: bool | None = None


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The code as it was: `tree` is the blob that lists every file with its digest."""

    tree: Digest
    files: int
    size_bytes: int
    vcs: Vcs | None = None


class File(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that a run read (input) or left behind (output).

    Attributes:
        path: relative to the run directory where it is inside it, else absolute; spelled as
            `model.paths` says.
        digest: of its content, None where it could not be read; `reason` then says why.
        mtime_ns: when it was last modified, for inputs.
        target: where a symbolic link points, for an output that is one.
        role: what an output is, where the script or its framework said so: `figure`, `model`,
            `table`, `image`, `audio`, `text`, `histogram`, `notebook`.
        title: what the script calls it.
    """

    path: str
    size_bytes: int | None = None
    digest: Digest | None = None
    mtime_ns: int | None = None
    target: str | None = None
    reason: str | None = None
    role: str | None = None
    title: str | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that was trained in a run.

    Attributes:
        name: of it in this run; its params are called `<name>.<param>`.
        type: the class, with its module.
        framework: what knows it: `sklearn`, `keras`.
        version: of the framework.
        signature: what goes in and comes out, as far as it was seen: name -> shape and type.
        summary: the framework's own description, such as a table of layers.
        path: of the file in which it was kept, if it was.
    """

    name: str
    type: str
    framework: str
    version: str | None = None
    signature: dict[str, Any] = {}
    summary: str | None = None
    path: str | None = None


class Dataset(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data that a framework was given in memory.

    Attributes:
        name: what the script calls it (`X_train`), else the argument's name.
        role: `train`, `validation` or `test`.
        model: name of the model that got it.
        shape: sizes of its dimensions.
        dtype: type of its elements.
        digest: BLAKE2b, 128 bits in hex digits, of its elements in C order; None if too large.
        size_bytes: size of its elements.
    """

    name: str
    role: str
    model: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str | None = None
    digest: str | None = None
    size_bytes: int | None = None


class Capture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether a framework that the run imported was captured; `detail` says why not."""

    framework: str
    version: str | None = None
    is_captured: bool = True
    detail: str | None = None


class Exit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the process ended.

    Attributes:
        code: its exit status, None when a signal ended it.
        signal: number of the signal that ended it.
        requested: who asked for the end, if anybody did: `interrupt` (Ctrl-C), `terminate`
            (SIGTERM to the supervisor), `hangup`, `stop` (`reenact stop`), `time-limit`.
    """

    code: int | None = None
    signal: int | None = None
    requested: str | None = None

    @property
    def shell_status(self) -> int:
        """The exit status that a shell would show: 128 + n for a signal n."""
        if self.code is not None:
            return self.code
        return 128 + (self.signal or 0)

    def describe(self) -> str:
        """Say it in words: `exit status 1`, `SIGKILL`."""
        if self.signal is None:
            return f"exit status {self.code}"
        try:
            return signal.Signals(self.signal).name
        except ValueError:
            return f"signal {self.signal}"


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the process tree used, as far as the system told; None where it did not."""

    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    max_memory_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    samples: int = 0


class Process(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Python process that the probe reached: an interpreter's `start`, or a `fork` of one."""

    pid: int
    parent_pid: int
    started_ns: int
    kind: str
    python: str | None = None
    executable: str | None = None
    argv: tuple[str, ...] = ()


class Remark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something about the run that its reader must know. `code` is stable, `message` is not."""

    code: str
    message: str


class Run(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """The record of one run: `run.json`, whose `format` is FORMAT.

    Attributes:
        command: the words that were executed, so that they can be pasted into a shell.
        cwd: working directory relative to the run directory, or to the project for a run in place.
        flags: every flag with the value that it had, detected defaults included.
        given: names of the flags that the user set.
        typed: how given flags were written, where that is not how their values are written.
        variables: environment variables that the user set for this run, secrets redacted.
        in_place: the run's working directory was the project's own.
        params: settings that frameworks used or the script told, by `<model>.<name>`; JSON values,
            floats that JSON has no word for as in flags.
        models: what was trained.
        datasets: what it was trained and tested with, where that was in memory.
        captures: frameworks that were imported, and whether they were captured.
        environment: blob that describes interpreter and packages.
        machine: blob that describes hardware and operating system.
        like: the run whose flags and source this one took over.
    """

    id: RunId
    operation: Operation
    project: Project
    command: tuple[str, ...]
    created: datetime
    reenact: str = ""
    cwd: str = "."
    # Values are FlagValue, a recursive type that msgspec cannot read.
    flags: dict[str, Any] = {}
    given: tuple[str, ...] = ()
    typed: dict[str, str] = {}
    variables: dict[str, str] = {}
    in_place: bool = False
    source: Source | None = None
    inputs: tuple[File, ...] = ()
    outputs: tuple[File, ...] = ()
    params: dict[str, Any] = {}
    models: tuple[Model, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    captures: tuple[Capture, ...] = ()
    environment: Digest | None = None
    machine: Digest | None = None
    supervisor_pid: int | None = None
    process_group: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    exit: Exit | None = None
    metrics: dict[str, Summary] = {}
    usage: Usage | None = None
    processes: tuple[Process, ...] = ()
    warnings: tuple[Remark, ...] = ()
    like: RunId | None = None
    restarts: int = 0

    def status(self, *, is_locked: bool) -> Status:
        """Derive what has become of the run.

        Args:
            is_locked: a supervisor holds the run's lock.
        """
        if self.exit is not None:
            if self.exit.requested is not None:
                return Status.TERMINATED
            return Status.COMPLETED if self.exit.code == 0 else Status.FAILED
        if is_locked:
            return Status.RUNNING if self.started is not None else Status.PENDING
        return Status.KILLED

    @property
    def duration_s(self) -> float | None:
        """Seconds between start and end; None while there is no end."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()


class Notes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people say about a run: the only thing that is edited after it ended."""

    label: str | None = None
    tags: tuple[str, ...] = ()
    comment: str | None = None
    marked: bool = False
