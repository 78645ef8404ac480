"""`reenact importance`."""

from __future__ import annotations

import sys
from typing import Any

import click

from reenact.actions.compare import Selection
from reenact.actions.context import Context
from reenact.actions.importance import Weighed, weigh_flags
from reenact.cli.options import all_projects, as_json, complete_run, filter_text
from reenact.cli.output import one_line, print_json, print_table, say, style, visible
from reenact.model.words import counted

_BAR = 20


@click.command(
    "importance",
    epilog="""\b
Examples:
  reenact importance @latest
  reenact importance 3f2a --by "min loss"
  reenact importance --filter "op = train" --by accuracy --json
""",
)
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_run)
@filter_text
@all_projects
@click.option("--by", "columns", multiple=True, metavar="COLUMN", help="What to explain.")
@as_json
@click.pass_obj
def importance_command(home: str | None, /, **options: Any) -> None:
    """Say which flags mattered: each one's share of a result's variation.

    RUNs are the trials of a batch, or any runs; the latest batch or run unless you name some.
    """
    texts: tuple[str, ...] = options["runs"]
    if not texts and options["filter_text"] is None:
        texts = ("@latest",)
    selection = Selection(
        texts=texts,
        filter_text=options["filter_text"],
        all_projects=options["all_projects"],
    )
    weighed = weigh_flags(Context(store=home), selection, options["columns"])
    if options["as_json"]:
        print_json({"ok": True, "importance": [_to_json(one) for one in weighed]})
        return
    for one in weighed:
        _print(one)


def _to_json(one: Weighed) -> dict[str, Any]:
    found = one.importance
    return {
        "column": one.column.heading,
        "method": found.method,
        "trials": found.trials,
        "runs": one.runs,
        "shares": [{"flag": name, "share": share} for name, share in found.shares],
    }


def _print(one: Weighed) -> None:
    found = one.importance
    heading = one.column.heading
    left_out = one.runs - found.trials
    without = f", {left_out} left out: not completed, or no finite number" if left_out else ""
    say(style(f"{visible(heading)}: {counted(found.trials, 'trial')}{without}", "bold"))
    say(found.method)
    if not any(share for _, share in found.shares):
        say("so few or so equal trials tell nothing of any flag")
    if sys.stdout.isatty():
        rows = [
            (one_line(name), f"{share:.1%}", "█" * round(share * _BAR))
            for name, share in found.shares
        ]
        print_table(("FLAG", "SHARE", ""), rows, right=(1,))
        return
    for name, share in found.shares:
        print("\t".join((one_line(heading), one_line(name), repr(share))))
