"""What is private is found in bytes, replaced in texts, and nothing else is touched."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.actions.bundle.private import Needle, Private, private_texts, pseudonym, secrets_of
from reenact.actions.bundle.public import reindexed
from reenact.model.identity import RunId
from reenact.model.run import File, Operation, OperationKind, Project, Run

RUN = RunId("0123456789abcdef0123456789abcdef")
PRIVATE = Private(
    [
        Needle("home directory", b"/home/alice", b"/redacted/home"),
        Needle("project directory", b"/home/alice/thesis", b"/redacted/project"),
        Needle("user name", b"alice", b"somebody", is_word=True),
        Needle("value of TOKEN", b"hunter2", b"<redacted>"),
    ],
    [RUN],
)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("in /home/alice/thesis/x", "in /redacted/project/x"),
        ("/home/alice", "/redacted/home"),
        ("file:///home/alice/x", "file:///redacted/home/x"),
        ("/home/alice2 /home/alice-old", "/home/alice2 /home/somebody-old"),
        ("/mnt/home/alice", "/mnt/home/somebody"),
        ("alice, Alice, malice, alice_2", "somebody, Alice, malice, somebody_2"),
        ("xhunter2x", "x<redacted>x"),
        ("https://bob:pass@host/x", "https://host/x"),
        ("http://host:80/a@b", "http://host:80/a@b"),
        (f"runs/{RUN}/x", f"runs/{pseudonym(RUN)}/x"),
        (f"{RUN}0 {RUN[:31]}", f"{RUN}0 {RUN[:31]}"),
        (f"run {RUN[:8]}", f"run {pseudonym(RUN)[:8]}"),
        ("ghp_" + "a1B2" * 9, "<redacted>"),
        ("nothing here", "nothing here"),
    ],
)
def test_texts_are_replaced(text: str, public: str) -> None:
    data, hits = PRIVATE.replace(text.encode())
    assert data.decode() == public
    assert bool(hits) == (text != public)


def test_names_stay_where_they_mean_something_else_and_are_told() -> None:
    data, hits = PRIVATE.replace(b"alice at /home/alice", words=False)
    assert data == b"alice at /redacted/home"
    assert [hit.what for hit in hits] == ["user name", "home directory"]


def test_short_names_are_not_looked_for_in_numbers() -> None:
    private = Private([Needle("user name", b"bob", b"somebody", is_word=True)], [])
    assert private.hits(b"\x00bob\x00", is_text=False) == []
    assert len(private.hits(b" bob ")) == 1


@given(
    st.lists(
        st.sampled_from(["/home/alice", "alice", "hunter2", f" {RUN}.", "x", "/", " ", "\n", "é"])
    )
)
def test_nothing_private_is_left_and_replacing_twice_is_replacing_once(parts: list[str]) -> None:
    data, _ = PRIVATE.replace("".join(parts).encode())
    again, hits = PRIVATE.replace(data)
    assert (again, hits) == (data, [])
    assert b"hunter2" not in data


@pytest.mark.parametrize("before", [0, 1, (1 << 20) - 40, (1 << 20) - 16, (1 << 20) - 1, 1 << 20])
def test_an_id_is_found_wherever_it_lies(before: int) -> None:
    found = PRIVATE.hits(b"." * before + RUN.encode() + b"." * 99)
    assert [(hit.start, hit.end) for hit in found] == [(before, before + 32)]


def test_directories_called_as_a_user_are_private_wherever_they_are() -> None:
    record = Run(
        id=RUN,
        operation=Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        project=Project(id="path:/scratch/alice/p", name="p", root="/scratch/alice/p"),
        command=("/home/alice/bin/python",),
        created=datetime.now(UTC),
        inputs=(File(path="/scratch/alice/data/x.csv"),),
    )
    env = {"USER": "alice"}
    needles = private_texts(
        [record], env, "/home/alice", "/home/alice/.reenact", ["atlas.lab", "gpu"]
    )
    private = Private(needles, [])
    for text, public in {
        "/scratch/alice/data/x.csv": "/redacted/scratch/data/x.csv",
        "/home/alice/.reenact/runs": "/redacted/store/runs",
        "/home/alice/x": "/redacted/home/x",
        "on atlas, at atlas.lab, gpu 0": "on somewhere, at somewhere, gpu 0",
    }.items():
        assert private.replace(text.encode())[0].decode() == public
    assert private.replace(b"/scratch/alice/p/x")[0].startswith(b"/redacted/project-")


def test_secrets_are_values_of_telling_names() -> None:
    env = {
        "MY_TOKEN": "abcdefgh",
        "api_key": "p q&r/st",
        "SHORT_KEY": "us",
        "MAX_TOKENS": "100000",
        "PATH": "/usr/bin",
    }
    found = {needle.text for needle in secrets_of(env)}
    assert found == {b"abcdefgh", b"p q&r/st", b"p%20q%26r/st"}


@given(
    st.lists(
        st.sampled_from([b"/home/alice", b"hunter2", b"he", b"llo", b" ", b"/home/al", b"ice"])
    )
)
def test_a_log_and_its_index_still_fit_together(pieces: list[bytes]) -> None:
    entry = struct.Struct("<qIB3x")
    index = b"".join(entry.pack(n, len(piece), 1) for n, piece in enumerate(pieces))
    data = b"".join(pieces)
    public, hits = PRIVATE.replace(data)
    entries = [*entry.iter_unpack(reindexed(index, hits))]
    assert sum(length for _, length, _ in entries) == len(public)
    assert [(time, stream) for time, _, stream in entries] == [(n, 1) for n in range(len(pieces))]
