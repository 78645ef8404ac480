"""Comet (tested with 3.58): what a script logs to an experiment, online, offline or disabled.

Metrics are named as Comet shows them (`train_loss` in the context `train`), params as they are,
`log_other` and tags are `comet.<name>`. Images, figures, assets, texts and tables are kept. Where no API
key is found `comet_ml.start` makes an offline experiment, and `comet_ml.Experiment`, which cannot be
offline, is disabled: both would fail.
"""

import os
import sys

from _reenact import journal, media
from _reenact.patches import trackers
from _reenact.wrap import version_of, wrap

_ORIGIN = "comet"

_state = {"is_told": False}


def after_comet_ml(module):
    """Say which version it is."""
    journal.framework("comet", version_of(module))


def after_comet_ml_comet_start_comet_start(module):
    """Stay offline without a key."""
    wrap(module, "start", before=_before_start)


def after_comet_ml__online(module):
    """Stay disabled without a key."""
    wrap(module.Experiment, "__init__", before=_before_online)


def after_comet_ml_experiment(module):
    """Take part in what experiments are told, be they online, offline or disabled."""
    experiment = module.CometExperiment
    wrap(experiment, "_log_metric", after=_after_metric)
    wrap(experiment, "_log_metrics", after=_after_metrics)
    wrap(experiment, "_log_parameter", after=_after_parameter)
    wrap(experiment, "log_other", after=_after_other)
    wrap(experiment, "set_name", after=_after_name)
    wrap(experiment, "add_tag", after=_after_tag)
    wrap(experiment, "log_image", before=_before_image)
    wrap(experiment, "log_figure", before=_before_figure)
    wrap(experiment, "log_text", before=_before_text)
    wrap(experiment, "log_table", before=_before_table)
    wrap(experiment, "log_asset", before=_before_asset)
    wrap(experiment, "log_model", before=_before_model)


# --- keys ---


def _before_start(args, kwargs):
    given = kwargs.get("api_key", args[0] if args else None)
    if kwargs.get("online") is not None or _has_key(given):
        return None
    if os.environ.get("COMET_START_ONLINE"):
        return None
    _say("`comet_ml.start` was given online=False")
    return args, dict(kwargs, online=False)


def _before_online(args, kwargs):
    given = kwargs.get("api_key", args[1] if len(args) > 1 else None)
    if kwargs.get("disabled") is not None or _has_key(given):
        return None
    _say("`comet_ml.Experiment` was given disabled=True")
    return args, dict(kwargs, disabled=True)


def _has_key(given):
    if given or journal.record_directory() is None:
        return True
    config = sys.modules["comet_ml.config"]
    return config.get_api_key(None, config.get_config()) is not None


def _say(what):
    if not _state["is_told"]:
        _state["is_told"] = True
        trackers.say_offline("comet", what)


# --- metrics and params ---


def _run_of(experiment):
    return trackers.run_of(_ORIGIN, experiment.get_key())


def _after_metric(result, args, kwargs, state):
    names = ("name", "value", "step", "epoch", "include_context", "framework")
    given = dict(zip(names, args[1:]), **kwargs)
    _tell(args[0], given, {str(given["name"]): given["value"]})


def _after_metrics(result, args, kwargs, state):
    experiment = args[0]
    if experiment.alive:
        # Each of them has been heard of.
        return
    names = ("metrics", "prefix", "step", "epoch", "framework", "include_context")
    given = dict(zip(names, args[1:]), **kwargs)
    before = "%s_" % given["prefix"] if given.get("prefix") is not None else ""
    metrics = trackers.flat(given["metrics"], between="_")
    _tell(experiment, given, {before + name: value for name, value in metrics.items()})


def _tell(experiment, given, metrics):
    tracked = _run_of(experiment)
    if tracked is None or given.get("framework") == _ORIGIN:
        # Comet's own: use of the machine, time taken.
        return
    step = given.get("step")
    if step is None:
        step = experiment.curr_step
    if step is None:
        step = given.get("epoch")
    context = experiment.context if given.get("include_context", True) else None
    for name, value in metrics.items():
        tracked.metric(name if not context else "%s_%s" % (context, name), value, step)


def _after_parameter(result, args, kwargs, state):
    given = dict(zip(("name", "value", "step", "framework"), args[1:]), **kwargs)
    tracked = _run_of(args[0])
    is_comets = given.get("framework") == _ORIGIN
    if tracked is not None and given.get("name") and not is_comets:
        tracked.config({str(given["name"]): given.get("value")})


def _after_other(result, args, kwargs, state):
    given = dict(zip(("key", "value"), args[1:]), **kwargs)
    _about(args[0], str(given["key"]), given.get("value"))


def _after_name(result, args, kwargs, state):
    _about(args[0], "name", args[1] if len(args) > 1 else kwargs.get("name"))


def _after_tag(result, args, kwargs, state):
    _about(args[0], "tags", sorted(set(args[0].get_tags()) | {args[1]}))


def _about(experiment, name, value):
    tracked = _run_of(experiment)
    if tracked is not None:
        tracked.about(**{name: value})


# --- files: before the call, as Comet takes some of them away ---


def _before_image(args, kwargs):
    given = dict(zip(("image_data", "name"), args[1:]), **kwargs)
    step, value = given.get("step"), given.get("image_data")
    name = given.get("name") or "image"
    tracked = _run_of(args[0])
    if tracked is None:
        return
    if isinstance(value, (str, os.PathLike)):
        tracked.file(value, None, "image", given.get("name"), step)
    elif hasattr(value, "savefig"):
        media.log_figure(value, "comet/%s" % name, step)
    else:
        media.log_image(value, "comet/%s" % name, step)


def _before_figure(args, kwargs):
    given = dict(zip(("figure_name", "figure", "overwrite", "step"), args[1:]), **kwargs)
    figure = given.get("figure")
    if figure is None and "matplotlib.pyplot" in sys.modules:
        figure = sys.modules["matplotlib.pyplot"].gcf()
    if figure is not None and _run_of(args[0]) is not None:
        name = given.get("figure_name") or "figure"
        media.log_figure(figure, "comet/%s" % name, given.get("step"))


def _before_text(args, kwargs):
    given = dict(zip(("text", "step"), args[1:]), **kwargs)
    if _run_of(args[0]) is not None:
        media.log_text(given.get("text"), "comet/text", given.get("step"))


def _before_table(args, kwargs):
    given = dict(zip(("filename", "tabular_data", "headers"), args[1:]), **kwargs)
    data, name = given.get("tabular_data"), given.get("filename")
    tracked = _run_of(args[0])
    if tracked is None:
        return
    if data is None:
        if isinstance(name, (str, os.PathLike)):
            tracked.file(name, None, "table")
        return
    headers = given.get("headers")
    if isinstance(headers, (list, tuple)):
        data = [dict(zip(map(str, headers), row)) for row in data]
    media.log_table(data, "comet/%s" % (os.path.splitext(str(name))[0] or "table"))


def _before_asset(args, kwargs):
    given = dict(zip(("file_data", "file_name", "overwrite", "copy_to_tmp", "step"), args[1:]))
    given.update(kwargs)
    _keep(args[0], given, None)


def _before_model(args, kwargs):
    given = dict(zip(("name", "file_or_folder", "file_name"), args[1:]), **kwargs)
    given["file_data"] = given.get("file_or_folder")
    _keep(args[0], given, "model")


def _keep(experiment, given, role):
    tracked = _run_of(experiment)
    path, name = given.get("file_data"), given.get("file_name")
    if tracked is not None and isinstance(path, (str, os.PathLike)):
        tracked.file(path, name, role, name, given.get("step"))
