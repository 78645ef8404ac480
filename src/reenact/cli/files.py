"""`reenact ls`, `cat`, `path` and `open`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.files import RunFile, find_file, list_files
from reenact.actions.find import find_run
from reenact.cli.options import as_json, complete_run, one_run
from reenact.cli.output import print_json, print_table, show_size, visible
from reenact.errors import ReenactError
from reenact.model.paths import text_to_path

_ROLES = ("output", "input", "source")


@click.command(
    "ls",
    epilog="""\b
Examples:
  reenact ls
  reenact ls 3f2a "*.csv"
  reenact ls @best:acc --all --json
""",
)
@one_run
@click.argument("patterns", nargs=-1)
@click.option("-a", "--all", "everything", is_flag=True, help="Outputs, inputs and source.")
@click.option("-s", "--source", is_flag=True, help="The source that it ran from.")
@click.option("-i", "--inputs", is_flag=True, help="What it read.")
@click.option("-l", "--long", "is_long", is_flag=True, help="Role, size and digest too.")
@as_json
@click.pass_obj
def ls_command(home: str | None, /, **options: Any) -> None:
    """List the files that a run made. RUN is the latest one unless you name another."""
    context = Context(store=home)
    stored = find_run(context, options["run"])
    roles = {"source": options["source"], "input": options["inputs"]}
    chosen = frozenset(role for role, is_wanted in roles.items() if is_wanted)
    if options["everything"]:
        chosen = frozenset(_ROLES)
    files = list_files(
        context, stored, roles=chosen or frozenset(["output"]), patterns=options["patterns"]
    )
    if options["as_json"]:
        print_json({"ok": True, "run": stored.id, "files": [_to_json(file) for file in files]})
    elif options["is_long"] or options["everything"]:
        rows = [(f.role, show_size(f.size_bytes), (f.digest or "")[:12], f.path) for f in files]
        print_table(("ROLE", "SIZE", "DIGEST", "PATH"), rows, right=(1,))
    else:
        for file in files:
            _print_path(file.path)


@click.command(
    "cat",
    epilog="""\b
Examples:
  reenact cat 3f2a results.csv
  reenact cat @latest train.py
  reenact cat @best:acc metrics.json | jq .
""",
)
@click.argument("run", shell_complete=complete_run)
@click.argument("path")
@as_json
@click.pass_obj
def cat_command(home: str | None, /, **options: Any) -> None:
    """Print one of a run's files: an output, an input or a source file, byte for byte."""
    context = Context(store=home)
    stored = find_run(context, options["run"])
    file = find_file(context, stored, options["path"])
    assert file.location is not None
    try:
        with open(file.location, "rb") as content:
            if options["as_json"]:
                text = content.read().decode("utf-8", "backslashreplace")
                print_json({"ok": True, **_to_json(file), "content": text})
                return
            sys.stdout.flush()
            shutil.copyfileobj(content, sys.stdout.buffer)
    except IsADirectoryError:
        raise ReenactError(f"`{options['path']}` is a directory") from None


@click.command(
    "path",
    epilog="""\b
Examples:
  cd "$(reenact path @latest)"
  reenact path 3f2a model.pt
  python -c "..." "$(reenact path @best:acc model.joblib)"
""",
)
@one_run
@click.argument("path", required=False)
@as_json
@click.pass_obj
def path_command(home: str | None, /, **options: Any) -> None:
    """Print where a run's directory is, or one of its files."""
    where = _locate(Context(store=home), options)
    if options["as_json"]:
        print_json({"ok": True, "path": where})
    else:
        sys.stdout.buffer.write(os.fsencode(where) + b"\n")


@click.command(
    "open",
    epilog="""\b
Examples:
  reenact open @latest
  reenact open 3f2a figure.png
  reenact open @latest --with "code -n"
""",
)
@one_run
@click.argument("path", required=False)
@click.option("-w", "--with", "program", metavar="PROGRAM", help="Open with this program.")
@click.option("--shell", is_flag=True, help="Start a shell in the run's directory.")
@as_json
@click.pass_obj
def open_command(home: str | None, /, **options: Any) -> int:
    """Open a run's directory, or one of its files, with the desktop's program for it."""
    import shlex

    where = _locate(Context(store=home), options)
    if options["as_json"]:
        print_json({"ok": True, "path": where})
        return 0
    if options["shell"]:
        return subprocess.call([os.environ.get("SHELL", "/bin/sh")], cwd=where)
    words = shlex.split(options["program"] or "")
    if not words:
        opener = "open" if sys.platform == "darwin" else "xdg-open"
        if shutil.which(opener) is None:
            raise ReenactError(
                f"there is no `{opener}` to open `{where}` with",
                hint="name a program: `--with less`",
            )
        words = [opener]
    try:
        return subprocess.call([*words, where])
    except OSError as error:
        raise ReenactError(f"cannot start `{words[0]}`: {error.strerror}") from None


def _locate(context: Context, options: dict[str, Any]) -> str:
    stored = find_run(context, options["run"])
    if options["path"] is None:
        return stored.directory
    location = find_file(context, stored, options["path"]).location
    assert location is not None
    return location


def _print_path(text: str) -> None:
    """Print a path for people on a terminal, and for programs, byte for byte, elsewhere."""
    if sys.stdout.isatty():
        print(visible(text))
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(text_to_path(text)) + b"\n")


def _to_json(file: RunFile) -> dict[str, Any]:
    return {
        "role": file.role,
        "path": file.path,
        "size_bytes": file.size_bytes,
        "digest": file.digest,
        "location": None if file.location is None else _text(file.location),
    }


def _text(path: str) -> str:
    return text_to_path(path).encode("utf-8", "backslashreplace").decode()
