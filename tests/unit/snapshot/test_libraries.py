from __future__ import annotations

import os
import sys

import pytest

from reenact.model.environment import Library, Runtime, ThreadPool
from reenact.model.secrets import REDACTED
from reenact.snapshot.libraries import (
    describe_libraries,
    describe_runtime,
    libraries_in,
    loaded_by,
    name_of,
)

SITE = "/home/eve/env/lib/python3.11/site-packages"
MAPS = b"""\
55d0-55d1 r--p 00000000 08:01 1 /usr/bin/python3.11
7f00-7f01 r-xp 00000000 08:01 2                    /usr/lib/libc.so.6
7f01-7f02 r--p 00000000 08:01 2                    /usr/lib/libc.so.6
7f02-7f03 r--p 00000000 08:01 3                    /opt/with space/libm.so
7f03-7f04 r--p 00000000 08:01 4                    /opt/gone.so (deleted)
7f04-7f05 r--p 00000000 08:01 5                    /data/x.sock
7f05-7f06 rw-p 00000000 00:00 0                    [heap]
7f06-7f07 rw-p 00000000 00:00 0
"""


def test_libraries_are_read_from_what_is_mapped() -> None:
    assert libraries_in(MAPS) == ["/opt/with space/libm.so", "/usr/lib/libc.so.6"]


def test_what_reenact_preloads_is_none_of_the_run_s_own() -> None:
    own = "/home/eve/.cache/reenact/preload-dad98b9d-x86_64-2.36/lib/x86_64-linux-gnu/reenact.so"
    others = ["/opt/preload-x/lib/notreenact.so", "/opt/reenact.so"]

    assert [found.path for found in describe_libraries([own, *others])] == sorted(others)


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_living_process_has_loaded_its_c_library() -> None:
    assert any("libc" in path for path in loaded_by(os.getpid()))


def test_a_process_that_is_gone_has_none() -> None:
    assert loaded_by(2**22 + 1) == []


@pytest.mark.parametrize(
    ("path", "name", "version"),
    [
        ("/usr/lib/libstdc++.so.6.0.30", "/usr/lib/libstdc++.so.6.0.30", "6.0.30"),
        (f"{SITE}/torch/lib/libgomp.so.1", "torch/lib/libgomp.so.1", "1"),
        (f"{SITE}/torch/lib/libtorch.so", "torch/lib/libtorch.so", None),
        (f"{SITE}/numpy.libs/libopenblasp-r0-3.23.so", "numpy.libs/libopenblasp-r0-3.23.so", "3.23"),
        ("/home/eve/py/lib/libpython3.11.so.1.0", "libpython3.11.so.1.0", "1.0"),
        ("/store/runs/c1f/native/fast.so", "native/fast.so", None),
    ],
)  # fmt: skip
def test_a_library_has_the_same_name_in_every_place(
    path: str, name: str, version: str | None
) -> None:
    assert describe_libraries([path], "/store/runs/c1f") == (Library(path=name, version=version),)


@pytest.mark.parametrize(
    "path",
    [
        f"{SITE}/numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
        f"{SITE}/polars/polars.abi3.so",
        "/usr/lib/python3.11/lib-dynload/_ssl.so",
    ],
)
def test_extension_modules_of_packages_are_no_libraries(path: str) -> None:
    assert describe_libraries([path]) == ()


def test_what_a_process_told_is_described() -> None:
    told = {
        "libraries": [f"{SITE}/numpy.libs/libopenblas.so", 5],
        "pools": [
            {"api": "torch", "threads": 4},
            {"api": "openblas", "library": f"{SITE}/numpy.libs/libopenblas.so", "threads": 2},
            {"threads": "many"},
            "nonsense",
        ],
        "frameworks": {"torch": {"cuda": "12.4"}},
        "variables": {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2", "CUDA_TOKEN": "hunter2"},
    }

    runtime = describe_runtime(told, [], {"MKL_NUM_THREADS": "2"})

    assert runtime == Runtime(
        libraries=(Library(path="numpy.libs/libopenblas.so"),),
        pools=(
            ThreadPool(api="openblas", library="numpy.libs/libopenblas.so", threads=2),
            ThreadPool(api="torch", threads=4),
        ),
        frameworks={"torch": {"cuda": "12.4"}},
        variables={"OMP_NUM_THREADS": "1", "CUDA_TOKEN": REDACTED},
    )


def test_of_a_process_that_told_nothing_remains_what_was_seen() -> None:
    runtime = describe_runtime(None, [f"{SITE}/torch/lib/libtorch.so"], {})

    assert runtime is not None
    assert runtime.libraries == (Library(path="torch/lib/libtorch.so"),)
    assert runtime.pools is None
    assert runtime.reasons["pools"] == "the process did not say it at its end"


def test_a_process_that_computed_nothing_is_not_described() -> None:
    assert describe_runtime(None, [], {}) is None
    assert describe_runtime(None, ["/usr/lib/libc.so.6"], {}) is None


@pytest.mark.parametrize("told", [{}, {"libraries": 5, "pools": 5, "frameworks": 5}])
def test_nonsense_from_a_process_does_no_harm(told: dict[str, object]) -> None:
    assert describe_runtime(told, [], {}) == Runtime(libraries=())


def test_a_path_with_strange_bytes_has_a_spelling() -> None:
    assert name_of(os.fsdecode(b"/opt/\xff/x.so")) == r"/opt/\xff/x.so"
