"""`reenact stop`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.stop import stop_runs
from reenact.cli.options import as_json, chosen_runs, runs_of
from reenact.cli.output import print_json, say
from reenact.errors import EXIT_OK, EXIT_PARTLY
from reenact.model.run import Status


@click.command(
    "stop",
    epilog="""\b
Examples:
  reenact stop @latest
  reenact stop --filter "status = running"
  reenact stop 3f2a --no-wait
""",
)
@chosen_runs
@click.option("-n", "--no-wait", is_flag=True, help="Return at once.")
@as_json
@click.pass_obj
def stop_command(home: str | None, /, **options: Any) -> int:
    """Stop running runs: SIGINT, after 5 seconds SIGTERM, after 5 more SIGKILL."""
    context = Context(store=home)
    wait_s = None if options["no_wait"] else 30.0
    stopped = stop_runs(context, runs_of(context, options), wait_s=wait_s)
    still = [run for run in stopped if run.status is Status.RUNNING]
    if options["as_json"]:
        runs = [{"id": run.id, "status": run.status} for run in stopped]
        print_json({"ok": not still, "runs": runs})
    else:
        for run in stopped:
            say(f"run {run.id[:8]}: {run.status}")
    return EXIT_PARTLY if still and wait_s is not None else EXIT_OK
