"""`reenact import`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.cli.export import Progress
from reenact.cli.options import as_json
from reenact.cli.output import print_json, say, show_size, visible
from reenact.model.bundle import Manifest
from reenact.model.words import counted


@click.command(
    "import",
    short_help="Take the runs of a bundle into the store",
    epilog="""\b
Examples:
  reenact import paper.zip
  reenact -H elsewhere import paper.zip
""",
)
@click.argument("path", metavar="FILE", type=click.Path())
@click.option("--dry-run", is_flag=True, help="Verify it, say what is in it, and take nothing.")
@as_json
@click.pass_obj
def import_command(home: str | None, /, **options: Any) -> None:
    """Take the runs of a bundle into the store, once all that is in it is verified.

    A run that is there already is left as it is. Nothing is executed.
    """
    from reenact.actions.bundle.receive import receive, verify

    context = Context(store=home)
    if options["dry_run"]:
        _show(verify(context, options["path"], progress=Progress("verifying")), options)
        return
    found = receive(context, options["path"], progress=Progress("verifying"))
    if options["as_json"]:
        print_json(
            {"ok": True, "runs": found.manifest.runs, "new": found.new, "known": found.known}
        )
        return
    known = f", {counted(len(found.known), 'run')} there already" if found.known else ""
    say(f"{counted(len(found.new), 'run')} taken into {visible(context.store.root)}{known}")
    for run_id in found.manifest.runs:
        print(run_id)


def _show(manifest: Manifest, options: dict[str, Any]) -> None:
    """Print what a bundle holds."""
    if options["as_json"]:
        print_json({"ok": True, "runs": manifest.runs, "bundle": manifest})
        return
    size = show_size(sum(size for _, _, size, _ in manifest.files))
    public = ", made public" if manifest.is_public else ""
    files = counted(len(manifest.files) + len(manifest.links), "file")
    say(f"verified: {files}, {size}, written by Reenact {visible(manifest.reenact)}{public}")
    for one in manifest.left_out:
        say(visible(f"not in it: {one.path} of run {one.run[:8]}: {one.reason}"))
    for run_id in manifest.runs:
        print(run_id)
