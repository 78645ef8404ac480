"""Which modules of PyTorch hold the parameters that an optimizer changes, and what they look like.

PyTorch calls a hook of ours for each parameter and each submodule that a module is given, so that
from a parameter one can climb to the outermost module. No function of PyTorch is replaced for it.

Not covered: parameters that were put into a module's dictionaries by hand.
"""

import sys
import weakref

from _reenact import journal
from _reenact.wrap import wrap

MOST_OF_A_CLASS = 50
"""So many models of one class have a name of their own; further ones are not recorded."""

_MOST_LINES = 400
_MOST_ROOTS = 20
_FIRST_LIMIT = 100000
# What makes a parallel or compiled version of a module, and where it keeps that module.
_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "_LightningModuleWrapperBase": "_forward_module",
}

_MACHINERY = ("torch._", "torch.fx.", "torch.export.")

_owners = {}
_parents = {}
_names = {}
_counts = {}
_limit = _FIRST_LIMIT


def watch(module):
    """Learn from now on which module holds what; `module` is `torch.nn.modules.module`."""
    module.register_module_parameter_registration_hook(uncompiled(_note_parameter))
    module.register_module_module_registration_hook(uncompiled(_note_child))
    # Copies and modules out of files come about without a registration.
    wrap(module.Module, "__setstate__", after=_note_restored)


def uncompiled(function):
    """Return a function that `torch.compile` runs as it is: not compiled anew for each number."""
    frames = sys.modules["torch._C"]._dynamo.eval_frame
    if hasattr(frames, "set_code_exec_strategy"):
        skip = frames._FrameAction.SKIP
        strategy = frames._FrameExecStrategy(skip, skip)
        frames.set_code_exec_strategy(function.__code__, strategy)
        function._torchdynamo_disable = True
        return function

    # In older versions that holds for one function only, and not for those that it calls.
    def call(*args):
        former = frames.set_eval_frame(None)
        try:
            return function(*args)
        finally:
            frames.set_eval_frame(former)

    frames.skip_code(call.__code__)
    call._torchdynamo_disable = True
    return call


def _note_parameter(module, name, parameter):
    if parameter is not None:
        _note(_owners, parameter, module, name)


def _note_child(module, name, child):
    if child is not None:
        _note(_parents, child, module, name)


def _note_restored(result, args, kwargs, state):
    module = args[0]
    for name, parameter in module.__dict__.get("_parameters", {}).items():
        _note_parameter(module, name, parameter)
    for name, child in module.__dict__.get("_modules", {}).items():
        _note_child(module, name, child)


def _note(table, held, holder, name):
    # PyTorch calls this: nothing may be raised here.
    try:
        # torch.compile and torch.fx put a model's parameters into modules of their own.
        if id(held) in table and type(holder).__module__.startswith(_MACHINERY):
            return
        table[id(held)] = (weakref.ref(holder), name)
        if len(table) > _limit:
            _forget_dead(table)
    except Exception:
        pass


def _forget_dead(table):
    global _limit
    for key in [key for key, (holder, _) in list(table.items()) if holder() is None]:
        table.pop(key, None)
    _limit = max(_limit, 2 * len(table))


def models_of(parameters):
    """Return the outermost modules that hold any of these parameters, without their wrappers."""
    found = {}
    outermost = {}
    for parameter in parameters:
        owner = _holder(_owners, parameter, "_parameters")
        if owner is None:
            continue
        if id(owner) not in outermost:
            model = unwrapped(_climb(owner))
            outermost[id(owner)] = model
            found[id(model)] = model
            if len(found) >= _MOST_ROOTS:
                break
    return list(found.values())


def _climb(module):
    for _ in range(100):
        parent = _holder(_parents, module, "_modules")
        if parent is None:
            break
        module = parent
    return module


def _holder(table, held, attribute):
    holder, name = table.get(id(held), (None, None))
    holder = None if holder is None else holder()
    if holder is None:
        return None
    # The number may be that of a thing of the past.
    return holder if holder.__dict__.get(attribute, {}).get(name) is held else None


def unwrapped(module):
    """Return the module that a parallel or compiled version of it stands for."""
    for _ in range(10):
        attribute = _WRAPPERS.get(type(module).__name__)
        inner = module.__dict__.get("_modules", {}).get(attribute)
        if inner is None:
            break
        module = inner
    return module


def is_named(module):
    """Tell whether a model has its name already."""
    known = _names.get(id(module))
    return known is not None and known[0]() is module


def name_of(module):
    """Return the name under which a model stands in the record, None if there are too many."""
    if is_named(module):
        return _names[id(module)][1]
    kind = type(module).__name__
    _counts[kind] = _counts.get(kind, 0) + 1
    name = journal.scope(kind) if _counts[kind] <= MOST_OF_A_CLASS else None
    _names[id(module)] = (weakref.ref(module), name)
    return name


def settings_of(module):
    """Return how many parameters a model has, and of what type and where they are."""
    total = trainable = 0
    dtypes, devices = {}, {}
    for parameter in _parameters(module, set()):
        count = size_of(parameter)
        total += count
        trainable += count if parameter.requires_grad else 0
        dtypes[str(parameter.dtype).replace("torch.", "")] = None
        devices[str(parameter.device)] = None
    settings = {"parameters": total, "trainable_parameters": trainable}
    for name, values in (("dtype", dtypes), ("device", devices)):
        settings[name] = ", ".join(values)
    if module.__dict__.get("training") is not None:
        settings["modules"] = sum(1 for _ in _walk(module, "", 0, set()))
    return settings


def _parameters(module, seen):
    for _, inner, _ in _walk(module, "", 0, set()):
        for parameter in list(inner.__dict__.get("_parameters", {}).values()):
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                yield parameter


def _walk(module, name, depth, seen):
    # Not through `modules()`, which a class may have changed.
    if id(module) in seen or depth > 60:
        return
    seen.add(id(module))
    yield name, module, depth
    for child_name, child in list(module.__dict__.get("_modules", {}).items()):
        if child is not None:
            for found in _walk(child, child_name, depth + 1, seen):
                yield found


def size_of(parameter):
    try:
        return parameter.numel()
    except Exception:
        # A lazy module's parameter has no shape before the first batch.
        return 0


def summary_of(module):
    """Return a table of a model's modules with their number of parameters."""
    lines = []
    left_out = 0
    seen = set()
    for name, inner, depth in _walk(module, "", 0, set()):
        count = 0
        for parameter in list(inner.__dict__.get("_parameters", {}).values()):
            if parameter is not None and id(parameter) not in seen:
                seen.add(id(parameter))
                count += size_of(parameter)
        if len(lines) >= _MOST_LINES:
            left_out += 1
            continue
        label = "%s: " % name if name else ""
        text = "%s%s%s(%s)" % ("  " * depth, label, type(inner).__name__, _details(inner))
        lines.append("%-60s %12s" % (text, "{:,}".format(count)) if count else text)
    if left_out:
        lines.append("... and %d more modules" % left_out)
    return "\n".join(lines)


def _details(module):
    # Only PyTorch's own classes are asked: what others do in `extra_repr` is their secret.
    if not (type(module).__module__ or "").startswith("torch.nn."):
        return ""
    try:
        return module.extra_repr()
    except Exception:
        return ""


def class_name(value):
    """Return the class of a value with its module."""
    kind = type(value)
    return "%s.%s" % (kind.__module__, kind.__qualname__)
