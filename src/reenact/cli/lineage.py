"""`reenact lineage`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.lineage import draw_lineage
from reenact.cli.graph import show_graph, svg_option
from reenact.cli.options import as_json, one_run


@click.command(
    "lineage",
    short_help="Show the runs, data and files before a run and after it",
    epilog="""\b
Examples:
  reenact lineage
  reenact lineage 3f2a --svg lineage.svg
  reenact lineage @best:acc --json
""",
)
@one_run
@svg_option
@as_json
@click.pass_obj
def lineage_command(home: str | None, /, **options: Any) -> None:
    """Show the runs, data and files that a run came of, and what came of it.

    RUN is the latest one unless you name another. Copies of files are known by their content.
    `reenact graph` shows runs only.
    """
    context = Context(store=home)
    show_graph(draw_lineage(context, find_run(context, options["run"])), options)
