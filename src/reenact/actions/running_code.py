"""What is being executed in this process where a run begins: a script, a notebook, a prompt."""

from __future__ import annotations

import os
import sys
from typing import Any

from reenact.actions.in_process import Code
from reenact.model.paths import printable
from reenact.model.run import Operation, OperationKind

CELLS = "cells.py"
"""What the source of a notebook's run is called: the cells that had been executed, in order."""


def find_code(name: str | None, cell: str | None = None) -> Code:
    """Return what is executed here.

    Args:
        name: what the user calls it; named after its file without one.
        cell: the cell that is executed, where another than the shell's latest.
    """
    shell = shell_here()
    if shell is not None:
        path = _notebook_of(shell)
        default = os.path.basename(path) if path else "notebook" if _is_kernel(shell) else "ipython"
        texts = {CELLS: _cells(shell, cell)}
        return Code(_operation(name or default, default), os.getcwd(), texts)
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if isinstance(file, str) and os.path.isfile(file):
        path = os.path.abspath(file)
        return Code(_operation(name or path, path), os.path.dirname(os.path.realpath(path)))
    return Code(_operation(name or "python", "python"), os.getcwd())


def shell_here() -> Any | None:
    """Return the IPython shell that executes this process's code, None where there is none."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython, "get_ipython"):
        return None
    return ipython.get_ipython()


def _operation(name: str, target: str) -> Operation:
    return Operation(
        name=printable(name),
        kind=OperationKind.SESSION,
        target=printable(target),
        flags_kind="arguments",
    )


def _is_kernel(shell: Any) -> bool:
    return getattr(shell, "kernel", None) is not None


def _notebook_of(shell: Any) -> str | None:
    """Return the notebook's path where the program that shows it tells: Jupyter and VS Code do."""
    path = shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
    return path if isinstance(path, str) and path.endswith(".ipynb") else None


def _cells(shell: Any, cell: str | None) -> bytes:
    """Return the source of the cells that were executed so far, the present one as the last."""
    inputs = [text for text in shell.history_manager.input_hist_raw if text]
    if cell is not None and (not inputs or cell not in inputs[-1]):
        inputs.append(cell)
    parts = [f"# cell {number}\n{text.rstrip()}\n" for number, text in enumerate(inputs, 1)]
    return "\n\n".join(parts).encode("utf-8", "backslashreplace")
