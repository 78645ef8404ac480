"""Take typed values out of nodes, and collect whatever is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from reenact.project.file.keys import Key
from reenact.project.file.model import Finding, Level, Place
from reenact.project.file.yaml import Mapping as MappingNode
from reenact.project.file.yaml import Node, Scalar, Sequence, is_null, plain_data
from reenact.project.flag_text import nearest

if TYPE_CHECKING:
    from reenact.model.flags import FlagValue

_TRUTHS = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}


class Owner(NamedTuple):
    """A part of a project file that can be bad while all else is good."""

    kind: str
    model: str
    name: str


class Findings:
    """What was found, in the order in which it was, and what errors stand in the way of.

    Attributes:
        errors: by the operation or resource that they keep from being used; of None those that keep
            all of the file from it.
    """

    def __init__(self) -> None:
        self.all: list[Finding] = []
        self.errors: dict[Owner | None, list[Finding]] = {}
        self._owner: Owner | None = None

    @contextmanager
    def of_operation(self, model: str, name: str) -> Iterator[None]:
        """What is found meanwhile is about this operation and nothing else."""
        with self._of(Owner("operation", model, name)):
            yield

    @contextmanager
    def of_resource(self, model: str, name: str) -> Iterator[None]:
        """What is found meanwhile is about this resource and whatever requires it."""
        with self._of(Owner("resource", model, name)):
            yield

    @contextmanager
    def of_claims(self) -> Iterator[None]:
        """What is found meanwhile keeps no operation from being used."""
        with self._of(Owner("claims", "", "")):
            yield

    @contextmanager
    def _of(self, owner: Owner) -> Iterator[None]:
        before, self._owner = self._owner, owner
        try:
            yield
        finally:
            self._owner = before

    def requires(self, model: str, resource: str) -> bool:
        """Make the errors of a resource those of what is read just now; tell whether it has any."""
        errors = self.errors.get(Owner("resource", model, resource), [])
        for finding in errors:
            self._blame(finding)
        return bool(errors)

    def _blame(self, finding: Finding) -> None:
        errors = self.errors.setdefault(self._owner, [])
        if finding not in errors:
            errors.append(finding)

    def error(self, place: Place, message: str, hint: str | None = None) -> None:
        """Note something for which the file cannot be used."""
        self.add(Level.ERROR, place, message, hint)

    def warning(self, place: Place, message: str, hint: str | None = None) -> None:
        """Note a likely mistake."""
        self.add(Level.WARNING, place, message, hint)

    def note(self, place: Place, message: str, hint: str | None = None) -> None:
        """Note something without effect."""
        self.add(Level.NOTE, place, message, hint)

    def add(self, level: Level, place: Place, message: str, hint: str | None = None) -> None:
        """Note something, once: what is inherited is read several times."""
        finding = Finding(level=level, place=place, message=message, hint=hint)
        if level is Level.ERROR:
            self._blame(finding)
        if finding not in self.all:
            self.all.append(finding)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the nearest of what is known."""
    close = nearest(name, known)
    return f"did you mean `{close}`?" if close is not None else None


def flag_value(node: Node | None) -> FlagValue:
    """Return a flag's value; `yes`, `no`, `on` and `off` are booleans, as on the command line."""
    if isinstance(node, Scalar):
        if node.is_plain and isinstance(node.value, str):
            truth = _TRUTHS.get(node.value.lower())
            return node.value if truth is None else truth
        value: FlagValue = node.value
        return value
    if isinstance(node, Sequence):
        return [flag_value(item) for item in node.items]
    if isinstance(node, MappingNode):
        return {name: flag_value(item) for name, item in node.items.items()}
    return None


def truth(node: Node) -> bool | None:
    """Return what a node says where yes or no is meant; None if neither."""
    if not isinstance(node, Scalar):
        return None
    if isinstance(node.value, bool):
        return node.value
    return _TRUTHS.get(node.text.lower())


def describe(node: Node) -> str:
    """Name what stands there, for messages."""
    if isinstance(node, Sequence):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    if node.value is None:
        return "nothing"
    return f"`{node.text}`"


class Section:
    """A mapping of attributes: each is asked for by name and type.

    Whatever has another type is an error; so is a pattern that is none. Null is as if it were not
    there, everywhere.
    """

    def __init__(
        self,
        node: MappingNode,
        keys: Mapping[str, Key],
        what: str,
        findings: Findings,
        *,
        ignored: Iterable[str] = (),
    ) -> None:
        """Look at a mapping.

        Args:
            node: the mapping.
            keys: what may stand in it.
            what: how messages call it: `operation train`.
            findings: where to put what is wrong.
            ignored: other keys that are somebody else's.
        """
        self.node = node
        self.what = what
        self.findings = findings
        for name, key in node.keys.items():
            known = keys.get(name)
            if known is None:
                if name not in ignored:
                    findings.warning(
                        key.place,
                        f"{what} has no attribute `{name}`",
                        did_you_mean(name, keys),
                    )
            elif known.note is not None and not is_null(node.items[name]):
                findings.note(key.place, f"`{name}` has no effect: {known.note}")

    def get(self, name: str) -> Node | None:
        """Return an attribute as it stands, None where it is null too."""
        node = self.node.items.get(name)
        return None if is_null(node) else node

    def has(self, name: str) -> bool:
        """Tell whether the attribute is written, null or not."""
        return name in self.node.items

    def place(self, name: str) -> Place:
        """Return where an attribute stands."""
        return self.node.keys[name].place

    def wrong(self, name: str, wanted: str, node: Node | None = None) -> None:
        """Report that an attribute is not what it must be."""
        found = self.node.items[name] if node is None else node
        self.findings.error(
            found.place, f"`{name}` of {self.what} takes {wanted}, not {describe(found)}"
        )

    def text(self, name: str) -> str | None:
        """Return a text; numbers and booleans are taken as they are written."""
        node = self.get(name)
        if node is None:
            return None
        if isinstance(node, Scalar):
            return node.text.strip() if node.value is not None else None
        self.wrong(name, "a text")
        return None

    def one_of(self, name: str, choices: Iterable[str]) -> str | None:
        """Return a text that is one of a few."""
        value = self.text(name)
        choices = tuple(choices)
        if value is None or value in choices:
            return value
        listed = ", ".join(f"`{choice}`" for choice in choices)
        self.findings.error(
            self.node.items[name].place,
            f"`{name}` of {self.what} takes one of {listed}, not `{value}`",
            did_you_mean(value, choices),
        )
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts; a single one stands for a list of one."""
        node = self.get(name)
        if node is None:
            return ()
        if isinstance(node, Scalar):
            if node.value is False:
                return ()
            return _split_flow(node.text)
        if not isinstance(node, Sequence):
            self.wrong(name, "a text or a list of texts")
            return ()
        found = []
        for item in node.items:
            if isinstance(item, Scalar) and item.value is not None:
                found.append(item.text.strip())
            else:
                self.wrong(name, "texts", item)
        return tuple(found)

    def truth(self, name: str, *, default: bool = False) -> bool:
        """Return yes or no."""
        value = self.maybe(name)
        return default if value is None else value

    def maybe(self, name: str) -> bool | None:
        """Return yes, no, or None where nothing is said."""
        node = self.get(name)
        if node is None:
            return None
        value = truth(node)
        if value is None:
            self.wrong(name, "yes or no")
        return value

    def number(self, name: str) -> int | float | None:
        """Return a number."""
        node = self.get(name)
        if node is None:
            return None
        if isinstance(node, Scalar) and not isinstance(node.value, bool):
            value = node.value
            if isinstance(value, str) and "{{" in value:
                return None
            if isinstance(value, int | float):
                return value
        self.wrong(name, "a number")
        return None

    def integer(self, name: str) -> int | None:
        """Return a whole number that is not negative."""
        value = self.number(name)
        if value is None:
            return None
        if isinstance(value, int) and value >= 0:
            return value
        self.wrong(name, "a whole number")
        return None

    def values(self, name: str) -> dict[str, FlagValue]:
        """Return a mapping of values."""
        node = self.mapping(name)
        if node is None:
            return {}
        return {key: flag_value(value) for key, value in node.items.items()}

    def text_map(self, name: str) -> dict[str, str]:
        """Return a mapping of texts; a null value is the empty text."""
        node = self.mapping(name)
        found: dict[str, str] = {}
        for key, value in () if node is None else node.items.items():
            if isinstance(value, Scalar):
                found[key] = "" if value.value is None else value.text
            else:
                self.findings.error(
                    value.place,
                    f"`{key}` in `{name}` of {self.what} takes a text, not {describe(value)}",
                )
        return found

    def data(self, name: str) -> dict[str, Any]:
        """Return a mapping of anything."""
        node = self.mapping(name)
        found: dict[str, Any] = plain_data(node) if node is not None else {}
        return found

    def mapping(self, name: str) -> MappingNode | None:
        """Return a mapping."""
        node = self.get(name)
        if node is None or isinstance(node, MappingNode):
            return node
        self.wrong(name, "a mapping")
        return None

    def listed(self, name: str) -> list[Node]:
        """Return a list's items; anything else stands for a list of itself."""
        node = self.get(name)
        if node is None:
            return []
        return node.items if isinstance(node, Sequence) else [node]

    def pattern(self, name: str) -> str | None:
        """Return a regular expression."""
        text = self.text(name)
        if text is not None:
            check_pattern(text, self.node.items[name].place, self.findings)
        return text

    def patterns(self, name: str) -> tuple[str, ...]:
        """Return regular expressions."""
        texts = self.texts(name)
        for text in texts:
            check_pattern(text, self.node.items[name].place, self.findings)
        return texts


def check_pattern(text: str, place: Place, findings: Findings) -> None:
    """Report a text that is no regular expression; `${flag}` in it stands for anything."""
    try:
        re.compile(re.sub(r"\$\{[^}]*\}", "x", text))
    except re.error as error:
        findings.error(place, f"`{text}` is no regular expression: {error}")


def _split_flow(text: str) -> tuple[str, ...]:
    """Split `[a, b]` that is written as one text, as a param that was filled in leaves it."""
    stripped = text.strip()
    if stripped.startswith("[") and stripped.endswith("]"):
        return tuple(part.strip() for part in stripped[1:-1].split(",") if part.strip())
    return (stripped,)
