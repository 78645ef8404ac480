"""What a user has set up for all projects."""

from __future__ import annotations

from pathlib import Path

import pytest

from reenact.errors import BadProjectFile
from reenact.project.file.find import check_project
from reenact.project.file.user_config import load_user_config

TEXT = """\
config:
  cluster: {type: ssh, user: ada}
remotes:
  gpu:
    extends: cluster
    host: gpu.example.org
    user: eve
diff:
  command: meld
"""


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config" / "reenact").mkdir(parents=True)
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "PATH": ""}


def test_without_a_file_nothing_is_set_up(project: Path, env: dict[str, str]) -> None:
    assert load_user_config(str(project), env) is None


def test_remotes_inherit_from_configs(project: Path, env: dict[str, str]) -> None:
    Path(env["XDG_CONFIG_HOME"], "reenact", "config.yml").write_text(TEXT)

    config = load_user_config(str(project), env)

    assert config is not None
    assert config.diff_command == "meld"
    assert config.remotes == {"gpu": {"type": "ssh", "user": "eve", "host": "gpu.example.org"}}


def test_a_file_of_the_project_replaces_the_user_s(project: Path, env: dict[str, str]) -> None:
    Path(env["XDG_CONFIG_HOME"], "reenact", "config.yml").write_text(TEXT)
    (project / "guild-config.yml").write_text("remotes: {a: {type: s3}}\n")

    config = load_user_config(str(project), env)

    assert config is not None
    assert (config.remotes, config.diff_command) == ({"a": {"type": "s3"}}, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "reenact-config.yml:1: a configuration is a mapping, not a list"),
        ("remotes: {a: b}\n", "reenact-config.yml:1: remote `a` takes a mapping, not `b`"),
        (
            "remotes:\n  a: {extends: x}\n",
            "reenact-config.yml:2: there is no remote or config `x` to extend",
        ),
        (
            "config: {a: {extends: a}}\nremotes: {r: {extends: a}}\n",
            "reenact-config.yml:1: remotes extend each other: a → a",
        ),
        ("a: 'b\n", "reenact-config.yml:2: the quote of line 1 is never closed"),
    ],
)
def test_what_is_wrong_is_said(project: Path, env: dict[str, str], text: str, message: str) -> None:
    (project / "reenact-config.yml").write_text(text)

    with pytest.raises(BadProjectFile) as caught:
        load_user_config(str(project), env)

    assert caught.value.message == message


def test_a_check_of_the_project_looks_at_it_too(project: Path, env: dict[str, str]) -> None:
    (project / "reenact.yml").write_text("train: train\n")
    (project / "reenact-config.yml").write_text("remote: {}\ngit: {executable: /bin/git}\na: [\n")
    broken = check_project(f"{project}/reenact.yml", env)
    (project / "reenact-config.yml").write_text("remote: {a: {}}\ngit: {executable: /bin/git}\n")

    checked = check_project(f"{project}/reenact.yml", env)

    assert [f.level for f in broken.findings] == ["warning"]
    assert [str(finding) for finding in checked.findings] == [
        "reenact-config.yml:1: the configuration has no attribute `remote`",
        "reenact-config.yml:2: `git` has no effect: git is found on PATH",
    ]
    assert checked.findings[0].hint == "did you mean `remotes`?"
    assert checked.project is not None
