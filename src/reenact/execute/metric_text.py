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
from enum import StrEnum
from typing import NamedTuple

from reenact.execute.metric_blocks import Blocks, Verdict, leaves_open, may_open
from reenact.execute.metric_objects import (
    MAX_LINE_BYTES,
    REAL,
    WRAPPED,
    is_object,
    numbers_of_object,
)
from reenact.execute.params_told import IsParam
from reenact.model.metrics import Point

MAX_JSON_BYTES = 1024 * 1024
MAX_NAMES = 10_000
MAX_NAME_LENGTH = 200


class Rule(StrEnum):
    """Why a number is a metric, or is not."""

    TAKEN = "taken"
    STEP = "it is the step"
    PLACE = "it says how far a loop has come"
    NO_NAME = "no name stands directly in front of it"
    BLANK = "only a blank stands between name and number, and the line has no step"
    SENTENCE = "the words in front of it are a sentence"
    WORD = "it is part of a word: a time, a date, a version, a path, a number with its unit"
    CALL = "it is an argument in a call or in a printed object"
    COLON = "an integer glued to a colon is an address, a device or a line of a file"
    COMPARED = "it is compared with, not reported"
    NOT_A_METRIC = "its name is that of a place, a time or a version"
    SUMMARY = "it is a line of a model's summary"
    PARAM = "it is printed with other params that a framework told of, and no metric"
    FILE = "its name is that of a file"
    FLAG = "its name is that of a flag"
    TWICE = "its name was taken before on this line"
    TOO_MANY = "there are too many names already"


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


class Place(NamedTuple):
    """What a line says about where the program is."""

    rank: int = 0
    value: int = 0
    total: int = 0
    epoch: int | None = None
    bar: tuple[int, int] | None = None

    @property
    def lone_bar(self) -> tuple[int, int] | None:
        """How far a bar has come, if the line says nothing else about where the program is."""
        return self.bar if self.epoch is None and not self.rank else None

    def step(self) -> int | None:
        """Return the step that follows from the line alone, None where it does not say."""
        if self.rank and self.epoch is not None and self.rank < _GLOBAL:
            if self.total:
                return _fitting(self.epoch * self.total + self.value)
            if self.rank == _BATCH:
                return None
        if self.rank:
            return _fitting(self.value)
        if self.epoch is not None:
            if self.bar is None:
                return _fitting(self.epoch)
            done, total = self.bar
            return _fitting(self.epoch * total + done) if total else None
        return None


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
        self._shapes: dict[tuple[str | bool, ...], _Shape] = {}
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
        text = TERMINAL_ESCAPES.sub("", line.rstrip("\r\n"))
        if (reason := self._blocks.foresee(text)) is not None:
            return Explanation((), reason)
        if len(line.encode("utf-8", "replace")) > MAX_LINE_BYTES and not is_object(text):
            return Explanation((), "longer than 64 kB")
        rows, place = self._explain_text(text, time_ns)
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
        taken, place = self._read_text(text, time_ns)
        if taken:
            self._emit(taken, place, time_ns, points, is_drawn_again=is_drawn_again)
        elif "step" in text or "Step" in text:
            found = _LONE_STEP.fullmatch(text)
            if found is not None and found[1] not in self._exclude:
                self._announced = _fitting(int(found[2]))

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
        return place.step() if bar is None else _fitting(self._round(bar).before + bar[0])

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

    def _read_text(self, text: str, time_ns: int) -> tuple[list[tuple[str, float]], Place | None]:
        """Return the metrics on a line and what it says about where the program is."""
        has_object = "{" in text
        if has_object and (numbers := numbers_of_object(text)) is not None:
            rows, place = self._judge_object(numbers)
            taken = [(row[1], row[2]) for row in rows if row[3] is _TAKEN and row[2] is not None]
            return ([] if self._are_params(taken, time_ns) else taken), place
        parts = _split(text)
        if len(parts) == 1:
            return [], None
        shape = self._shape(parts)
        taken = []
        for index, name in shape.taken:
            value = _value(parts[index])
            if value is not None:
                taken.append((name, value))
        if has_object and "{" in parts[0] and self._are_params(taken, time_ns):
            taken = []
        return taken, _place(shape, parts, text) if taken else None

    def _are_params(self, taken: list[tuple[str, float]], time_ns: int) -> bool:
        """Say whether all numbers of an object are params; a name that was a metric stays one."""
        is_param, seen = self._is_param, self._seen
        return is_param is not None and all(
            name not in seen and is_param(name, value, time_ns) for name, value in taken
        )

    def _explain_text(self, text: str, time_ns: int) -> tuple[list[_Row], Place | None]:
        """Return what becomes of each number on a line, those included that no rule looks at."""
        numbers = numbers_of_object(text)
        if numbers is not None:
            rows, place = self._judge_object(numbers)
            return self._without_params(rows, time_ns), place
        rows = []
        for call in _CALL.findall(WRAPPED.sub(r"\1", text)):
            rows += [(word, "", None, Rule.CALL) for word in _HIDDEN.findall(call)]
        parts = _split(text)
        shape = self._shape(parts)
        for index, part in enumerate(parts):
            if index % 2 == 0:
                rows += [(word, "", None, Rule.WORD) for word in _HIDDEN.findall(part)]
                continue
            rule, name = shape.rules[index // 2]
            value = _value(part) if rule is _TAKEN else None
            if rule is _TAKEN and value is None:
                rule = Rule.WORD
            elif rule is _TAKEN and not self._has_room_for(name):
                rule = Rule.TOO_MANY
            rows.append((part, name, value, rule))
        if "{" in parts[0]:
            rows = self._without_params(rows, time_ns)
        return rows, _place(shape, parts, text)

    def _without_params(self, rows: list[_Row], time_ns: int) -> list[_Row]:
        taken = [(row[1], row[2]) for row in rows if row[3] is _TAKEN and row[2] is not None]
        if not self._are_params(taken, time_ns):
            return rows
        return [(*row[:3], Rule.PARAM) if row[3] is _TAKEN else row for row in rows]

    def _has_room_for(self, name: str) -> bool:
        return name in self._seen or len(self._seen) < MAX_NAMES

    def _judge_object(
        self, numbers: list[tuple[str, float, bool]]
    ) -> tuple[list[_Row], Place | None]:
        metrics, place = split_steps(numbers)
        rows: list[_Row] = []
        for name, value, _ in numbers:
            if name in metrics:
                rule = self._rule_for_name(name, name.rpartition("/")[2])
            else:
                rule = Rule.STEP
            rows.append((repr(value), name, value, rule))
        return rows, place

    def _shape(self, parts: list[str]) -> _Shape:
        """Return how numbers are read in a text that is cut into what stands between them.

        That depends on the text between them and on which are integers, fractions and decimals. A
        program prints few shapes of lines, so that nearly all are known.
        """
        kinds = [
            "i" if number.isdigit() else "/" if "/" in number else "." in number
            for number in parts[1::2]
        ]
        key = (*parts[::2], *kinds)
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            shape = self._judge(parts)
            if sum(map(len, parts)) <= _MAX_SHAPE_LENGTH:
                self._shapes[key] = shape
        return shape

    def _judge(self, parts: list[str]) -> _Shape:
        rules: list[tuple[Rule, str]] = []
        heading = ""
        rank = step = epoch = bar = 0
        for index in range(1, len(parts), 2):
            number, after = parts[index], parts[index + 1]
            slot = self._read_slot(parts[index - 1])
            rule, name = slot.rule, slot.name
            if slot.heading is not None:
                heading = slot.heading
            is_integer = number.isdigit()
            new_rank = slot.rank if is_integer or _FRACTION.fullmatch(number) else 0
            if new_rank:
                rule = Rule.STEP
            elif rule is Rule.TAKEN or rule is Rule.BLANK:
                if after.startswith("%|"):
                    rule = Rule.PLACE
                elif slot.is_glued and is_integer:
                    rule = Rule.COLON
                elif is_integer and _is_loop_counter(parts, index):
                    rule, new_rank = Rule.STEP, _EPOCH
                if rule is Rule.PLACE or rule is Rule.STEP:
                    heading = _heading_in(name) or heading
                elif heading and not slot.has_set:
                    name = f"{heading} {name}"
                elif "'s " in name and index > 1 and rules[0][0] is Rule.STEP:
                    name = _as_autologged(name, after)
            elif "/" in number:
                if _is_place(parts, index, slot.opening):
                    rule = Rule.PLACE
                    bar = bar or index
            elif after.startswith("%|"):
                rule = Rule.PLACE
            elif index == 1 and is_integer and _is_leading(parts[0].strip(), after):
                rule, new_rank = Rule.STEP, _ITERATION
            if new_rank == _EPOCH:
                epoch = epoch or index
            elif new_rank > rank:
                rank, step = new_rank, index
            rules.append((rule, name))
        has_place = bool(step or epoch or bar or _COUNT_ONLY.search(parts[0]))
        if has_place or _is_list_of_pairs(rules, parts):
            rules = [
                (Rule.TAKEN, name) if rule is Rule.BLANK else (rule, name) for rule, name in rules
            ]
        names = set()
        for index, (rule, name) in enumerate(rules):
            if rule is Rule.TAKEN:
                if name in names:
                    rules[index] = (Rule.TWICE, name)
                names.add(name)
        taken = tuple(
            (2 * index + 1, name) for index, (rule, name) in enumerate(rules) if rule is Rule.TAKEN
        )
        return _Shape(tuple(rules), taken, rank, step, epoch, bar)

    def _read_slot(self, before: str) -> _Slot:
        """Read what stands between a number and the one before it: a name, or something else."""
        body = before.rstrip()
        has_blank = body != before
        is_quoted = body[-1:] in _QUOTES and body[:-1].rstrip()[-1:] in _SEPARATORS
        if is_quoted:
            body = body[:-1].rstrip()
        opening = body[-1:] if body and body[-1] in _OPENINGS else ""
        if opening:
            body = body[:-1].rstrip()
        separator = body[-1:] if body and body[-1] in _SEPARATORS else ""
        if separator:
            body = body[:-1].rstrip()
        is_glued = separator == ":" and not (has_blank or is_quoted or opening)
        tail = body[-_SLOT_LENGTH:].rstrip("'\"")
        if len(body) > _SLOT_LENGTH:
            tail = "\0" + tail
        found = _NAME.search(tail)
        words = found[1].split(" ") if found else []
        for index, word in enumerate(words):
            if word in _LEVELS:
                words = words[index + 1 :]
        name = " ".join(words)
        rank = _step_rank(name) if separator or has_blank or opening else 0
        rest = before[: before.rfind(name)] if name and not (rank or opening) else before
        heading = _heading_in(rest)
        rule = self._rule_for_slot(words, separator, opening, has_blank=has_blank)
        if separator and body[-1:] in _COMPARISONS:
            rule = Rule.COMPARED
        has_set = not _SETS.isdisjoint(_NOT_LETTERS.split(name.lower()))
        return _Slot(rule, name, rank, heading, opening, is_glued, has_set)

    def _rule_for_slot(
        self, words: list[str], separator: str, opening: str, *, has_blank: bool
    ) -> Rule:
        if not words or opening or not (separator or has_blank):
            return Rule.NO_NAME
        if len(words) > _MAX_WORDS:
            return Rule.SENTENCE
        rule = self._rule_for_name(" ".join(words), words[-1])
        if separator or rule is not Rule.TAKEN:
            return rule
        if len(words) > _MAX_BLANK_WORDS or not _PROSE.isdisjoint(words):
            return Rule.SENTENCE
        return Rule.BLANK

    def _rule_for_name(self, name: str, last_word: str) -> Rule:
        if name in self._exclude:
            return Rule.FLAG
        if last_word.lower() in _NOT_METRICS:
            return Rule.NOT_A_METRIC
        if _FILE_NAME.search(last_word):
            return Rule.FILE
        if name.lower() in _SUMMARY:
            return Rule.SUMMARY
        if len(name) > MAX_NAME_LENGTH:
            return Rule.SENTENCE
        return Rule.TAKEN


# Text of a number, name, value where it may be a metric, and what became of it.
_Row = tuple[str, str, float | None, Rule]


class _Shape(NamedTuple):
    """How the numbers of a line are read; places are indices into its parts, 0 for none."""

    rules: tuple[tuple[Rule, str], ...]
    taken: tuple[tuple[int, str], ...]
    rank: int
    step: int
    epoch: int
    bar: int


class _Slot(NamedTuple):
    """What stands in front of a number: its name, and what it tells of the rest of the line."""

    rule: Rule
    name: str
    rank: int
    heading: str | None
    opening: str
    is_glued: bool
    has_set: bool


class _Round(NamedTuple):
    before: int
    done: int
    is_over: bool


_EPOCH, _BATCH, _ITERATION, _STEP, _GLOBAL = 1, 2, 3, 4, 5
_STEP_RANKS = {
    "epoch": _EPOCH,
    "batch": _BATCH,
    "iter": _ITERATION,
    "iteration": _ITERATION,
    "step": _STEP,
    "global_step": _GLOBAL,
    "global step": _GLOBAL,
}
_STEP_KEY = re.compile(
    r"(?:^|.* )(?:(?:train|training|trainer|val|valid|validation|test|eval|current)[ /_.-])?"
    r"(global[_ ]step|step|iteration|iter|batch|epoch)(?:\([^()]*\))?$",
    re.IGNORECASE,
)
_LONE_STEP = re.compile(r"\s*((?:global[_ ])?step)\s*[:=]\s*([0-9]{1,19})\s*", re.IGNORECASE)
# `steps per epoch: 100` and `best epoch: 7` are not where the program is.
_NOT_A_STEP = re.compile(
    r"\b(?:per|best|num|number|n|max|min|total|avg|average|mean|every|each|last|of) \S+$",
    re.IGNORECASE,
)
_MAX_STEP_DIGITS = 18
_MAX_SHAPES = 1000
_MAX_SHAPE_LENGTH = 1000
_TAKEN = Rule.TAKEN

_SEPARATORS = (":", "=")
_QUOTES = ("'", '"')
_BARS = "|│┃"
_OPENINGS = "[(" + _BARS
_COMPARISONS = tuple("=!<>+*/-~:")
_MAX_WORDS = 6
_MAX_BLANK_WORDS = 3
_SLOT_LENGTH = 200
_LEVELS = frozenset("DEBUG INFO NOTICE WARN WARNING ERROR CRITICAL FATAL TRACE SUCCESS".split())
_PROSE = frozenset(
    "a after all an and are at by every for from has have in is no of on or per than the to took "
    "was with".split()
)
_NOT_METRICS = frozenset(
    "asctime eta host levelno line lineno pid port ppid progress tid timestamp ts v_num "
    "version".split()
)
# What keras, torchinfo and torchsummary print below a model.
_SUMMARY = frozenset([
    *(f"{kind} params" for kind in ("total", "trainable", "non-trainable", "optimizer")),
    "input size (mb)", "forward/backward pass size (mb)", "params size (mb)",
    "estimated total size (mb)", "total mult-adds (m)", "total mult-adds (units.megabytes)",
])  # fmt: skip
_SETS = frozenset("train training val valid validation test testing eval evaluation dev".split())

_NUMBER = re.compile(
    r"(?<![^\s:=,\[({|'\"│┃])([0-9]+/[0-9]+|" + REAL + r")"
    r"(?=[\s;|)\]}%'\"±│┃]|$|,(?![0-9])|[:.](?:\s|$))"
)
_WORD_TEXT = r"(?:[^\W\d]|\ufffd)[\w@/.'%+*#&^\ufffd-]*(?:\[[^\[\]\s]*\])?"
_NAME = re.compile(
    rf"(?:(?<=[\s,;|(\[{{'\"*>:=│┃])|^)((?:{_WORD_TEXT}(?<!\.) )*{_WORD_TEXT}(?: ?\([^()]*\))?)$"
)
_SET_WORD = re.compile(
    r"(?<![\w./-])(?:train(?:ing)?|val(?:id|idation)?|test(?:ing)?|eval(?:uation)?|dev)(?![\w./-])",
    re.IGNORECASE,
)
_NOT_LETTERS = re.compile(r"[^a-z]+")
_FILE_NAME = re.compile(
    r"\.(?:bin|c|cc|cfg|ckpt|cpp|csv|cu|go|h|h5|hpp|ini|ipynb|java|js|json|jsonl|log|md|npy|npz|"
    r"parquet|pdf|pkl|png|pt|pth|py|rs|safetensors|sh|so|toml|ts|txt|whl|yaml|yml|zip)$"
)
_CALL = re.compile(r"(?<=[\w\])])\((?=[^)]{0,4000}=)(?:[^()]|\([^()]*\))*\)?")
_TABLE_ROW = re.compile(
    rf"\s*[{_BARS}]\s*([^{_BARS}]*[^{_BARS}\s:=])\s*[{_BARS}]\s*({REAL})\s*[{_BARS}]\s*$"
)
_FRACTION = re.compile(r"[0-9]+/[0-9]+")
_TIME_STAMP = re.compile(
    r"\[?[0-9]{2,4}[-/][0-9]{2}(?:[-/][0-9]{2})?[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?Z?"
)
_COUNT_ONLY = re.compile(r"(?:^|[\s|])([0-9]{1,18})it \[[0-9]")
TERMINAL_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])"
)
_LINE_END = re.compile(rb"[\n\r\b]")
_DIGIT = re.compile(rb"[0-9]|[nN][aA][nN]|[iI][nN][fF]")
_HIDDEN = re.compile(r"[^\s,;|()\[\]{}]*[0-9][^\s,;|()\[\]{}]*")


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


def _as_autologged(name: str, after: str) -> str:
    """Return what LightGBM prints as `valid_0's l2` under the name that it is recorded by.

    `valid's l2: 0.25 + 0.01` is of `cv`: mean and standard deviation.
    """
    name = name.removeprefix("cv_agg's ").replace("'s ", "-", 1).replace(" ", "-")
    return f"{name}-mean" if after.startswith(" + ") else name


def _heading_in(text: str) -> str | None:
    """Return the last word for a set of data, empty for the training set, None without one."""
    found = _SET_WORD.findall(text)
    if not found:
        return None
    return "" if found[-1].lower().startswith("train") else found[-1]


def _split_redraws(line: bytes) -> list[bytes]:
    return line.replace(b"\b", b"\r").split(b"\r")


def _is_too_long(line: bytes) -> bool:
    return len(line) > MAX_JSON_BYTES or line[:64].lstrip()[:1] != b"{"


def _fitting(step: int) -> int | None:
    return step if -(2**63) <= step < 2**63 else None


def _step_rank(name: str) -> int:
    found = _STEP_KEY.match(name)
    if found is None or _NOT_A_STEP.search(name):
        return 0
    return _STEP_RANKS[found[1].lower()]


def _split(text: str) -> list[str]:
    """Cut a line into what stands before a number, the number, what stands before the next."""
    first = text[:1]
    if first.isdigit() or first == "[":
        text = _TIME_STAMP.sub("", text, count=1)
    elif (first in _BARS or first.isspace()) and (cells := _TABLE_ROW.match(text)):
        return [f"{cells[1]}: ", cells[2], ""]
    if text.count("(") > text.count(" ("):
        text = _CALL.sub(" ", WRAPPED.sub(r"\1", text))
    return _NUMBER.split(text)


def _place(shape: _Shape, parts: list[str], text: str) -> Place | None:
    """Read the numbers that say where the program is."""
    bar = _fraction(parts[shape.bar]) if shape.bar else None
    if bar is None and "it [" in text and (found := _COUNT_ONLY.search(text)):
        bar = (int(found[1]), 0)
    epoch = _fraction(parts[shape.epoch]) if shape.epoch else None
    step = _fraction(parts[shape.step]) if shape.step else None
    if bar is None and epoch is None and step is None:
        return None
    value, total = step or (0, 0)
    return Place(shape.rank if step else 0, value, total, epoch[0] if epoch else None, bar)


def _fraction(number: str) -> tuple[int, int] | None:
    """Return done and total, 0 where there is none; None if a number is out of all proportion."""
    if len(number) > _MAX_STEP_DIGITS:
        return None
    done, slash, total = number.partition("/")
    return int(done), int(total) if slash else 0


def _is_place(parts: list[str], index: int, opening: str) -> bool:
    """Say whether a fraction without a name is how far a loop has come."""
    if index == 1 and not parts[0].strip():
        return _AFTER_COUNT.match(parts[2]) is not None
    return opening != "" and opening != "("


def _is_leading(before: str, after: str) -> bool:
    """Say whether `[10]` or `10:` opens the line."""
    return (before == "[" and after.startswith("]")) or (before == "" and after.startswith(":"))


_AFTER_COUNT = re.compile(r"\s*(?:[\[━╸|]|- )")


def _is_loop_counter(parts: list[str], index: int) -> bool:
    """Say whether `Train: 3 [ 10/500` stands here: an epoch by another name."""
    return (
        index + 2 < len(parts) and parts[index + 1].strip() == "[" and "/" in parts[index + 2]
        and len(parts[index]) <= _MAX_STEP_DIGITS
    )  # fmt: skip


def _is_list_of_pairs(rules: list[tuple[Rule, str]], parts: list[str]) -> bool:
    """Say whether a line without a step ends in two or more of `name 0.5`."""
    pairs = [index for index, (rule, _) in enumerate(rules) if rule is Rule.BLANK]
    return (
        len(pairs) > 1
        and all("." in parts[2 * index + 1] for index in pairs)
        and not any(character.isalpha() for character in parts[-1])
    )


def _value(number: str) -> float | None:
    if "/" not in number:
        return float(number)
    done, _, total = number.partition("/")
    if len(number) > 2 * _MAX_STEP_DIGITS or not int(total):
        return None
    return int(done) / int(total)


def split_steps(numbers: list[tuple[str, float, bool]]) -> tuple[dict[str, float], Place]:
    """Tell the metrics of an object from the numbers that say where the program is."""
    metrics: dict[str, float] = {}
    place = Place()
    for name, value, is_integer in numbers:
        rank = _step_rank(name.rpartition("/")[2])
        if not rank or not (is_integer or (rank != _EPOCH and value.is_integer())):
            metrics[name] = value
        elif rank == _EPOCH and place.epoch is None:
            place = place._replace(epoch=int(value))
        elif rank > max(place.rank, _EPOCH):
            place = place._replace(rank=rank, value=int(value))
    return metrics, place
