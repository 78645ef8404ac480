"""Read HDF5 files, dataset by dataset, with h5py where that is installed, else what can be without.

Left out: when an object was last changed, where it lies in the file, how it is compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from reenact.judge.outputs.dtypes import array
from reenact.judge.outputs.hdf5_plain import PlainFile
from reenact.judge.outputs.source import BLOCK_BYTES, HeldSource, MadeSource, NotCompared, Source
from reenact.judge.outputs.values import Members, Numbers

_MOST_OBJECTS = 1_000_000
_MOST_TEXTS = 10_000_000


class Hdf5:
    """HDF5: weights of Keras, tables of PyTables and pandas, netCDF 4."""

    name = "hdf5"
    endings: tuple[str, ...] = ()

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins so."""
        return head.startswith(b"\x89HDF\r\n\x1a\n")

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return datasets and attributes by their paths; links are compared, not followed."""
        try:
            import h5py
        except ImportError:
            plain = PlainFile(source, keep.enter_context(source.open()))
            return Members(dict(_plain_objects(plain)))
        file = keep.enter_context(h5py.File(keep.enter_context(source.open()), "r"))
        return Members(dict(_objects(h5py, file, source)))


def _objects(h5py: Any, root: Any, source: Source) -> Iterator[tuple[str, Any]]:
    due = [("", root)]
    seen = set()
    while due:
        path, group = due.pop()
        yield from _attributes(path, group, source)
        for name in group:
            inner = f"{path}/{name}" if path else name
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                yield inner, ["link", link.path, getattr(link, "filename", "")]
                continue
            found = group[name]
            if isinstance(found, h5py.Dataset):
                yield from _attributes(inner, found, source)
                yield inner, _dataset(h5py, found, source)
            elif isinstance(found, h5py.Group):
                # Hard links may lead into a circle.
                number = h5py.h5o.get_info(found.id).addr
                yield inner, "group"
                if number not in seen:
                    seen.add(number)
                    due.append((inner, found))
            else:
                yield inner, [type(found).__name__, str(found.dtype)]
            if len(seen) > _MOST_OBJECTS:
                raise NotCompared("it has too many groups")


def _plain_objects(file: PlainFile) -> Iterator[tuple[str, Any]]:
    """Do without h5py what `_objects` does with it."""
    due = [("", file.root)]
    seen: set[int] = set()
    while due:
        path, address = due.pop()
        group = file.node(address)
        yield from ((f"{path}@{name}", value) for name, value in file.attributes(group))
        for name, target in (file.links(group) or {}).items():
            inner = f"{path}/{name}" if path else name
            if isinstance(target, str):
                yield inner, ["link", target, ""]
                continue
            node = file.node(target)
            if file.links(node) is None:
                attributes = file.attributes(node)
                yield from ((f"{inner}@{name}", value) for name, value in attributes)
                yield inner, file.dataset(node)
                continue
            yield inner, "group"
            if target not in seen:
                seen.add(target)
                due.append((inner, target))
            if len(seen) > _MOST_OBJECTS:
                raise NotCompared("it has too many groups")


def _attributes(path: str, owner: Any, source: Source) -> Iterator[tuple[str, Any]]:
    for name in owner.attrs:
        try:
            value = owner.attrs[name]
        except (OSError, TypeError) as error:
            value = f"not readable: {error}"
        yield f"{path}@{name}", _plain(value, source)


def _plain(value: Any, source: Source) -> Any:
    """Return the value of an attribute: a text, an array, a list of texts."""
    if isinstance(value, bytes | str):
        return value
    if not hasattr(value, "tobytes"):
        return str(value)
    if value.dtype.kind == "O" or value.dtype.fields:
        return [_text(item) for item in value.ravel()] if hasattr(value, "ravel") else str(value)
    data = HeldSource(value.tobytes(), "", source.allowance)
    return array(_descriptor(value.dtype), tuple(value.shape), data)


def _text(item: Any) -> Any:
    if isinstance(item, bytes):
        return item.decode("utf-8", "surrogateescape")
    return item if isinstance(item, str | int | float) else str(item)


def _dataset(h5py: Any, dataset: Any, source: Source) -> Any:
    if dataset.shape is None:
        return [str(dataset.dtype), None]
    if dataset.is_virtual or dataset.external:
        raise NotCompared("it has data in other files")
    shape = tuple(dataset.shape)
    if dataset.dtype.fields:
        return {
            "shape": list(shape),
            **{name: _column(dataset, name, shape, source) for name in dataset.dtype.names},
        }
    if dataset.dtype.kind == "O":
        return _objects_of(h5py, dataset, source)
    return _numbers(dataset, dataset.dtype, shape, source)


def _column(dataset: Any, name: str, shape: tuple[int, ...], source: Source) -> Any:
    kind = dataset.dtype.fields[name][0]
    if kind.kind == "O" or kind.fields:
        return [_text(item) for piece in _pieces(dataset) for item in piece[name].ravel()]
    base, inner = kind.subdtype or (kind, ())
    made = MadeSource(
        lambda: (piece[name].tobytes() for piece in _pieces(dataset)), source.allowance
    )
    return array(_descriptor(base), shape + tuple(inner), made)


def _numbers(dataset: Any, kind: Any, shape: tuple[int, ...], source: Source) -> Numbers:
    base, inner = kind.subdtype or (kind, ())
    made = MadeSource(lambda: (piece.tobytes() for piece in _pieces(dataset)), source.allowance)
    return array(_descriptor(base), shape + tuple(inner), made)


def _descriptor(kind: Any) -> str:
    return "|b1" if kind.kind == "b" else str(kind.str)


def _objects_of(h5py: Any, dataset: Any, source: Source) -> Any:
    """Return texts of any length, or arrays of any length."""
    if dataset.size > _MOST_TEXTS:
        raise NotCompared("it has too many texts")
    found: list[Any] = []
    for piece in _pieces(dataset):
        items = piece.ravel() if hasattr(piece, "ravel") else [piece]
        for item in items:
            if h5py.check_ref_dtype(dataset.dtype):
                found.append("reference")
            elif hasattr(item, "dtype") and item.dtype.kind != "O":
                found.append(_plain(item, source))
            else:
                found.append(_text(item))
    return [list(dataset.shape), found]


def _pieces(dataset: Any) -> Iterator[Any]:
    """Yield the data in pieces of about a block, along the first axis."""
    if not dataset.shape:
        yield dataset[...] if dataset.dtype.kind != "O" else dataset[()]
        return
    row = max(dataset.size // max(dataset.shape[0], 1) * dataset.dtype.itemsize, 1)
    count = max(1, BLOCK_BYTES // row)
    if dataset.chunks:
        # A chunk is unpacked whole, whatever of it is asked for.
        count = max(count // dataset.chunks[0], 1) * dataset.chunks[0]
    for start in range(0, dataset.shape[0], count):
        yield dataset[start : start + count]
