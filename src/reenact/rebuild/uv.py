"""Call uv, which finds, fetches and installs packages, and say in one line what it could not do.

It is called without the settings of whoever calls us: where packages come from is decided here, and
said in options. Its cache, its network and its credentials are the user's own.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from reenact.errors import ReenactError
from reenact.model.secrets import redact_text

_DROPPED = ("UV_", "PIP_", "PYTHON", "VIRTUAL_ENV", "CONDA_", "REENACT_")
_KEPT = (
    "UV_CACHE_DIR",
    "UV_HTTP_TIMEOUT",
    "UV_OFFLINE",
    "UV_KEYRING_PROVIDER",
    "UV_LINK_MODE",
    "UV_NATIVE_TLS",
    "UV_SYSTEM_CERTS",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_NO_CACHE",
)

_MISSING = re.compile(
    r"there (?:is|are) no versions? of ([\w.-]+?)(?:\[[^\]]*\])?==([^\s,]+)"
    r"|([\w.-]+) was not found in the (?:package registry|provided package locations|cache)"
    r"(?: and you require [\w.-]+(?:\[[^\]]*\])?==([^\s,]+))?"
)
_NO_WHEEL = re.compile(
    r"([\w.-]+)==(\S+) has no (?:wheels|usable wheels|source distribution)[^\n]*"
)
_WRAPPED = re.compile(r"\n {9}(?=\S)")
"""How uv goes on with a cause in the next line, at the width of a terminal."""
_OTHER_PYTHON = re.compile(
    r"current Python version \(([^)]+)\) does not satisfy \S+ and ([\w.-]+)==(\S+) depends on Python(\S+?),?\s"
)
_NOT_BUILT = re.compile(r"Failed to (?:build|download and build) `([^`]+)`")
_NOT_FETCHED = re.compile(r"Failed to (?:fetch|download):? `?(\w+://[^`\s]+)")
_DAMAGED = re.compile(
    r"Failed to download `([^`]+)`\s+cause: Failed to extract[^\n]*(.*)", re.DOTALL
)
_NO_DOWNLOAD = re.compile(r"No download found for request: (\S+)")
_NO_ROOM = re.compile(
    r"(No space left on device|Disk quota exceeded|Read-only file system|Permission denied)"
    r" \(os error \d+\)"
)
_STATUS = re.compile(r"\(([45]\d\d [A-Z][\w -]*)\)")
_LOCKED_OUT = re.compile(r"could not be queried [^()]*\(([45]\d\d [^)]*)\)")
_MISMATCH = re.compile(r"Hash mismatch for `([^`]+)`")
_NETWORK = re.compile(
    r"dns error|error sending request|connection refused|timed out|connection reset"
    r"|tcp connect error|network is unreachable",
    re.IGNORECASE,
)
_OFFLINE = re.compile(r"network was disabled|Network connectivity is disabled", re.IGNORECASE)
_SAID = re.compile(r"^\s*((?:\w+\.)*\w*(?:Error|Exception): .*|.*\berror: .*)$", re.MULTILINE)


CREDENTIALS = "put its credentials into UV_INDEX, into ~/.netrc or into a keyring that uv asks"
_OTHER_PLACE = "look at the network, or name a mirror in UV_DEFAULT_INDEX"

_PATIENCE_S = 20.0
"""After so long without an end it is said that uv is still at work, and again from time to time."""


class Refused(Exception):
    """uv ended with an error; `text` is what it said."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class Trouble(NamedTuple):
    """What uv's words mean.

    Attributes:
        message: what happened to what.
        hint: what would do.
        missing: name of a package that no index has.
    """

    message: str
    hint: str
    missing: str | None = None


class Uv:
    """The program, in a neutral directory.

    Args:
        env: the user's variables.
        directory: where it is called: one without a project.
        progress: told when a call takes very long, as where an index does not answer.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        directory: str,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        import uv

        try:
            self._program = uv.find_uv_bin()
        except FileNotFoundError:
            raise ReenactError(
                "uv is not there, which makes environments", hint="`pip install uv`"
            ) from None
        self._directory = directory
        self._env = neutral(env)
        self._progress = progress

    @property
    def is_offline(self) -> bool:
        """The user does not want the network to be used."""
        return self._env.get("UV_OFFLINE", "").lower() not in ("", "0", "false", "no", "off")

    def call(self, *words: str, more: Mapping[str, str] | None = None) -> str:
        """Call it; return what it printed.

        Args:
            words: without the settings that every call gets.
            more: variables to set.

        Raises:
            Refused: it ended with an error.
        """
        with subprocess.Popen(
            [self._program, *words, "--no-config", "--color", "never"],
            cwd=self._directory,
            env={**self._env, **(more or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            try:
                out, err = self._wait_for(process)
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise Refused(err.strip() or out.strip())
        return out

    def _wait_for(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        started = time.monotonic()
        patience = _PATIENCE_S
        while True:
            try:
                return process.communicate(timeout=patience)
            except subprocess.TimeoutExpired:
                taken = round(time.monotonic() - started)
                self._progress(f"uv is still at work, {taken} s now: indexes may be slow to answer")
                patience = 2 * _PATIENCE_S


def neutral(env: Mapping[str, str]) -> dict[str, str]:
    """Return variables without those that say which Python and which packages are meant."""
    kept = {name: value for name, value in env.items() if not name.startswith(_DROPPED)}
    own = {name: value for name, value in env.items() if name in _KEPT}
    return {**kept, **own, "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}


def explain(text: str, where: Sequence[str]) -> Trouble:
    """Say what an error of uv means.

    Args:
        text: what it said.
        where: the places in which packages were looked for.
    """
    if _NOT_BUILT.search(text) is None:  # What a build says has lines of its own.
        text = _WRAPPED.sub(" ", text)
    for pattern, describe in _KINDS:
        found = pattern.search(text)
        if found is not None:
            return describe(found, text, where)
    causes = re.findall(r"^\s*cause: (.*)$", text, re.MULTILINE)
    reason = f": {causes[-1].rstrip('.')[:300]}" if causes else ""
    return Trouble(
        f"uv could not make the environment: {_first(text)}{reason}",
        "`uv pip install` of the same package may say more",
    )


def _missing(found: re.Match[str], _: str, where: Sequence[str]) -> Trouble:
    name = found[1] or found[3]
    version = (found[2] or found[4] or "").rstrip(".,")
    what = f"{name} {version}".strip()
    return Trouble(
        f"{what} is not to be had (any more) from {listed(where)}",
        "name a place that has it in UV_INDEX, or a directory with its wheel in UV_FIND_LINKS",
        missing=name,
    )


def _no_wheel(found: re.Match[str], _: str, where: Sequence[str]) -> Trouble:
    return Trouble(
        f"{found[1]} {found[2].rstrip('.,')} has no file for this system and Python "
        f"on {listed(where)}",
        "it was made for another architecture or Python: use a machine like the run's",
    )


def _other_python(found: re.Match[str], _: str, where: Sequence[str]) -> Trouble:
    return Trouble(
        f"{found[2]} {found[3]} is for Python {found[4]} by what {listed(where)} says, and the run "
        f"had {found[1]}",
        "make an environment by other means, and reproduce in it with `--env current`",
    )


def _not_built(found: re.Match[str], text: str, _: Sequence[str]) -> Trouble:
    said = _SAID.findall(text[found.end() :])
    reason = said[-1].strip() if said else _first(text[found.end() :])
    return Trouble(
        f"{found[1]} has no wheel for this system, and its source does not build: {reason[:300]}",
        "install what its build needs (a compiler, headers), or put a wheel of it into a "
        "directory that UV_FIND_LINKS names",
    )


def _no_room(found: re.Match[str], text: str, _: Sequence[str]) -> Trouble:
    line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
    places = re.findall(r"(?<![\w.:/])/[^\s`\"':]+", line + text[found.end() :].partition("\n")[0])
    where = f" in `{os.path.dirname(places[-1])}`" if places else ""
    return Trouble(
        f"nothing can be written{where}: {found[1]}",
        "environments lie in the store's `cache/`, what uv has fetched where UV_CACHE_DIR says",
    )


def _no_download(found: re.Match[str], _: str, __: Sequence[str]) -> Trouble:
    return Trouble(f"there is no {found[1]} to fetch", "install it by other means")


def _damaged(found: re.Match[str], _: str, where: Sequence[str]) -> Trouble:
    causes = re.findall(r"cause: (.*)", found[2])
    reason = f": {causes[-1].rstrip('.')}" if causes else ""
    return Trouble(
        f"the file of {found[1]} on {listed(where)} is damaged{reason}",
        "name another place that has it in UV_INDEX",
    )


def _not_fetched(found: re.Match[str], text: str, _: Sequence[str]) -> Trouble:
    place = redact_text(found[1])
    refusal = _STATUS.search(text, found.end())
    if refusal is None or _NETWORK.search(text):
        return Trouble(f"{place} cannot be reached", _OTHER_PLACE)
    status = refusal[1]
    if status.startswith(("401", "403", "407")):
        return Trouble(f"{place} refuses: {status}", CREDENTIALS)
    if status.startswith(("404", "410")):
        return Trouble(
            f"{place} is gone: {status}",
            "name a place that has it in UV_INDEX, or a directory with its wheel in UV_FIND_LINKS",
        )
    return Trouble(
        f"{place} does not serve it: {status}",
        "try again later, or name a mirror in UV_DEFAULT_INDEX",
    )


def _no_network(_: re.Match[str], __: str, where: Sequence[str]) -> Trouble:
    return Trouble(
        f"{listed(where)} cannot be reached",
        _OTHER_PLACE,
    )


def _offline(_: re.Match[str], __: str, where: Sequence[str]) -> Trouble:
    return Trouble(
        f"what {listed(where)} have is not known here, and the network is off",
        "UV_OFFLINE is set: unset it, or name a directory with the wheels in UV_FIND_LINKS",
    )


def _changed(found: re.Match[str], _: str, where: Sequence[str]) -> Trouble:
    return Trouble(
        f"the file of {found[1]} is not the one that was pinned: somebody has replaced it "
        f"on {listed(where)}",
        "`reenact lock` of the run names the files that were pinned",
    )


def refusal(text: str) -> str | None:
    """Return the status with which an index sent uv away, of an error that it asked to explain."""
    found = _LOCKED_OUT.search(text)
    return None if found is None else found[1]


_Describe = Callable[[re.Match[str], str, Sequence[str]], Trouble]

_KINDS: tuple[tuple[re.Pattern[str], _Describe], ...] = (
    (_NO_ROOM, _no_room),
    (_NO_DOWNLOAD, _no_download),
    (_OFFLINE, _offline),
    (_MISMATCH, _changed),
    (_NOT_BUILT, _not_built),
    (_DAMAGED, _damaged),
    (_OTHER_PYTHON, _other_python),
    (_NO_WHEEL, _no_wheel),
    (_NOT_FETCHED, _not_fetched),
    (_MISSING, _missing),
    (_NETWORK, _no_network),
)


def listed(where: Sequence[str]) -> str:
    """Name places in a message."""
    return ", ".join(where[:4]) + (f" and {len(where) - 4} more" if len(where) > 4 else "")


def _first(text: str) -> str:
    for line in text.splitlines():
        line = line.strip().removeprefix("error:").strip()
        if line and not line.startswith(("warning", "hint")):
            return line[:300]
    return "it said nothing"


def is_file(place: str) -> bool:
    """Tell whether a place to look for packages lies on this machine."""
    return place.startswith(("/", "file://", "~", "."))


def local_path(place: str) -> str:
    """Return the directory that a place on this machine is."""
    return os.path.expanduser(place.removeprefix("file://"))
