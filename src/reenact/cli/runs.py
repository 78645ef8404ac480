"""`reenact runs`."""

from __future__ import annotations

import sys
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import list_runs
from reenact.cli.options import all_projects, as_json, filter_text
from reenact.cli.output import print_json, print_table, say, show_duration, show_time, show_value
from reenact.errors import UsageError
from reenact.model.record import flag_to_json
from reenact.store.columns import IndexedRun
from reenact.store.references import TRIALS

_FLAGS_SHOWN = 6


@click.command(
    "runs",
    epilog="""\b
Examples:
  reenact runs
  reenact runs -f "lr < 0.01 and acc > 0.9" -s -acc
  reenact runs --json --fields id,status,flags,metrics
""",
)
@filter_text
@all_projects
@click.option("-s", "--sort", metavar="COLUMN", help="Order, e.g. `-acc` or `.started`.")
@click.option("-n", "--limit", type=click.IntRange(min=0), default=20, help="0 for all.")
@click.option("--trials", "with_trials", is_flag=True, help="The trials of batches, too.")
@click.option("-d", "--deleted", is_flag=True, help="Runs in the trash.")
@click.option("--fields", metavar="NAMES", help="With --json: only these, by comma.")
@as_json
@click.pass_obj
def runs_command(home: str | None, /, **options: Any) -> None:
    """List the runs of this project, newest first.

    A batch is one line. Its trials are listed with --trials, or by a filter.
    """
    context = Context(store=home)
    limit = options["limit"] or None
    runs = list_runs(
        context,
        filter_text=options["filter_text"],
        sort=options["sort"],
        limit=limit,
        all_projects=options["all_projects"],
        deleted=options["deleted"],
        remember=True,
        without=() if options["with_trials"] or options["filter_text"] else [TRIALS],
    )
    if options["as_json"]:
        values = [run_to_json(run) for run in runs]
        print_json({"ok": True, "runs": [_only(v, options["fields"]) for v in values]})
        return
    if not runs and sys.stdout.isatty():
        say("no runs" if options["filter_text"] else "no runs yet; begin with `reenact run`")
        return
    rows = [_row(number, run) for number, run in enumerate(runs, 1)]
    print_table(("#", "ID", "OPERATION", "STARTED", "STATUS", "TOOK", "LABEL", "FLAGS"), rows)


def _row(number: int, run: IndexedRun) -> tuple[str, ...]:
    name = run.operation or "?"
    if run.damage and run.operation is None:
        label = run.damage
    else:
        label = " ".join(filter(None, [run.label or "", *(f"#{tag}" for tag in run.tags)]))
    given = [f"{name}={show_value(run.flags[name])}" for name in run.given if name in run.flags]
    if len(given) > _FLAGS_SHOWN:
        given = [*given[:_FLAGS_SHOWN], "…"]
    return (
        f"{number}{'*' if run.is_marked else ''}",
        run.id[:8],
        name + _about_trials(run),
        show_time(run.started or run.created),
        str(run.status),
        show_duration(run.duration_s),
        label,
        " ".join(given),
    )


def _about_trials(run: IndexedRun) -> str:
    """Say what a batch is to do, or which trial of its batch a run is."""
    if run.part is not None and run.parent is not None:
        return f" ({run.parent[:8]}/{run.part})"
    batch = run.batch
    if batch is None:
        return ""
    if batch.completed is None:
        return f" ({'?' if batch.trials is None else batch.trials} trials)"
    failed = f", {batch.failed} failed" if batch.failed else ""
    of = "" if batch.trials is None else f"/{batch.trials}"
    return f" ({batch.completed}{of} trials{failed})"


def run_to_json(run: IndexedRun) -> dict[str, Any]:
    """Return what `--json` says of a run; keys are only ever added."""
    return {
        "id": run.id,
        "status": run.status,
        "operation": run.operation,
        "project": run.project_name,
        "label": run.label,
        "tags": run.tags,
        "comment": run.comment,
        "marked": run.is_marked,
        "created": run.created,
        "started": run.started,
        "ended": run.ended,
        "duration_s": run.duration_s,
        "exit_status": run.exit_status,
        "flags": {name: flag_to_json(value) for name, value in run.flags.items()},
        "given": run.given,
        "metrics": run.metrics,
        "command": run.command,
        "commit": run.commit,
        "dirty": run.is_dirty,
        "source": run.source,
        "damage": run.damage,
        "parent": run.parent,
        "part": run.part,
        "variant": run.variant,
        "batch": run.batch,
        "priority": run.priority,
    }


def _only(value: dict[str, Any], fields: str | None) -> dict[str, Any]:
    if fields is None:
        return value
    names = [name.strip() for name in fields.split(",") if name.strip()]
    unknown = [name for name in names if name not in value]
    if unknown:
        raise UsageError(f"there is no field `{unknown[0]}`", hint=f"fields are {', '.join(value)}")
    return {name: value[name] for name in names}
