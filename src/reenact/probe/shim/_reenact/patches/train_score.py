"""The score of an estimator on its training data, where finding it out changes nothing.

Only for classifiers and regressors that consist of scikit-learn's own code, print nothing
(`verbose`), and were trained with at most 10,000 rows, and only as far as `cost` allows. Warnings
are not shown and random numbers are as before.
"""

import sys

from _reenact.patches import arrays, cost, estimators
from _reenact.patches.silence import silence
from _reenact.wrap import PROBLEMS

MOST_ROWS = 10000
_SAMPLE = 100
_PROBED_ROWS = 1000
_TRUSTED = ("sklearn", "numpy", "scipy", "builtins", "math", "operator", "functools")
_PARALLEL = ("sklearn.ensemble", "sklearn.neighbors", "sklearn.model_selection")
"""Modules whose estimators predict in threads, or not in parallel, whatever `n_jobs` says."""
_STEADY = (
    "sklearn.linear_model",
    "sklearn.svm",
    "sklearn.tree",
    "sklearn.neighbors",
    "sklearn.naive_bayes",
    "sklearn.discriminant_analysis",
    "sklearn.neural_network",
    "sklearn.preprocessing",
    "sklearn.feature_extraction",
    "sklearn.compose",
    "sklearn.pipeline",
)
"""Modules whose estimators draw no random numbers to predict or transform."""
_DATA = ("numpy", "pandas", "scipy", "builtins")
"""Packages whose data is scored: nothing that lies on a device."""

_seconds_per_row = {}


def of(estimator, X, y, sample_weight=None):
    """Return the score that a freshly fitted estimator has on its training data, or None."""
    rows = arrays.rows_of(X)
    if y is None or not rows or rows > MOST_ROWS or _package(X) not in _DATA:
        return None
    parts = _parts(estimator)
    if parts is None or not all(_is_harmless(part) for part in parts):
        return None
    mixin = _mixin_of(estimator)
    if mixin is None:
        return None
    cls = type(estimator)
    if not cost.allows(_seconds_per_row.get(cls, 5e-7) * rows + 1e-4):
        return None
    try:
        with cost.measured() as time, silence(), _SameRandomness(parts):
            if rows > _PROBED_ROWS:
                with cost.measured() as probe:
                    estimator.predict(_first_rows(X))
                if not cost.allows(probe.seconds / _SAMPLE * rows):
                    return None
            score = _score(estimator, X, y, sample_weight, mixin)
        _seconds_per_row[cls] = time.seconds / rows
        return score
    except PROBLEMS:
        # Training data without a score, such as a single class: the script was content with it.
        return None


def _package(value):
    return type(value).__module__.partition(".")[0]


def _mixin_of(estimator):
    """Return `accuracy` or `r2` where `score` is that, `other` where it is something else.

    None for what is neither a classifier nor a regressor.
    """
    final = scoring = estimator
    for _ in range(5):
        found = vars(final)
        if "best_estimator_" in found:
            final = found["best_estimator_"]
        elif isinstance(found.get("steps"), list) and found["steps"]:
            if scoring is final and type(final) is _pipeline():
                scoring = found["steps"][-1][1]  # It asks its last step for the score.
            final = found["steps"][-1][1]
        else:
            break
    base = sys.modules["sklearn.base"]
    if not isinstance(final, (base.ClassifierMixin, base.RegressorMixin)):
        return None
    if not hasattr(estimator, "score"):
        return None
    for cls in type(scoring).__mro__:
        if "score" in cls.__dict__:
            if cls is base.ClassifierMixin:
                return "accuracy"
            return "r2" if cls is base.RegressorMixin else "other"
    return None


def _pipeline():
    return getattr(sys.modules.get("sklearn.pipeline"), "Pipeline", None)


def _score(estimator, X, y, sample_weight, mixin):
    """Compute what `score` returns, at a fraction of its time where it is the usual one."""
    numpy = sys.modules["numpy"]
    if sample_weight is not None:
        return float(estimator.score(X, y, sample_weight=sample_weight))
    truth = numpy.asarray(y)
    if mixin == "other" or truth.ndim != 1:
        return float(estimator.score(X, y))
    predicted = numpy.asarray(estimator.predict(X))
    if predicted.shape != truth.shape:
        return float(estimator.score(X, y))
    if mixin == "accuracy":
        return float(numpy.mean(predicted == truth))
    residual = ((truth - predicted) ** 2).sum(dtype=float)
    total = ((truth - truth.mean()) ** 2).sum(dtype=float)
    return float(1 - residual / total) if total else None


def _first_rows(X):
    return X.iloc[:_SAMPLE] if hasattr(X, "iloc") else X[:_SAMPLE]


def _parts(estimator):
    """Return an estimator and those in it with their params, None where there are too many."""
    todo, done = [estimator], []
    while todo:
        part = todo.pop()
        params = estimators.params_of(part)
        done.append((part, params))
        if len(done) > 50:
            return None
        todo += estimators.inner_estimators(params)
        best = vars(part).get("best_estimator_")
        if best is not None:
            todo.append(best)
    return done


def _is_harmless(part):
    estimator, params = part
    module = type(estimator).__module__
    if module.partition(".")[0] != "sklearn" or params.get("verbose"):
        return False
    if params.get("n_jobs") not in (None, 1) and not module.startswith(_PARALLEL):
        return False
    return all(_is_known(value) for value in params.values())


def _is_known(value):
    """Tell whether a param brings no code of the script's with it."""
    if isinstance(value, (list, tuple)):
        return all(_is_known(item) for item in value[:50])
    if isinstance(value, dict):
        return all(_is_known(item) for item in list(value.values())[:50])
    function = getattr(value, "_score_func", value)
    if not callable(function) or estimators.is_estimator(function):
        return True
    module = getattr(function, "__module__", None) or type(function).__module__
    return module.partition(".")[0] in _TRUSTED


class _SameRandomness(object):
    """Give random generators back the state that they had."""

    def __init__(self, parts):
        self.states = []
        generators = []
        is_steady = True
        for estimator, params in parts:
            is_steady = is_steady and type(estimator).__module__.startswith(_STEADY)
            for value in (*params.values(), *vars(estimator).values()):
                if type(value).__name__ in ("RandomState", "Generator"):
                    generators.append(value)
        if not is_steady:
            generators.append(sys.modules["numpy"].random.mtrand._rand)
        for generator in generators:
            core = getattr(generator, "bit_generator", None)
            if core is not None:
                self.states.append((core, core.state, None))
            else:
                self.states.append((None, generator.get_state(legacy=False), generator))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for core, state, generator in self.states:
            if core is not None:
                core.state = state
            else:
                generator.set_state(state)
