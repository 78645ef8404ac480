"""Compose a configuration as Hydra does: a primary file, its defaults list, and one file per group.

Covered: groups, `_self_`, packages in defaults lists and in headers, overrides, nested defaults lists,
references to other choices. Not covered: search paths, configurations of packages, custom resolvers
(their text stays); what Hydra itself makes of it is what a run's record says in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from reenact.model.flags import FlagValue
from reenact.project.file import yaml

REQUIRED = "???"
"""A value that has to be set."""
SELF = "_self_"
_HEADER = re.compile(r"\s*#\s*@package\s+(\S+)\s*\Z")
_CHOICE = re.compile(r"\$\{(?:defaults\.\d+\.)?([\w/]+)\}")
_REFERENCE = re.compile(r"\$\{([\w.]+)\}\Z")
_WORDS_OF_1_1 = {
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF"), False),
}
"""OmegaConf reads YAML 1.1."""
_OCTAL = re.compile(r"[-+]?0[0-7]+\Z")
_UNDERSCORED = re.compile(r"[-+]?[1-9][0-9]*(?:_[0-9]+)+\Z")
_MOST_CONFIGS = 200
_DEEPEST = 20


class Leaf(NamedTuple):
    """A value of a configuration, and where it is written."""

    value: FlagValue
    place: str | None = None
    help: str | None = None


Tree: TypeAlias = dict[str, "Leaf | Tree"]


class Loaded(NamedTuple):
    """A configuration before it is composed.

    Attributes:
        tree: its own values.
        defaults: its defaults list, as plain data.
        package: where its values go, as its header says.
    """

    tree: Tree
    defaults: list[Any]
    package: str | None = None


class Group(NamedTuple):
    """A choice that a defaults list makes.

    Attributes:
        key: what overrides it on the command line: `db`, `db@backup`.
        path: directory of the files to choose from.
        choice: what is chosen; None for nothing, `???` where the user has to.
        place: of the configuration that asks for it.
    """

    key: str
    path: str
    choice: FlagValue
    place: str


class Composed(NamedTuple):
    """A configuration, and the choices that were made in it.

    Attributes:
        missing: configurations that were not found.
    """

    tree: Tree
    groups: dict[str, Group]
    missing: tuple[str, ...]


Load: TypeAlias = Callable[[str], Loaded | None]
"""Finds a configuration by its path without suffix, `db/mysql`."""


def compose(load: Load, primary: str, choices: Mapping[str, str]) -> Composed:
    """Compose a configuration.

    Args:
        load: finds files.
        primary: path of the primary configuration.
        choices: what is chosen instead of what defaults lists say, by group.
    """
    composer = _Composer(load, choices)
    tree: Tree = {}
    for package, own in composer.walk(primary, "", depth=0):
        merge(tree, _below(package, own))
    return Composed(tree, composer.groups, tuple(composer.missing))


class _Composer:
    def __init__(self, load: Load, choices: Mapping[str, str]) -> None:
        self._load = load
        self._choices: dict[str, FlagValue] = dict(choices)
        self._count = 0
        self.groups: dict[str, Group] = {}
        self.missing: dict[str, None] = {}

    def walk(self, path: str, package: str, *, depth: int) -> Iterator[tuple[str, Tree]]:
        """Yield what a configuration and those of its defaults list say, the last word last."""
        loaded = self._load(path)
        self._count += 1
        if loaded is None or depth > _DEEPEST or self._count > _MOST_CONFIGS:
            self.missing.setdefault(path)
            return
        entries = [entry for item in loaded.defaults if (entry := _entry(item)) is not None]
        base = path.rpartition("/")[0]
        for entry in entries:
            if entry.is_override:
                # What an outer configuration says counts more.
                self._choices.setdefault(_absolute(entry.name, base), entry.value)
        if not any(entry.name == SELF for entry in entries):
            entries.append(_Entry(SELF, None, None))
        for entry in entries:
            if entry.name == SELF:
                yield package, loaded.tree
            elif not entry.is_override and not entry.name.startswith(("hydra/", "/hydra/")):
                yield from self._follow(entry, base, package, path, depth)

    def _follow(
        self, entry: _Entry, base: str, package: str, origin: str, depth: int
    ) -> Iterator[tuple[str, Tree]]:
        name = _absolute(entry.name, base)
        if not entry.is_group:
            relative = entry.name.lstrip("/").rpartition("/")[0]
            yield from self.walk(
                name, self._package(entry, relative, name, package), depth=depth + 1
            )
            return
        key = name if entry.package is None else f"{name}@{_joined(package, entry.package)}"
        chosen = self._choices.get(key, entry.value)
        if isinstance(chosen, str):
            chosen = _CHOICE.sub(self._choice_of, chosen)
        self.groups[key] = Group(key, name, chosen, origin)
        relative = entry.name.lstrip("/")
        for one in chosen if isinstance(chosen, list) else [chosen]:
            if not isinstance(one, str) or one == REQUIRED:
                continue
            path = f"{name}/{one.removesuffix('.yaml')}"
            if entry.is_optional and self._load(path) is None:
                continue
            yield from self.walk(
                path, self._package(entry, relative, path, package), depth=depth + 1
            )

    def _choice_of(self, found: re.Match[str]) -> str:
        key = found[1]
        chosen = self.groups[key].choice if key in self.groups else self._choices.get(key)
        return chosen if isinstance(chosen, str) else found[0]

    def _package(self, entry: _Entry, relative: str, path: str, parent: str) -> str:
        """Return where the values of an entry go."""
        if entry.package is not None:
            return _joined(parent, entry.package)
        loaded = self._load(path)
        header = None if loaded is None else loaded.package
        group = path.rpartition("/")[0].replace("/", ".")
        if header is None or header == "_group_":
            return _joined(parent, relative.replace("/", "."))
        named = header.replace("_group_", group).replace("_name_", path.rpartition("/")[2])
        return _joined("", named)


class _Entry(NamedTuple):
    """An item of a defaults list."""

    name: str
    value: FlagValue
    package: str | None
    is_group: bool = False
    is_override: bool = False
    is_optional: bool = False


def _entry(item: Any) -> _Entry | None:
    if isinstance(item, str):
        name, _, package = item.partition("@")
        return _Entry(name.removesuffix(".yaml"), None, package or None)
    if not isinstance(item, dict):
        return None
    words: list[str] = []
    value: Any = None
    for key, given in item.items():
        # `{db: mysql, optional: true}` is how Hydra 1.0 wrote it.
        if key != "optional":
            words, value = key.split(), given
    if not words:
        return None
    name, _, package = words[-1].partition("@")
    return _Entry(
        name,
        value,
        package or None,
        is_group=True,
        is_override="override" in words[:-1],
        is_optional="optional" in words[:-1] or item.get("optional") is True,
    )


def _absolute(name: str, base: str) -> str:
    if name.startswith("/"):
        return name[1:]
    return f"{base}/{name}" if base else name


def _joined(parent: str, package: str) -> str:
    """Return a package below another one; `_global_` begins anew, `_here_` is the other one."""
    if package.startswith("_global_"):
        return package.removeprefix("_global_").lstrip(".")
    if package == "_here_":
        return parent
    return ".".join(part for part in (parent, package) if part)


def _below(package: str, tree: Tree) -> Tree:
    for name in reversed(package.split(".") if package else []):
        tree = {name: tree}
    return tree


def merge(into: Tree, other: Tree) -> None:
    """Set in one tree what another one says; nothing of the other is shared."""
    for name, value in other.items():
        if isinstance(value, Leaf):
            into[name] = value
            continue
        own = into.get(name)
        if not isinstance(own, dict):
            own = into[name] = {}
        merge(own, value)


def leaves(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Leaf]]:
    """Yield the values of a tree by their dotted names, in their order."""
    for name, value in tree.items():
        if isinstance(value, Leaf):
            yield prefix + name, value
        else:
            yield from leaves(value, f"{prefix}{name}.")


def resolved(tree: Tree, value: FlagValue, depth: int = 0) -> FlagValue:
    """Return what a value that refers to another one is; others stay as they are written."""
    if not isinstance(value, str) or depth > _DEEPEST:
        return value
    found = _REFERENCE.match(value)
    if found is None or found[1].startswith("."):
        return value
    at: Leaf | Tree | None = tree
    for part in found[1].split("."):
        at = at.get(part) if isinstance(at, dict) else None
    return resolved(tree, at.value, depth + 1) if isinstance(at, Leaf) else value


def read_config(content: bytes, file: str) -> Loaded:
    """Read a configuration file.

    Args:
        content: YAML.
        file: how places name the file.

    Raises:
        YamlError: it is not YAML, or not YAML that can be used.
    """
    package = None
    for line in content[:4000].decode("utf-8", "replace").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        if (found := _HEADER.match(line)) is not None:
            package = found[1]
    node = yaml.read_yaml(content, file)
    if not isinstance(node, yaml.Mapping):
        return Loaded({}, [], package)
    tree = _tree(node)
    defaults: Any = None
    if "defaults" in node.items and isinstance(node.items["defaults"], yaml.Sequence):
        tree.pop("defaults", None)
        defaults = yaml.plain_data(node.items["defaults"])
    return Loaded(tree, defaults or [], package)


def _tree(node: yaml.Mapping) -> Tree:
    tree: Tree = {}
    for name, item in node.items.items():
        if isinstance(item, yaml.Mapping) and item.items:
            tree[name] = _tree(item)
        else:
            tree[name] = Leaf(_value(item), str(item.place))
    return tree


def _as_of_1_1(text: str, value: FlagValue) -> FlagValue:
    """Return what a plain scalar means in YAML 1.1, as far as people write what it has of its own."""
    if text in _WORDS_OF_1_1:
        return _WORDS_OF_1_1[text]
    if text.startswith("0o"):
        return text
    if _OCTAL.match(text):
        return int(text, 8)
    return int(text) if _UNDERSCORED.match(text) else value


def _value(node: yaml.Node) -> FlagValue:
    if isinstance(node, yaml.Scalar):
        return _as_of_1_1(node.text, node.value) if node.is_plain else node.text
    if isinstance(node, yaml.Sequence):
        return [_value(item) for item in node.items]
    return {name: _value(item) for name, item in node.items.items()}
