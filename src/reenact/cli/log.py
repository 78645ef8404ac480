"""`reenact log`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.cli.options import as_json, one_run
from reenact.errors import UsageError
from reenact.model.record import to_json
from reenact.model.run import Status
from reenact.store.output_log import STDERR, STDOUT, Piece, output_size, read_output
from reenact.store.store import RECORD_DIRECTORY

_POLL_S = 0.1


@click.command(
    "log",
    epilog="""\b
Examples:
  reenact log
  reenact log -F @latest
  reenact log 3f2a --stderr --times
""",
)
@one_run
@click.option("-F", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--stdout", "only_out", is_flag=True, help="Standard output only.")
@click.option("--stderr", "only_err", is_flag=True, help="Standard error only.")
@click.option("-t", "--times", is_flag=True, help="The time before each line.")
@as_json
@click.pass_obj
def log_command(home: str | None, /, **options: Any) -> None:
    """Print what a run printed, byte for byte. RUN is the latest one unless you name another."""
    context = Context(store=home)
    stored = find_run(context, options["run"])
    if stored.run is not None and stored.run.batch is not None:
        short = stored.id[:8]
        raise UsageError(
            f"run {short} is a batch, which prints nothing itself",
            hint=f"its trials do: `reenact log {short}/1`; `reenact watch {short}` shows them all",
        )
    directory = f"{stored.directory}/{RECORD_DIRECTORY}"
    printer = _Printer(options)
    position = 0
    while True:
        # Asked before reading: what comes in between is read in the next round.
        is_over = context.store.read_run(stored.id).status is not Status.RUNNING
        size = output_size(directory)
        if size > position:
            for piece in read_output(directory, start=position):
                if piece.time_ns is None and not is_over:
                    break
                position += len(piece.data)
                printer.show(piece)
            sys.stdout.flush()
        if is_over or not options["follow"]:
            break
        time.sleep(_POLL_S)
    printer.finish()


class _Printer:
    def __init__(self, options: dict[str, Any]) -> None:
        wanted = {STDOUT: options["only_out"], STDERR: options["only_err"]}
        self._streams = {s for s, is_wanted in wanted.items() if is_wanted} or set(wanted)
        self._as_json = options["as_json"]
        self._times = options["times"]
        self._partial: dict[int, bytes] = {}

    def show(self, piece: Piece) -> None:
        if piece.stream not in self._streams:
            return
        if not self._as_json and not self._times:
            sys.stdout.buffer.write(piece.data)
            return
        lines = (self._partial.pop(piece.stream, b"") + piece.data).split(b"\n")
        self._partial[piece.stream] = lines.pop()
        for line in lines:
            self._line(line, piece.stream, piece.time_ns)

    def finish(self) -> None:
        for stream, line in self._partial.items():
            if line:
                self._line(line, stream, None)

    def _line(self, line: bytes, stream: int, time_ns: int | None) -> None:
        text = line.decode("utf-8", "backslashreplace")
        when = None
        if time_ns is not None:
            moment = datetime.fromtimestamp(time_ns // 1000 / 1e6, UTC)
            when = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
        if self._as_json:
            name = "stderr" if stream == STDERR else "stdout"
            print(to_json({"time": when, "stream": name, "text": text}).decode())
        else:
            print(f"{when or '-':<27} {text}")
