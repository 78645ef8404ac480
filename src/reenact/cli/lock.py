"""`reenact lock`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.cli.options import as_json, one_run
from reenact.cli.output import print_json, say


@click.command(
    "lock",
    epilog="""\b
Examples:
  reenact lock > requirements.txt
  reenact lock 3f2a --format pylock > pylock.toml
  reenact lock 3f2a --wheels wheels > requirements.txt
""",
)
@one_run
@click.option(
    "--format",
    "form",
    type=click.Choice(["requirements", "pylock", "conda"]),
    default="requirements",
    help="How to write it.",
)
@click.option("--wheels", metavar="DIR", help="Write the wheels that no index has to DIR.")
@as_json
@click.pass_obj
def lock_command(home: str | None, /, **options: Any) -> None:
    """Print the packages that a run ran with, each pinned by hashes, for pip, uv and conda.

    RUN is the latest one unless you name another.
    """
    from reenact.actions.lock import Format, lock_text

    context = Context(store=home)
    run = find_run(context, options["run"]).record
    form = Format(options["form"])
    text = lock_text(context, run, form, wheels=options["wheels"], say=say)
    if options["as_json"]:
        print_json({"ok": True, "run": run.id, "format": form, "text": text})
        return
    print(text, end="")
