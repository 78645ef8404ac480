"""What a project file says: values, with all that is inherited and all defaults filled in.

Texts of flags (`${lr}`) are still in them, because flags have their values when a run is planned;
texts of params (`{{width}}`) are not. Attributes that are read and kept but that nothing uses yet
are in `extra` of what has them, and `reenact check` names them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from reenact.model.flags import FlagValue
else:
    # A recursive type, which msgspec cannot read.
    FlagValue = Any


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where something stands: a path relative to the project where it is inside it, and a line."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Level(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    """The file cannot be used."""
    WARNING = "warning"
    """It can be used; a mistake is likely: a key that is not known."""
    NOTE = "note"
    """Something is accepted and has no effect, or is not what it looks like."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something about a project file that its author must know.

    Attributes:
        hint: the nearest name, or another way out.
    """

    level: Level
    place: Place
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class ChoiceDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the values that a flag may have.

    Attributes:
        alias: another word for the value.
        flags: values that other flags get when this one is chosen and they are not set.
    """

    value: FlagValue
    place: Place
    description: str | None = None
    alias: str | None = None
    flags: dict[str, FlagValue] = {}


class Encoding(msgspec.Struct, frozen=True, array_like=True):
    """A value of a flag, and what is passed on instead of it."""

    value: FlagValue
    passed: FlagValue


class FlagDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A flag as the project file describes it.

    What is None was not said: it is then as found in the script, see `actions.operation_flags`.

    Attributes:
        has_default: a default is written; `default` may be null. A list is a batch of values unless
            `arg_split` or a list type says that the flag takes lists.
        type: `string`, `int`, `float`, `number`, `boolean`, `path`, `existing-path`, `auto`, `list`.
        aliases: other names that are understood for the flag.
        choices: None where any value is taken.
        allow_other: values beside the choices are taken too.
        arg_name: the option's name, where it is not the flag's.
        arg_skip: do not pass it as an argument; None leaves it to the operation's
            `default_flag_arg_skip`.
        arg_switch: the option stands alone, and only when the flag has this value.
        arg_split: the value is several arguments: `shlex` splits as a shell does, anything else is
            the text between the parts.
        arg_encoding: what is passed as an argument instead of some values.
        env_name: name of the variable, where it is not `FLAG_<NAME>`.
        env_encoding: what is passed in the variable instead of some values.
        null_label: how null is shown.
        min: least value, also of a search space.
        max: largest value, also of a search space.
        distribution: of a search space: `uniform` or `log-uniform`.
        nb_replace: pattern for the text in a notebook that the value replaces.
    """

    name: str
    place: Place
    default: FlagValue = None
    has_default: bool = False
    description: str | None = None
    type: str | None = None
    required: bool | None = None
    aliases: tuple[str, ...] = ()
    choices: tuple[ChoiceDef, ...] | None = None
    allow_other: bool = False
    arg_name: str | None = None
    arg_skip: bool | None = None
    arg_switch: FlagValue = None
    arg_split: str | None = None
    arg_encoding: tuple[Encoding, ...] = ()
    env_name: str | None = None
    env_encoding: tuple[Encoding, ...] = ()
    null_label: str | None = None
    min: int | float | None = None
    max: int | float | None = None
    distribution: str | None = None
    nb_replace: str | None = None


class FlagsKind(StrEnum):
    """How flags reach an operation."""

    ARGS = "args"
    GLOBALS = "globals"
    GLOBAL = "global"
    """Keys of one dict that the script assigns (`global:NAME`, or `dict:NAME`)."""
    NAMESPACE = "namespace"
    """Attributes of one namespace that the script assigns."""
    CONFIG = "config"
    """Values of a YAML, JSON, TOML or INI file."""
    NONE = "none"
    """Not at all, but for `FLAG_<NAME>` variables."""


class FlagsDest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where flags go; `name` is what stands after the colon, a path for CONFIG."""

    kind: FlagsKind
    place: Place
    name: str | None = None


class FlagsImport(StrEnum):
    """Which flags are taken over from the script."""

    ALL = "all"
    NONE = "none"
    DEFINED = "defined"
    """Those that the file describes: what it leaves out about them comes from the script."""
    LISTED = "listed"
    """Those in `flags_import_names`, and those that the file describes."""


class SourceKind(StrEnum):
    """What a resource's source is."""

    FILE = "file"
    URL = "url"
    MODULE = "module"
    CONFIG = "config"
    OPERATION = "operation"
    DVC_FILE = "dvcfile"


class Select(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which files of a source are taken.

    Attributes:
        pattern: regular expression for the beginning of a path relative to the source.
        reduce: `min` or `max`: of all matches the one whose first group is the least or largest
            number.
    """

    pattern: str
    reduce: str | None = None


class Rename(msgspec.Struct, frozen=True, array_like=True):
    """A change of names: a regular expression, and its replacement (with groups as in `re.sub`)."""

    pattern: str
    replacement: str


class ResourceSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where some of a resource's files come from.

    Attributes:
        spec: the path, URL, module, or operation (`prepare`, `model:prepare`); paths are relative to
            the directory of the file where this stands, see `base`.
        base: the directory that paths are relative to: relative to the project's, or absolute.
        name: what messages and the flag call it: as written, else `kind:spec`.
        flag_name: the flag that says which file or run to take instead; `name` where none is written.
        target_path: directory or, for a single file, path in the run directory.
        target_type: `copy` or `link`; None leaves the choice to the runner.
        unpack: archives are unpacked.
        type: of an archive that its name does not tell: `archive`, `zip`, `tar`, …
        sha256: the digest that the file must have.
        post_process: a command that is run after the files are there.
        optional: the run starts without it.
        always_resolve: a setting of the flag is resolved too.
        replace_existing: what is there already is replaced.
        preserve_path: directories of the path are kept.
        params: of a config source: values that are set in it, by their dotted names.
        help: what a message says when it is not found.
        always_pull: of DVC: it is fetched even if it is there.
        remote: of DVC: from where.
    """

    kind: SourceKind
    spec: str
    place: Place
    base: str = "."
    name: str = ""
    flag_name: str | None = None
    target_path: str | None = None
    target_type: str | None = None
    select: tuple[Select, ...] = ()
    rename: tuple[Rename, ...] = ()
    unpack: bool = True
    type: str | None = None
    sha256: str | None = None
    post_process: str | None = None
    warn_if_empty: bool = True
    fail_if_empty: bool = False
    optional: bool = False
    always_resolve: bool = False
    replace_existing: bool = False
    preserve_path: bool = False
    params: dict[str, FlagValue] = {}
    help: str | None = None
    always_pull: bool = False
    remote: str | None = None


class ResourceDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A named input. What it says for all its sources is filled in at each of them.

    Attributes:
        name: None where it is written in place, at `requires`.
        model: name of the model that has it.
        private: not listed.
        references: where to read about it.
    """

    place: Place
    name: str | None = None
    model: str = ""
    description: str | None = None
    private: bool = False
    flag_name: str | None = None
    references: tuple[str, ...] = ()
    sources: tuple[ResourceSource, ...] = ()


class RequireDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that an operation needs before it starts.

    Attributes:
        reference: the resource's or operation's name, where one is named.
        resource: what that means; None where it is in a package that is not installed.
        description: why.
    """

    place: Place
    reference: str | None = None
    resource: ResourceDef | None = None
    description: str | None = None


class FileRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step in choosing files; of all rules that match a file, the last counts.

    Attributes:
        is_include: the files are taken; otherwise left out.
        patterns: globs relative to the root; `*` also matches `/`.
        type: only `dir`, `text` or `binary`; None for all files.
    """

    is_include: bool
    patterns: tuple[str, ...]
    place: Place
    type: str | None = None


class SourcecodeRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which files are an operation's source. The model's rules stand before its own.

    Attributes:
        is_off: no source is kept.
        rules: beside what is taken without any; a lone list of patterns begins with "nothing".
        root: the directory whose files they are, relative to `base`.
        base: the directory of the file where `root` stands, relative to the project's or absolute.
        dest: where in the run directory they go.
        digest: whether a digest is made of them.
    """

    place: Place
    is_off: bool = False
    rules: tuple[FileRule, ...] = ()
    root: str | None = None
    base: str = "."
    dest: str | None = None
    digest: bool | None = None


class OutputPattern(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    r"""A pattern for lines of output.

    Attributes:
        pattern: regular expression; `\key`, `\value` and `\step` stand for what they say. Named
            groups are metrics, but `_key`, `_val` and `_step`; two groups without a name are key and
            value.
        name: of the metric whose value the first group is; None where the groups tell.
    """

    pattern: str
    place: Place
    name: str | None = None


class OutputScalars(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How metrics are found in output: by these patterns, or not at all where there are none.

    `step` is the pattern of the name `step`, where there is one: its value is the step of the
    metrics that follow it.
    """

    place: Place
    patterns: tuple[OutputPattern, ...] = ()
    step: OutputPattern | None = None


class Objective(msgspec.Struct, frozen=True, array_like=True):
    """What a search aims at; `direction` is `minimize` or `maximize`."""

    direction: str
    column: str


class OptimizerDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A search that an operation offers.

    Attributes:
        algorithm: a built-in one, or an operation.
        flags: its settings.
        trials: how many there are to be.
    """

    name: str
    algorithm: str
    place: Place
    default: bool = False
    trials: int | None = None
    flags: dict[str, FlagValue] = {}


class ExpectDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What must hold after a step; one of `file` and `output` is given.

    Attributes:
        file: path in the step's run directory (a glob): it must exist.
        compare_to: path in the project whose content it must have.
        contains: regular expression that its content must match somewhere.
        output: regular expression that the step's output must match somewhere.
    """

    place: Place
    file: str | None = None
    compare_to: str | None = None
    contains: str | None = None
    output: str | None = None


class StepDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A run that a pipeline starts.

    Attributes:
        name: of the step in its pipeline: as written, else the operation.
        run: the operation, or a script.
        flags: their values; text may contain `${flag}` of the pipeline.
        settings: `flag=value` words of a step that is written as a command line: the text, to be read
            as the command line reads it. `flags` count more.
        batch_files: `@file` words.
        needs: names of steps that come before, beside those that `requires` tells; None where
            nothing is said, which is not the same as an empty list.
        needed: skip it where an equal run is there (`--needed`); None leaves it to the pipeline.
        isolate_runs: its requirements are met by runs of this pipeline only.
        stop_after_s: time limit.
        max_trials: largest number of trials of a batch.
        opt_flags: settings of the optimizer.
        objectives: what the search aims at.
        gpus: which GPUs; the empty text for none.
        random_seed: of the search or of sampled values.
        jobs: trials at the same time.
    """

    name: str
    run: str
    place: Place
    flags: dict[str, FlagValue] = {}
    settings: dict[str, str] = {}
    batch_files: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None
    label: str | None = None
    tags: tuple[str, ...] = ()
    comment: str | None = None
    batch_label: str | None = None
    batch_tags: tuple[str, ...] = ()
    batch_comment: str | None = None
    needed: bool | None = None
    isolate_runs: bool = True
    expect: tuple[ExpectDef, ...] = ()
    gpus: str | None = None
    remote: str | None = None
    max_trials: int | None = None
    optimizer: str | None = None
    opt_flags: dict[str, FlagValue] = {}
    objectives: tuple[Objective, ...] = ()
    random_seed: int | None = None
    jobs: int | None = None
    stop_after_s: float | None = None
    stage_trials: bool = False
    force_flags: bool = False
    force_sourcecode: bool = False
    fail_on_trial_error: bool = False


def operation_name(model: str, name: str) -> str:
    """Return an operation's name with that of its model: `cnn:train`, `train`."""
    return f"{model}:{name}" if model else name


class PublishDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a report of a run contains: files by rules, and a template."""

    place: Place
    files: tuple[FileRule, ...] = ()
    template: str | None = None


class OperationDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that can be run.

    Exactly one of `main`, `exec`, `notebook` and `steps` is set; `main` is the name where the file
    says none of them.

    Attributes:
        name: without the model.
        model: name of its model, empty for the one without a name.
        place: where it is defined; where an inherited one stands, in the parent.
        base: the directory that `main`, `notebook` and `sourcecode` are relative to: that of the
            project file; relative to the project's, or absolute.
        main: a Python module or script and its arguments: `train`, `pkg.train --fast`, `src/train`.
        exec: a command, with `${flag}`, and `${flag_args}` for all of them.
        notebook: path of a notebook, and arguments.
        default: it is meant where no operation is named.
        flags: in the order of the file, included ones first.
        flags_dest: None where the script decides.
        flags_import_skip: names that are not taken over from the script.
        requires: what must be there.
        sourcecode: None where nothing is said: as for a script.
        output_scalars: None where nothing is said: as for a script.
        output_attrs: patterns for attributes, as those for scalars.
        compare: columns.
        label: template, with `${flag}`.
        run_attrs: facts that are noted with each run.
        env: variables; text may contain `${flag}`.
        env_secrets: names of variables whose values must not be kept.
        python: the interpreter to run it with.
        python_path: directories that modules are found in too.
        plugins: None for all.
        seed: its random generators are seeded, unless something else is asked for.
        stoppable: an end by a signal counts as completed.
        extra: what is kept of attributes that have no meaning here.
    """

    name: str
    model: str
    place: Place
    base: str = "."
    description: str | None = None
    default: bool = False
    main: str | None = None
    exec: str | None = None
    notebook: str | None = None
    steps: tuple[StepDef, ...] | None = None
    flags: tuple[FlagDef, ...] = ()
    flags_dest: FlagsDest | None = None
    flags_import: FlagsImport = FlagsImport.DEFINED
    flags_import_names: tuple[str, ...] = ()
    flags_import_skip: tuple[str, ...] = ()
    default_flag_arg_skip: bool = False
    flag_encoder: str | None = None
    requires: tuple[RequireDef, ...] = ()
    sourcecode: SourcecodeRules | None = None
    output_scalars: OutputScalars | None = None
    output_attrs: OutputScalars | None = None
    compare: tuple[str, ...] | None = None
    objectives: tuple[Objective, ...] = ()
    optimizers: tuple[OptimizerDef, ...] = ()
    default_max_trials: int | None = None
    can_stage_trials: bool = False
    label: str | None = None
    tags: tuple[str, ...] = ()
    run_attrs: dict[str, Any] = {}
    env: dict[str, str] = {}
    env_secrets: tuple[str, ...] = ()
    python: str | None = None
    python_requires: str | None = None
    python_path: tuple[str, ...] = ()
    plugins: tuple[str, ...] | None = None
    publish: PublishDef | None = None
    seed: bool = True
    stoppable: bool = False
    handle_keyboard_interrupt: bool = False
    pip_freeze: bool | None = None
    delete_on_success: bool = False
    extra: dict[str, Any] = {}

    @property
    def full_name(self) -> str:
        """Its name with that of the model: `cnn:train`, `train`."""
        return operation_name(self.model, self.name)

    @property
    def is_private(self) -> bool:
        """Whether lists leave it out: names that begin with an underscore, or its model's does."""
        return self.name.startswith("_") or self.model.startswith("_")

    def find_flag(self, name: str) -> FlagDef | None:
        """Return the flag that a name means, by its name first, then by an alias."""
        for flag in self.flags:
            if flag.name == name:
                return flag
        for flag in self.flags:
            if name in flag.aliases:
                return flag
        return None


class ModelDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Operations and resources that belong together.

    Attributes:
        name: empty for the one without a name.
        extra: free for the author, and what has no meaning here.
    """

    name: str
    place: Place
    description: str | None = None
    default: bool = False
    operations: tuple[OperationDef, ...] = ()
    resources: tuple[ResourceDef, ...] = ()
    references: tuple[str, ...] = ()
    sourcecode: SourcecodeRules | None = None
    python_requires: str | None = None
    plugins: tuple[str, ...] | None = None
    extra: dict[str, Any] = {}

    def find_operation(self, name: str) -> OperationDef | None:
        """Return one of its operations."""
        return next((op for op in self.operations if op.name == name), None)

    def find_resource(self, name: str) -> ResourceDef | None:
        """Return one of its resources."""
        return next((res for res in self.resources if res.name == name), None)

    @property
    def default_operation(self) -> OperationDef | None:
        """The operation that is marked as default, else the only public one."""
        marked = [op for op in self.operations if op.default]
        if marked:
            return marked[0]
        public = [op for op in self.operations if not op.name.startswith("_")]
        return public[0] if len(public) == 1 else None


class PackageDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the project is as a package that others can install.

    Attributes:
        data_files: globs.
        requires: other packages.
        packages: directory by the name of the package that it becomes.
    """

    name: str
    place: Place
    description: str | None = None
    version: str = "0.0.0"
    url: str | None = None
    author: str | None = None
    author_email: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    python_tag: str | None = None
    data_files: tuple[str, ...] = ()
    python_requires: str | None = None
    requires: tuple[str, ...] = ()
    packages: dict[str, str] = {}


class ClaimDef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result that somebody states.

    Attributes:
        run: the operation that gives it.
        metric: whose last value it is; of several runs the mean of these.
        tolerance: how far it may be off, as written; None for not at all.
        direction: `both`, or `at-least` or `at-most`, where a better result confirms as well.
        flags: of the run.
        seeds: to run with, as written: `0..9`.
        repeat: how often to run.
        paper: where it is stated.
        baseline: id of the run that it was taken from.
        packages: that this run had: `numpy==2.1.0`.
    """

    name: str
    place: Place
    run: str
    metric: str
    value: float
    tolerance: str | None = None
    direction: str = "both"
    flags: dict[str, FlagValue] = {}
    seeds: str | None = None
    repeat: int | None = None
    paper: str | None = None
    description: str | None = None
    baseline: str | None = None
    packages: tuple[str, ...] = ()


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a project file says, included files among it.

    Attributes:
        models: in the order of the file.
        claims: the same.
    """

    models: tuple[ModelDef, ...] = ()
    package: PackageDef | None = None
    claims: tuple[ClaimDef, ...] = ()

    @property
    def operations(self) -> tuple[OperationDef, ...]:
        """All operations, model by model."""
        return tuple(op for model in self.models for op in model.operations)

    @property
    def default_model(self) -> ModelDef | None:
        """The model that is meant where none is named: the only one, the marked, the nameless."""
        if len(self.models) == 1:
            return self.models[0]
        marked = [model for model in self.models if model.default]
        nameless = [model for model in self.models if not model.name]
        return next(iter(marked or nameless), None)

    @property
    def default_operation(self) -> OperationDef | None:
        """The operation that is meant where none is named."""
        model = self.default_model
        return None if model is None else model.default_operation

    def find_model(self, name: str) -> ModelDef | None:
        """Return a model by its name."""
        return next((model for model in self.models if model.name == name), None)

    def find_operation(self, name: str) -> OperationDef | None:
        """Return the operation that `train` or `cnn:train` means, or `cnn:` its model's default.

        A name without a model is looked up in the default model, then in all; one that several
        models have is not found.
        """
        model_name, colon, operation_name = name.rpartition(":")
        if colon:
            model = self.find_model(model_name)
            if model is None:
                return None
            return (
                model.find_operation(operation_name) if operation_name else model.default_operation
            )
        default = self.default_model
        if default is not None and (found := default.find_operation(name)) is not None:
            return found
        matches = [op for op in self.operations if op.name == name]
        return matches[0] if len(matches) == 1 else None


class LoadedProject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A directory's project file, read.

    Attributes:
        directory: absolute.
        file: name of the file that counts, relative to the directory.
        also: name of the other one that is there too and is not read, if any.
        content: what it says.
        notes: what was found.
        broken: the errors in operations that cannot be used, by full name; the others can.
        bad_claims: the errors in claims.
        files: every file that was read, as `Place.file` spells it.
    """

    directory: str
    file: str
    content: ProjectFile
    also: str | None = None
    notes: tuple[Finding, ...] = ()
    broken: dict[str, tuple[Finding, ...]] = {}
    bad_claims: tuple[Finding, ...] = ()
    files: tuple[str, ...] = ()

    def problem_beside(self, operation: OperationDef) -> Finding | None:
        """Return the first error that keeps something else than this operation from being used."""
        own = self.broken.get(operation.full_name, ())
        return next((f for f in self.notes if f.level is Level.ERROR and f not in own), None)


class OperationDefaults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `reenact run` takes as if the user had written it behind an operation's name.

    Attributes:
        flags: settings by flag.
        env: variables.
        gpus: those that it sees; the empty text for none.
    """

    place: Place
    flags: dict[str, FlagValue] = {}
    label: str | None = None
    tags: tuple[str, ...] = ()
    env: dict[str, str] = {}
    python: str | None = None
    gpus: str | None = None


class UserConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user, or a project for all its users, has set up.

    Attributes:
        place: the file; its line is 1.
        directory: of the file, absolute.
        operations: defaults by what the user calls an operation; `*` for all.
        resources: what is taken instead of a resource on this machine, by its name.
        remotes: attributes of other stores, by name, with what they `extends` filled in.
        diff_command: the program that compares files.
        notes: findings that are no errors.
    """

    place: Place
    directory: str
    operations: dict[str, OperationDefaults] = {}
    resources: dict[str, str] = {}
    remotes: dict[str, dict[str, Any]] = {}
    diff_command: str | None = None
    notes: tuple[Finding, ...] = ()
