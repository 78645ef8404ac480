"""XGBoost (tested with 2.1 and 3.2): `train` and `cv`, and the training inside its scikit-learn estimators.

Recorded are the params (as given, and the defaults that XGBoost filled in), the data, the metrics of
each iteration under XGBoost's names (`train-rmse`, `validation_0-logloss`, `test-auc-mean`), the
best iteration and score, and which files hold saved models. A step is an iteration; training that
goes on from another model counts from there.

What its scikit-learn estimators are given is recorded as for all estimators (`sklearn.py`); here
their metrics are added. Not covered: loops that call `Booster.update`, dask and spark workers.
"""

import sys
import weakref
from _thread import _local
from json import loads

from _reenact import journal
from _reenact.patches import frames, models, training
from _reenact.wrap import PROBLEMS, version_of, wrap

_ORIGIN = "xgboost"
_MOST_MATRICES = 20
_TRAIN_SETTINGS = ("early_stopping_rounds", "maximize")
_CV_SETTINGS = ("nfold", "stratified", "seed", "shuffle", "early_stopping_rounds", "metrics")

_current = _local()
_matrices = weakref.WeakKeyDictionary()
_names = weakref.WeakKeyDictionary()
_noted = []


def after_xgboost_core(module):
    """Learn what data matrices are made of, and where models are saved."""
    for name in ("DMatrix", "QuantileDMatrix"):
        if hasattr(module, name):
            wrap(getattr(module, name), "__init__", after=_made_matrix)
    wrap(module.Booster, "save_model", after=_saved)


def after_xgboost_callback(module):
    """Take part in every training."""
    base = module.TrainingCallback

    class ReenactCallback(base):
        """Writes down what was evaluated; adds nothing and changes nothing."""

        def __init__(self, follow):
            super().__init__()
            self._follow = follow

        def after_iteration(self, model, epoch, evals_log):
            _guarded(self._follow.iteration, model, epoch, evals_log)
            return False

    def join(result, args, kwargs, state):
        follow = getattr(_current, "follow", None)
        if follow is not None:
            # First: early stopping keeps those behind it from hearing of the last iteration.
            # In XGBoost 2 they are a set.
            container = args[0]
            container.callbacks = [ReenactCallback(follow), *container.callbacks]

    wrap(module.CallbackContainer, "__init__", after=join)


def after_xgboost_training(module):
    """Take part in `train` and `cv`."""
    for name, before, after in (
        ("train", _before_train, _after_train),
        ("cv", _before_cv, _after_cv),
    ):
        wrap(module, name, before=before, after=after, failed=_failed)


def after_xgboost(module):
    """Say which version it is."""
    journal.framework("xgboost", version_of(module))


class _Follow(object):
    """Writes down the metrics of one training.

    Attributes:
        name: of the model.
        first: the step of its first iteration, None before that.
    """

    def __init__(self, name):
        self.name = name
        self.first = None

    def iteration(self, model, epoch, evals):
        if self.first is None:
            # Not before the training: XGBoost would set itself up on this call, and warn here.
            rounds = getattr(model, "num_boosted_rounds", None)
            is_one = rounds is not None and not hasattr(model, "cvfolds")
            self.first = max(0, int(rounds()) - 1 - int(epoch)) if is_one else 0
        step = self.first + int(epoch)
        for data, metrics in evals.items():
            for metric, values in metrics.items():
                name = "%s-%s" % (data, metric)
                value = values[-1]
                if isinstance(value, tuple):
                    training.report(_ORIGIN, self.name, name + "-mean", value[0], step)
                    training.report(_ORIGIN, self.name, name + "-std", value[1], step)
                else:
                    training.report(_ORIGIN, self.name, name, value, step)


def _guarded(method, *arguments):
    try:
        method(*arguments)
    except PROBLEMS as error:
        journal.failure("xgboost." + method.__name__, error)


def _before_train(args, kwargs, state):
    state["former"] = getattr(_current, "follow", None)
    _current.follow = None
    if journal.record_directory() is None or journal.is_worker():
        return
    estimator = training.estimator_around("xgboost")
    if estimator is training.INSIDE:
        return
    is_ours = estimator is None
    name = training.name_model("Booster") if is_ours else training.name_fit(estimator)
    if name is None:
        return
    _current.follow = state["follow"] = _Follow(name)
    if is_ours:
        state["name"] = name
        given = _arguments(("params", "dtrain", "num_boost_round", "evals"), args, kwargs)
        _note_params(name, given, _TRAIN_SETTINGS)
        _note_matrices(name, given)


def _before_cv(args, kwargs, state):
    state["former"] = getattr(_current, "follow", None)
    _current.follow = None
    if journal.record_directory() is None or journal.is_worker():
        return
    name = training.name_model("cv")
    if name is not None:
        _current.follow = _Follow(name)
        names = ("params", "dtrain", "num_boost_round", "nfold", "stratified", "folds", "metrics")
        given = _arguments(names, args, kwargs)
        given.setdefault("nfold", 3)
        given.setdefault("seed", 0)
        _note_params(name, given, _CV_SETTINGS)
        _note_matrices(name, given)


def _after_train(booster, args, kwargs, state):
    _current.follow = state.get("former")
    follow = state.get("follow")
    if follow is None:
        return
    _note_best(booster, follow)
    name = state.get("name")
    if name is None:
        return
    _names[booster] = name
    models.save(name, booster, "xgboost")
    features = getattr(booster, "feature_names", None)
    package = sys.modules["xgboost"]
    journal.event(
        "model",
        name=name,
        type=training.class_name(booster),
        framework="xgboost",
        version=version_of(package),
        signature={"features": list(features)[:1000]} if features else {},
    )
    given = dict(_arguments(("params",), args, kwargs).get("params") or {})
    left = _filled_in(loads(booster.save_config()))
    for key in given:
        left.pop(key, None)
        left.pop(_ALIASES.get(key), None)
    journal.params(name, left, _ORIGIN)


def _after_cv(result, args, kwargs, state):
    _current.follow = state.get("former")


def _failed(error, args, kwargs, state):
    _current.follow = state.get("former")


def _arguments(names, args, kwargs):
    return dict(zip(names, args), **kwargs)


def _note_params(name, given, wanted):
    params = given.get("params") or {}
    # A list of pairs is allowed: the same metric name may come twice.
    params = dict(params) if not isinstance(params, dict) else params
    settings = {key: training.plain(value) for key, value in params.items()}
    settings.update({"num_boost_round": given.get("num_boost_round", 10)})
    for key in wanted:
        if given.get(key) is not None:
            settings[key] = training.plain(given[key])
    for key in ("obj", "custom_metric", "feval"):
        if given.get(key) is not None:
            settings[key] = training.plain(given[key])
    journal.params(name, settings, _ORIGIN)


def _note_best(booster, follow):
    try:
        best = booster.best_iteration
        score = booster.best_score
    except AttributeError:
        # Without early stopping there is none.
        return
    # One from before is that of the model that this training went on from.
    if follow.first is not None and best >= follow.first:
        training.report(_ORIGIN, follow.name, "best_iteration", best, int(best))
        training.report(_ORIGIN, follow.name, "best_score", score, int(best))


def _filled_in(config):
    """Return the settings in XGBoost's own description of a model, by their names."""
    found = {}
    learner = config.get("learner", {})
    for part in ("generic_param", "learner_train_param", "gradient_booster", "objective"):
        _leaves(learner.get(part), found)
    return found


def _leaves(value, found):
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, (dict, list)):
                _leaves(inner, found)
            elif key not in _NO_SETTINGS and key not in _ALIASES and key not in found:
                found[key] = _number(inner)


def _number(text):
    for kind in (int, float):
        try:
            return training.as_given(kind(text))
        except (TypeError, ValueError):
            pass
    return text


_ALIASES = {
    "learning_rate": "eta",
    "min_split_loss": "gamma",
    "n_jobs": "nthread",
    "random_state": "seed",
    "reg_alpha": "alpha",
    "reg_lambda": "lambda",
}
_NO_SETTINGS = ("name", "num_trees", "specified_updater", "updater", "updater_seq")


# --- data and files ---


def _made_matrix(result, args, kwargs, state):
    if journal.record_directory() is None or len(_noted) >= _MOST_MATRICES:
        return
    frame = sys._getframe(1)
    while str(frame.f_globals.get("__name__")).startswith(("_reenact", "xgboost.core")):
        frame = frame.f_back
        if frame is None:
            return
    if str(frame.f_globals.get("__name__")).startswith("xgboost."):
        # The estimators' own.
        return
    data = kwargs.get("data", args[1] if len(args) > 1 else None)
    facts = training.describe(data)
    if facts is not None:
        _noted.append(None)
        _matrices[args[0]] = (frames.variable_of(frame, data), facts)


def _note_matrices(name, given):
    frame = training.caller("xgboost")
    train = given.get("dtrain")
    _note_matrix(train, "train", name, "dtrain", frame)
    for matrix, called in list(given.get("evals") or ())[:20]:
        if matrix is not train:
            _note_matrix(matrix, "validation", name, str(called), frame)


def _note_matrix(matrix, role, model, called, frame):
    source, facts = _matrices.get(matrix, (None, None))
    shape = [int(matrix.num_row()), int(matrix.num_col())]
    facts = dict(facts or {}, shape=shape)
    name = source or frames.variable_of(frame, matrix) or called
    journal.event("dataset", name=name, role=role, model=model, **facts)


def _saved(result, args, kwargs, state):
    path = kwargs.get("fname", args[1] if len(args) > 1 else None)
    if journal.record_directory() is not None:
        training.note_saved(_ORIGIN, path, args[0], _names.get(args[0]))
