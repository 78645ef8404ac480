"""Say where a file comes from: known by its content, whatever it is called and wherever it is."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.execute.data_sets import read_data_set
from reenact.model.identity import Digest, RunId
from reenact.model.paths import path_to_text
from reenact.model.run import File, Run
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import digest_file
from reenact.store.index import Index
from reenact.store.lineage import data_sets, makers_of, readers_of
from reenact.store.store import StoredRun

_MOST_TREES = 2000
"""Sources of so many runs, the latest, are looked through for a file that no run has made."""


class Role:
    """What a file is to a run."""

    MADE = "made"
    READ = "read"
    SOURCE = "source"


class Origin(NamedTuple):
    """A run that knows a file.

    Attributes:
        role: one of `Role`.
        paths: how the file is called there.
    """

    stored: StoredRun
    role: str
    paths: tuple[str, ...]


class Whence(NamedTuple):
    """What is known of a file. Nobody has seen it where there are no origins."""

    path: str
    digest: Digest
    size_bytes: int
    origins: tuple[Origin, ...]

    @property
    def maker(self) -> Origin | None:
        """The run that made it first: of those that reproduced it no one."""
        made = [origin for origin in self.origins if origin.role == Role.MADE]
        own = [one for one in made if one.stored.run and one.stored.run.reproduces is None]
        return next(iter([*own, *made]), None)


def whence(context: Context, path: str) -> Whence:
    """Find the runs that made a file, that read it, or whose source it was part of.

    Raises:
        NotFound: there is no such file.
        UsageError: it is a pipe or a device.
        ReenactError: it cannot be read.
    """
    place = os.path.join(context.directory, path)
    try:
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise UsageError(f"`{path}` is no regular file", hint="name a file that has an end")
        digest, size = digest_file(place)
    except FileNotFoundError:
        raise NotFound(f"there is no file `{path}`") from None
    except OSError as error:
        raise ReenactError(f"cannot read `{path}`: {error.strerror}") from None
    return whence_content(context, path, digest, size)


def whence_content(context: Context, path: str, digest: Digest, size: int) -> Whence:
    """Find the runs that know a content; see `whence`."""
    context.store.check_format()
    with Index(context.store) as index:
        made = makers_of(index, [digest]).get(digest, [])
        read = readers_of(index, [digest]).get(digest, [])
        sets = data_sets(index)
        holding = [one for one in sets if digest in _contents(context, one)]
        in_sets = readers_of(index, holding)
    origins = [*_origins(context, made, Role.MADE, digest)]
    origins += _origins(context, read, Role.READ, digest)
    for one in holding:
        names = _contents(context, one)[digest]
        for run_id in in_sets.get(one, []):
            origins += _of_data_set(context, run_id, one, names)
    if not origins:
        origins += _sources(context, digest)
    return Whence(path_to_text(path), digest, size, tuple(origins))


def _origins(
    context: Context, runs: Iterable[RunId], role: str, digest: Digest
) -> Iterator[Origin]:
    for run_id in runs:
        stored = context.store.read_run(run_id)
        if stored.run is None:
            continue
        files = stored.run.outputs if role == Role.MADE else stored.run.inputs
        paths = _paths(files, digest)
        # Digests are looked up by their first bits.
        if paths:
            yield Origin(stored, role, paths)


def _paths(files: Iterable[File], digest: Digest) -> tuple[str, ...]:
    return tuple(file.path for file in files if file.digest == digest)


def _of_data_set(
    context: Context, run_id: RunId, data_set: Digest, names: tuple[str, ...]
) -> Iterator[Origin]:
    stored = context.store.read_run(run_id)
    for path in _paths(stored.run.inputs if stored.run is not None else (), data_set):
        yield Origin(stored, Role.READ, tuple(f"{path}/{name}" for name in names))


def _contents(context: Context, data_set: Digest) -> dict[Digest, tuple[str, ...]]:
    try:
        listed = read_data_set(context.store.blobs, data_set).files
    except (ReenactError, msgspec.DecodeError):
        return {}
    found: dict[Digest, tuple[str, ...]] = {}
    for name, _, digest in listed:
        if digest is not None:
            found[digest] = (*found.get(digest, ()), name)
    return found


def _sources(context: Context, digest: Digest) -> Iterator[Origin]:
    """Yield the runs whose source a content was part of, each source once, the latest run first."""
    if not context.store.blobs.has(digest):
        return
    from reenact.actions.find import list_runs

    seen: set[Digest] = set()
    for one in list_runs(context, all_projects=True, limit=_MOST_TREES):
        stored = context.store.read_run(one.id)
        source = None if stored.run is None else stored.run.source
        if source is None or source.tree in seen:
            continue
        seen.add(source.tree)
        try:
            files = read_tree(context.store.blobs, source.tree).files
        except ReenactError:
            continue
        paths = tuple(path for path, _, _, found in files if found == digest)
        if paths:
            yield Origin(stored, Role.SOURCE, paths)


# --- steps ---


class Segment(NamedTuple):
    """A part of a result that went on from another one.

    Attributes:
        first_step: of the steps that its metrics have; None where it reported none.
        last_step: of the same.
        is_other_code: its source is not that of the segment before.
    """

    stored: StoredRun
    first_step: int | None
    last_step: int | None
    is_other_code: bool


def segments_of(context: Context, stored: StoredRun) -> list[Segment]:
    """Return the runs in which a result came about, the first one first: one that was resumed has several."""
    chain = [stored]
    while (former := _resumed(chain[-1].run)) is not None:
        if any(one.id == former for one in chain):
            break
        try:
            chain.append(context.store.read_run(former))
        except NotFound:
            break
    found: list[Segment] = []
    before: Run | None = None
    for one in reversed(chain):
        run = one.run
        steps = [] if run is None else _steps(run)
        is_other = before is not None and run is not None and _tree(before) != _tree(run)
        found.append(Segment(one, min(steps, default=None), max(steps, default=None), is_other))
        before = run or before
    return found


def segment_at(segments: Iterable[Segment], step: int) -> Segment:
    """Return the segment that made a step: the last one that reported it; raises NotFound."""
    for one in reversed([*segments]):
        first, last = one.first_step, one.last_step
        if first is not None and last is not None and first <= step <= last:
            return one
    raise NotFound(f"no run reported step {step}")


def _resumed(run: Run | None) -> RunId | None:
    return None if run is None else run.resumes


def _tree(run: Run) -> Digest | None:
    return None if run.source is None else run.source.tree


def _steps(run: Run) -> list[int]:
    from reenact.model.metrics import SAMPLED

    found = []
    for name, summary in run.metrics.items():
        if not name.startswith(SAMPLED):
            found += [summary.first_step, summary.last_step]
    return found
