"""Write out the short forms of models and configs, so that what they say can be merged."""

from __future__ import annotations

from collections.abc import Callable

from reenact.project.file.section import Findings, describe, truth
from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
    is_null,
)


def normal_item(node: Mapping, model: str | None, findings: Findings) -> Mapping:
    """Write out the short forms of a model or config: they can then be merged."""

    def normal(name: str, value: Node) -> Node:
        if model is None:
            return _normal_operation(name, value, findings)
        with findings.of_operation(model, name):
            return _normal_operation(name, value, findings)

    node = node.copy()
    operations = node.get("operations")
    if is_null(operations):
        node.drop("operations")
    elif isinstance(operations, Mapping):
        node.items["operations"] = mapped(operations, normal)
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
        node.items["operation-defaults"] = _normal_operation(
            "operation-defaults", defaults, findings
        )
    return node


def mapped(node: Mapping, change: Callable[[str, Node], Node]) -> Mapping:
    """Return a mapping with each value changed by its name."""
    items = {name: change(name, value) for name, value in node.items.items()}
    return Mapping(items, node.keys, node.place)


def _normal_operation(name: str, node: Node, findings: Findings) -> Node:
    if name == "$include":
        return node
    if isinstance(node, Sequence) or (isinstance(node, Scalar) and not _is_text(node)):
        findings.error(
            node.place, f"operation `{name}` takes a text or a mapping, not {describe(node)}"
        )
        return Mapping({}, {}, node.place)
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
    node.items["flags"] = mapped(flags, _normal_flag)


def _normal_flag(name: str, node: Node) -> Node:
    if name == "$include" or isinstance(node, Mapping):
        return node
    key = Scalar("default", node.place, is_plain=True)
    return Mapping({"default": node}, {"default": key}, node.place)
