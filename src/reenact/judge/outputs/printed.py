"""Judge what a run printed against what was printed when it was run again.

`identical` is said of the same text only. Left out, and counted, is what no run prints twice: times
of day and dates of the run, how long something took and how fast it was, addresses in memory,
names of temporary files, and how a terminal was driven: colours, and what was overwritten.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date
from functools import partial
from itertools import zip_longest
from typing import Any, NamedTuple

from msgspec.structs import replace

from reenact.judge.names import is_time
from reenact.judge.outputs.compare import Comparison
from reenact.judge.outputs.moments import Period
from reenact.judge.outputs.output import Tolerance, from_findings
from reenact.judge.outputs.source import Allowance, HeldSource
from reenact.judge.outputs.values import Aside, Line, Noted, row_name
from reenact.judge.outputs.values import Sequence as Lines
from reenact.model.verdict import PRINTED, STDOUT, OutputVerdict, Verdict

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07")
_OVERWRITTEN = re.compile(r".*[\r\x08](?=.)")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NAMED = re.compile(
    rf"(?P<name>[A-Za-z][^:=,;|]{{0,60}}?)(?P<sign>[\x22\x27]?\s*[:=]\s*[\x22\x27]?)(?P<number>{_NUMBER})(?![\w.])"
)
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("progress bar", re.compile(r"\s*[━╸╺█▉▊▋▌▍▎▏░▒▓]{3,}\s*")),
    ("address", re.compile(r"(?<= at )0x[0-9a-fA-F]+")),
    ("uuid", re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")),
    ("temporary name", re.compile(r"\btmp[a-z0-9_]{8}\b")),
    ("time", re.compile(r"(?<![\d:])\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b")),
    ("time", re.compile(rf"(?<![\w.]){_NUMBER}\s?[A-Za-z]+/s(?:ec|econd)?\b")),
    (
        "time",
        re.compile(
            rf"(?<![\w.]){_NUMBER}\s?(?:s|secs?|seconds?|ms|msecs?|milliseconds?|[uµμ]s|microseconds?"
            r"|ns|nanoseconds?|minutes?|hours?|m(?=\s?\d+(?:\.\d+)?s))\b"
        ),
    ),
    (
        "time",
        re.compile(
            rf"(?:(?<=took )|(?<=time )|(?<=elapsed )|(?<=duration )|(?<=took: )){_NUMBER}(?![\w.])"
        ),
    ),
)  # fmt: skip
"""What says nothing of the result, and how it looks."""
_LONGEST_LINE = 1 << 16
_MOST_APART = 500
"""After so many lines that are not the same there is nothing left to find out."""
_DAYS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y",
         "%d %b %Y", "%b %d, %Y", "%B %d, %Y", "%b %d", "%d %b", "%a", "%A")  # fmt: skip


class Printed(NamedTuple):
    """What a run wrote to standard output.

    Attributes:
        data: all of it, or its beginning.
        days: on which the run ran, by the clocks that it may have asked.
    """

    data: bytes
    days: Sequence[date] = ()


def judge_printed(
    original: Printed,
    reproduced: Printed,
    *,
    tolerance: Tolerance | None = None,
    directories: tuple[str, str] | None = None,
    periods: tuple[Period, Period] | None = None,
    names: Iterable[tuple[str, str]] = (),
) -> OutputVerdict | None:
    """Say how what was printed came back; None where neither run printed anything.

    A terminal ends its lines otherwise than a file, which the run did not print. The same lines in
    another order are inconclusive: processes may have printed them side by side.
    """
    texts = [one.data.replace(b"\r\n", b"\n") for one in (original, reproduced)]
    if not any(texts):
        return None
    if texts[0] == texts[1]:
        return OutputVerdict(path=STDOUT, how=PRINTED, verdict=Verdict.IDENTICAL)
    source = HeldSource(texts[0], STDOUT, Allowance(max(map(len, texts))))
    comparison = Comparison(tolerance or (0.0, 0.0), source, directories, periods, names)
    comparison.findings.format = PRINTED
    sides = _lines(texts[0], texts[1], _days(original.days), _days(reproduced.days))
    comparison.compare(*(Lines(side.__iter__, row_name("line")) for side in sides))
    found = from_findings(comparison.findings, path=STDOUT)
    if found.verdict is Verdict.DIFFERS and _is_shuffled(*sides):
        place = (found.detail or "").partition(":")[0]
        return replace(
            found,
            verdict=Verdict.INCONCLUSIVE,
            detail=f"the same lines in another order, from {place}",
        )
    return found


def _lines(
    original: bytes,
    reproduced: bytes,
    original_days: re.Pattern[str] | None,
    reproduced_days: re.Pattern[str] | None,
) -> tuple[list[Any], list[Any]]:
    """Return both texts by lines; of lines that are the same, nothing is left out."""
    texts = [text.decode(errors="backslashreplace").split("\n") for text in (original, reproduced)]
    sides: tuple[list[Any], list[Any]] = ([], [])
    left = _MOST_APART
    for one, other in zip_longest(*texts):
        if one == other or not left:
            pair = [None if text is None else Line(text) for text in (one, other)]
        else:
            pair = [
                None if text is None else _line(text, days)
                for text, days in ((one, original_days), (other, reproduced_days))
            ]
            left -= None in pair or _text(pair[0]) != _text(pair[1])
        for side, line in zip(sides, pair, strict=True):
            side += [] if line is None else [line]
    return sides


def _is_shuffled(original: list[Any], reproduced: list[Any]) -> bool:
    """Whether these are the same lines in another order: several processes have printed them."""
    return Counter(map(_text, original)) == Counter(map(_text, reproduced))


def _text(line: Any) -> str:
    text: str = (line.value if isinstance(line, Noted) else line).text
    return text


def _line(text: str, days: re.Pattern[str] | None) -> Any:
    """Return a line without what says nothing of the result."""
    if len(text) > _LONGEST_LINE:
        return Line(text)
    # Both lines of a pair get asides of the same kinds, in the same order.
    asides: dict[str, list[str]] = {"sign for the terminal": [], "date": []}
    asides |= {what: [] for what, _ in _KINDS}
    plain = _OVERWRITTEN.sub("", _CONTROL.sub("", text))
    if plain != text:
        asides["sign for the terminal"] = [text]
    patterns = _KINDS if days is None else (("date", days), *_KINDS)
    for what, pattern in patterns:
        asides[what] += pattern.findall(plain)
        plain = pattern.sub(f"<{what}>", plain)
    plain = _NAMED.sub(partial(_without_time, asides), plain)
    return Noted(
        Line(plain), tuple(Aside(what, values, of="line") for what, values in asides.items())
    )


def _without_time(asides: dict[str, list[str]], found: re.Match[str]) -> str:
    if not is_time(found["name"]):
        return found[0]
    asides["time"].append(found["number"])
    return f"{found['name']}{found['sign']}<time>"


def _days(days: Sequence[date]) -> re.Pattern[str] | None:
    """Return what matches the days of a run, however they are written."""
    words = {day.strftime(form) for day in days for form in _DAYS}
    words |= {word.replace(" 0", "  ") for word in words if " 0" in word}
    if not words:
        return None
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    return re.compile(rf"(?<![\w.])(?:{'|'.join(longest_first)})(?=T\d\d:|[^\w.]|$)")
