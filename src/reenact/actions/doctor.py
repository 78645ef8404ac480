"""Say what was captured of a run, what was not, and why."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.recover import orphans
from reenact.actions.run_definition import scalars_of_run
from reenact.actions.run_files import describe_coverage
from reenact.actions.show import describe
from reenact.errors import ReenactError
from reenact.execute.census import HELPED_BY_HOOK, reason_in
from reenact.execute.metric_line import Rule
from reenact.execute.metric_patterns import line_reader
from reenact.execute.metric_text import Explanation
from reenact.execute.metric_text import Finding as NumberFinding
from reenact.execute.params_told import of_record
from reenact.execute.recorder import names_never_metrics
from reenact.model.lock import decode_lock
from reenact.model.metrics import SAMPLED
from reenact.model.run import OperationKind, Randomness, Run, Status
from reenact.model.words import counted
from reenact.store.output_log import STDOUT, output_size, read_output
from reenact.store.store import RECORD_DIRECTORY, StoredRun

_MOST_UNREACHED = 5
_NO_LOCK = "what it takes to install its packages again is not recorded"
_WHY = {
    "listing": "in whatever order the file system has",
    "time": "another seed each time",
    "uuid": "other names each time",
    "threads": "in whatever order they come",
    "processes": "in whatever order they come",
    "network": "answers may be others next time",
    "unseeded": "another seed each time",
    "operation": "which has no deterministic form",
}
"""Kind of a source of chance -> what it does to a result."""


class Finding(NamedTuple):
    """One thing that was looked at. `state` is `ok`, `note` or `problem`."""

    state: str
    what: str
    detail: str


def examine(context: Context, stored: StoredRun) -> list[Finding]:
    """Go through everything that can be captured of a run.

    Raises:
        Damaged: the record cannot be read.
    """
    run = stored.record
    remarks = [Finding("note", remark.code, remark.message) for remark in run.warnings]
    if run.pipeline is not None:
        # Its steps have source of their own.
        return [_status(stored, run), *remarks]
    if run.is_parent or run.is_staged:
        # Nothing of its own has run.
        return [_status(stored, run), _source(run), *remarks]
    details = describe(context, stored)
    findings = [
        _status(stored, run),
        _source(run),
        _processes(run),
        *_unreached(run),
        *_captures(run),
        *(Finding(*finding) for finding in describe_coverage(run)),
        _metrics(run),
        *_chance(run),
        _output(stored),
    ]
    if details.environment is None:
        findings.append(Finding("note", "environment", "not recorded"))
    else:
        count = len(details.environment.packages or ())
        findings.append(Finding("ok", "environment", counted(count, "package")))
        for name, reason in details.environment.reasons.items():
            findings.append(Finding("note", f"environment {name}", reason))
        if details.environment.python is not None:
            findings += _lock(context, run)
    if details.machine is not None:
        for name, reason in details.machine.reasons.items():
            findings.append(Finding("note", f"machine {name}", reason))
    findings += [Finding("problem", "blob", text) for text in details.problems]
    return findings + remarks


def _lock(context: Context, run: Run) -> Iterator[Finding]:
    """Say what may be missing when its packages are installed again."""
    if run.lock is None:
        # A short run in a process does not look.
        if not run.operation.is_in_process:
            yield Finding("note", "lock", _NO_LOCK)
        return
    try:
        where = f"the lock of run {run.id[:8]}"
        lock = decode_lock(context.store.blobs.get(run.lock), where=where)
    except ReenactError as error:
        yield Finding("problem", "lock", error.message)
        return
    for package in lock.packages:
        if package.reason is not None:
            yield Finding("note", "lock", f"{package.name} {package.version}: {package.reason}")


def explain_output(
    context: Context, stored: StoredRun, *, lines: int
) -> list[tuple[str, Explanation]]:
    """Explain for the numbers in a run's output why they are metrics or are not.

    Args:
        context: where.
        stored: the run.
        lines: how many lines with numbers at most.

    Returns:
        Lines of standard output with what was found in each.
    """
    run = stored.record
    explained: list[tuple[str, Explanation]] = []
    scalars = scalars_of_run(context.store, run)
    reader = line_reader(scalars, names_never_metrics(run), of_record(run.params))
    partial = b""
    for piece in read_output(f"{stored.directory}/{RECORD_DIRECTORY}"):
        if piece.stream != STDOUT:
            continue
        parts = (partial + piece.data).split(b"\n")
        partial = parts.pop()
        for raw in parts:
            line = raw.decode("utf-8", "replace")
            explanation = reader.explain(line)
            reader.feed(raw + b"\n", piece.time_ns or 0)
            if explanation.findings:
                explained.append((line, explanation))
            if len(explained) >= lines:
                return explained
    return explained


def say_rule(number: NumberFinding) -> str:
    """Say in one line what became of a number."""
    if number.rule is Rule.TAKEN:
        step = "" if number.step is None else f" at step {number.step}"
        return f"{number.text}: metric `{number.name}` = {number.value}{step}"
    return f"{number.text}: no metric, {number.rule}"


def _status(stored: StoredRun, run: Run) -> Finding:
    if stored.status is Status.KILLED:
        alive = orphans(run)
        if alive:
            return Finding(
                "problem", "status", f"the supervisor was killed, process {alive[0]} lives on"
            )
        return Finding("problem", "status", "the supervisor was killed; the end is not known")
    return Finding("ok", "status", str(stored.status))


def _source(run: Run) -> Finding:
    if run.source is None:
        return Finding(
            "problem", "source", "not kept: the run cannot be reproduced from its record"
        )
    return Finding("ok", "source", f"{counted(run.source.files, 'file')}, all kept")


def _processes(run: Run) -> Finding:
    is_command = run.operation.kind is OperationKind.COMMAND
    if is_command and not run.processes and not run.unreached:
        return Finding("note", "probe", "no Python process was seen")
    if not run.processes:
        reasons = "it ran with -I, -E, -S or an emptied environment, is older than Python 3.8, or "
        detail = "no Python process said hello"
        if not run.unreached:
            detail += f": {reasons}has not started"
        return Finding("note" if is_command else "problem", "probe", detail)
    starts = sum(process.kind == "start" for process in run.processes)
    forks = len(run.processes) - starts
    versions = ", ".join(sorted({p.python for p in run.processes if p.python is not None}))
    return Finding(
        "ok",
        "probe",
        f"{counted(starts, 'Python process', 'Python processes')} ({versions}), {forks} forked",
    )


def _unreached(run: Run) -> Iterator[Finding]:
    for process in run.unreached[:_MOST_UNREACHED]:
        words, reason = process.argv, process.reason
        if not words and process.pid == run.process_group:
            # Nobody met it alive: it is the run's first one, of which the record says the command.
            words = run.command
            reason = reason_in(words) or reason
        what = shlex.join(words) or process.executable or "Python"
        detail = f"`{what}` (process {process.pid}): {reason}"
        if reason is not None and reason.endswith(HELPED_BY_HOOK):
            detail += "; `reenact install-hook` reaches it"
        yield Finding("note", "not reached", detail)
    if len(run.unreached) > _MOST_UNREACHED:
        more = counted(len(run.unreached) - _MOST_UNREACHED, "more process", "more processes")
        yield Finding("note", "not reached", more)


def _captures(run: Run) -> Iterator[Finding]:
    if run.autolog is not None:
        is_off = run.autolog.strip() == "off"
        what = "of no framework" if is_off else f"only of {run.autolog}"
        yield Finding("note", "autologging", f"{what}: `REENACT_AUTOLOG={run.autolog}` was set")
    for capture in run.captures:
        name = " ".join(filter(None, [capture.framework, capture.version]))
        detail = capture.detail or ("captured" if capture.is_captured else "not captured")
        yield Finding("ok" if capture.is_captured else "note", name, detail)


def _chance(run: Run) -> Iterator[Finding]:
    """Say what random generators began with, and what else may come out otherwise next time."""
    found = run.randomness or Randomness()
    if not run.processes:
        return
    if run.seed is None:
        if not run.operation.is_in_process:
            detail = "none: what the script leaves to chance comes out otherwise each time"
            yield Finding("note", "seed", detail)
    else:
        ours = [name for name, said in found.seeded.items() if said == "reenact"]
        which = f" for {', '.join(ours)}" if ours else ", which no generator needed"
        yield Finding("ok", "seed", f"{run.seed}{which}")
    for name, said in found.seeded.items():
        if said != "reenact":
            yield Finding("ok", f"seed of {name}", said)
    for chance in found.chances:
        often = f", {chance.count} times" if chance.count > 1 else ""
        where = "" if chance.place is None else f"{chance.place}: "
        why = _WHY.get(chance.kind, chance.kind)
        yield Finding("note", "chance", f"{where}{chance.what}, {why}{often}")


def _metrics(run: Run) -> Finding:
    own = [name for name in run.metrics if not name.startswith(SAMPLED)]
    if not own:
        return Finding("note", "metrics", "none was found; `--lines` explains the output's numbers")
    points = sum(run.metrics[name].count for name in own)
    return Finding("ok", "metrics", f"{counted(len(own), 'metric')}, {counted(points, 'point')}")


def _output(stored: StoredRun) -> Finding:
    if stored.record.operation.is_in_process:
        return Finding("note", "output", "what is printed in a process is not kept")
    size = output_size(f"{stored.directory}/{RECORD_DIRECTORY}")
    return Finding("ok", "output", f"{size} bytes of output")
