"""Where packages are looked for when an environment is made again.

That is where they were looked for then, as far as it is still there, and where this machine looks
now: what is installed is compared with the lock, so that it does no harm to ask more places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from reenact.model.lock import Indexes, Lock
from reenact.model.secrets import REDACTED, redact_text
from reenact.rebuild.uv import is_file, local_path

PYPI = "https://pypi.org/simple"
_TORCH = re.compile(r"\+(cpu|cu\d+|rocm[\d.]+|xpu)$")
_USER = re.compile(rf"(://)[^/@]*{re.escape(REDACTED)}[^/@]*@")


class Places(NamedTuple):
    """Places with packages.

    Attributes:
        default: the index that stands in for PyPI; None for PyPI itself.
        extra: further indexes.
        find_links: directories and pages with wheels.
        no_index: nothing but `find_links`.
        trusted: hosts whose certificate is not looked at.
        remarks: what was left out, and why.
        is_offline: of indexes only what uv's cache holds of them.
    """

    default: str | None = None
    extra: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    is_offline: bool = False

    def options(self, *, is_strict: bool = False) -> list[str]:
        """Return the options that tell them to uv.

        Args:
            is_strict: only an index that answers can be without a package.
        """
        words: list[str] = []
        if self.no_index:
            words.append("--no-index")
        else:
            # Of one version uv takes the files of the first index that has it, and the default
            # one is its last: mirrors and local indexes have fewer builds than the main one.
            *first, last = self.indexes()
            for url in first:
                words += ["--index", url]
            words += ["--default-index", last]
        for place in self.find_links:
            words += ["--find-links", place]
        for host in self.trusted:
            words += ["--allow-insecure-host", host]
        if self.is_offline:
            words.append("--offline")
        # As pip does it: the first index that has a package need not have this version of it.
        return [*words, "--index-strategy", "first-index" if is_strict else "unsafe-best-match"]

    def indexes(self) -> tuple[str, ...]:
        """Return the addresses of all indexes, the main one first."""
        return () if self.no_index else (self.default or PYPI, *self.extra)

    def only(self, index: str) -> Places:
        """Return one of the indexes alone; the address may be without credentials."""
        known = next(
            (url for url in self.indexes() if redact_text(url) == redact_text(index)), index
        )
        return self._replace(default=known, extra=(), find_links=())

    def names(self) -> list[str]:
        """Return them for a message, without credentials."""
        indexes = () if self.no_index else (self.default or "PyPI", *self.extra)
        return [redact_text(place) for place in (*indexes, *self.find_links)] or ["any place"]


def places_of(lock: Lock, now: Indexes) -> list[Places]:
    """Return where to look, and where to look if some of that cannot be reached.

    Args:
        lock: of the environment.
        now: the settings of this machine, with credentials.
    """
    then = lock.indexes
    here = [now.index, *now.extra, *now.find_links]
    remarks: list[str] = []

    def usable(places: Iterable[str]) -> list[str]:
        found = []
        for place in places:
            known = _with_credentials(place, here)
            if is_file(known) and not os.path.exists(local_path(known)):
                gone = redact_text(place)
                remarks.append(f"{gone} is not there any more: nothing was looked for in it")
            else:
                found.append(known)
        return found

    recorded = usable(filter(None, [then.index]))
    extra = [*recorded, *usable(then.extra)]
    links = usable(then.find_links)
    now = msgspec.structs.replace(
        now, extra=tuple(usable(now.extra)), find_links=tuple(usable(now.find_links))
    )
    remarks = list(dict.fromkeys(remarks))
    default = now.index
    if default is None and recorded and not now.no_index:
        default = recorded[0]
    torch = _torch_indexes(lock)
    both = Places(
        default=default,
        extra=_unique([*extra, *now.extra], but=default),
        find_links=_unique([*links, *now.find_links]),
        no_index=now.no_index,
        trusted=_unique([*then.trusted, *now.trusted]),
        remarks=tuple(remarks),
    )
    attempts = [both]
    if torch and not now.no_index:
        attempts.append(both._replace(extra=_unique([*both.extra, *torch], but=default)))
    unreached = "the indexes of then could not be reached: only those of this machine were asked"
    only = both._replace(
        default=now.index,
        extra=now.extra,
        find_links=now.find_links,
        remarks=(*remarks, unreached),
    )
    if only[:3] != both[:3]:
        attempts.append(only)
    if not now.no_index:
        here_only = "no index was of use: what this machine has was taken, uv's cache first of all"
        attempts.append(both._replace(is_offline=True, remarks=(*remarks, here_only)))
    return attempts


def _torch_indexes(lock: Lock) -> list[str]:
    """Return where builds of PyTorch lie that PyPI does not have."""
    found: dict[str, None] = {}
    for package in lock.packages:
        match = _TORCH.search(package.version)
        if match is not None and package.files is None:
            found[f"https://download.pytorch.org/whl/{match[1]}"] = None
    return list(found)


def _with_credentials(place: str, here: Iterable[str | None]) -> str:
    """Put back the credentials that were not recorded, where this machine knows them."""
    if REDACTED not in place:
        return place
    for known in here:
        if known is not None and redact_text(known) == place:
            return known
    return without_login(place)


def without_login(place: str) -> str:
    """Return an address without credentials that were hidden."""
    return _USER.sub(r"\1", place)


def _unique(places: Iterable[str], but: str | None = None) -> tuple[str, ...]:
    return tuple(place for place in dict.fromkeys(places) if place != but)
