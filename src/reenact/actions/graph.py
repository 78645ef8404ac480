"""Where a run comes from and what was made of it: through what runs required, and their parents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.errors import NotFound, ReenactError
from reenact.model.identity import RunId
from reenact.model.record import decode_run
from reenact.model.run import Run
from reenact.store.files import read_file
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun

REQUIRED = "requires"
PART = "part"
MOST_PARTS = 20
"""Of a batch so many trials are shown."""

_MARK = b'"dependencies": ['


class Edge(NamedTuple):
    """A connection of two runs.

    Attributes:
        kind: `requires`: files of `before` were given to `after`; `part`: `before` started `after`.
        name: of the resource, or of the part.
        why: why this run was taken.
    """

    before: RunId
    after: RunId
    kind: str
    name: str
    why: str | None = None


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


class Graph(NamedTuple):
    """All that leads to a run and from it.

    Attributes:
        focus: the run that was asked for.
        nodes: by id, the focus first.
        edges: each once.
    """

    focus: RunId
    nodes: dict[str, Node]
    edges: tuple[Edge, ...]

    def before(self, node: str) -> list[Edge]:
        """Return what leads to a run."""
        return [edge for edge in self.edges if edge.after == node]

    def after(self, node: str) -> list[Edge]:
        """Return what leads from a run."""
        return [edge for edge in self.edges if edge.before == node]


def dependents(store: Store, runs: Iterable[RunId]) -> dict[RunId, list[RunId]]:
    """Return the runs that were given files of these ones."""
    wanted = set(runs)
    found: dict[RunId, list[RunId]] = {}
    for run in _with_dependencies(store):
        for one in dict.fromkeys(d.run for d in run.dependencies):
            if one in wanted:
                found.setdefault(one, []).append(run.id)
    return found


def draw_graph(context: Context, focus: StoredRun) -> Graph:
    """Find all runs that lead to one, and all that it led to.

    Parts of a batch or pipeline are shown under it; those of a run's parent that have nothing to do
    with the run are not.
    """
    store = context.store
    every = {run.id: run for run in _with_dependencies(store)}
    users: dict[RunId, list[Run]] = {}
    for run in every.values():
        for one in run.dependencies:
            if one.run is not None and run not in users.setdefault(one.run, []):
                users[one.run].append(run)
    edges: dict[Edge, None] = {}
    nodes: dict[str, Node] = {focus.id: Node(focus.id, focus)}
    _go_up(store, focus.run, nodes, edges)
    _go_down(context, focus.id, users, nodes, edges)
    return Graph(focus.id, nodes, tuple(edges))


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
        for one in run.dependencies:
            if one.run is None:
                if one.kind != "module":
                    text = f"{one.kind} {one.uri}"
                    nodes.setdefault(text, Node(text, None, text))
                    edges[Edge(RunId(text), run.id, REQUIRED, one.resource, one.why)] = None
                continue
            waiting.append(_add(store, one.run, nodes))
            edges[Edge(one.run, run.id, REQUIRED, one.resource, one.why)] = None
        if run.parent is not None:
            waiting.append(_add(store, run.parent, nodes))
            edges[Edge(run.parent, run.id, PART, run.part or "")] = None


def _go_down(
    context: Context,
    focus: RunId,
    users: Mapping[RunId, list[Run]],
    nodes: dict[str, Node],
    edges: dict[Edge, None],
) -> None:
    from reenact.actions.find import parts_of

    waiting = [focus]
    seen: set[RunId] = set()
    while waiting:
        run_id = waiting.pop(0)
        if run_id in seen:
            continue
        seen.add(run_id)
        for user in users.get(run_id, []):
            _add(context.store, user.id, nodes)
            for one in user.dependencies:
                if one.run == run_id:
                    edges[Edge(run_id, user.id, REQUIRED, one.resource, one.why)] = None
            waiting.append(user.id)
        parts = parts_of(context, run_id)
        for part in parts[:MOST_PARTS]:
            _add(context.store, part.id, nodes)
            edges[Edge(run_id, part.id, PART, part.part or "")] = None
            waiting.append(part.id)
        for step, run in _taken_by(context.store, run_id).items():
            _add(context.store, run, nodes)
            edges[Edge(run_id, run, PART, step, "an earlier run")] = None
        if len(parts) > MOST_PARTS:
            nodes[run_id] = nodes[run_id]._replace(hidden_parts=len(parts) - MOST_PARTS)


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


def _with_dependencies(store: Store) -> Iterable[Run]:
    """Yield the runs whose record says that they were given something."""
    for run_id in store.run_ids():
        try:
            data = read_file(f"{store.directory(run_id)}/{RECORD_DIRECTORY}/run.json")
            # Most have nothing of the kind, and to look for it is far quicker than to read them.
            if _MARK in data:
                yield decode_run(data, where=f"run {run_id[:8]}")
        except (OSError, ReenactError):
            continue
