"""The Trainer of transformers 5.23.

Recorded are all training arguments, the model's configuration and size, the sizes of the data sets
and everything that the Trainer logs. Nothing is added to the Trainer's callbacks.

Not covered: training loops that use models of transformers without its Trainer; those are
PyTorch's.
"""

import sys

from _reenact import journal
from _reenact.patches import torch as ours
from _reenact.patches import torch_modules
from _reenact.patches.shown import size_of
from _reenact.wrap import version_of, wrap

_ORIGIN = "transformers"


def after_transformers_trainer_callback(module):
    """Take note of what every Trainer tells its callbacks."""
    handler = module.CallbackHandler
    wrap(handler, "on_train_begin", before=_began)
    wrap(handler, "on_log", before=_logged)
    wrap(handler, "on_train_end", before=_ended)
    journal.framework("transformers", _version())


def after_transformers_trainer(module):
    """Take note of the data that a Trainer is given."""
    wrap(module.Trainer, "__init__", after=_made)


def _version():
    return version_of(sys.modules["transformers"])


def _made(result, args, kwargs, state):
    trainer = args[0]
    if not ours.is_reporter():
        return
    for role, attribute in (("train", "train_dataset"), ("validation", "eval_dataset")):
        given = getattr(trainer, attribute, None)
        named = given.items() if type(given) is dict else [(None, given)]
        for name, dataset in named:
            if dataset is None or not hasattr(type(dataset), "__len__"):
                continue
            name = attribute if name is None else "%s[%r]" % (attribute, name)
            size = size_of(dataset)
            if size is not None:
                journal.event("dataset", name=name, role=role, shape=[size])


def _began(args, kwargs):
    handler = args[0]
    arguments = kwargs.get("args", args[1] if len(args) > 1 else None)
    model = torch_modules.unwrapped(handler.model)
    if not ours.is_reporter():
        return
    scope = journal.scope(type(arguments).__name__)
    values = {name: ours.plain(value) for name, value in arguments.to_dict().items()}
    if not torch_modules.is_named(model):
        name = torch_modules.name_of(model)
        if name is not None:
            ours.describe(model, name, framework="transformers", version=_version())
    values["model"] = torch_modules.name_of(model)
    journal.params(scope, values, _ORIGIN)
    config = getattr(model, "config", None)
    if config is not None and hasattr(config, "to_dict"):
        values = {str(name): ours.plain(value) for name, value in config.to_dict().items()}
        journal.params(type(config).__name__, values, _ORIGIN)


def _logged(args, kwargs):
    state = kwargs.get("state", args[2] if len(args) > 2 else None)
    logs = kwargs.get("logs", args[4] if len(args) > 4 else None)
    if not logs or not state.is_world_process_zero:
        return
    for name, value in list(logs.items()):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            journal.report(str(name), value, state.global_step, origin=_ORIGIN)


def _ended(args, kwargs):
    if ours.is_reporter():
        model = torch_modules.unwrapped(args[0].model)
        ours.save_now(model, "transformers", _version())
