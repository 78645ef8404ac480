"""`reenact claims`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.claims import (
    Claim,
    check_claims,
    claims_from,
    claims_of,
    read_claim,
    write_claims,
)
from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.cli.options import as_json, complete_run
from reenact.cli.output import print_json, print_table, say, show_value, visible
from reenact.cli.reproduce import Talker
from reenact.cli.verdict import check_page, html_option, report
from reenact.model.words import counted
from reenact.project.file.claim_text import claim_lines


class _Group(click.Group):
    """A group that lists where nothing is asked of it."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; name the nearest when there is none of that name."""
        name = args[0] if args else ""
        if name and name not in self.commands and not name.startswith("-"):
            from reenact.errors import UsageError

            listed = ", ".join(f"`claims {known}`" for known in self.commands)
            raise UsageError(f"there is no command `claims {name}`", hint=f"there are {listed}")
        return super().resolve_command(ctx, args)


@click.group(
    "claims",
    cls=_Group,
    invoke_without_command=True,
    short_help="Check what the project claims",
    epilog="""\b
Examples:
  reenact claims
  reenact claims check
  reenact claims check C1 C2 --html claims.html
  reenact claims write --from @best:acc acc --tolerance 0.002
""",
)
@as_json
@click.pass_context
def claims_command(ctx: click.Context, /, **options: Any) -> None:
    """List the results that the project file states; `check` and `write` are commands below."""
    if ctx.invoked_subcommand is not None:
        return
    claims = claims_of(Context(store=ctx.obj))
    if options["as_json"]:
        print_json({"ok": True, "claims": [_to_json(claim) for claim in claims]})
        return
    rows = []
    for claim in claims:
        said = claim.definition
        flags = " ".join(f"{name}={show_value(value)}" for name, value in said.flags.items())
        tolerance = f"±{said.tolerance}" if said.tolerance else ""
        times = "" if claim.times == 1 else counted(claim.times, "run")
        rows.append(
            [
                visible(said.name),
                visible(said.metric),
                show_value(said.value),
                visible(tolerance),
                visible(f"{said.run} {flags}".rstrip()),
                times,
                visible(said.paper or said.description or ""),
            ]
        )
    print_table(("claim", "metric", "value", "tolerance", "run", "runs", "where"), rows)


@claims_command.command("check")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, help="So many runs at once.")
@click.option("--python", metavar="PATH", help="The Python interpreter to use.")
@html_option
@as_json
@click.pass_obj
def check_command(home: str | None, /, **options: Any) -> int:
    """Run what claims need, as the project is now, and confirm or refute each.

    The exit status is 0 when all are confirmed, 3 when one is refuted, 4 when one is open, 1 when
    one could not run.
    """
    check_page(options["html"])
    context = Context(store=home)
    claims = claims_of(context, options["names"])
    talker = Talker(shows_output=False)
    talker.expect(_runs_of(claims))
    found = check_claims(context, claims, talker, jobs=options["jobs"], python=options["python"])
    return report(context, [found], html=options["html"], as_json=options["as_json"])


@claims_command.command("write")
@click.argument("metrics", metavar="[METRIC]...", nargs=-1)
@click.option(
    "--from", "run", metavar="RUN", default="@latest", shell_complete=complete_run,
    help="The run that has shown it; the latest unless told.",
)  # fmt: skip
@click.option("--tolerance", metavar="AMOUNT", help="How far each may be off: `0.002`, `1%`.")
@click.option("--paper", metavar="TEXT", help="Where it is stated: `Table 2`.")
@click.option("--print", "only_print", is_flag=True, help="Print them, and write nothing.")
@as_json
@click.pass_obj
def write_command(home: str | None, /, **options: Any) -> None:
    """Write what a run has shown into the project file: the last value of each METRIC, or of all."""
    context = Context(store=home)
    stored = find_run(context, options["run"])
    claims = claims_from(
        context,
        stored,
        options["metrics"],
        tolerance=options["tolerance"],
        paper=options["paper"],
    )
    if options["only_print"] and options["as_json"]:
        print_json({"ok": True, "claims": [_to_json(claim) for claim in map(read_claim, claims)]})
        return
    if options["only_print"]:
        print("\n".join(["claims:", *claim_lines(claims)]))
        return
    path = write_claims(context, claims)
    names = [claim.name for claim in claims]
    if options["as_json"]:
        print_json({"ok": True, "file": path, "claims": names})
        return
    say(f"{', '.join(names)} written to {path}")


def _runs_of(claims: list[Claim]) -> int:
    return sum({claim.needs: claim.times for claim in claims}.values())


def _to_json(claim: Claim) -> dict[str, Any]:
    said = claim.definition
    return {
        "name": said.name,
        "file": said.place.file,
        "line": said.place.line,
        "run": said.run,
        "flags": said.flags,
        "metric": said.metric,
        "value": said.value,
        "tolerance": said.tolerance,
        "direction": said.direction,
        "runs": claim.times,
        "paper": said.paper,
        "baseline": said.baseline,
    }
