"""Find the flags of scripts and notebooks without running them."""

from __future__ import annotations

import os
from pathlib import Path

from reenact.model.flags import FlagSet
from reenact.model.paths import path_to_text
from reenact.model.run import OperationKind
from reenact.project.operation import Target
from reenact.store.files import read_file


def find_flags(target: Target, root: str) -> FlagSet:
    """Find the flags of a Python script or a notebook; others have none that we know."""
    if target.kind is OperationKind.NOTEBOOK and target.script is not None:
        return _find_notebook_flags(target.script, root)
    if not target.is_python or target.script is None:
        return FlagSet(kind="none", open_ended=target.kind is not OperationKind.COMMAND)
    from reenact.project.detect import detect

    module = target.name if target.kind is OperationKind.MODULE else None
    return detect(Path(target.script), Path(root), module=module)


def _find_notebook_flags(path: str, root: str) -> FlagSet:
    from reenact.project.notebook import find_notebook_flags, read_notebook

    content = read_file(path)
    name = path_to_text(os.path.relpath(path, root))
    notebook = read_notebook(content, name)
    if notebook.language != "python":
        return FlagSet(kind="none", open_ended=True)
    return find_notebook_flags(notebook, content, name)
