"""Judge runs that have ended against those whose result they are to show again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from reenact import __version__
from reenact.actions.context import Context
from reenact.actions.reproduce import judgement
from reenact.actions.reproduce.judgement import Rules
from reenact.actions.reproduce.suspects import find_suspects
from reenact.errors import UsageError
from reenact.judge.overall import overall, worst
from reenact.judge.tolerance import Tolerances
from reenact.model.identity import RunId, new_run_id
from reenact.model.metrics import SAMPLED
from reenact.model.paths import printable
from reenact.model.run import Remark, Status
from reenact.model.verdict import (
    Cause,
    ClaimVerdict,
    Expectation,
    Reproduction,
    StatisticVerdict,
    Verdict,
)
from reenact.store.reproductions import Reproductions
from reenact.store.store import StoredRun

_UNDER_WAY = (Status.PENDING, Status.RUNNING)


def judge(
    context: Context,
    originals: Sequence[StoredRun],
    reproduced: Sequence[StoredRun],
    *,
    tolerances: Sequence[str] = (),
    margins: Sequence[str] = (),
    keep: bool = True,
) -> Reproduction:
    """Judge runs that are there already against the run, or the runs, that they are to show again.

    One original and runs of the same seed are compared series by series; else the values that
    each metric has in the end are compared as two samples.

    Args:
        context: where.
        originals: one, or several as a sample.
        reproduced: the runs to judge.
        tolerances: `metric=amount`.
        margins: `metric=amount`.
        keep: store the verdict.

    Raises:
        UsageError: a run is on both sides, has not ended, or starts others.
    """
    first = originals[0]
    for one in reproduced:
        if one.id in judgement.ids(originals):
            raise UsageError(
                f"run {one.id[:8]} is on both sides", hint="name the original, then other runs"
            )
    for one in (*originals, *reproduced):
        if one.record.is_parent:
            raise UsageError(
                f"run {one.id[:8]} starts other runs", hint="name those that are to be compared"
            )
        if one.status in _UNDER_WAY:
            raise UsageError(
                f"run {one.id[:8]} is {one.status}",
                hint=f"`reenact wait {one.id[:8]}` waits for it",
            )
    seeds = {judgement.seed_of(one.record) for one in (*originals, *reproduced)}
    is_sample = len(originals) > 1 or (len(seeds) > 1 and len(reproduced) > 1)
    rules = Rules(Tolerances.parse(tolerances), Tolerances.parse(margins))
    causes = judgement.find_causes(context, first, reproduced[0])
    if is_sample:
        rules = rules._replace(expectation=Expectation.STATISTICS)
    elif any(cause.kind in ("machine", "package", "python", "threads") for cause in causes):
        is_other = any(cause.kind in ("machine", "threads") for cause in causes)
        rules = rules._replace(expectation=Expectation.TOLERANCE, is_other_machine=is_other)
    draft = Reproduction(
        id=new_run_id(),
        originals=judgement.ids(originals),
        runs=judgement.ids(reproduced),
        created=datetime.now(UTC),
        expectation=rules.expectation,
        environment="as it was",
        reenact=__version__,
    )
    found = conclude(context, draft, originals, reproduced, rules, causes=causes)
    if keep:
        Reproductions(context.store).write(found)
    return found


def conclude(
    context: Context,
    draft: Reproduction,
    originals: Sequence[StoredRun],
    reproduced: Sequence[StoredRun],
    rules: Rules,
    *,
    causes: Sequence[Cause] | None = None,
    problems: Mapping[RunId, str] | None = None,
    claims: Sequence[ClaimVerdict] = (),
) -> Reproduction:
    """Judge all runs of a reproduction and say what comes of it."""
    first = originals[0]
    remarks = list(draft.remarks)
    failures = {
        stored.id: reason
        for stored in reproduced
        if (reason := (problems or {}).get(stored.id) or judgement.failure_of(first, stored))
    }
    fine = [stored for stored in reproduced if stored.id not in failures]
    remarks += [
        Remark(code="failed", message=f"run {run_id[:8]}: {reason}")
        for run_id, reason in failures.items()
    ]
    remarks += [
        Remark(code="failed", message=f"run {one.id[:8]} failed as the original did: {words}")
        for one in fine
        if one.status is Status.FAILED and (words := judgement.failure_words(one))
    ]
    if added := _added_metrics(originals, fine):
        remarks.append(Remark(code="metrics", message=f"only reported now: {', '.join(added)}"))
    is_sample = rules.expectation is Expectation.STATISTICS
    alike = [stored for stored in fine if not is_sample or _is_same_seed(originals, stored)]
    judged = [judgement.judge_run(first, stored, rules) for stored in alike]
    series = judgement.worst_of([one.series for one in judged], lambda one: one.name)
    outputs = judgement.worst_of([one.outputs for one in judged], lambda one: one.path)
    texts = [(one.printed,) for one in judged if one.printed is not None]
    printed = next(iter(judgement.worst_of(texts, lambda one: one.path)), None)
    statistics: tuple[StatisticVerdict, ...] = ()
    if is_sample or len(fine) > 1 or len(originals) > 1:
        statistics = judgement.judge_many(originals, fine, rules)
    if causes is None:
        causes = judgement.find_causes(context, first, reproduced[0]) if reproduced else ()
    stopped = [text for text in (problems or {}).values() if text.startswith("stopped:")]
    if stopped:
        verdict, summary = Verdict.DIFFERS, stopped[0]
    elif not fine:
        verdict, summary = Verdict.COULD_NOT_RUN, next(iter(failures.values()), "nothing ran")
    else:
        verdict, summary = overall(
            series=series,
            outputs=outputs,
            printed=printed,
            statistics=statistics,
            claims=claims,
            expectation=rules.expectation,
            named=rules.named,
        )
        if failures:
            # What came back in some runs only has not come back.
            verdict = worst([verdict, Verdict.INCONCLUSIVE])
            summary = f"{len(failures)} of {len(reproduced)} runs failed; {summary}"
        elif all(one.status is Status.FAILED for one in fine):
            summary += "; it failed as the original did"
    causes = list(causes)
    if verdict in (Verdict.DIFFERS, Verdict.WITHIN_TOLERANCE, Verdict.INCONCLUSIVE) and not causes:
        records = [one.run for one in (first, *reproduced) if one.run is not None]
        causes += judgement.chances_of(records)
        is_open = verdict is Verdict.DIFFERS or (
            verdict is Verdict.INCONCLUSIVE and printed is not None
        )
        if not causes and is_open and first.run is not None:
            causes += find_suspects(context.store.blobs, first.run)
    return msgspec.structs.replace(
        draft,
        runs=judgement.ids(reproduced),
        verdict=verdict,
        summary=summary,
        series=series,
        outputs=outputs,
        printed=printed,
        statistics=statistics,
        claims=tuple(claims),
        causes=tuple(causes),
        remarks=tuple(remarks),
        ended=datetime.now(UTC),
    )


def _added_metrics(originals: Sequence[StoredRun], reproduced: Sequence[StoredRun]) -> list[str]:
    """Return the metrics that no original reported: there is nothing to judge them by."""
    known, now = (
        {name for one in runs for name in one.record.metrics if not name.startswith(SAMPLED)}
        for runs in (originals, reproduced)
    )
    return [printable(f"`{name}`") for name in sorted(now - known)]


def _is_same_seed(originals: Sequence[StoredRun], stored: StoredRun) -> bool:
    """Whether a run of a sample can be compared with the first original step by step."""
    seed = judgement.seed_of(stored.record)
    return seed is not None and seed == judgement.seed_of(originals[0].record)
