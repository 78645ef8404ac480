"""What it takes to install the packages of a run again, months later and elsewhere.

The description of an environment says names and versions; a lock adds how to prove that a package
is the same one, where it could be had, and the content of those that no index has. It is a blob of
deterministic JSON: environments with the same packages share one.
"""

from __future__ import annotations

import msgspec

from reenact.errors import Damaged
from reenact.model.identity import Digest
from reenact.model.version import refuse_newer

FORMAT = 1
"""Version of all values. See `docs/reference/locks.md`."""


class EditableSource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A directory that an editable installation puts on the path.

    Attributes:
        path: relative to the installation's location; empty for that itself.
        tree: what it held: digest of a blob that lists a source tree.
    """

    path: str = ""
    tree: Digest


class Editable(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A distribution that is imported from its source directory.

    Attributes:
        location: that directory, where it was.
        project: its path in the project of the run: the run's own source is its source. None for
            one that lies elsewhere.
        sources: what it held, for one that lies elsewhere.
    """

    location: str
    project: str | None = None
    sources: tuple[EditableSource, ...] = ()


class Locked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An installed distribution.

    Attributes:
        name: normalised as in the environment.
        version: as in the environment.
        digest: of paths and hashes in its RECORD, in a form in which it does not matter who
            installed it where.
        tag: of the wheel that it was installed from: `cp311-cp311-manylinux_2_28_x86_64`.
        installer: `conda` and the like; None for pip and uv.
        files: digest of a blob that lists the content of the wheel that makes it again, for one
            that no index has.
        editable: where its source is, for one that is imported in place.
        url: where it came from when it was no index, for one whose content was not kept: as pip and
            uv take it after `@`.
        reason: why there is no digest, or why its content was not kept.
    """

    name: str
    version: str
    digest: Digest | None = None
    tag: str | None = None
    installer: str | None = None
    files: Digest | None = None
    editable: Editable | None = None
    url: str | None = None
    reason: str | None = None


class Indexes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where pip and uv were told to look for packages, credentials redacted.

    Attributes:
        index: in place of PyPI.
        extra: others beside it, in the order in which they are asked.
        find_links: directories and pages with wheels.
        no_index: nothing but these.
        certificate: file with the authorities to trust.
        trusted: hosts whose certificate is not looked at.
    """

    index: str | None = None
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    certificate: str | None = None
    trusted: tuple[str, ...] = ()


class Lock(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="format", tag=FORMAT
):
    """What it takes to install the packages of an environment again.

    Attributes:
        packages: sorted by name.
        conda: exact addresses of conda's packages, each `URL#MD5`.
    """

    packages: tuple[Locked, ...] = ()
    conda: tuple[str, ...] = ()
    indexes: Indexes = Indexes()

    def trees(self) -> tuple[Digest, ...]:
        """Return the blobs that list files which are blobs themselves."""
        found: dict[Digest, None] = {}
        for package in self.packages:
            if package.files is not None:
                found[package.files] = None
            if package.editable is not None:
                found.update(dict.fromkeys(source.tree for source in package.editable.sources))
        return tuple(found)


def decode_lock(data: bytes, *, where: str) -> Lock:
    """Read a blob that holds a lock; raises Damaged, TooNew.

    Args:
        data: the blob's content, as `record.to_json` made it.
        where: how to call it in a message.
    """
    try:
        return msgspec.json.decode(data, type=Lock)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse_newer(data, where, FORMAT)
        raise Damaged(
            f"{where} is damaged: {error}", hint="`reenact fsck` lists what is wrong in the store"
        ) from None
