"""Make the environment of a run again."""

from __future__ import annotations

from collections.abc import Callable

from reenact.actions.context import Context
from reenact.errors import NotFound, ReenactError
from reenact.model.environment import Environment, decode_environment
from reenact.model.lock import Lock, decode_lock
from reenact.model.run import Run
from reenact.rebuild.environment import rebuild
from reenact.rebuild.making import Rebuilt


def rebuild_environment(
    context: Context, run: Run, recorded: Environment, say: Callable[[str], None]
) -> Rebuilt:
    """Return an environment with the software that a run had; it is made unless it is there.

    Args:
        context: where; the user's variables say where packages are looked for on this machine.
        run: whose.
        recorded: its environment.
        say: told what takes long.

    Raises:
        ReenactError: it cannot be made; nothing of it is left.
    """
    store = context.store
    lock = lock_of(context, run)
    rebuilt = rebuild(
        recorded, lock, store.blobs, store.cache_directory, env=context.env, progress=say
    )
    if lock is not None:
        return rebuilt
    remark = "no lock was recorded: of its packages only names and versions are known"
    return rebuilt._replace(remarks=(*rebuilt.remarks, remark))


def lock_of(context: Context, run: Run) -> Lock | None:
    """Return what is recorded of how to install a run's packages; None where nothing is.

    Raises:
        ReenactError: it is recorded and cannot be read.
    """
    if run.lock is None:
        return None
    where = f"the lock of run {run.id[:8]}"
    return decode_lock(context.store.blobs.get(run.lock), where=where)


def environment_with_packages(context: Context, run: Run) -> Environment:
    """Return the recorded environment of a run that had a Python.

    Raises:
        NotFound: there is none.
        ReenactError: it cannot be read.
    """
    name = f"run {run.id[:8]}"
    if run.environment is None:
        raise NotFound(
            f"the environment of {name} is not recorded", hint=f"`reenact doctor {run.id[:8]}`"
        )
    data = context.store.blobs.get(run.environment)
    environment = decode_environment(data, where=f"the environment of {name}")
    if environment.python is None:
        raise ReenactError(
            f"no Python was seen in {name}", hint=f"`reenact doctor {run.id[:8]}` says why"
        )
    return environment
