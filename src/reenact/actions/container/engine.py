"""Call the programs that build images and run them: docker, podman, Apptainer.

Promised: what a program says while it builds an image is in the context's `build.log`; a container is
removed when its command has ended or was interrupted; its image stays.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from reenact.actions.container.draft import Written
from reenact.actions.container.readme import bind_words, mount_words
from reenact.errors import CannotRun, ReenactError
from reenact.interop.container import BUILD_LOG, PRINTED, WORK
from reenact.store.files import write_all

_ENGINES = ("docker", "podman")
_APPTAINER = ("apptainer", "singularity")

_READ = 1 << 16

_COMPLAINT = re.compile(r"\b(?:[\w.]*Error|ERROR|error|FATAL):? \S.*")
_OF_THE_ENGINE = re.compile(
    r"building at STEP|failed to solve|failed to build|while running runtime|exit (?:code|status)"
    r"|non-zero code|subprocess-exited"
)
"""In lines that say that a step failed, and not why."""


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


def is_apptainer(program: str) -> bool:
    """Tell which kind of program this is."""
    return os.path.basename(program) in _APPTAINER


class _Program:
    """A program that builds what was written.

    Args:
        program: path of it.
        written: the context.
        env: the user's variables.

    Attributes:
        log: file with what it says while it builds.
        printed: file with what the command prints to standard output.
    """

    def __init__(self, program: str, written: Written, env: Mapping[str, str]) -> None:
        self._program = program
        self._written = written
        self._env = dict(env)
        self.log = f"{written.directory}/{BUILD_LOG}"
        self.printed = f"{written.directory}/{PRINTED}"

    def _build(self, *words: str, directory: str | None = None) -> None:
        with open(self.log, "wb") as log:
            status = subprocess.run(
                [self._program, *words],
                env=self._env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if status != 0:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                reason = complaint(log.read())
            raise ReenactError(
                f"the image cannot be built: {reason}", hint=f"`{self.log}` has all that was said"
            )

    def _watch(self, output: int, *words: str) -> int:
        """Pass on what a command prints to standard output, and keep it; return its status."""
        with (
            open(self.printed, "wb") as kept,
            subprocess.Popen(
                [self._program, *words],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,
            ) as process,
        ):
            assert process.stdout is not None
            try:
                while data := process.stdout.read(_READ):
                    kept.write(data)
                    write_all(output, data)
            except BaseException:
                process.kill()
                raise
        return process.returncode

    def _call(self, what: str, *words: str) -> str:
        done = subprocess.run(
            [self._program, *words],
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            said = shlex.join([self._program, *words])
            raise ReenactError(
                f"{what}: {_last(done.stderr or done.stdout)}", hint=f"`{said}` says more"
            )
        return done.stdout


class Engine(_Program):
    """Docker or podman."""

    def build(self) -> None:
        """Build the image.

        Raises:
            ReenactError: it cannot be built.
        """
        self._build("build", "-t", self._written.image, self._written.directory)

    def run(self, results: str, output: int, *, host: str) -> int:
        """Run a container, and copy the project as it leaves it; return the command's status.

        Args:
            results: directory for that.
            output: file descriptor for what it prints.
            host: name of the machine that it is.

        Raises:
            ReenactError: it cannot be made, or not be read.
        """
        words = ["create", "--hostname", host]
        for mount in self._written.mounts:
            words += mount_words(mount)
        made = self._call("the container cannot be made", *words, self._written.image)
        name = made.strip().splitlines()[-1]
        try:
            status = self._watch(output, "start", "-a", name)
            os.makedirs(results, exist_ok=True)
            what = "what the container made cannot be copied"
            self._call(what, "cp", f"{name}:{WORK}/.", results)
        finally:
            # It is ours, made a moment ago.
            subprocess.run(
                [self._program, "rm", "-f", name], env=self._env, capture_output=True, check=False
            )
        return status


class Apptainer(_Program):
    """Apptainer, or Singularity."""

    def build(self) -> None:
        """Build the image, a file in the context.

        Raises:
            ReenactError: it cannot be built.
        """
        words = ("build", "--force", self._image, "container.def")
        self._build(*words, directory=self._written.directory)

    def run(self, results: str, output: int, *, host: str) -> int:
        """Run it; as `Engine.run`. Nobody but root may name the machine."""
        del host
        os.makedirs(results, exist_ok=True)
        words = ["run", "--contain", "--bind", f"{results}:/results"]
        words += ["--env", "REENACT_OUT=/results"]
        for mount in self._written.mounts:
            words += bind_words(mount)
        return self._watch(output, *words, self._image)

    @property
    def _image(self) -> str:
        return os.path.abspath(f"{self._written.directory}/{self._written.image}.sif")


def complaint(said: str) -> str:
    """Return the line that says best why an image was not built."""
    found = [match[0].strip() for match in _COMPLAINT.finditer(said)]
    reasons = [line for line in found if not _OF_THE_ENGINE.search(line)]
    return (reasons or found or [_last(said)])[-1]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
