"""`reenact run --edit`: change flags in the user's editor before the run starts."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

import msgspec

from reenact.actions.ground import RunRequest
from reenact.actions.plan import Plan
from reenact.errors import UsageError
from reenact.model.flags import FlagValue
from reenact.project.flag_text import format_value


def edit_flags(request: RunRequest, plan: Plan) -> RunRequest:
    """Open the plan's flags in $VISUAL or $EDITOR; return the request with what was changed.

    Raises:
        UsageError: the editor failed, or a line is no flag.
    """
    lines = [
        f"# Flags of {plan.operation.name}. Save and leave to run; remove all lines to cancel."
    ]
    for name, value in plan.values.items():
        flag = plan.flag_set.find(name)
        if flag is not None and flag.help:
            lines.append(f"# {' '.join(flag.help.split())}")
        lines.append(f"{name}: {format_value(value)}")
    before = "\n".join(lines) + "\n"
    with tempfile.TemporaryDirectory(prefix="reenact-") as directory:
        path = Path(directory, "flags.yml")
        path.write_text(before, encoding="utf-8")
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise UsageError(f"the editor `{editor}` failed: {error}") from None
        after = path.read_text(encoding="utf-8")
    settings: dict[str, str | FlagValue] = dict(request.settings)
    original = _parse(before)
    edited = _parse(after)
    if not edited:
        raise UsageError("nothing was left of the flags: not run")
    settings.update({n: text for n, text in edited.items() if original.get(n) != text})
    return msgspec.structs.replace(request, settings=settings)


def _parse(text: str) -> dict[str, str]:
    flags = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, colon, value = stripped.partition(":")
        if not colon:
            raise UsageError(f"line {number} is no flag: `{stripped}`", hint="write `name: value`")
        flags[name.strip()] = value.strip()
    return flags
