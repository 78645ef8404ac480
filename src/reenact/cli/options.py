"""What commands have in common: how runs are chosen, asked about and printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from reenact.actions.context import Context
from reenact.model.identity import RunId

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
all_projects = click.option("-a", "--all", "all_projects", is_flag=True, help="Of all projects.")
filter_text = click.option(
    "-f", "--filter", "filter_text", metavar="EXPR", help="Runs that match, e.g. `acc > 0.9`."
)


def chosen_runs(function: F) -> F:
    """Let a command act on runs that are named, that match a filter, or both."""
    for decorate in (
        all_projects,
        filter_text,
        click.argument("runs", metavar="[RUN]...", nargs=-1),
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
    require(found)
    return found
