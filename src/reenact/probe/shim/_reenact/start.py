"""The probe's ground floor: what happens in every Python process of a run before its script.

It says hello, makes standard output line-buffered when that is a pipe to the supervisor, resolves
editable installs of the project to the run's own copy, and waits: for the first file that the
process opens (`files.py`) and for frameworks to be imported (`patches/`).

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

TRIGGERS = {}
"""Module that is imported -> module of `patches` that wants to hear of it."""

_MOST_BYTES = 1 << 20
_COMPUTES = ("numpy", "torch", "tensorflow", "jaxlib", "cupy", "numexpr", "polars", "xgboost")
"""What brings native libraries and thread pools that are worth asking about in the end."""
_NO_FRAMEWORKS = {"sitecustomize", "usercustomize", *getattr(sys, "stdlib_module_names", ())}
_HERE = __file__.rpartition("/")[0] + "/"


class Settings(object):
    """What the supervisor says of the run, in environment variables."""

    def __init__(self, environ):
        self.record = environ["REENACT_RECORD_DIR"]
        self.named_run = environ.get("REENACT_STAGE", "")
        # As `getcwd` will spell it.
        self.run = os.path.realpath(self.named_run) if self.named_run else ""
        self.project = environ.get("REENACT_PROJECT", "")
        self.stdout = environ.get("REENACT_STDOUT", "")


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
    if settings.run and settings.project and _may_lead_into(settings.project, shim):
        _attempt(_resolve_to_stage, settings)
    if settings.project:
        sys.addaudithook(_Asleep(settings).notice)
    os.register_at_fork(after_in_child=lambda: _attempt(say_hello, settings, shim, "fork"))
    atexit.register(_attempt, _leave)
    # Last, so that a start that failed half-way leaves no import hook behind.
    install_finders(environ.get("REENACT_AUTOLOG", ""))


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


class _Asleep(object):
    """Loads `files.py` when the process first does something that it might want to know of.

    Many processes of a run never open a file of it, and what the interpreter does for itself in the
    beginning is of no interest.
    """

    quiet = frozenset(
        """import exec compile marshal.loads marshal.load code.__new__ function.__new__ builtins.id
        object.__getattr__ object.__setattr__ object.__delattr__ sys._getframe sys.addaudithook
        os.listdir os.putenv os.unsetenv cpython.run_command cpython.run_file cpython.run_module
        cpython.run_stdin cpython.run_startup""".split()
    )

    def __init__(self, settings):
        self.settings = settings
        self.own = (sys.prefix + "/lib/", sys.base_prefix + "/lib/", _HERE)
        self.lock = _thread.RLock()
        self.is_asleep = True
        # Another thread may have held it.
        os.register_at_fork(after_in_child=self.renew_lock)

    def renew_lock(self):
        self.lock = _thread.RLock()

    def notice(self, event, arguments):
        if self.is_asleep and event not in self.quiet:
            if event != "open" or self.concerns(*arguments):
                _attempt(self.wake)

    def concerns(self, path, _, flags):
        """Tell whether opening this may be of interest: it is no reading of code."""
        if type(path) is not str or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return True
        if path.startswith(self.own):
            return False
        return not path.endswith(".py") or os.path.islink(path)

    def wake(self):
        if self.lock._is_owned():
            return
        # What another thread is about to write waits until it is protected.
        with self.lock:
            if self.is_asleep:
                try:
                    from _reenact import files

                    # The hook that this adds is asked about the event at hand, too.
                    files.watch(self.settings)
                finally:
                    self.is_asleep = False


def _buffer_by_line(settings):
    # Only where standard output is the supervisor's pipe: a pipe between the user's own processes
    # keeps the buffering that it has without us.
    if not settings.stdout or sys.stdout is None:
        return
    try:
        status = os.fstat(1)
        if "%d:%d" % (status.st_dev, status.st_ino) == settings.stdout:
            sys.stdout.reconfigure(line_buffering=True)
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


# --- frameworks that are imported, and `import reenact` ---


def install_finders(autolog):
    """Begin to wait for frameworks; offer our half of `reenact` where it is not installed.

    Waiting costs a dictionary look-up for each import. For a module that somebody waits for, the
    other finders are asked, and the one moment in which it is executed is ours: type of the loader,
    `__spec__` and source stay as they are.

    Args:
        autolog: empty for all frameworks, `off` for none, else the names of those wanted.
    """
    sys.meta_path.insert(0, _Waiting(autolog))
    sys.meta_path.append(_Provider())


def _load_triggers(autolog):
    from _reenact.patches import TRIGGERS as known
    from _reenact.patches import check_names

    names = [name.strip() for name in autolog.split(",")]  # `off` is the name of none
    wanted = {module: name for module, name in known.items() if not autolog or name in names}
    TRIGGERS.update(wanted)
    if autolog:
        check_names(names)
    for name in wanted:
        if name in sys.modules:
            _fire(name, sys.modules[name])


def _fire(name, module):
    patch = TRIGGERS.pop(name, None)
    try:
        if name == "reenact":
            _complete(module)
        elif patch is not None:
            from _reenact import patches

            patches.apply(patch, name, module)
    except Exception as error:
        _report(name, error)


def _report(name, error):
    try:
        from _reenact import journal

        journal.failure("patch " + name, error)
    except Exception:
        pass


class _Waiting(object):
    def __init__(self, autolog):
        self.autolog = autolog
        self.is_first = True

    def find_spec(self, name, path=None, target=None):
        if self.is_first and name.partition(".")[0] not in _NO_FRAMEWORKS:
            self.is_first = False
            try:
                _load_triggers(self.autolog)
            except Exception as error:
                _report("", error)
        if name not in TRIGGERS and name != "reenact":
            return None
        for finder in list(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                break
        else:
            return None
        if name == "reenact" and spec.loader is None:
            # A directory of that name that is on the way, and no package.
            return _Provider().find_spec(name)
        try:
            _come_between(spec)
        except Exception as error:
            _report(name, error)
        return spec


def _come_between(spec):
    loader = spec.loader
    execute = loader.exec_module
    if isinstance(loader, type):
        raise TypeError("%s is built in" % spec.name)

    def exec_module(module):
        is_awaited = module.__name__ == spec.name
        if is_awaited:
            # From here on the loader, which may be one of several modules, is as it was.
            loader.__dict__.pop("exec_module", None)
        execute(module)
        if is_awaited:
            _fire(spec.name, module)

    # Python leaves frames of this name out of the traceback of an import that fails.
    exec_module.__code__ = exec_module.__code__.replace(
        co_filename="<frozen importlib._bootstrap>", co_name="_call_with_frames_removed"
    )
    loader.exec_module = exec_module


def _complete(module):
    """Give another version of `reenact` what it does not have of what scripts may say."""
    names = getattr(module, "__all__", ())
    if "log" not in names or "log_params" not in names:
        from _reenact import api

        for name in api.__all__:
            if name not in names and name not in module.__dict__:
                setattr(module, name, getattr(api, name))


class _Provider(object):
    """Offer the probe's half of `reenact` to scripts whose environment has none installed."""

    def find_spec(self, name, path=None, target=None):
        if name != "reenact":
            return None
        # The class of specs without importing importlib.
        return type(sys.__spec__)(name, self, origin="reenact's probe")

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from _reenact import api, join

        for name in api.__all__:
            setattr(module, name, getattr(api, name))
        module.start = join.start
        module.__all__ = ["start"] + list(api.__all__)

        def missing(name):
            message = "`reenact.%s` needs Reenact installed in this environment" % name
            raise AttributeError(message)

        module.__getattr__ = missing
