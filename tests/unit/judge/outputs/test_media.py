from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from reenact.judge.outputs.images import _unfiltered
from reenact.judge.outputs.output import judge_output
from reenact.model.verdict import OutputVerdict, Verdict


def judge(tmp_path: Path, name: str, original: bytes, reproduced: bytes) -> OutputVerdict:
    (tmp_path / "original").write_bytes(original)
    (tmp_path / "reproduced").write_bytes(reproduced)
    return judge_output(name, tmp_path / "original", tmp_path / "reproduced")


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data)
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", checksum)


def png(width: int, height: int, color: int, depth: int, packed: bytes, *more: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", zlib.compress(packed))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


@given(st.data(), st.sampled_from([(0, 1), (2, 3), (4, 2), (6, 4)]))
def test_filters_are_undone_as_pillow_does(data: st.DataObject, kind: tuple[int, int]) -> None:
    color, channels = kind
    width, height = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    packed = b""
    for _ in range(height):
        row = data.draw(st.binary(min_size=width * channels, max_size=width * channels))
        packed += bytes([data.draw(st.integers(0, 4))]) + row

    with Image.open(io.BytesIO(png(width, height, color, 8, packed))) as image:
        expected = image.tobytes()

    assert _unfiltered(packed, width * channels, channels) == expected


def saved(pixels: np.ndarray[Any, Any], kind: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["png", "webp", "tiff", "bmp", "gif"])
def test_pixels_that_differ_are_counted(tmp_path: Path, kind: str) -> None:
    one = np.zeros((20, 30, 3), "u1")
    other = one.copy()
    other[7, 4] = 255
    other[9, 4] = 255
    options = {"lossless": True} if kind == "webp" else {}

    found = judge(tmp_path, f"a.{kind}", saved(one, kind, **options), saved(other, kind, **options))

    assert found.detail == ("2 of 600 pixels differ, by at most 255 of 255, first at x=4 y=7")
    assert found.largest_absolute == 255


def test_deep_pixels_are_compared_whole(tmp_path: Path) -> None:
    one = png(2, 1, 0, 16, b"\0" + struct.pack(">2H", 5, 1000))
    other = png(2, 1, 0, 16, b"\0" + struct.pack(">2H", 5, 1001))

    assert judge(tmp_path, "a.png", one, other).detail == (
        "1 of 2 pixels differ, by at most 1 of 65535, first at x=1 y=0"
    )


def test_the_same_pixels_packed_otherwise_are_the_same(tmp_path: Path) -> None:
    rows = np.arange(600, dtype="u1").reshape(20, 30)

    found = judge(tmp_path, "a.png", saved(rows, compress_level=1), saved(rows, compress_level=9))

    assert (found.verdict, found.detail) == (Verdict.WITHIN_TOLERANCE, "same content")


def test_notes_of_an_image_are_left_out_and_said(tmp_path: Path) -> None:
    def made(version: str) -> bytes:
        notes = PngImagePlugin.PngInfo()
        notes.add_text("Software", version)
        return saved(np.zeros((3, 3), "u1"), pnginfo=notes)

    assert judge(tmp_path, "a.png", made("1"), made("2")).detail == (
        "same content; left out: notes of the image"
    )


def test_the_colour_that_is_transparent_counts(tmp_path: Path) -> None:
    packed = b"\0" + bytes(2)
    one, other = (png(2, 1, 0, 8, packed, chunk(b"tRNS", value)) for value in (b"\0\0", b"\0\1"))

    assert judge(tmp_path, "a.png", one, other).detail == (
        "transparent colour: b'\\x00\\x00' -> b'\\x00\\x01'"
    )


def test_another_size_is_told(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.png", saved(np.zeros((3, 4), "u1")), saved(np.zeros((3, 5), "u1")))

    assert found.detail == "4x3 -> 5x3 pixels"


def test_an_image_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    one, other = (png(1 << 30, 1 << 30, 6, 8, data) for data in (b"1", b"2"))

    assert judge(tmp_path, "a.png", one, other).detail == (
        "content not compared: it has too many pixels"
    )


def pdf(date: bytes, drawn: bytes, level: int = 6) -> bytes:
    stream = zlib.compress(drawn, level)
    return (
        b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"
        b"2 0 obj\n<< /Length 3 0 R /Filter /FlateDecode >>\nstream\n" + stream + b"\nendstream\n"
        b"endobj\n3 0 obj\n%d\nendobj\n"
        % len(stream)
        + b"4 0 obj\n<< /CreationDate (D:%s) /Title (a\\)b) >>\nendobj\n" % date
        + b"xref\n0 1\n0000000000 65535 f \ntrailer\n<< /Size 5 /ID [<%s>] >>\n" % date
        + b"startxref\n%d\n%%%%EOF\n" % len(stream)
    )


def test_a_pdf_is_compared_without_dates_and_compression(tmp_path: Path) -> None:
    drawn = b"10 20 m\n30 40 l\n" * 50
    one, other = pdf(b"2026", drawn, 1), pdf(b"2027", drawn, 9)

    assert len(one) != len(other)
    assert judge(tmp_path, "a.pdf", one, other).detail == "same content; left out: date"


def test_what_a_page_draws_counts(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.pdf", pdf(b"1", b"1 2 m\n3 4 l\n"), pdf(b"2", b"1 2 m\n3 5 l\n"))

    assert found.detail == "object 2: stream: line 2: 4 -> 5"


SVG = """<?xml version="1.0"?>
<svg><dc:date>{date}</dc:date>
<path id="m{mark}" d="M 0 {height}"/><use xlink:href="#m{mark}" style="fill: {color}"/>
<g id="axes_1" clip-path="url(#{clip})"/></svg>
"""


def svg(**changed: str) -> bytes:
    values = {
        "date": "2026",
        "mark": "0123456789",
        "clip": "pabcdef0123",
        "color": "#1f77b4ff",
        "height": "3",
    }
    return SVG.format(**{**values, **changed}).encode()


def test_names_drawn_by_chance_are_left_out_of_svg(tmp_path: Path) -> None:
    found = judge(tmp_path, "a.svg", svg(), svg(date="2027", mark="aaaaaaaaaa", clip="pbbbbbbbbbb"))

    assert found.detail == "same content; left out: date, random names of 2 lines"


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"height": "4"}, "line 3: ..."),
        ({"color": "#2f77b4ff"}, "line 3: ..."),
        # A name is the same as another one: what was drawn refers to something else.
        ({"clip": "m0123456789"}, "line 4: "),
    ],
)
def test_what_is_drawn_in_svg_counts(tmp_path: Path, changed: dict[str, str], detail: str) -> None:
    found = judge(tmp_path, "a.svg", svg(), svg(**changed))

    assert found.verdict is Verdict.DIFFERS
    assert (found.detail or "").startswith(detail.removesuffix("..."))


def wav(*samples: int, rate: int = 8000, note: bytes = b"") -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    data = struct.pack(f"<{len(samples)}h", *samples)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    if note:
        chunks += b"LIST" + struct.pack("<I", len(note)) + note
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


def test_samples_and_rate_of_sound_count_and_notes_do_not(tmp_path: Path) -> None:
    one = wav(1, 2, 3, note=b"2026")

    assert judge(tmp_path, "a.wav", one, wav(1, 2, 3, note=b"2027")).detail == (
        "same content; left out: notes"
    )
    assert judge(tmp_path, "a.wav", one, wav(1, 2, 4, note=b"2026")).detail == (
        "samples[2, 0]: 3 -> 4 (1 of 3 numbers)"
    )
    assert judge(tmp_path, "a.wav", one, wav(1, 2, 3, rate=9, note=b"2026")).detail == (
        "format: rate: 8000 -> 9"
    )
