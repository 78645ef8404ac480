"""Variants of the code: trials of one batch that run from several commits or patches."""

from __future__ import annotations

import glob
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from reenact.actions.context import Context
from reenact.actions.ground import Ground, materialized, named_target
from reenact.actions.plan import Plan
from reenact.actions.project_tree import look_at_tree, picks_of, scripts_of
from reenact.errors import ReenactError, UsageError
from reenact.model.identity import Digest
from reenact.model.paths import path_to_text
from reenact.model.run import OperationKind, Run, Source, Variant, Vcs
from reenact.project.find_flags import find_flags
from reenact.snapshot.tree import SourceTree, read_tree, take_snapshot
from reenact.snapshot.variants import (
    PATCHES,
    apply_patch,
    lay_out_commit,
    lay_out_source,
    prefix_of,
)
from reenact.store.blobs import Blobs
from reenact.store.files import read_file

WORKING_TREE = "."
"""The variant that is the source as it is now."""


class PlannedVariant(NamedTuple):
    """Code to run from.

    Attributes:
        ground: what trials of it stand on.
        source: what their records say of it.
        files: its source.
        contents: of the files, and of the blob that lists them; empty once they are in the store.
    """

    ground: Ground
    source: Source
    files: SourceTree
    contents: Mapping[Digest, bytes]

    def keep(self, blobs: Blobs) -> None:
        """Put everything into the store."""
        for content in self.contents.values():
            blobs.put(content)


def parse_variants(texts: Iterable[str], directory: str) -> tuple[str, ...]:
    """Return names of variants; `*.patch` stands for the files of that name.

    Raises:
        UsageError: a pattern fits no file.
    """
    found: dict[str, None] = {}
    for text in ",".join(texts).split(","):
        name = text.strip()
        if not name:
            continue
        if not glob.has_magic(name):
            found[name] = None
            continue
        names = sorted(glob.glob(name, root_dir=directory))
        if not names:
            raise UsageError(f"no file fits `{name}`", hint="variants are commits or patch files")
        found.update(dict.fromkeys(names))
    return tuple(found)


def plan_variants(
    names: Iterable[str], ground: Ground, plan: Plan, context: Context
) -> dict[str, PlannedVariant]:
    """Lay out each variant once and find its flags; nothing is kept.

    Args:
        names: of commits, or of patch files in the working directory.
        ground: of the source as it is now.
        plan: of a run of it.
        context: where.

    Raises:
        UsageError: one is not there, does not apply, or has no such operation.
    """
    request = ground.request
    if request.in_place or not request.snapshot:
        option = "--in-place" if request.in_place else "--no-snapshot"
        raise UsageError(f"`--variants` and `{option}` exclude each other")
    if ground.former is not None:
        raise UsageError("`--variants` and `--like` exclude each other")
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="reenact-") as scratch:
            top = os.path.realpath(scratch)
            found[name] = _planned(name, ground, plan, context, top)
    return found


def variants_again(
    run: Run, ground: Ground, plan: Plan, context: Context
) -> dict[str, PlannedVariant]:
    """Return the variants of a batch that goes on, from the store."""
    found = {}
    for variant in () if run.batch is None else run.batch.variants:
        of_variant = msgspec.structs.replace(run, source=variant.source)
        with materialized(context, of_variant) as staged:
            files = read_tree(context.store.blobs, variant.source.tree)
            on = _ground_in(staged, ground, plan, files)
        found[variant.name] = PlannedVariant(on, variant.source, files, {})
    return found


def recorded(variants: Mapping[str, PlannedVariant]) -> tuple[Variant, ...]:
    """Return what the record of a batch says of its variants."""
    return tuple(Variant(name=name, source=found.source) for name, found in variants.items())


def _planned(name: str, ground: Ground, plan: Plan, context: Context, top: str) -> PlannedVariant:
    root, env = ground.root.path, context.env
    prefix = prefix_of(root)
    laid_out = os.path.normpath(f"{top}/{prefix}")
    os.makedirs(laid_out, exist_ok=True)
    scripts = scripts_of(plan)
    vcs: Vcs | None
    if name == WORKING_TREE or name.endswith(PATCHES):
        now = look_at_tree(plan, context, keep=False)
        scripts |= {file.path for file in now.tree.sources}
        lay_out_source(root, now.tree.sources, now.tree.source_links, laid_out)
        vcs = now.vcs
        if name != WORKING_TREE:
            patch = os.path.join(context.directory, name)
            if not os.path.isfile(patch):
                raise UsageError(f"there is no patch `{name}`")
            apply_patch(root, patch, env, top, prefix)
            vcs = None if vcs is None else msgspec.structs.replace(vcs, is_dirty=True)
    else:
        vcs = lay_out_commit(root, name, env, laid_out)
    listed = frozenset(_files_below(laid_out))
    tree = take_snapshot(
        laid_out,
        listed=listed,
        blobs=None,
        cache_path=None,
        scripts=frozenset(scripts & listed),
        picks=picks_of(plan),
    )
    files = SourceTree(
        files=[(path_to_text(f.path), f.mode, f.size, f.digest) for f in tree.sources],
        links=[(path_to_text(p), path_to_text(t)) for p, t in tree.source_links],
    )
    contents = {file.digest: read_file(f"{laid_out}/{file.path}") for file in tree.sources}
    contents[tree.tree] = msgspec.json.encode(files)
    source = Source(tree=tree.tree, files=len(tree.sources), size_bytes=tree.source_bytes, vcs=vcs)
    try:
        on = _ground_in(laid_out, ground, plan, files)
    except ReenactError as error:
        raise UsageError(f"variant `{name}`: {error.message}", hint=error.hint) from error
    return PlannedVariant(on, source, files, contents)


def _ground_in(laid_out: str, ground: Ground, plan: Plan, files: SourceTree) -> Ground:
    """Return what stands on other source: the flags may be others."""
    root = ground.root.path
    if ground.defined is not None:
        from reenact.actions.defined_operation import define

        defined = define(
            ground.defined.definition,
            ground.defined.file,
            root,
            ground.directory,
            read_root=laid_out,
        )
        defined = defined._replace(name=ground.defined.name, remarks=ground.defined.remarks)
        return ground._replace(
            target=defined.target, flags=defined.flags, defined=defined, source=files
        )
    if ground.target.kind is OperationKind.COMMAND:
        return ground._replace(source=files)
    directory = os.path.normpath(f"{laid_out}/{os.path.relpath(ground.directory, root)}")
    target = named_target(plan.operation, directory, laid_out)
    flags = ground.flags
    if target.is_python or target.kind is OperationKind.NOTEBOOK:
        flags = find_flags(target, laid_out)
    if target.script is not None:
        script = f"{root}/{os.path.relpath(target.script, laid_out)}"
        target = ground.target._replace(script=script)
    return ground._replace(target=target, flags=flags, source=files)


def _files_below(directory: str) -> Iterator[str]:
    for at, _, names in os.walk(directory):
        for name in names:
            yield os.path.relpath(os.path.join(at, name), directory)
