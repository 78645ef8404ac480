# Python imports this file at start-up, because its directory is on PYTHONPATH inside a run.
# Any Python may come by, 2.7 included: this file is in syntax that all of them read.
"""Start Reenact's probe, then whatever `sitecustomize` this one stands before."""

import sys


def _start():
    here = sys.modules.pop(__name__, None)
    directory = __file__.rpartition("/")[0]
    try:
        if sys.version_info >= (3, 8):
            try:
                import _reenact

                _reenact.start(directory)
            except Exception as error:
                try:
                    from _reenact import journal

                    journal.failure("start of the probe", error)
                except Exception:
                    pass  # Then nobody says hello, either, and `reenact doctor` tells of that.
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != directory]
    try:
        import sitecustomize  # noqa: F401  # the one that would have been imported without us
    except ImportError as error:
        if getattr(error, "name", None) not in ("sitecustomize", None):
            raise
    if __name__ not in sys.modules and here is not None:
        # The import system looks for the module that it has just executed.
        sys.modules[__name__] = here


_start()
del _start
