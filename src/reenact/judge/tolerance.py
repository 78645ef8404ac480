"""How far a number may be from the original and still be the same result, metric by metric.

Written `acc=0.001`, `loss=1%`, `loss=0.01 rel`, `acc=0.001 abs`, `loss=1% or 1e-8`, `val_*=1e-6`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec

from reenact.errors import UsageError

EPSILON = 2.0**-52
"""What a float and its neighbour are apart, as a part of them."""
_PART = re.compile(r"(?P<number>[^\s%]+)\s*(?P<unit>%|abs|rel)?", re.IGNORECASE)
_OR = re.compile(r"\s+or\s+", re.IGNORECASE)
_HINT = "for example `acc=0.001`, `loss=1%`, `loss=1% or 1e-8`, `*=1e-6`"


class Tolerance(msgspec.Struct, frozen=True):
    """A number may be off by `absolute`, or by `relative` of the larger of the two magnitudes.

    Attributes:
        text: as the user wrote it, the name included where there is one.
    """

    absolute: float = 0.0
    relative: float = 0.0
    text: str = ""

    def allows(self, original: float, reproduced: float) -> bool:
        """Tell whether a number is as good as the original.

        Equal numbers always are; NaN equals NaN, an infinity the one of its sign.
        """
        if original == reproduced:
            return True
        if original != original or reproduced != reproduced:
            return original != original and reproduced != reproduced
        if math.isinf(original) or math.isinf(reproduced):
            return False
        return abs(original - reproduced) <= self.limit(original, reproduced)

    def limit(self, original: float, reproduced: float) -> float:
        """Return how far apart two finite numbers may be.

        It is a rounding error wider than written, so that 0.97 and 0.971 are 0.001 apart.
        """
        larger = max(abs(original), abs(reproduced))
        limit = max(self.absolute, self.relative * larger)
        return limit + EPSILON * larger if limit else 0.0


NONE = Tolerance()
"""Equal numbers only."""
ROUNDING = Tolerance(1e-12, 1e-5, "0.001 % (another machine)")
"""What other instructions, devices or threads may do to a sum of 32-bit floats."""


class Tolerances(msgspec.Struct, frozen=True):
    """What is tolerated of which metric: pairs of a name or a pattern (`val_*`) and a tolerance."""

    items: tuple[tuple[str, Tolerance], ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Tolerances:
        """Understand `NAME=AMOUNT`, where NAME may be a pattern.

        Raises:
            UsageError: a text cannot be understood.
        """
        items = []
        for text in texts:
            name, equals, amount = (part.strip() for part in text.rpartition("="))
            if not equals or not name:
                raise UsageError(f"`{text}` does not say of which metric", hint=_HINT)
            items.append((name, _parse(amount, f"{name}={amount}")))
        return cls(tuple(items))

    def for_metric(self, name: str) -> Tolerance | None:
        """Return what is tolerated of a metric; None where nothing was said.

        What was said of exactly this name counts, else what the last pattern says that fits it.
        """
        # The last one: the command line comes after the project file.
        exact = [tolerance for pattern, tolerance in self.items if pattern == name]
        fitting = [t for pattern, t in self.items if fnmatchcase(name, pattern)]
        found = exact or fitting
        return found[-1] if found else None

    def names(self) -> tuple[str, ...]:
        """Return the names and patterns of which something was said, each once."""
        return tuple(dict.fromkeys(name for name, _ in self.items))

    def unused(self, metrics: Iterable[str]) -> list[str]:
        """Return the names and patterns that fit none of these metrics, perhaps misspelled."""
        known = set(metrics)
        return [
            pattern
            for pattern in self.names()
            if pattern not in known and not any(fnmatchcase(name, pattern) for name in known)
        ]


def parse_amount(amount: str | float) -> Tolerance:
    """Understand what is tolerated without a name: `0.002`, `1%`, `0.01 rel`, `1% or 1e-8`.

    Raises:
        UsageError: it cannot be understood.
    """
    text = amount if isinstance(amount, str) else repr(amount)
    return _parse(text.strip(), text.strip())


def _parse(amount: str, text: str) -> Tolerance:
    absolute = relative = 0.0
    for part in _OR.split(amount):
        match = _PART.fullmatch(part.strip())
        number = _number(match["number"]) if match else None
        if match is None or number is None:
            raise UsageError(f"`{text}` is no tolerance: `{part}` is no amount", hint=_HINT)
        unit = (match["unit"] or "abs").lower()
        if unit == "abs":
            absolute = max(absolute, number)
        else:
            relative = max(relative, number / 100 if unit == "%" else number)
    return Tolerance(absolute, relative, text)


def _number(text: str) -> float | None:
    """Return a finite number that is not negative."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
