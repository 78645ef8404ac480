"""What a run read from outside, what it wrote outside, and how well that is known.

An input is a file that was there before the run and that one of its processes opened for reading:
a file of the project, or any other one on the machine. No inputs are what the run has made itself,
the project's code, what is installed, the system's files, settings and caches of programs, and the
store; how many of those were opened is counted. What comes out of the cache of a model hub is an
input, even if the run has downloaded it.

Many files of one directory are one input, a data set: its digest is that of a blob that lists them.

Not covered: what none of the witnesses of `opened.py` saw; a file that changed and was given its
size and times back.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from reenact.execute.opened import Event, Log
from reenact.execute.whereabouts import Whereabouts
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import File, Process, Remark
from reenact.model.words import counted
from reenact.snapshot.rules import CACHES, CODE, LINKED_WHOLE, suffix
from reenact.store.blobs import Blobs, digest_bytes
from reenact.store.digests import Digests
from reenact.store.store import RECORD_DIRECTORY

MANY = 100
"""More files of one directory, or below it, are one input."""
MOST_CONTACTS = 500
MOST_OUTSIDE = 2000
"""So many files that were written outside the run directory are listed."""

DATA_SET_FORMAT = 1

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CLOCK_STEP_NS = 20_000_000
"""File systems stamp times in steps of up to 10 ms; twice that is safe."""
_NOT_DATA = CACHES | LINKED_WHOLE


class DataSet(msgspec.Struct, frozen=True):
    """The blob that an input's digest names which is made of many files.

    Attributes:
        files: path below the input's, size in bytes, digest, None for what could not be read;
            sorted by path. Paths are spelled as `model.paths` says.
    """

    files: list[tuple[str, int, Digest | None]]
    format: int = DATA_SET_FORMAT


class Place(NamedTuple):
    """Where a run took place.

    Attributes:
        run: its directory, which stood for the project, or None for a run in place.
        project: the project's root.
        store: the store.
        sources: digest and size of the project's source files, of which the run had copies.
        began_ns: when the run began; nanoseconds since 1970.
        elsewhere: what lies at other places.
    """

    run: str | None
    project: str
    store: str
    sources: Mapping[str, tuple[Digest, int]]
    began_ns: int
    elsewhere: Whereabouts


class Found(NamedTuple):
    """What a look at a run's files came to. The fields are those of `Run`, but for these.

    Attributes:
        outputs: files outside the run directory; for a run in place outside the project.
        writers: absolute path -> the first process that wrote it, for all files.
        data_sets: contents of the blobs that inputs name, to be put before the record is written.
        unseen: processes that run Python and did not say hello.
    """

    inputs: tuple[File, ...]
    outputs: tuple[File, ...]
    contacted: tuple[str, ...]
    coverage: tuple[str, ...]
    other_reads: dict[str, int]
    writers: dict[str, int]
    data_sets: tuple[bytes, ...]
    remarks: tuple[Remark, ...]
    unseen: tuple[Process, ...]


def look_at_files(
    log: Log, place: Place, digests: Digests, hellos: Iterable[Mapping[str, object]] = ()
) -> Found:
    """Say what a run read and wrote, from what its processes told.

    Call it before the run directory is tidied up: links in it count.

    Args:
        log: what they told.
        place: where that was.
        digests: digests files.
        hellos: what the probe said in Python processes.
    """
    greeted = list(hellos)
    judge = _Judge(place, is_preloaded=log.is_preloaded)
    reader = _Reader(place, digests)
    other: Counter[str] = Counter(system=log.system) if log.system else Counter()
    wanted: list[_Wanted] = []
    outside: list[_Use] = []
    uses = _uses(log.events, place)
    for use in uses.values():
        verdict = judge.judge(use)
        if isinstance(verdict, _Wanted):
            wanted.append(verdict)
        elif verdict is not None:
            other[verdict] += 1
        if use.written_by is not None and _is_outside(use, place):
            outside.append(use)
    inputs = reader.describe(wanted)
    outputs = _outputs(outside, place, digests)
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
        outputs=tuple(outputs),
        contacted=_contacted(log.contacts),
        coverage=tuple(coverage),
        other_reads=dict(sorted(other.items())),
        writers={u.path: u.written_by for u in uses.values() if u.written_by is not None},
        data_sets=tuple(reader.blobs),
        remarks=tuple(remarks),
        unseen=_unseen(log, greeted),
    )


def read_data_set(blobs: Blobs, digest: Digest) -> DataSet:
    """Return the list of files of an input that is a data set.

    Raises:
        NotFound, Damaged: the blob is not there, or not what its name says.
        msgspec.DecodeError: it is no such list.
    """
    return msgspec.json.decode(blobs.get(digest), type=DataSet)


# --- what was done with each file ---


class _Use:
    """What the processes of a run did with one file.

    Attributes:
        path: absolute; below the run directory, where that stands for the project.
        relative: to the project, for a file in it or at its place in the run directory.
        read: the first opening for reading before which nobody wrote.
        read_again: the first opening for reading, before which somebody may have written.
        written_by: the first process that wrote it, or moved something there.
        wrote: the first opening for writing.
    """

    __slots__ = ("path", "read", "read_again", "relative", "written_by", "wrote")

    def __init__(self, path: str, relative: str | None) -> None:
        self.path = path
        self.relative = relative
        self.read: Event | None = None
        self.read_again: Event | None = None
        self.written_by: int | None = None
        self.wrote: Event | None = None


def _uses(events: list[Event], place: Place) -> dict[str, _Use]:
    """Return what was done with each file; files of the run directory come under its own name."""
    uses: dict[str, _Use] = {}
    find = _finder(uses, place)
    for event in events:
        if event.kind == "open":
            use = find(event.path)
            reads = event.flags & os.O_ACCMODE != os.O_WRONLY and not event.flags & os.O_TRUNC
            writes = event.flags & _WRITES
            if reads and writes and event.stamp is not None and event.stamp.size == 0:
                reads = False  # It has just been made, or there is nothing to read.
            if reads and use.read_again is None:
                use.read_again = event
                if use.written_by is None:
                    use.read = event
            if writes and use.written_by is None:
                use.written_by, use.wrote = event.pid, event
        elif event.kind == "move" and event.target is not None:
            target = find(event.target)
            if target.written_by is None:
                target.written_by = event.pid
    return {use.path: use for use in uses.values()}


def _finder(uses: dict[str, _Use], place: Place) -> Callable[[str], _Use]:
    """Return a function from a path to its use, however the path is spelled."""
    roots: list[tuple[str, str | None]] = []
    for name, directory in (("run", place.run), ("store", place.store), ("project", place.project)):
        # The store may be in the project, and the run is in the store.
        is_root = name != "store"
        roots += [(at, directory if is_root else None) for at in spellings(directory)]

    def find(path: str) -> _Use:
        use = uses.get(path)
        if use is not None:
            return use
        root = next((root for root in roots if path.startswith(root[0])), None)
        if root is None or root[1] is None:
            use = _Use(path, None)
        else:
            relative = _module_of(path[len(root[0]) :])
            name = f"{root[1]}/{relative}"
            use = uses.get(name) or _Use(name, relative)
            uses[name] = use
        uses[path] = use
        return use

    return find


def spellings(directory: str | None) -> tuple[str, ...]:
    """Return a directory as it is named and as `getcwd` names it, with a slash at the end."""
    if directory is None:
        return ()
    return tuple(dict.fromkeys((f"{directory}/", f"{os.path.realpath(directory)}/")))


def _module_of(path: str) -> str:
    """Bytecode stands for the module that it was made of."""
    directory, cache, name = f"/{path}".rpartition("/__pycache__/")
    if not cache or not name.endswith(".pyc"):
        return path
    return f"{directory}/{name.partition('.')[0]}.py"[1:]


# --- which of them are inputs ---


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
    """

    path: str
    at: str
    root: str
    read: Event
    origin: str | None = None
    known: tuple[Digest, int] | None = None
    is_rewritten: bool = False


class _Judge:
    """Tells inputs from other files that were read."""

    def __init__(self, place: Place, *, is_preloaded: bool) -> None:
        self._place = place
        self._is_preloaded = is_preloaded
        self._store = spellings(place.store)
        self._root = os.path.realpath(place.project)
        self._environments: dict[str, bool] = {}
        self._origins: dict[str, str | None] = {}

    def judge(self, use: _Use) -> _Wanted | str | None:
        """Return an input; else of what sort the file is, if it was read at all."""
        if use.relative is not None:
            return None if use.read is None else self._of_project(use, use.relative, use.read)
        place = self._place
        directory = use.path.rpartition("/")[0]
        if directory not in self._origins:
            self._origins[directory] = place.elsewhere.origin(f"{directory}/")
        origin = self._origins[directory]
        if origin is not None and use.read_again is not None:
            # Downloaded in this run, or before: it comes from outside.
            is_lock = use.path.endswith((".lock", ".incomplete", ".tmp"))
            return (
                "settings" if is_lock else _Wanted(use.path, use.path, "", use.read_again, origin)
            )
        read = use.read
        if read is None:
            return None
        store = next((store for store in self._store if use.path.startswith(store)), None)
        if store is not None:
            if not _is_output_of_a_run(use.path[len(store) :]):
                return "store"
        elif (what := place.elsewhere.what(use.path)) is not None:
            return what
        if place.elsewhere.is_temporary(use.path) and not os.path.lexists(use.path):
            return "temporary"
        if self._is_own(use.path, read):
            return "own"
        return _Wanted(use.path, use.path, "", read, is_rewritten=use.written_by is not None)

    def _of_project(self, use: _Use, path: str, read: Event) -> _Wanted | str | None:
        place = self._place
        parts = path.split("/")
        if parts[0] == RECORD_DIRECTORY or path.endswith(".reenact-tmp"):
            return None
        if not _NOT_DATA.isdisjoint(parts[:-1]) or self._in_environment(path):
            return "packages"
        is_staged = place.run is not None and use.path.startswith(f"{place.run}/")
        at = f"{place.project}/{path}"
        source = place.sources.get(path)
        if source is not None:
            if suffix(path) in CODE:
                return "source"
            if is_staged:
                return _Wanted(path, at, self._root, read, known=source)
        if is_staged:
            # At its place was a link to the project's file, which no writing has changed.
            return _Wanted(path, at, self._root, read) if os.path.lexists(at) else "own"
        if self._is_own(at, read):
            return "own"
        return _Wanted(path, at, self._root, read, is_rewritten=use.written_by is not None)

    def _is_own(self, path: str, read: Event) -> bool:
        """Tell whether a file has been made in this run by somebody whom nobody saw."""
        is_seen = self._is_preloaded and not read.flags & _WRITES
        if is_seen and self._place.run is not None:
            return False
        since = (
            read.time_ns if read.flags & _WRITES and read.stamp is None else self._place.began_ns
        )
        try:
            made_ns = os.stat(path).st_mtime_ns if read.stamp is None else read.stamp.mtime_ns
        except OSError:
            return False
        return made_ns >= since - _CLOCK_STEP_NS * (read.stamp is None)

    def _in_environment(self, path: str) -> bool:
        """Tell whether a file of the project is in a virtual environment."""
        directory = path.rpartition("/")[0]
        if directory not in self._environments:
            is_one = bool(directory) and (
                os.path.exists(f"{self._place.project}/{directory}/pyvenv.cfg")
                or self._in_environment(directory)
            )
            self._environments[directory] = is_one
        return self._environments[directory]


def _is_output_of_a_run(path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 2 and parts[0] == "runs" and parts[2] != RECORD_DIRECTORY


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
        blobs: lists of data sets.
    """

    def __init__(self, place: Place, digests: Digests) -> None:
        self.changed: list[str] = []
        self.blobs: list[bytes] = []
        self._place = place
        self._digests = digests

    def describe(self, wanted: Iterable[_Wanted]) -> list[File]:
        """Return inputs, sorted; what is listed twice is one."""
        by_path: dict[str, _Wanted] = {}
        for one in wanted:
            by_path.setdefault(one.path, one)
        inside = sorted(path for path in by_path if not path.startswith("/"))
        outside = sorted(path for path in by_path if path.startswith("/"))
        singles: list[str] = []
        groups: dict[str, list[str]] = {}
        high = _too_high(self._place)
        _group("", inside, high, singles, groups)
        _group("/", outside, high, singles, groups)
        files = [self._one(by_path[path]) for path in singles]
        files += [
            self._many(directory, [by_path[path] for path in paths])
            for directory, paths in groups.items()
        ]
        return sorted(files, key=lambda file: file.path)

    def _one(self, one: _Wanted) -> File:
        content = self._content(one)
        said = one.read.name
        # A name that begins with the run directory is another one in every run.
        is_telling = said != one.path and (one.root == "" or not said.startswith("/"))
        real = os.path.realpath(one.at)
        is_elsewhere = real != (f"{one.root}/{one.path}" if one.root else one.at)
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

    def _many(self, directory: str, wanted: list[_Wanted]) -> File:
        first = min(wanted, key=lambda one: one.read.time_ns)
        start = 0 if directory == "." else len(directory) + 1
        self._digests.expect(first.at[: len(first.at) - len(first.path) + start].rstrip("/"))
        entries: list[tuple[str, int, Digest | None]] = []
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
        blob = msgspec.json.encode(DataSet(sorted(entries)))
        self.blobs.append(blob)
        reason = f"{len(unread)} files have no digest, as {unread[0]}" if unread else None
        return File(
            path=path_to_text(directory),
            size_bytes=sum(size for _, size, _ in entries),
            digest=digest_bytes(blob),
            mtime_ns=newest or None,
            reason=reason,
            process=first.read.pid,
            files=len(entries),
            origin=first.origin,
            is_changed=len(self.changed) > changed_before,
        )

    def _content(self, one: _Wanted, *, remember: bool = False) -> _Content:
        content = self._read(one, remember=remember)
        if content.is_changed:
            self.changed.append(one.path)
        return content

    def _read(self, one: _Wanted, *, remember: bool) -> _Content:
        if one.known is not None:
            return _Content(*one.known, mtime_ns=_mtime(one.at))
        before = one.read.stamp
        size, mtime_ns = before if before is not None else (None, None)
        try:
            status = os.stat(one.at)
        except OSError as error:
            return _Content(None, size, mtime_ns, not one.is_rewritten, error.strerror)
        if not stat.S_ISREG(status.st_mode):
            return _Content(None, None, None, reason="not a file")
        now = (status.st_size, status.st_mtime_ns)
        if before is None:
            is_changed = status.st_mtime_ns > one.read.time_ns + _CLOCK_STEP_NS
        else:
            is_changed = now != before
        if one.is_rewritten and is_changed:
            return _Content(None, size, mtime_ns, reason="the run has written to it")
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


def _too_high(place: Place) -> frozenset[str]:
    """Return directories that hold so different things that they are no data set."""
    found = {"", "/"}
    for path in (place.project, place.store, place.elsewhere.home, *place.elsewhere.temporary):
        at = path.rstrip("/")
        while at and at not in found:
            found.add(at)
            at = os.path.dirname(at)
    return frozenset(found | {directory.rstrip("/") for _, directory in place.elsewhere.hubs})


def _group(
    directory: str,
    paths: list[str],
    high: frozenset[str],
    singles: list[str],
    groups: dict[str, list[str]],
) -> None:
    """Sort files below a directory into data sets and single ones.

    A data set is the highest directory below which more than MANY files were read; but where one
    subdirectory of it holds nearly all of them, it is that one.

    Args:
        directory: empty for the project, "/" outside.
        paths: of files below it, sorted.
        high: directories that are none.
        singles: takes the paths of single files.
        groups: takes those of data sets, by directory.
    """
    if len(paths) <= MANY:
        singles.extend(paths)
        return
    start = len(directory) + (directory not in ("", "/"))
    children: dict[str, list[str]] = {}
    direct = []
    for path in paths:
        name, slash, _ = path[start:].partition("/")
        if slash:
            children.setdefault(path[: start + len(name)], []).append(path)
        else:
            direct.append(path)
    large = [child for child, below in children.items() if len(below) > MANY]
    rest = len(paths) - sum(len(children[child]) for child in large)
    is_high = directory in high or (directory.startswith("/") and directory.count("/") == 1)
    if not is_high and not (len(large) == 1 and rest <= MANY):
        groups[directory] = paths
        return
    if len(direct) > MANY:
        groups[directory or "."] = direct
    else:
        singles.extend(direct)
    for child, below in children.items():
        _group(child, below, high, singles, groups)


def _remarks_of_change(changed: list[str]) -> Iterable[Remark]:
    if changed:
        names = ", ".join(f"`{path_to_text(path)}`" for path in changed[:3])
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        yield Remark(
            code="input-changed",
            message=f"changed after it was opened, what the run read is not known: {names}{more}",
        )


# --- outside ---


def _is_outside(use: _Use, place: Place) -> bool:
    if use.relative is not None:
        # What a run writes into the project itself, past the links of its own directory.
        is_staged = place.run is not None and use.path.startswith(f"{place.run}/")
        parts = use.relative.split("/")
        return place.run is not None and not is_staged and CACHES.isdisjoint(parts[:-1])
    return not (
        use.path.startswith(spellings(place.store))
        or place.elsewhere.what(use.path) is not None
        or place.elsewhere.origin(use.path) is not None
        or place.elsewhere.is_temporary(use.path)
    )


def _outputs(uses: list[_Use], place: Place, digests: Digests) -> list[File]:
    found: list[File] = []
    for use in uses[:MOST_OUTSIDE]:
        try:
            status = os.stat(use.path)
            if not stat.S_ISREG(status.st_mode) or not _is_written(use, status, place):
                continue
            digest, _ = digests.digest(use.path, status)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(File(path=path_to_text(use.path), reason=error.strerror))
            continue
        found.append(
            File(
                path=path_to_text(use.path),
                size_bytes=status.st_size,
                digest=digest,
                process=use.written_by,
            )
        )
    return sorted(found, key=lambda file: file.path)


def _is_written(use: _Use, status: os.stat_result, place: Place) -> bool:
    """Tell whether a file that was opened for writing has been written."""
    if status.st_ctime_ns < place.began_ns - _CLOCK_STEP_NS:
        return False
    before = use.wrote.stamp if use.wrote is not None else None
    if before is None or before.size == 0:
        return True
    return (status.st_size, status.st_mtime_ns) != before


# --- network and processes ---


def _contacted(contacts: list[str]) -> tuple[str, ...]:
    here = os.uname().nodename
    urls = {text for text in contacts if "://" in text}
    known = {url.partition("://")[2].partition("/")[0].partition(":")[0] for url in urls}
    hosts = set()
    for text in contacts:
        host = text.rpartition(":")[0] if ":" in text else text
        if "://" not in text and host not in known and host not in (here, "localhost", ""):
            hosts.add(text)
    return tuple(sorted(urls | hosts)[:MOST_CONTACTS])


def _unseen(log: Log, hellos: Iterable[Mapping[str, object]]) -> tuple[Process, ...]:
    greeted = {hello.get("pid") for hello in hellos}
    found = []
    for event in log.events:
        name = event.path.rpartition("/")[2]
        if event.kind == "process" and name.startswith("python") and event.pid not in greeted:
            greeted.add(event.pid)
            found.append(
                Process(
                    pid=event.pid,
                    parent_pid=event.flags,
                    started_ns=event.time_ns,
                    kind="unseen",
                    executable=path_to_text(event.path),
                )
            )
    return tuple(found[:100])


def sources_of(files: Iterable[tuple[str, int, int, Digest]]) -> dict[str, tuple[Digest, int]]:
    """Return the `sources` of a Place from the files of a `SourceTree`."""
    return {text_to_path(path): (digest, size) for path, _, size, digest in files}
