"""`reenact show`."""

from __future__ import annotations

import shlex
from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.show import Details, describe
from reenact.cli.options import as_json, one_run
from reenact.cli.output import (
    print_json,
    show_duration,
    show_size,
    show_time,
    show_value,
    style,
    visible,
)
from reenact.model.metrics import SAMPLED, Summary
from reenact.model.record import flag_to_json
from reenact.model.run import Run
from reenact.model.words import counted

_MANY = 20


@click.command(
    "show",
    epilog="""\b
Examples:
  reenact show
  reenact show 3f2a --packages
  reenact show @best:acc --json
""",
)
@one_run
@click.option("--packages", is_flag=True, help="List every package.")
@as_json
@click.pass_obj
def show_command(home: str | None, /, **options: Any) -> None:
    """Show everything about a run. RUN is the latest one unless you name another."""
    context = Context(store=home)
    details = describe(context, find_run(context, options["run"]))
    if options["as_json"]:
        print_json(_to_json(details))
        return
    _print(details, with_packages=options["packages"])


def _to_json(details: Details) -> dict[str, Any]:
    stored = details.stored
    run = stored.record
    flags = {name: flag_to_json(value) for name, value in run.flags.items()}
    return {
        "ok": True,
        "id": stored.id,
        "status": stored.status,
        "directory": stored.directory,
        "duration_s": run.duration_s,
        "flags": flags,
        "run": {
            name: flags if name == "flags" else getattr(run, name) for name in run.__struct_fields__
        },
        "notes": stored.notes,
        "environment": details.environment,
        "machine": details.machine,
        "metrics": run.metrics,
    }


def _print(details: Details, *, with_packages: bool) -> None:
    stored = details.stored
    run = stored.record
    how = f" ({run.exit.describe()})" if run.exit is not None and run.exit.code != 0 else ""
    asked = f", {run.exit.requested}" if run.exit is not None and run.exit.requested else ""
    _line("run", stored.id)
    _line("operation", f"{run.operation.name} ({run.operation.kind}, {run.operation.flags_kind})")
    _line("status", f"{stored.status}{how}{asked}")
    _line("label", stored.notes.label)
    _line("tags", ", ".join(stored.notes.tags))
    _line("comment", stored.notes.comment)
    _line("started", show_time(run.started))
    _line("took", show_duration(run.duration_s))
    _line("project", f"{run.project.name} ({run.project.root})")
    _line("command", shlex.join(run.command))
    _line("directory", stored.directory)
    if run.like is not None:
        _line("like", run.like[:8])
    _print_source(run)
    _print_flags(run)
    sampled = {n: s for n, s in run.metrics.items() if n.startswith(SAMPLED)}
    _print_metrics("metrics", {n: s for n, s in run.metrics.items() if n not in sampled})
    _print_metrics("system metrics", sampled)
    _print_files("inputs", run.inputs)
    _print_files("outputs", run.outputs)
    _print_environment(details, with_packages=with_packages)
    if run.usage is not None:
        usage = run.usage
        cpu = (usage.cpu_user_s or 0.0) + (usage.cpu_system_s or 0.0)
        _line("used", f"{cpu:.2f}s CPU, {show_size(usage.max_memory_bytes)} memory at most")
    for remark in run.warnings:
        _line("warning", remark.message)


def _line(name: str, text: str | None) -> None:
    if text:
        print(f"{name:<12}{visible(text)}")


def _heading(name: str, count: int) -> None:
    import sys

    print(style(f"\n{name} ({count})", "bold", stream=sys.stdout))


def _print_source(run: Run) -> None:
    if run.source is None:
        _line("source", "not kept (--no-snapshot)")
        return
    _line("source", f"{counted(run.source.files, 'file')}, {show_size(run.source.size_bytes)}")
    vcs = run.source.vcs
    if vcs is not None and vcs.commit is not None:
        state = "with changes" if vcs.is_dirty else "clean"
        _line("commit", f"{vcs.commit[:12]} ({vcs.branch or 'detached'}, {state})")


def _print_flags(run: Run) -> None:
    if not run.flags:
        return
    _heading("flags", len(run.flags))
    width = max(map(len, run.flags))
    for name, value in run.flags.items():
        mark = "" if name in run.given else "  (default)"
        print(f"  {name:<{width}}  {show_value(value)}{mark}")


def _print_metrics(name: str, metrics: dict[str, Summary]) -> None:
    if not metrics:
        return
    _heading(name, len(metrics))
    width = max(map(len, metrics))
    for metric, summary in metrics.items():
        extremes = ""
        if summary.count > 1:
            extremes = f"  (min {summary.minimum}, max {summary.maximum}, {summary.count} points)"
        print(f"  {metric:<{width}}  {summary.last}  at step {summary.last_step}{extremes}")


def _print_files(name: str, files: Any) -> None:
    if not files:
        return
    _heading(name, len(files))
    for file in files[:_MANY]:
        note = file.reason or (f"-> {file.target}" if file.target else show_size(file.size_bytes))
        print(f"  {(file.digest or '')[:12]:<12}  {note:>10}  {visible(file.path)}")
    if len(files) > _MANY:
        print(f"  and {len(files) - _MANY} more")


def _print_environment(details: Details, *, with_packages: bool) -> None:
    environment, machine = details.environment, details.machine
    if environment is not None and environment.python is not None:
        python = environment.python
        packages = environment.packages or ()
        print()
        _line(
            "python",
            f"{python.version} ({python.implementation}), {counted(len(packages), 'package')}",
        )
        for package in packages if with_packages else ():
            print(f"  {package.name}=={package.version}")
    if machine is not None:
        _line("machine", f"{machine.hostname}: {machine.cpu}, {machine.cores_logical} cores")
        for gpu in machine.gpus or ():
            _line("gpu", gpu.name)
    for problem in details.problems:
        _line("missing", problem)
