"""How a project file defined a run's operation: what a run keeps of it, whatever the file says by now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from reenact.errors import Damaged, ReenactError
from reenact.model.flags import FlagValue
from reenact.model.record import flag_from_json, flag_to_json
from reenact.model.run import Run
from reenact.project.template import fill, names_in, value_texts
from reenact.store.store import Store

if TYPE_CHECKING:
    from reenact.project.file.model import OperationDef, OutputPattern, OutputScalars

DEFINITION_FORMAT = 1


def encode_definition(definition: OperationDef) -> bytes:
    """Return the content of the blob that a run's record names as its operation's definition."""
    told = flag_to_json(_as_lists(msgspec.to_builtins(definition)))
    document = {"format": DEFINITION_FORMAT, "operation": told}
    return msgspec.json.encode(document, order="deterministic")


def _as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return [_as_lists(item) for item in value] if isinstance(value, list | tuple) else value


def decode_definition(data: bytes) -> OperationDef:
    """Read what `encode_definition` wrote.

    Raises:
        Damaged: it is none.
    """
    # It takes as long to import as a store of many runs to list, and few runs need it.
    from reenact.project.file.model import OperationDef

    try:
        document = msgspec.json.decode(data)
        return msgspec.convert(flag_from_json(document["operation"]), OperationDef)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError) as error:
        raise Damaged(
            f"the definition of an operation cannot be read: {error}",
            hint="`reenact fsck` lists what is wrong in the store",
        ) from None


def output_scalars(
    definition: OperationDef, values: Mapping[str, FlagValue]
) -> OutputScalars | None:
    """Return the patterns for metrics in the output; `${flag}` in them is its value, as plain text."""
    return _filled(definition.output_scalars, values)


def output_attributes(
    definition: OperationDef, values: Mapping[str, FlagValue]
) -> OutputScalars | None:
    """Return the patterns for facts in the output, as `output_scalars` those for metrics."""
    return _filled(definition.output_attrs, values)


def _filled(scalars: OutputScalars | None, values: Mapping[str, FlagValue]) -> OutputScalars | None:
    if scalars is None:
        return None
    texts = {name: re.escape(text) for name, text in value_texts(values).items()}

    def filled(pattern: OutputPattern) -> OutputPattern:
        known = {name: texts.get(name, f"${{{name}}}") for name in names_in(pattern.pattern)}
        if not known:
            return pattern
        return msgspec.structs.replace(pattern, pattern=fill(pattern.pattern, known))

    return msgspec.structs.replace(
        scalars,
        patterns=tuple(map(filled, scalars.patterns)),
        step=None if scalars.step is None else filled(scalars.step),
    )


def definition_of_run(store: Store, run: Run) -> OperationDef | None:
    """Return how a project file defined a run's operation; None where none did, or it is lost."""
    digest = run.operation.definition
    if digest is None:
        return None
    try:
        return decode_definition(store.blobs.get(digest))
    except ReenactError:
        return None


def attributes_of_run(store: Store, run: Run, directory: str) -> dict[str, Any]:
    """Return the facts in what a run printed.

    Args:
        store: the run's.
        run: of which.
        directory: its `.reenact/`.
    """
    definition = definition_of_run(store, run)
    rules = None if definition is None else output_attributes(definition, run.flags)
    if rules is None:
        return {}
    from reenact.execute.output_attributes import read_attributes

    return dict(read_attributes(directory, rules))


def scalars_of_run(store: Store, run: Run) -> OutputScalars | None:
    """Return the patterns by which metrics were found in a run's output; None for our own rules."""
    definition = definition_of_run(store, run)
    return None if definition is None else output_scalars(definition, run.flags)
