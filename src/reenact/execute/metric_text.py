r"""Find metrics in lines of text: what a program prints becomes points.

A number is taken as a metric if it stands alone and has a name in front of it. In this order:

1. Lines end at a newline; a carriage return or backspaces end one that is drawn again. Terminal
   escapes and a time stamp in front go. Tracebacks, Python warnings and printed objects of several
   lines (see `metric_blocks`), lines above 64 kB (JSON: 1 MB) and lines with zero bytes are left out.
2. A line that is a JSON object or a Python dict gives each number in it; nested names are joined
   by `/`. Where each of them is a param that a framework has told of, with that value, it is a print
   of params and gives none. A line `| name | number |` of a table gives that number. All others are
   read as text:
3. Arguments of a call or of a printed object, `Adam(lr=0.1)`, are left out; `tensor(0.5)` and
   `np.float64(0.5)` are the number inside.
4. A number stands alone: a decimal, `1e-3`, `nan`, `inf`, `91.2%`, or a fraction `9840/10000`,
   which is its value. What touches it otherwise (`3.2s`, `12:30:45`, `2.1.0`, `1,234`, `0x1f`,
   `/tmp/3`) makes it part of a word.
5. Its name is the words directly in front of `:` or `=`, at most six. With only a blank between
   name and number the line must hold a step, or end in two or more such pairs of decimals.
6. Not metrics: an integer glued to a colon (`cuda:0`), a percentage that a bar follows, names of
   places, times and versions (`line`, `pid`, `port`, `version`, `eta`, ...), file names, options
   (`--lr=0.1`), flags of the run, the totals of a model's summary (`Total params: 19`), and a name's
   second appearance on the line.
7. What stands under a word for another set than the training set (`Test: loss 0.5`) gets it in
   front of its name: `Test loss`. LightGBM's `valid_0's l2` is `valid_0-l2`, as everywhere else.

Step: `global_step`, else `step`, else `iter` or `iteration`, else `batch`, else `epoch`, if written
as an integer; also `[10]` or `10:` in front of all. A step with a total inside an epoch
(`Epoch 2 [640/60000]`) is epoch x total + step. A total without an epoch (a progress bar) counts
on when it starts over. Without any it is the last `step: 3` that stood
alone on a line, else how often the name was seen before. A fractional
epoch is a metric. A bar that is drawn again with the same values at the same place is no new point.

Not covered: tables without names in each row, numbers inside names (`Top 5 acc: 0.9` is `acc`).
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from reenact.execute.metric_blocks import Blocks, Verdict, leaves_open, may_open
from reenact.execute.metric_objects import MAX_LINE_BYTES, is_object
from reenact.execute.metric_steps import Place, fitting
from reenact.execute.params_told import IsParam
from reenact.model.metrics import Point

if TYPE_CHECKING:
    # Its many patterns take long to compile: they are not, as long as nothing is printed.
    from reenact.execute.metric_line import LineRules, Row, Rule

MAX_JSON_BYTES = 1024 * 1024
MAX_NAMES = 10_000


class Finding(NamedTuple):
    """What became of one number: `rule` is `Rule.TAKEN` if it is a metric."""

    text: str
    name: str | None
    value: float | None
    step: int | None
    rule: Rule


class Explanation(NamedTuple):
    """What became of the numbers on a line; `reason` says why the line as a whole gives none."""

    findings: tuple[Finding, ...]
    reason: str | None = None


class LineMetrics:
    """Turn one stream of output into points, a chunk at a time.

    Attributes:
        ignored_names: how many numbers were not taken because of the limit on names.
    """

    def __init__(
        self, exclude: frozenset[str] = frozenset(), is_param: IsParam | None = None
    ) -> None:
        """Begin.

        Args:
            exclude: names that are never metrics.
            is_param: tells of numbers that are known to be params.
        """
        self.ignored_names = 0
        self._exclude = exclude
        self._is_param = is_param
        self._pending = b""
        self._is_skipping = False
        self._blocks = Blocks()
        # Lines that may belong to a warning, and when they came.
        self._held: list[tuple[str, int]] = []
        self._seen: dict[str, int] = {}
        self._rounds: dict[int, _Round] = {}
        self._drawn: dict[tuple[str, ...], str] = {}
        # The step that stood alone on a line.
        self._announced: int | None = None

    def feed(self, chunk: bytes, time_ns: int) -> list[Point]:
        """Return the points of the lines that `chunk` completes; how it is cut plays no part."""
        points: list[Point] = []
        data = self._pending + chunk if self._pending else chunk
        if self._is_skipping:
            found = _LINE_END.search(data)
            if found is None:
                return points
            data = data[found.end() :]
            self._is_skipping = False
        lines, newline, rest = data.rpartition(b"\n")
        if newline and (self._blocks.is_open or _may_hold(lines) or leaves_open(lines)):
            self._read_lines(lines, time_ns, points)
        # A carriage return at the very end may be half of a line's end.
        *drawn, last = _split_redraws(rest.rstrip(b"\r"))
        if drawn:
            self._read_redraws(drawn, time_ns, points)
            rest = rest[len(rest.rstrip(b"\r")) - len(last) :]
        self._pending = rest
        if len(rest) > MAX_LINE_BYTES and len(last) > MAX_LINE_BYTES and _is_too_long(last):
            self._pending = b""
            self._is_skipping = True
        return points

    def finish(self, time_ns: int, *, was_cut_short: bool = False) -> list[Point]:
        """Return the points of lines that waited for others.

        Args:
            time_ns: when it ended.
            was_cut_short: a last line without an end may be half of one, and is left out.
        """
        rest, self._pending = self._pending, b""
        points: list[Point] = []
        if rest and not was_cut_short:
            self._read_lines(rest, time_ns, points)
        self._read_held(points)
        return points

    def explain(self, line: str, time_ns: int = 0) -> Explanation:
        """Say what would become of each number on a line that came next; nothing is changed."""
        from reenact.execute.metric_line import Rule

        text = TERMINAL_ESCAPES.sub("", line.rstrip("\r\n"))
        if (reason := self._blocks.foresee(text)) is not None:
            return Explanation((), reason)
        if len(line.encode("utf-8", "replace")) > MAX_LINE_BYTES and not is_object(text):
            return Explanation((), "longer than 64 kB")
        rows, place, may_be_params = self._rules.explain(text)
        rows = [self._with_room(row) for row in rows]
        taken = [(row[1], row[2]) for row in rows if row[3] is Rule.TAKEN and row[2] is not None]
        if may_be_params and self._are_params(taken, time_ns):
            rows = [(*row[:3], Rule.PARAM) if row[3] is Rule.TAKEN else row for row in rows]
        found = []
        for number, name, value, rule in rows:
            step = None
            if rule is Rule.TAKEN:
                step = self._step_after(place) if place else None
                if step is None:
                    step = self._announced
                if step is None:
                    step = self._seen.get(name, 0)
            found.append(Finding(number, name or None, value, step, rule))
        return Explanation(tuple(found), None if found else "no number")

    def _read_lines(self, data: bytes, time_ns: int, points: list[Point]) -> None:
        has_redraws = b"\r" in data or b"\b" in data
        has_steps = _may_hold_steps(data)
        has_open = leaves_open(data)
        has_zeros = b"\0" in data
        for line in data.split(b"\n"):
            if has_zeros and b"\0" in line:
                continue
            if has_redraws and (b"\r" in line or b"\b" in line):
                *drawn, line = _split_redraws(line.rstrip(b"\r"))
                self._read_redraws(drawn, time_ns, points)
            if (
                _may_hold_pairs(line) or (has_steps and _may_hold_steps(line))
                or self._blocks.is_open or (has_open and leaves_open(line))
            ):  # fmt: skip
                self._read_line(line, time_ns, points, is_drawn_again=False)

    def _read_redraws(self, pieces: list[bytes], time_ns: int, points: list[Point]) -> None:
        for piece in pieces:
            if _may_hold(piece):
                self._read_line(piece, time_ns, points, is_drawn_again=True)

    def _read_line(
        self, line: bytes, time_ns: int, points: list[Point], *, is_drawn_again: bool
    ) -> None:
        if len(line) > MAX_LINE_BYTES and _is_too_long(line):
            return
        text = line.decode("utf-8", "replace")
        if "\x1b" in text:
            text = TERMINAL_ESCAPES.sub("", text)
        if (self._blocks.is_open or may_open(text)) and not self._is_free(
            text, time_ns, points, is_drawn_again=is_drawn_again
        ):
            return
        self._take_text(text, time_ns, points, is_drawn_again=is_drawn_again)

    def _is_free(
        self, text: str, time_ns: int, points: list[Point], *, is_drawn_again: bool
    ) -> bool:
        """Say whether a line is to be read by itself; read what it releases before that."""
        if is_drawn_again and self._held:
            # No warning draws bars.
            self._blocks.release()
            self._read_held(points)
        verdict = self._blocks.judge(text)
        if verdict is Verdict.READ_HELD:
            self._read_held(points)
            verdict = self._blocks.judge(text)
        if verdict is Verdict.HOLD:
            self._held.append((text, time_ns))
        elif verdict is Verdict.LEAVE_HELD:
            self._held.clear()
        return verdict is Verdict.READ

    def _read_held(self, points: list[Point]) -> None:
        held, self._held = self._held, []
        for text, time_ns in held:
            self._take_text(text, time_ns, points, is_drawn_again=False)

    def _take_text(
        self, text: str, time_ns: int, points: list[Point], *, is_drawn_again: bool
    ) -> None:
        taken, place, may_be_params = self._rules.read(text)
        if may_be_params and self._are_params(taken, time_ns):
            taken = []
        if taken:
            self._emit(taken, place, time_ns, points, is_drawn_again=is_drawn_again)
        elif "step" in text or "Step" in text:
            found = _LONE_STEP.fullmatch(text)
            if found is not None and found[1] not in self._exclude:
                self._announced = fitting(int(found[2]))

    def _emit(
        self,
        taken: list[tuple[str, float]],
        place: Place | None,
        time_ns: int,
        points: list[Point],
        *,
        is_drawn_again: bool,
    ) -> None:
        step = None
        if place is not None:
            step = self._step_after(place)
        if step is None:
            step = self._announced
        if place is not None and (bar := place.lone_bar) is not None:
            self._advance(bar, is_over=not is_drawn_again)
        if (is_drawn_again or self._drawn) and self._was_drawn(
            taken, place, is_drawn_again=is_drawn_again
        ):
            return
        seen = self._seen
        # tuple.__new__ makes the same Point without a Python frame for each.
        new = tuple.__new__
        for name, value in taken:
            count = seen.get(name)
            if count is None:
                if len(seen) >= MAX_NAMES:
                    self.ignored_names += 1
                    continue
                count = 0
            seen[name] = count + 1
            points.append(new(Point, (name, count if step is None else step, time_ns, value)))

    def _was_drawn(
        self, taken: list[tuple[str, float]], place: Place | None, *, is_drawn_again: bool
    ) -> bool:
        """Say whether the line before, to be drawn over, showed the same at the same place."""
        names = tuple([name for name, _ in taken])
        shown = repr((place, taken))
        before = self._drawn.pop(names, None)
        if is_drawn_again:
            if len(self._drawn) > MAX_NAMES:
                self._drawn.clear()
            self._drawn[names] = shown
        return before == shown

    def _step_after(self, place: Place) -> int | None:
        bar = place.lone_bar
        return place.step() if bar is None else fitting(self._round(bar).before + bar[0])

    def _round(self, bar: tuple[int, int]) -> _Round:
        """Return the round that a bar without an epoch is in: a new one when it goes back."""
        done, total = bar
        last = self._rounds.get(total)
        if last is None:
            return _Round(0, done, is_over=False)
        if done < last.done or (done == last.done and last.is_over):
            return _Round(last.before + (total or last.done), done, is_over=False)
        return last

    def _advance(self, bar: tuple[int, int], *, is_over: bool) -> None:
        if len(self._rounds) > MAX_NAMES:
            self._rounds.clear()
        self._rounds[bar[1]] = _Round(self._round(bar).before, bar[0], is_over=is_over)

    @cached_property
    def _rules(self) -> LineRules:
        from reenact.execute.metric_line import LineRules

        return LineRules(self._exclude)

    def _are_params(self, taken: list[tuple[str, float]], time_ns: int) -> bool:
        """Say whether all numbers of an object are params; a name that was a metric stays one."""
        is_param, seen = self._is_param, self._seen
        return is_param is not None and all(
            name not in seen and is_param(name, value, time_ns) for name, value in taken
        )

    def _with_room(self, row: Row) -> Row:
        """Return what becomes of a number when the names are too many."""
        from reenact.execute.metric_line import Rule

        has_room = row[1] in self._seen or len(self._seen) < MAX_NAMES
        return row if has_room or row[3] is not Rule.TAKEN else (*row[:3], Rule.TOO_MANY)


class _Round(NamedTuple):
    before: int
    done: int
    is_over: bool


_LONE_STEP = re.compile(r"\s*((?:global[_ ])?step)\s*[:=]\s*([0-9]{1,19})\s*", re.IGNORECASE)
TERMINAL_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])"
)
_LINE_END = re.compile(rb"[\n\r\b]")
_DIGIT = re.compile(rb"[0-9]|[nN][aA][nN]|[iI][nN][fF]")


def _may_hold(data: bytes) -> bool:
    """Say quickly whether text may hold a metric, a traceback or a warning; no means no."""
    return _may_hold_pairs(data) or _may_hold_steps(data)


def _may_hold_pairs(data: bytes) -> bool:
    if b":" in data or b"=" in data:
        return _DIGIT.search(data) is not None or b"Traceback" in data or b"Warning" in data
    return data.count(b".") > 1


def _may_hold_steps(data: bytes) -> bool:
    """Say whether a pair without `:` or `=` may be a metric: a step is near, or a table's bars."""
    lower = data.lower()
    return (
        b"step" in lower or b"epoch" in lower or b"iter" in lower or b"batch" in lower
        or b"\xe2\x94" in data or data.count(b"|") > 2
    )  # fmt: skip


def _split_redraws(line: bytes) -> list[bytes]:
    return line.replace(b"\b", b"\r").split(b"\r")


def _is_too_long(line: bytes) -> bool:
    return len(line) > MAX_JSON_BYTES or line[:64].lstrip()[:1] != b"{"
