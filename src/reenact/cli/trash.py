"""`reenact rm`, `restore` and `purge`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.trash import purge_runs, remove_runs, restore_runs
from reenact.cli.options import as_json, chosen_runs, runs_of, yes
from reenact.cli.output import confirm, print_json, say
from reenact.model.identity import RunId
from reenact.model.words import counted

_dry_run = click.option("--dry-run", is_flag=True, help="Print which runs, and do nothing.")


@click.command(
    "rm",
    epilog="""\b
Examples:
  reenact rm 3
  reenact rm --filter "status = failed" --yes
  reenact restore @latest
""",
)
@chosen_runs
@_dry_run
@yes
@as_json
@click.pass_obj
def rm_command(home: str | None, /, **options: Any) -> int:
    """Move runs to the trash. `reenact restore` brings them back."""
    context = Context(store=home)
    runs = runs_of(context, options)
    if options["dry_run"] or not _agreed(f"move {_count(runs)} to the trash?", options):
        return _report("would move", runs, options)
    return _report("moved to the trash:", remove_runs(context, runs), options)


@click.command(
    "restore",
    epilog="""\b
Examples:
  reenact restore 3f2a
  reenact restore --filter "op = train.py"
  reenact runs --deleted
""",
)
@chosen_runs
@_dry_run
@as_json
@click.pass_obj
def restore_command(home: str | None, /, **options: Any) -> int:
    """Bring runs back from the trash."""
    context = Context(store=home)
    runs = runs_of(context, options, deleted=True)
    if options["dry_run"]:
        return _report("would restore", runs, options)
    return _report("restored", restore_runs(context, runs), options)


@click.command(
    "purge",
    epilog="""\b
Examples:
  reenact purge 3f2a --yes
  reenact purge --filter "started < '30 days ago'"
  reenact purge --filter "" --all --yes
""",
)
@chosen_runs
@_dry_run
@yes
@as_json
@click.pass_obj
def purge_command(home: str | None, /, **options: Any) -> int:
    """Delete runs in the trash for good. `reenact gc` then frees the source they had."""
    context = Context(store=home)
    runs = runs_of(context, options, deleted=True)
    if options["dry_run"] or not _agreed(f"delete {_count(runs)} for good?", options):
        return _report("would delete", runs, options)
    return _report("deleted", purge_runs(context, runs), options)


def _agreed(question: str, options: dict[str, Any]) -> bool:
    return confirm(question, yes=options["yes"])


def _count(runs: list[RunId]) -> str:
    return counted(len(runs), "run")


def _report(what: str, runs: list[RunId], options: dict[str, Any]) -> int:
    if options["as_json"]:
        print_json({"ok": True, "runs": runs})
    else:
        say(f"{what} {_count(runs)}")
        for run_id in runs:
            print(run_id)
    return 0
