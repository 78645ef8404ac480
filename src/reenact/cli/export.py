"""`reenact export`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from reenact.actions.context import Context
from reenact.cli.options import all_projects, as_json, complete_run, filter_text, runs_of
from reenact.cli.output import print_json, say, show_size, visible
from reenact.errors import UsageError
from reenact.model.words import counted

_ENDING = ".zip"
_MOST_LISTED = 20
_EVERY_S = 0.2
_LARGE_BYTES = 1 << 28


@click.command(
    "export",
    short_help="Write runs with all that they need into one file",
    epilog="""\b
Examples:
  reenact export @best:acc paper.zip
  reenact export 3f2a 8be1 results.zip --public
  reenact export 3f2a --data --deep -o all.zip
""",
)
@click.argument("words", metavar="[RUN]... [FILE.zip]", nargs=-1, shell_complete=complete_run)
@click.option("-o", "--output", metavar="FILE", help="The file; `reenact-ID.zip` here by default.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--data/--no-data", "data", default=None,
              help="All data that they have read, or none; else what the store has of it.")  # fmt: skip
@click.option("--deep", is_flag=True, help="The runs whose files they were given, too.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave such outputs out.")
@click.option("--verdicts", is_flag=True, help="What came of reproducing them, too.")
@click.option("--pylock", is_flag=True, help="Also write a pylock.toml; asks package indexes.")
@click.option("--public", is_flag=True, help="Take out what is private; refuse what cannot be.")
@click.option("--allow", multiple=True, metavar="PATTERN",
              help="With --public: what is private may stay in such files.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would be in it, and write nothing.")
@filter_text
@all_projects
@as_json
@click.pass_obj
def export_command(home: str | None, /, **options: Any) -> None:
    """Write runs with all that is needed to reproduce them into one file, a bundle.

    RUN is the latest one unless you name others. `reenact reproduce FILE` takes the bundle, on any
    machine.
    """
    from reenact.actions.bundle.contents import Data
    from reenact.actions.bundle.export import ExportRequest, export

    context = Context(store=home)
    names, path = _split(options)
    if options["allow"] and not options["public"]:
        raise UsageError("`--allow` goes with `--public`")
    if not names and options["filter_text"] is None:
        names = ["@latest"]
    runs = runs_of(context, {**options, "runs": names})
    path = path or f"reenact-{runs[0][:8]}{_ENDING}"
    data = {None: Data.KEPT, True: Data.ALL, False: Data.NONE}[options["data"]]
    request = ExportRequest(
        data=data,
        deep=options["deep"],
        exclude=options["exclude"],
        verdicts=options["verdicts"],
        public=options["public"],
        allow=options["allow"],
        pylock=options["pylock"],
        replace=options["force"],
        dry_run=options["dry_run"],
    )
    done = export(context, runs, path, request, progress=Progress("writing"), say=say)
    if options["as_json"]:
        print_json(
            {
                "ok": True,
                "file": None if options["dry_run"] else done.path,
                "size_bytes": done.size_bytes,
                "runs": done.runs,
                "files": done.files,
                "sizes": done.sizes,
                "left_out": done.left_out,
                "findings": done.findings,
                "remarks": done.remarks,
            }
        )
        return
    _talk(done, is_public=options["public"])
    if not options["dry_run"]:
        print(visible(done.path))


def _split(options: dict[str, Any]) -> tuple[list[str], str | None]:
    """Return the names of runs and the file among the words of a command."""
    names, path = [*options["words"]], options["output"]
    if path is None and names and names[-1].endswith(_ENDING):
        path = names.pop()
    return names, path


def _talk(done: Any, *, is_public: bool) -> None:
    sizes = ", ".join(f"{sort} {show_size(size)}" for sort, size in done.sizes.items() if size)
    packed = "" if done.size_bytes is None else f", {show_size(done.size_bytes)}"
    say(f"{counted(len(done.runs), 'run')}, {counted(done.files, 'file')}{packed}: {sizes}")
    for remark in done.remarks:
        say(f"warning: {visible(remark)}")
    for one in done.left_out[:_MOST_LISTED]:
        size = f" ({show_size(one.size_bytes)})" if one.size_bytes is not None else ""
        say(visible(f"not in it: {one.path}{size} of run {one.run[:8]}: {one.reason}"))
    if len(done.left_out) > _MOST_LISTED:
        say(f"  and {len(done.left_out) - _MOST_LISTED} more")
    for one in done.findings:
        times = "" if one.count == 1 else f", {one.count} times"
        line = f":{one.line}" if one.line else ""
        word = "removed" if one.is_removed else "allowed" if is_public else "warning"
        say(visible(f"{word}: {one.what} in {one.where}{line}{times}"))


class Progress:
    """Shows on a terminal how far a bundle is, where that takes long."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_live = sys.stderr.isatty()
        self._drawn_at = time.monotonic()
        self._is_drawn = False

    def __call__(self, done_bytes: int, total_bytes: int) -> None:
        """Draw it."""
        now = time.monotonic()
        is_done = done_bytes >= total_bytes
        if not self._is_live or (not self._is_drawn and total_bytes < _LARGE_BYTES):
            return
        if not is_done and now - self._drawn_at < _EVERY_S:
            return
        self._drawn_at = now
        self._is_drawn = not is_done
        text = f"{self._what}: {show_size(done_bytes)} of {show_size(total_bytes)}"
        sys.stderr.write("\r\x1b[K" + ("" if is_done else text))
        sys.stderr.flush()
