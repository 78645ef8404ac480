"""Where pip and uv look for packages here: their files of settings and their variables.

Of one setting that stands in several places, the one counts that pip and uv would take: variables
before files, the user's files before the system's. Lists of places to look at are put together,
because nobody wrote down which of the two tools installed what.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reenact.model.environment import PythonFacts
from reenact.model.paths import printable
from reenact.model.secrets import redact_text

if TYPE_CHECKING:
    from reenact.model.lock import Indexes

_CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT")
_PYPI = ("https://pypi.org/simple", "https://pypi.org/simple/", "https://pypi.python.org/simple")

_Settings = dict[str, list[str]]
"""Name as pip's, in lower case -> values."""


def index_variables(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that `read_indexes` looks at."""
    return {
        name: env[name]
        for name in sorted(env)
        if name.startswith(("PIP_", "UV_")) or name in ("HOME", "XDG_CONFIG_HOME", *_CERTIFICATES)
    }


def index_files(
    env: Mapping[str, str], python: PythonFacts | None, project: str | None
) -> tuple[str, ...]:
    """Return the files that `read_indexes` reads if they are there."""
    return (*_pip_files(env, python), *_uv_files(env, project))


def read_indexes(
    env: Mapping[str, str],
    python: PythonFacts | None,
    project: str | None = None,
    *,
    is_redacted: bool = True,
) -> Indexes:
    """Return where packages are looked for.

    Args:
        env: the user's variables.
        python: the interpreter, which may have settings of its own.
        project: root of the project, whose `pyproject.toml` may have settings for uv.
        is_redacted: without the credentials in addresses, for a record. With them they are of use
            only here and now.
    """
    # Imported here: the names of files and variables are asked for by every run.
    from reenact.model.lock import Indexes

    pip = _pip_settings(env, python)
    uv = _uv_settings(env, project)

    def one(name: str) -> str | None:
        values = uv.get(name) or pip.get(name)
        return values[0] if values else None

    def all_of(name: str) -> tuple[str, ...]:
        values = dict.fromkeys([*uv.get(name, ()), *pip.get(name, ())])
        return tuple(clean(value) for value in values)

    def clean(text: str) -> str:
        return printable(redact_text(text)) if is_redacted else text

    index = one("index-url")
    if index is not None and index in _PYPI:
        index = None
    certificate = env.get("SSL_CERT_FILE") or one("cert")
    return Indexes(
        index=None if index is None else clean(index),
        extra=tuple(url for url in all_of("extra-index-url") if url not in _PYPI),
        find_links=all_of("find-links"),
        no_index=(one("no-index") or "").lower() in ("1", "true", "yes", "on"),
        certificate=None if certificate is None else printable(certificate),
        trusted=all_of("trusted-host"),
    )


def _pip_files(env: Mapping[str, str], python: PythonFacts | None) -> tuple[str, ...]:
    """Return pip's files of settings, the one that counts most first."""
    named = env.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return ()
    home = env.get("HOME", "")
    places = [named] if named else []
    if python is not None:
        places.append(f"{python.prefix}/pip.conf")
    if home:
        config = env.get("XDG_CONFIG_HOME") or f"{home}/.config"
        places += [f"{config}/pip/pip.conf", f"{home}/.pip/pip.conf"]
    return (*places, "/etc/pip.conf", "/etc/xdg/pip/pip.conf")


def _pip_settings(env: Mapping[str, str], python: PythonFacts | None) -> _Settings:
    found: _Settings = {}
    for name, value in env.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE":
            found[name.removeprefix("PIP_").lower().replace("_", "-")] = value.split()
    for path in _pip_files(env, python):
        for name, values in _read_ini(path).items():
            found.setdefault(name, values)
    return found


def _read_ini(path: str) -> _Settings:
    if not os.path.exists(path):
        return {}
    from configparser import Error, RawConfigParser

    parser = RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except (Error, UnicodeDecodeError):
        return {}
    found: _Settings = {}
    for section in ("install", "global"):
        if parser.has_section(section):
            for name, value in parser.items(section):
                found.setdefault(name.replace("_", "-"), (value or "").split())
    return found


def _uv_files(env: Mapping[str, str], project: str | None) -> tuple[str, ...]:
    if env.get("UV_NO_CONFIG"):
        return ()
    if named := env.get("UV_CONFIG_FILE"):
        return (named,)
    # A `uv.toml` beside it takes the place of what `pyproject.toml` says.
    places = [f"{project}/uv.toml", f"{project}/pyproject.toml"] if project else []
    config = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
    if config:
        places.append(f"{config}/uv/uv.toml")
    return (*places, "/etc/xdg/uv/uv.toml", "/etc/uv/uv.toml")


def _uv_settings(env: Mapping[str, str], project: str | None) -> _Settings:
    found: _Settings = {}

    def add(name: str, values: Iterable[str]) -> None:
        found.setdefault(name, []).extend(value for value in values if value)

    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        add("index-url", [_address(env.get(variable, ""), env)])
    for variable in ("UV_INDEX", "UV_EXTRA_INDEX_URL"):
        add("extra-index-url", (_address(text, env) for text in env.get(variable, "").split()))
    # uv's own separator of these is a comma.
    add("find-links", env.get("UV_FIND_LINKS", "").replace(",", " ").split())
    add("no-index", [env.get("UV_NO_INDEX", "")])
    add("trusted-host", env.get("UV_INSECURE_HOST", "").split())
    for path in _uv_files(env, project):
        _add_toml(path, env, add)
    return found


def _address(text: str, env: Mapping[str, str]) -> str:
    """Return the address of `NAME=ADDRESS`."""
    name, sign, address = text.partition("=")
    return _with_login(address, name, env) if sign and "/" not in name else text


def _with_login(url: str, name: str, env: Mapping[str, str]) -> str:
    """Put into the address of a named index the credentials that variables hold for it."""
    variable = "UV_INDEX_" + "".join(sign if sign.isalnum() else "_" for sign in name).upper()
    user, password = env.get(f"{variable}_USERNAME"), env.get(f"{variable}_PASSWORD")
    scheme, sign, rest = url.partition("://")
    if not sign or not (user or password):
        return url
    from urllib.parse import quote

    login = ":".join(quote(text, safe="") for text in (user or "", password or ""))
    return f"{scheme}://{login}@{rest.rpartition('@')[2]}"


def _add_toml(path: str, env: Mapping[str, str], add: Any) -> None:
    if not os.path.exists(path):
        return
    import tomllib

    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, ValueError):
        return
    if os.path.basename(path) == "pyproject.toml":
        content = _table(_table(content.get("tool")).get("uv"))
    for table in (content, _table(content.get("pip"))):
        for index in _tables(table.get("index")):
            url = index.get("url")
            if isinstance(url, str):
                url = _with_login(url, str(index.get("name", "")), env)
                add("index-url" if index.get("default") is True else "extra-index-url", [url])
        add("index-url", _texts(table.get("index-url")))
        add("extra-index-url", _texts(table.get("extra-index-url")))
        add("find-links", _texts(table.get("find-links")))
        add("trusted-host", _texts(table.get("allow-insecure-host")))
        if table.get("no-index") is True:
            add("no-index", ["true"])


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]
