from __future__ import annotations

from pathlib import Path

import pytest

from reenact.model.lock import Indexes
from reenact.snapshot.indexes import read_indexes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def indexes(home: Path, project: Path | None = None, **env: str) -> Indexes:
    return read_indexes({"HOME": str(home), **env}, None, None if project is None else str(project))


def test_without_settings_it_is_pypi(home: Path) -> None:
    found = indexes(home, PIP_CONFIG_FILE="/dev/null", UV_NO_CONFIG="1")

    assert found == Indexes()


def test_variables_of_pip_count(home: Path) -> None:
    found = indexes(
        home,
        PIP_CONFIG_FILE="/dev/null",
        PIP_INDEX_URL="https://mirror.example/simple",
        PIP_EXTRA_INDEX_URL="https://a.example/simple https://b.example/simple",
        PIP_FIND_LINKS="/wheels",
        PIP_NO_INDEX="1",
        PIP_TRUSTED_HOST="a.example",
    )

    assert found == Indexes(
        index="https://mirror.example/simple",
        extra=("https://a.example/simple", "https://b.example/simple"),
        find_links=("/wheels",),
        no_index=True,
        trusted=("a.example",),
    )


def test_a_variable_counts_more_than_a_file(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://file.example/simple\n")

    assert indexes(home).index == "https://file.example/simple"
    found = indexes(home, PIP_INDEX_URL="https://variable.example/simple")
    assert found.index == "https://variable.example/simple"


def test_pypi_by_its_name_is_no_other_index(home: Path) -> None:
    found = indexes(home, PIP_CONFIG_FILE="/dev/null", PIP_INDEX_URL="https://pypi.org/simple/")

    assert found.index is None


def test_settings_of_uv_count(home: Path) -> None:
    write(
        home / ".config/uv/uv.toml",
        '[[index]]\nurl = "https://default.example/simple"\ndefault = true\n'
        '[[index]]\nname = "more"\nurl = "https://more.example/simple"\n',
    )

    found = indexes(home, PIP_CONFIG_FILE="/dev/null", UV_INDEX="x=https://x.example/simple")

    assert found.index == "https://default.example/simple"
    assert found.extra == ("https://x.example/simple", "https://more.example/simple")


def test_the_projects_own_settings_of_uv_count(home: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    write(
        project / "pyproject.toml",
        '[[tool.uv.index]]\nname = "torch"\nurl = "https://download.example/whl/cpu"\n',
    )

    found = indexes(home, project, PIP_CONFIG_FILE="/dev/null")

    assert found.extra == ("https://download.example/whl/cpu",)


def test_a_file_that_cannot_be_read_counts_as_none(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "no section\n= \xff")
    write(home / ".config/uv/uv.toml", "no [ toml")

    assert indexes(home, PIP_INDEX_URL="https://a.example/simple").index is not None


def test_credentials_do_not_get_into_a_record(home: Path) -> None:
    variables = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "https://me:pass@a.example/s"}

    assert indexes(home, **variables).index == "https://me:<redacted>@a.example/s"
    kept = read_indexes({"HOME": str(home), **variables}, None, is_redacted=False)
    assert kept.index == "https://me:pass@a.example/s"


def test_credentials_of_a_named_index_stand_in_variables(home: Path) -> None:
    variables = {
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_INDEX": "my-own=https://a.example/s",
        "UV_INDEX_MY_OWN_USERNAME": "me",
        "UV_INDEX_MY_OWN_PASSWORD": "p@ss",
    }

    kept = read_indexes({"HOME": str(home), **variables}, None, is_redacted=False)

    assert kept.extra == ("https://me:p%40ss@a.example/s",)
    assert indexes(home, **variables).extra == ("https://me:<redacted>@a.example/s",)
