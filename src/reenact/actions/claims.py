"""Check what a project claims: run what each claim needs, confirm or refute it, name what changed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from reenact import __version__
from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.actions.ground import RunRequest, find_pipeline
from reenact.actions.operations import project_of
from reenact.actions.plan import plan_run
from reenact.actions.reproduce.judgement import failure_words, last_values, seed_of
from reenact.actions.reproduce.preflight import environment_of, recorded_environment
from reenact.actions.reproduce.rerun import Reruns, Watcher, Wish, seed_settings, wish_for
from reenact.errors import BadProjectFile, NotFound, ReenactError, UsageError
from reenact.judge.claims import judge_claim
from reenact.judge.overall import overall
from reenact.judge.tolerance import Tolerance, parse_amount
from reenact.model.flags import FlagValue
from reenact.model.identity import RunId, new_run_id
from reenact.model.run import Remark, Run, Status
from reenact.model.secrets import REDACTED
from reenact.model.verdict import Cause, ClaimVerdict, Expectation, Reproduction, Verdict
from reenact.project.file.model import ClaimDef
from reenact.project.flag_text import format_value, nearest
from reenact.project.operation import find_python
from reenact.search.trials import SEED_FLAGS, parse_seeds
from reenact.store.reproductions import Reproductions
from reenact.store.store import StoredRun


class Claim(NamedTuple):
    """A claim that can be checked."""

    definition: ClaimDef
    tolerance: Tolerance | None
    seeds: tuple[int, ...]

    @property
    def times(self) -> int:
        """How many runs it takes."""
        return len(self.seeds) or self.definition.repeat or 1

    @property
    def needs(self) -> tuple[object, ...]:
        """What its runs are: claims of equal needs share them."""
        definition = self.definition
        flags = tuple(sorted((n, repr(v)) for n, v in definition.flags.items()))
        return definition.run, flags, self.seeds, self.times


def claims_of(context: Context, names: Sequence[str] = ()) -> list[Claim]:
    """Return the claims of the project, those of some names, in the order of the file.

    Raises:
        NotFound: the project has no claims, or none of a name.
        BadProjectFile: a claim cannot be understood.
    """
    project = project_of(context)
    if project is not None and project.bad_claims:
        first = project.bad_claims[0]
        raise BadProjectFile(f"{first.place}: {first.message}", hint=first.hint)
    definitions = () if project is None else project.content.claims
    if project is None or not definitions:
        raise NotFound(
            "the project claims nothing",
            hint="`reenact claims write --from RUN` writes what a run has shown as claims",
        )
    known = {definition.name: definition for definition in definitions}
    for name in names:
        if name not in known:
            close = nearest(name, known)
            raise NotFound(
                f"there is no claim `{name}`", hint=f"did you mean `{close}`?" if close else None
            )
    return [read_claim(d) for d in definitions if not names or d.name in names]


def read_claim(definition: ClaimDef) -> Claim:
    """Return a claim that can be checked; raises BadProjectFile."""
    try:
        tolerance = None if definition.tolerance is None else parse_amount(definition.tolerance)
        seeds = () if definition.seeds is None else parse_seeds(definition.seeds)
    except UsageError as error:
        raise BadProjectFile(
            f"{definition.place}: claim `{definition.name}`: {error.message}", hint=error.hint
        ) from None
    return Claim(definition, tolerance, seeds)


def check_claims(
    context: Context,
    claims: Sequence[Claim],
    watcher: Watcher,
    *,
    jobs: int = 1,
    python: str | None = None,
) -> Reproduction:
    """Run what claims need, in the project and the environment of now, and judge them.

    Raises:
        UsageError: an operation is refused, before anything has run.
        KeyboardInterrupt: the user wants it to end.
    """
    groups: dict[tuple[object, ...], list[Wish]] = {}
    number = 0
    for claim in claims:
        if claim.needs in groups:
            continue
        requests = _requests(claim, context, python)
        wishes = []
        for request in requests:
            number += 1
            wishes.append(wish_for(number, request))
        groups[claim.needs] = wishes
    kept = Reproductions(context.store)
    context.store.create()
    draft = Reproduction(
        id=new_run_id(),
        originals=_baselines(context, claims),
        created=datetime.now(UTC),
        expectation=Expectation.TOLERANCE,
        reenact=__version__,
    )
    lock = kept.take_new(draft.id)
    try:
        every = [wish for wishes in groups.values() for wish in wishes]
        reruns = Reruns(every, context, None, watcher, None, lock)
        requested = reruns.run(min(jobs, len(every)))
        if requested is not None:
            raise KeyboardInterrupt(requested)
        found = _conclude(context, draft, claims, groups, reruns.problems, python)
        kept.write(found)
        return found
    finally:
        lock.release(remove=True)


def _requests(claim: Claim, context: Context, python: str | None) -> list[RunRequest]:
    definition = claim.definition
    settings: dict[str, str | FlagValue] = {
        name: value if isinstance(value, str) else format_value(value)
        for name, value in definition.flags.items()
    }
    request = RunRequest(
        target=definition.run, settings=settings, python=python, has_input=False, quiet=True
    )
    try:
        if find_pipeline(request, context) is not None:
            raise UsageError(
                f"claim `{definition.name}` needs the pipeline `{definition.run}`",
                hint="name the operation of the step that reports the metric",
            )
        plan = plan_run(request, context)
    except ReenactError as error:
        raise UsageError(f"{definition.place}: {error.message}", hint=error.hint) from None
    names = [flag.name for flag in plan.flag_set.flags]
    if not claim.seeds:
        return [request] * claim.times
    return [
        msgspec.structs.replace(
            request, settings={**settings, **seed_settings(names, seed)}, seed=seed
        )
        for seed in claim.seeds
    ]


def _conclude(
    context: Context,
    draft: Reproduction,
    claims: Sequence[Claim],
    groups: dict[tuple[object, ...], list[Wish]],
    problems: dict[RunId, str],
    python: str | None,
) -> Reproduction:
    runs: dict[RunId, StoredRun] = {}
    remarks: dict[str, None] = {}
    for wish in (wish for wishes in groups.values() for wish in wishes):
        try:
            stored = context.store.read_run(wish.run_id)
        except NotFound:
            remarks[problems.get(wish.run_id, "a run did not start")] = None
            continue
        runs[stored.id] = stored
        if stored.status is not Status.COMPLETED:
            remarks[f"run {stored.id[:8]} failed: {failure_words(stored)}"] = None
    verdicts = [
        judge_runs(claim, [runs.get(w.run_id) for w in groups[claim.needs]]) for claim in claims
    ]
    verdict, summary = overall(claims=verdicts, expectation=draft.expectation)
    changed = _changed_packages(context, claims, python)
    return msgspec.structs.replace(
        draft,
        runs=tuple(runs),
        verdict=verdict,
        summary=summary,
        claims=tuple(verdicts),
        causes=tuple(changed),
        remarks=tuple(Remark(code="claim", message=text) for text in remarks),
        ended=datetime.now(UTC),
    )


def judge_runs(claim: Claim, runs: Sequence[StoredRun | None]) -> ClaimVerdict:
    """Return what runs say of a claim; None is one that did not start."""
    definition = claim.definition
    fine = [run for run in runs if run is not None and run.status is Status.COMPLETED]
    values = [last_values(run) for run in fine]
    found = [value[definition.metric] for value in values if definition.metric in value]
    verdict = judge_claim(
        definition.name,
        definition.metric,
        definition.value,
        found,
        tolerance=claim.tolerance,
        direction=definition.direction,
        paper=definition.paper,
    )
    if verdict.verdict is Verdict.COULD_NOT_RUN and fine:
        close = nearest(definition.metric, values[0])
        hint = f"; did you mean `{close}`?" if close else ""
        return msgspec.structs.replace(verdict, reason=f"{verdict.reason}{hint}")
    if len(fine) < len(runs):
        reason = f"{len(runs) - len(fine)} of {len(runs)} runs failed"
        text = "; ".join(filter(None, [verdict.reason, reason]))
        worse = verdict.verdict if fine else Verdict.COULD_NOT_RUN
        if worse in (Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE, Verdict.EQUIVALENT):
            worse = Verdict.INCONCLUSIVE
        return msgspec.structs.replace(verdict, verdict=worse, reason=text)
    return verdict


# --- what changed since ---


def _baselines(context: Context, claims: Iterable[Claim]) -> tuple[RunId, ...]:
    found = (_baseline(context, claim) for claim in claims)
    return tuple(dict.fromkeys(stored.id for stored in found if stored is not None))


def _baseline(context: Context, claim: Claim) -> StoredRun | None:
    if claim.definition.baseline is None:
        return None
    try:
        return find_run(context, claim.definition.baseline)
    except ReenactError:
        return None


def _changed_packages(context: Context, claims: Sequence[Claim], python: str | None) -> list[Cause]:
    """Name the packages that are not those with which the claims were made."""
    before: dict[str, str] = {}
    for claim in claims:
        before.update(_packages_of(context, claim))
    if not before:
        return []
    try:
        environment = environment_of(find_python(context.env, python), context)
    except ReenactError:
        environment = None
    if environment is None:
        return []
    now = {package.name: package.version for package in environment.packages or ()}
    return [
        Cause(kind="package", what=name, original=version, reproduced=now.get(name))
        for name, version in sorted(before.items())
        if now.get(name) != version
    ]


def _packages_of(context: Context, claim: Claim) -> dict[str, str]:
    pairs = (text.partition("==") for text in claim.definition.packages)
    listed = {name: version for name, equals, version in pairs if equals}
    stored = _baseline(context, claim)
    if listed or stored is None:
        return listed
    environment = recorded_environment(stored.record, context)
    packages = () if environment is None else environment.packages or ()
    return {package.name: package.version for package in packages}


# --- writing ---


def claims_from(
    context: Context,
    stored: StoredRun,
    metrics: Sequence[str],
    *,
    tolerance: str | None = None,
    paper: str | None = None,
) -> list[ClaimDef]:
    """Return what a run has shown as claims: the last values of its metrics.

    Args:
        context: where.
        stored: the run.
        metrics: which of them; all that are no times when empty.
        tolerance: of each claim.
        paper: where it will be stated.

    Raises:
        NotFound: the run has no such metric, or none at all.
    """
    from reenact.judge.names import is_time
    from reenact.project.file.model import Place

    run = stored.record
    values = last_values(stored)
    for name in metrics:
        if name not in values:
            close = nearest(name, values)
            hint = f"did you mean `{close}`?" if close else None
            raise NotFound(f"run {run.id[:8]} has no metric `{name}`", hint=hint)
    chosen = metrics or [name for name in values if not is_time(name)]
    if not chosen:
        raise NotFound(f"run {run.id[:8]} has reported no metric")
    if tolerance is not None:
        parse_amount(tolerance)
    environment = recorded_environment(run, context)
    packages = () if environment is None else environment.packages or ()
    taken = {claim.name for claim in _known_claims(context)}
    found: list[ClaimDef] = []
    for name in chosen:
        claim = ClaimDef(
            name=_free_name(taken),
            place=Place("", 1),
            run=run.operation.name,
            metric=name,
            value=values[name],
            tolerance=tolerance,
            flags=_flags_of(run),
            seeds=None if (seed := seed_of(run)) is None else str(seed),
            paper=paper,
            baseline=run.id,
            # Once is enough: a check takes those of all claims together.
            packages=() if found else tuple(f"{one.name}=={one.version}" for one in packages),
        )
        taken.add(claim.name)
        found.append(claim)
    return found


def _flags_of(run: Run) -> dict[str, FlagValue]:
    """Return the flags that a claim needs: those that were given, but for seeds and secrets."""
    given = {name: run.flags[name] for name in run.given if name in run.flags}
    return {n: v for n, v in given.items() if n not in SEED_FLAGS and v != REDACTED}


def _known_claims(context: Context) -> tuple[ClaimDef, ...]:
    project = project_of(context)
    return () if project is None else project.content.claims


def _free_name(taken: set[str]) -> str:
    number = 1
    while f"C{number}" in taken:
        number += 1
    return f"C{number}"


def write_claims(context: Context, claims: Sequence[ClaimDef]) -> str:
    """Add claims to the project file, whose other lines stay as they are; return its path.

    Raises:
        ReenactError: it cannot be written, or would not be a project file any more.
    """
    from reenact.project.file.claim_text import add_claims
    from reenact.project.file.find import check_project
    from reenact.project.file.packages import FILE_NAMES
    from reenact.store.files import read_file, write_atomically

    root = context.root.path
    name = next((n for n in FILE_NAMES if os.path.isfile(f"{root}/{n}")), FILE_NAMES[0])
    path = f"{root}/{name}"
    former = read_file(path).decode() if os.path.isfile(path) else ""
    last = max((c.place.line for c in _known_claims(context) if c.place.file == name), default=None)
    text = add_claims(former, claims, last)
    try:
        write_atomically(path, text.encode())
        project = check_project(path, context.env).project
        known = set() if project is None else {claim.name for claim in project.content.claims}
        if project is None or project.bad_claims or not known.issuperset(c.name for c in claims):
            write_atomically(path, former.encode())
            raise ReenactError(
                f"claims cannot be added to `{name}` as it is written; it is left as it was",
                hint="`reenact claims write --print` prints them for you to add",
            )
    except OSError as error:
        raise ReenactError(f"cannot write `{name}`: {error.strerror}") from None
    return path
