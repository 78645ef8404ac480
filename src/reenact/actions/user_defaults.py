"""What a user has set up once, put into what is asked for: as if it had been written each time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from reenact.actions.context import Context
from reenact.actions.ground import RunRequest, find_meant
from reenact.errors import BadProjectFile
from reenact.model.flags import FlagValue
from reenact.project.file.user_config_place import find_user_config
from reenact.project.flag_text import format_value, nearest

if TYPE_CHECKING:
    # What project files are made of takes long to import, and most runs are of scripts.
    from reenact.actions.defined_operation import Defined
    from reenact.project.file.model import OperationDefaults, UserConfig

_ALL = "*"


def user_config(context: Context) -> UserConfig | None:
    """Return the configuration that counts where a command is given; None if there is none.

    Raises:
        BadProjectFile: it cannot be used.
    """
    if find_user_config(context.root.path, context.env) is None:
        return None
    from reenact.project.file.user_config import load_user_config

    return load_user_config(context.root.path, context.env)


def with_user_defaults(request: RunRequest, context: Context) -> RunRequest:
    """Set what the user has set up for the operation and has not said now.

    A run that is made like another one is as that one was.

    Raises:
        BadProjectFile: the configuration cannot be used.
    """
    is_plain = request.like is None and request.restart is None and request.command is None
    config = user_config(context) if is_plain else None
    if config is None or not config.operations:
        return request
    for name in dict.fromkeys((*_names(request, context), _ALL)):
        defaults = config.operations.get(name)
        if defaults is not None:
            request = _with(request, defaults, name, config, context)
    return request


def _names(request: RunRequest, context: Context) -> list[str]:
    """Return what the operation is called, by the user and by its project file."""
    offered = find_meant(request, context)
    names = [] if request.target is None else [request.target]
    return names if offered is None else [*names, offered.name]


def _with(
    request: RunRequest,
    defaults: OperationDefaults,
    name: str,
    config: UserConfig,
    context: Context,
) -> RunRequest:
    python = defaults.python
    if python is not None and "/" in python:
        python = os.path.normpath(os.path.join(config.directory, os.path.expanduser(python)))
    gpus = "" if defaults.gpus == "none" else defaults.gpus
    return msgspec.structs.replace(
        request,
        settings={**_settings(request, defaults, name, context), **request.settings},
        label=request.label if request.label is not None else defaults.label,
        tags=tuple(dict.fromkeys((*request.tags, *defaults.tags))),
        variables={**defaults.env, **request.variables},
        python=request.python or python,
        gpus=request.gpus if request.gpus is not None else gpus,
    )


def _settings(
    request: RunRequest, defaults: OperationDefaults, name: str, context: Context
) -> dict[str, str | FlagValue]:
    """Return the flags of the configuration that are not set, as they are written on a command line."""
    offered = find_meant(request, context) if defaults.flags else None
    given = set(request.settings)
    if offered is not None and offered.definition.steps is None:
        from reenact.actions.defined_operation import define

        home = offered.project.directory
        flags = define(offered.definition, offered.project.file, home, home).flags
        for flag_name in defaults.flags:
            if flags.find(flag_name) is not None or request.force_flags or flags.open_ended:
                continue
            if name == _ALL:
                given.add(flag_name)  # Meant for those that have it.
                continue
            close = nearest(flag_name, [flag.name for flag in flags.flags])
            raise BadProjectFile(
                f"{defaults.place}: operation `{offered.name}` has no flag `{flag_name}`",
                hint=f"did you mean `{close}`?" if close else None,
            )
        given |= {flag.name for text in given if (flag := flags.find(text)) is not None}
    return {
        flag_name: value if isinstance(value, str) else format_value(value)
        for flag_name, value in defaults.flags.items()
        if flag_name not in given
    }


def with_local_resources(request: RunRequest, defined: Defined, context: Context) -> RunRequest:
    """Set what the user has on this machine instead of what an operation requires.

    Raises:
        BadProjectFile: the configuration cannot be used.
    """
    found = defined.memory.get("local resources")
    if found is None:
        config = user_config(context)
        found = {} if config is None else _local_resources(defined, config)
        defined.memory["local resources"] = found
    given = {flag.name for name in request.settings if (flag := defined.flags.find(name))}
    missing = {name: value for name, value in found.items() if name not in given}
    if not missing:
        return request
    return msgspec.structs.replace(request, settings={**missing, **request.settings})


def _local_resources(defined: Defined, config: UserConfig) -> Mapping[str, str]:
    from reenact.actions.resources.requirements import flag_names

    found: dict[str, str] = {}
    for required in defined.definition.requires if config.resources else ():
        resource = required.resource
        for source in resource.sources if resource is not None else ():
            assert resource is not None
            for name in flag_names(required, resource, source):
                flag = defined.flags.find(name)
                if name in config.resources and flag is not None:
                    found.setdefault(flag.name, _place(config.resources[name], config.directory))
    return found


def _place(text: str, directory: str) -> str:
    """Return the path that a text means, beside the configuration; what is none is a run or a URL."""
    path = os.path.normpath(os.path.join(directory, os.path.expanduser(text)))
    return path if os.path.exists(path) or text.startswith(("/", "~", "./", "../")) else text
