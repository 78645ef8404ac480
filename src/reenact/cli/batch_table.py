"""The trials of a batch as a table, and as one that is drawn anew while they run."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import IO, Any

from reenact.actions.trials import Entry, Progress, TrialState
from reenact.cli.output import one_line, print_table, show_duration, show_value, style, visible
from reenact.model.metrics import SAMPLED, Summary
from reenact.model.record import flag_from_json, flag_to_json
from reenact.model.run import Status

_REDRAW_S = 0.5
_METRICS = 4
_DIGITS = 6
_WIDEST = 24
_COLOURS = {"completed": "green", "failed": "red", "killed": "red", "running": "yellow"}


def varying_flags(progress: Progress) -> list[str]:
    """Return the flags that are not the same in all trials, all if there is but one."""
    trials = list(progress.trials.values())
    batch = progress.run.batch
    if batch is not None and batch.spaces:
        return list(batch.spaces)
    names = list(dict.fromkeys(name for trial in trials for name in trial.entry.flags))
    if len(trials) < 2:
        return names
    first = trials[0].entry.flags
    return [
        name
        for name in names
        if any(trial.entry.flags.get(name) != first.get(name) for trial in trials)
        or any((name in trial.entry.flags) != (name in first) for trial in trials)
    ]


def describe_trial(progress: Progress, trial: TrialState) -> str:
    """Say in one line what came of a trial."""
    total = progress.run.batch.trials if progress.run.batch is not None else None
    number = f"trial {trial.entry.number}" + (f"/{total}" if total else "")
    words = [number, trial.entry.run[:8], trial.problem or _status(trial)]
    record = trial.stored.run if trial.stored is not None else None
    if record is not None and record.duration_s is not None:
        words[-1] += f" in {show_duration(record.duration_s)}"
    words += [f"{name}={_flag(trial, name)}" for name in varying_flags(progress)]
    if trial.entry.variant is not None:
        words.append(f"variant={trial.entry.variant}")
    if trial.entry.seed is not None:
        words.append(f"seed={trial.entry.seed}")
    metrics = {} if record is None else record.metrics
    words += [f"{name}={_number(metrics.get(name))}" for name in metric_names(progress, metrics)]
    return one_line("  ".join(words))


def metric_names(progress: Progress, metrics: Any) -> list[str]:
    """Return which metrics to show: the objectives, else the first few."""
    batch = progress.run.batch
    wanted = [text for _, text in batch.objectives] if batch is not None else []
    found = [name for name in metrics if not name.startswith(SAMPLED)]
    named = [name for name in wanted if name in found]
    return named or found[:_METRICS]


def trial_table(progress: Progress) -> tuple[list[str], list[list[str]]]:
    """Return headings and rows of a batch's trials."""
    flags = varying_flags(progress)
    summaries = {n: _summaries(progress, trial) for n, trial in progress.trials.items()}
    every: dict[str, None] = {}
    for found in summaries.values():
        every.update(dict.fromkeys(found))
    metrics = metric_names(progress, every)
    has_seeds = any(trial.entry.seed is not None for trial in progress.trials.values())
    has_variants = any(trial.entry.variant is not None for trial in progress.trials.values())
    variants = ["variant"] if has_variants else []
    headings = [
        "#",
        "ID",
        "STATUS",
        "TOOK",
        *variants,
        *flags,
        *(["seed"] if has_seeds else []),
        *metrics,
    ]
    best = progress.run.batch.best if progress.run.batch is not None else None
    rows = []
    for number, trial in progress.trials.items():
        record = trial.stored.run if trial.stored is not None else None
        took = "" if record is None else show_duration(record.duration_s)
        status = _status(trial) or ("failed" if trial.problem else "")
        seed = [str(trial.entry.seed)] if has_seeds else []
        rows.append(
            [
                f"{number}{'*' if trial.entry.run == best else ''}",
                trial.entry.run[:8],
                status,
                took,
                *([trial.entry.variant or ""] if has_variants else []),
                *(_flag(trial, name) for name in flags),
                *seed,
                *(_number(summaries[number].get(name)) for name in metrics),
            ]
        )
    return headings, rows


def _status(trial: TrialState) -> str:
    return "stopped early" if trial.is_stopped_early else str(trial.status or "")


def _flag(trial: TrialState, name: str) -> str:
    text = show_value(flag_from_json(trial.entry.flags.get(name)))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _number(summary: Summary | None) -> str:
    if summary is None:
        return ""
    last = summary.last
    return f"{last:.{_DIGITS}g}" if isinstance(last, float) else str(last)


def _summaries(progress: Progress, trial: TrialState) -> dict[str, Summary]:
    if trial.entry.number in progress.live:
        return progress.live[trial.entry.number]
    record = trial.stored.run if trial.stored is not None else None
    return {} if record is None else record.metrics


def trials_to_json(progress: Progress) -> list[dict[str, Any]]:
    """Return what `--json` says of the trials of a batch; keys are only ever added."""
    values = []
    for number, trial in progress.trials.items():
        record = trial.stored.run if trial.stored is not None else None
        flags = {} if record is None else record.flags
        values.append(
            {
                "number": number,
                "id": trial.entry.run,
                "status": trial.status,
                "problem": trial.problem,
                "given": trial.entry.flags,
                "variant": trial.entry.variant,
                "flags": {name: flag_to_json(value) for name, value in flags.items()},
                "duration_s": None if record is None else record.duration_s,
                "metrics": {} if record is None else record.metrics,
            }
        )
    return values


def print_entries(entries: Sequence[Entry]) -> None:
    """Print the table of trials that have not begun."""
    if not entries:
        return
    names = list(dict.fromkeys(name for entry in entries for name in entry.flags))
    has_variants = any(entry.variant for entry in entries)
    # Where no flag takes them, seeds are what tells the trials apart.
    has_seeds = any(entry.seed is not None for entry in entries)
    rows = [
        (
            str(entry.number),
            *([entry.variant or ""] if has_variants else []),
            *(show_value(flag_from_json(entry.flags.get(name))) for name in names),
            *([str(entry.seed)] if has_seeds else []),
        )
        for entry in entries
    ]
    headings = ("#", *["variant"] * has_variants, *names, *["seed"] * has_seeds)
    print_table(headings, rows, right=(0,))


def print_trials(progress: Progress) -> None:
    """Print the table of a batch's trials."""
    headings, rows = trial_table(progress)
    print_table(headings, rows)


class LiveTable:
    """What a terminal shows while trials run: a table, or between the trials' own output a line."""

    is_live = True

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._height = 0
        self._next_s = 0.0
        self._began_s = time.monotonic()
        self._took: list[float] = []
        self._has_terminal = False

    def begin(self, progress: Progress) -> None:
        """Begin to count."""

    def started(self, progress: Progress, trial: TrialState, *, has_terminal: bool) -> None:
        """Say what comes where the trial's own output follows."""
        self._has_terminal = has_terminal
        if has_terminal:
            total = progress.run.batch.trials if progress.run.batch is not None else None
            of = f" of {total}" if total else ""
            flags = " ".join(f"{name}={_flag(trial, name)}" for name in varying_flags(progress))
            self._say(style(one_line(f"trial {trial.entry.number}{of}: {flags}"), "bold"))

    def ended(self, progress: Progress, trial: TrialState) -> None:
        """Take note of how long it took."""
        record = trial.stored.run if trial.stored is not None else None
        if record is not None and record.duration_s is not None:
            self._took.append(record.duration_s)
        if self._has_terminal:
            self._say(style(describe_trial(progress, trial), "dim"))
            return
        self._next_s = 0.0
        if all(t.status in _OVER for t in progress.trials.values()):
            self.tick(progress)

    def remark(self, text: str) -> None:
        """Say it above the table, which is drawn again below."""
        if self._height:
            self._stream.write(f"\x1b[{self._height}F\x1b[J")
            self._height = 0
        self._say(f"{style('warning', 'yellow')}: {visible(text)}")

    def tick(self, progress: Progress) -> None:
        """Draw the table again, if it is time."""
        now = time.monotonic()
        if self._has_terminal or now < self._next_s:
            return
        self._next_s = now + _REDRAW_S
        self.draw(progress)

    def draw(self, progress: Progress) -> None:
        """Draw the table in place of the one drawn before."""
        lines = self._frame(progress)
        back = f"\x1b[{self._height}F" if self._height else ""
        text = "".join(f"{line}\x1b[K\n" for line in lines)
        self._stream.write(f"{back}\x1b[?7l{text}\x1b[J\x1b[?7h")
        self._stream.flush()
        self._height = len(lines)

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _frame(self, progress: Progress) -> list[str]:
        size = shutil.get_terminal_size()
        headings, rows = trial_table(progress)
        room = max(3, size.lines - 4)
        rows = self._chosen(progress, rows, room)
        widths = [
            max(len(one_line(row[at])) for row in (headings, *rows)) for at in range(len(headings))
        ]
        lines = []
        for number, row in enumerate((headings, *rows)):
            cells = [one_line(cell).ljust(w) for cell, w in zip(row, widths, strict=True)]
            line = "  ".join(cells).rstrip()
            if number == 0:
                line = style(line, "bold")
            elif row[2] in _COLOURS:
                line = line.replace(row[2], style(row[2], _COLOURS[row[2]]), 1)
            lines.append(line)
        return [*lines, self._summary(progress)]

    def _chosen(self, progress: Progress, rows: list[list[str]], room: int) -> list[list[str]]:
        """Return the rows that fit: what runs, then what ended last."""
        if len(rows) <= room:
            return rows
        running = [r for r, t in zip(rows, progress.trials.values(), strict=True)
                   if t.status in (Status.PENDING, Status.RUNNING)]  # fmt: skip
        over = [r for r, t in zip(rows, progress.trials.values(), strict=True)
                if t.status in _OVER]  # fmt: skip
        shown = over[-max(0, room - len(running)) :] if room > len(running) else []
        return [*shown, *running][:room]

    def _summary(self, progress: Progress) -> str:
        completed, failed = progress.counts()
        batch = progress.run.batch
        total = batch.trials if batch is not None else None
        done = completed + failed + progress.stopped
        words = [f"{done} of {total}" if total else str(done)]
        if failed:
            words.append(style(f"{failed} failed", "red"))
        words.append(show_duration(time.monotonic() - self._began_s))
        if total and self._took and done < total and batch is not None:
            mean = sum(self._took) / len(self._took)
            words.append(f"about {show_duration(mean * (total - done) / batch.jobs)} left")
        return "  ".join(words)


_OVER = (Status.COMPLETED, Status.FAILED, Status.TERMINATED, Status.KILLED)
