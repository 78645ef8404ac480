"""What names say: that something is a time, or a log, and comes back in no run."""

from __future__ import annotations

import re

from reenact.model.metrics import SAMPLED

_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[0-9]+")
_TIMES = frozenset(
    """dur duration elapsed fps latencies latency qps runtime runtimes throughput time times timestamp
    timing timings walltime""".split()
)
_UNITS = frozenset("date eta ms ns sec second seconds secs speed us".split())
"""Words that say so at the end of a name: `forward_ms`, but not `ms_ssim`."""
_RATE = re.compile(
    r"/(?:s|sec|second|ms)$|per_?(?:s|sec|second|ms|min|minute|hour)(?![a-z])", re.IGNORECASE
)
_RESULTS = frozenset(
    "acc accuracy auc error f1 index loss mae mape mse precision r2 recall rmse score series step steps".split()
)
"""Words with which a name speaks of a result: `time_series_loss`, `reaction_time_mse`, `time_step`."""
_LOGS = re.compile(
    r"(?:.*\.log(?:\.[0-9]+)?|logs?\.txt|.*\.pid|.*\.lock|nohup\.out|time_left\.tsv|(?:stdout|stderr)(?:\..*)?"
    r"|events\.out\.tfevents\..*)",
    re.IGNORECASE,
)


def is_time(name: str) -> bool:
    """Tell by its name whether a metric says when, how long or how fast, or samples the machine."""
    if name.startswith(SAMPLED) or _RATE.search(name):
        return True
    # `TimeSeriesScaler.fit_seconds`: of what, and then what of it.
    last = name.rpartition(".")[2]
    return _says_time(name) or ("_" in last and _says_time(last))


def _says_time(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    if words[-2:] == ["score", "time"]:
        return True
    if not words or not _RESULTS.isdisjoint(words):
        return False
    return words[-1] in _UNITS or not _TIMES.isdisjoint(words)


def is_occasional(name: str) -> bool:
    """Tell whether points of a metric may be missing: it is measured only where that takes no time."""
    return name.endswith(".train_score")


def is_log(path: str) -> bool:
    """Tell by its name whether a file is a log: it holds times, and metrics that are compared anyway."""
    return _LOGS.fullmatch(path.rpartition("/")[2]) is not None
