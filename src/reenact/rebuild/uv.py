"""Call uv, which finds, fetches and installs packages, and say in one line what it could not do.

It is called without the settings of whoever calls us: where packages come from is decided here, and
said in options. Its cache, its network and its credentials are the user's own.
"""

from __future__ import annotations

import os
import re
import subprocess
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
    r"|Because ([\w.-]+) was not found in the (?:package registry|provided package locations)"
    r"|([\w.-]+) was not found in the (?:package registry|provided package locations|cache)"
)
_NO_WHEEL = re.compile(
    r"([\w.-]+)==(\S+) has no (?:wheels|usable wheels|source distribution)[^\n]*"
)
_NOT_BUILT = re.compile(r"Failed to (?:build|download and build) `([^`]+)`")
_NOT_FETCHED = re.compile(r"Failed to (?:fetch|download):? `?(\w+://[^`\s]+)")
_MISMATCH = re.compile(r"Hash mismatch for `([^`]+)`")
_NETWORK = re.compile(
    r"dns error|error sending request|connection refused|timed out|connection reset"
    r"|tcp connect error|network is unreachable",
    re.IGNORECASE,
)
_OFFLINE = re.compile(r"network was disabled|Network connectivity is disabled", re.IGNORECASE)
_SAID = re.compile(r"^\s*((?:\w+\.)*\w*(?:Error|Exception): .*|.*\berror: .*)$", re.MULTILINE)


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
    """

    def __init__(self, env: Mapping[str, str], directory: str) -> None:
        import uv

        try:
            self._program = uv.find_uv_bin()
        except FileNotFoundError:
            raise ReenactError(
                "uv is not there, which makes environments", hint="`pip install uv`"
            ) from None
        self._directory = directory
        self._env = neutral(env)

    def call(self, *words: str, more: Mapping[str, str] | None = None) -> str:
        """Call it; return what it printed.

        Args:
            words: without the settings that every call gets.
            more: variables to set.

        Raises:
            Refused: it ended with an error.
        """
        done = subprocess.run(
            [self._program, *words, "--no-config", "--color", "never"],
            cwd=self._directory,
            env={**self._env, **(more or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise Refused(done.stderr.strip() or done.stdout.strip())
        return done.stdout


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
    for pattern, describe in _KINDS:
        found = pattern.search(text)
        if found is not None:
            return describe(found, text, where)
    return Trouble(
        f"uv could not make the environment: {_first(text)}", "its own words are above all"
    )


def _missing(found: re.Match[str], _: str, where: Sequence[str]) -> Trouble:
    name = next(group for group in (found[1], found[3], found[4]) if group)
    version = (found[2] or "").rstrip(".,")
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


def _not_built(found: re.Match[str], text: str, _: Sequence[str]) -> Trouble:
    said = _SAID.findall(text[found.end() :])
    reason = said[-1].strip() if said else _first(text[found.end() :])
    return Trouble(
        f"{found[1]} has no wheel for this system, and its source does not build: {reason[:300]}",
        "install what its build needs (a compiler, headers), or put a wheel of it into a "
        "directory that UV_FIND_LINKS names",
    )


def _not_fetched(found: re.Match[str], text: str, _: Sequence[str]) -> Trouble:
    place = redact_text(found[1])
    refusal = re.search(r"\b(40[134]|5\d\d) [A-Z][\w ]*", text)
    if refusal is not None and not _NETWORK.search(text):
        return Trouble(
            f"{place} refuses: {refusal[0]}", "look at the address and at the credentials for it"
        )
    return Trouble(
        f"{place} cannot be reached", "look at the network, or name a mirror in UV_DEFAULT_INDEX"
    )


def _no_network(_: re.Match[str], __: str, where: Sequence[str]) -> Trouble:
    return Trouble(
        f"{listed(where)} cannot be reached",
        "look at the network, or name a mirror in UV_DEFAULT_INDEX",
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


_Describe = Callable[[re.Match[str], str, Sequence[str]], Trouble]

_KINDS: tuple[tuple[re.Pattern[str], _Describe], ...] = (
    (_OFFLINE, _offline),
    (_MISMATCH, _changed),
    (_NOT_BUILT, _not_built),
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
