"""Make a store with runs of every kind, for the readers of all later versions: `format-N.tar.gz`.

    python tests/compat/make_store.py

Run it once for each format, with the version that brought the format, and never again: a fixture is
what that version wrote. Paths and names of the machine are replaced by neutral ones.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from reenact.model.run import FORMAT
from reenact.store.blobs import Blobs, digest_bytes

HOME = "/home/ada"
NEUTRAL = {"hostname": "workstation", "kernel": "Linux 6.1.0-18-amd64", "cpu": "Example CPU"}

TRAIN = """
import sys, time
lr = 0.1
epochs = 3
crash = False
wait = False
print("reading", open("data/train.csv").read().strip())
for epoch in range(epochs):
    print(f"epoch {epoch} loss: {lr / (epoch + 1)}")
with open("model.txt", "w") as file:
    file.write(f"weights of {lr}")
if wait:
    open("ready", "w").close()
    time.sleep(600)
if crash:
    print("no more", file=sys.stderr)
    raise SystemExit(3)
"""
NAN = """
import os
print("loss: nan")
print("loss: inf")
print("acc: 0.5")
with open(os.environ["REENACT_METRICS"], "a") as file:
    file.write("val/loss 0.125 7\\n")
"""
BYTES = """
with open(b"caf\\xe9\\n.txt", "w") as file:
    file.write("bytes")
"""
LABELS = ["completed", "failed", "terminated", "nan", "bytes", "in place", "command", "killed"]


def make(root: Path) -> Path:
    """Make the project and run it in every way; return the store."""
    project, store = root / "project", root / "store"
    (project / "data").mkdir(parents=True)
    (project / "data" / "train.csv").write_text("1,2,3\n")
    (project / "train.py").write_text(TRAIN)
    (project / "nan.py").write_text(NAN)
    (project / "bytes.py").write_text(BYTES)
    (project / "alias.py").symlink_to("train.py")
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(root),
        "REENACT_HOME": str(store),
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def start(label: str, *words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "reenact", "run", "--label", label, *words]
        return subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.DEVNULL)

    def run_until_ready(label: str) -> subprocess.Popen[bytes]:
        before = set(store.glob("runs/*/ready"))
        process = start(label, "train.py", "wait=yes")
        while not set(store.glob("runs/*/ready")) - before:
            time.sleep(0.02)
        time.sleep(0.5)  # Until the environment is described, too.
        return process

    start("completed", "train.py", "lr=0.5", "--tag", "best", "--comment", "two\nlines").wait()
    start("failed", "train.py", "crash=yes").wait()
    terminated = run_until_ready("terminated")
    terminated.send_signal(signal.SIGTERM)
    terminated.wait()
    start("nan", "nan.py").wait()
    start("bytes", "bytes.py").wait()
    start("in place", "nan.py", "--in-place").wait()
    start(
        "command", "lr=nan", "--", "sh", "-c", "echo acc: 1 > out.txt; cat out.txt; echo {lr}"
    ).wait()
    killed = run_until_ready("killed")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    for record in store.glob("runs/*/.reenact/run.json"):
        group = json.loads(record.read_bytes()).get("process_group")
        if not (record.parent / "lock").exists():
            continue
        os.killpg(group, signal.SIGKILL)
    time.sleep(0.2)
    subprocess.run([sys.executable, "-m", "reenact", "runs"], cwd=project, env=env, check=True)
    return store


def make_neutral(store: Path, root: Path) -> None:
    """Replace what is of this machine in records and in the blobs that describe it."""
    blobs = Blobs(str(store / "blobs"))
    words = {
        str(root): HOME,
        str(Path(sys.executable).parent): "/opt/python/bin",
        os.path.realpath(sys.executable): "/opt/python/bin/python3",
        sys.prefix: "/opt/python",
        sys.base_prefix: "/usr",
        str(Path(__file__).resolve().parents[2]): "/opt/reenact",
    }

    def text(data: str) -> str:
        for found, neutral in sorted(words.items(), key=lambda pair: -len(pair[0])):
            data = data.replace(found, neutral)
        return data

    def value(data: Any) -> Any:
        if isinstance(data, dict):
            kept = {key: NEUTRAL[key] if key in NEUTRAL else value(data[key]) for key in data}
            if isinstance(kept.get("packages"), list):
                kept["packages"] = [
                    p for p in kept["packages"] if p["name"] in ("click", "msgspec")
                ]
            return kept
        return (
            [value(item) for item in data]
            if isinstance(data, list)
            else (text(data) if isinstance(data, str) else data)
        )

    replaced: dict[str, str] = {}
    for path in sorted(store.glob("runs/*/.reenact/run.json")):
        record = value(json.loads(path.read_text()))
        for name in ("environment", "machine"):
            digest = record.get(name)
            if digest is None:
                continue
            if digest not in replaced:
                content = value(json.loads(blobs.get(digest)))
                blobs.remove(digest)
                data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
                replaced[digest] = digest_bytes(data)
                blobs.put(data)
            record[name] = replaced[digest]
        path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")


def pack(store: Path, target: Path) -> None:
    """Write what a reader needs: no caches, no owners, no times."""

    def neutral(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        top = entry.name.split("/")[1:2]
        if top and (
            top[0] in ("cache", "stage") or top[0].endswith(".lock") or "index.db" in top[0]
        ):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "ada"
        entry.mtime = 1767225600
        return entry

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(store, arcname="store", filter=neutral)
    target.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))


def main() -> None:
    """Make the fixture of the format that this version writes."""
    target = Path(__file__).parent / f"format-{FORMAT}.tar.gz"
    if target.exists():
        raise SystemExit(f"{target.name} is there already, and fixtures are never made again")
    with tempfile.TemporaryDirectory() as directory:
        root = Path(os.path.realpath(directory))
        store = make(root)
        make_neutral(store, root)
        pack(store, target)
        shutil.rmtree(store)
    print(f"{target.name}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
