"""Say what differs in what two runs ran with: environment, machine, what was loaded in the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from reenact.actions.changes import Change, ChangeKind, Section, compare_facts
from reenact.errors import ReenactError
from reenact.model.environment import (
    CondaPackage,
    Environment,
    Machine,
    Package,
    Runtime,
    ThreadPool,
    Tool,
    decode_environment,
    decode_machine,
    decode_runtime,
)
from reenact.model.flags import FlagValue
from reenact.model.identity import Digest
from reenact.model.run import Run
from reenact.store.blobs import Blobs

_Described = TypeVar("_Described", Environment, Machine, Runtime)
_GROUPS = {"libraries": "library", "pools": "thread pool", "variables": "variable set by itself"}
"""What facts of a runtime are called, where that is not the field without its `s`."""


def diff_environment(blobs: Blobs, a: Run, b: Run) -> Section[Change]:
    """Compare interpreters, packages and variables."""
    own = compare_facts(dict(a.variables), dict(b.variables), group="set for the run")
    loaded = _load(blobs, a.environment, b.environment, decode_environment, "environment")
    if isinstance(loaded, Section):
        return Section((*loaded.changes, *own), loaded.remarks, loaded.is_complete)
    section = compare_environments(*loaded)
    return Section((*section.changes, *own), section.remarks, section.is_complete)


def compare_environments(before: Environment, after: Environment) -> Section[Change]:
    """Compare interpreters, packages and variables, whatever ran or will run with them."""
    remarks: list[str] = []
    changes: list[Change] = []
    for field in ("python", "packages", "conda", "leftovers"):
        if _is_known(field, before, after, remarks):
            facts = _entries(before, field), _entries(after, field)
            changes += compare_facts(*facts, group=field.removesuffix("s"))
    if before.tools is not None and after.tools is not None:
        # Nobody asks for them before a run; that is no difference between two environments.
        changes += compare_facts(_tool_facts(before.tools), _tool_facts(after.tools), group="tool")
    changes += compare_facts(dict(before.variables), dict(after.variables), group="variable")
    return Section(tuple(changes), tuple(remarks), not remarks)


def diff_machine(blobs: Blobs, a: Run, b: Run) -> Section[Change]:
    """Compare hardware and operating systems."""
    loaded = _load(blobs, a.machine, b.machine, decode_machine, "machine")
    if isinstance(loaded, Section):
        return loaded
    return compare_machines(*loaded)


def compare_machines(before: Machine, after: Machine) -> Section[Change]:
    """Compare hardware and operating systems, whatever ran or will run on them."""
    remarks: list[str] = []
    changes: list[Change] = []
    for field in Machine.__struct_fields__:
        has_reason = field in before.reasons or field in after.reasons
        if field == "reasons" or (has_reason and not _is_known(field, before, after, remarks)):
            continue
        if field == "cpu_features":
            sets = [dict.fromkeys(m.cpu_features or (), True) for m in (before, after)]
            changes += compare_facts(dict(sets[0]), dict(sets[1]), group="CPU feature")
        else:
            changes += compare_facts(_machine_fact(before, field), _machine_fact(after, field))
    return Section(tuple(changes), tuple(remarks), not remarks)


def diff_runtime(blobs: Blobs, a: Run, b: Run) -> Section[Change]:
    """Compare what the main processes of two runs that have ended had loaded by then.

    Two processes that had loaded nothing that computes do not differ.
    """
    if a.runtime is None and b.runtime is None:
        return Section()
    loaded = _load(blobs, a.runtime, b.runtime, decode_runtime, "runtime")
    if isinstance(loaded, Section):
        return loaded
    before, after = loaded
    places = _shared_places(before, after)
    makers: dict[str, Callable[[Runtime], dict[str, FlagValue]]] = {
        "libraries": lambda r: {lib.path: lib.version or True for lib in r.libraries or ()},
        "pools": lambda r: _pool_facts(r.pools or (), places),
        "frameworks": _framework_facts,
        "variables": lambda r: dict(r.variables),
    }
    remarks: list[str] = []
    changes: list[Change] = []
    for field, facts in makers.items():
        if _is_known(field, before, after, remarks):
            group = _GROUPS.get(field, field.removesuffix("s"))
            changes += compare_facts(facts(before), facts(after), group=group)
    return Section(tuple(changes), tuple(remarks), not remarks)


def _load(
    blobs: Blobs,
    a: Digest | None,
    b: Digest | None,
    decode: Callable[..., _Described],
    what: str,
) -> tuple[_Described, _Described] | Section[Change]:
    """Return both values, or the section that can be made without them."""
    missing = [name for name, digest in (("A", a), ("B", b)) if digest is None]
    if missing:
        remark = f"{' and '.join(missing)}: no {what} was recorded"
        return Section((), (remark,), False)
    assert a is not None
    assert b is not None
    if a == b:
        return Section()
    try:
        old, new = blobs.get(a), blobs.get(b)
        return decode(old, where=f"{what} of A"), decode(new, where=f"{what} of B")
    except ReenactError as error:
        change = Change(name="digest", kind=ChangeKind.CHANGED, a=a, b=b)
        return Section((change,), (f"what differs is not known: {error.message}",), False)


def _entries(environment: Environment, field: str) -> dict[str, FlagValue]:
    value = getattr(environment, field)
    if field == "python":
        facts = msgspec.structs.asdict(value) if value is not None else {}
        return {name: fact for name, fact in facts.items() if fact is not None}
    if field == "leftovers":
        return dict.fromkeys(value, True)
    return {package.name: _version(package) for package in value or ()}


def _tool_facts(tools: Iterable[Tool]) -> dict[str, FlagValue]:
    paths: dict[str, FlagValue] = {f"{tool.name} path": tool.path for tool in tools}
    return {**{tool.name: tool.version or True for tool in tools}, **paths}


def _version(package: Package | CondaPackage) -> str:
    if isinstance(package, CondaPackage):
        return " ".join(filter(None, (package.version, package.build, _channel(package))))
    origin = package.origin
    if origin is None:
        return package.version
    exact = origin.commit or origin.digest
    place = f"{origin.url}@{exact}" if exact else origin.url
    if origin.subdirectory:
        place += f"#subdirectory={origin.subdirectory}"
    return f"{package.version} ({origin.kind} {place})"


def _channel(package: CondaPackage) -> str | None:
    """Return where a package came from: of channels every tool writes in its own words."""
    if package.url is None:
        return package.channel
    return "/".join(package.url.split("/")[:-2])


def _is_known(field: str, before: _Described, after: _Described, remarks: list[str]) -> bool:
    """Tell whether both know a field; say so where only one does not, or says why it does not."""
    unknown = [
        (name, value.reasons.get(field))
        for name, value in (("A", before), ("B", after))
        if getattr(value, field) is None or (field in value.reasons and not getattr(value, field))
    ]
    # Both ignorant for the same reason, or both without such a thing, is no difference.
    if len({reason for _, reason in unknown}) == len(unknown):
        for name, reason in unknown:
            remarks.append(f"{name}: {field} not known" + (f": {reason}" if reason else ""))
    return not unknown


def _machine_fact(machine: Machine, field: str) -> dict[str, FlagValue]:
    value = getattr(machine, field)
    if value is None:
        return {}
    return {field: msgspec.to_builtins(value)}


def _pool_facts(pools: Iterable[ThreadPool], shared: set[str]) -> dict[str, FlagValue]:
    """Return the facts of thread pools, named so that another version of one is the same one.

    Args:
        pools: of one run.
        shared: places where a run has several: there the name of the file tells which.
    """
    facts: dict[str, FlagValue] = {}
    for pool in pools:
        place = _place(pool)
        if place in shared and pool.library is not None:
            place = f"{pool.api} {pool.library}"
        for name, value in msgspec.structs.asdict(pool).items():
            if name not in ("api", "library") and value is not None:
                facts[f"{place} {name}"] = value
    return facts


def _place(pool: ThreadPool) -> str:
    """Name a pool by what it is and where its library lies: `openblas numpy.libs`."""
    directory = os.path.dirname(pool.library or "")
    return f"{pool.api} {directory}" if directory else pool.api


def _shared_places(*runtimes: Runtime) -> set[str]:
    counts = [Counter(map(_place, runtime.pools or ())) for runtime in runtimes]
    return {place for found in counts for place, count in found.items() if count > 1}


def _framework_facts(runtime: Runtime) -> dict[str, FlagValue]:
    facts: dict[str, FlagValue] = {}
    for framework, told in runtime.frameworks.items():
        for name, value in told.items():
            if isinstance(value, list):
                facts |= dict.fromkeys((f"{framework} {name} {item}" for item in value), True)
            else:
                facts[f"{framework} {name}"] = value
    return facts
