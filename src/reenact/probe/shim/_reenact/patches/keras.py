"""Keras 3 (tested with 3.5 and 3.15; backends torch, jax and tensorflow): what `fit` and `evaluate` did.

Recorded are the model (class, layers, parameters, summary), the optimizer's settings, what `compile`
and `fit` were given, the data, the metrics of each epoch, those of `evaluate`, and which files hold
saved models.

A metric's step is the epoch. A second `fit` of the same model goes on counting where the first one
ended. What `evaluate` returns is called `test_loss` and so on, or `train_loss` if it was given the
very data that `fit` was given; its step is the last epoch that was trained.

Not covered: training loops written by hand (`train_on_batch`, GradientTape).
"""

import sys
import weakref

from _reenact import journal
from _reenact.patches import models, training
from _reenact.wrap import PROBLEMS, quiet, version_of, wrap

_ORIGIN = "keras"
_MOST_SUMMARY = 20000
_FIT_ARGUMENTS = (
    "x",
    "y",
    "batch_size",
    "epochs",
    "verbose",
    "callbacks",
    "validation_split",
    "validation_data",
    "shuffle",
    "class_weight",
    "sample_weight",
    "initial_epoch",
    "steps_per_epoch",
    "validation_steps",
    "validation_batch_size",
    "validation_freq",
)
_EVALUATE_ARGUMENTS = ("x", "y", "batch_size", "verbose", "sample_weight", "steps")
_FIT_SETTINGS = (
    "initial_epoch",
    "validation_split",
    "shuffle",
    "class_weight",
    "validation_steps",
    "validation_batch_size",
    "validation_freq",
)
_DEFAULT_BATCH = 32
_MOST_LAYERS = 200
_SUMMARY_WIDTH = 76

_states = {}
_classes = {}


def after_keras_src_callbacks_callback_list(module):
    """Take part in every list of callbacks: `fit` and `evaluate` make one."""
    _classes["callback"] = _callback_class(module.Callback)
    wrap(module.CallbackList, "__init__", after=_join)


def after_keras_src_models_model(module):
    """Learn what `fit` and `evaluate` are given."""
    _classes["model"] = module.Model
    for name, before, names in (
        ("fit", _before_fit, _FIT_ARGUMENTS),
        ("evaluate", _before_evaluate, _EVALUATE_ARGUMENTS),
    ):
        forget = _forget(names)
        failed = _forget(names)
        wrap(module.Model, name, before=before, after=forget, failed=failed)


def after_keras_src_saving_saving_api(module):
    """Learn of files in which models are kept."""
    wrap(module, "save_model", after=_saved)
    wrap(module, "save_weights", after=_saved)


def after_keras(module):
    """Say which version it is."""
    journal.framework("keras", version_of(module))


class _State(object):
    """What is known of a model.

    Attributes:
        name: of it in the record; None if it is one too many.
        next_step: that of the epoch to come, were it the next one.
        given: arguments of the `fit` or `evaluate` that is going on.
        frame: of the script that called it.
        train_digests: of the data that it was trained with.
        seen: role and identity of data -> the data, weakly.
        settings: of the optimizer, as they were recorded last.
    """

    def __init__(self, model):
        key = id(model)
        self.model = weakref.ref(model, lambda _: _states.pop(key, None))
        self.name = training.name_model(type(model).__name__)
        self.next_step = 0
        self.given = {}
        self.frame = None
        self.train_digests = set()
        self.seen = {}
        self.settings = None
        self.is_described = False


def _state_of(model):
    state = _states.get(id(model))
    if state is None or state.model() is not model:
        state = _states[id(model)] = _State(model)
    return state


def _callback_class(base):
    class ReenactCallback(base):
        """Writes down what happens; adds nothing and changes nothing."""

        def __init__(self):
            super().__init__()
            self._reenact_watch = _Watch()

        def on_train_begin(self, logs=None):
            _guarded(self._reenact_watch.begin, self)

        def on_epoch_end(self, epoch, logs=None):
            _guarded(self._reenact_watch.epoch, self, epoch, logs)

        def on_train_end(self, logs=None):
            _guarded(self._reenact_watch.end, self)

        def on_test_end(self, logs=None):
            _guarded(self._reenact_watch.test, self, logs)

    return ReenactCallback


def _guarded(method, callback, *arguments):
    try:
        with quiet():
            method(callback.model, callback.params or {}, *arguments)
    except PROBLEMS as error:
        journal.failure("keras." + method.__name__, error)


def _join(result, args, kwargs, state):
    # After the others: what they put into the logs of an epoch, such as the learning rate, counts.
    if journal.record_directory() is None or journal.is_worker():
        return
    callbacks = args[0]
    ours = _classes["callback"]()
    model = kwargs.get("model", args[4] if len(args) > 4 else None)
    if model is not None:
        ours.set_model(model)
    ours.set_params(callbacks.params)
    callbacks.callbacks.append(ours)


class _Watch(object):
    """Follows one list of callbacks: one `fit`, or one `evaluate`."""

    def __init__(self):
        self.is_training = False
        self.offset = 0

    def begin(self, model, params):
        self.is_training = True
        state = _state_of(model)
        if state.name is None:
            return
        given = state.given
        first = int(getattr(model, "_initial_epoch", None) or given.get("initial_epoch") or 0)
        self.offset = max(0, state.next_step - first)
        if not state.is_described:
            state.is_described = True
            _describe(model, state.name)
        _note_optimizer(model, state)
        _note_fit(params, state)
        for role, pair in _data_of_fit(given):
            _note_data(state, role, pair)

    def epoch(self, model, params, epoch, logs):
        state = _state_of(model)
        step = self.offset + int(epoch)
        state.next_step = step + 1
        if state.name is not None:
            for name, value in dict(logs or {}).items():
                training.report(_ORIGIN, state.name, name, value, step)

    def end(self, model, params):
        self.is_training = False
        state = _state_of(model)
        if state.name is not None and models.wanted():
            models.save(state.name, model, "keras", _signature(model))

    def test(self, model, params, logs):
        state = _state_of(model)
        if self.is_training or state.name is None:
            return
        pair = (state.given.get("x"), state.given.get("y"))
        role = "train" if _is_train_data(state, pair[0]) else "test"
        if role == "test":
            _note_data(state, role, pair)
        step = max(state.next_step - 1, 0)
        for name, value in dict(logs or {}).items():
            training.report(_ORIGIN, state.name, "%s_%s" % (role, name), value, step)


# --- calls ---


def _before_fit(args, kwargs):
    _remember(args, kwargs, _FIT_ARGUMENTS)


def _before_evaluate(args, kwargs):
    _remember(args, kwargs, _EVALUATE_ARGUMENTS)


def _remember(args, kwargs, names):
    if journal.record_directory() is None or journal.is_worker():
        return
    state = _state_of(args[0])
    if not state.given:
        # Else this is the `evaluate` of a `fit`.
        state.given = dict(zip(names, args[1:]), **kwargs)
        state.given.setdefault("_call", names)
        state.frame = training.caller("keras")


def _forget(names):
    def forget(result, args, kwargs, _):
        state = _states.get(id(args[0]))
        if state is not None and state.given.get("_call") is names:
            state.given = {}
            state.frame = None

    return forget


def _data_of_fit(given):
    yield "train", (given.get("x"), given.get("y"))
    validation = given.get("validation_data")
    if validation is not None:
        is_pair = isinstance(validation, (tuple, list))
        yield "validation", tuple(validation[:2]) if is_pair else (validation, None)


def _note_data(state, role, pair):
    for name, value in zip(("x", "y"), pair):
        if value is None or _is_known(state, role, value):
            continue
        digest = training.note_data(value, role, state.name, name, state.frame)
        if digest is not None and name == "x" and role == "train":
            state.train_digests.add(digest)


def _is_known(state, role, value):
    known = state.seen.get((role, id(value)))
    if known is not None and known() is value:
        return True
    try:
        state.seen[role, id(value)] = weakref.ref(value)
    except TypeError:
        pass
    return False


def _is_train_data(state, value):
    known = state.seen.get(("train", id(value)))
    if known is not None and known() is value:
        return True
    facts = training.describe(value) if state.train_digests else None
    return facts is not None and facts["digest"] in state.train_digests


# --- what a model is ---


def _describe(model, name):
    keras = sys.modules.get("keras")
    layers = list(getattr(model, "layers", ()))
    total = sum(_size(weight) for weight in model.weights)
    trainable = sum(_size(weight) for weight in model.trainable_weights)
    settings = {
        "name": model.name,
        "layers": [type(layer).__name__ for layer in layers[:_MOST_LAYERS]],
        "layer_count": len(layers),
        "parameters": total,
        "trainable_parameters": trainable,
        "backend": keras.config.backend() if keras is not None else None,
    }
    journal.params(name, settings, _ORIGIN)
    journal.event(
        "model",
        name=name,
        type=training.class_name(model),
        framework="keras",
        version=version_of(keras) if keras is not None else None,
        signature=_signature(model),
        summary=_summary(model, layers),
    )


def _size(weight):
    size = 1
    for length in weight.shape:
        size *= int(length)
    return size


def _signature(model):
    return {
        direction: [
            {"name": tensor.name, "shape": list(tensor.shape), "dtype": str(tensor.dtype)}
            for tensor in getattr(model, direction, None) or ()
        ]
        for direction in ("inputs", "outputs")
    }


def _summary(model, layers):
    if all(getattr(layer, "_inbound_nodes", None) for layer in layers):
        pieces = []
        _classes["model"].summary(model, line_length=_SUMMARY_WIDTH, print_fn=pieces.append)
        text = "\n".join(str(piece) for piece in pieces)
    else:
        # To learn shapes of a subclassed model Keras would run the script's own `call`.
        rows = [(layer.name, type(layer).__name__, layer.count_params()) for layer in layers]
        text = "\n".join("%-30s %-30s %d" % row for row in rows)
    return text[:_MOST_SUMMARY]


def _note_optimizer(model, state):
    optimizer = getattr(model, "optimizer", None)
    settings = {}
    if optimizer is not None:
        name = type(optimizer).__name__
        for key, value in optimizer.get_config().items():
            _flatten(key, value, settings)
    compiled = {
        "loss": training.plain(getattr(model, "loss", None)),
        "metrics": training.plain(_metrics_of(model)),
        "loss_weights": training.plain(
            getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)
        ),
        "jit_compile": getattr(model, "jit_compile", None),
        "run_eagerly": getattr(model, "run_eagerly", None),
        "steps_per_execution": getattr(model, "steps_per_execution", None),
    }
    if optimizer is not None:
        compiled["optimizer"] = name
    if (settings, compiled) == state.settings:
        return
    state.settings = (settings, compiled)
    if optimizer is not None:
        journal.params(journal.scope(name), settings, _ORIGIN)
    journal.params(journal.scope("compile"), compiled, _ORIGIN)


def _flatten(key, value, settings):
    if isinstance(value, dict) and "class_name" in value:
        # A schedule.
        settings[key] = value["class_name"]
        for inner, setting in dict(value.get("config") or {}).items():
            settings["%s.%s" % (key, inner)] = training.plain(setting)
    else:
        value = training.plain(value)
        # Keras holds the learning rate in a float32; its other settings are as they were given.
        settings[key] = training.as_given(value) if key == "learning_rate" else value


def _metrics_of(model):
    return getattr(getattr(model, "_compile_metrics", None), "_user_metrics", None)


def _note_fit(params, state):
    given = state.given
    x = given.get("x")
    settings = {"epochs": params.get("epochs"), "steps_per_epoch": params.get("steps")}
    batch = given.get("batch_size")
    if batch is None:
        batch = _DEFAULT_BATCH if hasattr(x, "shape") else getattr(x, "batch_size", None)
    settings["batch_size"] = training.plain(batch)
    for name in _FIT_SETTINGS:
        if given.get(name) is not None:
            settings[name] = training.plain(given[name])
    if given.get("callbacks"):
        callbacks = given["callbacks"]
        if not isinstance(callbacks, (list, tuple)):
            callbacks = getattr(callbacks, "callbacks", [callbacks])
        names = [type(callback).__name__ for callback in callbacks]
        settings["callbacks"] = [name for name in names if name != "ReenactCallback"]
    if x is not None and not hasattr(x, "shape") and not isinstance(x, (list, tuple, dict)):
        settings["x"] = training.class_name(x)
    if state.name.rpartition("-")[2].isdigit():
        settings["model"] = state.name
    journal.params(journal.scope("fit"), settings, _ORIGIN)


# --- files ---


def _saved(result, args, kwargs, _):
    model = args[0] if args else kwargs.get("model")
    path = args[1] if len(args) > 1 else kwargs.get("filepath")
    if journal.record_directory() is not None:
        known = _states.get(id(model))
        training.note_saved(_ORIGIN, path, model, None if known is None else known.name)
