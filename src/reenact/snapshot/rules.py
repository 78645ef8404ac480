"""Which files of a project are its source, which are data, and which are neither.

Source is what a person wrote: it is copied into the store and every run executes from a copy of
its own. Data is everything else that a run may read: it is linked. Caches, virtual environments
and stores are no part of a project.
"""

from __future__ import annotations

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


def is_text(head: bytes) -> bool:
    """Tell whether a file that begins so is text: it holds no zero byte (as git decides it)."""
    return b"\0" not in head[:8000]
