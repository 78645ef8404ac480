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
import atexit
import os
import sys
from itertools import count, islice
from time import time_ns

from _reenact import RENEWALS, standard

mmap = standard.module("mmap")
Struct = standard.module("struct").Struct
StructError = standard.module("struct").error
_quote = standard.module("_json").encode_basestring_ascii

MARKER = int.from_bytes(b"rnt1", "little")
HEADER_MARKER = int.from_bytes(b"rntj", "little")
VERSION = 1
RECORD_BYTES = 32
MOST_NAMES = 100000
"""New names beyond so many in one process are not recorded; a remark says so."""
MOST_NAME = 1000
"""A metric's name has so many characters at most."""
MOST_ITEMS = 10000
"""Of longer lists and dictionaries in events only the beginning is kept."""
MOST_PARAMS_BYTES = 1 << 22
"""What is recorded of the params that are told at once."""
MOST_TEXT = 65536
"""Longer texts in events are cut, and say so."""

RESERVED_BYTES = 1 << 16
"""Size of the file `reserve` in the run's `.reenact/`, while it is there."""

PROBLEMS = (Exception, SystemExit, GeneratorExit)
"""What a hook may raise and the script must not see: code of the script's that only we called may
want to exit. `KeyboardInterrupt` is not among them: somebody has pressed Ctrl-C."""

_RECORD = Struct("<qqdII")
_LOSS = Struct("<qq")
_pack_into = _RECORD.pack_into
_FIRST_WINDOW = 65536
_LARGEST_WINDOW = 1 << 19
_MOST_FAILURES = 20
_MOST_DEPTH = 8
_EMPTY = (None, 0, 0)
_CAN_MAP_ALONE = sys.version_info >= (3, 13)
"""A map can do without a descriptor of its own."""

_unsaid = []
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
        self.paths = []
        self.next_name = count()
        self.maps = []
        self.size = 0
        self.lost = 0
        self.told_lost = 0
        self.appends = False
        self.scopes = {}
        self.failures = 0
        self.is_fork = False


_place = _Place()


def attach(record_directory, run_directory):
    """Write from now on into the run whose `.reenact` directory this is; None for no run."""
    with _place.lock:
        while _place.maps:
            _let_go(_place.maps.pop())
        _begin_anew()
        _place.directory = record_directory
        _place.run_directory = run_directory
        while _unsaid and record_directory is not None:
            event("framework", **_unsaid.pop())


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
    return _is_child if rank is None else rank != "0"


def _starts_as_child():
    words = " ".join(getattr(sys, "orig_argv", sys.argv)[:6])
    marks = ("--multiprocessing-fork", "multiprocessing.", "joblib.externals.loky", "popen_loky")
    return any(mark in words for mark in marks)


_is_child = _starts_as_child()


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
            return _complain_of_step()
        except (ValueError, TypeError):
            pass  # Other threads have filled and closed it meanwhile.
        else:
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
        StepError: the step is none; nothing was recorded.
        Exception: whatever `float` raises for what is not a number; nothing was recorded.
    """
    if _place.directory is None:
        return
    if value.__class__ is not float:
        # Of an array with one element NumPy warns that it will be no number one day.
        if value.__class__ is not int and (
            isinstance(value, (str, bytes, bytearray)) or getattr(value, "ndim", 0)
        ):
            raise TypeError("it is no single number")
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
        step = whole(step)
    index = next(_counter)
    window, first, end = _window
    now = time_ns()
    if first <= index < end:
        try:
            _pack_into(window, (index - first) * RECORD_BYTES, now, step, value, number, MARKER)
        except StructError:
            _complain_of_step()
        except (ValueError, TypeError):
            pass  # Other threads have filled and closed it meanwhile.
        else:
            return
    _write(index, now, step, value, number)


class StepError(ValueError):
    """A step that is no whole number of 64 bits."""


def whole(step):
    """Return a step of any type as an int."""
    try:
        if hasattr(step, "__index__"):
            return step.__index__()
        number = float(step)
        if int(number) == number:
            return int(number)
    except Exception:
        pass
    raise StepError("its step is not a whole number")


def _complain_of_step():
    raise StepError("its step does not fit 64 bits")


def _register(key, name, origin):
    text = name if type(name) is str else str(name)
    if len(text) > MOST_NAME:
        raise ValueError("its name has %d characters" % len(text))
    with _place.lock:
        number = _numbers.get(key)
        if number is not None:
            return number
        if _place.next_name is None:
            _lose()
            return None
        # Taken before it is used: a signal handler may log in the middle of this.
        number = next(_place.next_name)
        if number >= MOST_NAMES:
            _place.next_name = None
            _lose()
            message = "more than %d names of metrics in one process: points of others are lost"
            remark("metric-names", message % MOST_NAMES)
            return None
        if not event("name", id=number, name=text, origin=origin):
            _lose()
            return None
        _numbers[key] = number
        return number


def _write(index, now, step, value, number):
    """Store a record that the window at hand has no place for."""
    try:
        record = _RECORD.pack(now, step, value, number, MARKER)
    except StructError:
        _complain_of_step()
    with _place.lock:
        if _place.directory is None:
            return
        try:
            if not _place.appends:
                _put(index, record)
                return
        except OSError:
            # Points beyond the window are appended one by one: there may be room again.
            _place.appends = True
        try:
            _append_record(record)
        except OSError:
            _lose()
        else:
            _tell_losses()


def _put(index, record):
    while index >= _window[2]:
        _extend()
        if _place.appends:
            _append_record(record)
            return
    window, first, _ = _window
    if index >= first:
        at = (index - first) * RECORD_BYTES
        window[at : at + RECORD_BYTES] = record
        return
    # Other threads have gone on to the next window while this one held its number.
    descriptor = os.open(_file(".points"), os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, record, index * RECORD_BYTES)
    finally:
        os.close(descriptor)


def _extend():
    """Map the part of the file that comes next."""
    global _window
    start = _place.size
    size = min(max(_FIRST_WINDOW, start), _LARGEST_WINDOW)
    path = _file(".points")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            os.posix_fallocate(descriptor, start, size)
        except AttributeError:
            _place.appends = True
            return
        window, number = _map(descriptor, start, size)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    entry = (window, number, status.st_dev, status.st_ino)
    if _place.size != start:
        # A signal handler has logged in the middle of this, and mapped it.
        _let_go(entry)
        return
    first = start // RECORD_BYTES
    if start == 0:
        _RECORD.pack_into(window, 0, time_ns(), _place.lost, 0.0, VERSION, HEADER_MARKER)
        if not _CAN_MAP_ALONE:
            atexit.register(_leave_descriptors)
    _place.maps.append(entry)
    _place.size = start + size
    _window = (window, first, first + size // RECORD_BYTES)
    # The first one holds the header; another thread may be writing to the last one but one.
    while len(_place.maps) > 3:
        _let_go(_place.maps.pop(1))


def _map(descriptor, start, size):
    """Map a part of a file; return the map and the descriptor that Python keeps beside it."""
    if _CAN_MAP_ALONE:
        return mmap.mmap(descriptor, size, offset=start, trackfd=False), None
    low = []
    try:
        # It is a copy, which gets the number that is free. Where the script has closed its
        # standard streams that must be none of theirs: what is printed would go there.
        number = os.dup(descriptor)
        while number < 3:
            low.append(number)
            number = os.dup(descriptor)
        os.close(number)
        return mmap.mmap(descriptor, size, offset=start), number
    finally:
        for number in low:
            os.close(number)


def _let_go(entry):
    """Give back the memory of a window that is full."""
    if _may_close(entry):
        try:
            entry[0].close()
            return
        except BufferError:
            pass
    _abandoned.append(entry)


def _may_close(entry):
    """Tell whether the descriptor that Python closes together with a map is still the map's.

    The script may have closed it: to close it again would take one of the script's own.
    """
    _, number, device, inode = entry
    if number is None:
        return True
    try:
        status = os.fstat(number)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (device, inode)


_abandoned = []


def _leave_descriptors():
    """Let no map that Python deletes at its end close a descriptor of the script's."""
    for entry in _place.maps + _abandoned:
        if not _may_close(entry):
            import ctypes

            # It is never deleted then.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(entry[0]))


def _append_record(record):
    _append(_file(".points"), record)


def _lose():
    """Count a point that could not be stored, in a place that was set aside for it."""
    _place.lost += 1
    if _place.maps:
        window = _place.maps[0][0]
        _RECORD.pack_into(window, 0, time_ns(), _place.lost, 0.0, VERSION, HEADER_MARKER)
        _place.told_lost = _place.lost
    elif _place.lost & (_place.lost - 1) == 0:
        _tell_losses()
        if _place.lost == 1:
            atexit.register(_tell_losses)


def _tell_losses():
    """Say how many points were lost when there was not even room to set aside for that."""
    if _place.lost > _place.told_lost:
        if event("lost", count=_place.lost) or _tell_in_reserve():
            _place.told_lost = _place.lost


def _tell_in_reserve():
    """Write process and count into the room that the supervisor has set aside for the run's end."""
    if _place.directory is None:
        return False
    try:
        descriptor = os.open(_place.directory + "/reserve", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        pid = os.getpid()
        record = _LOSS.pack(pid, _place.lost)
        at = pid % (RESERVED_BYTES // _LOSS.size) * _LOSS.size
        return os.pwrite(descriptor, record, at) == _LOSS.size
    except OSError:
        return False
    finally:
        os.close(descriptor)


# --- events ---


def event(kind, **fields):
    """Write an event; False where that is impossible."""
    return _write_event(kind, ['"%s":%s' % (name, encode(fields[name])) for name in fields])


def _write_event(kind, parts):
    if _place.directory is None:
        return False
    line = "{%s}\n" % ",".join(['"k":"%s","t":%d' % (kind, time_ns()), *parts])
    try:
        with _place.lock:
            _append(_file(".events"), line.encode("ascii"))
    except OSError:
        return False
    return True


def _append(path, data):
    """Add all of it to a file of this process, or nothing."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        written = os.write(descriptor, data)
        if written != len(data):
            # Nobody else writes to it: this is the end of what was written.
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR) - written)
            raise OSError("there is no room")
    finally:
        os.close(descriptor)


def params(scope, values, origin):
    """Record settings that a framework used, as `scope.name`; with an empty scope as `name`."""
    parts = []
    room = MOST_PARAMS_BYTES
    for name, value in list(values.items()):
        part = "%s:%s" % (_quote_name(name), encode(value))
        room -= len(part)
        if room < 0:
            break
        parts.append(part)
    if len(parts) < len(values):
        parts.append('"...":"(%d in all)"' % len(values))
    head = '"scope":%s,"origin":%s' % (_quote(scope), _quote(origin))
    _write_event("params", [head, '"values":{%s}' % ",".join(parts)])


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
    fields = {"name": name, "version": version, "state": state, "detail": detail}
    if _place.directory is None:
        # It was imported before a run in this process began.
        _unsaid.append(fields)
    else:
        event("framework", **fields)


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
        try:
            text = "%s: %s" % (type(error).__name__, error)
        except PROBLEMS:
            text = type(error).__name__
        event("failure", where=where, error=text[:500], at=at)


def encode(value):
    """Return JSON for a value of any type; what JSON has no word for becomes its `repr`.

    NaN and the infinities are `{"$float": "NaN"}`. A text above `MOST_TEXT` characters is cut: it
    ends in an ellipsis and its length. Beyond `MOST_ITEMS` items in all, a list or a dictionary
    ends in an ellipsis and how many there are. What nests deeper than 8 levels is shown by its
    `repr`.
    """
    return _encode(value, 0, [MOST_ITEMS])


def _encode(value, depth, room):
    kind = value.__class__
    if value is None or kind is bool:
        return "null" if value is None else "true" if value else "false"
    if kind is str:
        return _quote(value if len(value) <= MOST_TEXT else _cut(value))
    if kind is int:
        return int.__repr__(value) if -(1 << 63) <= value < 1 << 64 else _quote(short_repr(value))
    if kind is float:
        if value - value == 0.0:
            return float.__repr__(value)
        return '{"$float":"%s"}' % (
            "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        )
    if depth < _MOST_DEPTH:
        if isinstance(value, dict):
            return _encode_dictionary(value, depth + 1, room)
        if kind is list or kind is tuple:
            return _encode_list(value, depth + 1, room)
    return _encode_other(value, depth, room)


def _encode_list(value, depth, room):
    parts = []
    for item in value[: max(0, room[0])]:
        if room[0] <= 0:
            break
        room[0] -= 1
        parts.append(_encode(item, depth, room))
    if len(parts) < len(value):
        parts.append(_quote("... (%d items)" % len(value)))
    return "[%s]" % ",".join(parts)


def _encode_dictionary(value, depth, room):
    parts = []
    for name, item in list(islice(value.items(), max(0, room[0]))):
        if room[0] <= 0:
            break
        room[0] -= 1
        parts.append("%s:%s" % (_quote_name(name), _encode(item, depth, room)))
    if len(parts) < len(value):
        parts.append('"...":%s' % _quote("(%d items)" % len(value)))
    return "{%s}" % ",".join(parts)


def _quote_name(name):
    text = name if type(name) is str else short_repr(name)
    return _quote(text if len(text) <= MOST_NAME else text[:MOST_NAME] + "...")


def _encode_other(value, depth, room):
    try:
        if isinstance(value, (bool, int, float, str)):
            # A subclass: an enumeration, NumPy's float64.
            for base in (bool, int, float, str):
                if isinstance(value, base):
                    plain = base(value) if base is not str else str.__str__(value)
                    return _encode(plain, depth, room)
        # A scalar of NumPy or of a tensor library on the processor.
        if getattr(value, "shape", None) == () and type(value).__module__ == "numpy":
            return _encode(value.item(), depth + 1, room)
    except PROBLEMS:
        pass
    return _quote(short_repr(value))


def short_repr(value):
    """Return the `repr` of anything, or what stands for one that is long."""
    kind = type(value)
    try:
        if kind.__module__ in ("builtins", "collections", "array") and len(value) > MOST_ITEMS:
            return "<%s of %d>" % (kind.__name__, len(value))
    except TypeError:
        pass  # It has no length.
    try:
        if kind is int and value.bit_length() > 10000:
            return "<int of %d bits>" % value.bit_length()
        text = repr(value)
    except PROBLEMS as error:
        text = "<%s that has no repr: %s>" % (kind.__name__, type(error).__name__)
    return text if len(text) <= 1000 else text[:1000] + "... (%d characters)" % len(text)


def _cut(text):
    return text[: MOST_TEXT - 64] + "... (%d characters)" % len(text)


# --- files and forks ---


def _file(suffix):
    if not _place.paths:
        directory = _place.directory + "/probe"
        os.makedirs(directory, exist_ok=True)
        # A signal handler may have been here meanwhile: the first one counts.
        _place.paths.append("%s/%d-%x" % (directory, os.getpid(), time_ns()))
    return _place.paths[0] + suffix


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
    _abandoned.extend(maps)


def _after_fork():
    directory, run = _place.directory, _place.run_directory
    # Another thread may have held it.
    _place.lock = _thread.RLock()
    _begin_anew()
    _place.directory, _place.run_directory = directory, run
    _place.is_fork = True


RENEWALS.append(_after_fork)
if "REENACT_RECORD_DIR" in os.environ:
    _place.directory = os.environ["REENACT_RECORD_DIR"]
    _place.run_directory = os.environ.get("REENACT_RUN_DIR")
