"""PyTorch 2.1 to 2.13: optimizers, schedulers, the models that they train, data loaders, files.

Recorded are an optimizer's class and settings, how often it stepped, the learning rate (`lr`) at
each step where it changes, the model that holds the optimizer's parameters, the settings of data
loaders, and which saved files are models.

A step of an optimizer is seen through PyTorch's own hook for all optimizers. Nothing here waits for
a GPU: settings that are tensors on one are named, not read.

Not covered: losses of a bare loop (they come from what it prints or from TensorBoard), optimizers
that do not inherit from PyTorch's, the number of steps of a process that is killed, steps within
functions that PyTorch 2.1 compiled.
"""

import atexit
import os
import sys
import weakref

from _reenact import journal
from _reenact.patches import torch_files, torch_modules
from _reenact.patches.shown import text_of
from _reenact.wrap import PROBLEMS, version_of, wrap

_ORIGIN = "torch"

MOST_OF_A_CLASS = 50
"""So many optimizers of one class are recorded; of further ones only the number is."""

_MOST_GROUPS = 50
_MOST_RATES = 8
_NOT_SETTINGS = ("params", "param_names", "initial_lr")
_NOT_OF_SCHEDULERS = frozenset(
    "optimizer last_epoch verbose base_lrs num_bad_epochs best mode_worse cooldown_counter "
    "total_steps_seen".split()
)

_optimizers = {}
_ended = []
_counts = {}
_schedulers = {}
_kept = {}


def after_torch(module):
    """Say that PyTorch is captured."""
    journal.framework("torch", version_of(module))


def after_torch_nn_modules_module(module):
    """Learn which module holds which parameter."""
    torch_modules.watch(module)


def after_torch_optim_optimizer(module):
    """Take note of optimizers that are made and of their steps."""
    wrap(module.Optimizer, "__init__", after=_made)
    module.register_optimizer_step_post_hook(torch_modules.uncompiled(_after_step))
    atexit.register(_finish)


def after_torch_optim_lr_scheduler(module):
    """Take note of schedulers that are made."""
    wrap(module.LRScheduler, "__init__", after=_scheduled)
    for name in ("SequentialLR", "ChainedScheduler", "ReduceLROnPlateau"):
        kind = getattr(module, name, None)
        if kind is not None and "__init__" in kind.__dict__:
            wrap(kind, "__init__", after=_scheduled)


def after_torch_utils_data_dataloader(module):
    """Take note of data loaders."""
    from _reenact.patches import torch_data

    torch_data.watch(module)


def after_torch_serialization(module):
    """Take note of files that hold models."""
    wrap(module, "save", before=torch_files.before_save, after=torch_files.saved)


def after_safetensors_torch(module):
    """Take note of files that hold models."""
    for name in ("save_file", "save_model"):
        wrap(module, name, after=torch_files.saved_tensors)


def is_reporter():
    """Tell whether this process may say what a model was trained with.

    Of several processes that train one model together only the first does.
    """
    rank = os.environ.get("RANK")
    if rank is not None:
        return rank == "0"
    distributed = sys.modules.get("torch.distributed")
    try:
        if distributed is not None and distributed.is_available():
            if distributed.is_initialized():
                return distributed.get_rank() == 0
    except Exception:
        pass
    return not any("loky" in word for word in getattr(sys, "orig_argv", sys.argv)[:6])


# --- optimizers ---


class _Optimizer(object):
    """What is known of one optimizer."""

    __slots__ = ("reference", "process", "scope", "label", "steps", "rates", "reported", "settings")

    def __init__(self, optimizer):
        key = id(optimizer)
        self.reference = weakref.ref(optimizer, lambda _: _gone(key))
        self.process = os.getpid()
        self.scope = None
        self.label = "lr"
        self.steps = 0
        self.rates = []
        self.reported = {}
        self.settings = None


def _made(result, args, kwargs, state):
    _take_in(args[0])


def _take_in(optimizer):
    _conclude_ended()
    known = _optimizers[id(optimizer)] = _Optimizer(optimizer)
    if not is_reporter():
        return known
    kind = type(optimizer).__name__
    _counts[kind] = count = _counts.get(kind, 0) + 1
    if count > MOST_OF_A_CLASS:
        return known
    is_first = len(_counts) == 1 and count == 1
    known.scope = journal.scope(kind)
    known.label = "lr" if is_first else "lr/" + known.scope
    _tell_settings(known, optimizer)
    return known


def _gone(key):
    # Called by the garbage collector, at any moment: no time to write anything.
    known = _optimizers.pop(key, None)
    if known is not None and known.scope is not None:
        _ended.append(known)


def _tell_settings(known, optimizer):
    settings = _settings_of(optimizer)
    if settings != known.settings:
        known.settings = settings
        journal.params(known.scope, settings, _ORIGIN)


def _settings_of(optimizer):
    groups = optimizer.param_groups[:_MOST_GROUPS]
    settings = {}
    for name in dict.fromkeys(name for group in groups for name in group):
        if name in _NOT_SETTINGS:
            continue
        source = [_before_schedule(group, name) for group in groups]
        values = [plain(value) for value in source]
        is_same = all(value == values[0] for value in values)
        settings[name] = values[0] if is_same else values
    settings["groups"] = len(optimizer.param_groups)
    settings["parameters"] = sum(
        torch_modules.size_of(parameter)
        for group in optimizer.param_groups
        for parameter in group["params"]
    )
    return settings


def _before_schedule(group, name):
    # A scheduler changes the rate when it is made and keeps the one that was set.
    if name == "lr" and "initial_lr" in group:
        return group["initial_lr"]
    return group.get(name)


def plain(value):
    """Return a setting as a value that a record can hold, without waiting for a GPU."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value[:_MOST_GROUPS]]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in list(value.items())[:_MOST_GROUPS]}
    device = getattr(value, "device", None)
    if device is not None and hasattr(value, "numel"):
        is_here = getattr(device, "type", "") == "cpu" and value.numel() == 1
        return value.item() if is_here else "tensor on %s" % device
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    text = text_of(value)
    return text if " at 0x" not in text else type(value).__name__


def _after_step(optimizer, args, kwargs):
    # Called by PyTorch after each step: as little as possible, and nothing may be raised.
    try:
        known = _optimizers.get(id(optimizer))
        if known is None or known.steps == 0:
            known = _first_step(known, optimizer)
        known.steps += 1
        position = 0
        for rate in known.rates:
            now = optimizer.param_groups[position]["lr"]
            if now is not rate and now.__class__ is float and now != rate:
                _rate_changed(known, position, rate, now)
            position += 1
    except PROBLEMS as error:
        _forget(optimizer, error)


def _forget(optimizer, error):
    journal.failure("a step of %s" % type(optimizer).__name__, error)
    known = _optimizers.get(id(optimizer))
    if known is not None:
        known.rates = []


def _first_step(known, optimizer):
    if known is None:
        # A copy, or one that came out of a file.
        known = _take_in(optimizer)
    if known.scope is None:
        return known
    _tell_settings(known, optimizer)
    groups = optimizer.param_groups
    known.rates = [group.get("lr") for group in groups[:_MOST_RATES]]
    parameters = [parameter for group in groups for parameter in group["params"]]
    names = [name for model in torch_modules.models_of(parameters) for name in _tell_model(model)]
    if names:
        journal.params(known.scope, {"models": names}, _ORIGIN)
    return known


def _tell_model(model):
    """Describe a model once; return its name in a list, which is empty if it has none."""
    is_new = not torch_modules.is_named(model)
    name = torch_modules.name_of(model)
    if name is None:
        return []
    if is_new:
        describe(model, name)
    return [name]


def describe(model, name, framework="torch", version=None):
    """Tell of a model: its class, its size, where its parameters are, the modules in it."""
    module = sys.modules.get("torch")
    journal.event(
        "model",
        name=name,
        type=torch_modules.class_name(model),
        framework=framework,
        version=version or version_of(module),
        summary=torch_modules.summary_of(model),
    )
    journal.params(name, torch_modules.settings_of(model), _ORIGIN)
    if _keeps() and len(_kept) < MOST_OF_A_CLASS:
        # Nobody says when a loop is over: it is saved at the end. Of a class, only the last one.
        _kept[type(model)] = (name, model)


def _keeps():
    if not os.environ.get("REENACT_SAVE_MODELS"):
        return False
    from _reenact.patches import models

    return models.wanted()


def save_now(model, framework, version):
    """Save a model that is known to be trained, where the user wants models to be saved."""
    if not _keeps() or not torch_modules.is_named(model):
        return
    from _reenact.patches import models

    name = torch_modules.name_of(model)
    _kept.pop(type(model), None)
    if name is not None and models.save(name, model, "torch") is not None:
        kind = torch_modules.class_name(model)
        journal.event("model", name=name, type=kind, framework=framework, version=version)


def _rate_changed(known, position, former, now):
    known.rates[position] = now
    last = known.reported.get(position)
    if last is None:
        # Groups that all follow the first one have its curve.
        if position and now == known.rates[0]:
            return
        _report_rate(known, position, 1, former)
        last = 1
    if last < known.steps - 1:
        _report_rate(known, position, known.steps - 1, former)
    _report_rate(known, position, known.steps, now)


def _report_rate(known, position, step, rate):
    known.reported[position] = step
    if isinstance(rate, float):
        name = known.label if position == 0 else "%s/%d" % (known.label, position)
        journal.report(name, rate, step, origin=_ORIGIN)


def _conclude(known):
    """Tell how many steps an optimizer made in all, unless it is a fork's copy of its parent's."""
    if known.scope is None or known.process != os.getpid():
        return
    if known.steps:
        journal.params(known.scope, {"steps": known.steps}, _ORIGIN)
    for position, last in list(known.reported.items()):
        if last < known.steps:
            _report_rate(known, position, known.steps, known.rates[position])


def _conclude_ended():
    while _ended:
        _conclude(_ended.pop())


def _finish():
    try:
        _conclude_ended()
        for known in list(_optimizers.values()):
            _conclude(known)
        for kind, count in _counts.items():
            if count > MOST_OF_A_CLASS:
                journal.params(kind, {"instances": count}, _ORIGIN)
        if _kept:
            _save_models()
    except PROBLEMS as error:
        journal.failure("the end of torch", error)


def _save_models():
    from _reenact.patches import models

    for name, model in list(_kept.values()):
        models.save(name, model, "torch")
    _kept.clear()


# --- schedulers ---


def _scheduled(result, args, kwargs, state):
    scheduler = args[0]
    if not is_reporter():
        return
    kind = type(scheduler).__name__
    _schedulers[kind] = count = _schedulers.get(kind, 0) + 1
    if count > MOST_OF_A_CLASS:
        return
    settings = {}
    for name, value in list(scheduler.__dict__.items()):
        name = "milestones" if name == "_milestones" else name
        if name.startswith("_") or name in _NOT_OF_SCHEDULERS or callable(value):
            continue
        if name == "lr_lambdas":
            continue
        settings[name] = _of_scheduler(value)
    optimizer = _optimizers.get(id(getattr(scheduler, "optimizer", None)))
    if optimizer is not None and optimizer.scope is not None:
        settings["optimizer"] = optimizer.scope
    journal.params(journal.scope(kind), settings, _ORIGIN)


def _of_scheduler(value):
    if isinstance(value, (list, tuple)) and value and hasattr(value[0], "get_last_lr"):
        return [type(item).__name__ for item in value]
    # MultiStepLR keeps its milestones in a Counter.
    if type(value).__name__ == "Counter":
        return sorted(value.elements())
    return plain(value)
