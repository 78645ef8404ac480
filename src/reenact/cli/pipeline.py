"""`reenact run` where it means a pipeline, and what `--needed` says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from reenact.actions.context import Context
from reenact.actions.ground import RunRequest
from reenact.actions.needed import Answer, Finder
from reenact.actions.operations import Offered
from reenact.actions.pipeline import PipelineRequest, PlannedPipeline, plan_pipeline
from reenact.actions.pipeline_listener import NoListener, PipelineListener
from reenact.actions.pipeline_run import (
    FinishedPipeline,
    resume_pipeline,
    stage_pipeline,
    start_pipeline,
)
from reenact.actions.pipeline_trials import plan_pipelines
from reenact.actions.plan import Plan
from reenact.actions.project_tree import look_at_tree
from reenact.actions.steps import StepState, read_states
from reenact.actions.trial_source import BatchListener
from reenact.cli.output import print_json, print_table, say, show_duration, style, visible
from reenact.errors import EXIT_OK, UsageError
from reenact.model.run import Run
from reenact.model.words import counted
from reenact.store.store import Store

_NOT_FOR_ONE = (
    "trials", "seeds", "optimizer", "minimize", "maximize", "gpus_per_trial", "save_trials",
    "print_trials", "stage_trials", "opt_flag", "fail_fast",
)  # fmt: skip
_NOT_FOR_PIPELINES = ("edit", "variants", "stop_early")
_NOT_FOR_RESTARTS = (
    *_NOT_FOR_ONE, *_NOT_FOR_PIPELINES, "label", "tags", "comment", "like", "variables", "cwd",
    "stop_after", "in_place", "no_snapshot", "save_models", "keep_data", "stage", "priority", "force_flags",
    "run_id",
)  # fmt: skip
_COLOURS = {"completed": "green", "failed": "red", "killed": "red", "terminated": "yellow"}


def run_pipeline(
    request: RunRequest,
    offered: Offered,
    options: dict[str, Any],
    files: Sequence[str],
    context: Context,
) -> int:
    """Run a pipeline, or a batch of pipelines; return its exit status."""
    from reenact.cli.batch import batch_request, run_planned

    for name in _NOT_FOR_PIPELINES:
        if options[name]:
            raise UsageError(
                f"`--{_option(name)}` is not for a pipeline",
                hint="a step may be a batch: see `docs/guides/pipelines.md`",
            )
    asked = PipelineRequest(
        run=request,
        jobs=options["jobs"] or 1,
        needed=options["needed"] or options["explain"],
        keep_going=options["keep_going"],
    )
    many = batch_request(request, options, files, context)
    batch = plan_pipelines(many, asked, offered, context, listeners_of_trials(options))
    if batch is not None:
        return run_planned(batch, request, options, context)
    for name in _NOT_FOR_ONE:
        if options[name]:
            raise UsageError(
                f"`--{_option(name)}` is for several pipelines, and this is one",
                hint="give a flag several values, e.g. `lr=[0.1,0.01]`",
            )
    planned = plan_pipeline(asked, offered, context)
    if options["dry_run"]:
        _print_plan(planned, as_json=options["as_json"])
        return EXIT_OK
    for remark in planned.remarks:
        say(f"{style('warning', 'yellow')}: {visible(remark)}")
    if options["stage"]:
        from reenact.cli.queue import report_staged

        return report_staged(stage_pipeline(planned, context), as_json=options["as_json"])
    if request.background:
        from reenact.cli.background import detach

        return detach(
            lambda started: _status_of(start_pipeline(planned, context, _Background(started))),
            as_json=options["as_json"],
        )
    listener = _make_listener(request, explains=options["explain"])
    return _report(start_pipeline(planned, context, listener), request, options)


def resume(request: RunRequest, former: Run, options: dict[str, Any], context: Context) -> int:
    """Start a staged pipeline, or run what is missing of one; return its exit status."""
    for name in _NOT_FOR_RESTARTS:
        if options[name]:
            raise UsageError(
                f"`--{_option(name)}` is not for a pipeline that is restarted",
                hint="it goes on as it began; `reenact run` with the same flags makes a new one",
            )
    if options["dry_run"]:
        _print_rest(former, context, as_json=options["as_json"])
        return EXIT_OK
    allowed: dict[str, Any] = {
        "jobs": options["jobs"],
        "needed": True if options["needed"] or options["explain"] else None,
        "keep_going": True if options["keep_going"] else None,
        "failed_too": options["failed_too"],
        "settings": request.settings,
        "python": request.python,
        "gpus": request.gpus,
        "quiet": request.quiet,
    }
    if request.background:
        from reenact.cli.background import detach

        return detach(
            lambda started: _status_of(
                resume_pipeline(former, context, _Background(started), **allowed)
            ),
            as_json=options["as_json"],
        )
    listener = _make_listener(request, explains=options["explain"])
    return _report(resume_pipeline(former, context, listener, **allowed), request, options)


def _option(name: str) -> str:
    return {"tags": "tag", "variables": "env"}.get(name, name.replace("_", "-"))


def _print_rest(former: Run, context: Context, *, as_json: bool) -> None:
    """Say what is done of a pipeline, and what is not."""
    if as_json:
        states = read_states(context.store, former)
        print_json({"ok": True, "run": former.id, "steps": steps_to_json(states)})
        return
    print_steps(context.store, former)


def find_equal(plan: Plan, context: Context, options: dict[str, Any]) -> Run | None:
    """Return the run that a plan would only repeat, and say so; None if it must run."""
    tree = look_at_tree(plan, context, keep=False) if plan.request.snapshot else None
    with Finder(context) as finder:
        answer = finder.find(plan, tree)
    return tell_answer(answer, context, options)


def tell_answer(answer: Answer, context: Context, options: dict[str, Any]) -> Run | None:
    """Say what `--needed` has found, and what it makes void; return the run that is taken."""
    if options["explain"] or (answer.run is not None and not options["quiet"]):
        say(visible(answer.explain()))
    if answer.run is None:
        return None
    run = context.store.read_run(answer.run).record
    void = _made_void(options)
    if void and not options["quiet"]:
        say(f"run {run.id[:8]} is taken as it is: {'; '.join(void)}")
    if options["as_json"]:
        print_json({"ok": True, "taken": True, "run": run})
    elif options["background"] or options["stage"] or options["stage_trials"]:
        print(run.id)
    return run


def _made_void(options: dict[str, Any]) -> list[str]:
    """Say what is not done for a run that is taken."""
    notes = [
        name
        for name, value in (
            ("label", options["label"]),
            ("tags", options["tags"]),
            ("comment", options["comment"]),
        )
        if value
    ]
    found = []
    if notes:
        is_one = len(notes) == 1 and notes[0] != "tags"
        found.append(f"its {' and '.join(notes)} {'stays' if is_one else 'stay'}")
    if options["stage"] or options["stage_trials"]:
        found.append("nothing is staged")
    if options["background"]:
        found.append("nothing is started in the background")
    return found


# --- who is told ---


class _Background(NoListener):
    """Tells whoever started us that the pipeline exists."""

    def __init__(self, started: Any) -> None:
        self._started = started

    def begin(self, run: Run) -> None:
        """Say so."""
        self._started(run)


class _Lines(NoListener):
    """A line for each step that starts or ends."""

    def __init__(self, *, explains: bool, prefix: str = "") -> None:
        self._explains = explains
        self._prefix = prefix

    def explain(self, step: str, answer: Answer) -> None:
        """Say why."""
        if self._explains:
            self._say(step, answer.explain())

    def started(self, state: StepState, *, has_terminal: bool) -> None:  # noqa: ARG002
        """Name the step and its run."""
        run = f" as run {state.entry.run[:8]}" if state.entry is not None else ""
        self._say(state.name, f"starts{run}", "bold")

    def ended(self, state: StepState) -> None:
        """Say how it ended."""
        if self._explains and state.entry is not None and state.entry.is_taken:
            return
        self._say(state.name, describe_step(state), _COLOURS.get(state.status, "dim"))

    def of_batch(self, *, has_terminal: bool) -> BatchListener:
        """A table where nothing else is shown, else a line for each trial."""
        from reenact.cli.batch import Lines, make_listener

        return make_listener(RunRequest()) if has_terminal else Lines()

    def of_pipeline(self, step: str) -> PipelineListener:
        """Lines that name the step first."""
        return _Lines(explains=self._explains, prefix=f"{self._prefix}{step}/")

    def _say(self, step: str, text: str, colour: str = "dim") -> None:
        name = style(f"{self._prefix}{step}", "bold")
        say(f"{name}: {style(visible(text), colour)}")


def listeners_of_trials(options: dict[str, Any]) -> Callable[[str], PipelineListener]:
    """Return what makes the listeners of pipelines that are trials, by their numbers."""
    explains = bool(options["explain"])
    return lambda number: _Lines(explains=explains, prefix=f"{number}/")


def _make_listener(request: RunRequest, *, explains: bool) -> PipelineListener:
    return NoListener() if request.quiet and not explains else _Lines(explains=explains)


def describe_step(state: StepState) -> str:
    """Say in one line what has become of a step."""
    run = None if state.stored is None else state.stored.run
    if state.is_skipped:
        return f"does not run: {state.remark}" if state.remark else "does not run"
    if state.problem is not None:
        return f"failed: {state.problem}"
    if state.entry is not None and state.entry.is_taken:
        return f"run {state.entry.run[:8]} is taken"
    took = f" in {show_duration(run.duration_s)}" if run is not None and run.duration_s else ""
    how = ""
    if state.has_failed and run is not None and run.exit is not None and run.exit.code != 0:
        how = f" with {run.exit.describe()}"
    remark = f", {state.remark}" if state.remark else ""
    return f"{state.status}{how}{took}{remark}"


# --- before and afterwards ---


def _print_plan(planned: PlannedPipeline, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": True, "operation": planned.operation, "steps": _plan_to_json(planned)})
        return
    print_table(("STEP", "OPERATION", "AFTER", "RUNS", "FLAGS"), _plan_rows(planned, ""))


def _plan_to_json(planned: PlannedPipeline) -> list[dict[str, Any]]:
    return [
        {
            "name": step.name,
            "operation": step.operation.name,
            "needs": step.needs,
            "trials": None if step.batch is None else len(step.batch.entries),
            "settings": {
                n: v if isinstance(v, str) else str(v) for n, v in step.request.settings.items()
            },
            "steps": None if step.nested is None else _plan_to_json(step.nested),
        }
        for step in planned.steps
    ]


def _plan_rows(planned: PlannedPipeline, prefix: str) -> list[tuple[str, ...]]:
    from reenact.cli.output import show_value

    rows: list[tuple[str, ...]] = []
    for step in planned.steps:
        runs = "1"
        if step.batch is not None:
            search = step.batch.search
            runs = f"≤ {search.limit}" if search is not None else str(len(step.batch.entries))
        if step.nested is not None:
            runs = ""
        settings = " ".join(
            f"{n}={v if isinstance(v, str) else show_value(v)}"
            for n, v in step.request.settings.items()
        )
        after = ", ".join(step.needs)
        rows.append((prefix + step.name, step.operation.name, after, runs, visible(settings)))
        if step.nested is not None:
            rows += _plan_rows(step.nested, f"{prefix}{step.name}/")
    return rows


def _status_of(finished: FinishedPipeline) -> int:
    ended = finished.run.exit
    assert ended is not None
    return ended.shell_status


def _report(finished: FinishedPipeline, request: RunRequest, options: dict[str, Any]) -> int:
    run = finished.run
    if options["as_json"]:
        print_json({"ok": True, "run": run, "steps": steps_to_json(finished.states)})
        return _end(finished)
    pipeline = run.pipeline
    assert pipeline is not None
    if not request.quiet:
        parts = [f"{pipeline.completed} of {counted(len(pipeline.steps), 'step')} completed"]
        if pipeline.taken:
            parts.append(f"{pipeline.taken} taken from earlier runs")
        if pipeline.failed:
            parts.append(f"{pipeline.failed} failed")
        took = f" in {show_duration(run.duration_s)}" if run.duration_s is not None else ""
        say(style(f"pipeline {run.id[:8]}: {', '.join(parts)}{took}", "dim"))
        if pipeline.completed != len(pipeline.steps):
            say(f"`reenact run --restart {run.id[:8]}` runs what is missing")
    return _end(finished)


def _end(finished: FinishedPipeline) -> int:
    run = finished.run
    assert run.exit is not None
    if run.operation.is_stoppable and run.exit.requested is not None:
        return EXIT_OK
    if run.exit.requested == "interrupt":
        from reenact.cli.run import die_of_interrupt

        die_of_interrupt()
    return _status_of(finished)


def steps_to_json(states: Any) -> list[dict[str, Any]]:
    """Return what `--json` says of the steps of a pipeline; keys are only ever added."""
    return [
        {
            "name": state.name,
            "status": state.status,
            "run": None if state.entry is None else state.entry.run,
            "taken": state.entry is not None and state.entry.is_taken,
            "why": None if state.entry is None else state.entry.why,
            "problem": state.problem,
            "remark": state.remark,
        }
        for state in states
    ]


def print_steps(store: Store, run: Run) -> None:
    """Print the table of a pipeline's steps."""
    assert run.pipeline is not None
    needs = {step.name: ", ".join(step.needs) for step in run.pipeline.steps}
    operations = {step.name: step.operation.name for step in run.pipeline.steps}
    rows = []
    for state in read_states(store, run):
        record = None if state.stored is None else state.stored.run
        rows.append(
            (
                state.name,
                "" if state.entry is None else state.entry.run[:8],
                operations[state.name],
                state.status,
                "taken" if state.entry is not None and state.entry.is_taken else "",
                "" if record is None else show_duration(record.duration_s),
                needs[state.name],
            )
        )
    print_table(("STEP", "ID", "OPERATION", "STATUS", "FROM", "TOOK", "AFTER"), rows)
