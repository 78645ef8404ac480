"""Put what is required into a run directory, while its run is prepared.

Files are linked, so that nothing is copied which is only read; the probe makes a link private before
Python writes to it. What another run has left is copied up to `COPIED_BYTES`, because it is the record
of a result and other programs write through links. Text of the project's own is a copy of the
snapshot's, and what a command or flags change is a copy of the run's own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from reenact.actions.resources import Piece, Planned, Progress, RequirementFailed, unmet
from reenact.actions.resources.archive import kind_of_archive, unpack
from reenact.actions.resources.choose import choose, place
from reenact.actions.resources.file import list_files
from reenact.actions.resources.operation import describe_run
from reenact.actions.resources.requirements import empty
from reenact.actions.resources.url import load, name_of
from reenact.errors import ReenactError, UnmetRequirement
from reenact.execute.data_sets import DataSet
from reenact.execute.stage import REQUIRED_LINK, Stage
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Dependency, File
from reenact.model.secrets import redact_text
from reenact.project.dest_config import rewrite_config
from reenact.project.file.model import ResourceSource
from reenact.snapshot.rules import FOLDED_FROM
from reenact.snapshot.tree import ProjectTree, SourceFile
from reenact.store.blobs import digest_bytes, digest_file
from reenact.store.digests import Digests
from reenact.store.files import read_file, remove_if_there, temporary_name
from reenact.store.store import Store

COPIED_BYTES = 64 << 20
COPIED_FILES = 1000
"""Up to so much of another run is copied for each requirement; what has more is linked."""

_TOLD = 2000


class Met(NamedTuple):
    """What was put into a run directory, as its record says it.

    Attributes:
        blobs: contents that the inputs name.
    """

    dependencies: tuple[Dependency, ...]
    inputs: tuple[File, ...]
    blobs: tuple[bytes, ...]
    remarks: tuple[str, ...]


def refuse_hidden(planned: Iterable[Planned], tree: ProjectTree, root: str) -> None:
    """Refuse what would lie where the project's own source lies, before anything starts.

    Raises:
        UnmetRequirement: a source of which that is so, and whose content is another one.
    """
    sources = {file.path: file for file in tree.sources}
    for one in planned:
        if one.source.replace_existing or one.changes is not None:
            continue
        for piece in one.pieces:
            own = sources.get(piece.path)
            if own is None or _is_same_path(piece.at, f"{root}/{piece.path}"):
                continue
            if os.path.isfile(piece.at) and digest_file(piece.at)[0] == own.digest:
                continue
            raise unmet(
                one.resource,
                one.source,
                f"would lie at `{piece.path}`, where the project's own source lies",
                "`rename` it, give it a `target-path`, or say `replace-existing: yes`",
            )


def _is_same_path(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def meet(
    planned: Iterable[Planned],
    *,
    store: Store,
    root: str,
    directory: str,
    stage: Stage | None,
    tree: ProjectTree | None,
    env: Mapping[str, str],
    is_protected: bool,
    progress: Progress | None = None,
) -> Met:
    """Put everything into a run directory.

    Args:
        planned: what was found before the start.
        store: the run's.
        root: the project's root.
        directory: the run directory.
        stage: what is in it; None for a run in place, which gets nothing.
        tree: the project's files.
        env: for commands.
        is_protected: the probe makes links private before the operation writes to them; what another
            run has left is copied otherwise, however large it is.
        progress: told how far a download is.

    Raises:
        RequirementFailed: something could not be loaded, unpacked or put there.
    """
    with Digests(f"{store.cache_directory}/digests.db") as digests:
        work = _Work(
            store, root, directory, stage, tree, env, progress, digests, is_protected=is_protected
        )
        for one in planned:
            work.meet(one)
    return Met(
        tuple(work.dependencies),
        tuple(work.inputs.values()),
        tuple(work.blobs),
        tuple(work.remarks),
    )


def _failed(one: Planned, problem: str, hint: str | None = None) -> RequirementFailed:
    message = f"{one.source.place}: `{one.resource}`: {problem}"
    return RequirementFailed(printable(message), hint=hint)


class _Work:
    """One run directory on its way to having all that is required."""

    def __init__(
        self,
        store: Store,
        root: str,
        directory: str,
        stage: Stage | None,
        tree: ProjectTree | None,
        env: Mapping[str, str],
        progress: Progress | None,
        digests: Digests,
        *,
        is_protected: bool,
    ) -> None:
        self.store = store
        self.root = root
        self.directory = directory
        self.stage = stage
        self.env = env
        self.progress = progress
        self.digests = digests
        self.is_protected = is_protected
        self.sources = {} if tree is None else {file.path: file for file in tree.sources}
        self.dependencies: list[Dependency] = []
        self.inputs: dict[str, File] = {}
        self.blobs: list[bytes] = []
        self.remarks: list[str] = []
        # Whether the source that is put there just now is another run's, and small.
        self.is_small_run = False
        # What was put there, with the digest of each file.
        self.placed: dict[str, Digest | None] = {}

    def meet(self, one: Planned) -> None:
        """Put one source into the run directory."""
        try:
            self._meet(one)
        except RequirementFailed as error:
            if one.source.optional:
                self.remarks.append(f"`{one.resource}` is left out: {error.message}")
                return
            if error.message.startswith(str(one.source.place)):
                raise
            raise _failed(one, error.message, error.hint) from None
        except UnmetRequirement as error:  # It says where that is required.
            raise RequirementFailed(printable(error.message), hint=error.hint) from None
        except ReenactError as error:
            raise _failed(one, error.message, error.hint) from None

    def _meet(self, one: Planned) -> None:
        self.remarks += one.remarks
        digest = None
        origin = None if one.run is None else describe_run(one.run)
        pieces = one.pieces
        path = one.archive
        if one.url is not None:
            loaded = load(self.store, one.url, one.source.sha256, self.progress)
            digest, path, origin = loaded.digest, loaded.path, redact_text(one.url)
            if loaded.remark is not None:
                self.remarks.append(loaded.remark)
        if path is not None:
            is_archive = one.source.unpack and kind_of_archive(path, one.source.type) is not None
            if is_archive:
                digest = digest or self._digest(path)
                pieces = self._unpacked(one, path, digest)
                origin = origin or path_to_text(os.path.basename(path))
            else:
                name = path if one.url is None else name_of(one.url)
                pieces = (Piece(path, place(one.resource, one.source, os.path.basename(name))),)
        self.is_small_run = one.run is not None and self._are_small(pieces)
        for piece in pieces:
            self._put(one, piece)
        if one.source.post_process is not None and self.stage is not None:
            self._process(one)
        for piece in pieces:
            self._record(one, piece, origin)
        self.dependencies.append(
            Dependency(
                resource=printable(one.resource),
                kind=str(one.source.kind),
                uri=printable(redact_text(one.source.spec)),
                place=printable(str(one.source.place)),
                run=one.run,
                why=None if one.why is None else printable(redact_text(one.why)),
                flags=dict(one.flags),
                digest=digest,
                version=one.version,
                paths=tuple(path_to_text(piece.path) for piece in pieces),
                is_rewritten=bool(one.changes) or one.source.post_process is not None,
            )
        )

    def _unpacked(self, one: Planned, path: str, digest: Digest) -> tuple[Piece, ...]:
        directory = unpack(self.store, path, digest, one.source.type)
        files: dict[str, tuple[str, Digest | None]] = {
            name: (f"{directory}/{name}", None) for name in list_files(directory)
        }
        pieces = choose(one.resource, one.source, files)
        if not pieces:

            def refuse(_: str, __: ResourceSource, problem: str) -> Exception:
                return _failed(one, problem)

            self.remarks += empty(one, refuse)
        return pieces

    # --- putting files there ---

    def _put(self, one: Planned, piece: Piece) -> None:
        if self.stage is None:
            self._look_in_place(one, piece)
        elif one.changes is not None:
            self._write_config(one, piece)
        elif os.path.isdir(piece.at):
            self._put_directory(one, piece)
        else:
            self._put_file(one, piece)

    def _look_in_place(self, one: Planned, piece: Piece) -> None:
        if one.changes:
            raise _failed(one, "a run in place gets no copy with other values")
        if not _is_same_path(piece.at, f"{self.root}/{piece.path}"):
            raise _failed(
                one,
                f"`{piece.path}` is not in the project, and a run in place gets no files",
                "leave out `--in-place`",
            )

    def _put_directory(self, one: Planned, piece: Piece) -> None:
        files = list_files(piece.at)
        is_copy = self._is_copy(one)
        is_own = _is_same_path(piece.at, f"{self.root}/{piece.path}")
        here = f"{self.directory}/{piece.path}"
        if is_own and os.path.lexists(here) and not is_copy:
            return  # The run directory looks like the project.
        if len(files) >= FOLDED_FROM and not is_copy and not os.path.lexists(here):
            self._make_room(one, piece.path)
            self._link(piece.at, piece.path, size=-1, mtime_ns=-1)
            if one.run is not None:
                self._watch(piece, files)
            return
        for name in files:
            self._put_file(one, Piece(f"{piece.at}/{name}", f"{piece.path}/{name}"))
        if not files:
            self._make_room(one, f"{piece.path}/x")

    def _put_file(self, one: Planned, piece: Piece) -> None:
        here = f"{self.directory}/{piece.path}"
        is_own = _is_same_path(piece.at, f"{self.root}/{piece.path}")
        is_copy = self._is_copy(one)
        self._make_room(one, piece.path)
        if os.path.lexists(here):
            if is_own and not (is_copy and os.path.islink(here)):
                return
            if not is_own and not self._may_replace(one, piece, here):
                return
            self._take_away(here, piece.path)
        own = self._snapshot_of(piece.at)
        if is_copy or own is not None:
            self._copy(own or piece.at, piece.path, is_ours=one.source.post_process is not None)
        else:
            self._link(piece.at, piece.path)
        self.placed[piece.path] = None

    def _is_copy(self, one: Planned) -> bool:
        if one.source.target_type == "copy" or one.source.post_process is not None:
            return True
        if one.run is None or one.source.target_type is not None:
            return False
        return self.is_small_run or not self.is_protected

    def _are_small(self, pieces: Iterable[Piece]) -> bool:
        """Tell whether files are few and small enough for every run to have copies of them."""
        bytes_left, files_left = COPIED_BYTES, COPIED_FILES
        for piece in pieces:
            if os.path.isdir(piece.at):
                paths = [f"{piece.at}/{name}" for name in list_files(piece.at)]
            else:
                paths = [piece.at]
            files_left -= len(paths)
            if files_left < 0:
                return False
            bytes_left -= sum(os.stat(path).st_size for path in paths if os.path.isfile(path))
            if bytes_left < 0:
                return False
        return True

    def _watch(self, piece: Piece, files: Iterable[str]) -> None:
        """Remember what the files of a linked directory are like, to know afterwards if they changed."""
        assert self.stage is not None
        for name in files:
            at = f"{piece.at}/{name}"
            if os.path.isfile(at):
                status = os.stat(at)
                target = f"{REQUIRED_LINK}{at.lstrip('/')}"
                links = self.stage.links
                links[f"{piece.path}/{name}"] = (target, status.st_size, status.st_mtime_ns)

    def _snapshot_of(self, at: str) -> str | None:
        """Return where the snapshot's copy of a file of the project's source is in the run directory."""
        own = self._source(at)
        here = None if own is None else f"{self.directory}/{own.path}"
        is_there = here is not None and os.path.isfile(here) and not os.path.islink(here)
        return here if is_there else None

    def _source(self, at: str) -> SourceFile | None:
        """Return what the snapshot has of a file, where that is source of the project."""
        real = at if at.startswith(f"{self.root}/") else os.path.realpath(at)
        inside = real.startswith(f"{self.root}/")
        return self.sources.get(real[len(self.root) + 1 :]) if inside else None

    def _may_replace(self, one: Planned, piece: Piece, here: str) -> bool:
        """Tell whether what is at a place goes; False where it is the same already."""
        assert self.stage is not None
        if os.path.isdir(here) and not os.path.islink(here):
            raise _failed(one, f"at `{piece.path}` is a directory, and this is a file")
        is_staged = piece.path in self.stage.copies or piece.path in self.stage.links
        if not is_staged:
            # The run has left it there before it was restarted.
            return False
        if one.source.replace_existing:
            return True
        if os.path.isfile(here) and self._digest(here) == self._digest(piece.at):
            return False
        if piece.path in self.placed:
            raise _failed(one, f"another requirement lies at `{piece.path}` already")
        if piece.path in self.sources:
            raise _failed(
                one,
                f"it would lie at `{piece.path}`, where the project's own source lies",
                "`rename` it, give it a `target-path`, or say `replace-existing: yes`",
            )
        self.remarks.append(
            f"`{one.resource}` lies at `{piece.path}` instead of the project's own file"
        )
        return True

    def _take_away(self, here: str, path: str) -> None:
        assert self.stage is not None
        os.unlink(here)
        self.stage.copies.pop(path, None)
        self.stage.links.pop(path, None)

    def _make_room(self, one: Planned, path: str) -> None:
        """Make the directories that a path is in; where one is a link, the link goes."""
        assert self.stage is not None
        relative = ""
        for name in path.split("/")[:-1]:
            relative = f"{relative}/{name}" if relative else name
            here = f"{self.directory}/{relative}"
            if os.path.islink(here):
                self._unfold(one, relative)
                continue
            try:
                os.mkdir(here)
                self.stage.directories.append(relative)
            except FileExistsError:
                if not os.path.isdir(here):
                    raise _failed(one, f"`{relative}` is a file, and not a directory") from None

    def _unfold(self, one: Planned, relative: str) -> None:
        """Replace a link to a directory by a directory of links."""
        assert self.stage is not None
        here = f"{self.directory}/{relative}"
        target = os.path.realpath(here)
        if not os.path.isdir(target):
            raise _failed(one, f"`{relative}` is a link that leads to no directory")
        self._take_away(here, relative)
        os.mkdir(here)
        self.stage.directories.append(relative)
        for name in os.listdir(target):
            self._link(f"{target}/{name}", f"{relative}/{name}", size=-1, mtime_ns=-1)

    def _link(
        self, at: str, path: str, *, size: int | None = None, mtime_ns: int | None = None
    ) -> None:
        assert self.stage is not None
        if size is None or mtime_ns is None:
            status = os.stat(at)
            size, mtime_ns = status.st_size, status.st_mtime_ns
        target = f"{REQUIRED_LINK}{at.lstrip('/')}"
        try:
            os.symlink(target, f"{self.directory}/{path}")
        except OSError:
            if os.path.isdir(at):
                raise
            self._copy(at, path, is_ours=False)
            return
        self.stage.links[path] = (target, size, mtime_ns)

    def _copy(self, at: str, path: str, *, is_ours: bool) -> None:
        """Copy a file; what is the run's own stays in its directory."""
        assert self.stage is not None
        here = f"{self.directory}/{path}"
        beside = temporary_name(here)
        try:
            shutil.copyfile(at, beside)
            status = os.stat(at)
            os.chmod(beside, stat.S_IMODE(status.st_mode) | stat.S_IWUSR | stat.S_IRUSR)
            os.utime(beside, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.rename(beside, here)
        except OSError:
            remove_if_there(beside)
            raise
        if not is_ours:
            status = os.lstat(here)
            self.stage.copies[path] = (status.st_size, status.st_mtime_ns, status.st_ino)

    def _write_config(self, one: Planned, piece: Piece) -> None:
        assert self.stage is not None
        assert one.changes is not None
        content = read_file(self._snapshot_of(piece.at) or piece.at)
        self._make_room(one, piece.path)
        here = f"{self.directory}/{piece.path}"
        beside = temporary_name(here)
        new = rewrite_config(content, piece.at, one.changes)
        try:
            with open(beside, "xb") as file:
                file.write(new)
            os.rename(beside, here)
        except OSError:
            remove_if_there(beside)
            raise
        self.stage.copies.pop(piece.path, None)
        self.stage.links.pop(piece.path, None)
        if new == content:
            # As it is in the project it is no output of this run.
            status = os.lstat(here)
            self.stage.copies[piece.path] = (status.st_size, status.st_mtime_ns, status.st_ino)
        self.placed[piece.path] = None

    def _process(self, one: Planned) -> None:
        """Run the command that makes of files what the operation needs."""
        command = one.source.post_process
        assert command is not None
        here = os.path.join(self.directory, one.source.target_path or "")
        os.makedirs(here, exist_ok=True)
        env = {**self.env, "PROJECT_DIR": self.root, "RUN_DIR": self.directory, "PWD": here}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=here,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            told = done.stdout.decode("utf-8", "replace").strip()[-_TOLD:]
            raise _failed(
                one,
                f"`post-process` ended with exit status {done.returncode}"
                + (f": {redact_text(told)}" if told else ""),
            )

    # --- saying what they are ---

    def _digest(self, path: str) -> Digest:
        return self.digests.digest(path, os.stat(path))[0]

    def _record(self, one: Planned, piece: Piece, origin: str | None) -> None:
        if os.path.isdir(piece.at):
            file = self._describe_directory(piece)
        else:
            status = os.stat(piece.at)
            own = self._source(piece.at)
            digest = self._digest(piece.at) if own is None else own.digest
            file = File(
                path=path_to_text(piece.path),
                size_bytes=status.st_size,
                digest=digest,
                mtime_ns=status.st_mtime_ns,
            )
            if piece.digest is not None and piece.digest != digest:
                self.remarks.append(
                    f"`{piece.path}` of `{one.resource}` has changed since {origin or 'then'}"
                )
        is_own = piece.at == f"{self.root}/{piece.path}"
        self.inputs[piece.path] = msgspec.structs.replace(
            file,
            resolved=None if is_own else path_to_text(piece.at),
            origin=None if origin is None else printable(redact_text(origin)),
        )

    def _describe_directory(self, piece: Piece) -> File:
        names = list_files(piece.at)
        if len(names) > 1:
            self.digests.expect(piece.at)
        entries: list[tuple[str, int, Digest | None]] = []
        newest = 0
        for name in names:
            try:
                status = os.stat(f"{piece.at}/{name}")
                if not stat.S_ISREG(status.st_mode):
                    continue
                digest, _ = self.digests.digest(f"{piece.at}/{name}", status, remember=True)
            except OSError:
                entries.append((path_to_text(name), 0, None))
                continue
            entries.append((path_to_text(name), status.st_size, digest))
            newest = max(newest, status.st_mtime_ns)
        blob = msgspec.json.encode(DataSet(sorted(entries)))
        self.blobs.append(blob)
        return File(
            path=path_to_text(piece.path),
            size_bytes=sum(size for _, size, _ in entries),
            digest=digest_bytes(blob),
            mtime_ns=newest or None,
            files=len(entries),
        )
