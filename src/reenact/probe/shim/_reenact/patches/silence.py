"""Show no warnings of what we do ourselves, without a trace in what Python knows of those shown.

`warnings.catch_warnings` would make Python forget which ones it has shown already, and show them
again. Not silenced: warnings of C code, and of modules that imported `warn` itself.
"""

import _thread
import sys
import warnings

_lock = _thread.allocate_lock()


class silence(object):
    """Within it this thread's warnings, and those of NumPy about numbers, are not shown.

    Raises:
        BlockingIOError: another thread is within it.
    """

    def __enter__(self):
        if not _lock.acquire(False):
            raise BlockingIOError("another thread is silent")
        self._original = original = warnings.warn
        here = _thread.get_ident()

        def warn(message, category=None, stacklevel=1, *rest, **options):
            if _thread.get_ident() != here:
                original(message, category, stacklevel + 1, *rest, **options)

        warnings.warn = warn
        numpy = sys.modules.get("numpy")
        self._errors = numpy.errstate(all="ignore") if numpy is not None else None
        if self._errors is not None:
            self._errors.__enter__()
        return self

    def __exit__(self, *error):
        if self._errors is not None:
            self._errors.__exit__(*error)
        warnings.warn = self._original
        _lock.release()
