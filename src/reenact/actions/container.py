"""Write what a container needs that runs a run again: recipe, lock, source and data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import NamedTuple

from reenact import __version__
from reenact.actions.context import Context
from reenact.actions.ground import RunRequest, find_ground
from reenact.actions.lock import lock_or_names
from reenact.actions.plan import Plan, plan_on
from reenact.actions.randomness import variables_to_restore
from reenact.actions.rebuild import environment_with_packages
from reenact.actions.reproduce.data import Verified, verify_data
from reenact.actions.reproduce.rerun import find_base
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.execute.data_sets import read_data_set
from reenact.execute.testimony import SHIM
from reenact.interop import container_start
from reenact.interop.container import WORK, Copy, Execute, Recipe, apptainer, dockerfile
from reenact.interop.registry import with_digest
from reenact.model.environment import (
    Environment,
    PrefixKind,
    Runtime,
    decode_machine,
    decode_runtime,
)
from reenact.model.lock import Lock
from reenact.model.metrics import SAMPLED
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import File, OperationKind, Run
from reenact.model.secrets import REDACTED
from reenact.rebuild.conda import explicit
from reenact.rebuild.export import pin_packages, requirements, write_wheels
from reenact.rebuild.kept import write_editable
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.files import delete_tree, temporary_name

COPIED_LIMIT = 100 << 20
"""Bytes. So much data becomes part of the image; the rest is mounted."""

_SECRET = "<secret>"  # noqa: S105  # stands for one
_OWN = "/opt/reenact"
_CONDA = "/opt/environment"
_KINDS = (OperationKind.SCRIPT, OperationKind.MODULE, OperationKind.COMMAND)
_LEFT_OUT = ("LD_", "DYLD_", "LANG", "LC_", "CUDA_VISIBLE_DEVICES", "NVIDIA_", "PYTHONPATH")
"""Variables of the machine, or of where things lie on it."""


class Mount(NamedTuple):
    """Data that is not part of the image.

    Attributes:
        source: where it is on this machine; None where it is not to be found.
        target: where the run looks for it.
        size_bytes: how much it is.
    """

    source: str | None
    target: str
    size_bytes: int


class Written(NamedTuple):
    """What was written.

    Attributes:
        directory: the context.
        image: name for the image.
        base: what it begins with.
        copied: how many inputs are part of it.
        mounts: inputs that are not.
        command: what it does.
        remarks: what is not as it was in the run.
    """

    directory: str
    image: str
    base: str
    copied: int
    mounts: tuple[Mount, ...]
    command: tuple[str, ...]
    remarks: tuple[str, ...]


def write_container(
    context: Context,
    run: Run,
    directory: str,
    *,
    base: str | None = None,
    resolve: bool = False,
    with_apptainer: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Written:
    """Write the context of a container that runs a run again.

    Args:
        context: where the run is.
        run: which.
        directory: must not be there; it is there when all of it is.
        base: the image to begin with; the official one of its Python when None.
        resolve: ask the registry for the digest of the image.
        with_apptainer: write a definition for Apptainer, too.
        say: told what takes long.

    Raises:
        ReenactError: something that it needs is not there; nothing is left of what was written.
    """
    if os.path.lexists(directory):
        raise UsageError(f"`{directory}` is there already", hint="name another one with `--to`")
    if run.operation.kind not in _KINDS:
        raise ReenactError(
            f"run {run.id[:8]} is a {run.operation.kind}: only scripts, modules and commands get a "
            "container",
            hint="a batch and a pipeline have runs that can: `reenact show` lists them",
        )
    if run.source is None:
        raise NotFound(
            f"the source of run {run.id[:8]} was not kept", hint="it ran with `--no-snapshot`"
        )
    os.makedirs(os.path.dirname(os.path.abspath(directory)), exist_ok=True)
    beside = temporary_name(os.path.abspath(directory))
    os.makedirs(beside)
    try:
        writing = _Writing(context, run, beside, say)
        written = writing.write(directory, base, resolve=resolve, with_apptainer=with_apptainer)
        os.rename(beside, directory)
    except BaseException:
        delete_tree(beside)
        raise
    return written


class _Writing:
    """One context on its way to a directory."""

    def __init__(
        self, context: Context, run: Run, directory: str, say: Callable[[str], None]
    ) -> None:
        self._context = context
        self._store = context.store
        self._run = run
        self._directory = directory
        self._say = say
        self._environment = environment_with_packages(context, run)
        self._lock = lock_or_names(context, run, self._environment)
        self._base = find_base(run, context)
        self._steps: list[Copy | Execute] = []
        self._variables: dict[str, str] = {}
        self._remarks: list[str] = []
        self._is_conda = _is_conda(self._environment)

    def write(
        self, directory: str, base: str | None, *, resolve: bool, with_apptainer: bool
    ) -> Written:
        """Write all of it."""
        image = base or self._official_image()
        if resolve:
            self._say(f"asking for the digest of {image}")
            image = with_digest(image)
        verified = self._verify()
        plan = self._plan(verified)
        self._add_packages()
        self._add_probe()
        self._add_source(plan)
        copied, mounts = self._add_inputs(verified)
        self._set_variables(plan)
        command = self._command(plan)
        inside = "" if plan.cwd in ("", ".") else f"/{plan.cwd}"
        recipe = Recipe(
            base=image,
            notes=self._notes(image),
            steps=tuple(self._steps),
            variables=self._variables,
            directory=f"{WORK}{inside}",
            command=command,
            has_user="mambauser" if self._is_conda and base is None else None,
        )
        self._write("Dockerfile", dockerfile(recipe))
        if with_apptainer:
            self._write("container.def", apptainer(recipe))
        name = f"reenact-{self._run.id[:8]}"
        written = Written(
            directory, name, image, copied, tuple(mounts), command, tuple(self._remarks)
        )
        self._write("README.md", self._readme(written, with_apptainer=with_apptainer))
        return written

    # --- parts ---

    def _official_image(self) -> str:
        python = self._environment.python
        assert python is not None
        if self._is_conda:
            return "docker.io/mambaorg/micromamba:2-debian12-slim"
        if python.implementation == "pypy":
            return f"docker.io/library/pypy:{'.'.join(python.version.split('.')[:2])}-slim"
        return f"docker.io/library/python:{python.version}-slim"

    def _notes(self, image: str) -> tuple[str, ...]:
        run = self._run
        notes = [f"Run {run.id} of {run.operation.name}, written by Reenact {__version__}."]
        if "@" not in image:
            notes.append("The tag below may come to mean another image: `--resolve` or `--base`")
            notes.append("with a digest (image@sha256:...) says exactly which one is meant.")
        return tuple(notes)

    def _verify(self) -> Verified:
        self._say("looking for its data")
        verified = verify_data(self._run, self._store, self._base)
        self._remarks += verified.remarks
        return verified

    def _plan(self, verified: Verified) -> Plan:
        import sys

        run = self._run
        request = RunRequest(
            like=run,
            # Secrets are not recorded: whoever runs the container gives them.
            settings={n: _SECRET for n, v in run.flags.items() if REDACTED in str(v)},
            variables={n: _SECRET for n, v in run.variables.items() if REDACTED in v},
            reproduces=self._run.id,
            python=sys.executable,
            base=self._base,
            provided=verified.provided,
            force_flags=True,
        )
        ground = find_ground(request, self._context)
        return plan_on(ground, ground.request, self._context)

    def _add_packages(self) -> None:
        environment, lock, store = self._environment, self._lock, self._store
        wheels = write_wheels(lock, store.blobs, f"{self._directory}/wheels")
        pinned = pin_packages(
            environment, lock, store.cache_directory, self._context.env, self._say
        )
        text = requirements(environment, lock, pinned, wheels)
        self._write("requirements.txt", text)
        if self._is_conda:
            self._write("explicit.txt", explicit(environment, lock))
            self._steps.append(Copy("explicit.txt", f"{_OWN}/explicit.txt"))
            create = ("micromamba", "create", "-y", "-p", _CONDA)
            self._steps.append(Execute((*create, "--file", f"{_OWN}/explicit.txt")))
            self._variables["PATH"] = f"{_CONDA}/bin:/usr/local/bin:/usr/bin:/bin"
        self._steps.append(Copy("requirements.txt", f"{_OWN}/requirements.txt"))
        python = self._python
        words = [python, "-m", "pip", "install", "--no-cache-dir", "--no-deps"]
        if not pinned.pins.loose:
            words.append("--require-hashes")
        if wheels.names:
            self._steps.append(Copy("wheels/", f"{_OWN}/wheels/"))
            words += ["--find-links", f"{_OWN}/wheels"]
        for name in (*pinned.pins.absent, *pinned.pins.loose):
            self._remarks.append(f"{name} has no pin: no index tells its hash")
        if any(line[:1].isalnum() for line in text.splitlines()):
            self._steps.append(Execute((*words, "-r", f"{_OWN}/requirements.txt")))
        self._add_editables(lock)

    def _add_editables(self, lock: Lock) -> None:
        packages = [package for package in lock.packages if package.editable is not None]
        if not packages:
            return
        origins = {p.name: p.origin for p in self._environment.packages or ()}
        for package in packages:
            write_editable(
                package,
                origins.get(package.name),
                self._store.blobs,
                f"{self._directory}/editable",
                f"{self._directory}/sources",
                f"{_OWN}/sources",
            )
        self._variables["REENACT_PROJECT"] = WORK
        self._steps.append(Copy("editable/", f"{_OWN}/editable/"))
        if os.path.isdir(f"{self._directory}/sources"):
            self._steps.append(Copy("sources/", f"{_OWN}/sources/"))
        into = "shutil.copytree(sys.argv[1], sysconfig.get_path('purelib'), dirs_exist_ok=True)"
        code = f"import shutil, sys, sysconfig; {into}"
        self._steps.append(Execute((self._python, "-c", code, f"{_OWN}/editable")))

    @property
    def _python(self) -> str:
        return f"{_CONDA}/bin/python" if self._is_conda else "python"

    def _add_probe(self) -> None:
        """Add what seeds random generators as they were seeded in the run."""
        run = self._run
        if run.seed is None and not run.is_deterministic:
            return
        shutil.copytree(
            SHIM, f"{self._directory}/probe", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
        self._steps.append(Copy("probe/", f"{_OWN}/probe/"))
        shutil.copyfile(container_start.__file__, f"{self._directory}/start.py")
        self._steps.append(Copy("start.py", f"{_OWN}/start.py"))
        self._variables["REENACT_PROJECT"] = WORK
        if run.seed is not None:
            self._variables["REENACT_SEED"] = str(run.seed)
            self._variables["PYTHONHASHSEED"] = str(run.seed % 2**32)
        if run.is_deterministic:
            self._variables["REENACT_DETERMINISTIC"] = "1"

    def _add_source(self, plan: Plan) -> None:
        blobs = self._store.blobs
        assert self._run.source is not None
        tree: SourceTree = plan.source or read_tree(blobs, self._run.source.tree)
        wanted = plan.to_rewrite
        contents = {}
        for path, mode, _, digest in tree.files:
            name = text_to_path(path)
            data = blobs.get(digest)
            self._write_bytes(f"source/{name}", data, mode)
            if name in wanted:
                contents[name] = data
        for name, data in plan.rewritten(contents).items():
            self._write_bytes(f"source/{name}", data, None)
        for path, target in tree.links:
            at = f"{self._directory}/source/{text_to_path(path)}"
            os.makedirs(os.path.dirname(at), exist_ok=True)
            os.symlink(text_to_path(target), at)
        os.makedirs(f"{self._directory}/source", exist_ok=True)
        self._steps.append(Copy("source/", f"{WORK}/", is_users=True))

    def _add_inputs(self, verified: Verified) -> tuple[int, list[Mount]]:
        """Add data: what is small is copied, what is large, or lies in a cache, is to be mounted."""
        lacking = {lack.path: lack.detail for lack in verified.lacks}
        copied = 0
        room = COPIED_LIMIT
        mounts: list[Mount] = []
        for file in sorted(self._data(), key=lambda one: one.size_bytes or 0):
            path = text_to_path(file.path)
            source = self._place_of(file, verified)
            size = file.size_bytes or 0
            detail = lacking.get(file.path) or next(
                (d for p, d in lacking.items() if p.startswith(f"{file.path}/")), None
            )
            if detail is not None or source is None:
                source = None
                self._remarks.append(f"{file.path} {detail or 'is gone'}: mount what the run read")
                mounts.append(Mount(None, _target(file), size))
            elif size > room or (file.origin not in (None, "") and os.path.isabs(path)):
                mounts.append(Mount(source, _target(file), size))
            else:
                self._copy(file, source)
                room -= size
                copied += 1
        self._add_modules()
        for name, target in (("inputs", f"{WORK}/"), ("root", "/")):
            if os.path.isdir(f"{self._directory}/{name}"):
                self._steps.append(Copy(f"{name}/", target, is_users=name == "inputs"))
        return copied, mounts

    def _data(self) -> Iterator[File]:
        return (file for file in self._run.inputs if file.role != "source")

    def _place_of(self, file: File, verified: Verified) -> str | None:
        path = text_to_path(file.path)
        moved = verified.provided.get(path), verified.settings.get(path)
        resolved = None if file.resolved is None else text_to_path(file.resolved)
        for place in (*moved, os.path.join(self._base, path), resolved):
            if isinstance(place, str) and os.path.exists(place):
                return place
        return None

    def _copy(self, file: File, source: str) -> None:
        target = _target(file)
        inside = target.removeprefix(f"{WORK}/")
        place = f"inputs/{inside}" if inside != target else f"root{target}"
        if file.files is None or file.digest is None:
            self._copy_file(source, place)
            return
        for name, _, _ in read_data_set(self._store.blobs, file.digest).files:
            self._copy_file(f"{source}/{text_to_path(name)}", f"{place}/{text_to_path(name)}")

    def _copy_file(self, source: str, place: str) -> None:
        path = f"{self._directory}/{place}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copyfile(source, path)
        os.chmod(path, 0o644)

    def _add_modules(self) -> None:
        """Add modules from outside the project that belong to no package."""
        places: dict[str, None] = {}
        known = [
            text_to_path(package.editable.location)
            for package in self._lock.packages
            if package.editable is not None
        ]
        modules = {
            text_to_path(file.path): file.digest
            for file in self._run.inputs
            if file.role == "source" and file.digest is not None
        }
        for path, digest in modules.items():
            if any(path.startswith(f"{location}/") for location in known):
                continue
            try:
                self._write_bytes(f"root{_OWN}/modules{path}", self._store.blobs.get(digest), None)
            except ReenactError as error:
                self._remarks.append(f"{path_to_text(path)} is missing: {error.message}")
                continue
            top = os.path.dirname(path)
            while f"{top}/__init__.py" in modules:
                top = os.path.dirname(top)
            places[f"{_OWN}/modules{top}"] = None
        if places:
            self._variables["PYTHONPATH"] = ":".join(places)

    def _set_variables(self, plan: Plan) -> None:
        # As many threads as in the run: they decide how sums are rounded.
        self._variables |= variables_to_restore(
            self._run, self._runtime(), self._environment.variables
        )
        recorded = {**self._environment.variables, **self._run.variables}
        for name, value in recorded.items():
            if name in self._variables or name.startswith(_LEFT_OUT):
                continue
            if REDACTED in value:
                self._remarks.append(f"{name} is secret: `docker run --env {name}=…` sets it")
            elif not os.path.isabs(value):
                self._variables[name] = value
        if self._run.operation.kind is OperationKind.COMMAND:
            flags = {n: v for n, v in plan.env.items() if n.startswith("FLAG_")}
            self._variables.update(flags)

    def _command(self, plan: Plan) -> tuple[str, ...]:
        words = list(plan.words)
        if plan.script_at is not None and plan.script is not None:
            words[plan.script_at] = f"{WORK}/{plan.script}"
        if plan.target.is_python or os.path.basename(words[0]).startswith("python"):
            words[0] = self._python
        if any(REDACTED in word or _SECRET in word for word in words):
            self._remarks.append("a flag of the run is secret: its command must be completed")
        if os.path.exists(f"{self._directory}/start.py"):
            words = [self._python, "-I", f"{_OWN}/start.py", f"{_OWN}/probe", *words]
        return tuple(words)

    # --- files ---

    def _write(self, name: str, text: str) -> None:
        self._write_bytes(name, text.encode("utf-8", "surrogateescape"), None)

    def _write_bytes(self, name: str, data: bytes, mode: int | None) -> None:
        path = f"{self._directory}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        if mode is not None:
            os.chmod(path, mode | 0o600)

    def _readme(self, written: Written, *, with_apptainer: bool) -> str:
        run = self._run
        mounts = "".join(_volume(mount) for mount in written.mounts)
        gpus = " --gpus all" if self._has_gpus() else ""
        lines = [
            f"# Run {run.id[:8]} again",
            "",
            f"`{run.operation.name}`, recorded {run.created:%Y-%m-%d}, by Reenact {__version__}.",
            "",
            "```text",
            f"docker build -t {written.image} .",
            f"docker run --rm{gpus}{mounts} {written.image}",
            "```",
            "",
            "podman takes the same words.",
        ]
        if with_apptainer:
            binds = "".join(_bind(mount) for mount in written.mounts)
            nv = " --nv" if gpus else ""
            image = f"{written.image}.sif"
            lines += ["", "```text", f"apptainer build {image} container.def"]
            lines += [f"apptainer run --contain{nv}{binds} {image}", "```"]
        if written.mounts:
            lines += ["", "Data that is not part of the image:", ""]
            for mount in written.mounts:
                where = mount.source or "not found when this was written"
                lines.append(f"* `{mount.target}`: {where}, {mount.size_bytes} bytes")
        if named := [name for name in run.metrics if not name.startswith(SAMPLED)][:50]:
            lines += ["", "It ended with:", ""]
            lines += [f"* `{name}`: {run.metrics[name].last}" for name in named]
        if outputs := [file for file in run.outputs if file.digest is not None][:100]:
            lines += ["", "It made, with BLAKE3 digests:", ""]
            lines += [f"* `{file.path}`: {file.digest}" for file in outputs]
        if self._remarks:
            lines += ["", "Not as it was:", "", *(f"* {text}" for text in self._remarks)]
        return "\n".join(lines) + "\n"

    def _runtime(self) -> Runtime | None:
        if self._run.runtime is None:
            return None
        try:
            data = self._store.blobs.get(self._run.runtime)
            return decode_runtime(data, where="what it had loaded")
        except ReenactError:
            return None

    def _has_gpus(self) -> bool:
        if self._run.machine is None:
            return False
        try:
            data = self._store.blobs.get(self._run.machine)
            return bool(decode_machine(data, where="the machine").gpus)
        except ReenactError:
            return False


def _is_conda(environment: Environment) -> bool:
    python = environment.python
    is_its = python is not None and python.prefix_kind is PrefixKind.CONDA
    return is_its and bool(environment.conda)


def _target(file: File) -> str:
    """Return where in a container a run looks for an input."""
    path = text_to_path(file.path)
    if os.path.isabs(path) and file.said is not None:
        said = text_to_path(file.said)
        if not os.path.isabs(said):
            return os.path.normpath(f"{WORK}/{said}")
    return os.path.normpath(os.path.join(WORK, path))


def _volume(mount: Mount) -> str:
    return f" -v {mount.source or 'PATH'}:{mount.target}:ro"


def _bind(mount: Mount) -> str:
    return f" --bind {mount.source or 'PATH'}:{mount.target}:ro"
