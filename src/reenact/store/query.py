"""The filter language: which runs are meant. See `docs/reference/filters.md`.

A filter is parsed into a value without looking at any run, then compiled to an SQL condition over
the tables of `store.index`. Values are always bound as parameters. A test of something that a run
does not have is false, and so is its opposite (`lr = 1`, `lr != 1`); only `is undefined` finds it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, tzinfo
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import msgspec

from reenact.errors import BadFilter
from reenact.model.identity import is_run_id
from reenact.model.run import Status
from reenact.store.columns import (
    ATTRIBUTES,
    SUMMARY_FIELDS,
    Kind,
    Operand,
    Token,
    Tokens,
    Type,
    is_name,
    parse_duration,
    parse_number,
    parse_time,
    read_operand,
    unquote,
)

_MAX_DEPTH = 50
_MAX_TESTS = 200
_MAX_VALUES = 500
"""SQLite limits the depth of an expression and the number of parameters."""


class Relation(StrEnum):
    """How a test relates what a run has to the values in the filter."""

    EQUAL = "="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    CONTAINS = "contains"
    MATCHES = "~"
    EXISTS = "exists"


_ORDERS = (Relation.LESS, Relation.AT_MOST, Relation.GREATER, Relation.AT_LEAST)


class ValueKind(StrEnum):
    """What a value in a filter is."""

    TEXT = "text"
    NUMBER = "number"
    NAN = "nan"
    BOOL = "bool"
    NULL = "null"
    TIME = "time"


class Value(msgspec.Struct, frozen=True):
    """A value in a filter.

    Attributes:
        text: as written, without quotes.
        number: of a NUMBER the number, of a BOOL 1 or 0, of a DURATION seconds, of a TIME its
            first microsecond since 1970.
        end: the microsecond after the last one, for a TIME that is a span: a day, `last 3 hours`.
    """

    kind: ValueKind
    text: str
    number: float = 0
    end: int | None = None


class Comparison(msgspec.Struct, frozen=True):
    """One comparison. With several values one must fit; `is_negated`: there is a value, and no."""

    operand: Operand
    relation: Relation
    values: tuple[Value, ...] = ()
    is_negated: bool = False


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    part: Expression


class All(msgspec.Struct, frozen=True):
    """Every part is true."""

    parts: tuple[Expression, ...]


class AnyOf(msgspec.Struct, frozen=True):
    """At least one part is true."""

    parts: tuple[Expression, ...]


Expression: TypeAlias = "Comparison | Not | All | AnyOf"


class Filter(msgspec.Struct, frozen=True):
    """A filter that was understood.

    Attributes:
        text: as the user wrote it.
        expression: what it means; times are absolute.
    """

    text: str
    expression: Expression

    def operands(self) -> tuple[Operand, ...]:
        """Return everything that the filter asks runs for, in the order written."""
        return tuple(_operands(self.expression))


def _operands(expression: Expression) -> list[Operand]:
    if isinstance(expression, Comparison):
        return [expression.operand]
    parts = (expression.part,) if isinstance(expression, Not) else expression.parts
    return [operand for part in parts for operand in _operands(part)]


# --- parsing ---

_HINT = (
    "for example `lr < 0.01 and acc > 0.9 and tag in (best)`; `docs/reference/filters.md` has all"
)
_COMPARISONS = {
    "=": Relation.EQUAL,
    "==": Relation.EQUAL,
    "!=": Relation.EQUAL,
    "<>": Relation.EQUAL,
    "<": Relation.LESS,
    "<=": Relation.AT_MOST,
    ">": Relation.GREATER,
    ">=": Relation.AT_LEAST,
    "~": Relation.MATCHES,
    "!~": Relation.MATCHES,
}
_NEGATIVE = ("!=", "<>", "!~")
_NULLS = ("null", "none")


def parse_filter(text: str, *, now: datetime, tz: tzinfo | None = None) -> Filter:
    """Understand a filter.

    Args:
        text: the filter.
        now: what `2 days ago` counts from; aware.
        tz: the time zone of dates and times that name none; None is this machine's.

    Raises:
        BadFilter: it cannot be understood; the message shows where.
    """
    parser = _Parser(text, now, tz)
    expression = parser.disjunction(0)
    if parser.tokens.peek().kind != "end":
        raise parser.tokens.error("expected `and`, `or` or the end")
    return Filter(text, expression)


class _Parser:
    def __init__(self, text: str, now: datetime, tz: tzinfo | None) -> None:
        self.tokens = Tokens(text, BadFilter, _HINT)
        self._now = now
        self._tz = tz
        self._tests = 0

    def disjunction(self, depth: int) -> Expression:
        parts = [self._conjunction(depth)]
        while self.tokens.accept("or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _conjunction(self, depth: int) -> Expression:
        parts = [self._negation(depth)]
        while self.tokens.accept("and"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _negation(self, depth: int) -> Expression:
        if depth > _MAX_DEPTH:
            raise self.tokens.error(f"the filter is nested deeper than {_MAX_DEPTH}")
        if self.tokens.accept("not"):
            return Not(self._negation(depth + 1))
        if self.tokens.accept("("):
            inner = self.disjunction(depth + 1)
            self.tokens.expect(")")
            return inner
        return self._test()

    def _test(self) -> Expression:
        self._tests += 1
        if self._tests > _MAX_TESTS:
            raise self.tokens.error(
                f"the filter has more than {_MAX_TESTS} conditions",
                hint="`in (a, b, c)` asks for many values at once",
            )
        operand = read_operand(self.tokens)
        sign = self.tokens.peek()
        if sign.kind == "symbol" and sign.text in _COMPARISONS:
            self.tokens.take()
            relation = _COMPARISONS[sign.text]
            values = (self._value(operand, relation),)
            return Comparison(operand, relation, values, sign.text in _NEGATIVE)
        if self.tokens.accept("is"):
            return self._state(operand)
        is_negated = self.tokens.accept("not") is not None
        if self.tokens.accept("contains"):
            values = (self._value(operand, Relation.CONTAINS),)
            return Comparison(operand, Relation.CONTAINS, values, is_negated)
        if self.tokens.accept("in"):
            return Comparison(operand, Relation.EQUAL, self._list(operand), is_negated)
        if _type_of(operand) is Type.BOOL and not is_negated:
            return Comparison(operand, Relation.EQUAL, (Value(ValueKind.BOOL, "true", 1),))
        raise self.tokens.error(f"expected a comparison of `{operand.name}`")

    def _state(self, operand: Operand) -> Expression:
        is_negated = self.tokens.accept("not") is not None
        exists = Comparison(operand, Relation.EXISTS)
        if self.tokens.accept("undefined"):
            return exists if is_negated else Not(exists)
        if self.tokens.accept("defined"):
            return Not(exists) if is_negated else exists
        if self.tokens.accept("nan"):
            value = Value(ValueKind.NAN, "nan")
            return Comparison(operand, Relation.EQUAL, (value,), is_negated)
        if self.tokens.accept(*_NULLS):
            if operand.kind is Kind.ATTRIBUTE:
                return exists if is_negated else Not(exists)
            value = Value(ValueKind.NULL, "null")
            return Comparison(operand, Relation.EQUAL, (value,), is_negated)
        raise self.tokens.error("expected `undefined`, `null` or `nan`, or `not` and one of them")

    def _list(self, operand: Operand) -> tuple[Value, ...]:
        opening = self.tokens.accept("(", "[")
        if opening is None:
            if _type_of(operand) is Type.TIME:
                return (self._value(operand, Relation.EQUAL),)
            raise self.tokens.error("expected `(` and values, as in `in (a, b)`")
        closing = ")" if opening.text == "(" else "]"
        values: list[Value] = []
        while not self.tokens.accept(closing):
            if values:
                self.tokens.expect(",")
                if self.tokens.accept(closing):
                    break
            values.append(self._value(operand, Relation.EQUAL))
            if len(values) > _MAX_VALUES:
                raise self.tokens.error(f"the list has more than {_MAX_VALUES} values")
        return tuple(values)

    def _value(self, operand: Operand, relation: Relation) -> Value:
        token = self.tokens.peek()
        if not is_name(token):
            raise self.tokens.error(
                f"expected a value{f', not `{token.text}`' if token.text else ''}"
            )
        kind = _type_of(operand)
        if relation is Relation.MATCHES:
            return self._pattern(kind)
        if relation is Relation.CONTAINS:
            return self._part(kind)
        if kind is Type.TIME:
            return self._time()
        self.tokens.take()
        if kind is None:
            return self._plain(token, relation)
        return self._of_attribute(token, kind, relation)

    def _plain(self, token: Token, relation: Relation) -> Value:
        value = _plain_value(token)
        if relation in _ORDERS:
            if value.kind in (ValueKind.BOOL, ValueKind.NULL):
                raise self.tokens.error(
                    f"`{token.text}` is neither more nor less than anything", token
                )
            if value.kind is ValueKind.TEXT and token.kind == "word":
                raise self.tokens.error(
                    f"`{token.text}` is not a number",
                    token,
                    hint=f"to compare as text, write `'{token.text}'`",
                )
        return value

    def _of_attribute(self, token: Token, kind: Type, relation: Relation) -> Value:
        text = unquote(token)
        if kind is Type.STATUS:
            text = text.lower()
            if text not in list(Status):
                raise self.tokens.error(
                    f"there is no status `{text}`", token, hint=f"there are: {', '.join(Status)}"
                )
        if kind in (Type.STATUS, Type.TAGS, Type.BOOL) and relation in _ORDERS:
            raise self.tokens.error("this can only be equal or not", token)
        if kind is Type.BOOL:
            if text.lower() not in ("true", "false"):
                raise self.tokens.error("expected `true` or `false`", token)
            return Value(ValueKind.BOOL, text, int(text.lower() == "true"))
        if kind is Type.NUMBER:
            value = _plain_value(token._replace(kind="word", text=text))
            if value.kind is not ValueKind.NUMBER:
                raise self.tokens.error("expected a number", token)
            return value
        if kind is Type.DURATION:
            seconds = parse_duration(text)
            if seconds is None:
                raise self.tokens.error(
                    "expected a duration", token, hint="for example `90`, `2h`, `1h30m`"
                )
            return Value(ValueKind.NUMBER, text, seconds)
        return Value(ValueKind.TEXT, text)

    def _pattern(self, kind: Type | None) -> Value:
        token = self.tokens.take()
        if kind in (Type.TIME, Type.DURATION, Type.NUMBER, Type.BOOL):
            raise self.tokens.error("a regular expression needs text to search in", token)
        text = unquote(token)
        try:
            re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise self.tokens.error(f"bad regular expression ({error})", token) from None
        return Value(ValueKind.TEXT, text)

    def _part(self, kind: Type | None) -> Value:
        token = self.tokens.take()
        if kind in (Type.TIME, Type.DURATION, Type.NUMBER, Type.BOOL):
            raise self.tokens.error("`contains` needs text or a list to search in", token)
        return _plain_value(token)

    def _time(self) -> Value:
        first = self.tokens.peek()
        count = 1
        if first.kind == "word":
            while count < 3 and self.tokens.peek(count).kind == "word":
                count += 1
        for words in range(count, 0, -1):
            text = " ".join(unquote(self.tokens.peek(ahead)) for ahead in range(words))
            span = parse_time(text, now=self._now, tz=self._tz)
            if span is not None:
                for _ in range(words):
                    self.tokens.take()
                return Value(ValueKind.TIME, text, *span)
        raise self.tokens.error(
            "expected a time",
            hint="for example 2026-11-01, '2026-11-01 10:30', '2 days ago', today, 'last 3 hours'",
        )


def _type_of(operand: Operand) -> Type | None:
    return ATTRIBUTES[operand.name] if operand.kind is Kind.ATTRIBUTE else None


def _plain_value(token: Token) -> Value:
    text = unquote(token)
    if token.kind == "string":
        return Value(ValueKind.TEXT, text)
    lower = text.lower()
    if lower == "nan":
        return Value(ValueKind.NAN, text)
    if lower in _NULLS:
        return Value(ValueKind.NULL, text)
    if lower in ("true", "false"):
        return Value(ValueKind.BOOL, text, int(lower == "true"))
    number = parse_number(text)
    if number is not None:
        return Value(ValueKind.NUMBER, text, number)
    return Value(ValueKind.TEXT, text)


# --- SQL ---


class Known(NamedTuple):
    """A name that runs of the index have, or once had: its number there, and as what."""

    key: int
    is_flag: bool
    is_metric: bool
    is_param: bool


class Sql(NamedTuple):
    """An SQL condition over `runs as r`, never NULL, and what to bind to its question marks."""

    text: str
    parameters: tuple[object, ...] = ()


FLAG_KINDS = {"null": 0, "bool": 1, "number": 2, "nan": 3, "text": 4, "list": 5}
"""The columns `flags.kind` and `params.kind` of the index."""

_FALSE = Sql("0")
_TEXT_KIND = FLAG_KINDS["text"]
_LIST_KIND = FLAG_KINDS["list"]
_DETAILS = {"comment": "comment", "commit": "commit_id", "dirty": "dirty", "command": "command",
            "source": "source"}  # fmt: skip


def compile_filter(filter_: Filter, find: Callable[[str], Known | None]) -> Sql:
    """Turn a filter into a condition; `find` says what the index knows of a name."""
    return _compile(filter_.expression, find)


def _compile(expression: Expression, find: Callable[[str], Known | None]) -> Sql:
    if isinstance(expression, Not):
        inner = _compile(expression.part, find)
        return Sql(f"not {inner.text}", inner.parameters)
    if isinstance(expression, All | AnyOf):
        word = " and " if isinstance(expression, All) else " or "
        return _join(word, [_compile(part, find) for part in expression.parts])
    if expression.operand.kind is Kind.ATTRIBUTE:
        return _attribute_sql(expression)
    known = find(expression.operand.name)
    if known is None:
        return _FALSE
    found: list[Sql] = []
    absent: list[Sql] = []
    for table, make in _tables(known, expression.operand.kind):
        # A run's param counts only where it has neither flag nor metric of that name.
        found.append(_join(" and ", [_among(table, known, make(expression)), *absent]))
        has = _among(table, known, Sql("1"))
        absent.append(Sql(f"not {has.text}", has.parameters))
    return _join(" or ", found) if found else _FALSE


def _tables(known: Known, kind: Kind) -> list[tuple[str, Callable[[Comparison], Sql]]]:
    """Return where a name is looked up, in this order, and how it is compared there."""
    tables: list[tuple[str, Callable[[Comparison], Sql]]] = []
    if known.is_flag and kind in (Kind.ANY, Kind.FLAG):
        tables.append(("flags", _flag_condition))
    if known.is_metric and kind in (Kind.ANY, Kind.METRIC):
        tables.append(("metrics", _metric_condition))
    if known.is_param and kind in (Kind.ANY, Kind.PARAM):
        tables.append(("params", _flag_condition))
    return tables


def _join(word: str, parts: list[Sql]) -> Sql:
    text = word.join(part.text for part in parts)
    return Sql(f"({text})", tuple(value for part in parts for value in part.parameters))


def _among(table: str, known: Known, condition: Sql) -> Sql:
    text = f"r.n in (select n from {table} where name = ? and {condition.text})"  # noqa: S608  # names of ours
    return Sql(text, (known.key, *condition.parameters))


def _flag_condition(test: Comparison) -> Sql:
    if test.relation is Relation.EXISTS:
        return Sql("1")
    value = test.values[0] if test.values else None
    if test.relation is Relation.EQUAL:
        numbers = [v.number for v in test.values if v.kind is ValueKind.NUMBER]
        texts = [v.text for v in test.values if v.kind is not ValueKind.NUMBER]
        # The text of a flag that is true, null or NaN is `true`, `null`, `nan`.
        texts += [v.kind.value for v in test.values if v.kind in (ValueKind.NULL, ValueKind.NAN)]
        texts += [v.text.lower() for v in test.values if v.kind is ValueKind.BOOL]
        spelled = [v.text for v in test.values if v.kind is ValueKind.NUMBER]
        condition = _join(
            " or ",
            [
                Sql(f"coalesce(number in ({_marks(numbers)}), 0)", tuple(numbers)),
                Sql(f"text in ({_marks(texts)})", tuple(texts)),
                Sql(f"(kind = {_TEXT_KIND} and text in ({_marks(spelled)}))", tuple(spelled)),
            ],
        )
    elif value is None:
        return _FALSE
    elif test.relation is Relation.CONTAINS:
        condition = Sql(
            f"(case kind when {_LIST_KIND} then has_element(text, ?) else instr(text, ?) > 0 end)",
            (value.text, value.text),
        )
    elif test.relation is Relation.MATCHES:
        condition = Sql("matches(?, text)", (value.text,))
    elif value.kind is ValueKind.NUMBER:
        condition = Sql(f"number {test.relation} ?", (value.number,))
    elif value.kind is ValueKind.TEXT:
        condition = Sql(f"(kind = {_TEXT_KIND} and text {test.relation} ?)", (value.text,))
    else:
        condition = _FALSE
    return Sql(f"not {condition.text}", condition.parameters) if test.is_negated else condition


def metric_column(operand: Operand) -> str:
    """Return which column of the table `metrics` an operand asks for. NaN is a text in it."""
    return SUMMARY_FIELDS[operand.field] + ("_step" if operand.is_step else "")


def _metric_condition(test: Comparison) -> Sql:
    column = metric_column(test.operand)
    condition = _FALSE
    value = test.values[0] if test.values else None
    if test.relation is Relation.EXISTS:
        condition = Sql("1")
    elif test.relation is Relation.EQUAL:
        wanted = [v.number if v.kind is ValueKind.NUMBER else "NaN" for v in test.values
                  if v.kind in (ValueKind.NUMBER, ValueKind.NAN)]  # fmt: skip
        condition = Sql(f"{column} in ({_marks(wanted)})", tuple(wanted))
    elif test.relation in _ORDERS and value is not None and value.kind is ValueKind.NUMBER:
        # SQLite holds every text, so also `NaN`, to be more than every number.
        condition = Sql(
            f"(typeof({column}) <> 'text' and {column} {test.relation} ?)", (value.number,)
        )
    sign = "not " if test.is_negated else ""
    return Sql(f"{column} is not null and {sign}{condition.text}", condition.parameters)


def _attribute_sql(test: Comparison) -> Sql:
    name = test.operand.name
    kind = ATTRIBUTES[name]
    if kind is Type.TAGS:
        return _tags_sql(test)
    column = _DETAILS.get(name) or f"r.{name}"
    condition = (
        Sql("1")
        if test.relation is Relation.EXISTS
        else _any(test, lambda v: _fits(test, column, v))
    )
    sign = "not " if test.is_negated else ""
    condition = Sql(f"({column} is not null and {sign}{condition.text})", condition.parameters)
    if name not in _DETAILS:
        return condition
    text = f"r.n in (select n from details where {condition.text})"  # noqa: S608  # names of ours
    return Sql(text, condition.parameters)


def _fits(test: Comparison, column: str, value: Value) -> Sql:
    kind = ATTRIBUTES[test.operand.name]
    relation = test.relation
    if relation is Relation.MATCHES:
        return Sql(f"matches(?, {column})", (value.text,))
    if relation is Relation.CONTAINS:
        return Sql(f"instr({column}, ?) > 0", (value.text,))
    if value.kind is ValueKind.NAN:
        return _FALSE
    if relation is Relation.EQUAL:
        if kind is Type.PREFIX:
            prefix = value.text.lower()
            if is_run_id(prefix):
                # Nothing else begins with it.
                return Sql(f"{column} = ?", (prefix,))
            return Sql(f"substr({column}, 1, length(?)) = ?", (prefix, prefix))
        if kind is Type.OPERATION:
            text = value.text
            ending = f"/{text}"
            return Sql(
                "(r.op = ? or r.stem = ? or substr(r.op, -length(?)) = ?)",
                (text, text, ending, ending),
            )
        if kind is Type.PROJECT:
            return Sql("(r.project = ? or r.project_name = ?)", (value.text, value.text))
        if value.end is not None:
            return Sql(f"({column} >= ? and {column} < ?)", (value.number, value.end))
    wanted = value.text if value.kind is ValueKind.TEXT else value.number
    return Sql(f"{column} {relation} ?", (wanted,))


def _tags_sql(test: Comparison) -> Sql:
    if test.relation is Relation.EXISTS:
        return Sql("r.n in (select n from tags)")
    if test.relation is Relation.EQUAL:
        texts = tuple(v.text for v in test.values)
        condition = Sql(f"tag in ({_marks(texts)})", texts)
    elif test.relation is Relation.MATCHES:
        condition = Sql("matches(?, tag)", (test.values[0].text,))
    else:
        condition = Sql("instr(tag, ?) > 0", (test.values[0].text,))
    sign = "not " if test.is_negated else ""
    text = f"r.n {sign}in (select n from tags where {condition.text})"  # noqa: S608  # names of ours
    return Sql(text, condition.parameters)


def _any(test: Comparison, fits: Callable[[Value], Sql]) -> Sql:
    return _join(" or ", [fits(value) for value in test.values]) if test.values else _FALSE


def _marks(values: tuple[object, ...] | list[float] | list[str] | list[float | str]) -> str:
    return ", ".join("?" * len(values))
