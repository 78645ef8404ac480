"""Tell from where conda had the packages of an environment: its own records say it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from reenact.model.environment import PythonFacts
from reenact.model.secrets import redact_text
from reenact.store.files import read_file


class _CondaRecord(msgspec.Struct):
    url: str | None = None
    md5: str | None = None
    sha256: str | None = None
    files: tuple[str, ...] = ()


def conda_addresses(python: PythonFacts) -> tuple[str, ...]:
    """Return the exact address of every package, each `URL#HASH`; none outside of conda's."""
    found = []
    for record in _records(python):
        if record.url:
            url = redact_text(record.url)
            # Whatever reads it knows by its length which hash it is.
            digest = record.md5 or record.sha256
            found.append(f"{url}#{digest}" if digest else url)
    return tuple(found)


def conda_distributions(python: PythonFacts) -> frozenset[str]:
    """Return the names of directories with Python's metadata that conda's packages brought."""
    found = set()
    for record in _records(python):
        for path in record.files:
            if path.endswith(".dist-info/METADATA"):
                found.add(path.split("/")[-2])
    return frozenset(found)


def _records(python: PythonFacts) -> Iterator[_CondaRecord]:
    for prefix in (python.prefix, python.base_prefix):
        directory = f"{prefix}/conda-meta"
        if os.path.isdir(directory):
            break
    else:
        return
    for name in sorted(os.listdir(directory)):
        if name.endswith(".json"):
            with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                yield msgspec.json.decode(read_file(f"{directory}/{name}"), type=_CondaRecord)
