"""Who shows the user what happens in a pipeline."""

from __future__ import annotations

from typing import Protocol

from reenact.actions.needed import Answer
from reenact.actions.steps import StepState
from reenact.actions.trial_source import BatchListener, Silence
from reenact.model.run import Run


class PipelineListener(Protocol):
    """Who shows the user what happens."""

    def begin(self, run: Run) -> None:
        """Hear that the pipeline exists."""
        ...

    def explain(self, step: str, answer: Answer) -> None:
        """Hear why a step runs, or need not."""
        ...

    def started(self, state: StepState, *, has_terminal: bool) -> None:
        """Hear that a step starts."""
        ...

    def ended(self, state: StepState) -> None:
        """Hear that a step has ended, was taken from an earlier run, or is skipped."""
        ...

    def of_batch(self, *, has_terminal: bool) -> BatchListener:
        """Return who listens to a batch that is a step."""
        ...

    def of_pipeline(self, step: str) -> PipelineListener:
        """Return who listens to a pipeline that is a step."""
        ...


class NoListener:
    """Shows nothing of a pipeline."""

    def begin(self, run: Run) -> None:
        """Show nothing."""

    def explain(self, step: str, answer: Answer) -> None:
        """Show nothing."""

    def started(self, state: StepState, *, has_terminal: bool) -> None:
        """Show nothing."""

    def ended(self, state: StepState) -> None:
        """Show nothing."""

    def of_batch(self, *, has_terminal: bool) -> BatchListener:  # noqa: ARG002
        """Show nothing of its trials."""
        return Silence()

    def of_pipeline(self, step: str) -> PipelineListener:  # noqa: ARG002
        """Show nothing of its steps."""
        return NoListener()
