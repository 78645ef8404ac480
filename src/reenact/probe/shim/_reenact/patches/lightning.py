"""Lightning 2.6, as `lightning` and as `pytorch_lightning`.

Recorded are the Trainer's settings as it resolved them, the module's and the data module's
hyperparameters, every metric that is logged, with or without a logger, and checkpoints as models.
Optimizers and data loaders are those of PyTorch.

Not covered: metrics of processes that Lightning forks or spawns (`ddp_spawn`, `ddp_notebook`); a
logger's event files have them.
"""

import sys
import weakref

from _reenact import journal
from _reenact.patches import torch as ours
from _reenact.patches import torch_modules
from _reenact.wrap import version_of, wrap

_ORIGIN = "lightning"

_SETTINGS = (
    "max_epochs min_epochs max_steps min_steps num_devices num_nodes world_size precision "
    "accumulate_grad_batches gradient_clip_val gradient_clip_algorithm limit_train_batches "
    "limit_val_batches limit_test_batches overfit_batches val_check_interval "
    "check_val_every_n_epoch log_every_n_steps fast_dev_run default_root_dir"
).split()
_MOST_WAITING = 64

_told = {}
_waiting = []


def after_lightning_pytorch_trainer_trainer(module):
    """Take note of the `Trainer` of `lightning`."""
    _watch_trainer(module, "lightning")


def after_pytorch_lightning_trainer_trainer(module):
    """Take note of the `Trainer` of `pytorch_lightning`."""
    _watch_trainer(module, "pytorch_lightning")


def _watch_trainer(module, package):
    def started(args, kwargs):
        _started(args[0], package)

    def ended(result, args, kwargs, state):
        _tell_waiting()
        if args[0].is_global_zero and args[0].state.fn == "fit":
            version = version_of(sys.modules[package])
            ours.save_now(args[0].lightning_module, "lightning", version)

    wrap(module.Trainer, "_run_stage", before=started, after=ended)
    wrap(module.Trainer, "save_checkpoint", after=_saved)
    journal.framework(package, version_of(sys.modules[package]))


def _watch_metrics(module):
    wrap(module._LoggerConnector, "log_metrics", before=_logged)


after_lightning_pytorch_trainer_connectors_logger_connector_logger_connector = _watch_metrics
after_pytorch_lightning_trainer_connectors_logger_connector_logger_connector = _watch_metrics


def _started(trainer, package):
    if not trainer.is_global_zero:
        return
    module = trainer.lightning_module
    if not torch_modules.is_named(module):
        name = torch_modules.name_of(module)
        if name is not None:
            version = version_of(sys.modules[package])
            ours.describe(module, name, framework="lightning", version=version)
    settings = _settings_of(trainer)
    known, scope = _told.get(id(trainer), (None, None))
    if known is None or known() is not trainer:
        scope = journal.scope(type(trainer).__name__)
        _told[id(trainer)] = (weakref.ref(trainer), scope)
    journal.params(scope, settings, _ORIGIN)
    _tell_hyperparameters(torch_modules.name_of(module), module)
    if trainer.datamodule is not None:
        _tell_hyperparameters(type(trainer.datamodule).__name__, trainer.datamodule)


def _settings_of(trainer):
    settings = {}
    for name in _SETTINGS:
        try:
            settings[name] = ours.plain(getattr(trainer, name))
        except Exception:
            # Not in this version, or not for what the trainer is doing.
            continue
    settings["accelerator"] = type(trainer.accelerator).__name__
    settings["strategy"] = type(trainer.strategy).__name__
    settings["callbacks"] = [type(callback).__name__ for callback in trainer.callbacks]
    settings["loggers"] = [type(logger).__name__ for logger in trainer.loggers]
    settings["module"] = torch_modules.name_of(trainer.lightning_module)
    if trainer.datamodule is not None:
        settings["datamodule"] = type(trainer.datamodule).__name__
    return settings


def _tell_hyperparameters(name, holder):
    # The property `hparams` would make an empty one where there is none.
    given = holder.__dict__.get("_hparams")
    if given and name:
        values = {str(key): ours.plain(value) for key, value in dict(given).items()}
        journal.params(name, values, _ORIGIN)


def _logged(args, kwargs):
    trainer = args[0].trainer
    metrics = kwargs.get("metrics", args[1] if len(args) > 1 else None)
    step = kwargs.get("step", args[2] if len(args) > 2 else None)
    if not metrics or trainer.sanity_checking or not trainer.is_global_zero:
        return
    metrics = dict(_flat(metrics, ""))
    if step is None:
        step = metrics.pop("step", None)
        if step is None:
            step = trainer.fit_loop.epoch_loop._batches_that_stepped
    step = int(step)
    for name, value in metrics.items():
        device = getattr(getattr(value, "device", None), "type", "cpu")
        if device == "cpu" or trainer.loggers:
            _report(name, value, step)
        else:
            # Without a logger nobody waits for the GPU here, and neither do we.
            _waiting.append((name, value.detach(), step))
    if len(_waiting) > _MOST_WAITING:
        _tell_waiting()


def _flat(metrics, prefix):
    for name, value in metrics.items():
        if isinstance(value, dict):
            for found in _flat(value, "%s%s/" % (prefix, name)):
                yield found
        else:
            yield "%s%s" % (prefix, name), value


def _tell_waiting():
    while _waiting:
        name, value, step = _waiting.pop(0)
        _report(name, value, step)


def _report(name, value, step):
    journal.report(name, float(value), step, origin=_ORIGIN)


def _saved(result, args, kwargs, state):
    path = kwargs.get("filepath", args[1] if len(args) > 1 else None)
    if path is not None and args[0].is_global_zero:
        journal.output(str(path), "model", origin=_ORIGIN)
