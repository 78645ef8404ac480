"""What a flag's value says to a batch: one value, several values, or a space to search.

* `[0.1, 0.01]` is several values. A flag that takes lists has its own list as one value;
  several lists are `[[64, 32], [128]]`.
* `range[1:10:2]`, `linspace[0:1:5]`, `logspace[-4:-1:4]`, `geomspace[1:1000:4]` and
  `[0.1, 0.2]*3` are several values too.
* `[0.001:0.1]`, `uniform[0:1]`, `loguniform[1e-5:1e-1]` and `randint[1:10]` are spaces; a third
  number is the value to try first.

Numbers are worked out from the digits as written, not from their binary approximations, and
rounded once, at the end: `range[0.1:0.5:0.1]` is 0.1, 0.2, 0.3, 0.4, 0.5 on every machine.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from reenact.errors import BadFlagValue
from reenact.model.flags import Flag, FlagSet, FlagType, FlagValue, Option
from reenact.project.flag_text import (
    PLAIN_LIST,
    PLAIN_LISTS,
    check_value,
    convert,
    format_value,
    nearest,
    parse_value,
    takes_groups,
    takes_list,
)
from reenact.search.sequences import (
    FORMS,
    Number,
    check_count,
    exact_number,
    number_of,
    numbers_of,
    whole,
)

_CALL = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)\[([^][]*)\]\Z")
_BARE_RANGE = re.compile(r"\[([^][{},'\"]*:[^][{},'\"]*)\]\Z")
_REPEATED = re.compile(r"(\[.*\])\s*\*\s*([0-9]+)\Z", re.DOTALL)

_SPACES = ("uniform", "loguniform", "randint")
_OTHER_NAMES = {"log-uniform": "loguniform", "log": "loguniform", "int": "randint"}


class Single(msgspec.Struct, frozen=True, tag="single"):
    """The flag is set to one value."""

    value: FlagValue


class Sequence(msgspec.Struct, frozen=True, tag="sequence"):
    """The flag is set to each of several values, in this order, all of them `times` times."""

    values: tuple[FlagValue, ...]
    times: int = 1


class FloatSpace(msgspec.Struct, frozen=True, kw_only=True, tag="float", omit_defaults=True):
    """All numbers from `low` to `high`, both included; `log`: even in the logarithm."""

    low: float
    high: float
    log: bool = False
    initial: float | None = None


class IntSpace(msgspec.Struct, frozen=True, kw_only=True, tag="int", omit_defaults=True):
    """All integers from `low` to `high`, both included; `log`: even in the logarithm."""

    low: int
    high: int
    log: bool = False
    initial: int | None = None


class Choices(msgspec.Struct, frozen=True, kw_only=True, tag="choices", omit_defaults=True):
    """One of several values, which have no order; `initial` is the place of the one to try first."""

    values: tuple[FlagValue, ...]
    initial: int | None = None


Space: TypeAlias = FloatSpace | IntSpace | Choices
Setting: TypeAlias = Single | Sequence | Space


def read_settings(
    settings: Mapping[str, str | FlagValue],
    flags: FlagSet | None = None,
    *,
    force: bool = False,
    is_text: bool = True,
) -> dict[str, Setting]:
    """Read what each flag is set to, by the flags' own names where `flags` knows them.

    Args:
        settings: flag name or alias to text, or to a value.
        flags: what the operation takes; names that it does not know are read as any value.
        force: let values through that a flag refuses.
        is_text: a string is text as typed at a prompt; else it is a value of a YAML file.

    Raises:
        BadFlagValue: a value cannot be understood, or its flag refuses it.
    """
    read: dict[str, Setting] = {}
    for name, setting in settings.items():
        flag = flags.find(name) if flags is not None else None
        key = name if flag is None else flag.name
        if key in read:
            raise BadFlagValue(f"flag `{key}` is set twice, the second time as `{name}`")
        if isinstance(setting, str) and is_text:
            read[key] = read_text(key, setting, flag, force=force)
        else:
            read[key] = read_yaml(key, setting, flag, force=force)
    return read


def read_text(name: str, text: str, flag: Flag | None = None, *, force: bool = False) -> Setting:
    """Read the text that the user gave for a flag.

    Raises:
        BadFlagValue: it cannot be understood, or its flag refuses it.
    """
    reader = _Reader(name, flag, force)
    special = reader.read_special(text)
    return reader.read_single(text) if special is None else special


def read_yaml(
    name: str, value: FlagValue, flag: Flag | None = None, *, force: bool = False
) -> Setting:
    """Read a flag's value in a project file or a file of trials: a list, a value, or a function.

    Strings are what they are, unless they spell a function or a space.

    Raises:
        BadFlagValue: it cannot be understood, or its flag refuses it.
    """
    reader = _Reader(name, flag, force)
    if isinstance(value, str):
        special = None if value[:1] == "[" and _is_list(value) else reader.read_special(value)
        return Single(reader.check(value)) if special is None else special
    if isinstance(value, list) and reader.is_several(value):
        return Sequence(reader.check_all(value))
    return Single(reader.check(value))


def declared_space(
    flag: Flag,
    *,
    minimum: Number | None = None,
    maximum: Number | None = None,
    distribution: str | None = None,
) -> Space | None:
    """Return the space that a flag's definition describes, for a search that asks for it.

    Choices and booleans are one; so are two ends. The default is tried first where it is inside.

    Args:
        flag: its type, choices and default decide.
        minimum: one end as written; None takes the least number that the flag takes.
        maximum: the other one, likewise.
        distribution: `uniform` or `log-uniform`; None is uniform, of integers if both ends are.

    Raises:
        BadFlagValue: the ends or the distribution make no sense.
    """
    if flag.choices is not None or flag.type is FlagType.BOOL:
        values = flag.choices if flag.choices is not None else (True, False)
        places = [i for i, value in enumerate(values) if _is_same(value, flag.default)]
        return Choices(values=tuple(values), initial=places[0] if places else None)
    minimum = flag.low if minimum is None else minimum
    maximum = flag.high if maximum is None else maximum
    if minimum is None or maximum is None:
        return None
    function = _OTHER_NAMES.get(distribution or "uniform", distribution or "uniform")
    if function not in _SPACES:
        close = nearest(function, _SPACES)
        raise BadFlagValue(
            f"flag `{flag.name}` has an unknown distribution `{distribution}`",
            hint=f"did you mean `{close}`?" if close else "write `uniform` or `log-uniform`",
        )
    default = flag.default
    is_inside = (
        isinstance(default, int | float)
        and not isinstance(default, bool)
        and minimum <= default <= maximum
    )
    words = [format_value(minimum), format_value(maximum)]
    words += [format_value(default)] if is_inside else []
    is_integer = isinstance(minimum, int) and isinstance(maximum, int) and distribution is None
    if is_integer and flag.type is not FlagType.FLOAT and not isinstance(default, float):
        function = "randint"
    return _Reader(flag.name, flag, False).space(function, words, f"{function}[{':'.join(words)}]")


def as_space(setting: Setting) -> Space | None:
    """Return what a search may choose from for a flag; None where there is nothing to choose."""
    if isinstance(setting, Single):
        return None
    if isinstance(setting, Sequence):
        return Choices(values=tuple({identity(value): value for value in setting.values}.values()))
    return setting


def split_spaces(
    settings: Mapping[str, Setting],
) -> tuple[dict[str, Space], dict[str, FlagValue]]:
    """Separate what a search chooses from what is fixed in all of its trials."""
    spaces: dict[str, Space] = {}
    fixed: dict[str, FlagValue] = {}
    for name, setting in settings.items():
        space = as_space(setting)
        if isinstance(setting, Single):
            fixed[name] = setting.value
        elif space is not None:
            spaces[name] = space
    return spaces, fixed


def to_setting(value: FlagValue, flag: Flag | None) -> str | FlagValue:
    """Return a value in the form that reads as this very value where flags are set.

    A string `1` for a flag that takes anything would read as a number; it gets quotes.
    """
    is_read = flag is None or flag.type in (FlagType.ANY, FlagType.LIST)
    return format_value(value) if is_read and isinstance(value, str) else value


def identity(value: FlagValue) -> tuple[str, str]:
    """Return what is equal for equal values only: 1, 1.0, True and `1` are four values."""
    return type(value).__name__, repr(value)


def is_one_value(text: str) -> bool:
    """Tell whether text reads as one value rather than as several or as a space."""
    try:
        return isinstance(read_text("", text), Single)
    except BadFlagValue:
        return False


def _is_same(left: FlagValue, right: FlagValue) -> bool:
    return identity(left) == identity(right)


def _is_list(text: str) -> bool:
    return isinstance(parse_value(text), list)


class _Reader:
    """Reads settings of one flag; messages name it."""

    def __init__(self, name: str, flag: Flag | None, force: bool) -> None:
        self.name = name
        self.flag = flag
        self.force = force
        default = flag.default if flag is not None else None
        kind = flag.type if flag is not None else FlagType.ANY
        is_list = isinstance(default, list) and flag is not None and not flag.has_several
        self.takes_list = flag is not None and (
            takes_list(flag) or (kind is FlagType.ANY and is_list)
        )
        self.takes_groups = flag is not None and takes_groups(flag)
        self.is_int = kind is FlagType.INT
        self.is_float = kind is FlagType.FLOAT or (
            kind in (FlagType.ANY, FlagType.NUMBER) and isinstance(default, float)
        )

    def read_special(self, text: str) -> Setting | None:
        """Read several values or a space; None for text that is neither."""
        stripped = text.strip()
        if stripped[:1] == "[":
            return self._read_bracketed(stripped)
        found = _CALL.match(stripped)
        if found is None:
            return None
        function, inside = found[1], found[2]
        if function not in FORMS:
            self._refuse_misspelt(function, inside)
            return None
        words = [word.strip() for word in inside.split(":")]
        if function in _SPACES:
            return self.space(function, words, stripped)
        try:
            numbers = numbers_of(function, words, stripped, self._error)
        except ArithmeticError:
            numbers = (math.inf,)
        if not all(map(math.isfinite, numbers)):
            raise self._error(
                f"`{stripped}` leaves the range of floats", f"write `{FORMS[function]}`"
            )
        return Sequence(self.check_all(list(numbers)))

    def _read_bracketed(self, text: str) -> Setting | None:
        bare = _BARE_RANGE.match(text)
        if bare is not None:
            return self._bare_space(bare[1], text)
        repeated = _REPEATED.match(text)
        if repeated is not None and _is_list(repeated[1]):
            times = int(repeated[2])
            items = self._items(repeated[1])
            if not times or not items:
                raise self._error(f"`{text}` has no values", "write e.g. `[0.1]*3`")
            check_count(times * len(items), text, "repeat it less often", self._error)
            if not self.is_several(items):
                raise self._error(
                    f"`{text}` repeats numbers where each value is a list",
                    f"write `[{repeated[1]}]*{times}`",
                )
            return Sequence(self.check_all(items), times)
        if not _is_list(text):
            return None
        items = self._items(text)
        return Sequence(self.check_all(items)) if self.is_several(items) else None

    def _bare_space(self, inside: str, text: str) -> Space | None:
        words = [word.strip() for word in inside.split(":")]
        if not any(exact_number(word) is not None for word in words[:2]):
            return None
        is_integer = all(re.fullmatch(r"[+-]?[0-9]+", word) for word in words if word)
        return self.space("randint" if is_integer and not self.is_float else "uniform", words, text)

    def is_several(self, items: list[FlagValue]) -> bool:
        """Tell whether a list is several values for this flag, and not one value."""
        if self.takes_groups:
            groups = [group for item in items if isinstance(item, list) for group in item]
            is_deep = bool(groups) and all(isinstance(group, list) for group in groups)
            return is_deep and all(isinstance(item, list) for item in items)
        if self.takes_list:
            return bool(items) and all(isinstance(item, list) for item in items)
        if not items:
            raise self._error("`[]` has no values to try", "leave the flag out to use its default")
        return True

    def _items(self, text: str) -> list[FlagValue]:
        """Split a list; for a flag that takes text its elements are as typed: `[1.10, yes]`."""
        flag = self.flag
        if flag is not None and flag.type in (FlagType.STRING, FlagType.PATH):
            several = msgspec.structs.replace(
                flag, binding=Option(option="", nargs="*"), choices=None
            )
            if self.takes_list:
                lists = parse_value(text)
                if isinstance(lists, list) and lists and all(isinstance(x, list) for x in lists):
                    if not PLAIN_LISTS.fullmatch(text):
                        return lists
                    return [convert(several, found[0]) for found in PLAIN_LIST.finditer(text, 1)]
            value = convert(several, text)
        else:
            value = parse_value(text)
        assert isinstance(value, list)
        return value

    def read_single(self, text: str) -> Single:
        if self.flag is None:
            return Single(parse_value(text))
        try:
            return Single(convert(self.flag, text))
        except BadFlagValue:
            if not self.force:
                raise
        return Single(parse_value(text))

    def check(self, value: FlagValue) -> FlagValue:
        if self.flag is None:
            return value
        try:
            return check_value(self.flag, to_setting(value, self.flag))
        except BadFlagValue:
            if not self.force:
                raise
        return value

    def check_all(self, values: list[FlagValue]) -> tuple[FlagValue, ...]:
        return tuple(self.check(self._as_integer(value)) for value in values)

    def _as_integer(self, value: FlagValue) -> FlagValue:
        """Let `linspace[1:9:5]` be integers where integers are wanted."""
        if self.is_int and isinstance(value, float) and value.is_integer():
            return int(value)
        return value

    def space(self, function: str, words: list[str], text: str) -> Space:
        """Make the space that `function[words]` describes, of the kind that the flag takes."""
        form = "[LOW:HIGH:INITIAL]" if text[:1] == "[" else FORMS[function]
        hint = f"write `{form}`"
        if not 2 <= len(words) <= 3:
            raise self._error(f"`{text}` needs two ends", hint)
        if self.flag is not None and self.flag.type is FlagType.BOOL:
            raise self._error(
                f"`{text}` is numbers, and the flag takes yes or no", "write `[yes, no]`"
            )
        exact = [number_of(word, text, form, self._error) for word in words]
        low, high = exact[0], exact[1]
        initial = exact[2] if len(exact) == 3 else None
        if low >= high:
            raise self._error(f"`{text}` is empty: {words[0]} is not below {words[1]}", hint)
        if initial is not None and not low <= initial <= high:
            raise self._error(f"`{text}` begins with {words[2]}, which is outside", hint)
        is_log = function == "loguniform"
        if is_log and low <= 0:
            raise self._error(f"`{text}` has no logarithm: it must begin above 0", hint)
        if function == "randint" or self.is_int:
            integers = [whole(number) for number in exact]
            if None in integers:
                raise self._error(f"`{text}` is of integers, but has other numbers", hint)
            ints = [number for number in integers if number is not None]
            return IntSpace(
                low=ints[0], high=ints[1], log=is_log, initial=ints[2] if len(ints) == 3 else None
            )
        return FloatSpace(
            low=float(low),
            high=float(high),
            log=is_log,
            initial=None if initial is None else float(initial),
        )

    def _refuse_misspelt(self, function: str, inside: str) -> None:
        """Text in brackets after an unknown name is text, unless it looks much like a function."""
        words = inside.split(":")
        close = nearest(function, FORMS)
        if (
            close
            and len(words) > 1
            and all(exact_number(word.strip()) is not None for word in words)
        ):
            raise self._error(
                f"there is no function `{function}`",
                f"did you mean `{close}[{inside}]`? text is written `['{function}[{inside}]']`",
            )

    def _error(self, message: str, hint: str) -> BadFlagValue:
        return BadFlagValue(f"flag `{self.name}`: {message}", hint=hint)
