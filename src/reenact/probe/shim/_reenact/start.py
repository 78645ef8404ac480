"""The probe's ground floor: what happens in every Python process of a run before its script.

It says hello, makes standard output line-buffered when that is a pipe to the supervisor, resolves
editable installs of the project to the run's own copy, watches files (`files.py`) and waits for
frameworks to be imported (`finder.py`).

Covered: every Python from 3.8 that inherits PYTHONPATH, forked and spawned workers included.
Not covered: `python -I`, `-E`, `-S` and a wiped environment.
"""

import os
import sys
import time

_MOST_BYTES = 1 << 20


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
    """Take up work. `shim` is the directory on sys.path that brought us here."""
    environ = os.environ
    if "REENACT_RECORD_DIR" not in environ:
        return
    settings = Settings(environ)
    _buffer_by_line(settings)
    say_hello(settings, shim, "start")
    if settings.run and settings.project:
        from _reenact import editable

        editable.resolve_to_stage(settings)
    if settings.project:
        from _reenact import files

        files.watch(settings)
    os.register_at_fork(after_in_child=lambda: _say_hello_quietly(settings, shim))
    from _reenact import finder

    # Last, so that a start that failed half-way leaves no import hook behind.
    finder.install(environ.get("REENACT_AUTOLOG", ""))


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


def _say_hello_quietly(settings, shim):
    try:
        say_hello(settings, shim, "fork")
    except Exception:
        pass


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
