"""Reenact: run it again, get the same result, and prove it.

In a script that runs under `reenact run`, or within `with reenact.start():`

```python
import reenact

reenact.log(loss=0.1, step=3)
```

and to run and look at runs

```python
run = reenact.run("train.py", lr=0.1)
best = reenact.runs("op = train.py and acc > 0.9", sort="-acc")[0]
best.flags["lr"], best.metrics["acc"].last, best.directory
reenact.runs().dataframe()
```

Importing this costs next to nothing: what it offers is loaded when it is used.
"""

from __future__ import annotations

from os import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from reenact.actions.api import Metric, Run, Runs, get, run, runs, start
    from reenact.cli.ipython import load_ipython_extension as load_ipython_extension

__version__ = "0.1.0"

__all__ = [
    "Metric",
    "Run",
    "Runs",
    "__version__",
    "get",
    "log",
    "log_audio",
    "log_figure",
    "log_histogram",
    "log_image",
    "log_images",
    "log_output",
    "log_params",
    "log_table",
    "log_text",
    "run",
    "runs",
    "start",
]


def __getattr__(name: str) -> Any:
    if name.startswith("log") and name in __all__:
        # Of these the probe knows everything; inside a run it is there without this package, too.
        found = getattr(_probe("api"), name)
    elif name == "start" and "REENACT_RECORD_DIR" in environ:
        # There is a run already, which it joins; that needs nothing of this package either.
        found = _probe("join").start
    elif name in __all__:
        from reenact.actions import api

        found = getattr(api, name)
    elif name == "load_ipython_extension":
        from reenact.cli.ipython import load_ipython_extension as found
    else:
        raise AttributeError(f"module `reenact` has no attribute `{name}`")
    globals()[name] = found
    return found


def _probe(name: str) -> Any:
    """Return a module of the probe: of the one that is at work in this process, if any is."""
    import sys

    # It has its own name: inside a run it was there before this package, or without it.
    shim = __path__[0] + "/probe/shim"
    is_known = "_reenact" in sys.modules
    if not is_known:
        sys.path.insert(0, shim)
    try:
        # Waits where another thread is just importing it.
        return __import__(f"_reenact.{name}", None, None, ["*"])
    finally:
        if not is_known:
            sys.path.remove(shim)


def __dir__() -> list[str]:
    return __all__
