"""What commands have in common: how runs are chosen, asked about and printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from reenact.actions.context import Context
from reenact.model.identity import RunId

F = TypeVar("F", bound=Callable[..., Any])

_COMPLETIONS = 50


def complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete the name of a run: an id of eight digits, a label, `@latest`."""
    from reenact.errors import ReenactError

    try:
        from reenact.actions.find import list_runs

        runs = list_runs(Context(store=ctx.find_root().params.get("home")), limit=_COMPLETIONS)
    except ReenactError:
        return []
    names = ["@latest", *(run.id[:8] for run in runs), *(run.label for run in runs if run.label)]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def complete_operation(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete what stands after `run`: an operation or a script, then its flags with `=`."""
    import os

    from reenact.errors import ReenactError

    words = [word for word in ctx.params.get("words") or () if "=" not in word]
    if not words:
        names = sorted(name for name in os.listdir() if name.endswith(".py"))
        names = [*_operations(), *names]
        return [name for name in names if name.startswith(incomplete)]
    from reenact.actions.operation_help import describe_operation

    try:
        found = describe_operation(Context(), words[0])
    except ReenactError:
        return []
    return [f"{f.name}=" for f in found.flags.flags if f.name.startswith(incomplete)]


def _operations() -> list[str]:
    from reenact.actions.operations import project_of
    from reenact.errors import ReenactError

    try:
        project = project_of(Context())
    except ReenactError:
        return []
    operations = () if project is None else project.content.operations
    return [operation.full_name for operation in operations if not operation.is_private]


one_run = click.argument("run", default="@latest", shell_complete=complete_run)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
installed_too = click.option(
    "-i", "--installed", is_flag=True, help="Those of installed packages too."
)
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
all_projects = click.option("-a", "--all", "all_projects", is_flag=True, help="Of all projects.")
filter_text = click.option(
    "-f", "--filter", "filter_text", metavar="EXPR", help="Runs that match, e.g. `acc > 0.9`."
)

_many_runs = click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)


def chosen_runs(function: F) -> F:
    """Let a command act on runs that are named, that match a filter, or both."""
    for decorate in (
        all_projects,
        filter_text,
        _many_runs,
    ):
        function = decorate(function)
    return function


def runs_of(context: Context, options: dict[str, Any], *, deleted: bool = False) -> list[RunId]:
    """Return the runs that the options of `chosen_runs` mean; there is at least one."""
    from reenact.actions.find import find_runs, require
    from reenact.errors import UsageError

    if not options["runs"] and options["filter_text"] is None:
        raise UsageError(
            "no run is named", hint="name one (`@latest`, `1`, an id) or use `--filter`"
        )
    found = find_runs(
        context,
        options["runs"],
        filter_text=options["filter_text"],
        all_projects=options["all_projects"],
        deleted=deleted,
    )
    require(found, deleted=deleted)
    return found
