"""Bring together what a project file says in several places.

A model inherits what its parents (`extends`) say and it does not, mapping by mapping; then `{{params}}`
are filled in, `$include`s are replaced by what they name, and `operation-defaults` fill what operations
leave out. Everything keeps the place where it was written.
"""

from __future__ import annotations

import re

from reenact.project.file.files import Files, Item, Unit
from reenact.project.file.keys import SHARED_KEYS
from reenact.project.file.params import PARAM, Filler, param_name
from reenact.project.file.section import Findings, describe, did_you_mean
from reenact.project.file.short_forms import mapped
from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
    is_null,
)

_INHERITED = (
    "description", "extra", "flags", "operation-defaults", "operations", "params", "references",
    "resources", "sourcecode",
)  # fmt: skip
_REFERENCE = re.compile(
    r"(?:(?P<model>[^:#]*):(?P<operation>[^#]+)|(?P<config>[^:#]+))(?:#(?P<names>.+))?"
)
_LONGEST = 100_000
"""Characters of a param; a few lines that double each other can make more than memory holds."""


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
        fill = Filler(params, self.findings)
        node = fill.mapping(node)
        for section in ("operations", "resources"):
            value = node.get(section)
            if isinstance(value, Mapping):
                node.put(section, self._included(value, section, units, fill), node.keys[section])
        operations = node.get("operations")
        if isinstance(operations, Mapping):
            defaults = node.get("operation-defaults")

            def complete(name: str, value: Node) -> Node:
                with self.findings.of_operation(item.name, name):
                    return self._operation(value, defaults, units, fill)

            node.put("operations", mapped(operations, complete), node.keys["operations"])
        return node

    def _operation(
        self, node: Node, defaults: Node | None, units: list[Unit], fill: Filler
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

    def _step(self, node: Node, units: list[Unit], fill: Filler) -> Node:
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
            for part in PARAM.findall(value.text):
                self._param(param_name(part), params, (*above, name), found)
            value = Filler(found, None).node(value)
            if isinstance(value, Scalar) and len(value.text) > _LONGEST:
                self.findings.error(place, f"param `{name}` has more than {_LONGEST:,} characters")
                value = Scalar("", value.place, is_plain=False)
        found.setdefault(name, value)

    def _included(
        self,
        node: Mapping,
        section: str,
        units: list[Unit],
        fill: Filler,
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
