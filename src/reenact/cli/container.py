"""`reenact container`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.cli.options import as_json, one_run
from reenact.cli.output import print_json, say, visible
from reenact.errors import EXIT_DIFFERS, EXIT_FAILED, EXIT_OK
from reenact.model.words import counted


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
    from reenact.actions.container import write_container
    from reenact.actions.container_run import find_engine, run_container

    context = Context(store=home)
    run = find_run(context, options["run"]).record
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
        output = 2 if options["as_json"] else None
        outcome = run_container(run, written, engine, context.env, say, output=output)
    if options["as_json"]:
        result = None if outcome is None else outcome._asdict()
        mounts = [mount._asdict() for mount in written.mounts]
        print_json({"ok": True, **written._asdict(), "mounts": mounts, "outcome": result})
    else:
        print(visible(written.directory))
        for mount in written.mounts:
            say(visible(f"mount {mount.source or 'what the run read'} at {mount.target}"))
        if outcome is not None:
            for path in outcome.different:
                say(visible(f"differs: {path}"))
            count = len(outcome.same + outcome.different)
            said = f"{len(outcome.same)} of {counted(count, 'output')} identical"
            say(said if count else "it made no files that could be compared")
    if outcome is None:
        return EXIT_OK
    if outcome.status != 0:
        return EXIT_FAILED
    return EXIT_DIFFERS if outcome.different else EXIT_OK
