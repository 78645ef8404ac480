"""Find the login for a registry of container images, where docker and podman keep it.

Covered: their files of settings, and the programs that these name as keepers.
Not covered: tokens in place of passwords, as some single sign-on leaves them.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

HUB = "registry-1.docker.io"
_NAMES_OF_HUB = ("https://index.docker.io/v1/", "docker.io", "index.docker.io")
_OF_TOKENS = "<token>"  # what keepers say in place of a name
_PATIENCE_S = 30.0


def login_for(registry: str, env: Mapping[str, str]) -> str | None:
    """Return `NAME:PASSWORD` for a registry; None where nobody has logged in."""
    names = _NAMES_OF_HUB if registry == HUB else (registry, f"https://{registry}")
    for settings in _settings(env):
        for name in names:
            keeper = _table(settings.get("credHelpers")).get(name) or settings.get("credsStore")
            found = _ask(str(keeper), name, env) if keeper else None
            if found is None:
                found = _decoded(_table(_table(settings.get("auths")).get(name)).get("auth"))
            if found is not None:
                return found
    return None


def _settings(env: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    home = env.get("HOME", "")
    places = [
        env.get("REGISTRY_AUTH_FILE"),
        f"{env.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json",
        f"{env.get('XDG_RUNTIME_DIR', '')}/containers/auth.json",
        f"{env.get('XDG_CONFIG_HOME') or f'{home}/.config'}/containers/auth.json",
    ]
    for place in places:
        if place is not None and os.path.exists(place):
            with suppress(OSError, ValueError), open(place, "rb") as file:
                yield _table(json.load(file))


def _ask(keeper: str, name: str, env: Mapping[str, str]) -> str | None:
    """Ask the program that keeps passwords for docker."""
    with suppress(OSError, ValueError, subprocess.TimeoutExpired):
        done = subprocess.run(
            [f"docker-credential-{keeper}", "get"],
            input=name.encode(),
            env=dict(env),
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        if done.returncode == 0:
            told = _table(json.loads(done.stdout))
            user, secret = told.get("Username"), told.get("Secret")
            if user and secret and user != _OF_TOKENS:
                return f"{user}:{secret}"
    return None


def _decoded(text: Any) -> str | None:
    with suppress(ValueError):
        if isinstance(text, str) and text:
            return base64.b64decode(text, validate=True).decode()
    return None


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
