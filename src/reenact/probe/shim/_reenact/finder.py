"""Wait for frameworks to be imported, then let the module that knows them take up its work.

The finder costs a dictionary look-up for each import. For a module that somebody waits for it asks
the other finders, and puts itself between their loader and the module for the one moment in which
that is executed: type of the loader, `__spec__` and source stay as they are.
"""

import sys

TRIGGERS = {}
"""Module that is imported -> module of `patches` that wants to hear of it."""


def install(autolog):
    """Begin to wait.

    Args:
        autolog: empty for all frameworks, `off` for none, else the names of those wanted.
    """
    from _reenact.patches import TRIGGERS as wanted

    if autolog:
        names = () if autolog == "off" else autolog.split(",")
        wanted = {module: name for module, name in wanted.items() if name in names}
    TRIGGERS.update(wanted)
    if wanted:
        sys.meta_path.insert(0, _Waiting())
    sys.meta_path.append(_Provider())
    for name in wanted:
        if name in sys.modules:
            _fire(name, sys.modules[name])


def _fire(name, module):
    patch = TRIGGERS.pop(name, None)
    if patch is None:
        return
    try:
        from _reenact import patches

        patches.apply(patch, name, module)
    except Exception as error:
        _report(name, error)


def _report(name, error):
    try:
        from _reenact import journal

        journal.failure("patch " + name, error)
    except Exception:
        pass


class _Waiting(object):
    def find_spec(self, name, path=None, target=None):
        if name not in TRIGGERS:
            return None
        for finder in list(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        try:
            _come_between(spec)
        except Exception as error:
            _report(name, error)
        return spec


def _come_between(spec):
    loader = spec.loader
    execute = loader.exec_module

    def exec_module(module):
        # From here on the loader is as it was.
        loader.__dict__.pop("exec_module", None)
        execute(module)
        _fire(spec.name, module)

    loader.exec_module = exec_module


class _Provider(object):
    """Offer the probe's half of `reenact` to scripts whose environment has none installed."""

    def find_spec(self, name, path=None, target=None):
        if name != "reenact":
            return None
        # The class of specs without importing importlib.
        return type(sys.__spec__)(name, self, origin="reenact's probe")

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from _reenact import api

        for name in api.__all__:
            setattr(module, name, getattr(api, name))
        module.__all__ = list(api.__all__)

        def missing(name):
            message = "`reenact.%s` needs Reenact installed in this environment" % name
            raise AttributeError(message)

        module.__getattr__ = missing
