"""Read pickles without executing anything in them.

A pickle is a program that calls what it names. Here nothing is imported and nothing called: what a
pickle would make of a class becomes a `Thing` that says so. Arrays of NumPy are known by how they
are put together; those in files of joblib lie between the instructions and are read from there.

Left out: the order of a set, the pickle's protocol, which of equal parts are one object.
"""

from __future__ import annotations

import io
import math
import os
import pickle
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, ClassVar

from reenact.judge.outputs.dtypes import array, column
from reenact.judge.outputs.source import (
    HeldSource,
    MadeSource,
    PartSource,
    Source,
    Unreadable,
)
from reenact.judge.outputs.values import Aside, Content, Graph, Members, Thing

# Bytes of this size and more stay in the file until they are compared.
_LARGE_BYTES = 1 << 20
_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
# By which cloudpickle knows a class again, and which argument it is.
_TRACKERS = {
    "cloudpickle.cloudpickle._make_skeleton_class": 4,
    "cloudpickle.cloudpickle._make_skeleton_enum": 5,
}
_BYTES = ("builtins.bytes", "__builtin__.bytes", "builtins.bytearray", "__builtin__.bytearray")
_JOBLIB_ARRAY = ("joblib.numpy_pickle.NumpyArrayWrapper",)


class Pickle:
    """One pickle or several in a file, as `pickle`, `joblib`, `cloudpickle` and pandas write."""

    name = "pickle"
    endings: tuple[str, ...] = (".pkl", ".pickle", ".joblib", ".p")

    def has_mark(self, head: bytes, name: str) -> bool:
        """Say whether it begins with the number of a protocol since 2."""
        return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5

    def read(self, source: Source, keep: ExitStack) -> Any:
        """Return what was pickled."""
        return read_pickle(source, keep)


@dataclass(frozen=True, slots=True)
class Named:
    """What a pickle names, a class or a function; calling it makes a `Thing` that tells of it."""

    name: str

    def __call__(self, *arguments: Any) -> Thing:
        """Note the call."""
        return Thing(self.name, arguments, None, [], [])


# The one in Python: that in C cannot be stopped between two instructions. joblib and cloudpickle
# build on it likewise.
_Unpickler: Any = pickle._Unpickler  # type: ignore[attr-defined,unused-ignore]  # noqa: SLF001


class Reader(_Unpickler):  # type: ignore[misc]  # its types are not declared
    """Run the program of a pickle with stand-ins for all that it names."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Unpickler.dispatch)

    def __init__(
        self,
        file: BinaryIO,
        source: Source,
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(file, encoding="latin-1", errors="replace")
        self._input = file
        self._source = source
        self._persistent = persistent
        self._dropped: list[Any] = []

    def value(self) -> Any:
        """Return what the next pickle makes, with what it does and then drops.

        An object that has a function of its own to give it its state is not changed by that here:
        only the call tells of the state.
        """
        value = self.load()
        return Members({"": value, "and then": self._dropped}) if self._dropped else value

    def load_pop(self) -> None:
        """Note what is dropped."""
        if self.stack:
            if isinstance(self.stack[-1], Thing):
                self._dropped.append(self.stack[-1])
            del self.stack[-1]
        else:
            self.pop_mark()

    def load_pop_mark(self) -> None:
        """Note what is dropped."""
        self._dropped += [value for value in self.pop_mark() if isinstance(value, Thing)]

    def find_class(self, module: str, name: str) -> Named:
        """Return a stand-in: nothing is imported."""
        return Named(f"{module}.{name}")

    def get_extension(self, code: int) -> None:
        """Put a stand-in for what the process that wrote it had registered under a number."""
        self.append(Named(f"extension {code}"))

    def persistent_load(self, pid: Any) -> Any:
        """Return what lies outside of the pickle."""
        return (
            Thing("persistent", (pid,), None, [], [])
            if self._persistent is None
            else self._persistent(pid)
        )

    def _make(self, maker: Any, arguments: Any, keywords: Any = None) -> Thing:
        if isinstance(maker, Named):
            made = maker(*arguments)
        elif isinstance(maker, Thing):
            # A class that was made before, as cloudpickle makes those of a script.
            made = Thing("an object of", (maker, *arguments), None, [], [])
        else:
            raise Unreadable("it calls what is not a class or function")
        if keywords:
            made.pairs.extend(keywords.items())
        return made

    def _instantiate(self, maker: Any, arguments: Any) -> None:
        self.append(self._make(maker, arguments))

    def load_reduce(self) -> None:
        """Note a call."""
        arguments = self.stack.pop()
        self.stack[-1] = self._make(self.stack[-1], arguments)

    def load_newobj(self) -> None:
        """Note the making of an object."""
        arguments = self.stack.pop()
        self.append(self._make(self.stack.pop(), arguments))

    def load_newobj_ex(self) -> None:
        """Note the making of an object, with keywords."""
        keywords = self.stack.pop()
        arguments = self.stack.pop()
        self.append(self._make(self.stack.pop(), arguments, keywords))

    def load_build(self) -> None:
        """Note the state of an object; what joblib puts behind an array's is its content."""
        state = self.stack.pop()
        made = self.stack[-1]
        if not isinstance(made, Thing):
            raise Unreadable("it gives a state to what is no object")
        made.state = state
        if made.name in _JOBLIB_ARRAY and isinstance(state, dict):
            self.stack[-1] = self._joblib_array(state)

    def _joblib_array(self, state: dict[str, Any]) -> Any:
        kind = state["dtype"]
        shape = tuple(state["shape"])
        if _descriptor(kind) == "|O":
            return [list(shape), Reader(self._input, self._source, self._persistent).value()]
        if state.get("numpy_array_alignment_bytes") is not None:
            self._input.seek(self._input.read(1)[0], os.SEEK_CUR)
        start = self._input.tell()
        size = _item_bytes(kind) * math.prod(shape)
        self._input.seek(size, os.SEEK_CUR)
        data = PartSource(self._source, start, size)
        found = _array(kind, shape, data, is_fortran=state.get("order") == "F")
        return _of_class((state.get("subclass"),), found)

    def load_append(self) -> None:
        """Append one item."""
        value = self.stack.pop()
        _items_of(self.stack[-1]).append(value)

    def load_appends(self) -> None:
        """Append items."""
        values = self.pop_mark()
        _items_of(self.stack[-1]).extend(values)

    def load_additems(self) -> None:
        """Add items to a set."""
        values = self.pop_mark()
        into = self.stack[-1]
        if isinstance(into, set):
            into.update(map(_hashable, values))
        else:
            _items_of(into).extend(values)

    def load_setitem(self) -> None:
        """Set one item."""
        value = self.stack.pop()
        key = self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        """Set items."""
        self._set_items(self.pop_mark())

    def _set_items(self, flat: list[Any]) -> None:
        into = self.stack[-1]
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        if isinstance(into, dict):
            into.update((_hashable(key), value) for key, value in pairs)
        elif isinstance(into, Thing):
            into.pairs.extend(pairs)
        else:
            raise Unreadable("it sets items of what has none")

    def load_dict(self) -> None:
        """Make a dictionary."""
        flat = self.pop_mark()
        self.append({_hashable(flat[at]): flat[at + 1] for at in range(0, len(flat), 2)})

    def load_frozenset(self) -> None:
        """Make a set that does not change."""
        values = self.pop_mark()
        self.append(frozenset(map(_hashable, values)))

    def load_binbytes(self) -> None:
        """Take bytes, or where they are."""
        self._take_bytes(struct.unpack("<I", self.read(4))[0])

    def load_binbytes8(self) -> None:
        """Take bytes of any length."""
        self._take_bytes(struct.unpack("<Q", self.read(8))[0])

    def _take_bytes(self, size: int) -> None:
        # Such bytes lie outside of frames; within one, they are in memory already.
        if size < _LARGE_BYTES or self._unframer.current_frame is not None:
            data = self.read(size)
            if len(data) < size:
                raise Unreadable("it ends too early")
            self.append(data)
            return
        start = self._input.tell()
        if self._input.seek(0, os.SEEK_END) < start + size:
            raise Unreadable("it ends too early")
        self._input.seek(start + size)
        self.append(Content(PartSource(self._source, start, size)))


for _code, _method in {
    pickle.POP: Reader.load_pop,
    pickle.POP_MARK: Reader.load_pop_mark,
    pickle.REDUCE: Reader.load_reduce,
    pickle.NEWOBJ: Reader.load_newobj,
    pickle.NEWOBJ_EX: Reader.load_newobj_ex,
    pickle.BUILD: Reader.load_build,
    pickle.APPEND: Reader.load_append,
    pickle.APPENDS: Reader.load_appends,
    pickle.ADDITEMS: Reader.load_additems,
    pickle.SETITEM: Reader.load_setitem,
    pickle.SETITEMS: Reader.load_setitems,
    pickle.DICT: Reader.load_dict,
    pickle.FROZENSET: Reader.load_frozenset,
    pickle.BINBYTES: Reader.load_binbytes,
    pickle.BINBYTES8: Reader.load_binbytes8,
    pickle.BYTEARRAY8: Reader.load_binbytes8,
}.items():
    Reader.dispatch[_code[0]] = _method


def read_pickle(
    source: Source, keep: ExitStack, persistent: Callable[[Any], Any] | None = None
) -> Graph:
    """Return the objects of a file of pickles."""
    found = []
    file = keep.enter_context(source.open())
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    while file.tell() < size:
        found.append(Reader(file, source, persistent).value())
    root = found[0] if len(found) == 1 else found
    return Graph(root, lambda value: simplify(value, source))


def _items_of(into: Any) -> list[Any]:
    if isinstance(into, list):
        return into
    if isinstance(into, Thing):
        return into.items
    raise Unreadable("it appends to what has no items")


def _hashable(key: Any) -> Any:
    """Return the key itself, a stand-in for a key of a kind that has become a list or the like."""
    try:
        hash(key)
    except TypeError:
        return Named(f"{type(key).__name__} as a key")
    return key


def simplify(value: Any, source: Source) -> Any:
    """Return the array, set or bytes that a thing stands for, anything else as it is."""
    if not isinstance(value, Thing):
        return value
    name, arguments = value.name, value.arguments
    if name in _SETS and len(arguments) == 1 and isinstance(arguments[0], list | tuple):
        return {_hashable(item) for item in arguments[0]}
    if name == "_codecs.encode":
        return _encoded(value)
    if name in _BYTES and len(arguments) < 2:
        return simplify(arguments[0], source) if arguments else b""
    if name in _RECONSTRUCT and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, kind, is_fortran, data = value.state
        found: Any = [list(shape), data]
        if not isinstance(data, list):
            found = _held_array(kind, shape, data, source, is_fortran=bool(is_fortran))
        return value if found is None else _of_class(arguments[:1], found)
    if name in _FROM_BUFFER and len(arguments) == 4:
        data, kind, shape, order = arguments
        return _held_array(kind, shape, data, source, is_fortran=order == "F") or value
    if name in _SCALAR and len(arguments) == 2:
        return _held_array(arguments[0], (), arguments[1], source) or value
    at = _TRACKERS.get(name)
    if at is not None and len(arguments) > at and isinstance(arguments[at], str):
        tracker = Aside("random name", arguments[at], of="class")
        return replace(value, arguments=(*arguments[:at], tracker, *arguments[at + 1 :]))
    return value


def _of_class(maker: tuple[Any, ...], found: Any) -> Any:
    """Return an array; with its class, where that is not the usual one."""
    if maker in ((Named("numpy.ndarray"),), (Named("numpy.memmap"),)):
        return found
    return Members({"": found, "class": maker})


def _encoded(value: Any) -> Any:
    """Return bytes, which old protocols spell as a text of Latin-1."""
    if isinstance(value, Thing) and value.arguments[1:] == ("latin1",):
        return str(value.arguments[0]).encode("latin-1", "replace")
    return value


def _held_array(
    kind: Any, shape: Any, data: Any, source: Source, *, is_fortran: bool = False
) -> Any:
    data = _encoded(data)
    if isinstance(data, Content):
        return _array(kind, tuple(shape), data.source, is_fortran=is_fortran)
    if not isinstance(data, bytes | bytearray):
        return None
    held = HeldSource(bytes(data), "", source.allowance)
    return _array(kind, tuple(shape), held, is_fortran=is_fortran)


def _array(kind: Any, shape: tuple[int, ...], data: Source, *, is_fortran: bool) -> Any:
    """Return an array of the type that a `numpy.dtype` in a pickle says; None for one of objects."""
    fields = _fields(kind)
    if fields is not None:
        stride = _item_bytes(kind)
        parts: dict[Any, Any] = {"shape": list(shape)}
        for name, (inner, at) in fields.items():
            made = MadeSource(column(data, stride, at, _item_bytes(inner)), data.allowance)
            part = _array(inner, shape, made, is_fortran=is_fortran)
            if part is None:
                return None
            parts[name] = part
        return parts
    descriptor = _descriptor(kind)
    if descriptor is None or "O" in descriptor:
        return None
    return array(descriptor, shape, data, is_fortran=is_fortran)


def _descriptor(kind: Any) -> str | None:
    """Return how NumPy writes the type, None for one that is not known."""
    if not isinstance(kind, Thing) or kind.name != "numpy.dtype":
        return None
    code = str(kind.arguments[0])
    state = kind.state if isinstance(kind.state, tuple) else (3, "|")
    order = state[1] if state[1] in ("<", ">") else "|"
    unit = ""
    if code[0] in "mM" and len(state) > 8 and isinstance(state[8], tuple):
        unit = f"[{state[8][1][0]}]"
    return f"{order}{code}{unit}"


def _fields(kind: Any) -> dict[str, tuple[Any, int]] | None:
    """Return the fields of a type of records, with the offset of each."""
    state = getattr(kind, "state", None)
    if not isinstance(state, tuple) or len(state) < 6 or not isinstance(state[4], dict):
        return None
    fields = {}
    for name, entry in state[4].items():
        inner = entry[0]
        if isinstance(inner.state, tuple) and inner.state[2] is not None:
            return None
        fields[str(name)] = (inner, int(entry[1]))
    return fields


def _item_bytes(kind: Any) -> int:
    if _fields(kind) is not None:
        return int(kind.state[5])
    digits = str(kind.arguments[0]).lstrip("<>|=")
    size = int(digits[1:] or 1)
    return size * 4 if digits[0] == "U" else size
