"""Find files that came into a run's data after it: a script that lists a directory would meet them."""

from __future__ import annotations

import os

from reenact.model.paths import text_to_path
from reenact.model.run import Run

_MOST_DIRECTORIES = 2000


def later_files(run: Run, base: str) -> tuple[str, ...]:
    """Return the paths in a run's project of files that are younger than it, beside its inputs.

    Only in directories where something that the run read is as old as that: one that was copied,
    or laid out anew, is younger as a whole.

    Args:
        run: whose; data sets are not looked at, whose files are known one by one.
        base: the project's root, or what stands for it.
    """
    if run.ended is None or base != text_to_path(run.project.root):
        return ()
    inputs = {text_to_path(file.path) for file in run.inputs if not os.path.isabs(file.path)}
    sets = [text_to_path(file.path) for file in run.inputs if file.files is not None]
    directories = {os.path.dirname(path) for path in inputs} - {""}
    ended_ns = int(run.ended.timestamp() * 1e9)
    found: list[str] = []
    for directory in sorted(directories)[:_MOST_DIRECTORIES]:
        if any(directory == one or directory.startswith(f"{one}/") for one in sets):
            continue
        try:
            with os.scandir(f"{base}/{directory}") as entries:
                ages = {
                    f"{directory}/{entry.name}": entry.stat(follow_symlinks=False).st_ctime_ns
                    for entry in entries
                    if entry.is_file()
                }
        except OSError:
            continue  # It is gone, and what the run read of it comes from elsewhere.
        younger = {path for path, ctime_ns in ages.items() if ctime_ns > ended_ns}
        if any(path in inputs and path not in younger for path in ages):
            found += younger - inputs
    return tuple(sorted(found))
