"""What the index keeps of where a run's files come from and go to. See `store.lineage` for questions."""

from __future__ import annotations

import re
from array import array
from enum import IntEnum
from typing import NamedTuple, Self

import msgspec

from reenact.model.identity import Digest, RunId
from reenact.model.record import to_json
from reenact.model.run import File, Run

_DIGITS = 15
"""So many hexadecimal digits of a digest fit into an integer of SQLite."""
_IN_A_RUN = re.compile(r"/runs/([0-9a-f]{32})/")


class LinkKind(IntEnum):
    """How a run depends on an earlier one. The numbers stand in the index."""

    PART = 0
    """The earlier one, a batch or a pipeline, has started it."""
    REQUIRED = 1
    """Its operation required files, and was given those of the earlier one."""
    READ = 2
    """It has opened files in the directory of the earlier one, which nobody had declared."""
    LIKE = 3
    """It took over the earlier one's flags and source."""
    TAKEN = 4
    """It is a pipeline, and took the earlier one instead of starting an equal run."""
    REPRODUCES = 5
    """It is to show the result of the earlier one again."""
    RESUMES = 6
    """It went on from checkpoints of the earlier one."""


class ContentUse(IntEnum):
    """What a run had to do with a file's content. The numbers stand in the index."""

    MADE = 0
    READ = 1


class Lineage(NamedTuple):
    """What a run has rows for.

    Attributes:
        links: ids of earlier runs, with how this one depends on them; without its parent.
        contents: keys of what it has made and read, see `content_key`.
        data_sets: digests of inputs that are directories, each of a blob that lists files.
    """

    links: tuple[tuple[str, int], ...]
    contents: array[int]
    data_sets: tuple[Digest, ...] = ()

    def pack(self) -> tuple[bytes | None, bytes | None]:
        """Return what is needed to find the rows again."""
        return to_json(self.links) if self.links else None, self.contents.tobytes()

    @classmethod
    def unpack(cls, links: bytes | None, contents: bytes | None) -> Self:
        """Read what `pack` returned."""
        return cls(_decode(links) if links else (), array("q", contents or b""))


_decode = msgspec.json.Decoder(tuple[tuple[str, int], ...]).decode
# Members of an enumeration are slower to make, and there are many.
_REQUIRED, _READ_OF = LinkKind.REQUIRED.value, LinkKind.READ.value
_MADE, _READ = ContentUse.MADE.value, ContentUse.READ.value


def content_key(digest: str, use: int) -> int:
    """Return what stands in the index for a content and its use: 60 bits of the digest, and one more.

    Raises:
        ValueError: it is no digest.
    """
    return int(digest[:_DIGITS], 16) << 1 | use


def lineage_of(run: Run) -> Lineage | None:
    """Return what a run's record says of the runs and contents that it depends on, and has made."""
    inputs, outputs, dependencies = run.inputs, run.outputs, run.dependencies
    taken = None if run.pipeline is None else run.pipeline.took
    is_alone = run.like is None and run.reproduces is None and run.resumes is None
    if is_alone and not (inputs or outputs or dependencies or taken):
        return None
    links = {(one.run, _REQUIRED) for one in dependencies if one.run is not None}
    required = {earlier for earlier, _ in links}
    read = [one.digest for one in dependencies if one.digest is not None]
    sets = []
    for file in inputs:
        if file.digest is not None:
            read.append(file.digest)
            if file.files is not None:
                sets.append(file.digest)
        path = file.resolved or file.path
        found = _IN_A_RUN.search(path) if "/runs/" in path else None
        if found is not None and found[1] != run.id and found[1] not in required:
            links.add((RunId(found[1]), _READ_OF))
    made = [file.digest for file in outputs if file.digest is not None]
    if not is_alone:
        others = (
            (run.like, LinkKind.LIKE),
            (run.reproduces, LinkKind.REPRODUCES),
            (run.resumes, LinkKind.RESUMES),
        )
        links.update((earlier, kind.value) for earlier, kind in others if earlier is not None)
    if taken:
        links.update((earlier, LinkKind.TAKEN.value) for earlier in taken.values())
    try:
        keys = {content_key(digest, _READ) for digest in read}
        keys.update([content_key(digest, _MADE) for digest in made])
    except ValueError:
        keys = set()  # Somebody has edited the record: what it says here means nothing.
    return Lineage(tuple(links), array("q", keys), tuple(sets))


def path_in_run(file: File, run_id: str) -> str | None:
    """Return where an input lies in the directory of another run; None where it does not."""
    _, found, path = (file.resolved or file.path).partition(f"/runs/{run_id}/")
    return path if found else None
