"""The published schema and the reference page say what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reenact.project.file import keys
from reenact.project.file.find import Checked
from reenact.project.file.model import Level
from reenact.project.file.schema import schema, schema_json
from reenact.project.file.yaml import plain_data, read_yaml

REFERENCE = Path(__file__).resolve().parents[4] / "docs" / "reference"
PAGE = (REFERENCE / "project-file.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def test_the_published_schema_is_up_to_date() -> None:
    published = (REFERENCE / "project-file.schema.json").read_bytes()

    assert published == schema_json(), "write it anew: python -m reenact.project.file.schema"


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_reference_are_right(
    example: str, check: Callable[[str], Checked], validator: jsonschema.Draft202012Validator
) -> None:
    assert [f for f in check(example).findings if f.level is not Level.NOTE] == []
    errors = validator.iter_errors(plain_data(read_yaml(example.encode(), "example")))
    assert [f"{list(error.absolute_path)}: {error.message}" for error in errors] == []


TABLES = [
    (name, table)
    for name, table in vars(keys).items()
    if name.endswith("_KEYS") and isinstance(table, dict)
]


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_every_attribute_has_an_example(name: str, table: dict[str, keys.Key]) -> None:
    text = "\n".join(re.findall(r"^```(?:yaml|text)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    # How older files write `target-path`, and what DVC has to be installed for.
    without = {"path", "dvcfile", "dvcstage", "always-pull"}

    missing = [
        key
        for key, entry in table.items()
        if entry.note is None and not re.search(rf"(?m)[\s{{-]{key}:(\s|$)", text)
    ]

    assert set(missing) <= without, name


@pytest.mark.parametrize(("name", "table"), TABLES)
def test_every_attribute_is_in_the_prose(name: str, table: dict[str, keys.Key]) -> None:
    assert [key for key in table if f"`{key}`" not in PAGE] == []


@pytest.mark.parametrize(
    "text",
    [
        "{a: {mian: x}}",
        "{a: {flags: {f: {type: flot}}}}",
        "{a: {steps: [{name: x}]}}",
        "{a: [1]}",
        "[{modle: x}]",
        "{a: {default: maybe}}",
        "{a: {flags: {f: {min: low}}}}",
        "[{model: a, config: b}]",
        "{a: {sourcecode: [{include: b, exclude: c}]}}",
        "text",
    ],
)
def test_what_the_check_finds_the_schema_finds_too(
    text: str, check: Callable[[str], Checked], validator: jsonschema.Draft202012Validator
) -> None:
    data: Any = plain_data(read_yaml(text.encode(), "example"))

    assert any(f.level is not Level.NOTE for f in check(text).findings)
    assert not validator.is_valid(json.loads(json.dumps(data)))
