"""Configuration files: the run gets a copy in which flags have their values."""

from __future__ import annotations

import os
from collections.abc import Mapping

from reenact.actions.resources import Around, Planned, unmet
from reenact.actions.resources.file import plan_file, plan_setting
from reenact.errors import ReenactError
from reenact.model.flags import FlagValue
from reenact.project.dest_config import format_of, has_key, rewrite_config, target_of
from reenact.project.file.model import ResourceSource
from reenact.store.files import read_file


def plan_config(
    resource: str, source: ResourceSource, around: Around, setting: tuple[str, str] | None
) -> Planned:
    """Find a configuration file and the values to set in it: `params`, then flags of its names.

    Args:
        resource: what messages call it.
        source: what is required.
        around: where.
        setting: flag and path of the file that the user set instead.

    Raises:
        UnmetRequirement: it is not there, or cannot hold the values.
    """
    if setting is None:
        planned = plan_file(resource, source, around)
    else:
        planned = plan_setting(resource, source, setting[1], setting[0], around)
    if len(planned.pieces) != 1 or os.path.isdir(planned.pieces[0].at):
        raise unmet(resource, source, f"needs `{source.spec}`, which is not one file")
    piece = planned.pieces[0]
    if format_of(piece.at) is None:
        raise unmet(
            resource,
            source,
            f"needs `{source.spec}`, which is no configuration file that values can be set in",
            "there are YAML, JSON, TOML and INI",
        )
    try:
        content = read_file(piece.at)
        changes = _changes(content, piece.at, source.params, around.values)
        rewrite_config(content, piece.at, changes)
    except OSError as error:
        raise unmet(
            resource, source, f"needs `{source.spec}`, which cannot be read: {error.strerror}"
        ) from None
    except ReenactError as error:
        raise unmet(resource, source, f"cannot be filled in: {error.message}", error.hint) from None
    return planned._replace(changes=changes, pieces=(piece._replace(path=target_of(piece.path)),))


def _changes(
    content: bytes,
    path: str,
    params: Mapping[str, FlagValue],
    values: Mapping[str, FlagValue],
) -> dict[str, FlagValue]:
    flags = {
        name: value
        for name, value in values.items()
        if value is not None and has_key(content, path, name)
    }
    return {**params, **flags}
