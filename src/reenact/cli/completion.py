"""`reenact completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from reenact.cli.main import cli


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
def completion_command(shell: str) -> None:
    """Print the script that lets a shell complete commands and options."""
    complete = get_completion_class(shell)
    assert complete is not None
    print(complete(cli, {}, "reenact", "_REENACT_COMPLETE").source())
