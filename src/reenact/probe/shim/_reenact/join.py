"""`reenact.start` inside a run: it joins the run that is there, and needs no package for it."""

import os

from _reenact import journal


class start(object):
    """Join the run that this process belongs to; flags become params, notes do not count.

    Attributes:
        id: of the run.
        directory: the run directory, a Path.

    Everything else that a `reenact.Run` has is there where Reenact is installed.
    """

    def __init__(
        self, name=None, *, flags=None, label=None, tags=(), comment=None, store=None, **more
    ):
        if flags is not None and not hasattr(flags, "keys"):
            raise TypeError("flags are a dictionary by name, and not %r" % (flags,))
        self._flags = dict(flags or {}, **more)
        directory = journal.run_directory()
        if directory is None:
            raise RuntimeError("`reenact.start` outside a run needs Reenact in this environment")
        from pathlib import Path

        self.directory = Path(directory)
        self.id = os.path.basename(directory)

    def __enter__(self):
        if self._flags:
            journal.params("", self._flags, "start")
        return self

    def __exit__(self, *_):
        return None

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        from reenact import get  # of this package the probe has nothing like it

        return getattr(get(self.id), name)
