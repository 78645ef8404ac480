"""`reenact check`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.check import check
from reenact.actions.context import Context
from reenact.cli.options import as_json
from reenact.cli.output import print_json, say, style, visible
from reenact.errors import EXIT_OK, EXIT_USAGE
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
  reenact check --json
""",
)
@click.argument("path", required=False)
@as_json
@click.pass_obj
def check_command(home: str | None, /, **options: Any) -> int:
    """Read a project file and say everything that is wrong with it, and what has no effect.

    PATH is the file or its directory; the project's own is meant without it.
    """
    checked = check(Context(store=home), options["path"])
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
