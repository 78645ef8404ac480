"""`reenact help`."""

from __future__ import annotations

import os
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.operation_help import OperationHelp, describe, describe_operation
from reenact.cli.main import COMMANDS, cli
from reenact.cli.options import as_json
from reenact.cli.output import print_json, print_table, say, show_value, visible
from reenact.errors import UsageError
from reenact.model.flags import Flag
from reenact.model.record import flag_to_json
from reenact.model.words import counted
from reenact.project.file.model import OperationDef, RequireDef


@click.command(
    "help",
    epilog="""\b
Examples:
  reenact help train.py
  reenact help -m mypackage.train
  reenact help train --markdown
""",
)
@click.argument("operation", metavar="OP", required=False)
@click.option("-m", "is_module", is_flag=True, help="OP is a module, as for `python -m`.")
@click.option("--markdown", is_flag=True, help="Print Markdown; without OP, of all operations.")
@as_json
@click.pass_context
def help_command(ctx: click.Context, /, **options: Any) -> None:
    """Show the flags of an operation: type, default, choices, help and where each was found.

    OP is an operation of the project file, or a script. With the name of a command, show the help
    of that command.
    """
    operation: str | None = options["operation"]
    if options["markdown"] and options["as_json"]:
        raise UsageError("`--markdown` and `--json` exclude each other")
    if operation is None and options["markdown"]:
        _print_project(Context(store=ctx.obj))
        return
    is_command = operation in COMMANDS and not os.path.exists(operation or "")
    if operation is None or (is_command and not options["is_module"]):
        command = cli if operation is None else cli.get_command(ctx, operation)
        assert command is not None
        parent = ctx.parent if operation is None else ctx
        assert parent is not None
        with click.Context(command, info_name=operation, parent=ctx.parent) as inner:
            print(command.get_help(parent if operation is None else inner))
        return
    context = Context(store=ctx.obj)
    found = describe_operation(context, operation, is_module=options["is_module"])
    if options["as_json"]:
        print_json(_to_json(found))
    elif options["markdown"]:
        print(markdown(found), end="")
    else:
        _print(found)


def _print(found: OperationHelp) -> None:
    flags = found.flags
    print(f"{found.name}: {counted(len(flags.flags), 'flag')} ({flags.kind})")
    if found.offered is not None:
        _print_definition(found.offered.definition)
    rows = [_row(flag) for flag in flags.flags]
    if rows:
        print()
        print_table(("FLAG", "TYPE", "DEFAULT", "CHOICES", "FOUND", "HELP"), rows)
    for remark in flags.remarks:
        say(f"note: {remark}")
    if flags.open_ended:
        say("note: the operation may take more flags than were found")


def _print_definition(definition: OperationDef) -> None:
    if definition.description:
        print()
        print("\n".join(map(visible, definition.description.splitlines())))
    facts = _facts(definition)
    if facts:
        print()
    for name, text in facts:
        print(f"{name:<10}{visible(text)}")


def _facts(definition: OperationDef) -> list[tuple[str, str]]:
    """Return what an operation runs, needs and aims at, by a word each."""
    steps = ", ".join(step.name for step in definition.steps or ())
    facts = [
        ("main", definition.main),
        ("exec", definition.exec),
        ("notebook", definition.notebook),
        ("steps", steps),
        ("requires", ", ".join(map(_required, definition.requires))),
        ("compare", ", ".join(definition.compare or ())),
        ("objective", ", ".join(f"{o.direction} {o.column}" for o in definition.objectives)),
        ("defined", str(definition.place)),
    ]
    return [(name, text) for name, text in facts if text]


def _required(required: RequireDef) -> str:
    if required.reference is not None:
        return required.reference
    assert required.resource is not None
    return required.resource.name or ", ".join(s.name for s in required.resource.sources)


def _row(flag: Flag) -> tuple[str, ...]:
    choices = ", ".join(show_value(choice) for choice in flag.choices or ())
    return (flag.name, str(flag.type), _default(flag), choices, flag.found or "", flag.help or "")


def _default(flag: Flag) -> str:
    if flag.required:
        return "required"
    if flag.default is None and flag.null_label is not None:
        return flag.null_label
    return flag.default_source if flag.default_source is not None else show_value(flag.default)


def _print_project(context: Context) -> None:
    """Print all public operations of the project file, model by model."""
    from reenact.actions.operations import Offered, project_of

    project = project_of(context)
    if project is None:
        raise UsageError("there is no project file here", hint="name an operation or a script")
    for model in project.content.models:
        if model.name:
            print(f"# {model.name}\n")
            if model.description:
                print(f"{model.description}\n")
        for operation in model.operations:
            offered = Offered(operation, project)
            if offered.problem is not None:
                say(f"note: `{offered.name}` is left out: {offered.problem}")
            elif not operation.is_private:
                print(markdown(describe(offered)))


def markdown(found: OperationHelp) -> str:
    """Return the help of an operation as a section of a Markdown page."""
    lines = [f"## {found.name}", ""]
    definition = None if found.offered is None else found.offered.definition
    if definition is not None:
        if definition.description:
            lines += [definition.description.strip(), ""]
        lines += [f"* {name}: {_code(text)}" for name, text in _facts(definition)] + [""]
    if found.flags.flags:
        lines += ["| flag | type | default | choices | help |", "| --- | --- | --- | --- | --- |"]
        for flag in found.flags.flags:
            choices = ", ".join(_code(show_value(choice)) for choice in flag.choices or ())
            default = _default(flag)
            cells = (
                _code(flag.name),
                str(flag.type),
                _code(default) if default else "",
                choices,
                _cell(flag.help or ""),
            )
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += _choices_markdown(found)
    return "\n".join(lines)


def _choices_markdown(found: OperationHelp) -> list[str]:
    """Return lists of choices that are described."""
    lines = []
    for merged in found.merged:
        choices = merged.definition.choices if merged.definition is not None else None
        described = [choice for choice in choices or () if choice.description]
        if described:
            lines += [f"Choices of {_code(merged.flag.name)}:", ""]
            lines += [f"* {_code(show_value(c.value))}: {c.description}" for c in described]
            lines.append("")
    return lines


def _code(text: str) -> str:
    """Return a text as code; one with backticks needs two around it."""
    text = _cell(text)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _to_json(found: OperationHelp) -> dict[str, Any]:
    flags = [
        {
            "name": flag.name,
            "aliases": flag.aliases,
            "type": flag.type,
            "default": flag_to_json(flag.default),
            "default_source": flag.default_source,
            "required": flag.required,
            "choices": None if flag.choices is None else [flag_to_json(c) for c in flag.choices],
            "help": flag.help,
            "found": flag.found,
            "binding": flag.binding,
        }
        for flag in found.flags.flags
    ]
    value = {
        "ok": True,
        "operation": found.name,
        "kind": found.flags.kind,
        "open_ended": found.flags.open_ended,
        "flags": flags,
        "remarks": found.flags.remarks,
    }
    if found.offered is not None:
        value["definition"] = _definition_to_json(found.offered.definition)
    return value


def _definition_to_json(definition: OperationDef) -> dict[str, Any]:
    return {
        "model": definition.model,
        "description": definition.description,
        "main": definition.main,
        "exec": definition.exec,
        "notebook": definition.notebook,
        "steps": None if definition.steps is None else [step.name for step in definition.steps],
        "requires": [_required(required) for required in definition.requires],
        "compare": definition.compare,
        "objectives": [
            {"direction": objective.direction, "column": objective.column}
            for objective in definition.objectives
        ],
        "label": definition.label,
        "tags": definition.tags,
        "file": definition.place.file,
        "line": definition.place.line,
    }
