"""`reenact rm`, `restore` and `purge`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import with_parts
from reenact.actions.graph import dependents
from reenact.actions.trash import purge_runs, remove_runs, restore_runs
from reenact.cli.options import as_json, chosen_runs, runs_of, yes
from reenact.cli.output import confirm, print_json, say, style, visible
from reenact.errors import UsageError
from reenact.model.identity import RunId
from reenact.model.words import counted

_NAMED = 5

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
    """Move runs to the trash, a batch with its trials. `reenact restore` brings them back."""
    context = Context(store=home)
    # Parents last: they stay where one of their parts cannot be moved.
    runs = list(reversed(with_parts(context, runs_of(context, options))))
    _tell_dependents(context, runs)
    if options["dry_run"] or not _agreed(f"move {_count(runs)} to the trash?", options):
        return _report("would move", runs, options)
    return _report("moved to the trash:", remove_runs(context, runs), options)


@click.command(
    "restore",
    epilog="""\b
Examples:
  reenact restore 3f2a
  reenact restore --filter "op = train.py"
  reenact restore 3f2a --to old-code
""",
)
@chosen_runs
@click.option("--to", "directory", metavar="DIR", help="Write the run's source there instead.")
@_dry_run
@as_json
@click.pass_obj
def restore_command(home: str | None, /, **options: Any) -> int:
    """Bring runs back from the trash, or with --to the source that a run was made from.

    What is written with --to is the source byte for byte, with modes and links, and the data that
    was kept with it.
    """
    context = Context(store=home)
    if options["directory"] is not None:
        return _restore_source(context, options)
    runs = with_parts(context, runs_of(context, options, deleted=True), deleted=True)
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
    runs = with_parts(context, runs_of(context, options, deleted=True), deleted=True)
    _tell_dependents(context, runs)
    if options["dry_run"] or not _agreed(f"delete {_count(runs)} for good?", options):
        return _report("would delete", runs, options)
    return _report("deleted", purge_runs(context, runs), options)


def _restore_source(context: Context, options: dict[str, Any]) -> int:
    from reenact.actions.find import find_run
    from reenact.actions.restore_source import restore_source

    names = options["runs"]
    if len(names) != 1 or options["filter_text"] is not None or options["dry_run"]:
        raise UsageError("`--to` takes one run", hint="`reenact restore 3f2a --to DIR`")
    found = restore_source(context, find_run(context, names[0]), options["directory"])
    if options["as_json"]:
        print_json({"ok": True, **found._asdict()})
        return 0
    say(f"{counted(found.files, 'file')} written to {options['directory']}")
    for path in found.absent[:_NAMED]:
        say(f"  not in the store, and not there: {visible(path)}")
    if len(found.absent) > _NAMED:
        say(f"  and {len(found.absent) - _NAMED} more files of data")
    return 0


def _tell_dependents(context: Context, runs: list[RunId]) -> None:
    """Say which other runs were given files of those that are about to go."""
    going = set(runs)
    for run_id, found in dependents(context.store, runs).items():
        others = [other for other in found if other not in going]
        if not others:
            continue
        names = ", ".join(other[:8] for other in others[:_NAMED])
        more = f" and {counted(len(others) - _NAMED, 'other')}" if len(others) > _NAMED else ""
        say(f"{style('warning', 'yellow')}: files of run {run_id[:8]} were used by {names}{more}")


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
