"""`reenact run` where it means many runs: what it prints before, meanwhile and afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reenact.actions.batch import FinishedBatch, stage_batch, stage_trials, start_batch
from reenact.actions.batch_plan import ENDLESS, BatchRequest, PlannedBatch, plan_batch
from reenact.actions.batch_resume import resume_batch
from reenact.actions.context import Context
from reenact.actions.foresee import MOST, Foreseen, foresee
from reenact.actions.ground import RunRequest
from reenact.actions.proposed_trials import Search
from reenact.actions.search_defaults import OptimizerFlags
from reenact.actions.trial_source import BatchListener, Silence
from reenact.actions.trials import VARIANT, Progress, TrialState
from reenact.cli.batch_table import LiveTable, describe_trial, print_entries, trials_to_json
from reenact.cli.output import print_json, say, show_duration, style, visible
from reenact.errors import EXIT_OK, ReenactError, UsageError
from reenact.model.run import Run
from reenact.model.words import counted
from reenact.search.trial_files import format_trials
from reenact.search.trials import parse_seeds


def run_batch(
    request: RunRequest, options: dict[str, Any], files: Sequence[str], context: Context
) -> int | None:
    """Run a batch; return its exit status, None where the request means a single run."""
    if options["edit"]:
        raise UsageError("`--edit` is for one run, and this is several")
    if request.restart is not None:
        return _resume(request, request.restart, options, context)
    planned = plan_batch(batch_request(request, options, files, context), context)
    return None if planned is None else run_planned(planned, request, options, context)


def run_planned(
    planned: PlannedBatch, request: RunRequest, options: dict[str, Any], context: Context
) -> int:
    """Run a batch that is in order; return its exit status."""
    if options["save_trials"] is not None:
        if options["save_trials"] == "-" and options["as_json"]:
            raise UsageError("`--save-trials -` and `--json` both write to standard output")
        _save(planned, options["save_trials"])
    if options["print_trials"] or options["dry_run"]:
        _print_plan(planned, context, as_json=options["as_json"])
        return EXIT_OK
    # Each pipeline looks itself for runs that it can take.
    if planned.starter is None and (options["needed"] or options["explain"]):
        taken = _find_equal(planned, options, context)
        if taken is not None:
            return EXIT_OK
    for remark in planned.remarks:
        say(f"{style('warning', 'yellow')}: {visible(remark)}")
    if options["stage_trials"]:
        return _stage_trials(planned, options, context)
    if options["stage"]:
        from reenact.cli.queue import report_staged

        return report_staged(stage_batch(planned, context), as_json=options["as_json"])
    if request.background:
        from reenact.cli.background import detach

        return detach(
            lambda started: _status_of(start_batch(planned, context, _Background(started))),
            as_json=options["as_json"],
            follow="watch",
        )
    finished = start_batch(planned, context, make_listener(request))
    return _report(finished, request, as_json=options["as_json"])


def _stage_trials(planned: PlannedBatch, options: dict[str, Any], context: Context) -> int:
    if options["stage"]:
        raise UsageError("say either `--stage` or `--stage-trials`")
    run, staged = stage_trials(planned, context)
    if options["as_json"]:
        print_json({"ok": True, "run": run.id, "trials": [trial.id for trial in staged]})
        return EXIT_OK
    say(
        f"{counted(len(staged), 'trial')} of batch {run.id[:8]} are staged; "
        "`reenact queue` starts them"
    )
    print(run.id)
    return EXIT_OK


def _find_equal(planned: PlannedBatch, options: dict[str, Any], context: Context) -> Run | None:
    """Return the batch that this one would only repeat, and say so."""
    from reenact.actions.needed import Finder
    from reenact.actions.plan import plan_on
    from reenact.actions.project_tree import look_at_tree
    from reenact.actions.trials import request_of
    from reenact.cli.pipeline import tell_answer

    plan = plan_on(planned.ground, request_of(planned.ground, planned.example), context)
    tree = look_at_tree(plan, context, keep=False) if plan.request.snapshot else None
    with Finder(context) as finder:
        answer = finder.find_batch(planned, plan, tree)
    return tell_answer(answer, context, options)


def _resume(request: RunRequest, former: Run, options: dict[str, Any], context: Context) -> int:
    for name in ("stage", "stage_trials"):
        if options[name]:
            option = name.replace("_", "-")
            raise UsageError(f"`--restart` and `--{option}` exclude each other")
    from reenact.actions.pipeline_trials import pipelines_again
    from reenact.cli.pipeline import listeners_of_trials

    again = pipelines_again(former, context, options["jobs"], listeners_of_trials(options))
    allowed = {
        "jobs": again.jobs,
        "again": again.find,
        "gpus_per_trial": options["gpus_per_trial"],
        "failed_too": options["failed_too"],
        "quiet": request.quiet or request.background,
        "settings": request.settings,
    }
    if request.background:
        from reenact.cli.background import detach

        return detach(
            lambda started: _status_of(
                resume_batch(former, context, _Background(started), **allowed)
            ),
            as_json=options["as_json"],
            follow="watch",
        )
    finished = resume_batch(former, context, make_listener(request), **allowed)
    return _report(finished, request, as_json=options["as_json"])


def batch_request(
    request: RunRequest, options: dict[str, Any], files: Sequence[str], context: Context
) -> BatchRequest:
    """Return what is asked for of several runs."""
    objectives = [("minimize", text) for text in options["minimize"]]
    objectives += [("maximize", text) for text in options["maximize"]]
    return BatchRequest(
        run=request,
        files=tuple(files),
        trials=options["trials"],
        seeds=() if options["seeds"] is None else parse_seeds(options["seeds"]),
        jobs=options["jobs"],
        gpus_per_trial=options["gpus_per_trial"],
        optimizer=options["optimizer"],
        optimizer_flags=OptimizerFlags(given=_optimizer_flags(options["opt_flag"])),
        objectives=tuple(objectives),
        random_seed=options["random_seed"],
        fail_fast=options["fail_fast"],
        stop_early=options["stop_early"],
        variants=_variants(options, context),
    )


def _optimizer_flags(texts: Sequence[str]) -> dict[str, str]:
    flags: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"`--opt-flag {text}` sets nothing", hint="write `NAME=VALUE`")
        if name in flags:
            raise UsageError(f"`--opt-flag {name}` is set twice")
        flags[name] = value
    return flags


def _variants(options: dict[str, Any], context: Context) -> tuple[str, ...]:
    if not options["variants"]:
        return ()
    from reenact.actions.variants import parse_variants

    for name in ("needed", "explain"):
        if options[name]:
            raise UsageError(f"`--{name}` and `--variants` exclude each other")
    return parse_variants(options["variants"], context.directory)


def make_listener(request: RunRequest) -> BatchListener:
    """Choose how to show what happens."""
    if request.quiet:
        return Silence()
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveTable()
    return Lines()


class _Background(Silence):
    """Tells whoever started us that the batch exists."""

    def __init__(self, started: Any) -> None:
        self._started = started

    def begin(self, progress: Progress) -> None:
        """Say so."""
        self._started(progress.run)


class Lines(Silence):
    """A line for each trial that has ended."""

    def ended(self, progress: Progress, trial: TrialState) -> None:
        """Print the line."""
        say(describe_trial(progress, trial))

    def remark(self, text: str) -> None:
        """Print it."""
        say(f"{style('warning', 'yellow')}: {visible(text)}")


def _save(planned: PlannedBatch, path: str) -> None:
    if planned.search is not None:
        raise UsageError("a search has no list of trials to save")
    if path.lower().endswith((".json", ".yaml", ".yml")):
        raise UsageError(
            f"trials are written as CSV, and `@{path}` would be read as something else",
            hint=f"name it `{path.rpartition('.')[0]}.csv`",
        )
    if any(entry.seed is not None for entry in planned.entries):
        raise UsageError(
            "seeds that no flag takes cannot be saved with the trials",
            hint="save them without `--seeds`, and say `--seeds` again with the file",
        )
    text = format_trials(planned.trials)
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReenactError(f"cannot write `{path}`: {error.strerror}") from error


def _print_plan(planned: PlannedBatch, context: Context, *, as_json: bool) -> None:
    foreseen = foresee(planned, context)
    for remark in planned.remarks:
        say(f"{style('warning', 'yellow')}: {visible(remark)}")
    if planned.search is not None:
        say(_describe_search(planned.search, foreseen))
    if as_json:
        print_json(
            {
                "ok": True,
                "operation": foreseen.run.operation,
                "batch": foreseen.run.batch,
                "earlier": foreseen.earlier,
                "trials": [
                    {
                        "number": entry.number,
                        "flags": entry.flags,
                        "seed": entry.seed,
                        "variant": entry.variant,
                    }
                    for entry in foreseen.entries
                ],
            }
        )
        return
    print_entries(foreseen.entries)


def _describe_search(search: Search, foreseen: Foreseen) -> str:
    spaces = len([name for name in search.spaces if name != VARIANT])
    words = ["a search"]
    if spaces:
        words.append(f"of {counted(spaces, 'flag')}")
    if search.limit < ENDLESS:
        words.append(f"in at most {counted(search.limit, 'trial')}")
    words.append(f"by `{search.name}`")
    text = " ".join(words)
    if foreseen.earlier:
        counts = "counts" if foreseen.earlier == 1 else "count"
        text += f"; {counted(foreseen.earlier, 'earlier run')} {counts}"
    count = len(foreseen.entries)
    if not count:
        return f"{text}; it is asked when a trial can start"
    if search.foreseen is None and count < MOST:
        return text
    return f"{text}; the {f'first {count} are' if count > 1 else 'first is'} known"


def _status_of(finished: FinishedBatch) -> int:
    ended = finished.run.exit
    assert ended is not None
    return ended.shell_status


def _report(finished: FinishedBatch, request: RunRequest, *, as_json: bool) -> int:
    run = finished.run
    batch = run.batch
    assert batch is not None
    if as_json:
        print_json({"ok": True, "run": run, "trials": trials_to_json(finished.progress)})
        return _end(run)
    for remark in run.warnings:
        say(f"{style('warning', 'yellow')}: {visible(remark.message)}")
    if not request.quiet:
        say(summary_of(finished.progress))
        if batch.best is not None:
            best = next(t for t in finished.progress.trials.values() if t.entry.run == batch.best)
            by = f" by {batch.objectives[0][1]}" if len(batch.objectives) > 1 else ""
            say(f"best{by}: {describe_trial(finished.progress, best)}")
            if by:
                say(f"`reenact compare {run.id[:8]} --pareto` says what nothing beats")
        if any(not trial.is_done for trial in finished.progress.trials.values()):
            say(f"`reenact run --restart {run.id[:8]}` runs what is missing")
    return _end(run)


def _end(run: Run) -> int:
    assert run.exit is not None
    if run.exit.requested == "interrupt":
        from reenact.cli.run import die_of_interrupt

        die_of_interrupt()
    return run.exit.shell_status


def summary_of(progress: Progress) -> str:
    """Say in one line what came of a batch."""
    run = progress.run
    completed, failed = progress.counts()
    parts = [f"{completed} completed"]
    if failed:
        parts.append(f"{failed} failed")
    if progress.stopped:
        parts.append(f"{progress.stopped} stopped early")
    if missing := len(progress.trials) - completed - failed - progress.stopped:
        parts.append(f"{missing} not run to an end")
    took = f" in {show_duration(run.duration_s)}" if run.duration_s is not None else ""
    total = counted(len(progress.trials), "trial")
    return style(f"batch {run.id[:8]}: {total}, {', '.join(parts)}{took}", "dim")
