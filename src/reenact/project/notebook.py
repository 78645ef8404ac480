"""A Jupyter notebook as a program: the Python in its cells, its flags, a copy with other values.

The code cells make one text, in which what only IPython understands (magics, shell lines, help) is
replaced by as many bytes of Python that does nothing. So a literal's place in this text is its
place in a cell, and `rewrite_notebook` replaces it there: the number of lines stays.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from reenact.errors import CannotRun, ReenactError
from reenact.model.flags import Flag, FlagSet, FlagValue, Global
from reenact.project.apply import replace_literals
from reenact.project.detect.by_globals import find_globals
from reenact.project.detect.source import Source

PARAMETERS = "parameters"
"""Tag of the cell whose assignments are meant to be set from outside."""

_PYTHON_INSIDE = frozenset("time timeit capture prun memit mprun lprun reenact".split())
"""Cell magics below which there is Python."""
_MAGIC = re.compile(r"^(\s*)(%|!|\?|/[A-Za-z]|,|;)")
_HELP = re.compile(r"^(\s*)[\w.*%]+\?{1,2}\s*$")
_ASSIGNED = re.compile(r"^(\s*[\w.,\s]+=\s*)(%|!)")


class Cell(NamedTuple):
    """A code cell.

    Attributes:
        number: among the code cells, counted from 1.
        position: among all cells, counted from 0.
        source: as it is.
        tags: what its metadata says.
    """

    number: int
    position: int
    source: str
    tags: tuple[str, ...]


class Notebook(NamedTuple):
    """A notebook that was read.

    Attributes:
        document: all of it, as JSON has it.
        cells: its code cells.
        language: in lower case; `python` where it does not say.
        kernel: name of its kernel's specification, None where it names none.
    """

    document: dict[str, Any]
    cells: tuple[Cell, ...]
    language: str
    kernel: str | None


def read_notebook(content: bytes, name: str) -> Notebook:
    """Read a notebook.

    Args:
        content: of the file.
        name: how messages call it.

    Raises:
        CannotRun: it is no notebook.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        detail = "it is empty" if not content.strip() else f"no JSON: {error}"
        raise CannotRun(f"`{name}` is no notebook: {detail}") from None
    if isinstance(document, dict) and "worksheets" in document:
        raise CannotRun(
            f"`{name}` is a notebook of version {document.get('nbformat', 3)}",
            hint=f"convert it: `jupyter nbconvert --to notebook --inplace {name}`",
        )
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise CannotRun(f"`{name}` is no notebook: it has no cells")
    metadata = _table(document.get("metadata"))
    spec = _table(metadata.get("kernelspec"))
    told = spec.get("language") or _table(metadata.get("language_info")).get("name")
    kernel = spec.get("name")
    if not isinstance(kernel, str) or not kernel:
        kernel = None
    if not isinstance(told, str) or not told:
        told = "python" if kernel is None or kernel.startswith("python") else kernel
    cells: list[Cell] = []
    for position, cell in enumerate(document["cells"]):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            tags = _table(cell.get("metadata")).get("tags")
            found = tuple(map(str, tags)) if isinstance(tags, list) else ()
            cells.append(Cell(len(cells) + 1, position, _text(cell.get("source")), found))
    return Notebook(document, tuple(cells), told.lower(), kernel)


def find_notebook_flags(notebook: Notebook, content: bytes, name: str) -> FlagSet:
    """Return a notebook's flags: of its `parameters` cell, then literals of the others.

    A name that the tagged cell assigns is meant to be set, whatever happens to it later. Of the
    other cells a name counts as in a script: its first assignment is a literal, and there is no
    second one.

    Args:
        notebook: the notebook.
        content: of its file.
        name: path of the file relative to the project's root.
    """
    code = _code(notebook)
    source = Source(name, name, code.text)
    flags: dict[str, Flag] = {}
    for cell, start, end in code.places:
        if PARAMETERS in cell.tags:
            # Alone, at its place: what other cells do to these names does not matter.
            alone = b"".join(
                [_blank(code.text[:start]), code.text[start:end], _blank(code.text[end:])]
            )
            for flag in find_globals(Source(name, name, alone)):
                flags.setdefault(flag.name, flag)
    for flag in find_globals(source):
        if not any(_overlaps(flag.name, known) for known in flags):
            flags[flag.name] = flag
    digest = _digest(content)
    placed = [_placed(flag, code, name, digest) for flag in flags.values()]
    # In the order in which people read them.
    placed.sort(key=lambda flag: flag.binding.start if isinstance(flag.binding, Global) else 0)
    return FlagSet(
        kind="globals" if placed else "none", flags=tuple(placed), remarks=tuple(code.remarks)
    )


def rewrite_notebook(content: bytes, changes: Sequence[tuple[Global, FlagValue]]) -> bytes:
    """Return a notebook in whose cells literals are replaced.

    Raises:
        ReenactError: the file is not the one in which the literals were found.
    """
    name = changes[0][0].file
    digest = _digest(content)
    if any(place.digest != digest for place, _ in changes):
        raise ReenactError(
            f"`{name}` changed after its flags were found", hint="run the command again"
        )
    notebook = read_notebook(content, name)
    for cell, start, end in _code(notebook).places:
        inside = [
            (
                msgspec.structs.replace(place, start=place.start - start, end=place.end - start),
                value,
            )
            for place, value in changes
            if start <= place.start < end
        ]
        if inside:
            source = replace_literals(cell.source.encode(), inside).decode()
            known = notebook.document["cells"][cell.position]
            is_list = isinstance(known["source"], list)
            known["source"] = source.splitlines(keepends=True) if is_list else source
    # As Jupyter itself writes it.
    return (json.dumps(notebook.document, indent=1, ensure_ascii=False) + "\n").encode()


def replace_in_notebook(content: bytes, values: Sequence[tuple[str, FlagValue]]) -> bytes:
    """Return a notebook in whose code values stand in the place of what patterns find.

    Args:
        content: of the notebook.
        values: regular expressions, each with the value that its first group, or all that it
            matches where it has none, is replaced by, as Python writes it.
    """
    notebook = read_notebook(content, "the notebook")
    for cell in notebook.cells:
        source = cell.source
        for pattern, value in values:
            source = _replaced(re.compile(pattern, re.MULTILINE), source, repr(value))
        if source != cell.source:
            known = notebook.document["cells"][cell.position]
            is_list = isinstance(known["source"], list)
            known["source"] = source.splitlines(keepends=True) if is_list else source
    return (json.dumps(notebook.document, indent=1, ensure_ascii=False) + "\n").encode()


def _replaced(pattern: re.Pattern[str], text: str, new: str) -> str:
    group = 1 if pattern.groups else 0
    pieces = []
    last = 0
    for match in pattern.finditer(text):
        start, end = match.span(group)
        if start >= last and end > start:
            pieces += [text[last:start], new]
            last = end
    return "".join([*pieces, text[last:]])


# --- the text of all cells ---


class _Code(NamedTuple):
    """Python that stands for a notebook's cells; `places` says where each cell begins and ends."""

    text: bytes
    places: list[tuple[Cell, int, int]]
    remarks: list[str]


def _code(notebook: Notebook) -> _Code:
    parts: list[bytes] = []
    places = []
    remarks = []
    at = 0
    for cell in notebook.cells:
        text, problem = _understand(cell.source)
        if problem is not None:
            remarks.append(f"cell {cell.number}: not understood as Python: {problem}")
        part = text.encode()
        places.append((cell, at, at + len(part)))
        parts += [part, b"\n"]
        at += len(part) + 1
    return _Code(b"".join(parts), places, remarks)


def _understand(source: str) -> tuple[str, str | None]:
    """Return a cell's source as Python of the same length, and why not where that is impossible."""
    if not source.isascii():
        try:
            source.encode()
        except UnicodeEncodeError:
            return "", "it holds half a character"
    lines = re.split(r"(?<=\n)", source.replace("\r", " "))
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    if first is not None and lines[first].startswith("%%"):
        word = lines[first][2:].split()
        if not word or word[0] not in _PYTHON_INSIDE:
            return _blank_text(source), None
        lines[first] = _nothing(lines[first], 0)
    for _ in range(len(lines) + 1):
        problem = _problem("".join(lines))
        if problem is None:
            return "".join(lines), None
        at = (problem.lineno or 1) - 1
        if not 0 <= at < len(lines) or not _neutralize(lines, at):
            break
    # Of several lines that are wrong, Python may complain about another than the first one.
    for at in range(len(lines)):
        _neutralize(lines, at)
    problem = _problem("".join(lines))
    if problem is None:
        return "".join(lines), None
    return _blank_text(source), f"line {problem.lineno}: {problem.msg}"


def _problem(text: str) -> SyntaxError | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text.encode())
    except SyntaxError as error:
        return error
    except (ValueError, RecursionError, MemoryError) as error:
        return SyntaxError(str(error))
    return None


def _neutralize(lines: list[str], at: int) -> bool:
    """Replace what only IPython understands in a line; tell whether there was any."""
    line = lines[at]
    if found := _ASSIGNED.match(line):
        lines[at] = _nothing(line, found.end(1), "_")
    elif found := _MAGIC.match(line) or _HELP.match(line):
        lines[at] = _nothing(line, found.end(1))
    else:
        return False
    # A shell command may go on in the next lines.
    while line.rstrip("\n").endswith("\\") and at + 1 < len(lines):
        at += 1
        line = lines[at]
        lines[at] = _nothing(line, 0, " ")
    return True


def _nothing(line: str, start: int, word: str = "0") -> str:
    """Return a line of as many bytes in which `word` stands for what begins at `start`."""
    end = "\n" if line.endswith("\n") else ""
    length = len(line.removesuffix("\n")[start:].encode())
    return line[:start] + word.ljust(length) + end


def _blank_text(source: str) -> str:
    return _blank(source.encode()).decode()


def _blank(text: bytes) -> bytes:
    return re.sub(rb"[^\n]", b" ", text)


def _placed(flag: Flag, code: _Code, name: str, digest: str) -> Flag:
    """Say of a flag that was found in the text of all cells where it is in the notebook."""
    binding = flag.binding
    assert isinstance(binding, Global)
    cell, start, _ = next(p for p in code.places if p[1] <= binding.start < p[2])
    line = code.text.count(b"\n", start, binding.start) + 1
    return msgspec.structs.replace(
        flag,
        binding=msgspec.structs.replace(binding, digest=digest),
        found=f"{name}: cell {cell.number}, line {line}",
    )


def _overlaps(name: str, known: str) -> bool:
    return name == known or name.startswith(f"{known}.") or known.startswith(f"{name}.")


def _digest(content: bytes) -> str:
    from blake3 import blake3

    return blake3(content).hexdigest()


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(source: object) -> str:
    if isinstance(source, list):
        return "".join(part for part in source if isinstance(part, str))
    return source if isinstance(source, str) else ""


def find_cell_flags(source: str) -> FlagSet:
    """Return the flags of one cell: the literals that it assigns."""
    text, _ = _understand(source)
    return FlagSet(kind="globals", flags=tuple(find_globals(Source("cell", "cell", text.encode()))))


def set_cell_flags(source: str, changes: Sequence[tuple[Global, FlagValue]]) -> str:
    """Return a cell with other values for flags that `find_cell_flags` found in it."""
    return replace_literals(source.encode(), changes).decode() if changes else source
