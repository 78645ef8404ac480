"""Read project files and what they include, and know which files that were."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from reenact.project.file.keys import ITEM_KEYS, OPERATION_KEYS, TYPELESS_KEYS
from reenact.project.file.model import Place
from reenact.project.file.packages import find_package, project_file_in
from reenact.project.file.section import Findings, describe, did_you_mean
from reenact.project.file.short_forms import normal_item
from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
    is_null,
    read_yaml,
)


class Item(NamedTuple):
    """An item of a project file: what it is, its name, and what it says."""

    kind: str
    name: str
    node: Mapping
    unit: Unit


class Unit:
    """A project file and all that it includes.

    Attributes:
        base: its directory, relative to the project's, or absolute.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.items: list[Item] = []

    def find(self, name: str) -> Item | None:
        """Return the model or config of a name."""
        for item in self.items:
            if item.name == name and item.kind in ("model", "config"):
                return item
        return None


class Files:
    """Reads project files, and knows what it has read.

    Attributes:
        directory: the project's.
        read: content of every file that was read or looked for, by absolute path; None where there
            is none.
        bases: base directory by file, as places spell it.
        is_whole: everything that was to be read could be.
    """

    def __init__(self, directory: str, places: Callable[[], list[str]], findings: Findings) -> None:
        """Begin with nothing.

        Args:
            directory: the project's, absolute.
            places: where packages are looked for.
            findings: where to put what is wrong.
        """
        self.directory = directory
        self.findings = findings
        self.read: dict[str, bytes | None] = {}
        self.bases: dict[str, str] = {}
        self.is_whole = True
        self._places = places
        self._packages: dict[str, Unit | None] = {}

    def load(self, path: str) -> Unit:
        """Read a project file and what it includes."""
        base = os.path.dirname(path)
        unit = Unit(os.path.relpath(base, self.directory) if self._is_inside(base) else base)
        self._load_into(unit, path, (), None)
        return unit

    def package(self, name: str) -> Unit | None:
        """Read the project file of a package; None if there is no such package."""
        if name not in self._packages:
            path = find_package(name, self._places())
            self._packages[name] = None if path is None else self.load(path)
        return self._packages[name]

    def spelled(self, path: str) -> str:
        """Return how places name a file."""
        return os.path.relpath(path, self.directory) if self._is_inside(path) else path

    def _is_inside(self, path: str) -> bool:
        return path == self.directory or path.startswith(self.directory.rstrip("/") + "/")

    def _load_into(
        self, unit: Unit, path: str, above: tuple[str, ...], asked: Place | None
    ) -> None:
        file = self.spelled(path)
        self.bases[file] = unit.base
        try:
            with open(path, "rb") as stream:
                content = stream.read()
        except OSError as error:
            self.read[path] = None
            place = asked or Place(file, 1)
            self.findings.error(place, f"`{file}` cannot be read: {error.strerror}")
            self.is_whole = False
            return
        self.read[path] = content
        try:
            root = read_yaml(content, file)
        except YamlError as error:
            self.findings.error(error.place, error.plain, error.hint)
            self.is_whole = False
            return
        for node in self._item_nodes(root):
            self._add(unit, node, path, above)

    def _item_nodes(self, root: Node | None) -> Iterable[Mapping]:
        if is_null(root):
            return
        if isinstance(root, Mapping):
            if self._is_lone_item(root):
                return
            if _has_claims(root):
                # They stand beside the operations, and are none.
                root = root.copy()
                claims = Mapping({}, {}, root.place)
                claims.put("claims", root.items["claims"], root.keys["claims"])
                root.drop("claims")
                yield claims
                if not root.items:
                    return
            key = Scalar("model", root.place, is_plain=True)
            name = Scalar("", root.place, is_plain=False)
            operations = Scalar("operations", root.place, is_plain=True)
            yield Mapping(
                {"model": name, "operations": root},
                {"model": key, "operations": operations},
                root.place,
            )
            return
        if not isinstance(root, Sequence):
            assert root is not None
            self.findings.error(
                root.place,
                f"a project file is a mapping of operations or a list, not {describe(root)}",
            )
            return
        for node in root.items:
            if isinstance(node, Mapping):
                yield node
            else:
                self.findings.error(
                    node.place, f"an item of the list is a mapping, not {describe(node)}"
                )

    def _is_lone_item(self, root: Mapping) -> bool:
        named = [name for name in ITEM_KEYS if name in root.items]
        if not named or "operations" not in root.items:
            return False
        self.findings.error(
            root.keys[named[0]].place,
            f"`{named[0]}` and `operations` stand in an item of a list",
            f"write `- {named[0]}: …`, and indent the rest",
        )
        return True

    def _add(self, unit: Unit, node: Mapping, path: str, above: tuple[str, ...]) -> None:
        kinds = [kind for kind in ITEM_KEYS if kind in node.items]
        if len(kinds) > 1:
            self.findings.error(
                node.keys[kinds[1]].place,
                f"an item is one of `{kinds[0]}` and `{kinds[1]}`, not both",
            )
            return
        if not kinds and any(key in node.items for key in TYPELESS_KEYS):
            node = node.copy()
            node.put("model", Scalar("", node.place, is_plain=False))
            kinds = ["model"]
        if not kinds:
            first = next(iter(node.items), None)
            hint = None if first is None else did_you_mean(first, ITEM_KEYS)
            listed = ", ".join(f"`{kind}`" for kind in ITEM_KEYS)
            self.findings.error(node.place, f"an item has one of {listed}", hint)
            return
        kind = kinds[0]
        if kind == "include":
            self._include(unit, node, path, above)
            return
        if kind == "claims":
            unit.items.append(Item(kind, "", node, unit))
            return
        name = node.items[kind]
        if not isinstance(name, Scalar):
            self.findings.error(name.place, f"the name of a {kind} is a text, not {describe(name)}")
            return
        text = "" if name.value is None else name.text
        if kind in ("model", "config"):
            # What is wrong in a config is wrong in all that inherits from it.
            node = normal_item(node, text if kind == "model" else None, self.findings)
        unit.items.append(Item(kind, text, node, unit))

    def _include(self, unit: Unit, node: Mapping, path: str, above: tuple[str, ...]) -> None:
        for name, key in node.keys.items():
            if name != "include":
                self.findings.warning(key.place, f"an include has no attribute `{name}`")
        value = node.items["include"]
        for item in value.items if isinstance(value, Sequence) else [value]:
            if not isinstance(item, Scalar) or item.value is None:
                self.findings.error(
                    item.place, f"`include` takes paths or packages, not {describe(item)}"
                )
                continue
            found = self._find_include(item.text, os.path.dirname(path))
            if found is None:
                self.is_whole = False
                self.findings.error(
                    item.place,
                    f"there is neither a file nor a package `{item.text}` to include",
                )
                continue
            chain = (*above, path)
            if found in chain:
                self.is_whole = False
                names = [self.spelled(p) for p in (*chain[chain.index(found) :], found)]
                self.findings.error(item.place, f"files include each other: {' → '.join(names)}")
                continue
            self._load_into(unit, found, chain, item.place)

    def _find_include(self, name: str, directory: str) -> str | None:
        path = os.path.realpath(os.path.join(directory, name))
        if os.path.isdir(path):
            path = project_file_in(path) or path
        if os.path.isfile(path):
            return path
        self.read.setdefault(path, None)
        return find_package(name, self._places())


def _has_claims(root: Mapping) -> bool:
    """Tell whether `claims` beside operations are claims, and not an operation of this name."""
    claims = root.get("claims")
    if not isinstance(claims, Mapping) or not claims.items:
        return False
    are_mappings = all(isinstance(one, Mapping) for one in claims.items.values())
    return are_mappings and not any(name in OPERATION_KEYS for name in claims.items)
