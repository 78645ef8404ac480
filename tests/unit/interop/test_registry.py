from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from reenact.errors import ReenactError
from reenact.interop.registry import _answer_to, split_image, with_digest

DIGEST = "sha256:" + "ab" * 32


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry that gives a token to anybody, and wants it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            if self.headers.get("Authorization") != "Bearer t0k3n":
                self.send_response(401)
                realm = f"http://127.0.0.1:{server.server_port}/token"
                self.send_header(
                    "WWW-Authenticate", f'Bearer realm="{realm}",service="r",scope="pull"'
                )
                self.end_headers()
                return
            is_known = self.path == "/v2/team/python/manifests/3.11"
            self.send_response(200 if is_known else 404)
            if is_known:
                self.send_header("Docker-Content-Digest", DIGEST)
            self.end_headers()

        def do_GET(self) -> None:
            assert self.path == "/token?service=r&scope=pull"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"token": "t0k3n"}).encode())

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_tag_gets_the_digest_of_what_it_stands_for(registry: str) -> None:
    image = f"{registry}/team/python:3.11"

    assert with_digest(image, {}) == f"{image}@{DIGEST}"


def test_only_this_machine_gets_a_login_in_clear() -> None:
    for realm in ("http://localhost.example.org/token", "http://127.0.0.1.example.org/token"):
        assert _answer_to(f'Bearer realm="{realm}"', "me:hunter2") is None


def test_an_image_with_a_digest_is_not_asked_for() -> None:
    assert with_digest(f"python@{DIGEST}", {}) == f"python@{DIGEST}"


def test_an_image_that_is_not_there_is_named(registry: str) -> None:
    with pytest.raises(ReenactError, match="there is no image"):
        with_digest(f"{registry}/team/python:9", {})


def test_a_registry_that_does_not_answer_is_named() -> None:
    with pytest.raises(ReenactError, match=r"127\.0\.0\.1:9 cannot be reached"):
        with_digest("127.0.0.1:9/python:3.11", {})


@pytest.mark.parametrize(
    ("image", "parts"),
    [
        ("python", ("registry-1.docker.io", "library/python", "latest")),
        (
            "docker.io/library/python:3.11-slim",
            ("registry-1.docker.io", "library/python", "3.11-slim"),
        ),
        ("team/image:1", ("registry-1.docker.io", "team/image", "1")),
        ("ghcr.io/team/image:1", ("ghcr.io", "team/image", "1")),
        ("localhost:5000/image", ("localhost:5000", "image", "latest")),
    ],
)
def test_names_of_images_are_read_as_docker_does(image: str, parts: tuple[str, str, str]) -> None:
    assert split_image(image) == parts
