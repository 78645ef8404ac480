"""`reenact watch`."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.watch import ASCII, BLOCKS, View, Watcher, belongs, point_sets, sparkline
from reenact.cli.options import as_json
from reenact.cli.output import print_json, say, show_duration, style
from reenact.model.metrics import SAMPLED, Point, Summary, json_number
from reenact.model.record import to_json
from reenact.model.run import Run, Status

_REDRAW_S = 0.5
_OUTPUT_LINES = 5
_WIDEST = 40
_NARROWEST = 12
_LONGEST_NAME = 40
_DIGITS = 6
_COLOURS = {Status.COMPLETED: "green", Status.FAILED: "red", Status.KILLED: "red"}


@click.command(
    "watch",
    epilog="""\b
Examples:
  reenact watch
  reenact watch @latest:train --once
  reenact watch 3f2a --json | jq .value
""",
)
@click.argument("run", default="@latest")
@click.option("--once", is_flag=True, help="Show what there is now, and leave.")
@click.option("--sources", is_flag=True, help="Show every source of a metric, not only the best.")
@as_json
@click.pass_obj
def watch_command(home: str | None, /, **options: Any) -> None:
    """Watch a run's metrics live, until it ends. RUN is the latest one unless you name another.

    Ctrl-C ends the watching, not the run.
    """
    context = Context(store=home)
    stored = find_run(context, options["run"])
    if stored.run is not None and stored.run.batch is not None:
        _watch_batch(context, stored.run, once=options["once"], as_json=options["as_json"])
        return
    watcher = Watcher(context, stored, with_all_sources=options["sources"])
    if options["once"]:
        _show_once(watcher, as_json=options["as_json"])
    elif options["as_json"]:
        _stream_json(watcher)
    elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        _draw_until_end(watcher)
    else:
        _stream_lines(watcher, with_kinds=options["sources"])


def _watch_batch(context: Context, run: Run, *, once: bool, as_json: bool) -> None:
    """Show the trials of a batch: a table on a terminal, else a line for each that has ended."""
    from reenact.actions.trials import BatchWatcher
    from reenact.cli.batch_table import LiveTable, describe_trial, print_trials, trials_to_json

    watcher = BatchWatcher(context, run)
    progress = watcher.progress
    is_drawn = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    table = LiveTable(sys.stdout)
    told: set[int] = set()
    while True:
        goes_on = watcher.look() and not once
        if once:
            if as_json:
                print_json({"ok": True, "run": progress.run, "trials": trials_to_json(progress)})
            else:
                print_trials(progress)
            return
        for number, trial in progress.trials.items():
            is_over = trial.status in (*_COLOURS, Status.TERMINATED)
            if is_over and number not in told and not is_drawn:
                told.add(number)
                if as_json:
                    values = trials_to_json(progress)
                    print_json(next(v for v in values if v["number"] == number))
                else:
                    print(describe_trial(progress, trial))
        sys.stdout.flush()
        if is_drawn and not as_json:
            table.draw(progress)
        if not goes_on:
            return
        time.sleep(_REDRAW_S)


def _show_once(watcher: Watcher, *, as_json: bool) -> None:
    view = watcher.look()
    if as_json:
        run = {"id": view.stored.id, "status": view.stored.status, "elapsed_s": view.elapsed_s}
        print_json({"ok": True, **run, "metrics": watcher.summaries})
    elif sys.stdout.isatty():
        print("\n".join(_frame(watcher, view)))
    else:
        for name, found in _ordered(watcher.summaries):
            print("\t".join((name, *_numbers(found))))


def _stream_json(watcher: Watcher) -> None:
    while True:
        view = watcher.look()
        for point, kind in zip(view.points, view.kinds, strict=True):
            fields = {
                "name": point.name,
                "step": point.step,
                "time": _time(point.time_ns),
                "value": json_number(point.value),
                "source": kind,
            }
            print(to_json(fields).decode())
        sys.stdout.flush()
        if view.is_over:
            return
        time.sleep(_REDRAW_S)


def _time(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    moment = moment.replace(microsecond=time_ns % 1_000_000_000 // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _stream_lines(watcher: Watcher, *, with_kinds: bool) -> None:
    """Print one line for all that was reported together, as soon as it is whole."""
    waiting: list[Point] = []
    while True:
        view = watcher.look()
        points = view.points
        if with_kinds:
            pairs = zip(points, view.kinds, strict=True)
            points = [point._replace(name=f"{point.name} ({kind})") for point, kind in pairs]
        sets = point_sets(points)
        if sets and waiting and belongs(sets[0][0], waiting):
            sets[0] = [*waiting, *sets[0]]
        elif waiting:
            _print_set(waiting)
        waiting = []
        # The last one may go on in what comes next; it waits for one look.
        if sets and not view.is_over:
            waiting = sets.pop()
        for together in sets:
            _print_set(together)
        sys.stdout.flush()
        if view.is_over:
            break
        time.sleep(_REDRAW_S)
    say(f"run {view.stored.id[:8]}: {view.stored.status}")


def _print_set(points: Sequence[Point]) -> None:
    numbers = (f"{' '.join(point.name.split())}={point.value!r}" for point in points)
    print("\t".join((str(points[0].step), *numbers)))


# --- a terminal ---


def _draw_until_end(watcher: Watcher) -> None:
    height = 0
    while True:
        view = watcher.look()
        lines = _frame(watcher, view)
        # Back to the first line of the last frame. Lines are cut at the edge while they are
        # written: one that was broken in two would spoil the count.
        back = f"\x1b[{height}F" if height else ""
        text = "".join(f"{line}\x1b[K\n" for line in lines)
        sys.stdout.write(f"{back}\x1b[?7l{text}\x1b[J\x1b[?7h")
        sys.stdout.flush()
        height = len(lines)
        if view.is_over:
            return
        time.sleep(_REDRAW_S)


def _frame(watcher: Watcher, view: View) -> list[str]:
    size = shutil.get_terminal_size()
    run = view.stored.record
    status = str(view.stored.status)
    colour = _COLOURS.get(view.stored.status, "yellow")
    words = [
        style(view.stored.id[:8], "bold", stream=sys.stdout),
        run.operation.name,
        style(status, colour, stream=sys.stdout),
        show_duration(view.elapsed_s),
    ]
    if run.exit is not None and view.stored.status is Status.FAILED:
        words.append(run.exit.describe())
    lines = ["  ".join(filter(None, words))]
    output = watcher.last_lines(min(_OUTPUT_LINES, max(1, size.lines // 4)))
    # The cursor needs a line of its own at the end, or the terminal scrolls.
    room = size.lines - len(lines) - 2 - (len(output) + 1 if output else 0)
    lines += ["", *_metric_lines(watcher, size.columns, max(1, room - 1))]
    if output:
        lines += ["", *output]
    return lines


def _metric_lines(watcher: Watcher, columns: int, room: int) -> list[str]:
    found = _ordered(watcher.summaries)
    if not found:
        return ["no metrics yet"]
    left = max(0, len(found) - room + 2) if len(found) > room - 2 else 0
    found = found[: max(1, len(found) - left)]
    headings = ["LAST", "STEP", "MIN", "MAX", "COUNT", "NAN"]
    rows = [_numbers(summary, short=True) for _, summary in found]
    if not any(summary.nan_count for _, summary in found):
        headings.pop()
    names = ["METRIC", *(_shortened(name) for name, _ in found)]
    name_width = max(map(len, names))
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=False)]
    while len(widths) > 2 and _space(columns, name_width, widths) < _NARROWEST:
        widths.pop()
    width = min(_WIDEST, max(1, _space(columns, name_width, widths)))
    curves = ["", *(sparkline(watcher.sketches[n].values(width), _signs()) for n, _ in found)]
    lines = []
    for name, curve, row in zip(names, curves, (headings, *rows), strict=True):
        numbers = [cell.rjust(w) for cell, w in zip(row, widths, strict=False)]
        lines.append("  ".join((name.ljust(name_width), curve.ljust(width), *numbers)).rstrip())
    lines[0] = style(lines[0], "bold", stream=sys.stdout)
    more = f"; {left} more metrics" if left else ""
    lines.append(f"(numbers to {_DIGITS} digits{more}; `--once --json` has all)")
    return lines


def _space(columns: int, name_width: int, widths: Sequence[int]) -> int:
    """Return how wide a curve can be beside a name and numbers."""
    return columns - name_width - sum(widths) - 2 * (len(widths) + 1)


def _shortened(name: str) -> str:
    plain = "".join(sign if sign.isprintable() else "?" for sign in " ".join(name.split()))
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 3]}..."


def _ordered(summaries: dict[str, Summary]) -> list[tuple[str, Summary]]:
    """Put what the script reports before what was measured of the machine."""
    return sorted(summaries.items(), key=lambda item: item[0].startswith(SAMPLED))


def _numbers(found: Summary, *, short: bool = False) -> tuple[str, ...]:
    def show(number: float | str | None) -> str:
        if isinstance(number, float) and short:
            return f"{number:.{_DIGITS}g}"
        return "" if number is None else str(number)

    values = (show(found.last), str(found.last_step), show(found.minimum), show(found.maximum))
    return (*values, str(found.count), str(found.nan_count))


def _signs() -> str:
    """Choose signs that the terminal can show."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    can_show = encoding == "utf8" and os.environ.get("TERM") not in ("linux", "dumb")
    return BLOCKS if can_show else ASCII
