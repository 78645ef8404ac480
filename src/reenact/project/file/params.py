"""Fill params into the texts of a model: `{{name}}`."""

from __future__ import annotations

import re

from reenact.project.file.section import Findings, did_you_mean
from reenact.project.file.yaml import (
    Mapping,
    Node,
    Scalar,
    Sequence,
)

PARAM = re.compile(r"(\{\{.*?\}\})")


class Filler:
    """Fills params into texts. A node without any is returned as it is."""

    def __init__(self, params: dict[str, Node], findings: Findings | None) -> None:
        self.params = params
        self.findings = findings

    def node(self, node: Node) -> Node:
        """Fill params into whatever is in a node."""
        if isinstance(node, Scalar):
            return self._scalar(node) if "{{" in node.text else node
        if isinstance(node, Mapping):
            return self.mapping(node)
        items = [self.node(item) for item in node.items]
        same = all(new is old for new, old in zip(items, node.items, strict=True))
        return node if same else Sequence(items, node.place)

    def mapping(self, node: Mapping) -> Mapping:
        """Fill params into the values of a mapping."""
        items = {name: self.node(value) for name, value in node.items.items()}
        if all(items[name] is value for name, value in node.items.items()):
            return node
        return Mapping(items, node.keys, node.place)

    def _scalar(self, node: Scalar) -> Node:
        parts = [part for part in PARAM.split(node.text) if part]
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
        name = param_name(part)
        value = self.params.get(name)
        if value is None and self.findings is not None:
            self.findings.warning(
                node.place, f"there is no param `{name}`", did_you_mean(name, self.params)
            )
        return value


def param_name(part: str) -> str:
    """Return the name in a `{{name}}`."""
    return part[2:-2].strip()
