"""Verify the data of a run before it is run again, and find what is not where it was.

Each input is known by the digest of its content. One that is not the recorded one where it was is
looked for in the store, then where the user says. Large files are read once: their digests are
remembered, so that an interrupted verification goes on with the file at which it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from reenact.actions.reproduce.contents import Contents, Progress
from reenact.actions.reproduce.data_set import DataSetAt, DataSets
from reenact.actions.reproduce.elsewhere import Elsewhere
from reenact.actions.reproduce.lacks import Lack
from reenact.actions.reproduce.outside import Outside, is_restorable
from reenact.actions.reproduce.required import Required
from reenact.errors import ReenactError
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest
from reenact.model.paths import leads_out, path_to_text, text_to_path
from reenact.model.run import File, Run
from reenact.model.words import counted
from reenact.snapshot.project_root import hash_text
from reenact.snapshot.tree import read_tree
from reenact.store.digests import Digests
from reenact.store.store import Store

_CACHES = ("/.cache/", "/scikit_learn_data/", "/.keras/", "/nltk_data/", "/.torch/")
"""Libraries keep there what they have loaded, and load again what is not there."""


class Verified(NamedTuple):
    """What was found out.

    Attributes:
        files: how many were verified.
        size_bytes: of them.
        provided: path in the project -> where content is that is not at its place any more.
        required: path in the run directory -> the same, of what the operation requires.
        settings: flags that name a file which is elsewhere now.
        outside: directory of modules from outside the project that are not as they were.
        lacks: what is not to be had.
        remarks: what could not be verified, and why.
        absent: paths in the project of what came later, and is kept from the run.
    """

    files: int
    size_bytes: int
    provided: dict[str, str]
    required: dict[str, str]
    settings: dict[str, FlagValue]
    outside: str | None
    lacks: tuple[Lack, ...]
    remarks: tuple[str, ...]
    absent: tuple[str, ...] = ()


def verify_data(
    run: Run,
    store: Store,
    base: str,
    *,
    places: Sequence[str] = (),
    find_output: Callable[[Digest], str | None] = lambda _: None,
    progress: Progress | None = None,
    is_rebuilt: bool = False,
) -> Verified:
    """Verify the inputs of a run.

    Args:
        run: whose.
        store: where contents may be.
        base: the project's root, or what stands for it.
        places: directories in which to look for what is not at its place.
        find_output: returns where an output with this digest is, of any run.
        progress: told how far it is.
        is_rebuilt: the environment is made again, without what else led Python to modules (`.pth` files).
    """
    with Digests(f"{store.cache_directory}/digests.db") as digests:
        work = _Verification(run, store, base, places, find_output, digests, progress)
        return work.verify(is_rebuilt=is_rebuilt)


class _Verification:
    def __init__(
        self,
        run: Run,
        store: Store,
        base: str,
        places: Sequence[str],
        find_output: Callable[[Digest], str | None],
        digests: Digests,
        progress: Progress | None,
    ) -> None:
        self._run = run
        self._store = store
        self._base = base
        self._find_output = find_output
        self._elsewhere = Elsewhere(places)
        total = sum(file.size_bytes or 0 for file in run.inputs)
        self._contents = Contents(store, digests, total, progress)
        self._data_sets = DataSets(run, store, self._contents, base)
        self._outside = Outside(run, store)
        self._source = _source_of(run, store)
        self._provided: dict[str, str] = {}
        self._required = Required(run, base)
        self._moved: dict[str, str] = {}
        self._taken: set[str] = set()
        self._lacks: list[Lack] = []
        self._remarks: list[str] = []
        self._later: list[str] = []

    def verify(self, *, is_rebuilt: bool) -> Verified:
        for file in self._run.inputs:
            if leads_out(file.path.lstrip("/")):
                self._lacks.append(Lack(file.path, False, "is no path of an input"))
            elif file.is_changed:
                self._remarks.append(f"{file.path} changed while it was read: not verified")
            elif self._is_source(file):
                self._contents.count(file.size_bytes or 0)
            elif file.digest is None:
                reason = file.reason or "it could not be read"
                self._remarks.append(f"{file.path} is not known by content: {reason}")
            elif self._required.is_made_anew(file):
                continue
            elif file.files is not None:
                self._data_set(file)
            else:
                self._look(file, self._place(file), file.digest)
        self._lacks += self._lacks_of_moved()
        if (remark := self._outside.remark) is not None:
            self._remarks.append(remark)
        return Verified(
            self._contents.files,
            self._contents.size_bytes,
            self._provided,
            self._required.elsewhere(),
            dict(_moved_flags(self._run.flags, self._moved)),
            self._outside.write(always=is_rebuilt),
            tuple(self._lacks),
            tuple(self._remarks),
            tuple(self._later),
        )

    def _is_source(self, file: File) -> bool:
        """Whether a file comes from the store; what is required is looked for in the project."""
        is_known = file.digest is not None and self._source.get(file.path) == file.digest
        return is_known and not self._required.covers(file)

    def _place(self, file: File) -> str:
        """Return where a file was, in the project of now."""
        return self._required.place(file) or os.path.join(self._base, text_to_path(file.path))

    def _look(self, file: File, place: str, digest: Digest) -> None:
        problem = self._contents.problem(place, digest, file.size_bytes)
        if problem is None:
            if self._is_of_foreign_run(file):
                self._required.take(file, place)
            return
        if is_restorable(file) and not self._required.covers(file) and self._outside.restore(file):
            self._contents.count(file.size_bytes or 0)
            return
        found = self._find(file, digest)
        if found is None:
            self._lack(file, place, problem)
        elif self._required.covers(file):
            self._required.take(file, self._named(found, place))
            self._remarks.append(f"{file.path} {problem}; its recorded content is taken")
        elif not os.path.isabs(file.path):
            self._provided[text_to_path(file.path)] = found
            self._remarks.append(f"{file.path} {problem}; its recorded content is taken")
        elif any(_names(value, file) for value in self._run.flags.values()):
            self._moved[text_to_path(file.said or file.path)] = found
            self._remarks.append(f"{file.path} {problem}; its content is taken from elsewhere")
        elif self._move_directory(file, found):
            self._remarks.append(f"{file.path} {problem}; its content is taken from elsewhere")
        else:
            detail = f"{problem}, and its content is at {path_to_text(found)}"
            self._lacks.append(Lack(file.path, not os.path.lexists(place), detail))

    def _is_of_foreign_run(self, file: File) -> bool:
        """Whether a run gave a file that this store does not have: its files alone are to be had."""
        run_id = self._required.run_of(file)
        return run_id is not None and not os.path.isdir(self._store.directory(run_id))

    def _move_directory(self, file: File, found: str) -> bool:
        """Let the flag that names a directory above a file name the one where all of it is now."""
        for value in self._run.flags.values():
            top = value.rstrip("/") if isinstance(value, str) else ""
            for name in (file.path, file.said or ""):
                if not top or not name.startswith(f"{top}/"):
                    continue
                inside = text_to_path(name[len(top) :])
                now = found.removesuffix(inside)
                if now == found:
                    return False
                self._taken.add(file.path)
                return self._moved.setdefault(text_to_path(top), now) == now
        return False

    def _lacks_of_moved(self) -> Iterator[Lack]:
        """Yield what of a directory that is taken from elsewhere is not there as it was."""
        for file in self._run.inputs:
            if file.path in self._taken:
                continue
            for top, now in self._moved.items():
                path = text_to_path(file.path)
                if file.digest is None or file.files is not None or not path.startswith(f"{top}/"):
                    continue
                at = now + path[len(top) :]
                problem = self._contents.problem(at, file.digest, file.size_bytes)
                if problem is not None:
                    yield Lack(file.path, False, f"{problem} in {path_to_text(now)}")

    def _find(self, file: File, digest: Digest) -> str | None:
        """Return where the content of a file is now."""
        if not os.path.isabs(file.path):
            kept = self._contents.copy_of_blob(digest, file.size_bytes)
            return kept or self._at_any(file, digest)
        # What the user names comes first: a flag may name the directory that it is in.
        return self._at_any(file, digest) or self._contents.copy_of_blob(digest, file.size_bytes)

    def _at_any(self, file: File, digest: Digest) -> str | None:
        for place in self._elsewhere.candidates(file):
            if self._contents.problem(place, digest, file.size_bytes) is None:
                return os.path.normpath(place)
        made = self._find_output(digest)
        if made is None or self._contents.problem(made, digest, file.size_bytes) is not None:
            return None
        return made

    def _named(self, found: str, place: str) -> str:
        """Return a path of a content that ends as the file was called: its format may follow from that."""
        name = os.path.basename(place)
        if os.path.basename(found) == name:
            return found
        path = f"{self._store.cache_directory}/required/{hash_text(found)}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.lexists(path):
            os.symlink(found, path)
        return path

    def _lack(self, file: File, place: str, problem: str) -> None:
        is_gone = not os.path.lexists(place)
        if is_gone and file.origin is not None and file.origin.startswith("run "):
            self._lacks.append(Lack(file.path, True, f"is gone with {file.origin}"))
            return
        if is_gone and file.origin is not None and "://" in file.origin:
            self._remarks.append(f"{file.path} is loaded again from {file.origin}")
            return
        if is_gone and (file.origin is not None or any(part in place for part in _CACHES)):
            self._remarks.append(f"{file.path} is gone: a library kept it, and may load it again")
            return
        self._lacks.append(Lack(file.path, is_gone, problem))

    # --- data sets ---

    def _data_set(self, file: File) -> None:
        def is_source(name: str, digest: Digest | None) -> bool:
            path = name if file.path == "." else f"{file.path}/{name}"
            is_known = digest is not None and self._source.get(path) == digest
            return is_known and not self._required.covers(file)

        own_place = self._place(file)
        found = self._data_sets.find(
            file,
            [own_place, *self._elsewhere.directories(file.path)],
            is_source,
            needs_whole=self._required.covers(file) or os.path.isabs(file.path),
        )
        if found is None:
            self._lacks += self._data_sets.lacks
            return
        self._remarks += self._data_sets.remarks
        self._data_sets.remarks.clear()
        is_there = found.place == os.path.normpath(own_place)
        if is_there or found.place is None:
            self._later += [_inside(file, path_to_text(path)) for path in found.added]
        if found.own and (not is_there or self._is_of_foreign_run(file)):
            self._take_data_set(file, found)

    def _take_data_set(self, file: File, found: DataSetAt) -> None:
        place = found.place
        if place is None:
            for name, at in found.taken.items():
                self._provided[_inside(file, name)] = at
            self._remarks.append(
                f"{file.path}: the recorded content of {counted(len(found.taken), 'file')} is taken"
            )
            return
        if self._required.covers(file):
            self._required.take(file, place)
        elif os.path.isabs(file.path):
            self._moved[text_to_path(file.said or file.path)] = place
        elif found.has_source:
            for name, _, _ in found.own:
                self._provided[_inside(file, name)] = f"{place}/{text_to_path(name)}"
        else:
            self._provided[text_to_path(file.path)] = place
        self._remarks.append(f"{file.path} is taken from {path_to_text(place)}")


def _inside(file: File, name: str) -> str:
    return os.path.normpath(text_to_path(f"{file.path}/{name}"))


def _source_of(run: Run, store: Store) -> dict[str, Digest]:
    """Return the digests of a run's source, which comes from the store, be it data or code."""
    if run.source is None:
        return {}
    try:
        return {
            path: digest for path, _, _, digest in read_tree(store.blobs, run.source.tree).files
        }
    except ReenactError:
        return {}


def _names(value: FlagValue, file: File) -> bool:
    return isinstance(value, str) and value != "" and value in (file.path, file.said)


def _moved_flags(
    flags: Mapping[str, FlagValue], moved: Mapping[str, str]
) -> Iterator[tuple[str, FlagValue]]:
    for name, value in flags.items():
        if not isinstance(value, str):
            continue
        place = moved.get(text_to_path(value)) or moved.get(text_to_path(value.rstrip("/")))
        if place is not None:
            yield name, path_to_text(place)
