"""What the processes of a run opened, as they told it while they did.

Two witnesses write: the preloaded library (`probe/preload/preload.c`) into a file that is mapped
into every process, and, where that is not loaded, the probe in Python processes. The format page has
both formats. What a killed process left half-written is passed over.
"""

from __future__ import annotations

import ast
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from reenact.store.files import read_file, remove_if_there

OPENED_FILE = "opened"
"""In the run's `.reenact/`: written by the preloaded library."""
READS_FILE = "reads"
"""Written by the probe: the first openings of all processes; `reads-<process>`: further ones."""
CONTACTED_FILE = "contacted"
"""Written by the probe: URLs and hosts."""

_HEADER = struct.Struct("<IIQQQQ24x")
_RECORD = struct.Struct("<QIHHiIqqqq")
_MARKER = int.from_bytes(b"rnto", "little")
_VERSION = 1
_FIRST_ROOM = 1 << 18
_LONGEST = 1 << 16
_KINDS = {ord("o"): "open", ord("m"): "move", ord("p"): "process"}
_CONTACTS = {ord("h"), ord("c")}
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_SERVICES = {"http": "80", "https": "443", "": ""}


class Stamp(NamedTuple):
    """By what a file is known to be unchanged; nanoseconds since 1970."""

    size: int
    mtime_ns: int


class Event(NamedTuple):
    """Something that a process did with a file.

    Attributes:
        kind: `open`; `move`: `name` was renamed to `target`; `process`: a process of the program
            `name` has started, with its parent's number in `flags`.
        pid: which process.
        time_ns: when; nanoseconds since 1970.
        name: as the process said it.
        path: absolute, normalized by its text alone.
        flags: of `open(2)`.
        stamp: of the file when it was opened; None where nobody looked.
    """

    kind: str
    pid: int
    time_ns: int
    name: str
    path: str
    flags: int = 0
    stamp: Stamp | None = None
    target: str | None = None


class Log(NamedTuple):
    """All that was told.

    Attributes:
        events: in the order in which they happened, as far as one witness tells of them.
        contacts: URLs, and `host:port`.
        system: how often something below the system's directories was opened.
        lost: how many events found no room.
        is_preloaded: the preloaded library has told something.
    """

    events: list[Event]
    contacts: list[str]
    system: int
    lost: int
    is_preloaded: bool


def create_log(record_directory: str) -> None:
    """Make the file that the preloaded library writes to.

    Raises:
        OSError: there is no room, or the file system cannot keep room free.
    """
    path = f"{record_directory}/{OPENED_FILE}"
    # A new file: to shorten one that somebody has mapped would kill him.
    remove_if_there(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        # Allocated, because touching a hole of a mapped file on a full disk kills a process.
        os.posix_fallocate(descriptor, 0, _FIRST_ROOM)
        os.pwrite(descriptor, _HEADER.pack(_MARKER, _VERSION, _HEADER.size, _FIRST_ROOM, 0, 0), 0)
    finally:
        os.close(descriptor)


def read_log(record_directory: str) -> Log:
    """Return what was told so far; never fails."""
    events: list[Event] = []
    contacts: dict[str, None] = {}
    system = lost = 0
    try:
        data = read_file(f"{record_directory}/{OPENED_FILE}")
    except OSError:
        data = b""
    if len(data) >= _HEADER.size:
        marker, version, used, _, lost, system = _HEADER.unpack_from(data)
        if marker == _MARKER and version == _VERSION:
            _read_records(data, min(used, len(data)), events, contacts)
    is_preloaded = bool(events)
    events.extend(_read_noted(record_directory))
    for line in _literals(f"{record_directory}/{CONTACTED_FILE}"):
        if isinstance(line, str):
            contacts[line] = None
    return Log(events, list(contacts), system, lost, is_preloaded)


def remove_log(record_directory: str) -> None:
    """Remove what the witnesses wrote."""
    for name in os.listdir(record_directory):
        if name in (OPENED_FILE, READS_FILE, CONTACTED_FILE) or name.startswith(f"{READS_FILE}-"):
            os.unlink(f"{record_directory}/{name}")


def _read_records(data: bytes, used: int, events: list[Event], contacts: dict[str, None]) -> None:
    at = _HEADER.size
    head = _RECORD.size
    # Many names are relative to few directories.
    bases: dict[bytes, str] = {}
    # Makes the same tuples without a Python frame for each.
    make = tuple.__new__
    while at + head <= used:
        done, pid, kind, base_bytes, flags, name_bytes, time_ns, size, mtime_ns, _ = (
            _RECORD.unpack_from(data, at)
        )
        length = done >> 32
        end = at + head + base_bytes + name_bytes
        if done & 0xFFFFFFFF != _MARKER or not end <= at + length <= min(used, at + _LONGEST):
            # Its writer was killed: the next record begins at one of the next multiples of 8.
            at += 8
            continue
        start = at + head + base_bytes
        directory = data[at + head : start]
        base = bases.get(directory)
        if base is None:
            base = bases[directory] = os.fsdecode(directory)
        name = data[start:end].decode(_ENCODING, _ERRORS)
        at += length
        if kind in _CONTACTS:
            host, _, service = name.partition("\n")
            port = str(flags) if kind == ord("c") else _SERVICES.get(service, service)
            contacts[f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if port else host] = (
                None
            )
        elif kind == ord("m"):
            old, _, new = name.partition("\0")
            old, new = os.path.normpath(old), os.path.normpath(new)
            events.append(Event("move", pid, time_ns, old, old, target=new))
        elif kind in _KINDS:
            path = f"{base}/{name}" if base else name
            # One look at most names, of which hardly any has a dot there.
            if ("/." in path or "//" in path) and (
                "/./" in path or "/../" in path or "//" in path or path.endswith(("/.", "/.."))
            ):
                path = os.path.normpath(path)
            stamp = make(Stamp, (size, mtime_ns)) if size >= 0 else None
            events.append(make(Event, (_KINDS[kind], pid, time_ns, name, path, flags, stamp, None)))


def _read_noted(record_directory: str) -> Iterator[Event]:
    try:
        names = sorted(os.listdir(record_directory))
    except OSError:
        return
    for file in names:
        if file != READS_FILE and not file.startswith(f"{READS_FILE}-"):
            continue
        for value in _literals(f"{record_directory}/{file}"):
            try:
                kind, pid, time_ns, base, name, flags = value
                path = os.path.normpath(os.path.join(base, name))
                if kind == "move":
                    target = os.path.normpath(os.path.join(base, flags))
                    yield Event(kind, pid, time_ns, name, path, target=target)
                elif kind == "open":
                    yield Event(kind, pid, time_ns, name, path, flags)
            except (TypeError, ValueError):
                continue


def _literals(path: str) -> Iterator[Any]:
    """Read Python literals, one a line, up to the first zero byte; a torn line is left out."""
    try:
        data = read_file(path).partition(b"\0")[0]
    except OSError:
        return
    for line in data.decode("utf-8", "surrogateescape").split("\n"):
        try:
            yield ast.literal_eval(line)
        except (ValueError, SyntaxError):
            continue
