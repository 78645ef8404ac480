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

    STAGED = "staged"
    """The run waits, with its snapshot, until somebody starts it: `reenact queue`."""
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
    NOTEBOOK = "notebook"
    FUNCTION = "function"
    """Called in a process that was there before, by `reenact.run(function)`."""
    SESSION = "session"
    """Code in a process that was there before: what stands in `with reenact.start():`."""
    BATCH = "batch"
    """Starts other runs of one operation, its trials; it has no process of its own to watch."""
    PIPELINE = "pipeline"
    """Starts runs of other operations, its steps; like a batch it has no process of its own."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was run.

    Attributes:
        name: what the user calls it (`train.py`, `pkg.train`, `Rscript train.R`).
        target: path of the script or notebook relative to the project's root, the module's name,
            the command's first word, or a function as `train.py:fit`.
        arguments: a command's words as the user wrote them, before `{name}` was filled in.
        flags_kind: how flags reach it; see `FlagSet.kind`.
        model: name of the model that it belongs to in a project file.
        file: the project file that defines it, relative to the project's root.
        definition: blob that says how the file defined it, whatever the file says by now.
        package: the installed package that it is an operation of.
        is_stoppable: an end that somebody asked for counts as completed.
    """

    name: str
    kind: OperationKind
    target: str
    arguments: tuple[str, ...] = ()
    flags_kind: str = "none"
    model: str | None = None
    file: str | None = None
    definition: Digest | None = None
    package: str | None = None
    is_stoppable: bool = False

    @property
    def is_in_process(self) -> bool:
        """Whether it was a part of a process, which went on after the run."""
        return self.kind in (OperationKind.FUNCTION, OperationKind.SESSION)


class Project(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which project a run belongs to.

    Attributes:
        id: `git:<root commit>[:folder]`, else `path:<root>`. Runs of equal ids are one project's.
        root: where the project was on the machine that ran it; for the operation of a package the
            package's directory, while `id` and `name` are of the project that the user was in.
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
        said: how the script called an input, where that is not its path.
        resolved: where an input really lies, where links lead from its path to elsewhere.
        process: which process was the first to open an input, or to write an output.
        files: how many files an input is made of that is a directory: a data set. Its digest is
            that of the blob that lists them, its size their sum.
        origin: the hub from whose cache an input comes: `huggingface`, `torch`, `keras`; of what the
            operation required, the run (`run 1f2e3d4c`) or the URL.
        is_changed: an input changed, or was deleted, after it had been opened: what the run has
            read may not be what has the digest.
        is_kept: the content of an input is among the blobs; of a data set that of all its files.
        role: what an output is, where the script or its framework said so: `figure`, `model`,
            `table`, `image`, `audio`, `text`, `histogram`, `notebook`; `file` for another one. Of an
            input `source`: a module from outside the project, whose content is kept.
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
    said: str | None = None
    resolved: str | None = None
    process: int | None = None
    files: int | None = None
    origin: str | None = None
    is_changed: bool = False
    is_kept: bool = False


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


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The exception that ended a run in a process, or the error of a notebook's cell.

    Attributes:
        type: the class, with its module unless that is `builtins`.
        traceback: as Python prints it; the beginning of a long one is left out.
        cell: number of the notebook's code cell, counted from 1.
    """

    type: str
    message: str
    traceback: str | None = None
    cell: int | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the process tree used, as far as the system told; None where it did not."""

    cpu_user_s: float | None = None
    cpu_system_s: float | None = None
    max_memory_bytes: int | None = None
    read_bytes: int | None = None
    write_bytes: int | None = None
    samples: int = 0


class GpuState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a GPU does while the run does not use it: before its start or after its end.

    Attributes:
        percent: of the time in which it computed.
        memory_bytes: in use.
        processes: how many compute on it.
        throttled: why it runs slower than it could: `thermal`, `power`, `hardware`.
    """

    percent: float | None = None
    memory_bytes: int | None = None
    processes: int | None = None
    throttled: tuple[str, ...] = ()


class MachineState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What moves about a machine.

    Attributes:
        load: processes that wanted to run, on average over the minute before.
        memory_available_bytes: what could be had without swapping.
        governor: how the clock of the CPU is chosen: `performance`.
        throttles: how often CPUs were too hot since the machine started.
        gpus: in the driver's order.
    """

    load: float | None = None
    memory_available_bytes: int | None = None
    governor: str | None = None
    throttles: int | None = None
    gpus: tuple[GpuState, ...] = ()


class Conditions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """In what state the machine was while the run ran, and what of it the run was granted.

    Attributes:
        cpus: that the machine has, threads of a core counted each.
        cpus_granted: that the run could use, by affinity and by the quota of a container.
        memory_limit_bytes: of a container or batch system; None where there is none.
        others_cpu_s: processor time of all other processes while the run ran.
        steal_s: processor time that the host of a virtual machine gave to others.
        noise: why times measured in this run say little; see `docs/reference/environment.md`.
    """

    before: MachineState | None = None
    after: MachineState | None = None
    cpus: int | None = None
    cpus_granted: float | None = None
    memory_limit_bytes: int | None = None
    others_cpu_s: float | None = None
    steal_s: float | None = None
    noise: tuple[str, ...] = ()


class Process(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A Python process of a run.

    Attributes:
        kind: an interpreter's `start` or a `fork` of one, which the probe reached, or `unreached`.
        started_ns: when that was, or when it was first seen.
        reason: why it was not reached.
    """

    pid: int
    parent_pid: int
    started_ns: int
    kind: str
    python: str | None = None
    executable: str | None = None
    argv: tuple[str, ...] = ()
    reason: str | None = None


class Remark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something about the run that its reader must know. `code` is stable, `message` is not."""

    code: str
    message: str


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Code that trials of a batch run from; `name` is the commit, branch or patch as it was named."""

    name: str
    source: Source


class Chance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source of results that change from run to run, which was seen in the project's own code.

    Attributes:
        kind: `listing`, `time`, `uuid`, `urandom`, `threads`, `processes`, `network`, `unseeded`,
            `operation` (of a framework, which has no deterministic form).
        what: what was called: `os.listdir`.
        place: file and line of the caller, relative to the project: `train.py:12`.
        count: how often it was seen.
    """

    kind: str
    what: str
    place: str | None = None
    count: int = 1


class Randomness(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decided about chance in a run.

    Attributes:
        hash_seed: PYTHONHASHSEED of its processes.
        seeded: generator -> where its last seed came from: `reenact` (injected) or the place in
            the script's code; the value where it is known.
        switches: what makes frameworks deterministic, as it was in force.
        chances: sources of results that change from run to run.
    """

    hash_seed: str | None = None
    seeded: dict[str, str] = {}
    switches: dict[str, str] = {}
    chances: tuple[Chance, ...] = ()


class Batch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run is that starts other runs, its trials.

    Attributes:
        kind: what starts the operation of its trials.
        trials: how many there are to be; None while nobody knows.
        jobs: how many may run at once.
        optimizer: who chooses the values, where that is not the user.
        optimizer_flags: what is set of it, as `flag_to_json` writes values.
        objectives: what is wanted of which metric: `("minimize", "loss")`.
        seed: of the random choices.
        spaces: what values a flag may be given, as the user wrote it.
        stop_early: rule by which trials are stopped that are worse than others.
        variants: of the code, where the trials do not all run from the same.
        completed: how many trials have completed; None before the end, as for the next three.
        failed: how many failed.
        stopped: how many were stopped early.
        pipeline: where its trials are pipelines: what each of them is to its steps.
        best: the completed trial that is best by the first objective.
    """

    kind: OperationKind
    trials: int | None = None
    jobs: int = 1
    optimizer: str | None = None
    optimizer_flags: dict[str, Any] = {}
    objectives: tuple[tuple[str, str], ...] = ()
    seed: int | None = None
    spaces: dict[str, str] = {}
    stop_early: str | None = None
    variants: tuple[Variant, ...] = ()
    completed: int | None = None
    failed: int | None = None
    stopped: int | None = None
    best: RunId | None = None
    pipeline: Pipeline | None = None


class Dependency(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the operation required, and what met it.

    Attributes:
        resource: its name in the project file.
        kind: `file`, `url`, `module`, `config` or `operation`.
        uri: the path, URL, module or operation, as the project file says it, flags filled in.
        place: where the project file says so: `reenact.yml:12`.
        run: the run whose files were taken.
        why: why this run, or what was set instead of what the project file says.
        flags: of that run; what secrets they held is redacted.
        digest: BLAKE3 of what was downloaded or unpacked.
        version: of a module, where it has one.
        paths: files and directories in the run directory; each is among the inputs.
        is_rewritten: what lies there was made of the inputs, by flags or a command.
    """

    resource: str
    kind: str
    uri: str
    place: str | None = None
    run: RunId | None = None
    why: str | None = None
    # Values are FlagValue, a recursive type that msgspec cannot read.
    flags: dict[str, Any] = {}
    digest: Digest | None = None
    version: str | None = None
    paths: tuple[str, ...] = ()
    is_rewritten: bool = False


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A step of a pipeline, as it was planned.

    Attributes:
        operation: what it runs.
        needs: names of the steps that it waits for.
        source: the code that it runs from, which is that of the pipeline's beginning.
        cwd: as that of a run.
        python: the interpreter that it was planned with; steps in other languages have one as well.
        pipeline: what the step is to its own steps, where it is a pipeline.
        fails_with_trials: where it is a batch: a trial that fails makes the step fail.
    """

    name: str
    operation: Operation
    needs: tuple[str, ...] = ()
    source: Source | None = None
    cwd: str = "."
    python: str | None = None
    pipeline: Pipeline | None = None
    fails_with_trials: bool = False


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run is that starts runs of several operations, its steps.

    Attributes:
        steps: in the order of the project file.
        jobs: how many runs there may be at once.
        is_needed: steps whose run is there already were not run again.
        keeps_going: what does not depend on a step that failed was run.
        completed: how many steps have completed, taken ones among them; None before the end, as
            for the next two.
        taken: for how many of them an earlier run was taken.
        failed: how many failed.
        took: the earlier runs that were taken, by the names of their steps.
    """

    steps: tuple[Step, ...]
    jobs: int = 1
    is_needed: bool = False
    keeps_going: bool = False
    completed: int | None = None
    taken: int | None = None
    failed: int | None = None
    took: dict[str, RunId] = {}

    @property
    def every_step(self) -> tuple[Step, ...]:
        """Its steps and those of pipelines among them."""
        return tuple(
            one
            for step in self.steps
            for one in (step, *(step.pipeline.every_step if step.pipeline is not None else ()))
        )


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
        autolog: what was asked to be captured of frameworks, `off` for nothing; None for all.
        failure: the exception that ended it, where that is known.
        unreached: Python processes that were seen and that the probe did not reach.
        contacted: URLs without what may be secret in them, and `host:port`, that it asked.
        coverage: who looked for inputs and outputs: `scan` (of the run directory, before and
            after), `audit` (Python's own functions), `preload` (all dynamically linked programs).
        coverage_gap: why `preload` did not look.
        other_reads: how many files were read that are no inputs, by what they are: `own` (made by
            the run), `source`, `packages`, `system`, `settings`, `store`, `temporary`.
        metric_sources: metric -> kind of source -> how many points, for the metrics that several
            kinds of sources reported. The first kind is the one whose points are the series and
            the summary in `metrics`; see `best_kind` of `model.metrics`.
        environment: blob that describes interpreter and packages.
        machine: blob that describes hardware and operating system.
        runtime: blob that describes what the main process had loaded in the end.
        conditions: what else happened on the machine.
        like: the run whose flags and source this one took over.
        parent: the run that started this one: a batch, a pipeline.
        part: which part of its parent it is: the number of a trial, counted from 1, or the name of
            a step.
        variant: name of the code that it runs from, where its batch has several.
        batch: what it is to its parts, where it is a parent.
        pipeline: the same, for one whose parts are steps.
        staged: when it was set aside to be started later.
        dependencies: what its operation required, in the order of the project file.
        seed: that Reenact gave to random generators when they were imported; None: to none.
        is_deterministic: frameworks were told to compute without chance where they can.
        randomness: what decided about chance in the end.
        lock: blob that says how its packages can be installed again.
        reproduces: the run whose result this one is to show again.
        resumes: the run whose checkpoints this one went on from.
        gpus: that were asked for, as `CUDA_VISIBLE_DEVICES` names them; empty for none of them.
        keep_data: of which inputs the content was to be kept: `none`, `all`; None for small ones.
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
    contacted: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    coverage_gap: str | None = None
    other_reads: dict[str, int] = {}
    params: dict[str, Any] = {}
    models: tuple[Model, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    captures: tuple[Capture, ...] = ()
    autolog: str | None = None
    environment: Digest | None = None
    machine: Digest | None = None
    runtime: Digest | None = None
    conditions: Conditions | None = None
    supervisor_pid: int | None = None
    process_group: int | None = None
    started: datetime | None = None
    ended: datetime | None = None
    exit: Exit | None = None
    failure: Failure | None = None
    metrics: dict[str, Summary] = {}
    metric_sources: dict[str, dict[str, int]] = {}
    usage: Usage | None = None
    processes: tuple[Process, ...] = ()
    unreached: tuple[Process, ...] = ()
    warnings: tuple[Remark, ...] = ()
    like: RunId | None = None
    restarts: int = 0
    parent: RunId | None = None
    part: str | None = None
    variant: str | None = None
    batch: Batch | None = None
    pipeline: Pipeline | None = None
    staged: datetime | None = None
    dependencies: tuple[Dependency, ...] = ()
    seed: int | None = None
    is_deterministic: bool = False
    randomness: Randomness | None = None
    lock: Digest | None = None
    reproduces: RunId | None = None
    resumes: RunId | None = None
    gpus: str | None = None
    keep_data: str | None = None

    def status(self, *, is_locked: bool) -> Status:
        """Derive what has become of the run.

        Args:
            is_locked: a supervisor holds the run's lock.
        """
        if self.exit is not None:
            if self.exit.requested is not None:
                is_fine = self.operation.is_stoppable
                return Status.COMPLETED if is_fine else Status.TERMINATED
            return Status.COMPLETED if self.exit.code == 0 else Status.FAILED
        if is_locked:
            return Status.RUNNING if self.started is not None else Status.PENDING
        if self.is_staged:
            return Status.STAGED
        return Status.KILLED

    @property
    def is_parent(self) -> bool:
        """Whether it has no process of its own: it starts other runs."""
        return self.batch is not None or self.pipeline is not None

    @property
    def every_step(self) -> tuple[Step, ...]:
        """All steps that it names: its own, or those of its trials where these are pipelines."""
        pipelines = (self.pipeline, None if self.batch is None else self.batch.pipeline)
        return tuple(step for one in pipelines if one is not None for step in one.every_step)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All source that it names: its own, and that of its steps and variants."""
        steps = self.every_step
        variants = () if self.batch is None else self.batch.variants
        found = (self.source, *(step.source for step in steps), *(v.source for v in variants))
        return tuple(source for source in found if source is not None)

    @property
    def is_staged(self) -> bool:
        """Whether it was set aside and nobody has begun with it."""
        return self.staged is not None and self.started is None and self.ended is None

    @property
    def kinds_of_series(self) -> dict[str, str] | None:
        """Which kind of source a metric's series is from, where there is a choice; None: too early.

        A metric that is not there has all of its points in its series. That is so as well in runs
        from before the choice was made.
        """
        if self.ended is None:
            return None
        return {name: next(iter(kinds)) for name, kinds in self.metric_sources.items()}

    @property
    def kept_inputs(self) -> tuple[Digest, ...]:
        """Blobs of inputs: lists of the files of data sets, small data, modules from elsewhere."""
        kept = (f for f in self.inputs if f.files is not None or f.is_kept or f.role == "source")
        return tuple(file.digest for file in kept if file.digest is not None)

    @property
    def kept_data_sets(self) -> tuple[Digest, ...]:
        """Lists of those data sets of which all files are among the blobs."""
        kept = (file for file in self.inputs if file.files is not None and file.is_kept)
        return tuple(file.digest for file in kept if file.digest is not None)

    @property
    def duration_s(self) -> float | None:
        """Seconds between start and end; None while there is no end."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()


class Notes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people say about a run: the only thing that is edited after it ended.

    Attributes:
        priority: of a run that is staged: the one with the highest is started first.
    """

    label: str | None = None
    tags: tuple[str, ...] = ()
    comment: str | None = None
    marked: bool = False
    priority: int = 0
