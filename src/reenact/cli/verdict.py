"""`reenact judge` and `reenact verdict`, and how a verdict is printed."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Iterable
from typing import Any

import click
import msgspec

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.cli.options import as_json, complete_run
from reenact.cli.output import (
    print_json,
    print_table,
    say,
    show_duration,
    show_time,
    style,
    visible,
)
from reenact.errors import (
    EXIT_DIFFERS,
    EXIT_FAILED,
    EXIT_OK,
    EXIT_PARTLY,
    NotFound,
    ReenactError,
    UsageError,
)
from reenact.judge.names import is_time
from reenact.model.identity import RunId
from reenact.model.verdict import (
    Cause,
    OutputVerdict,
    Reproduction,
    SeriesVerdict,
    StatisticVerdict,
    Verdict,
)
from reenact.model.words import counted
from reenact.store.files import write_atomically
from reenact.store.reproductions import Reproductions

_STATUS = {
    Verdict.IDENTICAL: EXIT_OK,
    Verdict.WITHIN_TOLERANCE: EXIT_OK,
    Verdict.EQUIVALENT: EXIT_OK,
    Verdict.INCONCLUSIVE: EXIT_PARTLY,
    Verdict.DIFFERS: EXIT_DIFFERS,
    Verdict.COULD_NOT_RUN: EXIT_FAILED,
}
_SEVERITY = (EXIT_OK, EXIT_PARTLY, EXIT_DIFFERS, EXIT_FAILED)
_COLOURS = {EXIT_OK: "green", EXIT_PARTLY: "yellow", EXIT_DIFFERS: "red", EXIT_FAILED: "red"}
_MOST_CAUSES = 12
_FEWEST_DRAWN = 4
_WIDTH = 48

tolerance_option = click.option(
    "--tolerance", "tolerances", multiple=True, metavar="METRIC=AMOUNT",
    help="What is near enough: `acc=0.001`, `loss=1%`, `*=1e-6`.",
)  # fmt: skip
margin_option = click.option(
    "--margin", "margins", multiple=True, metavar="METRIC=AMOUNT",
    help="How far means over several runs may be apart.",
)  # fmt: skip
html_option = click.option("--html", metavar="FILE", help="Write the verdict as a page as well.")


@click.command(
    "judge",
    short_help="Say whether runs show the result of another one again",
    epilog="""\b
Examples:
  reenact judge 3f2a @latest
  reenact judge 3f2a 8be1 --tolerance loss=1e-4
  reenact judge --sample 1,2,3 4 5 6 --margin acc=0.01
""",
)
@click.argument("runs", metavar="[ORIGINAL] RUN...", nargs=-1, shell_complete=complete_run)
@click.option("--sample", metavar="LIST", help="Several originals, which are one sample: `a,b,c`.")
@tolerance_option
@margin_option
@html_option
@as_json
@click.pass_obj
def judge_command(home: str | None, /, **options: Any) -> int:
    """Judge runs that are there already. Nothing is run, and the verdict is kept.

    The first RUN is the original, the others are to show its result again.
    """
    from reenact.actions.reproduce.conclude import judge

    context = Context(store=home)
    names = [*options["runs"]]
    first = options["sample"].split(",") if options["sample"] else names[:1]
    others = names if options["sample"] else names[1:]
    if not first or not others:
        raise UsageError(
            "two runs are needed: the original, and one that is to show its result again",
            hint="`reenact judge 3f2a @latest`",
        )
    found = judge(
        context,
        [find_run(context, name.strip()) for name in first],
        [find_run(context, name) for name in others],
        tolerances=options["tolerances"],
        margins=options["margins"],
    )
    return report(context, [found], html=options["html"], as_json=options["as_json"])


@click.command(
    "verdict",
    short_help="Show what came of reproducing a run",
    epilog="""\b
Examples:
  reenact verdict
  reenact verdict 3f2a
  reenact verdict 3f2a --html verdict.html
""",
)
@click.argument("name", metavar="[RUN]", required=False, shell_complete=complete_run)
@html_option
@as_json
@click.pass_obj
def verdict_command(home: str | None, /, **options: Any) -> int:
    """Show the latest verdict on a run, from either side, or list all verdicts without RUN.

    The exit status is that of the verdict, as for `reenact reproduce`.
    """
    context = Context(store=home)
    kept = Reproductions(context.store)
    name = options["name"]
    if name is None:
        return _list(kept, as_json=options["as_json"])
    found = _named(context, kept, name)
    for run_id in (*found.originals, *found.runs):
        if not os.path.isdir(context.store.directory(run_id)):
            say(f"run {run_id[:8]} is not in this store any more")
    return report(context, [found], html=options["html"], as_json=options["as_json"])


def _named(context: Context, kept: Reproductions, name: str) -> Reproduction:
    try:
        run_id = find_run(context, name).id
    except NotFound:
        # A run that is gone has left its verdicts.
        run_id = kept.run_named(name) or RunId("")
        if not run_id:
            return kept.find(name)
    judged = [one for one in kept.of_runs([run_id]) if one.verdict is not None]
    if not judged:
        raise NotFound(
            f"run {run_id[:8]} has not been reproduced",
            hint=f"`reenact reproduce {run_id[:8]}` does it",
        )
    return judged[-1]


def _list(kept: Reproductions, *, as_json: bool) -> int:
    found = []
    for one in kept.ids():
        try:
            found.append(kept.read(one))
        except ReenactError as error:
            say(f"reenact: {error.message}")
    found.sort(key=lambda one: one.created, reverse=True)
    if as_json:
        print_json({"ok": True, "reproductions": [to_json(one) for one in found]})
        return EXIT_OK
    rows = [
        [
            one.id[:8],
            name_of(one),
            ",".join(run[:8] for run in one.runs[:3]) + ("…" if len(one.runs) > 3 else ""),
            str(one.verdict or "interrupted"),
            show_time(one.created),
        ]
        for one in found
    ]
    print_table(("id", "original", "runs", "verdict", "when"), rows)
    return EXIT_OK


def report(
    context: Context,
    found: Iterable[Reproduction],
    *,
    html: str | None,
    as_json: bool,
    told: Collection[str] = (),
) -> int:
    """Print verdicts; return the exit status of the worst.

    Args:
        context: where their runs are.
        found: the verdicts.
        html: file for a page about them.
        as_json: print JSON.
        told: codes of remarks that were printed before.
    """
    found = list(found)
    if as_json:
        print_json({"ok": True, "reproductions": [to_json(one) for one in found]})
    else:
        for one in found:
            print_verdict(one, told=told)
    if html is not None:
        write_page(context, found, html)
    return worst_status([one.verdict for one in found])


def worst_status(verdicts: Iterable[Verdict | None]) -> int:
    """Return the exit status of the worst of some verdicts; None is one that never came about."""
    statuses = [EXIT_FAILED if one is None else _STATUS[one] for one in verdicts]
    return max(statuses, key=_SEVERITY.index, default=EXIT_OK)


def to_json(reproduction: Reproduction) -> dict[str, Any]:
    """Return a record for `--json`."""
    built: dict[str, Any] = msgspec.to_builtins(reproduction)
    return built


def colour(verdict: Verdict | None) -> str:
    """Return a verdict as text in its colour, for standard output."""
    if verdict is None:
        return "interrupted"
    return style(str(verdict), _COLOURS[_STATUS[verdict]], stream=sys.stdout)


def print_verdict(found: Reproduction, *, told: Collection[str] = ()) -> None:
    """Print a verdict and all that it rests on, as tables; without remarks that were told before."""
    for _, columns, rows in tables_of(found):
        if rows:
            print_table(columns, rows)
            print()
    if sys.stdout.isatty():
        for one in found.statistics:
            print("\n".join(_distributions(one)))
    for remark in found.remarks:
        if remark.code not in told:
            say(f"  {visible(remark.message)}")
    if found.causes and found.verdict is not Verdict.IDENTICAL:
        print("not the same in both:")
        for cause in found.causes[:_MOST_CAUSES]:
            print(f"  {tell_cause(cause)}")
        if len(found.causes) > _MOST_CAUSES:
            print(f"  and {len(found.causes) - _MOST_CAUSES} more: `--json` lists them")
    name = style(name_of(found), "bold", stream=sys.stdout)
    print(f"{name}: {colour(found.verdict)}: {visible(found.summary)}")


def _distributions(one: StatisticVerdict) -> list[str]:
    """Draw how the values of both groups are distributed, one above the other."""
    from reenact.cli.group_statistics import draw

    groups = (("original", one.original), ("now", one.reproduced))
    values = [v for _, sample in groups for v in map(float, sample.values) if math.isfinite(v)]
    if len(values) < _FEWEST_DRAWN:
        return []
    low, high = min(values), max(values)
    lines = [f"{name:>8} │{draw(sample, low, high, _WIDTH)}│" for name, sample in groups]
    ends = f"{_short(low)}{_short(high):>{_WIDTH - len(_short(low))}}"
    return [visible(one.name), *lines, f"{'':>10}{ends}", ""]


def name_of(found: Reproduction) -> str:
    """Return what was reproduced: a run, several, or claims."""
    if found.claims:
        return "claims"
    originals = ", ".join(run[:8] for run in found.originals[:3])
    more = f" and {len(found.originals) - 3} more" if len(found.originals) > 3 else ""
    return originals + more


def tables_of(found: Reproduction) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """Return what a verdict rests on: tables with a heading, names of columns, and rows."""
    samples = ("metric", "verdict", "n", "original", "n", "now", "difference", "detail")
    return [
        (
            "Metrics",
            ("metric", "verdict", "points", "original", "now", "detail"),
            _series_rows(found),
        ),
        ("Outputs", ("output", "verdict", "how", "detail"), _output_rows(_outputs_of(found))),
        ("Over several runs", samples, _statistic_rows(found.statistics)),
        (
            "Claims",
            ("claim", "verdict", "metric", "claimed", "found", "detail"),
            [_claim_row(one) for one in found.claims],
        ),
    ]


def tell_cause(cause: Cause) -> str:
    """Say in one line what was not the same."""
    text = f"{cause.kind} {visible(cause.what)}"
    if cause.original is not None or cause.reproduced is not None:
        text += f": {_fact(cause.original)} -> {_fact(cause.reproduced)}"
    if cause.detail:
        text += f" ({visible(cause.detail)})"
    return text


def _fact(value: object) -> str:
    if isinstance(value, dict):
        # A file: what is in it counts.
        value = str(value.get("digest") or "content not known")[:12]
    text = "none" if value is None else str(value)
    return visible(text if len(text) <= 80 else f"{text[:77]}…")


def _series_rows(found: Reproduction) -> list[list[str]]:
    rows = []
    for one in sorted(
        found.series, key=lambda one: (is_time(one.name), one.verdict is Verdict.IDENTICAL)
    ):
        points = str(one.points)
        if one.points != one.reproduced_points:
            points += f" -> {one.reproduced_points}"
        rows.append(
            [
                visible(one.name),
                str(one.verdict),
                points,
                _number(one.original_last),
                _number(one.reproduced_last),
                tell_series(one),
            ]
        )
    return rows


def tell_series(one: SeriesVerdict) -> str:
    """Say where a series parted and by how much; nothing of an identical one."""
    parts = []
    if one.first_parting is not None:
        parts.append(f"parts at step {one.first_parting.step}")
    if one.first_beyond is not None and one.first_beyond != one.first_parting:
        parts.append(f"beyond tolerance at step {one.first_beyond.step}")
    if one.largest_relative not in (None, 0.0) and one.first_parting is not None:
        parts.append(f"largest difference {_percent(one.largest_relative)}")
    if one.tolerance and one.first_parting is not None:
        parts.append(f"tolerated {visible(one.tolerance)}")
    if one.reason:
        parts.append(visible(one.reason))
    if one.verdict is Verdict.DIFFERS and is_time(one.name) and not one.tolerance:
        parts = ["a time"]
    return "; ".join(parts)


def _percent(value: float | str) -> str:
    number = float(value)
    return f"{number:.2%}" if 1e-4 <= number < 10 else f"{number:.2g} of the value"


def _outputs_of(found: Reproduction) -> list[OutputVerdict]:
    """Return what there is to say of outputs; of what was printed, where nobody would guess it."""
    printed = found.printed
    if printed is None or (
        printed.verdict is Verdict.IDENTICAL and (found.series or found.outputs)
    ):
        return [*found.outputs]
    return [*found.outputs, printed]


def _output_rows(outputs: Iterable[OutputVerdict]) -> list[list[str]]:
    return [
        [visible(one.path), str(one.verdict), one.how, visible(one.detail or "")]
        for one in sorted(outputs, key=lambda one: one.verdict is Verdict.IDENTICAL)
    ]


def _statistic_rows(statistics: Iterable[StatisticVerdict]) -> list[list[str]]:
    rows = []
    for one in statistics:
        parts = [f"margin ±{_short(one.margin)}" if one.margin is not None else ""]
        if one.margin_source:
            parts[-1] += f" ({one.margin_source})"
        if one.low is not None and one.high is not None:
            parts.append(f"90 % interval {_short(one.low)} to {_short(one.high)}")
        if one.pairs:
            parts.append(counted(one.pairs, "pair"))
        if one.more_seeds is not None:
            parts.append(f"{counted(one.more_seeds, 'more run')} would decide")
        if one.reason:
            parts.append(visible(one.reason))
        for side, sample in (("original", one.original), ("now", one.reproduced)):
            if sample.modes:
                modes = " and ".join(map(_short, sample.modes))
                parts.append(f"{side}: values gather around {modes}")
        old, new = one.original, one.reproduced
        rows.append(
            [
                visible(one.name),
                str(one.verdict),
                str(len(old.values)),
                _spread(old.mean, old.sd),
                str(len(new.values)),
                _spread(new.mean, new.sd),
                _short(one.difference),
                "; ".join(filter(None, parts)),
            ]
        )
    return rows


_OF_CLAIMS = {
    Verdict.IDENTICAL: "confirmed",
    Verdict.WITHIN_TOLERANCE: "confirmed",
    Verdict.EQUIVALENT: "confirmed",
    Verdict.DIFFERS: "refuted",
}
"""What verdicts on claims are called, where that is another word."""


def _claim_row(one: Any) -> list[str]:
    lasted = None if one.duration_s is None else f"ran for {show_duration(one.duration_s)}"
    allowed = f"±{one.tolerance}" if one.tolerance else None
    detail = "; ".join(filter(None, [one.paper, one.reason, allowed, lasted]))
    return [
        visible(one.name),
        _OF_CLAIMS.get(one.verdict, str(one.verdict)),
        visible(one.metric),
        _number(one.claimed),
        _number(one.found),
        visible(detail),
    ]


def _spread(mean: float | str | None, sd: float | str | None) -> str:
    if mean is None:
        return ""
    return _short(mean) + (f" ± {_short(sd)}" if sd is not None else "")


def _number(value: float | str | None) -> str:
    return "" if value is None else str(value)


def _short(value: float | str | None) -> str:
    return "" if value is None else f"{float(value):.6g}"


def check_page(path: str | None) -> None:
    """Make sure, before anything runs, that a page can be written; raises UsageError."""
    if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise UsageError(f"`{path}` is in no directory", hint="make the directory first")
    if path is not None and os.path.isdir(path):
        raise UsageError(f"`{path}` is a directory", hint="name a file in it")


def write_page(context: Context, found: list[Reproduction], path: str) -> None:
    """Write a page about verdicts; raises ReenactError."""
    from reenact.cli.verdict_page import draw_page

    try:
        write_atomically(os.path.abspath(path), draw_page(context, found).encode(), sync=False)
    except OSError as error:
        raise ReenactError(f"cannot write `{path}`: {error.strerror}") from None
    say(f"written to {path}")
