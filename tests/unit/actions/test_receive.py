"""Whatever somebody does to a bundle, it is taken or refused, with one line, and nothing else happens."""

from __future__ import annotations

import json
import os
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from reenact.actions.bundle.receive import receive, verify
from reenact.actions.context import Context
from reenact.errors import ReenactError

BUNDLE = Path(__file__).parents[2] / "compat" / "bundle-1.zip"
VALUES: list[Any] = [
    None, 0, -1, 1 << 70, 1e308, "", "x", "../..", "/etc/passwd", "a\0b", "\\x2e\\x2e", [], {}, [[]],
    {"a": 1}, True, "é" * 50, "runs", ".reenact",
]  # fmt: skip


def changed(value: Any, chance: random.Random, depth: int = 0) -> Any:
    """Return JSON in which something is another value, is missing, or is there twice."""
    if depth > 12 or chance.random() < 0.08 or not isinstance(value, dict | list) or not value:
        return chance.choice(VALUES)
    if isinstance(value, dict):
        key = chance.choice([*value])
        other: Any = dict(value)
        if chance.random() < 0.2:
            del other[key]
        else:
            other[key] = changed(value[key], chance, depth + 1)
        return other
    at = chance.randrange(len(value))
    kind = chance.random()
    if kind < 0.15:
        return value[:at] + value[at + 1 :]
    if kind < 0.3:
        return [*value, value[at]]
    return [*value[:at], changed(value[at], chance, depth + 1), *value[at + 1 :]]


def spoil_bytes(raw: bytes, chance: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(chance.choice([1, 1, 3, 20])):
        # The end has the directory of the archive.
        at = (
            chance.randrange(len(data))
            if chance.random() < 0.5
            else len(data) - 1 - chance.randrange(4000)
        )
        kind = chance.random()
        if kind < 0.6:
            data[at] = chance.randrange(256)
        elif kind < 0.8:
            del data[at : at + chance.randrange(1, 60)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 20))
    return bytes(data)


def spoil(path: Path, chance: random.Random) -> None:
    """Write a bundle that is not as it was, with digests that fit or not."""
    raw = BUNDLE.read_bytes()
    if chance.random() < 0.3:
        path.write_bytes(spoil_bytes(raw, chance))
        return
    with zipfile.ZipFile(BUNDLE) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    names = [name for name in members if name.endswith(".json") or name.startswith("blobs/")]
    name = chance.choice([*names, "bundle.json", "bundle.json"])
    try:
        value = json.loads(members[name])
    except ValueError:
        value = None
    for _ in range(chance.choice([1, 1, 2, 5])):
        value = changed(value, chance)
    data = json.dumps(value).encode()
    members[name] = data
    if name.startswith("blobs/"):
        del members[name]
        old, new = name[6:8] + name[9:], blake3(data).hexdigest()
        records = [one for one in members if one.endswith("/run.json")]
        members |= {one: members[one].replace(old.encode(), new.encode()) for one in records}
        members[f"blobs/{new[:2]}/{new[2:]}"] = data
    if name != "bundle.json":
        listed = json.loads(members["bundle.json"])
        listed["files"] = [
            [one, 0o644, len(content), blake3(content).hexdigest()]
            for one, content in sorted(members.items())
            if one != "bundle.json"
        ]
        members["bundle.json"] = json.dumps(listed).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for one, content in members.items():
            archive.writestr(one, content)


def refusal(context: Context, path: str) -> ReenactError | None:
    """Return why a bundle is not taken; None where it is."""
    try:
        verify(context, path)
        receive(context, path)
    except ReenactError as error:
        return error
    return None


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_changed_in_a_bundle_it_is_taken_or_refused(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(12):
        place = tmp_path / str(number)
        place.mkdir()
        path = place / "bundle.zip"
        spoil(path, chance)
        context = Context(env={}, directory=str(place), store=str(place / "store"))

        error = refusal(context, str(path))
        if error is not None:
            assert "\n" not in error.message
            kept = [
                *place.glob("store/runs/*"),
                *place.glob("store/blobs/*"),
                *place.glob("store/*.tmp"),
            ]
            assert kept == [], error.message
        assert {*os.listdir(place)} <= {"bundle.zip", "store"}
