"""Files that the script opens: which it read, and private copies of those that it writes.

A staged link is replaced by a private copy before Python writes through it. Writes by native code
are not seen here; what those wrote through a link is found afterwards by the supervisor.
"""

import _thread
import os

from _reenact import RENEWALS, opened

_MOST_UNFOLDED = 20000
"""A directory of more files stays a link when a walk comes to it: it would take too long."""

_O_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(settings):
    """Return what takes audit events of this process and its forks; None where nothing wants any."""
    wanted = os.environ.get("REENACT_TRACE_FILES", "")
    is_preloaded = wanted != "off" and opened.is_preloaded()
    files = contacts = links = None
    if wanted != "off":
        contacts = opened.Contacts(settings.record, not is_preloaded)
        if not is_preloaded:
            files = opened.Opened(settings.record, settings.project)
            RENEWALS.append(files.renew)
            # Read by `_reenact.patches.readers`, for what does not come by here.
            global noted
            noted = files
    if settings.named_run:
        links = _Links(settings)
        RENEWALS.append(links.renew_lock)
    if links is None and contacts is None:
        return None
    return _hook(settings.record + "/", links, files, contacts)


noted = None
"""Where files are noted that this process opens; None where that is not for us to do."""


def _hook(own, links, files, contacts):
    """Return what decides, and quickly, whom an event concerns; `own` is where only we write."""
    changes = links.changes if links is not None else {}
    network = opened.NETWORK if contacts is not None else ()
    seen = files.seen if files is not None else ()

    def notice(event, arguments):
        try:
            if event == "open":
                path, _, flags = arguments
                if flags & _O_WRITE:
                    if path.__class__ is str and path.startswith(own):
                        return
                    if links is not None:
                        links.before_change(path, True, bool(flags & os.O_TRUNC))
                    if files is not None:
                        files.note(path, flags)
                elif files is not None and path not in seen:
                    files.note(path, flags)
            elif event in changes:
                for position, is_file, base in changes[event]:
                    base = -1 if base is None else arguments[base]
                    links.before_change(arguments[position], is_file, False, base)
                if files is not None and event == "os.rename":
                    files.note_move(arguments[0], arguments[1])
            elif event in network:
                contacts.notice(event, arguments)
            elif links is not None and event == "os.scandir":
                links.before_walk(arguments[0])
            elif files is not None:
                if event == "os.chdir":
                    files.forget()
                elif event == "os.rename":
                    files.note_move(arguments[0], arguments[1])
                elif event == "sqlite3.connect":
                    files.note(arguments[0], os.O_RDWR)
        except Exception as error:
            _say_once(event, error)

    return notice


_said = set()


def _say_once(event, error):
    """Record what failed in an audit hook: a file may be unprotected, or an input unseen."""
    if isinstance(error, FileNotFoundError) or "null" in str(error):
        return  # The working directory is gone, or it is no path: Python tells the script.
    key = (event, type(error))
    if key in _said:
        return
    # First: to record it raises events again.
    _said.add(key)
    try:
        from _reenact import journal

        journal.failure("audit event " + event, error)
    except Exception:
        pass


class _Links(object):
    """Staged links: private copies for those that are about to be written.

    A staged link is a symbolic link in the run directory that leads into the project, or to what the
    operation required. A link that
    leads from the run directory to itself is followed.
    """

    def __init__(self, settings):
        self.record = settings.record
        self.run = settings.run
        self.project = settings.project
        self.inside = self.run + "/"
        self.named_inside = settings.named_run + "/"
        # The second is how links to what the operation required begin.
        self.staged = (settings.project + "/", "/./")
        self.walked = set()
        # A run that shows a result again changes nothing.
        self.is_guarded = "REENACT_REPRODUCES" in os.environ
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
        if status.st_mode & 0o170000 != 0o100000:
            return False
        # More than one name, and the project has it too: not a hard link of the script's own.
        return status.st_nlink > 1 and os.path.lexists(self.project + path[len(self.run) :])

    def before_change(self, path, is_file, truncates, base=-1):
        # What we do ourselves raises events again, in the same thread.
        if self.lock._is_owned():
            return
        relative = self.within(path, base)
        if not relative or relative.startswith(".reenact/"):
            return
        if "__pycache__/" in relative and not self.is_guarded:
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
            (target == self.project + link[len(self.run) :] or target.startswith("/./"))
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
