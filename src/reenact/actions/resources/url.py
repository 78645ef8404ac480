"""Downloads: loaded once, checked, kept in the store's cache by URL and content.

Promised: a file under its final name is complete and has the digest that its name says; a download
that is cut goes on where it was, when the server says that the file is still the same; only one
process loads a URL at a time.

Not covered: servers that want more than a name and a password in the URL, or `~/.netrc`, to let
somebody in.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from reenact.actions.resources import Planned, Progress, RequirementFailed, unmet
from reenact.actions.resources.choose import place
from reenact.actions.resources.file import plan_path
from reenact.model.identity import Digest
from reenact.model.secrets import redact_text
from reenact.project.file.model import ResourceSource
from reenact.store.blobs import digest_bytes, digest_file
from reenact.store.files import read_file, remove_if_there, write_atomically
from reenact.store.lock import Lock
from reenact.store.store import Store

SCHEMES = ("http", "https", "file")
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.5
_TIMEOUT_S = 30.0
_CHUNK = 1 << 18
_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""Errors of writing, which no other server would help."""
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


class Loaded(NamedTuple):
    """A file that was loaded, now or before; `remark` says what the reader of a run must know."""

    path: str
    digest: Digest
    remark: str | None = None


class _Known(msgspec.Struct, omit_defaults=True):
    """What is known of the content of a URL: `known.json` of what is complete, `part.json` else."""

    etag: str | None = None
    modified: str | None = None
    sha256: str | None = None
    digest: str | None = None


def plan_url(resource: str, source: ResourceSource) -> Planned:
    """Look at a URL as far as that is possible without asking for it.

    Raises:
        UnmetRequirement: nothing can be loaded from it.
    """
    parts = urlsplit(source.spec)
    shown = redact_text(source.spec)
    if parts.scheme not in SCHEMES:
        raise unmet(
            resource,
            source,
            f"needs `{shown}`, of which `{parts.scheme}` is no scheme that can be loaded",
            "there are http, https and file; for a file of the project write `file:`",
        )
    if parts.scheme == "file":
        return plan_path(resource, source, unquote(parts.path), shown)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise unmet(resource, source, f"needs `{shown}`, which is no URL: {error}") from None
    if not host:
        raise unmet(resource, source, f"needs `{shown}`, which names no host")
    place(resource, source, name_of(source.spec))
    return Planned(resource, source, url=source.spec)


def name_of(url: str) -> str:
    """Return the name of the file that is loaded from a URL."""
    parts = urlsplit(url)
    name = os.path.basename(unquote(parts.path).rstrip("/"))
    return name if name not in ("", ".", "..") else parts.hostname or "download"


def load(
    store: Store,
    url: str,
    sha256: str | None,
    progress: Progress | None = None,
    *,
    wait: Callable[[float], None] = time.sleep,
) -> Loaded:
    """Return the content of a URL as a file that cannot be written to.

    With `sha256`, what was loaded before and has it is taken without asking anybody. Without,
    the server is asked whether the file has changed; when it does not answer, what was loaded before
    is taken.

    Raises:
        RequirementFailed: it could not be loaded, or is not what it must be.
    """
    directory = f"{store.cache_directory}/resources/{digest_bytes(url.encode())[:32]}"
    os.makedirs(directory, exist_ok=True)
    lock = Lock(f"{directory}/lock")
    lock.acquire(wait=True)
    try:
        return _Download(directory, url, sha256, progress, wait).load()
    finally:
        lock.release()


class _Cut(Exception):
    """The server, or the way to it, failed; another try may succeed."""


class _Download:
    def __init__(
        self,
        directory: str,
        url: str,
        sha256: str | None,
        progress: Progress | None,
        wait: Callable[[float], None],
    ) -> None:
        self.directory = directory
        self.shown = redact_text(url)
        self.name = name_of(url)
        self.sha256 = sha256
        self.progress = progress
        self.wait = wait
        parts = urlsplit(url)
        self.url = urlunsplit(
            (parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, "")
        )
        self.login = None
        if parts.username is not None:
            self.login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        self.part = f"{directory}/part"
        self.is_resumed = False

    def load(self) -> Loaded:
        known = _read(f"{self.directory}/known.json")
        have = self._complete(known)
        if have is not None and self.sha256 is not None and known.sha256 == self.sha256:
            return have
        if have is not None and self.sha256 is None and not (known.etag or known.modified):
            return have
        asks = known if have is not None and self.sha256 is None else None
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.wait(_FIRST_WAIT_S * 2 ** (attempt - 1))
            try:
                new = self._fetch(asks)
                if new is not None:
                    return self._keep(new)
            except _Cut as error:
                problem = str(error)
                continue
            assert have is not None
            return have
        if have is not None and self.sha256 is None:
            return have._replace(
                remark=f"`{self.shown}` was not asked again: {problem}; what was loaded before is used"
            )
        raise RequirementFailed(
            f"`{self.shown}` could not be loaded in {_ATTEMPTS} attempts: {problem}",
            hint="run it again: what has arrived is kept, and the rest is loaded then",
        )

    def _complete(self, known: _Known) -> Loaded | None:
        if known.digest is None:
            return None
        path = f"{self.directory}/{known.digest[:16]}/{self.name}"
        return Loaded(path, Digest(known.digest)) if os.path.isfile(path) else None

    def _fetch(self, asks: _Known | None) -> _Known | None:
        """Load what is missing; return None when what is there is what the server has."""
        from urllib.error import HTTPError, URLError
        from urllib.request import Request, urlopen

        request = Request(  # noqa: S310  # its scheme was looked at
            self.url, headers={"User-Agent": "reenact", "Accept-Encoding": "identity"}
        )
        if self.login is not None:
            word = base64.b64encode(self.login.encode()).decode()
            # Whom the server redirects to must not see it.
            request.add_unredirected_header("Authorization", f"Basic {word}")
        start = 0
        begun = _read(f"{self.part}.json")
        if asks is not None:
            if asks.etag:
                request.add_header("If-None-Match", asks.etag)
            elif asks.modified:
                request.add_header("If-Modified-Since", asks.modified)
        validator = begun.etag if begun.etag and not begun.etag.startswith("W/") else begun.modified
        if os.path.exists(self.part) and (validator or self.sha256):
            start = os.path.getsize(self.part)
        if start:
            request.add_header("Range", f"bytes={start}-")
            if validator:
                request.add_header("If-Range", validator)
        try:
            with urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310  # its scheme was looked at
                return self._receive(answer, start)
        except HTTPError as error:
            with error:
                # That of a redirect has several lines.
                reason = str(error.reason).partition("\n")[0]
                return self._refused(error.code, reason, start)
        except URLError as error:
            raise _Cut(_reason(error.reason)) from None
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in _OURS or getattr(error, "filename", None):
                raise
            raise _Cut(_reason(error)) from None

    def _refused(self, code: int, reason: str, start: int) -> _Known | None:
        if code == 304:
            return None
        if code == 416 and start:
            # There is no more than what is there, or what is there belongs to another file.
            remove_if_there(self.part)
            raise _Cut("the server has no such range")
        if code in _WORTH_ANOTHER_TRY:
            raise _Cut(f"the server says {code} {reason}")
        raise RequirementFailed(
            f"`{self.shown}` could not be loaded: the server says {code} {reason}"
        )

    def _receive(self, answer: Any, start: int) -> _Known:
        new = _Known(answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        is_rest = answer.status == 206 and _begins_at(answer.headers.get("Content-Range"), start)
        if answer.status == 206 and not is_rest:
            remove_if_there(self.part)
            raise _Cut("the server sent another part than it was asked for")
        start = start if is_rest else 0
        self.is_resumed = self.is_resumed or start > 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        with open(self.part, "ab" if start else "wb") as out:
            if not start:
                write_atomically(f"{self.part}.json", msgspec.json.encode(new), sync=False)
            have = self._copy(answer, out, start, total)
        if total is not None and have != total:
            raise _Cut(f"the connection was cut after {have} of {total} bytes")
        return new

    def _copy(self, answer: IO[bytes], out: IO[bytes], have: int, total: int | None) -> int:
        while data := answer.read(_CHUNK):
            out.write(data)
            have += len(data)
            if self.progress is not None:
                self.progress(self.name, have, total)
        return have

    def _keep(self, new: _Known) -> Loaded:
        """Give what was loaded its final name, once it is what it must be."""
        found = _sha256(self.part)
        if self.sha256 is not None and found != self.sha256:
            remove_if_there(self.part)
            remove_if_there(f"{self.part}.json")
            if self.is_resumed:
                # Its beginning may be of another file, where no server has said that it is not.
                self.is_resumed = False
                raise _Cut(f"what was loaded in parts has sha256 {found}")
            raise RequirementFailed(
                f"`{self.shown}` has sha256 {found}, and must have {self.sha256}",
                hint="if the file is right, write its digest into the project file",
            )
        digest, _ = digest_file(self.part)
        directory = f"{self.directory}/{digest[:16]}"
        os.makedirs(directory, exist_ok=True)
        os.chmod(self.part, 0o444)
        with open(self.part, "rb") as file:
            os.fsync(file.fileno())
        os.rename(self.part, f"{directory}/{self.name}")
        known = _Known(new.etag, new.modified, found, digest)
        write_atomically(f"{self.directory}/known.json", msgspec.json.encode(known))
        remove_if_there(f"{self.part}.json")
        return Loaded(f"{directory}/{self.name}", digest)


def _read(path: str) -> _Known:
    try:
        return msgspec.json.decode(read_file(path), type=_Known)
    except (OSError, msgspec.DecodeError):
        return _Known()


def _begins_at(text: str | None, start: int) -> bool:
    return text is not None and text.startswith(f"bytes {start}-")


def _reason(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _sha256(path: str) -> str:
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(_CHUNK):
            hasher.update(data)
    return hasher.hexdigest()
