"""Write what a container needs that runs a run again: recipe, lock, source and data."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable

from reenact import __version__
from reenact.actions.container.data import add_data, add_modules
from reenact.actions.container.draft import OWN, Draft, Written
from reenact.actions.container.packages import add_packages, interpreter_in, is_conda
from reenact.actions.container.readme import readme
from reenact.actions.container.system import lacking_in_slim
from reenact.actions.context import Context
from reenact.actions.ground import RunRequest, find_ground
from reenact.actions.lock import lock_or_names
from reenact.actions.plan import Plan, plan_on
from reenact.actions.randomness import variables_to_restore
from reenact.actions.rebuild import environment_with_packages
from reenact.actions.reproduce.data import Verified, verify_data
from reenact.actions.reproduce.rerun import find_base
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.execute.testimony import SHIM
from reenact.interop import container_start
from reenact.interop.container import IGNORED, WORK, Recipe, apptainer, dockerfile
from reenact.interop.registry import with_digest
from reenact.model.environment import Runtime, decode_machine, decode_runtime
from reenact.model.paths import text_to_path
from reenact.model.run import OperationKind, Run
from reenact.model.secrets import REDACTED
from reenact.rebuild.uv import listed
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.files import delete_tree, temporary_name

_SECRET = "<secret>"  # noqa: S105  # stands for one
_KINDS = (OperationKind.SCRIPT, OperationKind.MODULE, OperationKind.COMMAND)
_LEFT_OUT = ("LD_", "DYLD_", "LANG", "LC_", "CUDA_VISIBLE_DEVICES", "NVIDIA_", "PYTHONPATH")
"""Variables of the machine, or of where things lie on it."""


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
        writing = _Writing(context, run, Draft(beside), say)
        written = writing.write(directory, base, resolve=resolve, with_apptainer=with_apptainer)
        os.rename(beside, directory)
    except BaseException:
        delete_tree(beside)
        raise
    return written


class _Writing:
    """One context on its way to a directory."""

    def __init__(
        self, context: Context, run: Run, draft: Draft, say: Callable[[str], None]
    ) -> None:
        self._context = context
        self._store = context.store
        self._run = run
        self._draft = draft
        self._say = say
        self._environment = environment_with_packages(context, run)
        self._lock = lock_or_names(context, run, self._environment)
        self._base = find_base(run, context)

    def write(
        self, directory: str, base: str | None, *, resolve: bool, with_apptainer: bool
    ) -> Written:
        """Write all of it."""
        run, draft, store = self._run, self._draft, self._store
        image = base or self._official_image()
        if resolve:
            self._say(f"asking for the digest of {image}")
            image = with_digest(image, self._context.env)
        verified = self._verify()
        plan = self._plan(verified)
        self._remark_platform()
        if base is None:
            self._remark_libraries(image)
        add_packages(draft, self._environment, self._lock, store, self._context.env, self._say)
        self._add_probe()
        self._add_source(plan)
        copied, mounts = add_data(draft, run, verified, self._base, store.blobs)
        add_modules(draft, run, self._lock, store.blobs)
        for name, target in (("inputs", f"{WORK}/"), ("root", "/")):
            if os.path.isdir(f"{draft.directory}/{name}"):
                draft.copy(f"{name}/", target, is_users=name == "inputs")
        self._set_variables(plan)
        command = self._command(plan)
        inside = "" if plan.cwd in ("", ".") else f"/{plan.cwd}"
        recipe = Recipe(
            base=image,
            notes=self._notes(image),
            steps=tuple(draft.steps),
            variables=draft.variables,
            directory=f"{WORK}{inside}",
            command=command,
            has_user="mambauser" if is_conda(self._environment) and base is None else None,
        )
        draft.write("Dockerfile", dockerfile(recipe))
        draft.write(".dockerignore", IGNORED)
        if with_apptainer:
            draft.write("container.def", apptainer(recipe))
        name = f"reenact-{run.id[:8]}"
        remarks = tuple(draft.remarks)
        written = Written(directory, name, image, copied, mounts, command, remarks)
        text = readme(run, written, has_gpus=self._has_gpus(), with_apptainer=with_apptainer)
        draft.write("README.md", text)
        return written

    def _official_image(self) -> str:
        python = self._environment.python
        assert python is not None
        if is_conda(self._environment):
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
        self._draft.remarks += verified.remarks
        return verified

    def _plan(self, verified: Verified) -> Plan:
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

    def _remark_platform(self) -> None:
        python = self._environment.python
        here = f"{sys.platform}-{os.uname().machine}"
        if python is not None and python.platform not in (None, here):
            self._draft.remarks.append(
                f"recorded on {python.platform}, this is {here}: other builds of packages, unless "
                "`docker build --platform` names that architecture"
            )

    def _remark_libraries(self, image: str) -> None:
        """Name libraries of the system that are not in the small image."""
        runtime = self._runtime()
        if runtime is None or "-slim" not in image or is_conda(self._environment):
            return
        names = lacking_in_slim(one.path for one in runtime.libraries or ())
        if names:
            self._draft.remarks.append(
                f"the run had loaded {listed(names)} of its system, which {image} may not have: "
                f"`--base {image.removesuffix('-slim')}` has more"
            )

    def _add_probe(self) -> None:
        """Add what seeds random generators as they were seeded in the run."""
        run = self._run
        if run.seed is None and not run.is_deterministic:
            return
        shutil.copytree(
            SHIM,
            f"{self._draft.directory}/probe",
            ignore=shutil.ignore_patterns("__pycache__", "*.pyc"),
        )
        self._draft.copy("probe/", f"{OWN}/probe/")
        shutil.copyfile(container_start.__file__, f"{self._draft.directory}/start.py")
        self._draft.copy("start.py", f"{OWN}/start.py")
        self._draft.variables["REENACT_PROJECT"] = WORK
        if run.seed is not None:
            self._draft.variables["REENACT_SEED"] = str(run.seed)
            self._draft.variables["PYTHONHASHSEED"] = str(run.seed % 2**32)
        if run.is_deterministic:
            self._draft.variables["REENACT_DETERMINISTIC"] = "1"

    def _add_source(self, plan: Plan) -> None:
        blobs = self._store.blobs
        assert self._run.source is not None
        tree: SourceTree = plan.source or read_tree(blobs, self._run.source.tree)
        wanted = plan.to_rewrite
        contents = {}
        for path, mode, _, digest in tree.files:
            name = text_to_path(path)
            data = blobs.get(digest)
            self._draft.write(f"source/{name}", data, mode)
            if name in wanted:
                contents[name] = data
        for name, data in plan.rewritten(contents).items():
            self._draft.write(f"source/{name}", data)
        for path, target in tree.links:
            at = f"{self._draft.directory}/source/{text_to_path(path)}"
            os.makedirs(os.path.dirname(at), exist_ok=True)
            os.symlink(text_to_path(target), at)
        os.makedirs(f"{self._draft.directory}/source", exist_ok=True)
        self._draft.copy("source/", f"{WORK}/", is_users=True)

    def _set_variables(self, plan: Plan) -> None:
        # As many threads as in the run: they decide how sums are rounded.
        self._draft.variables |= variables_to_restore(
            self._run, self._runtime(), self._environment.variables
        )
        recorded = {**self._environment.variables, **self._run.variables}
        for name, value in recorded.items():
            if name in self._draft.variables or name.startswith(_LEFT_OUT):
                continue
            if REDACTED in value:
                self._draft.remarks.append(f"{name} is secret: `docker run --env {name}=…` sets it")
            elif _has_lines(value):
                self._remark_lines(name)
            elif not os.path.isabs(value):
                self._draft.variables[name] = value
        if self._run.operation.kind is OperationKind.COMMAND:
            flags = {n: v for n, v in plan.env.items() if n.startswith("FLAG_")}
            for name, value in flags.items():
                if _has_lines(value):
                    self._remark_lines(name)
                else:
                    self._draft.variables[name] = value

    def _remark_lines(self, name: str) -> None:
        self._draft.remarks.append(f"{name} has several lines: `docker run --env {name}=…` sets it")

    def _command(self, plan: Plan) -> tuple[str, ...]:
        words = list(plan.words)
        if plan.script_at is not None and plan.script is not None:
            words[plan.script_at] = f"{WORK}/{plan.script}"
        if plan.target.is_python or os.path.basename(words[0]).startswith("python"):
            words[0] = interpreter_in(self._environment)
        if any(REDACTED in word or _SECRET in word for word in words):
            self._draft.remarks.append("a flag of the run is secret: its command must be completed")
        if os.path.exists(f"{self._draft.directory}/start.py"):
            words = [
                interpreter_in(self._environment),
                "-I",
                f"{OWN}/start.py",
                f"{OWN}/probe",
                *words,
            ]
        return tuple(words)

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


def _has_lines(value: str) -> bool:
    """Tell whether a recipe has no place for a value: a second line would be an instruction."""
    return "\n" in value or "\r" in value
