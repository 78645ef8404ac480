from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from reenact.interop.registry_login import HUB, login_for

LOGIN = "me:s3cret:with:colons"
ENTRY = {"auth": base64.b64encode(LOGIN.encode()).decode()}


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("place", "variable", "value"),
    [
        (".docker/config.json", "HOME", ""),
        ("other/config.json", "DOCKER_CONFIG", "other"),
        (".config/containers/auth.json", "HOME", ""),
        ("run/containers/auth.json", "XDG_RUNTIME_DIR", "run"),
        ("auth.json", "REGISTRY_AUTH_FILE", "auth.json"),
    ],
)
def test_it_is_found_where_docker_and_podman_keep_it(
    tmp_path: Path, place: str, variable: str, value: str
) -> None:
    write(tmp_path / place, {"auths": {"registry.example:5000": ENTRY}})
    env = {variable: str(tmp_path / value)}

    assert login_for("registry.example:5000", env) == LOGIN
    assert login_for("another.example", env) is None


@pytest.mark.parametrize("name", ["https://index.docker.io/v1/", "docker.io"])
def test_docker_hub_has_other_names(tmp_path: Path, name: str) -> None:
    write(tmp_path / ".docker" / "config.json", {"auths": {name: ENTRY}})

    assert login_for(HUB, {"HOME": str(tmp_path)}) == LOGIN


@pytest.mark.parametrize(
    "settings", [{"credsStore": "mine"}, {"credHelpers": {"a.example": "mine"}}]
)
def test_a_keeper_is_asked(tmp_path: Path, settings: dict[str, object]) -> None:
    write(tmp_path / ".docker" / "config.json", {**settings, "auths": {"a.example": {}}})
    program = tmp_path / "docker-credential-mine"
    program.write_text(
        '#!/bin/sh\n[ "$1" = get ] && [ "$(cat)" = a.example ] || exit 1\n'
        """echo '{"Username": "me", "Secret": "s3cret:with:colons"}'\n"""
    )
    program.chmod(0o755)
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}

    assert login_for("a.example", env) == LOGIN


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"auths": 3}', '{"auths": {"a.example": {"auth": "?"}}}']
)
def test_files_that_are_no_settings_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(content)

    assert login_for("a.example", {"HOME": str(tmp_path), "PATH": ""}) is None
