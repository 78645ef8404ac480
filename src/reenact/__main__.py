"""`python -m reenact` and the `reenact` command."""

from __future__ import annotations

import gc
import os
import sys

_OBJECTS_BEFORE_LOOKING = 50_000
"""What is imported at the start makes many objects, and no garbage: looking for some every 700 objects
takes a tenth of the time of a short command."""


def main() -> None:
    """Run the command line, in a process that the user's project cannot disturb."""
    gc.set_threshold(_OBJECTS_BEFORE_LOOKING)
    _open_standard_streams()
    _forget_project_modules()
    from reenact.cli.main import run_command_line

    run_command_line()


def _open_standard_streams() -> None:
    """Put the null device in the place of standard streams that are closed.

    Otherwise the next file that is opened would take their number, and be written to as such.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _forget_project_modules() -> None:
    """Take the working directory and PYTHONPATH, which are the project's, from our own path.

    A file `click.py` or `queue.py` in them is the script's business, not ours.
    """
    ours = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    entries = ["", *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    foreign = {_real(entry) for entry in entries} - {ours}
    sys.path[:] = [entry for entry in sys.path if _real(entry) not in foreign]


def _real(entry: str) -> str:
    try:
        return os.path.realpath(entry)
    except FileNotFoundError:
        return entry  # The working directory is gone.


if __name__ == "__main__":
    main()
