"""The samplers that there are, against what every sampler must do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from frameworks import python_with
from samplers import SamplerContract

_RUN = "import sys, pytest; sys.path.append(sys.argv[1]); sys.exit(pytest.main(sys.argv[2:]))"


class TestRandom(SamplerContract):
    name = "random"
    startup = 3
    learns = False


class TestGrid(SamplerContract):
    name = "grid"
    startup = 3
    is_random = False
    learns = False


class TestTpe(SamplerContract):
    name = "tpe"


class TestCmaes(SamplerContract):
    name = "cmaes"
    objectives = 1


class TestNsga2(SamplerContract):
    name = "nsga2"
    trials = 120
    startup = 42


def test_the_gaussian_process_keeps_the_contract_where_there_is_pytorch() -> None:
    python = python_with("torch")
    where = "import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))"
    packages = subprocess.run(
        [python, "-c", where], check=True, capture_output=True, text=True
    ).stdout.strip()
    contract = str(Path(__file__).with_name("gp_contract.py"))
    options = ("-q", "-p", "no:cacheprovider", "-k", "not hashes")

    # Last on the path: what is installed beside Reenact goes first.
    done = subprocess.run(
        [sys.executable, "-c", _RUN, packages, contract, *options],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
