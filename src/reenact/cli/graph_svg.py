"""Draw a lineage as SVG: from left to right, in layers, the run that was asked for in bold."""

from __future__ import annotations

from collections.abc import Callable
from html import escape

from reenact.actions.graph import PART, Edge, Graph, Node

_CHARACTER = 7.2
_LINE = 18
_PADDING = 10
_GAP_X = 90
_GAP_Y = 22
_LONGEST = 46
_FONT = 'font-family="monospace" font-size="12"'
_STYLE = """
rect{fill:#fff;stroke:#555} path{fill:none;stroke:#888} .part{stroke-dasharray:4 3}
.focus{stroke:#000;stroke-width:2.5} .edge{fill:#555;font-size:10px}
@media(prefers-color-scheme:dark){rect{fill:#222;stroke:#aaa} text{fill:#eee} .focus{stroke:#fff}
.edge{fill:#aaa}}
"""


def draw_svg(
    graph: Graph, describe: Callable[[Node], list[str]], tell_edge: Callable[[Edge], str]
) -> str:
    """Return an SVG document; `describe` and `tell_edge` say what stands in boxes and on lines."""
    texts = {name: [_cut(line) for line in describe(node)] for name, node in graph.nodes.items()}
    layers = _layers(graph)
    columns: dict[int, list[str]] = {}
    for name in graph.nodes:
        columns.setdefault(layers[name], []).append(name)
    boxes: dict[str, tuple[float, float, float, float]] = {}
    x = float(_PADDING)
    bottom = 0.0
    for layer in sorted(columns):
        width = max(len(line) for name in columns[layer] for line in texts[name]) * _CHARACTER
        width += 2 * _PADDING
        y = float(_PADDING)
        for name in columns[layer]:
            height = len(texts[name]) * _LINE + _PADDING
            boxes[name] = (x, y, width, height)
            y += height + _GAP_Y
        bottom = max(bottom, y)
        x += width + _GAP_X
    whole, tall = x - _GAP_X + _PADDING, bottom - _GAP_Y + _PADDING
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole:.0f}" height="{tall:.0f}" {_FONT}>',
        f"<title>Lineage of run {escape(graph.focus[:8])}</title>",
        f"<style>{_STYLE}</style>",
    ]
    parts += [_line(edge, boxes, tell_edge(edge)) for edge in graph.edges]
    for name, lines in texts.items():
        parts.append(_box(boxes[name], lines, is_focus=name == graph.focus))
    return "\n".join([*parts, "</svg>", ""])


def _layers(graph: Graph) -> dict[str, int]:
    """Return in which column each node stands: after everything that leads to it."""
    layers = dict.fromkeys(graph.nodes, 0)
    for _ in graph.nodes:
        is_settled = True
        for edge in graph.edges:
            if layers[edge.after] <= layers[edge.before]:
                layers[edge.after] = layers[edge.before] + 1
                is_settled = False
        if is_settled:
            break
    # What nothing leads to stands right before the first that it leads to.
    for name in graph.nodes:
        after = [layers[edge.after] for edge in graph.after(name)]
        if after and not graph.before(name):
            layers[name] = max(0, min(after) - 1)
    return layers


def _line(edge: Edge, boxes: dict[str, tuple[float, float, float, float]], text: str) -> str:
    x1, y1, width, height = boxes[edge.before]
    x2, y2, _, other = boxes[edge.after]
    start, end = (x1 + width, y1 + height / 2), (x2, y2 + other / 2)
    middle = (start[0] + end[0]) / 2
    style = ' class="part"' if edge.kind == PART else ""
    return (
        f'<path{style} d="M{start[0]:.1f} {start[1]:.1f} C{middle:.1f} {start[1]:.1f} '
        f'{middle:.1f} {end[1]:.1f} {end[0]:.1f} {end[1]:.1f}"/>'
        f'<text class="edge" text-anchor="middle" x="{middle:.1f}" '
        f'y="{(start[1] + end[1]) / 2 - 4:.1f}">{escape(_cut(text, 16))}</text>'
    )


def _box(box: tuple[float, float, float, float], lines: list[str], *, is_focus: bool) -> str:
    x, y, width, height = box
    style = ' class="focus"' if is_focus else ""
    shown = "".join(
        f'<text x="{x + _PADDING:.1f}" y="{y + _LINE * (at + 1):.1f}">{escape(line)}</text>'
        for at, line in enumerate(lines)
    )
    return (
        f'<rect{style} x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4"/>'
        f"{shown}"
    )


def _cut(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
