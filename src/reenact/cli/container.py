"""`reenact container`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.cli.options import as_json, one_run
from reenact.cli.output import print_json, say, visible
from reenact.errors import EXIT_DIFFERS, EXIT_FAILED, EXIT_OK
from reenact.model.words import counted

if TYPE_CHECKING:
    from reenact.actions.container.execute import Outcome


@click.command(
    "container",
    epilog="""\b
Examples:
  reenact container @best:acc
  reenact container 3f2a --to image --resolve --run
  reenact container 3f2a --base python@sha256:... --apptainer
""",
)
@one_run
@click.option("--to", metavar="DIR", help="Where to write it; `container-ID` here by default.")
@click.option("--base", metavar="IMAGE", help="The image to begin with, instead of Python's own.")
@click.option("--resolve", is_flag=True, help="Ask the registry for the digest of the image.")
@click.option("--apptainer", is_flag=True, help="Also write a definition for Apptainer.")
@click.option("--run", "runs_it", is_flag=True, help="Build and run it.")
@as_json
@click.pass_obj
def container_command(home: str | None, /, **options: Any) -> int:
    """Write a Dockerfile, and all that it needs, for a container that runs a run again.

    RUN is the latest one unless you name another.
    """
    from reenact.actions.container.engine import find_engine
    from reenact.actions.container.execute import run_container
    from reenact.actions.container.write import write_container
    from reenact.model.verdict import Verdict

    context = Context(store=home)
    stored = find_run(context, options["run"])
    run = stored.record
    directory = options["to"] or f"container-{run.id[:8]}"
    engine = None
    if options["runs_it"]:
        engine = find_engine(context.env, with_apptainer=options["apptainer"])
    written = write_container(
        context,
        run,
        directory,
        base=options["base"],
        resolve=options["resolve"],
        with_apptainer=options["apptainer"],
        say=say,
    )
    for remark in written.remarks:
        say(f"warning: {visible(remark)}")
    outcome = None
    if engine is not None:
        # Standard output is for the one document.
        output = 2 if options["as_json"] else 1
        outcome = run_container(stored, written, engine, context.env, say, output=output)
    if options["as_json"]:
        result = None if outcome is None else _outcome(outcome)
        mounts = [mount._asdict() for mount in written.mounts]
        print_json({"ok": True, **written._asdict(), "mounts": mounts, "outcome": result})
    else:
        print(visible(written.directory))
        for mount in written.mounts:
            say(visible(f"mount {mount.source or 'what the run read'} at {mount.target}"))
        if outcome is not None:
            for one in outcome.different:
                detail = f" ({one.detail})" if one.detail else ""
                say(visible(f"differs: {one.path}{detail}"))
            identical = sum(one.verdict is Verdict.IDENTICAL for one in outcome.outputs)
            said = f"{identical} of {counted(len(outcome.outputs), 'output')} identical"
            if len(outcome.same) > identical:
                said += f", {len(outcome.same) - identical} with the same content"
            if outcome.outputs:
                say(said)
            if outcome.printed is not None and outcome.printed not in outcome.different:
                say(f"what it printed: {outcome.printed.verdict}")
            elif not outcome.outputs and outcome.printed is None:
                say("it made and printed nothing that could be compared")
    if outcome is None:
        return EXIT_OK
    if outcome.status != 0:
        return EXIT_FAILED
    return EXIT_DIFFERS if outcome.different else EXIT_OK


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "status": outcome.status,
        "directory": outcome.directory,
        "same": outcome.same,
        "different": [one.path for one in outcome.different],
        "outputs": outcome.outputs,
        "printed": outcome.printed,
    }
