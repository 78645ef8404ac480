"""Run a run again: choose the environment, find the data, make the requests, watch over the runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from reenact.actions.children import Children, End, Part, Place, run_parts
from reenact.actions.context import Context
from reenact.actions.ground import RunRequest, find_ground
from reenact.actions.plan import plan_on
from reenact.actions.reproduce.data import Verified
from reenact.actions.reproduce.fail_fast import FailFast
from reenact.actions.reproduce.preflight import (
    Surroundings,
    environment_of,
    is_python,
    is_same_software,
    look_around,
    recorded_environment,
)
from reenact.actions.run import start_and_watch
from reenact.errors import CannotRun, ReenactError
from reenact.model.environment import Environment
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.paths import text_to_path
from reenact.model.run import Run
from reenact.model.secrets import REDACTED
from reenact.search.trials import SEED_FLAGS
from reenact.snapshot.project_root import find_root, identify
from reenact.store.lock import Lock
from reenact.store.store import StoredRun

CURRENT = "current"
RECORDED = "recorded"
AUTO = "auto"
ENVIRONMENTS = (AUTO, CURRENT, RECORDED)
"""Where a run is run again; AUTO is `recorded` unless an environment with the same software is there."""


_PYTHON_PATH = "PYTHONPATH"
OUTSIDE = "REENACT_OUTSIDE"
"""Tells the probe where modules from outside the project are as they were."""
REPRODUCES = "REENACT_REPRODUCES"
"""Tells the probe that nothing of the project may be changed, no bytecode either."""


class Chosen(NamedTuple):
    """The environment of a reproduction.

    Attributes:
        name: `current` or `recorded`.
        context: with its variables.
        here: what it is.
        remarks: how it was chosen.
    """

    name: str
    context: Context
    here: Surroundings
    remarks: tuple[str, ...] = ()


def choose_environment(
    run: Run,
    context: Context,
    wanted: str,
    python: str | None,
    say: Callable[[str], None],
) -> Chosen:
    """Find or make the environment in which a run is run again.

    Args:
        run: which.
        context: where.
        wanted: one of `ENVIRONMENTS`.
        python: an interpreter that the user names.
        say: told what takes long.

    Raises:
        ReenactError: the recorded one is wanted and cannot be made, or there is no interpreter.
    """
    recorded = recorded_environment(run, context)
    if python is not None or wanted == CURRENT or recorded is None:
        if wanted == RECORDED and recorded is None and is_python(run):
            raise CannotRun(
                f"the environment of run {run.id[:8]} is not recorded",
                hint="`--env current` runs it in the environment of now",
            )
        return Chosen(CURRENT, context, look_around(run, context, python))
    if wanted == AUTO:
        at_hand = _at_hand(run, context, recorded)
        if at_hand is not None:
            return at_hand
    try:
        return _rebuilt(run, context, recorded, say)
    except ReenactError as error:
        if wanted == RECORDED:
            raise
        hint = f"; {error.hint}" if error.hint else ""
        remark = f"the recorded environment could not be made again: {error.message}{hint}"
        here = look_around(run, context, None)
        return Chosen(CURRENT, context, here, (remark,))


def _at_hand(run: Run, context: Context, recorded: Environment) -> Chosen | None:
    """Return an environment with the recorded software: the one around us, or the run's own."""
    try:
        here = look_around(run, context, None)
    except CannotRun:
        here = None
    around = None if here is None else here.environment
    if here is not None and around is not None and is_same_software(recorded, around):
        return Chosen(CURRENT, context, here)
    own = run.command[0] if run.command else ""
    if not (is_python(run) and os.path.isabs(own) and os.access(own, os.X_OK)):
        return None
    found = environment_of(own, context)
    if found is None or not is_same_software(recorded, found):
        return None
    entered = _entered(context, own)
    return Chosen(CURRENT, entered, look_around(run, entered, own))


def _rebuilt(
    run: Run, context: Context, recorded: Environment, say: Callable[[str], None]
) -> Chosen:
    from reenact.actions.rebuild import rebuild_environment

    rebuilt = rebuild_environment(context, run, recorded, say)
    entered = _entered(context, rebuilt.python)
    here = look_around(run, entered, rebuilt.python)
    return Chosen(RECORDED, entered, here, (*rebuilt.differences, *rebuilt.remarks))


def _entered(context: Context, python: str) -> Context:
    """Return a context in which a virtual environment is active, as for its `activate` script."""
    directory = os.path.dirname(python)
    env = {**context.env, "PATH": f"{directory}{os.pathsep}{context.env.get('PATH', '')}"}
    env.pop("PYTHONHOME", None)
    env.pop("VIRTUAL_ENV", None)
    home = os.path.dirname(directory)
    if os.path.isfile(f"{home}/pyvenv.cfg"):
        env["VIRTUAL_ENV"] = home
    return Context(env, context.directory, context.store.root)


def find_base(run: Run, context: Context) -> str:
    """Return the directory that stands for a run's project: where it was, here, or an empty one."""
    path = text_to_path(run.project.root)
    if os.path.isdir(path):
        root = find_root(path, context.home)
        is_itself = root.path == path
        if not is_itself or run.project.id.startswith("path:"):
            return path
        if identify(root, context.env, context.store.cache_directory).id == run.project.id:
            return path
    if context.project.id == run.project.id:
        return context.root.path
    empty = f"{context.store.cache_directory}/no-project"
    os.makedirs(empty, exist_ok=True)
    return empty


def set_then(run: Run, context: Context, base: str, restored: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that the user of a run had set, and that a run like it has again.

    They are those of `restored`, and `PYTHONPATH`, with the project where it is now.
    """
    recorded = recorded_environment(run, context)
    if recorded is None:
        return {}
    found = {name: value for name, value in restored.items() if name in recorded.variables}
    root = text_to_path(run.project.root)
    entries = []
    for entry in text_to_path(recorded.variables.get(_PYTHON_PATH, "")).split(os.pathsep):
        is_inside = entry == root or entry.startswith(f"{root}/")
        entries.append(base + entry[len(root) :] if is_inside else entry)
    if any(entries) and REDACTED not in entries:
        found[_PYTHON_PATH] = os.pathsep.join(entries)
    return found


class Again(NamedTuple):
    """All that the runs of one reproduction have in common.

    Attributes:
        original: the record of the run, with the runs that give it their files now.
        base: directory that stands for its project.
        verified: its data.
        settings: flags that are not as recorded.
        variables: environment variables that the user sets.
        restored: environment variables that are as they were.
        shows_output: what the runs print is passed on.
        set_then: the same, of those that the user had set.
    """

    original: Run
    base: str
    verified: Verified
    settings: Mapping[str, str | FlagValue]
    variables: Mapping[str, str]
    restored: Mapping[str, str]
    shows_output: bool
    set_then: Mapping[str, str] = {}

    def request(
        self, run_id: RunId, python: str | None, place: Place, seed: int | None
    ) -> RunRequest:
        """Return the request for one run; without a seed nothing is seeded."""
        verified = self.verified
        restored = {**self.restored, **self.set_then, REPRODUCES: self.original.id}
        if verified.outside is not None:
            restored[OUTSIDE] = verified.outside
        return RunRequest(
            like=self.original,
            reproduces=self.original.id,
            run_id=run_id,
            settings={**verified.settings, **self.settings},
            variables=self.variables,
            restored=restored,
            set_then=frozenset(self.set_then),
            python=python,
            base=self.base,
            provided=verified.provided,
            absent=frozenset(verified.absent),
            required=verified.required,
            has_input=False,
            quiet=not (self.shows_output and place.has_terminal),
            # What was given then is taken as it is; a name that is new has to be known.
            force_flags=all(name in self.original.flags for name in self.settings),
            seed=seed,
            no_seed=seed is None,
            deterministic=self.original.is_deterministic,
        )


def seed_settings(flags: Sequence[str], seed: int) -> dict[str, str]:
    """Return the flag by which an operation takes its seed, set; nothing where it has none."""
    for name in SEED_FLAGS:
        if name in flags:
            return {name: str(seed)}
    return {}


class Watcher(Protocol):
    """Who is told how runs go."""

    def started(self, run_id: RunId, number: int, expected_s: float | None) -> None:
        """Hear that a run starts."""
        ...

    def tick(self) -> None:
        """Use the time while runs run; called several times a second."""
        ...

    def ended(self, stored: StoredRun | None, problem: str | None) -> None:
        """Hear that a run has ended."""
        ...


class Wish(NamedTuple):
    """One run that is to be made.

    Attributes:
        number: of it among those of the reproduction, from 1.
        request: what to run.
    """

    number: int
    run_id: RunId
    request: Callable[[Place], RunRequest]


def wish_for(number: int, request: RunRequest) -> Wish:
    """Return the wish for a run of a request, wherever it takes place."""
    run_id = new_run_id()
    return Wish(number, run_id, lambda _: msgspec.structs.replace(request, run_id=run_id))


class Reruns:
    """Runs of one reproduction, started one after another or side by side.

    Attributes:
        problems: why runs did not start, or were stopped.
    """

    def __init__(
        self,
        wishes: Sequence[Wish],
        context: Context,
        expected_s: float | None,
        watcher: Watcher,
        fail_fast: FailFast | None,
        lock: Lock,
    ) -> None:
        self._waiting = list(wishes)
        self._numbers = {wish.run_id: wish.number for wish in wishes}
        self._context = context
        self._expected_s = expected_s
        self._watcher = watcher
        self._fail_fast = fail_fast
        self._lock = lock
        self.problems: dict[RunId, str] = {}

    def run(self, jobs: int) -> str | None:
        """Run them; return who asked for an early end, if anybody did."""
        places = [Place(number, has_terminal=jobs == 1) for number in range(jobs)]
        return run_parts(self, places, self._context.store, self, in_fork=self._lock.forget)

    @property
    def is_waiting(self) -> bool:
        """Whether there are runs that have not begun."""
        return bool(self._waiting)

    def ask(self) -> Part | None:
        """Return the next run."""
        if not self._waiting:
            return None
        wish = self._waiting.pop(0)

        def body(place: Place) -> None:
            request = wish.request(place)
            ground = find_ground(request, self._context)
            plan = plan_on(ground, ground.request, self._context)
            start_and_watch(plan, self._context)

        return Part(wish.run_id, f"reproduction {wish.number}", body)

    def tell(self, end: End) -> None:
        """Hear how one ended."""
        if end.problem is not None:
            self.problems[end.part.run_id] = end.problem
        self._watcher.ended(end.stored, end.problem)

    def started(self, part: Part, place: Place) -> None:  # noqa: ARG002  # of the protocol
        """Hear that one starts."""
        self._watcher.started(part.run_id, self._numbers[part.run_id], self._expected_s)

    def tick(self, children: Children) -> None:
        """Look at the runs that run."""
        self._watcher.tick()
        if self._fail_fast is None:
            return
        for part in children.running:
            reason = self._fail_fast.look(part.run_id)
            if reason is not None:
                self.problems[part.run_id] = reason
                children.stop(part.run_id)


def with_runs_replaced(run: Run, replaced: Mapping[RunId, RunId]) -> Run:
    """Return a record in which other runs give their files: those that reproduced the recorded ones."""
    if not replaced:
        return run
    dependencies = tuple(
        msgspec.structs.replace(d, run=replaced.get(d.run, d.run)) if d.run is not None else d
        for d in run.dependencies
    )
    short = {old[:8]: new[:8] for old, new in replaced.items()}
    flags = {
        name: short.get(value[:8], value) if isinstance(value, str) and len(value) >= 8 else value
        for name, value in run.flags.items()
    }
    typed = {
        name: short.get(text[:8], text) if len(text) >= 8 else text
        for name, text in run.typed.items()
    }
    return msgspec.structs.replace(run, dependencies=dependencies, flags=flags, typed=typed)
