"""Take what a run required from where its content is now, when it is not where it was any more."""

from __future__ import annotations

from collections.abc import Mapping

from reenact.actions.resources import Around, Piece, Planned, SourceKey
from reenact.model.paths import printable, text_to_path
from reenact.model.run import Dependency, Run
from reenact.model.secrets import redact_text
from reenact.project.file.model import ResourceSource, SourceKind


def recorded_sources(
    former: Run | None, required: Mapping[str, str]
) -> dict[SourceKey, tuple[tuple[Dependency, tuple[Piece, ...]], ...]]:
    """Return the sources of which all files are named in `required`, by what identifies them.

    Args:
        former: the run whose requirements these are.
        required: path in the run directory -> where its content is.
    """
    found: dict[SourceKey, tuple[tuple[Dependency, tuple[Piece, ...]], ...]] = {}
    for one in former.dependencies if former is not None and required else ():
        paths = [text_to_path(text) for text in one.paths]
        if paths and all(path in required for path in paths):
            pieces = tuple(Piece(required[path], path) for path in paths)
            found[key_of(one)] = (*found.get(key_of(one), ()), (one, pieces))
    return found


def key_of(dependency: Dependency) -> SourceKey:
    """Return what identifies the source that a dependency came of."""
    return dependency.place, dependency.kind, dependency.uri


def plan_recorded(name: str, source: ResourceSource, around: Around) -> list[Planned] | None:
    """Plan a source from the record; None where it is to be looked for as ever."""
    key = printable(str(source.place)), str(source.kind), printable(redact_text(source.spec))
    recorded = around.recorded.get(key)
    if recorded is None:
        return None
    why = "its recorded content"
    if source.kind is SourceKind.CONFIG:
        from reenact.actions.resources.config import plan_config

        at = recorded[0][1][0].at
        return [plan_config(name, source, around, (name, at))._replace(why=why)]
    return [
        Planned(name, source, pieces, run=one.run, why=one.why or why, flags=one.flags)
        for one, pieces in recorded
    ]
