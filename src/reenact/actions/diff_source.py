"""The difference between two states of a project's source, as a patch that git can apply."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from reenact.actions.changes import (
    ChangeKind,
    Section,
    SourceChange,
    SourceState,
    kind_of,
)
from reenact.actions.context import Context
from reenact.errors import ReenactError
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.run import File, Run
from reenact.snapshot.git import GitView
from reenact.snapshot.project_root import ProjectRoot, hash_text
from reenact.snapshot.tree import read_tree, take_snapshot
from reenact.store.blobs import Blobs
from reenact.store.files import read_file
from reenact.store.store import StoredRun

_EXECUTE = 0o100
_CONTEXT_LINES = 3


class _Tree(NamedTuple):
    """Source files by path, and how to read one."""

    files: dict[str, SourceState]
    read: Callable[[str, SourceState], bytes]


def diff_source(
    blobs: Blobs, a: StoredRun, b: StoredRun, patterns: tuple[str, ...]
) -> Section[SourceChange]:
    """Compare the source of two runs, with the modules from outside their projects."""
    old, new = a.record.source, b.record.source
    if old is None or new is None:
        sides = ((old, name_of(a, "A")), (new, name_of(b, "B")))
        return unknown_source([name for source, name in sides if source is None])
    outside = outside_source(a.record), outside_source(b.record)
    if old.tree == new.tree and outside[0] == outside[1]:
        return Section()
    try:
        before, after = recorded_source(blobs, old.tree), recorded_source(blobs, new.tree)
    except ReenactError as error:
        change = SourceChange(name="*", kind=ChangeKind.CHANGED)
        return Section((change,), (f"which files differ is not known: {error.message}",), False)
    before.files.update(outside[0])
    after.files.update(outside[1])
    return diff_trees(before, after, patterns)


def outside_source(run: Run) -> dict[str, SourceState]:
    """Return the modules from outside a run's project, by absolute path."""
    return {
        file.path: SourceState(mode=0o644, size_bytes=file.size_bytes or 0, digest=file.digest)
        for file in run.inputs
        if is_outside_source(file)
    }


def is_outside_source(file: File) -> bool:
    """Tell whether an input is a module from outside the project, whose content is kept."""
    return file.role == "source" and file.digest is not None and os.path.isabs(file.path)


def name_of(stored: StoredRun, side: str) -> str:
    """Say in a remark which run is meant."""
    return f"{side} ({stored.id[:8]})"


def unknown_source(names: list[str]) -> Section[SourceChange]:
    """Return the section where source was not kept."""
    return Section((), (f"{' and '.join(names)}: no source was kept",), False)


def recorded_source(blobs: Blobs, digest: Digest) -> _Tree:
    """Return the source that a run was made from; raises NotFound or Damaged."""
    tree = read_tree(blobs, digest)
    files = {
        path: SourceState(mode=mode, size_bytes=size, digest=content)
        for path, mode, size, content in tree.files
    }
    files.update({path: _link_state(target) for path, target in tree.links})

    def read(_path: str, state: SourceState) -> bytes:
        assert state.digest is not None
        return blobs.get(state.digest)

    return _Tree(files, read)


def working_source(context: Context, root: ProjectRoot, recorded: _Tree) -> _Tree:
    """Return the source that a project's working tree holds now."""
    view = GitView(root.path, context.env) if root.toplevel is not None else None
    listed = view.files if view is not None else None
    if view is not None and view.problem is not None:
        listed = None
    only = None
    if root.is_loose and listed is None:
        # A script among things that are no project: what lies beside it was never its source.
        only = sorted({text_to_path(path).partition("/")[0] for path in recorded.files})
    now = take_snapshot(
        root.path,
        listed=listed,
        blobs=None,
        cache_path=f"{context.store.cache_directory}/tree-{hash_text(root.path)}",
        only=only,
    )
    files = {
        path_to_text(f.path): SourceState(mode=f.mode, size_bytes=f.size, digest=f.digest)
        for f in now.sources
    }
    files.update({path_to_text(p): _link_state(path_to_text(t)) for p, t in now.source_links})

    def read(path: str, _state: SourceState) -> bytes:
        return read_file(f"{root.path}/{text_to_path(path)}")

    return _Tree(files, read)


def _link_state(target: str) -> SourceState:
    return SourceState(mode=0o777, size_bytes=len(os.fsencode(text_to_path(target))), target=target)


def diff_trees(before: _Tree, after: _Tree, patterns: tuple[str, ...]) -> Section[SourceChange]:
    """Compare two trees, file by file; `patterns` are globs of which one must fit."""
    changes = []
    for path in sorted({*before.files, *after.files}):
        old, new = before.files.get(path), after.files.get(path)
        if patterns and not any(
            fnmatchcase(path, p) or fnmatchcase(path.rpartition("/")[2], p) for p in patterns
        ):
            continue
        if old is None or new is None or not _is_same_source(old, new):
            changes.append(_source_change(path, old, new, before, after))
    lost = tuple(change.name for change in changes if change.diff is None)
    return Section(tuple(changes), (), not lost)


def _is_same_source(old: SourceState, new: SourceState) -> bool:
    return (
        old.digest == new.digest
        and old.target == new.target
        and old.mode & _EXECUTE == new.mode & _EXECUTE
    )


def _source_change(
    path: str, old: SourceState | None, new: SourceState | None, before: _Tree, after: _Tree
) -> SourceChange:
    kind = kind_of(old is not None, new is not None)
    change = SourceChange(name=path, kind=kind, a=old, b=new)
    if old is not None and new is not None and (old.target is None) != (new.target is None):
        remark = "a file became a link" if new.target is not None else "a link became a file"
        change = msgspec.structs.replace(change, remark=remark)
    try:
        contents = _content(path, old, before), _content(path, new, after)
    except (ReenactError, OSError) as error:
        message = error.message if isinstance(error, ReenactError) else str(error.strerror)
        return msgspec.structs.replace(change, remark=message)
    header = _header(path, old, new)
    if contents[0] == contents[1]:
        return msgspec.structs.replace(change, diff=header, added_lines=0, removed_lines=0)
    if any(b"\0" in content for content in contents):
        names = _header_names(path, old, new)
        diff = f"{header}Binary files {names[0]} and {names[1]} differ\n"
        return msgspec.structs.replace(change, diff=diff, remark="binary")
    texts, not_text = _texts(contents)
    body, added, removed = unified_diff(*texts)
    if body:
        names = _header_names(path, old, new)
        # A tab ends a name that has blanks in it, as git writes it.
        ends = ["\t\n" if " " in name else "\n" for name in names]
        header += f"--- {names[0]}{ends[0]}+++ {names[1]}{ends[1]}"
    return msgspec.structs.replace(
        change,
        diff=header + body,
        added_lines=added,
        removed_lines=removed,
        remark=not_text or change.remark,
    )


def _content(path: str, state: SourceState | None, tree: _Tree) -> bytes:
    if state is None:
        return b""
    if state.target is not None:
        return os.fsencode(text_to_path(state.target))
    return tree.read(path, state)


def _texts(contents: tuple[bytes, bytes]) -> tuple[tuple[str, str], str | None]:
    try:
        return (contents[0].decode(), contents[1].decode()), None
    except UnicodeDecodeError:
        texts = [content.decode("utf-8", "backslashreplace") for content in contents]
        return (texts[0], texts[1]), r"not UTF-8: other bytes are shown as \xNN"


def unified_diff(old: str, new: str) -> tuple[str, int, int]:
    """Return the hunks that lead from one text to another, and how many lines come and go."""
    from difflib import unified_diff as compare

    before, after = _lines(old), _lines(new)
    # What is alike at both ends costs difflib most of its time; the lines of context stay.
    start = max(0, _common(before, after) - _CONTEXT_LINES)
    rest = min(len(before), len(after)) - start
    tail = min(_common(before[start:][::-1], after[start:][::-1]), rest)
    tail = max(0, tail - _CONTEXT_LINES)
    found = compare(
        before[start : len(before) - tail], after[start : len(after) - tail], n=_CONTEXT_LINES
    )
    lines = []
    added = removed = 0
    for line in list(found)[2:]:
        if line.startswith("@@"):
            line = _HUNK.sub(lambda m: f"{m[1]}{int(m[2]) + start}", line)
        added += line.startswith("+")
        removed += line.startswith("-")
        lines.append(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    return "".join(lines), added, removed


_HUNK = re.compile(r"( [-+])(\d+)")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def _lines(text: str) -> list[str]:
    # Not str.splitlines: a form feed or a carriage return ends no line of a patch.
    return _LINE.findall(text)


def _common(a: list[str], b: list[str]) -> int:
    for count, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return count
    return min(len(a), len(b))


def _header(path: str, old: SourceState | None, new: SourceState | None) -> str:
    """Return the lines by which `git apply` knows the file."""
    # Of a module from outside the project the path is one from the root.
    path = path.lstrip("/")
    text = f"diff --git {_quoted(f'a/{path}')} {_quoted(f'b/{path}')}\n"
    if old is None and new is not None:
        return f"{text}new file mode {_git_mode(new)}\n"
    if new is None and old is not None:
        return f"{text}deleted file mode {_git_mode(old)}\n"
    assert old is not None
    assert new is not None
    if _git_mode(old) != _git_mode(new):
        text += f"old mode {_git_mode(old)}\nnew mode {_git_mode(new)}\n"
    return text


def _header_names(path: str, old: SourceState | None, new: SourceState | None) -> tuple[str, str]:
    path = path.lstrip("/")
    return (
        "/dev/null" if old is None else _quoted(f"a/{path}"),
        "/dev/null" if new is None else _quoted(f"b/{path}"),
    )


def _git_mode(state: SourceState) -> str:
    if state.target is not None:
        return "120000"
    return "100755" if state.mode & _EXECUTE else "100644"


def _quoted(path: str) -> str:
    """Quote a path as git does: in double quotes with octal bytes where it is not plain."""
    raw = os.fsencode(text_to_path(path))
    if "\\" not in path and '"' not in path and path.isprintable():
        return path
    escaped = "".join(
        f"\\{chr(byte)}" if byte in b'"\\' else chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}"
        for byte in raw
    )
    return f'"{escaped}"'
