"""Keep trained models where `reenact run --save-models` asks for it (REENACT_SAVE_MODELS=1).

Estimators of scikit-learn go to a file of skops, or of joblib where skops is not installed or does
not take them; models of keras, torch, xgboost and lightgbm to files of their own formats. A model
that cannot be saved is a remark in the record; the script goes on.
"""

import os
import re
import sys
import warnings

from _reenact import journal
from _reenact.wrap import PROBLEMS, quiet

_MOST_BYTES_READ_AGAIN = 64 << 20

_complained = set()


def wanted():
    """Tell whether models are to be kept, by this process."""
    if os.environ.get("REENACT_SAVE_MODELS", "") in ("", "0"):
        return False
    return journal.run_directory() is not None and not journal.is_worker()


def save(name, model, kind, signature=None):
    """Keep a trained model as `models/<name>.<suffix>` in the run directory; the last one counts.

    Args:
        name: as in the model's event; it becomes the file's.
        model: the fitted estimator, keras model or torch module.
        kind: `sklearn`, `keras`, `torch`, `xgboost` or `lightgbm`.
        signature: as in the model's event, for a file `<name>.signature.json` beside it.

    Returns:
        The file's path; None where models are not to be kept or this one could not be.
    """
    if not wanted():
        return None
    stem = re.sub(r"[^\w.+-]+", "_", name).lstrip(".") or "model"
    stem = "%s/models/%s" % (journal.run_directory(), stem)
    try:
        os.makedirs(os.path.dirname(stem), exist_ok=True)
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = _WRITERS[kind](stem, model)
        if signature:
            _write_signature(stem, name, model, kind, signature)
    except PROBLEMS as error:
        if (name, kind) not in _complained:
            _complained.add((name, kind))
            text = "model `%s` could not be saved: %s: %s" % (name, type(error).__name__, error)
            journal.remark("model-not-saved", text[:500])
        return None
    journal.event("model", name=name, type=class_of(model), framework=kind, path=path)
    journal.output(path, "model", title=name, origin=kind)
    return path


def class_of(model):
    """Return a model's class with its module."""
    return "%s.%s" % (type(model).__module__, type(model).__qualname__)


def _save_estimator(stem, model):
    if _can_import("skops.io"):
        try:
            return _beside(stem, ".skops", _write_skops, model)
        except OSError:
            raise
        except Exception:
            pass  # What skops does not know or would not find again, such as a lambda.
    if not _can_import("joblib"):
        raise ImportError("neither skops nor joblib is installed")
    return _beside(stem, ".joblib", sys.modules["joblib"].dump, model)


def _write_skops(model, path):
    skops = sys.modules["skops.io"]
    skops.dump(model, path)
    if os.path.getsize(path) <= _MOST_BYTES_READ_AGAIN:
        # It writes the name of a function, and finds out only now that there is none of that name.
        skops.load(path, trusted=skops.get_untrusted_types(file=path))


def _save_keras(stem, model):
    return _beside(stem, ".keras", lambda _, path: model.save(path), model)


def _save_torch(stem, model):
    def write(module, path):
        content = {"class": class_of(module), "state_dict": module.state_dict()}
        sys.modules["torch"].save(content, path)

    return _beside(stem, ".pt", write, model)


def _save_xgboost(stem, model):
    return _beside(stem, ".ubj", lambda booster, path: booster.save_model(path), model)


def _save_lightgbm(stem, model):
    return _beside(stem, ".txt", lambda booster, path: booster.save_model(path), model)


def _beside(stem, suffix, write, model):
    """Write the file beside its place and move it there: nobody sees half a model."""
    path = stem + suffix
    half = "%s/.%d-%s" % (os.path.dirname(stem), os.getpid(), os.path.basename(path))
    try:
        write(model, half)
        os.replace(half, path)
    except BaseException:
        if os.path.exists(half):
            os.remove(half)
        raise
    return path


def _write_signature(stem, name, model, kind, signature):
    content = {"name": name, "type": class_of(model), "framework": kind, "signature": signature}
    path = stem + ".signature.json"
    with open(path, "w") as file:
        file.write(journal.encode(content) + "\n")
    journal.output(path, "model", title=name + ", what goes in and comes out", origin=kind)


def _can_import(name):
    try:
        __import__(name)
    except ImportError:
        return False
    return True


_WRITERS = {
    "sklearn": _save_estimator,
    "keras": _save_keras,
    "torch": _save_torch,
    "xgboost": _save_xgboost,
    "lightgbm": _save_lightgbm,
}
