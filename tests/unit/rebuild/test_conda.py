from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from reenact.errors import ReenactError
from reenact.model.environment import CondaPackage, Environment, PrefixKind, Python
from reenact.model.lock import Lock
from reenact.rebuild.conda import create, explicit

HERE = f"{sys.platform}-{os.uname().machine}"
URL = "https://conda.example/linux-64/a-1-0.conda"


def environment(platform: str = HERE) -> Environment:
    python = Python(
        version="3.11.7",
        implementation="cpython",
        prefix_kind=PrefixKind.CONDA,
        platform=platform,
    )
    return Environment(
        python=python, conda=(CondaPackage(name="a", version="1", build="0", url=URL),)
    )


def test_the_file_names_every_package_by_its_address() -> None:
    text = explicit(environment(), Lock(conda=(f"{URL}#0123",)))

    assert text == f"# platform: {HERE}\n@EXPLICIT\n{URL}#0123\n"


def test_without_a_lock_addresses_have_to_do() -> None:
    assert explicit(environment(), Lock()).splitlines()[-1] == URL


def test_without_conda_it_says_what_would_do() -> None:
    with pytest.raises(ReenactError) as caught:
        create(environment(), Lock(), "/nowhere/env", {"PATH": "/nowhere"})

    assert caught.value.message.endswith("neither micromamba nor conda is here")
    assert "--format conda" in str(caught.value.hint)


def test_conda_gets_the_file(tmp_path: Path) -> None:
    program = tmp_path / "micromamba"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncp "$7" {tmp_path}/file\n')
    program.chmod(0o755)
    prefix = str(tmp_path / "env")

    path = f"{tmp_path}:{os.environ['PATH']}"
    create(environment(), Lock(conda=(f"{URL}#01",)), prefix, {"PATH": path})

    assert (tmp_path / "words").read_text().startswith(f"create -y -q -p {prefix} --file ")
    assert (tmp_path / "file").read_text().endswith(f"@EXPLICIT\n{URL}#01\n")


def test_a_failure_of_conda_is_said_in_its_words(tmp_path: Path) -> None:
    program = tmp_path / "micromamba"
    program.write_text("#!/bin/sh\necho critical: no such channel >&2\nexit 1\n")
    program.chmod(0o755)

    with pytest.raises(ReenactError, match="critical: no such channel"):
        create(environment(), Lock(), str(tmp_path / "env"), {"PATH": str(tmp_path)})


def test_builds_for_another_machine_are_refused() -> None:
    with pytest.raises(ReenactError, match="builds for plan9-mips"):
        create(environment("plan9-mips"), Lock(), "/nowhere/env", {"PATH": "/nowhere"})
