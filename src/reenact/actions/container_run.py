"""Build the image of a container and run it: what it makes is compared with what the run made."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from typing import NamedTuple

from reenact.actions.container import Written
from reenact.errors import CannotRun, ReenactError
from reenact.interop.container import WORK
from reenact.model.paths import text_to_path
from reenact.model.run import Run
from reenact.store.blobs import digest_file

_ENGINES = ("docker", "podman")
_APPTAINER = ("apptainer", "singularity")


class Outcome(NamedTuple):
    """What a container did.

    Attributes:
        status: exit status of its command.
        directory: what it left of the project.
        same: outputs with the digest that they had.
        different: outputs with another one, or that it did not make.
    """

    status: int
    directory: str
    same: tuple[str, ...]
    different: tuple[str, ...]


def find_engine(env: Mapping[str, str], *, with_apptainer: bool) -> str:
    """Return the program that runs containers here.

    Raises:
        CannotRun: there is none, or its service does not answer.
    """
    names = _APPTAINER if with_apptainer else _ENGINES
    reasons = []
    for name in names:
        program = shutil.which(name, path=env.get("PATH"))
        if program is None:
            continue
        words = [program, "version"] if name in _ENGINES else [program, "--version"]
        done = subprocess.run(words, env=dict(env), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return program
        lines = done.stderr.strip().splitlines() or ["it does not answer"]
        reasons.append(f"{name} is here, but: {lines[-1]}")
    if reasons:
        raise CannotRun(
            "; ".join(reasons),
            hint="start its service, or leave out `--run`: the recipe is written",
        )
    raise CannotRun(
        f"neither {' nor '.join(names)} is here",
        hint="take the directory to a machine that has one, and do what its README.md says",
    )


def run_container(
    run: Run,
    written: Written,
    engine: str,
    env: Mapping[str, str],
    say: Callable[[str], None],
    *,
    output: int | None = None,
) -> Outcome:
    """Build and run; output passes through.

    Args:
        run: whose it is.
        written: its context.
        engine: what `find_engine` returned.
        env: the user's variables.
        say: told what is done.
        output: file descriptor for what it prints; our standard output when None.

    Raises:
        ReenactError: the image cannot be built, or data that it needs is not to be found.
    """
    lost = [mount.target for mount in written.mounts if mount.source is None]
    if lost:
        raise ReenactError(
            f"the container needs {lost[0]}, which is not to be found",
            hint="see its README.md: mount what the run read, and run it yourself",
        )
    results = os.path.abspath(f"{written.directory}/results")
    is_engine = os.path.basename(engine) in _ENGINES
    container = _Engine(engine, written, env) if is_engine else _Apptainer(engine, written, env)
    say(f"building {written.image}")
    container.build()
    say("running it")
    status = container.run(results, output)
    return Outcome(status, results, *_compare(run, results))


class _Engine:
    """Docker or podman."""

    def __init__(self, program: str, written: Written, env: Mapping[str, str]) -> None:
        self._program = program
        self._written = written
        self._env = dict(env)

    def build(self) -> None:
        words = ["build", "-t", self._written.image, self._written.directory]
        _call([self._program, *words], self._env, "the image cannot be built")

    def run(self, results: str, output: int | None) -> int:
        words = ["create"]
        for mount in self._written.mounts:
            words += ["-v", f"{mount.source}:{mount.target}:ro"]
        made = subprocess.run(
            [self._program, *words, self._written.image],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise ReenactError(f"the container cannot be made: {_last(made.stderr)}")
        name = made.stdout.strip().splitlines()[-1]
        try:
            started = [self._program, "start", "-a", name]
            status = subprocess.run(
                started, env=self._env, stdin=subprocess.DEVNULL, stdout=output, check=False
            ).returncode
            os.makedirs(results, exist_ok=True)
            words = [self._program, "cp", f"{name}:{WORK}/.", results]
            _call(words, self._env, "what the container made cannot be copied")
        finally:
            # It is ours, made a moment ago.
            subprocess.run(
                [self._program, "rm", "-f", name], env=self._env, capture_output=True, check=False
            )
        return status


class _Apptainer:
    """Apptainer, or Singularity."""

    def __init__(self, program: str, written: Written, env: Mapping[str, str]) -> None:
        self._program = program
        self._written = written
        self._env = dict(env)
        self._image = os.path.abspath(f"{written.directory}/{written.image}.sif")

    def build(self) -> None:
        words = [self._program, "build", "--force", self._image, "container.def"]
        directory = self._written.directory
        _call(words, self._env, "the image cannot be built", directory=directory)

    def run(self, results: str, output: int | None) -> int:
        os.makedirs(results, exist_ok=True)
        words = [self._program, "run", "--contain", "--bind", f"{results}:/results"]
        words += ["--env", "REENACT_OUT=/results"]
        for mount in self._written.mounts:
            words += ["--bind", f"{mount.source}:{mount.target}:ro"]
        words.append(self._image)
        return subprocess.run(
            words, env=self._env, stdin=subprocess.DEVNULL, stdout=output, check=False
        ).returncode


def _call(
    words: list[str], env: Mapping[str, str], what: str, directory: str | None = None
) -> None:
    done = subprocess.run(
        words,
        env=dict(env),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise ReenactError(
            f"{what}: {_last(done.stderr or done.stdout)}", hint=f"`{' '.join(words)}` says more"
        )


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


def _compare(run: Run, directory: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return which outputs of a run are in a directory as they were, and which are not."""
    same: list[str] = []
    different: list[str] = []
    for file in run.outputs:
        path = text_to_path(file.path)
        if file.digest is None or os.path.isabs(path):
            continue
        try:
            digest = digest_file(os.path.join(directory, path))[0]
        except OSError:
            different.append(file.path)
            continue
        (same if digest == file.digest else different).append(file.path)
    return tuple(same), tuple(different)
