"""What must hold after a step of a pipeline: its `expect`."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from reenact.errors import ReenactError
from reenact.model.identity import RunId
from reenact.model.paths import text_to_path
from reenact.model.run import Run
from reenact.project.file.model import ExpectDef
from reenact.store.files import read_file
from reenact.store.output_log import read_output
from reenact.store.store import RECORD_DIRECTORY, Store

_PROJECT = "${PROJECT_DIR}"
"""In `compare-to`: the project's directory, as in what Guild runs."""


def failed_checks(
    checks: Iterable[ExpectDef], store: Store, run_id: RunId, project: str
) -> list[str]:
    """Return what does not hold: a sentence each, with file and line of the check.

    Args:
        checks: what is expected.
        store: where the run is.
        run_id: the step's run.
        project: the directory that `compare-to` is relative to.
    """
    directory = store.directory(run_id)
    found = []
    for check in checks:
        if check.output is not None:
            problem = _output(check.output, directory)
        else:
            problem = _file(check, store.read_run(run_id).record, directory, project)
        if problem is not None:
            found.append(f"{check.place}: {problem}")
    return found


def _output(pattern: str, directory: str) -> str | None:
    try:
        text = output_of(directory)
    except (OSError, ReenactError) as error:
        return f"the output cannot be read: {error}"
    if re.search(pattern, text, re.MULTILINE):
        return None
    return f"the output does not match `{pattern}`"


def output_of(directory: str) -> str:
    """Return what a run printed, as text."""
    return b"".join(chunk.data for chunk in read_output(f"{directory}/{RECORD_DIRECTORY}")).decode(
        errors="replace"
    )


def _given(pattern: str, run: Run, project: str) -> list[tuple[str, str]]:
    """Return names and places of files that the run was given and that are not in its directory."""
    wanted = os.path.normpath(pattern)
    return [
        (file.path, os.path.join(project, text_to_path(file.resolved or file.path)))
        for file in run.inputs
        if fnmatchcase(file.path, wanted)
    ]


def _file(check: ExpectDef, run: Run, directory: str, project: str) -> str | None:
    assert check.file is not None
    pattern = os.path.normpath(f"{directory}/{check.file}")
    paths = [pattern] if os.path.isfile(pattern) else sorted(glob.glob(pattern, recursive=True))
    found = [(os.path.relpath(path, directory), path) for path in paths if os.path.isfile(path)]
    found = found or _given(check.file, run, project)
    if not found:
        return f"there is no file `{check.file}`"
    for name, path in found:
        try:
            content = read_file(path)
        except OSError as error:
            return f"`{name}` cannot be read: {error.strerror}"
        if check.compare_to is not None:
            other = os.path.join(project, check.compare_to.replace(_PROJECT, project))
            try:
                wanted = read_file(other)
            except OSError as error:
                return f"`{check.compare_to}` cannot be read: {error.strerror}"
            if content != wanted:
                return f"`{name}` differs from `{check.compare_to}`"
        if check.contains is not None:
            text = content.decode(errors="replace")
            if not re.search(check.contains, text, re.MULTILINE):
                return f"`{name}` does not match `{check.contains}`"
    return None
