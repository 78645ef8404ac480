"""The records of reproductions: `<store>/reproductions/<id>.json`, each written atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec

from reenact.errors import Damaged, NotFound, ReenactError, TooNew
from reenact.model.identity import RunId, is_run_id
from reenact.model.verdict import FORMAT, Reproduction
from reenact.model.version import format_of
from reenact.store.files import read_file, remove_if_there, store_errors, write_atomically
from reenact.store.lock import Lock
from reenact.store.store import Store

_ENDING = ".json"
_SHORTEST = 4
"""Of ids; what is shorter means too many."""


class Reproductions:
    """The reproductions that a store keeps."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.directory = f"{store.root}/reproductions"

    def write(self, reproduction: Reproduction) -> None:
        """Keep a record; one of the same id is replaced. Raises StoreUnusable."""
        data = msgspec.json.format(_ENCODER.encode(reproduction), indent=1) + b"\n"
        with store_errors(self._store.root):
            os.makedirs(self.directory, exist_ok=True)
            write_atomically(self._path(reproduction.id), data)

    def take(self, reproduction_id: RunId) -> Lock | None:
        """Return the lock of whoever is at work on a reproduction; None where another process is.

        Raises StoreUnusable.
        """
        lock = Lock(f"{self.directory}/{reproduction_id}.lock")
        with store_errors(self._store.root):
            os.makedirs(self.directory, exist_ok=True)
            return lock if lock.acquire() else None

    def take_new(self, reproduction_id: RunId) -> Lock:
        """Return the lock of a reproduction that nobody else knows yet; raises StoreUnusable."""
        lock = self.take(reproduction_id)
        assert lock is not None
        return lock

    def ids(self) -> list[RunId]:
        """Return the ids of all that are there, in no order."""
        try:
            names = os.listdir(self.directory)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (name.removesuffix(_ENDING) for name in names if name.endswith(_ENDING))
        return [RunId(name) for name in found if is_run_id(name)]

    def read(self, reproduction_id: RunId) -> Reproduction:
        """Read one.

        Raises:
            NotFound: it is not there.
            Damaged: it cannot be read.
            TooNew: a later version of Reenact wrote it.
        """
        where = f"reproduction {reproduction_id[:8]}"
        try:
            data = read_file(self._path(reproduction_id))
        except FileNotFoundError:
            raise NotFound(f"there is no {where}") from None
        try:
            return _DECODER.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            version = format_of(data)
            if version > FORMAT:
                raise TooNew(
                    f"{where} has format {version}, this Reenact reads up to {FORMAT}",
                    hint="install a later version of Reenact",
                ) from None
            raise Damaged(f"{where} is damaged: {error}") from None

    def find(self, text: str) -> Reproduction:
        """Return the one whose id begins so; raises NotFound, also where several do."""
        found = [one for one in self.ids() if one.startswith(text)]
        if len(found) != 1:
            what = "no reproduction" if not found else f"{len(found)} reproductions"
            raise NotFound(f"the id of {what} begins with `{text}`")
        return self.read(found[0])

    def run_named(self, text: str) -> RunId | None:
        """Return the only run in these records whose id begins so; None where there is no such one.

        Runs that are not in the store any more are among them.
        """
        if len(text) < _SHORTEST:
            return None
        found = {
            run_id
            for one in self._readable()
            for run_id in (*one.originals, *one.runs)
            if run_id.startswith(text)
        }
        return found.pop() if len(found) == 1 else None

    def of_runs(self, runs: Iterable[RunId]) -> list[Reproduction]:
        """Return those in which one of these runs was reproduced, or reproduced another; latest last."""
        wanted = {*runs}
        found = [
            one for one in self._readable() if wanted.intersection((*one.originals, *one.runs))
        ]
        return sorted(found, key=lambda one: one.created)

    def _readable(self) -> Iterator[Reproduction]:
        for one in self.ids():
            with suppress(ReenactError):
                yield self.read(one)

    def remove(self, reproduction_id: RunId) -> None:
        """Forget one."""
        remove_if_there(self._path(reproduction_id))

    def _path(self, reproduction_id: RunId) -> str:
        return f"{self.directory}/{reproduction_id}{_ENDING}"


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Reproduction)
