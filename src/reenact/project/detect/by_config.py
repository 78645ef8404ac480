"""Flags of composed configurations: Hydra's, and those that OmegaConf takes from the command line.

Covered: YAML files in a directory beside the script, configurations of dataclasses that a script
stores, `OmegaConf.load`, `create`, `structured` and `merge`. Not covered: configurations of installed
packages and search paths; a script that has some takes any flag.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from reenact.model.flags import Flag, FlagType, FlagValue, Override
from reenact.project.composition import (
    REQUIRED,
    Composed,
    Leaf,
    Loaded,
    Tree,
    compose,
    leaves,
    merge,
    read_config,
    resolved,
)
from reenact.project.detect.by_dataclass import Field, fields_of
from reenact.project.detect.evaluate import NotConstant
from reenact.project.detect.modules import is_inside
from reenact.project.detect.parameters import Parameters
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import (
    HERE,
    MISSING,
    UNKNOWN,
    Class,
    EnumMember,
    External,
    Function,
    Instance,
    Method,
    Native,
    Site,
    Value,
    flag_value,
)
from reenact.project.file.yaml import YamlError
from reenact.project.overrides import HYDRA, OMEGACONF, OWN_NAMES

_MISSING_VALUE = "omegaconf.MISSING"
_MOST_BYTES = 1_000_000
_MOST_OPTIONS = 200
_DEEPEST = 20


def register(trace: Trace) -> None:
    """Teach a trace what the names of Hydra and OmegaConf mean."""
    store = _Store()
    for name in ("hydra.main", "hydra.main.main"):
        trace.externals[name] = _decorator(store)
    for name in (
        "hydra.core.config_store.ConfigStore",
        "hydra.core.config_store.ConfigStore.instance",
    ):
        trace.externals[name] = lambda _: store
    for module in ("omegaconf.OmegaConf", "omegaconf.omegaconf.OmegaConf"):
        trace.externals[f"{module}.from_cli"] = _from_cli
        trace.externals[f"{module}.load"] = _load
        trace.externals[f"{module}.create"] = _create
        trace.externals[f"{module}.structured"] = _create
        trace.externals[f"{module}.merge"] = _merge
        trace.externals[f"{module}.unsafe_merge"] = _merge


class _Files:
    """Configuration files below a directory, each read once."""

    def __init__(self, directory: str, trace: Trace, stored: Mapping[str, Loaded]) -> None:
        self.directory = directory
        self._trace = trace
        self._stored = stored
        self._loaded: dict[str, Loaded | None] = {}

    def load(self, path: str) -> Loaded | None:
        if path not in self._loaded:
            self._loaded[path] = self._read(path)
        return self._loaded[path]

    def _read(self, path: str) -> Loaded | None:
        whole = os.path.normpath(f"{self.directory}/{path}.yaml")
        if self.directory and is_inside(whole, self.directory) and os.path.isfile(whole):
            return _read(self._trace, whole)
        return self._stored.get(path)

    def options(self, group: str) -> list[str]:
        """Return what can be chosen in a group."""
        names = {p.rpartition("/")[2] for p in self._stored if p.rpartition("/")[0] == group}
        try:
            listed = os.listdir(f"{self.directory}/{group}") if self.directory else []
        except OSError:
            listed = []
        names.update(name[:-5] for name in listed if name.endswith(".yaml") and name[0] != ".")
        return sorted(names)


def _read(trace: Trace, path: str) -> Loaded | None:
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        trace.remark(f"{trace.name_of(path)}: {error.strerror or error}")
        return None
    if len(content) > _MOST_BYTES:
        trace.remark(f"{trace.name_of(path)}: too large for a configuration")
        return None
    try:
        return read_config(content, trace.name_of(path))
    except YamlError as error:
        trace.remark(str(error))
        return None


# -- Hydra -----------------------------------------------------------------------------------------


class _Store(Native):
    """Hydra's `ConfigStore`: configurations that a script makes of dataclasses."""

    def __init__(self) -> None:
        self.configs: dict[str, Loaded] = {}

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return a method."""
        del trace
        return Method(self._store) if name == "store" else UNKNOWN

    def _store(self, site: Site) -> Value:
        name, node = site.get("name", 0), site.get("node", 1)
        group = site.get("group", 2, None)
        tree = _tree_of(site.trace, node, site.at, 0)
        if isinstance(name, str) and tree is not None:
            path = f"{group}/{name}" if isinstance(group, str) else name
            defaults = tree.pop("defaults", None)
            listed = defaults.value if isinstance(defaults, Leaf) else None
            package = site.get("package", 3, None)
            self.configs[path.removesuffix(".yaml")] = Loaded(
                tree,
                listed if isinstance(listed, list) else [],
                package if isinstance(package, str) else None,
            )
        return None


def _decorator(store: _Store) -> Callable[[Site], Value]:
    def handle(site: Site) -> Value:
        return Method(lambda inner: _decorated(site, inner, store))

    return handle


def _decorated(site: Site, inner: Site, store: _Store) -> Value:
    return _Hydra(site, store) if isinstance(inner.get("f", 0), Function) else UNKNOWN


class _Hydra(Native):
    """A function that Hydra calls with the configuration that it composes."""

    kind = HYDRA
    open_names = OWN_NAMES

    def __init__(self, site: Site, store: _Store) -> None:
        self._site = site
        self._store = store
        self.open_ended = False

    def call(self, site: Site) -> Value:
        """Read the command line."""
        return site.trace.use(self)

    def collect(self, found: Parameters) -> None:
        """Add a flag for each group and for each value of the configuration."""
        site = self._site
        name = site.get("config_name", 1, None)
        directory = self._directory()
        if name is None:
            return
        if not isinstance(name, str) or directory is None:
            self.open_ended = True
            site.trace.remark(
                f"{site.at}: which configuration Hydra composes could not be found out"
            )
            return
        files = _Files(directory, site.trace, self._store.configs)
        primary = name.removesuffix(".yaml").removesuffix(".yml")
        base = compose(files.load, primary, {})
        for path in base.missing:
            self.open_ended = True
            site.trace.remark(
                f"{site.at}: there is no configuration `{path}.yaml` that could be read"
            )
        found.flags += _flags_of(files, primary, base)

    def _directory(self) -> str | None:
        """Return the directory of the configuration files; empty for none."""
        path = self._site.get("config_path", 0)
        if path is None:
            return ""
        if path is MISSING:
            path = "."
        if not isinstance(path, str) or "://" in path:
            return None
        return _inside(self._site, path, [])


def _inside(site: Site, path: str, bases: list[str]) -> str | None:
    """Return where a path of the project is, seen from the module of a call."""
    here = os.path.dirname(site.module.source.path)
    if path.startswith(HERE):
        path = path[len(HERE) :].lstrip("/")
    places = [os.path.normpath(os.path.join(base, path)) for base in (here, *bases)]
    inside = [place for place in places if is_inside(place, site.trace.modules.root)]
    return next((place for place in inside if os.path.exists(place)), None)


def _flags_of(files: _Files, primary: str, base: Composed) -> list[Flag]:
    groups = [_group_flag(files, base, key) for key in base.groups]
    usual = dict(leaves(base.tree))
    bound: dict[str, tuple[str, dict[str, FlagValue]]] = {}
    extra: dict[str, Leaf] = {}
    count = 0
    for flag in groups:
        composed = {}
        for option in flag.choices or ():
            count += 1
            if not isinstance(option, str) or count > _MOST_OPTIONS:
                continue
            is_usual = option == flag.default
            tree = base.tree if is_usual else compose(files.load, primary, {flag.name: option}).tree
            composed[option] = {name: _final(tree, leaf) for name, leaf in leaves(tree)}
        varying = {
            name: leaf
            for option in composed.values()
            for name, leaf in option.items()
            if any(name not in one or one[name].value != leaf.value for one in composed.values())
        }
        for name, leaf in varying.items():
            if name not in bound:
                defaults = {
                    option: one[name].value
                    for option, one in composed.items()
                    if name in one and one[name].value != REQUIRED
                }
                bound[name] = (flag.name, defaults)
                extra.setdefault(name, leaf)
    flags = groups
    for name, leaf in {**usual, **{n: v for n, v in extra.items() if n not in usual}}.items():
        if all(part and not set(part) & set("=~+, \t") for part in name.split(".")):
            flags.append(_value_flag(name, _final(base.tree, leaf), *bound.get(name, (None, {}))))
    return flags


def _final(tree: Tree, leaf: Leaf) -> Leaf:
    return leaf._replace(value=resolved(tree, leaf.value))


def _group_flag(files: _Files, base: Composed, key: str) -> Flag:
    group = base.groups[key]
    options = files.options(group.path)
    is_open = group.choice == REQUIRED
    return Flag(
        name=key,
        binding=Override(),
        type=FlagType.ANY,
        default=None if is_open else group.choice,
        default_source=REQUIRED if is_open else None,
        choices=tuple(options) or None,
        allow_other=isinstance(group.choice, list),
        found=f"{group.place}.yaml",
    )


def _value_flag(name: str, leaf: Leaf, group: str | None, defaults: dict[str, FlagValue]) -> Flag:
    is_open = leaf.value == REQUIRED
    return Flag(
        name=name,
        binding=Override(group=group, defaults=defaults),
        type=FlagType.LIST if isinstance(leaf.value, list) else FlagType.ANY,
        default=None if is_open else leaf.value,
        default_source=REQUIRED if is_open else None,
        help=leaf.help,
        found=leaf.place,
    )


# -- OmegaConf -------------------------------------------------------------------------------------


class _Config(Native):
    """A configuration that OmegaConf made; what is not known of it makes flags open-ended."""

    def __init__(self, tree: Tree | None) -> None:
        self.tree = tree

    def attribute(self, name: str, trace: Trace) -> Value:
        """Return a method."""
        del trace
        return Method(self._merge_with_cli) if name == "merge_with_cli" else UNKNOWN

    def _merge_with_cli(self, site: Site) -> Value:
        command_line = _CommandLine()
        command_line.add(self)
        site.trace.note_use(command_line)
        return None


class _CommandLine(_Config):
    """`OmegaConf.from_cli()`: its keys are those of the configurations that it is merged with."""

    kind = OMEGACONF

    def __init__(self) -> None:
        super().__init__({})
        self.open_ended = True
        self._is_merged = False

    def add(self, config: Value) -> None:
        """Take in a configuration whose values can be set."""
        assert self.tree is not None
        if isinstance(config, _Config) and config.tree is not None:
            self.open_ended = self.open_ended and self._is_merged
            merge(self.tree, config.tree)
        else:
            self.open_ended = True
        self._is_merged = True

    def collect(self, found: Parameters) -> None:
        """Add a flag for each value."""
        assert self.tree is not None
        for name, leaf in leaves(self.tree):
            found.flags.append(_value_flag(name, _final(self.tree, leaf), None, {}))


def _from_cli(site: Site) -> Value:
    if isinstance(site.get("args_list", 0), list | tuple):
        return UNKNOWN
    command_line = _CommandLine()
    site.trace.note_use(command_line)
    return command_line


def _load(site: Site) -> Value:
    path = site.get("file_", 0)
    if not isinstance(path, str):
        return _Config(None)
    whole = _inside(site, path, [site.trace.modules.root])
    loaded = None if whole is None else _read(site.trace, whole)
    if loaded is None:
        return _Config(None)
    if loaded.defaults:
        merge(loaded.tree, {"defaults": Leaf(loaded.defaults)})
    return _Config(loaded.tree)


def _create(site: Site) -> Value:
    return _Config(_tree_of(site.trace, site.get("obj", 0, {}), site.at, 0))


def _merge(site: Site) -> Value:
    whole: Tree | None = {}
    for config in site.args:
        if whole is None or not isinstance(config, _Config) or config.tree is None:
            whole = None
        elif not isinstance(config, _CommandLine):
            merge(whole, config.tree)
    for config in site.args:
        if isinstance(config, _CommandLine):
            others = [other for other in site.args if other is not config]
            for other in others or [UNKNOWN]:
                config.add(other)
            if not site.is_complete:
                config.add(UNKNOWN)
    return _Config(whole)


def _tree_of(trace: Trace, node: Value, at: str, depth: int) -> Tree | None:
    """Return what a dataclass, an instance of one or a dictionary says; None if that is not known."""
    if depth > _DEEPEST:
        return None
    if isinstance(node, Instance | Class):
        owner = node.owner if isinstance(node, Instance) else node
        given = node.kwargs if isinstance(node, Instance) else {}
        tree: Tree = {}
        for field in fields_of(trace, owner):
            tree[field.name] = _of_field(trace, field, given.get(field.name, MISSING), depth)
        return tree
    if not isinstance(node, dict):
        return None
    tree = {}
    for name, value in node.items():
        inner = _tree_of(trace, value, at, depth + 1) if value else None
        tree[str(name)] = Leaf(_plain(value), at) if inner is None else inner
    return tree


def _of_field(trace: Trace, field: Field, given: Value, depth: int) -> Leaf | Tree:
    value = field.default if given is MISSING else given
    node: Value = value
    if field.annotation.cls is not None and not isinstance(value, Instance):
        node = field.annotation.cls
    if isinstance(node, Instance | Class | dict) and node:
        tree = _tree_of(trace, node, field.at, depth + 1)
        if tree is not None:
            return tree
    return Leaf(_plain(value), field.at, field.help)


def _plain(value: Any) -> FlagValue:
    if isinstance(value, EnumMember):
        return value.name
    if value is MISSING or value == External(_MISSING_VALUE):
        return REQUIRED
    try:
        return flag_value(value)
    except NotConstant:
        return REQUIRED
