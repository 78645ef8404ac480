"""Check claims that came with runs: those of the project file in the source that a run was made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from reenact import __version__
from reenact.actions.claims import Claim, judge_runs, read_claim
from reenact.actions.context import Context
from reenact.actions.reproduce.originals import parts
from reenact.actions.reproduce.use_case import Listener, Outcome, ReproduceRequest, reproduce
from reenact.actions.restore_source import restore_source
from reenact.errors import BadProjectFile, NotFound, ReenactError, UsageError
from reenact.judge.overall import overall
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.run import Run
from reenact.model.verdict import Cause, ClaimVerdict, Expectation, Reproduction
from reenact.project.file.find import load_project
from reenact.project.file.model import ClaimDef
from reenact.project.flag_text import format_value, nearest
from reenact.store.reproductions import Reproductions
from reenact.store.store import StoredRun


class Stated(NamedTuple):
    """A claim, and the run that shows it."""

    claim: Claim
    original: StoredRun


def stated_claims(
    context: Context, originals: Sequence[StoredRun], names: Sequence[str]
) -> list[Stated]:
    """Return claims of the project files that runs came with, and the run which shows each.

    A claim says what it needs: an operation, and flags. The run from which it was taken comes
    first, then the latest of those that have these flags.

    Args:
        context: where.
        originals: runs, batches and pipelines.
        names: of the claims.

    Raises:
        NotFound: there is no such claim, or no run that shows it.
        BadProjectFile: a claim cannot be understood.
    """
    runs = list(
        {one.id: one for original in originals for one in parts(context, original)}.values()
    )
    runs.sort(key=lambda one: one.record.created, reverse=True)
    known: dict[str, ClaimDef] = {}
    for stored in runs:
        for definition in _definitions(context, stored):
            known.setdefault(definition.name, definition)
    found = []
    for name in dict.fromkeys(names):
        if name not in known:
            close = nearest(name, known)
            listed = f"there are {', '.join(f'`{one}`' for one in known)}" if known else None
            raise NotFound(
                f"the source of these runs states no claim `{name}`",
                hint=f"did you mean `{close}`?" if close else listed,
            )
        found.append(Stated(read_claim(known[name]), _shown_by(known[name], runs)))
    return found


def _definitions(context: Context, stored: StoredRun) -> tuple[ClaimDef, ...]:
    """Return the claims of the project file in the source of a run."""
    source = stored.record.source
    if source is None:
        return ()
    directory = f"{context.store.cache_directory}/sources/{source.tree}"
    if not os.path.isdir(directory):
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        try:
            restore_source(context, stored, directory)
        except UsageError:
            assert os.path.isdir(directory)  # Somebody else has just laid it out.
    project = load_project(directory, context.env)
    if project is None:
        return ()
    if project.bad_claims:
        first = project.bad_claims[0]
        raise BadProjectFile(f"{first.place}: {first.message}", hint=first.hint)
    return project.content.claims


def _shown_by(definition: ClaimDef, runs: Sequence[StoredRun]) -> StoredRun:
    for stored in runs:
        if stored.id == definition.baseline:
            return stored
    for stored in runs:
        run = stored.record
        is_of_it = definition.run in (run.operation.name, run.operation.target)
        if is_of_it and all(_has(run, flag, value) for flag, value in definition.flags.items()):
            return stored
    flags = "".join(f" {name}={format_value(value)}" for name, value in definition.flags.items())
    raise NotFound(
        f"none of these runs shows claim `{definition.name}`: it needs `{definition.run}{flags}`"
    )


def _has(run: Run, flag: str, value: FlagValue) -> bool:
    return flag in run.flags and (
        run.flags[flag] == value or format_value(run.flags[flag]) == format_value(value)
    )


def check_stated(
    context: Context,
    stated: Sequence[Stated],
    request: ReproduceRequest,
    listener: Listener,
) -> Reproduction:
    """Run again what shows some claims, and confirm or refute each.

    What is run again is judged as ever, and that verdict is kept, too.

    Raises:
        UsageError: the request says otherwise than a claim how often to run.
        ReenactError: something that a claim needs could not be run.
        KeyboardInterrupt: the user wants it to end.
    """
    if request.seeds or request.repeat > 1:
        raise UsageError("a claim says itself with which seeds, and how often, it is checked")
    started = datetime.now(UTC)
    outcomes: dict[tuple[object, ...], Outcome] = {}
    verdicts: list[ClaimVerdict] = []
    for one in stated:
        key = (one.original.id, one.claim.seeds, one.claim.times)
        if key not in outcomes:
            seeds = one.claim.seeds
            wanted = msgspec.structs.replace(
                request, seeds=seeds, repeat=1 if seeds else one.claim.times
            )
            outcome = reproduce(context, [one.original], wanted, listener)[-1]
            if outcome.problem is not None:
                raise outcome.problem
            outcomes[key] = outcome
        verdicts.append(_judged(context, one.claim, outcomes[key]))
    made = [o.reproduction for o in outcomes.values() if o.reproduction is not None]
    verdict, summary = overall(claims=verdicts, expectation=Expectation.TOLERANCE)
    causes: dict[tuple[str, str], Cause] = {}
    for reproduction in made:
        causes.update({(cause.kind, cause.what): cause for cause in reproduction.causes})
    found = Reproduction(
        id=new_run_id(),
        originals=_unique([run for one in made for run in one.originals]),
        runs=_unique([run for one in made for run in one.runs]),
        created=started,
        ended=datetime.now(UTC),
        environment=made[0].environment,
        expectation=Expectation.TOLERANCE,
        verdict=verdict,
        summary=summary,
        claims=tuple(verdicts),
        causes=tuple(causes.values()),
        remarks=tuple(remark for one in made for remark in one.remarks),
        reenact=__version__,
    )
    Reproductions(context.store).write(found)
    return found


def _judged(context: Context, claim: Claim, outcome: Outcome) -> ClaimVerdict:
    ids = () if outcome.reproduction is None else outcome.reproduction.runs
    runs: list[StoredRun | None] = []
    for run_id in ids:
        try:
            runs.append(context.store.read_run(run_id))
        except ReenactError:
            runs.append(None)
    durations = [one.run.duration_s for one in runs if one is not None and one.run is not None]
    duration_s = sum(duration for duration in durations if duration is not None)
    return msgspec.structs.replace(judge_runs(claim, runs), duration_s=duration_s)


def _unique(runs: Sequence[RunId]) -> tuple[RunId, ...]:
    return tuple(dict.fromkeys(runs))
