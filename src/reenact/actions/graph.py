"""Where a run comes from and what was made of it: what runs required or read of others, and parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import NotFound
from reenact.model.identity import RunId
from reenact.model.run import Run
from reenact.store.index import Index
from reenact.store.lineage import links_from
from reenact.store.lineage_rows import LinkKind, lineage_of, path_in_run
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

REQUIRED = "requires"
READ = "reads"
PART = "part"
MOST_PARTS = 20
"""Of a batch so many trials are shown."""


class Edge(NamedTuple):
    """A connection of two runs.

    Attributes:
        kind: `requires`: files of `before` were given to `after`; `reads`: `after` has opened them by
            itself; `part`: `before` started `after`.
        name: of the resource, the files or the part.
        why: why this run was taken.
        is_from_run: `before` is a run; else it says what else was required: `url https://…`.
    """

    before: RunId
    after: RunId
    kind: str
    name: str
    why: str | None = None
    is_from_run: bool = True


class Node(NamedTuple):
    """A run, or the source of its files that is none.

    Attributes:
        id: of the run; the text for other sources.
        stored: None where it is no run, or is not in the store any more.
        text: how a source is called that is no run: `url https://…`.
        hidden_parts: how many of its parts are left out.
    """

    id: str
    stored: StoredRun | None = None
    text: str | None = None
    hidden_parts: int = 0


class Graph:
    """All that leads to a run and from it.

    Attributes:
        focus: the run that was asked for.
        nodes: by id, the focus first.
        edges: each once.
    """

    def __init__(self, focus: RunId, nodes: dict[str, Node], edges: Iterable[Edge]) -> None:
        self.focus = focus
        self.nodes = nodes
        self.edges = tuple(edges)
        self._before: dict[str, list[Edge]] = {}
        self._after: dict[str, list[Edge]] = {}
        for edge in self.edges:
            self._before.setdefault(edge.after, []).append(edge)
            self._after.setdefault(edge.before, []).append(edge)

    def before(self, node: str) -> list[Edge]:
        """Return what leads to a run."""
        return self._before.get(node, [])

    def after(self, node: str) -> list[Edge]:
        """Return what leads from a run."""
        return self._after.get(node, [])


_NEEDED = (LinkKind.REQUIRED, LinkKind.READ, LinkKind.TAKEN, LinkKind.RESUMES)
"""Without the earlier run something is missing of the later one."""


def dependents(store: Store, runs: Iterable[RunId]) -> dict[RunId, list[RunId]]:
    """Return the runs that have used files of these ones, and pipelines that count them as steps."""
    found: dict[RunId, dict[RunId, None]] = {}
    with Index(store) as index:
        for link in links_from(index, runs):
            if link.kind in _NEEDED:
                found.setdefault(link.earlier, {})[link.later] = None
    return {run_id: list(later) for run_id, later in found.items()}


def draw_graph(context: Context, focus: StoredRun) -> Graph:
    """Find all runs that lead to one, and all that it led to.

    Parts of a batch or pipeline are shown under it; those of a run's parent that have nothing to do
    with the run are not.
    """
    edges: dict[Edge, None] = {}
    nodes: dict[str, Node] = {focus.id: Node(focus.id, focus)}
    _go_up(context.store, focus.run, nodes, edges)
    with Index(context.store) as index:
        _go_down(context.store, index, focus.id, nodes, edges)
    return Graph(focus.id, nodes, edges)


def _go_up(
    store: Store, focus: Run | None, nodes: dict[str, Node], edges: dict[Edge, None]
) -> None:
    waiting = [focus]
    seen: set[RunId] = set()
    while waiting:
        run = waiting.pop(0)
        if run is None or run.id in seen:
            continue
        seen.add(run.id)
        for edge in _given(run):
            edges[edge] = None
            if edge.is_from_run:
                waiting.append(_add(store, edge.before, nodes))
            else:
                nodes.setdefault(edge.before, Node(edge.before, None, edge.before))
        if run.parent is not None:
            waiting.append(_add(store, run.parent, nodes))
            edges[Edge(run.parent, run.id, PART, run.part or "")] = None


def _given(run: Run) -> Iterator[Edge]:
    """Yield what a run was given of other runs, or has taken of them, and what else it required."""
    for one in run.dependencies:
        if one.run is not None:
            yield Edge(one.run, run.id, REQUIRED, one.resource, one.why)
        elif one.kind != "module":
            text = RunId(f"{one.kind} {one.uri}")
            yield Edge(text, run.id, REQUIRED, one.resource, one.why, is_from_run=False)
    lineage = lineage_of(run)
    read = [] if lineage is None else [r for r, kind in lineage.links if kind == LinkKind.READ]
    for earlier in read:
        files = (path for file in run.inputs if (path := path_in_run(file, earlier)) is not None)
        first = next(files, "")
        more = sum(1 for _ in files)
        yield Edge(RunId(earlier), run.id, READ, f"{first} and {more} more" if more else first)


def _go_down(
    store: Store,
    index: Index,
    focus: RunId,
    nodes: dict[str, Node],
    edges: dict[Edge, None],
) -> None:
    level = [focus]
    seen: set[RunId] = set()
    while level:
        seen.update(level)
        below: dict[RunId, None] = {}
        parts: dict[RunId, int] = {}
        for link in links_from(index, level):
            earlier, later = link.earlier, link.later
            if link.kind is LinkKind.PART:
                parts[earlier] = parts.get(earlier, 0) + 1
                if parts[earlier] > MOST_PARTS:
                    continue
                _add(store, later, nodes)
                edges[Edge(earlier, later, PART, link.part or "")] = None
            elif link.kind in (LinkKind.REQUIRED, LinkKind.READ):
                user = _add(store, later, nodes)
                given = () if user is None else _given(user)
                edges.update((edge, None) for edge in given if edge.before == earlier)
            else:
                continue
            below[later] = None
        for run_id in level:
            for step, run in _taken_by(store, run_id).items():
                _add(store, run, nodes)
                edges[Edge(run_id, run, PART, step, "an earlier run")] = None
        for run_id, count in parts.items():
            if count > MOST_PARTS:
                nodes[run_id] = nodes[run_id]._replace(hidden_parts=count - MOST_PARTS)
        level = [run_id for run_id in below if run_id not in seen]


def _taken_by(store: Store, run_id: RunId) -> dict[str, RunId]:
    """Return the runs that a pipeline has taken instead of starting them, by its steps."""
    from reenact.actions.steps import read_entries

    entries = read_entries(f"{store.directory(run_id)}/{RECORD_DIRECTORY}")
    return {entry.step: entry.run for entry in entries.values() if entry.is_taken}


def _add(store: Store, run_id: RunId, nodes: dict[str, Node]) -> Run | None:
    if run_id not in nodes:
        try:
            nodes[run_id] = Node(run_id, store.read_run(run_id))
        except NotFound:
            nodes[run_id] = Node(run_id)
    stored = nodes[run_id].stored
    return None if stored is None else stored.run
