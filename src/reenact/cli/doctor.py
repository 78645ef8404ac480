"""`reenact doctor`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.doctor import examine, explain_output, say_rule
from reenact.actions.find import find_run
from reenact.cli.options import as_json, one_run
from reenact.cli.output import print_json, print_table
from reenact.errors import EXIT_FAILED, EXIT_OK

_LINES = 20


@click.command(
    "doctor",
    epilog="""\b
Examples:
  reenact doctor
  reenact doctor 3f2a --lines
  reenact doctor @latest --json
""",
)
@one_run
@click.option("--lines", is_flag=True, help="Explain which numbers in the output are metrics.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=_LINES, help="Lines at most.")
@as_json
@click.pass_obj
def doctor_command(home: str | None, /, **options: Any) -> int:
    """Say what was captured of a run, what was not, and why."""
    context = Context(store=home)
    stored = find_run(context, options["run"])
    findings = examine(context, stored)
    explained = explain_output(context, stored, lines=options["limit"]) if options["lines"] else []
    status = EXIT_FAILED if any(f.state == "problem" for f in findings) else EXIT_OK
    if options["as_json"]:
        lines = [
            {"line": line, "numbers": [finding._asdict() for finding in found.findings]}
            for line, found in explained
        ]
        print_json(
            {
                "ok": status == EXIT_OK,
                "run": stored.id,
                "findings": [finding._asdict() for finding in findings],
                "lines": lines,
            }
        )
        return status
    print_table(("", "WHAT", "DETAIL"), findings)
    for line, found in explained:
        print(f"\n{line}")
        for number in found.findings:
            print(f"    {say_rule(number)}")
    return status
