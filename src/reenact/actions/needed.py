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
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from reenact.actions.context import Context
from reenact.actions.interpreter_facts import interpreter_facts
from reenact.actions.plan import Plan
from reenact.actions.project_tree import PlannedTree
from reenact.actions.run_definition import decode_definition
from reenact.actions.run_files import UNWATCHED
from reenact.actions.trials import Entry, read_entries
from reenact.errors import NotFound, ReenactError
from reenact.model.environment import Environment, decode_environment
from reenact.model.identity import Digest, RunId, new_run_id
from reenact.model.paths import printable, text_to_path
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import Dependency, File, Operation, OperationKind, Run, Status
from reenact.model.secrets import REDACTED, redact_text
from reenact.project.file.model import Place
from reenact.project.operation import find_python
from reenact.snapshot.environment import capture_environment
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.columns import IndexedRun, Kind, Operand
from reenact.store.digests import Digests
from reenact.store.index import Index
from reenact.store.query import All, Comparison, Filter, Relation, Value, ValueKind
from reenact.store.store import RECORD_DIRECTORY

if TYPE_CHECKING:
    from reenact.actions.batch_plan import PlannedBatch
    from reenact.actions.resources import Planned

_MOST_LOOKED_AT = 200
_MOST_COMPARED = 10
_FEW = 3


class Cause(StrEnum):
    """What a run can differ in from the one that would be started."""

    OPERATION = "operation"
    SOURCE = "source"
    FLAGS = "flags"
    VARIABLES = "variables"
    REQUIREMENTS = "requirements"
    INPUTS = "inputs"
    ENVIRONMENT = "environment"
    OUTPUTS = "outputs"
    """What it left behind was changed or deleted since."""
    CHECK = "check"
    """It does not pass what its step expects."""


class Difference(NamedTuple):
    """One reason why a run cannot be taken."""

    cause: Cause
    detail: str


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
        self._trees: dict[Digest, SourceTree | None] = {}
        self._definitions: dict[Digest, tuple[Any, frozenset[str]]] = {}

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
        wanted = _Wanted(plan, tree, plan.record(new_run_id(), datetime.now(UTC)), self)
        flags = _canonical(wanted.run.flags)
        found = self._runs(wanted.run)
        same = [run for run in found if _canonical(run.flags) == flags]
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
        wanted = _Wanted(plan, tree, msgspec.structs.replace(run, operation=operation), self)

        def same_trials(_: _Wanted, former: Run) -> list[Difference]:
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

    def _first(self, candidates: Iterable[IndexedRun], wanted: _Wanted, settings: Any) -> Answer:
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

    def _same_flags(self, wanted: _Wanted, former: Run) -> list[Difference]:
        run = wanted.run
        now, then = _canonical(run.flags), _canonical(former.flags)
        names = [n for n in {**now, **then} if now.get(n) != then.get(n)]
        found = [
            f"{name} {_shown(former.flags, name)} → {_shown(run.flags, name)}" for name in names
        ]
        found += [f"{n} is a secret, which is not recorded" for n, v in run.flags.items()
                  if v == REDACTED]  # fmt: skip
        return [Difference(Cause.FLAGS, text) for text in found]

    def _same_trials(self, planned: PlannedBatch, former: Run) -> list[Difference]:
        request, batch = planned.request, former.batch
        if batch is None:
            return [Difference(Cause.OPERATION, "it is no batch")]
        directory = f"{self._store.directory(former.id)}/{RECORD_DIRECTORY}"
        entries = read_entries(directory)
        if planned.search is not None:
            then = (batch.objectives, batch.seed, batch.trials, former.typed)
            now = (
                request.objectives,
                request.random_seed,
                planned.search.limit,
                {n: s for n, s in request.run.settings.items() if isinstance(s, str)},
            )
            is_same = then == now and batch.optimizer == (request.optimizer or batch.optimizer)
            found = [] if is_same else [Difference(Cause.FLAGS, "another search")]
        elif batch.optimizer is not None or _settings(entries) != _settings(planned.entries):
            found = [Difference(Cause.FLAGS, "other trials")]
        else:
            found = []
        return found

    def _of_files(self, wanted: _Wanted, former: Run) -> list[Difference]:
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

    def _files(self, wanted: _Wanted, former: Run) -> list[Difference]:
        environment = [
            Difference(Cause.ENVIRONMENT, text) for text in self._environment(wanted.plan, former)
        ]
        given = _Given(wanted.plan, former, self.digest)
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

    def _inputs(self, wanted: _Wanted, former: Run, given: _Given) -> list[Difference]:
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
            return _differs(self.digest(path), file.digest)
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
            problem = _differs(self.digest(f"{path}/{text_to_path(name)}"), digest)
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
                problem = _differs(self.digest(path), file.digest)
            elif not os.path.lexists(path):
                problem = "is gone"
            if problem is not None:
                found.append(Difference(Cause.OUTPUTS, f"{file.path} {problem}"))
        return found

    # --- source and definition ---

    def definition(self, digest: Digest) -> tuple[Any, frozenset[str]]:
        """Return what a definition says, wherever it stands, and the files in which it stands."""
        if digest not in self._definitions:
            files: set[str] = set()
            said = _without_places(decode_definition(self._store.blobs.get(digest)), files)
            self._definitions[digest] = said, frozenset(files)
        return self._definitions[digest]

    def tree(self, digest: Digest) -> SourceTree | None:
        """Return the list of a snapshot's files; None where it is lost."""
        if digest not in self._trees:
            try:
                self._trees[digest] = read_tree(self._store.blobs, digest)
            except ReenactError:
                self._trees[digest] = None
        return self._trees[digest]

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
        return [*found, *_packages(then, now)]

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


class _Given:
    """What a plan is given of what its operation requires, against what a former run was given.

    Attributes:
        differences: what that can be seen of without a look at contents.
    """

    def __init__(self, plan: Plan, former: Run, digest: Callable[[str], Digest | str]) -> None:
        self.differences: list[str] = []
        self._places: dict[str, str] = {}
        self._settled: set[str] = set()
        then: dict[str, list[Dependency]] = {}
        for dependency in former.dependencies:
            then.setdefault(dependency.resource, []).append(dependency)
        for planned in plan.requirements:
            same = then.get(printable(planned.resource))
            if not same:
                self.differences.append(f"{planned.resource} is new")
                continue
            self._compare(planned, same.pop(0), digest)
        self.differences += [f"{name} is required no more" for name, left in then.items() if left]

    def is_settled(self, path: str) -> bool:
        """Tell whether a file comes out of something that is known to be the same."""
        return any(one in self._settled for one in _with_parents(path))

    def place_of(self, path: str) -> str | None:
        """Return where a file would come from that is given; None for all others."""
        for one in _with_parents(path):
            if one in self._places:
                return self._places[one] + path[len(one) :]
        return None

    def _compare(
        self, planned: Planned, then: Dependency, digest: Callable[[str], Digest | str]
    ) -> None:
        paths = [text_to_path(path) for path in then.paths]
        name = planned.resource
        if planned.version != then.version:
            self.differences.append(f"{name} {then.version} → {planned.version}")
        if planned.url is not None:
            # What was loaded from there once is not loaded again.
            if then.uri != printable(redact_text(planned.source.spec)):
                self.differences.append(f"{name} is loaded from elsewhere")
            self._settled.update(paths)
        elif planned.archive is not None and then.digest is not None:
            problem = _differs(digest(planned.archive), then.digest)
            if problem is not None:
                self.differences.append(f"{name} {problem}")
            self._settled.update(paths)
        elif planned.archive is not None:
            self._places.update(dict.fromkeys(paths, planned.archive))
        else:
            now = {piece.path: piece.at for piece in planned.pieces}
            if now.keys() != set(paths):
                self.differences.append(f"{name} gives other files")
            self._settled.update(path for path in paths if path not in now)
            self._places.update(now)


def _with_parents(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


class _Wanted:
    """A run that would be started."""

    def __init__(self, plan: Plan, tree: PlannedTree | None, run: Run, finder: Finder) -> None:
        self.plan = plan
        self.tree = tree
        self.run = run
        self._finder = finder
        files: set[str] = set()
        self._said: Any = None
        if plan.prepared is not None:
            self._said = _without_places(plan.prepared.definition, files)
        self._files = frozenset(files)

    def differences(self, former: Run) -> list[Difference]:
        """Return what differs of operation, source and variables: what needs no look at files."""
        run = self.run
        found = [Difference(Cause.OPERATION, text) for text in self._operation(former)]
        found += [Difference(Cause.SOURCE, text) for text in self._source(former)]
        names = sorted({**run.variables, **former.variables})
        found += [
            Difference(Cause.VARIABLES, name)
            for name in names
            if run.variables.get(name) != former.variables.get(name)
            or run.variables.get(name) == REDACTED
        ]
        return found

    def _operation(self, former: Run) -> list[str]:
        now, then = self.run.operation, former.operation
        found = []
        if _bare(now) != _bare(then):
            found.append("it was another one")
        elif now.definition != then.definition:
            try:
                said = (
                    None if then.definition is None else self._finder.definition(then.definition)[0]
                )
            except ReenactError:
                said = None
            if said is None or said != self._said:
                found.append("its definition in the project file")
        # A command gets flags as they were typed: `1.10`.
        is_command = now.kind is OperationKind.COMMAND and now.definition is None
        has_same_flags = _canonical(self.run.flags) == _canonical(former.flags)
        if is_command and has_same_flags and self.run.command != former.command:
            found.append("its command")
        if self.run.cwd != former.cwd:
            found.append(f"it ran in `{former.cwd}`")
        if self.run.in_place != former.in_place:
            found.append("it ran in place" if former.in_place else "it did not run in place")
        return found

    def _source(self, former: Run) -> list[str]:
        if self.tree is None or former.source is None:
            return ["it is not recorded"]
        now, then = self.tree.source.tree, former.source.tree
        if now == then:
            return []
        recorded = self._finder.tree(then)
        if recorded is None:
            return ["what was recorded of it is lost"]
        # What the project file says of the operation is compared by itself.
        old = {path: (mode, digest) for path, mode, _, digest in recorded.files}
        new = {file.path: (file.mode, file.digest) for file in self.tree.tree.sources}
        links = {path: ("link", target) for path, target in recorded.links}
        links_now = {path: ("link", target) for path, target in self.tree.tree.source_links}
        before: Mapping[str, object] = {**old, **links}
        after: Mapping[str, object] = {**new, **links_now}
        return [
            path
            for path in sorted({*before, *after})
            if before.get(path) != after.get(path) and path not in self._files
        ]


def _bare(operation: Operation) -> Operation:
    return msgspec.structs.replace(operation, definition=None, file=None)


def _without_places(value: Any, files: set[str]) -> Any:
    """Return what a definition says, without where it says so; collect the files."""
    if isinstance(value, Place):
        files.add(value.file)
        return None
    if isinstance(value, msgspec.Struct):
        names = value.__struct_fields__
        return (type(value).__name__, *(_without_places(getattr(value, n), files) for n in names))
    if isinstance(value, dict):
        return {key: _without_places(item, files) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item, files) for item in value]
    return to_json(flag_to_json(value))


def _differs(found: Digest | str, digest: Digest) -> str | None:
    if found == digest:
        return None
    return found if " " in found else "changed"


def _packages(then: Environment, now: Environment) -> list[str]:
    def versions(environment: Environment) -> dict[str, object]:
        own = {p.name: (p.version, p.origin) for p in environment.packages or ()}
        return {**{p.name: (p.version, p.build) for p in environment.conda}, **own}

    def shown(value: object) -> str:
        return "absent" if value is None else str(value[0])  # type: ignore[index]  # a pair

    before, after = versions(then), versions(now)
    return [
        f"{name} {shown(before.get(name))} → {shown(after.get(name))}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _canonical(flags: Mapping[str, Any]) -> dict[str, bytes]:
    return {name: to_json(flag_to_json(value)) for name, value in flags.items()}


def _shown(flags: Mapping[str, Any], name: str) -> str:
    return to_json(flag_to_json(flags[name])).decode() if name in flags else "unset"


def _settings(entries: Iterable[Entry]) -> list[bytes]:
    return [to_json([entry.flags, entry.seed]) for entry in entries]


def _is(attribute: str, text: str) -> Comparison:
    operand = Operand(Kind.ATTRIBUTE, attribute)
    return Comparison(operand, Relation.EQUAL, (Value(ValueKind.TEXT, text),))
