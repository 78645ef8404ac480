"""Find the moments of a run in text that it wrote: when it began, saved, ended. They come back in no run.

A moment is a date with a time of day, or the seconds since 1970, that lies between the begin and the
end of the run. A date alone, or one of another time, is taken as part of the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reenact.judge.outputs.values import Thing

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK = r"\d\d:\d\d:\d\d"
_MOMENT = re.compile(
    rf"""(?:(?<![\w.])(?:
    (?P<iso>\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:\.\d{{1,9}})?(?:\s?(?:Z|UTC|[+-]\d\d:?\d\d))?)
    |(?P<c>{_DAY}\ {_MONTH}\ [ \d]\d\ {_CLOCK}\ \d{{4}})
    |(?P<mail>{_DAY},\ \d{{1,2}}\ {_MONTH}\ \d{{4}}\ {_CLOCK})
    |(?P<epoch>\d{{10}}(?:\d{{3}}){{0,3}}(?:\.\d+)?)
    )(?![\w]|\.\d)
    |(?<![\d.])(?:
    (?P<compact>\d{{8}}[-_T]?\d{{6}})
    |(?P<dashes>\d{{4}}-\d\d-\d\d[-_/T]\d\d-\d\d-\d\d)
    )(?!\d|\.\d))""",
    re.VERBOSE,
)
_NUMBER = r"\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_SPEED = re.compile(
    rf"(?<=took ){_NUMBER}\s?(?:s|sec|seconds|ms|minutes)\b"
    rf"|(?<![\w.]){_NUMBER}(?:\ [A-Za-z]+){{0,2}}\s?[A-Za-z]*/s(?:ec)?\b"
)
_SLACK_S = 2.0
"""Clocks are cut to seconds, and files are closed a little later than the script ends."""
_LENGTH = len("2026-11-20 20:17:49")
_PICKLED = 10
"""Bytes of a `datetime` in a pickle."""


class Period(NamedTuple):
    """When a run ran; times are aware."""

    start: datetime
    end: datetime

    def without_moments(self, text: str) -> tuple[str, int]:
        """Return a text with one word in place of each moment of the run, and how many there were."""
        count = 0

        def leave_out(found: re.Match[str]) -> str:
            nonlocal count
            if not any(map(self.has, _readings(found))):
                return found[0]
            count += 1
            return "<time>"

        return _MOMENT.sub(leave_out, text), count

    def has_moment(self, clock: datetime) -> bool:
        """Tell whether the run ran then; without a zone it is the time of here or of Greenwich."""
        return any(map(self.has, _zoned(clock)))

    def has(self, moment: datetime) -> bool:
        """Tell whether the run ran then."""
        slack = timedelta(seconds=_SLACK_S)
        return self.start - slack <= moment <= self.end + slack

    def has_seconds(self, seconds: float) -> bool:
        """Tell the same of seconds since 1970."""
        start, end = self.start.timestamp(), self.end.timestamp()
        return start - _SLACK_S <= seconds <= end + _SLACK_S


def without_speeds(text: str) -> tuple[str, int]:
    """Return a text without how long something took and how much there was per second, and how often."""
    return _SPEED.subn("<time>", text)


def _readings(found: re.Match[str]) -> Iterator[datetime]:
    """Yield which moments a text may mean."""
    kind, text = found.lastgroup, found[0]
    if kind == "epoch":
        whole, _, rest = text.partition(".")
        with suppress(ValueError, OverflowError):
            seconds = int(whole) / 10 ** (len(whole) - 10) + (float(f"0.{rest}") if rest else 0)
            yield datetime.fromtimestamp(seconds, UTC)
        return
    with suppress(ValueError):
        yield from _zoned(_clock(kind or "", text))


def _zoned(clock: datetime) -> Iterator[datetime]:
    if clock.tzinfo is not None:
        yield clock
        return
    yield clock.replace(tzinfo=UTC)
    with suppress(OverflowError, OSError):
        yield clock.astimezone()


def _clock(kind: str, text: str) -> datetime:
    if kind == "iso":
        zone = text[_LENGTH:].lstrip(".0123456789").strip()
        plain = text[: len(text) - len(zone)].strip() if zone else text
        fraction = plain[_LENGTH:]
        moment = datetime.strptime(plain[:_LENGTH].replace("T", " "), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # its zone follows
        moment += timedelta(seconds=float(fraction)) if len(fraction) > 1 else timedelta(0)
        if zone in ("Z", "UTC"):
            return moment.replace(tzinfo=UTC)
        return (
            datetime.strptime(f"{moment:%Y%m%d%H%M%S.%f}{zone}", "%Y%m%d%H%M%S.%f%z")
            if zone
            else moment
        )
    if kind == "c":
        return datetime.strptime(" ".join(text.split()), "%a %b %d %H:%M:%S %Y")  # noqa: DTZ007  # it has none
    if kind == "mail":
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S")  # noqa: DTZ007  # as above
    return datetime.strptime(re.sub(r"\D", "", text), "%Y%m%d%H%M%S")  # noqa: DTZ007  # as above


def moment_of(thing: Thing) -> datetime | None:
    """Return the moment that an object of a pickle stands for, by the clock of where it was made."""
    if thing.name != "datetime.datetime" or not thing.arguments:
        return None
    data = thing.arguments[0]
    if isinstance(data, str):
        data = data.encode("latin-1", "replace")
    if not isinstance(data, bytes) or len(data) != _PICKLED:
        return None
    year, month, microsecond = data[0] << 8 | data[1], data[2] & 0x7F, int.from_bytes(data[7:])
    with suppress(ValueError):
        return datetime(year, month, data[3], data[4], data[5], data[6], microsecond)  # noqa: DTZ001  # its zone is an object of its own
    return None
