"""scikit-learn (1.0 to 1.9, tested with 1.9) and every estimator that derives from its base class.

Recorded of the outermost `fit`, `fit_predict`, `fit_transform` or `partial_fit` of an estimator, be
it of scikit-learn, of another library or of the script: class, all params with their defaults, those
of the estimators in it, the data, how long it took, the score on the training data, and of a search
the best params and scores. `score` and the functions of `sklearn.metrics` and of cross-validation
that the script calls are metrics, named after the variable that takes the value.

A fit in a fit (pipelines, searches, ensembles) is a part of the outer one. Fits of one class beyond
the first 500 have params and time only, and params beyond 50 different sets of a class are left out.
Of `partial_fit` the first call of an instance is recorded, the others are counted.
"""

import _thread
import sys
import weakref
from time import perf_counter

from _reenact import journal
from _reenact.patches import arrays, estimators, frames, models, train_score
from _reenact.wrap import look_alike, version_of, wrap

_ORIGIN = "sklearn"
_FITS = ("fit", "fit_predict", "fit_transform", "partial_fit")
_PASSING = (
    "sklearn.base",
    "sklearn.utils._available_if",
    "sklearn.utils._set_output",
    "sklearn.utils.metaestimators",
    "mlflow.sklearn",
    "mlflow.utils.autologging_utils.safety",
)
"""Modules whose frames stand between a caller and a method; MLflow's are those of its autologging."""
_MOST_DATA = 10000

_local = _thread._local()
_data = {}
_seen = {}
_last = {}
_unsaved = {}


# --- methods of estimators ---


def after_sklearn_base(module):
    """Wrap the methods of the mixins, and of every estimator class that is going to be defined."""
    journal.framework("sklearn", version_of(sys.modules["sklearn"]))
    base = module.BaseEstimator
    # Where `help` finds it: of classes that have one, the first that estimators derive from.
    owner = next((c for c in base.__mro__[:-1] if "__init_subclass__" in vars(c)), base)
    former = vars(owner).get("__init_subclass__")

    def __init_subclass__(cls, **kwargs):
        if former is None:
            super(owner, cls).__init_subclass__(**kwargs)
        else:
            former.__get__(None, cls)(**kwargs)
        try:
            if issubclass(cls, base):
                _wrap_methods(cls)
        except Exception as error:
            journal.failure("class %s" % cls.__name__, error)

    if former is not None:
        look_alike(__init_subclass__, former.__func__)
    owner.__init_subclass__ = classmethod(__init_subclass__)
    for value in list(vars(module).values()):
        if isinstance(value, type) and value.__module__ == module.__name__:
            _wrap_methods(value)
    # In a session that began without a run there may be estimators already.
    _wrap_subclasses(base)


def _wrap_subclasses(cls):
    for subclass in cls.__subclasses__():
        _wrap_methods(subclass)
        _wrap_subclasses(subclass)


def after_sklearn_metrics(module):
    """Replace the functions of the package; scikit-learn itself goes on using its own."""
    from _reenact.patches import sklearn_metrics

    sklearn_metrics.wrap_metrics(module)


def after_sklearn_model_selection(module):
    """Replace the functions that validate an estimator."""
    from _reenact.patches import sklearn_metrics

    sklearn_metrics.wrap_validation(module)


def _wrap_methods(cls):
    own = cls.__dict__
    for name in _FITS:
        if name in own:
            before = _before_partial_fit if name == "partial_fit" else _before_fit
            _wrap_method(cls, name, own[name], before, _after_fit)
    if "score" in own:
        _wrap_method(cls, "score", own["score"], _before_score, _after_score)


def _wrap_method(cls, name, held, before, after):
    if isinstance(held, type(_wrap_method)):
        owner, attribute = cls, name
    elif isinstance(getattr(held, "fn", None), type(_wrap_method)):
        # A method that is there only if a condition holds (`available_if`).
        owner, attribute = held, "fn"
    else:
        return
    if getattr(getattr(owner, attribute), "_reenact_original", None) is not None:
        return
    wrap(owner, attribute, before=before, after=after, failed=_after_failure, as_named=True)
    setattr(owner, attribute, frames.unseen(owner.__dict__[attribute]))


def enter(state):
    """Begin something outermost: return the frame that called it; None if it is not to be recorded."""
    if getattr(_local, "depth", 0):
        return None
    _local.depth = 1
    state["is_outermost"] = True
    if journal.record_directory() is None or journal.is_worker():
        return None
    frame = frames.caller(_PASSING)
    return None if frame is None or frames.package_of(frame) == "sklearn" else frame


def leave(state):
    """End what `enter` began."""
    if state.get("is_outermost"):
        _local.depth = 0


def _after_failure(error, args, kwargs, state):
    leave(state)


# --- fit ---


def _before_fit(args, kwargs, state):
    frame = enter(state)
    if frame is None:
        return
    estimator = args[0]
    state["kind"] = kind = estimators.kind_of(type(estimator))
    state["fit"] = True
    try:
        kind.fits += 1
        if kind.fits > estimators.MOST_FITS and kind.is_full:
            return
        scope = estimators.scope_of(estimator)
        if kind.fits <= estimators.MOST_FITS:
            _note_fit(estimator, scope, _arguments(args, kwargs), frame, state)
    finally:
        state["began"] = perf_counter()


def _note_fit(estimator, scope, data, frame, state):
    state["scope"], state["data"] = scope, data
    if scope is not None:
        _note_model(scope, estimator, data)
        for name, value in zip(("X", "y"), data):
            note_data(value, name, "train", scope, frame)
    for value in data:
        _remember(value)


def _before_partial_fit(args, kwargs, state):
    """The first call of an instance is its fit; the others are counted."""
    state["is_partial"] = True
    if estimators.known_scope(args[0]) is None:
        _before_fit(args, kwargs, state)
    elif enter(state) is not None:
        state["kind"] = estimators.kind_of(type(args[0]))
        state["fit"] = True
        state["began"] = perf_counter()


def _after_fit(result, args, kwargs, state):
    ended = perf_counter()
    try:
        if "fit" not in state:
            return
        estimator, kind = args[0], state["kind"]
        seconds = ended - state["began"]
        journal.report(kind.name + ".fit_seconds", seconds, None, _ORIGIN)
        scope = state.get("scope")
        if scope is not None:
            estimators.note_search(estimator, scope)
        if "data" in state and not state.get("is_partial"):
            _note_train_score(estimator, kind, state["data"], kwargs.get("sample_weight"))
        if models.wanted():
            _save(estimator, scope or estimators.known_scope(estimator) or kind.name)
    finally:
        leave(state)


def _arguments(args, kwargs):
    X = args[1] if len(args) > 1 else kwargs.get("X")
    y = args[2] if len(args) > 2 else kwargs.get("y")
    return X, y


def _note_model(scope, estimator, data):
    signature = {}
    for name, value in zip(("X", "y"), data):
        facts = arrays.describe(value, digest=False)
        if facts is not None:
            signature[name] = {"shape": facts["shape"], "dtype": facts["dtype"]}
            columns = arrays.columns_of(value)
            if columns is not None:
                signature[name]["columns"] = columns
    if _last.get(scope) != signature:
        _last[scope] = signature
        framework, version = estimators.framework_of(type(estimator))
        journal.event(
            "model",
            name=scope,
            type=models.class_of(estimator),
            framework=framework,
            version=version,
            signature=signature,
            summary=estimators.structure_of(estimator),
        )


def _note_train_score(estimator, kind, data, sample_weight):
    score = train_score.of(estimator, data[0], data[1], sample_weight)
    kind.has_train_score = score is not None
    if score is not None:
        journal.report(kind.name + ".train_score", score, kind.fits - 1, _ORIGIN)


def _save(estimator, scope):
    """Keep the model; one that is fitted again and again at fits 1, 2, 4, ... and at the end."""
    key = id(estimator)
    held = _unsaved.get(key)
    if held is None or held[0]() is not estimator:
        if not _unsaved:
            import atexit

            atexit.register(_save_rest)
        held = _unsaved[key] = [_reference(estimator, key), 0, scope]
    held[1] += 1
    if held[1] & (held[1] - 1) == 0:
        models.save(scope, estimator, "sklearn", _last.get(scope))


def _reference(estimator, key):
    def forget(reference):
        if key in _unsaved and _unsaved[key][0] is reference:
            del _unsaved[key]

    return weakref.ref(estimator, forget)


def _save_rest():
    for reference, times, scope in list(_unsaved.values()):
        estimator = reference()
        if estimator is not None and times & (times - 1):
            models.save(scope, estimator, "sklearn", _last.get(scope))


# --- score ---


def _before_score(args, kwargs, state):
    frame = enter(state)
    # What a library wants to know for itself, such as a tracker, is no metric of the script's.
    if frame is not None and not frames.is_library(frame):
        state["score"] = True


def _after_score(result, args, kwargs, state):
    try:
        if "score" not in state:
            return
        value = float(result)
        frame = frames.caller(_PASSING)
        estimator, kind = args[0], estimators.kind_of(type(args[0]))
        data = _arguments(args, kwargs)
        is_train = was_trained_with(data[0])
        name = frames.target_of(frame)
        if name is None and is_train and kind.has_train_score:
            return  # It is recorded already.
        step = None
        if name is None and is_train:
            # Not every fit has one: the step says of which it is.
            name, step = kind.name + ".train_score", max(kind.fits - 1, 0)
        journal.report(name or kind.name + ".score", value, step, _ORIGIN)
        if not is_train:
            scope = estimators.known_scope(estimator)
            for argument, given in zip(("X", "y"), data):
                note_data(given, argument, "test", scope, frame)
    finally:
        leave(state)


# --- data ---


def note_data(value, argument, role, model, frame):
    """Record data that the script gave to a function, under the name of its variable.

    What several models of a class were given is recorded with the first of them.
    """
    if value is None:
        return
    name = frames.variable_of(frame, value) or argument
    key = (name, role, model and model.partition("-")[0])
    if key not in _data and len(_data) >= _MOST_DATA:
        return
    facts = arrays.describe(value)
    if facts is not None and _data.get(key) != facts:
        _data[key] = facts
        journal.event("dataset", name=name, role=role, model=model, **facts)


def _remember(value):
    """Keep in mind that these very objects were trained with, without keeping them alive."""
    key = id(value)
    try:
        _seen[key] = weakref.ref(value, lambda reference: _forget(key, reference))
    except TypeError:
        pass  # A list.


def _forget(key, reference):
    if _seen.get(key) is reference:
        del _seen[key]


def was_trained_with(value):
    """Tell whether this very object was given to a `fit`."""
    reference = _seen.get(id(value))
    return reference is not None and reference() is value
