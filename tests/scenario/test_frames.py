"""What the probe reads from the frame of a caller, on every Python that is installed here."""

from __future__ import annotations

import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from fidelity import interpreters

SHIM = Path(__file__).parents[2] / "src" / "reenact" / "probe" / "shim"

SCRIPT = """
    import sys, warnings
    from _reenact.patches import frames

    found = []

    def f(*_):
        found.append(frames.target_of(sys._getframe(1)))
        return 1.0

    def wrapped():
        f()
        warnings.warn("from here", stacklevel=2)

    class Box: pass
    box, results = Box(), {}

    plain = f()
    box.attribute = f()
    results["key"] = f()
    first = second = f()
    rounded = round(f(), 3)
    print(f()); f()
    left, right = f(), f()

    def inside(results, box):
        global everywhere
        captured = f()
        local = (named := f())
        print(local)
        everywhere = f(1, *[2])
        box.attribute = f()
        results["key"] = f(captured)
        results[0] = f()
        return f() + (lambda: captured)()

    inside(results, box)
    print(found[:8])
    print(found[8:])

    def who(value):
        return frames.variable_of(sys._getframe(1), value)

    data = [1]
    def look(argument):
        own = [2]
        return who(argument), who(own), who(data), who([3])
    print(look([4]), who(data))

    copy = frames.unseen(wrapped)
    copy()
"""

EXPECTED = """\
1.0
1.0
['plain', 'attribute', 'key', 'first', None, None, None, None]
[None, 'captured', 'named', 'everywhere', 'attribute', 'key', None, None]
('argument', 'own', 'data', None) data
"""


@pytest.mark.parametrize("python", interpreters())
def test_the_variable_that_takes_a_value_is_found(tmp_path: Path, python: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(SCRIPT))

    done = subprocess.run(
        [python, str(script)],
        env={"PYTHONPATH": str(SHIM), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == EXPECTED, done.stderr
    last = len(script.read_text().splitlines())
    assert f"script.py:{last}: UserWarning: from here" in done.stderr


NO_TRACE = """
    import sys, weakref
    from _reenact.patches import frames

    def who(value):
        return frames.variable_of(sys._getframe(1), value)

    class Data: pass

    def lets_go():
        data = Data()
        reference = weakref.ref(data)
        name = who(data)
        del data
        return name, reference() is None

    def has_a_copy():
        before = locals()
        data = Data()
        name = who(data)
        return name in (None, "data"), sorted(before)

    def runs_text(look):
        exec("made = 1")
        data = Data()
        names = [look(data), (lambda: look(data))()]
        try:
            return names, eval("made")
        except NameError:
            return names, "in Python 3.13 it is gone"

    def waits():
        data = Data()
        yield who(data)
        yield who(data)

    class Box:
        data = Data()
        name = who(data)

    print(lets_go(), has_a_copy(), list(waits()), Box.name, hasattr(Box, "data"))
    print(runs_text(who) == runs_text(lambda data: "data"), runs_text(who)[0])

    def named(data):
        return frames.local_of(sys._getframe(), "data")
    print(named(3))
"""


@pytest.mark.parametrize("python", interpreters())
def test_looking_at_variables_leaves_no_trace(tmp_path: Path, python: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(dedent(NO_TRACE))

    done = subprocess.run(
        [python, str(script)],
        env={"PYTHONPATH": str(SHIM), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == [
        "('data', True) (True, []) ['data', 'data'] data True",
        "True ['data', 'data']",
        "3",
    ], done.stderr
