"""Texts for values that a record has no word for, with as little of the script's code as possible.

Plain Python never asks a param for its `repr`. We ask a class as long as it answers quickly.
"""

from time import perf_counter

from _reenact.wrap import PROBLEMS

_SLOW_S = 0.005
_MOST_CLASSES = 10000
_KNOWN = ("builtins", "collections", "datetime", "decimal", "fractions", "functools", "re", "uuid")
"""Modules whose classes go through as many items as they have: these are counted first."""
_MOST_ITEMS = 1000
_MAKERS = ("builtins", "numpy", "pandas", "torch", "torchvision", "torchaudio", "datasets", "keras")
"""Packages whose own `__len__` may be called once more."""
_HARMLESS = ("RESUME", "LOAD_", "BINARY_", "CALL", "PRECALL", "RETURN_", "CACHE", "PUSH_NULL")

_silent = set()


def text_of(value):
    """Return the `repr` of a value; its class where that takes more than 5 ms, or raises."""
    kind = type(value)
    name = "<%s.%s>" % (kind.__module__, kind.__qualname__)
    if kind in _silent:
        return name
    began = perf_counter()
    try:
        if kind.__module__ in _KNOWN and hasattr(kind, "__len__") and len(value) > _MOST_ITEMS:
            return "<%s of %d>" % (kind.__name__, len(value))
        text = repr(value)
        if perf_counter() - began <= _SLOW_S:
            return text
    except PROBLEMS:
        pass  # The script never asked for it: not a problem of its own.
    if len(_silent) < _MOST_CLASSES:
        _silent.add(kind)
    return name


def size_of(values):
    """Return how many items a dataset has; None where only code of the script's knows."""
    kind = type(values)
    count = getattr(kind, "__len__", None)
    maker = getattr(count, "__module__", None) or kind.__module__
    if maker.partition(".")[0] not in _MAKERS and not _is_plain(count, values):
        return None
    try:
        return len(values)
    except PROBLEMS:
        return None


def _is_plain(count, values):
    """Tell whether a `__len__` only looks: `return len(self.images)`, `return self.n // 2`.

    It calls nothing but `len`, of attributes of the dataset that are no objects of the script's.
    """
    from opcode import opname

    code = getattr(count, "__code__", None)
    held = getattr(values, "__dict__", None)
    if code is None or held is None or count.__globals__.get("len", len) is not len:
        return False
    for name in code.co_names:
        if name in ("len", "shape"):
            continue
        if name not in held or callable(held[name]) or hasattr(type(values), name):
            return False
        if type(held[name]).__module__.partition(".")[0] not in _MAKERS:
            return False
    return all(opname[byte].startswith(_HARMLESS) for byte in code.co_code[::2])
