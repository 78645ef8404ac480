"""Take into a run's record the configuration that Hydra composed for it.

Hydra writes it to `.hydra/config.yaml` in its output directory. What was set stays as it was set, unless
Hydra read it otherwise; a run of several jobs (`--multirun`) has several configurations and keeps the
flags it had.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import msgspec

from reenact.actions.plan import redacted
from reenact.model.flags import FlagValue
from reenact.model.paths import text_to_path
from reenact.model.run import Remark, Run
from reenact.model.secrets import hide
from reenact.project.composition import REQUIRED, leaves, read_config, resolved
from reenact.project.file.yaml import YamlError
from reenact.project.overrides import HYDRA

_WRITTEN = ".hydra/config.yaml"
_MOST_FLAGS = 2_000
_MOST_BYTES = 1_000_000


def with_composed_flags(run: Run, directory: str, secrets: Iterable[str] = ()) -> Run:
    """Return the record of a run that has ended with what Hydra composed as its flags.

    Args:
        run: with its outputs.
        directory: of the run.
        secrets: texts that must not stand in a record.
    """
    if run.operation.flags_kind != HYDRA:
        return run
    written = [
        file.path
        for file in run.outputs
        if file.path == _WRITTEN or file.path.endswith(f"/{_WRITTEN}")
    ]
    if len(written) != 1:
        return run
    try:
        with open(os.path.join(directory, text_to_path(written[0])), "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            return _with_remark(run, f"{written[0]} is too large")
        tree = read_config(content, written[0]).tree
    except (OSError, YamlError) as error:
        return _with_remark(run, str(error))
    found = {name: leaf.value for name, leaf in leaves(tree) if leaf.value != REQUIRED}
    if len(found) > _MOST_FLAGS:
        return _with_remark(run, f"{written[0]} has more than {_MOST_FLAGS} values")
    flags = _without_other_choices(run, found)
    for name, value in found.items():
        is_reference = isinstance(value, str) and "${" in value
        if name not in run.given or not is_reference:
            flags[name] = _clean(name, resolved(tree, value), tuple(secrets))
    return msgspec.structs.replace(run, flags=flags)


def _without_other_choices(run: Run, found: dict[str, FlagValue]) -> dict[str, FlagValue]:
    """Return the flags of a run but for those that what was chosen does not have."""
    tops = {name.partition(".")[0] for name in found}
    return {
        name: value
        for name, value in run.flags.items()
        if name in run.given or "." not in name or name.partition(".")[0] not in tops
    }


def _clean(name: str, value: FlagValue, secrets: tuple[str, ...]) -> FlagValue:
    value = redacted(name, value)
    return hide([value], secrets)[0] if isinstance(value, str) else value


def _with_remark(run: Run, text: str) -> Run:
    remark = Remark(code="composed-flags", message=f"what Hydra composed is not recorded: {text}")
    return msgspec.structs.replace(run, warnings=(*run.warnings, remark))
