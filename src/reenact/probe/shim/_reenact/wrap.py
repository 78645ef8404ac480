"""Take part in calls of a framework's functions without being noticed.

The original is called exactly once, with the arguments that the script gave, whatever happens to
us; what it raises goes on as it is. What a hook raises is recorded and goes no further.
"""

import _thread
import sys

from _reenact import journal

PROBLEMS = journal.PROBLEMS

_HERE = __file__.rpartition("/")[0]
UNSEEN = _HERE + "/importlib._bootstrap"
"""Python leaves out files of such a name when it looks for the line that a warning is about."""

_TAKES_REST = 0x0C
"""Flags of code that has `*args` and `**kwargs` (`CO_VARARGS`, `CO_VARKEYWORDS`)."""

_IS_ASYNC = 0x2A0
"""Flags of generators, coroutines and asynchronous generators."""
_local = _thread._local()
_ABSENT = object()


def depth():
    """Return how many outermost-only calls this thread is in."""
    return getattr(_local, "depth", 0)


class quiet(object):
    """Within it hooks of `outermost` do not fire in this thread: for what we call ourselves."""

    def __enter__(self):
        _local.depth = depth() + 1

    def __exit__(self, *_):
        _local.depth = depth() - 1


def wrap(owner, name, before=None, after=None, outermost=False, failed=None, as_named=False):
    """Put hooks around the function `name` of a module or class.

    Args:
        owner: module or class.
        name: of a function of it. What is no function, or is there no more, raises AttributeError.
        before: `before(args, kwargs)` returns None, or arguments `(args, kwargs)` to use instead.
        after: `after(result, args, kwargs, state)` with what `before` left in `state`, a dictionary
            of this call in which `before` finds itself as `state` if it takes three arguments.
        outermost: not within another such call of the same thread, and not within `quiet`.
        failed: `failed(error, args, kwargs, state)`, called when the original raises.
        as_named: the wrapper has the original's parameters, and hooks are given the defaults, too:
            the first three by position.

    Returns:
        The original.
    """
    held = owner.__dict__.get(name, _ABSENT) if isinstance(owner, type) else _ABSENT
    original = getattr(owner, name)
    if not callable(original):
        raise AttributeError("%s is not callable" % name)
    if getattr(original, "_reenact_original", None) is not None:
        return original._reenact_original
    if isinstance(held, (staticmethod, classmethod)):
        original = held.__func__
    where = "%s.%s" % (getattr(owner, "__name__", owner), name)
    takes_state = before is not None and before.__code__.co_argcount == 3

    def give_up(error, args, kwargs, state):
        if failed is not None:
            try:
                with quiet():
                    failed(error, args, kwargs, state)
            except PROBLEMS as problem:
                journal.failure(where, problem)

    def call(*args, **kwargs):
        if outermost and getattr(_local, "depth", 0):
            try:
                return original(*args, **kwargs)
            except BaseException as error:
                leave_traceback(error)
                raise
        state = {}
        if before is not None:
            try:
                with quiet():
                    instead = before(args, kwargs, state) if takes_state else before(args, kwargs)
                if instead is not None:
                    args, kwargs = instead
            except PROBLEMS as error:
                journal.failure(where, error)
            except BaseException as error:
                # Ctrl-C, for the script: what was begun ends here.
                give_up(error, args, kwargs, state)
                raise
        if outermost:
            _local.depth = getattr(_local, "depth", 0) + 1
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            if outermost:
                _local.depth -= 1
            leave_traceback(error)
            give_up(error, args, kwargs, state)
            raise
        if outermost:
            _local.depth -= 1
        if after is not None:
            try:
                with quiet():
                    after(result, args, kwargs, state)
            except PROBLEMS as error:
                journal.failure(where, error)
        return result

    named = _with_names(call, original, as_named)
    call = look_alike(named or call, original, named is None)
    replacement = type(held)(call) if isinstance(held, (staticmethod, classmethod)) else call
    setattr(owner, name, replacement)
    return original


def _with_names(call, original, always):
    """Give a wrapper the parameters of the original, so that `inspect` sees them there.

    A `__signature__` cannot say what `inspect.getfullargspec` shows of a decorated function, and
    whoever puts `functools.wraps` around a method takes it over. But with parameters hooks are
    given defaults, too, so that others than those of `always` only get them where there are none:
    decorators leave `(estimator, *args, **kwargs)`.
    """
    code = getattr(original, "__code__", None)
    if type(original) is not type(call) or code.co_flags & _IS_ASYNC:
        return None
    if not always and (
        not hasattr(original, "__wrapped__")
        or code.co_flags & _TAKES_REST != _TAKES_REST
        or code.co_kwonlyargcount
        or original.__defaults__
    ):
        return None
    named = _factory(code)(_unseen(call), leave_traceback)
    named.__defaults__, named.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
    return named


def _factory(code):
    """Return what makes a function that has the parameters of other code and calls another one."""
    count, more = code.co_argcount, code.co_kwonlyargcount
    flags = code.co_flags & _TAKES_REST
    names = code.co_varnames[: count + more + (flags & 4) // 4 + flags // 8]
    shape = (names, count, more, code.co_posonlyargcount, flags)
    if shape not in _factories:
        only = names[count : count + more]
        rest = list(names[count + more :])
        many = "*" + rest.pop(0) if flags & 4 else ""
        taken = list(names[:count])
        # As a script would do: what hooks look for by name stays a keyword.
        keep = count if many else max(3, code.co_posonlyargcount)
        given = list(names[:keep][:count]) + ["%s=%s" % (n, n) for n in names[keep:count]]
        if code.co_posonlyargcount:
            taken.insert(code.co_posonlyargcount, "/")
        if many or only:
            taken.append(many or "*")
        given += [many] if many else []
        taken += only
        given += ["%s=%s" % (name, name) for name in only]
        taken += ["**" + name for name in rest]
        given += ["**" + name for name in rest]
        source = _SOURCE % (", ".join(taken), ", ".join(given))
        made = {}
        exec(compile(source, UNSEEN, "exec"), {"__name__": __name__}, made)  # noqa: S102
        _factories[shape] = made["make"]
    return _factories[shape]


_factories = {}
_SOURCE = """
def make(_reenact_call, _reenact_leave):
    def call(%s):
        try:
            return _reenact_call(%s)
        except BaseException as _reenact_error:
            _reenact_leave(_reenact_error)
            raise
    return call
"""


def _unseen(function):
    """Return a copy that warnings do not take for the place that they are about."""
    code = function.__code__.replace(co_filename=UNSEEN)
    return type(function)(code, function.__globals__, function.__name__, None, function.__closure__)


def look_alike(function, original, needs_signature=True):
    """Make `function` look as `original` does to `inspect`, `pickle`, `help` and Sphinx.

    `needs_signature` says that its parameters are not those of the original.
    """
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        try:
            setattr(function, attribute, getattr(original, attribute))
        except (AttributeError, TypeError):
            pass
    try:
        function.__dict__.update(original.__dict__)
    except AttributeError:
        pass
    function.__wrapped__ = original
    inspect = sys.modules.get("inspect")
    if needs_signature and inspect is not None and not hasattr(original, "__wrapped__"):
        # `inspect.getfullargspec` does not look at what is wrapped. Of a decorated original it shows
        # the decorator's own parameters, and `inspect.signature` others: there it stays undecided.
        try:
            function.__signature__ = inspect.signature(original)
        except (ValueError, TypeError):
            pass
    function._reenact_original = original
    return function


def version_of(module):
    """Return the version that a package states, or None."""
    version = getattr(module, "__version__", None)
    return version if isinstance(version, str) else None


def leave_traceback(error):
    """Take our frame, the one that has just caught it, out of an exception's traceback."""
    if sys.version_info >= (3, 11):
        # What a bare `raise` raises again has the traceback that the exception has by then.
        trace = error.__traceback__
        if trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
            error.__traceback__ = trace.tb_next
    elif sys.excepthook is sys.__excepthook__:
        # There it has the one with which it was caught: at least what Python prints is without us.
        sys.excepthook = _print_without_us


def _print_without_us(kind, error, trace):
    try:
        _leave_out(error)
        trace = error.__traceback__ if error is not None else trace
    except Exception:
        pass
    sys.__excepthook__(kind, error, trace)


def _leave_out(error):
    seen = set()
    waiting = [error]
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = _pruned(error.__traceback__)
            waiting += (error.__cause__, error.__context__)


def _pruned(trace):
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_HERE):
        trace = trace.tb_next
    at = trace
    while at is not None and at.tb_next is not None:
        if at.tb_next.tb_frame.f_code.co_filename.startswith(_HERE):
            at.tb_next = at.tb_next.tb_next
        else:
            at = at.tb_next
    return trace
