"""What an operation requires, before anything starts: everything is looked for that can be.

A flag of a resource's name says what to take instead: a file or directory, or for an operation a run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import msgspec

from reenact.actions.context import Context
from reenact.actions.operations import packages_of, project_of
from reenact.actions.resources import Around, Planned, unmet
from reenact.actions.resources.choose import check_patterns
from reenact.errors import UnmetRequirement
from reenact.model.flags import Flag, FlagType, FlagValue, Template
from reenact.project.file.model import (
    Rename,
    RequireDef,
    ResourceDef,
    ResourceSource,
    Select,
    SourceKind,
)
from reenact.project.file.packages import full_names
from reenact.project.flag_text import nearest
from reenact.project.template import UnknownReference, fill, names_in, value_texts

_SETTABLE = tuple(kind for kind in SourceKind if kind is not SourceKind.MODULE)


def requirement_flags(requires: Iterable[RequireDef], taken: Iterable[str]) -> tuple[Flag, ...]:
    """Return the flags that say what to take instead of what is required.

    Args:
        requires: what an operation requires.
        taken: names of its own flags: one that is called as a resource is both.
    """
    used = set(taken)
    flags = []
    for required in requires:
        if required.resource is None:
            continue
        for resource, source in _sources(required.resource):
            names = [n for n in flag_names(required, resource, source) if n not in used]
            if source.kind not in _SETTABLE or not names:
                continue
            used.update(names)
            flags.append(
                Flag(
                    name=names[0],
                    aliases=tuple(names[1:]),
                    binding=Template(),
                    type=FlagType.STRING,
                    help=required.description or resource.description or _meaning(source),
                    found=str(source.place),
                )
            )
    return tuple(flags)


def _meaning(source: ResourceSource) -> str:
    if source.kind is SourceKind.OPERATION:
        return f"the run of `{source.spec}` to take"
    return f"what to take instead of `{source.spec}`"


def flag_names(
    required: RequireDef, resource: ResourceDef, source: ResourceSource
) -> tuple[str, ...]:
    """Return the flags that set a source, the one that is shown first."""
    names = [source.flag_name, resource.flag_name, resource.name]
    if resource.name is not None and resource.model:
        names.append(f"{resource.model}:{resource.name}")
    if len(resource.sources) == 1 or required.reference is None:
        names.append(source.name)
        if source.kind is SourceKind.OPERATION:
            names.append(f"operation:{source.name}")
    return tuple(dict.fromkeys(name for name in names if name))


def chosen_runs(requires: Iterable[RequireDef], planned: Iterable[Planned]) -> dict[str, str]:
    """Return short ids of the runs that were chosen, by all names of the flags that choose them."""
    runs: dict[str, list[str]] = {}
    for one in planned:
        if one.run is not None:
            runs.setdefault(str(one.source.place), []).append(one.run[:8])
    return {
        name: ",".join(runs[str(source.place)])
        for required in requires
        if required.resource is not None
        for resource, source in _sources(required.resource)
        if str(source.place) in runs
        for name in flag_names(required, resource, source)
    }


def plan_requirements(
    requires: Iterable[RequireDef],
    around: Around,
    find_named: Callable[[str], ResourceDef | None],
) -> tuple[Planned, ...]:
    """Find everything that is required.

    Args:
        requires: of the operation.
        around: where; its values decide what is taken instead of what the project file says.
        find_named: returns the resource that a name means which was not known before flags were
            filled in, or that is in a package.

    Raises:
        UnmetRequirement: something is not there, or cannot be understood.
    """
    texts = value_texts(around.values)
    planned: list[Planned] = []
    for required in requires:
        resource = required.resource
        if resource is None:
            resource = _look_up(required, texts, find_named)
        setting = _setting(required, resource, around.values)
        for _, source in _sources(resource):
            own = _setting_of(required, resource, source, around.values) or setting
            planned += _plan_source(resource, _filled(source, resource, texts), own, around)
            if setting is not None and own is setting and source.kind in _SETTABLE:
                # What the user says stands for all of the resource.
                break
    _check_places(planned)
    return tuple(planned)


def find_resource(context: Context, name: str, model: str) -> ResourceDef | None:
    """Return the resource or operation that a name means: `data`, `cnn:data`, `package/data`.

    Args:
        context: the project.
        name: with all flags filled in.
        model: name of the model that is meant where none is named.
    """
    package, slash, rest = name.rpartition("/")
    loaded = project_of(context)
    if slash:
        projects = packages_of(context).projects
        loaded = next((projects[full] for full in full_names(package) if full in projects), None)
    if loaded is None:
        return None
    owner, colon, own = rest.rpartition(":")
    wanted = loaded.content.find_model(owner if colon else model) or loaded.content.default_model
    found = None if wanted is None else wanted.find_resource(own)
    if found is None:
        operation = loaded.content.find_operation(rest)
        if operation is None:
            return None
        source = ResourceSource(
            kind=SourceKind.OPERATION, spec=name, place=operation.place, name=rest
        )
        return ResourceDef(place=operation.place, name=rest, model=model, sources=(source,))
    if not slash:
        return found
    home = loaded.directory
    sources = tuple(
        msgspec.structs.replace(source, base=os.path.join(home, source.base))
        for source in found.sources
    )
    return msgspec.structs.replace(found, sources=sources)


def _sources(resource: ResourceDef) -> list[tuple[ResourceDef, ResourceSource]]:
    return [(resource, source) for source in resource.sources]


def _setting(
    required: RequireDef, resource: ResourceDef, values: Mapping[str, FlagValue]
) -> tuple[str, str] | None:
    if required.reference is None and len(resource.sources) == 1:
        return None
    names = [resource.flag_name, resource.name]
    if resource.name is not None and resource.model:
        names.append(f"{resource.model}:{resource.name}")
    return _value_of(names, values)


def _setting_of(
    required: RequireDef,
    resource: ResourceDef,
    source: ResourceSource,
    values: Mapping[str, FlagValue],
) -> tuple[str, str] | None:
    if len(resource.sources) > 1 and required.reference is not None:
        return _value_of([source.flag_name], values)
    return _value_of(flag_names(required, resource, source), values)


def _value_of(
    names: Iterable[str | None], values: Mapping[str, FlagValue]
) -> tuple[str, str] | None:
    for name in names:
        value = values.get(name) if name else None
        if name and value is not None and value != "" and not isinstance(value, bool | dict):
            items = value if isinstance(value, list) else [value]
            return name, ",".join(map(str, items))
    return None


def _look_up(
    required: RequireDef,
    texts: Mapping[str, str],
    find_named: Callable[[str], ResourceDef | None],
) -> ResourceDef:
    assert required.reference is not None
    try:
        name = fill(required.reference, texts)
    except UnknownReference as error:
        raise UnmetRequirement(
            f"{required.place}: `requires` refers to `{error.name}`, which is no flag"
        ) from None
    found = find_named(name)
    if found is None:
        where = ", or its package is not installed" if "/" in name else ""
        raise UnmetRequirement(
            f"{required.place}: `requires` names `{name}`, which is neither a resource nor an "
            f"operation{where}"
        )
    return found


def _plan_source(
    resource: ResourceDef,
    source: ResourceSource,
    setting: tuple[str, str] | None,
    around: Around,
) -> list[Planned]:
    name = resource.name or source.name
    try:
        check_patterns(name, source)
        return _plan_kind(name, resource, source, setting, around)
    except UnmetRequirement:
        if source.optional and setting is None:
            return []
        raise


def _plan_kind(
    name: str,
    resource: ResourceDef,
    source: ResourceSource,
    setting: tuple[str, str] | None,
    around: Around,
) -> list[Planned]:
    # Imported where they are needed: most operations require nothing.
    if around.recorded:
        from reenact.actions.resources.recorded import plan_recorded

        if (again := plan_recorded(name, source, around)) is not None:
            return again
    if source.kind is SourceKind.OPERATION:
        from reenact.actions.resources.operation import plan_operation

        found = plan_operation(name, source, resource.model, around, setting)
        return [_not_empty(one) for one in found]
    if source.kind is SourceKind.MODULE:
        from reenact.actions.resources.module import plan_module

        return [plan_module(name, source, around)]
    if source.kind is SourceKind.CONFIG:
        from reenact.actions.resources.config import plan_config

        return [plan_config(name, source, around, setting)]
    from reenact.actions.resources.file import plan_file, plan_setting
    from reenact.actions.resources.url import plan_url

    if setting is not None:
        flag, text = setting
        if "://" in text:
            other = msgspec.structs.replace(source, spec=text, kind=SourceKind.URL, sha256=None)
            return [plan_url(name, other)._replace(why=f"set by `{flag}`")]
        return [_not_empty(plan_setting(name, source, text, flag, around))]
    if source.kind is SourceKind.URL:
        return [plan_url(name, source)]
    if source.kind is SourceKind.DVC_FILE:
        from reenact.actions.resources.dvc import plan_dvc

        return [_not_empty(plan_dvc(name, source, around))]
    return [_not_empty(plan_file(name, source, around))]


def _not_empty(planned: Planned) -> Planned:
    """Take note that nothing was selected; refuse it where the project file says so."""
    is_later = planned.archive is not None or planned.url is not None or planned.pull is not None
    if planned.pieces or is_later:
        return planned
    return planned._replace(remarks=(*planned.remarks, *empty(planned, unmet)))


def empty(
    planned: Planned, refuse: Callable[[str, ResourceSource, str], Exception]
) -> tuple[str, ...]:
    """Return what is to be said of a source of which nothing is taken.

    Raises:
        Exception: what `refuse` returns, where the project file does not allow it.
    """
    source = planned.source
    whose = f"run {planned.run[:8]}" if planned.run is not None else f"`{source.spec}`"
    what = "no file that is selected" if source.select else "no files"
    if source.fail_if_empty:
        raise refuse(planned.resource, source, f"needs files, and {whose} has {what}")
    if not source.warn_if_empty:
        return ()
    return (f"`{planned.resource}` gives nothing: {whose} has {what}",)


def _filled(
    source: ResourceSource, resource: ResourceDef, texts: Mapping[str, str]
) -> ResourceSource:
    """Put the values of flags where a source refers to them."""

    def filled(text: str) -> str:
        if "${" not in text:
            return text
        try:
            return fill(text, texts)
        except UnknownReference as error:
            close = nearest(error.name, texts)
            raise unmet(
                resource.name or source.name,
                source,
                f"refers to `{error.name}`, which is no flag",
                f"did you mean `{close}`?" if close else None,
            ) from None

    def maybe(text: str | None) -> str | None:
        return None if text is None else filled(text)

    params = {
        name: filled(value) if isinstance(value, str) and names_in(value) else value
        for name, value in source.params.items()
    }
    return msgspec.structs.replace(
        source,
        spec=filled(source.spec),
        target_path=maybe(source.target_path),
        select=tuple(Select(pattern=filled(s.pattern), reduce=s.reduce) for s in source.select),
        rename=tuple(Rename(filled(r.pattern), filled(r.replacement)) for r in source.rename),
        sha256=maybe(source.sha256),
        post_process=maybe(source.post_process),
        params=params,
    )


def _check_places(planned: Iterable[Planned]) -> None:
    """Make sure that no two sources go to the same place."""
    taken: dict[str, tuple[Planned, str]] = {}
    for one in planned:
        for piece in one.pieces:
            other = taken.setdefault(piece.path, (one, piece.at))
            if other[1] != piece.at and not one.source.replace_existing:
                raise unmet(
                    one.resource,
                    one.source,
                    f"and `{other[0].resource}` would both lie at `{piece.path}`",
                    "give one of them a `target-path`, `rename` it, or say `replace-existing: yes`",
                )
