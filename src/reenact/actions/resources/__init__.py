"""Put what an operation requires into its run directory: files, downloads, outputs of other runs.

Two steps: `requirements` finds out all that can be known before anything starts, `meet` does the rest
while the run is prepared. A kind of source is one module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from reenact.errors import ReenactError, UnmetRequirement
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest, RunId
from reenact.model.run import Dependency, Run
from reenact.store.store import Store

if TYPE_CHECKING:
    # What project files are made of takes long to import, and most runs are of scripts.
    from reenact.project.file.model import ResourceSource

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told what is loaded, how many bytes are there, and how many there will be, where that is known."""

SourceKey: TypeAlias = tuple[str | None, str, str]
"""Place in the project file, kind and address of a source: what identifies it in a record."""


class RequirementFailed(ReenactError):
    """What an operation requires could not be put there; its run is marked as failed."""


class Around(NamedTuple):
    """Where requirements are looked for.

    Attributes:
        root: the project's root: what is relative to it lies at the same place in the run directory.
        directory: where the user called: paths that he gives are relative to it.
        project: the project's id.
        package: the installed package whose operation requires it; None for the project's own.
        env: the environment that the run will have.
        python: path of its interpreter.
        python_path: directories for modules, absolute.
        values: the operation's flags.
        former: the run that is run again, whose choices count.
        memory: answers that all runs of one batch share.
        among: the runs that may be taken, where these are not all of the project.
        awaited: operations whose runs are still to come: they are not looked for.
        recorded: what is taken instead of looking, because it is not where it was: by place in the
            project file, kind and address of a source the dependencies that it became, with the
            pieces of each.
    """

    root: str
    directory: str
    project: str
    package: str | None
    store: Store
    env: Mapping[str, str]
    python: str | None
    python_path: tuple[str, ...]
    values: Mapping[str, FlagValue]
    former: Run | None
    memory: dict[Any, Any]
    among: tuple[RunId, ...] | None = None
    awaited: frozenset[str] = frozenset()
    recorded: Mapping[SourceKey, tuple[tuple[Dependency, tuple[Piece, ...]], ...]] = (
        MappingProxyType({})
    )


class Piece(NamedTuple):
    """A file, or a directory with all that is in it, and where it goes.

    Attributes:
        at: where it is, absolute.
        path: in the run directory.
        digest: that it had when it was made, where that is known.
    """

    at: str
    path: str
    digest: Digest | None = None


class Planned(NamedTuple):
    """A source of which is known all that can be known before the start.

    Attributes:
        resource: what messages call it.
        source: as in the project file, flags filled in.
        pieces: what is put into the run directory, as far as that is known.
        archive: the local file that is to be unpacked first.
        url: what is to be loaded first.
        pull: path of what DVC is to bring first.
        run: the run whose files these are.
        why: why this run, or what was set.
        flag: by which the user chose the run.
        flags: of that run, as `flag_to_json` writes them.
        version: of a module.
        changes: of a config source: values by dotted name.
        remarks: what the reader of the run must know.
    """

    resource: str
    source: ResourceSource
    pieces: tuple[Piece, ...] = ()
    archive: str | None = None
    url: str | None = None
    pull: str | None = None
    run: RunId | None = None
    why: str | None = None
    flag: str | None = None
    flags: Mapping[str, Any] = MappingProxyType({})
    version: str | None = None
    changes: Mapping[str, FlagValue] | None = None
    remarks: tuple[str, ...] = ()


def unmet(
    resource: str, source: ResourceSource, problem: str, hint: str | None = None
) -> Exception:
    """Return the error that says what is missing and where that is required."""
    return UnmetRequirement(f"{source.place}: `{resource}` {problem}", hint=source.help or hint)
