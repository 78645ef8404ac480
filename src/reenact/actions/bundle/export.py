"""Write runs with all that they need into one file: `reenact export`."""

from __future__ import annotations

import errno
import fnmatch
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import msgspec

from reenact import __version__
from reenact.actions.bundle.contents import Contents, Data, Member, Sort, collect
from reenact.actions.bundle.private import Private, private_texts, secrets_of
from reenact.actions.bundle.public import find_secrets, make_public, refuse_private
from reenact.actions.context import Context
from reenact.actions.lock import Format, lock_text
from reenact.errors import Damaged, ReenactError, UsageError
from reenact.interop.research_object import Described, describe
from reenact.model.bundle import CRATE, Finding, LeftOut, Manifest
from reenact.model.environment import Environment, decode_environment, decode_machine
from reenact.model.identity import Digest, RunId
from reenact.model.run import Run
from reenact.snapshot.tree import read_tree
from reenact.store.archive import ArchiveWriter, new_file
from reenact.store.store import MARKER, STORE_FORMAT, Store

Progress = Callable[[int, int], None]


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for.

    Attributes:
        data: how much of what the runs have read goes along.
        deep: the runs whose files they were given, too.
        exclude: patterns of outputs that do not go along.
        verdicts: what came of reproducing them, too.
        public: what is private is taken out.
        allow: patterns of files in which it may stay.
        pylock: a `pylock.toml` of each environment, which asks the package indexes.
        replace: a file that is there is replaced.
        dry_run: write nothing.
    """

    data: Data = Data.KEPT
    deep: bool = False
    exclude: tuple[str, ...] = ()
    verdicts: bool = False
    public: bool = False
    allow: tuple[str, ...] = ()
    pylock: bool = False
    replace: bool = False
    dry_run: bool = False


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: the file.
        size_bytes: of it; None of a dry run.
        runs: all that are in it; those that were asked for come first.
        files: how many files.
        sizes: bytes before compression, by what they are for.
        left_out: what of the runs is not in it.
        findings: what was private: taken out, or allowed to stay; otherwise warned of.
        remarks: what a reader must know.
    """

    path: str
    size_bytes: int | None
    runs: tuple[RunId, ...]
    files: int
    sizes: dict[Sort, int]
    left_out: tuple[LeftOut, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]


def export(
    context: Context,
    runs: Sequence[RunId],
    path: str,
    request: ExportRequest,
    *,
    progress: Progress = lambda _done, _all: None,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write a bundle. The file is there when all of it is, and not before.

    Args:
        context: where the runs are.
        runs: which.
        path: the file to write.
        request: what belongs into it.
        progress: told how many bytes are written, of how many.
        say: told what takes long.

    Raises:
        UsageError: the file is there already, or a run has not ended.
        NotFound, Damaged: something that belongs into it is gone or spoilt.
        NotPublic: what is private would be in a public bundle.
        ReenactError: the file cannot be written.
    """
    # Through a link: it stays, and what it leads to is replaced.
    target = os.path.realpath(os.path.join(context.directory, path))
    _check_target(target, path, replace=request.replace)
    store = context.store
    with _kept_from_gc(store):
        contents = collect(
            context,
            runs,
            data=request.data,
            deep=request.deep,
            exclude=request.exclude,
            verdicts=request.verdicts,
        )
        if request.pylock:
            contents = _with_pylocks(context, contents, say)
        with tempfile.TemporaryDirectory(prefix="reenact-") as directory:
            contents, findings = _without_private(context, contents, request, directory)
            contents = _with_descriptions(context, contents)
            manifest = Manifest(
                runs=contents.asked,
                files=(),
                reenact=__version__,
                is_public=request.public,
                findings=findings if request.public else (),
                left_out=contents.left_out,
            )
            size = None
            changed: list[str] = []
            if not request.dry_run:
                size, changed = _write(target, path, contents, manifest, request, progress)
    sizes: dict[Sort, int] = {}
    for member in contents.members.values():
        sizes[member.sort] = sizes.get(member.sort, 0) + member.size_bytes
    ordered = dict.fromkeys([*contents.asked, *contents.runs])
    return Exported(
        path,
        size,
        tuple(ordered),
        len(contents.members) + len(contents.links),
        sizes,
        contents.left_out,
        findings,
        tuple(changed),
    )


@contextmanager
def _kept_from_gc(store: Store) -> Iterator[None]:
    """Keep `gc` from freeing what is being read; in a store that nobody can write to it cannot."""
    lock = store.writing()
    try:
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _check_target(target: str, path: str, *, replace: bool) -> None:
    if os.path.isdir(target):
        raise UsageError(f"`{path}` is a directory", hint="name a file")
    if os.path.exists(target) and not os.path.isfile(target):
        raise UsageError(f"`{path}` is no file that could be replaced", hint="name a file")
    if os.path.lexists(target) and not replace:
        raise UsageError(f"`{path}` is there already", hint="`--force` replaces it")
    if not os.path.isdir(os.path.dirname(target)):
        raise UsageError(f"there is no directory `{os.path.dirname(path)}`")


# --- what is private ---


def _without_private(
    context: Context, contents: Contents, request: ExportRequest, scratch: str
) -> tuple[Contents, tuple[Finding, ...]]:
    if not request.public:
        return contents, find_secrets(contents, Private(secrets_of(context.env), ()))
    store = context.store
    hosts = {os.uname().nodename, *_hosts(context, contents.runs)}
    needles = private_texts(contents.runs.values(), context.env, context.home, store.root, hosts)
    known = {*store.run_ids(), *store.run_ids(deleted=True), *_mentioned(contents.runs)}
    private = Private(needles, known - contents.runs.keys())
    published = make_public(contents, private, store.blobs, scratch)
    refuse_private(
        [
            one
            for one in published.private
            if not any(fnmatch.fnmatchcase(one.where, pattern) for pattern in request.allow)
        ]
    )
    return published.contents, published.findings


def _hosts(context: Context, runs: Mapping[RunId, Run]) -> set[str]:
    found = set()
    for digest in {run.machine for run in runs.values() if run.machine is not None}:
        machine = decode_machine(context.store.blobs.get(digest), where="a machine")
        if machine.hostname is not None:
            found.add(machine.hostname)
    return found


def _mentioned(runs: Mapping[RunId, Run]) -> set[RunId]:
    """Return the runs that records name."""
    found: set[RunId | None] = set()
    for run in runs.values():
        found.update((run.like, run.parent, run.reproduces, run.resumes))
        found.update(one.run for one in run.dependencies)
        if run.pipeline is not None:
            found.update(run.pipeline.took.values())
        if run.batch is not None:
            found.add(run.batch.best)
    return {one for one in found if one is not None}


# --- descriptions for others ---


def _with_descriptions(context: Context, contents: Contents) -> Contents:
    """Add what makes the archive a store, and what describes it for other tools."""
    members = dict(contents.members)
    marker = msgspec.json.encode({"format": STORE_FORMAT}) + b"\n"
    members[MARKER] = Member(MARKER, marker, Sort.RECORD, MARKER, 0o644, len(marker))
    described = {run_id: _described(context, run, members) for run_id, run in contents.runs.items()}
    sizes = {member.name: member.size_bytes for member in members.values()}
    crate = describe(described, contents.asked, sizes, version=__version__)
    members[CRATE] = Member(CRATE, crate, Sort.RECORD, CRATE, 0o644, len(crate))
    return contents._replace(members=dict(sorted(members.items())))


def _described(context: Context, run: Run, members: Mapping[str, Member]) -> Described:
    source: dict[str, Digest] = {}
    if run.source is not None:
        files = read_tree(context.store.blobs, run.source.tree).files
        source = {path: digest for path, _, _, digest in files}
    return Described(run, source, _environment(run.environment, members, context))


def _environment(
    digest: Digest | None, members: Mapping[str, Member], context: Context
) -> Environment | None:
    if digest is None:
        return None
    member = members.get(f"blobs/{digest[:2]}/{digest[2:]}")
    is_new = member is not None and isinstance(member.content, bytes)
    data = member.content if member is not None and is_new else context.store.blobs.get(digest)
    assert isinstance(data, bytes)
    return decode_environment(data, where="an environment")


def _with_pylocks(context: Context, contents: Contents, say: Callable[[str], None]) -> Contents:
    """Add the packages of each environment in the words of other tools."""
    found: dict[Digest, bytes] = {}
    for run in contents.runs.values():
        if run.lock is None or run.lock in found or run.environment is None:
            continue
        found[run.lock] = lock_text(context, run, Format.PYLOCK, say=say).encode()
    members = dict(contents.members)
    for digest, data in found.items():
        name = "pylock.toml" if len(found) == 1 else f"pylock.{digest[:8]}.toml"
        members[name] = Member(name, data, Sort.RECORD, name, 0o644, len(data))
    return contents._replace(members=members)


# --- writing ---


def _write(
    target: str,
    path: str,
    contents: Contents,
    manifest: Manifest,
    request: ExportRequest,
    progress: Progress,
) -> tuple[int, list[str]]:
    """Write the file; return its size, and which outputs are not what their records say."""
    total = sum(member.size_bytes for member in contents.members.values())
    done = 0
    changed = []
    try:
        with new_file(target, replace=request.replace) as file, ArchiveWriter(file) as writer:
            for member in contents.members.values():
                digest = _add(writer, member)
                if member.digest not in (None, digest):
                    changed.append(f"{member.label} was changed since its run")
                done += member.size_bytes
                progress(done, total)
            for name, link in contents.links.items():
                writer.add_link(name, link)
            writer.close(manifest)
            return file.tell(), changed
    except FileExistsError:
        raise UsageError(f"`{path}` is there already", hint="`--force` replaces it") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ReenactError(
                f"no space left for `{path}`: the bundle needs up to {total} bytes",
                hint="write it elsewhere, or leave outputs out with `--exclude`",
            ) from None
        raise ReenactError(f"cannot write `{path}`: {error.strerror or error}") from None


def _add(writer: ArchiveWriter, member: Member) -> Digest:
    """Write one file; return its digest."""
    if isinstance(member.content, bytes):
        writer.add_bytes(member.name, member.content, member.mode or 0o644)
        digest = writer.files[-1][3]
    else:
        try:
            digest = writer.add_file(member.name, member.content, member.mode)
        except OSError as error:
            if error.filename != member.content:
                raise
            raise ReenactError(f"cannot read {member.label}: {error.strerror}") from None
    if member.name.startswith("blobs/") and member.name != f"blobs/{digest[:2]}/{digest[2:]}":
        raise Damaged(
            f"{member.label} is not what its digest says", hint="`reenact fsck` checks the store"
        )
    return digest
