"""Make sure, before anything else, that the source of a run is whole."""

from __future__ import annotations

import os
from contextlib import suppress

from reenact.errors import NotFound, ReenactError
from reenact.model.paths import text_to_path
from reenact.model.run import Run
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.blobs import digest_bytes
from reenact.store.files import read_file
from reenact.store.store import Store

_NAMED = 3


def require_source(run: Run, store: Store, base: str) -> None:
    """Make sure that the store has a run's source, and put back what the project still has of it.

    Looked at is whether each file is there with the size that it must have; what it holds is
    verified when it is read.

    Args:
        run: whose.
        store: where it should be.
        base: directory that stands for the run's project.

    Raises:
        NotFound: it is lost.
    """
    if run.source is None:
        return
    hint = "a copy of the store or a bundle may have it; `reenact fsck` lists what is wrong in this one"
    try:
        tree = read_tree(store.blobs, run.source.tree)
    except ReenactError as error:
        raise NotFound(
            f"the list of the source of run {run.id[:8]} is lost: {error.message}", hint=hint
        ) from None
    lost = _lost(tree, store, base)
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        raise NotFound(
            f"source of run {run.id[:8]} is lost: {', '.join(lost[:_NAMED])}{more}", hint=hint
        )


def _lost(tree: SourceTree, store: Store, base: str) -> list[str]:
    lost = []
    for text, _, size, digest in tree.files:
        if store.blobs.has(digest, size):
            continue
        with suppress(OSError):
            data = read_file(os.path.join(base, text_to_path(text)))
            if digest_bytes(data) == digest:
                with store.writing():
                    store.blobs.remove(digest)
                    store.blobs.put(data)
                continue
        lost.append(text)
    return lost
