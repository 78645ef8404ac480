"""Read documents that note when they were made: PDF, SVG, HTML, notebooks.

Left out: dates, numbers drawn to tell documents apart, how streams of a PDF are compressed.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.source import HeldSource, NotCompared, Source, Unreadable, all_bytes
from reenact.judge.outputs.text import Json, Text, lines, parse_json
from reenact.judge.outputs.values import (
    Aside,
    Content,
    Line,
    Members,
    Noted,
    Sequence,
    numbered,
    row_name,
)

_MOST_BYTES = 256 << 20
_MOST_STREAM_BYTES = 512 << 20


class Svg:
    """SVG; names of its parts that are drawn by chance are replaced by their order."""

    name = "svg"
    endings: tuple[str, ...] = (".svg",)
    _DATE = re.compile(r"<(dc:date|xmp:\w*Date)>[^<]*<")
    _ID = re.compile(r'(id="|href="#|url\(#)(\w*?[0-9a-f]{8,}[\w-]*)')

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it is XML, and its first element the one of a drawing."""
        start = head.lstrip()
        return start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in head)

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its lines."""
        return Sequence(lambda: self._lines(source), row_name("line"))

    def _lines(self, source: Source) -> Iterator[Any]:
        known: dict[str, int] = {}
        for line in lines(source):
            found = tuple(name for _, name in self._ID.findall(line))
            date = self._DATE.search(line)
            if not found and date is None:
                yield Line(line)
                continue
            text = _renamed(self._ID, line, known)
            asides = [Aside("random name", found, of="line")]
            if date is not None:
                text = self._DATE.sub(r"<\1><", text)
                asides.append(Aside("date", date[0]))
            yield Noted(Line(text), tuple(asides))


class Html:
    """HTML, as plotly and bokeh write it; UUIDs are replaced by their order."""

    name = "html"
    endings: tuple[str, ...] = (".html", ".htm")
    _UUID = re.compile(r"()([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins as a page does."""
        return head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return its lines."""
        return Sequence(lambda: self._lines(source), row_name("line"))

    def _lines(self, source: Source) -> Iterator[Any]:
        known: dict[str, int] = {}
        for line in lines(source):
            found = tuple(name for _, name in self._UUID.findall(line))
            if found:
                text = _renamed(self._UUID, line, known)
                yield Noted(Line(text), (Aside("random name", found, of="line"),))
            else:
                yield Line(line)


def _renamed(pattern: re.Pattern[str], line: str, known: dict[str, int]) -> str:
    def name(match: re.Match[str]) -> str:
        return f"{match[1]}name-{known.setdefault(match[2], len(known))}"

    return pattern.sub(name, line)


class Notebook:
    """A Jupyter notebook; the names of cells and the times at which they ran are left out."""

    name = "notebook"
    endings: tuple[str, ...] = (".ipynb",)
    _TIMES = ("execution", "papermill", "ExecuteTime")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it is called so, as JSON has no mark."""
        return name.endswith(".ipynb") and head.lstrip().startswith(b"{")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return cells and metadata."""
        value = parse_json(source)
        if not isinstance(value, dict) or not isinstance(value.get("cells"), list):
            return Json().read(source, keep) if value is not None else Text().read(source, keep)
        cells = [self._cell(cell) for cell in value["cells"]]
        return {**value, "cells": cells, "metadata": self._metadata(value.get("metadata"))}

    def _cell(self, cell: Any) -> Any:
        if not isinstance(cell, dict):
            return cell
        changed = {**cell, "id": Aside("name", cell.get("id"), of="cell")}
        changed["metadata"] = self._metadata(cell.get("metadata"))
        if isinstance(cell.get("outputs"), list):
            changed["outputs"] = [self._output(output) for output in cell["outputs"]]
        return changed

    def _metadata(self, metadata: Any) -> Any:
        if not isinstance(metadata, dict):
            return metadata
        times = tuple(metadata.get(name) for name in self._TIMES)
        rest = {name: value for name, value in metadata.items() if name not in self._TIMES}
        return Noted(rest, (Aside("time", times, of="cell"),))

    def _output(self, output: Any) -> Any:
        if not isinstance(output, dict) or not isinstance(output.get("data"), dict):
            return output
        data = {kind: _picture(kind, value) for kind, value in output["data"].items()}
        return {**output, "data": data}


def _picture(kind: str, value: Any) -> Any:
    text = "".join(value) if isinstance(value, list) and kind != "application/json" else value
    if kind not in ("image/png", "image/jpeg") or not isinstance(text, str):
        return text
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return text


class Pdf:
    """PDF, object by object."""

    name = "pdf"
    endings: tuple[str, ...] = ()
    _OBJECT = re.compile(rb"(?<!\d)(\d+)\s+(\d+)\s+obj\b")
    _BODY_END = re.compile(rb"\bendobj\b|\bstream\r?\n")
    _DATES = re.compile(
        rb"/(?:CreationDate|ModDate)\s*(?:\((?:[^()\\]|\\.)*\)|<[0-9A-Fa-f\s]*>)"
        rb"|<(?:xmp:(?:CreateDate|ModifyDate|MetadataDate)|xmpMM:(?:DocumentID|InstanceID))>[^<]*<"
        rb"|xmp:(?:CreateDate|ModifyDate|MetadataDate)=\"[^\"]*\""
        rb"|/ID\s*\[[^\]]*\]"
    )
    _LENGTH = re.compile(rb"/Length\s+(\d+)(\s+\d+\s+R)?")
    _TRAILER = re.compile(rb"\btrailer\b(.*?)\bstartxref\b", re.DOTALL)

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"%PDF-")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return objects by their numbers, and the trailer."""
        data = all_bytes(source, _MOST_BYTES)
        lengths: set[int] = set()
        found: list[tuple[int, Any]] = []
        at = 0
        end = 0
        while (match := self._OBJECT.search(data, at)) is not None:
            number = int(match[1])
            value, at = self._object(data, match.end(), lengths, source)
            end = at
            if value is not None:
                found.append((number, value))
        if not found:
            raise Unreadable("it has no objects")
        # How long a stream is, once compressed, may be in an object of its own.
        parts = [(f"object {number}", value) for number, value in found if number not in lengths]
        trailer = self._TRAILER.search(data, end)
        if trailer is not None:
            parts.append(("trailer", self._without_dates(trailer[1])))
        return Members(dict(numbered(parts)))

    def _object(
        self, data: bytes, start: int, lengths: set[int], source: Source
    ) -> tuple[Any, int]:
        """Return what one object says, None for one of bookkeeping, and where it ends."""
        stop = self._BODY_END.search(data, start)
        if stop is None:
            raise Unreadable("it ends too early")
        body = data[start : stop.start()]
        if stop[0] == b"endobj":
            return self._without_dates(body), stop.end()
        length = self._LENGTH.search(body)
        if length is not None and length[2]:
            lengths.add(int(length[1]))
        begin = stop.end()
        end = data.find(b"endstream", begin)
        if (
            length is not None
            and not length[2]
            and data[begin + int(length[1]) :].lstrip()[:9] == b"endstream"
        ):
            end = begin + int(length[1])
        if end < 0:
            raise Unreadable("it ends too early")
        after = data.find(b"endobj", end)
        after = len(data) if after < 0 else after + 6
        if b"/XRef" in body:
            return None, after
        return self._stream(self._LENGTH.sub(b"", body), data[begin:end], source), after

    def _stream(self, body: bytes, stream: bytes, source: Source) -> Any:
        if b"/FlateDecode" in body:
            unpacker = zlib.decompressobj()
            try:
                stream = unpacker.decompress(stream, _MOST_STREAM_BYTES)
            except zlib.error:
                return Members({"": self._without_dates(body), "stream": stream})
            if unpacker.unconsumed_tail:
                raise NotCompared("it unpacks to too much")
            source.allowance.take(len(stream))
        asides = (
            tuple(self._DATES.findall(stream)) if b"/Metadata" in body or b"/ObjStm" in body else ()
        )
        content = self._DATES.sub(b"", stream) if asides else stream
        inside: Any = Content(HeldSource(content, "", source.allowance))
        if b"/Subtype" not in body and b"/Length1" not in body:
            # What is drawn on a page; its texts need not be UTF-8.
            drawn = content.decode("latin-1").splitlines()
            inside = Sequence(lambda: map(Line, drawn), row_name("line"))
        said = Members({"": self._without_dates(body), "stream": inside})
        return Noted(said, (Aside("date", asides),))

    def _without_dates(self, body: bytes) -> Any:
        text = self._DATES.sub(b"", body).decode("latin-1")
        return Noted(Line(text), (Aside("date", tuple(self._DATES.findall(body))),))
