"""The files of a plan's project: what goes into the run directory, and from where."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.plan import Plan
from reenact.execute.stage import REQUIRED_LINK, time_of_content
from reenact.model.identity import Digest
from reenact.model.paths import text_to_path
from reenact.model.run import Source, Vcs
from reenact.snapshot.git import GitView
from reenact.snapshot.project_root import ProjectRoot, find_root, hash_text
from reenact.snapshot.rules import IGNORE_FILE, Pick, ignore_rules
from reenact.snapshot.tree import ProjectTree, SourceFile, SourceTree, take_snapshot
from reenact.store.files import read_file

_FORMER_DEST = ".guild/sourcecode"
"""Where source was in runs of Guild before 0.9; commands of many projects still look there."""


class PlannedTree(NamedTuple):
    """A project's tree and the state of its version control, or why that is not known."""

    tree: ProjectTree
    vcs: Vcs | None
    vcs_problem: str | None

    @property
    def source(self) -> Source:
        """What a record says of it."""
        tree = self.tree
        return Source(
            tree=tree.tree, files=len(tree.sources), size_bytes=tree.source_bytes, vcs=self.vcs
        )


def changed_files(before: ProjectTree, now: ProjectTree) -> tuple[list[str], list[str]]:
    """Return the paths of files that are new or have another size or time, and of the new ones."""
    old, new = (
        {file.path: (file.size, file.mtime_ns) for file in tree.sources}
        | {path: (size, mtime_ns) for path, size, mtime_ns in tree.links}
        for tree in (before, now)
    )
    changed = sorted(path for path, stamp in new.items() if old.get(path) != stamp)
    return changed, [path for path in changed if path not in old]


def look_at_tree(plan: Plan, context: Context, *, keep: bool) -> PlannedTree:
    """Look at the project's files.

    Args:
        plan: whose project.
        context: where.
        keep: put source into the store; otherwise only look.
    """
    store = context.store
    if keep and plan.definition is not None:
        store.blobs.put(plan.definition)
    picks = picks_of(plan)
    scope = _scope(plan, context)
    view = None
    listed = None
    problem = None
    if scope.project.toplevel is not None and not scope.project.is_loose:
        view = GitView(scope.project.path, context.env)
        listed = (
            frozenset(scope.prefix + path for path in view.files) if scope.prefix else view.files
        )
        problem = view.problem
    tree = take_snapshot(
        plan.root.path,
        listed=listed if problem is None else None,
        blobs=store.blobs if keep else None,
        # What counts as source follows from the picks: each has stamps of its own.
        cache_path=f"{store.cache_directory}/tree-{hash_text(plan.root.path + repr(picks or ''))}",
        scripts=scripts_of(plan),
        only=scope.only,
        picks=picks,
    )
    if plan.source is not None:
        tree = _with_source(tree, plan.source, _source_digest(plan))
    tree = _with_provided(_with_destination(plan, tree), plan)
    return PlannedTree(tree, view.vcs if view is not None else None, problem)


def variant_tree(plan: Plan, base: PlannedTree, source: Source, files: SourceTree) -> PlannedTree:
    """Return the files of the project with other source, whose blobs are in the store."""
    tree = _with_destination(plan, _with_source(base.tree, files, source.tree))
    return PlannedTree(tree, source.vcs, None)


def _with_source(tree: ProjectTree, source: SourceTree, digest: Digest) -> ProjectTree:
    """Return a project's tree with its source replaced by that of another time."""
    files = [
        SourceFile(text_to_path(path), mode, size, content, time_of_content(content))
        for path, mode, size, content in source.files
    ]
    taken = {file.path for file in files}
    directories = set(tree.directories)
    for path in taken:
        directories.update(_parents(path))
    return tree._replace(
        tree=digest,
        sources=files,
        source_links=[(text_to_path(p), text_to_path(t)) for p, t in source.links],
        directories=sorted(directories),
        links=[link for link in tree.links if link[0] not in taken],
        whole=[path for path in tree.whole if path not in directories],
    )


def _with_provided(tree: ProjectTree, plan: Plan) -> ProjectTree:
    """Let files lead elsewhere than into the project, where it is not what a record names any more."""
    # What a run that is resumed has left does not hide the source of now.
    sources = {file.path for file in tree.sources}
    provided = {p: at for p, at in plan.request.provided.items() if p not in sources}
    absent = plan.request.absent - sources - {*provided}
    if not provided and not absent:
        return tree
    directories = set(tree.directories)
    links = {path: (size, mtime_ns) for path, size, mtime_ns in tree.links}
    whole = set(tree.whole)
    for path in (*provided, *absent):
        for parent in reversed(list(_parents(path))):
            directories.add(parent)
            if parent in whole:
                # It was linked as one; the other things in it stay what they are.
                whole.discard(parent)
                with os.scandir(f"{plan.root.path}/{parent}") as entries:
                    for entry in entries:
                        inner = f"{parent}/{entry.name}"
                        if entry.is_dir(follow_symlinks=False):
                            whole.add(inner)
                        elif inner not in provided:
                            links[inner] = (-1, -1)
        links.pop(path, None)
        whole.discard(path)
        is_directory = path in directories or os.path.isdir(provided.get(path, ""))
        if path in absent or not is_directory:
            continue
        # What is linked as one has nothing of the project below it.
        below = f"{path}/"
        directories = {one for one in directories if one != path and not one.startswith(below)}
        links = {one: stamp for one, stamp in links.items() if not one.startswith(below)}
        whole = {one for one in whole if not one.startswith(below)}
    led = [(path, f"{REQUIRED_LINK}{target.lstrip('/')}") for path, target in provided.items()]
    return tree._replace(
        directories=sorted(directories),
        links=[(path, *stamp) for path, stamp in links.items()],
        source_links=[*(one for one in tree.source_links if one[0] not in provided), *led],
        whole=sorted(whole),
    )


def _parents(path: str) -> Iterator[str]:
    parent = os.path.dirname(path)
    while parent:
        yield parent
        parent = os.path.dirname(parent)


def _source_digest(plan: Plan) -> Digest:
    former = plan.request.restart or plan.request.like
    assert former is not None
    assert former.source is not None
    return former.source.tree


def scripts_of(plan: Plan) -> frozenset[str]:
    """Return the files that the run is about, which are source even if git ignores them."""
    scripts = {*plan.to_rewrite}
    if plan.script is not None:
        scripts.add(plan.script)
    return frozenset(scripts)


def _with_destination(plan: Plan, tree: ProjectTree) -> ProjectTree:
    """Let source be found where a project file wants it, too: a link there leads to its root."""
    if plan.prepared is None:
        return tree
    definition = plan.prepared.definition
    rules = definition.sourcecode
    if rules is not None and rules.dest is not None and not rules.is_off:
        dest = os.path.normpath(rules.dest)
    elif _FORMER_DEST in f"{definition.exec} {definition.main}":
        dest = _FORMER_DEST
    else:
        return tree
    base, root = (".", ".") if rules is None else (rules.base, rules.root or ".")
    root = os.path.normpath(os.path.join(base, root))
    taken = {path for path, _ in tree.source_links} | {*tree.directories}
    is_inside = not (os.path.isabs(dest) or os.path.isabs(root) or f"{dest}/{root}".count(".."))
    if dest == root or dest in taken or not is_inside:
        return tree
    directories = list(tree.directories)
    parent = ""
    for part in dest.split("/")[:-1]:
        parent = f"{parent}/{part}" if parent else part
        if parent not in taken:
            directories.append(parent)
    target = os.path.relpath(root, os.path.dirname(dest) or ".")
    return tree._replace(directories=directories, source_links=[*tree.source_links, (dest, target)])


def picks_of(plan: Plan) -> tuple[Pick, ...]:
    """Return what the project says about which files are source; its file counts more."""
    try:
        ignored = ignore_rules(read_file(f"{plan.root.path}/{IGNORE_FILE}"))
    except OSError:
        ignored = ()
    return (*ignored, *_defined_picks(plan))


def _defined_picks(plan: Plan) -> tuple[Pick, ...]:
    """Return what a project file says about which files are source."""
    rules = None if plan.prepared is None else plan.prepared.definition.sourcecode
    if rules is None or rules.is_off:
        return ()
    root = os.path.normpath(os.path.join(rules.base, rules.root or "."))
    if os.path.isabs(root) or root.startswith(".."):
        # Its modules are recorded when they are imported.
        return ()
    prefix = "" if root == "." else f"{root}/"
    return tuple(Pick(r.is_include, r.patterns, r.type, prefix) for r in rules.rules)


class _Scope(NamedTuple):
    """Which part of the root is looked at.

    Attributes:
        project: the project whose source is taken: the root, or one below a loose root.
        prefix: of its paths, relative to the root.
        only: what is taken in; None for everything.
    """

    project: ProjectRoot
    prefix: str
    only: list[str] | None


def _scope(plan: Plan, context: Context) -> _Scope:
    root = plan.root
    if not root.is_loose:
        return _Scope(root, "", None)
    if plan.script is None:
        return _Scope(root, "", [])
    # The working directory is no project (a home directory, /tmp, /), the script's may be one.
    directory = os.path.dirname(f"{root.path}/{plan.script}")
    inner = find_root(directory, context.home)
    relative = os.path.relpath(inner.path, root.path)
    if inner.is_loose or relative.startswith("."):
        return _Scope(root, "", _local_closure(root.path, plan.script))
    return _Scope(inner, f"{relative}/", [relative])


def _local_closure(root: str, script: str) -> list[str]:
    """Name what a script outside any project needs of its neighbours: the modules it imports."""
    prefix = f"{os.path.dirname(script)}/" if "/" in script else ""
    wanted = {script}
    waiting = [script]
    while waiting:
        try:
            tree = ast.parse(read_file(f"{root}/{waiting.pop()}"))
        except (OSError, SyntaxError, ValueError):
            continue
        for name in _imported(tree):
            path = prefix + name.split(".")[0]
            if os.path.isfile(f"{root}/{path}.py") and f"{path}.py" not in wanted:
                wanted.add(f"{path}.py")
                waiting.append(f"{path}.py")
            elif os.path.isfile(f"{root}/{path}/__init__.py"):
                wanted.add(path)
    return sorted(wanted)


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return names
