"""What a patched function looks like to the script that calls it: like the original."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from fidelity import interpreters

SHIM = Path(__file__).parents[3] / "src" / "reenact" / "probe" / "shim"

_TARGET = """
import sys, threading

def work(x):
    return 1 / x

def deep(n):
    return deep(n - 1) if n else work(0)

def leave():
    sys.exit("left")

def interrupt():
    raise KeyboardInterrupt

def generate():
    yield 1
    raise ValueError("in a generator")

class Tool:
    @classmethod
    def made(cls, x):
        return cls, x

    @staticmethod
    def loose(x):
        return x

    def method(self, x=1, *, y=2):
        "Say something."
        return x, y
"""

_WRAP = f"""
import sys
sys.path.insert(0, {str(SHIM)!r})
from _reenact.wrap import wrap
sys.path.pop(0)
import target
for name in ("work", "deep", "leave", "interrupt", "generate"):
    wrap(target, name, before=lambda a, k: None, after=lambda *_: None, outermost=name == "deep")
for name in ("made", "loose", "method"):
    wrap(target.Tool, name, failed=lambda *_: 1 / 0)
"""

_ENDINGS = {
    "uncaught": "target.work(0)",
    "in a recursion": "target.deep(3)",
    "chained": """
        try:
            target.work(0)
        except ZeroDivisionError:
            raise ValueError("after")
    """,
    "with a cause": """
        try:
            target.work(0)
        except ZeroDivisionError as error:
            raise ValueError("after") from error
    """,
    "in a circle": """
        try:
            target.work(0)
        except ZeroDivisionError as error:
            error.__cause__ = error
            raise
    """,
    "exit": "target.leave()",
    "interrupt": "target.interrupt()",
    "from a generator": "list(target.generate())",
    "wrong call": "target.Tool().method(z=3)",
    "strange attributes": """
        class Strange(Exception):
            exceptions = 5
            def __str__(self):
                raise RuntimeError
        def fail(x):
            raise Strange(1)
        target.work = fail
        target.deep(1)
    """,
}

_ONLY_FROM_3_11 = {
    "printed by the script": """
        import traceback
        try:
            target.work(0)
        except ZeroDivisionError:
            traceback.print_exc()
    """,
    "in a thread": """
        t = threading.Thread(target=target.work, args=(0,))
        t.start()
        t.join()
    """,
    "in a group": """
        errors = []
        for number in (1, 2):
            try:
                target.work(0)
            except ZeroDivisionError as error:
                errors.append(error)
        raise ExceptionGroup("several", errors)
    """,
}


def _both(
    tmp_path: Path, body: str, python: str = sys.executable
) -> list[subprocess.CompletedProcess[bytes]]:
    """Run a script with the functions of `target` as they are, and with them wrapped."""
    (tmp_path / "target.py").write_text(_TARGET)
    (tmp_path / "plain.py").write_text("")
    (tmp_path / "wrapped.py").write_text(_WRAP)
    script = "import sys, threading\n__import__(sys.argv[1])\nimport target\n" + dedent(body)
    (tmp_path / "script.py").write_text(script)
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return [
        subprocess.run(
            [python, "script.py", how], cwd=tmp_path, env=env, capture_output=True, check=False
        )
        for how in ("plain", "wrapped")
    ]


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
def test_uncaught_exceptions_print_as_without_it(tmp_path: Path, python: str) -> None:
    for number, (name, body) in enumerate(_ENDINGS.items()):
        directory = tmp_path / str(number)
        directory.mkdir()

        plain, wrapped = _both(directory, body, python)

        assert plain.returncode != 0, name
        assert (wrapped.returncode, wrapped.stderr) == (plain.returncode, plain.stderr), name


@pytest.mark.skipif(sys.version_info < (3, 11), reason="only there our frames can be taken out")
@pytest.mark.parametrize("name", _ONLY_FROM_3_11)
def test_no_traceback_shows_it(tmp_path: Path, name: str) -> None:
    plain, wrapped = _both(tmp_path, _ONLY_FROM_3_11[name])

    assert b"ZeroDivisionError" in plain.stderr
    assert _without_names_of_threads(wrapped.stderr) == _without_names_of_threads(plain.stderr)


def _without_names_of_threads(text: bytes) -> bytes:
    return b"\n".join(line for line in text.split(b"\n") if b"Exception in thread" not in line)


def test_it_looks_like_the_original(tmp_path: Path) -> None:
    body = """
        import inspect, pickle
        tool = target.Tool
        print(inspect.signature(target.work), inspect.signature(tool.method), tool.method.__doc__)
        print(tool.made(1)[0] is tool, tool().made(2)[1], tool.loose(3), tool().loose(4))
        print(tool().method(5, y=6), pickle.loads(pickle.dumps(target.work)) is target.work)
        print(target.work.__module__, tool.method.__qualname__, inspect.getsource(target.work))
        print(type(tool.__dict__["made"]), type(tool.__dict__["loose"]))
    """

    plain, wrapped = _both(tmp_path, body)

    assert plain.stderr == b""
    assert wrapped == plain or (wrapped.stdout, wrapped.stderr) == (plain.stdout, b"")


def test_hooks_that_fail_change_nothing(tmp_path: Path) -> None:
    body = """
        if "_reenact.wrap" in sys.modules:
            from _reenact.wrap import wrap
            calls = []
            def broken(*arguments):
                calls.append(arguments)
                raise SystemError("ours")
            original = wrap(target, "work", before=broken, after=broken, failed=broken)
            del target.work._reenact_original
            wrap(target, "work", before=broken, after=broken, failed=broken)
        print(target.work(4))
        try:
            target.work(0)
        except ZeroDivisionError as error:
            print(error, error.__context__, error.__cause__)
        if "_reenact.wrap" in sys.modules:
            assert len(calls) == 4, calls
    """

    plain, wrapped = _both(tmp_path, body)

    assert plain.stdout == b"0.25\ndivision by zero None None\n"
    assert (wrapped.stdout, wrapped.stderr) == (plain.stdout, b"")
