"""Run results again and say whether they came back: `reenact reproduce`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from reenact import __version__
from reenact.actions.context import Context
from reenact.actions.find import parts_of
from reenact.actions.reproduce import judgement
from reenact.actions.reproduce.conclude import conclude
from reenact.actions.reproduce.data import Verified, verify_data
from reenact.actions.reproduce.fail_fast import FailFast
from reenact.actions.reproduce.judgement import Rules
from reenact.actions.reproduce.lacks import Lack
from reenact.actions.reproduce.later import later_files
from reenact.actions.reproduce.originals import output_of, parts, with_needed
from reenact.actions.reproduce.preflight import Preflight, preflight
from reenact.actions.reproduce.rerun import (
    AUTO,
    RECORDED,
    Again,
    Chosen,
    Reruns,
    Watcher,
    Wish,
    choose_environment,
    find_base,
    seed_settings,
    set_then,
    with_runs_replaced,
)
from reenact.actions.reproduce.source import require_source
from reenact.errors import CannotRun, DataChanged, NotFound, ReenactError, UsageError
from reenact.judge.tolerance import Tolerances
from reenact.model.identity import RunId, new_run_id
from reenact.model.paths import path_to_text
from reenact.model.run import Remark, Run, Status
from reenact.model.secrets import REDACTED, redact
from reenact.model.verdict import (
    Expectation,
    Reproduction,
    Verdict,
)
from reenact.model.words import counted
from reenact.store.files import store_errors
from reenact.store.lock import Lock
from reenact.store.reproductions import Reproductions
from reenact.store.store import StoredRun

_ENDED = (Status.COMPLETED, Status.FAILED)
_UNDER_WAY = (Status.PENDING, Status.RUNNING)
_POLL_S = 0.1
_MOST_LISTED = 20
_MOST_NAMED = 3


class ReproduceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        environment: `auto`, `current` or `recorded`.
        python: interpreter to use instead.
        repeat: how often each run is run again.
        seeds: run once with each of these instead of with the recorded seed.
        tolerances: `metric=amount`, see `Tolerances`.
        margins: `metric=amount`: how far means may be apart.
        settings: flags that are to be others than recorded.
        variables: environment variables to set.
        data: directories in which to look for data that is not where it was.
        changed_data: run although data is not as it was.
        deep: first run those again whose files the run was given.
        fail_fast: stop a run once a series has parted.
        jobs: how many runs at once.
        shows_output: pass on what the runs print.
    """

    environment: str = AUTO
    python: str | None = None
    repeat: int = 1
    seeds: tuple[int, ...] = ()
    tolerances: tuple[str, ...] = ()
    margins: tuple[str, ...] = ()
    settings: Mapping[str, str] = {}
    variables: Mapping[str, str] = {}
    data: tuple[str, ...] = ()
    changed_data: bool = False
    deep: bool = False
    fail_fast: bool = False
    jobs: int = 1
    shows_output: bool = False

    @property
    def count(self) -> int:
        """How many runs each original becomes."""
        return len(self.seeds) or self.repeat


class Listener(Watcher, Protocol):
    """Who is told how a reproduction goes."""

    def begins(self, original: StoredRun, count: int) -> None:
        """Hear which run is to be run again, and how often."""
        ...

    def says(self, text: str) -> None:
        """Hear of something that takes long."""
        ...

    def verified(self, done_bytes: int, total_bytes: int) -> None:
        """Hear how much of the data is verified."""
        ...

    def checked(self, found: Preflight, chosen: Chosen, data: Verified) -> None:
        """Hear what is not as it was, before anything runs."""
        ...


class Outcome(NamedTuple):
    """What came of one original. `problem` says why there is no reproduction."""

    original: StoredRun
    reproduction: Reproduction | None
    problem: ReenactError | None = None


def reproduce(
    context: Context,
    originals: Sequence[StoredRun],
    request: ReproduceRequest,
    listener: Listener,
) -> list[Outcome]:
    """Run results again, judge each and keep the verdicts.

    A batch or pipeline is reproduced part by part, each part being given what the parts before it
    made now. A run that cannot be run again does not keep the others from it.

    Raises:
        UsageError: the request contradicts itself.
        KeyboardInterrupt: the user wants it to end; what is done is kept.
    """
    if request.seeds and request.repeat > 1:
        raise UsageError("`--seeds` and `--repeat` exclude each other", hint="name more seeds")
    tolerances = Tolerances.parse(request.tolerances)
    margins = Tolerances.parse(request.margins)
    replaced: dict[RunId, RunId] = {}
    outcomes: list[Outcome] = []
    ordered = _in_order(context, originals, request)
    known = {name for original, _ in ordered for name in original.record.flags}
    for original, is_mapped in ordered:
        if original.id in replaced or any(one.original.id == original.id for one in outcomes):
            continue
        try:
            own = _of_one(request, original.record, known)
            work = _Work(context, original, own, Rules(tolerances, margins), listener)
            reproduction = work.run(replaced)
        except ReenactError as error:
            outcomes.append(Outcome(original, None, error))
            continue
        outcomes.append(Outcome(original, reproduction))
        if is_mapped and reproduction.runs and reproduction.verdict != Verdict.COULD_NOT_RUN:
            replaced[original.id] = reproduction.runs[0]
    return outcomes


def _in_order(
    context: Context, originals: Sequence[StoredRun], request: ReproduceRequest
) -> list[tuple[StoredRun, bool]]:
    """Return the single runs that are to be run again, and which of them others are to be given."""
    found: dict[RunId, tuple[StoredRun, bool]] = {}
    for original in originals:
        is_pipeline = original.record.pipeline is not None
        for part in parts(context, original):
            if request.deep:
                for one in with_needed(context, part):
                    found.setdefault(one.id, (one, True))
            else:
                found.setdefault(part.id, (part, is_pipeline))
    return list(found.values())


def _of_one(request: ReproduceRequest, run: Run, known: set[str]) -> ReproduceRequest:
    """Return a request without the flags that only other runs have."""
    settings = {
        name: value
        for name, value in request.settings.items()
        if name in run.flags or name not in known
    }
    return msgspec.structs.replace(request, settings=settings)


class _Work:
    """One run on its way to a verdict."""

    def __init__(
        self,
        context: Context,
        original: StoredRun,
        request: ReproduceRequest,
        rules: Rules,
        listener: Listener,
    ) -> None:
        self._context = context
        self._original = original
        self._request = request
        self._rules = rules
        self._listener = listener
        self._kept = Reproductions(context.store)

    def run(self, replaced: Mapping[RunId, RunId]) -> Reproduction:
        """Run it again as often as is asked for, and judge."""
        request, original = self._request, self._original
        self._listener.begins(original, request.count)
        run = with_runs_replaced(original.record, replaced)
        self._refuse_hidden(run)
        require_source(run, self._context.store, self._base(run))
        chosen = choose_environment(
            run, self._context, request.environment, request.python, self._listener.says
        )
        data = self._verify(run, is_rebuilt=chosen.name == RECORDED)
        has_other_seeds = self._has_other_seeds(run)
        found = preflight(run, chosen.context, chosen.here, has_same_seed=not has_other_seeds)
        self._refuse(data.lacks)
        self._listener.checked(found, chosen, data)
        rules = self._rules._replace(
            expectation=Expectation.STATISTICS if has_other_seeds else found.expectation,
            is_other_machine=found.is_other_machine,
        )
        draft, done, lock = self._begin(run, chosen, found, data, rules)
        try:
            self._kept.write(draft)
            again = Again(
                original=run,
                base=self._base(run),
                verified=data,
                settings=request.settings,
                variables=request.variables,
                restored=found.variables,
                shows_output=request.shows_output,
                set_then=set_then(run, self._context, self._base(run), found.variables),
            )
            reproduced, problems = self._run_missing(draft, done, again, chosen, rules, lock)
            concluded = conclude(
                self._context, draft, self._sample(), reproduced, rules, problems=problems
            )
            self._kept.write(concluded)
            return concluded
        finally:
            lock.release(remove=True)

    # --- before ---

    def _base(self, run: Run) -> str:
        with store_errors(self._context.store.root):
            return find_base(run, self._context)

    def _verify(self, run: Run, *, is_rebuilt: bool) -> Verified:
        places = [os.path.join(self._context.directory, place) for place in self._request.data]
        for place in places:
            if not os.path.isdir(place):
                raise UsageError(f"`{place}` is no directory to look for data in")
        base = self._base(run)
        with store_errors(self._context.store.root):
            verified = verify_data(
                run,
                self._context.store,
                base,
                places=places,
                find_output=lambda digest: output_of(self._context, digest),
                progress=self._listener.verified,
                is_rebuilt=is_rebuilt,
            )
        if self._request.changed_data:
            return verified._replace(absent=())
        later = (*verified.absent, *later_files(run, base))
        if not later:
            return verified
        shown = ", ".join(map(path_to_text, later[:_MOST_NAMED]))
        more = f" and {len(later) - _MOST_NAMED} more" if len(later) > _MOST_NAMED else ""
        remark = f"younger than the run, and kept from it: {shown}{more}"
        return verified._replace(absent=later, remarks=(*verified.remarks, remark))

    def _refuse(self, lacks: Sequence[Lack]) -> None:
        if not lacks or self._request.changed_data:
            return
        listed = [f"{lack.path} {lack.detail}" for lack in lacks[:_MOST_LISTED]]
        more = len(lacks) - len(listed)
        text = "; ".join(listed) + (f"; and {more} more" if more > 0 else "")
        raise DataChanged(
            f"the data of run {self._original.id[:8]} is not as it was: {text}",
            hint="`--data DIR` says where else it may be, `--deep` makes again what runs have made, "
            "`--changed-data` runs all the same",
        )

    def _refuse_hidden(self, run: Run) -> None:
        """Refuse a run with a secret that is not given again, before anything is looked for."""
        request = self._request
        flags = [n for n in run.given if run.flags.get(n) == REDACTED and n not in request.settings]
        variables = [
            n for n, v in run.variables.items() if v == REDACTED and n not in request.variables
        ]
        if not flags and not variables:
            return
        words = [*(f"{name}=…" for name in flags), *(f"--set-env {name}=…" for name in variables)]
        raise CannotRun(
            f"secrets of run {run.id[:8]} are not recorded: {', '.join([*flags, *variables])}",
            hint=f"give them again: `{' '.join(words)}`",
        )

    def _has_other_seeds(self, run: Run) -> bool:
        return bool(self._request.seeds) and {*self._request.seeds} != {judgement.seed_of(run)}

    def _sample(self) -> list[StoredRun]:
        """Return the runs whose values the original stands for: with the trials beside it.

        Trials that differ from it in their seeds only are as much the original result as it is.
        """
        run = self._original.record
        if not self._request.seeds or run.parent is None:
            return [self._original]
        found = [self._original]
        for one in parts_of(self._context, run.parent):
            if one.id == run.id:
                continue
            stored = self._context.store.read_run(one.id)
            other = stored.run
            if other is None or stored.status is not Status.COMPLETED:
                continue
            if _without_seed(other) == _without_seed(run):
                found.append(stored)
        return found

    # --- the runs ---

    def _begin(
        self, run: Run, chosen: Chosen, found: Preflight, data: Verified, rules: Rules
    ) -> tuple[Reproduction, dict[int, RunId], Lock]:
        """Return the record to begin with, which of its runs are done, and the lock on it.

        It is the record of one that was interrupted, where there is one.
        """
        asked = _asked(self._request)
        for former in self._kept.of_runs([run.id]):
            is_same = former.originals[:1] == (run.id,) and former.asked == asked
            if former.verdict is not None or not is_same:
                continue
            lock = self._kept.take(former.id)
            if lock is None:
                continue
            # Whoever was at work on it may have ended since it was read.
            former = self._kept.read(former.id)
            if former.verdict is None:
                return former, self._done(former), lock
            lock.release(remove=True)
        remarks = [Remark(code="environment", message=text) for text in chosen.remarks]
        remarks += [Remark(code="data", message=text) for text in data.remarks]
        remarks += [
            Remark(code="data", message=f"{lack.path} {lack.detail}")
            for lack in data.lacks[:_MOST_LISTED]
        ]
        remarks += [Remark(code="unknown", message=text) for text in found.remarks]
        if run.in_place:
            text = "it ran in place, and is run again in a directory of its own"
            remarks.append(Remark(code="in-place", message=text))
        draft = Reproduction(
            id=new_run_id(),
            originals=judgement.ids(self._sample()),
            created=datetime.now(UTC),
            asked=asked,
            environment=chosen.name,
            expectation=rules.expectation,
            reasons=found.reasons,
            remarks=tuple(remarks),
            reenact=__version__,
        )
        return draft, {}, self._kept.take_new(draft.id)

    def _done(self, former: Reproduction) -> dict[int, RunId]:
        """Return the runs of a reproduction that was interrupted which need not be made again.

        One that still runs, although nobody waits for it, is waited for.
        """
        done = {}
        for number, run_id in enumerate(former.runs):
            status = self._status(run_id)
            if status in _UNDER_WAY:
                self._listener.says(f"waits for run {run_id[:8]}, which still runs")
            while status in _UNDER_WAY:
                time.sleep(_POLL_S)
                status = self._status(run_id)
            if status in _ENDED:
                done[number] = run_id
        self._listener.says(
            "goes on with the reproduction that was interrupted: "
            f"{counted(len(done), 'run')} of {self._request.count} done"
        )
        return done

    def _status(self, run_id: RunId) -> Status | None:
        try:
            return self._context.store.read_run(run_id).status
        except NotFound:
            return None

    def _run_missing(
        self,
        draft: Reproduction,
        done: Mapping[int, RunId],
        again: Again,
        chosen: Chosen,
        rules: Rules,
        lock: Lock,
    ) -> tuple[list[StoredRun], dict[RunId, str]]:
        request = self._request
        missing = [number for number in range(request.count) if number not in done]
        wishes = {number: self._wish(number, again, chosen) for number in missing}
        runs = tuple(
            done[number] if number in done else wishes[number].run_id
            for number in range(request.count)
        )
        self._kept.write(msgspec.structs.replace(draft, runs=runs))
        fail_fast = (
            FailFast(self._original, self._context.store, rules) if request.fail_fast else None
        )
        reruns = Reruns(
            [*wishes.values()],
            chosen.context,
            self._original.record.duration_s,
            self._listener,
            fail_fast,
            lock,
        )
        requested = reruns.run(min(request.jobs, max(len(wishes), 1)))
        if requested is not None:
            raise KeyboardInterrupt(requested)
        reproduced = []
        for run_id in runs:
            try:
                reproduced.append(self._context.store.read_run(run_id))
            except NotFound:
                reason = reruns.problems.get(run_id, "it did not start")
                if not any(self._status(one) for one in runs):
                    # There is nothing to go on with.
                    self._kept.remove(draft.id)
                raise ReenactError(
                    f"run {draft.originals[0][:8]} could not run: {reason}"
                ) from None
        return reproduced, reruns.problems

    def _wish(self, number: int, again: Again, chosen: Chosen) -> Wish:
        run_id = new_run_id()
        seeds = self._request.seeds
        original = again.original
        if seeds:
            settings = {**seed_settings([*original.flags], seeds[number]), **again.settings}
            again = again._replace(settings=settings)
        seed = seeds[number] if seeds else original.seed

        def request(place: Any) -> Any:
            return again.request(run_id, chosen.here.python, place, seed)

        return Wish(number + 1, run_id, request)


def _without_seed(run: Run) -> tuple[Any, ...]:
    from reenact.search.trials import SEED_FLAGS

    flags = {name: value for name, value in run.flags.items() if name not in SEED_FLAGS}
    tree = None if run.source is None else run.source.tree
    return run.operation.name, flags, tree


def _asked(request: ReproduceRequest) -> dict[str, Any]:
    """Return what of a request decides about its runs, without the secrets in it."""
    settings = {name: redact(name, value) for name, value in request.settings.items()}
    data = tuple(map(path_to_text, request.data))
    request = msgspec.structs.replace(request, settings=settings, data=data)
    built: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(request))
    for name in ("jobs", "shows_output", "tolerances", "margins", "variables"):
        built.pop(name, None)
    return built
