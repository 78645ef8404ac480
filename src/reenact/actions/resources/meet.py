"""Get all that is required into a run directory, while its run is prepared, and say what it is."""

from __future__ import annotations

import os
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
from reenact.actions.resources.placement import Placement, failed, is_same_path
from reenact.actions.resources.requirements import empty
from reenact.actions.resources.url import load, name_of
from reenact.errors import ReenactError, UnmetRequirement
from reenact.execute.data_sets import DataSet
from reenact.execute.keeping import Room, limits_of
from reenact.execute.stage import Stage
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, printable
from reenact.model.run import Dependency, File
from reenact.model.secrets import is_secret_file, redact_text
from reenact.project.file.model import ResourceSource
from reenact.snapshot.tree import ProjectTree
from reenact.store.blobs import FileToKeep, digest_bytes, digest_file
from reenact.store.digests import Digests
from reenact.store.store import Store

_TOLD = 2000


class Met(NamedTuple):
    """What was put into a run directory, as its record says it.

    Attributes:
        blobs: what becomes blobs that the inputs name.
    """

    dependencies: tuple[Dependency, ...]
    inputs: tuple[File, ...]
    blobs: tuple[bytes | FileToKeep, ...]
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
            if own is None or is_same_path(piece.at, f"{root}/{piece.path}"):
                continue
            if os.path.isfile(piece.at) and digest_file(piece.at)[0] == own.digest:
                continue
            raise unmet(
                one.resource,
                one.source,
                f"would lie at `{piece.path}`, where the project's own source lies",
                "`rename` it, give it a `target-path`, or say `replace-existing: yes`",
            )


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
    keeps: str | None = None,
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
        keeps: of which data the content is kept; as in a request.

    Raises:
        RequirementFailed: something could not be loaded, unpacked or put there.
    """
    with Digests(f"{store.cache_directory}/digests.db") as digests:
        room = Room(limits_of(keeps))
        work = _Work(
            store,
            root,
            directory,
            stage,
            tree,
            env,
            progress,
            digests,
            room,
            is_protected=is_protected,
        )
        for one in planned:
            work.meet(one)
    return Met(
        tuple(work.dependencies),
        tuple(work.inputs.values()),
        tuple(work.blobs),
        tuple(work.remarks),
    )


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
        room: Room,
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
        self.placement = Placement(root, directory, stage, tree, digests, is_protected=is_protected)
        self.dependencies: list[Dependency] = []
        self.inputs: dict[str, File] = {}
        self.blobs: list[bytes | FileToKeep] = []
        self.room = room
        # In the order in which it happened, whoever has to say it.
        self.remarks = self.placement.remarks

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
            raise failed(one, error.message, error.hint) from None
        except UnmetRequirement as error:  # It says where that is required.
            raise RequirementFailed(printable(error.message), hint=error.hint) from None
        except ReenactError as error:
            raise failed(one, error.message, error.hint) from None

    def _meet(self, one: Planned) -> None:
        if one.pull is not None:
            from reenact.actions.resources.dvc import pull

            one = pull(one, self.root, self.env)
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
                digest = digest or self.placement.digest(path)
                pieces = self._unpacked(one, path, digest)
                origin = origin or path_to_text(os.path.basename(path))
            else:
                name = path if one.url is None else name_of(one.url)
                pieces = (Piece(path, place(one.resource, one.source, os.path.basename(name))),)
        self.placement.put_all(one, pieces)
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
                return failed(one, problem)

            self.remarks += empty(one, refuse)
        return pieces

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
            raise failed(
                one,
                f"`post-process` ended with exit status {done.returncode}"
                + (f": {redact_text(told)}" if told else ""),
            )

    # --- saying what they are ---

    def _record(self, one: Planned, piece: Piece, origin: str | None) -> None:
        if os.path.isdir(piece.at):
            file = self._describe_directory(piece, is_kept=one.run is None)
        else:
            status = os.stat(piece.at)
            own = self.placement.source_of(piece.at)
            digest = self.placement.digest(piece.at) if own is None else own.digest
            file = File(
                path=path_to_text(piece.path),
                size_bytes=status.st_size,
                digest=digest,
                mtime_ns=status.st_mtime_ns,
            )
            if one.run is None:
                file = self._kept(file, piece.at)
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

    def _kept(self, file: File, path: str) -> File:
        """Keep the content of a small file, as of all small data of the project."""
        if file.digest is None or is_secret_file(file.path):
            return file
        wanted = FileToKeep(path, file.digest, file.size_bytes or 0, file.path)
        if not self.room.take([wanted], is_own=True):
            return file
        self.blobs.append(wanted)
        return msgspec.structs.replace(file, is_kept=True)

    def _describe_directory(self, piece: Piece, *, is_kept: bool) -> File:
        """Describe a directory; keep its files if there is room for all of them."""
        text = path_to_text(piece.path)
        kept: list[FileToKeep] = []
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
                is_kept = False
                continue
            entries.append((path_to_text(name), status.st_size, digest))
            kept.append(FileToKeep(f"{piece.at}/{name}", digest, status.st_size, text))
            is_kept = is_kept and not is_secret_file(path_to_text(name))
            newest = max(newest, status.st_mtime_ns)
        blob = msgspec.json.encode(DataSet(sorted(entries)))
        self.blobs.append(blob)
        is_kept = is_kept and self.room.take(kept, is_own=True)
        self.blobs += kept if is_kept else ()
        return File(
            path=text,
            size_bytes=sum(size for _, size, _ in entries),
            digest=digest_bytes(blob),
            mtime_ns=newest or None,
            files=len(entries),
            is_kept=is_kept,
        )
