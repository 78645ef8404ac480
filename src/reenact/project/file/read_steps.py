"""Read the steps of a pipeline, and what a search aims at."""

from __future__ import annotations

import re
import shlex
from typing import Any

import msgspec

from reenact.project.file.keys import (
    EXPECT_KEYS,
    OBJECTIVE_KEYS,
    OPTIMIZER_KEYS,
    OPTIMIZER_TRIALS,
    STEP_KEYS,
)
from reenact.project.file.model import ExpectDef, Objective, OptimizerDef, StepDef
from reenact.project.file.section import Section, describe, did_you_mean, flag_value
from reenact.project.file.yaml import Mapping, Node, Scalar, Sequence, is_null

_SWITCHES = {
    "--needed": "needed", "--no-gpus": "no-gpus", "--stage-trials": "stage-trials",
    "--force-flags": "force-flags", "--force-sourcecode": "force-sourcecode", "-f": "force-flags",
    "--fail-on-trial-error": "fail-on-trial-error", "-O": "optimize", "--optimize": "optimize",
}  # fmt: skip
_OPTIONS = {
    "--label": "label", "-l": "label", "--tag": "tags", "-t": "tags", "--comment": "comment",
    "-c": "comment", "--batch-label": "batch-label", "-bl": "batch-label",
    "--batch-tag": "batch-tags", "-bt": "batch-tags", "--batch-comment": "batch-comment",
    "-bc": "batch-comment", "--gpus": "gpus", "--remote": "remote", "-r": "remote",
    "--max-trials": "max-trials", "--trials": "max-trials", "-m": "max-trials",
    "--optimizer": "optimizer", "-o": "optimizer", "--opt-flag": "opt-flags", "-Fo": "opt-flags",
    "--minimize": "minimize", "-N": "minimize", "--maximize": "maximize", "-X": "maximize",
    "--random-seed": "random-seed", "--jobs": "jobs", "-j": "jobs", "--stop-after": "stop-after",
}  # fmt: skip
_NUMBERS = ("max-trials", "random-seed", "jobs", "stop-after")


def read_steps(operation: Section) -> tuple[StepDef, ...] | None:
    """Return the steps of an operation; None where it has none."""
    node = operation.get("steps")
    if node is None:
        return None
    if not isinstance(node, Sequence):
        operation.wrong("steps", "a list")
        return ()
    if not node.items:
        operation.findings.error(node.place, f"`steps` of {operation.what} has no steps")
    steps = [_read_step(item, operation) for item in node.items]
    found = _with_own_names([step for step in steps if step is not None], operation)
    _check_order(found, operation)
    return found


def read_objectives(operation: Section) -> tuple[Objective, ...]:
    """Return what a search aims at: a text is minimized, or maximized with a dash before it."""
    found: list[Objective] = []
    for item in operation.listed("objective"):
        if isinstance(item, Mapping):
            section = Section(
                item, OBJECTIVE_KEYS, f"`objective` of {operation.what}", operation.findings
            )
            for direction in OBJECTIVE_KEYS:
                found += [Objective(direction, text) for text in section.texts(direction)]
        elif isinstance(item, Scalar) and item.value is not None:
            is_negated = item.text.startswith("-")
            direction = "maximize" if is_negated else "minimize"
            found.append(Objective(direction, item.text.removeprefix("-")))
        else:
            operation.wrong("objective", "a column, or `minimize` and `maximize`", item)
    return tuple(found)


def read_optimizers(operation: Section) -> tuple[OptimizerDef, ...]:
    """Return the searches that an operation offers."""
    findings = operation.findings
    one, many = operation.get("optimizer"), operation.get("optimizers")
    if one is not None and many is not None:
        findings.error(
            operation.place("optimizers"),
            f"{operation.what} has both `optimizer` and `optimizers`",
        )
        return ()
    if one is not None:
        found = _read_optimizer(None, one, operation)
        return () if found is None else (msgspec.structs.replace(found, default=True),)
    named: list[tuple[str | None, Node]] = []
    if isinstance(many, Mapping):
        named = list(many.items.items())
    elif isinstance(many, Sequence):
        named = [(None, item) for item in many.items]
    elif many is not None:
        operation.wrong("optimizers", "a mapping or a list")
    optimizers = [_read_optimizer(name, node, operation) for name, node in named]
    return tuple(optimizer for optimizer in optimizers if optimizer is not None)


def _read_optimizer(name: str | None, node: Node, operation: Section) -> OptimizerDef | None:
    if isinstance(node, Scalar) and (node.value is not None or name is not None):
        text = node.text if node.value is not None else name or ""
        return OptimizerDef(name=name or text, algorithm=text, place=node.place)
    if not isinstance(node, Mapping):
        operation.findings.error(
            node.place, f"an optimizer of {operation.what} is a name, not {describe(node)}"
        )
        return None
    section = Section(node, {}, "an optimizer", operation.findings, ignored=node.items)
    algorithm = section.text("algorithm") or name
    if algorithm is None:
        operation.findings.error(
            node.place, f"the optimizer of {operation.what} has no `algorithm`"
        )
        return None
    return OptimizerDef(
        name=name or algorithm,
        algorithm=algorithm,
        place=node.place,
        default=section.truth("default"),
        trials=_optimizer_trials(section),
        flags={
            key: flag_value(value)
            for key, value in node.items.items()
            if key not in (*OPTIMIZER_KEYS, *OPTIMIZER_TRIALS)
        },
    )


def _optimizer_trials(section: Section) -> int | None:
    trials: int | None = None
    for key in OPTIMIZER_TRIALS:
        if key in section.node.items:
            trials = section.integer(key)
    return trials


def _read_step(node: Node, operation: Section) -> StepDef | None:
    findings = operation.findings
    if isinstance(node, Scalar) and node.value is not None:
        key = Scalar("run", node.place, is_plain=True)
        node = Mapping({"run": node}, {"run": key}, node.place)
    if not isinstance(node, Mapping):
        findings.error(
            node.place, f"a step of {operation.what} is a text or a mapping, not {describe(node)}"
        )
        return None
    section = Section(node, STEP_KEYS, f"a step of {operation.what}", findings)
    run = section.text("run")
    if not run:
        findings.error(node.place, f"a step of {operation.what} has no `run`")
        return None
    words = _split(run)
    if words is None:
        findings.error(node.items["run"].place, f"a quote is not closed in `{run}`")
        return None
    target, settings, batch_files, options = _read_words(words, section)
    if target is None:
        findings.error(node.items["run"].place, f"`{run}` names no operation")
        return None
    section = _with_options(section, options)
    flags, more = _read_step_flags(section)
    settings.update(more)
    return StepDef(
        name=section.text("name") or target,
        run=target,
        place=node.place,
        flags=flags,
        settings=settings,
        batch_files=tuple(batch_files),
        needs=section.texts("needs") if section.get("needs") is not None else None,
        label=section.text("label"),
        tags=section.texts("tags"),
        comment=section.text("comment"),
        batch_label=section.text("batch-label"),
        batch_tags=section.texts("batch-tags"),
        batch_comment=section.text("batch-comment"),
        needed=section.maybe("needed"),
        isolate_runs=section.truth("isolate-runs", default=True),
        expect=_read_expectations(section),
        gpus="" if section.truth("no-gpus") else section.text("gpus"),
        remote=section.text("remote"),
        max_trials=section.integer("max-trials"),
        optimizer=section.text("optimizer") or ("default" if section.truth("optimize") else None),
        opt_flags=_read_opt_flags(section),
        objectives=tuple(
            Objective(direction, text)
            for direction in OBJECTIVE_KEYS
            for text in section.texts(direction)
        ),
        random_seed=section.integer("random-seed"),
        jobs=section.integer("jobs"),
        stop_after_s=_minutes(section),
        stage_trials=section.truth("stage-trials"),
        force_flags=section.truth("force-flags"),
        force_sourcecode=section.truth("force-sourcecode"),
        fail_on_trial_error=section.truth("fail-on-trial-error"),
    )


def _split(text: str) -> list[str] | None:
    try:
        return shlex.split(text)
    except ValueError:
        return None


def _read_words(
    words: list[str], step: Section
) -> tuple[str | None, dict[str, str], list[str], dict[str, list[str] | bool]]:
    """Take a command line apart: operation, settings, `@files`, options by attribute."""
    target: str | None = None
    settings: dict[str, str] = {}
    batch_files: list[str] = []
    options: dict[str, list[str] | bool] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        name, equals, value = word.partition("=")
        if word in _SWITCHES:
            options[_SWITCHES[word]] = True
        elif word in ("-y", "--yes"):
            continue
        elif word in _OPTIONS or (equals and name in _OPTIONS):
            if not equals:
                value = waiting.pop(0) if waiting else ""
            values = options.setdefault(_OPTIONS[name], [])
            assert isinstance(values, list)
            values.append(value)
        elif word.startswith("-") and not equals:
            step.findings.warning(
                step.node.items["run"].place,
                f"option `{word}` of {step.what} is not known",
                did_you_mean(word, [*_SWITCHES, *_OPTIONS]),
            )
            if target is not None and waiting and not re.match(r"[-@]|.*=", waiting[0]):
                waiting.pop(0)  # Its value.
        elif target is None:
            target = word
        elif word.startswith("@"):
            batch_files.append(word[1:])
        elif equals:
            settings[name] = value
        else:
            step.findings.error(
                step.node.items["run"].place, f"`{word}` is no setting: write `NAME=VALUE`"
            )
    return target, settings, batch_files, options


def _with_options(step: Section, options: dict[str, list[str] | bool]) -> Section:
    """Return the step with the options of its command line as attributes, unless they are written."""
    if not options:
        return step
    node = step.node.copy()
    place = step.node.items["run"].place
    for name, given in options.items():
        if not is_null(node.get(name)):
            continue
        if isinstance(given, bool):
            node.put(name, Scalar("yes", place, is_plain=True, value=True))
            continue
        is_plain = name in _NUMBERS
        nodes: list[Node] = [Scalar(text, place, is_plain=is_plain) for text in given]
        node.put(name, nodes[-1] if len(nodes) == 1 else Sequence(nodes, place))
    return Section(node, STEP_KEYS, step.what, step.findings)


def _read_step_flags(step: Section) -> tuple[dict[str, Any], dict[str, str]]:
    node = step.get("flags")
    if node is None:
        return {}, {}
    if isinstance(node, Mapping):
        return {name: flag_value(value) for name, value in node.items.items()}, {}
    settings = {}
    for text in step.texts("flags"):
        name, equals, value = text.partition("=")
        if not equals:
            step.findings.error(node.place, f"`{text}` is no setting: write `NAME=VALUE`")
        settings[name] = value
    return {}, settings


def _read_opt_flags(step: Section) -> dict[str, Any]:
    node = step.get("opt-flags")
    if isinstance(node, Mapping):
        return {name: flag_value(value) for name, value in node.items.items()}
    found: dict[str, Any] = {}
    for text in step.texts("opt-flags"):
        name, _, value = text.partition("=")
        found[name] = flag_value(Scalar(value, step.node.place, is_plain=True))
    return found


def _minutes(step: Section) -> float | None:
    minutes = step.number("stop-after")
    return None if minutes is None else 60.0 * minutes


def _read_expectations(step: Section) -> tuple[ExpectDef, ...]:
    found = []
    for item in step.listed("expect"):
        if not isinstance(item, Mapping):
            step.wrong("expect", "mappings with `file` or `output`", item)
            continue
        section = Section(item, EXPECT_KEYS, f"`expect` of {step.what}", step.findings)
        if section.has("file") == section.has("output"):
            step.findings.error(
                item.place, f"`expect` of {step.what} has one of `file` and `output`"
            )
            continue
        found.append(
            ExpectDef(
                place=item.place,
                file=section.text("file"),
                compare_to=section.text("compare-to"),
                contains=section.pattern("contains"),
                output=section.pattern("output"),
            )
        )
    return tuple(found)


def _with_own_names(steps: list[StepDef], operation: Section) -> tuple[StepDef, ...]:
    """Number steps that are called the same: `train`, `train_2`; two written names are a mistake."""
    counts: dict[str, int] = {}
    named = []
    for step in steps:
        count = counts[step.name] = counts.get(step.name, 0) + 1
        if count > 1 and step.name != step.run:
            operation.findings.error(step.place, f"two steps are called `{step.name}`")
        name = step.name if count == 1 else f"{step.name}_{count}"
        named.append(msgspec.structs.replace(step, name=name))
    return tuple(named)


def _check_order(steps: tuple[StepDef, ...], operation: Section) -> None:
    """Report `needs` that name no step, and steps that wait for each other."""
    known = {step.name: step for step in steps}
    for step in steps:
        for name in step.needs or ():
            if name not in known:
                operation.findings.error(
                    step.place,
                    f"step `{step.name}` needs `{name}`, which is no step of {operation.what}",
                    did_you_mean(name, known),
                )
    done: set[str] = set()
    for step in steps:
        cycle = _cycle_from(step.name, known, (), done)
        if cycle:
            operation.findings.error(
                known[cycle[0]].place, f"steps wait for each other: {' → '.join(cycle)}"
            )
            return


def _cycle_from(
    name: str, known: dict[str, StepDef], above: tuple[str, ...], done: set[str]
) -> tuple[str, ...]:
    if name in above:
        return (*above[above.index(name) :], name)
    if name in done or name not in known:
        return ()
    for other in known[name].needs or ():
        cycle = _cycle_from(other, known, (*above, name), done)
        if cycle:
            return cycle
    done.add(name)
    return ()
