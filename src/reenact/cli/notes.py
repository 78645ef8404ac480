"""`reenact label`, `tag`, `comment` and `mark`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.notes import change_tags, set_comment, set_label, set_mark
from reenact.cli.options import as_json, chosen_runs, runs_of
from reenact.cli.output import print_json, say
from reenact.errors import UsageError
from reenact.model.identity import RunId
from reenact.model.run import Notes
from reenact.model.words import counted


@click.command(
    "label",
    epilog="""\b
Examples:
  reenact label @latest --set baseline
  reenact label 1 2 --set "wide net"
  reenact label --filter "acc < 0.5" --clear
""",
)
@chosen_runs
@click.option("-s", "--set", "label", metavar="TEXT", help="The label.")
@click.option("-c", "--clear", is_flag=True, help="Take the label away.")
@as_json
@click.pass_obj
def label_command(home: str | None, /, **options: Any) -> None:
    """Label runs. A label names a run wherever an id does."""
    if (options["label"] is None) == (not options["clear"]):
        raise UsageError("say either `--set TEXT` or `--clear`")
    context = Context(store=home)
    _report(set_label(context, runs_of(context, options), options["label"] or None), options)


@click.command(
    "tag",
    epilog="""\b
Examples:
  reenact tag @latest --add best
  reenact tag 1 2 3 --add ablation --remove draft
  reenact tag --filter "acc > 0.9" --add good
""",
)
@chosen_runs
@click.option("--add", multiple=True, metavar="TAG", help="Add a tag; repeatable.")
@click.option("--remove", multiple=True, metavar="TAG", help="Remove a tag; repeatable.")
@as_json
@click.pass_obj
def tag_command(home: str | None, /, **options: Any) -> None:
    """Add tags to runs, and remove them."""
    if not options["add"] and not options["remove"]:
        raise UsageError("say `--add TAG` or `--remove TAG`")
    context = Context(store=home)
    runs = runs_of(context, options)
    _report(change_tags(context, runs, add=options["add"], remove=options["remove"]), options)


@click.command(
    "comment",
    epilog="""\b
Examples:
  reenact comment @latest --set "diverged at step 300"
  reenact comment baseline --clear
  reenact comment 1 --json --set "rerun with the new data"
""",
)
@chosen_runs
@click.option("-s", "--set", "text", metavar="TEXT", help="The comment.")
@click.option("-c", "--clear", is_flag=True, help="Take the comment away.")
@as_json
@click.pass_obj
def comment_command(home: str | None, /, **options: Any) -> None:
    """Comment on runs."""
    if (options["text"] is None) == (not options["clear"]):
        raise UsageError("say either `--set TEXT` or `--clear`")
    context = Context(store=home)
    _report(set_comment(context, runs_of(context, options), options["text"] or None), options)


@click.command(
    "mark",
    epilog="""\b
Examples:
  reenact mark @best:acc
  reenact mark 3 --clear
  reenact runs --filter "marked = true"
""",
)
@chosen_runs
@click.option("-c", "--clear", is_flag=True, help="Take the mark away.")
@as_json
@click.pass_obj
def mark_command(home: str | None, /, **options: Any) -> None:
    """Mark runs, to find them again."""
    context = Context(store=home)
    _report(set_mark(context, runs_of(context, options), marked=not options["clear"]), options)


def _report(changed: dict[RunId, Notes], options: dict[str, Any]) -> None:
    if options["as_json"]:
        runs = [{"id": run_id, "notes": notes} for run_id, notes in changed.items()]
        print_json({"ok": True, "runs": runs})
        return
    say(f"{counted(len(changed), 'run')} changed")
