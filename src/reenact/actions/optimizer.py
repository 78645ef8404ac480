"""An optimizer that is another operation: it is run whenever a search needs proposals.

Each time is a run of its own, a part of the batch. It finds what is known in the file that
`$REENACT_TRIALS` names, and writes its proposals, a JSON object a line, to the file that
`$REENACT_PROPOSALS` names. `docs/guides/batches-and-searches.md` has the law.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from reenact.actions.children import Children, End, Part, Place, begun
from reenact.actions.context import Context
from reenact.actions.ground import Ground, RunRequest, find_ground, find_offered
from reenact.actions.plan import plan_on, plan_run, redacted
from reenact.actions.proposed_trials import ProposedTrials
from reenact.actions.search_defaults import OptimizerFlags
from reenact.actions.trial_source import BatchListener, Made
from reenact.actions.trials import Entry, TrialState
from reenact.errors import ReenactError, UsageError
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.metrics import json_number
from reenact.model.paths import path_to_text
from reenact.model.record import flag_from_json, flag_to_json, to_json
from reenact.model.run import Status
from reenact.project.settings import resolve_flags
from reenact.search.samplers import Settings
from reenact.search.samplers.points import fit
from reenact.search.values import to_setting
from reenact.store.files import read_file, write_atomically

TRIALS_VARIABLE = "REENACT_TRIALS"
PROPOSALS_VARIABLE = "REENACT_PROPOSALS"
ROUND = "round:"
"""What the parts of a batch are called in which proposals were made; a number follows."""

_FORMAT = 1
_DIRECTORY = "rounds"


class Optimizer(NamedTuple):
    """An operation that makes proposals; `name` finds it from the project's root.

    Attributes:
        flags: those that were set of it.
    """

    name: str
    request: RunRequest
    context: Context
    flags: dict[str, FlagValue]


class Ledger:
    """A sampler that proposes nothing: its trials are asked for elsewhere."""

    def ask(self, count: int) -> list[dict[str, FlagValue]]:  # noqa: ARG002
        """Propose nothing."""
        return []

    def tell(self, settings: Settings, values: Sequence[float] | None) -> None:
        """Learn nothing: the records say it."""

    def expect(self, settings: Settings) -> None:
        """Learn nothing: the records say it."""


def find_optimizer(
    name: str, flags: OptimizerFlags, ground: Ground, context: Context
) -> Optimizer | None:
    """Return the operation or script of this name; None where there is none.

    Args:
        name: of an operation, or the path of a script.
        flags: what is set of it.
        ground: of the trials.
        context: where.

    Raises:
        CannotRun: its interpreter is not there.
        UsageError: it cannot be run as it is.
    """
    path = os.path.join(context.directory, name)
    if os.path.isfile(path):
        # From the root its name is the same for who goes on with the search elsewhere.
        name = os.path.relpath(os.path.realpath(path), ground.root.path)
        if "/" not in name:
            name = f"./{name}"
    else:
        try:
            offered = find_offered(RunRequest(target=name), context.directory, context)
        except ReenactError:
            offered = None
        if offered is None:
            return None
    request = RunRequest(
        target=name,
        variables=ground.request.variables,
        python=ground.request.python,
        trace_files=ground.request.trace_files,
    )
    at_root = Context(context.env, ground.root.path, context.store.root)
    try:
        own = find_ground(request, at_root)
        settings = flags.settle(own.flags)
        plan = plan_on(own, msgspec.structs.replace(own.request, settings=settings), at_root)
    except ReenactError as error:
        error.message = f"the optimizer `{name}`: {error.message}"
        error.args = (error.message,)
        raise
    request = msgspec.structs.replace(request, settings=settings)
    return Optimizer(name, request, at_root, plan.given)


class OptimizedTrials(ProposedTrials):
    """The trials of a search whose proposals another operation makes, in rounds."""

    def __init__(
        self,
        made: Made,
        entries: Iterable[Entry],
        context: Context,
        listener: BatchListener,
    ) -> None:
        super().__init__(made, entries, context, listener)
        assert self._search.optimizer is not None
        self._optimizer = self._search.optimizer
        self._proposals: list[dict[str, FlagValue]] = []
        self._round: RunId | None = None
        self._round_files = ("", "")
        self._is_asked = False
        self._is_over = False

    def ask(self) -> Part | None:
        """Return the next trial, or the round in which it is found out."""
        part = super().ask()
        if part is not None:
            return part
        is_full = max(self.progress.trials, default=0) >= self._search.limit
        is_closed = self._has_failed and self.made.fail_fast
        if self._round is not None or self._is_over or self._is_asked or is_full or is_closed:
            return None
        return self._begin_round()

    def tell(self, end: End) -> None:
        """Take note of how a trial or a round ended."""
        if end.part.run_id != self._round:
            self._is_asked = False
            super().tell(end)
            return
        self._round = None
        try:
            self._proposals = self._read_proposals(end)
        except UsageError as error:
            self.progress.problem = f"the optimizer `{self._optimizer.name}`: {error.message}"
            self._is_over = True
            return
        # Who proposes nothing while trials run is asked again when one has ended.
        self._is_asked = not self._proposals

    def started(self, part: Part, place: Place) -> None:
        """Say that a trial starts; a round goes by in silence."""
        if part.run_id != self._round:
            super().started(part, place)

    def tick(self, children: Children) -> None:
        """Look at what runs."""
        if self._round is None:
            super().tick(children)
        else:
            self.listener.tick(self.progress)

    def _next_proposal(self) -> dict[str, FlagValue] | None:
        return self._proposals.pop(0) if self._proposals else None

    # --- rounds ---

    def _begin_round(self) -> Part:
        directory = self.context.store.record_path(self.made.run.id, _DIRECTORY)
        os.makedirs(directory, exist_ok=True)
        number = 1 + len([n for n in os.listdir(directory) if n.endswith(".json")])
        told, asked = f"{directory}/{number}.json", f"{directory}/{number}.proposals"
        write_atomically(told, to_json(self._known()) + b"\n", sync=False)
        Path(asked).touch()
        self._round_files = told, asked
        self._round = new_run_id()
        return Part(self._round, f"{ROUND}{number}", self._round_body(self._round, number))

    def _round_body(self, run_id: RunId, number: int) -> Callable[[Place], object]:
        optimizer, files = self._optimizer, self._round_files

        def body(place: Place) -> None:
            from reenact.actions.run import start_and_watch

            variables = dict(zip((TRIALS_VARIABLE, PROPOSALS_VARIABLE), files, strict=True))
            request = msgspec.structs.replace(
                optimizer.request,
                run_id=run_id,
                variables={**optimizer.request.variables, **variables},
                parent=self.made.run.id,
                part=f"{ROUND}{number}",
                gpus=place.gpus,
                quiet=True,
                background=not place.has_terminal,
            )
            plan = plan_run(request, optimizer.context)
            is_same = plan.root.path == self.made.ground.root.path
            tree = self.made.tree if is_same else None
            start_and_watch(plan, optimizer.context, on_start=begun, tree=tree)

        return body

    def _known(self) -> dict[str, Any]:
        """Return what an optimizer is told; keys are only ever added."""
        search = self._search
        left = search.limit - max(self.progress.trials, default=0)
        jobs = 1 if self.made.run.batch is None else self.made.run.batch.jobs
        return {
            "format": _FORMAT,
            "wanted": max(1, min(left, jobs)),
            "left": left,
            "spaces": {name: msgspec.to_builtins(space) for name, space in search.spaces.items()},
            "flags": self._fixed(),
            "objectives": [{"direction": d, "column": text} for d, text in search.objectives],
            "seed": None if self.made.run.batch is None else self.made.run.batch.seed,
            "trials": [self._told(number) for number in sorted(self.progress.trials)],
            "earlier": [
                {
                    "flags": {name: flag_to_json(value) for name, value in flags.items()},
                    "values": list(map(json_number, values)),
                }
                for flags, values in self._earlier
            ],
        }

    def _fixed(self) -> dict[str, Any]:
        """Return the flags that are not searched, as trials have them that set nothing else."""
        values: Mapping[str, FlagValue] = self._search.fixed
        if self.made.ground.flags is not None:
            _, values = resolve_flags(self.made.ground.flags, self._search.fixed, force=True)
        return {
            name: flag_to_json(redacted(name, value))
            for name, value in values.items()
            if name not in self._search.spaces
        }

    def _told(self, number: int) -> dict[str, Any]:
        trial: TrialState = self.progress.trials[number]
        values = self._values(trial) if trial.is_done else None
        status = str(trial.status or Status.PENDING)
        return {
            "number": number,
            "run": trial.entry.run,
            "flags": {n: redacted(n, value) for n, value in trial.entry.settings.items()},
            "status": "failed" if trial.problem is not None else status,
            "values": None if values is None else list(map(json_number, values)),
        }

    def _read_proposals(self, end: End) -> list[dict[str, FlagValue]]:
        if end.stored is None or end.stored.status is not Status.COMPLETED:
            status = "did not start" if end.stored is None else str(end.stored.status)
            raise UsageError(f"{end.part.name} {status}: {end.problem or 'see its run'}")
        found = []
        path = self._round_files[1]
        try:
            lines = read_file(path).splitlines()
        except OSError as error:
            raise UsageError(f"`{path_to_text(path)}` cannot be read: {error.strerror}") from None
        for number, line in enumerate(lines, 1):
            if line.strip():
                found.append(self._read_proposal(line, f"{end.part.name}, line {number}"))
        return found

    def _read_proposal(self, line: bytes, where: str) -> dict[str, FlagValue]:
        spaces = self._search.spaces
        try:
            proposal = msgspec.json.decode(line, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UsageError(f"{where} is no JSON object of flags") from None
        if missing := spaces.keys() - proposal.keys():
            raise UsageError(f"{where} does not set `{min(missing)}`")
        settings = {name: flag_from_json(value) for name, value in proposal.items()}
        others = {name: value for name, value in settings.items() if name not in spaces}
        if others and spaces:
            raise UsageError(f"{where} sets `{min(others)}`, which is not searched")
        fitting = fit(spaces, settings)
        if fitting is None:
            wrong = next(n for n in spaces if fit({n: spaces[n]}, settings) is None)
            raise UsageError(f"{where}: {settings[wrong]!r} is outside of the space of `{wrong}`")
        return fitting | self._read_others(others, where)

    def _read_others(self, settings: Mapping[str, FlagValue], where: str) -> dict[str, FlagValue]:
        """Check what is proposed where the user gave no space: any flag that is not set."""
        ground = self.made.ground
        if ground.flags is None:
            return dict(settings)
        names = {name: flag.name for name in settings if (flag := ground.flags.find(name))}
        if same := {names.get(name, name) for name in settings} & self._search.fixed.keys():
            raise UsageError(f"{where} sets `{min(same)}`, which you have set")
        try:
            given, _ = resolve_flags(
                ground.flags,
                {n: to_setting(v, ground.flags.find(n)) for n, v in settings.items()},
                force=ground.request.force_flags,
                operation=ground.target.name,
            )
        except ReenactError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise UsageError(f"{where}: {error.message}{hint}") from None
        return given
