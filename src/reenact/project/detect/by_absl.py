"""Flags of `absl.flags`, and of TensorFlow 1's `tf.app.flags` that it came from."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from reenact.model.flags import Action, Flag, FlagType, FlagValue, Option
from reenact.project.detect.parameters import (
    Parameters,
    choices_of,
    default_of,
    other_spellings,
    text_or_none,
)
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import (
    MISSING,
    UNKNOWN,
    Class,
    EnumMember,
    Native,
    Site,
    Value,
)

_MODULES = (
    "absl.flags", "tensorflow.app.flags", "tensorflow.flags", "tensorflow.compat.v1.flags",
    "tensorflow.compat.v1.app.flags", "tensorflow.python.platform.flags",
)  # fmt: skip
_RUNNERS = (
    "absl.app.run", "tensorflow.app.run", "tensorflow.compat.v1.app.run",
    "tensorflow.python.platform.app.run",
)  # fmt: skip
_KINDS: dict[str, tuple[FlagType, Action]] = {
    "string": (FlagType.STRING, Action.STORE),
    "integer": (FlagType.INT, Action.STORE),
    "float": (FlagType.FLOAT, Action.STORE),
    "bool": (FlagType.BOOL, Action.PAIR),
    "boolean": (FlagType.BOOL, Action.PAIR),
    "enum": (FlagType.STRING, Action.STORE),
    "enum_class": (FlagType.STRING, Action.STORE),
    "list": (FlagType.LIST, Action.STORE),
    "spaceseplist": (FlagType.STRING, Action.STORE),
    "multi_string": (FlagType.STRING, Action.APPEND),
    "multi_integer": (FlagType.INT, Action.APPEND),
    "multi_float": (FlagType.FLOAT, Action.APPEND),
    "multi_enum": (FlagType.STRING, Action.APPEND),
    "multi_enum_class": (FlagType.STRING, Action.APPEND),
}


def register(trace: Trace) -> None:
    """Teach a trace what absl's names mean."""
    registry = Registry()
    for module in _MODULES:
        for name in _KINDS:
            trace.externals[f"{module}.DEFINE_{name}"] = _definer(registry, name)
        trace.externals[f"{module}.DEFINE_alias"] = registry.alias
        trace.externals[f"{module}.mark_flag_as_required"] = registry.require
        trace.externals[f"{module}.mark_flags_as_required"] = registry.require
        trace.externals[f"{module}.FLAGS"] = registry.call
    for name in _RUNNERS:
        trace.externals[name] = registry.call
    for name in ("DEFINE_config_file", "DEFINE_config_dict"):
        trace.externals[f"ml_collections.config_flags.{name}"] = registry.configure
        trace.externals[f"ml_collections.config_flags.config_flags.{name}"] = registry.configure


def _definer(registry: Registry, kind: str) -> Callable[[Site], Value]:
    return lambda site: registry.define(kind, site)


class Registry(Native):
    """`FLAGS`: all flags that were defined so far in the script and its modules."""

    kind = "absl"

    def __init__(self) -> None:
        self._flags: dict[str, Flag] = {}
        self.open_ended = False

    def define(self, kind: str, site: Site) -> Value:
        """Take a `DEFINE_…` call."""
        name = site.get("name", 0)
        if not isinstance(name, str):
            self.open_ended = True
            site.trace.remark(f"{site.at}: a flag's name could not be found out")
            return UNKNOWN
        type_, action = _KINDS[kind]
        default, default_source = default_of(
            _enum_name(site.get("default", 1)), site.text_of("default", 1)
        )
        if type_ is FlagType.LIST and isinstance(default, str):
            default = [item.strip() for item in default.split(",") if item.strip()]
        if action is Action.APPEND and default is not None and not isinstance(default, list):
            default = [default]
        is_enum = "enum" in kind
        short = site.get("short_name")
        self._flags[name] = Flag(
            name=name,
            aliases=other_spellings(name, short if isinstance(short, str) else None),
            binding=Option(
                option=f"--{name}",
                aliases=(f"-{short}",) if isinstance(short, str) else (),
                action=action,
                negative=f"--no{name}" if action is Action.PAIR else None,
                joined=action is not Action.PAIR,
            ),
            type=type_,
            default=default,
            default_source=default_source,
            required=site.get("required") is True,
            choices=_choices(site) if is_enum else None,
            help=text_or_none(site.get("help", 3 if is_enum else 2)),
            found=site.at,
        )
        return UNKNOWN

    def configure(self, site: Site) -> Value:
        """Take a flag that names a configuration file; each of its fields is a flag then."""
        site.kwargs.setdefault("default", site.get("default", 1, None))
        self.define("string", site)
        self.open_ended = True
        return UNKNOWN

    def alias(self, site: Site) -> Value:
        """Take a `DEFINE_alias` call."""
        name, original = site.get("name", 0), site.get("original_name", 1)
        flag = self._flags.get(original) if isinstance(original, str) else None
        if flag is not None and isinstance(name, str):
            self._flags[flag.name] = msgspec.structs.replace(flag, aliases=(*flag.aliases, name))
        return None

    def require(self, site: Site) -> Value:
        """Take a `mark_flag_as_required` call."""
        names = site.get("flag_name", 0)
        for name in names if isinstance(names, list | tuple) else [names]:
            flag = self._flags.get(name) if isinstance(name, str) else None
            if flag is not None:
                self._flags[flag.name] = msgspec.structs.replace(flag, required=True)
        return None

    def call(self, site: Site) -> Value:
        """Read the command line: `app.run(main)` or `FLAGS(sys.argv)`."""
        if isinstance(site.get("argv", 1), list | tuple):
            return UNKNOWN
        return site.trace.use(self)

    def collect(self, found: Parameters) -> None:
        """Add the flags."""
        found.flags += self._flags.values()


def _enum_name(value: Value) -> Value:
    if isinstance(value, EnumMember):
        return value.name.lower()
    if isinstance(value, list):
        return [_enum_name(item) for item in value]
    return value


def _choices(site: Site) -> tuple[FlagValue, ...] | None:
    values = site.get("enum_values", 2)
    if values is MISSING:
        values = site.get("enum_class", 2)
    if isinstance(values, Class):
        return tuple(name.lower() for name in values.member_names())
    return choices_of(values)
