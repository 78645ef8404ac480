"""Real containers where tests run: podman, a registry on this machine, and a small image with a Python.

No image can be had from elsewhere, so one is made of what lies here: the interpreter that runs the
tests, pip, the few programs that a recipe calls, and the libraries of all these. That is what
`python:X.Y.Z-slim` has, but for Debian.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from commands import PATIENCE_S
from needs import needs

_REFUSED = re.compile(
    r"not permitted|permission denied|not supported|invalid argument", re.IGNORECASE
)
_PROGRAMS = ("sh", "useradd", "install")
_LIBRARIES = ("libstdc++.so.6", "libgcc_s.so.1")
_LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "__pycache__", "site-packages"}
_ACCOUNTS = {
    "passwd": "root:x:0:0::/root:/bin/sh\n",
    "group": "root:x:0:\n",
    "shadow": "root:*:1::::::\n",
    "gshadow": "root:*::\n",
    "login.defs": "UID_MIN 1000\nGID_MIN 1000\n",
}


class Engine:
    """Podman with a place of its own, and a registry that demands a login.

    Attributes:
        registry: its address.
        base: name of the image with a Python in it.
        env: variables that lead podman there, with the login.
    """

    def __init__(self, root: Path, registry: str) -> None:
        self.registry = registry
        self.base = f"{registry}/library/python:{'.'.join(map(str, sys.version_info[:3]))}-slim"
        self.env = {
            name: str(_write(root / f"{kind}.conf", content))
            for name, kind, content in (
                ("CONTAINERS_CONF", "containers", _ENGINE),
                ("CONTAINERS_STORAGE_CONF", "storage", _STORAGE.format(root=root)),
                ("CONTAINERS_REGISTRIES_CONF", "registries", _REGISTRY.format(place=registry)),
            )
        }
        login = {"auths": {registry: {"auth": base64.b64encode(LOGIN.encode()).decode()}}}
        self.env["REGISTRY_AUTH_FILE"] = str(_write(root / "auth.json", json.dumps(login)))
        # No test builds anything twice.
        self.env["BUILDAH_LAYERS"] = "false"

    def call(self, *words: str) -> str:
        """Call podman, which must succeed; return what it printed."""
        done = subprocess.run(
            ["podman", *words],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        return done.stdout

    def push(self, root: Path, name: str, recipe: str) -> str:
        """Build an image of a recipe in a directory, and give it to the registry; return its name."""
        _write(root / "Dockerfile", recipe)
        image = f"{self.registry}/{name}"
        self.call("build", "-t", image, str(root))
        self.call("push", image)
        return image


@contextmanager
def real_engine(root: Path) -> Iterator[Engine]:
    """Start a registry, and put an image with a Python into it."""
    needs("podman")
    needs("docker-registry")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    _write(root / "known", _KNOWN)
    settings = _write(root / "registry.yml", _SERVICE.format(root=root, port=port))
    with (root / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(settings)], stdout=log, stderr=log
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/v2/")
        engine = Engine(root, f"127.0.0.1:{port}")
        context = root / "base"
        context.mkdir()
        _write_system(context / "system.tar")
        recipe = "FROM scratch\nADD system.tar /\nENV PATH=/usr/local/bin:/usr/sbin:/usr/bin\n"
        _may_start_containers(engine)
        engine.push(context, engine.base.partition("/")[2], recipe)
        yield engine
    finally:
        process.terminate()
        process.wait()
        for name in ("images", "running"):
            shutil.rmtree(root / name, ignore_errors=True)


def _may_start_containers(engine: Engine) -> None:
    """Say in the summary where this kernel, or the container we are in, lets nobody start containers."""
    done = subprocess.run(
        ["podman", "info"],
        check=False,
        env={**os.environ, **engine.env},
        capture_output=True,
        text=True,
    )
    mounted = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    for one in (done, mounted):
        if one.returncode != 0 and _REFUSED.search(one.stderr):
            pytest.xfail(f"no containers can be started here: {one.stderr.strip()[-300:]}")


def _write_system(path: Path) -> None:
    """Write what an image with a Python consists of."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    library = Path(sysconfig.get_path("stdlib"))
    binary = Path(sys.executable).resolve()
    programs = [Path(shutil.which(name) or name) for name in _PROGRAMS]
    needed = _needed_by([binary, *programs, *(library / "lib-dynload").glob("*.so")])
    with tarfile.open(path, "w") as archive:
        for name in ("tmp", "root", "home", "bin"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            info.mode = 0o1777 if name == "tmp" else 0o755
            archive.addfile(info)
        archive.add(library, f"usr/local/lib/{version}", filter=_wanted)
        archive.add(binary, f"usr/local/bin/{version}")
        for name in ("python", "python3"):
            _link(archive, f"usr/local/bin/{name}", version)
        for place in (library / "site-packages").glob("pip*"):
            name = f"usr/local/lib/{version}/site-packages/{place.name}"
            archive.add(place, name, filter=_wanted)
        for program in programs:
            archive.add(program.resolve(), f"usr/bin/{program.name}")
        _link(archive, "bin/sh", "/usr/bin/sh")
        for file in sorted(needed):
            archive.add(os.path.realpath(file), file)
        for name, text in _ACCOUNTS.items():
            info = tarfile.TarInfo(f"etc/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(info.name).name
    return None if name in _LEFT_OUT or name.startswith("config-") else info


def _link(archive: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type = tarfile.SYMTYPE
    info.linkname = target
    archive.addfile(info)


def _needed_by(files: Iterable[Path]) -> set[str]:
    said = subprocess.run(
        ["ldd", *map(str, files)], capture_output=True, text=True, check=False
    ).stdout
    found = set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE))
    listed = subprocess.run(
        ["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False
    ).stdout
    return found | {
        match[1]
        for name in _LIBRARIES
        if (match := re.search(rf"^\s+{re.escape(name)} .*=> (/\S+)$", listed, re.MULTILINE))
    }


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10):
                return
        except urllib.error.HTTPError:
            return  # It demands a login.
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(0.05)


def _write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


# Limits stay what they are, and the network that of the machine: not everybody may set others.
_ENGINE = """
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
"""
_STORAGE = """
[storage]
driver = "overlay"
runroot = "{root}/running"
graphroot = "{root}/images"
[storage.options.overlay]
skip_mount_home = "true"
"""
_REGISTRY = """
[[registry]]
location = "{place}"
insecure = true
"""
LOGIN = "me:hunter2"
_KNOWN = "me:$2b$04$KGsa0akLJUuyPysPUPQBjO9ah0s/7IDete3VJecrczcp6TN.H7O0W\n"
"""The same login as registries keep it."""

_SERVICE = """
version: 0.1
log: {{accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}/registry}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: images, path: {root}/known}}}}
"""
