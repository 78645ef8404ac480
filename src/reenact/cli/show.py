"""`reenact show`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

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
from reenact.model.flags import FlagValue
from reenact.model.metrics import SAMPLED, Summary
from reenact.model.record import flag_from_json, flag_to_json
from reenact.model.run import Run
from reenact.model.words import counted

if TYPE_CHECKING:
    from reenact.actions.trials import Progress

_MANY = 20
_MANY_METRICS = 100
_FEW = 3


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
@click.option("--params", is_flag=True, help="List every param.")
@as_json
@click.pass_obj
def show_command(home: str | None, /, **options: Any) -> None:
    """Show everything about a run. RUN is the latest one unless you name another."""
    context = Context(store=home)
    details = describe(context, find_run(context, options["run"]))
    if options["as_json"]:
        print_json(_to_json(context, details))
        return
    _print(context, details, with_packages=options["packages"], with_params=options["params"])


def _to_json(context: Context, details: Details) -> dict[str, Any]:
    stored = details.stored
    run = stored.record
    flags = {name: flag_to_json(value) for name, value in run.flags.items()}
    params = {name: flag_to_json(value) for name, value in run.params.items()}
    encoded = {"flags": flags, "params": params}
    return {
        "ok": True,
        "id": stored.id,
        "status": stored.status,
        "directory": stored.directory,
        "duration_s": run.duration_s,
        "flags": flags,
        "params": params,
        "run": {name: encoded.get(name, getattr(run, name)) for name in run.__struct_fields__},
        "notes": stored.notes,
        "environment": details.environment,
        "machine": details.machine,
        "metrics": run.metrics,
        **_trials(context, run),
        **({} if run.pipeline is None else {"steps": _steps(context, run)}),
    }


def _trials(context: Context, run: Run) -> dict[str, Any]:
    if run.batch is None:
        return {}
    from reenact.cli.batch_table import trials_to_json

    return {"trials": trials_to_json(_progress(context, run))}


def _progress(context: Context, run: Run) -> Progress:
    # Imported where it is needed: it brings everything with it that a run needs.
    from reenact.actions.trials import Progress, read_trials

    progress = Progress(run, ())
    for state in read_trials(context.store, run):
        progress.trials[state.entry.number] = state
    return progress


def _print_batch(context: Context, run: Run) -> None:
    batch = run.batch
    assert batch is not None
    progress = _progress(context, run)
    completed, failed = progress.counts()
    total = len(progress.trials) if batch.trials is None else batch.trials
    _line("trials", f"{completed} of {total} completed" + (f", {failed} failed" * bool(failed)))
    _line("jobs", str(batch.jobs) if batch.jobs > 1 else None)
    settings = " ".join(
        f"{n}={show_value(flag_from_json(v))}" for n, v in batch.optimizer_flags.items()
    )
    _line("optimizer", f"{batch.optimizer} {settings}".rstrip() if batch.optimizer else None)
    _line("objective", ", ".join(f"{direction} {name}" for direction, name in batch.objectives))
    if progress.trials:
        print()
        from reenact.cli.batch_table import print_trials

        print_trials(progress)


def _steps(context: Context, run: Run) -> list[dict[str, Any]]:
    from reenact.actions.steps import read_states
    from reenact.cli.pipeline import steps_to_json

    return steps_to_json(read_states(context.store, run))


def _print_pipeline(context: Context, run: Run) -> None:
    from reenact.cli.pipeline import print_steps

    assert run.pipeline is not None
    _line("jobs", str(run.pipeline.jobs) if run.pipeline.jobs > 1 else None)
    print()
    print_steps(context.store, run)


def _print(context: Context, details: Details, *, with_packages: bool, with_params: bool) -> None:
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
    if run.parent is not None:
        _line("parent", f"{run.parent[:8]}/{run.part}")
    _line("variant", run.variant)
    _line("seed", describe_seed(run))
    if run.batch is not None:
        _print_batch(context, run)
    if run.pipeline is not None:
        _print_pipeline(context, run)
    _print_source(run)
    _print_flags(run)
    _print_models(run)
    _print_params(run, all_of_them=with_params)
    _print_datasets(run)
    sampled = {n: s for n, s in run.metrics.items() if n.startswith(SAMPLED)}
    _print_metrics("metrics", {n: s for n, s in run.metrics.items() if n not in sampled})
    _print_metrics("system metrics", sampled)
    _print_dependencies(run)
    _print_files("inputs", run.inputs)
    _print_files("outputs", run.outputs)
    _print_environment(details, with_packages=with_packages)
    if run.usage is not None:
        usage = run.usage
        cpu = (usage.cpu_user_s or 0.0) + (usage.cpu_system_s or 0.0)
        memory = show_size(usage.max_memory_bytes)
        _line("used", f"{cpu:.2f}s CPU" + (f", {memory} memory at most" if memory else ""))
    _line("contacted", _hosts(run))
    _line("watched", _coverage(run))
    if run.conditions is not None:
        _line("noise", "; ".join(run.conditions.noise))
    if run.failure is not None:
        where = f" in cell {run.failure.cell}" if run.failure.cell is not None else ""
        _line("failed", f"{run.failure.type}{where}: {run.failure.message}")
    for remark in run.warnings:
        _line("warning", remark.message)


def describe_seed(run: Run) -> str | None:
    """Say what seed a run had, and which generators it was not for."""
    if run.seed is None or not (run.processes or run.operation.is_in_process):
        return None  # Nobody has read it but programs of other languages, maybe.
    words = [str(run.seed)]
    own = {} if run.randomness is None else run.randomness.seeded
    words += [f"{name}: {said}" for name, said in own.items() if said != "reenact"]
    words += ["deterministic"] if run.is_deterministic else []
    return ", ".join(words)


def _line(name: str, text: str | None) -> None:
    if text:
        print(f"{name:<12}{visible(text)}")


def _heading(name: str, count: int) -> None:
    import sys

    print(style(f"\n{name} ({count})", "bold", stream=sys.stdout))


def _print_source(run: Run) -> None:
    if run.pipeline is not None:
        return
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
        print(f"  {name:<{width}}  {_value(value)}{mark}")


def _print_models(run: Run) -> None:
    if not run.models:
        return
    _heading("models", len(run.models))
    width = max(len(visible(model.name)) for model in run.models)
    for model in run.models[:_MANY]:
        version = f" {model.version}" if model.version else ""
        path = f"  {model.path}" if model.path else ""
        text = f"{model.type}  ({model.framework}{version}){path}"
        print(f"  {visible(model.name):<{width}}  {visible(text)}")
    _print_rest(len(run.models))


def _print_params(run: Run, *, all_of_them: bool) -> None:
    if not run.params:
        return
    _heading("params", len(run.params))
    shown = list(run.params.items())[: None if all_of_them else _MANY]
    width = max(len(visible(name)) for name, _ in shown)
    for name, value in shown:
        print(f"  {visible(name):<{width}}  {_value(value)}")
    if len(shown) < len(run.params):
        print(f"  and {len(run.params) - len(shown)} more (--params)")


def _value(value: FlagValue) -> str:
    return "null" if value is None else show_value(value)


def _print_datasets(run: Run) -> None:
    if not run.datasets:
        return
    _heading("data in memory", len(run.datasets))
    for data in run.datasets[:_MANY]:
        shape = "x".join(map(str, data.shape)) or "-"
        whose = f"  {data.model}" if data.model else ""
        text = f"{data.role:<10}  {data.name}  {shape} {data.dtype or ''}{whose}"
        print(f"  {(data.digest or '')[:12]:<12}  {visible(text)}")
    _print_rest(len(run.datasets))


def _print_rest(count: int) -> None:
    if count > _MANY:
        print(f"  and {count - _MANY} more")


def _print_metrics(name: str, metrics: dict[str, Summary]) -> None:
    if not metrics:
        return
    _heading(name, len(metrics))
    width = max(map(len, list(metrics)[:_MANY_METRICS]))
    for metric, summary in list(metrics.items())[:_MANY_METRICS]:
        extremes = ""
        if summary.count > 1:
            extremes = f"  (min {summary.minimum}, max {summary.maximum}, {summary.count} points)"
        print(f"  {metric:<{width}}  {summary.last}  at step {summary.last_step}{extremes}")
    if len(metrics) > _MANY_METRICS:
        print(f"  and {len(metrics) - _MANY_METRICS} more (--json)")


def _print_files(name: str, files: Any) -> None:
    if not files:
        return
    _heading(name, len(files))
    for file in files[:_MANY]:
        note = file.reason or (f"-> {file.target}" if file.target else show_size(file.size_bytes))
        words = (
            file.role,
            counted(file.files, "file") if file.files is not None else None,
            f"from {file.origin}" if file.origin else None,
            "changed meanwhile" if file.is_changed else None,
        )
        about = ", ".join(word for word in words if word)
        path = f"{file.path}  ({about})" if about else file.path
        print(f"  {(file.digest or '')[:12]:<12}  {note:>10}  {visible(path)}")
    _print_rest(len(files))


def _print_dependencies(run: Run) -> None:
    if not run.dependencies:
        return
    _heading("requires", len(run.dependencies))
    width = max(len(visible(one.resource)) for one in run.dependencies)
    for one in run.dependencies:
        words = [f"{one.kind} {one.uri}"]
        if one.run is not None:
            words.append(f"run {one.run[:8]}")
        if one.version is not None:
            words.append(one.version)
        words += [one.why] if one.why is not None else []
        words += [" ".join(f"{n}={_value(flag_from_json(v))}" for n, v in one.flags.items())]
        print(f"  {visible(one.resource):<{width}}  {visible(', '.join(filter(None, words)))}")


def _hosts(run: Run) -> str:
    """Name who was asked over the network."""
    hosts = dict.fromkeys(
        text.partition("://")[2].partition("/")[0] if "://" in text else text
        for text in run.contacted
    )
    more = f" and {counted(len(hosts) - _FEW, 'other')}" if len(hosts) > _FEW else ""
    return ", ".join(list(hosts)[:_FEW]) + more


def _coverage(run: Run) -> str | None:
    """Say who watched what was read, where that was not everybody."""
    if not run.coverage or "preload" in run.coverage:
        return None
    who = "what Python read, nothing else" if "audit" in run.coverage else "nothing that was read"
    return f"{who}: {run.coverage_gap}" if run.coverage_gap else who


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
