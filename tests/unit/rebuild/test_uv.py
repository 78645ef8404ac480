"""What uv's errors mean; the texts are its own, of version 0.13."""

from __future__ import annotations

import pytest

from reenact.rebuild.uv import explain, neutral

WHERE = ["PyPI", "/wheels"]


@pytest.mark.parametrize(
    ("text", "message", "missing"),
    [
        (
            (
                "error: No solution found when resolving dependencies\n"
                "  cause: Because there is no version of gamma==1.2.post3 and you require gamma==1.2.post3,"
                " we can conclude that your requirements are unsatisfiable."
            ),
            "gamma 1.2.post3 is not to be had (any more) from PyPI, /wheels",
            "gamma",
        ),
        (
            (
                "error: No solution found when resolving dependencies\n"
                "  cause: Because there is no version\n         of gamma==1.0 and you require\n"
                "         gamma==1.0, we can conclude"
            ),
            "gamma 1.0 is not to be had (any more) from PyPI, /wheels",
            "gamma",
        ),
        (
            (
                "error: Failed to download `gamma==1.0`\n"
                "  cause: Failed to extract archive: gamma-1.0-py3-none-any.whl\n"
                "  cause: I/O operation failed during extraction\n"
                "  cause: failed to write to file `/cache/.tmpL/gamma/a.so`: No space left on device"
                " (os error 28)"
            ),
            "nothing can be written in `/cache/.tmpL/gamma`: No space left on device",
            None,
        ),
        (
            "error: No download found for request: cpython-3.99-linux-x86_64-gnu",
            "there is no cpython-3.99-linux-x86_64-gnu to fetch",
            None,
        ),
        (
            (
                "  cause: Because gone-away was not found in the package registry and you require"
                " gone-away==1.0, we can conclude that your requirements are unsatisfiable."
            ),
            "gone-away 1.0 is not to be had (any more) from PyPI, /wheels",
            "gone-away",
        ),
        (
            (
                "error: Failed to fetch: http://127.0.0.1:9/simple/six/\n"
                "  cause: error sending request for url (http://127.0.0.1:9/simple/six/)\n"
                "  cause: tcp connect error\n  cause: Connection refused (os error 111)"
            ),
            "http://127.0.0.1:9/simple/six/ cannot be reached",
            None,
        ),
        (
            (
                "error: Failed to fetch: `https://me:pass@a.example/simple/six/`\n"
                "  cause: HTTP status client error (401 Unauthorized) for url (https://a.example)"
            ),
            "https://me:<redacted>@a.example/simple/six/ refuses: 401 Unauthorized",
            None,
        ),
        (
            (
                "  cause: Because six was not found in the cache and you require six==1.16.0, we can"
                " conclude that your requirements are unsatisfiable.\n\nhint: Packages were unavailable"
                " because the network was disabled."
            ),
            "what PyPI, /wheels have is not known here, and the network is off",
            None,
        ),
        (
            (
                "error: Failed to build `numpy==1.15.0`\n  cause: The build backend returned an error\n"
                "[stderr]\nTraceback\nModuleNotFoundError: No module named 'distutils.msvccompiler'\n"
                "hint: This error likely indicates that `numpy@1.15.0` depends on more"
            ),
            (
                "numpy==1.15.0 has no wheel for this system, and its source does not build: "
                "ModuleNotFoundError: No module named 'distutils.msvccompiler'"
            ),
            None,
        ),
    ],
)
def test_an_error_of_uv_becomes_one_line(text: str, message: str, missing: str | None) -> None:
    found = explain(text, WHERE)

    assert found.message == message
    assert found.missing == missing
    assert found.hint


def test_what_is_not_known_is_said_as_it_is() -> None:
    assert explain("error: the moon is full", []).message.endswith("the moon is full")


def test_settings_of_the_caller_do_not_reach_uv() -> None:
    env = {
        "HOME": "/home/me",
        "HTTPS_PROXY": "http://proxy",
        "UV_CACHE_DIR": "/cache",
        "UV_PYTHON": "3.8",
        "UV_INDEX_URL": "https://elsewhere",
        "PIP_INDEX_URL": "https://elsewhere",
        "PYTHONPATH": "/mine",
        "VIRTUAL_ENV": "/mine",
    }

    found = neutral(env)

    assert {"HOME", "HTTPS_PROXY", "UV_CACHE_DIR"} <= found.keys()
    assert not {"UV_PYTHON", "PIP_INDEX_URL", "PYTHONPATH", "VIRTUAL_ENV"} & found.keys()
    assert "UV_INDEX_URL" not in found
