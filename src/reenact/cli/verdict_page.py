"""Verdicts as one page of HTML that needs nothing else: tables, and the curves on top of each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.cli.axes import Frame, Scale
from reenact.cli.output import show_duration, visible
from reenact.cli.verdict import name_of, tables_of, tell_cause
from reenact.errors import ReenactError
from reenact.model.identity import RunId
from reenact.model.run import Run
from reenact.model.verdict import Reproduction, Sample, StatisticVerdict, Verdict
from reenact.store.metric_log import Series, read_series
from reenact.store.store import RECORD_DIRECTORY, StoredRun

_MOST_DRAWN = 2000
"""Points of a curve; of more, the least and the greatest of each piece are drawn."""
_MOST_RUNS = 20
_MOST_CURVES = 60
_GOOD = (Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE, Verdict.EQUIVALENT)
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222;
background:#fff} h1,h2{font-weight:600} h1{font-size:1.5em} h2{font-size:1.15em;margin-top:2em}
table{border-collapse:collapse;width:100%} th,td{text-align:left;padding:.25em .8em .25em 0;
border-bottom:1px solid #ddd;vertical-align:top} code,td{font-variant-numeric:tabular-nums}
.good{color:#080} .open{color:#950} .bad{color:#b00} .curves{display:flex;flex-wrap:wrap;gap:1em}
figure{margin:0} figcaption{font-size:.85em;color:#666}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee} th,td{border-color:#444}
.good{color:#6c6} .open{color:#ec6} .bad{color:#f77} figcaption{color:#aaa}}
"""
_CURVE_STYLE = (
    ".old{stroke:#06c;fill:none;stroke-width:3;stroke-opacity:.45} .new{stroke:#c40;fill:none}"
    ".oldspot{fill:#06c;fill-opacity:.6} .newspot{fill:#c40;fill-opacity:.8}"
    ".part{stroke:#888;stroke-dasharray:4 3}"
)


def draw_page(context: Context, found: Sequence[Reproduction]) -> str:
    """Return a page about some verdicts.

    Args:
        context: where their runs are; what is gone from the store is left out, and that is said.
        found: the verdicts.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(_title(found))}</title><style>{_STYLE}</style></head><body>",
    ]
    for one in found:
        parts += _draw(context, one)
    return "\n".join([*parts, "</body></html>", ""])


def _title(found: Sequence[Reproduction]) -> str:
    if len(found) != 1:
        return f"{len(found)} reproductions"
    return f"{name_of(found[0])}: {found[0].verdict or 'interrupted'}"


def _draw(context: Context, found: Reproduction) -> list[str]:
    originals = _runs(context, found.originals[:_MOST_RUNS])
    reproduced = _runs(context, found.runs[:_MOST_RUNS])
    parts = [
        f"<h1>{escape(name_of(found))}: {_coloured(found.verdict)}</h1>",
        f"<p>{escape(visible(found.summary))}</p>",
        *_facts(found, originals, reproduced),
    ]
    for heading, columns, rows in tables_of(found):
        if rows:
            parts.append(f"<h2>{escape(heading)}</h2>")
            parts += _table(columns, rows)
    if found.causes:
        parts.append("<h2>Not the same in both</h2><ul>")
        parts += [f"<li>{escape(tell_cause(cause))}</li>" for cause in found.causes]
        parts.append("</ul>")
    if found.remarks:
        parts.append("<h2>Remarks</h2><ul>")
        parts += [f"<li>{escape(visible(remark.message))}</li>" for remark in found.remarks]
        parts.append("</ul>")
    if curves := _curves(found, originals, reproduced):
        parts += ["<h2>Curves</h2>", '<div class="curves">', *curves, "</div>"]
    if found.statistics:
        parts += ["<h2>Distributions</h2>", '<div class="curves">']
        parts += [_distribution(one) for one in found.statistics]
        parts.append("</div>")
    return parts


def _coloured(verdict: Verdict | None) -> str:
    name = "good" if verdict in _GOOD else "open" if verdict is Verdict.INCONCLUSIVE else "bad"
    return f'<span class="{name}">{escape(str(verdict or "interrupted"))}</span>'


def _facts(
    found: Reproduction, originals: Sequence[StoredRun], reproduced: Sequence[StoredRun]
) -> list[str]:
    rows = []
    for side, ids, runs in (
        ("original", found.originals, originals),
        ("reproduced", found.runs, reproduced),
    ):
        names = ", ".join(one[:8] for one in ids[:_MOST_RUNS])
        more = f" and {len(ids) - _MOST_RUNS} more" if len(ids) > _MOST_RUNS else ""
        rows.append([side, names + more, *_describe(runs[0].record if runs else None)])
    parts = _table(("", "runs", "operation", "started", "took"), rows)
    expected = f"Expected: {found.expectation}"
    if found.reasons:
        expected += f", because of {'; '.join(found.reasons)}"
    environment = f"Environment: {found.environment}. Judged by Reenact {found.reenact}."
    return [*parts, f"<p>{escape(visible(expected))}. {escape(environment)}</p>"]


def _describe(run: Run | None) -> list[str]:
    if run is None:
        return ["not in this store any more", "", ""]
    flags = " ".join(f"{name}={run.flags[name]}" for name in run.given if name in run.flags)
    started = "" if run.started is None else run.started.isoformat(timespec="seconds")
    return [visible(f"{run.operation.name} {flags}"), started, show_duration(run.duration_s)]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    heads = "".join(f"<th>{escape(column)}</th>" for column in columns)
    parts = [f"<table><thead><tr>{heads}</tr></thead><tbody>"]
    for row in rows:
        cells = "".join(f"<td>{_cell(cell)}</td>" for cell in row)
        parts.append(f"<tr>{cells}</tr>")
    return [*parts, "</tbody></table>"]


def _cell(text: str) -> str:
    try:
        return _coloured(Verdict(text))
    except ValueError:
        return escape(text)


def _runs(context: Context, ids: Iterable[RunId]) -> list[StoredRun]:
    found = []
    for run_id in ids:
        try:
            stored = context.store.read_run(run_id)
        except ReenactError:
            continue
        if stored.run is not None:
            found.append(stored)
    return found


# --- curves ---


class _Curve(NamedTuple):
    style: str
    points: list[tuple[float, float]]
    is_thinned: bool


def _curves(
    found: Reproduction, originals: Sequence[StoredRun], reproduced: Sequence[StoredRun]
) -> list[str]:
    before, after = list(map(_read, originals)), list(map(_read, reproduced))
    names = [one.name for one in found.series if one.points > 1]
    names += [one.name for one in found.statistics if one.name not in names]
    partings = {one.name: one.first_beyond or one.first_parting for one in found.series}
    drawn: list[str] = []
    for name in dict.fromkeys(names):
        curves = [
            curve
            for style, group in (("old", before), ("new", after))
            for series in group
            if name in series and (curve := _curve(style, series[name])) is not None
        ]
        if curves and len(drawn) < _MOST_CURVES:
            parting = partings.get(name)
            drawn.append(_figure(name, curves, None if parting is None else parting.step))
    left = len(dict.fromkeys(names)) - len(drawn)
    if left > 0 and len(drawn) == _MOST_CURVES:
        drawn.append(f"<p>{left} more metrics are not drawn.</p>")
    return drawn


def _read(stored: StoredRun) -> dict[str, Series]:
    directory = f"{stored.directory}/{RECORD_DIRECTORY}"
    return read_series(directory, kinds=stored.record.kinds_of_series)


def _curve(style: str, series: Series) -> _Curve | None:
    points = [
        (float(step), value)
        for step, value in zip(series.steps, series.values, strict=True)
        if math.isfinite(value)
    ]
    if len(points) < 2:
        return None
    if len(points) <= _MOST_DRAWN:
        return _Curve(style, points, False)
    size = -(-2 * len(points) // _MOST_DRAWN)
    thinned: list[tuple[float, float]] = []
    for start in range(0, len(points), size):
        piece = points[start : start + size]
        low, high = (f(piece, key=lambda point: point[1]) for f in (min, max))
        thinned += sorted({low, high})
    return _Curve(style, thinned, True)


def _figure(name: str, curves: Sequence[_Curve], parting: int | None) -> str:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    frame = Frame(Scale(min(xs), max(xs)), Scale(min(ys), max(ys)), 520, 320)
    parts = [*frame.open(name, _CURVE_STYLE), *frame.draw("step", visible(name))]
    for curve in curves:
        path = "L".join(f"{frame.x_of(x):.1f} {frame.y_of(y):.1f}" for x, y in curve.points)
        parts.append(f'<path class="{curve.style}" d="M{path}"/>')
    said = "blue: original, red: reproduced"
    if parting is not None:
        x = frame.x_of(float(parting))
        parts.append(f'<path class="part" d="M{x:.1f} 20V{frame.height - 60}"/>')
        said += f"; they part at step {parting}"
    if any(curve.is_thinned for curve in curves):
        said += f"; of over {_MOST_DRAWN} points, the least and greatest of each piece are drawn"
    parts.append("</svg>")
    return f"<figure>{''.join(parts)}<figcaption>{escape(said)}</figcaption></figure>"


def _distribution(one: StatisticVerdict) -> str:
    """Draw the values of each group as dots on a line of their own."""
    groups = (("old", one.original), ("new", one.reproduced))
    values = [[v for v in map(float, sample.values) if math.isfinite(v)] for _, sample in groups]
    every = [*values[0], *values[1]]
    if not every:
        return f"<p>{escape(visible(one.name))}: no finite values</p>"
    frame = Frame(Scale(min(every), max(every)), Scale(0.0, 3.0), 520, 180)
    parts = [*frame.open(one.name, _CURVE_STYLE + "text{font-size:11px}")]
    height = {"old": 2.2, "new": 1.0}
    for (style, sample), group in zip(groups, values, strict=True):
        y = frame.y_of(height[style])
        for value in group:
            x = frame.x_of(value)
            parts.append(f'<circle class="{style}spot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        if (bar := _interval(sample)) is not None:
            low, high = (min(max(frame.x_of(end), 4), frame.width - 4) for end in bar)
            parts.append(f'<path class="axis" d="M{low:.1f} {y + 9:.1f}H{high:.1f}"/>')
    bottom = frame.height - 30
    for value in frame.across.ticks():
        x = frame.x_of(value)
        parts.append(f'<text text-anchor="middle" x="{x:.1f}" y="{bottom}">{value:.5g}</text>')
    parts.append("</svg>")
    said = f"{visible(one.name)}: {one.verdict}; the line is the 95 % interval of the mean"
    return f"<figure>{''.join(parts)}<figcaption>{escape(said)}</figcaption></figure>"


def _interval(sample: Sample) -> tuple[float, float] | None:
    if sample.low is None or sample.high is None:
        return None
    low, high = float(sample.low), float(sample.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
