"""`reenact ops`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.operations import Offered, list_operations, listed_packages, project_of
from reenact.cli.options import as_json, installed_too
from reenact.cli.output import print_json, print_table, say
from reenact.model.words import counted
from reenact.project.file.model import Level, LoadedProject


@click.command(
    "ops",
    epilog="""\b
Examples:
  reenact ops
  reenact ops train
  reenact ops --json
""",
)
@click.argument("matching", metavar="[TEXT]", required=False)
@click.option("-a", "--all", "private", is_flag=True, help="Those too that begin with `_`.")
@installed_too
@as_json
@click.pass_obj
def ops_command(home: str | None, /, **options: Any) -> None:
    """List operations: those of the project file.

    Where there is none, or with --installed, those of installed packages are listed too. With TEXT
    only those whose names contain it.
    """
    context = Context(store=home)
    project = project_of(context)
    packages = listed_packages(context, project, installed=options["installed"])
    found = list_operations(
        project, packages.projects, matching=options["matching"], private=options["private"]
    )
    if options["as_json"]:
        print_json({"ok": True, "operations": [_to_json(offered) for offered in found]})
        return
    print_table(
        ("OPERATION", "DESCRIPTION"),
        [(offered.name, first_line(offered.definition.description)) for offered in found],
    )
    say_notes(project, packages.problems)
    if not found and project is None:
        say("there is no project file here; `reenact run train.py` needs none")
    elif not found:
        say("there is no such operation" if options["matching"] else "there are no operations")


def first_line(text: str | None) -> str:
    """Return the beginning of a description."""
    return (text or "").strip().partition("\n")[0]


def say_notes(project: LoadedProject | None, problems: tuple[str, ...]) -> None:
    """Say what the reader of a list must know about where it comes from."""
    if project is not None:
        if project.also is not None:
            say(f"note: `{project.also}` is not read: `{project.file}` is there too")
        warnings = sum(finding.level is Level.WARNING for finding in project.notes)
        if warnings:
            say(f"note: `reenact check` finds {counted(warnings, 'likely mistake')}")
        for name, errors in project.broken.items():
            say(f"note: `{name}` cannot be run: {errors[0]}")
    for problem in problems:
        say(f"note: {problem}")


def _to_json(offered: Offered) -> dict[str, Any]:
    definition = offered.definition
    bodies = ("main", "exec", "notebook", "steps")
    return {
        "name": offered.name,
        "operation": definition.name,
        "model": definition.model,
        "package": offered.package,
        "description": definition.description,
        "default": definition.default,
        "kind": next(body for body in bodies if getattr(definition, body) is not None),
        "flags": [flag.name for flag in definition.flags],
        "directory": offered.project.directory,
        "file": definition.place.file,
        "line": definition.place.line,
        "problem": offered.problem,
    }
