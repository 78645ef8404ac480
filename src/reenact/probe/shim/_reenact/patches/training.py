"""What modules for libraries that train models have in common: names of models, curves, data.

A process may train many models. Params and metrics of the first 50 of a class are recorded; one
remark says that there were more. The first model to report a metric has its plain name (`loss`);
another model's metric of that name is called after the model, too (`Sequential-2/loss`).
"""

import os
import sys
from struct import pack
from tempfile import gettempdir

from _reenact import journal, media
from _reenact.patches import arrays, frames
from _reenact.wrap import depth

MOST_MODELS = 50
"""Of one class in one process, beyond which only a remark says that there were more."""
INSIDE = object()
_TRANSPARENT = ("sklearn.base", "sklearn.pipeline")
_counts = {}
_owners = {}


def name_model(kind, what="models"):
    """Return a name for the next model of class `kind`, None where there have been enough."""
    _counts[kind] = number = _counts.get(kind, 0) + 1
    if number <= MOST_MODELS:
        return journal.scope(kind)
    if number == MOST_MODELS + 1:
        text = "more than %d %s of `%s` in one process: params and metrics of others are left out"
        journal.remark("autolog", text % (MOST_MODELS, what, kind))
    return None


def metric_name(origin, owner, name):
    """Return what to call a metric `name` of the model `owner`."""
    first = _owners.setdefault((origin, name), owner)
    return name if first == owner else "%s/%s" % (owner, name)


def report(origin, owner, name, value, step):
    """Record a metric of a model; what is no number is left out."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return
    journal.report(metric_name(origin, owner, name), value, step, origin)


def note_saved(origin, path, model, name):
    """Say that a file holds a model.

    Args:
        origin: the framework.
        path: of the file, as the script gave it; what is no path, or no file, is nothing.
        model: that was saved.
        name: of the model in the record; None if it has none there.
    """
    # More than the hook itself: a file that we asked for.
    if depth() > 1 or not isinstance(path, (str, os.PathLike)):
        return
    path = os.path.abspath(os.fspath(path))
    is_ours = journal.run_directory() is not None and media._is_inside(path)
    if not os.path.isfile(path) or (path.startswith(gettempdir()) and not is_ours):
        # A library's own, which is gone in a moment.
        return
    journal.output(path, "model", origin=origin)
    if name is not None:
        journal.event("model", name=name, type=class_name(model), framework=origin, path=path)


def class_name(value):
    """Return the class of an object with its module."""
    kind = value if isinstance(value, type) else type(value)
    return "%s.%s" % (kind.__module__, kind.__qualname__)


def plain(value, depth=0):
    """Return a setting as JSON has it: callables by their name, objects by their class."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict) and depth < 4:
        return {str(key): plain(inner, depth + 1) for key, inner in list(value.items())[:200]}
    if isinstance(value, (list, tuple, set)) and depth < 4:
        return [plain(inner, depth + 1) for inner in list(value)[:200]]
    name = getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        return name
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item() if type(value).__module__ == "numpy" else type(value).__name__
    return type(value).__name__


def estimator_around(package):
    """Return the scikit-learn estimator of `package` whose `fit` this is.

    None where the script called the library itself; `INSIDE` where a search or another
    meta-estimator called `fit`: what it tries is not recorded one by one.
    """
    estimator = None
    frame = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("sklearn.") and not module.startswith(_TRANSPARENT):
            return INSIDE
        if frame.f_code.co_name == "fit" and module.partition(".")[0] == package:
            outer = frames.local_of(frame, "self")
            estimator = estimator if outer is None else outer
        frame = frame.f_back
    return estimator


def name_fit(estimator):
    """Return whose metrics the `fit` of an estimator reports; None where there have been enough.

    The name is that of its params (`sklearn.py`), its class where those are not recorded; estimators
    that were made alike share it, so that a further `fit` is called `XGBRegressor/fit-2`.
    """
    known = sys.modules.get("_reenact.patches.estimators")
    name = None if known is None else known.known_scope(estimator)
    name = name or type(estimator).__name__
    _counts[name] = number = _counts.get(name, 0) + 1
    if number > MOST_MODELS:
        return None
    return name if number == 1 else "%s/fit-%d" % (name, number)


def as_given(value):
    """Return the shortest decimal fraction of a number that was made a float32 of."""
    if not isinstance(value, float) or value - value != 0.0 or abs(value) > 1e38:
        return value
    single = pack("f", value)
    for digits in range(1, 9):
        short = float("%.*g" % (digits, value))
        if pack("f", short) == single:
            return short
    return value


# --- data ---


def note_data(value, role, model, name, frame=None):
    """Record what a model was given: arrays, frames, or lists and dictionaries of these.

    Args:
        value: the data; what is neither is not recorded.
        role: `train`, `validation` or `test`.
        model: its name.
        name: what to call it if the script has no name for it.
        frame: of the script, to look in for its name.

    Returns:
        The digest of the first piece, or None.
    """
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "shape"):
        pieces = [("%s[%d]" % (name, i), piece) for i, piece in enumerate(value[:50])]
    elif isinstance(value, dict):
        pieces = [("%s[%r]" % (name, key), piece) for key, piece in list(value.items())[:50]]
    else:
        pieces = [(name, value)]
    first = None
    for called, piece in pieces:
        facts = describe(piece)
        if facts is not None:
            called = frames.variable_of(frame, piece) or called
            journal.event("dataset", name=called, role=role, model=model, **facts)
            first = first or facts.get("digest")
    return first


def describe(value):
    """Return shape, type, size and digest of data, None where it is none.

    Tensors on the processor are hashed, too: as arrays, which costs no copy.
    """
    kind = type(value).__module__.partition(".")[0]
    if kind in ("torch", "tensorflow", "jaxlib", "jax"):
        array = _on_processor(value, kind)
        value = value if array is None else array
    facts = arrays.describe(value)
    if facts is None or (not facts["shape"] and not hasattr(value, "shape")):
        return None
    return facts


def _on_processor(value, kind):
    """Return a tensor of the main memory as an array, None for others."""
    try:
        if kind == "torch":
            return value.detach().numpy() if value.device.type == "cpu" else None
        device = getattr(value, "device", None)
        if "cpu" in str(getattr(device, "platform", device)).lower():
            return sys.modules["numpy"].asarray(value)
    except Exception:
        # Lazy, symbolic, or of a type that NumPy does not know.
        pass
    return None


def caller(package):
    """Return the frame that called into `package`, as seen from a hook; None if there is none."""
    frame = sys._getframe(1)
    is_inside = False
    while frame is not None:
        if frames.package_of(frame) in (package, "_reenact"):
            is_inside = True
        elif is_inside:
            return frame
        frame = frame.f_back
    return None
