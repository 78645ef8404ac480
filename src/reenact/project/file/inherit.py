"""Bring together what a project file says in several places.

`include` puts the items of other files in its place. A model inherits what its parents (`extends`) say
and it does not, mapping by mapping; then `{{params}}` are filled in, `$include`s are replaced by what
they name, and `operation-defaults` fill what operations leave out. Everything keeps the place where it
was written.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from reenact.project.file.keys import ITEM_KEYS, SHARED_KEYS, TYPELESS_KEYS
from reenact.project.file.model import Place
from reenact.project.file.packages import find_package, project_file_in
from reenact.project.file.section import Findings, describe, did_you_mean, truth
from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
    is_null,
    read_yaml,
)

_INHERITED = (
    "description", "extra", "flags", "operation-defaults", "operations", "params", "references",
    "resources", "sourcecode",
)  # fmt: skip
_PARAM = re.compile(r"(\{\{.*?\}\})")
_REFERENCE = re.compile(
    r"(?:(?P<model>[^:#]*):(?P<operation>[^#]+)|(?P<config>[^:#]+))(?:#(?P<names>.+))?"
)
_LONGEST = 100_000
"""Characters of a param; a few lines that double each other can make more than memory holds."""


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
        name = node.items[kind]
        if not isinstance(name, Scalar):
            self.findings.error(name.place, f"the name of a {kind} is a text, not {describe(name)}")
            return
        text = "" if name.value is None else name.text
        if kind in ("model", "config"):
            node = normal_item(node, self.findings)
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


def normal_item(node: Mapping, findings: Findings) -> Mapping:
    """Write out the short forms of a model or config: they can then be merged."""
    node = node.copy()
    operations = node.get("operations")
    if is_null(operations):
        node.drop("operations")
    elif isinstance(operations, Mapping):
        node.items["operations"] = _mapped(
            operations, lambda name, value: _normal_operation(name, value, findings)
        )
    else:
        assert operations is not None
        findings.error(
            operations.place, f"`operations` takes a mapping, not {describe(operations)}"
        )
        node.drop("operations")
    if "flags" in node.items:
        _normalise_flags(node, findings)
    defaults = node.get("operation-defaults")
    if isinstance(defaults, Mapping):
        normal = _normal_operation("operation-defaults", defaults, findings)
        node.items["operation-defaults"] = normal or defaults
    return node


def _mapped(node: Mapping, change: Callable[[str, Node], Node | None]) -> Mapping:
    items = {}
    for name, value in node.items.items():
        changed = change(name, value)
        if changed is not None:
            items[name] = changed
    return Mapping(items, {name: node.keys[name] for name in items}, node.place)


def _normal_operation(name: str, node: Node, findings: Findings) -> Node | None:
    if name == "$include":
        return node
    if isinstance(node, Sequence) or (isinstance(node, Scalar) and not _is_text(node)):
        findings.error(
            node.place, f"operation `{name}` takes a text or a mapping, not {describe(node)}"
        )
        return None
    if isinstance(node, Scalar):
        if node.value is None:
            return Mapping({}, {}, node.place)
        key = Scalar("main", node.place, is_plain=True)
        return Mapping({"main": node}, {"main": key}, node.place)
    node = node.copy()
    if "flags" in node.items:
        _normalise_flags(node, findings)
    return node


def _is_text(node: Scalar) -> bool:
    """Tell whether a scalar can be a text: anything but yes and no."""
    return not node.is_plain or truth(node) is None


def _normalise_flags(node: Mapping, findings: Findings) -> None:
    flags = node.items["flags"]
    if is_null(flags):
        node.drop("flags")
        return
    if not isinstance(flags, Mapping):
        findings.error(flags.place, f"`flags` takes a mapping, not {describe(flags)}")
        node.drop("flags")
        return
    flags = flags.copy()
    for short, name in (("$dest", "flags-dest"), ("$import", "flags-import")):
        value = flags.get(short)
        if value is not None:
            key = flags.keys[short]
            findings.note(key.place, f"`{short}` is an old way to write `{name}`")
            flags.drop(short)
            if name not in node.items:
                node.put(name, value, Scalar(name, key.place, is_plain=True))
    node.items["flags"] = _mapped(flags, _normal_flag)


def _normal_flag(name: str, node: Node) -> Node:
    if name == "$include" or isinstance(node, Mapping):
        return node
    key = Scalar("default", node.place, is_plain=True)
    return Mapping({"default": node}, {"default": key}, node.place)


class Inheritance:
    """Fills in what a model of a file inherits."""

    def __init__(self, files: Files, findings: Findings) -> None:
        self.files = files
        self.findings = findings
        self._known: dict[int, tuple[Mapping, list[Unit]]] = {}

    def resolve(self, item: Item) -> Mapping:
        """Return a model with all that it inherits; nothing is left to look up."""
        units = [item.unit]
        node = self._extended(item, (item.name,), units)
        params = self._params(node)
        fill = _Filler(params, self.findings)
        node = fill.mapping(node)
        for section in ("operations", "resources"):
            value = node.get(section)
            if isinstance(value, Mapping):
                node.put(section, self._included(value, section, units, fill), node.keys[section])
        operations = node.get("operations")
        if isinstance(operations, Mapping):
            defaults = node.get("operation-defaults")
            complete = _mapped(
                operations,
                lambda _, value: self._operation(value, defaults, units, fill),
            )
            node.put("operations", complete, node.keys["operations"])
        return node

    def _operation(
        self, node: Node, defaults: Node | None, units: list[Unit], fill: _Filler
    ) -> Node:
        assert isinstance(node, Mapping)
        node = node.copy()
        if isinstance(defaults, Mapping):
            for name, value in defaults.items.items():
                if name not in node.items:
                    node.put(name, value, defaults.keys[name])
        flags = node.get("flags")
        if isinstance(flags, Mapping) and "$include" in flags.items:
            node.items["flags"] = self._included(flags, "flags", units, fill)
        steps = node.get("steps")
        if isinstance(steps, Sequence):
            changed = [self._step(step, units, fill) for step in steps.items]
            node.items["steps"] = Sequence(changed, steps.place)
        return node

    def _step(self, node: Node, units: list[Unit], fill: _Filler) -> Node:
        flags = node.get("flags") if isinstance(node, Mapping) else None
        if not isinstance(flags, Mapping) or "$include" not in flags.items:
            return node
        assert isinstance(node, Mapping)
        included = self._included(flags, "flags", units, fill)
        values = {}
        for name, value in included.items.items():
            default = value.get("default") if isinstance(value, Mapping) else value
            values[name] = default or Scalar("", value.place, is_plain=True)
        node = node.copy()
        node.items["flags"] = Mapping(values, included.keys, included.place)
        return node

    def _extended(self, item: Item, above: tuple[str, ...], units: list[Unit]) -> Mapping:
        # Found once: parents that share parents would be looked at again and again.
        if id(item.node) not in self._known:
            node, own = item.node, [item.unit]
            for name in _names_in(node.get("extends")):
                parent = self._parent(name, item, above, own)
                if parent is not None:
                    node = _merged(node, parent, _INHERITED)
            self._known[id(item.node)] = (node, own)
        node, found = self._known[id(item.node)]
        units += [unit for unit in found if unit not in units]
        return node

    def _parent(
        self, name: Scalar, item: Item, above: tuple[str, ...], units: list[Unit]
    ) -> Mapping | None:
        text = name.text.strip()
        if text in above:
            chain = " → ".join((*above[above.index(text) :], text))
            self.findings.error(name.place, f"models extend each other: {chain}")
            return None
        package, slash, model = text.rpartition("/")
        if not slash:
            found = item.unit.find(text)
            if found is None:
                known = [i.name for i in item.unit.items if i.kind in ("model", "config")]
                self.findings.error(
                    name.place,
                    f"there is no model or config `{text}` to extend",
                    did_you_mean(text, known),
                )
                return None
            return self._extended(found, (*above, text), units)
        unit = self.files.package(package)
        found = None if unit is None else unit.find(model)
        if unit is None or found is None:
            what = (
                f"there is no package `{package}` here"
                if unit is None
                else f"package `{package}` has no model or config `{model}`"
            )
            self.findings.error(name.place, f"{what}, to extend `{text}`")
            return None
        if unit not in units:
            units.append(unit)
        return self._extended(found, (*above, text), units)

    def _params(self, node: Mapping) -> dict[str, Node]:
        params = node.get("params")
        if is_null(params):
            return {}
        if not isinstance(params, Mapping):
            assert params is not None
            self.findings.error(params.place, f"`params` takes a mapping, not {describe(params)}")
            return {}
        found: dict[str, Node] = {}
        for name in params.items:
            self._param(name, params, (), found)
        return found

    def _param(
        self, name: str, params: Mapping, above: tuple[str, ...], found: dict[str, Node]
    ) -> None:
        """Find the value of a param: other params in its text are filled in first."""
        value = params.items.get(name)
        if value is None or name in found:
            return
        place = params.keys[name].place
        if name in above:
            chain = " → ".join((*above[above.index(name) :], name))
            self.findings.error(place, f"params are made of each other: {chain}")
            found[name] = Scalar("", value.place, is_plain=False)
            return
        if isinstance(value, Scalar) and "{{" in value.text:
            for part in _PARAM.findall(value.text):
                self._param(_param_name(part), params, (*above, name), found)
            value = _Filler(found, None).node(value)
            if isinstance(value, Scalar) and len(value.text) > _LONGEST:
                self.findings.error(place, f"param `{name}` has more than {_LONGEST:,} characters")
                value = Scalar("", value.place, is_plain=False)
        found.setdefault(name, value)

    def _included(
        self,
        node: Mapping,
        section: str,
        units: list[Unit],
        fill: _Filler,
        seen: tuple[str, ...] = (),
    ) -> Mapping:
        """Replace `$include` in a section by what it names; the section's own entries count more."""
        include = node.get("$include")
        if include is None:
            return node
        result = Mapping({}, {}, node.place)
        for reference in _names_in(include):
            found = self._section(reference, section, units)
            if found is None or reference.text in seen:
                continue
            found = self._included(
                fill.mapping(found), section, units, fill, (*seen, reference.text)
            )
            names = _wanted_names(reference.text)
            for name, value in found.items.items():
                if names is None or name in names:
                    _override(result, name, value, found.keys[name])
            for name in names or ():
                if name not in found.items:
                    self.findings.error(
                        reference.place,
                        f"`{reference.text}` has no `{name}`",
                        did_you_mean(name, found.items),
                    )
        for name, value in node.items.items():
            if name != "$include":
                _override(result, name, value, node.keys[name])
        return result

    def _section(self, reference: Scalar, section: str, units: list[Unit]) -> Mapping | None:
        match = _REFERENCE.fullmatch(reference.text.strip())
        if match is None:
            self.findings.error(
                reference.place,
                f"`$include` takes `CONFIG[#NAME,…]` or `MODEL:OPERATION[#NAME,…]`, "
                f"not `{reference.text}`",
            )
            return None
        model = match["config"] if match["config"] is not None else match["model"]
        for unit in units:
            item = unit.find(model)
            if item is None:
                continue
            node: Node | None = self._extended(item, (model,), [])
            if match["operation"] is not None:
                operations = node.get("operations") if isinstance(node, Mapping) else None
                node = (
                    operations.get(match["operation"]) if isinstance(operations, Mapping) else None
                )
                if node is None:
                    continue
            found = node.get(section) if isinstance(node, Mapping) else None
            return found if isinstance(found, Mapping) else Mapping({}, {}, reference.place)
        known = [item.name for unit in units for item in unit.items]
        self.findings.error(
            reference.place,
            f"there is no `{reference.text}` to include",
            did_you_mean(model, known),
        )
        return None


class _Filler:
    """Fills params into texts. A node without any is returned as it is."""

    def __init__(self, params: dict[str, Node], findings: Findings | None) -> None:
        self.params = params
        self.findings = findings

    def node(self, node: Node) -> Node:
        if isinstance(node, Scalar):
            return self._scalar(node) if "{{" in node.text else node
        if isinstance(node, Mapping):
            return self.mapping(node)
        items = [self.node(item) for item in node.items]
        same = all(new is old for new, old in zip(items, node.items, strict=True))
        return node if same else Sequence(items, node.place)

    def mapping(self, node: Mapping) -> Mapping:
        items = {name: self.node(value) for name, value in node.items.items()}
        if all(items[name] is value for name, value in node.items.items()):
            return node
        return Mapping(items, node.keys, node.place)

    def _scalar(self, node: Scalar) -> Node:
        parts = [part for part in _PARAM.split(node.text) if part]
        values = [self._value(part, node) for part in parts]
        if len(parts) == 1 and values[0] is not None:
            value = values[0]
            if isinstance(value, Scalar):
                return Scalar(value.text, node.place, is_plain=value.is_plain, value=value.value)
            return value
        if all(value is None for value in values):
            return node
        texts = [
            value.text if isinstance(value, Scalar) else part
            for part, value in zip(parts, values, strict=True)
        ]
        return Scalar("".join(texts), node.place, is_plain=False)

    def _value(self, part: str, node: Scalar) -> Node | None:
        if not (part.startswith("{{") and part.endswith("}}")):
            return None
        name = _param_name(part)
        value = self.params.get(name)
        if value is None and self.findings is not None:
            self.findings.warning(
                node.place, f"there is no param `{name}`", did_you_mean(name, self.params)
            )
        return value


def _param_name(part: str) -> str:
    return part[2:-2].strip()


def _names_in(node: Node | None) -> list[Scalar]:
    """Return the texts of a text or list of texts; `[a, b]` as one text is a list too."""
    if node is None:
        return []
    found: list[Scalar] = []
    for item in node.items if isinstance(node, Sequence) else [node]:
        if not isinstance(item, Scalar) or item.value is None:
            continue
        text = item.text.strip()
        if text.startswith("[") and text.endswith("]"):
            found += [
                Scalar(part.strip(), item.place, is_plain=True)
                for part in text[1:-1].split(",")
                if part.strip()
            ]
        else:
            found.append(item)
    return found


def _wanted_names(reference: str) -> list[str] | None:
    _, mark, names = reference.partition("#")
    return [name.strip() for name in names.split(",") if name.strip()] if mark else None


def _merged(child: Mapping, parent: Mapping, only: tuple[str, ...] | None = None) -> Mapping:
    """Return a mapping with what it lacks taken from another one, all the way down."""
    node = child.copy()
    for name, value in parent.items.items():
        if only is not None and name not in only:
            continue
        own = node.items.get(name)
        if own is None:
            node.put(name, value, parent.keys[name])
        elif isinstance(own, Mapping) and isinstance(value, Mapping):
            node.items[name] = _merged(own, value)
    return node


def _override(node: Mapping, name: str, value: Node, key: Scalar) -> None:
    """Set an entry; the attributes of an entry that is there already are kept where not set again."""
    own = node.items.get(name)
    if isinstance(own, Mapping) and isinstance(value, Mapping):
        value = _merged(value, own)
    node.put(name, value, key)


assert set(_INHERITED) <= set(SHARED_KEYS)
