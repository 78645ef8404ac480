"""`reenact check`."""

from __future__ import annotations

import os
from typing import Any

import click

from reenact.actions.check import check
from reenact.actions.context import Context
from reenact.cli.options import as_json
from reenact.cli.output import print_json, say, style, visible
from reenact.errors import EXIT_OK, EXIT_USAGE, UsageError
from reenact.model.words import counted
from reenact.project.file.find import Checked
from reenact.project.file.model import Finding, Level

_COLOURS = {Level.ERROR: "red", Level.WARNING: "yellow", Level.NOTE: "cyan"}


@click.command(
    "check",
    epilog="""\b
Examples:
  reenact check
  reenact check other/guild.yml
  reenact check model.pt
  reenact check 3f2a
  reenact check --twice train.py epochs=2
""",
)
@click.argument("words", metavar="[PATH|FILE|RUN]", nargs=-1)
@click.option("--twice", is_flag=True, help="Run an operation twice: is it the same?")
@click.option("--seed", type=int, help="With --twice: the seed of both runs.")
@as_json
@click.pass_obj
def check_command(home: str | None, /, **options: Any) -> int:
    """Read a project file and say everything that is wrong with it, and what has no effect.

    PATH is the file or its directory; the project's own is meant without it. Of a FILE that a run
    has made, or of a RUN, it is said which source files are not now as they were then. With --twice
    an operation is run twice, with flags as for `run`, and it is said what is not deterministic.
    """
    context = Context(store=home)
    if options["twice"]:
        return _check_twice(context, options)
    if options["seed"] is not None:
        raise UsageError("`--seed` is for `--twice`")
    if len(options["words"]) > 1:
        raise UsageError(f"`{options['words'][1]}` is too much", hint="check one at a time")
    path = next(iter(options["words"]), None)
    if path is not None and not _may_be_project_file(context, path):
        return _check_result(context, path, as_json=options["as_json"])
    checked = check(context, path)
    findings = checked.findings
    bad = [finding for finding in findings if finding.level is not Level.NOTE]
    if options["as_json"]:
        print_json({"ok": not bad, "findings": [_to_json(finding) for finding in findings]})
        return EXIT_USAGE if bad else EXIT_OK
    for finding in findings:
        _print(finding)
    if bad:
        errors = sum(finding.level is Level.ERROR for finding in findings)
        counts = (counted(errors, "error"), counted(len(bad) - errors, "warning"))
        say(", ".join(count for count in counts if not count.startswith("0 ")))
        return EXIT_USAGE
    say(_summary(checked))
    return EXIT_OK


def _may_be_project_file(context: Context, path: str) -> bool:
    place = os.path.join(context.directory, path)
    if os.path.isfile(place):
        return path.endswith((".yml", ".yaml"))
    return os.path.isdir(place) or path.endswith((".yml", ".yaml"))


def _check_result(context: Context, name: str, *, as_json: bool) -> int:
    """Say which source files are not as they were for the run that made a file."""
    from reenact.actions.diff import diff_working
    from reenact.actions.reproduce.originals import find_originals
    from reenact.cli.diff import print_diff

    return print_diff(diff_working(context, find_originals(context, [name])[0]), as_json=as_json)


def _check_twice(context: Context, options: dict[str, Any]) -> int:
    from reenact.actions.ground import RunRequest
    from reenact.actions.twice import check_twice
    from reenact.cli.reproduce import Talker
    from reenact.cli.verdict import report
    from reenact.project.operation import split_settings

    words, settings = split_settings(options["words"])
    if len(words) > 1:
        raise UsageError(f"`{words[1]}` is neither a flag nor an option")
    request = RunRequest(target=next(iter(words), None), settings=settings, seed=options["seed"])
    talker = Talker(shows_output=False)
    talker.expect(2)
    found = check_twice(context, request, talker)
    return report(context, [found], html=None, as_json=options["as_json"])


def _print(finding: Finding) -> None:
    import sys

    level = style(str(finding.level), _COLOURS[finding.level], stream=sys.stdout)
    print(visible(f"{finding.place}: ") + level + visible(f": {finding.message}"))
    if finding.hint is not None:
        print(visible(f"    {finding.hint}"))


def _summary(checked: Checked) -> str:
    assert checked.project is not None
    content = checked.project.content
    models = [model for model in content.models if model.name]
    counts = [counted(len(content.operations), "operation")]
    counts += [counted(len(models), "model")] if models else []
    return f"{checked.project.file}: {', '.join(counts)}; nothing is wrong"


def _to_json(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level,
        "file": finding.place.file,
        "line": finding.place.line,
        "message": finding.message,
        "hint": finding.hint,
    }
