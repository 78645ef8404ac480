"""The files of a plan's project: what goes into the run directory, and from where."""

from __future__ import annotations

import ast
import os
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.plan import Plan
from reenact.execute.stage import time_of_content
from reenact.model.identity import Digest
from reenact.model.paths import text_to_path
from reenact.model.run import Vcs
from reenact.snapshot.git import GitView
from reenact.snapshot.project_root import hash_text
from reenact.snapshot.tree import ProjectTree, SourceFile, SourceTree, take_snapshot
from reenact.store.files import read_file


class PlannedTree(NamedTuple):
    """A project's tree and the state of its version control, or why that is not known."""

    tree: ProjectTree
    vcs: Vcs | None
    vcs_problem: str | None


def look_at_tree(plan: Plan, context: Context, *, keep: bool) -> PlannedTree:
    """Look at the project's files.

    Args:
        plan: whose project.
        context: where.
        keep: put source into the store; otherwise only look.
    """
    store = context.store
    root = plan.root
    view = GitView(root.path, context.env) if root.toplevel is not None else None
    listed = view.files if view is not None else None
    problem = view.problem if view is not None else None
    if problem is not None:
        listed = None
    only = None
    if root.is_loose and listed is None:
        only = _local_closure(plan)
    tree = take_snapshot(
        root.path,
        listed=listed,
        blobs=store.blobs if keep else None,
        cache_path=f"{store.cache_directory}/tree-{hash_text(root.path)}",
        only=only,
    )
    if plan.source is not None:
        tree = _with_source(tree, plan.source, _source_digest(plan))
    return PlannedTree(tree, view.vcs if view is not None else None, problem)


def _with_source(tree: ProjectTree, source: SourceTree, digest: Digest) -> ProjectTree:
    """Return a project's tree with its source replaced by that of another time."""
    files = [
        SourceFile(text_to_path(path), mode, size, content, time_of_content(content))
        for path, mode, size, content in source.files
    ]
    taken = {file.path for file in files}
    directories = set(tree.directories)
    for path in taken:
        parent = os.path.dirname(path)
        while parent:
            directories.add(parent)
            parent = os.path.dirname(parent)
    return tree._replace(
        tree=digest,
        sources=files,
        source_links=[(text_to_path(p), text_to_path(t)) for p, t in source.links],
        directories=sorted(directories),
        links=[link for link in tree.links if link[0] not in taken],
        whole=[path for path in tree.whole if path not in directories],
    )


def _source_digest(plan: Plan) -> Digest:
    former = plan.request.restart or plan.request.like
    assert former is not None
    assert former.source is not None
    return former.source.tree


def _local_closure(plan: Plan) -> list[str]:
    """Name what a script outside any project needs of its neighbours: the modules it imports."""
    if plan.script is None:
        return []
    root = plan.root.path
    wanted = {plan.script.split("/")[0]}
    waiting = [plan.script]
    while waiting:
        try:
            tree = ast.parse(read_file(f"{root}/{waiting.pop()}"))
        except (OSError, SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                first = name.split(".")[0]
                if os.path.isfile(f"{root}/{first}.py") and f"{first}.py" not in wanted:
                    wanted.add(f"{first}.py")
                    waiting.append(f"{first}.py")
                elif os.path.isfile(f"{root}/{first}/__init__.py"):
                    wanted.add(first)
    return sorted(wanted)
