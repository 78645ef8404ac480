"""Editable installs of the project resolve to the run's own copy of it."""

import os
import sys


def resolve_to_stage(settings):
    """Replace the project by its copy in sys.path and in setuptools' editable finders."""
    project, run = settings.project, settings.run
    inside = project + "/"

    def staged(path):
        if "/site-packages" in path or "/dist-packages" in path:
            return path
        for prefix in (sys.prefix, sys.base_prefix):
            # An environment inside the project stays where it is; a project inside one does not.
            is_of_prefix = path == prefix or path.startswith(prefix + "/")
            if is_of_prefix and not inside.startswith(prefix + "/"):
                return path
        real = path
        if path != project and not path.startswith(inside):
            real = os.path.realpath(path)
            if real != project and not real.startswith(inside):
                return path
        candidate = run + real[len(project) :]
        return candidate if os.path.exists(candidate) else path

    # An absolute and a relative way to the same directory have become one.
    sys.path[:] = dict.fromkeys([staged(entry) for entry in sys.path])
    # setuptools' editable finders keep a dictionary from package to directory in their module.
    for finder in list(sys.meta_path):
        module = sys.modules.get(getattr(finder, "__module__", None) or "")
        name = getattr(module, "__name__", "")
        if name.startswith("__editable__"):
            for attribute in ("MAPPING", "NAMESPACES"):
                mapping = getattr(module, attribute, None)
                if isinstance(mapping, dict):
                    for key, value in list(mapping.items()):
                        if isinstance(value, str):
                            mapping[key] = staged(value)
                        elif isinstance(value, list):
                            mapping[key] = [staged(item) for item in value]
