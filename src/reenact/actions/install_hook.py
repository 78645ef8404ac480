"""Let the probe into Python processes that ignore PYTHONPATH: `python -I` and `-E`.

A `.pth` file in an environment's site-packages is read by every Python of it, at each start. Ours
does nothing (0.1 ms) unless the process belongs to a run, and nothing where the probe is no longer
where it was. From Python 3.15 on a `.start` file (PEP 829) says the same.
"""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

from reenact.errors import NotFound, ReenactError
from reenact.execute.testimony import SHIM
from reenact.store.files import remove_if_there, write_atomically

PTH_FILE = "reenact.pth"
START_FILE = "reenact.start"
MODULE_FILE = "_reenact_hook.py"


_PTH = (
    'import os; "REENACT_RECORD_DIR" in os.environ and __import__("_reenact_hook").start()'
    "  # see `reenact install-hook`\n"
)
_START = "_reenact_hook:start\n"
# Any Python may read it, 2.7 included.
_MODULE = '''\
"""Let Reenact's probe into processes that ignore PYTHONPATH. `reenact install-hook` wrote this."""

import os
import sys

SHIM = {shim!r}


def start():
    """Start the probe, if this process belongs to a run and nothing else will."""
    if "REENACT_RECORD_DIR" not in os.environ or sys.version_info < (3, 8):
        return
    if "_reenact" in sys.modules or any(p.endswith("/probe/shim") for p in sys.path):
        return
    sys.path.insert(0, SHIM)
    try:
        import _reenact

        _reenact.start(SHIM)
    except Exception as error:
        _report(error)
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != SHIM]


def _report(error):
    try:
        from _reenact import journal

        journal.failure("start of the probe", error)
    except Exception:
        pass  # Then nobody says hello, either, and `reenact doctor` tells of that.
'''

_FIRST_VERSION = (3, 8)
# Python 2 can answer this, and knows no -I.
_ASK_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
_ASK = "import sys, sysconfig; print(sysconfig.get_path('purelib')); print(sys.version.split()[0])"


class Hook(NamedTuple):
    """Where the hook is, or was.

    Attributes:
        directory: the environment's site-packages.
        python: version of its interpreter.
        is_there: it is installed now.
        was_there: it was installed before.
    """

    directory: str
    python: str
    is_there: bool
    was_there: bool


def install_hook(python: str) -> Hook:
    """Write the hook into the environment of an interpreter; a hook that is there is replaced.

    Raises:
        NotFound: there is no such interpreter.
        ReenactError: it does not answer, is too old, or its site-packages cannot be written.
    """
    directory, version, was_there = _look(python)
    try:
        # The module first: a `.pth` file must find it.
        for name, content in (
            (MODULE_FILE, _MODULE.format(shim=SHIM)),
            (START_FILE, _START),
            (PTH_FILE, _PTH),
        ):
            write_atomically(f"{directory}/{name}", content.encode())
    except OSError as error:
        raise _cannot_write(directory, error) from error
    return Hook(directory, version, True, was_there)


def remove_hook(python: str) -> Hook:
    """Take the hook away again.

    Raises:
        NotFound: there is no such interpreter.
        ReenactError: it does not answer, or its site-packages cannot be written.
    """
    directory, version, was_there = _look(python)
    try:
        for name in (PTH_FILE, START_FILE, MODULE_FILE):
            remove_if_there(f"{directory}/{name}")
    except OSError as error:
        raise _cannot_write(directory, error) from error
    return Hook(directory, version, False, was_there)


def _look(python: str) -> tuple[str, str, bool]:
    try:
        _refuse_old(python)
        # Isolated: what a PYTHONPATH has to say is of no interest.
        done = _run(python, "-I", "-c", _ASK)
        directory, version = done.stdout.splitlines()[-2:]
    except (FileNotFoundError, PermissionError):
        raise NotFound(f"there is no interpreter `{python}`") from None
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise ReenactError(f"`{python}` does not say where its packages are: {error}") from error
    return directory, version, os.path.exists(f"{directory}/{PTH_FILE}")


def _refuse_old(python: str) -> None:
    version = _run(python, "-E", "-c", _ASK_VERSION).stdout.split()[-1]
    if tuple(map(int, version.split("."))) < _FIRST_VERSION:
        raise ReenactError(f"Python {version} is not supported", hint="name Python 3.8 or later")


def _run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)


def _cannot_write(directory: str, error: OSError) -> ReenactError:
    return ReenactError(
        f"cannot write `{directory}`: {error.strerror}",
        hint="name the interpreter of a virtual environment of yours with `--python`",
    )
