"""`reenact diff`."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import click

from reenact.actions.changes import (
    SECTIONS,
    Change,
    ChangeKind,
    MetricChange,
    Reported,
    RunDiff,
    Section,
    SourceChange,
)
from reenact.actions.context import Context
from reenact.actions.diff import diff_runs, diff_working, find_pair
from reenact.actions.find import find_run
from reenact.cli.options import as_json
from reenact.cli.output import (
    one_line,
    print_json,
    say,
    show_size,
    show_time,
    show_value,
    style,
    uses_colour,
)
from reenact.errors import EXIT_DIFFERS, EXIT_OK, EXIT_PARTLY, UsageError
from reenact.model.flags import FlagValue
from reenact.model.metrics import Summary
from reenact.model.record import flag_to_json
from reenact.store.store import StoredRun

_ID_SHOWN = 8
_DIGEST_SHOWN = 12
_NUMBERS = (("last", "last"), ("min", "minimum"), ("max", "maximum"), ("count", "count"))
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _section(name: str, about: str) -> Callable[..., Any]:
    return click.option(f"--{name}", name, is_flag=True, help=about)


@click.command(
    "diff",
    epilog="""\b
Examples:
  reenact diff
  reenact diff 1 2 --flags --metrics
  reenact diff @best:acc --working --path "*.py"
""",
)
@click.argument("a", required=False)
@click.argument("b", required=False)
@_section("flags", "Flags.")
@_section("params", "Settings that frameworks used.")
@_section("source", "Source, as a unified diff.")
@_section("inputs", "Files that were read.")
@_section("environment", "Python, packages, compilers, environment variables.")
@_section("machine", "Hardware and operating system.")
@_section("runtime", "Native libraries, thread pools, CUDA: what was loaded in the end.")
@_section("outputs", "Files that were left behind.")
@_section("metrics", "Last, least and greatest values; where the series part.")
@click.option(
    "-w", "--working", is_flag=True, help="Source of A against the files as they are now."
)
@click.option("-p", "--path", "patterns", multiple=True, metavar="GLOB", help="Source: only these.")
@click.option("--stat", is_flag=True, help="Source: how many lines, not which.")
@click.option("--tool", is_flag=True, help="Show files with the program of your configuration.")
@click.option("--command", metavar="PROGRAM", help="Show files with this program: `meld`.")
@as_json
@click.pass_obj
def diff_command(home: str | None, /, **options: Any) -> int:
    """Show what differs between two runs: all of it, or the sections that you name.

    A is the run before the latest and B the latest, unless you name others. The exit status is 0
    when nothing differs, 3 when something does, 4 when not all of it could be compared.
    """
    if options["tool"] or options["command"]:
        from reenact.cli.diff_tool import show_with_tool

        return show_with_tool(Context(store=home), options)
    found = _find(Context(store=home), options)
    return print_diff(found, with_text=not options["stat"], as_json=options["as_json"])


def print_diff(found: RunDiff, *, with_text: bool = True, as_json: bool) -> int:
    """Print what differs; return the exit status that says it."""
    if as_json:
        print_json(_to_json(found, with_text=with_text))
    else:
        _show(found, with_text=with_text)
    if found.differs:
        return EXIT_DIFFERS
    return EXIT_OK if found.is_complete else EXIT_PARTLY


def _find(context: Context, options: dict[str, Any]) -> RunDiff:
    chosen = frozenset(name for name in SECTIONS if options.get(name))
    if options["working"]:
        if options["b"] is not None:
            raise UsageError("`--working` compares one run with the working tree, not two")
        if chosen - {"source"}:
            raise UsageError("of the working tree only the source can be compared")
        run = find_run(context, options["a"] or "@latest")
        return diff_working(context, run, patterns=options["patterns"])
    if not chosen:
        chosen = frozenset(["source"]) if options["patterns"] else frozenset(SECTIONS)
    a, b = find_pair(context, options["a"], options["b"])
    return diff_runs(context, a, b, sections=chosen, patterns=options["patterns"])


# --- JSON ---


def _to_json(found: RunDiff, *, with_text: bool) -> dict[str, Any]:
    sections = {
        name: {
            "changes": [_change_to_json(change, with_text=with_text) for change in section.changes],
            "remarks": section.remarks,
            "is_complete": section.is_complete,
        }
        for name, section in found.sections.items()
    }
    return {
        "ok": True,
        "differs": found.differs,
        "is_complete": found.is_complete,
        "a": _side_to_json(found.a),
        "b": {"working": found.working} if found.b is None else _side_to_json(found.b),
        "sections": sections,
    }


def _side_to_json(stored: StoredRun) -> dict[str, Any]:
    run = stored.record
    return {
        "id": stored.id,
        "operation": run.operation.name,
        "label": stored.notes.label,
        "status": stored.status,
        "started": run.started,
    }


def _change_to_json(change: Change | SourceChange | MetricChange, *, with_text: bool) -> Any:
    import msgspec

    fields = msgspec.structs.asdict(change)
    if isinstance(change, Change):
        fields.update(a=flag_to_json(change.a), b=flag_to_json(change.b))
    if isinstance(change, SourceChange) and not with_text:
        del fields["diff"]
    return fields


# --- text ---


class _Line(NamedTuple):
    """One difference as people read it; None for a side that does not have it."""

    kind: ChangeKind
    name: str
    a: str | None
    b: str | None


def _show(found: RunDiff, *, with_text: bool) -> None:
    is_terminal = sys.stdout.isatty()
    if is_terminal and found.differs:
        _show_side("A", found.a)
        if found.b is not None:
            _show_side("B", found.b)
        else:
            print(f"B  {found.working}")
    for name, section in found.sections.items():
        for remark in section.remarks:
            say(f"{name}: {remark}")
        if name == "source" and found.source is not None:
            _show_source(found.source, with_text=with_text)
        elif section.changes and is_terminal:
            _show_on_terminal(name, list(_lines(section)))
        else:
            for line in _lines(section):
                _print_cells(name, line.kind, line.name, line.a or "", line.b or "")
    if not found.differs:
        say("nothing differs" if found.is_complete else "nothing differs in what can be compared")


def _show_side(letter: str, stored: StoredRun) -> None:
    run = stored.record
    words = [stored.id[:_ID_SHOWN], run.operation.name, show_time(run.started or run.created)]
    if stored.notes.label:
        words.append(stored.notes.label)
    print(f"{letter}  {'  '.join(words)}")


def _print_cells(*cells: str) -> None:
    print("\t".join(map(one_line, cells)))


def _show_on_terminal(name: str, lines: list[_Line]) -> None:
    out = sys.stdout
    print("\n" + style(name, "bold", stream=out))
    width = max(len(_plain(line.name)) for line in lines)
    for line in lines:
        padded = _plain(line.name).ljust(width)
        a = style(_plain(line.a or ""), "red", stream=out)
        b = style(_plain(line.b or ""), "green", stream=out)
        if line.kind is ChangeKind.CHANGED:
            print(f"  {padded}  {a} {_arrow()} {b}")
        elif line.kind is ChangeKind.ADDED:
            print(f"+ {padded}  {b}".rstrip())
        else:
            print(f"- {padded}  {a}".rstrip())


def _arrow() -> str:
    return "→" if (sys.stdout.encoding or "").lower().startswith("utf") else "->"


def _plain(text: str) -> str:
    return _harmless(" ".join(text.split()))


def _harmless(text: str) -> str:
    """Spell control characters out: a terminal would obey what a file or a name says."""
    return _CONTROL.sub(
        lambda m: f"^{chr(ord(m[0]) ^ 64)}" if m[0] < "\x80" else f"\\x{ord(m[0]):02x}", text
    )


def _lines(
    section: Section[Change] | Section[SourceChange] | Section[MetricChange],
) -> Iterator[_Line]:
    for change in section.changes:
        if isinstance(change, MetricChange):
            yield from _metric_lines(change)
        elif isinstance(change, Change):
            name = f"{change.group} {change.name}" if change.group else change.name
            a = None if change.kind is ChangeKind.ADDED else _text(change.a)
            b = None if change.kind is ChangeKind.REMOVED else _text(change.b)
            yield _Line(change.kind, name, a, b)


def _text(value: FlagValue) -> str:
    if isinstance(value, dict) and value.keys() <= {"size_bytes", "digest", "target"}:
        return _file_text(value)
    if (
        isinstance(value, dict)
        and "shape" in value
        and value.keys() <= {"shape", "dtype", "digest"}
    ):
        return _data_text(value)
    return "null" if value is None else show_value(value)


def _file_text(file: dict[str, FlagValue]) -> str:
    size, digest, target = (file.get(name) for name in ("size_bytes", "digest", "target"))
    words = [show_size(size) if isinstance(size, int) else ""]
    words.append(digest[:_DIGEST_SHOWN] if isinstance(digest, str) else "")
    words.append(f"link to {target}" if target is not None else "")
    return " ".join(filter(None, words))


def _data_text(data: dict[str, FlagValue]) -> str:
    shape, dtype, digest = (data.get(name) for name in ("shape", "dtype", "digest"))
    words = ["x".join(map(str, shape)) if isinstance(shape, list) else ""]
    words.append(str(dtype or ""))
    words.append(digest[:_DIGEST_SHOWN] if isinstance(digest, str) else "")
    return " ".join(filter(None, words))


def _metric_lines(change: MetricChange) -> Iterator[_Line]:
    if change.a is None or change.b is None:
        summary = change.a or change.b
        text = f"last {_number(summary.last)}, {summary.count} points" if summary else ""
        a, b = (text, None) if change.a is not None else (None, text)
        yield _Line(change.kind, change.name, a, b)
        return
    for word, field in _NUMBERS:
        a, b = _summary_text(change.a, field), _summary_text(change.b, field)
        if a != b:
            yield _Line(change.kind, f"{change.name} {word}", a, b)
    first = change.first
    if first is not None:
        name = f"{change.name} from point {first.index + 1}"
        yield _Line(change.kind, name, _point_text(first.a), _point_text(first.b))


def _summary_text(summary: Summary, field: str) -> str:
    return _number(getattr(summary, field))


def _number(value: float | str | None) -> str:
    return "" if value is None else str(value)


def _point_text(point: Reported | None) -> str:
    return "no point" if point is None else f"{_number(point.value)} at step {point.step}"


# --- source ---


def _show_source(section: Section[SourceChange], *, with_text: bool) -> None:
    if not section.changes:
        return
    is_terminal = sys.stdout.isatty()
    if is_terminal:
        print("\n" + style("source", "bold", stream=sys.stdout))
    elif with_text:
        # Whole and unchanged, so that `git apply` and `patch` take it.
        for change in section.changes:
            if change.diff is None:
                say(f"source: `{change.name}` is {change.kind}: {change.remark or 'not readable'}")
            else:
                sys.stdout.write(change.diff.encode("utf-8", "replace").decode())
        return
    for change in section.changes:
        counts = _counts(change)
        if not is_terminal:
            _print_cells("source", change.kind, change.name, *counts)
        elif not with_text or change.diff is None:
            sign = {"added": "+", "removed": "-"}.get(change.kind, " ")
            words = [*counts, f"({change.remark})" if change.remark else ""]
            print(f"{sign} {_plain(change.name)}  {' '.join(filter(None, words))}".rstrip())
        else:
            _show_patch(change.diff)
            if change.remark:
                print(f"({change.remark})")


def _counts(change: SourceChange) -> tuple[str, str]:
    if change.added_lines is None or change.removed_lines is None:
        return "", ""
    return f"+{change.added_lines}", f"-{change.removed_lines}"


def _show_patch(diff: str) -> None:
    out = sys.stdout
    is_coloured = uses_colour(out)
    for line in diff.split("\n")[:-1]:
        text = _harmless(line)
        if not is_coloured:
            print(text)
        elif line.startswith(("diff ", "--- ", "+++ ", "old ", "new ", "deleted ")):
            print(style(text, "bold", stream=out))
        elif line.startswith("@@"):
            print(style(text, "cyan", stream=out))
        elif line.startswith(("+", "-")):
            print(style(text, "green" if line[0] == "+" else "red", stream=out))
        else:
            print(text)
