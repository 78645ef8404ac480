"""What a process tells of its run: points and events, on disk before the call returns.

Two files in the run's `.reenact/probe/`, named after the process and the moment of its first word:

`<key>.points`  records of 32 bytes as in the run's own `metrics`: time in nanoseconds, step, value,
                number of the name, marker. The first one is a header: moment of the beginning,
                points that found no room, 0, version, the marker `rntj`. The file is longer than
                what is in it; what has no marker has not been written (yet).
`<key>.events`  a JSON object per line; `k` says what kind. `name` gives a number its name before
                the first point that uses it.

Points go through a memory map, so that no file descriptor can be taken away by the script, and
outlive `kill -9` of the process. Where the file system has no room to set aside they are appended.

A fork begins files of its own. Any number of threads may write.
"""

import _thread
import mmap
import os
import sys
from _json import encode_basestring_ascii as _quote
from itertools import count
from struct import Struct
from struct import error as StructError
from time import time_ns

MARKER = int.from_bytes(b"rnt1", "little")
HEADER_MARKER = int.from_bytes(b"rntj", "little")
VERSION = 1
RECORD_BYTES = 32
MOST_NAMES = 100000
"""New names beyond so many in one process are not recorded; a remark says so."""
MOST_TEXT = 65536
"""Longer texts in events are cut, and say so."""

_RECORD = Struct("<qqdII")
_pack_into = _RECORD.pack_into
_FIRST_WINDOW = 65536
_LARGEST_WINDOW = 4 << 20
_MOST_FAILURES = 20
_MOST_DEPTH = 8
_EMPTY = (None, 0, 0)

_numbers = {}
_implied = {}
_counter = count(1)
_window = _EMPTY
"""Memory that records go to, index of the first in it, index after the last."""


class _Place(object):
    """Where this process writes."""

    def __init__(self):
        self.lock = _thread.RLock()
        self.directory = None
        self.run_directory = None
        self.path = None
        self.known_names = 0
        self.maps = []
        self.size = 0
        self.lost = 0
        self.appends = False
        self.descriptor_of_map = None
        self.scopes = {}
        self.failures = 0
        self.is_fork = False


_place = _Place()


def attach(record_directory, run_directory):
    """Write from now on into the run whose `.reenact` directory this is; None for no run."""
    with _place.lock:
        while _place.maps:
            _let_go(0)
        _begin_anew()
        _place.directory = record_directory
        _place.run_directory = run_directory


def record_directory():
    """Return the `.reenact` directory of the run that this process belongs to, or None."""
    return _place.directory


def run_directory():
    """Return the run directory, or None."""
    return _place.run_directory


def is_worker():
    """Tell whether this process works for another Python process that reports for it.

    Forks, children of multiprocessing and joblib, and ranks other than 0 are workers.
    """
    if _place.is_fork:
        return True
    rank = os.environ.get("RANK")
    if rank is not None:
        return rank != "0"
    words = " ".join(getattr(sys, "orig_argv", sys.argv)[:6])
    marks = ("--multiprocessing-fork", "multiprocessing.", "joblib.externals.loky", "popen_loky")
    return any(mark in words for mark in marks)


# --- points ---


def point(name, value, step):
    """Record one number of the metric `name`, which `log` reported."""
    try:
        number = _numbers[name]
    except KeyError:
        return _record(name, value, step, "log")
    if value.__class__ is not float or step.__class__ is not int:
        return _record(name, value, step, "log")
    index = next(_counter)
    window, first, end = _window
    if first <= index < end:
        try:
            _pack_into(
                window, (index - first) * RECORD_BYTES, time_ns(), step, value, number, MARKER
            )
        except StructError:
            return _complain(name, step)
        return None
    return _write(index, time_ns(), step, value, number)


def report(name, value, step=None, origin="log"):
    """Record one number that a module of `patches` found; `origin` is what that is called.

    A metric of workers is not recorded: they compute a part of what another process reports.
    """
    if _place.directory is not None and not is_worker():
        _record(name, value, step, origin)


def _record(name, value, step, origin):
    """Record a number of any type.

    Raises:
        TypeError, ValueError: it is not a number; nothing was recorded.
        OverflowError: it is too large for a float.
    """
    if _place.directory is None:
        return
    if value.__class__ is not float:
        if isinstance(value, (str, bytes)):
            raise TypeError("text is not a number")
        value = float(value)
    key = name if origin == "log" else (name, origin)
    number = _numbers.get(key)
    if number is None:
        number = _register(key, name, origin)
        if number is None:
            return
    if step is None:
        step = next(_implied.setdefault(key, count()))
    elif step.__class__ is not int:
        step = _whole(step)
    index = next(_counter)
    window, first, end = _window
    now = time_ns()
    if first <= index < end:
        try:
            _pack_into(window, (index - first) * RECORD_BYTES, now, step, value, number, MARKER)
        except StructError:
            _complain(name, step)
    else:
        _write(index, now, step, value, number)


def _whole(step):
    """Return a step of any type as an int; TypeError or ValueError if it is none."""
    if hasattr(step, "__index__"):
        return step.__index__()
    number = float(step)
    if number != number or number in (float("inf"), float("-inf")) or int(number) != number:
        raise ValueError("step %r is not a whole number" % (step,))
    return int(number)


def _complain(name, step):
    raise ValueError("step %r of `%s` does not fit 64 bits" % (step, name))


def _register(key, name, origin):
    with _place.lock:
        number = _numbers.get(key)
        if number is not None:
            return number
        if _place.known_names >= MOST_NAMES:
            _lose()
            if _place.known_names == MOST_NAMES:
                _place.known_names += 1
                text = "more than %d names of metrics in one process: points of others are lost"
                remark("metric-names", text % MOST_NAMES)
            return None
        number = _place.known_names
        if not event("name", id=number, name=str(name), origin=origin):
            _lose()
            return None
        _place.known_names += 1
        _numbers[key] = number
        return number


def _write(index, now, step, value, number):
    """Store a record that the window at hand has no place for."""
    try:
        record = _RECORD.pack(now, step, value, number, MARKER)
    except StructError:
        _complain("metric", step)
    with _place.lock:
        if _place.directory is None:
            return
        try:
            while not _place.appends and not _covers(index):
                _extend(index)
            if not _place.appends:
                window, first, _ = _window
                at = (index - first) * RECORD_BYTES
                window[at : at + RECORD_BYTES] = record
                return
        except OSError:
            # Points beyond the window are appended one by one: there may be room again.
            _place.appends = True
        try:
            _append_record(record)
        except OSError:
            _lose()


def _covers(index):
    return _window[1] <= index < _window[2]


def _extend(index):
    """Map the part of the file that comes next, as often as it takes to reach `index`."""
    global _window
    if index < _window[1]:
        raise OSError("the window has moved on while another thread held this number")
    size = min(max(_FIRST_WINDOW, _place.size), _LARGEST_WINDOW)
    path = _file(".points")
    is_new = _place.size == 0
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            os.posix_fallocate(descriptor, _place.size, size)
        except AttributeError:
            _place.appends = True
            return
        # Python keeps a copy of the descriptor beside the map; this is the number it gets.
        number = os.dup(descriptor)
        os.close(number)
        window = mmap.mmap(descriptor, size, offset=_place.size)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    first = _place.size // RECORD_BYTES
    if is_new:
        _RECORD.pack_into(window, 0, time_ns(), _place.lost, 0.0, VERSION, HEADER_MARKER)
    _place.size += size
    _place.maps.append((window, number, status.st_dev, status.st_ino))
    _window = (window, first, first + size // RECORD_BYTES)
    # The first one holds the header; another thread may be writing to the last one but one.
    while len(_place.maps) > 3:
        _let_go(1)


def _let_go(position):
    """Give back the memory of a window that is full."""
    window, number, device, inode = _place.maps.pop(position)
    try:
        status = os.fstat(number)
        is_ours = (status.st_dev, status.st_ino) == (device, inode)
    except OSError:
        is_ours = False
    if is_ours:
        window.close()
    else:
        # The script has closed the descriptor; to close it again would take one of its own.
        _abandoned.append(window)


_abandoned = []


def _append_record(record):
    path = _file(".points")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, record) != len(record):
            os.ftruncate(descriptor, size)
            raise OSError("no room for a record")
    finally:
        os.close(descriptor)


def _lose():
    """Count a point that could not be stored, in a place that was set aside for it."""
    _place.lost += 1
    if _place.maps:
        _RECORD.pack_into(_place.maps[0][0], 0, time_ns(), _place.lost, 0.0, VERSION, HEADER_MARKER)


# --- events ---


def event(kind, **fields):
    """Write an event; False where that is impossible."""
    if _place.directory is None:
        return False
    fields["k"] = kind
    fields["t"] = time_ns()
    try:
        line = encode(fields).encode("ascii") + b"\n"
        with _place.lock:
            path = _file(".events")
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(path, flags, 0o666)
            try:
                return os.write(descriptor, line) == len(line)
            finally:
                os.close(descriptor)
    except OSError:
        return False


def params(scope, values, origin):
    """Record settings that a framework used, as `scope.name`; with an empty scope as `name`."""
    event("params", scope=scope, values=values, origin=origin)


def scope(name):
    """Return a name for something that has params: `Ridge`, then `Ridge-2`, ..."""
    with _place.lock:
        _place.scopes[name] = number = _place.scopes.get(name, 0) + 1
    return name if number == 1 else "%s-%d" % (name, number)


def output(path, role, title=None, step=None, origin="log"):
    """Say what a file in the run directory is: `figure`, `model`, `table`, `image`, ..."""
    event("output", path=os.path.abspath(path), role=role, title=title, step=step, origin=origin)


def framework(name, version, state="captured", detail=None):
    """Say that a framework is captured, or (`state` "not captured") why it is not."""
    event("framework", name=name, version=version, state=state, detail=detail)


def remark(code, message):
    """Say something that the run's reader must know."""
    event("remark", code=code, message=message)


def failure(where, error):
    """Record that something of ours has failed; the script goes on."""
    _place.failures += 1
    if _place.failures <= _MOST_FAILURES:
        trace = getattr(error, "__traceback__", None)
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        at = ""
        if trace is not None:
            code = trace.tb_frame.f_code
            at = "%s:%d" % (os.path.basename(code.co_filename), trace.tb_lineno)
        text = "%s: %s" % (type(error).__name__, error)
        event("failure", where=where, error=text[:500], at=at)


def encode(value, depth=0):
    """Return JSON for a value of any type; what JSON has no word for becomes its `repr`.

    NaN and the infinities are `{"$float": "NaN"}`. A text above `MOST_TEXT` characters is cut: it
    ends in an ellipsis and its length. What nests deeper than 8 levels is shown by its `repr`.
    """
    kind = value.__class__
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if kind is str:
        return _quote(value if len(value) <= MOST_TEXT else _cut(value))
    if kind is int:
        return int.__repr__(value) if -(1 << 63) <= value < 1 << 64 else _quote(_repr(value))
    if kind is float:
        if value - value == 0.0:
            return float.__repr__(value)
        return '{"$float":"%s"}' % (
            "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        )
    if depth < _MOST_DEPTH:
        if kind is dict or isinstance(value, dict):
            items = list(value.items())
            return "{%s}" % ",".join(
                "%s:%s" % (_quote(k if type(k) is str else _repr(k)), encode(v, depth + 1))
                for k, v in items
            )
        if kind is list or kind is tuple:
            return "[%s]" % ",".join(encode(item, depth + 1) for item in list(value))
    return _encode_other(value, depth)


def _encode_other(value, depth):
    try:
        if isinstance(value, (bool, int, float, str)):
            # A subclass: an enumeration, NumPy's float64.
            for base in (bool, int, float, str):
                if isinstance(value, base):
                    return encode(base(value) if base is not str else str.__str__(value), depth)
        # A scalar of NumPy or of a tensor library on the processor.
        if getattr(value, "shape", None) == () and type(value).__module__ == "numpy":
            return encode(value.item(), depth + 1)
    except Exception:
        pass
    return _quote(_repr(value))


def _repr(value):
    try:
        text = repr(value)
    except Exception as error:
        text = "<%s that has no repr: %s>" % (type(value).__name__, type(error).__name__)
    return text if len(text) <= 1000 else text[:1000] + "... (%d characters)" % len(text)


def _cut(text):
    return text[: MOST_TEXT - 64] + "... (%d characters)" % len(text)


# --- files and forks ---


def _file(suffix):
    if _place.path is None:
        directory = _place.directory + "/probe"
        os.makedirs(directory, exist_ok=True)
        _place.path = "%s/%d-%x" % (directory, os.getpid(), time_ns())
    return _place.path + suffix


def _begin_anew():
    global _window, _counter
    _window = _EMPTY
    _counter = count(1)
    _numbers.clear()
    _implied.clear()
    maps = _place.maps
    lock = _place.lock
    _place.__init__()
    _place.lock = lock
    # The parent's memory: closing it here might close a descriptor of the script's.
    _abandoned.extend(entry[0] for entry in maps)


def _after_fork():
    directory, run = _place.directory, _place.run_directory
    # Another thread may have held it.
    _place.lock = _thread.RLock()
    _begin_anew()
    _place.directory, _place.run_directory = directory, run
    _place.is_fork = True


os.register_at_fork(after_in_child=_after_fork)
if "REENACT_RECORD_DIR" in os.environ:
    _place.directory = os.environ["REENACT_RECORD_DIR"]
    _place.run_directory = os.environ.get("REENACT_RUN_DIR")
