from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.model.paths import path_to_text, text_to_path

# The hard cases are common here: backslashes, `\xNN` in the name itself, bytes that are no UTF-8.
NAMES = st.lists(
    st.sampled_from(
        [b"\\", b"x", b"4", b"1", b"\xff", b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\n", b"/"]
    )
    | st.binary(min_size=1, max_size=3).filter(lambda part: b"\0" not in part),
    max_size=12,
).map(b"".join)


@given(NAMES)
def test_a_name_comes_back_as_the_same_bytes(name: bytes) -> None:
    text = path_to_text(os.fsdecode(name))

    assert os.fsencode(text_to_path(text)) == name


@given(NAMES)
def test_a_spelling_is_text_that_utf_8_can_hold(name: bytes) -> None:
    text = path_to_text(os.fsdecode(name))

    assert text.encode("utf-8").decode("utf-8") == text


@given(NAMES, NAMES)
def test_two_names_never_share_a_spelling(first: bytes, second: bytes) -> None:
    same_spelling = path_to_text(os.fsdecode(first)) == path_to_text(os.fsdecode(second))

    assert same_spelling == (first == second)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"train.py", "train.py"),
        ("d\u00e9j\u00e0 vu.csv".encode(), "d\u00e9j\u00e0 vu.csv"),
        (b"two\nlines", "two\nlines"),
        (b"back\\slash", "back\\\\slash"),
        (b"caf\xe9", "caf\\xe9"),
        (b"\\xe9", "\\\\xe9"),
        (b"\xe9\\", "\\xe9\\\\"),
    ],
)
def test_names_are_spelled_as_the_format_page_says(name: bytes, text: str) -> None:
    assert path_to_text(os.fsdecode(name)) == text
