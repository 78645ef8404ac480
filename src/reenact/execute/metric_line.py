"""Read the numbers on one line of text: which are metrics, and of what name; rules 2 to 7 of `metric_text`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from reenact.execute.metric_objects import MAX_NAME_LENGTH, REAL, WRAPPED, numbers_of_object
from reenact.execute.metric_steps import (
    EPOCH,
    ITERATION,
    MAX_STEP_DIGITS,
    Place,
    fraction,
    split_steps,
    step_rank,
)


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


# Text of a number, name, value where it may be a metric, and what became of it.
Row = tuple[str, str, float | None, Rule]


class Reading(NamedTuple):
    """The metrics on a line.

    Attributes:
        taken: name and value of each.
        place: what the line says about where the program is.
        may_be_params: they stand in an object, as params do that are printed.
    """

    taken: list[tuple[str, float]]
    place: Place | None = None
    may_be_params: bool = False


_NOTHING = Reading([])


class LineRules:
    """What is a metric on a line, however many lines came before.

    Args:
        exclude: names that are never metrics.
    """

    def __init__(self, exclude: frozenset[str]) -> None:
        self._exclude = exclude
        self._shapes: dict[tuple[str | bool, ...], _Shape] = {}

    def read(self, text: str) -> Reading:
        """Return the metrics on a line."""
        has_object = "{" in text
        if has_object and (numbers := numbers_of_object(text)) is not None:
            rows, place = self._judge_object(numbers)
            taken = [(row[1], row[2]) for row in rows if row[3] is _TAKEN and row[2] is not None]
            return Reading(taken, place, may_be_params=True)
        parts = _split(text)
        if len(parts) == 1:
            return _NOTHING
        shape = self._shape(parts)
        taken = []
        for index, name in shape.taken:
            value = _value(parts[index])
            if value is not None:
                taken.append((name, value))
        if not taken:
            return _NOTHING
        return Reading(taken, _place(shape, parts, text), has_object and "{" in parts[0])

    def explain(self, text: str) -> tuple[list[Row], Place | None, bool]:
        """Return what becomes of each number on a line, those included that no rule looks at.

        Also where the program is, and whether the numbers may be params that are printed.
        """
        numbers = numbers_of_object(text)
        if numbers is not None:
            return *self._judge_object(numbers), True
        rows: list[Row] = []
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
            rows.append((part, name, value, rule))
        return rows, _place(shape, parts, text), "{" in parts[0]

    def _judge_object(
        self, numbers: list[tuple[str, float, bool]]
    ) -> tuple[list[Row], Place | None]:
        metrics, place = split_steps(numbers)
        rows: list[Row] = []
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
                    rule, new_rank = Rule.STEP, EPOCH
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
                rule, new_rank = Rule.STEP, ITERATION
            if new_rank == EPOCH:
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
        rank = step_rank(name) if separator or has_blank or opening else 0
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
_HIDDEN = re.compile(r"[^\s,;|()\[\]{}]*[0-9][^\s,;|()\[\]{}]*")


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
    bar = fraction(parts[shape.bar]) if shape.bar else None
    if bar is None and "it [" in text and (found := _COUNT_ONLY.search(text)):
        bar = (int(found[1]), 0)
    epoch = fraction(parts[shape.epoch]) if shape.epoch else None
    step = fraction(parts[shape.step]) if shape.step else None
    if bar is None and epoch is None and step is None:
        return None
    value, total = step or (0, 0)
    return Place(shape.rank if step else 0, value, total, epoch[0] if epoch else None, bar)


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
        and len(parts[index]) <= MAX_STEP_DIGITS
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
    if len(number) > 2 * MAX_STEP_DIGITS or not int(total):
        return None
    return int(done) / int(total)
