"""Put files at their places in a run directory: linked, copied, or as configuration with other values.

Files are linked, so that nothing is copied which is only read; the probe makes a link private before
Python writes to it. What another run has left is copied up to `COPIED_BYTES`, because it is the record
of a result and other programs write through links. Text of the project's own is a copy of the
snapshot's, and what a command or flags change is a copy of the run's own.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterable

from reenact.actions.resources import Piece, Planned, RequirementFailed
from reenact.actions.resources.file import list_files
from reenact.execute.stage import REQUIRED_LINK, Stage
from reenact.model.identity import Digest
from reenact.model.paths import printable
from reenact.project.dest_config import rewrite_config
from reenact.snapshot.rules import FOLDED_FROM
from reenact.snapshot.tree import ProjectTree, SourceFile
from reenact.store.digests import Digests
from reenact.store.files import read_file, remove_if_there, temporary_name

COPIED_BYTES = 64 << 20
COPIED_FILES = 1000
"""Up to so much of another run is copied for each requirement; what has more is linked."""


def failed(one: Planned, problem: str, hint: str | None = None) -> RequirementFailed:
    """Return the error that says where what could not be put there is required."""
    message = f"{one.source.place}: `{one.resource}`: {problem}"
    return RequirementFailed(printable(message), hint=hint)


def is_same_path(one: str, other: str) -> bool:
    """Tell whether two paths are one file, by links too."""
    return one == other or os.path.realpath(one) == os.path.realpath(other)


class Placement:
    """The files of one run directory, as far as they are required.

    Attributes:
        remarks: what the reader of the run must know.
    """

    def __init__(
        self,
        root: str,
        directory: str,
        stage: Stage | None,
        tree: ProjectTree | None,
        digests: Digests,
        *,
        is_protected: bool,
    ) -> None:
        """Begin. The arguments are those of `meet`; digests are found by `digests`."""
        self.root = root
        self.directory = directory
        self.stage = stage
        self.is_protected = is_protected
        self.remarks: list[str] = []
        self._digests = digests
        self._sources = {} if tree is None else {file.path: file for file in tree.sources}
        # Whether the source that is put there just now is another run's, and small.
        self._is_small_run = False
        # What was put there, with the digest of each file.
        self._placed: dict[str, Digest | None] = {}

    def put_all(self, one: Planned, pieces: Iterable[Piece]) -> None:
        """Put all pieces of a source there.

        Raises:
            RequirementFailed: something else is where one of them must be.
        """
        pieces = list(pieces)
        self._is_small_run = one.run is not None and self._are_small(pieces)
        for piece in pieces:
            self._put(one, piece)

    def digest(self, path: str) -> Digest:
        """Return the digest of a file."""
        return self._digests.digest(path, os.stat(path))[0]

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
            raise failed(one, "a run in place gets no copy with other values")
        if not is_same_path(piece.at, f"{self.root}/{piece.path}"):
            raise failed(
                one,
                f"`{piece.path}` is not in the project, and a run in place gets no files",
                "leave out `--in-place`",
            )

    def _put_directory(self, one: Planned, piece: Piece) -> None:
        files = list_files(piece.at)
        is_copy = self._is_copy(one)
        is_own = is_same_path(piece.at, f"{self.root}/{piece.path}")
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
        is_own = is_same_path(piece.at, f"{self.root}/{piece.path}")
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
        self._placed[piece.path] = None

    def _is_copy(self, one: Planned) -> bool:
        if one.source.target_type == "copy" or one.source.post_process is not None:
            return True
        if one.run is None or one.source.target_type is not None:
            return False
        return self._is_small_run or not self.is_protected

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
        own = self.source_of(at)
        here = None if own is None else f"{self.directory}/{own.path}"
        is_there = here is not None and os.path.isfile(here) and not os.path.islink(here)
        return here if is_there else None

    def source_of(self, at: str) -> SourceFile | None:
        """Return what the snapshot has of a file, where that is source of the project."""
        real = at if at.startswith(f"{self.root}/") else os.path.realpath(at)
        inside = real.startswith(f"{self.root}/")
        return self._sources.get(real[len(self.root) + 1 :]) if inside else None

    def _may_replace(self, one: Planned, piece: Piece, here: str) -> bool:
        """Tell whether what is at a place goes; False where it is the same already."""
        assert self.stage is not None
        if os.path.isdir(here) and not os.path.islink(here):
            raise failed(one, f"at `{piece.path}` is a directory, and this is a file")
        is_staged = piece.path in self.stage.copies or piece.path in self.stage.links
        if not is_staged:
            # The run has left it there before it was restarted.
            return False
        if one.source.replace_existing:
            return True
        if os.path.isfile(here) and self.digest(here) == self.digest(piece.at):
            return False
        if piece.path in self._placed:
            raise failed(one, f"another requirement lies at `{piece.path}` already")
        if piece.path in self._sources:
            raise failed(
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
                    raise failed(one, f"`{relative}` is a file, and not a directory") from None

    def _unfold(self, one: Planned, relative: str) -> None:
        """Replace a link to a directory by a directory of links."""
        assert self.stage is not None
        here = f"{self.directory}/{relative}"
        target = os.path.realpath(here)
        if not os.path.isdir(target):
            raise failed(one, f"`{relative}` is a link that leads to no directory")
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
        self._placed[piece.path] = None
