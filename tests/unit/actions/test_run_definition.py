"""What a run keeps of the definition of its operation."""

from __future__ import annotations

import math

import msgspec
import pytest

from reenact.actions.run_definition import decode_definition, encode_definition, output_scalars
from reenact.errors import Damaged
from reenact.project.file.model import (
    ChoiceDef,
    Encoding,
    FlagDef,
    FlagsDest,
    FlagsImport,
    FlagsKind,
    Objective,
    OperationDef,
    OutputPattern,
    OutputScalars,
    Place,
    RequireDef,
    ResourceDef,
    ResourceSource,
    SourceKind,
)

PLACE = Place("guild.yml", 3)
FULL = OperationDef(
    name="train",
    model="cnn",
    place=PLACE,
    main="train --fast",
    flags=(
        FlagDef(
            name="lr",
            place=PLACE,
            default=math.inf,
            has_default=True,
            choices=(ChoiceDef(value=[1, {"a": None}], place=PLACE, flags={"x": 1.5}),),
            arg_encoding=(Encoding(True, "on"),),
            min=0,
            max=1.5,
        ),
    ),
    flags_dest=FlagsDest(kind=FlagsKind.CONFIG, place=PLACE, name="c.yml"),
    flags_import=FlagsImport.LISTED,
    requires=(
        RequireDef(
            place=PLACE,
            resource=ResourceDef(
                place=PLACE,
                sources=(ResourceSource(kind=SourceKind.FILE, spec="data", place=PLACE),),
            ),
        ),
    ),
    objectives=(Objective("minimize", "loss"),),
    output_scalars=OutputScalars(
        place=PLACE, patterns=(OutputPattern(pattern=r"${name}: (\value)", place=PLACE, name="x"),)
    ),
    run_attrs={"team": ["a", 1]},
    stoppable=True,
)


def test_a_definition_comes_back_as_it_was() -> None:
    assert decode_definition(encode_definition(FULL)) == FULL


def test_equal_definitions_have_equal_blobs() -> None:
    again = msgspec.structs.replace(FULL, env={})

    assert encode_definition(again) == encode_definition(FULL)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"operation": {"name": 1}}', b"\xff"])
def test_what_is_no_definition_is_damage(data: bytes) -> None:
    with pytest.raises(Damaged, match="definition"):
        decode_definition(data)


def test_flags_in_patterns_are_plain_text() -> None:
    found = output_scalars(FULL, {"name": "a.b"})

    assert found is not None
    assert found.patterns[0].pattern == r"a\.b: (\value)"
