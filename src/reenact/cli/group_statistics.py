"""Groups of runs on a terminal, in lines, as CSV and as JSON: `reenact compare --stats`."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from reenact.actions.group_statistics import ComparedMetric, GroupStatistics, RunGroup
from reenact.actions.watch import BLOCKS
from reenact.cli.output import one_line, show_value, style
from reenact.model.metrics import JsonNumber
from reenact.model.record import flag_to_json
from reenact.model.verdict import Sample, StatisticVerdict
from reenact.model.words import counted
from reenact.store.columns import Column, ColumnValue

HEADINGS = (
    "n mean sd min max range low high not-finite modes difference sd-difference range-difference"
    " margin margin-source difference-low difference-high p-equivalence p-difference pairs effect"
    " more-runs verdict reason"
).split()
"""Columns for programs, behind the metric and what runs are grouped by."""

_MOST_DIGITS = 12
_DRAWN = 30
_LEAST_DRAWN = 10


def rows(found: GroupStatistics) -> list[list[str]]:
    """Return a line of headings and a line for each metric and group, with all digits."""
    lines = [["metric", *(key.heading for key in found.by), *HEADINGS]]
    for metric in found.metrics:
        for at, group in enumerate(found.groups):
            verdict = metric.verdicts[at - 1] if at else None
            cells = [metric.column.heading, *map(_exact, group.values)]
            lines.append(cells + _row(metric, at, verdict))
    return lines


def to_document(found: GroupStatistics) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {
        "ok": True,
        "by": [key.heading for key in found.by],
        "groups": [
            {
                "values": {
                    key.heading: _to_json(value)
                    for key, value in zip(found.by, group.values, strict=True)
                },
                "runs": group.runs,
                "seeds": group.seeds,
            }
            for group in found.groups
        ],
        "metrics": [
            {
                "name": metric.column.heading,
                "samples": [msgspec.structs.asdict(sample) for sample in metric.samples],
                "verdicts": [
                    None if verdict is None else _verdict_to_json(verdict)
                    for verdict in metric.verdicts
                ],
            }
            for metric in found.metrics
        ],
        "remarks": found.remarks,
    }


def lines(found: GroupStatistics) -> list[str]:
    """Return what people read: for each metric a table, its distributions and the verdicts."""
    names = [group_name(found.by, group) for group in found.groups]
    said = []
    for metric in found.metrics:
        said += [style(one_line(metric.column.heading), "bold", stream=sys.stdout)]
        said += _table(found, metric, names)
        for at, verdict in enumerate(metric.verdicts, 1):
            if verdict is not None:
                said.append(f"{names[at]}: {say_verdict(verdict, names[0])}")
        for name, sample in zip(names, metric.samples, strict=True):
            if len(sample.modes) > 1:
                around = " and ".join(f"{mode:.4g}" for mode in sample.modes)
                said.append(f"{name}: gathers around {around}; mean and deviation hide that")
        said.append("")
    return said[:-1]


def group_name(by: Sequence[Column], group: RunGroup) -> str:
    """Return what a group is called: its text, or its values with their columns."""
    if not by:
        return "all"
    shown = [_shown(value) for value in group.values]
    if len(by) == 1 and isinstance(group.values[0], str):
        return one_line(shown[0])
    pairs = zip(by, shown, strict=True)
    return one_line(" ".join(f"{key.heading}={value}" for key, value in pairs))


def say_verdict(verdict: StatisticVerdict, name: str) -> str:
    """Return a verdict in words: what it is, by how much, by which margin."""
    text = str(verdict.verdict)
    details = []
    if verdict.difference is not None:
        digits = _digits(verdict.original, verdict.reproduced)
        number = _signed(verdict.difference, digits)
        of_what = f"mean of {counted(verdict.pairs, 'pair')} of seeds" if verdict.pairs else "mean"
        details.append(f"{of_what} {number} from {name}")
        if verdict.low is not None and verdict.high is not None:
            ends = f"{_signed(verdict.low, digits)} … {_signed(verdict.high, digits)}"
            details.append(f"90 % interval {ends}")
        if verdict.margin is not None:
            margin = _fixed(verdict.margin, digits)
            details.append(f"margin ±{margin} ({verdict.margin_source})")
    if verdict.effect is not None:
        details.append(f"effect {float(verdict.effect):+.2f} sd")
    if verdict.more_seeds is not None:
        details.append(f"{counted(verdict.more_seeds, 'more run')} would likely decide it")
    if verdict.reason is not None:
        details.append(verdict.reason)
    return f"{text}: {'; '.join(details)}" if details else text


def draw(sample: Sample, low: float, high: float, width: int) -> str:
    """Return how values are distributed between two ends: higher where there are more."""
    counts = [0] * width
    for value in map(float, sample.values):
        if math.isfinite(value):
            # Halves first: the distance of two floats may be more than a float holds.
            span = high / 2 - low / 2
            place = (value / 2 - low / 2) / span if span else 0.5
            counts[min(width - 1, int(place * width))] += 1
    most = max(counts)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[math.ceil(n / most * top)] if n else " " for n in counts)


def _table(found: GroupStatistics, metric: ComparedMetric, names: Sequence[str]) -> list[str]:
    """Return a table with a row for each group, and one for what each differs from the first."""
    digits = _digits(*metric.samples)
    heading = ", ".join(key.heading for key in found.by)
    table = [[heading, "n", "mean", "sd", "min", "max", "range", "95 % interval of the mean"]]
    for name, sample in zip(names, metric.samples, strict=True):
        table.append([name, *_cells(sample, digits)])
    first = metric.samples[0] if metric.samples else None
    for name, sample in zip(names[1:], metric.samples[1:], strict=True):
        if first is not None and first.mean is not None and sample.mean is not None:
            table.append([f"{name} less {names[0]}", "", *_differences(first, sample, digits)])
    widths = [max(len(row[at]) for row in table if at < len(row)) for at in range(len(table[0]))]
    texts = [
        "  ".join(
            cell.ljust(width) if at in (0, 7) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        )
        for row in table
    ]
    space = shutil.get_terminal_size().columns - max(map(len, texts)) - 2
    ends = [float(e) for s in metric.samples for e in (s.minimum, s.maximum) if e is not None]
    if space >= _LEAST_DRAWN and ends:
        width = min(space, _DRAWN)
        texts[0] = f"{texts[0]}  {min(ends):.4g} … {max(ends):.4g}"
        for at, sample in enumerate(metric.samples, 1):
            texts[at] = f"{texts[at]}  {draw(sample, min(ends), max(ends), width)}"
    return [text.rstrip() for text in texts]


def _cells(sample: Sample, digits: int | None) -> list[str]:
    count = _finite(sample)
    if not count:
        runs = counted(len(sample.values), "run")
        nothing = f"no finite number of {runs}" if sample.values else "no run has it"
        return [str(count), *[""] * 5, nothing]
    spread = _range(sample)
    numbers = [
        _fixed(value, digits)
        for value in (sample.mean, sample.sd, sample.minimum, sample.maximum, spread)
    ]
    interval = "single run"
    if sample.low is not None:
        interval = f"{_fixed(sample.low, digits)} … {_fixed(sample.high, digits)}"
    if count < len(sample.values):
        interval += f" ({len(sample.values) - count} not finite)"
    return [str(count), *numbers, interval]


def _differences(a: Sample, b: Sample, digits: int | None) -> list[str]:
    return [
        _signed(_less(b.mean, a.mean), digits),
        _signed(_less(b.sd, a.sd), digits),
        "",
        "",
        _signed(_less(_range(b), _range(a)), digits),
        "",
    ]


def _row(metric: ComparedMetric, at: int, verdict: StatisticVerdict | None) -> list[str]:
    sample, first = metric.samples[at], metric.samples[0]
    own: list[Any] = [
        _finite(sample),
        sample.mean,
        sample.sd,
        sample.minimum,
        sample.maximum,
        _range(sample),
        sample.low,
        sample.high,
        len(sample.values) - _finite(sample),
        " ".join(map(repr, sample.modes)),
    ]
    if verdict is None:
        return [_text(value) for value in own] + [""] * (len(HEADINGS) - len(own))
    own += [
        verdict.difference,
        _less(sample.sd, first.sd),
        _less(_range(sample), _range(first)),
        verdict.margin,
        verdict.margin_source,
        verdict.low,
        verdict.high,
        verdict.p_equivalence,
        verdict.p_difference,
        verdict.pairs,
        verdict.effect,
        verdict.more_seeds,
        verdict.verdict.value,
        verdict.reason,
    ]
    return [_text(value) for value in own]


def _verdict_to_json(verdict: StatisticVerdict) -> dict[str, Any]:
    """Leave out the samples, which stand beside it."""
    fields = msgspec.structs.asdict(verdict)
    return {name: fields[name] for name in fields if name not in ("original", "reproduced")}


# --- numbers ---


def _finite(sample: Sample) -> int:
    return sum(math.isfinite(float(value)) for value in sample.values)


def _range(sample: Sample) -> float | None:
    return _less(sample.maximum, sample.minimum)


def _less(a: JsonNumber | None, b: JsonNumber | None) -> float | None:
    return None if a is None or b is None else float(a) - float(b)


def _digits(*samples: Sample) -> int | None:
    """Return after how many digits to round: the second one of the least deviation; None for all."""
    sds = [float(sample.sd) for sample in samples if sample.sd]
    if not sds:
        return None
    digits = 1 - math.floor(math.log10(min(sds)))
    return digits if 0 <= digits <= _MOST_DIGITS else None


def _fixed(value: JsonNumber | None, digits: int | None) -> str:
    if value is None:
        return ""
    number = float(value)
    return f"{number:.6g}" if digits is None else f"{number:.{digits}f}"


def _signed(value: JsonNumber | None, digits: int | None) -> str:
    if value is None:
        return ""
    number = float(value)
    return f"{number:+.6g}" if digits is None else f"{number:+.{digits}f}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _shown(value: ColumnValue) -> str:
    if value is None:
        return "none"
    return show_value(value) if isinstance(value, str | int | float | list | dict) else str(value)


def _exact(value: ColumnValue) -> str:
    return "" if value is None else _shown(value)


def _to_json(value: ColumnValue) -> Any:
    return flag_to_json(value) if isinstance(value, str | int | float | list | dict) else value
