"""`reenact models`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.operations import OfferedModel, list_models, listed_packages, project_of
from reenact.cli.ops import first_line, say_notes
from reenact.cli.options import as_json, installed_too
from reenact.cli.output import print_json, print_table, say


@click.command(
    "models",
    epilog="""\b
Examples:
  reenact models
  reenact models cnn
  reenact models --json
""",
)
@click.argument("matching", metavar="[TEXT]", required=False)
@click.option("-a", "--all", "private", is_flag=True, help="Those too that begin with `_`.")
@installed_too
@as_json
@click.pass_obj
def models_command(home: str | None, /, **options: Any) -> None:
    """List models: those of the project file.

    Where there is none, or with --installed, those of installed packages are listed too. With TEXT
    only those whose names contain it. The model without a name is shown as `-`.
    """
    context = Context(store=home)
    project = project_of(context)
    packages = listed_packages(context, project, installed=options["installed"])
    found = list_models(
        project, packages.projects, matching=options["matching"], private=options["private"]
    )
    if options["as_json"]:
        print_json({"ok": True, "models": [_to_json(offered) for offered in found]})
        return
    print_table(
        ("MODEL", "OPERATIONS", "DESCRIPTION"),
        [
            (
                offered.name or "-",
                ", ".join(_operations(offered)),
                first_line(offered.definition.description),
            )
            for offered in found
        ],
    )
    say_notes(project, packages.problems)
    if not found:
        say("there are no models here")


def _operations(offered: OfferedModel) -> list[str]:
    return [op.name for op in offered.definition.operations if not op.is_private]


def _to_json(offered: OfferedModel) -> dict[str, Any]:
    definition = offered.definition
    return {
        "name": offered.name,
        "model": definition.name,
        "package": offered.package,
        "description": definition.description,
        "default": definition.default,
        "operations": [operation.name for operation in definition.operations],
        "resources": [resource.name for resource in definition.resources if not resource.private],
        "references": definition.references,
        "directory": offered.project.directory,
        "file": definition.place.file,
        "line": definition.place.line,
    }
