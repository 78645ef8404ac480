"""Read what a user has set up: `~/.config/reenact/config.yml`, or what the project has instead."""

from __future__ import annotations

import os
from collections.abc import Mapping as Mapping_
from typing import Any

from reenact.errors import BadProjectFile
from reenact.project.file.keys import DEFAULTS_KEYS, USER_CONFIG_KEYS, Key
from reenact.project.file.model import Level, OperationDefaults, Place, UserConfig
from reenact.project.file.section import Findings, Section, describe, did_you_mean
from reenact.project.file.user_config_place import find_user_config
from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
    is_null,
    plain_data,
    read_yaml,
)

_DIFF_KEYS = {"command": Key("text", "the program that compares files")}


def load_user_config(directory: str, env: Mapping_[str, str]) -> UserConfig | None:
    """Read the configuration that counts in a project.

    Raises:
        BadProjectFile: there is one, and it cannot be used.
    """
    path = find_user_config(directory, env)
    if path is None:
        return None
    findings = Findings()
    config = read_user_config(path, _shown(path, directory), findings)
    for finding in findings.all:
        if finding.level is Level.ERROR:
            raise BadProjectFile(str(finding), hint=finding.hint)
    return config


def _shown(path: str, directory: str) -> str:
    """Return how messages name the file: short where it is the project's or the user's own."""
    for base, sign in ((directory, ""), (os.path.expanduser("~"), "~/")):
        if path.startswith(f"{base}/"):
            return f"{sign}{path[len(base) + 1 :]}"
    return path


def read_user_config(path: str, shown: str, findings: Findings) -> UserConfig:
    """Read a configuration and collect what is wrong with it.

    Args:
        path: of the file.
        shown: how places name it.
        findings: where to put what is wrong.
    """
    place = Place(shown, 1)
    empty = UserConfig(place=place, directory=os.path.dirname(path))
    try:
        with open(path, "rb") as file:
            root = read_yaml(file.read(), shown)
    except OSError as error:
        findings.error(place, f"`{shown}` cannot be read: {error.strerror}")
        return empty
    except YamlError as error:
        findings.error(error.place, error.plain, error.hint)
        return empty
    if root is None or is_null(root):
        return empty
    if not isinstance(root, Mapping):
        findings.error(root.place, f"a configuration is a mapping, not {describe(root)}")
        return empty
    section = Section(root, USER_CONFIG_KEYS, "the configuration", findings)
    diff = section.mapping("diff")
    command = None
    if diff is not None:
        command = Section(diff, _DIFF_KEYS, "`diff`", findings).text("command")
    return UserConfig(
        place=place,
        directory=os.path.dirname(path),
        operations=_read_operations(section, findings),
        resources=section.text_map("resources"),
        remotes=_read_remotes(section, findings),
        diff_command=command,
        notes=tuple(findings.all),
    )


def _read_operations(section: Section, findings: Findings) -> dict[str, OperationDefaults]:
    operations = section.mapping("operations")
    found: dict[str, OperationDefaults] = {}
    for name, node in () if operations is None else operations.items.items():
        if not isinstance(node, Mapping):
            findings.error(node.place, f"operation `{name}` takes a mapping, not {describe(node)}")
            continue
        one = Section(node, DEFAULTS_KEYS, f"operation `{name}`", findings)
        found[name] = OperationDefaults(
            place=node.place,
            flags=one.values("flags"),
            label=one.text("label"),
            tags=one.texts("tags"),
            env=one.text_map("env"),
            python=one.text("python"),
            gpus=one.text("gpus"),
        )
    return found


def _read_remotes(section: Section, findings: Findings) -> dict[str, dict[str, Any]]:
    configs = section.mapping("config")
    remotes = section.mapping("remotes")
    # A remote may extend another one as well, which counts more than a config of this name.
    known = {
        **({} if configs is None else configs.items),
        **({} if remotes is None else remotes.items),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, node in () if remotes is None else remotes.items.items():
        if isinstance(node, Mapping):
            found[name] = _extended(node, known, (name,), findings)
        else:
            findings.error(node.place, f"remote `{name}` takes a mapping, not {describe(node)}")
    return found


def _extended(
    node: Mapping, configs: dict[str, Node], above: tuple[str, ...], findings: Findings
) -> dict[str, Any]:
    data = {name: plain_data(value) for name, value in node.items.items() if name != "extends"}
    extends = node.get("extends")
    for item in extends.items if isinstance(extends, Sequence) else [extends]:
        if not isinstance(item, Scalar) or item.value is None:
            continue
        parent = configs.get(item.text)
        if item.text in above:
            chain = " → ".join((*above[above.index(item.text) :], item.text))
            findings.error(item.place, f"remotes extend each other: {chain}")
        elif not isinstance(parent, Mapping):
            findings.error(
                item.place,
                f"there is no remote or config `{item.text}` to extend",
                did_you_mean(item.text, configs),
            )
        else:
            inherited = _extended(parent, configs, (*above, item.text), findings)
            data = {**inherited, **data}
    return data
