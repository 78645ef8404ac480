"""What belongs into a bundle: the files of runs, the blobs that they refer to, and their data."""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.find import find_run, with_parts
from reenact.actions.referred import Referred, trees_of_lock
from reenact.actions.reproduce.originals import needed_runs
from reenact.errors import Damaged, NotFound, UsageError
from reenact.execute.data_sets import read_data_set
from reenact.model.bundle import LeftOut, is_kept_record_file
from reenact.model.identity import Digest, RunId
from reenact.model.paths import landing, path_to_text, text_to_path
from reenact.model.record import encode_run
from reenact.model.run import File, Run, Status
from reenact.model.secrets import is_secret_file
from reenact.snapshot.tree import read_tree
from reenact.store.digests import Digests
from reenact.store.files import read_file
from reenact.store.index import Index
from reenact.store.lineage import makers_of
from reenact.store.reproductions import Reproductions
from reenact.store.store import RECORD_DIRECTORY, StoredRun

_HUBS = ("huggingface", "torch", "keras")
"""Libraries keep in a place of their own what they load, and look for it there only."""
_ENDED = (Status.COMPLETED, Status.FAILED, Status.TERMINATED, Status.KILLED)


class Data(StrEnum):
    """How much of the data that runs have read goes along."""

    NONE = "none"
    KEPT = "kept"
    """What the store has of it: small files, and what other runs have made."""
    ALL = "all"
    """That, and what is still where it was."""


class Sort(StrEnum):
    """What a file of a bundle is for."""

    RECORD = "records"
    LOG = "logs"
    OUTPUT = "outputs"
    CODE = "code"
    DATA = "data"
    ENVIRONMENT = "environment"


class Member(NamedTuple):
    """One file of a bundle.

    Attributes:
        name: in the archive, as in a store; spelled as in records.
        content: bytes, or the path of the file that has them.
        label: how people know it: its path in the run directory, in the source, among the data.
        digest: that it has by its record, where one says so.
    """

    name: str
    content: str | bytes
    sort: Sort
    label: str
    mode: int | None = None
    size_bytes: int = 0
    digest: Digest | None = None


class Contents(NamedTuple):
    """All that goes into a bundle.

    Attributes:
        asked: the runs that were named.
        runs: all of them, with the records that are written: what data is kept is that of the bundle.
        members: files by their names.
        links: symbolic links in run directories, with their targets.
        left_out: what of the runs does not go along.
    """

    asked: tuple[RunId, ...]
    runs: dict[RunId, Run]
    members: dict[str, Member]
    links: dict[str, str]
    left_out: tuple[LeftOut, ...]


def collect(
    context: Context,
    asked: Sequence[RunId],
    *,
    data: Data = Data.KEPT,
    deep: bool = False,
    exclude: Sequence[str] = (),
    verdicts: bool = False,
) -> Contents:
    """Find everything that a bundle of some runs holds. Nothing is copied.

    Args:
        context: where.
        asked: the runs; their parts come along.
        data: how much of what they have read.
        deep: the runs whose files they were given come along, too.
        exclude: patterns of outputs that do not.
        verdicts: what came of reproducing them comes along.

    Raises:
        NotFound: a run is gone, or something that it needs.
        Damaged: a record cannot be read.
        UsageError: a run has not ended.
    """
    return _Collection(context, data, exclude).collect(asked, deep=deep, verdicts=verdicts)


class _Collection:
    def __init__(self, context: Context, data: Data, exclude: Sequence[str]) -> None:
        self._context = context
        self._store = context.store
        self._data = data
        self._exclude = exclude
        self._members: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._left_out: list[LeftOut] = []
        self._made: set[Digest] = set()
        self._outputs = _Outputs(context)

    def collect(self, asked: Sequence[RunId], *, deep: bool, verdicts: bool) -> Contents:
        stored = self._runs(asked, deep=deep)
        for one in stored.values():
            self._run_directory(one)
        if self._data is not Data.NONE:
            self._outputs.expect(self._wanted(stored.values()))
        runs: dict[RunId, Run] = {}
        referred = Referred(self._store.blobs)
        with Digests(f"{self._store.cache_directory}/digests.db") as digests:
            for one in stored.values():
                run = self._with_data(one.record, digests)
                runs[one.id] = run
                referred.add(run)
                for source in run.sources:
                    self._name_tree(source.tree, Sort.CODE)
                if run.lock is not None:
                    for tree in trees_of_lock(self._store.blobs, run.lock):
                        self._name_tree(tree, Sort.ENVIRONMENT)
        for digest in sorted(referred.blobs):
            self._blob(digest)
        for run_id, run in runs.items():
            name = f"runs/{run_id}/{RECORD_DIRECTORY}/run.json"
            self._put(name, self._record_bytes(run), Sort.RECORD, "run.json")
        if verdicts:
            self._verdicts(runs)
        return Contents(
            tuple(asked),
            runs,
            dict(sorted(self._members.items())),
            dict(sorted(self._links.items())),
            tuple(self._left_out),
        )

    # --- runs ---

    def _runs(self, asked: Sequence[RunId], *, deep: bool) -> dict[RunId, StoredRun]:
        found: dict[RunId, StoredRun] = {}
        waiting = list(asked)
        while waiting:
            new = [one for one in with_parts(self._context, waiting) if one not in found]
            waiting = []
            for run_id in new:
                stored = self._store.read_run(run_id)
                if stored.status is Status.KILLED:
                    stored = find_run(self._context, run_id)
                run = stored.record
                if stored.status not in _ENDED:
                    raise UsageError(
                        f"run {run_id[:8]} is {stored.status}: only what has ended is exported",
                        hint=f"`reenact wait {run_id[:8]}` waits for it",
                    )
                found[run_id] = stored
                if run.pipeline is not None:
                    waiting += run.pipeline.took.values()
                if deep:
                    waiting += needed_runs(run)
                    waiting += [run.resumes] if run.resumes is not None else []
            waiting = [one for one in dict.fromkeys(waiting) if one not in found]
            for run_id in waiting:
                if not os.path.isdir(self._store.directory(run_id)):
                    raise NotFound(
                        f"run {run_id[:8]}, whose files another one was given, is gone",
                        hint="without `--deep` its files come along where the store has them",
                    )
        return found

    def _run_directory(self, stored: StoredRun) -> None:
        """Take the files of the record and the outputs that it names."""
        top = f"runs/{stored.id}"
        self._record_directory(
            f"{stored.directory}/{RECORD_DIRECTORY}", f"{top}/{RECORD_DIRECTORY}"
        )
        outputs = stored.record.outputs
        links = {text_to_path(one.path) for one in outputs if one.target is not None}
        for output in outputs:
            path = text_to_path(output.path)
            name = f"{top}/{output.path}"
            if path.startswith("/"):
                self._leave_out(stored.id, output, "it lies outside the run directory")
            elif any(fnmatch.fnmatchcase(output.path, pattern) for pattern in self._exclude):
                self._leave_out(stored.id, output, "it was to be left out")
            elif output.target is not None:
                self._link(stored, output, name, links)
            else:
                self._output(stored, output, f"{stored.directory}/{path}", name)
        for text, target in _step_links(stored):
            self._links[f"{top}/{text}"] = target

    def _record_directory(self, directory: str, name: str) -> None:
        for entry in sorted(os.scandir(directory), key=lambda one: one.name):
            if not is_kept_record_file(entry.name) or entry.name == "run.json":
                continue
            inner = f"{name}/{path_to_text(entry.name)}"
            if entry.is_dir(follow_symlinks=False):
                self._record_directory(entry.path, inner)
            elif entry.is_file(follow_symlinks=False):
                sort = Sort.LOG if entry.name.startswith("output") else Sort.RECORD
                label = inner.partition(f"/{RECORD_DIRECTORY}/")[2]
                self._file(inner, entry.path, sort, label)

    def _output(self, stored: StoredRun, output: File, path: str, name: str) -> None:
        try:
            status = os.lstat(path)
        except OSError:
            self._leave_out(stored.id, output, "it is not in the store any more")
            return
        if not stat.S_ISREG(status.st_mode):
            self._leave_out(stored.id, output, "it is no file")
            return
        self._file(name, path, Sort.OUTPUT, output.path)
        self._members[name] = self._members[name]._replace(digest=output.digest)
        if output.digest is not None:
            self._made.add(output.digest)

    def _link(self, stored: StoredRun, output: File, name: str, links: Container[str]) -> None:
        assert output.target is not None
        target = text_to_path(output.target)
        at = None if target.startswith("/") else landing(text_to_path(output.path), target, links)
        if at is None or at == ".." or at.startswith("../"):
            self._leave_out(stored.id, output, "the link leads outside the run directory")
        else:
            self._links[name] = output.target

    def _leave_out(self, run_id: RunId, file: File, reason: str) -> None:
        self._left_out.append(
            LeftOut(run=run_id, path=file.path, size_bytes=file.size_bytes, reason=reason)
        )

    def _record_bytes(self, run: Run) -> bytes:
        """Return a record as it is in the store, but for what is kept."""
        path = f"{self._store.directory(run.id)}/{RECORD_DIRECTORY}/run.json"
        try:
            return with_kept(read_file(path), run)
        except FileNotFoundError:
            return encode_run(run)

    # --- data ---

    def _with_data(self, run: Run, digests: Digests) -> Run:
        """Take the data of a run; return its record, which says of what of it is kept."""
        source = self._source_of(run)
        inputs = []
        for file in run.inputs:
            is_code = file.role == "source" or source.get(file.path) == file.digest
            if is_code and file.digest is not None and file.role == "source":
                path = self._store.blobs.path(file.digest)
                self._file(blob_name(file.digest), path, Sort.CODE, file.path, 0o444)
            if is_code or file.digest is None or file.is_changed or file.digest in self._made:
                inputs.append(file)
                continue
            if file.origin in _HUBS:
                self._leave_out(run.id, file, f"{file.origin} loads it again")
                inputs.append(file)
                continue
            if file.files is not None:
                is_kept = self._data_set(run, file, digests)
            else:
                place = self._place(run, file)
                at = self._find(file.digest, file.path, place, file.size_bytes, digests)
                is_kept = at is not None
                if at is not None:
                    self._file(blob_name(file.digest), at, Sort.DATA, file.path, 0o444)
                else:
                    self._leave_out(run.id, file, self._why_not(file.path))
            inputs.append(msgspec.structs.replace(file, is_kept=is_kept))
        return msgspec.structs.replace(run, inputs=tuple(inputs))

    def _data_set(self, run: Run, file: File, digests: Digests) -> bool:
        """Take the files of a data set, all or none; return whether they go along."""
        assert file.digest is not None
        place = self._place(run, file)
        found: list[tuple[Digest, str, str]] = []
        for text, size, digest in read_data_set(self._store.blobs, file.digest).files:
            if digest is None:
                continue
            label = f"{file.path}/{text}"
            at = self._find(digest, label, f"{place}/{text_to_path(text)}", size, digests)
            if at is None:
                self._leave_out(run.id, file, self._why_not(label))
                return False
            found.append((digest, at, label))
        for digest, at, label in found:
            self._file(blob_name(digest), at, Sort.DATA, label, 0o444)
        return True

    def _find(
        self, digest: Digest, label: str, place: str, size: int | None, digests: Digests
    ) -> str | None:
        """Return where the content of an input is to be had."""
        if self._data is Data.NONE:
            return None
        if self._store.blobs.has(digest, size):
            return self._store.blobs.path(digest)
        if is_secret_file(label):
            return None
        made = self._outputs.find(digest)
        if made is not None:
            return made
        if self._data is Data.ALL and _is_as_it_was(place, digest, digests):
            return place
        return None

    def _why_not(self, label: str) -> str:
        if is_secret_file(label):
            return "its name says that it holds a secret"
        if self._data is Data.ALL:
            return "it is not to be found as it was"
        return (
            "data was to be left out" if self._data is Data.NONE else "the store does not have it"
        )

    def _place(self, run: Run, file: File) -> str:
        if file.resolved is not None:
            return text_to_path(file.resolved)
        return os.path.join(text_to_path(run.project.root), text_to_path(file.path))

    def _source_of(self, run: Run) -> dict[str, Digest]:
        if run.source is None:
            return {}
        tree = read_tree(self._store.blobs, run.source.tree)
        return {path: digest for path, _, _, digest in tree.files}

    # --- blobs ---

    def _wanted(self, runs: Iterable[StoredRun]) -> Iterator[Digest]:
        """Yield what is to be looked for among outputs of other runs."""
        for one in runs:
            for file in one.record.inputs:
                if file.digest is None:
                    continue
                if file.files is None:
                    yield file.digest
                    continue
                listed = read_data_set(self._store.blobs, file.digest).files
                yield from (digest for _, _, digest in listed if digest is not None)

    def _name_tree(self, tree: Digest, sort: Sort) -> None:
        """Note the blobs of a tree by the names of their files."""
        for path, _, size, digest in read_tree(self._store.blobs, tree).files:
            self._file(blob_name(digest), self._store.blobs.path(digest), sort, path, 0o444, size)

    def _blob(self, digest: Digest) -> None:
        name = blob_name(digest)
        if name not in self._members:
            label = f"blob {digest[:12]}"
            self._file(name, self._store.blobs.path(digest), Sort.ENVIRONMENT, label, 0o444)

    def _verdicts(self, runs: Iterable[RunId]) -> None:
        kept = Reproductions(self._store)
        for one in kept.of_runs(runs):
            if one.verdict is not None and set(one.originals) <= set(runs):
                path = f"{kept.directory}/{one.id}.json"
                self._file(
                    f"reproductions/{one.id}.json", path, Sort.RECORD, f"verdict {one.id[:8]}"
                )

    # --- members ---

    def _put(self, name: str, content: bytes, sort: Sort, label: str) -> None:
        self._members[name] = Member(name, content, sort, label, 0o644, len(content))

    def _file(
        self,
        name: str,
        path: str,
        sort: Sort,
        label: str,
        mode: int | None = None,
        size: int | None = None,
    ) -> None:
        if name in self._members:
            return
        try:
            found = os.stat(path).st_size
        except FileNotFoundError:
            raise NotFound(
                f"{label} is not in this store any more", hint="`reenact fsck` says what is missing"
            ) from None
        if size is not None and found != size:
            raise Damaged(f"{label} is damaged: {found} bytes in place of {size}")
        self._members[name] = Member(name, path, sort, label, mode, found)


class _Outputs:
    """Where contents are that runs have made."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._makers: dict[Digest, list[RunId]] = {}
        self._paths: dict[RunId, dict[Digest, str]] = {}

    def expect(self, digests: Iterable[Digest]) -> None:
        """Ask once for all that will be looked for."""
        with Index(self._context.store) as index:
            self._makers = makers_of(index, digests)

    def find(self, digest: Digest) -> str | None:
        """Return where an output of this content is, of any run."""
        for run_id in self._makers.get(digest, ()):
            if run_id not in self._paths:
                stored = self._context.store.read_run(run_id)
                outputs = () if stored.run is None else stored.run.outputs
                self._paths[run_id] = {
                    file.digest: os.path.join(stored.directory, text_to_path(file.path))
                    for file in outputs
                    if file.digest is not None and file.target is None
                }
            path = self._paths[run_id].get(digest)
            if path is not None and os.path.isfile(path):
                return path
        return None


def with_kept(data: bytes, run: Run) -> bytes:
    """Return the bytes of a record in which those inputs are kept that are in a bundle."""
    document = msgspec.json.decode(data)
    inputs = document.get("inputs", [])
    if len(inputs) != len(run.inputs):
        return encode_run(run)
    is_same = True
    for entry, file in zip(inputs, run.inputs, strict=True):
        if entry.get("is_kept", False) == file.is_kept:
            continue
        is_same = False
        entry.pop("is_kept", None)
        if file.is_kept:
            entry["is_kept"] = True
    return data if is_same else msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def blob_name(digest: Digest) -> str:
    """Return the name of a blob in a bundle."""
    return f"blobs/{digest[:2]}/{digest[2:]}"


def _is_as_it_was(path: str, digest: Digest, digests: Digests) -> bool:
    try:
        status = os.stat(path)
        return stat.S_ISREG(status.st_mode) and digests.digest(path, status)[0] == digest
    except OSError:
        return False


def _step_links(stored: StoredRun) -> Iterator[tuple[str, str]]:
    """Yield the links that lead from the names of steps to their run directories."""
    if stored.record.pipeline is None:
        return
    for entry in sorted(os.scandir(stored.directory), key=lambda one: one.name):
        if entry.is_symlink():
            target = os.readlink(entry.path)
            if target.startswith("../") and len(target) == len("../") + 32:
                yield path_to_text(entry.name), target
