"""`reenact completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from reenact.cli.main import cli
from reenact.cli.options import as_json
from reenact.cli.output import print_json


@click.command(
    "completion",
    epilog="""\b
Examples:
  eval "$(reenact completion bash)"
  reenact completion zsh > ~/.zfunc/_reenact
  reenact completion fish > ~/.config/fish/completions/reenact.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@as_json
def completion_command(shell: str, *, as_json: bool) -> None:
    """Print the script that lets a shell complete commands, options, runs and flags."""
    complete = get_completion_class(shell)
    assert complete is not None
    script = complete(cli, {}, "reenact", "_REENACT_COMPLETE").source()
    if as_json:
        print_json({"ok": True, "shell": shell, "script": script})
    else:
        print(script)
