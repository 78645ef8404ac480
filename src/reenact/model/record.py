"""The JSON of records: `run.json` and `notes.json`, their versions and their damages.

A float that JSON cannot hold is an object `{"$float": "NaN"}` among flag values; metric summaries
hold the string alone, because nothing else can stand there.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from reenact.errors import Damaged
from reenact.model.flags import FlagValue
from reenact.model.metrics import json_number
from reenact.model.run import FORMAT, Notes, Run
from reenact.model.version import refuse_newer

_MARKED = ("NaN", "Infinity", "-Infinity")

_encoder = msgspec.json.Encoder(order="deterministic")
_run_decoder: msgspec.json.Decoder[Run] | None = None
_notes_decoder: msgspec.json.Decoder[Notes] | None = None


def encode_run(run: Run) -> bytes:
    """Return the content of `run.json`: one JSON object, indented, ending in a newline."""
    if run.flags or run.params:
        run = msgspec.structs.replace(
            run,
            flags={name: flag_to_json(value) for name, value in run.flags.items()},
            params={name: flag_to_json(value) for name, value in run.params.items()},
        )
    return msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"


def decode_run(data: bytes, *, where: str) -> Run:
    """Read the content of `run.json`.

    Args:
        data: the file's content.
        where: how to call it in a message.

    Raises:
        TooNew: a later version of Reenact wrote it.
        Damaged: it is not a record.
    """
    global _run_decoder
    if _run_decoder is None:
        _run_decoder = msgspec.json.Decoder(Run)
    try:
        run = _run_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        refuse_newer(data, where, FORMAT)
        raise Damaged(
            f"{where} is damaged: {error}", hint="`reenact fsck` lists what is wrong in the store"
        ) from None
    values = (*run.flags.values(), *run.params.values())
    if any(isinstance(value, dict | list) for value in values):
        flags = {name: flag_from_json(value) for name, value in run.flags.items()}
        params = {name: flag_from_json(value) for name, value in run.params.items()}
        run = msgspec.structs.replace(run, flags=flags, params=params)
    return run


def encode_notes(notes: Notes) -> bytes:
    """Return the content of `notes.json`."""
    return msgspec.json.format(msgspec.json.encode(notes), indent=1) + b"\n"


def decode_notes(data: bytes, *, where: str) -> Notes:
    """Read the content of `notes.json`; raises Damaged."""
    global _notes_decoder
    if _notes_decoder is None:
        _notes_decoder = msgspec.json.Decoder(Notes)
    try:
        return _notes_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Damaged(
            f"{where} is damaged: {error}", hint="correct it or delete it: it holds only notes"
        ) from None


def to_json(value: Any) -> bytes:
    """Encode any of our values for blobs and for `--json`; keys in a stable order."""
    return _encoder.encode(value)


def flag_to_json(value: FlagValue) -> Any:
    """Return what stands for a flag's value in JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": json_number(value)}
    if isinstance(value, list):
        return [flag_to_json(item) for item in value]
    if isinstance(value, dict):
        return {key: flag_to_json(item) for key, item in value.items()}
    return value


def flag_from_json(value: Any) -> FlagValue:
    """Return the value of a flag that stands in JSON; undoes `flag_to_json`."""
    if isinstance(value, dict):
        if len(value) == 1 and value.get("$float") in _MARKED:
            return float(value["$float"])
        return {key: flag_from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [flag_from_json(item) for item in value]
    return value  # type: ignore[no-any-return]  # JSON scalars are flag values
