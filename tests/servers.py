"""A web server for tests that breaks off, demands a password and knows what has changed."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Served:
    """What a server has, how it misbehaves, and what it was asked.

    Attributes:
        files: content by path.
        cuts: lengths after which the next answers break off.
        statuses: the next answers are these instead.
        login: `name:password` that it demands.
        has_validators: it says by which mark a file is known to be unchanged.
        is_slow: while it is set, answers do not end.
        asked: path, `Range`, and `If-None-Match` of each request.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.login: str | None = None
        self.has_validators = True
        self.is_slow = threading.Event()
        self.asked: list[tuple[str, str | None, str | None]] = []


@contextmanager
def web_server() -> Iterator[Served]:
    """Serve until the end of the block."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = (self.headers.get("Range"), self.headers.get("If-None-Match"))
            served.asked.append((self.path, *asked))
            if served.statuses:
                self._say(served.statuses.pop(0))
                return
            if served.login is not None:
                word = base64.b64encode(served.login.encode()).decode()
                if self.headers.get("Authorization") != f"Basic {word}":
                    self._say(401)
                    return
            content = served.files.get(self.path.partition("?")[0])
            if content is None:
                self._say(404)
                return
            mark = f'"{hashlib.md5(content).hexdigest()}"'
            if asked[1] == mark and served.has_validators:
                self._say(304)
                return
            start = 0
            if asked[0] and self.headers.get("If-Range", mark) == mark:
                start = int(asked[0].removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self._say(416)
                    return
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                )
            if served.has_validators:
                self.send_header("ETag", mark)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content)
            if served.cuts:
                end = start + served.cuts.pop(0)
            while served.is_slow.is_set():
                time.sleep(0.01)
            try:
                self.wfile.write(content[start:end])
            except OSError:
                pass  # Whoever asked has gone.

        def _say(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Served(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
