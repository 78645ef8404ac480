"""LightGBM (tested with 3.3, 4.0 and 4.7): `train` and `cv`, and the training inside its scikit-learn estimators.

Recorded are the params, the data, the metrics of each iteration (`valid_0-l2`, those of `cv`
`valid-l2-mean` and `valid-l2-stdv`), the best iteration, and which files hold saved models. A step is
an iteration, counted on where training goes on from another model.

What its scikit-learn estimators are given is recorded as for all estimators (`sklearn.py`); here
their metrics are added. Not covered: loops that call `Booster.update`, dask.
"""

import sys
import weakref

from _reenact import journal
from _reenact.patches import frames, models, training
from _reenact.wrap import PROBLEMS, version_of, wrap

_ORIGIN = "lightgbm"
_TRAIN_ARGUMENTS = ("params", "train_set", "num_boost_round", "valid_sets", "valid_names")
_CV_ARGUMENTS = ("params", "train_set", "num_boost_round", "folds", "nfold", "stratified")
_CV_SETTINGS = ("nfold", "stratified", "shuffle", "seed", "metrics")
# Before all others: early stopping ends an iteration for those behind it.
_FIRST = -1000000

_names = weakref.WeakKeyDictionary()


def after_lightgbm_basic(module):
    """Learn where models are saved."""
    wrap(module.Booster, "save_model", after=_saved)


def after_lightgbm_engine(module):
    """Take part in `train` and `cv`."""
    wrap(module, "train", before=_before_train, after=_after_train)
    wrap(module, "cv", before=_before_cv)


def after_lightgbm(module):
    """Say which version it is."""
    journal.framework("lightgbm", version_of(module))


class _Follow(object):
    """A callback of LightGBM that writes down what was evaluated."""

    def __init__(self, name):
        self.name = name
        self.order = _FIRST
        self.before_iteration = False

    def __call__(self, env):
        try:
            for result in env.evaluation_result_list or ():
                data, metric, value = result[0], result[1], result[2]
                std = result[4] if len(result) > 4 else None
                # Before 4.0 the sets of `cv` were called `cv_agg`, the metric `valid l2`.
                name = metric if data == "cv_agg" else "%s-%s" % (data, metric)
                name = name.replace(" ", "-")
                if std is None:
                    training.report(_ORIGIN, self.name, name, value, env.iteration)
                else:
                    training.report(_ORIGIN, self.name, name + "-mean", value, env.iteration)
                    training.report(_ORIGIN, self.name, name + "-stdv", std, env.iteration)
        except PROBLEMS as error:
            journal.failure("lightgbm.iteration", error)


def _before_train(args, kwargs, state):
    if journal.record_directory() is None or journal.is_worker():
        return None
    estimator = training.estimator_around("lightgbm")
    if estimator is training.INSIDE:
        return None
    is_ours = estimator is None
    name = training.name_model("Booster") if is_ours else training.name_fit(estimator)
    if name is None:
        return None
    state["follow"] = name
    given = dict(zip(_TRAIN_ARGUMENTS, args), **kwargs)
    if is_ours:
        state["name"] = name
        _note_params(name, given, ())
        state["sets"] = _note_data(name, given)
    return _with_callback(name, args, kwargs)


def _before_cv(args, kwargs):
    if journal.record_directory() is None or journal.is_worker():
        return None
    name = training.name_model("cv")
    if name is None:
        return None
    given = dict(zip(_CV_ARGUMENTS, args), **kwargs)
    given.setdefault("nfold", 5)
    given.setdefault("seed", 0)
    _note_params(name, given, _CV_SETTINGS)
    _note_data(name, given)
    return _with_callback(name, args, kwargs)


def _with_callback(name, args, kwargs):
    if "callbacks" not in kwargs and len(args) > len(_TRAIN_ARGUMENTS):
        # By position: where that is depends on the version.
        raise TypeError("callbacks may be among the arguments by position")
    callbacks = kwargs.get("callbacks")
    return args, dict(kwargs, callbacks=[_Follow(name)] + list(callbacks or ()))


def _after_train(booster, args, kwargs, state):
    follow = state.get("follow")
    if follow is None:
        return
    best = int(getattr(booster, "best_iteration", 0) or 0)
    if best > 0:
        training.report(_ORIGIN, follow, "best_iteration", best, best - 1)
    name = state.get("name")
    if name is None:
        return
    _names[booster] = name
    models.save(name, booster, "lightgbm")
    for dataset, role, called in state["sets"]:
        _note_shape(dataset, role, name, called)
    journal.event(
        "model",
        name=name,
        type=training.class_name(booster),
        framework="lightgbm",
        version=version_of(sys.modules["lightgbm"]),
        signature={"features": booster.feature_name()[:1000]},
    )


def _note_params(name, given, wanted):
    params = dict(given.get("params") or {})
    settings = {key: training.plain(value) for key, value in params.items()}
    settings.update({"num_boost_round": given.get("num_boost_round", 100)})
    for key in wanted:
        if given.get(key) is not None:
            settings[key] = training.plain(given[key])
    if given.get("feval"):
        settings["feval"] = training.plain(given["feval"])
    journal.params(name, settings, _ORIGIN)


# --- data and files ---


def _note_data(name, given):
    """Record arrays; return the sets that are none, whose size LightGBM will find out."""
    frame = training.caller("lightgbm")
    train = given.get("train_set")
    sets = given.get("valid_sets") or ()
    sets = list(sets) if isinstance(sets, (list, tuple)) else [sets]
    wanted = [(train, "train", "train_set")]
    for number, one in enumerate(sets[:20]):
        if one is not train:
            wanted.append((one, "validation", "valid_%d" % number))
    left = []
    for dataset, role, called in wanted:
        data = getattr(dataset, "data", None)
        called = frames.variable_of(frame, data) or frames.variable_of(frame, dataset) or called
        facts = training.describe(data)
        if facts is None:
            left.append((dataset, role, called))
        else:
            journal.event("dataset", name=called, role=role, model=name, **facts)
    return left


def _note_shape(dataset, role, model, name):
    handle = getattr(dataset, "_handle", getattr(dataset, "handle", None))
    if handle is not None:
        shape = [int(dataset.num_data()), int(dataset.num_feature())]
        journal.event("dataset", name=name, role=role, model=model, shape=shape)


def _saved(result, args, kwargs, state):
    path = kwargs.get("filename", args[1] if len(args) > 1 else None)
    if journal.record_directory() is not None:
        training.note_saved(_ORIGIN, path, args[0], _names.get(args[0]))
