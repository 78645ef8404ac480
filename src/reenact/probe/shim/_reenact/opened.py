"""What this process opens, moves and contacts, noted as it happens.

Files are noted here only where the preloaded library (`probe/preload`) is not in this process: that
one sees what native code opens, too. URLs are noted here in any case: no library sees those.

The first files are lines that are appended to `reads`, which all processes share. A process that
opens many goes on in a file of its own that is mapped into memory: that takes a fifth of the time,
and what is in it survives `kill -9` just as well.
"""

import _thread
import errno
import os
import sys
from time import time_ns

from _reenact import append, standard

QUESTION = "/reenact/preload"
NETWORK = frozenset(
    [
        "urllib.Request",
        "http.client.connect",
        "http.client.send",
        "socket.getaddrinfo",
        "socket.connect",
    ]
)

_BY_LINES = 128
_WINDOW = 1 << 20
_MOST_SEEN = 100000
_MOST_CONTACTS = 1000
_O_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_SYSTEM = ("/usr/", "/lib/", "/lib64/", "/etc/", "/proc/", "/sys/", "/dev/")
_NEAR = ("localhost", "127.", "::1", "0.0.0.0")  # noqa: S104


def is_preloaded():
    """Tell whether the preloaded library is in this process: it answers to a name no file has."""
    try:
        os.close(os.open(QUESTION, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EALREADY
    return False


class Opened(object):
    """Notes what is opened, once for each name.

    `seen` holds names that need not be noted again; whoever asks looks there first.
    """

    def __init__(self, record, project):
        self.record = record
        own = {sys.prefix, sys.base_prefix, sys.exec_prefix}
        inside = tuple(
            prefix + "/" for prefix in own if not (project + "/").startswith(prefix + "/")
        )
        self.uninteresting = _SYSTEM + inside
        self.seen = set()
        self.renew()

    def renew(self):
        """Begin anew in a fork."""
        self.lock = _thread.RLock()
        self.pid = os.getpid()
        self.lines = 0
        self.window = None
        self.at = 0

    def forget(self):
        """Say that relative names mean something else from now on."""
        self.seen.clear()

    def note(self, path, flags):
        """Note that a file is opened; what is no name of one is left out."""
        seen = self.seen
        named = path
        if path.__class__ is not str:
            path = _text(path)
            if path is None:
                return
        is_write = flags & _O_WRITE
        if is_write:
            named = (path, flags)
            if named in seen:
                return
        if len(seen) > _MOST_SEEN:
            seen.clear()
        seen.add(named)
        if path.startswith(_SYSTEM if is_write else self.uninteresting):
            return
        base = "" if path.startswith("/") else os.getcwd()
        self.write("('open',%d,%d,%r,%r,%d)" % (self.pid, time_ns(), base, path, flags))

    def note_move(self, old, new):
        """Note that a file gets another name."""
        old, new = _text(old), _text(new)
        if old is not None and new is not None:
            self.write(repr(("move", self.pid, time_ns(), os.getcwd(), old, new)))

    def write(self, line):
        """Store one thing."""
        # What we do ourselves raises events again, in the same thread.
        if self.lock._is_owned():
            return
        with self.lock:
            if self.lines < _BY_LINES:
                self.lines += 1
                append(self.record + "/reads", line)
                return
            data = line.encode("utf-8", "surrogateescape") + b"\n"
            end = self.at + len(data)
            # The last byte stays zero: it ends the text.
            if self.window is None or end >= _WINDOW:
                try:
                    self.window = _map("%s/reads-%d-%x" % (self.record, os.getpid(), time_ns()))
                except (ImportError, OSError, AttributeError):
                    append(self.record + "/reads", line)
                    return
                self.at, end = 0, len(data)
            self.window[self.at : end] = data
            self.at = end


_windows = []
"""Kept to the end: closing one would close its descriptor, whose number may be the script's by now."""


def _map(path):
    mmap = standard.module("mmap")

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.posix_fallocate(descriptor, 0, _WINDOW)
        extra = {"trackfd": False} if sys.version_info >= (3, 13) else {}
        window = mmap.mmap(descriptor, _WINDOW, **extra)
    finally:
        os.close(descriptor)
    _windows.append(window)
    return window


def _text(path):
    if path.__class__ is str:
        return path
    if isinstance(path, int):
        return None
    path = os.fspath(path)
    return os.fsdecode(path) if isinstance(path, bytes) else path


class Contacts(object):
    """Notes URLs, and hosts where nobody else sees them.

    Args:
        record: the run's `.reenact/`.
        with_hosts: note hosts of connections too.
    """

    def __init__(self, record, with_hosts):
        self.record = record
        self.with_hosts = with_hosts
        self.seen = set()
        self.ports = set()

    def notice(self, event, arguments):
        """Take an event of NETWORK."""
        if event == "urllib.Request":
            self.note(_without_secrets(arguments[0]))
        elif event == "http.client.send":
            self.note(_url_of_request(*arguments))
        elif event == "http.client.connect":
            self.note_host(arguments[1], arguments[2])
        elif self.with_hosts and event == "socket.getaddrinfo":
            self.note_host(arguments[0], arguments[1])
        elif self.with_hosts and event == "socket.connect":
            address = arguments[1]
            # A connection to a number follows a question for the name, which has been noted.
            if type(address) is tuple and address[1] not in self.ports:
                self.note_host(address[0], address[1])

    def note_host(self, host, port):
        host = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if host and type(host) is str:
            # Of `name:password@host` some libraries make a host.
            host = host.rpartition("@")[2]
            self.ports.add(port)
            host = "[%s]" % host if ":" in host else host
            self.note("%s:%s" % (host, port) if port else host)

    def note(self, text):
        if text is None or text in self.seen or len(self.seen) >= _MOST_CONTACTS:
            return
        self.seen.add(text)
        if not text.partition("://")[2].startswith(_NEAR) and not text.startswith(_NEAR):
            append(self.record + "/contacted", repr(text))


def _url_of_request(connection, data):
    """Return the URL that the head of an HTTP request asks for; None for anything else."""
    if type(data) is not bytes:
        return None
    line = data[:4096].split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    if len(line) != 3 or not line[2].startswith("HTTP/"):
        return None
    if not line[1].startswith("/"):
        # To a proxy, unless it is something else: CONNECT, OPTIONS *.
        return _without_secrets(line[1])
    host, port = connection.host, connection.port
    if getattr(connection, "_tunnel_host", None):
        host, port = connection._tunnel_host, connection._tunnel_port
    scheme = "https" if connection.default_port == 443 else "http"
    name = "[%s]" % host if ":" in host else host
    number = "" if port in (None, connection.default_port) else ":%d" % port
    return _without_secrets("%s://%s%s%s" % (scheme, name, number, line[1]))


def _without_secrets(url):
    """Return a URL without user, password and fragment; of a query, only the names."""
    if type(url) is not str or "://" not in url or url.startswith(("file:", "data:")):
        return None
    url, _, query = url.partition("#")[0].partition("?")
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    text = scheme + "://" + host.rpartition("@")[2] + slash + path
    names = [word.partition("=")[0] for word in query.split("&") if word]
    return (text + "?" + "&".join(names) if names else text)[:1000]
