"""Which files of a project are its source, which are data, and which are neither.

Source is what a person wrote: it is copied into the store and every run executes from a copy of
its own. Data is everything else that a run may read: it is linked. Caches, virtual environments
and stores are no part of a project.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

SOURCE_LIMIT = 1 << 20
"""Bytes. A larger file is data, even if it is text."""

CODE = frozenset(
    """
    py pyi pyx pxd ipynb r rmd qmd rnw jl sh bash zsh fish ksh bat ps1 js mjs cjs ts tsx jsx java
    kt kts scala groovy clj c cc cpp cxx cu cuh h hh hpp hxx go rs swift m mm pl pm lua rb php sql
    f f77 f90 f95 f03 for cmake mk tex stan bugs jags sas do ado nf wdl smk cwl ex exs erl hs ml
    mli nim zig d v vhd proto thrift
    """.split()
)
"""Suffixes of code: source wherever it is, in a directory named `data` as well."""

DATA = frozenset(
    """
    csv tsv psv parquet feather arrow ipc orc avro npy npz h5 hdf5 hdf nc zarr mat pkl pickle
    joblib dill pt pth ckpt safetensors onnx pb tflite keras bin dat data db sqlite sqlite3 duckdb
    lmdb mdb jsonl ndjson geojson xls xlsx ods rds rda rdata sav dta sas7bdat arff libsvm svm
    tfrecord tfevents records idx gz bz2 xz zst lz4 zip tar tgz 7z rar whl egg png jpg jpeg gif
    bmp tif tiff webp svgz ico ppm pgm wav mp3 flac ogg m4a mp4 avi mov mkv webm pdf ps eps ply
    obj stl las npk fasta fastq fa fq bam sam vcf log out err
    """.split()
)
"""Suffixes of data: never source, whatever the size."""

DATA_DIRECTORIES = frozenset(
    "data dataset datasets raw processed interim external corpus corpora images checkpoints "
    "outputs output results logs runs artifacts".split()
)
"""In these only code is source."""

CACHES = frozenset(
    "__pycache__ .mypy_cache .pytest_cache .ruff_cache .hypothesis .tox .nox .ipynb_checkpoints "
    ".cache .eggs .reenact .guild mlruns wandb .aim .dvc .neptune .comet .hg .svn .bzr .idea "
    ".vscode .Rproj.user .terraform".split()
)
"""Directories that a run does not see: it makes its own, or has no use for them."""

LINKED_WHOLE = frozenset(["node_modules", ".git", ".venv", "venv", ".conda", ".pixi", "renv"])
"""Directories that a run sees through one link, and that are never source."""

FOLDED_FROM = 2000
"""A directory with as many data files and no source is linked whole."""


def suffix(name: str) -> str:
    """Return the part after the last dot in lower case; empty where there is none."""
    dot = name.rfind(".")
    return name[dot + 1 :].lower() if dot > 0 else ""


def is_source_candidate(relative: str, name: str) -> bool:
    """Tell by its name whether a file may be source; its size and content decide then.

    Args:
        relative: path relative to the project's root.
        name: last part of it.
    """
    ending = suffix(name)
    if ending in CODE:
        return True
    if ending in DATA or ".tfevents." in name:
        return False
    if "/" in relative:
        return DATA_DIRECTORIES.isdisjoint(relative.lower().split("/")[:-1])
    return True


class Pick(NamedTuple):
    """A rule of the user about source; of those that fit a file the last counts.

    Attributes:
        is_include: the files are source; otherwise they are not.
        patterns: globs; `*` matches `/` too. One without a slash is for the last part of a path,
            one with a slash for all of it, from `within` on.
        type: only `text` or `binary` files, or `dir`: directories with all that is in them.
        within: the directory that it is about, relative to the project's root, with a slash behind
            it; empty for the root.
    """

    is_include: bool
    patterns: tuple[str, ...]
    type: str | None = None
    within: str = ""


IGNORE_FILE = ".guildignore"
"""In the root of projects that were written for Guild: what is data, in the words of `.gitignore`."""


def ignore_rules(content: bytes) -> tuple[Pick, ...]:
    """Return what an ignore file says: files that are no source. They can be read all the same."""
    found: list[Pick] = []
    for line in content.decode(errors="replace").splitlines():
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        pattern = text.removeprefix("!")
        is_include = pattern != text
        if not pattern.endswith("/"):
            found.append(Pick(is_include, (pattern,)))
        # A slash at the end is for directories only, and no part of the way to them.
        found.append(Pick(is_include, (pattern.rstrip("/"),), "dir"))
    return tuple(found)


def picked(picks: Sequence[Pick], path: str, *, is_text: bool) -> bool | None:
    """Tell whether the user's rules make a file source; None where they say nothing."""
    for pick in reversed(picks):
        if pick.type == "dir":
            if any(_fits(pick, parent) for parent in _parents(path)):
                return pick.is_include
        elif (pick.type is None or (pick.type == "text") is is_text) and _fits(pick, path):
            return pick.is_include
    return None


def may_be_picked(picks: Sequence[Pick], path: str) -> bool:
    """Tell by its name alone whether a file may be source only because of the user's rules."""
    return any(
        pick.is_include and pick.type != "dir" and _fits(pick, path) for pick in picks
    ) or any(
        pick.is_include and pick.type == "dir" and any(_fits(pick, at) for at in _parents(path))
        for pick in picks
    )


def is_left_out(picks: Sequence[Pick], directory: str) -> bool:
    """Tell whether nothing in a directory is source, whatever it is called."""
    for pick in reversed(picks):
        if pick.type == "dir" and _fits(pick, directory):
            return not pick.is_include
    return False


def _fits(pick: Pick, path: str) -> bool:
    if not path.startswith(pick.within):
        return False
    path = path[len(pick.within) :]
    name = path[path.rfind("/") + 1 :]
    return any(
        _expression(pattern.removeprefix("./").strip("/")).match(path if "/" in pattern else name)
        for pattern in pick.patterns
    )


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(pattern))


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: length + 1]) for length in range(len(parts))]


def is_text(head: bytes) -> bool:
    """Tell whether a file that begins so is text: it holds no zero byte (as git decides it)."""
    return b"\0" not in head[:8000]
