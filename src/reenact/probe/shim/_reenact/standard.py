"""Modules of the standard library, also where the script has modules of the same names.

`mmap.py` or `wave.py` beside a script stand before the library's in the search path. What the probe
needs is then loaded apart, so that the script finds its own as if we had never asked.
"""

import os
import sys


def module(name):
    """Return a module of the standard library."""
    known = sys.modules.get(name)
    if known is not None:
        if _is_standard(known):
            return known
    elif name in sys.builtin_module_names or not _is_hidden(name):
        return __import__(name)
    found = _apart.get(name)
    if found is None:
        bootstrap, external = (
            sys.modules["_frozen_importlib" + part] for part in ("", "_external")
        )
        library = [entry for entry in sys.path if _is_library(entry)]
        spec = external.PathFinder.find_spec(name, library)
        found = bootstrap.module_from_spec(spec)
        spec.loader.exec_module(found)
        _apart[name] = found
    return found


_apart = {}
_PREFIXES = tuple({prefix + "/lib" for prefix in (sys.base_prefix, sys.base_exec_prefix)})


def _is_library(entry):
    return entry.startswith(_PREFIXES) and not entry.endswith(("/site-packages", "/dist-packages"))


def _is_standard(known):
    path = getattr(known, "__file__", None)
    return path is None or (_is_library(path) and "-packages/" not in path)


def _is_hidden(name):
    """Tell whether something of that name stands in the search path before the library."""
    for entry in sys.path:
        if _is_library(entry):
            break
        try:
            if any(file.partition(".")[0] == name for file in os.listdir(entry or ".")):
                return True
        except OSError:
            continue
    return False
