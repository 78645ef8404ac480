"""The column language: what of a run is shown, compared or sorted by. See `docs/reference/columns.md`.

Its first parts, the words, the names, the numbers and the times, are shared with the filters of
`store.query`.
"""

from __future__ import annotations

import math
import re
import shlex
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

from reenact.errors import BadColumn, UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId
from reenact.model.metrics import Summary
from reenact.model.run import Batch, Exit, Status

_TO_QUOTE = re.compile(r"[^\w@%+=:,./ -]", re.ASCII)


class IndexedRun(NamedTuple):
    """What the index knows of a run. A damaged run has its id, its notes and `damage`."""

    id: RunId
    status: Status
    operation: str | None
    project_id: str | None
    project_name: str | None
    label: str | None
    tags: tuple[str, ...]
    comment: str | None
    is_marked: bool
    created: datetime | None
    started: datetime | None
    ended: datetime | None
    exit: Exit | None
    flags: dict[str, FlagValue]
    given: tuple[str, ...]
    metrics: dict[str, Summary]
    params: dict[str, FlagValue]
    command: tuple[str, ...]
    commit: str | None
    is_dirty: bool | None
    source: str | None
    damage: str | None
    parent: RunId | None = None
    part: str | None = None
    kind: str | None = None
    batch: Batch | None = None
    staged: datetime | None = None
    priority: int = 0
    variant: str | None = None

    @property
    def duration_s(self) -> float | None:
        """Seconds between start and end; None while there is no end."""
        if self.started is None or self.ended is None:
            return None
        return (self.ended - self.started).total_seconds()

    @property
    def exit_status(self) -> int | None:
        """What a shell would show: 128 + n for a signal n; None while there is no end."""
        return None if self.exit is None else self.exit.shell_status

    @property
    def command_text(self) -> str | None:
        """The command as it can be pasted into a shell."""
        text = " ".join(self.command)
        # Nearly always there is nothing to quote, which is far quicker to see of all words at once.
        is_plain = _TO_QUOTE.search(text) is None and text.count(" ") == len(self.command) - 1
        if not is_plain or not all(self.command):
            return shlex.join(self.command) if self.command else None
        return text


ColumnValue: TypeAlias = FlagValue | datetime | tuple[str, ...]
"""What a cell holds; None where the run has no such value."""


class Kind(StrEnum):
    """Where a name is looked up."""

    ANY = "any"
    """The run's flag of that name if it has one, else its metric, else its param."""
    FLAG = "flag"
    METRIC = "metric"
    PARAM = "param"
    ATTRIBUTE = "attribute"


class Field(StrEnum):
    """Which number of a metric's series. `NANS` is how many of its values were NaN."""

    FIRST = "first"
    LAST = "last"
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    COUNT = "count"
    NANS = "nans"


class Type(StrEnum):
    """What an attribute's values are, which decides what it can be compared with."""

    TEXT = "text"
    PREFIX = "prefix"
    """Text that is named by its beginning: an id, a commit, a digest."""
    OPERATION = "operation"
    PROJECT = "project"
    STATUS = "status"
    TAGS = "tags"
    BOOL = "bool"
    NUMBER = "number"
    DURATION = "duration"
    TIME = "time"


ATTRIBUTES = {
    "id": Type.PREFIX,
    "op": Type.OPERATION,
    "status": Type.STATUS,
    "label": Type.TEXT,
    "tag": Type.TAGS,
    "comment": Type.TEXT,
    "marked": Type.BOOL,
    "project": Type.PROJECT,
    "created": Type.TIME,
    "started": Type.TIME,
    "ended": Type.TIME,
    "duration": Type.DURATION,
    "exit": Type.NUMBER,
    "commit": Type.PREFIX,
    "dirty": Type.BOOL,
    "command": Type.TEXT,
    "source": Type.PREFIX,
    "parent": Type.PREFIX,
    "part": Type.TEXT,
    "kind": Type.TEXT,
    "variant": Type.TEXT,
}
"""The names that mean something about the run itself, wherever they stand alone."""

_SAME = {"tags": "tag", "operation": "op"}
_FIELDS = {**{field.value: field for field in Field}, "avg": Field.MEAN}
_STEPPED = (Field.FIRST, Field.LAST, Field.MIN, Field.MAX)
_OWN_NAMES = {
    "op": "operation",
    "tag": "tags",
    "marked": "is_marked",
    "project": "project_name",
    "dirty": "is_dirty",
    "exit": "exit_status",
    "duration": "duration_s",
    "command": "command_text",
}
KEYWORDS = frozenset({"and", "or", "not", "in", "is", "contains"})


class Operand(msgspec.Struct, frozen=True):
    """What a name, with the words around it, stands for in a run.

    `field` says which number of a metric; `is_step` asks for the step at which it was reached.
    """

    kind: Kind
    name: str
    field: Field = Field.LAST
    is_step: bool = False


class Column(msgspec.Struct, frozen=True):
    """One column: what it shows and the words above it."""

    operand: Operand
    heading: str


class Sort(msgspec.Struct, frozen=True):
    """One thing to sort by. Runs without a value come last either way, NaN just before them."""

    operand: Operand
    is_descending: bool = False


# --- words, shared with filters ---


class Token(NamedTuple):
    """A word, a quoted string, a symbol, or the end of the text."""

    kind: str
    text: str
    start: int
    end: int


_TOKEN = re.compile(
    r"""\s*(?:(?P<symbol>==|!=|<>|<=|>=|!~|[=<>~()\[\],])"""
    r"""|(?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")"""
    r"""|(?P<word>[^\s=!<>~()\[\],'"]+))"""
)


class Tokens:
    """The words of an expression, read from left to right; knows how to point at one."""

    def __init__(self, text: str, error: type[UsageError], hint: str) -> None:
        self.text = text
        self._class = error
        self._hint = hint
        self._tokens: list[Token] = []
        self._at = 0
        at = 0
        length = len(text.rstrip())
        while at < length:
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._refusal(at)
            kind = match.lastgroup or ""
            self._tokens.append(Token(kind, match[kind], match.start(kind), match.end()))
            at = match.end()
        self._tokens.append(Token("end", "", length, length))

    def peek(self, ahead: int = 0) -> Token:
        """Return the next token, or one after it, without passing it."""
        return self._tokens[min(self._at + ahead, len(self._tokens) - 1)]

    def take(self) -> Token:
        """Return the next token and pass it."""
        token = self.peek()
        self._at += 1
        return token

    def accept(self, *texts: str) -> Token | None:
        """Pass the next token if it is one of these symbols or keywords, in any case."""
        token = self.peek()
        if token.kind in ("symbol", "word") and token.text.lower() in texts:
            return self.take()
        return None

    def accept_dash(self) -> bool:
        """Pass a dash that stands alone or begins the next word."""
        token = self.peek()
        if token.kind != "word" or not token.text.startswith("-"):
            return False
        if token.text == "-":
            self._at += 1
        else:
            self._tokens[self._at] = Token("word", token.text[1:], token.start + 1, token.end)
        return True

    def expect(self, text: str) -> None:
        """Pass the symbol or keyword, which must come next."""
        if self.accept(text) is None:
            raise self.error(f"expected `{text}`")

    def error(
        self, problem: str, token: Token | None = None, *, hint: str | None = None
    ) -> UsageError:
        """Return what to raise: it says what is wrong and shows by a caret where."""
        token = token or self.peek()
        return self._point(problem, token.start, hint)

    def _point(self, problem: str, at: int, hint: str | None = None) -> UsageError:
        before = self.text[:at][-40:]
        after = self.text[at:][:40]
        quote = " ".join(f"{before}^{after}".split("\n")) if self.text.strip() else ""
        where = f" at column {at + 1}: `{quote}`" if quote else ""
        return self._class(f"{problem}{where}", hint=hint or self._hint)

    def _refusal(self, at: int) -> UsageError:
        while self.text[at].isspace():
            at += 1
        if self.text[at] in "'\"":
            return self._point("a quote is not closed", at)
        return self._point(f"`{self.text[at]}` means nothing here", at, "write `!=`, `!~` or `not`")


def is_name(token: Token) -> bool:
    """Tell whether a token can be a name: keywords must be quoted to be one."""
    return token.kind == "string" or (token.kind == "word" and token.text.lower() not in KEYWORDS)


def unquote(token: Token) -> str:
    """Return a token's text, without its quotes if it has some; a doubled quote stands for one."""
    if token.kind != "string":
        return token.text
    quote = token.text[0]
    return token.text[1:-1].replace(quote * 2, quote)


def read_operand(tokens: Tokens, *, stop: frozenset[str] = frozenset()) -> Operand:
    """Read a name and the words that belong to it: `lr`, `=lr`, `metric:loss`, `max acc step`.

    Args:
        tokens: the words; what belongs to the name is passed.
        stop: words that end the name, where they could be taken for a part of it.
    """
    if tokens.accept("="):
        return Operand(Kind.FLAG, _read_name(tokens))
    first = tokens.peek()
    after = tokens.peek(1)
    if (
        first.kind == "word"
        and first.text.lower() in _FIELDS
        and is_name(after)
        and after.text.lower() not in stop
    ):
        field = _FIELDS[tokens.take().text.lower()]
        name = _read_name(tokens).removeprefix("metric:")
        return _with_step(tokens, Operand(Kind.METRIC, name, field))
    if first.kind == "word":
        prefix, colon, rest = first.text.partition(":")
        if colon and prefix in ("flag", "metric", "param", "attr"):
            tokens.take()
            if not rest and tokens.peek().kind == "string" and tokens.peek().start == first.end:
                rest = unquote(tokens.take())
            if not rest:
                raise tokens.error(f"expected a name after `{prefix}:`")
            if prefix == "attr":
                return _attribute(tokens, rest, first)
            if prefix in ("flag", "param"):
                return Operand(Kind(prefix), rest)
            return _with_step(tokens, Operand(Kind.METRIC, rest))
        if first.text.startswith(".") and len(first.text) > 1:
            tokens.take()
            return _attribute(tokens, first.text[1:], first)
    name = _read_name(tokens)
    if first.kind == "word" and _SAME.get(name, name) in ATTRIBUTES:
        return Operand(Kind.ATTRIBUTE, _SAME.get(name, name))
    operand = _with_step(tokens, Operand(Kind.ANY, name))
    return msgspec.structs.replace(operand, kind=Kind.METRIC) if operand.is_step else operand


def _read_name(tokens: Tokens) -> str:
    token = tokens.peek()
    if not is_name(token):
        found = f", not `{token.text}`" if token.text else ""
        raise tokens.error(f"expected a name{found}")
    return unquote(tokens.take())


def _with_step(tokens: Tokens, operand: Operand) -> Operand:
    if operand.field in _STEPPED and tokens.accept("step"):
        return msgspec.structs.replace(operand, is_step=True)
    return operand


def _attribute(tokens: Tokens, name: str, token: Token) -> Operand:
    name = _SAME.get(name, name)
    if name not in ATTRIBUTES:
        raise tokens.error(
            f"a run has no attribute `{name}`", token, hint=f"there are: {', '.join(ATTRIBUTES)}"
        )
    return Operand(Kind.ATTRIBUTE, name)


# --- numbers and times, shared with filters ---

_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?)", re.IGNORECASE)


def parse_number(text: str) -> float | None:
    """Return the number that a word spells, as SQLite can hold it; None where it is no number."""
    if not _NUMBER.fullmatch(text):
        return None
    # int() refuses thousands of digits; as a float they are infinite.
    is_int = text.lstrip("+-").isdecimal() and len(text) < 400
    return sql_number(int(text) if is_int else float(text))


def sql_number(number: float) -> float:
    """Return a number as SQLite can hold it: an integer beyond 64 bits becomes a float."""
    if isinstance(number, int) and not -(1 << 63) <= number < 1 << 63:
        try:
            return float(number)
        except OverflowError:
            return math.inf if number > 0 else -math.inf
    return number


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FOREVER = 1 << 62
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_UNIT_NAMES = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes"),
    "h": ("h", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "week", "weeks"),
}
_SECONDS = {name: _UNITS[unit] for unit, names in _UNIT_NAMES.items() for name in names}
_SECONDS |= {"month": 30 * 86400, "months": 30 * 86400, "year": 365 * 86400, "years": 365 * 86400}
_AGO = re.compile(r"(\d+(?:\.\d+)?|an?) ?([a-z]+) ago")
_LAST = re.compile(r"last (?:(\d+(?:\.\d+)?) ?)?([a-z]+)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([a-z]+) ?")


def parse_duration(text: str) -> float | None:
    """Return the seconds of `90`, `2h`, `1h30m`, `2 days`; None where it is no duration."""
    text = text.strip().lower()
    if _NUMBER.fullmatch(text):
        return float(text)
    total = 0.0
    at = 0
    while match := _DURATION.match(text, at):
        if match[2] not in _SECONDS:
            return None
        total += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    return total if at == len(text) and at > 0 else None


def parse_time(text: str, *, now: datetime, tz: tzinfo | None) -> tuple[int, int | None] | None:
    """Return the first microsecond since 1970 of a time and, for a span, the one after its last.

    None where the text is no time.
    """
    text = " ".join(text.lower().split())
    try:
        if text == "now":
            return microseconds(now), None
        if text in ("today", "yesterday"):
            day = now.astimezone(tz).date()
            return _day(day if text == "today" else day - timedelta(days=1), tz)
        if match := _AGO.fullmatch(text):
            count = 1.0 if match[1].startswith("a") else float(match[1])
            return microseconds(now - timedelta(seconds=count * _SECONDS[match[2]])), None
        if match := _LAST.fullmatch(text):
            start = now - timedelta(seconds=float(match[1] or 1) * _SECONDS[match[2]])
            return microseconds(start), _FOREVER
        if len(text) == 10:
            return _day(date.fromisoformat(text), tz)
        if len(text) > 10 and text[4:5] == text[7:8] == "-" and text[10] in " t":
            return microseconds(_aware(datetime.fromisoformat(text.upper()), tz)), None
    except (ValueError, KeyError, OverflowError):
        return None
    return None


def microseconds(moment: datetime) -> int:
    """Return microseconds since 1970: how the index holds times."""
    return (moment - _EPOCH) // _MICROSECOND


def _day(day: date, tz: tzinfo | None) -> tuple[int, int]:
    start = _aware(datetime.combine(day, time()), tz)
    end = _aware(datetime.combine(day + timedelta(days=1), time()), tz)
    return microseconds(start), microseconds(end)


def _aware(moment: datetime, tz: tzinfo | None) -> datetime:
    if moment.tzinfo is not None:
        return moment
    # Only astimezone() knows which offset this machine's zone had on that day.
    return moment.astimezone() if tz is None else moment.replace(tzinfo=tz)


# --- columns and sorting ---

_COLUMN_HINT = (
    "for example `loss`, `min loss`, `max acc step`, `=lr`, `.started`, `last acc as acc`"
)
_SORT_HINT = "for example `acc desc`, `-acc`, `min loss`, `.started desc, =lr`"


def parse_column(text: str) -> Column:
    """Understand a column.

    Raises:
        BadColumn: it cannot be understood.
    """
    tokens = Tokens(text, BadColumn, _COLUMN_HINT)
    start = tokens.peek()
    operand = read_operand(tokens, stop=frozenset({"as"}))
    end = tokens.peek()
    heading = operand.name
    if operand.kind is Kind.METRIC and start.text.lower() in _FIELDS:
        heading = f"{start.text.lower()} {heading}"
    if operand.is_step:
        heading += " step"
    if end.kind == "word" and end.text.lower() == "as":
        tokens.take()
        heading = _read_name(tokens)
    if tokens.peek().kind != "end":
        raise tokens.error("expected the end of the column")
    return Column(operand, heading)


def parse_sort(text: str) -> tuple[Sort, ...]:
    """Understand what to sort by: columns, separated by commas, each with `-` or `desc` or `asc`.

    Raises:
        BadColumn: it cannot be understood.
    """
    sorts = []
    tokens = Tokens(text, BadColumn, _SORT_HINT)
    while True:
        is_descending = tokens.accept_dash()
        operand = read_operand(tokens, stop=frozenset({"asc", "desc"}))
        if tokens.accept("desc"):
            is_descending = not is_descending
        else:
            tokens.accept("asc")
        sorts.append(Sort(operand, is_descending))
        if tokens.accept(","):
            continue
        if tokens.peek().kind != "end":
            raise tokens.error("expected `,`, `asc`, `desc` or the end")
        return tuple(sorts)


def column_value(column: Column, run: IndexedRun) -> ColumnValue:
    """Return what a run shows in a column; None where it has no such value."""
    return operand_value(column.operand, run)


def operand_value(operand: Operand, run: IndexedRun) -> ColumnValue:
    """Return what an operand stands for in a run; None where there is nothing."""
    if operand.kind is Kind.ATTRIBUTE:
        value: ColumnValue = getattr(run, _OWN_NAMES.get(operand.name, operand.name))
        return value
    if operand.kind in (Kind.ANY, Kind.FLAG) and operand.name in run.flags:
        return run.flags[operand.name]
    if operand.kind not in (Kind.ANY, Kind.METRIC) or operand.name not in run.metrics:
        is_param = operand.kind in (Kind.ANY, Kind.PARAM)
        return run.params.get(operand.name) if is_param else None
    summary = run.metrics[operand.name]
    value = getattr(summary, SUMMARY_FIELDS[operand.field] + ("_step" if operand.is_step else ""))
    return float(value) if isinstance(value, str) else value


SUMMARY_FIELDS = {
    Field.FIRST: "first",
    Field.LAST: "last",
    Field.MIN: "minimum",
    Field.MAX: "maximum",
    Field.MEAN: "mean",
    Field.COUNT: "count",
    Field.NANS: "nan_count",
}
"""What a field is called in `Summary` and in the index."""
