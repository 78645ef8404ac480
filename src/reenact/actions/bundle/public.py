"""Make the contents of a bundle public: what records say of people and machines is replaced, the rest is searched.

Records, logs and descriptions of environments are ours: what is private in them is replaced by words
that mean the same everywhere in the bundle. Source, data and outputs are not: they are as the run had
them, or the run could not be reproduced. What is private in them is found and named.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from reenact.actions.bundle.contents import Contents, Member, Sort, blob_name
from reenact.actions.bundle.packed import unpacked
from reenact.actions.bundle.private import Hit, Private
from reenact.actions.referred import named_blobs
from reenact.errors import NotPublic
from reenact.model.bundle import Finding
from reenact.model.identity import Digest, RunId
from reenact.model.paths import path_to_text
from reenact.model.record import decode_run
from reenact.model.run import Run
from reenact.model.secrets import REDACTED
from reenact.store.blobs import Blobs, digest_bytes
from reenact.store.store import RECORD_DIRECTORY

_VERBATIM = frozenset(
    """
    operation flags given typed cwd inputs outputs params metrics metric_sources batch pipeline
    dependencies randomness datasets models variables
    """.split()
)
"""Fields of a record by which the run is made again: a name in them is no name of somebody."""
_SCANNED = (".columns", ".parquet")
_ENTRY = struct.Struct("<qIB3x")
_LOG, _INDEX = "output", "output.index"
_TEXT_SAMPLE = 1 << 13
_REMOVED_INDEXES = ("index", "certificate")
_HIDDEN = f":{REDACTED}@".encode()
"""A password in an address that is there no more."""
_MACHINE_SECRETS = {"hostname": "host name"}


class Publication(NamedTuple):
    """Contents without what is private, as far as that can be taken out.

    Attributes:
        findings: what was taken out, and what could not be.
    """

    contents: Contents
    findings: tuple[Finding, ...]

    @property
    def private(self) -> tuple[Finding, ...]:
        """What is still there."""
        return tuple(one for one in self.findings if not one.is_removed)


def make_public(contents: Contents, private: Private, blobs: Blobs, scratch: str) -> Publication:
    """Take out of the contents of a bundle what is private.

    Args:
        contents: what is to be exported.
        private: what must not be there.
        blobs: of the store.
        scratch: an empty directory for what is too large for memory.

    Raises:
        ReenactError: a record is no record any more without what is private.
    """
    return _Publisher(contents, private, blobs, scratch).publish()


def find_secrets(contents: Contents, private: Private) -> tuple[Finding, ...]:
    """Say where private texts are in contents that are exported as they are."""
    ledger = _Ledger()
    for member in contents.members.values():
        _scan(member, private, ledger)
    return ledger.findings()


class _Ledger:
    """Collects what was found, once for each sort and place."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, bool], Finding] = {}

    def note(self, what: str, where: str, *, is_removed: bool, line: int | None = None) -> None:
        key = (what, where, is_removed)
        former = self._found.get(key)
        if former is None:
            self._found[key] = Finding(what=what, where=where, line=line, is_removed=is_removed)
        else:
            self._found[key] = msgspec.structs.replace(former, count=former.count + 1)

    def findings(self) -> tuple[Finding, ...]:
        return tuple(sorted(self._found.values(), key=lambda one: (one.where, one.what)))


class _Publisher:
    def __init__(self, contents: Contents, private: Private, blobs: Blobs, scratch: str) -> None:
        self._contents = contents
        self._private = private
        self._blobs = blobs
        self._scratch = scratch
        self._ledger = _Ledger()
        self._renamed: dict[str, str] = {}
        self._members = dict(contents.members)

    def publish(self) -> Publication:
        for digest in self._described():
            self._description(digest)
        runs = {run_id: self._record(run_id) for run_id in self._contents.runs}
        for member in self._contents.members.values():
            if member.name in self._members and not member.name.endswith("/.reenact/run.json"):
                self._member(member)
        links = {name: self._path(target) for name, target in self._contents.links.items()}
        for name in (*self._members, *links):
            self._path(name)
        left_out = tuple(
            msgspec.structs.replace(one, path=self._text(one.path, "list of what is left out"))
            for one in self._contents.left_out
        )
        contents = self._contents._replace(
            runs=runs,
            members=dict(sorted(self._members.items())),
            links=links,
            left_out=left_out,
        )
        return Publication(contents, self._ledger.findings())

    def _described(self) -> Iterator[Digest]:
        """Yield the blobs in which environments, machines, locks and operations are described."""
        seen = {digest for run in self._contents.runs.values() for digest in named_blobs(run)}
        yield from sorted(seen)

    def _description(self, digest: Digest) -> None:
        name = blob_name(digest)
        member = self._members.get(name)
        if member is None:
            return
        where = _kind_of(self._contents.runs.values(), digest)
        document = msgspec.json.decode(self._blobs.get(digest))
        changed = self._walk(document, where)
        if where == "machine":
            self._hide_machine(changed)
        elif where == "lock":
            self._hide_indexes(changed)
        if changed == document:
            return
        data = msgspec.json.encode(changed, order="deterministic")
        new = digest_bytes(data)
        self._renamed[digest] = new
        del self._members[name]
        self._members[blob_name(new)] = member._replace(
            name=blob_name(new), content=data, size_bytes=len(data)
        )

    def _hide_machine(self, machine: dict[str, Any]) -> None:
        for field, what in _MACHINE_SECRETS.items():
            if machine.pop(field, None) is not None:
                machine.setdefault("reasons", {})[field] = "it is not public"
                self._ledger.note(what, "machine", is_removed=True)

    def _hide_indexes(self, lock: dict[str, Any]) -> None:
        """Leave out places of packages that only this machine has."""
        indexes = lock.get("indexes")
        if not isinstance(indexes, dict):
            return
        for field in _REMOVED_INDEXES:
            if field in indexes and (field == "certificate" or _is_local(indexes[field])):
                del indexes[field]
                self._ledger.note(f"{field} of this machine", "lock", is_removed=True)
        for field in ("extra", "find_links"):
            listed = indexes.get(field, [])
            kept = [one for one in listed if not _is_local(one)]
            if len(kept) < len(listed):
                indexes[field] = kept
                self._ledger.note("package index of this machine", "lock", is_removed=True)

    def _record(self, run_id: RunId) -> Run:
        name = f"runs/{run_id}/{RECORD_DIRECTORY}/run.json"
        member = self._members[name]
        assert isinstance(member.content, bytes)
        document = msgspec.json.decode(member.content)
        where = f"run {run_id[:8]}"
        changed = {
            key: self._walk(value, f"{where}: {key}", words=key not in _VERBATIM)
            for key, value in document.items()
            if key != "outputs"
        }
        if "outputs" in document:
            # What is not there may be called otherwise.
            absent = {one.path for one in self._contents.left_out if one.run == run_id}
            changed["outputs"] = [
                self._walk(one, f"{where}: outputs", words=one.get("path") in absent)
                for one in document["outputs"]
            ]
        changed = _renamed({key: changed[key] for key in document}, self._renamed)
        data = msgspec.json.format(msgspec.json.encode(changed), indent=1) + b"\n"
        self._members[name] = member._replace(content=data, size_bytes=len(data))
        return decode_run(data, where=f"the public record of run {run_id[:8]}")

    def _walk(self, value: Any, where: str, *, words: bool = True) -> Any:
        """Return JSON without what is private in its texts."""
        if isinstance(value, str):
            return self._text(value, where, words=words)
        if isinstance(value, list):
            return [self._walk(one, where, words=words) for one in value]
        if isinstance(value, dict):
            return {
                self._text(key, where, words=False): self._walk(one, where, words=words)
                for key, one in value.items()
            }
        return value

    def _text(self, text: str, where: str, *, words: bool = True) -> str:
        data, hits = self._private.replace(text.encode("utf-8", "surrogatepass"), words=words)
        for hit in hits:
            self._ledger.note(hit.what, where, is_removed=words or not hit.is_word)
        return data.decode("utf-8", "surrogatepass") if hits else text

    def _path(self, name: str) -> str:
        """Search a name of a file, which cannot be changed without changing what the run is."""
        for hit in self._private.hits(name.encode()):
            self._ledger.note(f"{hit.what} in its name", _label(name), is_removed=False)
        return name

    def _member(self, member: Member) -> None:
        base = os.path.basename(member.name)
        if member.sort is Sort.LOG:
            if base == _LOG:
                self._log(member)
        elif member.sort is Sort.RECORD and not _is_points(base):
            self._lines(member)
        else:
            _scan(member, self._private, self._ledger)

    def _lines(self, member: Member) -> None:
        """Replace what is private in a file of JSON, or of JSON lines."""
        if isinstance(member.content, bytes):
            data = member.content
        else:
            with open(member.content, "rb") as file:
                data = file.read()
        try:
            documents = [msgspec.json.decode(data)]
            is_whole = True
        except (msgspec.DecodeError, UnicodeDecodeError):
            is_whole = False
        where = member.label
        if is_whole:
            changed = [self._walk(one, where) for one in documents]
            if changed == documents:
                return
            out = msgspec.json.format(msgspec.json.encode(changed[0]), indent=1) + b"\n"
        else:
            out = b"".join(self._line(line, where) for line in data.splitlines(keepends=True))
            if out == data:
                return
        self._members[member.name] = member._replace(content=out, size_bytes=len(out))

    def _line(self, line: bytes, where: str) -> bytes:
        try:
            document = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            out, hits = self._private.replace(line)
            for hit in hits:
                self._ledger.note(hit.what, where, is_removed=True)
            return out
        changed = self._walk(document, where)
        return line if changed == document else msgspec.json.encode(changed) + b"\n"

    def _log(self, member: Member) -> None:
        """Replace what is private in what a run printed, and say anew how long its pieces are."""
        assert isinstance(member.content, str)
        if not member.size_bytes:
            return
        with open(member.content, "rb") as file, _mapped(file.fileno()) as data:
            hits = self._private.hits(data, names_runs=True)
            if not hits:
                return
            path = f"{self._scratch}/{len(os.listdir(self._scratch))}"
            with open(path, "wb") as out:
                end = 0
                for hit in hits:
                    _copy(data, end, hit.start, out)
                    out.write(hit.instead)
                    end = hit.end
                _copy(data, end, len(data), out)
                size = out.tell()
        for hit in hits:
            self._ledger.note(hit.what, member.label, is_removed=True)
        self._members[member.name] = member._replace(content=path, size_bytes=size)
        index = self._members.get(f"{os.path.dirname(member.name)}/{_INDEX}")
        if index is not None and isinstance(index.content, str):
            with open(index.content, "rb") as file:
                new = reindexed(file.read(), hits)
            self._members[index.name] = index._replace(content=new, size_bytes=len(new))


def _mapped(descriptor: int) -> Any:
    """Return a file as bytes that are not in memory."""
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _copy(data: Any, start: int, end: int, out: Any) -> None:
    for at in range(start, end, 1 << 20):
        out.write(data[at : min(end, at + (1 << 20))])


def reindexed(index: bytes, hits: Sequence[Hit]) -> bytes:
    """Return the entries of a log in which something was replaced.

    What was put in belongs to the piece in which the former text began.
    """
    out = []
    start = 0
    at = 0
    for time_ns, length, stream in _ENTRY.iter_unpack(
        index[: len(index) - len(index) % _ENTRY.size]
    ):
        end = start + length
        new = length
        while at < len(hits) and hits[at].start < end:
            hit = hits[at]
            new -= min(hit.end, end) - max(hit.start, start)
            if hit.start >= start:
                new += len(hit.instead)
            if hit.end > end:
                break
            at += 1
        out.append(_ENTRY.pack(time_ns, new, stream))
        start = end
    return b"".join(out)


def _scan(member: Member, private: Private, ledger: _Ledger) -> None:
    """Search a file that stays as it is, and what is packed in it."""
    if not member.size_bytes:
        return
    if isinstance(member.content, bytes):
        _search(member.content, member.label, private, ledger)
        return
    with open(member.content, "rb") as file:
        try:
            mapped = _mapped(file.fileno())
        except (OSError, ValueError):
            _search(file.read(), member.label, private, ledger)
        else:
            with mapped:
                _search(mapped, member.label, private, ledger)
        file.seek(0)
        for name, data in unpacked(file) if private.has_texts else ():
            _search(data, f"{member.label}{name}", private, ledger)


def _search(data: Any, label: str, private: Private, ledger: _Ledger) -> None:
    is_text = b"\0" not in data[:_TEXT_SAMPLE]
    line = 1
    counted_to = 0
    for hit in private.hits(data, is_text=is_text):
        if data[hit.start : hit.end].endswith(_HIDDEN):
            continue
        if is_text:
            line += _line_ends(data, counted_to, hit.start)
            counted_to = hit.start
        ledger.note(hit.what, label, is_removed=False, line=line if is_text else None)


def _line_ends(data: Any, start: int, end: int) -> int:
    return sum(
        data[at : min(end, at + (1 << 20))].count(b"\n") for at in range(start, end, 1 << 20)
    )


def _is_points(name: str) -> bool:
    """Whether a file of a record holds numbers, or is in a form that cannot be changed."""
    if name.endswith(_SCANNED):
        return True
    return name == "metrics" or (name.startswith("metrics.") and name[8:].isdigit())


def _is_local(place: object) -> bool:
    return isinstance(place, str) and (place.startswith(("file:", "/", ".")) or "://" not in place)


def _kind_of(runs: Iterable[Run], digest: Digest) -> str:
    for run in runs:
        for kind in ("environment", "machine", "runtime", "lock"):
            if getattr(run, kind) == digest:
                return kind
    return "operation"


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return JSON in which blobs have other names."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if isinstance(value, dict):
        return {key: _renamed(one, names) for key, one in value.items()}
    return value


def _label(name: str) -> str:
    parts = name.split("/", 2)
    return parts[2] if len(parts) == 3 and parts[0] == "runs" else path_to_text(name)


def refuse_private(findings: Sequence[Finding]) -> None:
    """Raise the error that names what is private and cannot be taken out; nothing where there is none."""
    if not findings:
        return
    named = [
        f"{one.where}{f':{one.line}' if one.line else ''} ({one.what})" for one in findings[:8]
    ]
    more = len(findings) - len(named)
    raise NotPublic(
        f"what is private would be in the bundle: {', '.join(named)}"
        + (f", and {more} more" if more > 0 else ""),
        hint="mend the file and run again, leave an output out with `--exclude`, or say "
        f"`--allow '{findings[0].where}'` if it may be seen",
    )
