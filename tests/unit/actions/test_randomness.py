"""Which seed a run gets, and what of the environment goes with it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reenact.actions.ground import RunRequest
from reenact.actions.randomness import (
    choose_seed,
    is_deterministic,
    randomness_of,
    variables_to_restore,
    with_seed,
)
from reenact.errors import UsageError
from reenact.model.environment import Runtime, ThreadPool
from reenact.model.identity import RunId
from reenact.model.run import Operation, OperationKind, Project, Randomness, Run


def former(**fields: Any) -> Run:
    """Return a record that says nothing but this."""
    return Run(
        id=RunId("f" * 32),
        operation=Operation(name="x", kind=OperationKind.SCRIPT, target="x"),
        project=Project(id="path:/x", name="x", root="/x"),
        command=("x",),
        created=datetime.now(UTC),
        **fields,
    )


def test_what_is_asked_for_counts_most_then_the_run_that_is_restarted() -> None:
    env = {"REENACT_SEED": "3"}
    again = former(seed=2)

    assert choose_seed(RunRequest(seed=1, restart=again), env) == 1
    assert choose_seed(RunRequest(no_seed=True, restart=again), env) is None
    assert choose_seed(RunRequest(restart=again), env) == 2
    assert choose_seed(RunRequest(restart=former()), env) is None
    assert choose_seed(RunRequest(variables={"REENACT_SEED": "4"}), env) == 4
    assert choose_seed(RunRequest(), env) == 3
    assert choose_seed(RunRequest(), env, is_wanted=False) == 3
    assert choose_seed(RunRequest(), {}, is_wanted=False) is None
    assert choose_seed(RunRequest(), {"REENACT_SEED": "OFF"}) is None


def test_seeds_that_are_drawn_have_31_bits_and_are_not_the_same() -> None:
    drawn = [choose_seed(RunRequest(), {}) for _ in range(50)]

    assert all(seed is not None and 0 <= seed < 1 << 31 for seed in drawn)
    assert len(set(drawn)) == 50


@pytest.mark.parametrize("text", ["-1", "1.5", "x", "", str(1 << 63)])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no seed"):
        choose_seed(RunRequest(), {"REENACT_SEED": text})


def test_the_seed_of_the_run_around_it_is_not_this_one_s() -> None:
    around = {"REENACT_SUPERVISOR": "5", "REENACT_SEED": "3", "PYTHONHASHSEED": "3", "A": "b"}

    assert choose_seed(RunRequest(), around) != 3
    env = with_seed(around, RunRequest(), 4, is_deterministic=False)
    assert env == {"REENACT_SEED": "4", "PYTHONHASHSEED": "4", "A": "b"}
    env = with_seed({**around, "PYTHONHASHSEED": "9"}, RunRequest(), 4, is_deterministic=False)
    assert env["PYTHONHASHSEED"] == "9"


def test_without_a_seed_the_environment_stays_as_it_is() -> None:
    assert with_seed({"A": "b"}, RunRequest(), None, is_deterministic=False) == {
        "A": "b", "REENACT_SEED": "off",
    }  # fmt: skip


def test_a_restarted_run_has_the_hash_seed_that_it_had() -> None:
    again = RunRequest(restart=former(seed=4, randomness=Randomness(hash_seed="0")))

    same = with_seed({}, again, 4, is_deterministic=False)
    other = with_seed({}, again, 5, is_deterministic=False)

    assert (same["PYTHONHASHSEED"], other["PYTHONHASHSEED"]) == ("0", "5")


def test_a_large_seed_fits_the_hash_seed() -> None:
    env = with_seed({}, RunRequest(), (1 << 32) + 5, is_deterministic=False)

    assert env == {"REENACT_SEED": str((1 << 32) + 5), "PYTHONHASHSEED": "5"}


def test_switches_are_set_where_the_user_has_not_set_them() -> None:
    user = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "XLA_FLAGS": "--a", "OMP_NUM_THREADS": "3"}

    env = with_seed(user, RunRequest(), 4, is_deterministic=True)

    assert env["REENACT_DETERMINISTIC"] == "1"
    assert env["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert env["XLA_FLAGS"] == "--a --xla_gpu_deterministic_ops=true"
    assert env["OMP_NUM_THREADS"] == "3"
    assert int(env["MKL_NUM_THREADS"]) >= 1
    assert with_seed(env, RunRequest(), 4, is_deterministic=True) == env


def test_tensorflow_is_not_told_to_refuse_what_has_no_seed() -> None:
    env = with_seed({}, RunRequest(), None, is_deterministic=True)

    assert "TF_DETERMINISTIC_OPS" not in env
    assert env["TF_CUDNN_DETERMINISTIC"] == "1"


def test_a_restarted_run_is_as_deterministic_as_before() -> None:
    assert is_deterministic(RunRequest(restart=former(is_deterministic=True)))
    assert not is_deterministic(RunRequest(like=former(is_deterministic=True)))


def test_thread_counts_and_hash_seed_of_a_run_are_restored() -> None:
    pools = (
        ThreadPool(api="openmp", threads=2, threading="gnu"),
        ThreadPool(api="openmp", threads=4, threading="llvm"),
        ThreadPool(api="openblas", threads=2),
        ThreadPool(api="torch", threads=4),
        ThreadPool(api="tensorflow", threads=3),
        ThreadPool(api="xla", threads=2),
        ThreadPool(api="unheard-of", threads=9),
        ThreadPool(api="mkl"),
    )
    run = former(seed=4, randomness=Randomness(hash_seed="0"))
    runtime = Runtime(pools=pools)

    found = variables_to_restore(run, runtime, {"OPENBLAS_NUM_THREADS": "1", "HOME": "/x"})
    other = variables_to_restore(run, runtime, {}, has_same_seed=False)

    alike = {"OMP_NUM_THREADS": "4", "TF_NUM_INTRAOP_THREADS": "3", "NPROC": "2"}
    assert found == {**alike, "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    assert other == {**alike, "OPENBLAS_NUM_THREADS": "2"}
    assert variables_to_restore(former(), None, {}) == {}


def test_what_is_restored_counts_more_than_the_environment_and_less_than_the_user() -> None:
    request = RunRequest(
        restored={"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4", "PYTHONHASHSEED": "1"},
        variables={"MKL_NUM_THREADS": "2"},
    )

    env = with_seed(
        {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"}, request, 5, is_deterministic=False
    )

    assert (env["OMP_NUM_THREADS"], env["MKL_NUM_THREADS"]) == ("4", "2")
    assert env["PYTHONHASHSEED"] == "1"


def test_switches_in_force_come_from_what_the_process_told(tmp_path: Path) -> None:
    told = {
        "variables": {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "OTHER": "1"},
        "frameworks": {
            "torch": {"deterministic_algorithms": True, "cuda": "12"},
            "jaxlib": {"enable_x64": False},
        },
    }

    found = randomness_of(former(), str(tmp_path), told)

    assert found == Randomness(
        switches={
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "torch.deterministic_algorithms": "true",
            "jax.enable_x64": "false",
        }
    )
    assert randomness_of(former(), str(tmp_path), None) is None
