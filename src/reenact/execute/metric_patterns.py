r"""Find metrics in lines of text by the patterns of a project file's `output-scalars`.

Every line is searched for all patterns, any number of times each. Of a pattern with a name the first
group is the value; of one without a name the named groups are metrics, or else the first group is the
name and the second the value. `_key`, `_val` and `_step` may say which group is which. `\key`, `\value`
and `\step` stand for what they say; `\value` is any number, `nan` and `inf` too.

Step: the number that the pattern or group `step` found, for the metrics of its line and those that
follow. Before there is one, a metric's step is how often its name was seen before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, Protocol

from reenact.execute.metric_objects import MAX_LINE_BYTES, MAX_NAME_LENGTH, REAL
from reenact.execute.metric_text import (
    MAX_NAMES,
    TERMINAL_ESCAPES,
    Explanation,
    Finding,
    LineMetrics,
)
from reenact.execute.params_told import IsParam
from reenact.model.metrics import Point

if TYPE_CHECKING:
    from reenact.project.file.model import OutputPattern, OutputScalars

_ESCAPES = {r"\key": r"[^ \t]+", r"\value": f"(?:{REAL})", r"\step": "[0-9]+"}
_LINE_ENDS = re.compile(rb"[\n\r\b]")
_LARGEST_STEP = 2**63 - 1
_STEP = "step"


class LineReader(Protocol):
    """Turns one stream of output into points.

    `feed` may cut lines anywhere; the points that it returned are final. `finish` is called once, at
    the end. `explain` changes nothing.
    """

    ignored_names: int

    def feed(self, chunk: bytes, time_ns: int) -> list[Point]:
        """Return the points of the lines that a chunk completes."""

    def finish(self, time_ns: int, *, was_cut_short: bool = False) -> list[Point]:
        """Return the points of what is left; of a last line without an end if it is whole."""

    def explain(self, line: str, time_ns: int = 0) -> Explanation:
        """Say what would become of the numbers on a line that came next."""


def line_reader(
    rules: OutputScalars | None, exclude: frozenset[str], is_param: IsParam | None = None
) -> LineReader:
    """Return what reads the output of a run.

    Args:
        rules: patterns, flags filled in; None for the rules of `metric_text`.
        exclude: names that are never metrics, unless a pattern is named so.
        is_param: tells of numbers that are known to be params, where there are no patterns.
    """
    if rules is None:
        return LineMetrics(exclude, is_param)
    return PatternMetrics(rules, exclude)


class CompiledPattern(NamedTuple):
    """A pattern that is compiled.

    Attributes:
        name: of its metric.
        unnamed: numbers of its groups without a name.
    """

    expression: re.Pattern[str]
    name: str | None
    unnamed: tuple[int, ...]


class PatternMetrics:
    """Reads a stream of output by patterns. See `LineReader`."""

    def __init__(self, rules: OutputScalars, exclude: frozenset[str] = frozenset()) -> None:
        """Begin.

        Args:
            rules: the patterns; without any nothing is a metric.
            exclude: names that a pattern may find and that are no metrics.
        """
        self.ignored_names = 0
        self._exclude = exclude
        self._patterns = [compile_pattern(pattern) for pattern in rules.patterns]
        if rules.step is not None:
            self._patterns.insert(0, compile_pattern(rules.step))
        self._pending = b""
        self._step: int | None = None
        self._seen: dict[str, int] = {}

    def feed(self, chunk: bytes, time_ns: int) -> list[Point]:
        """Return the points of the lines that `chunk` completes."""
        if not self._patterns:
            return []
        *lines, rest = _LINE_ENDS.split(self._pending + chunk)
        # Of a line that never ends only the beginning can matter to anybody.
        self._pending = rest[:MAX_LINE_BYTES]
        points: list[Point] = []
        for line in lines:
            self._read(line, time_ns, points)
        return points

    def finish(self, time_ns: int, *, was_cut_short: bool = False) -> list[Point]:
        """Return the points of a last line without an end, unless it may be half of one."""
        rest, self._pending = self._pending, b""
        points: list[Point] = []
        if rest and not was_cut_short:
            self._read(rest, time_ns, points)
        return points

    def explain(self, line: str, time_ns: int = 0) -> Explanation:  # noqa: ARG002
        """Say which metrics the patterns find in a line."""
        from reenact.execute.metric_line import Rule

        found, step = self._search(line.rstrip("\r\n"))
        step = self._step if step is None else step
        findings = tuple(
            Finding(
                repr(value),
                name,
                value,
                self._seen.get(name, 0) if step is None else step,
                Rule.TAKEN,
            )
            for name, value in found
        )
        return Explanation(findings, None if findings else "no pattern of `output-scalars` fits")

    def _read(self, line: bytes, time_ns: int, points: list[Point]) -> None:
        if not line or len(line) > MAX_LINE_BYTES or b"\0" in line:
            return
        text = line.decode("utf-8", "replace")
        found, step = self._search(TERMINAL_ESCAPES.sub("", text) if "\x1b" in text else text)
        if step is not None:
            self._step = step
        for name, value in found:
            count = self._seen.get(name, 0)
            if not count and len(self._seen) >= MAX_NAMES:
                self.ignored_names += 1
                continue
            self._seen[name] = count + 1
            at = count if self._step is None else self._step
            points.append(Point(name, at, time_ns, value))

    def _search(self, text: str) -> tuple[list[tuple[str, float]], int | None]:
        """Return the metrics of a line, and the step that it tells."""
        found: list[tuple[str, float]] = []
        step = None
        for pattern in self._patterns:
            for match in pattern.expression.finditer(text):
                for name, value in pairs_in(pattern, match):
                    if name == _STEP:
                        step = _as_step(value, step)
                    elif pattern.name != name and name in self._exclude:
                        continue
                    elif (number := _number(value)) is not None and _is_name(name):
                        found.append((name, number))
        return found, step


def compile_pattern(pattern: OutputPattern) -> CompiledPattern:
    """Return a pattern in which names stand for what they say."""
    text = pattern.pattern
    for escape, meaning in _ESCAPES.items():
        text = text.replace(escape, meaning)
    expression = re.compile(text)
    named = set(expression.groupindex.values())
    unnamed = tuple(n for n in range(1, expression.groups + 1) if n not in named)
    return CompiledPattern(expression, pattern.name, unnamed)


def pairs_in(pattern: CompiledPattern, match: re.Match[str]) -> list[tuple[str, str | None]]:
    """Return names and texts that a match stands for."""
    named = match.groupdict()
    pairs: list[tuple[str, str | None]] = []
    if "_step" in named:
        pairs.append((_STEP, named.pop("_step")))
    key, value = named.pop("_key", None), named.pop("_val", None)
    if pattern.name is not None:
        own = value if value is not None or not pattern.unnamed else match[pattern.unnamed[0]]
        if own is None and named:
            own = named.pop(next(iter(named)))
        return [*pairs, (pattern.name, own), *((n, t) for n, t in named.items() if n == _STEP)]
    pairs += named.items()
    rest = [match[number] for number in pattern.unnamed]
    if key is None and len(rest) > 1:
        key = rest.pop(0)
    if value is None and rest:
        value = rest.pop(0)
    if key is not None:
        pairs.append((key, value))
    return pairs


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _as_step(text: str | None, before: int | None) -> int | None:
    number = _number(text)
    if number is None or number != number or abs(number) > _LARGEST_STEP:
        return before
    return int(number)


def _is_name(name: str) -> bool:
    return bool(name) and len(name) <= MAX_NAME_LENGTH
