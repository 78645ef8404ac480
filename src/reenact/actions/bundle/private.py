"""What must not be in a public bundle, how it is recognised in bytes, and what is put in its place.

Covered: home directories, user and host names, the store's and the projects' directories, ids of runs that
do not go along, values of environment variables whose names tell of secrets, passwords in addresses, secrets of
known forms in texts.
Not covered: what is encrypted, names of people in prose, a user or host name
that is shorter than three characters or that many machines have (`root`, `localhost`).
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import quote

from blake3 import blake3

from reenact.model.identity import RunId
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import Run
from reenact.model.secrets import REDACTED, is_secret_name, secret_forms

HOME = "/redacted/home"
STORE = "/redacted/store"
PROJECT = "/redacted/project"
SOMEBODY = "somebody"
SOMEWHERE = "somewhere"

_TELLING = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 6
_SHORTEST_NAME = 3
_SHORTEST_BINARY = 5
"""Of names that are looked for in files that are no text: shorter ones are there by chance."""
_COMMON = frozenset(
    """
    root user users admin administrator guest nobody daemon ubuntu debian fedora centos docker runner
    jovyan vagrant ec2-user azureuser somebody somewhere test home vm local localhost localdomain host server
    node worker pod container python train model data main master dev prod ci build gpu cpu lab cluster
    head login compute linux desktop laptop workstation work project shared share public scratch
    """.split()
)
"""Names that tell nothing, or that mean something else far more often."""
_OTHER_RUN = "id of another run"
_HOMES = re.compile(r"(/(?:home|Users)/([^/]+))(?:/|\Z)")
_SHORT_ID = re.compile(rb"(?<![0-9A-Za-z])[0-9a-f]{8}(?![0-9A-Za-z])")
_HEX = bytes(b"."[0] if chr(one) not in "0123456789abcdef" else b"h"[0] for one in range(256))
_ID_LENGTH = 32
_STEP = 1 << 20
_FORMS_UP_TO = 16 << 20
"""Bytes. In larger texts secrets of known forms are not looked for: it is slow."""
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*\Z")
_LOGIN = re.compile(rb"[^\s/@:'\"<>\\]*:[^\s/@'\"\\]+@")
_LONGEST_SCHEME = 20
_LONGEST_LOGIN = 400


class Needle(NamedTuple):
    """A text that must not be there.

    Attributes:
        what: what to call it.
        text: its bytes.
        instead: what a record says in its place.
        is_word: it counts only where letters and digits neither precede nor follow it.
    """

    what: str
    text: bytes
    instead: bytes
    is_word: bool = False


class Hit(NamedTuple):
    """Where a private text is, and what it is."""

    start: int
    end: int
    what: str
    instead: bytes
    is_word: bool = False


class Private:
    """All texts that must not be in a bundle of some runs."""

    def __init__(self, needles: Iterable[Needle], others: Iterable[RunId]) -> None:
        """Know what is private.

        Args:
            needles: texts.
            others: ids of runs that are not in the bundle.
        """
        unique = {needle.text: needle for needle in needles}
        self._needles = sorted(unique.values(), key=lambda one: (-len(one.text), one.text))
        self._others = {other.encode(): pseudonym(other).encode() for other in others}
        self._short = {other[:8]: instead[:8] for other, instead in self._others.items()}

    @property
    def has_texts(self) -> bool:
        """Whether anything is known to be private but what is so by its form."""
        return bool(self._needles or self._others)

    def hits(self, data: bytes, *, is_text: bool = True, names_runs: bool = False) -> list[Hit]:
        """Return what is private in some bytes, in order; nothing twice.

        Args:
            data: where to look; anything with `find` and slices that `re` can search.
            is_text: they are no mere numbers.
            names_runs: the beginning of a run's id means the run.
        """
        found: list[Hit] = []
        # What needs no neighbours comes first: to others its edges are those of a word.
        edges: set[int] = set()
        for needle in sorted(self._needles, key=_needs_edges):
            hits = [*_occurrences(needle, data, is_text, edges)]
            found += hits
            if not _needs_edges(needle):
                edges.update(edge for hit in hits for edge in (hit.start, hit.end))
        found += self._ids(data, names_runs=names_runs)
        found += _logins(data)
        if is_text and len(data) <= _FORMS_UP_TO:
            found += [
                Hit(match.start(), match.end(), "secret of a known form", REDACTED.encode())
                for match in secret_forms().finditer(data)
            ]
        found.sort(key=lambda hit: (hit.start, -hit.end))
        return _apart(found)

    def replace(self, data: bytes, *, words: bool = True) -> tuple[bytes, list[Hit]]:
        """Return bytes without what is private in them, and what that was.

        Args:
            data: a text that names runs by the beginnings of their ids, too.
            words: names of users and hosts are replaced; else they stay and are among the hits.
        """
        hits = self.hits(data, names_runs=True)
        parts = []
        end = 0
        for hit in hits:
            if hit.is_word and not words:
                continue
            parts += [data[end : hit.start], hit.instead]
            end = hit.end
        return b"".join([*parts, data[end:]]), hits

    def _ids(self, data: bytes, *, names_runs: bool) -> Iterator[Hit]:
        if not self._others:
            return
        for start in _hexadecimal(data):
            instead = self._others.get(data[start : start + _ID_LENGTH])
            if instead is not None:
                yield Hit(start, start + _ID_LENGTH, _OTHER_RUN, instead)
        if not names_runs:
            return
        for match in _SHORT_ID.finditer(data):
            instead = self._short.get(match[0])
            if instead is not None:
                yield Hit(match.start(), match.end(), _OTHER_RUN, instead)


def pseudonym(run_id: RunId) -> str:
    """Return what a public bundle calls a run that is not in it: from it nothing leads back."""
    return blake3(b"reenact bundle\n" + run_id.encode()).hexdigest()[:32]


def private_texts(
    runs: Iterable[Run], env: Mapping[str, str], home: str, store: str, hosts: Iterable[str]
) -> Iterator[Needle]:
    """Yield what must not be in a bundle of some runs.

    Args:
        runs: whose records go along.
        env: variables of whoever exports.
        home: their home directory.
        store: where the runs are.
        hosts: names of the machines that they ran on, and of this one.
    """
    runs = list(runs)
    homes, users = {home, os.path.realpath(home)}, {env.get("USER", ""), env.get("LOGNAME", "")}
    with suppress(KeyError):
        account = pwd.getpwuid(os.getuid())
        homes.add(account.pw_dir)
        users.add(account.pw_name)
    roots = {text_to_path(run.project.root) for run in runs}
    for path in (*roots, store, home):
        if match := _HOMES.match(path):
            homes.add(match[1])
            # Of whoever has run it on another machine. Here a directory beside the homes may be nobody's.
            if not os.path.isdir(match[1]):
                users.add(match[2])
    first = min((run.id for run in runs), default="")
    # Of equal paths the last one counts.
    for path, first_name in sorted(_directories_of(users, runs)):
        yield from _paths("directory of the user", path, f"/redacted/{first_name}")
    for root in sorted(roots):
        # Projects of two bundles are two projects.
        salt = blake3(f"{first}\n{path_to_text(root)}".encode()).hexdigest()[:8]
        yield from _paths("project directory", root, f"{PROJECT}-{salt}")
    for path in sorted({store, os.path.realpath(store)}):
        yield from _paths("store directory", path, STORE)
    for path in sorted(homes):
        yield from _paths("home directory", path, HOME)
    for user in sorted(users):
        if _is_telling(user):
            yield Needle("user name", os.fsencode(user), SOMEBODY.encode(), is_word=True)
    for host in sorted({name for full in hosts for name in (full, full.partition(".")[0])}):
        if _is_telling(host):
            yield Needle("host name", os.fsencode(host), SOMEWHERE.encode(), is_word=True)
    yield from secrets_of(env)


def _directories_of(users: Iterable[str], runs: Iterable[Run]) -> Iterator[tuple[str, str]]:
    """Yield directories that are called as a user and that records name: `/scratch/alice`."""
    known = {user for user in users if _is_telling(user)}
    found: set[tuple[str, str]] = set()
    for run in runs:
        texts = [run.project.root, *run.command]
        for file in (*run.inputs, *run.outputs):
            texts += [file.path, file.said or "", file.resolved or ""]
        texts += [value for value in run.flags.values() if isinstance(value, str)]
        for text in texts:
            if not text.startswith("/"):
                continue
            parts = text_to_path(text).split("/")
            for at, part in enumerate(parts):
                if part in known and at > 1:
                    found.add(("/".join(parts[: at + 1]), parts[1]))
                    break
    yield from found


def secrets_of(env: Mapping[str, str]) -> Iterator[Needle]:
    """Yield the values of variables whose names tell of secrets."""
    for name, value in sorted(env.items()):
        # `MAX_TOKENS=100000` is no secret, `DOOR_PASSWORD=100000` may be.
        is_number = value.isdigit() and not is_secret_name(name)
        if len(value) < _SHORTEST_SECRET or value.isspace() or is_number:
            continue
        if _TELLING.search(name) or is_secret_name(name):
            for text in {os.fsencode(value), quote(os.fsencode(value)).encode()}:
                yield Needle(f"value of {name}", text, REDACTED.encode())


def _paths(what: str, path: str, instead: str) -> Iterator[Needle]:
    path = path.rstrip("/")
    if not path.startswith("/") or path.startswith("/redacted/"):
        return
    raw = os.fsencode(path)
    for text in {raw, path_to_text(path).encode(), quote(raw).encode()}:
        yield Needle(what, text, instead.encode(), is_word=False)


def _is_telling(name: str) -> bool:
    return len(name) >= _SHORTEST_NAME and name.lower() not in _COMMON


def _needs_edges(needle: Needle) -> bool:
    return needle.is_word or needle.text.startswith(b"/")


def _occurrences(
    needle: Needle, data: bytes, is_text: bool, edges: Collection[int]
) -> Iterator[Hit]:
    if needle.is_word and not is_text and len(needle.text) < _SHORTEST_BINARY:
        return
    text = needle.text
    at = data.find(text)
    while at >= 0:
        end = at + len(text)
        if not _needs_edges(needle) or _stands_alone(needle, data, at, end, edges):
            yield Hit(at, end, needle.what, needle.instead, needle.is_word)
        at = data.find(text, end)


def _logins(data: bytes) -> Iterator[Hit]:
    """Yield names and passwords in addresses: `alice:secret@`."""
    at = data.find(b"://")
    while at >= 0:
        start = at + len(b"://")
        if _SCHEME.search(data[max(0, at - _LONGEST_SCHEME) : at]):
            match = _LOGIN.match(data[start : start + _LONGEST_LOGIN])
            if match is not None:
                yield Hit(start, start + match.end(), "password in an address", b"")
        at = data.find(b"://", start)


def _hexadecimal(data: bytes) -> Iterator[int]:
    """Yield where words of 32 hexadecimal digits begin; faster than a pattern by far."""
    wanted = b"h" * _ID_LENGTH
    for base in range(0, len(data), _STEP):
        marks = data[base : base + _STEP + 2 * _ID_LENGTH].translate(_HEX)
        at = marks.find(wanted)
        while 0 <= at < _STEP:
            start, end = base + at, base + at + _ID_LENGTH
            if not (
                _is_letter(data[start - 1 : start] if start else b"")
                or _is_letter(data[end : end + 1])
            ):
                yield start
            other = marks.find(b".", at)
            if other < 0:
                break
            at = marks.find(wanted, other)


def _stands_alone(
    needle: Needle, data: bytes, start: int, end: int, edges: Collection[int]
) -> bool:
    """Tell whether a text is a word, or a path whole components, where it was found."""
    before = b"" if start in edges else data[max(0, start - 1) : start]
    after = b"" if end in edges else data[end : end + 1]
    if _is_letter(before) or _is_letter(after):
        return False
    is_path = needle.text.startswith(b"/")
    return not is_path or (before not in (b".", b"-", b"_") and after not in (b"-", b"_"))


def _is_letter(one: bytes) -> bool:
    return one.isalnum() or one > b"\x7f"


def _apart(hits: list[Hit]) -> list[Hit]:
    """Return hits that do not overlap: of two the one that begins first, and of these the longer."""
    kept: list[Hit] = []
    for hit in hits:
        if not kept or hit.start >= kept[-1].end:
            kept.append(hit)
    return kept
