"""`reenact compare`."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click
import msgspec

from reenact.actions.compare import (
    DEFAULT_LIMIT,
    ComparedColumn,
    Comparison,
    Group,
    Grouping,
    Layout,
    Selection,
    compare_front,
    compare_runs,
    group_runs,
)
from reenact.actions.context import Context
from reenact.actions.pareto import Front
from reenact.cli.options import all_projects, as_json, filter_text
from reenact.cli.output import one_line, print_json, say, show_time, show_value, style
from reenact.errors import ReenactError, UsageError
from reenact.model.metrics import json_number
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import Status
from reenact.model.statistic import Statistic
from reenact.store.columns import Column, ColumnValue, IndexedRun, Kind

_ID_SHOWN = 8
_MOST_DIGITS = 12
_ROWS_DRAWN = 14
_OBJECTIVES = re.compile(r"-[^-].+")


class CompareCommand(click.Command):
    """Lets objectives begin with a dash: `--pareto -latency,acc`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put a blank in front of them, so that they are no options."""
        words: list[str] = []
        for word in args:
            name, equals, value = word.partition("=")
            if name == "--pareto" and equals:
                words += [name, f" {value}"]
            elif words[-1:] == ["--pareto"] and _OBJECTIVES.fullmatch(word):
                words.append(f" {word}")
            else:
                words.append(word)
        return super().parse_args(ctx, words)


@click.command(
    "compare",
    cls=CompareCommand,
    epilog="""\b
Examples:
  reenact compare
  reenact compare -c "=lr, min loss, acc as accuracy" -s -acc --only-differences
  reenact compare @latest --pareto acc,-latency --svg front.svg
  reenact compare --group-by host --stats acc --margin acc=0.002
""",
)
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@filter_text
@all_projects
@click.option("-c", "--columns", metavar="COLUMNS", help="E.g. `min loss, =lr, acc as accuracy`.")
@click.option("-s", "--sort", metavar="COLUMN", help="Order, e.g. `-acc` or `.started`.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    help=f"Rows at most, {DEFAULT_LIMIT} unless runs are named; 0 for all.",
)
@click.option("-o", "--only-differences", is_flag=True, help="Only columns that differ.")
@click.option("-g", "--group", metavar="FLAGS", help="Mean ± sd for each value of these flags.")
@click.option("--group-by", metavar="COLUMNS", help="With --stats: any columns, `host` too.")
@click.option(
    "--stats",
    metavar="[METRICS]",
    is_flag=False,
    flag_value="",
    help="Compare groups: spread, interval, are they equivalent?",
)
@click.option(
    "--margin", multiple=True, metavar="METRIC=AMOUNT", help="With --stats: what is the same."
)
@click.option("--min", "minimize", multiple=True, metavar="COLUMN", help="Least is best.")
@click.option("--max", "maximize", multiple=True, metavar="COLUMN", help="Greatest is best.")
@click.option(
    "--pareto",
    metavar="[COLUMNS]",
    is_flag=False,
    flag_value="",
    help="Mark what nothing beats, e.g. in `acc,-latency`.",
)
@click.option("--front-only", is_flag=True, help="With --pareto: only what nothing beats.")
@click.option("--svg", "svg_path", metavar="FILE", help="With --pareto: draw it, `-` for stdout.")
@click.option(
    "--csv",
    "csv_path",
    metavar="[PATH]",
    is_flag=False,
    flag_value="-",
    help="CSV with all digits, to standard output or to a file `*.csv`.",
)
@as_json
@click.pass_obj
def compare_command(home: str | None, /, **options: Any) -> None:
    """Compare runs side by side: flags and last metrics, those that differ first.

    RUNs are the latest of this project unless you name some.
    """
    runs, csv_path = _split_csv(options["runs"], options["csv_path"])
    if csv_path is not None and options["as_json"]:
        raise UsageError("say either `--csv` or `--json`")
    selection = Selection(
        texts=runs,
        filter_text=options["filter_text"],
        sort=options["sort"],
        limit=options["limit"],
        all_projects=options["all_projects"],
    )
    layout = Layout(
        columns=options["columns"],
        minimize=options["minimize"],
        maximize=options["maximize"],
        only_differences=options["only_differences"],
    )
    context = Context(store=home)
    if options["stats"] is not None:
        _compare_groups(context, selection, options, csv_path)
        return
    for name, option in (("group_by", "--group-by"), ("margin", "--margin")):
        if options[name]:
            raise UsageError(f"`{option}` needs `--stats`")
    if options["pareto"] is not None:
        _compare_front(context, selection, layout, options, csv_path)
        return
    for name, option in (("front_only", "--front-only"), ("svg_path", "--svg")):
        if options[name]:
            raise UsageError(f"`{option}` needs `--pareto`")
    if options["group"] is not None:
        grouping = group_runs(context, selection, layout, options["group"])
        _show_grouping(grouping, csv_path, as_json=options["as_json"])
    else:
        comparison = compare_runs(context, selection, layout)
        _show_comparison(comparison, csv_path, as_json=options["as_json"])


def _compare_front(
    context: Context,
    selection: Selection,
    layout: Layout,
    options: dict[str, Any],
    csv_path: str | None,
) -> None:
    from reenact.cli.scatter import can_draw, draw_svg, left_out

    if options["group"] is not None:
        raise UsageError("say either `--group` or `--pareto`")
    wanted: str = options["pareto"].strip()
    if wanted.startswith("@"):
        # `--pareto @latest`: no column is called so, a run is.
        selection = msgspec.structs.replace(selection, texts=(wanted, *selection.texts))
        wanted = ""
    comparison, front = compare_front(
        context, selection, layout, wanted, front_only=options["front_only"]
    )
    svg: str | None = options["svg_path"]
    if svg is not None:
        if not can_draw(front):
            raise UsageError(
                "there is nothing to draw",
                hint="it takes two objectives, and a completed run that has both",
            )
        _write(draw_svg(front).encode(), svg)
    if svg != "-":
        _show_comparison(comparison, csv_path, as_json=options["as_json"], front=front)
    if svg is not None and (missing := left_out(front)):
        say(f"not drawn, because a number is infinite: {missing}")
    if svg is not None and len(front.objectives) > 2:
        say("the picture has the first two objectives only")


def _compare_groups(
    context: Context, selection: Selection, options: dict[str, Any], csv_path: str | None
) -> None:
    from reenact.actions.group_statistics import compare_groups
    from reenact.cli.group_statistics import lines, rows, to_document

    for name in ("columns", "sort", "limit", "only_differences", "minimize", "maximize", "pareto"):
        if options[name] not in (None, False, ()):
            option = {"minimize": "min", "maximize": "max"}.get(name, name.replace("_", "-"))
            raise UsageError(f"say either `--stats` or `--{option}`")
    by: str | None = options["group_by"]
    if options["group"] is not None:
        if by is not None:
            raise UsageError("say either `--group` or `--group-by`")
        by = options["group"]
    metrics: str = options["stats"].strip()
    if metrics.startswith("@"):
        # `--stats @latest`: no metric is called so, a run is.
        selection = msgspec.structs.replace(selection, texts=(metrics, *selection.texts))
        metrics = ""
    found = compare_groups(context, selection, by, metrics, options["margin"])
    if options["as_json"]:
        print_json(to_document(found))
        return
    if csv_path is not None:
        _write_csv(rows(found), csv_path)
    elif not found.groups:
        say("no run matches")
    elif sys.stdout.isatty():
        for line in lines(found):
            print(line)
    else:
        _print_lines(rows(found))
    _talk(found.remarks, is_complete=True, what="groups")


def _draw_front(front: Front) -> None:
    import shutil

    from reenact.cli.scatter import draw_text

    for line in draw_text(front, shutil.get_terminal_size().columns, _ROWS_DRAWN):
        print(one_line(line) if line.startswith("across") else line)


def _split_csv(runs: tuple[str, ...], word: str | None) -> tuple[tuple[str, ...], str | None]:
    """Take the word after `--csv` for a run unless it looks like a file: `--csv 1 2` is no path."""
    if word is None or word == "-" or "/" in word or word.lower().endswith(".csv"):
        return runs, word
    return (word, *runs), "-"


def _talk(remarks: Sequence[str], *, is_complete: bool, what: str) -> None:
    for remark in remarks:
        say(remark)
    if not is_complete:
        say(f"there are more {what}; `--limit 0` shows all")


# --- runs ---


def _show_comparison(
    comparison: Comparison, csv_path: str | None, *, as_json: bool, front: Front | None = None
) -> None:
    if as_json:
        pareto = {} if front is None else {"pareto": _front_to_json(front)}
        print_json({**_comparison_to_json(comparison), **pareto})
        return
    headings = [column.heading for column in comparison.columns]
    if csv_path is not None:
        rows = [[_exact(value) for value in row] for row in comparison.rows]
        _write_csv([headings, *rows], csv_path)
    elif not comparison.runs:
        say("no run matches")
    elif sys.stdout.isatty():
        _print_columns(
            [
                _Cells(
                    column.heading,
                    [_short(column.column, row[at]) for row in comparison.rows],
                    is_right=column.is_numeric,
                    best=column.best,
                )
                for at, column in enumerate(comparison.columns)
            ]
        )
        if front is not None:
            _draw_front(front)
    else:
        _print_lines([headings, *([_exact(value) for value in row] for row in comparison.rows)])
    _talk(comparison.remarks, is_complete=comparison.is_complete, what="runs")


def _comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    rows = []
    for number, (run, row) in enumerate(zip(comparison.runs, comparison.rows, strict=True)):
        cells = list(zip(comparison.columns, row, strict=True))
        values = {c.heading: _to_json(v, is_flag=_is_flag(c.column, run)) for c, v in cells}
        best = [column.heading for column in comparison.columns if number in column.best]
        rows.append({"run": run.id, "values": values, "best": best})
    return {
        "ok": True,
        "columns": [_column_to_json(column) for column in comparison.columns],
        "rows": rows,
        "is_complete": comparison.is_complete,
        "remarks": comparison.remarks,
    }


def _front_to_json(front: Front) -> dict[str, Any]:
    return {
        "objectives": [
            {"heading": o.column.heading, "best_is": o.direction} for o in front.objectives
        ],
        "front": [point.run.id for point in front.points if point.is_on_front],
        "incomparable": [point.run.id for point in front.points if point.values is None],
    }


def _column_to_json(column: ComparedColumn) -> dict[str, Any]:
    operand = column.column.operand
    return {
        "heading": column.heading,
        "kind": operand.kind,
        "name": operand.name,
        "field": operand.field if operand.kind in (Kind.METRIC, Kind.ANY) else None,
        "is_step": operand.is_step,
        "differs": column.differs,
        "best_is": column.direction,
    }


def _is_flag(column: Column, run: IndexedRun) -> bool:
    operand = column.operand
    return operand.kind is Kind.FLAG or (operand.kind is Kind.ANY and operand.name in run.flags)


def _to_json(value: ColumnValue, *, is_flag: bool) -> Any:
    if isinstance(value, float) and not is_flag:
        return json_number(value)
    return value if isinstance(value, datetime | tuple) else flag_to_json(value)


def _exact(value: ColumnValue) -> str:
    """Return a cell for programs: every digit, times in UTC, lists and maps as JSON."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, list | dict):
        return to_json(flag_to_json(value)).decode()
    return str(value)


def _short(column: Column, value: ColumnValue) -> str:
    """Return a cell for people."""
    if isinstance(value, datetime):
        return show_time(value)
    if column.operand.kind is Kind.ATTRIBUTE and column.operand.name == "id":
        return str(value)[:_ID_SHOWN]
    if isinstance(value, float):
        return repr(value)
    return " ".join(value) if isinstance(value, tuple) else show_value(value)


# --- groups ---


def _show_grouping(grouping: Grouping, csv_path: str | None, *, as_json: bool) -> None:
    if as_json:
        print_json(_grouping_to_json(grouping))
        return
    rows = [_flat_headings(grouping), *(_flat_row(group) for group in grouping.groups)]
    if csv_path is not None:
        _write_csv(rows, csv_path)
    elif not grouping.groups:
        say("no run matches")
    elif sys.stdout.isatty():
        _print_groups(grouping)
    else:
        _print_lines(rows)
    _talk(grouping.remarks, is_complete=grouping.is_complete, what="groups")
    unfinished = sum(
        count
        for group in grouping.groups
        for status, count in group.statuses.items()
        if status is not Status.COMPLETED
    )
    if unfinished:
        runs = "1 run that is" if unfinished == 1 else f"{unfinished} runs that are"
        say(f"{runs} not completed counted too; `--filter 'status = completed'` leaves them out")


def _flat_headings(grouping: Grouping) -> list[str]:
    names = [column.heading for column in grouping.columns]
    parts = ("mean", "sd", "n", "nan")
    return [
        *(column.heading for column in grouping.by),
        "n",
        *(f"{name} {part}" for name in names for part in parts),
    ]


def _flat_row(group: Group) -> list[str]:
    cells = [*map(_exact, group.values), str(len(group.runs))]
    for found in group.statistics:
        cells += [_exact(found.mean), _exact(found.sd), str(found.count), str(found.nan_count)]
    return cells


def _print_groups(grouping: Grouping) -> None:
    groups = grouping.groups
    columns = [
        _Cells(column.heading, [_short(column, group.values[at]) for group in groups])
        for at, column in enumerate(grouping.by)
    ]
    columns.append(_Cells("n", [str(len(group.runs)) for group in groups], is_right=True))
    for at, compared in enumerate(grouping.columns):
        texts = [_mean_and_sd(group.statistics[at]) for group in groups]
        columns.append(_Cells(compared.heading, texts, best=compared.best))
    _print_columns(columns)
    if any(found.sd for group in groups for found in group.statistics):
        say("mean ± sd of the sample, rounded to two digits of the sd; `--csv` has all digits")


def _mean_and_sd(found: Statistic) -> str:
    asides = []
    if found.mean is None:
        text = ""
    elif found.sd is None:
        text = repr(found.mean)
        is_alone = found.count == 1 and not found.nan_count and not found.missing
        asides.append("single run" if is_alone else "one number" if found.count == 1 else "no sd")
    else:
        text = _rounded(found.mean, found.sd)
    if found.nan_count:
        asides.append(f"{found.nan_count} NaN")
    if found.missing:
        asides.append(f"{found.missing} missing")
    return " ".join(filter(None, (text, f"({', '.join(asides)})" if asides else "")))


def _rounded(mean: float, sd: float) -> str:
    if sd == 0:
        return f"{mean!r} ± 0"
    digits = 1 - math.floor(math.log10(sd))
    if 0 <= digits <= _MOST_DIGITS:
        return f"{mean:.{digits}f} ± {sd:.{digits}f}"
    return f"{mean!r} ± {sd:.2g}"


def _grouping_to_json(grouping: Grouping) -> dict[str, Any]:
    groups = []
    for number, group in enumerate(grouping.groups):
        found = zip(grouping.columns, group.statistics, strict=True)
        groups.append(
            {
                "values": {
                    key.heading: _to_json(value, is_flag=key.operand.kind is not Kind.METRIC)
                    for key, value in zip(grouping.by, group.values, strict=True)
                },
                "count": len(group.runs),
                "runs": group.runs,
                "statuses": group.statuses,
                "columns": {column.heading: _statistic_to_json(s) for column, s in found},
                "best": [c.heading for c in grouping.columns if number in c.best],
            }
        )
    return {
        "ok": True,
        "by": [key.heading for key in grouping.by],
        "columns": [_column_to_json(column) for column in grouping.columns],
        "groups": groups,
        "is_complete": grouping.is_complete,
        "remarks": grouping.remarks,
    }


def _statistic_to_json(found: Statistic) -> dict[str, Any]:
    return {
        "count": found.count,
        "mean": None if found.mean is None else json_number(found.mean),
        "sd": found.sd,
        "nan_count": found.nan_count,
        "missing": found.missing,
    }


# --- tables ---


class _Cells(NamedTuple):
    """A column as it is printed; `best` are the numbers of the rows to highlight."""

    heading: str
    texts: Sequence[str]
    is_right: bool = False
    best: frozenset[int] = frozenset()


def _print_columns(columns: Sequence[_Cells]) -> None:
    """Print as many whole columns as the terminal is wide; name those that are left out.

    A column in which no row has anything is not printed.
    """
    import shutil

    columns = [column for column in columns if any(column.texts)]
    space = shutil.get_terminal_size().columns
    lines: list[list[str]] = [[] for _ in range(len(columns[0].texts) + 1)]
    shown = 0
    for column in columns:
        # A second sign beside the colour, in a place of its own so that digits stay aligned.
        texts = [one_line(text) for text in (column.heading, *column.texts)]
        if column.best:
            marked = {number + 1 for number in column.best}
            texts = [text + ("*" if at in marked else " ") for at, text in enumerate(texts)]
        width = max(map(len, texts))
        if shown and width + 2 > space:
            break
        space -= width + (2 if shown else 0)
        shown += 1
        for at, text in enumerate(texts):
            padded = text.rjust(width) if column.is_right else text.ljust(width)
            is_bold = at == 0 or at - 1 in column.best
            lines[at].append(style(padded, "bold", stream=sys.stdout) if is_bold else padded)
    for line in lines:
        print("  ".join(line).rstrip())
    if shown < len(columns):
        names = ", ".join(column.heading for column in columns[shown:])
        say(f"columns that do not fit: {names}; `--columns` chooses, `--json` and `--csv` have all")


def _print_lines(rows: Sequence[Sequence[str]]) -> None:
    # Headings too: which columns there are depends on the runs.
    for row in rows:
        print("\t".join(map(one_line, row)))


def _write_csv(rows: Sequence[Sequence[str]], path: str) -> None:
    import csv
    import io

    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    _write(text.getvalue().encode(), path)


def _write(data: bytes, path: str) -> None:
    if path == "-":
        sys.stdout.buffer.write(data)
        return
    try:
        with open(path, "wb") as file:
            file.write(data)
    except OSError as error:
        raise ReenactError(f"cannot write `{path}`: {error.strerror}") from None
