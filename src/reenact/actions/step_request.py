"""What a step of a pipeline is run with: what the step says, the pipeline's flags, and what all steps get."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from reenact.actions.context import Context
from reenact.actions.defined_operation import Defined
from reenact.actions.ground import RunRequest
from reenact.actions.project_operation import Prepared, prepare
from reenact.errors import BadProjectFile, UsageError
from reenact.model.flags import FlagSet, FlagValue
from reenact.model.run import OperationKind
from reenact.project.file.model import OperationDef, StepDef
from reenact.project.flag_text import format_value
from reenact.project.merged_flags import merge_flags
from reenact.project.operation import Target
from reenact.project.template import fill, names_in, value_text
from reenact.search.values import Single, read_settings


def own_settings(
    definition: OperationDef, settings: Mapping[str, str | FlagValue]
) -> tuple[dict[str, str | FlagValue], dict[str, str | FlagValue]]:
    """Separate the pipeline's own flags from those of its steps: `step:flag`."""
    prefixes = tuple(f"{n}:" for s in definition.steps or () for n in (s.name, s.run))
    own: dict[str, str | FlagValue] = {}
    others: dict[str, str | FlagValue] = {}
    for name, value in settings.items():
        is_own = definition.find_flag(name) is not None or not name.startswith(prefixes)
        (own if is_own else others)[name] = value
    return own, others


def define_pipeline(definition: OperationDef, file: str, root: str) -> Defined:
    """Return what a pipeline is to those who set its flags."""
    none = FlagSet(kind="none")
    target = Target(OperationKind.PIPELINE, definition.full_name, None, (), False)
    merged = merge_flags(definition, none)
    return Defined(definition, file, root, target, merged, none, name=definition.full_name)


def prepare_pipeline(
    definition: OperationDef,
    file: str,
    root: str,
    settings: Mapping[str, str | FlagValue],
    run: RunRequest,
    context: Context,
) -> Prepared:
    """Decide about the flags of a pipeline itself.

    Raises:
        UsageError: one of them is refused, or has several values.
    """
    defined = define_pipeline(definition, file, root)
    known = defined.flags
    for name, setting in read_settings(settings, known, force=run.force_flags).items():
        if not isinstance(setting, Single):
            raise UsageError(
                f"`{name}` has several values, and a pipeline that is a step runs once",
                hint=f"`STEP:{name}=…` gives them to a step, which is then a batch",
            )
    for name in defined.defaults_for_many():
        if name not in settings:
            flag = definition.find_flag(name)
            raise UsageError(
                f"{flag.place if flag else definition.place}: flag `{name}` of pipeline "
                f"`{definition.full_name}` has several values, and a pipeline that is a step runs once",
                hint="give them to the flag of a step, which is then a batch",
            )
    return prepare(
        defined,
        settings,
        env=context.env,
        variables=run.variables,
        cwd=root,
        python=None,
        label=run.label,
        force=run.force_flags,
    )


def request_of_step(
    step: StepDef,
    pipeline: OperationDef,
    name: str,
    values: Mapping[str, FlagValue],
    run: RunRequest,
) -> RunRequest:
    """Return what a step runs.

    Args:
        step: the step.
        pipeline: whose step it is.
        name: of its operation.
        values: flags of the pipeline, and settings of its steps' flags.
        run: what is asked of all steps.

    Raises:
        BadProjectFile: it refers to what is no flag.
    """
    filler = _Filler(step, pipeline, values)
    found: dict[str, str | FlagValue] = {n: filler.text(t) for n, t in step.settings.items()}
    found.update({n: filler.value(v) for n, v in step.flags.items()})
    for prefix in dict.fromkeys((f"{step.run}:", f"{name}:", f"{step.name}:")):
        for flag, value in values.items():
            if flag.startswith(prefix):
                found[flag.removeprefix(prefix)] = value
    return msgspec.structs.replace(
        run,
        target=name,
        settings={n: _setting(v) for n, v in found.items() if v is not None},
        force_flags=run.force_flags or step.force_flags,
        label=filler.label(step.label) or run.label,
        comment=filler.label(step.comment),
        tags=tuple(dict.fromkeys((*run.tags, *(filler.label(t) or "" for t in step.tags)))),
        gpus=filler.label(step.gpus) if step.gpus is not None else run.gpus,
        time_limit_s=step.stop_after_s or run.time_limit_s,
        among=() if step.isolate_runs else None,
        run_id=None,
        directory=None,
        part=step.name,
        priority=0,
    )


class _Filler:
    """Puts the pipeline's flags where a step refers to them."""

    def __init__(
        self, step: StepDef, pipeline: OperationDef, values: Mapping[str, FlagValue]
    ) -> None:
        self._step = step
        self._pipeline = pipeline
        self._values = values

    def text(self, text: str) -> FlagValue:
        """Return the value where a text is nothing but a reference, else the filled text."""
        names = names_in(text)
        for name in names:
            if name not in self._values:
                raise BadProjectFile(
                    f"{self._step.place}: step `{self._step.name}` refers to `{name}`, which is no "
                    f"flag of pipeline `{self._pipeline.full_name}`",
                    hint=f"`\\${{{name}}}` stands for itself",
                )
        if names and text == f"${{{names[0]}}}":
            return self._values[names[0]]
        if not names and "\\${" not in text:
            return text
        return fill(text, {name: value_text(self._values[name]) for name in names})

    def value(self, value: FlagValue) -> FlagValue:
        """Fill a value of a YAML file."""
        if isinstance(value, str):
            return self.text(value)
        return [self.value(item) for item in value] if isinstance(value, list) else value

    def label(self, text: str | None) -> str | None:
        """Fill what is the pipeline's in a text, and leave the rest to the step."""
        if text is None:
            return None
        known = {n: value_text(self._values[n]) for n in names_in(text) if n in self._values}
        return fill(text, {n: known.get(n, f"${{{n}}}") for n in names_in(text)})


def _setting(value: FlagValue) -> str | FlagValue:
    """Return a value as it would be typed, where that can mean more than the value: a list."""
    return format_value(value) if isinstance(value, list) else value


def refuse_attributes(step: StepDef) -> None:
    """Raise BadProjectFile where a step says what no pipeline can do."""
    for attribute, is_set in (("remote", step.remote), ("stage-trials", step.stage_trials)):
        if is_set:
            raise BadProjectFile(
                f"{step.place}: `{attribute}` of step `{step.name}` is not supported"
            )
