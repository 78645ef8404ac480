"""`reenact select`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_runs, list_runs, require
from reenact.cli.options import all_projects, as_json, filter_text
from reenact.cli.output import print_json


@click.command(
    "select",
    epilog="""\b
Examples:
  reenact cat $(reenact select --min loss) model.txt
  reenact rm --yes $(reenact select -f "status = failed")
  reenact select @best:acc --path
""",
)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@filter_text
@all_projects
@click.option("-s", "--sort", metavar="COLUMN", help="Order, e.g. `-acc`.")
@click.option("--min", "minimum", metavar="COLUMN", help="The run with the smallest value.")
@click.option("--max", "maximum", metavar="COLUMN", help="The run with the largest value.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="At most so many.")
@click.option("-p", "--path", "as_path", is_flag=True, help="Print run directories.")
@click.option("--short", is_flag=True, help="Print the first 8 digits.")
@as_json
@click.pass_obj
def select_command(home: str | None, /, **options: Any) -> None:
    """Print the ids of runs, one a line, for use in the shell. At least one must match."""
    context = Context(store=home)
    if options["runs"]:
        ids = find_runs(context, options["runs"], filter_text=options["filter_text"])
    else:
        sort, limit, filter_text = options["sort"], options["limit"], options["filter_text"]
        if options["minimum"] or options["maximum"]:
            column = options["minimum"] or options["maximum"]
            sort = column if options["minimum"] else f"-{column}"
            limit = 1
            has_it = f"{column} is not undefined"
            filter_text = f"({filter_text}) and {has_it}" if filter_text else has_it
        found = list_runs(
            context,
            filter_text=filter_text,
            sort=sort,
            limit=limit,
            all_projects=options["all_projects"],
        )
        ids = [run.id for run in found]
    require(ids)
    if options["as_json"]:
        print_json({"ok": True, "runs": ids})
        return
    for run_id in ids:
        if options["as_path"]:
            print(context.store.directory(run_id))
        else:
            print(run_id[:8] if options["short"] else run_id)
