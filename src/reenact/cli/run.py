"""`reenact run`."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.ground import RunRequest, find_meant, with_defaults_for_many
from reenact.actions.plan import Plan, plan_run
from reenact.actions.project_tree import look_at_tree
from reenact.actions.resources import Planned
from reenact.actions.run import Finished, start_and_watch
from reenact.actions.run_files import KEEPS, TRACES
from reenact.actions.user_defaults import with_user_defaults
from reenact.cli.loading import loading_bar
from reenact.cli.options import complete_operation
from reenact.cli.output import print_json, say, show_duration, show_value, style, visible
from reenact.errors import UsageError
from reenact.execute.supervise import inherited_descriptors
from reenact.model.paths import path_to_text
from reenact.model.record import flag_to_json, to_json
from reenact.model.run import Run
from reenact.model.secrets import redact_text
from reenact.model.words import counted
from reenact.project.operation import split_settings

_COMMAND_AFTER = "reenact.command"
_FOR_MANY = ("trials", "seeds", "variants", "optimizer", "print_trials", "save_trials")
"""Options that make a batch of a request."""


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
@click.option("--resume", metavar="RUN", help="Go on from what another run has left behind.")
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
@click.option(
    "--keep-data",
    type=click.Choice(KEEPS),
    envvar="REENACT_KEEP_DATA",
    help="Whose content is kept: of no data, small files (the default), all.",
)
@click.option("--trials", "--max-trials", type=click.IntRange(min=1), help="At most so many runs.")
@click.option("--seeds", metavar="LIST", help="Run with each of these seeds: `0..9`, `1,5,7`.")
@click.option("-j", "--jobs", type=click.IntRange(min=1), help="So many runs at once.")
@click.option("--gpus-per-trial", type=click.IntRange(min=1), help="GPUs for each run.")
@click.option(
    "-o", "--optimizer", metavar="NAME", help="Who searches: `random`, `tpe`, an operation."
)
@click.option("-Fo", "--opt-flag", multiple=True, metavar="NAME=VALUE", help="Set of who searches.")
@click.option("-O", "--optimize", is_flag=True, help="Search, as the operation says or by `tpe`.")
@click.option("-N", "--minimize", multiple=True, metavar="COLUMN", help="What shall be small.")
@click.option("-X", "--maximize", multiple=True, metavar="COLUMN", help="What shall be large.")
@click.option("--stop-early", metavar="RULE", help="Stop runs worse than others: `median`.")
@click.option("--variants", multiple=True, metavar="LIST", help="Of the code: commits, patches.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of the run itself.")
@click.option("--no-seed", is_flag=True, help="Seed no random generator.")
@click.option("--deterministic", is_flag=True, help="Let frameworks compute without chance.")
@click.option("--random-seed", type=int, default=0, help="Seed of all random choices.")
@click.option("--needed", is_flag=True, help="Run nothing that an earlier run already says.")
@click.option("--explain", is_flag=True, help="Say what `--needed` finds, and why.")
@click.option(
    "--keep-going", is_flag=True, help="Of a pipeline: run what does not need what failed."
)
@click.option("--fail-fast", is_flag=True, help="Start no run after one that failed.")
@click.option("--failed-too", is_flag=True, help="With --restart: those again that failed.")
@click.option("--print-trials", is_flag=True, help="Print what would run, and run nothing.")
@click.option("--save-trials", metavar="PATH", help="Write what runs as CSV.")
@click.option("--stage", is_flag=True, help="Set the run aside, for `reenact queue` to start.")
@click.option("--stage-trials", is_flag=True, help="Set each run of a batch aside by itself.")
@click.option("--priority", type=int, default=0, help="Of a staged run: the highest is first.")
@click.option("-b", "--background", is_flag=True, help="Print the id and return at once.")
@click.option("--edit", is_flag=True, help="Edit the flags in $EDITOR first.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--force-flags", is_flag=True, help="Accept unknown flags and refused values.")
@click.option("--run-id", metavar="ID", help="Id of the run, 32 hexadecimal digits.")
@click.option("-q", "--quiet", is_flag=True, help="Do not pass the run's output on.")
@click.option("-y", "--yes", is_flag=True, help="Nothing: nothing is asked.")
@click.option("--json", "as_json", is_flag=True, help="Print the record at the end, as JSON.")
@click.pass_context
def run_command(ctx: click.Context, /, **options: Any) -> int:
    """Run a script, a module or any command, and record everything that made its result.

    Flags are found in the script; see them with `reenact help OP`. The exit status is the script's.
    """
    context = Context(store=ctx.obj)
    if options["optimize"] and options["optimizer"] is None:
        options["optimizer"] = "default"
    request, files = _request(ctx, context, options)
    request = with_user_defaults(request, context)
    request = with_defaults_for_many(request, context)
    if request.restart is not None and request.restart.pipeline is not None:
        from reenact.cli.pipeline import resume

        return resume(request, request.restart, options, context)
    offered = find_meant(request, context)
    if offered is not None and (beside := offered.project.problem_beside(offered.definition)):
        say(f"{style('warning', 'yellow')}: {visible(str(beside))}; `reenact check` says more")
    if offered is not None and offered.definition.steps is not None:
        from reenact.cli.pipeline import run_pipeline

        return run_pipeline(request, offered, options, files, context)
    if may_be_batch(request, options, files):
        from reenact.cli.batch import run_batch

        status = run_batch(request, options, files, context)
        if status is not None:
            return status
    if options["keep_going"]:
        raise UsageError("`--keep-going` is for several runs, and this is one")
    _refuse_options_of_many(options)
    if request.restart is not None and request.restart.is_staged:
        from reenact.actions.queue import as_asked

        request = as_asked(request, request.restart, context)
    plan = plan_run(request, context)
    if options["edit"]:
        from reenact.cli.edit import edit_flags

        request = edit_flags(request, plan)
        plan = plan_run(request, context)
    if options["dry_run"]:
        _print_plan(plan, context, as_json=options["as_json"])
        return 0
    if options["needed"] or options["explain"]:
        from reenact.cli.pipeline import find_equal

        _refuse_needed(request, options)
        if find_equal(plan, context, options) is not None:
            return 0
    if options["stage"]:
        from reenact.actions.queue import stage_run
        from reenact.cli.queue import report_staged

        return report_staged(stage_run(plan, context), as_json=options["as_json"])
    if request.background:
        from reenact.cli.background import run_in_background

        return run_in_background(plan, context, as_json=options["as_json"])
    finished = start_and_watch(plan, context, progress=loading_bar(quiet=request.quiet))
    _report(finished, quiet=request.quiet, as_json=options["as_json"])
    ended = finished.run.exit
    assert ended is not None
    if finished.run.operation.is_stoppable and ended.requested is not None:
        return 0
    if ended.requested == "interrupt" and ended.signal == signal.SIGINT:
        die_of_interrupt()
    return ended.shell_status


def may_be_batch(request: RunRequest, options: dict[str, Any], files: Sequence[str]) -> bool:
    """Tell, without looking at the operation, whether a request can mean more than one run."""
    if request.restart is not None:
        return request.restart.batch is not None
    if files or any(options[name] for name in _FOR_MANY):
        return True
    return any(isinstance(text, str) and "[" in text for text in request.settings.values())


def _refuse_needed(request: RunRequest, options: dict[str, Any]) -> None:
    other = "restart" if request.restart is not None else "run_id" if request.run_id else None
    if other is not None:
        name = "needed" if options["needed"] else "explain"
        raise UsageError(f"`--{name}` and `--{other.replace('_', '-')}` exclude each other")


def _refuse_options_of_many(options: dict[str, Any]) -> None:
    for name in (
        *_FOR_MANY,
        "jobs",
        "gpus_per_trial",
        "fail_fast",
        "stage_trials",
        "minimize",
        "maximize",
        "stop_early",
        "opt_flag",
    ):
        if options[name]:
            raise UsageError(
                f"`--{name.replace('_', '-')}` is for several runs, and this is one",
                hint="give a flag several values, e.g. `lr=[0.1,0.01]`",
            )


def die_of_interrupt() -> None:
    """End as the script did, so that a loop in a shell around us ends with Ctrl-C as well."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)


def _request(
    ctx: click.Context, context: Context, options: dict[str, Any]
) -> tuple[RunRequest, list[str]]:
    """Return what is asked for, and the files of trials."""
    words, settings = split_settings(options["words"])
    files = [word[1:] for word in words if word.startswith("@")]
    words = [word for word in words if not word.startswith("@")]
    if options["variants"]:
        # The shell has made several words of `--variants *.patch`.
        patches = [word for word in words if word.endswith((".patch", ".diff"))]
        options["variants"] = (*options["variants"], *patches)
        words = [word for word in words if word not in patches]
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
    request = RunRequest(
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
        keep_data=options["keep_data"],
        trace_files=options["trace_files"],
        quiet=options["quiet"] or options["as_json"],
        background=options["background"],
        # One that is detached from its caller shall not hold on to what the caller waits for.
        descriptors=() if options["background"] else inherited_descriptors(),
        priority=options["priority"],
        seed=options["seed"],
        no_seed=options["no_seed"],
        deterministic=options["deterministic"],
    )
    if options["resume"] is not None:
        from reenact.actions.find import find_run
        from reenact.actions.resume import resume_request

        request = resume_request(request, find_run(context, options["resume"]), context)
    return request, files


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
                "requires": [
                    {
                        "resource": one.resource,
                        "kind": one.source.kind,
                        "uri": redact_text(one.source.spec),
                        "run": one.run,
                        "why": one.why,
                        "paths": [path_to_text(piece.path) for piece in one.pieces],
                    }
                    for one in plan.requirements
                ],
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
    rows += [("requires", visible(_describe_planned(one))) for one in plan.requirements]
    for name, text in rows:
        print(f"{name:<12}{text}")
    for flag, value in plan.values.items():
        mark = "" if flag in plan.given else "  (default)"
        print(f"{'flag':<12}{flag} = {show_value(value)}{mark}")


def _describe_planned(one: Planned) -> str:
    words = [f"{one.source.kind} {redact_text(one.source.spec)}"]
    words += [f"run {one.run[:8]}"] if one.run is not None else []
    words += [one.version] if one.version is not None else []
    words += [one.why] if one.why is not None else []
    return f"{one.resource}: {', '.join(words)}"


def _report(finished: Finished, *, quiet: bool, as_json: bool) -> None:
    run = finished.run
    if finished.is_deleted:
        short = run.id[:8]
        say(f"note: run {short} is in the trash: its operation says `delete-on-success`")
    if finished.problem is not None:
        say(f"{style('warning', 'yellow')}: {finished.problem}")
    if as_json:
        sys.stdout.write(to_json({"ok": True, "run": run}).decode() + "\n")
        return
    for remark in run.warnings:
        say(f"{style('warning', 'yellow')}: {visible(remark.message)}")
    if run.started is None and run.failure is not None:
        say(f"{style('error', 'red')}: {visible(run.failure.message)}")
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
