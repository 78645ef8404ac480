from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from reenact.model.environment import PythonFacts
from reenact.snapshot.conda import conda_addresses, conda_distributions
from wheels import ask

URL = "https://conda.example/conda-forge/linux-64/a-1-0.conda"


@pytest.fixture
def python(tmp_path: Path) -> PythonFacts:
    """An interpreter in an environment of conda."""
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "history").write_text("==> now <==\n")
    return msgspec.structs.replace(
        ask(sys.executable), prefix=str(tmp_path), base_prefix=str(tmp_path)
    )


def write(python: PythonFacts, stem: str, **fields: object) -> None:
    Path(python.prefix, "conda-meta", f"{stem}.json").write_text(json.dumps(fields))


def test_an_address_has_the_hash_that_is_known(python: PythonFacts) -> None:
    write(python, "a", url=URL, md5="0" * 32, sha256="1" * 64)
    write(python, "b", url=URL, md5=None, sha256="1" * 64)
    write(python, "c", url=URL)
    write(python, "d", name="without an address")

    assert conda_addresses(python) == (f"{URL}#{'0' * 32}", f"{URL}#{'1' * 64}", URL)


def test_a_token_in_an_address_is_hidden(python: PythonFacts) -> None:
    write(python, "a", url="https://me:s3cr3tw0rd@conda.example/private/noarch/a-1-0.conda")

    [address] = conda_addresses(python)

    assert "s3cr3tw0rd" not in address


def test_what_conda_brought_stands_in_its_list_of_files(python: PythonFacts) -> None:
    site = "lib/python3.11/site-packages"
    files = [f"{site}/a.py", f"{site}/a-1.dist-info/METADATA", f"{site}/a-1.dist-info/RECORD"]
    write(python, "a", url=URL, files=files)
    write(python, "damaged", files=7)

    assert conda_distributions(python) == {"a-1.dist-info"}


def test_elsewhere_there_is_nothing(tmp_path: Path, python: PythonFacts) -> None:
    elsewhere = msgspec.structs.replace(
        python, prefix=str(tmp_path / "x"), base_prefix=str(tmp_path / "x")
    )

    assert conda_addresses(elsewhere) == ()
    assert conda_distributions(elsewhere) == frozenset()
