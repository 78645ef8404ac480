"""Modules: whether the run's own interpreter would find them, and in which version.

They are looked for, not imported, but for the packages that they are in.
"""

from __future__ import annotations

import json
import os
import subprocess

from reenact.actions.resources import Around, Planned, unmet
from reenact.project.file.model import ResourceSource

_PATIENCE_S = 60.0
_PROBE = """
import json, sys
name = sys.argv[1]
found, problem, version = False, None, None
try:
    import importlib.util
    found = importlib.util.find_spec(name) is not None
except BaseException as error:
    problem = "%s: %s" % (type(error).__name__, error)
if found:
    try:
        from importlib import metadata
        top = name.split(".")[0]
        try:
            names = metadata.packages_distributions().get(top) or [top]
        except AttributeError:
            names = [top]
        version = metadata.version(names[0])
    except Exception:
        pass
sys.stdout.write("\\n" + json.dumps([found, problem, version]))
"""


def plan_module(resource: str, source: ResourceSource, around: Around) -> Planned:
    """Make sure that a module can be imported.

    Raises:
        UnmetRequirement: it cannot.
    """
    name = source.spec
    key = ("module", around.python, around.python_path, name)
    if key not in around.memory:
        around.memory[key] = _ask(resource, source, around)
    found, problem, version = around.memory[key]
    if not found:
        why = f": {problem}" if problem else ""
        raise unmet(
            resource,
            source,
            f"needs the module `{name}`, which `{around.python}` does not find{why}",
            f"install it there: `{around.python} -m pip install …`",
        )
    return Planned(resource, source, version=version)


def _ask(
    resource: str, source: ResourceSource, around: Around
) -> tuple[bool, str | None, str | None]:
    if around.python is None:
        raise unmet(resource, source, f"needs the module `{source.spec}`, and there is no Python")
    paths = [around.root, *around.python_path, *filter(None, [around.env.get("PYTHONPATH")])]
    env = {**around.env, "PYTHONPATH": os.pathsep.join(paths)}
    command = [around.python, "-c", _PROBE, source.spec]
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=around.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        found, problem, version = json.loads(done.stdout.rpartition(b"\n")[2])
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return False, str(error), None
    return found, problem, version
