"""What has become of the steps of a pipeline that runs, and what is written down of it.

Each line of `.reenact/steps` is written before its step starts. At the end the record says what came
of all of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from reenact.actions.children import exit_when_asked
from reenact.actions.pipeline import PlannedPipeline
from reenact.actions.step_checks import failed_checks
from reenact.actions.step_order import waits_for
from reenact.actions.steps import (
    StepEntry,
    StepState,
    append_entry,
    read_entries,
    reopened,
    state_of,
)
from reenact.actions.trials import read_entries as read_trial_entries
from reenact.model.identity import RunId
from reenact.model.metrics import SAMPLED, Summary
from reenact.model.paths import printable
from reenact.model.run import Exit, Remark, Run
from reenact.store.store import RECORD_DIRECTORY, Store

_NOT_IN_A_LINK = re.compile(r"[ :/\\]")


class StepLedger:
    """The steps of one pipeline, as they are now.

    Attributes:
        run: the pipeline.
        states: by the names of the steps, in the order of the pipeline.
        needs: which steps each one waits for.
        has_failed: some step came to no good end, now or before.
    """

    def __init__(self, run: Run, planned: PlannedPipeline, store: Store) -> None:
        assert run.pipeline is not None
        self.run = run
        self.needs = {step.name: step.needs for step in planned.steps}
        self.has_failed = False
        self._pipeline = run.pipeline
        self._planned = planned
        self._store = store
        self._directory = store.directory(run.id)
        self._recorded = {step.name: step for step in run.pipeline.steps}
        self._checks = {step.name: step.definition.expect for step in planned.steps}
        entries = read_entries(f"{self._directory}/{RECORD_DIRECTORY}")
        self.states = {
            name: reopened(store, state_of(store, step, entries.get(name)))
            for name, step in self._recorded.items()
        }

    def is_ready(self, name: str) -> bool:
        """Tell whether all that a step waits for is done."""
        return all(self.states[other].is_done for other in self.needs[name])

    def look(self, name: str, problem: str | None = None) -> StepState:
        """Return a step as its run says now.

        Args:
            name: of the step.
            problem: why there may be no run.
        """
        entry = self.states[name].entry
        return state_of(self._store, self._recorded[name], entry, problem=problem)

    # --- what is written down ---

    def begin(self, entry: StepEntry) -> None:
        """Write down that a step starts."""
        self._write(entry)
        self.states[entry.step] = StepState(entry.step, entry)

    def take(self, entry: StepEntry) -> StepState:
        """Write down that an earlier run is taken for a step."""
        self._write(entry)
        return state_of(self._store, self._recorded[entry.step], entry)

    def end(self, state: StepState) -> None:
        """Take note of what has become of a step."""
        self.states[state.name] = state
        self.has_failed = self.has_failed or state.has_failed

    def _write(self, entry: StepEntry) -> None:
        append_entry(f"{self._directory}/{RECORD_DIRECTORY}", entry)
        # The step's run directory can be found in the pipeline's.
        path = f"{self._directory}/{_NOT_IN_A_LINK.sub('_', entry.step)}"
        with suppress(OSError):
            if os.path.islink(path):
                os.unlink(path)
            os.symlink(f"../{entry.run}", path)

    # --- checks ---

    def problems(self, name: str, run_id: RunId) -> list[str]:
        """Return what a run does not do although its step expects it."""
        return failed_checks(self._checks[name], self._store, run_id, self._planned.root.path)

    def checked(self, state: StepState) -> StepState:
        """Return a step with what it was expected to do and did not."""
        entry = state.entry
        if entry is None or not state.is_done:
            return state
        problems = self.problems(state.name, entry.run)
        if not problems:
            return state
        problem = "; ".join(problems)
        failed = msgspec.structs.replace(entry, problem=problem)
        append_entry(f"{self._directory}/{RECORD_DIRECTORY}", failed)
        return state._replace(problem=problem)

    # --- all of them ---

    def runs(self) -> Iterator[RunId]:
        """Yield the runs of steps that are done, and those that these have started."""
        for state in self.states.values():
            if state.is_done and state.entry is not None:
                yield from self._with_parts(state.entry.run)

    def _with_parts(self, run_id: RunId) -> Iterator[RunId]:
        yield run_id
        directory = f"{self._store.directory(run_id)}/{RECORD_DIRECTORY}"
        for trial in read_trial_entries(directory):
            yield trial.run
        for entry in read_entries(directory).values():
            yield from self._with_parts(entry.run)

    def skip(self, names: Iterable[str]) -> Iterator[StepState]:
        """Give up steps that cannot run any more; yield each with the reason, for the user."""
        failed = {name for name, state in self.states.items() if state.has_failed}
        for name in names:
            state = self.states[name]
            if name in failed or state.is_done:
                continue
            causes = [one for one in self.needs if one in waits_for(name, self.needs) & failed]
            why = f"`{causes[0]}` has failed" if causes else "another step has failed"
            self.states[name] = state._replace(is_skipped=True, remark=None, problem=None)
            yield self.states[name]._replace(remark=why)

    def ended(self, requested: str | None) -> Run:
        """Return the pipeline's last record.

        Args:
            requested: who asked for the end, if anybody did.
        """
        states = list(self.states.values())
        done = [state for state in states if state.is_done and not state.is_skipped]
        taken = {s.name: s.entry.run for s in done if s.entry is not None and s.entry.is_taken}
        failed = [state for state in states if state.has_failed and not state.is_skipped]
        if requested is not None:
            end = exit_when_asked(requested)
        else:
            end = Exit(code=0 if len(done) == len(states) else 1)
        warnings = [
            Remark(code="step", message=printable(f"step `{state.name}`: {text}"))
            for state in states
            for text in (state.problem, state.remark)
            if text is not None
        ]
        return msgspec.structs.replace(
            self.run,
            ended=datetime.now(UTC),
            exit=end,
            warnings=tuple(warnings),
            metrics=_metrics_of(done),
            pipeline=msgspec.structs.replace(
                self._pipeline,
                completed=len(done),
                taken=len(taken),
                failed=len(failed),
                took=taken,
            ),
        )


def _metrics_of(states: Iterable[StepState]) -> dict[str, Summary]:
    """Return what a pipeline has reported: what its steps have, the later one where several have."""
    records = [state.stored.run for state in states if state.stored is not None]
    return {
        name: summary
        for record in records
        if record is not None
        for name, summary in record.metrics.items()
        if not name.startswith(SAMPLED)
    }
