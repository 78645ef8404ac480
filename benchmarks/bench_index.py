"""Measure the index: cold, then questions in fresh processes and inside one.

Usage: `python benchmarks/bench_index.py [RUNS ...]`. Works in a temporary directory. Times are the least of several, in milliseconds; `import` and
`open` are what a command pays before its first question.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from make_store import PROJECT, make_store

from reenact.store.columns import parse_sort
from reenact.store.index import Index
from reenact.store.lineage import links_from, makers_of, readers_of
from reenact.store.query import parse_filter
from reenact.store.store import Store

QUESTIONS = {
    "the newest 20": (None, ""),
    "filter by a flag and a metric, sort, 20": ("lr < 0.01 and acc > 0.9 and op = train", "-acc"),
    "sort all by a metric, 20": (None, "min loss"),
    "filter by a regular expression, 20": ("optimizer ~ '^a' and loss is not nan", ""),
    "filter by time and tag, 20": ("started > 2025-01-03 and tag in (best)", "=lr desc"),
}


def best(action: Callable[[], object], rounds: int = 5) -> float:
    least = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        action()
        least = min(least, time.perf_counter() - start)
    return least * 1000


def ask(store: Store, text: str | None, sort: str) -> int:
    with Index(store) as index:
        filter_ = parse_filter(text, now=datetime.now(UTC)) if text else None
        order = parse_sort(sort) if sort else ()
        return len(index.query(filter_, project=PROJECT.id, sort=order, limit=20))


def trace(store: Store) -> None:
    """Ask who depends on a run, who made its first output and who has read it."""
    with Index(store) as index:
        run = store.read_run(index.query(limit=1)[0].id).record
        links_from(index, [one.run for one in run.dependencies if one.run is not None])
        digests = [file.digest for file in run.outputs if file.digest is not None]
        makers_of(index, digests)
        readers_of(index, digests)


def measure(count: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        start = time.perf_counter()
        store = make_store(f"{directory}/store", count)
        print(f"\n{count} runs (made in {time.perf_counter() - start:.1f} s)")
        # What changed less than two seconds ago is looked at again, which is not to be measured.
        time.sleep(2.1)
        start = time.perf_counter()
        ask(store, None, "")
        cold = time.perf_counter() - start
        print(f"  cold index             {cold * 1000:9.1f} ms, {cold / count * 1e6:.0f} us a run")
        print(
            f"  size of the database   {os.path.getsize(store.index_path) / count:9.0f} bytes a run"
        )
        for name, (text, sort) in QUESTIONS.items():
            print(f"  {best(lambda t=text, s=sort: ask(store, t, s)):9.1f} ms  {name}")  # type: ignore[misc]
        print(f"  {best(lambda: trace(store)):9.1f} ms  the lineage of the newest, from the index")
        script = (
            "import sys; from reenact.store.index import Index; from reenact.store.store import Store;"
            "Index(Store(sys.argv[1])).query(limit=20)"
        )
        argv = [sys.executable, "-c", script, store.root]
        print(
            f"  {best(lambda: subprocess.run(argv, check=True)):9.1f} ms  the same as the first, as a process"
        )


if __name__ == "__main__":
    print(sys.version.split()[0], "-", os.cpu_count(), "cores")
    for number in sys.argv[1:] or ("10000", "100000"):
        measure(int(number))
