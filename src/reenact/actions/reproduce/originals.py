"""Find the runs whose results are to be shown again: by id, by label, by a file that they made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from reenact.actions.bundle.receive import receive
from reenact.actions.context import Context
from reenact.actions.find import find_run, list_runs, parts_of
from reenact.errors import NotFound, ReenactError, UsageError
from reenact.model.identity import Digest, RunId
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import Run, Status
from reenact.model.words import counted
from reenact.store.archive import is_bundle
from reenact.store.blobs import digest_file
from reenact.store.index import Index
from reenact.store.lineage import makers_of
from reenact.store.store import StoredRun

_ENDED = (Status.COMPLETED, Status.FAILED)


def find_originals(context: Context, texts: Sequence[str]) -> list[StoredRun]:
    """Return the runs that are meant, each once.

    Args:
        context: where.
        texts: each a run as everywhere, or the path of a file that a run has made; the latest run
            that is no reproduction where there are none.

    Raises:
        NotFound, Ambiguous: a text means no run, or several.
        UsageError: a run cannot be reproduced.
    """
    found = {stored.id: stored for stored in (_find(context, text) for text in texts)}
    if not texts:
        one = latest(context)
        found[one.id] = one
    for stored in found.values():
        check(stored)
    return list(found.values())


def with_bundles_opened(
    context: Context, texts: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """Return texts in which each bundle is replaced by its runs, which are taken into the store.

    Of its runs those are meant that were asked for when it was written, and that can be run again.

    Raises:
        Damaged, TooNew: a bundle cannot be taken.
        NotFound: a bundle that is named is not there.
        UsageError: no run of a bundle can be run again.
    """
    found: list[str] = []
    for text in texts:
        path = os.path.join(context.directory, text)
        if text.endswith(".zip") and not os.path.lexists(path):
            raise NotFound(f"there is no file `{text}`")
        if not os.path.isfile(path) or (not is_bundle(path) and _is_made(context, text, path)):
            found.append(text)
            continue
        received = receive(context, text)
        new = counted(len(received.new), "run")
        say(f"{text}: verified, {new} taken into {context.store.root}")
        problems = []
        for run_id in received.manifest.runs:
            try:
                check(context.store.read_run(run_id))
            except UsageError as error:
                problems.append(error)
            else:
                found.append(run_id)
        if len(problems) == len(received.manifest.runs):
            raise problems[0]
        for problem in problems:
            say(f"left out: {problem.message}")
    return found


def _is_made(context: Context, text: str, path: str) -> bool:
    """Tell whether a file that is no bundle can be something that a run has made; a `.zip` may be broken."""
    if not text.endswith(".zip"):
        return True
    try:
        context.store.check_format()
    except NotFound:
        return False
    return maker_of(context, digest_file(path)[0]) is not None


def latest(context: Context) -> StoredRun:
    """Return the project's latest run that is itself no reproduction; raises NotFound."""
    for one in list_runs(context):
        stored = context.store.read_run(one.id)
        if stored.run is not None and stored.run.reproduces is None and one.parent is None:
            return stored
    raise NotFound(
        "there is no run of this project to reproduce",
        hint="name runs of other projects by their ids",
    )


def find_all(context: Context, *, limit: int | None = None) -> list[StoredRun]:
    """Return the runs of all projects that stand for themselves and have completed, latest first.

    Parts of batches and pipelines come with those; what reproduced another run does not count.
    """
    found = []
    for one in list_runs(context, all_projects=True):
        if one.status is not Status.COMPLETED or one.parent is not None:
            continue
        stored = context.store.read_run(one.id)
        run = stored.run
        if run is None or run.reproduces is not None or run.operation.is_in_process:
            continue
        found.append(stored)
        if limit is not None and len(found) >= limit:
            break
    return found


def check(stored: StoredRun) -> None:
    """Refuse a run whose result nobody can know, or that cannot be started again; raises UsageError."""
    run = stored.record
    name = run.id[:8]
    if run.operation.is_in_process:
        raise UsageError(
            f"run {name} was a part of a process, which cannot be started again",
            hint=f"run it again yourself, then `reenact judge {name} NEW`",
        )
    if stored.status not in _ENDED:
        raise UsageError(
            f"run {name} is {stored.status}: there is no result to show again",
            hint="`reenact runs` lists those that have completed",
        )
    if not run.is_parent and run.source is None and run.operation.kind.value != "command":
        raise UsageError(
            f"run {name} has no source: it was made with `--no-snapshot`",
            hint="run it again with its source, and reproduce that",
        )


def parts(context: Context, stored: StoredRun) -> list[StoredRun]:
    """Return the runs of which a run is made, in their order: itself where it has no parts."""
    run = stored.record
    if not run.is_parent:
        return [stored]
    found = []
    for one in parts_of(context, stored.id):
        inner = context.store.read_run(one.id)
        if inner.run is not None and inner.status is Status.COMPLETED:
            found += parts(context, inner)
    if not found:
        raise NotFound(f"no part of run {stored.id[:8]} has completed")
    return in_order(found)


def in_order(found: Iterable[StoredRun]) -> list[StoredRun]:
    """Return runs so that each comes after those whose files it was given."""
    by_id = {stored.id: stored for stored in found}
    done: dict[RunId, StoredRun] = {}

    def visit(stored: StoredRun) -> None:
        if stored.id in done:
            return
        for needed in needed_runs(stored.record):
            if needed in by_id and needed not in done and needed != stored.id:
                visit(by_id[needed])
        done[stored.id] = stored

    for stored in by_id.values():
        visit(stored)
    return list(done.values())


def needed_runs(run: Run) -> tuple[RunId, ...]:
    """Return the runs whose files a run was given."""
    return tuple(dict.fromkeys(d.run for d in run.dependencies if d.run is not None))


def with_needed(context: Context, stored: StoredRun) -> list[StoredRun]:
    """Return a run after all runs whose files it was given, and those that they were given.

    Raises:
        NotFound: one of them is gone.
        UsageError: one of them cannot be started again.
    """
    found: dict[RunId, StoredRun] = {}
    waiting = [stored]
    while waiting:
        one = waiting.pop()
        if one.id in found:
            continue
        found[one.id] = one
        for needed in needed_runs(one.record):
            try:
                other = context.store.read_run(needed)
            except NotFound:
                raise NotFound(
                    f"run {needed[:8]}, whose files run {one.id[:8]} was given, is gone",
                    hint="without `--deep` its files are looked for by their content",
                ) from None
            check(other)
            waiting.append(other)
    return in_order(found.values())


def _find(context: Context, text: str) -> StoredRun:
    path = os.path.join(context.directory, text)
    if not os.path.isfile(path):
        return find_run(context, text)
    try:
        return find_run(context, text)
    except ReenactError:
        pass
    digest = digest_file(path)[0]
    run_id = maker_of(context, digest)
    if run_id is None:
        raise NotFound(
            f"no run in this store has made the content of `{path_to_text(text)}`",
            hint="`reenact whence` says more about a file",
        )
    return context.store.read_run(run_id)


def maker_of(context: Context, digest: Digest) -> RunId | None:
    """Return the first run that left a file with this content; None where no run did.

    What reproduced a run made it as well, and is not meant where another one has.
    """
    with Index(context.store) as index:
        makers = makers_of(index, [digest]).get(digest, [])
    for run_id in makers:
        run = context.store.read_run(run_id).run
        if run is not None and run.reproduces is None:
            return run_id
    return makers[0] if makers else None


def output_of(context: Context, digest: Digest) -> str | None:
    """Return where an output with this content is, of any run."""
    with Index(context.store) as index:
        makers = makers_of(index, [digest]).get(digest, [])
    for run_id in makers:
        stored = context.store.read_run(run_id)
        for file in stored.run.outputs if stored.run is not None else ():
            path = os.path.join(stored.directory, text_to_path(file.path))
            if file.digest == digest and os.path.isfile(path):
                return path
    return None
