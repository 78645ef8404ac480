"""`reenact install-hook`."""

from __future__ import annotations

import os
from typing import Any

import click

from reenact.actions.install_hook import install_hook, remove_hook
from reenact.cli.options import as_json
from reenact.cli.output import print_json, say
from reenact.errors import EXIT_OK
from reenact.project.operation import find_python


@click.command(
    "install-hook",
    epilog="""\b
Examples:
  reenact install-hook
  reenact install-hook --python .venv/bin/python
  reenact install-hook --remove
""",
)
@click.option("--python", metavar="PATH", help="The interpreter, instead of that of runs.")
@click.option("--remove", is_flag=True, help="Take the hook away again.")
@as_json
@click.pass_obj
def install_hook_command(_: str | None, /, **options: Any) -> int:
    """Let the probe into Python processes that ignore PYTHONPATH.

    It puts a `.pth` file into the site-packages of an interpreter, so that inside a run `python -I`
    and `python -E` are reached, too. Outside of runs it does nothing.
    """
    python = options["python"] or find_python(os.environ, None)
    hook = remove_hook(python) if options["remove"] else install_hook(python)
    if options["as_json"]:
        print_json({"ok": True, **hook._asdict()})
        return EXIT_OK
    if hook.is_there:
        say(f"installed the hook of Python {hook.python} in {hook.directory}")
    elif hook.was_there:
        say(f"removed the hook of Python {hook.python} from {hook.directory}")
    else:
        say(f"there was no hook of Python {hook.python} in {hook.directory}")
    return EXIT_OK
