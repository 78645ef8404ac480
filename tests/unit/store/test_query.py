"""Filters: what they accept, what they say when they do not, and which runs they find."""

from __future__ import annotations

import math
import operator
import os
import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reenact.errors import BadFilter
from reenact.model.identity import Digest, RunId
from reenact.model.metrics import Point, summarize
from reenact.model.run import (
    Exit,
    Notes,
    Operation,
    OperationKind,
    Project,
    Run,
    Source,
    Status,
    Vcs,
)
from reenact.store.columns import Kind
from reenact.store.index import Index
from reenact.store.query import parse_filter
from reenact.store.store import RECORD_DIRECTORY, Store

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
PROJECT = Project(id="path:/p", name="p", root="/p")


def put(
    store: Store,
    number: int,
    *,
    flags: dict[str, Any] | None = None,
    metrics: dict[str, list[float]] | None = None,
    notes: Notes | None = None,
    **fields: Any,
) -> Run:
    points = [
        Point(name, step, 0, value)
        for name, values in (metrics or {}).items()
        for step, value in enumerate(values)
    ]
    started = NOW - timedelta(hours=number)
    values: dict[str, Any] = {
        "id": RunId(f"{number:02x}" * 16),
        "operation": Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
        "project": PROJECT,
        "command": ("python", "train.py", "--name", "a b"),
        "created": started,
        "started": started,
        "ended": started + timedelta(seconds=90),
        "exit": Exit(code=0),
        "flags": flags or {},
        "metrics": summarize(points),
    }
    run = Run(**(values | fields))
    os.makedirs(f"{store.directory(run.id)}/{RECORD_DIRECTORY}", exist_ok=True)
    store.write_run(run, sync=False)
    store.write_notes(run.id, notes or Notes())
    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(str(tmp_path / "store"))
    store.create()
    return store


def find(store: Store, text: str) -> list[int]:
    """Return the numbers of the runs that a filter finds."""
    filter_ = parse_filter(text, now=NOW, tz=UTC)
    with Index(store) as index:
        return sorted(int(run.id[:2], 16) for run in index.query(filter_))


class TestComparisons:
    @pytest.fixture(autouse=True)
    def runs(self, store: Store) -> None:
        put(store, 1, flags={"lr": 0.1, "opt": "adam", "amp": True}, metrics={"acc": [0.5, 0.95]})
        put(store, 2, flags={"lr": 0.001, "opt": "sgd", "amp": False}, metrics={"acc": [0.9, 0.8]})
        put(store, 3, flags={"lr": 1, "layers": [64, 32], "opt": None}, metrics={"lr": [0.5]})
        put(store, 4, flags={"lr": math.nan}, metrics={"acc": [0.7, math.nan], "lr": [0.1]})
        put(store, 5, flags={"size": "10"}, metrics={"lr": [0.25]})

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("lr < 0.2", [1, 2]),
            ("lr<0.2 and acc>0.9", [1]),
            ("lr == 1", [3]),
            ("lr = 1e-3", [2]),
            ("lr != 0.1", [2, 3, 4, 5]),
            ("lr <= 0.1 or lr >= 1", [1, 2, 3]),
            ("not lr < 0.2", [3, 4, 5]),
            ("lr in (0.1, 1)", [1, 3]),
            ("lr in [0.1, 1,]", [1, 3]),
            ("lr in ()", []),
            ("lr not in (0.1, 1)", [2, 4, 5]),
            ("opt = adam", [1]),
            ("opt = 'adam'", [1]),
            ("opt != adam", [2, 3]),
            ("opt ~ '^(adam|sgd)$'", [1, 2]),
            ("opt !~ a", [2, 3]),
            ("opt contains da", [1]),
            ("opt not contains da", [2, 3]),
            ("opt > 'b'", [2]),
            ("amp = true", [1]),
            ("amp = false", [2]),
            ("amp = 1", [1]),
            ("layers contains 64", [3]),
            ("layers contains 6", []),
            ("layers = '[64,32]'", [3]),
            ("size = 10", [5]),
            ("size = '10'", [5]),
            ("size > 9", []),
            ("lr = nan", [4]),
            ("acc is nan", [4]),
            ("acc is not nan", [1, 2]),
            ("opt = null", [3]),
            ("opt is null", [3]),
            ("opt is not null", [1, 2]),
            ("opt is undefined", [4, 5]),
            ("opt is not undefined", [1, 2, 3]),
            ("opt is defined", [1, 2, 3]),
            ("nonsense < 1", []),
            ("nonsense != 1", []),
            ("nonsense is undefined", [1, 2, 3, 4, 5]),
            ("not (opt = adam or opt = sgd)", [3, 4, 5]),
            ("opt = adam and lr = 0.1 or size = 10", [1, 5]),
            ("opt = adam and (lr = 0.1 or size = 10)", [1]),
        ],
    )
    def test_finds(self, store: Store, text: str, expected: list[int]) -> None:
        assert find(store, text) == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("lr = 0.25", [5]),
            ("lr = 0.5", []),
            ("metric:lr = 0.5", [3]),
            ("last lr = 0.5", [3]),
            ("flag:lr = 0.25", []),
            ("=lr = 1", [3]),
            ("max acc >= 0.9", [1, 2]),
            ("first acc = 0.9", [2]),
            ("min acc = 0.7", [4]),
            ("avg acc > 0.8", [2]),
            ("mean acc > 0.8", [2]),
            ("count acc = 2", [1, 2, 4]),
            ("nans acc > 0", [4]),
            ("max acc step = 0", [2, 4]),
            ("acc step = 1", [1, 2, 4]),
            ('"lr" = 0.1', [1]),
            ("min 'acc' < 0.6", [1]),
            ('metric:"acc" > 0.9', [1]),
            ("acc > 0", [1, 2]),
            ("acc < nan", []),
            ("acc = adam", []),
            ("acc != adam", [1, 2, 4]),
            ("acc contains 9", []),
            ("acc is null", []),
        ],
    )
    def test_looks_a_name_up_as_a_flag_then_as_a_metric(
        self, store: Store, text: str, expected: list[int]
    ) -> None:
        assert find(store, text) == expected


class TestAttributes:
    @pytest.fixture(autouse=True)
    def runs(self, store: Store) -> None:
        vcs = Vcs(commit="abc" + "0" * 37, is_dirty=True)
        source = Source(tree=Digest("de" * 32), files=1, size_bytes=1, vcs=vcs)
        notes = Notes(label="first try", tags=("best", "good"), comment="why not", marked=True)
        put(store, 1, source=source, notes=notes)
        other = Operation(name="src/eval.py", kind=OperationKind.SCRIPT, target="src/eval.py")
        put(store, 2, operation=other, exit=Exit(code=3), flags={"tag": "x"})
        module = Operation(name="pkg.train", kind=OperationKind.MODULE, target="pkg.train")
        put(store, 3, operation=module, exit=Exit(signal=9), notes=Notes(tags=("bad",)))
        put(store, 30, exit=Exit(code=1, requested="interrupt"), notes=Notes(label="not"))
        put(store, 80, ended=NOW - timedelta(hours=70), project=Project(id="q", name="Q", root="/"))
        broken = store.directory(RunId("ee" * 16))
        os.makedirs(f"{broken}/{RECORD_DIRECTORY}")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("op = train", [1, 30, 80]),
            ("op = train.py", [1, 30, 80]),
            ("op = eval", [2]),
            ("op = eval.py", [2]),
            ("op = src/eval.py", [2]),
            ("op = pkg.train", [3]),
            ("operation != train", [2, 3]),
            ("op ~ train", [1, 3, 30, 80]),
            ("op in (eval, pkg.train)", [2, 3]),
            ("status = failed", [2, 3]),
            ("status in (terminated, damaged)", [30, 238]),
            ("exit = 137", [3]),
            ("exit > 0", [2, 3, 30]),
            ("label = 'first try'", [1]),
            ("label contains t", [1, 30]),
            ("label is undefined", [2, 3, 80, 238]),
            ("label is null", [2, 3, 80, 238]),
            ("label != x", [1, 30]),
            ("label = 'not'", [30]),
            ("comment contains why", [1]),
            ("comment is not undefined", [1]),
            ("tag in (best)", [1]),
            ("tag = best", [1]),
            ("tags in (best, bad)", [1, 3]),
            ("tag != best", [2, 3, 30, 80, 238]),
            ("tag not in (best, bad)", [2, 30, 80, 238]),
            ("tag contains be", [1]),
            ("tag ~ '^b'", [1, 3]),
            ("tag is undefined", [2, 30, 80, 238]),
            ("flag:tag = x", [2]),
            ("marked", [1]),
            ("not marked", [2, 3, 30, 80, 238]),
            ("marked = false", [2, 3, 30, 80, 238]),
            ("dirty", [1]),
            ("commit = abc", [1]),
            ("commit = ABC0", [1]),
            ("commit is undefined", [2, 3, 30, 80, 238]),
            ("source = dede", [1]),
            ("command contains 'a b'", [1, 2, 3, 30, 80]),
            ("id = 01", [1]),
            ("id in (01, 02)", [1, 2]),
            ("project = Q", [80]),
            ("project = path:/p", [1, 2, 3, 30]),
            ("duration = 90", [1, 2, 3, 30]),
            ("duration > 2h", [80]),
            ("duration > '9 hours'", [80]),
            ("duration <= 1m30s", [1, 2, 3, 30]),
            ("attr:label = 'not'", [30]),
            (".label = 'not'", [30]),
            ("started > '2 days ago'", [1, 2, 3, 30]),
            ("started > 2 days ago and exit = 0", [1]),
            ("started > today", [1, 2, 3]),
            ("started = yesterday", [30]),
            ("started != yesterday", [1, 2, 3, 80]),
            ("started in 'last 3 hours'", [1, 2, 3]),
            ("started in last 3 hours", [1, 2, 3]),
            ("started = last day", [1, 2, 3]),
            ("started in (today, yesterday)", [1, 2, 3, 30]),
            ("created < 2026-11-19", [80]),
            ("ended >= 2026-11-20T11:01:30", [1]),
            ("started = '2026-11-20 11:00'", [1]),
            ("started = 2026-11-20T12:00:00+01:00", [1]),
            ("started < now", [1, 2, 3, 30, 80]),
            ("started < 'an hour ago'", [2, 3, 30, 80]),
            ("exit is nan", []),
        ],
    )
    def test_finds(self, store: Store, text: str, expected: list[int]) -> None:
        assert find(store, text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a name"),
        ("lr <", "expected a value at column 5: `lr <^`"),
        ("lr < and acc", "expected a value, not `and` at column 6: `lr < ^and acc`"),
        ("lr < 1 acc", "expected `and`, `or` or the end at column 8: `lr < 1 ^acc`"),
        ("lr", "expected a comparison of `lr` at column 3: `lr^`"),
        ("(lr < 1", "expected `)` at column 8: `(lr < 1^`"),
        ("lr ! 1", "`!` means nothing here at column 4: `lr ^! 1`"),
        ("lr = 'a", "a quote is not closed at column 6: `lr = ^'a`"),
        ("lr in a", "expected `(` and values, as in `in (a, b)` at column 7: `lr in ^a`"),
        ("lr in (a b)", "expected `,` at column 10: `lr in (a ^b)`"),
        ("lr < acc", "`acc` is not a number at column 6: `lr < ^acc`"),
        ("lr < true", "`true` is neither more nor less than anything at column 6"),
        ("lr is good", "expected `undefined`, `null` or `nan`"),
        ("status = error", "there is no status `error` at column 10"),
        ("status < failed", "this can only be equal or not"),
        ("started > soon", "expected a time at column 11: `started > ^soon`"),
        ("started > 99999999999 years ago", "expected a time"),
        ("started > 2026-13-01", "expected a time"),
        ("started ~ 2026", "a regular expression needs text"),
        ("duration > long", "expected a duration"),
        ("duration contains 1", "`contains` needs text or a list"),
        ("exit = bad", "expected a number"),
        ("marked = yes", "expected `true` or `false`"),
        ("op ~ '('", "bad regular expression"),
        (".nothing = 1", "a run has no attribute `nothing` at column 1: `^.nothing = 1`"),
        ("flag: = 1", "expected a name after `flag:`"),
        ("(" * 60 + "a=1" + ")" * 60, "nested deeper than 50"),
        (" or ".join(["a=1"] * 201), "more than 200 conditions"),
        (f"a in ({','.join(['1'] * 501)})", "more than 500 values"),
        ("lr =\n= 1", "expected a value, not `=` at column 6: `lr = ^= 1`"),
    ],
)
def test_a_bad_filter_is_refused_in_one_line_that_points_at_the_place(
    text: str, message: str
) -> None:
    with pytest.raises(BadFilter) as caught:
        parse_filter(text, now=NOW)

    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_a_filter_knows_what_it_asks_for() -> None:
    operands = parse_filter("min loss < 1 and not (lr = 1 or marked)", now=NOW).operands()

    assert [(o.kind, o.name) for o in operands] == [
        (Kind.METRIC, "loss"),
        (Kind.ANY, "lr"),
        (Kind.ATTRIBUTE, "marked"),
    ]


def test_a_day_begins_at_midnight_of_its_time_zone(store: Store) -> None:
    zone = ZoneInfo("America/New_York")
    put(store, 1, started=datetime(2026, 7, 1, 3, 59, tzinfo=UTC))
    put(store, 2, started=datetime(2026, 7, 1, 4, 0, tzinfo=UTC))

    with Index(store) as index:
        found = index.query(parse_filter("started = 2026-07-01", now=NOW, tz=zone))

    assert [run.id[:2] for run in found] == ["02"]


def test_without_a_time_zone_dates_are_this_machine_s(store: Store) -> None:
    put(store, 1, started=datetime(2026, 7, 1).astimezone())

    with Index(store) as index:
        found = index.query(parse_filter("started = '2026-07-01 00:00'", now=NOW))

    assert len(found) == 1


def test_today_is_the_day_in_the_given_time_zone(store: Store) -> None:
    put(store, 1, started=datetime(2026, 11, 20, 22, 0, tzinfo=UTC))
    now = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)

    with Index(store) as index:
        found = index.query(
            parse_filter("started >= today", now=now, tz=timezone(timedelta(hours=1, minutes=30)))
        )

    assert found == []


def test_values_are_never_taken_for_sql(store: Store) -> None:
    put(store, 1, flags={"a'; drop table runs; --": "x' or 1=1 --"})

    assert find(store, """ "a'; drop table runs; --" = "x' or 1=1 --" """) == [1]
    assert find(store, """ op = "' or 1=1 --" """) == []
    assert find(store, "label = 'it''s'") == []


def test_integers_beyond_64_bits_compare_as_floats(store: Store) -> None:
    put(store, 1, flags={"seed": 2**70, "deep": [2**70]})

    assert find(store, f"seed = {2**70}") == [1]
    assert find(store, "seed > 1e20") == [1]
    assert find(store, f"seed < 1{'0' * 400}") == [1]
    assert find(store, f"deep contains {2**70}") == [1]


def test_text_that_is_not_utf8_finds_nothing(store: Store) -> None:
    put(store, 1, flags={"a": "x"})

    assert find(store, "a = '\udcff' or label = '\udcff'") == []
    assert find(store, "'\udcff' = 1") == []


# --- the same, by chance ---


class Case(NamedTuple):
    text: str
    holds: Callable[[Run, Notes], bool]


_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING = object()
_NAMES = ("a", "b-c", "d.e")
_NUMBERS = (0, 1, -1, 0.5, 2, math.inf, -math.inf)
_WORDS = ("adam", "a b", "", "1", "true", "nan", "ü'\"")
_FIELDS = {
    "min": "minimum", "max": "maximum", "first": "first", "last": "last", "mean": "mean",
    "count": "count", "nans": "nan_count",
}  # fmt: skip


def _flag(run: Run, name: str) -> Any:
    return run.flags.get(name, _MISSING)


def _metric(run: Run, name: str, field: str = "last") -> Any:
    if name not in run.metrics:
        return _MISSING
    value = getattr(run.metrics[name], field)
    if value is None:
        return _MISSING
    return float(value) if isinstance(value, str) else value


def _param(run: Run, name: str) -> Any:
    return run.params.get(name, _MISSING)


def _any(run: Run, name: str) -> Any:
    places = (_flag(run, name), _metric(run, name), _param(run, name))
    return next((value for value in places if value is not _MISSING), _MISSING)


def _is_of_metric(run: Run, name: str) -> bool:
    return _flag(run, name) is _MISSING and _metric(run, name) is not _MISSING


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _compares(value: Any, sign: str, wanted: Any, is_metric: bool) -> bool:
    if value is _MISSING:
        return False
    if sign in ("=", "!="):
        if isinstance(wanted, str):
            same = not is_metric and _text(value) == wanted
        else:
            same = (_is_number(value) and value == wanted) or (
                isinstance(value, str) and value == repr(wanted)
            )
        return same == (sign == "=")
    if isinstance(wanted, str):
        return isinstance(value, str) and _SIGNS[sign](value, wanted)
    return _is_number(value) and _SIGNS[sign](value, wanted)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else repr(value)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@st.composite
def _comparisons(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(_NAMES))
    sign = draw(st.sampled_from(sorted(_SIGNS)))
    wanted = draw(st.sampled_from((*_NUMBERS, *_WORDS)))
    written = _quote(wanted) if isinstance(wanted, str) else repr(wanted)
    where = draw(st.sampled_from(("", "flag:", "=", "metric:", "param:", *_FIELDS)))
    if where in _FIELDS:
        return Case(
            f"{where} {name} {sign} {written}",
            lambda run, _: _compares(_metric(run, name, _FIELDS[where]), sign, wanted, True),
        )

    def holds(run: Run, _: Notes) -> bool:
        if where == "":
            return _compares(_any(run, name), sign, wanted, _is_of_metric(run, name))
        if where == "metric:":
            return _compares(_metric(run, name), sign, wanted, True)
        value = _param(run, name) if where == "param:" else _flag(run, name)
        return _compares(value, sign, wanted, False)

    return Case(f"{where}{name} {sign} {written}", holds)


@st.composite
def _other_tests(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(_NAMES))
    tag = draw(st.sampled_from(("best", "good")))
    number = draw(st.sampled_from(_NUMBERS))
    return draw(
        st.sampled_from(
            [
                Case(f"{name} is undefined", lambda r, _: _any(r, name) is _MISSING),
                Case(f"{name} is nan", lambda r, _: _any(r, name) != _any(r, name)
                     or _any(r, name) == "nan"),
                Case(f"{name} is null", lambda r, _: _any(r, name) in (None, "null")),
                Case(f"tag = {tag}", lambda _, n: tag in n.tags),
                Case(f"tag != {tag}", lambda _, n: tag not in n.tags),
                Case("marked", lambda _, n: n.marked),
                Case("label is undefined", lambda _, n: n.label is None),
                Case("label != x", lambda _, n: n.label not in (None, "x")),
                Case("label ~ '^[xy]$'",
                     lambda _, n: n.label is not None and bool(re.search("^[xy]$", n.label))),
                Case("exit = 0", lambda r, _: r.exit is not None and r.exit.code == 0),
                Case("duration >= 60", lambda r, _: (r.duration_s or 0) >= 60),
                Case("started > '3 hours ago'",
                     lambda r, _: r.started is not None and r.started > NOW - timedelta(hours=3)),
                Case(f"{name} in ({number}, adam)",
                     lambda r, _: any(
                         _compares(_any(r, name), "=", wanted, _is_of_metric(r, name))
                         for wanted in (number, "adam"))),
            ]
        )
    )  # fmt: skip


def _combined(parts: st.SearchStrategy[Case]) -> st.SearchStrategy[Case]:
    pairs = st.tuples(parts, parts)
    return st.one_of(
        parts.map(lambda p: Case(f"not ({p.text})", lambda r, n: not p.holds(r, n))),
        pairs.map(
            lambda p: Case(
                f"({p[0].text}) and ({p[1].text})",
                lambda r, n: p[0].holds(r, n) and p[1].holds(r, n),
            )
        ),
        pairs.map(
            lambda p: Case(
                f"({p[0].text}) or {p[1].text}",
                lambda r, n: p[0].holds(r, n) or p[1].holds(r, n),
            )
        ),
    )


_cases = st.recursive(st.one_of(_comparisons(), _other_tests()), _combined, max_leaves=5)
_values = st.one_of(
    st.sampled_from((*_NUMBERS, math.nan)), st.sampled_from(_WORDS), st.booleans(), st.none()
)
_runs = st.lists(
    st.fixed_dictionaries(
        {
            "flags": st.dictionaries(st.sampled_from(_NAMES), _values),
            "params": st.dictionaries(st.sampled_from(_NAMES), _values),
            "metrics": st.dictionaries(
                st.sampled_from(_NAMES),
                st.lists(st.sampled_from((*_NUMBERS, math.nan)), min_size=1, max_size=3),
            ),
            "notes": st.builds(
                Notes,
                label=st.sampled_from((None, "x", "y", "z")),
                tags=st.sets(st.sampled_from(("best", "good"))).map(tuple),
                marked=st.booleans(),
            ),
            "exit": st.sampled_from((Exit(code=0), Exit(code=1))),
        }
    ),
    max_size=5,
)


@given(runs=_runs, cases=st.lists(_cases, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_sql_finds_what_plain_python_finds(runs: list[dict[str, Any]], cases: list[Case]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = Store(directory)
        store.create()
        written = [(put(store, number, **run), run["notes"]) for number, run in enumerate(runs)]

        with Index(store) as index:
            for case in cases:
                found = {run.id for run in index.query(parse_filter(case.text, now=NOW, tz=UTC))}
                assert found == {run.id for run, notes in written if case.holds(run, notes)}, (
                    case.text
                )


@given(text=st.text(max_size=40) | st.text("lr<>=!~()[],'\" andornotis.:-10", max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_understood_or_refused(text: str) -> None:
    try:
        parse_filter(text, now=NOW, tz=UTC)
    except BadFilter:
        pass


def test_every_status_can_be_asked_for() -> None:
    for status in Status:
        parse_filter(f"status = {status}", now=NOW)
