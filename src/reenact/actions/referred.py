"""Which blobs runs refer to: everything that `gc` must keep and that a bundle must hold.

The only place that knows this: a new way in which a record names blobs is added here.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from reenact.errors import ReenactError
from reenact.execute.data_sets import read_data_set
from reenact.model.identity import Digest
from reenact.model.lock import decode_lock
from reenact.model.run import Run
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import Blobs


class Referred:
    """The blobs that some runs refer to, themselves or through lists. Each list is read once.

    Attributes:
        blobs: those of the runs seen so far.
    """

    def __init__(self, blobs: Blobs) -> None:
        self.blobs: set[Digest] = set()
        self._store = blobs
        self._lists: set[Digest] = set()

    def add(self, run: Run) -> None:
        """Add what a run refers to. Of a list that cannot be read only the list itself is known."""
        self.blobs.update(named_blobs(run))
        self.blobs.update(run.kept_inputs)
        for data_set in run.kept_data_sets:
            if data_set not in self._lists:
                self._lists.add(data_set)
                self.blobs.update(files_of_data_set(self._store, data_set))
        trees = [source.tree for source in run.sources]
        if run.lock is not None and run.lock not in self._lists:
            self._lists.add(run.lock)
            trees += trees_of_lock(self._store, run.lock)
        for tree in trees:
            self.blobs.add(tree)
            if tree not in self._lists:
                self._lists.add(tree)
                self.blobs.update(self._files_of(tree))

    def _files_of(self, tree: Digest) -> Iterator[Digest]:
        try:
            files = read_tree(self._store, tree).files
        except ReenactError:
            return
        yield from (digest for _, _, _, digest in files)


def files_of_data_set(blobs: Blobs, data_set: Digest) -> Iterator[Digest]:
    """Yield the blobs of a data set's files; nothing where its list cannot be read."""
    try:
        files = read_data_set(blobs, data_set).files
    except (ReenactError, msgspec.DecodeError):
        return
    yield from (digest for _, _, digest in files if digest is not None)


def named_blobs(run: Run) -> tuple[Digest, ...]:
    """Return the blobs that a record names itself, those of source and inputs left out."""
    definitions = (step.operation.definition for step in run.every_step)
    described = (run.environment, run.machine, run.runtime, run.lock)
    found = (*described, run.operation.definition, *definitions)
    return tuple(digest for digest in found if digest is not None)


def trees_of_lock(blobs: Blobs, lock: Digest) -> tuple[Digest, ...]:
    """Return the trees that a lock refers to; nothing where it cannot be read."""
    try:
        return decode_lock(blobs.get(lock), where="a lock").trees()
    except ReenactError:
        return ()
