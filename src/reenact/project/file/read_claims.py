"""Read the claims of a project file: results that somebody states, and that can be checked."""

from __future__ import annotations

from reenact.project.file.keys import CLAIM_KEYS
from reenact.project.file.model import ClaimDef, Place
from reenact.project.file.section import Findings, Section, describe, flag_value
from reenact.project.file.yaml import Mapping, Node, Scalar

DIRECTIONS = ("both", "at-least", "at-most")


def read_claims(node: Node, findings: Findings) -> tuple[ClaimDef, ...]:
    """Return claims by name; what cannot be understood is among the findings."""
    if not isinstance(node, Mapping):
        findings.error(node.place, f"`claims` is a mapping of names, not {describe(node)}")
        return ()
    found = (
        _read_claim(name, item, node.keys[name].place, findings)
        for name, item in node.items.items()
    )
    return tuple(claim for claim in found if claim is not None)


def _read_claim(name: str, node: Node, place: Place, findings: Findings) -> ClaimDef | None:
    if not isinstance(node, Mapping):
        findings.error(node.place, f"claim `{name}` is a mapping, not {describe(node)}")
        return None
    section = Section(node, CLAIM_KEYS, f"claim `{name}`", findings)
    missing = [key for key in ("run", "metric", "value") if section.get(key) is None]
    for key in missing:
        findings.error(node.place, f"claim `{name}` has no `{key}`")
    value = section.number("value")
    run, metric = section.text("run"), section.text("metric")
    flags = section.mapping("flags")
    repeat = section.integer("repeat")
    if repeat is not None and section.get("seeds") is not None:
        findings.error(section.place("repeat"), f"claim `{name}` has both `repeat` and `seeds`")
    if run is None or metric is None or value is None:
        return None
    return ClaimDef(
        name=name,
        place=place,
        run=run,
        metric=metric,
        value=float(value),
        tolerance=_amount(section, "tolerance"),
        direction=section.one_of("direction", DIRECTIONS) or "both",
        flags={} if flags is None else {key: flag_value(item) for key, item in flags.items.items()},
        seeds=_amount(section, "seeds"),
        repeat=repeat,
        paper=section.text("paper"),
        description=section.text("description"),
        baseline=section.text("baseline"),
        packages=section.texts("packages"),
    )


def _amount(section: Section, name: str) -> str | None:
    node = section.get(name)
    if isinstance(node, Scalar):
        return node.text.strip()
    if node is not None:
        section.wrong(name, "a number or a text")
    return None
