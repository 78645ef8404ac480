"""`reenact diff` by another program: it gets two directories."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import ExitStack
from typing import Any

from reenact.actions.changes import SECTIONS
from reenact.actions.context import Context
from reenact.actions.diff import find_pair
from reenact.actions.find import find_run
from reenact.actions.ground import materialized
from reenact.actions.user_defaults import user_config
from reenact.errors import EXIT_DIFFERS, EXIT_OK, ReenactError, UsageError


def show_with_tool(context: Context, options: dict[str, Any]) -> int:
    """Start a program with what the runs left behind, or with their source; wait for its end.

    Returns:
        What the program says by its exit status, as `diff` does: 1 when there are differences.
    """
    words = _program(context, options["command"])
    if options["as_json"]:
        raise UsageError("a program prints no JSON")
    other = [name for name in SECTIONS if options.get(name) and name not in ("source", "outputs")]
    if (
        other
        or options["patterns"]
        or options["stat"]
        or (options["source"] and options["outputs"])
    ):
        raise UsageError(
            "a program shows two directories: those of the runs, or with `--source` their source"
        )
    with ExitStack() as stack:
        if options["working"]:
            if options["b"] is not None:
                raise UsageError("`--working` compares one run with the working tree, not two")
            run = find_run(context, options["a"] or "@latest").record
            places = [
                stack.enter_context(materialized(context, run, whole=True)),
                context.root.path,
            ]
        else:
            pair = find_pair(context, options["a"], options["b"])
            places = [
                stack.enter_context(materialized(context, stored.record, whole=True))
                if options["source"]
                else context.store.directory(stored.id)
                for stored in pair
            ]
        try:
            status = subprocess.run([*words, *places], check=False).returncode
        except OSError as error:
            raise ReenactError(f"cannot start `{words[0]}`: {error.strerror}") from None
    if status not in (0, 1):
        raise ReenactError(f"`{words[0]}` ended with exit status {status}")
    return EXIT_DIFFERS if status == 1 else EXIT_OK


def _program(context: Context, command: str | None) -> list[str]:
    config = None if command is not None else user_config(context)
    command = command if config is None else config.diff_command
    if not command:
        raise UsageError(
            "no program is set up to compare files",
            hint="name one with `--command`, or as `diff: {command: meld}` in your configuration",
        )
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if not words:
        raise UsageError(f"`{command}` is no command")
    return words
