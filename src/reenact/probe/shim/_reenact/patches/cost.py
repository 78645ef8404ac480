"""How much time hooks may take: 2 % of what the process's processors have worked so far.

What is cheap is always done. What may not be (a digest of large data, the score on training data) is
asked for here first, and left out where it would cost a script time that its user notices.
"""

from time import perf_counter, process_time

SHARE = 0.02

_spent_s = 0.0


def allows(estimate_s):
    """Tell whether something that takes about so long may be done now."""
    return _spent_s + estimate_s <= SHARE * process_time()


class measured(object):
    """Count the time within it as spent; `seconds` says how long it was."""

    def __enter__(self):
        self.seconds = 0.0
        self._started = perf_counter()
        return self

    def __exit__(self, *_):
        global _spent_s
        self.seconds = perf_counter() - self._started
        _spent_s += self.seconds
