"""Files that the script opens: which it read, and private copies of those that it writes.

A staged link is replaced by a private copy before Python writes through it. Writes by native code
are not seen; what those wrote through a link is found afterwards by the supervisor.
"""

import _thread
import os
import sys

from _reenact.start import append

_MOST_UNFOLDED = 20000
"""A directory of more files stays a link when a walk comes to it: it would take too long."""

_O_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(settings):
    """Watch from now on, in this process and its forks."""
    if settings.run:
        links = _Links(settings)
        links.watch()
        os.register_at_fork(after_in_child=links.renew_lock)
    else:
        _Reads(settings).watch()


class _Reads(object):
    """Which of the project's files a run in place reads; its own modules are source, not data."""

    def __init__(self, settings):
        self.record = settings.record
        self.inside = settings.project + "/"
        self.seen = set()

    def watch(self):
        sys.addaudithook(self.notice)

    def notice(self, event, arguments):
        if event == "os.chdir":
            self.seen.clear()
        if event != "open":
            return
        try:
            path, _, flags = arguments
            if type(path) is not str or flags & _O_WRITE or path in self.seen:
                return
            if len(self.seen) > 100000:
                self.seen.clear()
            self.seen.add(path)
            if path.endswith((".py", ".pyc")):
                return
            full = path if path.startswith("/") else os.path.join(os.getcwd(), path)
            full = os.path.normpath(full)
            if full.startswith(self.inside):
                append(self.record + "/reads", repr(full[len(self.inside) :]))
        except Exception:
            pass


class _Links(object):
    """Staged links: which were read, and private copies for those that are about to be written.

    A staged link is a symbolic link in the run directory that leads into the project. A link that
    leads from the run directory to itself is followed.
    """

    def __init__(self, settings):
        self.record = settings.record
        self.run = settings.run
        self.project = settings.project
        self.inside = settings.run + "/"
        self.named_inside = settings.named_run + "/"
        self.staged = settings.project + "/"
        self.seen = set()
        self.walked = set()
        self.renew_lock()
        # What is about to be changed: the position of the path among the event's arguments, whether
        # the file itself is changed or only the directory that it is in, and the position of the
        # open directory that the path may be relative to.
        self.changes = {
            "os.remove": ((0, False, 1),),
            "os.rmdir": ((0, False, 1),),
            "os.mkdir": ((0, False, 2),),
            "os.symlink": ((1, False, 2),),
            "os.link": ((0, True, 2), (1, False, 3)),
            "os.rename": ((0, True, 2), (1, False, 3)),
            "os.truncate": ((0, True, None),),
            "os.chmod": ((0, True, 2),),
            "os.chown": ((0, True, 3),),
            "os.utime": ((0, True, 3),),
            "os.setxattr": ((0, True, None),),
            "os.removexattr": ((0, True, None),),
            "shutil.rmtree": ((0, True, None),),
            "sqlite3.connect": ((0, True, None),),
        }

    def renew_lock(self):
        # A fork may have happened while another thread held it.
        self.lock = _thread.RLock()

    def watch(self):
        sys.addaudithook(self.notice)

    def notice(self, event, arguments):
        if event == "open":
            try:
                path, _, flags = arguments
                if flags & _O_WRITE:
                    self.before_change(path, True, bool(flags & os.O_TRUNC))
                elif path not in self.seen:
                    if len(self.seen) > 100000:
                        self.seen.clear()
                    self.seen.add(path)
                    self.note_read(path)
            except Exception:
                pass
        elif event in self.changes:
            try:
                for position, is_file, base in self.changes[event]:
                    base = -1 if base is None else arguments[base]
                    self.before_change(arguments[position], is_file, False, base)
            except Exception:
                pass
        elif event == "os.scandir":
            try:
                self.before_walk(arguments[0])
            except Exception:
                pass
        elif event == "os.chdir":
            self.seen.clear()

    def within(self, path, base=-1):
        """Return the path relative to the run directory, None where it is elsewhere.

        `base` is the open directory that a relative path starts from, -1 for the working directory.
        """
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        elif not isinstance(path, str):
            if isinstance(path, int):
                return None
            path = os.fspath(path)
        if not path.startswith("/"):
            here = os.getcwd() if base == -1 else os.readlink("/proc/self/fd/%d" % base)
            path = os.path.join(here, path)
        path = os.path.normpath(path)
        if path.startswith(self.inside):
            return path[len(self.inside) :]
        if path.startswith(self.named_inside):
            return path[len(self.named_inside) :]
        return "" if path in (self.run, self.named_inside[:-1]) else None

    def follow(self, relative, follows):
        """Go along a relative path as the system does, but no further than a staged link.

        Return where that is and True if it is such a link, and what is left of the path then.
        `follows` says whether another link at the very end is followed.
        """
        at = self.run
        names = relative.split("/")
        links = 0
        while names:
            name = names.pop(0)
            at += "/" + name
            try:
                target = os.readlink(at)
            except OSError:
                continue
            if target.startswith(self.staged):
                return at, True, names
            target = os.path.normpath(os.path.join(os.path.dirname(at), target))
            links += 1
            if links > 40 or not (names or follows) or not target.startswith(self.inside):
                break
            names[:0] = target[len(self.inside) :].split("/")
            at = self.run
        return at, False, names

    def is_shared(self, path):
        """Tell whether a file is code that the run directory shares with others of the store."""
        try:
            status = os.lstat(path)
        except OSError:
            return False
        # More than one name, and the project has it too: not a hard link of the script's own.
        return status.st_nlink > 1 and os.path.lexists(self.project + path[len(self.run) :])

    def note_read(self, path):
        if type(path) is str and path.startswith("/"):
            # The quick way out for everything that Python imports from elsewhere.
            if not path.startswith((self.inside, self.named_inside)):
                return
            if path.endswith(".pyc"):
                # Bytecode stands for the module it was made of.
                directory, _, name = path.rpartition("/__pycache__/")
                path = directory + "/" + name.partition(".")[0] + ".py"
        relative = self.within(path)
        if not relative or relative.startswith(".reenact/"):
            return
        if self.follow(relative, True)[1]:
            with self.lock:
                append(self.record + "/reads", repr(relative))

    def before_change(self, path, is_file, truncates, base=-1):
        # What we do ourselves raises events again, in the same thread.
        if self.lock._is_owned():
            return
        relative = self.within(path, base)
        if not relative or relative.startswith(".reenact/"):
            return
        if "__pycache__/" in relative:
            # Bytecode is shared with the project, as it is between two runs of plain Python.
            return
        at, is_staged, rest = self.follow(relative, is_file)
        if not (rest or is_file) or not (is_staged or (is_file and self.is_shared(at))):
            return
        with self.lock, _AcrossProcesses(self.record):
            # Another thread or process may have done it meanwhile.
            at, is_staged, rest = self.follow(relative, is_file)
            while is_staged and rest:
                self.unfold(at)
                at, is_staged, rest = self.follow(relative, is_file)
            if is_file and (is_staged or self.is_shared(at)):
                self.make_private(at, truncates)

    def before_walk(self, path):
        """Make links to directories real: a walk that does not follow links goes into those."""
        if self.lock._is_owned():
            return
        relative = self.within("." if path is None else path)
        if relative is None or relative in self.walked:
            return
        self.walked.add(relative)
        at, is_staged, _ = self.follow(relative, True) if relative else (self.run, False, ())
        if is_staged:
            return
        with self.lock:
            for name in os.listdir(at):
                link = at + "/" + name
                if name.startswith(".") or not self.leads_to_directory(link):
                    continue
                with _AcrossProcesses(self.record):
                    if os.path.islink(link) and len(os.listdir(link)) <= _MOST_UNFOLDED:
                        self.unfold(link)

    def leads_to_directory(self, link):
        try:
            target = os.readlink(link)
        except OSError:
            return False
        # What is a link in the project too stays one, and nobody walks into an environment.
        return (
            target == self.project + link[len(self.run) :]
            and os.path.isdir(target)
            and not os.path.islink(target)
            and not os.path.exists(target + "/pyvenv.cfg")
        )

    def unfold(self, link):
        """Replace the link to a directory by a directory of links."""
        target = os.readlink(link)
        beside = "%s.%d.reenact-tmp" % (link, os.getpid())
        os.mkdir(beside)
        for name in os.listdir(target):
            os.symlink(target + "/" + name, beside + "/" + name)
        if not _exchange(beside, link):
            # Not atomic: another thread may miss the name for a moment.
            os.unlink(link)
            os.rename(beside, link)

    def make_private(self, link, truncates):
        """Replace the link to a file by a copy, empty where the content is not wanted."""
        if os.path.isdir(link):
            self.unfold(link)
            return
        try:
            status = os.stat(link)
        except OSError:
            return
        if status.st_mode & 0o170000 != 0o100000:
            # A pipe, a socket or a device has no content of its own: it is meant to be shared.
            return
        beside = "%s.%d.reenact-tmp" % (link, os.getpid())
        out = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if not truncates:
                source = os.open(link, os.O_RDONLY)
                try:
                    while True:
                        data = os.read(source, 1 << 20)
                        if not data:
                            break
                        while data:
                            data = data[os.write(out, data) :]
                finally:
                    os.close(source)
            os.chmod(beside, status.st_mode & 0o7777)
            os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
        except BaseException:
            os.close(out)
            os.unlink(beside)
            raise
        os.close(out)
        os.rename(beside, link)


class _AcrossProcesses(object):
    """Held by one process of the run at a time, where the file system has locks."""

    def __init__(self, record):
        self.path = record + "/processes"

    def __enter__(self):
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl

            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass

    def __exit__(self, *_):
        try:
            import fcntl

            # A fork of another thread may have copied the descriptor.
            fcntl.flock(self.descriptor, fcntl.LOCK_UN)
        except (ImportError, OSError):
            pass
        os.close(self.descriptor)


def _exchange(directory, link):
    """Swap a directory and a link at once, and remove the link; False where that is impossible."""
    try:
        import ctypes

        swap = ctypes.CDLL(None).renameat2
        if swap(-100, os.fsencode(directory), -100, os.fsencode(link), 2) != 0:
            return False
    except (ImportError, OSError, AttributeError):
        return False
    os.unlink(directory)
    return True
