"""The tools side by side: how each runs a script, and what of the run can be read back from it.

A reader is generous: it hands over everything that the tool wrote in some respect, and `report.py`
looks for the facts in it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent


class Facts(NamedTuple):
    """What a tool has kept of a run.

    Attributes:
        said: respect (`params`, `metrics`, `code`, `environment`, `machine`, `variables`, `data`,
            `summary`) -> all text that the tool has on it.
        series: metric -> how many points.
        files: paths of all files that it keeps as results.
        models: those that are trained models.
        train_data, test_data: it can tell these data from others.
    """

    said: Mapping[str, str]
    series: Mapping[str, int]
    files: tuple[Path, ...]
    models: tuple[Path, ...]
    train_data: bool
    test_data: bool


class Tool(NamedTuple):
    """One way to run a script.

    Attributes:
        variant: directory of its scripts.
        command: words that run a script with an interpreter.
        store: where it keeps runs.
        read: what can be read back of the last one.
        caches: what of the store may be deleted at any time.
        config: a file that the project needs for it.
        owns_outputs: each run has the files that the script writes to itself.
    """

    name: str
    variant: str
    command: Callable[[str, str], list[str]]
    store: Callable[[Path], list[Path]]
    read: Callable[[Path, Mapping[str, str]], Facts]
    caches: tuple[str, ...] = ()
    config: str | None = None
    owns_outputs: bool = False


def tools(report_python: str) -> list[Tool]:
    """Return the tools; `report_python` is the interpreter that has the peers and frameworks."""
    reenact = str(Path(sys.executable).with_name("reenact"))
    guild = str(Path(report_python).with_name("guild"))
    return [
        Tool("python", "scripts", lambda p, s: [p, s], lambda _: [], _nothing),
        Tool("reenact", "scripts", lambda p, s: [reenact, "run", "--python", p, s],
             lambda d: [d / "reenact"], _read_reenact, ("cache", "index.db", "index.db-wal",
                                                        "index.db-shm", "index.lock"), None, True),
        Tool("mlflow", "with_mlflow", lambda p, s: [p, s],
             lambda d: [d / "project" / "mlruns", d / "mlflow.db"], _read_mlflow),
        Tool("wandb", "with_wandb", lambda p, s: [p, s], lambda d: [d / "wandb"], _read_wandb),
        Tool("guild", "scripts", lambda _, s: [guild, "run", "-y", s.removesuffix(".py")],
             lambda d: [d / "guild"], _read_guild, ("cache",), "with_guild/guild.yml", True),
    ]  # fmt: skip


def environment(scratch: Path) -> dict[str, str]:
    """Return the variables that keep each tool's store in its own place below `scratch`."""
    return {
        "REENACT_HOME": str(scratch / "reenact"),
        "GUILD_HOME": str(scratch / "guild"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{scratch}/mlflow.db",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(scratch),
        "KERAS_BACKEND": "torch",
        "OMP_NUM_THREADS": "1",
        "DO_NOT_TRACK": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MPLBACKEND": "Agg",
    }


def _nothing(scratch: Path, env: Mapping[str, str]) -> Facts:
    return Facts({}, {}, (), (), False, False)


def _read_reenact(scratch: Path, env: Mapping[str, str]) -> Facts:
    reenact = str(Path(sys.executable).with_name("reenact"))
    shown = json.loads(
        subprocess.run(
            [reenact, "show", "@latest", "--json"],
            env=dict(env), cwd=scratch / "project", capture_output=True, check=True,
        ).stdout
    )  # fmt: skip
    code = subprocess.run(
        [reenact, "cat", "@latest", shown["run"]["operation"]["target"]],
        env=dict(env), cwd=scratch / "project", capture_output=True, check=False, text=True,
    ).stdout  # fmt: skip
    run = shown["run"]
    directory = Path(shown["directory"])
    outputs = tuple(directory / file["path"] for file in run["outputs"])
    models = tuple(directory / model["path"] for model in run["models"] if model.get("path"))
    data = run["datasets"]
    return Facts(
        {
            "params": json.dumps([run["flags"], run["params"], run["models"]]),
            "metrics": json.dumps(run["metrics"]),
            "code": code,
            "environment": json.dumps(shown["environment"]),
            "machine": json.dumps(shown["machine"]),
            "variables": json.dumps([shown["environment"]["variables"], run["variables"]]),
            "data": json.dumps(run["inputs"]),
            "summary": json.dumps([model.get("summary") for model in run["models"]]),
        },
        {name: summary["count"] for name, summary in run["metrics"].items()},
        outputs,
        models,
        any(entry["role"] == "train" and entry.get("digest") for entry in data),
        any(entry["role"] in ("test", "validation") and entry.get("digest") for entry in data),
    )


_MLFLOW = """
import json, mlflow, sys
client = mlflow.MlflowClient()
runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
run = runs[0]
def files(path=""):
    for entry in client.list_artifacts(run.info.run_id, path):
        if entry.is_dir:
            yield from files(entry.path)
        else:
            yield client.download_artifacts(run.info.run_id, entry.path)
kept = list(files())
models = []
for model in client.search_logged_models([run.info.experiment_id]):
    location = model.artifact_location.removeprefix("file://")
    import pathlib
    models += [str(p) for p in pathlib.Path(location).rglob("*") if p.is_file()]
json.dump({"params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
    "inputs": [str(i) for i in run.inputs.dataset_inputs],
    "contexts": [t.value for i in run.inputs.dataset_inputs for t in i.tags],
    "series": {k: len(client.get_metric_history(run.info.run_id, k)) for k in run.data.metrics},
    "files": kept, "models": models}, sys.stdout)
"""


def _read_mlflow(scratch: Path, env: Mapping[str, str]) -> Facts:
    done = subprocess.run(
        [env["REPORT_PYTHON"], "-c", _MLFLOW],
        env=dict(env), cwd=scratch / "project", capture_output=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout[done.stdout.index(b'{"params"') :])
    files = tuple(Path(path) for path in [*found["files"], *found["models"]])
    text = {path: _text(path) for path in files}
    everything = "\n".join(text.values())
    tags = json.dumps(found["tags"])
    return Facts(
        {
            "params": json.dumps(found["params"]) + tags,
            "metrics": json.dumps(found["metrics"]),
            "code": tags,
            "environment": everything,
            "machine": tags,
            "variables": tags,
            "data": json.dumps(found["inputs"]),
            "summary": everything,
        },
        found["series"],
        files,
        tuple(Path(p) for p in found["models"] if p.endswith((".pkl", ".skops", ".keras", ".h5"))),
        any("train" in context for context in found["contexts"]),
        any("eval" in context or "test" in context for context in found["contexts"]),
    )


_WANDB = """
import glob, json, struct, sys
from google.protobuf.json_format import MessageToDict
from wandb.proto.wandb_internal_pb2 import Record
data = open(glob.glob(sys.argv[1] + "/*.wandb")[0], "rb").read()
# Blocks of 32 kB with records that may span several of them: the log format of LevelDB.
at, records, part = 7, [], b""
while at + 7 <= len(data):
    left = 32768 - at % 32768
    if left < 7:
        at += left
        continue
    _, size, kind = struct.unpack("<IHB", data[at : at + 7])
    part += data[at + 7 : at + 7 + size]
    at += 7 + size
    if kind in (1, 4):
        record = Record()
        record.ParseFromString(part)
        records.append(MessageToDict(record, preserving_proto_field_name=True))
        part = b""
json.dump(records, sys.stdout)
"""


def _read_wandb(scratch: Path, env: Mapping[str, str]) -> Facts:
    directory = max((scratch / "wandb").glob("offline-run-*"))
    files = tuple(path for path in directory.rglob("*") if path.is_file())
    done = subprocess.run(
        [env["REPORT_PYTHON"], "-c", _WANDB, str(directory)],
        env=dict(env), capture_output=True, check=True,
    )  # fmt: skip
    records = json.loads(done.stdout)
    said: dict[str, list[object]] = {}
    series: dict[str, int] = {}
    for record in records:
        for kind, content in record.items():
            said.setdefault(kind, []).append(content)
        for item in record.get("history", {}).get("item", []):
            name = item.get("key") or "/".join(item.get("nested_key", []))
            series[name] = series.get(name, 0) + 1
    requirements = "\n".join(_text(path) for path in files if path.name == "requirements.txt")
    whole = json.dumps(records)
    return Facts(
        {
            "params": json.dumps([run.get("config") for run in said.get("run", [])]),
            "metrics": json.dumps([said.get("history"), said.get("summary")]),
            "code": "\n".join(_text(path) for path in files if path.suffix == ".py"),
            "environment": requirements,
            "machine": whole,
            "variables": whole,
            "data": json.dumps(said.get("run")),
            "summary": whole,
        },
        series,
        files,
        tuple(path for path in files if path.suffix in (".pkl", ".keras", ".h5", ".joblib")),
        False,
        False,
    )


def _read_guild(scratch: Path, env: Mapping[str, str]) -> Facts:
    run = max((scratch / "guild" / "runs").iterdir(), key=lambda path: path.stat().st_mtime)
    attributes = {path.name: _text(path) for path in (run / ".guild" / "attrs").iterdir()}
    guild = str(Path(env["REPORT_PYTHON"]).with_name("guild"))
    info = subprocess.run(
        [guild, "runs", "info", "--json"],
        env=dict(env), cwd=scratch / "project", capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    described = json.loads(info[info.index("{") :])
    files = tuple(
        path
        for path in run.rglob("*")
        if path.is_file() and ".guild" not in path.relative_to(run).parts
    )
    scalars = described.get("scalars") or {}
    code = "\n".join(_text(path) for path in run.rglob("*.py") if path.is_file())
    environment = "\n".join(attributes.get(n, "") for n in ("pip_freeze", "env", "python_version"))
    return Facts(
        {
            "params": json.dumps(described.get("flags")),
            "metrics": json.dumps(scalars),
            "code": code,
            "environment": environment,
            "machine": attributes.get("platform", ""),
            "variables": attributes.get("env", ""),
            "data": attributes.get("deps", ""),
            "summary": "",
        },
        dict.fromkeys(scalars, 1),
        files,
        tuple(path for path in files if path.suffix in (".pkl", ".keras", ".joblib")),
        False,
        False,
    )


def _text(path: Path) -> str:
    if path.stat().st_size > 20_000_000:
        return ""
    return path.read_bytes().decode("utf-8", "replace")
