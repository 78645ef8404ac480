"""Where the files are now that the operation of a run requires."""

from __future__ import annotations

import os

from reenact.actions.resources.recorded import key_of
from reenact.model.identity import RunId
from reenact.model.paths import text_to_path
from reenact.model.run import File, Run


class Required:
    """Where the files are that the operation of a run requires.

    A source of which one file is not at its place is met by the record as a whole.
    """

    def __init__(self, run: Run, base: str) -> None:
        self._base = base
        self._root = text_to_path(run.project.root)
        self._by_path = {path: one for one in run.dependencies for path in one.paths}
        self._inputs = {file.path: file for file in run.inputs}
        self._found: dict[str, str] = {}

    def covers(self, file: File) -> bool:
        """Whether a file is required."""
        return file.path in self._by_path

    def run_of(self, file: File) -> RunId | None:
        """Return the run that gave a file to this one; None of any other file."""
        one = self._by_path.get(file.path)
        return None if one is None else one.run

    def is_made_anew(self, file: File) -> bool:
        """Whether another run gives it now: the one that made it has been reproduced before."""
        one = self._by_path.get(file.path)
        origin = file.origin or ""
        return (
            one is not None
            and one.run is not None
            and origin.startswith("run ")
            and not one.run.startswith(origin.removeprefix("run "))
        )

    def place(self, file: File) -> str | None:
        """Return where a required file was, in the project of now; None of one in its own place."""
        is_run = file.origin is not None and file.origin.startswith("run ")
        if file.resolved is None or not (self.covers(file) or is_run):
            return None
        path = text_to_path(file.resolved)
        inside = path.removeprefix(f"{self._root}/")
        return path if inside == path else os.path.join(self._base, inside)

    def take(self, file: File, at: str) -> None:
        """Note where the content of a required file is now."""
        self._found[file.path] = at

    def elsewhere(self) -> dict[str, str]:
        """Return where all files are of sources of which one is not at its place."""
        wanted = {key_of(self._by_path[path]) for path in self._found}
        found = {}
        for path, one in self._by_path.items():
            file = self._inputs.get(path)
            if key_of(one) in wanted and file is not None:
                at = self._found.get(path) or self.place(file)
                found[text_to_path(path)] = at or os.path.join(self._base, text_to_path(path))
        return found
