"""PyTorch's data loaders: how batches are made, out of which data.

A loader is recorded when it is first iterated over, under the name that the script gave it. Loaders
with equal settings are recorded once. Those that Keras makes of arrays are its own affair: what
`fit` was given says the same.
"""

import weakref

from _reenact import journal
from _reenact.patches import frames, shown
from _reenact.patches.torch import is_reporter, plain
from _reenact.wrap import wrap

MOST_OF_A_CLASS = 50
"""So many loaders of one class are recorded."""

_SETTINGS = ("batch_size", "num_workers", "drop_last", "pin_memory", "prefetch_factor", "timeout")
_ROLES = (
    ("test", ("test",)),
    ("validation", ("val", "valid", "validation", "dev", "eval")),
    ("train", ("train", "training")),
)

_loaders = {}
_told = {}
_counts = {}


def watch(module):
    """Take note of loaders that are made and used; `module` is `torch.utils.data.dataloader`."""
    wrap(module.DataLoader, "__init__", after=_made)
    wrap(module.DataLoader, "__iter__", after=_iterated)


class _Loader(object):
    """What is known of a loader."""

    __slots__ = ("reference", "name", "is_told")

    def __init__(self, loader, name):
        key = id(loader)
        self.reference = weakref.ref(loader, lambda _: _loaders.pop(key, None))
        self.name = name
        self.is_told = False


def _made(result, args, kwargs, state):
    loader = args[0]
    known = _loaders[id(loader)] = _Loader(loader, name_given())
    maker = frames.caller()
    known.is_told = maker is not None and frames.package_of(maker) == "keras"


def _iterated(result, args, kwargs, state):
    loader = args[0]
    known = _loaders.get(id(loader))
    if known is None:
        known = _loaders[id(loader)] = _Loader(loader, None)
    if known.is_told:
        return
    known.is_told = True
    if is_reporter():
        _tell(loader, known.name)


def _tell(loader, name):
    kind = type(loader).__name__
    settings = _settings_of(loader, name)
    key = (kind, repr(settings))
    if key in _told:
        return
    _counts[kind] = count = _counts.get(kind, 0) + 1
    if count > MOST_OF_A_CLASS:
        return
    _told[key] = scope = journal.scope(kind)
    journal.params(scope, settings, "torch")
    role = role_of(name)
    if role is not None:
        shape, dtype = _shape_of(loader.dataset, settings.get("dataset_size"))
        journal.event("dataset", name=name, role=role, shape=shape, dtype=dtype)


def _settings_of(loader, name):
    settings = {"name": name} if name else {}
    for attribute in _SETTINGS:
        if hasattr(loader, attribute):
            settings[attribute] = plain(getattr(loader, attribute))
    # accelerate and Lightning put a batch sampler around the one that the script asked for.
    batches = loader.batch_sampler
    for _ in range(5):
        batches = getattr(batches, "batch_sampler", batches)
    if settings.get("batch_size") is None and isinstance(getattr(batches, "batch_size", 0), int):
        settings["batch_size"] = getattr(batches, "batch_size", None)
        settings["drop_last"] = plain(getattr(batches, "drop_last", None))
    if batches is not None and type(batches).__name__ != "BatchSampler":
        settings["batch_sampler"] = type(batches).__name__
    sampler = getattr(batches, "sampler", loader.sampler)
    settings["sampler"] = type(sampler).__name__
    settings["shuffle"] = "Random" in type(sampler).__name__ or bool(
        getattr(sampler, "shuffle", False)
    )
    collate = getattr(loader, "collate_fn", None)
    if not str(getattr(collate, "__module__", None)).startswith("torch.utils.data"):
        settings["collate_fn"] = getattr(collate, "__qualname__", type(collate).__name__)
    dataset = loader.dataset
    settings["dataset"] = type(dataset).__name__
    size = _size_of(dataset)
    if size is not None:
        settings["dataset_size"] = size
    return settings


def _size_of(dataset):
    # The length of a stream may be unknown, or take a reading of all of it.
    kinds = [kind.__name__ for kind in type(dataset).__mro__]
    if "IterableDataset" in kinds or not hasattr(type(dataset), "__len__"):
        return None
    return shown.size_of(dataset)


def _shape_of(dataset, size):
    tensors = getattr(dataset, "tensors", None)
    if type(dataset).__name__ == "TensorDataset" and tensors:
        return list(tensors[0].shape), str(tensors[0].dtype).replace("torch.", "")
    return ([] if size is None else [size]), None


def role_of(name):
    """Return what data of this name is for: `train_loader` -> `train`; None if it does not say."""
    words = (name or "").lower().replace(".", "_").split("_")
    for role, marks in _ROLES:
        if any(word.startswith(marks) for word in words):
            return role
    return None


def name_given():
    """Return the name that the script gives to what it is just making, None if there is none.

    A function that returns it at once passes the question on to its caller.
    """
    frame = frames.caller()
    for _ in range(4):
        if frame is None or frames.is_library(frame):
            break
        name = frames.target_of(frame)
        if name is not None:
            return name
        if not _returns(frame.f_code.co_code, frame.f_lasti):
            break
        frame = frame.f_back
    return None


def _returns(instructions, position):
    """Tell whether the instruction after the call at an offset returns what the call returned."""
    from opcode import opname

    for at in range(position + 2, len(instructions), 2):
        name = opname[instructions[at]]
        if name != "CACHE":
            return name == "RETURN_VALUE"
    return False
