"""`reenact help`."""

from __future__ import annotations

import os
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.operation_help import OperationHelp, describe_operation
from reenact.cli.main import COMMANDS, cli
from reenact.cli.options import as_json
from reenact.cli.output import print_json, print_table, say, show_value
from reenact.model.flags import Flag
from reenact.model.record import flag_to_json
from reenact.model.words import counted


@click.command(
    "help",
    epilog="""\b
Examples:
  reenact help train.py
  reenact help -m mypackage.train
  reenact help train.py --json
""",
)
@click.argument("operation", metavar="OP", required=False)
@click.option("-m", "is_module", is_flag=True, help="OP is a module, as for `python -m`.")
@as_json
@click.pass_context
def help_command(ctx: click.Context, /, **options: Any) -> None:
    """Show the flags of an operation: type, default, choices, help and where each was found.

    With the name of a command, show the help of that command.
    """
    operation: str | None = options["operation"]
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
        return
    _print(found)


def _print(found: OperationHelp) -> None:
    flags = found.flags
    print(f"{found.name}: {counted(len(flags.flags), 'flag')} ({flags.kind})")
    rows = [_row(flag) for flag in flags.flags]
    if rows:
        print()
        print_table(("FLAG", "TYPE", "DEFAULT", "CHOICES", "FOUND", "HELP"), rows)
    for remark in flags.remarks:
        say(f"note: {remark}")
    if flags.open_ended:
        say("note: the operation may take more flags than were found")


def _row(flag: Flag) -> tuple[str, ...]:
    default = flag.default_source if flag.default_source is not None else show_value(flag.default)
    if flag.required:
        default = "required"
    choices = ", ".join(show_value(choice) for choice in flag.choices or ())
    return (flag.name, str(flag.type), default, choices, flag.found or "", flag.help or "")


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
    return {
        "ok": True,
        "operation": found.name,
        "kind": found.flags.kind,
        "open_ended": found.flags.open_ended,
        "flags": flags,
        "remarks": found.flags.remarks,
    }
