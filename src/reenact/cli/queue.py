"""`reenact queue` and `reenact priority`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.children import exit_when_asked
from reenact.actions.context import Context
from reenact.actions.queue import run_queue, set_priority, staged_runs
from reenact.cli.options import all_projects, as_json, chosen_runs, runs_of
from reenact.cli.output import print_json, print_table, say, show_time, show_value, visible
from reenact.errors import EXIT_OK
from reenact.model.identity import RunId
from reenact.model.run import Run, Status
from reenact.model.words import counted


@click.command(
    "queue",
    epilog="""\b
Examples:
  reenact queue
  reenact queue --workers 4 --once
  reenact queue --list
""",
)
@click.option("-w", "--workers", type=click.IntRange(min=1), help="So many runs at once.")
@click.option("--gpus-per-worker", type=click.IntRange(min=1), help="GPUs for each of them.")
@click.option("--once", is_flag=True, help="End when no staged run is left.")
@click.option("--list", "is_list", is_flag=True, help="List what waits, and start nothing.")
@all_projects
@as_json
@click.pass_obj
def queue_command(home: str | None, /, **options: Any) -> int:
    """Start the runs that `reenact run --stage` has set aside, the highest priority first.

    Ctrl-C ends the queue and the runs that it has started; what still waits stays staged.
    """
    context = Context(store=home)
    if options["is_list"]:
        return _list(context, options)
    listener = _Json() if options["as_json"] else _Lines()
    requested = run_queue(
        context,
        listener,
        workers=options["workers"],
        gpus_per_worker=options["gpus_per_worker"],
        once=options["once"],
        all_projects=options["all_projects"],
    )
    if requested is not None:
        return exit_when_asked(requested).shell_status
    return EXIT_OK


def _list(context: Context, options: dict[str, Any]) -> int:
    runs = staged_runs(context, all_projects=options["all_projects"])
    if options["as_json"]:
        waiting = [
            {"id": r.id, "operation": r.operation, "priority": r.priority, "staged": r.staged}
            for r in runs
        ]
        print_json({"ok": True, "runs": waiting})
        return EXIT_OK
    rows = []
    for run in runs:
        flags = " ".join(f"{name}={show_value(run.flags.get(name))}" for name in run.given)
        staged = show_time(run.staged)
        rows.append((run.id[:8], run.operation or "?", str(run.priority), staged, flags))
    print_table(("ID", "OPERATION", "PRIORITY", "STAGED", "FLAGS"), rows, right=(2,))
    return EXIT_OK


class _Lines:
    def started(self, run: RunId) -> None:
        say(f"run {run[:8]} starts")

    def ended(self, run: RunId, status: Status | None, problem: str | None) -> None:
        why = f": {visible(problem)}" if problem else ""
        say(f"run {run[:8]}: {status or 'gone'}{why}")

    def waits(self) -> None:
        say("waiting for runs; Ctrl-C ends this")


class _Json(_Lines):
    def started(self, run: RunId) -> None:
        pass

    def ended(self, run: RunId, status: Status | None, problem: str | None) -> None:
        print_json({"id": run, "status": status, "problem": problem})

    def waits(self) -> None:
        pass


@click.command(
    "priority",
    epilog="""\b
Examples:
  reenact priority 10 @latest
  reenact priority -- -5 3f2a
  reenact queue --list
""",
)
@click.argument("priority", type=int, metavar="NUMBER")
@chosen_runs
@as_json
@click.pass_obj
def priority_command(home: str | None, /, **options: Any) -> None:
    """Say which staged runs a queue starts first: those of the highest number; all begin with 0."""
    context = Context(store=home)
    changed = set_priority(context, runs_of(context, options), options["priority"])
    if options["as_json"]:
        runs = [{"id": run_id, "priority": notes.priority} for run_id, notes in changed.items()]
        print_json({"ok": True, "runs": runs})
        return
    say(f"{counted(len(changed), 'run')} changed")


def report_staged(run: Run, *, as_json: bool) -> int:
    """Say that a run waits."""
    if as_json:
        print_json({"ok": True, "run": run.id})
    else:
        say(f"run {run.id[:8]} is staged; `reenact queue` starts it")
        print(run.id)
    return EXIT_OK
