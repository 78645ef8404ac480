"""matplotlib (3.3 to 3.11, tested with 3.11), and what draws with it: figures as outputs.

What `savefig` writes to a file is an output with the role `figure`. At `pyplot.show()` every open
figure that was not saved as it is goes to `figures/<n>.png` in the run directory, whatever the
backend does with it. In a notebook that `reenact run` executes they are kept with their cells.
Figures that are neither saved nor shown are not kept.
"""

import os
import sys
import weakref

from _reenact import journal
from _reenact.patches import frames
from _reenact.patches.silence import silence
from _reenact.wrap import PROBLEMS, version_of, wrap

_ORIGIN = "matplotlib"
_MOST_FIGURES = 200
"""Shown figures of one process that are kept; a remark says that there were more."""
_NEVER = 1000
_DRAWN = ("renderer", "_lastKey", "_last_key")
"""What a canvas of the Agg backend keeps from drawing."""

_savefig = []
_states = weakref.WeakKeyDictionary()
"""What figures looked like when they were saved."""
_kept = [0]


def after_matplotlib_figure(module):
    """Listen to every figure that is saved."""
    journal.framework("matplotlib", version_of(sys.modules["matplotlib"]))
    hooks = {"before": _before_save, "after": _after_save, "failed": _after_failure}
    _savefig.append(wrap(module.Figure, "savefig", **hooks))
    module.Figure.savefig = frames.unseen(module.Figure.savefig, module.__name__)


def after_matplotlib_pyplot(module):
    """Listen to figures being shown."""
    wrap(module, "show", before=_before_show)
    module.show = frames.unseen(module.show, module.__name__)


def _before_save(args, kwargs, state):
    """Make a staged file private before Pillow goes along its link to the project's own."""
    path = _path_of(args, kwargs)
    project = os.environ.get("REENACT_PROJECT")
    if path is None or not project or not os.environ.get("REENACT_STAGE") or not _pillow_follows():
        return
    target = os.path.realpath(path)
    if target.startswith(project + "/"):
        # What `open` says for a file that is written anew. Nothing is opened: the content of the
        # project's file is not read, so that it is no input, and nothing can be lost.
        sys.audit("open", path, None, os.O_WRONLY | os.O_TRUNC)
        state["path"], state["target"] = path, target


def _after_failure(error, args, kwargs, state):
    """Undo what was done for a figure that could not be saved: its file is what it was."""
    path = state.get("path")
    if path is None or os.path.islink(path) or not os.path.isfile(path):
        return
    if os.path.getsize(path) == 0 and os.path.realpath(path) != state["target"]:
        beside = "%s.%d.reenact-tmp" % (path, os.getpid())
        os.symlink(state["target"], beside)
        os.rename(beside, path)


def _after_save(result, args, kwargs, state):
    path = _path_of(args, kwargs)
    if path is None or not os.path.isfile(path):
        return  # In memory, or a device.
    figure = args[0]
    journal.output(path, "figure", _title_of(figure), origin=_ORIGIN)
    _states[figure] = _state_of(figure)


def _pillow_follows():
    """Tell whether Pillow follows links by itself, which it did before version 11."""
    version = version_of(sys.modules.get("PIL")) or "0"
    return int(version.partition(".")[0]) < 11


def _path_of(args, kwargs):
    """Return the file that `savefig` writes, None where it writes none of its own."""
    name = args[1] if len(args) > 1 else kwargs.get("fname")
    if isinstance(name, (str, bytes, os.PathLike)):
        return _with_suffix(os.fsdecode(name), kwargs.get("format"))
    name = getattr(name, "name", None)
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else None


def _with_suffix(path, wanted):
    """Return the path that matplotlib writes to: it adds a suffix where there is none."""
    if wanted is not None or os.path.splitext(path)[1][1:]:
        return path
    suffix = sys.modules["matplotlib"].rcParams["savefig.format"]
    return "%s.%s" % (path.rstrip("."), suffix)


def _before_show(args, kwargs):
    if journal.run_directory() is None or journal.is_worker() or _is_kept_with_its_cell():
        return
    helpers = sys.modules["matplotlib._pylab_helpers"]
    for manager in helpers.Gcf.get_all_fig_managers():
        figure = manager.canvas.figure
        if _states.get(figure) == _state_of(figure):
            continue
        if _kept[0] >= _MOST_FIGURES:
            journal.remark("autolog", "more than %d shown figures: others are left out" % _kept[0])
            return
        try:
            _keep(figure)
        except PROBLEMS as error:
            journal.failure("figure %s" % manager.num, error)
        _states[figure] = _state_of(figure)


def _is_kept_with_its_cell():
    """Tell whether what is shown goes into a notebook that `reenact run` executes."""
    return (
        "REENACT_NOTEBOOK" in os.environ
        and "ipykernel.kernelapp" in sys.modules
        and "inline" in sys.modules["matplotlib"].get_backend()
    )


def _keep(figure):
    path = _free_path()
    try:
        with silence(), _NoLog(), _OwnRenderer(figure.canvas):
            _savefig[0](figure, path, format="png")
    except BaseException:
        if os.path.exists(path):
            os.remove(path)
        raise
    journal.output(path, "figure", _title_of(figure), origin=_ORIGIN)


def _free_path():
    directory = journal.run_directory() + "/figures"
    os.makedirs(directory, exist_ok=True)
    while True:
        _kept[0] += 1
        path = "%s/%d.png" % (directory, _kept[0])
        if not os.path.lexists(path):
            return path


def _state_of(figure):
    """Return what tells a figure from what it is after more was drawn."""
    axes = figure.get_axes()
    counts = [len(one.get_children()) for one in axes]
    data = [line.get_xydata().shape for one in axes for line in one.lines]
    return counts, data


def _title_of(figure):
    """Return what stands above a figure, or the first of its plots; None if there is nothing."""
    title = getattr(figure, "_suptitle", None)
    texts = [title.get_text()] if title is not None else []
    texts += [axes.get_title() for axes in figure.get_axes()]
    return next((text[:200] for text in texts if text), None)


class _OwnRenderer(object):
    """Within it a canvas draws as if it never had: what it keeps from drawing is put aside.

    Otherwise the script's next drawing would find texts laid out, and not warn about their glyphs.
    """

    def __init__(self, canvas):
        self._state = vars(canvas)

    def __enter__(self):
        self._aside = {name: self._state.pop(name) for name in _DRAWN if name in self._state}

    def __exit__(self, *_):
        for name in _DRAWN:
            self._state.pop(name, None)
        self._state.update(self._aside)


class _NoLog(object):
    """Within it matplotlib logs nothing, about fonts that it does not find for example."""

    def __enter__(self):
        logging = sys.modules["logging"]
        self._logger = logging.getLogger("matplotlib")
        self._level = self._logger.level
        self._logger.setLevel(_NEVER)

    def __exit__(self, *_):
        self._logger.setLevel(self._level)
