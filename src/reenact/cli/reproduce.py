"""`reenact reproduce`."""

from __future__ import annotations

import shutil
import sys
import time
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.reproduce.claimed import check_stated, stated_claims
from reenact.actions.reproduce.data import Verified
from reenact.actions.reproduce.named import with_operations_found
from reenact.actions.reproduce.originals import find_all, find_originals, with_bundles_opened
from reenact.actions.reproduce.preflight import Preflight
from reenact.actions.reproduce.rerun import ENVIRONMENTS, Chosen
from reenact.actions.reproduce.use_case import Outcome, ReproduceRequest, reproduce
from reenact.cli.options import as_json, complete_run
from reenact.cli.output import print_json, say, show_duration, show_size, visible
from reenact.cli.verdict import (
    check_page,
    colour,
    html_option,
    margin_option,
    report,
    to_json,
    tolerance_option,
    worst_status,
    write_page,
)
from reenact.errors import EXIT_CANNOT_RUN, EXIT_FAILED, NotFound, UsageError
from reenact.model.identity import RunId
from reenact.model.verdict import Expectation
from reenact.model.words import counted
from reenact.project.operation import split_settings
from reenact.search.trials import parse_seeds
from reenact.store.store import StoredRun

_MOST_CHANGES = 20
_EVERY_S = 0.2
_LARGE_BYTES = 1 << 28
_TOLD = ("environment", "unknown", "data")
"""Codes of remarks that are printed before anything runs."""


@click.command(
    "reproduce",
    short_help="Run a result again and say whether it came back",
    epilog="""\b
Examples:
  reenact reproduce 3f2a
  reenact reproduce model.pt --env recorded
  reenact reproduce @best:acc --seeds 0..9 --margin acc=0.01
  reenact reproduce --all --top 3
  reenact reproduce paper.zip --claim C1
""",
)
@click.argument(
    "words",
    metavar="[RUN|OP|FILE|BUNDLE]... [FLAG=VALUE]...",
    nargs=-1,
    shell_complete=complete_run,
)
@click.option(
    "-a", "--all", "all_runs", is_flag=True, help="Every run of the store that stands for itself."
)
@click.option("--top", type=click.IntRange(min=1), help="With --all: only the latest so many.")
@click.option("--env", "environment", type=click.Choice(ENVIRONMENTS), default="auto",
              help="Use the environment around you, or make the recorded one.")  # fmt: skip
@click.option("--python", metavar="PATH", help="The Python interpreter to use.")
@click.option("-n", "--repeat", type=click.IntRange(min=1), default=1, help="Run it so many times.")
@click.option("--seeds", metavar="LIST", help="Run with these seeds instead: `0..9`, `1,5,7`.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, help="So many runs at once.")
@click.option("--claim", "claims", multiple=True, metavar="NAME",
              help="Check what the project file of the run states.")  # fmt: skip
@tolerance_option
@margin_option
@click.option(
    "--data", multiple=True, metavar="DIR", help="Look there for data that is not where it was."
)
@click.option("--changed-data", is_flag=True, help="Run although data is not as it was.")
@click.option("--deep", is_flag=True, help="First reproduce the runs whose files it was given.")
@click.option("--fail-fast", is_flag=True, help="Stop a run once a metric has parted.")
@click.option("-v", "--verbose", is_flag=True, help="Pass on what the runs print.")
@click.option("-e", "--set-env", "variables", multiple=True, metavar="K=V", help="Set a variable.")
@html_option
@as_json
@click.pass_obj
def reproduce_command(home: str | None, /, **options: Any) -> int:
    """Run results again and say whether they came back: identical, within tolerance or not.

    Source, flags and seed are those of the record; data is verified first. The exit status is 0
    when every result came back, 3 when one differs, 4 when that cannot be told, 1 when one could
    not run.
    """
    check_page(options["html"])
    context = Context(store=home)
    names, settings = split_settings(options["words"])
    if options["all_runs"]:
        if names:
            raise UsageError("`--all` and the name of a run exclude each other")
        originals = find_all(context, limit=options["top"])
        if not originals:
            raise NotFound("no run in this store has completed: there is nothing to reproduce")
    else:
        names = with_operations_found(context, with_bundles_opened(context, names, say), say)
        originals = find_originals(context, names)
    request = ReproduceRequest(
        environment=options["environment"],
        python=options["python"],
        repeat=options["repeat"],
        seeds=parse_seeds(options["seeds"]) if options["seeds"] else (),
        tolerances=options["tolerances"],
        margins=options["margins"],
        settings=settings,
        variables=_variables(options["variables"]),
        data=options["data"],
        changed_data=options["changed_data"],
        deep=options["deep"],
        fail_fast=options["fail_fast"],
        jobs=options["jobs"],
        shows_output=options["verbose"] and not options["as_json"],
    )
    listener = Talker(shows_output=request.shows_output)
    if options["claims"]:
        stated = stated_claims(context, originals, options["claims"])
        found = check_stated(context, stated, request, listener)
        return report(
            context, [found], html=options["html"], as_json=options["as_json"], told=_TOLD
        )
    outcomes = reproduce(context, originals, request, listener)
    return _report(context, outcomes, html=options["html"], as_json=options["as_json"])


def _variables(texts: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"`{text}` is no variable", hint="`--set-env NAME=VALUE`")
        found[name] = value
    return found


def _report(context: Context, outcomes: list[Outcome], *, html: str | None, as_json: bool) -> int:
    if len(outcomes) == 1 and (problem := outcomes[0].problem) is not None:
        if problem.exit_status == EXIT_CANNOT_RUN:
            # That is how `run` tells it from what a script says.
            problem.exit_status = EXIT_FAILED  # type: ignore[misc]  # of this one only
        raise problem
    found = [one.reproduction for one in outcomes if one.reproduction is not None]
    status = worst_status(
        [None if o.reproduction is None else o.reproduction.verdict for o in outcomes]
    )
    if as_json:
        problems = [
            {
                "run": one.original.id,
                "code": one.problem.code,
                "message": one.problem.message,
                "hint": one.problem.hint,
            }
            for one in outcomes
            if one.problem is not None
        ]
        listed = [to_json(one) for one in found]
        print_json({"ok": True, "reproductions": listed, "problems": problems})
        if html is not None:
            write_page(context, found, html)
        return status
    report(context, found, html=html, as_json=False, told=_TOLD)
    for one in outcomes:
        if one.problem is not None:
            say(f"reenact: {visible(one.problem.message)}")
            if one.problem.hint:
                say(f"  {one.problem.hint}")
    if len(outcomes) > 1:
        print()
        for one in outcomes:
            name = one.original.record.operation.name
            verdict = (
                "could not run" if one.reproduction is None else colour(one.reproduction.verdict)
            )
            print(f"{one.original.id[:8]}  {visible(name)}  {verdict}")
    return status if outcomes else EXIT_FAILED


class Talker:
    """Says on standard error how a reproduction goes."""

    def __init__(self, *, shows_output: bool) -> None:
        self._shows_output = shows_output
        self._is_live = sys.stderr.isatty() and not shows_output
        self._began: dict[RunId, tuple[int, float]] = {}
        self._count = 1
        self._expected_s: float | None = None
        self._drawn_at = 0.0

    def expect(self, count: int) -> None:
        """Hear how many runs there will be."""
        self._count = count

    def begins(self, original: StoredRun, count: int) -> None:
        """Say which run is to be run again."""
        run = original.record
        flags = " ".join(f"{name}={run.flags[name]}" for name in run.given if name in run.flags)
        self._count = count
        times = "" if count == 1 else f", {count} times"
        say(
            f"reproducing {original.id[:8]} {visible(run.operation.name)} {visible(flags)}".rstrip()
            + times
        )

    def says(self, text: str) -> None:
        """Say something."""
        say(f"  {visible(text)}")

    def verified(self, done_bytes: int, total_bytes: int) -> None:
        """Show how much of the data is verified."""
        now = time.monotonic()
        if not self._is_live or total_bytes < _LARGE_BYTES or now - self._drawn_at < _EVERY_S:
            return
        self._drawn_at = now
        self._draw(f"  verifying data: {show_size(done_bytes)} of {show_size(total_bytes)}")

    def checked(self, found: Preflight, chosen: Chosen, data: Verified) -> None:
        """Say what is not as it was."""
        self._clear()
        for text in chosen.remarks:
            say(f"  {visible(text)}")
        if data.files:
            say(f"  data: {counted(data.files, 'file')} verified, {show_size(data.size_bytes)}")
        told = [*data.remarks, *(f"{lack.path} {lack.detail}" for lack in data.lacks)]
        for text in told[:_MOST_CHANGES]:
            say(f"  data: {visible(text)}")
        if len(told) > _MOST_CHANGES:
            say(f"    and {len(told) - _MOST_CHANGES} more")
        changes = [
            c for c in found.changes if c.group in ("python", "package", "conda", "variable")
        ]
        if not found.is_compared:
            say(f"  environment: {chosen.name}")
        elif not changes:
            say(f"  environment: {chosen.name}, as recorded")
        else:
            say(
                f"  environment: {chosen.name}, {counted(len(changes), 'difference')} from the record"
            )
        for change in changes[:_MOST_CHANGES]:
            name = change.name if change.group != "python" else f"python {change.name}"
            say(f"    {visible(name)}: {_fact(change.a)} -> {_fact(change.b)}")
        if len(changes) > _MOST_CHANGES:
            say(f"    and {len(changes) - _MOST_CHANGES} more")
        for text in found.remarks:
            say(f"  {visible(text)}")
        if found.expectation is not Expectation.IDENTICAL:
            say(f"  expected: the same within rounding, not bit by bit: {'; '.join(found.reasons)}")

    def started(self, run_id: RunId, number: int, expected_s: float | None) -> None:
        """Say that a run starts."""
        self._began[run_id] = number, time.monotonic()
        self._expected_s = expected_s
        if not self._is_live:
            of = f" {number} of {self._count}" if self._count > 1 else ""
            lasts = f"; the original took {show_duration(expected_s)}" if expected_s else ""
            say(f"  run{of}: {run_id[:8]}{lasts}")

    def tick(self) -> None:
        """Show how long runs run, and how long they will."""
        now = time.monotonic()
        if not self._is_live or now - self._drawn_at < _EVERY_S or not self._began:
            return
        self._drawn_at = now
        texts = []
        for number, began in self._began.values():
            of = f"run {number} of {self._count}" if self._count > 1 else "running"
            text = f"{of}: {show_duration(now - began)}"
            if self._expected_s:
                left = self._expected_s - (now - began)
                text += f" of {show_duration(self._expected_s)}"
                text += (
                    f", {show_duration(left)} left" if left > 0 else ", longer than the original"
                )
            texts.append(text)
        self._draw("  " + "; ".join(texts))

    def ended(self, stored: StoredRun | None, problem: str | None) -> None:
        """Say how a run has ended."""
        self._clear()
        if stored is not None:
            self._began.pop(stored.id, None)
            run = stored.run
            duration_s = None if run is None else run.duration_s
            lasted = "" if duration_s is None else f" after {show_duration(duration_s)}"
            say(f"  run {stored.id[:8]}: {stored.status}{lasted}")
        if problem is not None:
            say(f"  {visible(problem)}")

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns
        sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self._is_live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _fact(value: object) -> str:
    return "none" if value is None else visible(str(value))
