"""Walk through what readers made of two files, and keep what differs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reenact.judge.names import is_time
from reenact.judge.outputs.formats import Format, find_format
from reenact.judge.outputs.keys import PLAIN, is_number, matched_keys, sort_key
from reenact.judge.outputs.lines import compare_lines
from reenact.judge.outputs.moments import Period, moment_of, without_speeds
from reenact.judge.outputs.numbers import Figures, compare_arrays, compare_pair
from reenact.judge.outputs.pixels import compare_pixels
from reenact.judge.outputs.source import (
    HeldSource,
    NotCompared,
    Source,
    all_bytes,
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
from reenact.judge.outputs.wording import index_text, key_place, number_text, reason_of, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DEEPEST = 150
_DEEPEST_FILES = 8
# Text of fewer characters is no file of its own.
_LEAST_CONTENT = 64
_MOST_TIMES = 1 << 26
_RUN_DIRECTORY = "the run directory"
_OUTPUT = "an output"
_END = object()
_TIME = ("time of the run", "place")
"""An aside, and of what."""


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

    `tolerance` is relative and absolute, `directories` the run directories, `periods` when the runs
    ran and `names` what outputs are called that have another name in each run, as in `judge_output`.
    """

    def __init__(
        self,
        tolerance: tuple[float, float],
        allowance_source: Source,
        directories: tuple[str, str] | None = None,
        periods: tuple[Period, Period] | None = None,
        names: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.findings = Findings()
        self._names = tuple(names)
        self._directories = directories
        self._periods = periods
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
            if is_number(original) and is_number(reproduced):
                self._numbers(original, reproduced)
                return
            if {type(original), type(reproduced)} <= {Line, int, float}:
                self._line(_as_line(original), _as_line(reproduced))
                return
            self._differs(f"{show(original)} -> {show(reproduced)}")
            return
        if len(self._place) > _DEEPEST:
            self._not_compared("it is nested too deeply")
            return
        method = _METHODS.get(type(original))
        if method is not None:
            method(self, original, reproduced)
        elif original != reproduced:
            self._differs(f"{show(original)} -> {show(reproduced)}")

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
        if original != reproduced and self._are_moments(original, reproduced):
            self.findings.asides[_TIME] += 1
            return
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
            lines = [Line(text.decode("latin-1")) for text in (original, reproduced)]
            one, other = self._without_moments(lines[0], lines[1])
            if one.text != other.text:
                self._differs(f"{show(original)} -> {show(reproduced)}")
            return
        sources = (HeldSource(data, "", self._allowance) for data in (original, reproduced))
        with self._at(": "):
            self._content(*(Content(source) for source in sources))

    def _mapping(self, original: dict[Any, Any], reproduced: dict[Any, Any]) -> None:
        theirs = matched_keys(original, reproduced)
        for key, value in original.items():
            with self._at(key_place(key)):
                if key in theirs:
                    self._named(key, value, reproduced[theirs[key]])
                else:
                    self._differs("only in the original")
        matched = set(map(id, theirs.values()))
        for key in reproduced:
            if id(key) not in matched:
                with self._at(key_place(key)):
                    self._differs("only in the reproduction")

    def _named(self, key: Any, original: Any, reproduced: Any) -> None:
        """Compare what is under a key, which may say that it is a time."""
        if self._simplify is not None and isinstance(key, str) and is_time(key):
            original, reproduced = self._simplify(original), self._simplify(reproduced)
        if isinstance(key, str) and _are_times(key, original, reproduced):
            self._aside(Aside(key, _plain(original)), Aside(key, _plain(reproduced)))
        else:
            self.compare(original, reproduced)

    def _list(self, original: list[Any], reproduced: list[Any]) -> None:
        for index, (one, other) in enumerate(zip(original, reproduced, strict=False)):
            with self._at(f"[{index}]"):
                self.compare(one, other)
        if len(original) != len(reproduced):
            self._differs(f"{len(original)} -> {len(reproduced)} items")

    def _set(self, original: set[Any], reproduced: set[Any]) -> None:
        gone = sorted(original - reproduced, key=sort_key)
        new = sorted(reproduced - original, key=sort_key)
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
                self._differs(f"{_SAID_AS.get(what, what)} {show(one)} -> {show(other)}")
                return
        difference = compare_arrays(original, reproduced, self._tolerance)
        figures = difference.figures
        self.findings.figures.add(figures)
        pair = difference.first_beyond or difference.first
        if pair is None:
            return
        if figures.compared <= 1 and isinstance(pair.original, bytes):
            self._bytes(pair.original, pair.reproduced)
            return
        index = index_text(pair.index, original.shape, original.is_fortran)
        text = "one ends here"
        if pair.original is not None:
            text = f"{number_text(original, pair.original)} -> {number_text(original, pair.reproduced)}"
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
        original, reproduced = self._without_names(original, reproduced)
        original, reproduced = self._without_moments(original, reproduced)
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

    def _without_names(self, original: Line, reproduced: Line) -> tuple[Line, Line]:
        """Return the lines with the same word for outputs that are called otherwise in each run."""
        for name, other in self._names:
            if name in original.text and other in reproduced.text:
                self.findings.asides["name", "output"] += 1
                original = replace(original, text=original.text.replace(name, _OUTPUT))
                reproduced = replace(reproduced, text=reproduced.text.replace(other, _OUTPUT))
        return original, reproduced

    def _without_moments(self, original: Line, reproduced: Line) -> tuple[Line, Line]:
        """Return the lines with the same word for moments of each run, and for how fast it was."""
        one, count = without_speeds(original.text)
        other, other_count = without_speeds(reproduced.text)
        if self._periods is not None:
            one, moments = self._periods[0].without_moments(one)
            other, other_moments = self._periods[1].without_moments(other)
            count, other_count = count + moments, other_count + other_moments
        if not count or count != other_count:
            return original, reproduced
        self.findings.asides[_TIME] += 1
        return replace(original, text=one), replace(reproduced, text=other)

    def _are_moments(self, original: float, reproduced: float) -> bool:
        """Tell whether two numbers are seconds since 1970, each at a moment of its run."""
        return self._periods is not None and (
            self._periods[0].has_seconds(original) and self._periods[1].has_seconds(reproduced)
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
        if self._periods is not None and original.arguments != reproduced.arguments:
            moments = [moment_of(one) for one in (original, reproduced)]
            if all(
                moment is not None and period.has_moment(moment)
                for moment, period in zip(moments, self._periods, strict=True)
            ):
                self.findings.asides[_TIME] += 1
                return
        for what in ("arguments", "state", "items"):
            # Of most objects only one of them is there, and the class tells which is meant.
            word = "" if what == "state" else f".{what}"
            with self._at(word):
                self.compare(getattr(original, what), getattr(reproduced, what))
        with self._at(""):
            self._pairs(original.pairs, reproduced.pairs)

    def _pairs(self, original: list[tuple[Any, Any]], reproduced: list[tuple[Any, Any]]) -> None:
        if all(isinstance(key, PLAIN) for key, _ in (*original, *reproduced)):
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
            self._differs(f"the {which} file cannot be read as {form.name}: {reason_of(error)}")
        return None

    def _walk(self, form: Format, original: Any, reproduced: Any) -> None:
        try:
            self.compare(original, reproduced)
        except NotCompared as reason:
            self._not_compared(str(reason))
        except Exception as error:  # noqa: BLE001  # as above: much is read only now
            self._differs(f"a file cannot be read as {form.name}: {reason_of(error)}")


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


def _are_times(key: str, original: Any, reproduced: Any) -> bool:
    """Whether a key says that these numbers are times: `refit_time_`, `mean_fit_time`.

    An array called `time` and no more may be an axis.
    """
    if is_number(original) and is_number(reproduced):
        return is_time(key)
    is_array = isinstance(original, Numbers) and isinstance(reproduced, Numbers)
    if not is_array or "_" not in key.strip("_") or original.shape != reproduced.shape:
        return False
    return is_time(key)


def _plain(value: Any) -> Any:
    return all_bytes(value.source, _MOST_TIMES) if isinstance(value, Numbers) else value


def _without_notes(value: Any) -> Any:
    return value.value if isinstance(value, Noted) else value
