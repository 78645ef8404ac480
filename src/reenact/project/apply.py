"""How flag values reach a script: as its real arguments, or as literals in a copy of its source.

`command_line` writes only what was given, so that the recorded command can be pasted. `rewrite`
replaces literals by their exact bytes: the number of lines and everything else stay as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from reenact.errors import ReenactError, UsageError
from reenact.model.flags import (
    Action,
    Flag,
    FlagSet,
    FlagType,
    FlagValue,
    Global,
    Option,
    Positional,
    Subcommand,
)
from reenact.project.detect.source import encoding_of
from reenact.project.flag_text import format_value
from reenact.project.overrides import KINDS, override_words

_Path = tuple[str, ...]


def command_line(flags: FlagSet, values: Mapping[str, FlagValue]) -> list[str]:
    """Return the arguments that give a script these values.

    Flags that stand in `values` are written, in the order in which the script declares them;
    names that the script does not declare follow as `--name value`.

    Raises:
        UsageError: a required option, positional or subcommand has no value, or a value cannot be
            said on this script's command line.
    """
    if flags.kind in KINDS:
        return override_words(flags, values)
    given: dict[str, tuple[Flag, FlagValue]] = {}
    unknown: list[tuple[str, FlagValue]] = []
    for name, value in values.items():
        flag = flags.find(name)
        if flag is None:
            unknown.append((name, value))
        else:
            given[flag.name] = (flag, value)
    words: list[str] = []
    path: _Path = ()
    reached = {path}
    while True:
        words += _level(flags, given, path)
        command = _subcommand(flags, given, path)
        if command is None:
            break
        words.append(command)
        path = (*path, command)
        reached.add(path)
    for flag, _ in given.values():
        owner = _path_of(flag)
        if owner not in reached:
            raise UsageError(f"flag `{flag.name}` belongs to the subcommand `{' '.join(owner)}`")
    for name, value in unknown:
        words += _unknown_option(flags.kind, name, value)
    return words


def _path_of(flag: Flag) -> _Path:
    binding = flag.binding
    return binding.subcommand if isinstance(binding, Option | Positional | Subcommand) else ()


def _subcommand(
    flags: FlagSet, given: Mapping[str, tuple[Flag, FlagValue]], path: _Path
) -> str | None:
    for flag in flags.flags:
        if not isinstance(flag.binding, Subcommand) or flag.binding.subcommand != path:
            continue
        if flag.name in given:
            return _text(given[flag.name][1])
        if flag.required:
            listed = ", ".join(f"`{format_value(choice)}`" for choice in flag.choices or ())
            raise UsageError(
                f"the subcommand is missing: set flag `{flag.name}`",
                hint=f"it takes one of {listed}" if listed else None,
            )
    return None


def _level(flags: FlagSet, given: Mapping[str, tuple[Flag, FlagValue]], path: _Path) -> list[str]:
    """Write the options and positionals that stand at one level of subcommands."""
    options: list[tuple[bool, list[str]]] = []
    positionals: list[Flag] = []
    for flag in flags.flags:
        binding = flag.binding
        if isinstance(binding, Positional) and binding.subcommand == path:
            positionals.append(flag)
        elif isinstance(binding, Option) and binding.subcommand == path:
            if flag.name in given:
                words = _option(flags.kind, flag, binding, given[flag.name][1])
                options.append((binding.nargs in ("*", "+", "?"), words))
            elif flag.required:
                raise UsageError(f"flag `{flag.name}` is required")
    # An option that takes any number of values would swallow what follows: those come first.
    options.sort(key=lambda item: not item[0])
    written = [word for _, words in options for word in words]
    arguments = _positionals(flags.kind, positionals, given)
    if any(word.startswith("-") for word in arguments):
        return [*written, "--", *arguments]
    if flags.kind in ("click", "typer"):
        return written + arguments
    return arguments + written


def _positionals(
    kind: str, positionals: list[Flag], given: Mapping[str, tuple[Flag, FlagValue]]
) -> list[str]:
    def index_of(flag: Flag) -> int:
        return flag.binding.index if isinstance(flag.binding, Positional) else 0

    ordered = sorted(positionals, key=index_of)
    last = max((at for at, flag in enumerate(ordered) if flag.name in given), default=-1)
    words: list[str] = []
    for at, flag in enumerate(ordered):
        if flag.name in given:
            value = given[flag.name][1]
        elif flag.required:
            raise UsageError(f"flag `{flag.name}` is required")
        elif at > last:
            break
        elif flag.default is None:
            raise UsageError(
                f"flag `{flag.name}` must be set too: it stands before `{ordered[last].name}` "
                "on the command line"
            )
        else:
            value = flag.default
        if value is None:
            continue
        words += [_text(item, kind) for item in (value if isinstance(value, list) else [value])]
    return words


def _option(kind: str, flag: Flag, option: Option, value: FlagValue) -> list[str]:
    if value is None and option.action is not Action.STORE_CONST:
        if flag.default is None:
            return []
        raise UsageError(f"flag `{flag.name}` cannot be null: the script's option takes a value")
    match option.action:
        case Action.PAIR if option.negative is not None:
            return [option.option if value else option.negative]
        case Action.STORE_TRUE | Action.STORE_FALSE | Action.PAIR:
            return _switch(flag, option, value)
        case Action.STORE_CONST:
            if value is True or value == option.const:
                return [option.option]
            if value is False or value == flag.default:
                return []
            raise UsageError(f"flag `{flag.name}` can only be `{format_value(option.const)}`")
        case Action.COUNT:
            return _count(flag, option, value)
        case Action.APPEND:
            items = value if isinstance(value, list) else [value]
            return [word for item in items for word in _store(kind, flag, option, item)]
    return _store(kind, flag, option, value)


def _switch(flag: Flag, option: Option, value: FlagValue) -> list[str]:
    says = option.action is not Action.STORE_FALSE
    if bool(value) is says:
        return [option.option]
    if flag.default is not None and bool(flag.default) is says:
        word = "true" if says else "false"
        raise UsageError(
            f"flag `{flag.name}` is always {word}: the script has no option to undo it"
        )
    return []


def _count(flag: Flag, option: Option, value: FlagValue) -> list[str]:
    start = flag.default if isinstance(flag.default, int) else 0
    if not isinstance(value, int) or value < start:
        raise UsageError(f"flag `{flag.name}` counts from {start}, not `{format_value(value)}`")
    return [option.option] * (value - start)


def _store(kind: str, flag: Flag, option: Option, value: FlagValue) -> list[str]:
    name = option.option
    if isinstance(value, list):
        if option.joined or (option.nargs is None and flag.type is FlagType.LIST):
            return [f"{name}={_comma_list(value)}"]
        texts = [_text(item, kind) for item in value]
        if kind not in ("click", "typer"):
            texts = [_negative_without_exponent(text) for text in texts]
            if len(texts) == 1 and texts[0].startswith("-"):
                return [_joined(name, texts[0])]
        return [name, *texts]
    if option.nargs == "?" and value == option.const and isinstance(value, bool):
        return [name]
    text = _text(value, kind)
    if option.joined:
        return [f"{name}={text}"]
    if text.startswith("-") and (name.startswith("--") or kind not in ("click", "typer")):
        return [_joined(name, text)]
    return [name, text]


def _joined(name: str, text: str) -> str:
    return f"{name}={text}"


def _comma_list(items: list[FlagValue]) -> str:
    texts = [_text(item) for item in items]
    return ",".join(
        '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text
        for text in texts
    )


def _text(value: FlagValue, kind: str = "") -> str:
    """Write a value as one word. For argparse's `type=bool` only the empty word is false."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) and kind in ("argparse", "dataclass"):
        return "True" if value else "" if kind == "argparse" else "False"
    return format_value(value)


def _negative_without_exponent(text: str) -> str:
    """Write `-1e-05` as `-0.00001`: argparse takes the first for an option in a list of values."""
    if not re.fullmatch(r"-[0-9.]+e[+-]?[0-9]+", text):
        return text
    from decimal import Decimal

    return f"{Decimal(text):f}"


def _unknown_option(kind: str, name: str, value: FlagValue) -> list[str]:
    if value is None:
        return []
    option = f"--{name}" if len(name) > 1 else f"-{name}"
    if isinstance(value, list):
        return [option, *map(_text, value)]
    text = _text(value)
    return [f"{option}={text}"] if kind == "absl" or text.startswith("-") else [option, text]


def rewrite(source: bytes, changes: Sequence[tuple[Global, FlagValue]]) -> bytes:
    """Replace literals in a source file.

    The number of lines stays; bytes outside the literals stay. A list takes the place of a tuple
    or a set as a tuple or a set. Text is escaped where the file's encoding cannot spell it.

    Raises:
        ReenactError: the file is not the one in which the literals were found.
    """
    from blake3 import blake3

    digest = blake3(source).hexdigest()
    for place, _ in changes:
        if place.digest != digest:
            raise ReenactError(
                f"`{place.file}` changed after its flags were found", hint="run the command again"
            )
    return replace_literals(source, changes)


def replace_literals(source: bytes, changes: Sequence[tuple[Global, FlagValue]]) -> bytes:
    """Replace literals at their places, as `rewrite` does, in a source that is known to fit."""
    encoding = encoding_of(source)
    pieces: list[bytes] = []
    at = 0
    new = _new_entries([change for change in changes if change[0].missing])
    replaced = [change for change in changes if not change[0].missing]
    for place, value in sorted([*new, *replaced], key=lambda change: change[0].start):
        assert at <= place.start <= place.end <= len(source), "literals overlap"
        old = source[place.start : place.end]
        written = (
            _encoded(_entries(value, is_keyword=place.is_keyword), encoding)
            if place.missing and isinstance(value, dict)
            else _replace(old, value, encoding)
        )
        pieces += [source[at : place.start], written]
        at = place.end
    return b"".join([*pieces, source[at:]])


def _new_entries(
    changes: Iterable[tuple[Global, FlagValue]],
) -> list[tuple[Global, dict[str, FlagValue]]]:
    """Join the entries that go to one place: those of a dict that is not there are one entry."""
    found: dict[int, tuple[Global, dict[str, FlagValue]]] = {}
    for place, value in changes:
        _, entries = found.setdefault(place.start, (place, {}))
        *outer, last = place.missing
        for key in outer:
            inner = entries.setdefault(key, {})
            if not isinstance(inner, dict):
                raise UsageError(f"flag `{key}` and a part of it are both set")
            entries = inner
        entries[last] = value
    return list(found.values())


def _entries(values: Mapping[str, FlagValue], *, is_keyword: bool) -> str:
    sign = "{}={}, " if is_keyword else "{!r}: {}, "
    return "".join(sign.format(key, _literal(value, None)) for key, value in values.items())


def _replace(old: bytes, value: FlagValue, encoding: str) -> bytes:
    new = _encoded(_literal(value, _shape(old, encoding)), encoding)
    line_ends = re.findall(rb"\r\n|\r|\n", old)
    if not line_ends:
        return new
    return b"(" + new + b"".join(line_ends) + b")"


def _encoded(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.encode("ascii", "backslashreplace")


def _shape(old: bytes, encoding: str) -> ast.expr | None:
    """Return the expression that is replaced, where its form says what the new one must be."""
    # A tuple may stand without parentheses, after any first element.
    if old[:1] not in (b"(", b"[", b"{") and b"," not in old:
        return None
    try:
        return ast.parse(
            b"(" + old + b")" if encoding == "utf-8" else f"({old.decode(encoding)})", mode="eval"
        ).body
    except (SyntaxError, ValueError, LookupError):
        return None


def _literal(value: FlagValue, shape: ast.expr | None) -> str:
    if isinstance(value, float):
        return repr(value) if value - value == 0 else f"float('{value!r}')"
    if isinstance(value, list):
        return _sequence(value, shape)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k!r}: {_literal(v, None)}" for k, v in value.items()) + "}"
    return repr(value)


def _sequence(items: list[FlagValue], shape: ast.expr | None) -> str:
    shapes = shape.elts if isinstance(shape, ast.Tuple | ast.List | ast.Set) else []
    texts = [
        _literal(item, inner) for item, inner in zip(items, _repeat_last(shapes), strict=False)
    ]
    if isinstance(shape, ast.Tuple):
        return f"({texts[0]},)" if len(texts) == 1 else f"({', '.join(texts)})"
    if isinstance(shape, ast.Set):
        return f"{{{', '.join(texts)}}}" if texts else "set()"
    return f"[{', '.join(texts)}]"


def _repeat_last(shapes: Sequence[ast.expr]) -> Iterator[ast.expr | None]:
    yield from shapes
    while True:
        yield shapes[-1] if shapes else None
