"""What a script may say of its run: metrics, params, files.

Outside a run these functions do nothing; the first call says so once on standard error, unless
`REENACT_DISABLED=1` says that this is meant.
"""

from __future__ import annotations

import os
import sys

from _reenact import journal
from _reenact.journal import point as _point

__all__ = [
    "log",
    "log_audio",
    "log_figure",
    "log_histogram",
    "log_image",
    "log_images",
    "log_output",
    "log_params",
    "log_table",
    "log_text",
]

_MOST_REMARKS = 20
_complained = set()
_shim = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def log(metrics=None, step=None, **values):
    """Record metrics: `log(loss=0.1, step=3)` or `log({"train": {"loss": 0.1}}, step=3)`.

    When it returns, the numbers outlive `kill -9` of this process. Any thread and any process of
    the run may call it.

    Args:
        metrics: names and numbers; names of nested dictionaries are joined by `/`.
        step: a whole number; without one it is how often the name was logged so before.
        values: more names and numbers.

    A number may be of any type that `float` takes: NumPy scalars, tensors of one element. A list or
    an array of n numbers is n points, at steps `step`, `step + 1`, ... or at those of a list of n
    steps. What is not a number is not recorded, and one line on standard error says where.
    """
    if metrics is None:
        for name, value in values.items():
            try:
                _point(name, value, step)
            except Exception as error:
                _record(name, value, step, error)
        if journal._place.directory is None:
            _say_that_there_is_no_run("log")
        return
    if journal._place.directory is None:
        _say_that_there_is_no_run("log")
        return
    try:
        # A copy: another thread may change it.
        entries = list(metrics.items()) if metrics.__class__ is dict else [*dict(metrics).items()]
    except Exception:
        _complain("`log` takes names and numbers, not %s" % _brief(metrics))
        entries = []
    if values:
        entries += values.items()
    for name, value in entries:
        try:
            _point(name, value, step)
        except Exception as error:
            _record(name, value, step, error)


def log_params(params=None, **values):
    """Record settings that the script chose by itself: `log_params(hidden=[64, 32])`.

    Values that JSON has no word for are recorded by their `repr`. The last value of a name counts.
    """
    if journal.record_directory() is None:
        return _say_that_there_is_no_run("log_params")
    try:
        journal.params("", {**dict(params or {}), **values}, "log")
    except Exception:
        _complain("`log_params` takes names and values, not %s" % _brief(params))


def log_output(path, name=None):
    """Say that a file or directory is an output; one outside the run directory is copied there.

    Args:
        path: of the file or directory.
        name: path of the copy below `outputs/`; the file's own name without it.
    """
    _media("log_output", path, name)


def log_figure(figure, name="figure", step=None):
    """Keep a figure of matplotlib (PNG), plotly (HTML), bokeh or altair (HTML) as an output."""
    _media("log_figure", figure, name, step)


def log_text(text, name="text", step=None):
    """Keep a text as an output."""
    _media("log_text", text, name, step)


def log_table(table, name="table", step=None):
    """Keep a table as an output (CSV): a DataFrame, a list of dictionaries or of rows, columns."""
    _media("log_table", table, name, step)


def log_image(image, name="image", step=None):
    """Keep an image as an output (PNG).

    Args:
        image: a PIL image or an array of shape (height, width) or (height, width, 1, 3 or 4);
            integers are 0 to 255, floats 0 to 1.
        name: of the file.
        step: becomes part of the file's name.
    """
    _media("log_image", image, name, step)


def log_images(images, name="images", step=None):
    """Keep several images, as `log_image` does, numbered from 0."""
    _media("log_images", images, name, step)


def log_audio(samples, rate, name="audio", step=None):
    """Keep sound as an output (WAV, 16 bits).

    Args:
        samples: array of shape (n,) or (n, channels); floats from -1 to 1 or 16-bit integers.
        rate: samples per second.
        name: of the file.
        step: becomes part of the file's name.
    """
    _media("log_audio", samples, name, step, rate=rate)


def log_histogram(values, name="histogram", step=None, bins=64):
    """Keep the distribution of numbers as an output, a JSON object per call and line.

    Args:
        values: array of any shape; NaN and infinities are counted apart.
        name: of the file.
        step: stands in the line.
        bins: how many intervals of equal width between the least and the greatest value.
    """
    _media("log_histogram", values, name, step, bins=bins)


def _media(function, *arguments, **options):
    if journal.record_directory() is None:
        return _say_that_there_is_no_run(function)
    try:
        from _reenact import media

        getattr(media, function)(*arguments, **options)
    except Exception as error:
        what = _brief(arguments[0]) if arguments else "this"
        _complain("`%s` could not keep %s: %s" % (function, what, error))


def _record(name, value, step, error, within=()):
    """Record what the quick way refused: a dictionary, many numbers, or nothing at all."""
    try:
        is_dictionary = hasattr(value, "items")
        if id(value) in within:
            raise ValueError("it contains itself")
        if is_dictionary:
            entries = [("%s/%s" % (name, inner), number) for inner, number in value.items()]
            steps = [step] * len(entries)
        else:
            numbers = _numbers_in(value)
            if numbers is None:
                raise error
            entries = [(name, number) for number in numbers]
            steps = _steps_of(numbers, step)
    except Exception as problem:
        _refuse(name, value, problem)
        return
    for (inner, number), at in zip(entries, steps):
        try:
            _point(inner, number, at)
        except Exception as problem:
            if is_dictionary:
                _record(inner, number, at, problem, (*within, id(value)))
            else:
                _refuse(inner, number, problem)


def _refuse(name, value, error):
    if isinstance(error, journal.StepError):
        _complain("metric `%s` was not recorded: %s" % (_short(name), error))
    elif isinstance(error, OverflowError):
        _complain("metric `%s` is too large a number" % _short(name))
    elif isinstance(error, ValueError) and "its name" in str(error):
        _complain("metric `%s` was not recorded: %s" % (_short(name), error))
    else:
        _complain("metric `%s` is not a number: %s" % (_short(name), _brief(value)))


def _short(name):
    text = str(name)
    return text if len(text) <= 60 else text[:57] + "..."


def _numbers_in(value):
    """Return a list of the numbers in an array or a list, None where it is neither."""
    if isinstance(value, (str, bytes, bytearray)) or getattr(value, "shape", None) == ():
        return None
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if hasattr(value, "reshape") and hasattr(value, "tolist"):
        return value.reshape(-1).tolist()
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value) if hasattr(value, "__len__") else None


def _steps_of(numbers, step):
    if step is None:
        return [None] * len(numbers)
    steps = _numbers_in(step)
    if steps is None:
        first = journal.whole(step)
        return range(first, first + len(numbers))
    if len(steps) != len(numbers):
        raise journal.StepError("%d steps for %d points" % (len(steps), len(numbers)))
    return steps


def _brief(value):
    text = journal.short_repr(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return "%s (%s)" % (" ".join(text.split()), type(value).__name__)


def _say_that_there_is_no_run(function):
    if "none" in _complained or os.environ.get("REENACT_DISABLED", "") not in ("", "0"):
        return
    _complained.add("none")
    text = "there is no run, nothing is recorded: use `reenact run` or `with reenact.start():`"
    _say("%s: reenact.%s: %s" % (_caller(), function, text))


def _complain(text):
    at = _caller()
    if at in _complained or len(_complained) > _MOST_REMARKS:
        return
    _complained.add(at)
    journal.remark("log", "%s: %s" % (at, text))
    _say("%s: reenact: %s" % (at, text))


def _caller():
    """Return file and line of the script; a file of the run directory as the project has it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_shim):
        frame = frame.f_back
    if frame is None:
        return "?"
    path = frame.f_code.co_filename
    run = journal.run_directory()
    if run and path.startswith(run + "/"):
        path = path[len(run) + 1 :]
    return "%s:%d" % (path, frame.f_lineno)


def _say(text):
    # Standard error may be closed, or something of the script's that fails.
    try:
        sys.stderr.write(text + "\n")
    except Exception:
        pass
