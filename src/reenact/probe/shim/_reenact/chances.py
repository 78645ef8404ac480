"""Sources of results that change from run to run, and the lines of the script's own code that met them.

Loaded when the process first does something of the kind. What a library does for itself says nothing
about the script: a call counts when the nearest frame outside Python's own library is code of the
project. Of what goes over the network, calls through libraries count as well.

A line is written when a place is first seen, so that it outlives `kill -9`, and once more at the end
where it was seen often. Whether a listing is sorted is for the supervisor to find out: it has time.
"""

import atexit
import os
import sys

from _reenact import RENEWALS, _command, tell_of_chance

PROJECT, LIBRARY, STANDARD, IMPORT, OURS = range(5)

_HERE = __file__.rpartition("/")[0] + "/"
_STANDARD = os.path.dirname(os.__file__) + "/"
_MOST_PLACES = 200
_DEEPEST = 60
_LISTS = ("os", "glob", "pathlib")
_EVENTS = {
    "os.listdir": ("listing", "os.listdir"),
    "os.scandir": ("listing", "os.scandir"),
    "_thread.start_new_thread": ("threads", "_thread.start_new_thread"),
    "_thread.start_joinable_thread": ("threads", "threading.Thread.start"),
    "os.fork": ("processes", "os.fork"),
    "socket.connect": ("network", "socket.connect"),
}

_known = {}
"""Name of a file -> whose it is."""
_seen = {}
_unsaid = []


def notice(event, arguments):
    """Take note of an audit event, if it is one of the script's own doing."""
    kind, what = _EVENTS[event]
    frame = sys._getframe(2)
    if kind == "network":
        if _is_local(arguments[1]):
            return
        note(kind, what, frame, True)
        return
    if kind == "listing":
        note(kind, what, frame, modules=_LISTS)
        return
    note(kind, what, frame)


def _is_local(address):
    if type(address) is not tuple or not address:
        return True
    host = str(address[0])
    return host.startswith("127.") or host in ("::1", "localhost")


def note(kind, what, frame, through_libraries=False, modules=None):
    """Take note of a source of chance that `frame`, or what called it, has met.

    Args:
        kind: as in a record: `listing`, `threads`.
        what: the function, where it is not one of Python's own library that the script called.
        frame: where to begin to look for the script's code.
        through_libraries: code of libraries may lie between.
        modules: of Python's own library only calls through these count.
    """
    place, between = find_place(frame, through_libraries)
    if place is None:
        if kind == "operation":
            # Of a thread of the framework's own.
            _note_once((what, kind), {"chance": kind, "what": what})
        return
    if between is not None:
        module = _module_of(between)
        if modules is not None and module not in modules:
            return
        if kind == "threads" and module.partition(".")[0] in ("multiprocessing", "subprocess"):
            kind = "processes"
        if whose(between) == STANDARD:
            what = "%s.%s" % (
                module,
                getattr(between.f_code, "co_qualname", between.f_code.co_name),
            )
    key = (place.f_code, place.f_lineno, kind)
    if key in _seen:
        _seen[key][1] += 1
        return
    said = {"chance": kind, "what": what, "at": where(place)}
    column = _column(place)
    if column is not None:
        said["column"] = column
    _note_once(key, said)


def _note_once(key, said):
    if key in _seen:
        _seen[key][1] += 1
        return
    if len(_seen) >= _MOST_PLACES:
        return
    _seen[key] = [said, 1]
    if len(_seen) == 1:
        atexit.register(_tell_counts)
    tell_of_chance(said)


def find_place(frame, through_libraries=False):
    """Return the frame of the project's code that called, and the one that it called; None without."""
    between = None
    for _ in range(_DEEPEST):
        if frame is None:
            return None, None
        kind = whose(frame)
        if kind == PROJECT:
            return frame, between
        if kind == IMPORT or (kind == LIBRARY and not through_libraries):
            return None, None
        if kind != OURS:
            between = frame
        frame = frame.f_back
    return None, None


def whose(frame):
    """Tell whose code a frame is of."""
    name = frame.f_code.co_filename
    found = _known.get(name)
    if found is None:
        if len(_known) > 5000:
            _known.clear()
        found = _known[name] = _whose(name)
    if found == LIBRARY and frame.f_globals.get("__name__") == "__main__":
        # A cell of a notebook, `python -c`, a script from elsewhere.
        return STANDARD if name == "<string>" and _is_served() else PROJECT
    return found


def _is_served():
    """Tell whether the command of this process is multiprocessing's own."""
    return any(word.startswith("from multiprocessing.") for word in _command())


def _whose(name):
    if name.startswith(_HERE):
        return OURS
    if name.startswith("<frozen "):
        return IMPORT if name.startswith("<frozen importlib") else STANDARD
    if "/site-packages/" in name or "/dist-packages/" in name:
        return LIBRARY
    if name.startswith(_STANDARD):
        return STANDARD
    if not name.startswith("/") or name.startswith(sys.prefix + "/"):
        return LIBRARY
    environ = os.environ
    for variable in ("REENACT_STAGE", "REENACT_PROJECT"):
        directory = environ.get(variable)
        if directory and name.startswith((directory + "/", os.path.realpath(directory) + "/")):
            return PROJECT
    return LIBRARY


def where(frame):
    """Return file and line of a frame."""
    return [frame.f_code.co_filename, frame.f_lineno]


def _column(frame):
    """Return the column at which the call begins that a frame is in the middle of, or None."""
    positions = getattr(frame.f_code, "co_positions", None)
    if positions is None:
        return None
    for index, position in enumerate(positions()):
        if index == frame.f_lasti // 2:
            return position[2]
    return None


def _module_of(frame):
    name = frame.f_globals.get("__name__")
    name = name if isinstance(name, str) else ""
    # Where the parts of one module happen to lie.
    return name.replace("._local", "").replace("._abc", "")


def _tell_counts():
    for said, count in list(_seen.values()):
        if count > 1:
            tell_of_chance(dict(said, count=count))


def _after_fork():
    # What was seen before was the parent's.
    for found in _seen.values():
        found[1] = 0


RENEWALS.append(_after_fork)
