from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import Damaged, TooNew
from reenact.model.environment import (
    CondaPackage,
    Environment,
    Gpu,
    GpuLink,
    Library,
    Machine,
    Origin,
    OriginKind,
    Package,
    PrefixKind,
    Python,
    Runtime,
    ThreadPool,
    Tool,
    decode_environment,
    decode_machine,
    decode_runtime,
)
from reenact.model.record import to_json

_TEXT = st.text(max_size=12)
_MAYBE = st.none() | _TEXT
_ORIGINS = st.builds(
    Origin,
    kind=st.sampled_from(OriginKind),
    url=_TEXT,
    commit=_MAYBE,
    requested=_MAYBE,
    subdirectory=_MAYBE,
    digest=_MAYBE,
)
_PACKAGES = st.builds(Package, name=_TEXT, version=_TEXT, origin=st.none() | _ORIGINS)
_CONDA = st.builds(CondaPackage, name=_TEXT, version=_TEXT, build=_TEXT, channel=_MAYBE, url=_MAYBE)
_PYTHONS = st.builds(
    Python,
    version=_TEXT,
    implementation=_TEXT,
    prefix_kind=st.sampled_from(PrefixKind),
    build=_MAYBE,
    abi=_MAYBE,
    platform=_MAYBE,
    libc=_MAYBE,
)
ENVIRONMENTS = st.builds(
    Environment,
    python=st.none() | _PYTHONS,
    packages=st.none() | st.lists(_PACKAGES, max_size=3).map(tuple),
    conda=st.lists(_CONDA, max_size=2).map(tuple),
    leftovers=st.lists(_TEXT, max_size=2).map(tuple),
    tools=st.none()
    | st.lists(st.builds(Tool, name=_TEXT, path=_TEXT, version=_MAYBE), max_size=2).map(tuple),
    variables=st.dictionaries(_TEXT, _TEXT, max_size=4),
    reasons=st.dictionaries(_TEXT, _TEXT, max_size=2),
)
_GPUS = st.builds(
    Gpu,
    name=_TEXT,
    memory_bytes=st.none() | st.integers(0, 2**50),
    capability=_MAYBE,
    uuid=_MAYBE,
    has_ecc=st.none() | st.booleans(),
    power_limit_w=st.none() | st.floats(0, 1000),
)
_LINKS = st.builds(
    GpuLink,
    a=st.integers(0, 8),
    b=st.integers(0, 8),
    kind=_TEXT,
    count=st.none() | st.integers(1, 18),
)
MACHINES = st.builds(
    Machine,
    hostname=_MAYBE,
    os=_MAYBE,
    cpu=_MAYBE,
    cpu_features=st.none() | st.lists(_TEXT, max_size=3).map(tuple),
    cores_logical=st.none() | st.integers(1, 1024),
    memory_bytes=st.none() | st.integers(0, 2**50),
    gpus=st.none() | st.lists(_GPUS, max_size=2).map(tuple),
    gpu_links=st.lists(_LINKS, max_size=2).map(tuple),
    reasons=st.dictionaries(_TEXT, _TEXT, max_size=2),
)


RUNTIMES = st.builds(
    Runtime,
    libraries=st.none()
    | st.lists(st.builds(Library, path=_TEXT, version=_MAYBE), max_size=2).map(tuple),
    pools=st.none()
    | st.lists(
        st.builds(ThreadPool, api=_TEXT, library=_MAYBE, threads=st.none() | st.integers(1, 99)),
        max_size=2,
    ).map(tuple),
    frameworks=st.dictionaries(_TEXT, st.dictionaries(_TEXT, _MAYBE, max_size=2), max_size=2),
    variables=st.dictionaries(_TEXT, _TEXT, max_size=2),
    reasons=st.dictionaries(_TEXT, _TEXT, max_size=2),
)


@given(RUNTIMES)
def test_a_runtime_comes_back_from_its_json(runtime: Runtime) -> None:
    assert decode_runtime(to_json(runtime), where="blob") == runtime


@given(ENVIRONMENTS)
def test_an_environment_comes_back_from_its_json(environment: Environment) -> None:
    assert decode_environment(to_json(environment), where="blob") == environment


@given(MACHINES)
def test_a_machine_comes_back_from_its_json(machine: Machine) -> None:
    assert decode_machine(to_json(machine), where="blob") == machine


@given(st.dictionaries(_TEXT, _TEXT, max_size=6))
def test_equal_environments_are_equal_bytes_in_whatever_order(variables: dict[str, str]) -> None:
    turned = dict(reversed(variables.items()))

    assert to_json(Environment(variables=variables)) == to_json(Environment(variables=turned))


def test_the_json_says_its_version() -> None:
    assert to_json(Environment()) == b'{"format":1}'
    assert to_json(Machine()) == b'{"format":1}'


def test_a_later_version_is_refused_politely() -> None:
    with pytest.raises(TooNew, match="environment of c1f9 has format 2") as caught:
        decode_environment(b'{"format":2,"unheard":1}', where="environment of c1f9")

    assert "later one" in str(caught.value.hint)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"gpus":5}', b'{"format":"x"}', b'{"a":"\xff']
)
def test_what_is_no_machine_is_called_damaged(data: bytes) -> None:
    with pytest.raises(Damaged, match="machine of c1f9 is damaged"):
        decode_machine(data, where="machine of c1f9")


def test_fields_of_a_later_version_of_the_same_format_are_passed_over() -> None:
    assert decode_machine(b'{"format":1,"os":"Plan 9","moons":2}', where="x") == Machine(
        os="Plan 9"
    )
