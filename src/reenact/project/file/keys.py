"""Every attribute that a project file may have: where it stands, what it takes, what it says.

Reading, the JSON Schema and the check for unknown names go by these tables.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """An attribute.

    Attributes:
        shape: name of a definition in `schema.py`.
        help: one line.
        note: why it has no effect, where it has none.
    """

    shape: str
    help: str
    note: str | None = None


_PLUGINS = "Reenact has no plugins: what they did is built in"
_GUILD = "it speaks of how Guild AI works inside"

ITEM_KEYS = ("model", "config", "package", "include", "claims")
"""What an item of the list is: exactly one of them stands in it."""

TYPELESS_KEYS = ("operations", "resources")
"""An item with none of `ITEM_KEYS` and one of these is the model without a name."""

SHARED_KEYS: dict[str, Key] = {
    "description": Key("text", "what it is"),
    "extends": Key("texts", "names of models and configs (`name`, `package/name`) to inherit from"),
    "params": Key("params", "values for `{{name}}` in the texts of this model"),
    "references": Key("texts", "where to read about it"),
    "operations": Key("operations", "its operations, by name"),
    "operation-defaults": Key("operation-defaults", "attributes for operations that lack them"),
    "resources": Key("resources", "its resources, by name"),
    "sourcecode": Key("sourcecode", "which files are its source"),
    "extra": Key("any", "anything; it is not looked at"),
    "flags": Key("flags", "flags for `$include`"),
    "python-requires": Key("text", "versions of Python that it runs with"),
    "plugins": Key("names", "plugins to use", _PLUGINS),
    "disable-plugins": Key("names", "plugins not to use", _PLUGINS),
}
"""Attributes of both models and configs."""

MODEL_KEYS: dict[str, Key] = {
    "model": Key("text", "its name; empty for the one without"),
    "default": Key("boolean", "meant where no model is named"),
    **SHARED_KEYS,
}

CONFIG_KEYS: dict[str, Key] = {
    "config": Key("text", "its name"),
    "default": Key("boolean", "not inherited"),
    **SHARED_KEYS,
}

INCLUDE_KEYS: dict[str, Key] = {
    "include": Key("texts", "other project files: paths, or names of installed packages"),
}

CLAIMS_KEYS: dict[str, Key] = {
    "claims": Key("claims", "results that are stated, by name; `reenact claims check` checks them"),
}

CLAIM_KEYS: dict[str, Key] = {
    "run": Key("text", "the operation that gives the result"),
    "metric": Key("text", "the metric whose last value it is"),
    "value": Key("number", "the result that is stated"),
    "tolerance": Key("text", "how far it may be off: `0.002`, `1%`; nothing unless told"),
    "direction": Key("direction", "`at-least` and `at-most` let a better result pass"),
    "flags": Key("any", "flags of the run"),
    "seeds": Key("text", "run with each of these: `0..9`; the mean is the result"),
    "repeat": Key("integer", "run so many times; the mean is the result"),
    "paper": Key("text", "where it is stated: `Table 2`"),
    "description": Key("text", "what it says"),
    "baseline": Key("text", "id of the run that it was taken from"),
    "packages": Key("texts", "packages of that run: `numpy==2.1.0`"),
}

PACKAGE_KEYS: dict[str, Key] = {
    "package": Key("text", "its name"),
    "description": Key("text", "what it is"),
    "version": Key("text", "its version, `0.0.0` unless told"),
    "url": Key("text", "its home page"),
    "author": Key("text", "who wrote it"),
    "author-email": Key("text", "where to write to"),
    "license": Key("text", "under which terms"),
    "tags": Key("texts", "words to find it by"),
    "python-tag": Key("text", "the tag of the wheel"),
    "data-files": Key("texts", "globs of files that belong to it"),
    "python-requires": Key("text", "versions of Python that it runs with"),
    "requires": Key("texts", "packages that it needs"),
    "packages": Key("text-map", "directories by the name of the Python package they become"),
}

OPERATION_KEYS: dict[str, Key] = {
    "description": Key("text", "what it does"),
    "default": Key("boolean", "meant where no operation is named"),
    "main": Key("text", "a Python module or script, and arguments"),
    "exec": Key("text", "a command"),
    "notebook": Key("text", "a notebook, and arguments"),
    "steps": Key("steps", "runs that make a pipeline"),
    "flags": Key("flags", "its flags"),
    "flags-dest": Key("text", "how flags reach it"),
    "flags-import": Key("flags-import", "which flags are found in the script"),
    "flags-import-skip": Key("texts", "which are not"),
    "default-flag-arg-skip": Key("boolean", "`arg-skip` for flags that do not say"),
    "flag-encoder": Key("text", "a function that encodes flags", _GUILD),
    "requires": Key("requires", "what must be there before it starts"),
    "sourcecode": Key("sourcecode", "which files are its source"),
    "output-scalars": Key("output-scalars", "how metrics are found in what it prints"),
    "output-attrs": Key("output-scalars", "how attributes are found in what it prints"),
    "compare": Key("texts", "columns of a comparison of its runs"),
    "objective": Key("objective", "what a search aims at"),
    "optimizer": Key("optimizer", "the search that is used unless told otherwise"),
    "optimizers": Key("optimizers", "searches, by name"),
    "default-max-trials": Key("integer", "trials of a search unless told otherwise"),
    "can-stage-trials": Key("boolean", "whether a search may stage its trials"),
    "label": Key("text", "template for the label of its runs"),
    "tags": Key("texts", "tags of its runs"),
    "run-attrs": Key("params", "facts that are noted with each run"),
    "env": Key("env", "environment variables"),
    "env-secrets": Key("texts", "variables whose values are never kept"),
    "python": Key("text", "the interpreter"),
    "python-requires": Key("text", "versions of Python that it runs with"),
    "python-path": Key("texts", "directories in which modules are found too"),
    "publish": Key("publish", "what a report of a run contains"),
    "seed": Key("boolean", "no: its random generators are not seeded"),
    "stoppable": Key("boolean", "an end by Ctrl-C or `stop` is a success"),
    "delete-on-success": Key("boolean", "runs that complete are deleted"),
    "handle-keyboard-interrupt": Key(
        "boolean", "hide the traceback of Ctrl-C", "a script's output is never changed"
    ),
    "pip-freeze": Key("boolean", "list packages", "packages are always recorded"),
    "plugins": Key("names", "plugins to use", _PLUGINS),
    "disable-plugins": Key("names", "plugins not to use", _PLUGINS),
    "plugin-op": Key("text", "an operation of a plugin", _PLUGINS),
    "pre-process": Key("text", "a command before it", "use a step of a pipeline"),
    "remote": Key("any", "runs elsewhere", _GUILD),
    "set-trace": Key("boolean", "start in the debugger", _GUILD),
}

FLAG_KEYS: dict[str, Key] = {
    "default": Key("value", "its value unless told otherwise"),
    "description": Key("text", "what it does"),
    "type": Key("flag-type", "what its values are"),
    "required": Key("boolean", "it must have a value"),
    "alias": Key("texts", "other names for it"),
    "choices": Key("choices", "values that it may have"),
    "allow-other": Key("boolean", "it may have others too"),
    "arg-name": Key("text", "its name on the script's command line, or in the config file"),
    "arg-skip": Key("boolean", "it is not passed on the command line"),
    "arg-switch": Key("value", "the option stands alone, and only for this value"),
    "arg-split": Key("arg-split", "its value is several arguments"),
    "arg-encoding": Key("params", "what is passed instead of a value"),
    "env-name": Key("text", "the variable that it sets"),
    "env-encoding": Key("params", "what the variable holds instead of a value"),
    "null-label": Key("text", "how null is shown"),
    "min": Key("number", "least value"),
    "max": Key("number", "largest value"),
    "distribution": Key("distribution", "how a search draws values"),
    "nb-replace": Key("text", "pattern of the text in a notebook that it replaces"),
}

FLAG_TYPES = (
    "string", "int", "float", "number", "boolean", "path", "existing-path", "auto", "list",
)  # fmt: skip

DISTRIBUTIONS = ("uniform", "log-uniform")

CHOICE_KEYS: dict[str, Key] = {
    "value": Key("value", "the value"),
    "description": Key("text", "what it means"),
    "alias": Key("text", "another word for it"),
    "flags": Key("params", "values of other flags when it is chosen"),
}

RESOURCE_KEYS: dict[str, Key] = {
    "name": Key("text", "what messages call it"),
    "description": Key("text", "what it is"),
    "private": Key("boolean", "lists leave it out"),
    "references": Key("texts", "where to read about it"),
    "sources": Key("sources", "where its files come from"),
    "flag-name": Key("text", "the flag that says what to take instead"),
    "target-path": Key("text", "where in the run directory its files go"),
    "path": Key("text", "`target-path`, as older files call it"),
    "target-type": Key("target-type", "whether files are copied or linked"),
    "default-unpack": Key("boolean", "whether archives are unpacked"),
    "preserve-path": Key("boolean", "directories of the path are kept"),
}

SOURCE_KEYS: dict[str, Key] = {
    "file": Key("text", "a file or directory of the project"),
    "url": Key("text", "a file to download"),
    "module": Key("text", "a Python module that must be there"),
    "config": Key("text", "a config file in which flags are set"),
    "operation": Key("text", "files of the last run of an operation (several: `a,b`)"),
    "dvcfile": Key("text", "a file that DVC keeps"),
    "dvcstage": Key("text", "files of the last run of the operation that is a DVC stage"),
    "name": Key("text", "what messages and the flag call it"),
    "flag-name": Key("text", "the flag that says what to take instead"),
    "target-path": Key("text", "where in the run directory its files go"),
    "path": Key("text", "`target-path`, as older files call it"),
    "target-type": Key("target-type", "whether files are copied or linked"),
    "select": Key("texts", "patterns of the files that are taken"),
    "select-min": Key("texts", "patterns; the least number in the group is taken"),
    "select-max": Key("texts", "patterns; the largest number in the group is taken"),
    "rename": Key("rename", "`PATTERN REPLACEMENT`, or a mapping of both, or a list"),
    "unpack": Key("boolean", "an archive is unpacked"),
    "type": Key("text", "what kind of archive it is"),
    "sha256": Key("text", "its digest"),
    "post-process": Key("text", "a command that is run when it is there"),
    "warn-if-empty": Key("boolean", "say so when nothing is selected"),
    "fail-if-empty": Key("boolean", "fail when nothing is selected"),
    "optional": Key("boolean", "the run starts without it"),
    "always-resolve": Key("boolean", "what the flag names is resolved too"),
    "replace-existing": Key("boolean", "what is there already is replaced"),
    "preserve-path": Key("boolean", "directories of the path are kept"),
    "params": Key("params", "values to set in a config file"),
    "help": Key("text", "what to do when it is missing"),
    "always-pull": Key("boolean", "fetch a DVC file even if it is there"),
    "remote": Key("text", "the DVC remote"),
}

SOURCE_KINDS = ("file", "url", "module", "config", "operation", "dvcfile", "dvcstage")

SOURCECODE_KEYS: dict[str, Key] = {
    "root": Key("text", "the directory"),
    "select": Key("select-files", "which of its files"),
    "digest": Key("boolean", "whether they count when runs are compared"),
    "dest": Key("text", "where in the run directory they go"),
}

RULE_KEYS: dict[str, Key] = {
    "include": Key("patterns", "globs of files to take"),
    "exclude": Key("patterns", "globs of files to leave out"),
}

RULE_TYPES = ("dir", "text", "binary")

STEP_KEYS: dict[str, Key] = {
    "run": Key("text", "the operation, with flags and options as on the command line"),
    "name": Key("text", "its name in the pipeline"),
    "flags": Key("step-flags", "its flags; `${name}` is a flag of the pipeline"),
    "needs": Key("texts", "steps that come before it"),
    "needed": Key("boolean", "skip it where an equal run is there"),
    "isolate-runs": Key("boolean", "requirements are met by runs of this pipeline only"),
    "expect": Key("expect", "what must hold afterwards"),
    "label": Key("text", "label of its run"),
    "tags": Key("texts", "tags of its run"),
    "comment": Key("text", "comment on its run"),
    "batch-label": Key("text", "label of its batch"),
    "batch-tags": Key("texts", "tags of its batch"),
    "batch-comment": Key("text", "comment on its batch"),
    "gpus": Key("text", "which GPUs it sees"),
    "no-gpus": Key("boolean", "it sees none"),
    "remote": Key("text", "where it runs"),
    "max-trials": Key("integer", "largest number of trials"),
    "optimizer": Key("text", "the search"),
    "optimize": Key("boolean", "use the operation's own search"),
    "opt-flags": Key("step-flags", "settings of the search"),
    "minimize": Key("texts", "columns to minimize"),
    "maximize": Key("texts", "columns to maximize"),
    "random-seed": Key("integer", "seed of the search"),
    "jobs": Key("integer", "trials at the same time"),
    "stop-after": Key("number", "minutes after which it is stopped"),
    "stage-trials": Key("boolean", "stage the trials"),
    "force-flags": Key("boolean", "accept flags that are not known"),
    "force-sourcecode": Key("boolean", "take the source as it is now"),
    "fail-on-trial-error": Key("boolean", "stop at the first trial that fails"),
}

EXPECT_KEYS: dict[str, Key] = {
    "file": Key("text", "a file that must be there (a glob)"),
    "compare-to": Key("text", "the project's file that it must equal"),
    "contains": Key("text", "a pattern that must be in it"),
    "output": Key("text", "a pattern that must be in what the step printed"),
}

PUBLISH_KEYS: dict[str, Key] = {
    "files": Key("select-files", "which of the run's files"),
    "template": Key("text", "directory of the template"),
}

OPTIMIZER_KEYS = ("algorithm", "default")
"""All other keys of an optimizer are its flags."""

OPTIMIZER_TRIALS = ("trials", "max-trials", "max_trials")
"""Settings of an optimizer that say how many trials it has."""

OBJECTIVE_KEYS: dict[str, Key] = {
    "minimize": Key("texts", "columns to minimize"),
    "maximize": Key("texts", "columns to maximize"),
}

USER_CONFIG_KEYS: dict[str, Key] = {
    "operations": Key("any", "what `run` takes for an operation unless told otherwise, by name"),
    "resources": Key("text-map", "what is taken instead of a resource, by name"),
    "config": Key("any", "attributes that remotes may extend, by name"),
    "remotes": Key("any", "other stores, by name"),
    "diff": Key("any", "how files are compared"),
    "check": Key("any", "how an installation is checked", _GUILD),
    "git": Key("any", "where git is", "git is found on PATH"),
    "legacy": Key("any", "older behaviour", _GUILD),
    "collections": Key("any", "other homes", _GUILD),
}

DEFAULTS_KEYS: dict[str, Key] = {
    "flags": Key("params", "values of its flags"),
    "label": Key("text", "label of its runs"),
    "tags": Key("texts", "tags of its runs"),
    "env": Key("env", "environment variables"),
    "python": Key("text", "the interpreter"),
    "gpus": Key("text", "which GPUs it sees"),
}
"""Of an operation in the user configuration."""
