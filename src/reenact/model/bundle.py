"""Bundles: runs with all that they need, in one file, and the list of what that file holds."""

from __future__ import annotations

import re

import msgspec

from reenact.errors import Damaged
from reenact.model.identity import Digest, RunId, is_digest, is_run_id
from reenact.model.paths import text_to_path
from reenact.model.version import refuse_newer

FORMAT = 1
"""Version of the list. See `docs/reference/format.md`."""

MANIFEST = "bundle.json"
CRATE = "ro-crate-metadata.json"

NOT_KEPT = frozenset(
    """
    lock closing stop reserve probe opened processes reads contacted seeds randomness metrics.lines
    """.split()
)
"""Files in `.reenact/` that mean something only while a run runs, or were folded into its record."""

_TOP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z")


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something of a run that is not in the bundle.

    Attributes:
        run: whose.
        path: as its record has it.
        size_bytes: how large it is.
        reason: why it is not there.
    """

    run: RunId
    path: str
    size_bytes: int | None = None
    reason: str


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something private, and where it was.

    Attributes:
        what: what it is: `user name`; never the text itself.
        where: the file: its path in the source, in the run directory, among the data.
        line: of its first occurrence in a text.
        count: how often it was there.
        is_removed: it is not in the bundle; else somebody has allowed it.
    """

    what: str
    where: str
    line: int | None = None
    count: int = 1
    is_removed: bool = True


class Manifest(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """What a bundle holds: everything in it but this list itself.

    Attributes:
        runs: those that were asked for; others are there because these need them.
        files: path, permission bits, size in bytes and digest of each file, sorted by path.
        links: path and target of each symbolic link, sorted.
        reenact: version that wrote it.
        is_public: private things were taken out.
        findings: which, and what was allowed to stay.
        left_out: what of the runs is not there.
    """

    runs: tuple[RunId, ...]
    files: tuple[tuple[str, int, int, Digest], ...]
    links: tuple[tuple[str, str], ...] = ()
    reenact: str = ""
    is_public: bool = False
    findings: tuple[Finding, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the content of `bundle.json`."""
    return (
        msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=1) + b"\n"
    )


def decode_manifest(data: bytes, *, where: str) -> Manifest:
    """Read the content of `bundle.json`; raises Damaged, TooNew."""
    try:
        return msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse_newer(data, where, FORMAT)
        raise Damaged(f"{where} is damaged: {error}") from None


def problem_of_name(name: str) -> str | None:
    """Say why a file of this name must not be in a bundle; None where it may.

    Args:
        name: as in the archive: the path in a store, spelled as `model.paths` says.
    """
    parts = text_to_path(name).split("/")
    if "\0" in name or any(part in ("", ".", "..") for part in parts):
        return "its path leads elsewhere"
    if len(parts) == 1:
        return None if _TOP.match(name) else "nothing of this name belongs there"
    top, second, *rest = parts
    if top == "runs" and is_run_id(second) and rest:
        is_runtime = rest[0] == ".reenact" and (len(rest) == 1 or _is_not_kept(rest[1]))
        return "it means something only while a run runs" if is_runtime else None
    if top == "blobs" and len(rest) == 1 and is_digest(second + rest[0]) and len(second) == 2:
        return None
    if top == "reproductions" and not rest and is_run_id(second.removesuffix(".json")):
        return None if second.endswith(".json") else "it is no record"
    return "nothing of this name belongs there"


def is_kept_record_file(name: str) -> bool:
    """Tell whether a file or directory in a run's `.reenact/` belongs to the run once it has ended."""
    return not _is_not_kept(name)


def _is_not_kept(name: str) -> bool:
    return name in NOT_KEPT or name.startswith("reads-") or name.endswith(".tmp")
