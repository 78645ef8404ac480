"""Readers of data that are written in C, C++ or Rust, and that Python's audit events do not show.

Only where the preloaded library is not in the process, which sees them all. Supported: whatever
versions have these names; a name that is gone is left out.

Not covered: what is named inside a query (`duckdb.sql`) or found by the library itself (files of a
directory); classes of native code (`safetensors.safe_open`, `netCDF4.Dataset`, `lmdb.Environment`,
`tokenizers`), which cannot be given hooks without becoming something else; `xgboost.DMatrix`.
"""

import os
import sys

from _reenact import files
from _reenact.wrap import wrap

READERS = {
    "pyarrow.parquet.core": "ParquetFile.__init__ read_table read_pandas read_metadata read_schema",
    "pyarrow.csv": "read_csv open_csv",
    "pyarrow.dataset": "dataset",
    "pyarrow.feather": "read_table read_feather",
    "polars": "read_csv read_parquet read_ipc read_ndjson read_avro "
    "scan_csv scan_parquet scan_ipc scan_ndjson",
    "duckdb": "read_csv read_parquet read_json from_csv_auto from_parquet connect",
    "h5py._hl.files": "File.__init__",
    "tables.file": "open_file",
    "cv2": "imread imreadmulti",
    "safetensors.numpy": "load_file",
    "soundfile": "read info",
    # The module itself is waited for by somebody else; this one is imported after it.
    "lightgbm.callback": "lightgbm.basic:Dataset.__init__",
}
"""Module that is imported -> functions, of it or of another, whose first argument names a file."""


def __getattr__(name):
    # `after_<module>` for each of READERS.
    for trigger, functions in READERS.items():
        if name == "after_" + trigger.replace(".", "_"):
            return lambda module: _watch(module, functions)
    raise AttributeError(name)


def _watch(module, functions):
    # `files` may sleep until something happens that it wants to know of; this is that.
    sys.audit("reenact.readers")
    if files.noted is None:
        return
    for path in functions.split():
        other, colon, path = path.rpartition(":")
        owner = sys.modules[other] if colon else module
        holder, _, name = path.rpartition(".")
        try:
            owner = getattr(owner, holder) if holder else owner
            if not isinstance(getattr(owner, name), type):
                wrap(owner, name, before=_noting(1 if name == "__init__" else 0))
        except (AttributeError, TypeError):
            continue


def _noting(position):
    def before(arguments, named):
        given = (arguments[position:] or tuple(named.values()) or (None,))[0]
        for path in given if isinstance(given, (list, tuple)) else (given,):
            if isinstance(path, (str, bytes, os.PathLike)) and files.noted is not None:
                files.noted.note(path, os.O_RDONLY)

    return before
