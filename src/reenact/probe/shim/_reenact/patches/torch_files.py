"""Files that PyTorch and safetensors write: which of them are models. Used by `torch.py`."""

import os
import sys

from _reenact import journal

_ORIGIN = "torch"


def _path_of(file):
    name = file if isinstance(file, (str, os.PathLike)) else getattr(file, "name", None)
    return os.fspath(name) if isinstance(name, (str, os.PathLike)) else None


def before_save(args, kwargs):
    """Make a staged file private before `torch.save` writes to it."""
    file = kwargs.get("f", args[1] if len(args) > 1 else None)
    # PyTorch writes with a library of its own, through a link that leads out of the run's
    # directory. What `open` says for a file that is written anew makes the link a private file;
    # nothing is opened, so that the project's file does not count as read.
    if isinstance(file, (str, os.PathLike)) and os.path.islink(file) and os.path.exists(file):
        sys.audit("open", os.fspath(file), "wb", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)


def saved(result, args, kwargs, state):
    """Say what `torch.save` wrote, if it is a model."""
    thing = kwargs.get("obj", args[0] if args else None)
    path = _path_of(kwargs.get("f", args[1] if len(args) > 1 else None))
    if path is not None and is_model(thing):
        journal.output(path, "model", origin=_ORIGIN)


def saved_tensors(result, args, kwargs, state):
    """Say what safetensors wrote, if it is a model."""
    thing = kwargs.get("tensors", kwargs.get("model", args[0] if args else None))
    path = _path_of(kwargs.get("filename", args[1] if len(args) > 1 else None))
    if path is not None and is_model(thing):
        journal.output(path, "model", origin=_ORIGIN)


def is_model(thing, depth=0):
    """Tell whether what is saved is a module, or a dictionary that holds one's parameters."""
    if isinstance(thing, sys.modules["torch"].nn.Module):
        return True
    if not isinstance(thing, dict) or depth > 3:
        return False
    # What `state_dict` of a module returns has this mark; a copy of it has the names.
    if hasattr(thing, "_metadata") or _holds_parameters(thing):
        return True
    # An optimizer's state is no model.
    values = () if "param_groups" in thing else list(thing.values())[:1000]
    return any(is_model(value, depth + 1) for value in values)


def _holds_parameters(thing):
    tensor = sys.modules["torch"].Tensor
    return any(
        isinstance(name, str)
        and name.rpartition(".")[2] in ("weight", "bias")
        and isinstance(value, tensor)
        for name, value in list(thing.items())[:1000]
    )
