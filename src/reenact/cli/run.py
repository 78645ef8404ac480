"""`reenact run`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.plan import Plan, RunRequest, plan_run
from reenact.actions.project_tree import look_at_tree
from reenact.actions.run import Finished, start_and_watch
from reenact.actions.run_files import TRACES
from reenact.cli.options import complete_operation
from reenact.cli.output import print_json, say, show_duration, show_value, style, visible
from reenact.errors import UsageError
from reenact.execute.supervise import inherited_descriptors
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import Run
from reenact.model.words import counted
from reenact.project.operation import split_settings

_COMMAND_AFTER = "reenact.command"


class RunCommand(click.Command):
    """Keeps the words after `--` apart: they are a command, and not ours to read."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND_AFTER] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(
    "run",
    cls=RunCommand,
    short_help="Run a script, a module or any command, and record it",
    epilog="""\b
Examples:
  reenact run train.py lr=0.01 layers=[64,32]
  reenact run -m mypackage.train epochs=3 --label baseline
  reenact run lr=0.1 -- Rscript train.R --lr {lr}
""",
)
@click.argument(
    "words", metavar="[OP] [FLAG=VALUE]...", nargs=-1, shell_complete=complete_operation
)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as `python -m` does.")
@click.option("-l", "--label", help="Label of the run.")
@click.option("-t", "--tag", "tags", multiple=True, help="Tag of the run; repeatable.")
@click.option("-c", "--comment", help="Comment on the run.")
@click.option("--like", metavar="RUN", help="Take flags and source of another run.")
@click.option("--restart", metavar="RUN", help="Run a run again in its own directory.")
@click.option("-e", "--env", "variables", multiple=True, metavar="K=V", help="Set a variable.")
@click.option("--cwd", metavar="DIR", help="Working directory, in the project.")
@click.option("--python", metavar="PATH", help="The Python interpreter to use.")
@click.option("--gpus", metavar="LIST", help="GPUs to show to the run: `0,1`, or `none`.")
@click.option("--stop-after", metavar="TIME", help="Stop the run after `90s`, `30m`, `2h`.")
@click.option("--in-place", is_flag=True, help="Run in the project itself, not in a copy.")
@click.option("--no-snapshot", is_flag=True, help="Keep no source; link it instead.")
@click.option(
    "--trace-files",
    type=click.Choice(TRACES),
    default=TRACES[0],
    help="Who watches files: all programs, only Python (`audit`), nobody.",
)
@click.option("--save-models", is_flag=True, help="Keep the models that frameworks train.")
@click.option("-b", "--background", is_flag=True, help="Print the id and return at once.")
@click.option("--edit", is_flag=True, help="Edit the flags in $EDITOR first.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--force-flags", is_flag=True, help="Accept unknown flags and refused values.")
@click.option("--run-id", metavar="ID", help="Id of the run, 32 hexadecimal digits.")
@click.option("-q", "--quiet", is_flag=True, help="Do not pass the run's output on.")
@click.option("--json", "as_json", is_flag=True, help="Print the record at the end, as JSON.")
@click.pass_context
def run_command(ctx: click.Context, /, **options: Any) -> int:
    """Run a script, a module or any command, and record everything that made its result.

    Flags are found in the script; see them with `reenact help OP`. The exit status is the script's.
    """
    context = Context(store=ctx.obj)
    request = _request(ctx, context, options)
    plan = plan_run(request, context)
    if options["edit"]:
        from reenact.cli.edit import edit_flags

        request = edit_flags(request, plan)
        plan = plan_run(request, context)
    if options["dry_run"]:
        _print_plan(plan, context, as_json=options["as_json"])
        return 0
    if request.background:
        from reenact.cli.background import run_in_background

        return run_in_background(plan, context, as_json=options["as_json"])
    finished = start_and_watch(plan, context)
    _report(finished, quiet=request.quiet, as_json=options["as_json"])
    ended = finished.run.exit
    assert ended is not None
    if ended.requested == "interrupt" and ended.signal == signal.SIGINT:
        _die_of_interrupt()
    return ended.shell_status


def _die_of_interrupt() -> None:
    """End as the script did, so that a loop in a shell around us ends with Ctrl-C as well."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _request(ctx: click.Context, context: Context, options: dict[str, Any]) -> RunRequest:
    words, settings = split_settings(options["words"])
    command: tuple[str, ...] | None = ctx.meta.get(_COMMAND_AFTER)
    module: str | None = options["module"]
    if command is not None and (words or module):
        raise UsageError(
            f"`{words[0] if words else module}` and a command after `--` are two operations",
            hint="before `--` stand flags and options only",
        )
    if module is not None:
        words.insert(0, module)
    if len(words) > 1:
        raise UsageError(
            f"`{words[1]}` is neither a flag nor an option",
            hint="a flag is set with `name=value`; any other command stands after `--`",
        )
    return RunRequest(
        target=words[0] if words else None,
        is_module=module is not None,
        command=command,
        settings=settings,
        force_flags=options["force_flags"],
        like=_run(context, options["like"]),
        restart=_run(context, options["restart"]),
        run_id=options["run_id"],
        label=options["label"],
        tags=tuple(dict.fromkeys(options["tags"])),
        comment=options["comment"],
        directory=options["cwd"],
        variables=dict(_variable(text) for text in options["variables"]),
        python=options["python"],
        snapshot=not options["no_snapshot"],
        in_place=options["in_place"],
        time_limit_s=_seconds(options["stop_after"]),
        gpus="" if options["gpus"] == "none" else options["gpus"],
        save_models=options["save_models"],
        trace_files=options["trace_files"],
        quiet=options["quiet"] or options["as_json"],
        background=options["background"],
        # One that is detached from its caller shall not hold on to what the caller waits for.
        descriptors=() if options["background"] else inherited_descriptors(),
    )


def _run(context: Context, text: str | None) -> Run | None:
    if text is None:
        return None
    from reenact.actions.find import find_run

    return find_run(context, text).record


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"`--env {text}` sets nothing", hint=f"write `--env {name}=VALUE`")
    return name, value


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(s|m|min|h|d)?", text.strip())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"`--stop-after {text}` is no time", hint="e.g. `90s`, `30m`, `2h`")
    return float(match[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}[match[2] or "m"]


def _print_plan(plan: Plan, context: Context, *, as_json: bool) -> None:
    tree = look_at_tree(plan, context, keep=False).tree
    if as_json:
        print_json(
            {
                "ok": True,
                "operation": plan.operation,
                "project": plan.project,
                "command": plan.words,
                "cwd": plan.cwd,
                "flags": {name: flag_to_json(value) for name, value in plan.values.items()},
                "given": sorted(plan.given),
                "source_files": len(tree.sources),
                "source_bytes": tree.source_bytes,
                "links": len(tree.links) + len(tree.whole),
                "too_large": tree.too_large,
            }
        )
        return
    whole = counted(len(tree.whole), "directory", "directories")
    rows = [
        ("operation", f"{plan.operation.name} ({plan.operation.kind})"),
        ("project", f"{plan.project.name} at {plan.project.root}"),
        ("command", shlex.join(plan.words)),
        ("directory", plan.cwd),
        ("source", f"{counted(len(tree.sources), 'file')}, {tree.source_bytes} bytes"),
        ("links", f"{counted(len(tree.links), 'file')}, {whole}"),
    ]
    rows += [("not source", f"{path}: over 1 MiB") for path in tree.too_large]
    for name, text in rows:
        print(f"{name:<12}{text}")
    for flag, value in plan.values.items():
        mark = "" if flag in plan.given else "  (default)"
        print(f"{'flag':<12}{flag} = {show_value(value)}{mark}")


def _report(finished: Finished, *, quiet: bool, as_json: bool) -> None:
    run = finished.run
    if finished.problem is not None:
        say(f"{style('warning', 'yellow')}: {finished.problem}")
    if as_json:
        sys.stdout.write(to_json({"ok": True, "run": run}).decode() + "\n")
        return
    for remark in run.warnings:
        say(f"{style('warning', 'yellow')}: {visible(remark.message)}")
    if quiet or run.exit is None:
        return
    took = show_duration(run.duration_s)
    if run.exit.requested is not None:
        how = f"was stopped ({run.exit.requested})"
    elif run.exit.code == 0:
        how = "completed"
    else:
        how = f"failed with {run.exit.describe()}"
    if sys.stderr.isatty():
        say(style(f"run {run.id[:8]} {how} in {took}", "dim"))
