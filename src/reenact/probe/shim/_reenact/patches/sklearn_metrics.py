"""What the script measures with the functions of `sklearn.metrics` and of cross-validation.

Functions are replaced in the package that scripts import them from; scikit-learn's own modules keep
the originals. A number is a metric, named after the variable that takes it, else after the function;
an array of one number per class or fold is several. A confusion matrix becomes a table. Calls from
libraries and from within other such calls are not recorded.
"""

import os

from _reenact import journal
from _reenact.patches import estimators, frames, sklearn
from _reenact.wrap import wrap

_ORIGIN = "sklearn"
_ENDINGS = ("_score", "_loss", "_error", "_deviance", "_coefficient")
_OTHERS = (
    "auc",
    "confusion_matrix",
    "consensus_score",
    "precision_recall_fscore_support",
    "class_likelihood_ratios",
)
_PARTS = {
    "precision_recall_fscore_support": ("precision", "recall", "fscore", "support"),
    "class_likelihood_ratios": ("positive", "negative"),
    "homogeneity_completeness_v_measure": ("homogeneity", "completeness", "v_measure"),
}
_WITHOUT_TRUTH = ("auc", "silhouette_score", "calinski_harabasz_score", "davies_bouldin_score")
_VALIDATIONS = (
    "cross_val_score",
    "cross_validate",
    "cross_val_predict",
    "learning_curve",
    "validation_curve",
    "permutation_test_score",
)
_ARGUMENTS = ("estimator", "X", "y")
_MOST_ITEMS = 100
_MOST_CLASSES = 200
_MOST_TABLES = 50

_noted = set()
_tables = {}


def wrap_metrics(module):
    """Replace the functions that compare predictions with the truth."""
    for name in module.__all__:
        if name.endswith(_ENDINGS) or name in _OTHERS or name in _PARTS:
            _replace(module, name, _after_metric)


def wrap_validation(module):
    """Replace the functions that fit an estimator again and again."""
    for name in _VALIDATIONS:
        if hasattr(module, name):
            _replace(module, name, _after_validation, _before_validation)


def _replace(module, name, after, before=None):
    def enter(args, kwargs, state):
        frame = sklearn.enter(state)
        if frame is not None and not frames.is_library(frame):
            state["frame"] = frame
            if before is not None:
                before(name, args, kwargs, state)

    def leave(result, args, kwargs, state):
        try:
            if "frame" in state:
                after(name, result, args, kwargs, state["frame"])
        finally:
            state.pop("frame", None)
            sklearn.leave(state)

    def failed(error, args, kwargs, state):
        sklearn.leave(state)

    wrap(module, name, before=enter, after=leave, failed=failed)
    twin = frames.unseen(module.__dict__[name])
    # Pickled by this name: under that of the original, pickle would find the original.
    twin.__module__ = module.__name__
    setattr(module, name, twin)


def _after_metric(function, result, args, kwargs, frame):
    truth = args[0] if args else kwargs.get("y_true", kwargs.get("labels_true"))
    if function in _WITHOUT_TRUTH:
        truth = None
    is_train = sklearn.was_trained_with(truth)
    target = frames.target_of(frame)
    name = target or ("train_" + function if is_train else function)
    if function == "confusion_matrix":
        name = target or function
        _keep_table(name, result, truth, args, kwargs)
    else:
        for called, number in _numbers(name, function, result):
            journal.report(called, number, None, _ORIGIN)
    _note_settings(name, function, kwargs)
    if not is_train:
        sklearn.note_data(truth, "y_true", "test", None, frame)


def _numbers(name, function, result):
    """Give names and numbers of a result; nothing where it is neither number nor few of them."""
    names = _PARTS.get(function)
    if names is not None and isinstance(result, tuple):
        for part, value in zip(names, result):
            if value is not None:
                yield from _numbers("%s.%s" % (name, part), None, value)
    elif getattr(result, "shape", ()) == () and not isinstance(result, (str, dict, list, tuple)):
        yield name, float(result)
    elif len(getattr(result, "shape", ())) == 1 and len(result) <= _MOST_ITEMS:
        for i, value in enumerate(result.tolist()):
            yield "%s.%d" % (name, i), float(value)


def _note_settings(name, function, kwargs):
    """Record how a metric was computed, when it is first seen."""
    settings = {
        key: value
        for key, value in kwargs.items()
        if value is None or isinstance(value, (bool, int, float, str))
    }
    if name in _noted or (name == function and not settings) or len(_noted) > 1000:
        return
    _noted.add(name)
    if name != function:
        settings["function"] = function
    journal.params(name, settings, _ORIGIN)


# --- tables ---


def _keep_table(name, matrix, truth, args, kwargs):
    size = len(matrix)
    count = _tables[name] = _tables.get(name, 0) + 1
    if size > _MOST_CLASSES or count > _MOST_TABLES:
        return
    labels = kwargs.get("labels")
    if labels is None:
        predicted = args[1] if len(args) > 1 else kwargs.get("y_pred")
        labels = _labels(truth, predicted)
    labels = [str(label) for label in labels] if labels is not None else []
    if len(labels) != size:
        labels = [str(i) for i in range(size)]
    stem = name if count == 1 else "%s-%d" % (name, count)
    path = "%s/tables/%s.csv" % (journal.run_directory(), stem)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    rows = [["true \\ predicted"] + labels]
    rows += [[label] + [str(v) for v in row] for label, row in zip(labels, matrix.tolist())]
    with open(path, "w") as file:
        for row in rows:
            file.write(",".join(map(_cell, row)) + "\n")
    journal.output(path, "table", title=name, origin=_ORIGIN)


def _labels(truth, predicted):
    try:
        return sorted(set(list(truth)) | set(list(predicted)))
    except TypeError:
        return None


def _cell(text):
    if any(sign in text for sign in ',"\n'):
        return '"%s"' % text.replace('"', '""')
    return text


# --- cross-validation ---


def _before_validation(function, args, kwargs, state):
    given = dict(zip(_ARGUMENTS, args), **kwargs)
    frame = state["frame"]
    scope = None
    if estimators.is_estimator(given.get("estimator")):
        estimator = given["estimator"]
        scope = estimators.scope_of(estimator)
    settings = {
        name: estimators.plain(kwargs[name]) for name in ("cv", "scoring") if name in kwargs
    }
    if settings:
        _note_settings(function, function, settings)
    if scope is not None:
        for name in ("X", "y"):
            sklearn.note_data(given.get(name), name, "train", scope, frame)


def _after_validation(function, result, args, kwargs, frame):
    name = frames.target_of(frame) or function
    if function == "cross_val_score":
        _report_folds(name, result)
    elif function == "cross_validate":
        for key, values in result.items():
            if key.startswith(("test_", "train_")):
                _report_folds("%s.%s" % (name, key), values)
    elif function == "permutation_test_score":
        for part, value in zip(("score", None, "pvalue"), result):
            if part is not None:
                journal.report("%s.%s" % (function, part), float(value), None, _ORIGIN)


def _report_folds(name, scores):
    for score in scores[:_MOST_ITEMS].tolist():
        journal.report(name, score, None, _ORIGIN)
    journal.report(name + ".mean", float(scores.mean()), None, _ORIGIN)
