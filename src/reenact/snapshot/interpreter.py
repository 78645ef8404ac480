"""What a Python interpreter says of itself: this one, or another that is asked.

The probe says the same of the processes that it is in (`_reenact/__init__.py`): there the facts come
with the process's first word, and nothing of this package is at hand.
"""

from __future__ import annotations

import os
import sys

import msgspec

from reenact.model.environment import PythonFacts


def this_interpreter() -> PythonFacts:
    """Describe the interpreter that runs this."""
    return msgspec.convert(_describe_itself(), PythonFacts)


def question() -> str:
    """Return a program that prints, as its last line, JSON for `read_answer`."""
    import inspect

    return "\n".join(
        (
            "import json, os, sys",
            inspect.getsource(_describe_itself),
            r'sys.stdout.write("\n" + json.dumps(_describe_itself()))',
        )
    )


def read_answer(out: bytes) -> PythonFacts:
    """Read what an interpreter printed; what its environment prints at every start stands before.

    Raises:
        ValueError: it is no answer.
    """
    return msgspec.json.decode(out.rpartition(b"\n")[2], type=PythonFacts)


def _describe_itself() -> "dict[str, object]":  # noqa: UP037  # see below
    # For any Python 3 that may be given this text, with nothing but `os` and `sys`.
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError, AttributeError):
        libc = None
    tag = sys.implementation.cache_tag
    multiarch = getattr(sys.implementation, "_multiarch", "")
    return {
        "version": sys.version.split()[0],
        "build": sys.version,
        "libc": libc,
        "abi": f"{tag}-{multiarch}" if multiarch else tag,
        "platform": f"{sys.platform}-{os.uname().machine}",
        "implementation": sys.implementation.name,
        "executable": sys.executable or "",
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "path": [entry for entry in sys.path if isinstance(entry, str) and entry],
    }
