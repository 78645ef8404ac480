"""Neptune (tested with 1.14): what a script assigns, appends and uploads to a run.

A series of numbers is a metric under its path (`train/loss`). What is assigned is a param under its
path (`parameters.lr`); a fraction outside of a namespace for params (`test/acc`) is a metric, too.
Files are kept. Where no token is found and no mode is set, the mode becomes `offline`: neptune would
fail.
"""

import os

from _reenact import journal
from _reenact.patches import trackers
from _reenact.wrap import wrap

_ORIGIN = "neptune"
_OWN = ("sys", "monitoring", "source_code")
_FOR_PARAMS = ("param", "config", "hyper", "hparam", "arg", "setting")

_state = {"is_told": False}


def after_neptune(module):
    """Say which version it is."""
    version = getattr(module, "__version__", None)
    journal.framework("neptune", None if version is None else str(version))


def after_neptune_metadata_containers_run(module):
    """Learn of runs as they begin; stay offline without a token."""
    wrap(module.Run, "__init__", before=_before_init, after=_after_init)


def after_neptune_handler(module):
    """Take part in what runs are told: whatever way it takes ends in a handler."""
    handler = module.Handler
    wrap(handler, "assign", after=_after_assign)
    wrap(handler, "extend", after=_after_extend)
    wrap(handler, "log", after=_after_log)
    wrap(handler, "upload", after=_after_upload)
    wrap(handler, "upload_files", after=_after_upload)
    wrap(handler, "add", after=_after_add)


def _before_init(args, kwargs):
    if journal.record_directory() is None or kwargs.get("mode") or kwargs.get("api_token"):
        return
    if os.environ.get("NEPTUNE_API_TOKEN") or os.environ.get("NEPTUNE_MODE"):
        return
    os.environ["NEPTUNE_MODE"] = "offline"
    if not _state["is_told"]:
        _state["is_told"] = True
        trackers.say_offline("neptune", "NEPTUNE_MODE=offline was set")


def _run_of(container):
    return trackers.run_of(_ORIGIN, id(container))


def _after_init(result, args, kwargs, state):
    tracked = _run_of(args[0])
    if tracked is not None:
        # Else another run could come to lie where this one was.
        tracked.run = args[0]
        for name in ("project", "name", "description", "tags"):
            tracked.about(**{name: kwargs.get(name)})


def _place(handler):
    """Return the run and the path that a handler stands for; nothing for what is neptune's own."""
    path = str(handler._path).strip("/")
    tracked = _run_of(handler._container)
    if tracked is None or path.partition("/")[0] in _OWN:
        return None, path
    return tracked, path


def _value(args, kwargs, name):
    value = args[1] if len(args) > 1 else kwargs.get(name)
    if type(value).__name__ == "StringifyValue":
        value = value.value
    return value


def _after_assign(result, args, kwargs, state):
    tracked, path = _place(args[0])
    value = _value(args, kwargs, "value")
    if tracked is None:
        if path == "sys/name" and isinstance(value, str):
            _run_of(args[0]._container).about(name=value)
        return
    tree = value if isinstance(value, dict) else {"": value}
    for name, one in trackers.flat(tree, between="/").items():
        name = "/".join(part for part in (path, name) if part)
        _assigned(tracked, name, one)


def _assigned(tracked, name, value):
    if hasattr(value, "_file_composite") or type(value).__name__ == "File":
        _keep(tracked, name, value)
        return
    value = getattr(value, "value", value)
    tracked.config({name.replace("/", "."): value})
    first = name.lower().partition("/")[0]
    if isinstance(value, float) and not first.startswith(_FOR_PARAMS) and "/" in name:
        tracked.metric(name, value)


def _after_extend(result, args, kwargs, state):
    tracked, path = _place(args[0])
    if tracked is None:
        return
    values = _value(args, kwargs, "values")
    steps = kwargs.get("steps", args[2] if len(args) > 2 else None)
    tree = values if isinstance(values, dict) else {"": values}
    for name, series in trackers.flat(tree, between="/").items():
        name = "/".join(part for part in (path, name) if part)
        _appended(tracked, name, series, steps)


def _after_log(result, args, kwargs, state):
    tracked, path = _place(args[0])
    value = _value(args, kwargs, "value")
    step = kwargs.get("step", args[2] if len(args) > 2 else None)
    if tracked is not None:
        series = value if isinstance(value, (list, tuple)) else [value]
        _appended(tracked, path, series, None if step is None else [step])


def _appended(tracked, name, series, steps):
    steps = list(steps or [])
    for number, value in enumerate(list(series)):
        value = getattr(value, "value", value)
        step = steps[number] if number < len(steps) else None
        if not tracked.metric(name, value, step):
            counted = tracked.counts[name] = tracked.counts.get(name, -1) + 1
            _keep(tracked, "%s-%06d" % (name, counted if step is None else step), value)


def _after_upload(result, args, kwargs, state):
    tracked, path = _place(args[0])
    value = _value(args, kwargs, "value")
    if tracked is not None:
        for one in value if isinstance(value, (list, tuple)) else [value]:
            _keep(tracked, path, one)


def _keep(tracked, name, value):
    """Keep a file, or what neptune has made a file of."""
    if not isinstance(value, (str, os.PathLike)) and not hasattr(value, "_file_composite"):
        from neptune.types import File

        if not File.is_convertable_to_image(value) and not File.is_convertable_to_html(value):
            return
        value = File.create_from(value)
    if isinstance(value, (str, os.PathLike)):
        from glob import glob

        for path in glob(os.fspath(value), recursive=True)[:100]:
            suffix = os.path.splitext(path)[1]
            tracked.file(path, name if name.endswith(suffix) else name + suffix, None, name)
        return
    composite = value._file_composite
    path = getattr(composite, "_path", None)
    suffix = "." + value.extension if value.extension else ""
    if isinstance(path, str):
        tracked.file(path, name + suffix, None, name)
    else:
        written = tracked.write(name + suffix, composite.content)
        journal.output(written, trackers.role_of(written), name, None, _ORIGIN)


def _after_add(result, args, kwargs, state):
    handler = args[0]
    tracked = _run_of(handler._container)
    if tracked is not None and str(handler._path) in ("sys/tags", "sys/group_tags"):
        values = _value(args, kwargs, "values")
        new = [values] if isinstance(values, str) else list(values)
        tracked.tags = [*getattr(tracked, "tags", ()), *new]
        tracked.about(tags=tracked.tags)
