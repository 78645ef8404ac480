from __future__ import annotations

import pytest

from reenact.model.flags import Flag, FlagSet, FlagValue, Override
from reenact.project.apply import command_line
from reenact.project.overrides import hydra_text
from reenact.project.settings import resolve_flags

FLAGS = FlagSet(
    kind="hydra",
    flags=(
        Flag(name="db", binding=Override(), default="mysql", choices=("mysql", "pg")),
        Flag(
            name="db.host",
            binding=Override(group="db", defaults={"mysql": "m", "pg": "p"}),
            default="m",
        ),
        Flag(name="db.port", binding=Override(group="db", defaults={"pg": 5432}), default=5432),
        Flag(name="seed", binding=Override(), default_source="???"),
    ),
    open_names=("hydra.", "+"),
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.001, "0.001"),
        (1e-30, "1e-30"),
        (True, "true"),
        (None, "null"),
        ("plain/path-1.0", "plain/path-1.0"),
        ("two words", "two words"),
        (" space around ", "' space around '"),
        ("a,b", "'a,b'"),
        ("it's", r"'it\'s'"),
        ("end\\", r"'end\\'"),
        ("'", r"'\''"),
        ("1", "'1'"),
        ("1e3", "'1e3'"),
        ("Null", "'Null'"),
        ("", "''"),
        ("${other.key}", "${other.key}"),
        ([1, "a,b", [None]], "[1,'a,b',[null]]"),
        ({"a": 1, "b": "x y"}, "{a:1,b:x y}"),
    ],
)
def test_values_are_written_in_the_grammar_of_hydra(value: FlagValue, text: str) -> None:
    assert hydra_text(value) == text


def test_keys_that_are_not_there_are_added_and_those_of_hydra_are_not() -> None:
    values: dict[str, FlagValue] = {"db": "pg", "new": 1, "hydra.run.dir": "x", "++db.port": 2}
    assert command_line(FLAGS, values) == ["db=pg", "+new=1", "hydra.run.dir=x", "++db.port=2"]


def test_a_key_has_the_default_of_what_was_chosen() -> None:
    assert resolve_flags(FLAGS, {}, force=False)[1] == {"db": "mysql", "db.host": "m"}
    assert resolve_flags(FLAGS, {"db": "pg"}, force=False)[1] == {
        "db": "pg",
        "db.host": "p",
        "db.port": 5432,
    }
    given, values = resolve_flags(FLAGS, {"db": "pg", "db.host": "q"}, force=False)
    assert given == {"db": "pg", "db.host": "q"}
    assert values["db.host"] == "q"


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("a b", "k=a b"),
        ("a: b", "k='a: b'"),
        ("a #b", "k='a #b'"),
        ("*x", "k='*x'"),
        ("- x", "k='- x'"),
        ("1", "k='1'"),
        ("", "k=''"),
        ("${x}", "k='${x}'"),
        ([1, "a: b"], "k=[1, 'a: b']"),
        (None, "k=null"),
    ],
)
def test_omegaconf_gets_yaml(value: FlagValue, word: str) -> None:
    assert command_line(FlagSet(kind="omegaconf"), {"k": value}) == [word]
