"""The probe: what Reenact does inside each of the user's Python processes.

Standard library only, Python 3.8 and later. Nothing here may raise into the script, change what it
computes or keep a file descriptor open.

This module is the ground floor, what happens in every process before its script. It says hello,
makes standard output line-buffered when that is a pipe to the supervisor, resolves editable
installs of the project to the run's own copy, and waits: for the first file that the process opens
(`files.py`) and for frameworks to be imported (`frameworks.py`, `patches/`).

All of this is one module, and what is not always needed another: each that is loaded here costs
every Python process of every run a tenth of a millisecond, of the one that there is.

Covered: every Python from 3.8 that inherits PYTHONPATH, forked and spawned workers included.
Not covered: `python -I`, `-E` (but see `reenact install-hook`), `-S` and a wiped environment.
"""

import _thread
import atexit
import os
import sys
import time

RENEWALS = []
"""Called in a fork, before anything else of ours: each makes anew what another thread may hold.

That thread is not in the fork, and would never let go.
"""

_MOST_BYTES = 1 << 20
_COMPUTES = ("numpy", "torch", "tensorflow", "jaxlib", "cupy", "numexpr", "polars", "xgboost")
"""What brings native libraries and thread pools that are worth asking about in the end."""
_IMPORTED_LATE = frozenset(
    "_bisect _ctypes _json _struct array bisect ctypes fcntl math mmap shutil struct zlib".split()
)
_SWITCHED = ("torch", "tensorflow")
_SEEDED = frozenset(
    _SWITCHED + ("random", "numpy.random", "jax.random", "uuid", "multiprocessing.process")
)
"""Modules of which `seeds.py` wants to hear when something is to be seeded."""
_CHANCES = frozenset(
    """os.listdir os.scandir os.fork _thread.start_new_thread _thread.start_joinable_thread
    socket.connect""".split()
)
"""Events of which `chances.py` wants to hear."""
_HERE = __file__.rpartition("/")[0] + "/"


class Settings(object):
    """What the supervisor says of the run, in environment variables."""

    def __init__(self, environ):
        self.record = environ["REENACT_RECORD_DIR"]
        self.named_run = environ.get("REENACT_STAGE", "")
        self.run = _real(self.named_run) if self.named_run else ""
        self.project = environ.get("REENACT_PROJECT", "")
        self.stdout = environ.get("REENACT_STDOUT", "")


def _real(path):
    """Return a directory as `getcwd` spells it."""
    try:
        here = os.getcwd()
        if here == path or here.startswith(path + "/"):
            return path  # That is nearly always so, and a sixth of the work.
    except OSError:
        pass
    return os.path.realpath(path)


def start(shim):
    """Take up work. `shim` is the directory that brought us here.

    What fails is recorded where that is possible, and keeps nothing else from its work: files are
    protected even where no hello can be written.
    """
    environ = os.environ
    if "REENACT_RECORD_DIR" not in environ:
        return
    settings = Settings(environ)
    _attempt(_buffer_by_line, settings)
    _attempt(say_hello, settings, shim, "start")
    if settings.named_run and settings.project and _may_lead_into(settings.project, shim):
        _attempt(_resolve_to_stage, settings)
    if "REENACT_OUTSIDE" in environ:
        _attempt(_lead_outside, environ["REENACT_OUTSIDE"])
    if settings.project:
        _listen(settings)
    os.register_at_fork(after_in_child=lambda: _attempt(say_hello, settings, shim, "fork"))
    atexit.register(_attempt, _leave)
    # Last, so that a start that failed half-way leaves no import hook behind.
    seed = environ.get("REENACT_SEED", "")
    is_calm = "REENACT_DETERMINISTIC" in environ
    seeded = _SEEDED if seed.isdigit() else _SWITCHED if is_calm else ()
    install_finders(environ.get("REENACT_AUTOLOG", ""), seeded)


def _leave():
    if any(name in sys.modules for name in _COMPUTES):
        from _reenact import leaving

        leaving.tell()


def _attempt(function, *arguments):
    try:
        function(*arguments)
    except Exception as error:
        try:
            from _reenact import journal

            journal.failure("start of the probe: " + function.__name__.strip("_"), error)
        except Exception:
            pass


def _may_lead_into(project, shim):
    """Tell whether anything but the interpreter's own directories is on the way to modules."""
    own = (sys.prefix + "/", sys.base_prefix + "/")
    return (
        len(sys.meta_path) > 3  # somebody's finder beside the interpreter's own
        or (project + "/").startswith(own)
        or any(not entry.startswith(own) for entry in sys.path if entry != shim)
    )


def _resolve_to_stage(settings):
    from _reenact import editable

    editable.resolve_to_stage(settings)


def _lead_outside(root):
    from _reenact import outside

    outside.install(root)


_QUIET = frozenset(
    """import exec compile marshal.loads marshal.load code.__new__ function.__new__ builtins.id
    object.__getattr__ object.__setattr__ object.__delattr__ sys._getframe sys.addaudithook
    os.putenv os.unsetenv cpython.run_command cpython.run_file cpython.run_module
    cpython.run_stdin cpython.run_startup""".split()
)
"""Events that say nothing of files and networks, among them the frequent ones."""


def _listen(settings):
    listener = _Listener(settings)

    # The only hook, and a plain function: of a bound method CPython asks at each event for an
    # attribute that it does not have, which takes four times as long as all of this.
    def notice(event, arguments):
        if event not in _QUIET:
            if event in _CHANCES:
                listener.see(event, arguments)
            if event != "os.listdir":
                listener.hear(event, arguments)

    sys.addaudithook(notice)


class _Listener(object):
    """Loads `files.py` when the process first does something that it might want to know of.

    Many processes of a run never open a file of it, and what the interpreter does for itself in the
    beginning is of no interest.

    Attributes:
        hear: takes an event and its arguments.
    """

    def __init__(self, settings):
        self.settings = settings
        self.own = (sys.prefix + "/lib/", sys.base_prefix + "/lib/", _HERE)
        self.record = settings.record + "/"
        self.hear = self.wait
        self.renew_lock()
        RENEWALS.append(self.renew_lock)

    def renew_lock(self):
        self.lock = _thread.RLock()

    def wait(self, event, arguments):
        """Hear as long as nothing has happened."""
        if event == "open" and not self.concerns(*arguments):
            return
        # What we do ourselves raises events again, in the same thread.
        if not self.lock._is_owned():
            _attempt(self.wake)
            self.hear(event, arguments)

    def concerns(self, path, _, flags):
        """Tell whether opening this may be of interest: it is no reading of code."""
        if type(path) is not str or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return type(path) is not str or not path.startswith(self.record)
        if path.startswith(self.own):
            return False
        return not path.endswith(".py") or os.path.islink(path)

    def see(self, event, arguments):
        """Take note of a source of chance, if it is the script that comes upon it."""
        try:
            # Nearly always it is the import system, or a library that is being imported.
            name = sys._getframe(2).f_code.co_filename
        except ValueError:
            return  # Native code, and nobody who called it.
        if not name.startswith("<frozen importlib") and not self.lock._is_owned():
            _attempt(self.note_chance, event, arguments)

    def note_chance(self, event, arguments):
        from _reenact import chances

        chances.notice(event, arguments)

    def wake(self):
        # What another thread is about to write waits until it is protected.
        with self.lock:
            if self.hear == self.wait:
                hear = _ignore
                try:
                    from _reenact import files

                    hear = files.watch(self.settings) or _ignore
                finally:
                    self.hear = hear


def _ignore(event, arguments):
    pass


def _buffer_by_line(settings):
    # Only where standard output is the supervisor's pipe: a pipe between the user's own processes
    # keeps the buffering that it has without us.
    if not settings.stdout or sys.stdout is None:
        return
    try:
        status = os.fstat(1)
        if "%d:%d" % (status.st_dev, status.st_ino) == settings.stdout:
            from _reenact import by_line

            by_line.begin()
    except (OSError, ValueError, AttributeError):
        pass


def say_hello(settings, shim, kind):
    """Tell the supervisor of this process; `kind` is `start` or `fork`."""
    hello = {
        "kind": kind,
        "pid": os.getpid(),
        "parent_pid": os.getppid(),
        "started_ns": time.time_ns(),
    }
    path = settings.record + "/processes"
    if kind == "fork" and os.stat(path).st_size > _MOST_BYTES:
        return
    if kind == "start":
        hello.update(
            argv=_command(),
            version=sys.version.split()[0],
            build=sys.version,
            abi=_abi(),
            platform="%s-%s" % (sys.platform, os.uname().machine),
            libc=_libc(),
            implementation=sys.implementation.name,
            executable=sys.executable,
            prefix=sys.prefix,
            base_prefix=sys.base_prefix,
            path=[entry for entry in sys.path if entry != shim],
        )
    # repr and not json: importing json would cost the script's start more than all of this.
    append(path, repr(hello))


def append(path, line):
    """Add one line to a file that several processes write: lines do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.encode("utf-8", "surrogateescape") + b"\n")
    finally:
        os.close(descriptor)


def tell_of_chance(said):
    """Write a line about seeds or chance for the supervisor: a dictionary, as a Python literal."""
    journal = sys.modules.get("_reenact.journal")
    if journal is not None:
        # It knows of runs that began in this process.
        directory = journal.record_directory()
    else:
        directory = os.environ.get("REENACT_RECORD_DIR")
    try:
        if directory is not None:
            append(directory + "/randomness", repr(dict(said, pid=os.getpid())))
    except OSError:
        pass  # There is no room, and the script's result does not depend on it.


def _abi():
    multiarch = getattr(sys.implementation, "_multiarch", "")
    tag = sys.implementation.cache_tag
    return "%s-%s" % (tag, multiarch) if multiarch else tag


def _libc():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError, AttributeError):
        return None


def _command():
    original = getattr(sys, "orig_argv", None)
    if original is not None:
        return list(original)
    try:
        descriptor = os.open("/proc/self/cmdline", os.O_RDONLY)
        try:
            return [os.fsdecode(word) for word in os.read(descriptor, 1 << 20).split(b"\0")[:-1]]
        finally:
            os.close(descriptor)
    except OSError:
        return []


# --- forks ---


def _finish_imports():
    """Wait, before a fork, for imports that other threads are in the middle of.

    The fork would have the locks of those modules, and nobody who lets go of them: to import one
    would take for ever. Only of what we import there, and the script may not.
    """
    bootstrap = sys.modules["_frozen_importlib"]
    for _ in range(100):  # and not while there are any: this thread may be in the middle of one
        under_way = [
            name
            for name in list(bootstrap._module_locks)
            if name in _IMPORTED_LATE or name.startswith("_reenact")
        ]
        if not under_way:
            return
        for name in under_way:
            bootstrap._lock_unlock_module(name)


def _renew():
    for renew in RENEWALS:
        renew()


def _before_fork():
    try:
        _finish_imports()
    except Exception:
        pass  # Another Python, which keeps its locks elsewhere.


# This module is the first of ours: what it does in a fork comes before what the others do.
os.register_at_fork(before=_before_fork, after_in_child=_renew)


# --- imports ---


def install_finders(autolog, seeded=()):
    """Begin to wait for frameworks; offer our half of `reenact` where it is not installed.

    Args:
        autolog: empty for all frameworks, `off` for none, else the names of those wanted.
        seeded: modules that are seeded once they have been imported.
    """
    sys.meta_path.insert(0, _Waiting(autolog, seeded))
    sys.meta_path.append(_Provider())
    for name in seeded:
        if name in sys.modules:
            _attempt(_seed_what_is_there, name)


def _seed_what_is_there(name):
    from _reenact import frameworks

    frameworks.seed(name, sys.modules[name])


class _Waiting(object):
    """Asks `frameworks.py` from the first import on that may be one of a framework.

    Waiting costs a look into a set for each import.
    """

    quiet = {
        "_reenact",
        "sitecustomize",
        "usercustomize",
        *getattr(sys, "stdlib_module_names", ()),
    }

    def __init__(self, autolog, seeded=()):
        self.autolog = autolog
        self.seeded = seeded
        self.awaited = None
        """Modules of which `frameworks.py` wants to hear."""

    def find_spec(self, name, path=None, target=None):
        if self.awaited is None:
            if name.partition(".")[0] not in self.quiet:
                self.awaited = ()
                _attempt(self.load_triggers)
            elif name not in self.seeded:
                return None
        if name in self.seeded or name == "reenact" or name in (self.awaited or ()):
            from _reenact import frameworks

            return frameworks.find_spec(self, name, path, target)
        return None

    def load_triggers(self):
        from _reenact import frameworks

        self.awaited = frameworks.TRIGGERS
        frameworks.load_triggers(self.autolog)


class _Provider(object):
    """Offers the probe's half of `reenact` to scripts whose environment has none installed."""

    def find_spec(self, name, path=None, target=None):
        if name != "reenact":
            return None
        from _reenact import frameworks

        return frameworks.our_spec(name)
