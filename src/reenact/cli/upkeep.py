"""`reenact gc` and `fsck`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.upkeep import check_store, collect_garbage
from reenact.cli.options import as_json
from reenact.cli.output import print_json, print_table, say, show_size
from reenact.errors import EXIT_FAILED, EXIT_OK
from reenact.model.words import counted


@click.command(
    "gc",
    epilog="""\b
Examples:
  reenact gc --dry-run
  reenact gc
  reenact gc --json
""",
)
@click.option("--dry-run", is_flag=True, help="Say what would be freed, and free nothing.")
@as_json
@click.pass_obj
def gc_command(home: str | None, /, **options: Any) -> None:
    """Free the space of source and environments that no run needs any more."""
    freed = collect_garbage(Context(store=home), dry_run=options["dry_run"])
    if options["as_json"]:
        print_json({"ok": True, "blobs": freed.blobs, "size_bytes": freed.size_bytes})
        return
    verb = "would free" if options["dry_run"] else "freed"
    say(f"{verb} {show_size(freed.size_bytes)} in {counted(freed.blobs, 'blob')}")


@click.command(
    "fsck",
    epilog="""\b
Examples:
  reenact fsck
  reenact fsck --quick
  reenact fsck --repair
""",
)
@click.option("--quick", is_flag=True, help="Look at sizes only, not at content.")
@click.option("--repair", is_flag=True, help="Close killed runs, remove what killed writers left.")
@as_json
@click.pass_obj
def fsck_command(home: str | None, /, **options: Any) -> int:
    """Check every record, output and blob. The exit status is 1 when something is wrong."""
    checked = check_store(Context(store=home), quick=options["quick"], repair=options["repair"])
    status = EXIT_FAILED if checked.problems else EXIT_OK
    if options["as_json"]:
        print_json(
            {
                "ok": not checked.problems,
                "runs": checked.runs,
                "blobs": checked.blobs,
                "unfinished": checked.unfinished,
                "leftovers": checked.leftovers,
                "problems": [problem._asdict() for problem in checked.problems],
            }
        )
        return status
    rows = [(p.kind, p.where, p.detail) for p in checked.problems]
    if rows:
        print_table(("PROBLEM", "WHERE", "WHAT"), rows)
    for run_id in checked.unfinished:
        say(f"run {run_id[:8]} was killed and is not closed; `--repair` closes it")
    if checked.leftovers:
        count = len(checked.leftovers)
        say(f"{counted(count, 'leftover')} of killed writers; `--repair` removes them")
    found = counted(len(checked.problems), "problem")
    say(f"{counted(checked.runs, 'run')}, {counted(checked.blobs, 'blob')}, {found}")
    return status
