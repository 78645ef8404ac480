"""Source that a project file's `sourcecode: root` has outside the project: its files are kept.

They run from where they are; the record says what they were when the run began.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from reenact.actions.context import Context
from reenact.actions.plan import Plan
from reenact.model.paths import path_to_text
from reenact.model.run import File
from reenact.snapshot.git import GitView
from reenact.snapshot.project_root import find_root, hash_text
from reenact.snapshot.rules import Pick
from reenact.snapshot.tree import take_snapshot

ROLE = "source"
"""What such a file is among the inputs of a run, as a module that is imported from outside."""


class OutsideSource(NamedTuple):
    """What was kept, and what the reader of the run must know."""

    files: tuple[File, ...] = ()
    remark: str | None = None


def keep_outside_source(plan: Plan, context: Context) -> OutsideSource:
    """Put source of a root outside the project into the store.

    Raises:
        OSError: it could not be written there.
    """
    definition = None if plan.prepared is None else plan.prepared.definition
    rules = None if definition is None else definition.sourcecode
    if rules is None or rules.root is None or rules.is_off:
        return OutsideSource()
    project = plan.root.path
    root = os.path.realpath(os.path.join(project, rules.base, rules.root))
    if f"{root}/".startswith(f"{project}/"):
        return OutsideSource()
    found = find_root(root, context.home)
    if not os.path.isdir(root) or (found.is_loose and found.path == root):
        what = "is no directory" if not os.path.isdir(root) else "is everybody's"
        return OutsideSource(
            (), f"the root of its source, `{rules.root}`, {what}: only imported modules are kept"
        )
    listed = None
    if found.toplevel is not None:
        view = GitView(root, context.env)
        listed = view.files if view.problem is None else None
    picks = tuple(Pick(rule.is_include, rule.patterns, rule.type, "") for rule in rules.rules)
    store = context.store
    tree = take_snapshot(
        root,
        listed=listed,
        blobs=store.blobs,
        cache_path=f"{store.cache_directory}/tree-{hash_text(root + repr(picks))}",
        picks=picks,
    )
    files = [
        File(
            path=path_to_text(f"{root}/{file.path}"),
            size_bytes=file.size,
            digest=file.digest,
            mtime_ns=file.mtime_ns,
            role=ROLE,
        )
        for file in tree.sources
        if not f"{root}/{file.path}".startswith(f"{project}/")
    ]
    return OutsideSource(tuple(files))
