"""TensorBoard's writers: `torch.utils.tensorboard` and tensorboardX 2.6.

The supervisor reads event files below the run directory by itself. Recorded here is what it does
not see there: hyperparameters, and scalars of writers whose directory lies elsewhere.

Not covered: writers of TensorFlow and JAX whose directory lies elsewhere.
"""

import os
import sys
import weakref

from _reenact import journal
from _reenact.wrap import version_of, wrap

_ORIGIN = "tensorboard"

_MOST_SCOPES = 50

_outside = {}
_scopes = []
_said = set()


def after_torch_utils_tensorboard_writer(module):
    """Take note of PyTorch's writers."""
    _watch(module.SummaryWriter, "tensorboard", sys.modules.get("tensorboard"))


def after_tensorboardX_writer(module):
    """Take note of tensorboardX's writers."""
    _watch(module.SummaryWriter, "tensorboardX", sys.modules["tensorboardX"])


def _watch(writer, name, package):
    def made(result, args, kwargs, state):
        _say_once(name, package)
        if _is_outside(args[0]) and not hasattr(writer.add_scalar, "_reenact_original"):
            # Only now: a writer within the run directory is as fast as ever.
            wrap(writer, "add_scalar", after=_scalar)
            wrap(writer, "add_scalars", after=_scalars)

    wrap(writer, "__init__", after=made)
    wrap(writer, "add_hparams", before=_hyperparameters)


def _say_once(name, package):
    # A package says its version when it is complete, not yet when its module of writers is.
    if name not in _said:
        _said.add(name)
        journal.framework(name, version_of(package))


def _is_outside(writer):
    """Tell whether nobody else reads what a writer writes, and remember it."""
    directory = getattr(writer, "log_dir", None) or getattr(writer, "logdir", None)
    if not directory or _is_read_by_supervisor(str(directory)):
        return False
    key = id(writer)
    _outside[key] = weakref.ref(writer, lambda _: _outside.pop(key, None))
    return True


def _is_read_by_supervisor(directory):
    """Tell whether event files in a directory are found and read while the run lasts."""
    if "://" in directory:
        return False
    base = os.environ.get("REENACT_STAGE") or os.environ.get("REENACT_PROJECT")
    base = base or journal.run_directory()
    if base is None:
        return True
    base = os.path.realpath(base)
    path = os.path.realpath(directory)
    return path == base or path.startswith(base + "/")


def _scalar(result, args, kwargs, state):
    if id(args[0]) in _outside:
        tag = _argument(args, kwargs, 1, "tag")
        value = _argument(args, kwargs, 2, "scalar_value")
        _report(tag, value, _argument(args, kwargs, 3, "global_step"))


def _scalars(result, args, kwargs, state):
    if id(args[0]) in _outside:
        main = _argument(args, kwargs, 1, "main_tag")
        step = _argument(args, kwargs, 3, "global_step")
        for tag, value in dict(_argument(args, kwargs, 2, "tag_scalar_dict") or {}).items():
            _report("%s/%s" % (main, tag), value, step)


def _report(tag, value, step):
    # tensorboardX takes the name of a value that somebody else holds.
    if not isinstance(value, str):
        journal.report(str(tag), float(value), step, origin=_ORIGIN)


def _hyperparameters(args, kwargs):
    given = _argument(args, kwargs, 1, "hparam_dict")
    if not isinstance(given, dict) or journal.is_worker():
        return
    values = {str(name): value for name, value in given.items()}
    if values in _scopes or len(_scopes) >= _MOST_SCOPES:
        return
    _scopes.append(values)
    journal.params(journal.scope("hparams"), values, _ORIGIN)


def _argument(args, kwargs, position, name):
    return args[position] if len(args) > position else kwargs.get(name)
