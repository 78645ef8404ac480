"""Reenact: run it again, get the same result, and prove it.

```python
import reenact

run = reenact.run("train.py", lr=0.1)
best = reenact.runs("op = train.py and acc > 0.9", sort="-acc")[0]
best.flags["lr"], best.metrics["acc"].last, best.directory
reenact.runs().dataframe()
```

Importing this costs next to nothing: what it offers is loaded when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reenact.actions.api import Metric, Run, Runs, get, run, runs

__version__ = "0.1.0"

__all__ = ["Metric", "Run", "Runs", "__version__", "get", "run", "runs"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from reenact.actions import api

        return getattr(api, name)
    raise AttributeError(f"module `reenact` has no attribute `{name}`")


def __dir__() -> list[str]:
    return __all__
