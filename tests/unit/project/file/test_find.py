"""Which file counts, and that what is kept of it is never old."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reenact.errors import BadProjectFile
from reenact.project.file.find import load_project
from reenact.project.file.model import Level


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}


def names(project: Path, env: dict[str, str]) -> list[str]:
    loaded = load_project(str(project), env)
    assert loaded is not None
    return [operation.name for operation in loaded.content.operations]


def entries(env: dict[str, str]) -> list[Path]:
    return sorted(Path(env["XDG_CACHE_HOME"]).rglob("projects/*"))


def test_a_directory_without_a_project_file_has_none(project: Path, env: dict[str, str]) -> None:
    assert load_project(str(project), env) is None


@pytest.mark.parametrize("content", ["", "# a comment\n", "---\n", "{}\n", "[]\n"])
def test_an_empty_file_says_nothing(project: Path, env: dict[str, str], content: str) -> None:
    (project / "reenact.yml").write_text(content)

    loaded = load_project(str(project), env)

    assert loaded is not None
    assert loaded.content.operations == ()
    assert loaded.notes == ()


def test_of_two_files_reenact_s_own_counts(project: Path, env: dict[str, str]) -> None:
    (project / "guild.yml").write_text("old: a\n")
    assert names(project, env) == ["old"]

    (project / "reenact.yml").write_text("new: a\n")

    assert names(project, env) == ["new"]
    loaded = load_project(str(project), env)
    assert loaded is not None
    assert (loaded.file, loaded.also) == ("reenact.yml", "guild.yml")
    assert [(note.level, str(note)) for note in loaded.notes] == [
        (Level.NOTE, "guild.yml:1: it is not read: `reenact.yml` is there too")
    ]


def test_the_first_error_is_told_and_how_many_more(project: Path, env: dict[str, str]) -> None:
    (project / "reenact.yml").write_text(
        "- operation: a\n- modle: b\n- operations: {c: {mian: x}}\n"
    )

    with pytest.raises(BadProjectFile) as caught:
        load_project(str(project), env)

    assert caught.value.message == (
        "reenact.yml:1: an item has one of `model`, `config`, `package`, `include`, `claims`"
    )
    assert caught.value.hint == "`reenact check` shows 1 more"
    assert caught.value.exit_status == 2
    assert entries(env) == []


BROKEN = """\
- model: a
  resources:
    data: [{file: [x]}]
    other: [{file: x}]
  operations:
    good: {requires: other}
    listed: [1]
    flagged: {flags: {x: {type: nothing}}, main: m}
    hungry: {main: m, requires: data}
    lost: {requires: nowhere}
- model: b
  operations:
    good: m
    listed: m
"""


@pytest.mark.parametrize("from_cache", [False, True])
def test_an_error_in_an_operation_is_its_own(
    project: Path, env: dict[str, str], from_cache: bool
) -> None:
    (project / "reenact.yml").write_text(BROKEN)
    if from_cache:
        load_project(str(project), env)

    loaded = load_project(str(project), env)

    assert loaded is not None
    assert {name: [str(f) for f in errors] for name, errors in loaded.broken.items()} == {
        "a:listed": ["reenact.yml:7: operation `listed` takes a text or a mapping, not a list"],
        "a:flagged": [
            (
                "reenact.yml:8: `type` of flag `x` of operation `flagged` takes one of `string`, `int`, "
                "`float`, `number`, `boolean`, `path`, `existing-path`, `auto`, `list`, not `nothing`"
            )
        ],
        "a:hungry": [
            "reenact.yml:3: `file` of a source of resource `data` takes a text, not a list"
        ],
        "a:lost": [
            (
                "reenact.yml:10: operation `lost` requires `nowhere`, which is neither a resource nor an "
                "operation"
            )
        ],
    }
    assert [op.full_name for op in loaded.content.operations] == [
        "a:good", "a:listed", "a:flagged", "a:hungry", "a:lost", "b:good", "b:listed"
    ]  # fmt: skip
    good = loaded.content.find_operation("b:good")
    assert good is not None
    assert loaded.problem_beside(good) == loaded.broken["a:hungry"][0]


@pytest.mark.parametrize(
    "text",
    [
        "- config: c\n  operations: {x: [1]}\n- model: m\n  operations: {good: a}\n",
        "- model: m\n  extends: nothing\n  operations: {good: a}\n",
        "- model: m\n  params: [1]\n  operations: {good: a}\n",
        "- include: nothing.yml\n- operations: {good: a}\n",
        "- operations: {good: a}\n- operations: {other: a}\n",
    ],
)
def test_an_error_that_may_reach_any_operation_stops_them_all(
    project: Path, env: dict[str, str], text: str
) -> None:
    (project / "reenact.yml").write_text(text)

    with pytest.raises(BadProjectFile):
        load_project(str(project), env)


def test_what_was_read_is_kept_and_read_again_the_same(project: Path, env: dict[str, str]) -> None:
    (project / "reenact.yml").write_text(
        "a:\n  flags: {x: .nan, y: [1, {b: 2}], z: null}\n  steps: [b]\n  requires: [{file: c}]\nb: c\n"
    )

    first = load_project(str(project), env)
    again = load_project(str(project), env)

    assert len(entries(env)) == 1
    assert first is not None
    assert again is not None
    assert str(again) == str(first)  # NaN equals nothing.
    assert again is not first


def test_what_is_kept_is_answered_with_and_nothing_is_parsed(
    project: Path, env: dict[str, str]
) -> None:
    (project / "reenact.yml").write_text("a: b\n")
    names(project, env)
    code = (
        "import sys; from reenact.project.file.find import load_project;"
        "found = load_project(sys.argv[1]);"
        "print([op.name for op in found.content.operations], 'ruamel' in sys.modules)"
    )

    out = subprocess.run(
        [sys.executable, "-c", code, str(project)], env=env, capture_output=True, check=True
    ).stdout

    assert out.decode().strip() == "['a'] False"


def test_a_change_of_any_file_is_seen(project: Path, env: dict[str, str]) -> None:
    (project / "reenact.yml").write_text("- include: more.yml\n")
    (project / "more.yml").write_text("- operations: {a: x}\n")
    assert names(project, env) == ["a"]

    stamp = (project / "more.yml").stat().st_mtime_ns
    (project / "more.yml").write_text("- operations: {b: x}\n")
    os.utime(project / "more.yml", ns=(stamp, stamp))

    assert names(project, env) == ["b"]


def test_a_file_that_was_looked_for_in_vain_is_seen_when_it_comes(
    project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    library = tmp_path / "library" / "models"
    library.mkdir(parents=True)
    (library / "guild.yml").write_text("- operations: {far: x}\n")
    env["PYTHONPATH"] = str(library.parent)
    (project / "reenact.yml").write_text("- include: models\n")
    assert names(project, env) == ["far"]

    (project / "models").write_text("- operations: {near: x}\n")

    assert names(project, env) == ["near"]


def test_another_environment_means_other_packages(
    project: Path, env: dict[str, str], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "guild.yml").write_text(
            f"- config: c\n  operations: {{{name}: x}}\n"
        )
    (project / "reenact.yml").write_text("- model: m\n  extends: models/c\n")

    assert names(project, {**env, "PYTHONPATH": str(tmp_path / "one")}) == ["one"]
    assert names(project, {**env, "PYTHONPATH": str(tmp_path / "two")}) == ["two"]


@pytest.mark.parametrize("damage", [b"", b"\x00garbage", b"\x93\x01\x02\x03"])
def test_a_damaged_cache_is_passed_over(project: Path, env: dict[str, str], damage: bytes) -> None:
    (project / "reenact.yml").write_text("a: b\n")
    names(project, env)
    (entry,) = entries(env)
    entry.write_bytes(damage)

    assert names(project, env) == ["a"]


def test_without_a_place_for_the_cache_all_is_the_same(project: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (project / "reenact.yml").write_text("a: b\n")

    assert names(project, {"XDG_CACHE_HOME": str(tmp_path / "file"), "PATH": ""}) == ["a"]
