"""Verify data sets, file by file, and find those that are not where they were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from reenact.actions.reproduce.contents import Contents
from reenact.actions.reproduce.lacks import Lack
from reenact.errors import ReenactError
from reenact.execute.data_sets import read_data_set
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import File, Run
from reenact.store.store import Store

Entry = tuple[str, int, Digest | None]
"""Path below the data set, size and digest of one of its files."""


class DataSetAt(NamedTuple):
    """A data set whose files were found as they were.

    Attributes:
        place: directory that has all of them; None where only some are taken from elsewhere.
        own: its files without those that are the project's source.
        has_source: there are such.
        taken: path below the data set -> where the file is that is not as it was at its place.
        added: paths below it of files at its place that came after the run.
    """

    place: str | None
    own: Sequence[Entry]
    has_source: bool
    taken: Mapping[str, str]
    added: Sequence[str] = ()


class DataSets:
    """Verifies the data sets of one run.

    Attributes:
        lacks: of the one that was looked for last.
        remarks: what could not be verified.
    """

    def __init__(self, run: Run, store: Store, contents: Contents, base: str) -> None:
        self._run = run
        self._is_original = base == text_to_path(run.project.root)
        self._store = store
        self._contents = contents
        self.lacks: list[Lack] = []
        self.remarks: list[str] = []

    def find(
        self,
        file: File,
        places: Sequence[str],
        is_source: Callable[[str, Digest | None], bool],
        *,
        needs_whole: bool,
    ) -> DataSetAt | None:
        """Return where a data set is as it was; None where `lacks` says what is missing.

        Args:
            file: the input.
            places: directories in which it may be, its own first.
            is_source: tells by path below it and digest what comes from the store as source.
            needs_whole: it cannot be put together of files from several places.
        """
        self.lacks = []
        assert file.digest is not None
        try:
            listed = read_data_set(self._store.blobs, file.digest).files
        except (ReenactError, msgspec.DecodeError):
            self.lacks = [Lack(file.path, False, "its list of files is lost")]
            return None
        # What of it is source comes from the store, whatever is in the project.
        own = [one for one in listed if not is_source(one[0], one[2])]
        known = frozenset(text_to_path(one[0]) for one in listed)
        source_bytes = sum(size for _, size, _ in listed) - sum(one[1] for one in own)
        best: list[Lack] | None = None
        added: tuple[str, ...] = ()
        for place in places:
            before = self._contents.files, self._contents.size_bytes
            lacks = list(self._lacks_at(file, place, own))
            later = tuple(self._added(place, known))
            if place == places[0] and not needs_whole:
                # They are kept from the run. In a copy of the project everything is younger than it.
                added = later if self._is_original else ()
            else:
                lacks += [
                    Lack(f"{file.path}/{path_to_text(path)}", False, "was added") for path in later
                ]
            if not lacks:
                self._contents.files += len(listed) - len(own)
                self._contents.size_bytes += source_bytes
                self.remarks += [
                    f"{file.path}/{name} is not known by content"
                    for name, _, digest in own
                    if digest is None
                ]
                has_source = len(own) < len(listed)
                return DataSetAt(os.path.normpath(place), own, has_source, {}, added)
            if best is not None:
                self._contents.files, self._contents.size_bytes = before
            if best is None:
                best = lacks
            elif best[0].path == file.path and len(lacks) < len(own):
                # That says more than that it is gone where it was.
                where = path_to_text(os.path.normpath(place))
                best = [lack._replace(detail=f"{lack.detail} in {where}") for lack in lacks]
        self.lacks = best or []
        if not file.is_kept:
            return None
        found = self._from_store(file, own, needs_whole=needs_whole)
        if found is not None:
            found = found._replace(has_source=len(own) < len(listed), added=added)
        return found

    def _lacks_at(self, file: File, place: str, listed: Sequence[Entry]) -> Iterator[Lack]:
        if not os.path.isdir(place):
            if listed:
                yield Lack(file.path, True, "is gone")
            return
        self._contents.expect(place)
        for name, size, digest in listed:
            if digest is None:
                continue
            at = f"{place}/{text_to_path(name)}"
            problem = self._contents.problem(at, digest, size, remember=True)
            if problem is not None:
                yield Lack(f"{file.path}/{name}", problem == "is gone", problem)

    def _added(self, place: str, known: frozenset[str]) -> Iterator[str]:
        """Yield files that came into a data set after the run: it would read them now."""
        if self._run.ended is None:
            return
        ended_ns = int(self._run.ended.timestamp() * 1e9)
        directories = {os.path.dirname(path) for path in known}
        for directory in sorted(directories):
            try:
                with os.scandir(os.path.join(place, directory)) as entries:
                    names = [
                        entry.name
                        for entry in entries
                        if entry.is_file() and entry.stat().st_ctime_ns > ended_ns
                    ]
            except OSError:
                continue
            for name in sorted(names):
                path = f"{directory}/{name}" if directory else name
                if path not in known:
                    yield path

    # --- from the store ---

    def _from_store(
        self, file: File, own: Sequence[Entry], *, needs_whole: bool
    ) -> DataSetAt | None:
        """Take what the store has kept: the files that are not at their place, or all of them."""
        lacking = {lack.path for lack in self.lacks}
        is_all = needs_whole or file.path in lacking
        wanted = [one for one in own if is_all or f"{file.path}/{one[0]}" in lacking]
        copies: dict[str, str] = {}
        for name, size, digest in wanted:
            copy = None if digest is None else self._contents.copy_of_blob(digest, size)
            if copy is None:
                return None
            copies[name] = copy
        self.lacks = []
        if not needs_whole:
            return DataSetAt(None, own, False, copies)
        return DataSetAt(self._laid_out(file, copies), own, False, {})

    def _laid_out(self, file: File, copies: Mapping[str, str]) -> str:
        """Return a directory in which a data set is as it was."""
        directory = f"{self._store.cache_directory}/data-sets/{file.digest}"
        for name, copy in copies.items():
            at = f"{directory}/{text_to_path(name)}"
            os.makedirs(os.path.dirname(at), exist_ok=True)
            if os.path.lexists(at) and not os.path.samefile(at, copy):
                os.unlink(at)
            if not os.path.lexists(at):
                os.link(copy, at)
        return directory
