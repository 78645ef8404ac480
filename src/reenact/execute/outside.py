"""What a run did outside its directory: files that it wrote, addresses that it asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from reenact.execute.uses import CLOCK_STEP_NS, Place, Use, spellings
from reenact.model.paths import path_to_text, printable
from reenact.model.run import File
from reenact.model.secrets import redact_text
from reenact.snapshot.rules import CACHES
from reenact.store.digests import Digests

MOST_CONTACTS = 500
MOST_OUTSIDE = 2000
"""So many files that were written outside the run directory are listed."""


def written_outside(uses: Iterable[Use], place: Place) -> list[Use]:
    """Return files that may be outputs: outside the run directory; in place, outside the project."""
    store = spellings(place.store)
    return [use for use in uses if use.written_by is not None and _is_outside(use, place, store)]


def describe_written(uses: Iterable[Use], place: Place, digests: Digests) -> list[File]:
    """Return what is still there and has been written; the first MOST_OUTSIDE are looked at."""
    found: list[File] = []
    for use in list(uses)[:MOST_OUTSIDE]:
        try:
            status = os.stat(use.path)
            if not stat.S_ISREG(status.st_mode) or not _is_written(use, status, place):
                continue
            digest, _ = digests.digest(use.path, status)
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(File(path=path_to_text(use.path), reason=error.strerror))
            continue
        found.append(
            File(
                path=path_to_text(use.path),
                size_bytes=status.st_size,
                digest=digest,
                process=use.written_by,
            )
        )
    return sorted(found, key=lambda file: file.path)


def describe_contacts(contacts: Iterable[str]) -> tuple[str, ...]:
    """Return what was asked, without this machine and hosts that a URL names already."""
    contacts = list(contacts)
    here = os.uname().nodename
    urls = {text for text in contacts if "://" in text}
    known = {url.partition("://")[2].partition("/")[0].partition(":")[0] for url in urls}
    hosts = set()
    for text in contacts:
        host = text.rpartition(":")[0] if ":" in text else text
        if "://" not in text and host not in known and host not in (here, "localhost", ""):
            hosts.add(text)
    return tuple(redact_text(printable(text)) for text in sorted(urls | hosts)[:MOST_CONTACTS])


def _is_outside(use: Use, place: Place, store: tuple[str, ...]) -> bool:
    if use.relative is not None:
        # What a run writes into the project itself, past the links of its own directory.
        parts = use.relative.split("/")
        return place.run is not None and not use.is_staged and CACHES.isdisjoint(parts[:-1])
    return not (
        use.path.startswith(store)
        or place.elsewhere.what(use.path) is not None
        or place.elsewhere.origin(use.path) is not None
        or place.elsewhere.is_temporary(use.path)
    )


def _is_written(use: Use, status: os.stat_result, place: Place) -> bool:
    """Tell whether a file that was opened for writing has been written."""
    if status.st_ctime_ns < place.began_ns - CLOCK_STEP_NS:
        return False
    before = use.wrote.stamp if use.wrote is not None else None
    if before is None or before.size == 0:
        return True
    return (status.st_size, status.st_mtime_ns) != before
