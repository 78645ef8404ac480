"""Read archives member by member: zip and what is built on it, tar.

Left out: dates, owners, how strongly a member is compressed, the order of members.
"""

from __future__ import annotations

import json
import os
import tarfile
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, BinaryIO

from reenact.judge.outputs.source import NotCompared, PackedSource, Source, Unreadable
from reenact.judge.outputs.text import renumbered
from reenact.judge.outputs.values import Aside, Content, Members, Noted, numbered

_MOST_MEMBERS = 1_000_000
_ZIP_MARK = b"PK\x03\x04"


class Zip:
    """Any zip file; `.npz`, wheels, models of skops and of others among them."""

    name = "zip"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins with a member, or is an empty archive."""
        return head.startswith((_ZIP_MARK, b"PK\x05\x06"))

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its members."""
        return Members(dict(self._parts(source, keep)))

    def _parts(self, source: Source, keep: ExitStack) -> Iterable[tuple[str, Any]]:
        archive = open_zip(source, keep)
        yield "comment of the archive", archive.comment
        named = numbered((member.filename, member) for member in archive.infolist())
        for name, member in named:
            content = zip_member(archive, member, source, keep)
            yield name, Noted(self.content(name, content), _zip_asides(member))

    def content(self, name: str, content: Content) -> Any:
        """Return what to compare of a member."""
        return content


class Keras(Zip):
    """A model of Keras 3: configuration, weights, and the date it was saved."""

    name = "keras"

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether a zip file is called so or begins as Keras writes it."""
        return head.startswith(_ZIP_MARK) and (
            name.endswith(".keras") or head[30:].startswith(b"metadata.json")
        )

    def content(self, name: str, content: Content) -> Any:
        """Set the date aside."""
        if name != "metadata.json":
            return content
        metadata = _json(content)
        if not isinstance(metadata, dict):
            return metadata
        return {**metadata, "date_saved": Aside("date of the model", metadata.get("date_saved"))}


class Skops(Zip):
    """A model of skops, in which objects and files are called after their places in memory."""

    name = "skops"

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether a zip file is called so."""
        return head.startswith(_ZIP_MARK) and name.endswith(".skops")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its members, by the order in which the description names them."""
        parts = dict(self._parts(source, keep))
        schema = parts.pop("schema.json", None)
        if schema is None:
            return Members(parts)
        numbers: dict[Any, int] = {}
        description = renumbered(_json(_without_note(schema)), ("__id__", "file"), numbers)
        renamed = {f"part {numbers[name]}" if name in numbers else name: name for name in parts}
        named = {new: parts[name] for new, name in renamed.items()}
        return Members({"schema.json": description, **named})


class Office(Zip):
    """A workbook or document: `.xlsx`, `.docx`, `.ods`. Who made it, and when, is left out."""

    name = "office"
    _ENDINGS = (".xlsx", ".xlsm", ".docx", ".pptx", ".ods", ".odt", ".odp")
    _ASIDE = ("docProps/", "meta.xml")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether a zip file is called so or begins as such files do."""
        return head.startswith(_ZIP_MARK) and (
            name.endswith(self._ENDINGS) or head[30:].startswith((b"[Content_Types]", b"docProps/"))
        )

    def content(self, name: str, content: Content) -> Any:
        """Set the properties of the document aside."""
        if not name.startswith(self._ASIDE):
            return content
        with content.source.open() as file:
            return Aside("document properties", file.read())


def _without_note(part: Any) -> Content:
    if not isinstance(part, Noted) or not isinstance(part.value, Content):
        raise Unreadable("a member is not what its name says")
    return part.value


def _json(content: Content) -> Any:
    with content.source.open() as file:
        return json.load(file)


def open_zip(source: Source, keep: ExitStack) -> zipfile.ZipFile:
    """Return an archive that stays open until the comparison is done."""
    file = keep.enter_context(source.open())
    archive = keep.enter_context(zipfile.ZipFile(file))
    if len(archive.infolist()) > _MOST_MEMBERS:
        raise NotCompared("it has too many members")
    return archive


def zip_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, source: Source, keep: ExitStack
) -> Content:
    """Return what is in a member."""
    if member.flag_bits & 1:
        raise NotCompared("it is encrypted")

    def unpack() -> BinaryIO:
        return archive.open(member)  # type: ignore[return-value]  # IO[bytes] is what it is

    name = os.path.basename(member.filename)
    return Content(PackedSource(unpack, name, source.allowance, keep))


def _zip_asides(member: zipfile.ZipInfo) -> tuple[Aside, ...]:
    return (
        Aside("date", (member.date_time, member.extra), of="member"),
        Aside("mode", member.external_attr, of="member"),
        Aside("compression", member.compress_type, of="member"),
    )


class Tar:
    """A tar file. Permissions count, as they do for a program that is in it."""

    name = "tar"
    endings: tuple[str, ...] = (".tar",)

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether the first header is that of a tar file since 1988."""
        return head[257:262] == b"ustar"

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its members."""
        file = keep.enter_context(source.open())
        archive = keep.enter_context(tarfile.TarFile(fileobj=file, mode="r"))
        members = []
        for member in archive:
            members.append((member.name, member))
            if len(members) > _MOST_MEMBERS:
                raise NotCompared("it has too many members")
        # A damaged header ends the list of members as zeros do.
        file.seek(archive.offset)
        if file.read(512).strip(b"\0"):
            raise Unreadable("the header of a member is damaged")
        parts = {
            name: self._part(archive, member, source, keep) for name, member in numbered(members)
        }
        return Members(parts)

    def _part(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, source: Source, keep: ExitStack
    ) -> Any:
        kind = tarfile.REGTYPE if member.isreg() else member.type
        said: dict[str, Any] = {
            "type": kind.decode("latin-1"),
            "mode": oct(member.mode),
            "link to": member.linkname,
        }
        if member.isreg():

            def unpack() -> BinaryIO:
                file = archive.extractfile(member)
                if file is None:
                    raise Unreadable(f"`{member.name}` has no content")
                return file  # type: ignore[return-value]  # IO[bytes] is what it is

            name = os.path.basename(member.name)
            said[""] = Content(PackedSource(unpack, name, source.allowance, keep))
        owner = member.uid, member.gid, member.uname, member.gname
        asides = (
            Aside("date", (member.mtime, member.pax_headers), of="member"),
            Aside("owner", owner, of="member"),
        )
        return Noted(Members(said), asides)
