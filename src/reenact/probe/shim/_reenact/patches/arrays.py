"""What data in memory is: shape, type, and a digest of its elements.

The digest is BLAKE2b of 128 bits over the elements in C order. A frame of numbers has that of the
same numbers in an array; of a frame with other columns it is over the columns one after the other,
text by its UTF-8; of a sparse matrix over its parts. Above 64 MB, where it would cost too much time
(`cost`), and for objects it is None.
"""

import sys
from hashlib import blake2b

from _reenact.patches import cost

MOST_BYTES = 64 << 20
_ALWAYS_BYTES = 64 << 10
_BYTES_PER_S = 8e8
_CHUNK_BYTES = 1 << 20
_MOST_CELLS = 200000
_MOST_COLUMNS = 100


def describe(value, digest=True):
    """Return `shape`, `dtype`, `size_bytes` and `digest` of data, None where it is no data."""
    numpy = sys.modules.get("numpy")
    if numpy is None or value is None:
        return None
    if isinstance(value, numpy.ndarray):
        return _facts(value.shape, str(value.dtype), value.nbytes, digest, _of_array, value)
    if isinstance(value, (list, tuple)):
        return _describe_list(value, digest, numpy)
    package = type(value).__module__.partition(".")[0]
    shape = _shape(value)
    if shape is None:
        return None
    if package == "pandas":
        return _describe_frame(value, shape, digest, numpy)
    if package == "scipy" and hasattr(value, "data"):
        dtype = "%s %s" % (getattr(value, "format", "sparse"), value.dtype)
        parts = [getattr(value, n, None) for n in ("indptr", "indices", "row", "col", "data")]
        parts = [part for part in parts if isinstance(part, numpy.ndarray)]
        size = sum(part.nbytes for part in parts)
        return _facts(shape, dtype, size, digest, _of_arrays, parts)
    dtype = getattr(value, "dtype", None)
    return {"shape": shape, "dtype": None if dtype is None else str(dtype)}


def columns_of(value):
    """Return the names of a frame's columns, None if it is none."""
    columns = getattr(value, "columns", None)
    if columns is None or not hasattr(columns, "__len__"):
        return None
    return [str(name) for name in list(columns[:_MOST_COLUMNS])]


def rows_of(value):
    """Return how many rows there are, None where that is not known."""
    shape = _shape(value)
    if shape:
        return shape[0]
    return len(value) if isinstance(value, (list, tuple)) else None


def _shape(value):
    shape = getattr(value, "shape", None)
    if isinstance(value, type) or not isinstance(shape, tuple):
        return None
    try:
        return [int(size) for size in shape]
    except (TypeError, ValueError):
        return None


def _facts(shape, dtype, size, digest, compute, data):
    facts = {"shape": list(shape), "dtype": dtype, "size_bytes": int(size)}
    is_cheap = size <= _ALWAYS_BYTES or cost.allows(size / _BYTES_PER_S)
    if digest and size <= MOST_BYTES and is_cheap:
        with cost.measured():
            facts["digest"] = compute(data)
    return facts


def _of_array(array):
    return _of_arrays((array,))


def _of_arrays(arrays):
    hasher = blake2b(digest_size=16)
    for array in arrays:
        if array.dtype.hasobject:
            return None
        _feed(hasher, array)
    return hasher.hexdigest()


def _feed(hasher, array):
    """Hash an array's elements in C order; of one that lies otherwise a part is copied at a time."""
    array = sys.modules["numpy"].asarray(array)
    if array.size == 0:
        return
    if array.flags.c_contiguous:
        hasher.update(array.reshape(-1).view("u1"))
        return
    at_once = max(1, _CHUNK_BYTES * len(array) // max(array.nbytes, 1))
    for first in range(0, len(array), at_once):
        part = array[first : first + at_once].copy("C")
        hasher.update(part.reshape(-1).view("u1"))


def _describe_list(value, digest, numpy):
    """Describe a list of numbers or of lists of numbers; others have no more than a length."""
    shape = [len(value)]
    first = value[0] if value else None
    numbers = (int, float, numpy.number, numpy.bool_)
    if isinstance(first, (list, tuple)):
        shape.append(len(first))
        first = first[0] if first else None
    cells = shape[0] * shape[-1] if len(shape) > 1 else shape[0]
    if cells <= _MOST_CELLS // 10 and isinstance(first, numbers):
        try:
            array = numpy.array(value)
        except ValueError:
            array = None  # Rows of different lengths.
        if array is not None and array.dtype.kind in "bif":
            return describe(array, digest)
    return {"shape": shape, "dtype": type(value).__name__}


def _describe_frame(value, shape, digest, numpy):
    dtypes = getattr(value, "dtypes", None)
    kinds = [dtypes] if len(shape) == 1 else list(dtypes)
    dtype = str(kinds[0]) if kinds and all(k == kinds[0] for k in kinds) else "mixed"
    is_plain = all(isinstance(kind, numpy.dtype) and kind.kind != "O" for kind in kinds)
    if is_plain and dtype != "mixed":
        size = shape[0] * (shape[1] if len(shape) > 1 else 1) * kinds[0].itemsize
        return _facts(shape, dtype, size, digest, lambda v: _of_array(v.to_numpy()), value)
    facts = {"shape": shape, "dtype": dtype}
    cells = shape[0] * (shape[1] if len(shape) > 1 else 1)
    # Text takes about a tenth of a microsecond for each cell.
    if digest and cells <= _MOST_CELLS and (cells <= 500 or cost.allows(cells * 2e-7)):
        with cost.measured():
            facts["digest"] = _of_columns(value, shape, numpy)
    return facts


def _of_columns(value, shape, numpy):
    hasher = blake2b(digest_size=16)
    columns = [value] if len(shape) == 1 else [value.iloc[:, i] for i in range(shape[1])]
    for column in columns:
        if isinstance(column.dtype, numpy.dtype) and not column.dtype.hasobject:
            _feed(hasher, column.to_numpy())
        else:
            text = "\x1f".join([str(cell) for cell in column.tolist()])
            hasher.update(text.encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
