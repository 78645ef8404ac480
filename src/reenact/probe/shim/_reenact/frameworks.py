"""Frameworks that are imported, and `import reenact`.

For a module that somebody waits for, the other finders are asked, and the one moment in which it is
executed is ours: type of the loader, `__spec__` and source stay as they are.
"""

import os
import sys

TRIGGERS = {}
"""Module that is imported -> module of `patches` that wants to hear of it."""


def load_triggers(autolog):
    from _reenact.patches import TRIGGERS as known
    from _reenact.patches import check_names

    names = [name.strip() for name in autolog.split(",")]  # `off` is the name of none
    wanted = {module: name for module, name in known.items() if not autolog or name in names}
    TRIGGERS.update(wanted)
    if autolog:
        check_names(names)
    for name in wanted:
        if name in sys.modules:
            _fire(name, sys.modules[name])


def _fire(name, module):
    patch = TRIGGERS.pop(name, None)
    try:
        if name == "reenact":
            _complete(module)
        elif patch is not None:
            from _reenact import patches

            patches.apply(patch, name, module)
    except Exception as error:
        _report(name, error)


def seed(name, module):
    """Give a module that has been imported the seed of this process, and its switches."""
    try:
        if "REENACT_DETERMINISTIC" in os.environ and name in ("torch", "tensorflow"):
            from _reenact import determinism

            determinism.after(name, module)
    except Exception as error:
        _report(name, error)
    try:
        from _reenact import seeds

        if seeds.is_on():
            seeds.after(name, module)
    except Exception as error:
        _report(name, error)


def _report(name, error):
    try:
        from _reenact import journal

        journal.failure("patch " + name, error)
    except Exception:
        pass


def find_spec(finder, name, path, target):
    """Return what the finders other than `finder` say of a module that somebody waits for."""
    for other in list(sys.meta_path):
        if other is finder or not hasattr(other, "find_spec"):
            continue
        spec = other.find_spec(name, path, target)
        if spec is not None:
            break
    else:
        return None
    if name == "reenact" and spec.loader is None:
        # A directory of that name that is on the way, and no package.
        return our_spec(name)
    try:
        _come_between(spec, finder)
    except Exception as error:
        _report(name, error)
    return spec


def _come_between(spec, finder):
    loader = spec.loader
    execute = loader.exec_module
    if isinstance(loader, type):
        raise TypeError("%s is built in" % spec.name)

    def exec_module(module):
        is_awaited = module.__name__ == spec.name
        if is_awaited:
            # From here on the loader, which may be one of several modules, is as it was.
            loader.__dict__.pop("exec_module", None)
        execute(module)
        if is_awaited:
            if spec.name in finder.seeded:
                seed(spec.name, module)
            _fire(spec.name, module)

    # Python leaves frames of this name out of the traceback of an import that fails.
    exec_module.__code__ = exec_module.__code__.replace(
        co_filename="<frozen importlib._bootstrap>", co_name="_call_with_frames_removed"
    )
    loader.exec_module = exec_module


def _complete(module):
    """Give another version of `reenact` what it does not have of what scripts may say."""
    names = getattr(module, "__all__", ())
    if "log" not in names or "log_params" not in names:
        from _reenact import api

        for name in api.__all__:
            if name not in names and name not in module.__dict__:
                setattr(module, name, getattr(api, name))


def our_spec(name):
    """Return the spec of the probe's half of `reenact`."""
    # The class of specs without importing importlib.
    return type(sys.__spec__)(name, _Loader(), origin="reenact's probe")


class _Loader(object):
    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from _reenact import api, join

        for name in api.__all__:
            setattr(module, name, getattr(api, name))
        module.start = join.start
        module.__all__ = ["start"] + list(api.__all__)

        def missing(name):
            message = "`reenact.%s` needs Reenact installed in this environment" % name
            raise AttributeError(message)

        module.__getattr__ = missing
