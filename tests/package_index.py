"""An index of packages on this machine, as PyPI is one, that misbehaves on demand."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Index:
    """What an index has, and how it misbehaves.

    Attributes:
        url: its address, as pip and uv take it.
        files: content by file name.
        yanked: names of files that were taken back, with the reason.
        status: every answer is this instead.
        file_status: every answer for a file is this instead.
        is_hanging: while it is set, no answer comes.
        login: `name:password` that it demands.
        is_json: it answers as of PEP 691; else HTML as of PEP 503.
        tells_hashes: its pages say the hashes of files.
        requires: versions of Python that its pages say files are for.
        asked: path of each request.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/simple"
        self.files: dict[str, bytes] = {}
        self.yanked: dict[str, str] = {}
        self.status: int | None = None
        self.file_status: int | None = None
        self.is_hanging = threading.Event()
        self.login: str | None = None
        self.is_json = True
        self.tells_hashes = True
        self.requires: str | None = None
        self.asked: list[str] = []

    def add(self, *paths: Path) -> None:
        """Publish files."""
        for path in paths:
            self.files[path.name] = path.read_bytes()

    def address(self, login: str) -> str:
        """Return its address with credentials in it."""
        return self.url.replace("://", f"://{login}@")


@contextmanager
def package_index() -> Iterator[Index]:
    """Serve until the end of the block."""
    ended = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            index.asked.append(self.path)
            while index.is_hanging.is_set() and not ended.wait(0.05):
                pass
            if index.status is not None:
                self._say(index.status)
                return
            if index.login is not None:
                word = base64.b64encode(index.login.encode()).decode()
                if self.headers.get("Authorization") != f"Basic {word}":
                    self._say(401)
                    return
            kind, _, name = self.path.strip("/").partition("/")
            if kind == "files":
                self._file(name)
                return
            wanted = {
                file: content
                for file, content in index.files.items()
                if _normal(file.partition("-")[0]) == name
            }
            if kind != "simple" or not wanted:
                self._say(404)
            elif index.is_json:
                self._page(wanted)
            else:
                self._html(wanted)

        def _file(self, name: str) -> None:
            content = index.files.get(name)
            if index.file_status is not None or content is None:
                self._say(index.file_status or 404)
                return
            self._send(content, "application/octet-stream")

        def _page(self, files: dict[str, bytes]) -> None:
            described = [
                {
                    "filename": name,
                    "url": f"../../files/{name}",
                    "hashes": {"sha256": _sha256(content)} if index.tells_hashes else {},
                    "requires-python": index.requires,
                    "yanked": index.yanked.get(name, False),
                }
                for name, content in files.items()
            ]
            page = {"meta": {"api-version": "1.1"}, "name": "x", "files": described}
            self._send(json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json")

        def _html(self, files: dict[str, bytes]) -> None:
            lines = []
            for name, content in files.items():
                mark = f"#sha256={_sha256(content)}" if index.tells_hashes else ""
                more = f' data-yanked="{index.yanked[name]}"' if name in index.yanked else ""
                lines.append(f'<a href="../../files/{name}{mark}"{more}>{name}</a>')
            page = f"<!DOCTYPE html><html><body>{''.join(lines)}</body></html>"
            self._send(page.encode(), "text/html")

        def _send(self, content: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                with suppress(ConnectionError):  # Whoever asked may have gone.
                    self.wfile.write(content)

        def _say(self, status: int) -> None:
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="packages"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index = Index(server.server_port)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield index
    finally:
        ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
