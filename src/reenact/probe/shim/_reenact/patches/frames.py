"""What stands around a call: who made it, from which variables, and which one takes its value.

Read from the calling frame: its bytecode (CPython 3.8 to 3.14) and its variables. Where that does
not tell, the answer is None.
"""

import os
import sys

from _reenact.wrap import UNSEEN

_HERE = __file__.rpartition("/")[0].rpartition("/")[0]
_LIBRARY = os.path.dirname(os.__file__)
_MOST_SITES = 10000
_LOADS = ("LOAD_NAME", "LOAD_FAST", "LOAD_GLOBAL", "LOAD_DEREF")
_IS_FUNCTION = 1
"""Flag of code whose variables are not in a dictionary (`CO_OPTIMIZED`)."""
_COPIES = sys.version_info < (3, 13)
"""Here to look at a function's variables copies them."""
_SKIPPED = ("CACHE", "NOP", "DUP_TOP", "COPY", "EXTENDED_ARG")

_sites = {}
_codes = {}


def caller(passing=()):
    """Return the frame that called what is hooked.

    Args:
        passing: names of modules whose frames only pass calls on.
    """
    frame = sys._getframe(1)
    while frame is not None:
        is_ours = frame.f_code.co_filename.startswith(_HERE)
        if not is_ours and frame.f_globals.get("__name__") not in passing:
            return frame
        frame = frame.f_back
    return None


def package_of(frame):
    """Return the package that a frame's code belongs to, an empty text if none."""
    return str(frame.f_globals.get("__name__") or "").partition(".")[0]


def is_library(frame):
    """Tell whether a frame's code is installed, and not the user's own."""
    name = frame.f_code.co_filename
    return "site-packages" in name or "dist-packages" in name or name.startswith(_LIBRARY)


def variable_of(frame, value):
    """Return the name of a variable of the calling code that is this very object."""
    if frame is None:
        return None
    code = frame.f_code
    is_function = code.co_flags & _IS_FUNCTION
    if is_function:
        for name, held in _locals_of(frame):
            if held is value:
                return name
    for around in (frame.f_globals,) if is_function else (frame.f_locals, frame.f_globals):
        for name in code.co_names:
            if name in around and around[name] is value:
                return name
    return None


def local_of(frame, name):
    """Return what a variable of a function that is running holds, None if it cannot be seen."""
    return dict(_locals_of(frame)).get(name)


def _locals_of(frame):
    """Return names and values of a running function's variables, and leave no trace.

    Before Python 3.13 to look at them is to bring a dictionary up to date that the frame keeps. The
    function may have it, too, from `locals()`: then it would see variables change in there, so that
    nothing is looked at. And what is in it stays alive as long as the frame, so that it is emptied.
    """
    code = frame.f_code
    if _COPIES and ("locals" in code.co_names or "vars" in code.co_names):
        return []
    names = code.co_varnames + code.co_cellvars + code.co_freevars
    held = frame.f_locals
    found = [(name, held[name]) for name in names if name in held]
    # The frame has it, and this function; and it is an argument here.
    if _COPIES and sys.getrefcount(held) <= 3:
        for name, _ in found:
            held.pop(name, None)
    return found


def target_of(frame):
    """Return what takes the value of the call that a frame is in.

    The name of a variable (`acc = f()`), of an attribute (`self.acc = f()`) or of a key
    (`results["acc"] = f()`); None where the value goes elsewhere first, as in `round(f(), 3)`.
    """
    if frame is None:
        return None
    site = (frame.f_code, frame.f_lasti)
    try:
        return _sites[site]
    except KeyError:
        if len(_sites) >= _MOST_SITES:
            _sites.clear()
        _sites[site] = name = _read_target(*site)
        return name


def unseen(function, module=None):
    """Return a copy of a wrapper that warnings do not take for the place that they are about.

    Args:
        function: one that calls the original.
        module: of a library that looks by itself for the first frame outside of it, which is what
            matplotlib does where Python has no `skip_file_prefixes`.
    """
    code, names = function.__code__, function.__globals__
    if module is not None and sys.version_info < (3, 12):
        names = dict(names, __name__=module)
    else:
        code = _codes.get(code)
        if code is None:
            code = function.__code__.replace(co_filename=UNSEEN)
            _codes[function.__code__] = code
    twin = type(function)(
        code, names, function.__name__, function.__defaults__, function.__closure__
    )
    for attribute in ("__module__", "__qualname__", "__doc__", "__kwdefaults__", "__annotations__"):
        setattr(twin, attribute, getattr(function, attribute))
    twin.__dict__.update(function.__dict__)
    return twin


def _read_target(code, at):
    steps = _instructions(code, at)
    operation, argument = next(steps)
    if operation in ("STORE_NAME", "STORE_GLOBAL"):
        return code.co_names[argument]
    if operation == "STORE_FAST":
        return code.co_varnames[argument]
    if operation == "STORE_DEREF":
        return _cell_name(code, argument)
    if operation in ("STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST"):
        return code.co_varnames[argument >> 4]
    if operation.startswith(_LOADS):
        operation, argument = next(steps)
        if operation == "STORE_ATTR":
            return code.co_names[argument]
        if operation == "LOAD_CONST" and next(steps)[0] == "STORE_SUBSCR":
            key = code.co_consts[argument]
            return key if isinstance(key, str) else None
    return None


def _instructions(code, at):
    """Give names and arguments of the instructions after the one at an offset."""
    from opcode import opname

    content = code.co_code
    extended = 0
    for position in range(at + 2, len(content) - 1, 2):
        name, argument = opname[content[position]], content[position + 1] | extended
        extended = argument << 8 if name == "EXTENDED_ARG" else 0
        if name not in _SKIPPED:
            yield name, argument
    while True:
        yield "", 0


def _cell_name(code, argument):
    if hasattr(code, "_varname_from_oparg"):
        return code._varname_from_oparg(argument)
    return (code.co_cellvars + code.co_freevars)[argument]
