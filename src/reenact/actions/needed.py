"""Find the run that a new one would only repeat, and say what differs where there is none.

A run can be taken when everything that makes its result is as it would be now: the operation's
definition, its source, its flags, what it requires, the environment, and every file that it was seen
to read, declared or not; and when all that it left behind is still there. Times and ids say nothing:
all is compared by content.

Not seen: what a run asked of the network, of the clock or of chance. A run that nobody watched
(`--trace-files off`) is never taken: its record does not name what it has read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from reenact.actions.context import Context
from reenact.actions.interpreter_facts import interpreter_facts
from reenact.actions.needed_differences import (
    Cause,
    Difference,
    Given,
    Recorded,
    Wanted,
    canonical,
    differing_packages,
    differs,
)
from reenact.actions.plan import Plan
from reenact.actions.project_tree import PlannedTree
from reenact.actions.randomness import seed_differences
from reenact.actions.run_files import UNWATCHED
from reenact.actions.trials import Entry, read_entries
from reenact.errors import NotFound, ReenactError
from reenact.model.environment import Environment, decode_environment
from reenact.model.identity import Digest, RunId, new_run_id
from reenact.model.paths import text_to_path
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import File, OperationKind, Run, Status
from reenact.model.secrets import REDACTED
from reenact.project.operation import find_python
from reenact.snapshot.environment import capture_environment
from reenact.store.columns import IndexedRun, Kind, Operand
from reenact.store.digests import Digests
from reenact.store.index import Index
from reenact.store.query import All, Comparison, Filter, Relation, Value, ValueKind
from reenact.store.store import RECORD_DIRECTORY

if TYPE_CHECKING:
    from reenact.actions.batch_plan import PlannedBatch
    from reenact.actions.ground import RunRequest

_MOST_LOOKED_AT = 200
_MOST_COMPARED = 10
_FEW = 3


class Answer(NamedTuple):
    """What was found.

    Attributes:
        run: the run that can be taken; None if a new one is needed.
        nearest: of those that cannot be taken the one in which least differs.
        differences: of the nearest.
    """

    run: RunId | None
    nearest: RunId | None = None
    differences: tuple[Difference, ...] = ()

    def explain(self) -> str:
        """Say it in one line."""
        if self.run is not None:
            return f"run {self.run[:8]} is taken: all that made it is the same"
        if self.nearest is None:
            return "it runs: no run of it has completed"
        grouped: dict[Cause, list[str]] = {}
        for difference in self.differences:
            grouped.setdefault(difference.cause, []).append(difference.detail)
        reasons = "; ".join(f"{cause}: {_listed(details)}" for cause, details in grouped.items())
        return f"it runs: nearest is run {self.nearest[:8]}, {reasons}"


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _FEW
    return ", ".join(texts[:_FEW]) + (f" and {more} more" if more > 0 else "")


class Finder:
    """Looks for runs to take. Use it as a context: it remembers what it has read."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._digests = Digests(f"{self._store.cache_directory}/digests.db")
        self._known: dict[str, Digest | str] = {}
        self._environments: dict[Digest, Environment | None] = {}
        self._now: dict[bytes, Environment] = {}
        self._recorded = Recorded(self._store)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._digests.close()

    def find(self, plan: Plan, tree: PlannedTree | None) -> Answer:
        """Look for a run that is what a plan would make.

        Args:
            plan: what would run.
            tree: the project's files as they would be for it; None where it keeps no source.
        """
        wanted = Wanted(plan, tree, plan.record(new_run_id(), datetime.now(UTC)), self._recorded)
        flags = canonical(wanted.run.flags)
        found = self._runs(wanted.run)
        same = [run for run in found if canonical(run.flags) == flags]
        others = [run for run in found if run not in same]
        return self._first((*same, *others[:_MOST_COMPARED]), wanted, self._same_flags)

    def find_batch(self, planned: PlannedBatch, plan: Plan, tree: PlannedTree | None) -> Answer:
        """Look for a batch whose trials are those that were planned, all completed.

        Args:
            planned: the batch.
            plan: of one of its trials.
            tree: as for `find`.
        """
        run = plan.record(new_run_id(), datetime.now(UTC))
        operation = msgspec.structs.replace(run.operation, kind=OperationKind.BATCH)
        wanted = Wanted(
            plan, tree, msgspec.structs.replace(run, operation=operation), self._recorded
        )

        def same_trials(_: Wanted, former: Run) -> list[Difference]:
            return self._same_trials(planned, former)

        return self._first(self._runs(wanted.run)[:_MOST_COMPARED], wanted, same_trials)

    # --- candidates ---

    def _runs(self, run: Run) -> list[IndexedRun]:
        try:
            self._store.check_format()
        except NotFound:
            return []
        chosen = All((_is("op", run.operation.name), _is("kind", run.operation.kind)))
        with Index(self._store) as index:
            found = index.query(Filter("op", chosen), project=run.project.id, limit=_MOST_LOOKED_AT)
        return [
            one
            for one in found
            if one.status is Status.COMPLETED and one.exit is not None and one.exit.code == 0
        ]

    def _first(self, candidates: Iterable[IndexedRun], wanted: Wanted, settings: Any) -> Answer:
        nearest: tuple[int, RunId, tuple[Difference, ...]] | None = None
        for candidate in candidates:
            try:
                former = self._store.read_run(candidate.id).record
            except ReenactError:
                continue
            differences = [*wanted.differences(former), *settings(wanted, former)]
            if not differences or nearest is None or len(differences) < nearest[0]:
                differences += self._of_files(wanted, former)
            if not differences:
                return Answer(candidate.id)
            if nearest is None or len(differences) < nearest[0]:
                nearest = len(differences), candidate.id, tuple(differences)
        if nearest is None:
            return Answer(None)
        return Answer(None, nearest[1], nearest[2])

    # --- flags, trials ---

    def _same_flags(self, wanted: Wanted, former: Run) -> list[Difference]:
        run = wanted.run
        now, then = canonical(run.flags), canonical(former.flags)
        names = [n for n in {**now, **then} if now.get(n) != then.get(n)]
        found = [
            f"{name} {_shown(former.flags, name)} → {_shown(run.flags, name)}" for name in names
        ]
        found += [f"{n} is a secret, which is not recorded" for n, v in run.flags.items()
                  if v == REDACTED]  # fmt: skip
        return [Difference(Cause.FLAGS, text) for text in found] + self._same_seed(
            wanted.plan.request, former
        )

    def _same_seed(self, request: RunRequest, former: Run) -> list[Difference]:
        found = seed_differences(request, self._context.env, former)
        return [Difference(Cause.SEED, text) for text in found]

    def _same_trials(self, planned: PlannedBatch, former: Run) -> list[Difference]:
        request, batch = planned.request, former.batch
        if batch is None:
            return [Difference(Cause.OPERATION, "it is no batch")]
        directory = f"{self._store.directory(former.id)}/{RECORD_DIRECTORY}"
        entries = read_entries(directory)
        if planned.search is not None:
            then = (
                batch.objectives,
                batch.seed,
                batch.trials,
                batch.optimizer_flags,
                former.typed,
            )
            now = (
                request.objectives,
                request.random_seed,
                planned.search.limit,
                {n: flag_to_json(v) for n, v in planned.search.settings.items()},
                {n: s for n, s in request.run.settings.items() if isinstance(s, str)},
            )
            is_same = then == now and batch.optimizer == (request.optimizer or batch.optimizer)
            found = [] if is_same else [Difference(Cause.FLAGS, "another search")]
        elif batch.optimizer is not None or _settings(entries) != _settings(planned.entries):
            found = [Difference(Cause.FLAGS, "other trials")]
        else:
            found = []
        return found + self._same_seed(request.run, former)

    def _of_files(self, wanted: Wanted, former: Run) -> list[Difference]:
        if former.batch is None:
            return self._files(wanted, former)
        found: dict[Difference, None] = {}
        directory = f"{self._store.directory(former.id)}/{RECORD_DIRECTORY}"
        for entry in read_entries(directory):
            try:
                stored = self._store.read_run(entry.run)
            except NotFound:
                stored = None
            if stored is None or stored.run is None or stored.status is not Status.COMPLETED:
                found[Difference(Cause.OUTPUTS, f"trial {entry.number} is gone")] = None
                continue
            found.update(dict.fromkeys(self._files(wanted, stored.run)))
        return list(found)

    def _files(self, wanted: Wanted, former: Run) -> list[Difference]:
        environment = [
            Difference(Cause.ENVIRONMENT, text) for text in self._environment(wanted.plan, former)
        ]
        given = Given(wanted.plan, former, self.digest)
        required = [Difference(Cause.REQUIREMENTS, text) for text in given.differences]
        return [*environment, *required, *self._inputs(wanted, former, given),
                *self._outputs(former)]  # fmt: skip

    # --- files ---

    def digest(self, path: str) -> Digest | str:
        """Return the digest of a file's content; a sentence where it cannot be read."""
        known = self._known.get(path)
        if known is None:
            try:
                known = self._digests.digest(path, os.stat(path))[0]
            except FileNotFoundError:
                known = "is gone"
            except OSError as error:
                known = f"cannot be read: {error.strerror}"
            self._known[path] = known
        return known

    def _inputs(self, wanted: Wanted, former: Run, given: Given) -> list[Difference]:
        root = wanted.plan.root.path
        found = []
        if former.coverage == UNWATCHED:
            found.append(Difference(Cause.INPUTS, "nobody watched what it read"))
        for file in former.inputs:
            path = text_to_path(file.path)
            if given.is_settled(path):
                continue
            place = given.place_of(path)
            problem = self._input(file, place or os.path.join(root, path), is_given=bool(place))
            if problem is not None:
                cause = Cause.INPUTS if place is None else Cause.REQUIREMENTS
                found.append(Difference(cause, f"{file.path} {problem}"))
        return found

    def _input(self, file: File, path: str, *, is_given: bool) -> str | None:
        """Say what has become of a file that a run has read.

        Args:
            file: as it was then.
            path: where it would be read now.
            is_given: it is required: of a directory all that is in it counts.
        """
        if file.is_changed:
            return "changed while it was read"
        if file.digest is None:
            return f"is not known by content: {file.reason or 'it could not be read'}"
        if file.files is None:
            return differs(self.digest(path), file.digest)
        from reenact.execute.data_sets import read_data_set

        try:
            listed = read_data_set(self._store.blobs, file.digest).files
        except (ReenactError, msgspec.DecodeError):
            return "is a data set whose list is lost"
        if is_given:
            from reenact.actions.resources.file import list_files

            new = {*list_files(path)} - {text_to_path(name) for name, _, _ in listed}
            if new:
                return f"has {min(new)} now"
        for name, _, digest in listed:
            if digest is None:
                return f"is not known by content: {name}"
            problem = differs(self.digest(f"{path}/{text_to_path(name)}"), digest)
            if problem is not None:
                return f"differs: {name} {problem}"
        return None

    def _outputs(self, former: Run) -> list[Difference]:
        directory = self._store.directory(former.id)
        found = []
        for file in former.outputs:
            path = os.path.join(directory, text_to_path(file.path))
            problem = None
            if file.target is not None:
                try:
                    is_same = os.readlink(path) == text_to_path(file.target)
                except OSError:
                    is_same = False
                problem = None if is_same else "is gone"
            elif file.digest is not None:
                problem = differs(self.digest(path), file.digest)
            elif not os.path.lexists(path):
                problem = "is gone"
            if problem is not None:
                found.append(Difference(Cause.OUTPUTS, f"{file.path} {problem}"))
        return found

    # --- environment ---

    def _environment(self, plan: Plan, former: Run) -> list[str]:
        if former.environment is None:
            return ["it was not recorded"]
        then = self._recorded_environment(former.environment)
        if then is None:
            return ["what was recorded of it is lost"]
        now = self._environment_now(plan, has_python=then.python is not None)
        found = [
            f"{name} {then.variables.get(name, 'unset')} → {now.variables.get(name, 'unset')}"
            for name in sorted({**then.variables, **now.variables})
            if then.variables.get(name) != now.variables.get(name)
        ]
        if then.python is None:
            return found
        if now.python is None:
            return [*found, "the interpreter says nothing of itself"]
        if then.python != now.python:
            versions = (then.python.version, now.python.version)
            is_same = versions[0] == versions[1]
            found.append("another Python" if is_same else f"Python {versions[0]} → {versions[1]}")
        return [*found, *differing_packages(then, now)]

    def _recorded_environment(self, digest: Digest) -> Environment | None:
        if digest not in self._environments:
            try:
                data = self._store.blobs.get(digest)
                self._environments[digest] = decode_environment(data, where="the environment")
            except ReenactError:
                self._environments[digest] = None
        return self._environments[digest]

    def _environment_now(self, plan: Plan, *, has_python: bool) -> Environment:
        env = plan.user_environment(self._context.env)
        python = find_python(env, plan.request.python) if has_python else ""
        key = to_json([python, env])
        if key not in self._now:
            cache = self._store.cache_directory
            facts = interpreter_facts(python, env, cache) if has_python else None
            self._now[key] = capture_environment(facts, env, cache=cache)
        return self._now[key]


def _settings(entries: Iterable[Entry]) -> list[bytes]:
    return [to_json([entry.flags, entry.seed]) for entry in entries]


def _is(attribute: str, text: str) -> Comparison:
    operand = Operand(Kind.ATTRIBUTE, attribute)
    return Comparison(operand, Relation.EQUAL, (Value(ValueKind.TEXT, text),))


def _shown(flags: Mapping[str, Any], name: str) -> str:
    return to_json(flag_to_json(flags[name])).decode() if name in flags else "unset"
