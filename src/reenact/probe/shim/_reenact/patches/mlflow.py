"""MLflow (tested with 3.17): what a script, or MLflow's own autologging, logs to any tracking store.

Metrics with their steps; params, numbers among them as numbers; tags as `mlflow.tags.<name>`; the name
of a run if the script gave it; artifacts and logged models as outputs. The tracking URI and the
store stay as they are: what is recorded here is recorded when MLflow has stored it, too. A run that
MLflow nests in another one is a run of its own.
"""

import os
import sys

from _reenact import journal
from _reenact.patches import trackers
from _reenact.wrap import version_of, wrap

_ORIGIN = "mlflow"


def after_mlflow(module):
    """Say which version it is."""
    journal.framework("mlflow", version_of(module))


def after_mlflow_tracking__tracking_service_client(module):
    """Take part in everything that goes to a tracking store: fluent calls and clients end here."""
    client = module.TrackingServiceClient
    wrap(client, "create_run", after=_after_create)
    wrap(client, "log_metric", after=_after_metric)
    wrap(client, "log_param", after=_after_param)
    wrap(client, "log_batch", before=_before_batch, after=_after_batch)
    wrap(client, "set_tag", after=_after_tag)
    wrap(client, "log_artifact", after=_after_artifact)
    wrap(client, "log_artifacts", after=_after_artifacts)
    for name, after in (
        ("log_model_artifact", _after_model_artifact),
        ("log_model_artifacts", _after_model_artifacts),
    ):
        # Models of their own are new in MLflow 3.
        if hasattr(client, name):
            wrap(client, name, after=after)


def _given(names, args, kwargs):
    return dict(zip(names, args[1:]), **kwargs)


def _after_create(run, args, kwargs, state):
    tracked = trackers.run_of(_ORIGIN, run.info.run_id)
    given = _given(("experiment_id", "start_time", "tags", "run_name"), args, kwargs)
    if tracked is not None:
        # Without a name the store thinks one up.
        tracked.about(run_name=given.get("run_name"))
        _tell_tags(tracked, given.get("tags") or {})


def _after_metric(result, args, kwargs, state):
    given = _given(("run_id", "key", "value", "timestamp", "step"), args, kwargs)
    tracked = trackers.run_of(_ORIGIN, given["run_id"])
    if tracked is not None:
        tracked.metric(given["key"], given["value"], given.get("step") or 0)


def _after_param(result, args, kwargs, state):
    given = _given(("run_id", "key", "value"), args, kwargs)
    tracked = trackers.run_of(_ORIGIN, given["run_id"])
    if tracked is not None:
        tracked.config({given["key"]: trackers.from_text(given["value"])})


def _before_batch(args, kwargs, state):
    given = _given(("run_id", "metrics", "params", "tags"), args, kwargs)
    for name in ("metrics", "params", "tags"):
        # They are lists as a rule; what can be read only once is left to MLflow.
        value = given.get(name, ())
        given[name] = value if isinstance(value, (list, tuple)) else ()
    state["given"] = given


def _after_batch(result, args, kwargs, state):
    given = state["given"]
    tracked = trackers.run_of(_ORIGIN, given["run_id"])
    if tracked is None:
        return
    for metric in given["metrics"]:
        tracked.metric(metric.key, metric.value, metric.step)
    tracked.config({param.key: trackers.from_text(param.value) for param in given["params"]})
    _tell_tags(tracked, {tag.key: tag.value for tag in given["tags"]})


def _after_tag(result, args, kwargs, state):
    given = _given(("run_id", "key", "value"), args, kwargs)
    tracked = trackers.run_of(_ORIGIN, given["run_id"])
    if tracked is not None:
        _tell_tags(tracked, {given["key"]: given["value"]})


def _tell_tags(tracked, tags):
    for key, value in tags.items():
        # Those of MLflow's own tell of user, source and data, which differ from run to run.
        if not str(key).startswith("mlflow."):
            tracked.about(**{"tags.%s" % key: value})


# --- files ---


def _after_artifact(result, args, kwargs, state):
    given = _given(("run_id", "local_path", "artifact_path"), args, kwargs)
    name = os.path.basename(os.path.normpath(given["local_path"]))
    _keep(args[0], given, name)


def _after_artifacts(result, args, kwargs, state):
    given = _given(("run_id", "local_path", "artifact_path"), args, kwargs)
    given.setdefault("local_path", given.get("local_dir"))
    _keep(args[0], given, "")


def _keep(client, given, name, resource="run"):
    tracked = trackers.run_of(_ORIGIN, given["run_id"])
    if tracked is None:
        return
    parts = [part for part in (given.get("artifact_path"), name) if part]
    called = "/".join(parts)
    path = os.path.abspath(os.fspath(given["local_path"]))
    # Figures, tables and texts come from a directory that is gone in a moment.
    stored = _stored(client, given["run_id"], resource, called)
    if not trackers.is_inside(path) and stored is not None and trackers.is_inside(stored):
        path = stored
    tracked.file(path, called or None, None, called or None)


def _stored(client, key, resource, name):
    """Return where MLflow has put an artifact, if that is a file of this machine."""
    try:
        if resource == "run":
            store = client._get_artifact_repo(key)
        else:
            store = client._get_artifact_repo(key, resource=resource)
        directory = getattr(store, "artifact_dir", None)
    except Exception:
        return None
    path = os.path.join(directory, name) if isinstance(directory, str) else None
    return path if path and os.path.exists(path) else None


def _after_model_artifact(result, args, kwargs, state):
    _keep_model(args, kwargs, os.path.basename(_path_of(args, kwargs)))


def _after_model_artifacts(result, args, kwargs, state):
    _keep_model(args, kwargs, "")


def _path_of(args, kwargs):
    given = _given(("model_id", "local_path", "artifact_path"), args, kwargs)
    return os.path.normpath(given.get("local_path") or given["local_dir"])


def _keep_model(args, kwargs, name):
    given = _given(("model_id", "local_path", "artifact_path"), args, kwargs)
    run = sys.modules["mlflow"].active_run()
    tracked = None if run is None else trackers.run_of(_ORIGIN, run.info.run_id)
    if tracked is None:
        return
    called = "/".join(part for part in (given.get("artifact_path"), name) if part)
    stored = _stored(args[0], given["model_id"], "logged_model", called)
    path = stored if stored and trackers.is_inside(stored) else _path_of(args, kwargs)
    tracked.file(path, "/".join(part for part in ("model", called) if part))
