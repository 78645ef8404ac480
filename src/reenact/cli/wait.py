"""`reenact wait`."""

from __future__ import annotations

import time
from typing import Any

import click

from reenact.actions.context import Context
from reenact.cli.options import as_json, chosen_runs, runs_of
from reenact.cli.output import print_json, say
from reenact.errors import EXIT_FAILED, EXIT_OK
from reenact.model.run import Status

_POLL_S = 0.1
_ALIVE = (Status.PENDING, Status.RUNNING)


@click.command(
    "wait",
    epilog="""\b
Examples:
  reenact wait @latest
  reenact wait 3f2a && reenact compare
  reenact wait --filter "status = running"
""",
)
@chosen_runs
@as_json
@click.pass_obj
def wait_command(home: str | None, /, **options: Any) -> int:
    """Wait until runs have ended. Staged runs are not waited for: nobody may ever start them."""
    context = Context(store=home)
    ended = []
    for run_id in runs_of(context, options):
        while (stored := context.store.read_run(run_id)).status in _ALIVE:
            time.sleep(_POLL_S)
        ended.append(stored)
    if options["as_json"]:
        runs = [{"id": stored.id, "status": stored.status} for stored in ended]
        print_json({"ok": True, "runs": runs})
    else:
        for stored in ended:
            say(f"run {stored.id[:8]}: {stored.status}")
    is_fine = all(stored.status is Status.COMPLETED for stored in ended)
    return EXIT_OK if is_fine else EXIT_FAILED
