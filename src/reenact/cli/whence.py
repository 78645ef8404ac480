"""`reenact whence`."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.whence import Origin, Role, Segment, Whence, segment_at, segments_of, whence
from reenact.cli.options import as_json
from reenact.cli.output import print_json, say, show_time, show_value, style, visible
from reenact.errors import EXIT_FAILED, EXIT_OK, UsageError
from reenact.model.run import Run

_MOST_SHOWN = 20
_WORDS = {Role.MADE: "made by", Role.READ: "read by", Role.SOURCE: "source of"}


@click.command(
    "whence",
    short_help="Say where a file comes from",
    epilog="""\b
Examples:
  reenact whence model.pt
  reenact whence ~/Downloads/renamed.bin --json
  reenact whence 3f2a --step 700
""",
)
@click.argument("name", metavar="FILE|RUN", type=click.Path())
@click.option(
    "--step", type=int, help="Of a run that was resumed: which of its runs made this step."
)
@as_json
@click.pass_obj
def whence_command(home: str | None, /, **options: Any) -> int:
    """Say which run made a file, known by its content, from which code, data and flags.

    With --step: which of the runs that made a result, each going on from the one before, reported a
    step, and from which code.
    """
    context = Context(store=home)
    if options["step"] is not None:
        return _tell_step(context, options)
    if not os.path.isfile(options["name"]) and not os.path.lexists(options["name"]):
        # A run's own name, perhaps: it has segments, too.
        stored = find_run(context, options["name"])
        segments = segments_of(context, stored)
        _tell_gone(segments)
        return _tell_segments(segments, as_json=options["as_json"])
    if os.path.isdir(options["name"]):
        raise UsageError(f"`{options['name']}` is a directory", hint="name a file in it")
    found = whence(context, options["name"])
    if options["as_json"]:
        print_json({"ok": bool(found.origins), **_to_json(found)})
    else:
        _print(found)
    return EXIT_OK if found.origins else EXIT_FAILED


def _tell_step(context: Context, options: dict[str, Any]) -> int:
    stored = find_run(context, options["name"])
    segments = segments_of(context, stored)
    _tell_gone(segments)
    one = segment_at(segments, options["step"])
    return _tell_segments([one], as_json=options["as_json"])


def _tell_gone(segments: list[Segment]) -> None:
    """Say that the first of the segments that are there goes on from one that is not."""
    first = segments[0].stored.run
    if first is not None and first.resumes is not None:
        say(f"run {first.resumes[:8]}, which run {first.id[:8]} goes on from, is not in this store")


def _tell_segments(segments: list[Segment], *, as_json: bool) -> int:
    if as_json:
        print_json({"ok": True, "segments": [_segment_to_json(one) for one in segments]})
        return EXIT_OK
    for one in segments:
        run = one.stored.run
        steps = (
            "no steps" if one.first_step is None else f"steps {one.first_step} to {one.last_step}"
        )
        other = "  other code than before" if one.is_other_code else ""
        print(f"{one.stored.id[:8]}  {steps}  {_code(run)}{other}")
    return EXIT_OK


def _print(found: Whence) -> None:
    if not found.origins:
        print(f"{visible(found.path)}: never seen by any run in this store")
        return
    maker = found.maker
    if maker is not None and maker.stored.run is not None:
        _print_maker(maker, maker.stored.run)
    others = [origin for origin in found.origins if origin is not maker]
    for origin in others[:_MOST_SHOWN]:
        run = origin.stored.run
        name = "" if run is None else visible(run.operation.name)
        names = ", ".join(map(visible, origin.paths[:3]))
        note = "  again" if run is not None and run.reproduces is not None else ""
        print(f"{_WORDS[origin.role]} {origin.stored.id[:8]}  {name}  as {names}{note}")
    if len(others) > _MOST_SHOWN:
        print(f"and {len(others) - _MOST_SHOWN} more: `--json` lists them")


def _print_maker(maker: Origin, run: Run) -> None:
    name = style(maker.stored.id[:8], "bold", stream=sys.stdout)
    label = f"  {visible(maker.stored.notes.label)}" if maker.stored.notes.label else ""
    print(f"made by {name}  {visible(run.operation.name)}{label}  {maker.stored.status}")
    print(f"  as      {', '.join(map(visible, maker.paths))}")
    flags = " ".join(f"{n}={show_value(run.flags[n])}" for n in run.given if n in run.flags)
    print(f"  when    {show_time(run.started)}")
    if flags:
        print(f"  flags   {visible(flags)}")
    print(f"  code    {_code(run)}")
    for file in run.inputs[:_MOST_SHOWN]:
        print(f"  data    {visible(file.path)}  {(file.digest or 'not known by content')[:16]}")
    if len(run.inputs) > _MOST_SHOWN:
        print(f"          and {len(run.inputs) - _MOST_SHOWN} more")


def _code(run: Run | None) -> str:
    if run is None or run.source is None:
        return "code not recorded"
    text = f"code {run.source.tree[:12]}"
    vcs = run.source.vcs
    if vcs is not None and vcs.commit is not None:
        text += f", commit {vcs.commit[:12]}" + (", changed since" if vcs.is_dirty else "")
    return text


def _to_json(found: Whence) -> dict[str, Any]:
    maker = found.maker
    return {
        "path": found.path,
        "digest": found.digest,
        "size_bytes": found.size_bytes,
        "made_by": None if maker is None else maker.stored.id,
        "origins": [
            {
                "run": origin.stored.id,
                "role": origin.role,
                "paths": origin.paths,
                "operation": None if run is None else run.operation.name,
                "flags": {}
                if run is None
                else {n: run.flags[n] for n in run.given if n in run.flags},
                "source": None if run is None or run.source is None else run.source.tree,
                "reproduces": None if run is None else run.reproduces,
            }
            for origin in found.origins
            for run in [origin.stored.run]
        ],
    }


def _segment_to_json(one: Segment) -> dict[str, Any]:
    run = one.stored.run
    return {
        "run": one.stored.id,
        "first_step": one.first_step,
        "last_step": one.last_step,
        "source": None if run is None or run.source is None else run.source.tree,
        "is_other_code": one.is_other_code,
    }
