"""Tell what it takes to install the packages of a run again, for other tools."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from reenact.actions.context import Context
from reenact.actions.rebuild import environment_with_packages, lock_of
from reenact.errors import ReenactError
from reenact.model.environment import Environment
from reenact.model.lock import Lock, Locked
from reenact.model.run import Run
from reenact.rebuild.conda import explicit
from reenact.rebuild.export import Wheels, pin_packages, pylock, requirements, write_wheels


class Format(StrEnum):
    """How a lock can be written."""

    REQUIREMENTS = "requirements"
    PYLOCK = "pylock"
    CONDA = "conda"


def lock_text(
    context: Context,
    run: Run,
    form: Format,
    *,
    wheels: str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> str:
    """Return the packages of a run, each pinned.

    Args:
        context: where; its variables say where packages are looked for on this machine.
        run: whose.
        form: in which words.
        wheels: directory in which the wheels are made that no index has.
        say: told what takes long.

    Raises:
        ReenactError: no Python was seen in it, or a package is not to be had any more.
    """
    environment = environment_with_packages(context, run)
    lock = lock_or_names(context, run, environment)
    store = context.store
    if form is Format.CONDA:
        if not environment.conda:
            raise ReenactError(
                f"run {run.id[:8]} ran in no environment of conda",
                hint="`--format requirements` names its packages",
            )
        return explicit(environment, lock)
    if form is Format.PYLOCK:
        say("asking the indexes")
        return pylock(environment, lock, store.cache_directory, context.env)
    made = write_wheels(lock, store.blobs, wheels) if wheels is not None else Wheels()
    pinned = pin_packages(environment, lock, store.cache_directory, context.env, say)
    return requirements(environment, lock, pinned, made)


def lock_or_names(context: Context, run: Run, environment: Environment) -> Lock:
    """Return the lock of a run; of one that has none, names and versions."""
    lock = lock_of(context, run)
    if lock is not None:
        return lock
    packages = environment.packages or ()
    return Lock(packages=tuple(Locked(name=p.name, version=p.version) for p in packages))
