"""What a run that would be started differs in from a former one, as far as their records tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from reenact.actions.plan import Plan
from reenact.actions.project_tree import PlannedTree
from reenact.actions.run_definition import decode_definition
from reenact.errors import ReenactError
from reenact.model.environment import Environment
from reenact.model.identity import Digest
from reenact.model.paths import printable, text_to_path
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import Dependency, Operation, OperationKind, Run
from reenact.model.secrets import REDACTED, redact_text
from reenact.project.file.model import Place
from reenact.snapshot.tree import SourceTree, read_tree
from reenact.store.store import Store

if TYPE_CHECKING:
    from reenact.actions.resources import Planned


class Cause(StrEnum):
    """What a run can differ in from the one that would be started."""

    OPERATION = "operation"
    SOURCE = "source"
    FLAGS = "flags"
    VARIABLES = "variables"
    REQUIREMENTS = "requirements"
    INPUTS = "inputs"
    ENVIRONMENT = "environment"
    SEED = "seed"
    OUTPUTS = "outputs"
    """What it left behind was changed or deleted since."""
    CHECK = "check"
    """It does not pass what its step expects."""


class Difference(NamedTuple):
    """One reason why a run cannot be taken."""

    cause: Cause
    detail: str


class Recorded:
    """Definitions and lists of source that records name, each read once."""

    def __init__(self, store: Store) -> None:
        self._blobs = store.blobs
        self._trees: dict[Digest, SourceTree | None] = {}
        self._definitions: dict[Digest, tuple[Any, frozenset[str]]] = {}

    def definition(self, digest: Digest) -> tuple[Any, frozenset[str]]:
        """Return what a definition says, wherever it stands, and the files in which it stands."""
        if digest not in self._definitions:
            files: set[str] = set()
            said = _without_places(decode_definition(self._blobs.get(digest)), files)
            self._definitions[digest] = said, frozenset(files)
        return self._definitions[digest]

    def tree(self, digest: Digest) -> SourceTree | None:
        """Return the list of a snapshot's files; None where it is lost."""
        if digest not in self._trees:
            try:
                self._trees[digest] = read_tree(self._blobs, digest)
            except ReenactError:
                self._trees[digest] = None
        return self._trees[digest]


class Given:
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
            problem = differs(digest(planned.archive), then.digest)
            if problem is not None:
                self.differences.append(f"{name} {problem}")
            self._settled.update(paths)
        elif planned.archive is not None:
            self._places.update(dict.fromkeys(paths, planned.archive))
        else:
            if planned.pull is not None:
                self.differences.append(f"{name} is to be pulled by DVC")
            now = {piece.path: piece.at for piece in planned.pieces}
            if now.keys() != set(paths):
                self.differences.append(f"{name} gives other files")
            self._settled.update(path for path in paths if path not in now)
            self._places.update(now)


def _with_parents(path: str) -> Iterable[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


class Wanted:
    """A run that would be started."""

    def __init__(self, plan: Plan, tree: PlannedTree | None, run: Run, recorded: Recorded) -> None:
        self.plan = plan
        self.tree = tree
        self.run = run
        self._recorded = recorded
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
                    None
                    if then.definition is None
                    else self._recorded.definition(then.definition)[0]
                )
            except ReenactError:
                said = None
            if said is None or said != self._said:
                found.append("its definition in the project file")
        # A command gets flags as they were typed: `1.10`.
        is_command = now.kind is OperationKind.COMMAND and now.definition is None
        has_same_flags = canonical(self.run.flags) == canonical(former.flags)
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
        recorded = self._recorded.tree(then)
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


def differs(found: Digest | str, digest: Digest) -> str | None:
    """Say what is wrong with a file whose content is `found`, or that cannot be read; None if nothing."""
    if found == digest:
        return None
    return found if " " in found else "changed"


def differing_packages(then: Environment, now: Environment) -> list[str]:
    """Return the packages of which there is another version now."""

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


def canonical(flags: Mapping[str, Any]) -> dict[str, bytes]:
    """Return flags so that equal ones are equal, NaN too, and 1 is not 1.0."""
    return {name: to_json(flag_to_json(value)) for name, value in flags.items()}
