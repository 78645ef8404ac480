"""Verify the data of a run before it is run again, and find what is not where it was.

Each input is known by the digest of its content. One that is not the recorded one where it was is
looked for in the store, then where the user says. Large files are read once: their digests are
remembered, so that an interrupted verification goes on where it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from reenact.actions.resources.recorded import key_of
from reenact.errors import ReenactError
from reenact.execute.data_sets import read_data_set
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import File, Run
from reenact.snapshot.project_root import hash_text
from reenact.snapshot.tree import read_tree
from reenact.store.digests import Digests
from reenact.store.files import write_atomically
from reenact.store.store import Store

_CACHES = ("/.cache/", "/scikit_learn_data/", "/.keras/", "/nltk_data/", "/.torch/")
"""Libraries keep there what they have loaded, and load again what is not there."""

Progress = Callable[[int, int], None]
"""Told how many bytes are verified, and how many there are in all."""


class Lack(NamedTuple):
    """An input that is not to be had as it was.

    Attributes:
        path: as recorded; a file of a data set with the data set before it.
        is_gone: there is nothing at its place.
        detail: what has become of it.
    """

    path: str
    is_gone: bool
    detail: str


class Verified(NamedTuple):
    """What was found out.

    Attributes:
        files: how many were verified.
        size_bytes: of them.
        provided: path in the project -> where content is that is not at its place any more.
        required: path in the run directory -> the same, of what the operation requires.
        settings: flags that name a file which is elsewhere now.
        python_path: directories for modules from outside the project that are not there any more.
        lacks: what is not to be had.
        remarks: what could not be verified, and why.
        absent: paths in the project of what came later, and is kept from the run.
    """

    files: int
    size_bytes: int
    provided: dict[str, str]
    required: dict[str, str]
    settings: dict[str, FlagValue]
    python_path: tuple[str, ...]
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
) -> Verified:
    """Verify the inputs of a run.

    Args:
        run: whose.
        store: where contents may be.
        base: the project's root, or what stands for it.
        places: directories in which to look for what is not at its place.
        find_output: returns where an output with this digest is, of any run.
        progress: told how far it is.
    """
    with Digests(f"{store.cache_directory}/digests.db") as digests:
        return _Verification(run, store, base, places, find_output, digests, progress).verify()


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
        self._digests = digests
        self._progress = progress
        self._elsewhere = _Elsewhere(places)
        self._total = sum(file.size_bytes or 0 for file in run.inputs)
        self._source = _source_of(run, store)
        self._files = 0
        self._bytes = 0
        self._provided: dict[str, str] = {}
        self._required = _Required(run, base)
        self._moved: dict[str, str] = {}
        self._taken: set[str] = set()
        self._python_path: dict[str, None] = {}
        self._lacks: list[Lack] = []
        self._remarks: list[str] = []

    def verify(self) -> Verified:
        for file in self._run.inputs:
            if file.is_changed:
                self._remarks.append(f"{file.path} changed while it was read: not verified")
            elif self._is_source(file):
                self._count(file.size_bytes or 0)
            elif file.digest is None:
                reason = file.reason or "it could not be read"
                self._remarks.append(f"{file.path} is not known by content: {reason}")
            elif self._required.is_made_anew(file):
                continue
            elif file.files is not None:
                self._data_set(file, file.digest)
            else:
                self._look(file, self._place(file), file.digest)
        self._lacks += self._lacks_of_moved()
        return Verified(
            self._files,
            self._bytes,
            self._provided,
            self._required.elsewhere(),
            dict(_moved_flags(self._run.flags, self._moved)),
            tuple(self._python_path),
            tuple(self._lacks),
            tuple(self._remarks),
        )

    def _is_source(self, file: File) -> bool:
        """Whether a file comes from the store; what is required is looked for in the project."""
        is_known = file.digest is not None and self._source.get(file.path) == file.digest
        return is_known and not self._required.covers(file)

    def _place(self, file: File) -> str:
        """Return where a file was, in the project of now."""
        return self._required.place(file) or os.path.join(self._base, text_to_path(file.path))

    def _look(self, file: File, place: str, digest: Digest) -> None:
        problem = self._problem(place, digest, file.size_bytes)
        if problem is None:
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
        elif file.role == "source":
            self._import_from_store(file, found)
        elif any(_names(value, file) for value in self._run.flags.values()):
            self._moved[text_to_path(file.said or file.path)] = found
            self._remarks.append(f"{file.path} {problem}; its content is taken from elsewhere")
        elif self._move_directory(file, found):
            self._remarks.append(f"{file.path} {problem}; its content is taken from elsewhere")
        else:
            detail = f"{problem}, and its content is at {path_to_text(found)}"
            self._lacks.append(Lack(file.path, not os.path.lexists(place), detail))

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
                problem = self._problem(now + path[len(top) :], file.digest, file.size_bytes)
                if problem is not None:
                    yield Lack(file.path, False, f"{problem} in {path_to_text(now)}")

    def _problem(self, place: str, digest: Digest, size: int | None) -> str | None:
        """Say what is wrong with the content of a file; None where it is the recorded one."""
        try:
            status = os.stat(place)
            if size is not None and status.st_size != size:
                return f"changed: {status.st_size} bytes, recorded {size}"
            found = self._digests.digest(place, status)[0]
        except FileNotFoundError:
            return "is gone"
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if found != digest:
            return "changed"
        self._count(status.st_size)
        return None

    def _count(self, size: int) -> None:
        self._files += 1
        self._bytes += size
        if self._progress is not None:
            self._progress(self._bytes, self._total)

    def _find(self, file: File, digest: Digest) -> str | None:
        """Return where the content of a file is now."""
        if not os.path.isabs(file.path):
            kept = self._copy_of_blob(digest, file.size_bytes)
            return kept or self._at_any(file, digest)
        # What the user names comes first: a flag may name the directory that it is in.
        return self._at_any(file, digest) or self._copy_of_blob(digest, file.size_bytes)

    def _at_any(self, file: File, digest: Digest) -> str | None:
        for place in self._elsewhere.candidates(file):
            if self._problem(place, digest, file.size_bytes) is None:
                return os.path.normpath(place)
        made = self._find_output(digest)
        if made is None or self._problem(made, digest, file.size_bytes) is not None:
            return None
        return made

    def _copy_of_blob(self, digest: Digest, size: int | None) -> str | None:
        """Return where a copy of a blob is: a program that writes to it must not spoil the store."""
        path = f"{self._store.cache_directory}/inputs/{digest}"
        if os.path.exists(path) and self._problem(path, digest, size) is None:
            return path
        try:
            content = self._store.blobs.get(digest)
        except ReenactError:
            return None
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, content, sync=False)
        self._count(len(content))
        return path

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

    def _import_from_store(self, file: File, found: str) -> None:
        """Let a module from outside the project be imported as it was."""
        path = text_to_path(file.path)
        directory = f"{self._store.cache_directory}/outside/{self._run.id}"
        at = f"{directory}/{path.lstrip('/')}"
        os.makedirs(os.path.dirname(at), exist_ok=True)
        if not os.path.lexists(at):
            os.symlink(found, at)
        top = os.path.dirname(path)
        recorded = {text_to_path(one.path) for one in self._run.inputs if one.role == "source"}
        while f"{top}/__init__.py" in recorded:
            top = os.path.dirname(top)
        self._python_path[f"{directory}/{top.lstrip('/')}"] = None
        self._remarks.append(f"{file.path} is not as it was; the recorded one is imported")

    # --- data sets ---

    def _data_set(self, file: File, digest: Digest) -> None:
        try:
            listed = read_data_set(self._store.blobs, digest).files
        except (ReenactError, msgspec.DecodeError):
            self._lacks.append(Lack(file.path, False, "its list of files is lost"))
            return
        # What of it is source comes from the store, whatever is in the project.
        own = [one for one in listed if not self._is_source_of(file, one[0], one[2])]
        known = frozenset(text_to_path(one[0]) for one in listed)
        places = [self._place(file), *self._elsewhere.directories(file.path)]
        best: list[Lack] | None = None
        for place in places:
            before = self._files, self._bytes
            lacks = list(self._data_set_at(file, place, own, known))
            if not lacks:
                self._files += len(listed) - len(own)
                self._bytes += sum(size for _, size, _ in listed) - sum(one[1] for one in own)
                if place != places[0] and own:
                    self._take_data_set(file, os.path.normpath(place), own, len(own) < len(listed))
                self._remarks += [
                    f"{file.path}/{name} is not known by content"
                    for name, _, digest in own
                    if digest is None
                ]
                return
            if best is not None:
                self._files, self._bytes = before
            if best is None:
                best = lacks
            elif best[0].path == file.path and len(lacks) < len(own):
                # That says more than that it is gone where it was.
                where = path_to_text(os.path.normpath(place))
                best = [lack._replace(detail=f"{lack.detail} in {where}") for lack in lacks]
        self._lacks += best or []

    def _is_source_of(self, file: File, name: str, digest: Digest | None) -> bool:
        path = name if file.path == "." else f"{file.path}/{name}"
        is_known = digest is not None and self._source.get(path) == digest
        return is_known and not self._required.covers(file)

    def _data_set_at(
        self,
        file: File,
        place: str,
        listed: Sequence[tuple[str, int, Digest | None]],
        known: frozenset[str],
    ) -> Iterator[Lack]:
        if not os.path.isdir(place):
            if listed:
                yield Lack(file.path, True, "is gone")
            return
        self._digests.expect(place)
        for name, size, digest in listed:
            if digest is None:
                continue
            problem = self._problem(f"{place}/{text_to_path(name)}", digest, size)
            if problem is not None:
                yield Lack(f"{file.path}/{name}", problem == "is gone", problem)
        yield from (
            Lack(f"{file.path}/{path_to_text(path)}", False, "was added")
            for path in self._added(place, known)
        )

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

    def _take_data_set(
        self,
        file: File,
        place: str,
        listed: Sequence[tuple[str, int, Digest | None]],
        has_source: bool,
    ) -> None:
        if self._required.covers(file):
            self._required.take(file, place)
        elif os.path.isabs(file.path):
            self._moved[text_to_path(file.said or file.path)] = place
        elif has_source:
            for name, _, _ in listed:
                path = os.path.normpath(text_to_path(f"{file.path}/{name}"))
                self._provided[path] = f"{place}/{text_to_path(name)}"
        else:
            self._provided[text_to_path(file.path)] = place
        self._remarks.append(f"{file.path} is taken from {path_to_text(place)}")


class _Required:
    """Where the files are that the operation of a run requires.

    A source of which one file is not at its place is met by the record as a whole.
    """

    def __init__(self, run: Run, base: str) -> None:
        self._base = base
        self._root = text_to_path(run.project.root)
        self._by_path = {path: one for one in run.dependencies for path in one.paths}
        self._inputs = {file.path: file for file in run.inputs}
        self._found: dict[str, str] = {}

    def covers(self, file: File) -> bool:
        """Whether a file is required."""
        return file.path in self._by_path

    def is_made_anew(self, file: File) -> bool:
        """Whether another run gives it now: the one that made it has been reproduced before."""
        one = self._by_path.get(file.path)
        origin = file.origin or ""
        return (
            one is not None
            and one.run is not None
            and origin.startswith("run ")
            and not one.run.startswith(origin.removeprefix("run "))
        )

    def place(self, file: File) -> str | None:
        """Return where a required file was, in the project of now; None of one in its own place."""
        is_run = file.origin is not None and file.origin.startswith("run ")
        if file.resolved is None or not (self.covers(file) or is_run):
            return None
        path = text_to_path(file.resolved)
        inside = path.removeprefix(f"{self._root}/")
        return path if inside == path else os.path.join(self._base, inside)

    def take(self, file: File, at: str) -> None:
        """Note where the content of a required file is now."""
        self._found[file.path] = at

    def elsewhere(self) -> dict[str, str]:
        """Return where all files are of sources of which one is not at its place."""
        wanted = {key_of(self._by_path[path]) for path in self._found}
        found = {}
        for path, one in self._by_path.items():
            file = self._inputs.get(path)
            if key_of(one) in wanted and file is not None:
                at = self._found.get(path) or self.place(file)
                found[text_to_path(path)] = at or os.path.join(self._base, text_to_path(path))
        return found


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


class _Elsewhere:
    """Files below directories that the user names, by their names and sizes."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places
        self._by_size: dict[int, list[str]] | None = None

    def candidates(self, file: File) -> Iterator[str]:
        """Yield where a file may be: at the same path below a place, else any of its size."""
        relative = text_to_path(file.path).lstrip("/")
        parts = relative.split("/")
        for place in self._places:
            for start in range(len(parts)):
                path = f"{place}/{'/'.join(parts[start:])}"
                if os.path.isfile(path):
                    yield path
        if self._places and file.size_bytes:
            yield from self._sizes().get(file.size_bytes, ())

    def directories(self, text: str) -> Iterator[str]:
        """Yield where a data set may be."""
        parts = text_to_path(text).lstrip("/").split("/")
        for place in self._places:
            for start in range(len(parts)):
                path = f"{place}/{'/'.join(parts[start:])}"
                if os.path.isdir(path):
                    yield path
            yield place

    def _sizes(self) -> dict[int, list[str]]:
        if self._by_size is None:
            self._by_size = {}
            for place in self._places:
                for at, _, names in os.walk(place):
                    for name in names:
                        path = f"{at}/{name}"
                        try:
                            size = os.stat(path).st_size
                        except OSError:
                            continue
                        self._by_size.setdefault(size, []).append(path)
        return self._by_size


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
