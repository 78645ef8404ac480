"""Trackio (tested with 0.43): metrics, config, media and artifacts that a script logs to it.

Names of nested metrics are joined by `.`; a step is the one that trackio uses. Images, sound, video
and artifacts are copied to `outputs/trackio/`, tables to `tables/trackio/`. Trackio's own store stays
as it is.
"""

import os

from _reenact import journal, media
from _reenact.patches import trackers
from _reenact.wrap import version_of, wrap

_ORIGIN = "trackio"


def after_trackio(module):
    """Say which version it is."""
    journal.framework("trackio", version_of(module))


def after_trackio_run(module):
    """Take part in what runs are told."""
    wrap(module.Run, "__init__", after=_after_init)
    wrap(module.Run, "log", before=_before_log, after=_after_log)
    if hasattr(module.Run, "log_artifact"):
        wrap(module.Run, "log_artifact", after=_after_artifact)


def _run_of(run):
    return trackers.run_of(_ORIGIN, id(run))


def _after_init(result, args, kwargs, state):
    run = args[0]
    # The number of the run is not to be given to another one that lies where this one was.
    tracked = _run_of(run)
    if tracked is None:
        return
    tracked.run = run
    name = kwargs.get("name", args[4] if len(args) > 4 else None)
    tracked.about(project=run.project, name=name, group=getattr(run, "group", None))
    config = getattr(run, "config", None) or {}
    tracked.config({key: value for key, value in config.items() if not key.startswith("_")})


def _before_log(args, kwargs, state):
    step = kwargs.get("step", args[2] if len(args) > 2 else None)
    state["step"] = args[0]._next_step if step is None else step


def _after_log(result, args, kwargs, state):
    run = args[0]
    metrics = kwargs.get("metrics", args[1] if len(args) > 1 else None)
    tracked = _run_of(run)
    if tracked is None or not isinstance(metrics, dict):
        return
    step = state["step"]
    for name, value in tracked.metrics(metrics, step).items():
        _keep(tracked, name, value, step)


def _keep(tracked, name, value, step):
    kind = type(value).__name__
    if hasattr(value, "_get_absolute_file_path"):
        path = value._get_absolute_file_path()
        if path is not None:
            called = "%s-%06d%s" % (name, step, os.path.splitext(str(path))[1])
            role = {"TrackioImage": "image", "Image": "image", "Audio": "audio"}.get(kind)
            tracked.file(path, called, role, name, step)
    elif kind == "Table":
        rows = getattr(value, "data", getattr(value, "_data", None))
        media.log_table(rows, "trackio/%s" % name, step)


def _after_artifact(artifact, args, kwargs, state):
    given = dict(zip(("artifact_or_path", "name", "type"), args[1:]), **kwargs)
    path = given.get("artifact_or_path")
    tracked = _run_of(args[0])
    if tracked is None or not isinstance(path, (str, os.PathLike)):
        return
    role = "model" if given.get("type") == "model" else None
    tracked.file(path, given.get("name"), role, given.get("name"))
