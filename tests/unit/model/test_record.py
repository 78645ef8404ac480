from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reenact.errors import Damaged, TooNew
from reenact.model.identity import Digest, RunId
from reenact.model.metrics import Summary
from reenact.model.record import decode_notes, decode_run, encode_notes, encode_run, flag_to_json
from reenact.model.run import (
    FORMAT,
    Batch,
    Capture,
    Chance,
    Conditions,
    Dataset,
    Dependency,
    Exit,
    Failure,
    File,
    GpuState,
    MachineState,
    Model,
    Notes,
    Operation,
    OperationKind,
    Pipeline,
    Process,
    Project,
    Randomness,
    Remark,
    Run,
    Source,
    Step,
    Usage,
    Variant,
    Vcs,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
FLAG_VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
TIMES = st.datetimes(
    min_value=datetime(1970, 1, 1),
    max_value=datetime(9000, 1, 1),
    timezones=st.just(UTC),
)
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda data: Digest(data.hex()))
RUN_IDS = st.binary(min_size=16, max_size=16).map(lambda data: RunId(data.hex()))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**62)
NUMBERS = FINITE | st.sampled_from(["NaN", "Infinity", "-Infinity"])


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


SUMMARIES = st.builds(
    Summary,
    count=COUNTS,
    first=NUMBERS,
    first_step=st.integers(-(2**63), 2**63 - 1),
    last=NUMBERS,
    last_step=COUNTS,
    minimum=optional(NUMBERS),
    minimum_step=optional(COUNTS),
    mean=optional(NUMBERS),
    nan_count=COUNTS,
)
FILES = st.builds(
    File,
    path=TEXT,
    size_bytes=optional(COUNTS),
    digest=optional(DIGESTS),
    mtime_ns=optional(COUNTS),
    target=optional(TEXT),
    reason=optional(TEXT),
)
RUNS = st.builds(
    Run,
    id=RUN_IDS,
    operation=st.builds(
        Operation,
        name=TEXT,
        kind=st.sampled_from(OperationKind),
        target=TEXT,
        arguments=st.lists(TEXT, max_size=3).map(tuple),
    ),
    project=st.builds(Project, id=TEXT, name=TEXT, root=TEXT),
    command=st.lists(TEXT, max_size=3).map(tuple),
    created=TIMES,
    reenact=TEXT,
    flags=st.dictionaries(TEXT, FLAG_VALUES, max_size=3),
    given=st.lists(TEXT, max_size=3).map(tuple),
    variables=st.dictionaries(TEXT, TEXT, max_size=2),
    in_place=st.booleans(),
    source=optional(
        st.builds(
            Source,
            tree=DIGESTS,
            files=COUNTS,
            size_bytes=COUNTS,
            vcs=optional(
                st.builds(
                    Vcs,
                    commit=optional(TEXT),
                    branch=optional(TEXT),
                    is_dirty=optional(st.booleans()),
                )
            ),
        )
    ),
    inputs=st.lists(FILES, max_size=2).map(tuple),
    outputs=st.lists(FILES, max_size=2).map(tuple),
    environment=optional(DIGESTS),
    started=optional(TIMES),
    ended=optional(TIMES),
    exit=optional(
        st.builds(Exit, code=optional(COUNTS), signal=optional(COUNTS), requested=optional(TEXT))
    ),
    metrics=st.dictionaries(TEXT, SUMMARIES, max_size=2),
    usage=optional(st.builds(Usage, cpu_user_s=optional(FINITE), samples=COUNTS)),
    processes=st.lists(
        st.builds(Process, pid=COUNTS, parent_pid=COUNTS, started_ns=COUNTS, kind=TEXT), max_size=2
    ).map(tuple),
    warnings=st.lists(st.builds(Remark, code=TEXT, message=TEXT), max_size=2).map(tuple),
    like=optional(RUN_IDS),
    restarts=COUNTS,
)


def minimal(**more: Any) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "id": "0" * 32,
        "operation": {"name": "train.py", "kind": "script", "target": "train.py"},
        "project": {"id": "path:/p", "name": "p", "root": "/p"},
        "command": ["python", "train.py"],
        "created": "2026-03-01T12:00:00Z",
        **more,
    }


def decoded(value: object) -> Run:
    return decode_run(json.dumps(value).encode(), where="run 0000")


def without_nan(value: Any) -> Any:
    """Put a word in place of NaN, which does not equal itself."""
    if isinstance(value, float) and math.isnan(value):
        return "not a number"
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    return value


def has_marker(value: Any) -> bool:
    if isinstance(value, dict):
        return "$float" in value or any(map(has_marker, value.values()))
    return isinstance(value, list) and any(map(has_marker, value))


@given(RUNS)
@settings(max_examples=150)
def test_a_record_comes_back_as_it_was(run: Run) -> None:
    back = decode_run(encode_run(run), where="run")

    assert without_nan(back.flags) == without_nan(run.flags)
    assert msgspec.structs.replace(back, flags={}) == msgspec.structs.replace(run, flags={})


@given(st.dictionaries(TEXT, FLAG_VALUES, max_size=4).filter(lambda flags: not has_marker(flags)))
def test_flags_come_back_with_their_types_and_all_their_digits(flags: dict[str, Any]) -> None:
    run = msgspec.structs.replace(decoded(minimal()), flags=flags)

    back = decode_run(encode_run(run), where="run").flags

    assert repr(back) == repr(flags)


@given(st.dictionaries(TEXT, FLAG_VALUES, max_size=4))
def test_a_record_is_json_that_any_parser_reads(flags: dict[str, Any]) -> None:
    content = encode_run(msgspec.structs.replace(decoded(minimal()), flags=flags))

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    json.loads(content, parse_constant=refuse)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, {"$float": "NaN"}),
        ([math.inf, 1], [{"$float": "Infinity"}, 1]),
        ({"a": -math.inf}, {"a": {"$float": "-Infinity"}}),
        (0.1, 0.1),
    ],
)
def test_floats_that_json_cannot_hold_are_marked(value: Any, written: Any) -> None:
    assert flag_to_json(value) == written


def test_keys_that_nobody_knows_are_ignored() -> None:
    run = decoded(minimal(colour="green", exit={"code": 0, "mood": "fine"}))

    assert run.exit == Exit(code=0)


def test_keys_whose_value_is_the_default_are_left_out() -> None:
    assert json.loads(encode_run(decoded(minimal()))) == minimal()


def test_a_record_of_a_later_format_is_refused_politely() -> None:
    with pytest.raises(TooNew, match="run 0000 has format 2, this Reenact reads up to 1") as caught:
        decoded(minimal(format=2, command="not even a list"))

    assert caught.value.hint == "install the version of Reenact that wrote it, or a later one"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": "one"}',
        json.dumps(minimal(created="yesterday")).encode(),
        json.dumps(minimal(command=3)).encode(),
        json.dumps(minimal(metrics={"loss": {"count": "many"}})).encode(),
        json.dumps(minimal())[:-1].encode(),
    ],
)
def test_what_is_no_record_is_said_to_be_damaged(content: bytes) -> None:
    with pytest.raises(Damaged, match="run 0000 is damaged: ") as caught:
        decode_run(content, where="run 0000")

    assert "reenact fsck" in (caught.value.hint or "")


@pytest.mark.parametrize("value", ["three", "1.5", None, [], {}])
def test_what_only_looks_like_a_marked_float_stays_what_it_is(value: object) -> None:
    run = decoded(minimal(flags={"lr": {"$float": value}}))

    assert run.flags == {"lr": {"$float": value}}


@given(RUNS, st.data())
@settings(max_examples=100)
def test_a_record_that_was_cut_short_is_never_read_as_another(
    run: Run, data: st.DataObject
) -> None:
    content = encode_run(run)
    length = data.draw(st.integers(0, len(content) - 2))

    with pytest.raises(Damaged):
        decode_run(content[:length], where="run")


@given(
    st.builds(
        Notes,
        label=optional(TEXT),
        tags=st.lists(TEXT, max_size=3).map(tuple),
        comment=optional(TEXT),
        marked=st.booleans(),
    )
)
def test_notes_come_back_as_they_were(notes: Notes) -> None:
    assert decode_notes(encode_notes(notes), where="notes") == notes


def test_damaged_notes_are_said_to_hold_only_notes() -> None:
    with pytest.raises(Damaged, match="notes of run 0000 is damaged: ") as caught:
        decode_notes(b'{"tags": "best"}', where="notes of run 0000")

    assert caught.value.hint == "correct it or delete it: it holds only notes"


def _structs(*kinds: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """Return structs and those that their fields hold, each once."""
    found = list(kinds)
    for kind in found:
        for hint in get_type_hints(kind).values():
            for part in (hint, *get_args(hint)):
                is_struct = isinstance(part, type) and issubclass(part, msgspec.Struct)
                if is_struct and part not in found:
                    found.append(part)
    return found


def test_every_key_of_a_record_is_documented() -> None:
    page = Path(__file__).parents[3] / "docs/reference/format.md"
    words = set(re.findall(r"`([a-z_]+)`", page.read_text()))
    # Described on a page of their own.
    elsewhere = {*GpuState.__struct_fields__, *MachineState.__struct_fields__}

    fields = {name for kind in _structs(Run) for name in kind.__struct_fields__}

    assert sorted(fields - words - elsewhere) == []


def test_a_record_with_every_field_is_read_as_it_was_written() -> None:
    digest = Digest("ab" * 32)
    file = File(
        path="a",
        size_bytes=1,
        digest=digest,
        mtime_ns=2,
        target="t",
        reason="r",
        role="figure",
        title="T",
        said="./a",
        resolved="/b",
        process=3,
        files=4,
        origin="keras",
        is_changed=True,
    )
    state = MachineState(
        load=0.5,
        memory_available_bytes=1,
        governor="performance",
        throttles=1,
        gpus=(GpuState(percent=1.0, memory_bytes=2, processes=3, throttled=("thermal",)),),
    )
    process = Process(
        pid=1, parent_pid=2, started_ns=3, kind="unreached", python="3.8", argv=("a",), reason="r"
    )
    number = Summary(count=1, first=1.0, first_step=0, last=1.0, last_step=0)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    operation = Operation(
        name="n",
        kind=OperationKind.NOTEBOOK,
        target="t",
        arguments=("a",),
        flags_kind="cells",
        model="m",
        file="reenact.yml",
        definition=digest,
        is_stoppable=True,
    )
    source = Source(
        tree=digest, files=1, size_bytes=2, vcs=Vcs(commit="c", branch="b", is_dirty=True)
    )
    run = Run(
        id=RunId("ab" * 16),
        operation=operation,
        project=Project(id="i", name="n", root="/r"),
        command=("a", "b"),
        created=when,
        reenact="0.1",
        cwd="sub",
        flags={"a": 1},
        given=("a",),
        typed={"a": "1.0"},
        variables={"A": "b"},
        in_place=True,
        source=source,
        inputs=(file,),
        outputs=(file,),
        contacted=("https://a/b",),
        coverage=("scan", "audit"),
        coverage_gap="why",
        other_reads={"own": 1},
        params={"Ridge.alpha": [1, None, {"a": "b"}]},
        models=(
            Model(
                name="Ridge",
                type="sklearn.Ridge",
                framework="sklearn",
                version="1",
                signature={"X": "3x2"},
                summary="s",
                path="models/r",
            ),
        ),
        datasets=(
            Dataset(
                name="X",
                role="train",
                model="Ridge",
                shape=(1, 2),
                dtype="f",
                digest="d",
                size_bytes=1,
            ),
        ),
        captures=(Capture(framework="f", version="1", is_captured=False, detail="d"),),
        environment=digest,
        machine=digest,
        runtime=digest,
        conditions=Conditions(
            before=state,
            after=state,
            cpus=2,
            cpus_granted=1.5,
            memory_limit_bytes=3,
            others_cpu_s=0.1,
            steal_s=0.2,
            noise=("hot",),
        ),
        supervisor_pid=1,
        process_group=2,
        started=when,
        ended=when,
        exit=Exit(signal=9, requested="stop"),
        failure=Failure(type="T", message="m", traceback="t", cell=3),
        metrics={"loss": number},
        metric_sources={"loss": {"log": 1, "output": 2}},
        usage=Usage(cpu_user_s=1.0, max_memory_bytes=2, samples=3),
        processes=(process,),
        unreached=(process,),
        warnings=(Remark(code="c", message="m"),),
        like=RunId("cd" * 16),
        restarts=1,
        parent=RunId("ef" * 16),
        part="3",
        batch=Batch(
            kind=OperationKind.SCRIPT,
            trials=4,
            jobs=2,
            optimizer="tpe",
            objectives=(("minimize", "loss"),),
            seed=1,
            spaces={"lr": "[0:1]"},
            stop_early="median",
            completed=3,
            failed=1,
            stopped=2,
            variants=(Variant(name="v", source=source),),
            best=RunId("01" * 16),
        ),
        pipeline=Pipeline(
            steps=(
                Step(
                    name="s",
                    operation=operation,
                    needs=("t",),
                    source=source,
                    cwd="sub",
                    pipeline=Pipeline(steps=()),
                    fails_with_trials=True,
                ),
            ),
            jobs=2,
            is_needed=True,
            keeps_going=True,
            completed=3,
            taken=2,
            failed=1,
        ),
        autolog="sklearn",
        variant="v",
        staged=when,
        dependencies=(
            Dependency(
                resource="r",
                kind="operation",
                uri="u",
                place="reenact.yml:1",
                run=RunId("ab" * 16),
                why="w",
                flags={"lr": 0.1},
                digest=digest,
                version="1",
                paths=("a",),
                is_rewritten=True,
            ),
        ),
        seed=3,
        is_deterministic=True,
        gpus="0,1",
        keep_data="all",
        randomness=Randomness(
            hash_seed="3",
            seeded={"random": "reenact"},
            switches={"MKL_CBWR": "AUTO"},
            chances=(Chance(kind="listing", what="os.listdir", place="train.py:4", count=2),),
        ),
        lock=digest,
        reproduces=RunId("cd" * 16),
        resumes=RunId("ef" * 16),
    )

    unset = [
        name
        for name, default in zip(
            Run.__struct_fields__[-len(Run.__struct_defaults__) :],
            Run.__struct_defaults__,
            strict=True,
        )
        if getattr(run, name) == default
    ]

    assert unset == []
    assert decode_run(encode_run(run), where="it") == run
