from __future__ import annotations

import json
import pickle
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.judge.outputs.moments import Period
from reenact.judge.outputs.output import judge_output
from reenact.model.verdict import OutputVerdict, Verdict

START = datetime(2026, 11, 20, 20, 17, 45, tzinfo=UTC)
RAN = Period(START, START + timedelta(seconds=30))
RAN_AGAIN = Period(START + timedelta(days=3), START + timedelta(days=3, seconds=30))
THEN, NOW = START + timedelta(seconds=4), START + timedelta(days=3, seconds=7)

FORMS = [
    "%Y-%m-%d %H:%M:%S+00:00",
    "%Y-%m-%dT%H:%M:%S.%f+00:00",
    "%Y-%m-%dT%H:%M:%SZ",
    "%a %b %d %H:%M:%S %Y",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%Y%m%d-%H%M%S",
    "outputs/%Y-%m-%d/%H-%M-%S/model",
]


def judge(tmp_path: Path, name: str, original: bytes, reproduced: bytes) -> OutputVerdict:
    (tmp_path / "original").write_bytes(original)
    (tmp_path / "reproduced").write_bytes(reproduced)
    return judge_output(
        name, tmp_path / "original", tmp_path / "reproduced", periods=(RAN, RAN_AGAIN)
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_moment_of_the_run_is_left_out_however_it_is_written(tmp_path: Path, form: str) -> None:
    texts = [f"made {moment.strftime(form)} loss 0.5\n".encode() for moment in (THEN, NOW)]

    found = judge(tmp_path, "notes.txt", *texts)

    assert found.verdict is Verdict.WITHIN_TOLERANCE, found
    assert found.detail == "same content; left out: time of the run of 1 place"


def test_a_clock_without_a_zone_may_be_that_of_here(tmp_path: Path) -> None:
    texts = [str(moment.astimezone().replace(tzinfo=None)).encode() for moment in (THEN, NOW)]

    assert judge(tmp_path, "notes.txt", *texts).verdict is Verdict.WITHIN_TOLERANCE


@pytest.mark.parametrize(
    ("original", "reproduced"),
    [
        ("best day 2026-11-20", "best day 2026-11-23"),
        ("at 2026-11-20T20:17:49Z", "at 2026-11-23T20:16:49Z"),
        ("from 2019-01-01 00:00:00", "from 2019-01-02 00:00:00"),
        ("at 2026-11-20T20:17:49Z 0.5", "at 2026-11-23T20:17:49Z 0.6"),
        ("n=1234567890", "n=1234567891"),
    ],
)
def test_another_date_is_a_result(tmp_path: Path, original: str, reproduced: str) -> None:
    found = judge(tmp_path, "notes.txt", original.encode(), reproduced.encode())

    assert found.verdict is Verdict.DIFFERS


@pytest.mark.parametrize("write", [str, datetime.timestamp, lambda moment: f"at {moment}"])
def test_moments_are_left_out_of_json(tmp_path: Path, write: Any) -> None:
    texts = [json.dumps({"at": write(one), "loss": 1}).encode() for one in (THEN, NOW)]

    assert judge(tmp_path, "meta.json", *texts).verdict is Verdict.WITHIN_TOLERANCE


@pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=2))])
def test_moments_are_left_out_of_pickles(tmp_path: Path, zone: timezone | None) -> None:
    moments = [one.astimezone(zone) if zone else one.replace(tzinfo=None) for one in (THEN, NOW)]
    data = [pickle.dumps({"at": moment, "loss": 1}) for moment in moments]

    found = judge(tmp_path, "m.pkl", *data)

    # With a zone the clock is that of the zone, which is not looked up.
    expected = Verdict.DIFFERS if zone and zone != UTC else Verdict.WITHIN_TOLERANCE
    assert found.verdict is expected, found


def test_other_moments_in_a_pickle_differ(tmp_path: Path) -> None:
    data = [pickle.dumps(THEN), pickle.dumps(THEN + timedelta(days=1))]

    assert judge(tmp_path, "m.pkl", *data).verdict is Verdict.DIFFERS


@given(st.text())
def test_any_text_can_be_searched(text: str) -> None:
    assert RAN.without_moments(text) == (text, 0)


@given(st.text(alphabet="0123456789-:T .+ZFriNov20", max_size=40))
def test_what_looks_like_a_moment_can_be_searched(text: str) -> None:
    RAN.without_moments(text)


def test_a_model_of_catboost_is_the_same_but_for_name_and_date(tmp_path: Path) -> None:
    def made(name: bytes, date: bytes, leaf: bytes = b"\x01\x02") -> bytes:
        length = len(name).to_bytes(4, "little")
        padded = name + bytes(36 - len(name))
        return b"CBM1\x40\0\0\0" + length + padded + date + b"\0" * 4 + leaf

    original = made(b"6a12e96-6e865a31-20d28bf4-284ea376", b"2026-11-20T20:17:49Z")
    reproduced = made(b"06a12e96-6e865a31-20d28bf4-284ea377", b"2026-11-23T20:17:49Z")
    other = made(b"06a12e96-6e865a31-20d28bf4-284ea377", b"2026-11-23T20:17:49Z", b"\x01\x03")

    found = judge(tmp_path, "m.cbm", original, reproduced)

    assert (found.verdict, found.how) == (Verdict.WITHIN_TOLERANCE, "cbm")
    assert found.detail == "same content; left out: date, name"
    assert judge(tmp_path, "m.cbm", original, other).verdict is Verdict.DIFFERS


def test_the_name_that_optuna_draws_for_a_study_is_left_out(tmp_path: Path) -> None:
    contents = []
    for name in (
        "no-name-aea8c07f-1cbe-41eb-8870-7a08f20697b9",
        "no-name-3166155b-0d68-4799-8271-f6f27e08065a",
    ):
        path = tmp_path / f"{name}.db"
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE studies (study_name TEXT, best REAL)")
            connection.execute("INSERT INTO studies VALUES (?, 0.5)", (name,))
        contents.append(path.read_bytes())

    found = judge(tmp_path, "study.db", *contents)

    assert found.detail == "same content; left out: name of a study"


def test_outputs_that_are_called_otherwise_are_the_same(tmp_path: Path) -> None:
    for which, number in (("original", 812), ("reproduced", 977)):
        (tmp_path / which).write_text(f"best: out/model_{number}.pt, n=3")

    found = judge_output(
        "notes.txt",
        tmp_path / "original",
        tmp_path / "reproduced",
        names=[("out/model_812.pt", "out/model_977.pt")],
    )

    assert found.detail == "same content; left out: name of 1 output"


@pytest.mark.parametrize(
    ("key", "verdict"),
    [
        ("refit_time_", Verdict.WITHIN_TOLERANCE),
        ("mean_fit_time", Verdict.WITHIN_TOLERANCE),
        ("mean_test_score", Verdict.DIFFERS),
        ("time_series", Verdict.DIFFERS),
    ],
)
def test_times_in_pickles_are_left_out(tmp_path: Path, key: str, verdict: Verdict) -> None:
    numpy = pytest.importorskip("numpy")
    single = [pickle.dumps({key: value, "n": 3}) for value in (0.5, 0.7)]
    several = [pickle.dumps({key: numpy.array([value]), "n": 3}) for value in (0.5, 0.7)]

    assert judge(tmp_path, "m.pkl", *single).verdict is verdict
    assert judge(tmp_path, "m.pkl", *several).verdict is verdict


def test_how_fast_it_was_is_left_out_of_text(tmp_path: Path) -> None:
    texts = [
        b"training on 812 raw words took %ss, %d effective words/s" % speed
        for speed in ((b"0.1", 872631), (b"12", 8809))
    ]

    assert judge(tmp_path, "notes.txt", *texts).verdict is Verdict.WITHIN_TOLERANCE


def test_an_array_called_time_may_be_an_axis(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    data = [pickle.dumps({"time": numpy.array([value])}) for value in (0.5, 0.7)]

    assert judge(tmp_path, "m.pkl", *data).verdict is Verdict.DIFFERS
