"""`reenact graph`."""

from __future__ import annotations

import os
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.graph import PART, Edge, Graph, Node, draw_graph
from reenact.cli.options import as_json, one_run
from reenact.cli.output import print_json, say, show_value, visible
from reenact.errors import ReenactError
from reenact.model.words import counted
from reenact.store.files import write_atomically

_WIDEST_FLAGS = 60
_DEEPEST = 50
"""So many runs in a row are printed; `--json` and `--svg` have all."""
_INDENT = 3


svg_option = click.option("--svg", metavar="FILE", help="Draw it as SVG instead.")


@click.command(
    "graph",
    epilog="""\b
Examples:
  reenact graph
  reenact graph 3f2a --svg lineage.svg
  reenact graph @best:acc --json
""",
)
@one_run
@svg_option
@as_json
@click.pass_obj
def graph_command(home: str | None, /, **options: Any) -> None:
    """Show where a run comes from and what was made of it.

    RUN is the latest one unless you name another.
    """
    context = Context(store=home)
    show_graph(draw_graph(context, find_run(context, options["run"])), options)


def show_graph(graph: Graph, options: dict[str, Any]) -> None:
    """Print a graph, or draw it, as the options say."""
    if options["svg"] is not None:
        from reenact.cli.graph_svg import draw_svg

        path = os.path.abspath(options["svg"])
        try:
            write_atomically(path, draw_svg(graph, describe, tell_edge).encode(), sync=False)
        except OSError as error:
            raise ReenactError(f"cannot write `{options['svg']}`: {error.strerror}") from None
        say(f"written to {options['svg']}")
    if options["as_json"]:
        print_json(_to_json(graph))
    elif options["svg"] is None:
        _print(graph)


def describe(node: Node) -> list[str]:
    """Return what is to be said of a node, a line each."""
    if node.text is not None:
        return [visible(node.text)]
    if node.stored is None:
        return [f"{node.id[:8]}", "not in this store any more"]
    run = node.stored.run
    name = "?" if run is None else run.operation.name
    label = node.stored.notes.label
    lines = [f"{node.id[:8]}  {visible(name)}", str(node.stored.status)]
    if label:
        lines[1] += f"  {visible(label)}"
    elif run is not None and run.given:
        flags = " ".join(f"{n}={show_value(run.flags[n])}" for n in run.given if n in run.flags)
        lines[1] += f"  {visible(flags)}"[:_WIDEST_FLAGS]
    if node.hidden_parts:
        lines.append(f"and {counted(node.hidden_parts, 'more part')}")
    return lines


def tell_edge(edge: Edge) -> str:
    """Return what an edge is, in a word or two."""
    return f"part {edge.name}" if edge.kind == PART else visible(edge.name)


def _to_json(graph: Graph) -> dict[str, Any]:
    return {
        "ok": True,
        "run": graph.focus,
        "nodes": [
            {"id": node.id, "source": node.text}
            if node.text is not None
            else {
                "id": node.id,
                "operation": None if run is None else run.operation.name,
                "status": None if node.stored is None else node.stored.status,
                "label": None if node.stored is None else node.stored.notes.label,
                "hidden_parts": node.hidden_parts,
            }
            for node in graph.nodes.values()
            for run in [None if node.stored is None else node.stored.run]
        ],
        "edges": [
            {"from": e.before, "to": e.after, "kind": e.kind, "name": e.name, "why": e.why}
            for e in graph.edges
        ],
    }


def _print(graph: Graph) -> None:
    """Print what leads to the run, upside down, the run, and what was made of it."""
    above: list[str] = []
    _branches(graph, graph.focus, above, "", {graph.focus}, upwards=True)
    for line in above:
        print(line)
    print("  ".join(describe(graph.nodes[graph.focus])))
    below: list[str] = []
    _branches(graph, graph.focus, below, "", {graph.focus}, upwards=False)
    for line in below:
        print(line)


def _branches(
    graph: Graph, node: str, lines: list[str], indent: str, seen: set[str], *, upwards: bool
) -> None:
    edges = graph.before(node) if upwards else graph.after(node)
    for number, edge in enumerate(edges):
        other = edge.before if upwards else edge.after
        # What leads to a run stands above it: its first one has nothing above that continues.
        is_outer = number == 0 if upwards else number == len(edges) - 1
        corner = ("┌─ " if upwards else "└─ ") if is_outer else "├─ "
        again = other in seen
        why = f"  ({visible(edge.why)})" if edge.why else ""
        arrow = "from" if upwards else "to"
        mark = "  (as above)" if again and _leads_on(graph, other, upwards=upwards) else ""
        text = "  ".join(describe(graph.nodes[other]))
        line = f"{indent}{corner}{tell_edge(edge)} {arrow} {text}{why}{mark}"
        deeper = indent + ("   " if is_outer else "│  ")
        inner: list[str] = []
        if (
            not again
            and len(indent) >= _DEEPEST * _INDENT
            and _leads_on(graph, other, upwards=upwards)
        ):
            inner.append(f"{deeper}…")
        elif not again:
            seen.add(other)
            _branches(graph, other, inner, deeper, seen, upwards=upwards)
        lines += [*inner, line] if upwards else [line, *inner]


def _leads_on(graph: Graph, node: str, *, upwards: bool) -> bool:
    return bool(graph.before(node) if upwards else graph.after(node))
