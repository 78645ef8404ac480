"""Aim (tested with 3.29): what a script tracks with `Run`, and the params that it sets.

A metric is called as in Aim, after the values of its context (`{"subset": "val"}` makes `val/loss`).
Params are named by their path (`hparams.lr`). Images, figures, texts and sound are kept in
`outputs/aim/`. Aim's repository stays as it is.
"""

import sys

from _reenact import journal, media
from _reenact.patches import trackers
from _reenact.wrap import version_of, wrap

_ORIGIN = "aim"


def after_aim(module):
    """Say which version it is."""
    stated = sys.modules.get("aim.__version__", module)
    journal.framework("aim", version_of(stated))


def after_aim_sdk_run(module):
    """Take part in what runs are told."""
    owner = getattr(module, "BasicRun", module.Run)
    wrap(module.Run, "__init__", after=_after_init)
    wrap(owner, "track", after=_after_track)
    wrap(owner, "__setitem__", after=_after_set)
    wrap(owner, "set", after=_after_set)
    wrap(owner, "log_artifact", after=_after_artifact)
    wrap(owner, "log_artifacts", after=_after_artifact)
    mixin = module.StructuredRunMixin
    wrap(mixin, "add_tag", after=_after_tag)
    for name in ("name", "description", "experiment"):
        trackers.watch_property(mixin, name, _tell(name))


def _run_of(run):
    return trackers.run_of(_ORIGIN, run.hash)


def _tell(name):
    def tell(run, value):
        tracked = _run_of(run)
        if tracked is not None:
            tracked.about(**{name: value})

    return tell


def _after_init(result, args, kwargs, state):
    # Numbered in the order in which they were made.
    _run_of(args[0])


def _after_track(result, args, kwargs, state):
    given = dict(zip(("value", "name", "step", "epoch"), args[1:]), **kwargs)
    tracked = _run_of(args[0])
    if tracked is None:
        return
    context = given.get("context") or {}
    before = "".join("%s/" % value for value in dict(context).values())
    name, value, step = given.get("name"), given["value"], given.get("step")
    values = value if isinstance(value, dict) else {name: value}
    for key, one in values.items():
        if not str(key).startswith("__") and not tracked.metric(before + str(key), one, step):
            for number, item in enumerate(one if isinstance(one, (list, tuple)) else [one]):
                _keep(tracked, "%s%s" % (before, key), item, step, number)


def _keep(tracked, name, value, step, number):
    kind = type(value).__name__
    storage = getattr(value, "storage", None)
    if storage is None:
        return
    called = name if step is None else "%s-%06d" % (name, step)
    called = called if number == 0 else "%s-%d" % (called, number)
    if kind == "Text":
        path = tracked.write(called + ".txt", str(value.data).encode("utf-8"))
        journal.output(path, "text", name, step, _ORIGIN)
    elif kind in ("Image", "Audio"):
        suffix = str(storage["format"] or "bin").lower()
        path = tracked.write("%s.%s" % (called, suffix), bytes(storage["data"]))
        journal.output(path, kind.lower(), name, step, _ORIGIN)
    elif kind == "Figure":
        media.log_figure(value.to_plotly_figure(), "aim/%s" % name, step)


def _after_set(result, args, kwargs, state):
    given = dict(zip(("key", "val"), args[1:]), **kwargs)
    key, value = given.get("key"), given.get("val")
    tracked = _run_of(args[0])
    if tracked is None or str(key).startswith("__"):
        return
    key = () if key is Ellipsis else key if isinstance(key, tuple) else (key,)
    for part in reversed(key):
        value = {part: value}
    if isinstance(value, dict) or hasattr(value, "items"):
        tracked.config(trackers.flat(dict(value)))


def _after_tag(result, args, kwargs, state):
    tracked = _run_of(args[0])
    if tracked is not None:
        tags = tracked.tags = [*getattr(tracked, "tags", ()), args[1]]
        tracked.about(tags=tags)


def _after_artifact(result, args, kwargs, state):
    given = dict(zip(("path", "name"), args[1:]), **kwargs)
    tracked = _run_of(args[0])
    if tracked is not None:
        tracked.file(given["path"], given.get("name"), None, given.get("name"))
