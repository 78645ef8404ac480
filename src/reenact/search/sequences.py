"""The functions that stand for several numbers: `range`, `linspace`, `logspace` and `geomspace`.

Numbers are worked out from the digits as written and rounded once, at the end.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Context, Decimal
from fractions import Fraction
from typing import TypeAlias

from reenact.errors import BadFlagValue
from reenact.project.flag_text import parse_value

Number: TypeAlias = int | float
Refuse: TypeAlias = Callable[[str, str], BadFlagValue]
"""Makes an error of a message and a hint."""

MAX_VALUES = 100_000
"""As many values one flag may be given; more is a mistyped step."""


_DIGITS = Context(prec=60)

FORMS = {
    "range": "range[START:END:STEP]",
    "linspace": "linspace[START:END:COUNT]",
    "logspace": "logspace[START:END:COUNT:BASE]",
    "geomspace": "geomspace[START:END:COUNT]",
    "uniform": "uniform[LOW:HIGH:INITIAL]",
    "loguniform": "loguniform[LOW:HIGH:INITIAL]",
    "randint": "randint[LOW:HIGH:INITIAL]",
}
"""The functions and how they are written; what stands last may be left out."""


def numbers_of(function: str, words: list[str], text: str, refuse: Refuse) -> tuple[Number, ...]:
    """Return the values of `function[words]`, which is the text.

    Raises:
        BadFlagValue: there are none; made by `refuse`.
        ArithmeticError: they leave the range of floats.
    """
    form = FORMS[function]
    most = 4 if function == "logspace" else 3
    if function == "range" and len(words) == 1:
        return _counted(words[0], text, refuse)
    if not 2 <= len(words) <= most:
        raise refuse(f"`{text}` has {len(words)} numbers", f"write `{form}`")
    exact = [number_of(word, text, form, refuse) for word in words]
    if function == "range":
        step = exact[2] if len(exact) > 2 else Fraction(1)
        return _range(exact[0], exact[1], step, words, text, refuse)
    count = whole(exact[2]) if len(exact) > 2 else 5
    if count is None or count < 1:
        raise refuse(f"`{text}` has no count of values", f"write `{form}`")
    check_count(count, text, "take a smaller count", refuse)
    if function == "linspace":
        return tuple(float(number) for number in _spread(exact[0], exact[1], count))
    if function == "logspace":
        base = exact[3] if len(exact) > 3 else Fraction(10)
        if base <= 0:
            raise refuse(f"`{text}` has a base that is not above 0", f"write `{form}`")
        return tuple(_power(base, number) for number in _spread(exact[0], exact[1], count))
    if exact[0] * exact[1] <= 0:
        raise refuse(f"`{text}` must not reach or cross 0", f"write `{FORMS['linspace']}`")
    return _geometric(exact[0], exact[1], count)


def _counted(word: str, text: str, refuse: Refuse) -> tuple[Number, ...]:
    """Return that many integers from 0: of one number the end does not count."""
    count = whole(number_of(word, text, FORMS["range"], refuse))
    if count is None or count < 1:
        raise refuse(f"`{text}` has no count of values", f"write `{FORMS['range']}`")
    check_count(count, text, "take a smaller count", refuse)
    return tuple(range(count))


def _range(
    start: Fraction, end: Fraction, step: Fraction, words: list[str], text: str, refuse: Refuse
) -> tuple[Number, ...]:
    if step == 0 or (end - start) * step < 0:
        raise refuse(
            f"`{text}` never reaches its end", f"write `{FORMS['range']}`, e.g. `range[5:1:-1]`"
        )
    steps = int((end - start) / step)
    check_count(steps + 1, text, "take a larger step", refuse)
    numbers = [start + step * i for i in range(steps + 1)]
    if all(re.fullmatch(r"[+-]?[0-9]+", word) for word in words):
        return tuple(int(number) for number in numbers)
    return tuple(float(number) for number in numbers)


def check_count(count: int, text: str, hint: str, refuse: Refuse) -> None:
    """Refuse more values than one flag may be given."""
    if count > MAX_VALUES:
        raise refuse(f"`{text}` has {count} values, and at most {MAX_VALUES} may be", hint)


def number_of(word: str, text: str, form: str, refuse: Refuse) -> Fraction:
    """Return a number of `text`, which is to be written as `form`."""
    number = exact_number(word)
    if number is None:
        raise refuse(f"`{text}`: `{word}` is not a finite number", f"write `{form}`")
    return number


def exact_number(word: str) -> Fraction | None:
    """Return exactly the number that the digits say; None for what is no finite number."""
    value = parse_value(word) if word and word[0] not in "[{'\"" else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return None
    if value == 0:  # 0e999999999 is not to be written out, and 1e-999 is not 0
        return None if re.search(r"[1-9]", re.split("[eE]", word)[0]) else Fraction(0)
    return Fraction(word)


def whole(number: Fraction) -> int | None:
    """Return an integer; None for what is none."""
    return int(number) if number.denominator == 1 else None


def _spread(start: Fraction, end: Fraction, count: int) -> list[Fraction]:
    if count == 1:
        return [start]
    return [start + (end - start) * i / (count - 1) for i in range(count)]


def _decimal(number: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(number.numerator), Decimal(number.denominator))


def _power(base: Fraction, exponent: Fraction) -> float:
    """Raise to a power with 60 digits: the last bit is not the C library's to choose."""
    return float(_DIGITS.power(_decimal(base), _decimal(exponent)))


def _geometric(start: Fraction, end: Fraction, count: int) -> tuple[float, ...]:
    ratio = _decimal(end / start)
    inner = [
        float(_DIGITS.multiply(_decimal(start), _DIGITS.power(ratio, _decimal(part))))
        for part in _spread(Fraction(0), Fraction(1), count)[1:-1]
    ]
    return (float(start), *inner, *((float(end),) if count > 1 else ()))
