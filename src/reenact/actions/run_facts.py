"""What a run's main process had loaded in the end, for its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reenact.errors import ReenactError
from reenact.model.environment import decode_environment
from reenact.model.record import to_json
from reenact.model.run import Run
from reenact.snapshot.libraries import describe_runtime
from reenact.store.store import Store


def runtime_of(
    store: Store, run: Run, told: Mapping[str, Any] | None, directory: str
) -> bytes | None:
    """Return the content of the blob that a record names as `runtime`; None where there is none.

    Args:
        store: the run's.
        run: its record, whose environment is there already.
        told: what the process said, see `leaving.py` of the probe; None if it did not.
        directory: of the run.
    """
    variables = {}
    if told is not None and run.environment is not None:
        try:
            data = store.blobs.get(run.environment)
            variables = decode_environment(data, where="the environment").variables
        except ReenactError:
            pass  # Then variables count as changed that were as they are.
    runtime = describe_runtime(told, (), variables, directory)
    return None if runtime is None else to_json(runtime)
