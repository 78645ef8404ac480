"""`reenact prune`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.ground import RunRequest
from reenact.actions.prune import Pruned, prune
from reenact.cli.batch import make_listener
from reenact.cli.options import as_json, complete_run
from reenact.cli.output import print_json, say, show_value
from reenact.errors import EXIT_FAILED, EXIT_OK
from reenact.model.record import flag_to_json
from reenact.model.words import counted
from reenact.search.ddmin import Outcome

_OUTCOMES = {
    Outcome.NO_DIFFERENCE: "with all flags of the second run it comes out as the first",
    Outcome.ALWAYS_DIFFERS: "the first run cannot be repeated: it comes out as the second",
    Outcome.UNRESOLVED: "the runs fail, or come out as neither of the two",
}


@click.command(
    "prune",
    epilog="""\b
Examples:
  reenact prune @latest/1 @latest/7 --by loss
  reenact prune 3f2a 81ca
  reenact prune 2 1 --by "max acc" --json
""",
)
@click.argument("a", shell_complete=complete_run)
@click.argument("b", shell_complete=complete_run)
@click.option("--by", metavar="COLUMN", help="The number that tells A from B, e.g. `loss`.")
@click.option("-q", "--quiet", is_flag=True, help="Print only what was found.")
@as_json
@click.pass_obj
def prune_command(home: str | None, /, **options: Any) -> int:
    """Find which of the flags that differ make the difference between run A and run B.

    A is run again with some of the flags of B, fewer and fewer. Runs that are there already with the
    same source are not run again.
    """
    context = Context(store=home)
    a, b = find_run(context, options["a"]), find_run(context, options["b"])
    is_quiet = options["quiet"] or options["as_json"]
    listener = make_listener(RunRequest(quiet=is_quiet))
    found = prune(a, b, context, listener, by=options["by"])
    ended = found.finished.run.exit
    if options["as_json"]:
        print_json(_to_json(found))
    else:
        _print(found)
    if ended is not None and ended.requested is not None:
        return ended.shell_status
    is_found = found.cause is not None and found.cause.outcome is Outcome.FOUND
    return EXIT_OK if is_found else EXIT_FAILED


def _to_json(found: Pruned) -> dict[str, Any]:
    cause = found.cause
    changes = [] if cause is None else cause.changes
    return {
        "ok": True,
        "run": found.finished.run.id,
        "outcome": None if cause is None else cause.outcome,
        "changes": [
            {
                "flag": change.name,
                "before": flag_to_json(change.before),
                "after": flag_to_json(change.after),
            }
            for change in changes
        ],
        "tests": None if cause is None else cause.tests,
        "unresolved": None if cause is None else cause.unresolved,
    }


def _print(found: Pruned) -> None:
    cause = found.cause
    if cause is None:
        say("it was cut short; say it again to go on: runs that are there count")
        return
    if cause.outcome is not Outcome.FOUND:
        say(f"nothing was found: {_OUTCOMES[cause.outcome]}")
        return
    made = len(found.finished.progress.trials)
    say(f"of {counted(len(found.changes), 'flag')} that differ, after {counted(made, 'run')}:")
    for change in cause.changes:
        print(f"{change.name}\t{show_value(change.before)}\t{show_value(change.after)}")
    if cause.unresolved:
        say(f"{counted(cause.unresolved, 'run')} told nothing: the cause may be smaller")
