"""Walk through what readers made of two files, and keep what differs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reenact.judge.outputs.formats import Format, find_format
from reenact.judge.outputs.lines import compare_lines
from reenact.judge.outputs.numbers import Figures, compare_arrays, compare_pair
from reenact.judge.outputs.pixels import compare_pixels
from reenact.judge.outputs.source import (
    HeldSource,
    NotCompared,
    Source,
    Unreadable,
    first_difference,
    head,
)
from reenact.judge.outputs.values import (
    Aside,
    Content,
    Graph,
    Line,
    Members,
    Noted,
    Numbers,
    Pixels,
    Sequence,
    Thing,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DEEPEST = 150
_DEEPEST_FILES = 8
_DEEPEST_KEY = 20
_SHOWN = 60
# Text of fewer characters is no file of its own.
_LEAST_CONTENT = 64
_RUN_DIRECTORY = "the run directory"
_END = object()


class Findings:
    """What two files that are not the same have of difference.

    Attributes:
        differences: how many places differ by more than is tolerated, and `first` of them.
        tolerated: the first numbers that differ within what is tolerated.
        asides: how many things differ that say nothing of the result, by what they are.
        reasons: why something could not be compared.
        figures: of all numbers.
        format: of the files, None where they have none that is known.
    """

    def __init__(self) -> None:
        self.differences = 0
        self.first: str | None = None
        self.tolerated: str | None = None
        self.asides: Counter[tuple[str, str]] = Counter()
        self.reasons: list[str] = []
        self.figures = Figures()
        self.format: str | None = None


class Comparison:
    """Compare values and keep the findings; use it for one pair of files.

    `tolerance` is relative and absolute, and `directories` the run directories, as in
    `judge_output`.
    """

    def __init__(
        self,
        tolerance: tuple[float, float],
        allowance_source: Source,
        directories: tuple[str, str] | None = None,
    ) -> None:
        self.findings = Findings()
        self._directories = directories
        self._tolerance = tolerance
        self._allowance = allowance_source.allowance
        self._place: list[str] = []
        self._files = 0
        self._seen: dict[tuple[int, int], tuple[Any, Any]] | None = None
        self._simplify: Callable[[Any], Any] | None = None

    def compare(self, original: Any, reproduced: Any) -> None:
        """Compare two values of any kind."""
        if self._simplify is not None:
            if self._was_seen(original, reproduced):
                return
            original, reproduced = self._simplify(original), self._simplify(reproduced)
        if isinstance(original, Noted) != isinstance(reproduced, Noted):
            original, reproduced = _without_notes(original), _without_notes(reproduced)
        if type(original) is not type(reproduced):
            if _is_number(original) and _is_number(reproduced):
                self._numbers(original, reproduced)
                return
            if {type(original), type(reproduced)} <= {Line, int, float}:
                self._line(_as_line(original), _as_line(reproduced))
                return
            self._differs(f"{_show(original)} -> {_show(reproduced)}")
            return
        if len(self._place) > _DEEPEST:
            self._not_compared("it is nested too deeply")
            return
        method = _METHODS.get(type(original))
        if method is not None:
            method(self, original, reproduced)
        elif original != reproduced:
            self._differs(f"{_show(original)} -> {_show(reproduced)}")

    def _was_seen(self, original: Any, reproduced: Any) -> bool:
        """Say whether two objects of a graph were met before, so also when they hold themselves."""
        if self._seen is None or not isinstance(original, dict | list | tuple | set | Thing):
            return False
        key = id(original), id(reproduced)
        if key in self._seen:
            return True
        self._seen[key] = original, reproduced
        return False

    @contextmanager
    def _at(self, place: str) -> Iterator[None]:
        self._place.append(place)
        try:
            yield
        finally:
            self._place.pop()

    def _where(self) -> str:
        joined = "".join(self._place).replace(": .", ": ").replace(": [", "[")
        return joined.removesuffix(": ").removeprefix(".")

    def _say(self, text: str) -> str:
        where = self._where()
        return f"{where}: {text}" if where else text

    def _differs(self, text: str) -> None:
        self.findings.differences += 1
        if self.findings.first is None:
            self.findings.first = self._say(text)

    def _not_compared(self, reason: str) -> None:
        self.findings.reasons.append(self._say(reason))

    # Plain values.

    def _numbers(self, original: float, reproduced: float) -> None:
        before = self.findings.figures.differing
        if not compare_pair(original, reproduced, self._tolerance, self.findings.figures):
            self._differs(f"{original!r} -> {reproduced!r}")
        elif self.findings.figures.differing > before and self.findings.tolerated is None:
            self.findings.tolerated = self._say(f"{original!r} -> {reproduced!r}")

    def _text(self, original: str, reproduced: str) -> None:
        if original == reproduced:
            return
        if len(original) < _LEAST_CONTENT or len(reproduced) < _LEAST_CONTENT:
            self._line(Line(original), Line(reproduced))
            return
        self._bytes(*(text.encode(errors="surrogatepass") for text in (original, reproduced)))

    def _bytes(self, original: bytes, reproduced: bytes) -> None:
        if original == reproduced:
            return
        if min(len(original), len(reproduced)) < _LEAST_CONTENT:
            self._differs(f"{_show(original)} -> {_show(reproduced)}")
            return
        sources = (HeldSource(data, "", self._allowance) for data in (original, reproduced))
        with self._at(": "):
            self._content(*(Content(source) for source in sources))

    def _mapping(self, original: dict[Any, Any], reproduced: dict[Any, Any]) -> None:
        theirs = _matched_keys(original, reproduced)
        for key, value in original.items():
            with self._at(_key_place(key)):
                if key in theirs:
                    self.compare(value, reproduced[theirs[key]])
                else:
                    self._differs("only in the original")
        matched = set(map(id, theirs.values()))
        for key in reproduced:
            if id(key) not in matched:
                with self._at(_key_place(key)):
                    self._differs("only in the reproduction")

    def _list(self, original: list[Any], reproduced: list[Any]) -> None:
        for index, (one, other) in enumerate(zip(original, reproduced, strict=False)):
            with self._at(f"[{index}]"):
                self.compare(one, other)
        if len(original) != len(reproduced):
            self._differs(f"{len(original)} -> {len(reproduced)} items")

    def _set(self, original: set[Any], reproduced: set[Any]) -> None:
        gone = sorted(original - reproduced, key=_sort_key)
        new = sorted(reproduced - original, key=_sort_key)
        with self._at("{}"):
            self._list(gone, new)

    # What readers make.

    def _members(self, original: Members, reproduced: Members) -> None:
        for name, value in original.parts.items():
            with self._at(f"{name}: " if name else ""):
                if name in reproduced.parts:
                    self.compare(value, reproduced.parts[name])
                else:
                    self._differs("only in the original")
        for name in reproduced.parts:
            if name not in original.parts:
                with self._at(f"{name}: "):
                    self._differs("only in the reproduction")

    def _noted(self, original: Noted, reproduced: Noted) -> None:
        self.compare(original.value, reproduced.value)
        for one, other in zip(original.asides, reproduced.asides, strict=False):
            self._aside(one, other)

    def _aside(self, original: Aside, reproduced: Aside) -> None:
        if original.value != reproduced.value:
            self.findings.asides[original.what, original.of] += 1

    def _array(self, original: Numbers, reproduced: Numbers) -> None:
        for what in ("kind", "shape", "itemsize", "is_fortran"):
            one, other = getattr(original, what), getattr(reproduced, what)
            if one != other:
                self._differs(f"{_SAID_AS.get(what, what)} {_show(one)} -> {_show(other)}")
                return
        difference = compare_arrays(original, reproduced, self._tolerance)
        figures = difference.figures
        self.findings.figures.add(figures)
        pair = difference.first_beyond or difference.first
        if pair is None:
            return
        index = _index_text(pair.index, original.shape, original.is_fortran)
        text = "one ends here"
        if pair.original is not None:
            text = f"{_number_text(original, pair.original)} -> {_number_text(original, pair.reproduced)}"
        with self._at(index):
            if difference.first_beyond is None:
                self.findings.tolerated = self.findings.tolerated or self._say(text)
                return
            count = figures.beyond
            more = f" ({count:,} of {figures.compared:,} numbers)" if figures.compared > 1 else ""
            self._differs(text + more)

    def _pixels(self, original: Pixels, reproduced: Pixels) -> None:
        said = compare_pixels(original, reproduced, self._tolerance, self.findings.figures)
        if said.text and not said.is_tolerated:
            self._differs(said.text)
        elif said.text and self.findings.tolerated is None:
            self.findings.tolerated = self._say(said.text)

    def _line(self, original: Line, reproduced: Line) -> None:
        if original.text == reproduced.text:
            return
        original, reproduced = self._without_directories(original, reproduced)
        difference = compare_lines(original, reproduced, self._tolerance)
        self.findings.figures.add(difference.figures)
        with self._at(difference.place):
            if difference.text and not difference.is_tolerated:
                self._differs(difference.text)
            elif difference.text and self.findings.tolerated is None:
                self.findings.tolerated = self._say(difference.text)

    def _without_directories(self, original: Line, reproduced: Line) -> tuple[Line, Line]:
        """Return the lines with the same word for the run directory of each."""
        if self._directories is None or self._directories[0] not in original.text:
            return original, reproduced
        if self._directories[1] not in reproduced.text:
            return original, reproduced
        self.findings.asides["path", "line"] += 1
        return (
            replace(original, text=original.text.replace(self._directories[0], _RUN_DIRECTORY)),
            replace(reproduced, text=reproduced.text.replace(self._directories[1], _RUN_DIRECTORY)),
        )

    def _sequence(self, original: Sequence, reproduced: Sequence) -> None:
        pairs = itertools.zip_longest(original.parts(), reproduced.parts(), fillvalue=_END)
        for index, (one, other) in enumerate(pairs):
            if one is other or (type(one) is dict and one == other):
                continue
            with self._at(f"{original.name(index)}: "):
                if other is _END:
                    self._differs("only in the original")
                elif one is _END:
                    self._differs("only in the reproduction")
                else:
                    self.compare(one, other)
            if one is _END or other is _END:
                return

    def _thing(self, original: Thing, reproduced: Thing) -> None:
        if original.name != reproduced.name:
            self._differs(f"{original.name} -> {reproduced.name}")
            return
        for what in ("arguments", "state", "items"):
            # Of most objects only one of them is there, and the class tells which is meant.
            word = "" if what == "state" else f".{what}"
            with self._at(word):
                self.compare(getattr(original, what), getattr(reproduced, what))
        with self._at(""):
            self._pairs(original.pairs, reproduced.pairs)

    def _pairs(self, original: list[tuple[Any, Any]], reproduced: list[tuple[Any, Any]]) -> None:
        if all(isinstance(key, _PLAIN) for key, _ in (*original, *reproduced)):
            self._mapping(dict(original), dict(reproduced))
        else:
            self._list(original, reproduced)

    def _graph(self, original: Graph, reproduced: Graph) -> None:
        outer = self._seen, self._simplify
        self._seen, self._simplify = {}, original.simplify
        try:
            self.compare(original.root, reproduced.root)
        finally:
            self._seen, self._simplify = outer

    def _content(self, original: Content, reproduced: Content) -> None:
        outer = self._seen, self._simplify
        self._seen = self._simplify = None
        self._files += 1
        try:
            self.files(original.source, reproduced.source)
        except NotCompared as reason:
            self._not_compared(str(reason))
        finally:
            self._files -= 1
            self._seen, self._simplify = outer

    # Files.

    def files(self, original: Source, reproduced: Source) -> None:
        """Compare two files, by their format where both have the same one that is known."""
        offset = first_difference(original, reproduced)
        if offset is None:
            return
        if self._files > _DEEPEST_FILES:
            raise NotCompared("it is packed too often")
        form = find_format(head(original), original.name)
        other = find_format(head(reproduced), reproduced.name)
        if self._files == 0 and form is not None and form is other:
            self.findings.format = form.name
        if form is None or form is not other:
            names = [found.name if found else "unknown" for found in (form, other)]
            kinds = "" if form is other else f" ({names[0]} -> {names[1]})"
            self._differs(f"byte {offset:,} is the first that differs{kinds}")
            return
        with ExitStack() as keep:
            one = self._read(form, original, keep, "original")
            two = None if one is None else self._read(form, reproduced, keep, "reproduced")
            if one is not None and two is not None:
                self._walk(form, one, two)

    def _read(self, form: Format, source: Source, keep: ExitStack, which: str) -> Any:
        try:
            return form.read(source, keep)
        except NotCompared as reason:
            self._not_compared(str(reason))
        except Exception as error:  # noqa: BLE001  # a damaged file makes parsers raise anything
            self._differs(f"the {which} file cannot be read as {form.name}: {_reason(error)}")
        return None

    def _walk(self, form: Format, original: Any, reproduced: Any) -> None:
        try:
            self.compare(original, reproduced)
        except NotCompared as reason:
            self._not_compared(str(reason))
        except Exception as error:  # noqa: BLE001  # as above: much is read only now
            self._differs(f"a file cannot be read as {form.name}: {_reason(error)}")


_PLAIN = (str, int, float, bytes, bool, type(None))
_SAID_AS = {"kind": "type", "itemsize": "size of a number", "is_fortran": "order of axes"}

_METHODS: Mapping[type, Any] = {
    bool: None,
    int: Comparison._numbers,  # noqa: SLF001  # its own methods
    float: Comparison._numbers,  # noqa: SLF001
    str: Comparison._text,  # noqa: SLF001
    bytes: Comparison._bytes,  # noqa: SLF001
    dict: Comparison._mapping,  # noqa: SLF001
    list: Comparison._list,  # noqa: SLF001
    tuple: Comparison._list,  # noqa: SLF001
    set: Comparison._set,  # noqa: SLF001
    frozenset: Comparison._set,  # noqa: SLF001
    Members: Comparison._members,  # noqa: SLF001
    Aside: Comparison._aside,  # noqa: SLF001
    Noted: Comparison._noted,  # noqa: SLF001
    Numbers: Comparison._array,  # noqa: SLF001
    Pixels: Comparison._pixels,  # noqa: SLF001
    Line: Comparison._line,  # noqa: SLF001
    Sequence: Comparison._sequence,  # noqa: SLF001
    Thing: Comparison._thing,  # noqa: SLF001
    Graph: Comparison._graph,  # noqa: SLF001
    Content: Comparison._content,  # noqa: SLF001
}


def _as_line(value: Any) -> Line:
    return value if isinstance(value, Line) else Line(repr(value))


def _without_notes(value: Any) -> Any:
    return value.value if isinstance(value, Noted) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _matched_keys(original: dict[Any, Any], reproduced: dict[Any, Any]) -> dict[Any, Any]:
    """Return key of the original -> the same key of the reproduction, where it has that.

    Objects are the same keys if they are told by the same words.
    """
    known = {_sort_key(key): key for key in reproduced if not isinstance(key, _PLAIN)}
    own = {key: key for key in reproduced}
    matched = {}
    for key in original:
        if key in own:
            matched[key] = own[key]
        elif not isinstance(key, _PLAIN) and _sort_key(key) in known:
            matched[key] = known[_sort_key(key)]
    return matched


def _sort_key(value: Any, depth: int = 0) -> str:
    """Return words that are the same for the same value, and put numbers in their order."""
    if depth > _DEEPEST_KEY:
        return f"an object {id(value)}"
    if _is_number(value):
        return f"0{value:030.9f} {value!r}" if abs(value) < 1e18 else f"1{value!r}"
    if isinstance(value, Thing):
        inner = (*value.arguments, value.state, *value.items, *value.pairs)
        return value.name + ",".join(_sort_key(part, depth + 1) for part in inner)
    if isinstance(value, tuple | list):
        return ",".join(_sort_key(part, depth + 1) for part in value)
    if isinstance(value, set | frozenset):
        return ",".join(sorted(_sort_key(part, depth + 1) for part in value))
    return f"{type(value).__name__} {value!r}"


def _key_place(key: Any) -> str:
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f'["{_cut(key)}"]'
    return f"[{_show(key)}]"


def _show(value: Any) -> str:
    if isinstance(value, Thing):
        return value.name
    if isinstance(value, Numbers):
        return f"{value.kind} of {value.shape}"
    if isinstance(value, str | bytes):
        short = value[:_SHOWN]
        return repr(short) + ("..." if len(value) > _SHOWN else "")
    if isinstance(value, (*_PLAIN, type)):
        return (
            _cut(str(value)) if not isinstance(value, int) or abs(value) < 1 << 200 else "integer"
        )
    if isinstance(value, tuple) and all(isinstance(part, int) for part in value):
        return "x".join(map(str, value)) or "one number"
    if isinstance(value, dict | list | tuple | set | frozenset):
        return f"{type(value).__name__} of {len(value)}"
    return type(value).__name__.lower()


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _number_text(array: Numbers, value: Any) -> str:
    if array.kind == "bool":
        return str(bool(value))
    if array.kind in ("float32", "complex64"):
        return f"{value:.9g}"
    if array.kind in ("float16", "bfloat16"):
        return f"{value:.5g}"
    return _show(value) if isinstance(value, bytes) else repr(value)


def _index_text(index: int, shape: tuple[int, ...], is_fortran: bool) -> str:
    """Return the place of an element in an array: `[3, 7]`."""
    if not shape:
        return ""
    parts = []
    for size in shape if is_fortran else reversed(shape):
        parts.append(index % max(size, 1))
        index //= max(size, 1)
    return str(parts if is_fortran else parts[::-1])


def _reason(error: BaseException) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    text = _cut(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
