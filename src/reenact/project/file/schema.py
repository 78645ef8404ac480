"""The JSON Schema of project files, made of the same tables that reading goes by.

`docs/reference/project-file.schema.json` holds it, for editors; run this module to write it anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from reenact.project.file.keys import (
    CHOICE_KEYS,
    CLAIM_KEYS,
    CLAIMS_KEYS,
    CONFIG_KEYS,
    DISTRIBUTIONS,
    EXPECT_KEYS,
    FLAG_KEYS,
    FLAG_TYPES,
    INCLUDE_KEYS,
    MODEL_KEYS,
    OBJECTIVE_KEYS,
    OPERATION_KEYS,
    PACKAGE_KEYS,
    PUBLISH_KEYS,
    RESOURCE_KEYS,
    RULE_KEYS,
    RULE_TYPES,
    SOURCE_KEYS,
    SOURCECODE_KEYS,
    STEP_KEYS,
    TYPELESS_KEYS,
    Key,
)

_TEXT: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_ANY: dict[str, Any] = {}
_TRUTH_WORDS = [
    word for low in ("yes", "no", "on", "off") for word in (low, low.title(), low.upper())
]


def schema() -> dict[str, Any]:
    """Return the schema, as JSON data."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Reenact project file",
        "description": "reenact.yml or guild.yml: operations, flags, resources, pipelines",
        "oneOf": [
            {"type": "null"},
            {
                "type": "object",
                "properties": {"claims": {"anyOf": [_ref("claims"), _ref("operation")]}},
                "additionalProperties": _ref("operation"),
            },
            {"type": "array", "items": _ref("item")},
        ],
        "$defs": _definitions(),
    }


def schema_json() -> bytes:
    """Return the content of the published file."""
    return msgspec.json.format(msgspec.json.encode(schema()), indent=2) + b"\n"


def _definitions() -> dict[str, Any]:
    step_flags = {"oneOf": [{"type": "object"}, _list_of(_TEXT), {"type": "null"}]}
    model = _object(MODEL_KEYS)
    config = _object({**CONFIG_KEYS, **OPERATION_KEYS, **CONFIG_KEYS}, required=["config"])
    return {
        "any": _ANY,
        "value": _ANY,
        "text": _TEXT,
        "texts": {"oneOf": [_TEXT, _list_of(_TEXT)]},
        "names": {"oneOf": [_TEXT, _list_of(_TEXT)]},
        "boolean": {"oneOf": [{"type": ["boolean", "null"]}, {"enum": _TRUTH_WORDS}]},
        "integer": {"type": ["integer", "null"], "minimum": 0},
        "number": {"type": ["number", "null"]},
        "params": {"type": ["object", "null"]},
        "text-map": {"type": ["object", "null"], "additionalProperties": _TEXT},
        "env": {"type": ["object", "null"], "additionalProperties": _TEXT},
        "item": {
            "oneOf": [
                {**model, "anyOf": [{"required": [key]} for key in ("model", *TYPELESS_KEYS)]},
                config,
                _object(PACKAGE_KEYS, required=["package"]),
                _object(INCLUDE_KEYS, required=["include"]),
                _object(CLAIMS_KEYS, required=["claims"]),
            ]
        },
        "claims": _named(_object(CLAIM_KEYS, required=["run", "metric", "value"])),
        "direction": {"enum": ["both", "at-least", "at-most", None]},
        "operations": _named(_ref("operation")),
        "operation": {"oneOf": [{"type": ["string", "null"]}, _object(OPERATION_KEYS)]},
        "operation-defaults": {"oneOf": [{"type": "null"}, _object(OPERATION_KEYS)]},
        "flags": _named(_ref("flag")),
        "flag": {
            "oneOf": [
                {"type": ["string", "number", "boolean", "null", "array"]},
                _object(FLAG_KEYS),
            ]
        },
        "flag-type": {"enum": [*FLAG_TYPES, None]},
        "distribution": {"enum": [*DISTRIBUTIONS, None]},
        "arg-split": {"type": ["boolean", "string", "null"]},
        "flags-import": {
            "oneOf": [
                _ref("boolean"),
                {"type": "string", "not": {"enum": _TRUTH_WORDS}},
                _list_of(_TEXT),
            ]
        },
        "choices": _list_of(_ref("choice"), or_null=True),
        "choice": {
            "oneOf": [
                {"type": ["string", "number", "boolean", "null", "array"]},
                _object(CHOICE_KEYS, required=["value"]),
            ]
        },
        "resources": _named(_ref("resource")),
        "resource": {
            "oneOf": [_list_of(_ref("source")), _object(RESOURCE_KEYS, required=["sources"])]
        },
        "sources": {"oneOf": [_ref("source"), _list_of(_ref("source"))]},
        "source": {"oneOf": [{"type": "string"}, _object(SOURCE_KEYS)]},
        "requires": {"oneOf": [_ref("required"), _list_of(_ref("required")), {"type": "null"}]},
        "required": {
            "anyOf": [
                {"type": ["string", "boolean"]},
                _object({"resource": Key("text", "its name"), "description": Key("text", "why")}),
                _object(RESOURCE_KEYS, required=["sources"]),
                _object(SOURCE_KEYS),
            ]
        },
        "target-type": {"enum": ["copy", "link", None]},
        "rename": {"oneOf": [_ref("renaming"), _list_of(_ref("renaming")), {"type": "null"}]},
        "renaming": {
            "oneOf": [
                {"type": "string"},
                _object(
                    {"pattern": Key("text", "what to replace"), "repl": Key("text", "by what")},
                    required=["pattern", "repl"],
                ),
            ]
        },
        "sourcecode": {"oneOf": [_ref("select-files"), _object(SOURCECODE_KEYS)]},
        "select-files": {
            "oneOf": [
                {"type": ["string", "boolean", "null"]},
                _ref("rule"),
                {"type": "array", "items": {"oneOf": [{"type": "string"}, _ref("rule")]}},
            ]
        },
        "rule": {
            **_object(RULE_KEYS),
            "minProperties": 1,
            "maxProperties": 1,
        },
        "patterns": {
            "oneOf": [
                {"type": "string"},
                _list_of({"type": "string"}),
                {
                    "type": "object",
                    "properties": {name: _ref("texts") for name in RULE_TYPES},
                    "additionalProperties": False,
                },
            ]
        },
        "output-scalars": {
            "oneOf": [
                {"type": ["string", "boolean", "null"]},
                _ref("named-patterns"),
                {
                    "type": "array",
                    "items": {"oneOf": [{"type": "string"}, _ref("named-patterns")]},
                },
            ]
        },
        "named-patterns": {"type": "object", "additionalProperties": {"type": "string"}},
        "objective": {
            "oneOf": [
                {"type": ["string", "null"]},
                _object(OBJECTIVE_KEYS),
                {
                    "type": "array",
                    "items": {"oneOf": [{"type": "string"}, _object(OBJECTIVE_KEYS)]},
                },
            ]
        },
        "optimizer": {"oneOf": [{"type": ["string", "null"]}, {"type": "object"}]},
        "optimizers": {
            "oneOf": [
                {"type": "null"},
                {"type": "object", "additionalProperties": _ref("optimizer")},
                _list_of(_ref("optimizer")),
            ]
        },
        "steps": _list_of(_ref("step"), or_null=True),
        "step": {"oneOf": [{"type": "string"}, _object(STEP_KEYS, required=["run"])]},
        "step-flags": step_flags,
        "expect": {"oneOf": [_ref("expectation"), _list_of(_ref("expectation"))]},
        "expectation": {
            **_object(EXPECT_KEYS),
            "oneOf": [{"required": ["file"]}, {"required": ["output"]}],
        },
        "publish": {"oneOf": [{"type": "null"}, _object(PUBLISH_KEYS)]},
    }


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _list_of(items: dict[str, Any], *, or_null: bool = False) -> dict[str, Any]:
    return {"type": ["array", "null"] if or_null else "array", "items": items}


def _named(values: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "properties": {"$include": _ref("texts")},
        "additionalProperties": values,
    }


def _object(keys: Mapping[str, Key], required: Iterable[str] = ()) -> dict[str, Any]:
    properties = {
        name: {
            **_ref(key.shape),
            "description": key.help,
            **({"deprecated": True} if key.note else {}),
        }
        for name, key in keys.items()
    }
    found = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": list(required)} if required else found


if __name__ == "__main__":
    import sys

    sys.stdout.buffer.write(schema_json())
