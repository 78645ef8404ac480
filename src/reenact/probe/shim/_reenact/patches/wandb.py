"""Weights & Biases (tested with 0.29 and 0.31): what a script logs to it, in every mode, `disabled` included.

Metrics keep their names, those of nested dictionaries joined by `.`; a step is the one that wandb
uses. Settings of `config` are params; project, name, group, tags and notes that the script gave are
`wandb.project` and so on. Numbers put into the summary are metrics, as `summary/loss` where `loss`
was logged, too. Files are kept: artifacts, saved files, images, tables, sound, HTML.

Where no API key is found and no mode is set, the mode becomes `offline`: wandb would ask for a key,
or fail. A key that the script itself hands over counts.
"""

import os
import sys
import weakref

from _reenact import journal, media
from _reenact.patches import trackers
from _reenact.wrap import version_of, wrap

_ORIGIN = "wandb"
_ABOUT = ("project", "entity", "name", "group", "job_type", "tags", "notes")
_OWN_ARTIFACTS = ("run_table", "job", "code", "wandb-history")
_ROLES = {
    "Image": "image",
    "Audio": "audio",
    "Table": "table",
    "Html": "text",
    "Plotly": "figure",
    "Histogram": "histogram",
}

_configs = weakref.WeakKeyDictionary()
_artifacts = weakref.WeakKeyDictionary()
_noop_steps = weakref.WeakKeyDictionary()
_state = {"has_key": False, "is_told": False, "mode": None}


def after_wandb(module):
    """Say which version it is."""
    journal.framework("wandb", version_of(module))


def after_wandb_sdk_wandb_login(module):
    """Learn of keys that the script hands over; stay offline without one."""
    wrap(module, "login", before=_before_login)


def after_wandb_sdk_wandb_init(module):
    """Learn of runs as they begin."""
    wrap(module, "init", before=_before_init, after=_after_init)


def after_wandb_sdk_wandb_config(module):
    """Learn of settings that are made later."""
    for name in ("__setitem__", "__setattr__", "update", "setdefaults"):
        wrap(module.Config, name, after=_after_config)


def after_wandb_sdk_wandb_summary(module):
    """Learn of numbers that the script puts into the summary."""
    wrap(module.Summary, "update", after=_after_summary)


def after_wandb_sdk_wandb_run(module):
    """Learn of metrics and files."""
    run = module.Run
    wrap(run, "log", before=_before_log, after=_after_log)
    wrap(run, "log_artifact", after=_after_artifact)
    wrap(run, "save", after=_after_save)
    for name in ("name", "notes", "tags"):
        trackers.watch_property(run, name, _tell(name))


def after_wandb_sdk_lib_noop_run(module):
    """Learn of metrics and files in `disabled` mode, where nothing of wandb's runs."""
    run = module.NoopRun
    wrap(run, "log", after=_after_noop_log)
    wrap(run, "log_artifact", after=_after_artifact)
    wrap(run, "save", after=_after_save)


def after_wandb_sdk_lib_disabled(module):
    """Learn of the summary in `disabled` mode."""
    for name in ("__setitem__", "__setattr__"):
        wrap(module.SummaryDisabled, name, after=_after_noop_summary)


def after_wandb_sdk_data_types_base_types_media(module):
    """Learn where files of images, tables and the like are."""
    wrap(module.Media, "bind_to_run", after=_after_bind)


def after_wandb_sdk_artifacts_artifact(module):
    """Learn which files were put into an artifact."""
    wrap(module.Artifact, "add_file", after=_after_add)
    wrap(module.Artifact, "add_dir", after=_after_add)


# --- keys ---


def _before_login(args, kwargs):
    if (args and args[0]) or kwargs.get("key"):
        _state["has_key"] = True
        _take_back()
    else:
        _stay_offline()


def _before_init(args, kwargs):
    settings = kwargs.get("settings")
    given = settings if isinstance(settings, dict) else getattr(settings, "__dict__", {})
    if given.get("api_key"):
        _state["has_key"] = True
        _take_back()
    if kwargs.get("mode") or given.get("mode"):
        return None
    if _stay_offline():
        # Its settings may have been read before.
        return args, dict(kwargs, mode="offline")
    return None


def _stay_offline():
    """Tell whether wandb is to be offline because of us."""
    if journal.record_directory() is None:
        return False
    mode = os.environ.get("WANDB_MODE")
    if mode:
        return mode == _state["mode"]
    if _state["has_key"] or os.environ.get("WANDB_DISABLED") or _has_key():
        return False
    os.environ["WANDB_MODE"] = _state["mode"] = "offline"
    if not _state["is_told"]:
        _state["is_told"] = True
        trackers.say_offline("wandb", "WANDB_MODE=offline was set")
    return True


def _take_back():
    if _state["mode"] and os.environ.get("WANDB_MODE") == _state["mode"]:
        del os.environ["WANDB_MODE"]
    _state["mode"] = None


def _has_key():
    """Tell whether wandb would find a key: in the environment, a netrc file or its settings."""
    environ = os.environ
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    if "google.colab" in sys.modules:
        # It asks there, in a way that works.
        return True
    host = environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("://")[-1]
    host = host.split("/")[0].split(":")[0]
    home = os.path.expanduser("~")
    netrcs = [environ.get("NETRC"), home + "/.netrc", home + "/_netrc"]
    if any(host in _text_of(path).split() for path in netrcs if path):
        return True
    config = environ.get("WANDB_CONFIG_DIR") or home + "/.config/wandb"
    local = os.path.join(environ.get("WANDB_DIR", "."), "wandb", "settings")
    names = [line.partition("=")[0].strip() for line in _text_of(config + "/settings").split("\n")]
    names += [line.partition("=")[0].strip() for line in _text_of(local).split("\n")]
    return bool({"api_key", "mode", "disabled"} & set(names))


def _text_of(path):
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return ""
    try:
        return os.read(descriptor, 1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


# --- runs ---


def _run_of(run):
    return trackers.run_of(_ORIGIN, run.id)


def _after_init(run, args, kwargs, state):
    if run is None or getattr(run, "id", None) is None:
        return
    tracked = _run_of(run)
    if tracked is None:
        return
    tracked.about(**{name: kwargs.get(name) for name in _ABOUT})
    _configs[run.config] = tracked
    tracked.config(_items(run.config))


def _after_config(result, args, kwargs, state):
    tracked = _configs.get(args[0])
    if tracked is not None:
        tracked.config(_items(args[0]))


def _items(config):
    return {key: config[key] for key in config.keys() if not str(key).startswith("_")}


def _after_summary(result, args, kwargs, state):
    _tell_summary(args[1] if len(args) > 1 else kwargs.get("d"))


def _after_noop_summary(result, args, kwargs, state):
    _tell_summary({args[1]: args[2]})


def _tell_summary(values):
    module = sys.modules.get("wandb")
    run = getattr(module, "run", None)
    if run is None or not isinstance(values, dict):
        return
    tracked = _run_of(run)
    if tracked is not None:
        for name, value in values.items():
            name = "summary/%s" % name if name in tracked.seen else str(name)
            if not name.startswith("_") and tracked.metric(name, value):
                tracked.seen.discard(name)


def _tell(name):
    def tell(run, value):
        tracked = _run_of(run)
        if tracked is not None:
            tracked.about(**{name: value})

    return tell


# --- metrics ---


def _before_log(args, kwargs, state):
    run = args[0]
    step = getattr(run, "_local_step", getattr(run, "_step", None))
    given = kwargs.get("step", args[2] if len(args) > 2 else None)
    state["step"] = step if given is None else given


def _after_log(result, args, kwargs, state):
    _record(args, kwargs, state["step"])


def _after_noop_log(result, args, kwargs, state):
    run = args[0]
    given = kwargs.get("step", args[2] if len(args) > 2 else None)
    commit = kwargs.get("commit", args[3] if len(args) > 3 else None)
    step = _noop_steps.get(run, 0) if given is None else given
    # As the run does where it is not disabled.
    is_done = commit if commit is not None else given is None
    _noop_steps[run] = step + 1 if is_done else step
    others = _record(args, kwargs, step)
    tracked = _run_of(run)
    for name, value in (others or {}).items():
        _keep_value(tracked, name, value, step)


def _record(args, kwargs, step):
    data = kwargs.get("data", args[1] if len(args) > 1 else None)
    tracked = _run_of(args[0])
    if tracked is None or not isinstance(data, dict):
        return None
    return tracked.metrics(data, step)


# --- files ---


def _keep_value(tracked, name, value, step):
    """Keep an image, table or figure that a disabled run was given."""
    kind = type(value).__name__
    path = getattr(value, "_path", None)
    if isinstance(value, (list, tuple)):
        for number, one in enumerate(list(value)[:100]):
            _keep_value(tracked, "%s-%d" % (name, number), one, step)
    elif isinstance(path, str):
        suffix = os.path.splitext(path)[1]
        called = "%s-%06d%s" % (name, int(step), suffix)
        tracked.file(path, called, _ROLES.get(kind), name, step)
    elif kind == "Table":
        rows = [dict(zip(map(str, value.columns), row)) for row in value.data]
        media.log_table(rows, "wandb/%s" % name, step)
    elif hasattr(value, "savefig") or hasattr(value, "write_html"):
        media.log_figure(value, "wandb/%s" % name, step)


def _after_bind(result, args, kwargs, state):
    value, run = args[0], args[1] if len(args) > 1 else kwargs.get("run")
    names = dict(zip(("run", "key", "step"), args[1:]), **kwargs)
    path = getattr(value, "_path", None)
    tracked = _run_of(run)
    if tracked is not None and isinstance(path, str):
        step = names.get("step")
        step = step if isinstance(step, int) else None
        role = _ROLES.get(type(value).__name__)
        tracked.file(path, None, role, str(names.get("key")), step)


def _after_add(result, args, kwargs, state):
    path = args[1] if len(args) > 1 else kwargs.get("local_path")
    name = kwargs.get("name", args[2] if len(args) > 2 else None)
    _artifacts.setdefault(args[0], []).append((os.path.abspath(os.fspath(path)), name))


def _after_artifact(result, args, kwargs, state):
    given = dict(zip(("artifact_or_path", "name", "type"), args[1:]), **kwargs)
    artifact = given.get("artifact_or_path")
    tracked = _run_of(args[0])
    if tracked is None:
        return
    if isinstance(artifact, (str, os.PathLike)):
        name = given.get("name") or os.path.basename(os.fspath(artifact))
        role = "model" if given.get("type") == "model" else None
        tracked.file(artifact, name, role, name)
        return
    if artifact.type in _OWN_ARTIFACTS:
        return
    title = getattr(artifact, "_name", None) or artifact.name.partition(":")[0]
    role = "model" if artifact.type == "model" else None
    added = _artifacts.get(artifact, [])
    for path, name in added:
        tracked.file(path, "%s/%s" % (title, name or os.path.basename(path)), role, title)
    if not added:
        for name, entry in artifact.manifest.entries.items():
            if getattr(entry, "local_path", None):
                tracked.file(entry.local_path, "%s/%s" % (title, name), role, title)


def _after_save(result, args, kwargs, state):
    pattern = kwargs.get("glob_str", args[1] if len(args) > 1 else None)
    tracked = _run_of(args[0])
    if tracked is None or not isinstance(pattern, (str, os.PathLike)):
        return
    from glob import glob

    for path in glob(os.fspath(pattern))[:100]:
        tracked.file(path)
