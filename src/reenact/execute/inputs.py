"""What a run read from outside, what it wrote outside, and how well that is known.

An input is a file that was there before the run and that one of its processes opened for reading:
a file of the project, or any other one on the machine. No inputs are what the run has made itself,
the project's code, what is installed, the system's files, settings and caches of programs, and the
store; how many of those were opened is counted. Modules from outside the project are inputs, and
their content is kept, as is that of small files of the project, so that the run can be run again
without it. What comes out of the cache of a model hub is an
input, even if the run has downloaded it.

Many files of one directory are one input, a data set: its digest is that of a blob that lists them.

Not covered: what none of the witnesses of `opened.py` saw; a file that changed and was given its
size and times back.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from reenact.execute.census import unreached_in
from reenact.execute.data_sets import DataSet, find_data_sets
from reenact.execute.keeping import SMALL, Limits, Room
from reenact.execute.opened import Event, Log
from reenact.execute.outside import (
    MOST_OUTSIDE,
    describe_contacts,
    describe_written,
    written_outside,
)
from reenact.execute.uses import CLOCK_STEP_NS, WRITES, Place, Use, find_uses, spellings
from reenact.execute.whereabouts import is_of_hub_itself
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text
from reenact.model.run import File, Process, Remark
from reenact.model.secrets import is_secret_file
from reenact.model.words import counted
from reenact.snapshot.rules import CACHES, CODE, LINKED_WHOLE, SOURCE_LIMIT, suffix
from reenact.store.blobs import FileToKeep, digest_bytes
from reenact.store.digests import Digests
from reenact.store.store import RECORD_DIRECTORY

_NOT_DATA = CACHES | LINKED_WHOLE
_LISTED_FROM = 20


class Found(NamedTuple):
    """What a look at a run's files came to. The fields are those of `Run`, but for these.

    Attributes:
        outputs: files outside the run directory; for a run in place outside the project.
        writers: absolute path -> the first process that wrote it, for all files.
        data_sets: what becomes blobs that inputs name, to be put before the record is written.
        unreached: Python processes that one of the witnesses saw and the probe did not reach.
    """

    inputs: tuple[File, ...]
    outputs: tuple[File, ...]
    contacted: tuple[str, ...]
    coverage: tuple[str, ...]
    other_reads: dict[str, int]
    writers: dict[str, int]
    data_sets: tuple[bytes | FileToKeep, ...]
    remarks: tuple[Remark, ...]
    unreached: tuple[Process, ...]


def found_nothing(remark: Remark) -> Found:
    """Return what is known of a run's files where looking at them has failed."""
    return Found((), (), (), ("scan",), {}, {}, (), (remark,), ())


def look_at_files(
    log: Log,
    place: Place,
    digests: Digests,
    hellos: Iterable[Mapping[str, object]] = (),
    *,
    limits: Limits = SMALL,
) -> Found:
    """Say what a run read and wrote, from what its processes told.

    Call it before the run directory is tidied up: links in it count.

    Args:
        log: what they told.
        place: where that was.
        digests: digests files.
        hellos: what the probe said in Python processes.
        limits: of what is kept.
    """
    greeted = list(hellos)
    judge = _Judge(place, is_preloaded=log.is_preloaded)
    reader = _Reader(place, digests, Room(limits))
    other: Counter[str] = Counter(system=log.system) if log.system else Counter()
    wanted: list[_Wanted] = []
    uses = find_uses(log.events, place)
    for use in uses:
        verdict = judge.judge(use)
        if isinstance(verdict, _Wanted):
            wanted.append(verdict)
        elif verdict is not None:
            other[verdict] += 1
    inputs = reader.describe(wanted)
    outside = written_outside(uses, place)
    coverage = ["scan", *["audit"] * bool(greeted), *["preload"] * log.is_preloaded]
    remarks = list(_remarks_of_change(reader.changed))
    if log.lost:
        text = f"{counted(log.lost, 'opening')} of files found no room in the log: not all inputs are known"
        remarks.append(Remark(code="inputs", message=text))
    if len(outside) > MOST_OUTSIDE:
        text = f"{len(outside)} files were written outside the run directory; {MOST_OUTSIDE} are listed"
        remarks.append(Remark(code="outputs", message=text))
    return Found(
        inputs=tuple(inputs),
        outputs=tuple(describe_written(outside, place, digests)),
        contacted=describe_contacts(log.contacts),
        coverage=tuple(coverage),
        other_reads=dict(sorted(other.items())),
        writers={u.path: u.written_by for u in uses if u.written_by is not None},
        data_sets=tuple(reader.blobs),
        remarks=tuple(remarks),
        unreached=unreached_in(log.events, greeted),
    )


# --- which files are inputs ---


class _Wanted(NamedTuple):
    """An input before it is read.

    Attributes:
        path: relative to the project, or absolute.
        at: where its content is.
        root: of the project, as links lead there; empty outside.
        read: how it was opened first.
        origin: the hub that it comes from.
        known: its digest and size, where they are known already.
        is_rewritten: the run has written to the same file.
        is_code: it is code from outside the project, which may be data as well.
        is_module: it was imported, or lies where modules are imported from.
    """

    path: str
    at: str
    root: str
    read: Event
    origin: str | None = None
    known: tuple[Digest, int] | None = None
    is_rewritten: bool = False
    is_code: bool = False
    is_module: bool = False


class _Judge:
    """Tells inputs from other files that were read."""

    def __init__(self, place: Place, *, is_preloaded: bool) -> None:
        self._place = place
        self._is_preloaded = is_preloaded
        self._store = spellings(place.store)
        self._root = os.path.realpath(place.project)
        # By directory.
        self._installed: dict[str, bool] = {}
        self._origins: dict[str, str | None] = {}
        self._asked: Counter[str] = Counter()
        self._names: dict[str, frozenset[str]] = {}

    def judge(self, use: Use) -> _Wanted | str | None:
        """Return an input; else of what sort the file is, if it was read at all."""
        if use.relative is not None:
            return None if use.read is None else self._of_project(use, use.relative, use.read)
        place = self._place
        directory = use.path.rpartition("/")[0]
        if directory not in self._origins:
            self._origins[directory] = place.elsewhere.origin(f"{directory}/")
        origin = self._origins[directory]
        if origin is not None and use.read_again is not None:
            return _of_hub(use, use.read_again, origin)
        read = use.read
        if read is None:
            return None
        what = None
        store = next((store for store in self._store if use.path.startswith(store)), None)
        if store is not None:
            if not _is_output_of_a_run(use.path[len(store) :]):
                return "store"
        elif (what := place.elsewhere.what(use.path)) is not None and what != "source":
            return what
        if place.elsewhere.is_temporary(use.path) and not os.path.lexists(use.at):
            return "temporary"
        if self._is_own(use.at, read):
            return "own"
        # Code from elsewhere is in no snapshot: its content is kept beside the record.
        is_code = store is None and suffix(use.path) in CODE
        return _Wanted(
            use.path,
            use.at,
            "",
            read,
            is_rewritten=use.written_by is not None,
            is_code=is_code,
            is_module=is_code and (use.is_imported or what == "source"),
        )

    def _of_project(self, use: Use, path: str, read: Event) -> _Wanted | str | None:
        place = self._place
        if path.startswith(f"{RECORD_DIRECTORY}/") or path.endswith(".reenact-tmp"):
            return None
        directory = path.rpartition("/")[0]
        if directory and self._is_installed(directory):
            return "packages"
        if use.is_staged and (given := place.find_required(path)) is not None:
            return _Wanted(path, given, "", read) if given else "own"
        at = f"{place.project}/{path}"
        source = place.sources.get(path)
        if source is not None:
            # A file in which values were replaced is as much the run's own as code is.
            if suffix(path) in CODE or not source[0]:
                return "source"
            if use.is_staged:
                return _Wanted(path, at, self._root, read, known=source)
        if use.is_staged:
            # At its place was a link to the project's file, which no writing has changed.
            return _Wanted(path, at, self._root, read) if self._is_there(at) else "own"
        if self._is_own(at, read):
            return "own"
        return _Wanted(path, at, self._root, read, is_rewritten=use.written_by is not None)

    def _is_there(self, path: str) -> bool:
        """Tell whether something is at a path; of a directory that is asked often, by its list."""
        directory, _, name = path.rpartition("/")
        names = self._names.get(directory)
        if names is not None:
            return name in names
        self._asked[directory] += 1
        if self._asked[directory] > _LISTED_FROM:
            try:
                self._names[directory] = frozenset(os.listdir(directory))
            except OSError:
                pass
        return os.path.lexists(path)

    def _is_own(self, path: str, read: Event) -> bool:
        """Tell whether a file has been made in this run by somebody whom nobody saw."""
        is_seen = self._is_preloaded and not read.flags & WRITES
        if is_seen and self._place.run is not None:
            return False
        since = read.time_ns if read.flags & WRITES and read.stamp is None else self._place.began_ns
        try:
            made_ns = os.stat(path).st_mtime_ns if read.stamp is None else read.stamp.mtime_ns
        except OSError:
            return False
        return made_ns >= since - CLOCK_STEP_NS * (read.stamp is None)

    def _is_installed(self, directory: str) -> bool:
        """Tell whether a directory of the project is in an environment, or a cache."""
        known = self._installed.get(directory)
        if known is None:
            above, _, name = directory.rpartition("/")
            known = self._installed[directory] = (
                name in _NOT_DATA
                or os.path.exists(f"{self._place.project}/{directory}/pyvenv.cfg")
                or bool(above and self._is_installed(above))
            )
        return known


def _of_hub(use: Use, read: Event, origin: str) -> _Wanted | str:
    """Judge a file in a hub's cache: downloaded in this run, or before, it comes from outside."""
    if is_of_hub_itself(use.path):
        return "settings"
    if use.written_by is not None:
        # What is downloaded is written once, and then read. A database is read and written.
        try:
            if _has_changed(read, os.stat(use.path)):
                return "own"
        except OSError:
            return "own"
    return _Wanted(use.path, use.path, "", read, origin)


def _is_output_of_a_run(path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 2 and parts[0] == "runs" and parts[2] != RECORD_DIRECTORY


def _has_changed(read: Event, status: os.stat_result) -> bool:
    """Tell whether a file is another one than it was when it was opened."""
    if read.stamp is None:
        return status.st_mtime_ns > read.time_ns + CLOCK_STEP_NS
    return (status.st_size, status.st_mtime_ns) != read.stamp


# --- their contents ---


class _Content(NamedTuple):
    digest: Digest | None
    size: int | None
    mtime_ns: int | None
    is_changed: bool = False
    reason: str | None = None


class _Reader:
    """Reads inputs.

    Attributes:
        changed: paths of those that changed after they had been opened.
        blobs: lists of data sets, modules, and data whose content is kept.
    """

    def __init__(self, place: Place, digests: Digests, room: Room) -> None:
        self.changed: list[str] = []
        self.blobs: list[bytes | FileToKeep] = []
        self._place = place
        self._digests = digests
        self._room = room

    def describe(self, wanted: Iterable[_Wanted]) -> list[File]:
        """Return inputs, sorted; what is listed twice is one."""
        by_path: dict[str, _Wanted] = {}
        for one in wanted:
            by_path.setdefault(one.path, one)
        inside = sorted(path for path in by_path if not path.startswith("/"))
        outside = sorted(p for p, one in by_path.items() if p.startswith("/") and not one.is_module)
        files = [self._code(one) for one in by_path.values() if one.is_module]
        for paths, is_outside in ((inside, False), (outside, True)):
            singles, groups = find_data_sets(paths, self._place, is_outside=is_outside)
            # Many files of code that nobody has imported are data, too: somebody learns from them.
            files += [self._single(by_path[path]) for path in singles]
            files += [
                self._many(directory, [by_path[path] for path in below])
                for directory, below in groups.items()
            ]
        return sorted(files, key=lambda file: file.path)

    def _single(self, one: _Wanted) -> File:
        return self._code(one) if one.is_code else self._data(one)

    def _one(self, one: _Wanted) -> File:
        content = self._content(one)
        said = one.read.name
        # A name that begins with the run directory is another one in every run, and so is that of
        # what was restored; bytecode is not what the script said, either.
        is_restored = one.path.startswith("/") and one.at != one.path
        is_telling = said != one.path and (one.root == "" or not said.startswith("/"))
        is_telling = is_telling and not is_restored and not (one.is_code and said.endswith(".pyc"))
        real = os.path.realpath(one.path if is_restored else one.at)
        named = f"{one.root}/{one.path}" if one.root else one.at
        is_elsewhere = real != (one.path if is_restored else named)
        return File(
            path=path_to_text(one.path),
            size_bytes=content.size,
            digest=content.digest,
            mtime_ns=content.mtime_ns,
            reason=content.reason,
            said=path_to_text(said) if is_telling else None,
            resolved=path_to_text(real) if is_elsewhere else None,
            process=one.read.pid,
            origin=one.origin,
            is_changed=content.is_changed,
        )

    def _data(self, one: _Wanted) -> File:
        """Describe a file, and keep its content if there is room for it."""
        file = self._one(one)
        if file.is_changed or file.digest is None or one.known is not None:
            return file
        wanted = FileToKeep(one.at, file.digest, file.size_bytes or 0, file.path)
        if is_secret_file(file.path) or not self._room.take([wanted], is_own=one.root != ""):
            return file
        self.blobs.append(wanted)
        return msgspec.structs.replace(file, is_kept=True)

    def _code(self, one: _Wanted) -> File:
        """Describe code from outside, and keep its content where that is not too large."""
        file = self._one(one)
        size = file.size_bytes
        if file.digest is None or size is None or size > SOURCE_LIMIT:
            return file
        self.blobs.append(FileToKeep(one.at, file.digest, size, file.path))
        return msgspec.structs.replace(file, role="source")

    def _many(self, directory: str, wanted: list[_Wanted]) -> File:
        text = path_to_text(directory)
        first = min(wanted, key=lambda one: one.read.time_ns)
        start = 0 if directory == "." else len(directory) + 1
        self._digests.expect(first.at[: len(first.at) - len(first.path) + start].rstrip("/"))
        entries: list[tuple[str, int, Digest | None]] = []
        kept: list[FileToKeep] = []
        is_kept = True
        unread = []
        newest = 0
        changed_before = len(self.changed)
        for one in wanted:
            content = self._content(one, remember=True)
            name = path_to_text(one.path[start:])
            entries.append((name, content.size or 0, content.digest))
            newest = max(newest, content.mtime_ns or 0)
            if content.digest is None:
                unread.append(f"`{name}`: {content.reason}")
                is_kept = False
            elif one.known is None and is_kept:
                kept.append(FileToKeep(one.at, content.digest, content.size or 0, text))
                is_kept = self._room.may_hold(len(kept)) and not is_secret_file(name)
        blob = msgspec.json.encode(DataSet(sorted(entries)))
        self.blobs.append(blob)
        is_changed = len(self.changed) > changed_before
        is_kept = is_kept and not is_changed and self._room.take(kept, is_own=first.root != "")
        self.blobs += kept if is_kept else ()
        reason = f"{len(unread)} files have no digest, as {unread[0]}" if unread else None
        return File(
            path=text,
            size_bytes=sum(size for _, size, _ in entries),
            digest=digest_bytes(blob),
            mtime_ns=newest or None,
            reason=reason,
            process=first.read.pid,
            files=len(entries),
            origin=first.origin,
            is_changed=is_changed,
            is_kept=is_kept,
        )

    def _content(self, one: _Wanted, *, remember: bool = False) -> _Content:
        content = self._read(one, remember=remember)
        if content.is_changed:
            self.changed.append(one.path)
        return content

    def _read(self, one: _Wanted, *, remember: bool) -> _Content:
        if one.known is not None:
            return _Content(*one.known, mtime_ns=_mtime(one.at))
        try:
            status = os.stat(one.at)
        except OSError as error:
            size, mtime_ns = one.read.stamp or (None, None)
            return _Content(None, size, mtime_ns, not one.is_rewritten, error.strerror)
        if not stat.S_ISREG(status.st_mode):
            return _Content(None, None, None, reason="not a file")
        is_changed = _has_changed(one.read, status)
        if one.is_rewritten and is_changed:
            size, mtime_ns = one.read.stamp or (None, None)
            return _Content(None, size, mtime_ns, reason="the run has written to it")
        now = (status.st_size, status.st_mtime_ns)
        try:
            digest, is_read = self._digests.digest(one.at, status, remember=remember)
            after = os.stat(one.at) if is_read else status
        except OSError as error:
            return _Content(None, *now, is_changed, error.strerror)
        return _Content(digest, *now, is_changed or now != (after.st_size, after.st_mtime_ns))


def _mtime(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _remarks_of_change(changed: list[str]) -> Iterable[Remark]:
    if changed:
        names = ", ".join(f"`{path_to_text(path)}`" for path in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        yield Remark(
            code="input-changed",
            message=f"changed after it was opened, what the run read is not known: {names}{more}",
        )
