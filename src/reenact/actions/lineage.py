"""The whole lineage of a run: runs, data and files before it and after it.

To what `graph` finds, which is what runs declare and take from each other's directories, come the data
that was read, the files that were made, copies of files known by their content, and the runs that were
resumed or reproduced.
"""

from __future__ import annotations

from collections.abc import Iterator

from reenact.actions.context import Context
from reenact.actions.graph import Edge, Graph, Node, draw_graph
from reenact.errors import NotFound
from reenact.model.identity import Digest, RunId
from reenact.model.run import File, Run
from reenact.store.index import Index
from reenact.store.lineage import links_from, makers_of, readers_of
from reenact.store.lineage_rows import LinkKind
from reenact.store.store import StoredRun

DATA, MADE, CONTENT, RESUMES, REPRODUCES = "data", "made", "content", "resumes", "reproduces"
MOST_FILES = 30
"""Of a run so many files are shown."""

_SHOWN = 12


def draw_lineage(context: Context, focus: StoredRun) -> Graph:
    """Find all that led to a run and all that came of it.

    Of the runs before it the data is shown that came from no run; of the run itself what it made.
    """
    graph = draw_graph(context, focus)
    nodes = dict(graph.nodes)
    edges = dict.fromkeys(graph.edges)
    run = focus.run
    with Index(context.store) as index:
        for edge in _content_edges(context, index, run, edges):
            edges[edge] = None
        for edge in _other_edges(index, run, focus.id):
            edges[edge] = None
    for edge in edges:
        for run_id in (edge.before, edge.after):
            if edge.is_from_run and run_id not in nodes:
                nodes[run_id] = _node(context, run_id)
    whole = Graph(focus.id, nodes, edges)
    for name in _ancestors(whole):
        stored = nodes[name].stored
        if stored is None or stored.run is None:
            continue
        given = {edge.name for edge in whole.before(name) if edge.kind == CONTENT}
        _add_data(stored.run, given, nodes, edges)
    if run is not None:
        _add_outputs(run, nodes, edges)
    return Graph(focus.id, nodes, edges)


def _content_edges(
    context: Context, index: Index, run: Run | None, known: dict[Edge, None]
) -> Iterator[Edge]:
    """Yield the runs that made what this one read, and read what it made, whatever it was called."""
    if run is None:
        return
    linked = {(edge.before, edge.after) for edge in known}
    read = {file.digest: file.path for file in run.inputs if file.digest is not None}
    for digest, makers in makers_of(index, read).items():
        first = _first_maker(context, makers)
        if first is not None and first != run.id and (first, run.id) not in linked:
            yield Edge(first, run.id, CONTENT, read[digest], "the same content")
    made = {file.digest: file.path for file in run.outputs if file.digest is not None}
    for digest, readers in readers_of(index, made).items():
        for reader in readers:
            if reader != run.id and (run.id, reader) not in linked:
                yield Edge(run.id, reader, CONTENT, made[digest], "the same content")


def _first_maker(context: Context, makers: list[RunId]) -> RunId | None:
    for run_id in makers:
        run = context.store.read_run(run_id).run
        if run is not None and run.reproduces is None:
            return run_id
    return None


def _other_edges(index: Index, run: Run | None, focus: RunId) -> Iterator[Edge]:
    if run is not None:
        for earlier, kind in ((run.resumes, RESUMES), (run.reproduces, REPRODUCES)):
            if earlier is not None:
                yield Edge(earlier, focus, kind, kind)
    kinds = {LinkKind.RESUMES: RESUMES, LinkKind.REPRODUCES: REPRODUCES}
    for link in links_from(index, [focus]):
        if link.kind in kinds:
            yield Edge(focus, link.later, kinds[link.kind], kinds[link.kind])


def _node(context: Context, run_id: RunId) -> Node:
    try:
        return Node(run_id, context.store.read_run(run_id))
    except NotFound:
        return Node(run_id)


def _ancestors(graph: Graph) -> list[str]:
    """Return the run that was asked for and all that leads to it."""
    found: dict[str, None] = {graph.focus: None}
    waiting: list[str] = [graph.focus]
    while waiting:
        for edge in graph.before(waiting.pop()):
            if edge.is_from_run and edge.before not in found:
                found[edge.before] = None
                waiting.append(edge.before)
    return list(found)


def _add_data(run: Run, given: set[str], nodes: dict[str, Node], edges: dict[Edge, None]) -> None:
    data = [file for file in run.inputs if file.origin is None and file.path not in given]
    data = [file for file in data if "/runs/" not in (file.resolved or file.path)]
    for file in data[:MOST_FILES]:
        _add_file(f"data {_told(file)}", run.id, nodes, edges, is_read=True)
    _add_rest(len(data), run, nodes, edges, is_read=True)


def _add_outputs(run: Run, nodes: dict[str, Node], edges: dict[Edge, None]) -> None:
    for file in run.outputs[:MOST_FILES]:
        _add_file(f"file {_told(file)}", run.id, nodes, edges, is_read=False)
    _add_rest(len(run.outputs), run, nodes, edges, is_read=False)


def _add_file(
    text: str,
    run_id: RunId,
    nodes: dict[str, Node],
    edges: dict[Edge, None],
    *,
    is_read: bool,
) -> None:
    name = RunId(text)
    nodes.setdefault(name, Node(name, None, name))
    before, after = (name, run_id) if is_read else (run_id, name)
    edges[Edge(before, after, DATA if is_read else MADE, "read" if is_read else "made",
               is_from_run=False)] = None  # fmt: skip


def _add_rest(
    count: int, run: Run, nodes: dict[str, Node], edges: dict[Edge, None], *, is_read: bool
) -> None:
    if count > MOST_FILES:
        text = f"{count - MOST_FILES} more files of {run.id[:8]}"
        kind = "data" if is_read else "file"
        _add_file(f"{kind} {text}", run.id, nodes, edges, is_read=is_read)


def _told(file: File) -> str:
    digest: Digest | None = file.digest
    many = f" ({file.files} files)" if file.files is not None else ""
    return f"{file.path}{many}  {digest[:_SHOWN] if digest is not None else 'content not known'}"
