"""Turn tables of any library, and lists, into CSV that says what was in them.

None is an empty cell, an empty text is `""`, NaN is `NaN`; floats have all the digits that tell
them apart. Text that could be taken for one of these is in quotes.
"""

from itertools import chain, islice

MOST_ROWS = 1000000
"""Of a longer table the first rows are kept."""

_LOOK_LIKE_NUMBERS = ("nan", "inf", "-inf", "none", "true", "false")


def rows_of(table):
    """Return names of columns, an iterator over the rows (bounded), and how many rows there are."""
    if hasattr(table, "iter_rows") and hasattr(table, "columns"):
        return list(table.columns), islice(table.iter_rows(), MOST_ROWS), len(table)
    if hasattr(table, "itertuples") and hasattr(table, "index"):
        return _of_pandas(table)
    if hasattr(table, "to_frame") and not hasattr(table, "columns"):
        return rows_of(table.to_frame())
    if hasattr(table, "column_names") and hasattr(table, "to_pydict"):
        return rows_of(table.slice(0, MOST_ROWS).to_pydict())[:2] + (len(table),)
    names = getattr(getattr(table, "dtype", None), "names", None)
    if names:
        return list(names), islice(iter(table.tolist()), MOST_ROWS), len(table)
    if hasattr(table, "tolist") and hasattr(table, "shape"):
        return _of_array(table)
    if hasattr(table, "items"):
        return _of_columns(dict(table))
    return _of_rows(table)


def write_csv(path, header, rows):
    """Write a table to a file."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(",".join(map(_cell, map(str, header))) + "\n")
        pending = []
        for row in rows:
            line = ",".join(map(_cell, row))
            # A line that is empty is no row to most readers.
            pending.append(line or '""')
            if len(pending) == 1000:
                file.write("\n".join(pending) + "\n")
                pending = []
        if pending:
            file.write("\n".join(pending) + "\n")


def _cell(value):
    kind = value.__class__
    if value is None:
        return ""
    if kind is float:
        return "NaN" if value != value else float.__repr__(value)
    if kind is int or kind is bool:
        return repr(value)
    if isinstance(value, str):
        return _text(str.__str__(value))
    return _other(value)


def _text(text):
    if not text or text.strip() != text or any(c in text for c in ',"\n\r'):
        return '"%s"' % text.replace('"', '""')
    return '"%s"' % text if text.lower() in _LOOK_LIKE_NUMBERS else text


def _other(value):
    if type(value).__name__ in ("NAType", "NaTType"):
        # What pandas calls missing.
        return ""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
        if value is None or isinstance(value, (bool, int, float, str)):
            return _cell(value)
    if isinstance(value, float):
        return _cell(float(value))
    if isinstance(value, bytes):
        return _text(value.decode("utf-8", "backslashreplace"))
    return _text(str(value))


def _of_pandas(table):
    count = len(table)
    if count > MOST_ROWS:
        table = table.iloc[:MOST_ROWS]
    index = table.index
    names = [_label(name) for name in table.columns]
    is_counted = type(index).__name__ == "RangeIndex" and index.name is None
    if is_counted and (not count or (index[0] == 0 and index[-1] == len(table) - 1)):
        return names, table.itertuples(index=False, name=None), count
    levels = [name if name is not None else "index" for name in index.names]
    if len(levels) == 1:
        return [*levels, *names], table.itertuples(index=True, name=None), count
    rows = table.itertuples(index=True, name=None)
    return [*levels, *names], (tuple(row[0]) + tuple(row[1:]) for row in rows), count


def _label(name):
    return "/".join(map(str, name)) if isinstance(name, tuple) else name


def _of_array(table):
    if hasattr(table, "detach"):
        table = table.detach().cpu()
    if len(table.shape) == 1:
        return ["value"], ((value,) for value in table[:MOST_ROWS].tolist()), len(table)
    if len(table.shape) != 2:
        raise TypeError("an array of %d dimensions is no table" % len(table.shape))
    return list(range(table.shape[1])), iter(table[:MOST_ROWS].tolist()), len(table)


def _of_columns(columns):
    values = []
    for column in columns.values():
        if isinstance(column, (str, bytes)) or not hasattr(column, "__len__"):
            values.append(None)
            continue
        if getattr(column, "shape", None) == ():
            values.append(None)
            continue
        if hasattr(column, "detach"):
            column = column.detach().cpu()
        values.append(column[:MOST_ROWS].tolist() if hasattr(column, "tolist") else column)
    if all(value is None for value in values):
        return list(columns), iter([tuple(columns.values())] if columns else []), bool(columns) + 0
    lengths = {len(column) for column in columns.values() if hasattr(column, "__len__")}
    if None in values or len(lengths) != 1:
        raise ValueError("its columns are not equally long: %s" % sorted(lengths))
    return list(columns), islice(zip(*values), MOST_ROWS), lengths.pop()


def _of_rows(rows):
    if isinstance(rows, (str, bytes)):
        raise TypeError("a text is no table")
    count = len(rows) if hasattr(rows, "__len__") else 0
    kept = list(islice(iter(rows), MOST_ROWS))
    count = max(count, len(kept))
    if not kept:
        return [], iter(()), count
    if all(hasattr(row, "items") for row in kept):
        names = list(dict.fromkeys(chain.from_iterable(kept)))
        return names, (tuple(row.get(name) for name in names) for row in kept), count
    if all(hasattr(row, "__len__") and not isinstance(row, (str, bytes)) for row in kept):
        named = getattr(kept[0], "_fields", None)
        width = max(map(len, kept))
        header = list(named) if named and len(named) == width else list(range(width))
        return header, (tuple(row) + (None,) * (width - len(row)) for row in kept), count
    if any(hasattr(row, "items") for row in kept):
        raise TypeError("some of its rows are dictionaries, others are not")
    return ["value"], ((row,) for row in kept), count
