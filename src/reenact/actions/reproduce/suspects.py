"""Name places in a script that may be why its result does not come back, where nothing that was seen is.

They are read from the source that was kept, not run: a clock that is asked, random numbers of the
operating system, threads and workers. Whether one is the reason, nobody knows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from warnings import catch_warnings, simplefilter

from reenact.errors import ReenactError
from reenact.model.run import OperationKind, Run
from reenact.model.verdict import Cause
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import Blobs

_MOST_BYTES = 1 << 20
_MOST_PLACES = 10
_SUSPECTS = {
    "the clock": frozenset(
        """time.time time.time_ns time.perf_counter time.perf_counter_ns time.monotonic time.process_time
        timeit.timeit timeit.repeat timeit.default_timer datetime.datetime.now datetime.datetime.utcnow
        datetime.datetime.today datetime.date.today""".split()
    ),
    "the operating system's chance": frozenset(
        """os.urandom os.getrandom random.SystemRandom secrets.token_bytes secrets.token_hex
        secrets.token_urlsafe secrets.choice secrets.randbelow secrets.randbits""".split()
    ),
    "the process": frozenset("os.getpid id".split()),
    "threads": frozenset(
        """threading.Thread concurrent.futures.ThreadPoolExecutor multiprocessing.pool.ThreadPool
        multiprocessing.dummy.Pool""".split()
    ),
    "workers": frozenset("joblib.Parallel concurrent.futures.ProcessPoolExecutor".split()),
}
_BY_NAME = {name: what for what, names in _SUSPECTS.items() for name in names}


def find_suspects(blobs: Blobs, run: Run) -> list[Cause]:
    """Return what the run's script calls that gives something else each time."""
    if run.source is None or run.operation.kind not in (OperationKind.SCRIPT, OperationKind.MODULE):
        return []
    path = run.operation.target
    if run.operation.kind is OperationKind.MODULE:
        path = f"{path.replace('.', '/')}.py"
    with suppress(ReenactError):
        for name, _, size, digest in read_tree(blobs, run.source.tree).files:
            if name in (path, f"src/{path}") and size <= _MOST_BYTES:
                return list(_suspects(blobs.get(digest), name))
    return []


def _suspects(source: bytes, path: str) -> Iterator[Cause]:
    try:
        with catch_warnings():
            simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    nodes = list(ast.walk(tree))
    known = _imported(nodes)
    found: dict[tuple[str, int], str] = {}
    for node in nodes:
        if isinstance(node, ast.Call):
            name = _full_name(node.func, known)
            what = _BY_NAME.get(name)
            if what is not None and not (what == "workers" and _is_alone(node)):
                found.setdefault((what, node.lineno), name)
    for (what, line), name in sorted(found.items(), key=lambda one: one[0][1])[:_MOST_PLACES]:
        yield Cause(kind="nondeterminism", what=f"{what}: {name}", detail=f"{path}:{line}")


def _imported(nodes: list[ast.AST]) -> dict[str, str]:
    """Return which name of the script stands for what: `{"perf": "time.perf_counter"}`."""
    known = {"id": "id"}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _full_name(node: ast.expr, known: dict[str, str]) -> str:
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in known:
        return ""
    return ".".join([known[node.id], *reversed(parts)])


def _is_alone(call: ast.Call) -> bool:
    """Whether a call asks for no more than one worker."""
    asked = [word.value for word in call.keywords if word.arg in ("n_jobs", "max_workers")]
    return any(isinstance(value, ast.Constant) and value.value in (1, None) for value in asked)
