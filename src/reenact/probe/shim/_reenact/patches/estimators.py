"""Estimators of scikit-learn and their params: what they are called in a run's record.

The params of an estimator are `<Class>.<param>`, those of estimators in it have scopes of their own
and stand by their name where they are a param: `Pipeline.steps` is `["scale: StandardScaler", ...]`.
Equal params of one class are one scope, `Ridge`; others are `Ridge-2`, ... An instance that is fitted
again keeps its scope.
"""

import re
import sys
import weakref

from _reenact import journal
from _reenact.patches.shown import text_of
from _reenact.wrap import version_of

MOST_SCOPES = 50
"""Different sets of params of one class; of more of them `doctor` tells."""
MOST_FITS = 500
"""Fits of one class of which data and training score are recorded."""

_ORIGIN = "sklearn"
_MOST_ITEMS = 100
_MOST_TEXT = 500
_MOST_CANDIDATES = 10000
_CHOSEN = ("alpha_", "l1_ratio_", "C_", "lambda_", "n_features_")
"""What estimators that search by themselves (`LassoCV`) have chosen."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

_kinds = {}
_instances = {}


class Kind(object):
    """What this process knows of a class of estimators."""

    def __init__(self, cls):
        self.name = cls.__name__
        self.names_of_params = None
        self.scopes = {}
        self.fits = 0
        self.has_train_score = False

    @property
    def is_full(self):
        """No new params of the class are recorded any more."""
        return len(self.scopes) >= MOST_SCOPES


class _Scope(object):
    """A name in the record and the params that it stands for."""

    def __init__(self, name, text):
        self.name = name
        self.text = text
        self.is_shared = False


def kind_of(cls):
    """Return what is known of a class."""
    kind = _kinds.get(cls)
    if kind is None:
        kind = _kinds[cls] = Kind(cls)
    return kind


def is_estimator(value):
    """Tell whether a param is an estimator."""
    return hasattr(value, "get_params") and hasattr(value, "fit") and not isinstance(value, type)


def params_of(estimator):
    """Return an estimator's params as they are, those that have defaults included."""
    cls = type(estimator)
    kind = kind_of(cls)
    names = kind.names_of_params
    if names is None:
        # Those of scikit-learn's own that are not the usual one differ only in what is deep.
        if not getattr(cls.get_params, "__module__", "").startswith("sklearn."):
            return estimator.get_params(deep=False)
        names = kind.names_of_params = cls._get_param_names()
    return {name: getattr(estimator, name) for name in names}


def scope_of(estimator):
    """Return the name of an estimator's params, and record them if they are new.

    None where the class has had enough scopes.
    """
    kind = kind_of(type(estimator))
    try:
        raw = params_of(estimator)
    except Exception:
        raw = {}  # A class that does not keep to the rules of scikit-learn.
    values = {name: plain(value, name not in _SEARCHED) for name, value in raw.items()}
    text = journal.encode(values)
    held = _instances.get(id(estimator))
    scope = held[1] if held is not None and held[0]() is estimator else None
    if scope is not None and scope.text != text:
        if scope.is_shared or text in kind.scopes:
            scope = None
        else:
            kind.scopes.pop(scope.text, None)
            scope.text = text
            kind.scopes[text] = scope
            journal.params(scope.name, values, _ORIGIN)
    if scope is None:
        scope = kind.scopes.get(text)
        if scope is not None:
            scope.is_shared = True
        elif kind.is_full:
            _say_enough(kind)
            return None
        else:
            scope = kind.scopes[text] = _Scope(journal.scope(kind.name), text)
            journal.params(scope.name, values, _ORIGIN)
        _keep(estimator, scope)
    return scope.name


def known_scope(estimator):
    """Return the scope that an instance was given before, or None."""
    held = _instances.get(id(estimator))
    return held[1].name if held is not None and held[0]() is estimator else None


def _keep(estimator, scope):
    key = id(estimator)

    def forget(reference):
        held = _instances.get(key)
        if held is not None and held[0] is reference:
            del _instances[key]

    try:
        _instances[key] = (weakref.ref(estimator, forget), scope)
    except TypeError:
        pass  # A class with slots.


_enough = set()


def _say_enough(kind):
    if kind.name not in _enough:
        _enough.add(kind.name)
        text = "more than %d different params of `%s`: others are left out"
        version = version_of(sys.modules.get("sklearn"))
        journal.framework("sklearn", version, detail=text % (MOST_SCOPES, kind.name))


# --- values ---

_SEARCHED = ("param_grid", "param_distributions", "search_spaces")
"""Params whose estimators are only candidates."""


def plain(value, with_scopes=False, depth=0):
    """Return a param as JSON has it, the same in every run: no addresses, no large arrays."""
    if value is None or value.__class__ in (bool, int, float):
        return value
    if value.__class__ is str:
        return value if len(value) <= _MOST_TEXT else value[:_MOST_TEXT] + "..."
    if is_estimator(value):
        name = scope_of(value) if with_scopes and depth < 3 else None
        return name or type(value).__name__
    if depth < 4:
        if isinstance(value, dict):
            items = list(value.items())[:_MOST_ITEMS]
            return {str(key): plain(inner, with_scopes, depth + 1) for key, inner in items}
        if isinstance(value, (list, tuple)):
            return [_item(inner, with_scopes, depth + 1) for inner in value[:_MOST_ITEMS]]
    if isinstance(getattr(value, "shape", None), tuple):
        return _array(value)
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if callable(value) and isinstance(name, str):
        module = getattr(value, "__module__", None)
        return "%s.%s" % (module, name) if module else name
    if hasattr(value, "dist") and hasattr(value, "args"):
        # A distribution of scipy with its parameters: `loguniform(0.1, 10)`.
        name = getattr(value.dist, "name", type(value.dist).__name__)
        words = [text_of(word) for word in value.args]
        named = getattr(value, "kwds", {}).items()
        words += ["%s=%s" % (key, text_of(word)) for key, word in named]
        return "%s(%s)" % (name, ", ".join(words))
    text = _ADDRESS.sub("", text_of(value))
    return text if len(text) <= _MOST_TEXT else text[:_MOST_TEXT] + "..."


def _item(value, with_scopes, depth):
    """Return an element of a list; a named estimator (a step) as `name: Class`."""
    if isinstance(value, tuple) and len(value) in (2, 3) and isinstance(value[0], str):
        if _is_step(value[1]):
            text = "%s: %s" % (value[0], plain(value[1], with_scopes, depth))
            if len(value) == 3:
                text += " of %s" % journal.encode(plain(value[2], False, depth))
            return text
    return plain(value, with_scopes, depth)


def _is_step(value):
    return is_estimator(value) or isinstance(value, str) and value in ("passthrough", "drop")


def _array(value):
    shape = value.shape
    package = type(value).__module__.partition(".")[0]
    if package == "numpy":
        if shape == ():
            return value.item()
        if value.size <= _MOST_ITEMS and value.dtype.kind in "biufU":
            return value.tolist()
    return "%s of shape %s" % (type(value).__name__, list(shape))


# --- what an estimator is ---


def framework_of(cls):
    """Return name and version of the library that a class belongs to; scikit-learn if to none."""
    package = cls.__module__.partition(".")[0]
    version = version_of(sys.modules.get(package))
    if version is None or package == "__main__":
        return "sklearn", version_of(sys.modules["sklearn"])
    return package, version


def structure_of(estimator, indent="", depth=0):
    """Return the estimators in an estimator as indented lines; None where there are none."""
    lines = []
    try:
        inner = list(_inner(params_of(estimator)))[:_MOST_ITEMS]
    except Exception:
        inner = []
    for name, value in inner:
        shown = type(value).__name__ if is_estimator(value) else value
        lines.append("%s  %s: %s" % (indent, name, shown))
        if is_estimator(value) and depth < 4:
            below = structure_of(value, indent + "  ", depth + 1)
            lines += below.split("\n") if below else []
    if not lines:
        return None
    return "\n".join(lines if depth else [type(estimator).__name__] + lines)


def inner_estimators(params):
    """Return the estimators among params and in lists of named ones."""
    return [value for _, value in _inner(params) if is_estimator(value)]


def _inner(params):
    for name, value in params.items():
        if is_estimator(value):
            yield name, value
        elif isinstance(value, (list, tuple)):
            for item in value[:_MOST_ITEMS]:
                if isinstance(item, tuple) and len(item) in (2, 3) and isinstance(item[0], str):
                    if _is_step(item[1]):
                        yield item[0], item[1]


def note_search(estimator, scope):
    """Record what a search has found, or an estimator that chooses one of its own params."""
    # In `vars`: asking for an attribute might compute it.
    found = vars(estimator)
    if "cv_results_" in found and "best_params_" in found:
        values = {"best_params." + k: plain(v) for k, v in found["best_params_"].items()}
        best = found.get("best_estimator_")
        if best is not None:
            values["best_estimator"] = plain(best, True)
        if isinstance(found.get("n_splits_"), int):
            candidates = len(found["cv_results_"].get("params", ()))
            values["n_fits"] = candidates * found["n_splits_"]
        journal.params(scope, values, _ORIGIN)
        name = type(estimator).__name__
        if "best_score_" in found:
            journal.report(name + ".best_score", found["best_score_"], None, _ORIGIN)
        scores = found["cv_results_"].get("mean_test_score")
        if scores is not None:
            for score in scores[:_MOST_CANDIDATES].tolist():
                journal.report(name + ".mean_test_score", score, None, _ORIGIN)
    elif type(estimator).__name__.endswith("CV"):
        values = {name: plain(found[name]) for name in _CHOSEN if name in found}
        if values:
            journal.params(scope, values, _ORIGIN)
