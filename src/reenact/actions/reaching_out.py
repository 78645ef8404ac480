"""Notice, before a start, that a script names files outside the project by a relative path.

Plain Python finds them from the working directory; from the run directory `..` leads elsewhere.
"""

from __future__ import annotations

import os
import re

from reenact.model.paths import path_to_text
from reenact.store.files import read_file

_LITERAL = re.compile(rb"""["'](\.\./[^"'\n]{0,200})["']""")
_PATTERN = re.compile(r"[*?\[{%]")
_NAMED = 3


def paths_out(script: str | None, directory: str, root: str) -> tuple[str, ...]:
    """Return what is to be said of it: nothing, or one remark.

    Args:
        script: path of what is run, where it is a file.
        directory: the working directory.
        root: the project's root.
    """
    try:
        content = b"" if script is None else read_file(script)
    except OSError:
        return ()
    found: dict[str, None] = {}
    for literal in _LITERAL.findall(content) if b"../" in content else ():
        text = os.fsdecode(literal)
        # Of a pattern, the directory that it is looked for in.
        whole = _PATTERN.split(text)[0]
        stem = text if whole == text else os.path.dirname(whole)
        path = os.path.normpath(os.path.join(directory, stem))
        if not f"{path}/".startswith(f"{root}/") and os.path.exists(path):
            found[text] = None
    if not found:
        return ()
    names = ", ".join(f"`{path_to_text(text)}`" for text in list(found)[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    above = path_to_text(os.path.dirname(root))
    remark = (
        f"{names}{more} may be outside the project, where a run does not find it: `--in-place` runs in "
        f"the project itself; a `reenact.yml` in `{above}`, an empty one too, makes that the project"
    )
    return (remark,)
