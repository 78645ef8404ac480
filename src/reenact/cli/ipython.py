"""The magics of `%load_ext reenact`, for people who live in a notebook or at IPython's prompt.

`%%reenact lr=0.1 name=baseline` runs a cell as a run in the kernel; `%reenact runs` lists runs.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Mapping
from typing import Any

from reenact.actions import api
from reenact.actions.context import Context
from reenact.actions.in_process import begin, is_inside_run, join
from reenact.actions.running_code import find_code
from reenact.cli.output import one_line, say, show_duration, show_value, visible
from reenact.errors import ReenactError, UsageError
from reenact.model.flags import FlagSet, FlagValue, Global
from reenact.model.metrics import SAMPLED
from reenact.model.run import Notes
from reenact.project.notebook import find_cell_flags, set_cell_flags
from reenact.project.operation import split_settings
from reenact.project.settings import resolve_flags

_LISTED = 20
_USAGE = "`%%reenact [lr=0.1 ...] [name=...] [label=...] [tags=a,b]` above a cell, or `%reenact runs [FILTER]`"


def load_ipython_extension(shell: Any) -> None:
    """Register `%reenact` and `%%reenact`; IPython calls this on `%load_ext reenact`."""

    def reenact(line: str, cell: str | None = None) -> Any:
        """Run a cell as a run, or list runs: see `%reenact`."""
        try:
            words = _split(line)
            if cell is not None:
                return _run_cell(shell, words, cell)
            return _answer(words)
        except ReenactError as error:
            say(f"error: {error.message}" + (f"\n\nhint: {error.hint}" if error.hint else ""))
            # The cell has failed, and this is all there is to see of it.
            raise _Refused from None

    shell.register_magic_function(reenact, "line_cell", "reenact")


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"`{line}` cannot be read: {error}", hint=_USAGE) from None


class _Refused(Exception):
    """Has been said already."""

    def _render_traceback_(self) -> list[str]:
        return []


def _answer(words: list[str]) -> None:
    if words[:1] != ["runs"]:
        say(_USAGE)
        return
    found = api.runs(" ".join(words[1:]) or None, limit=_LISTED)
    rows = [("RUN", "OPERATION", "STATUS", "TOOK", "LABEL", "FLAGS AND METRICS")]
    for run in found:
        if run.status == "damaged":
            rows.append((run.id[:8], "", run.status, "", "", ""))
            continue
        values = [f"{name}={show_value(value)}" for name, value in run.flags.items()]
        values += [
            f"{name}: {metric.last:.6g}"
            for name, metric in run.metrics.items()
            if not name.startswith(SAMPLED)
        ]
        took = show_duration(run.duration_s)
        rows.append(
            (run.id[:8], run.operation, run.status, took, run.label or "", "  ".join(values))
        )
    widths = [max(len(one_line(row[at])) for row in rows) for at in range(5)]
    for row in rows:
        cells = [one_line(cell).ljust(w) for cell, w in zip(row, widths, strict=False)]
        print("  ".join([*cells, visible(row[-1])[:100]]).rstrip())


def _run_cell(shell: Any, words: list[str], cell: str) -> Any:
    """Execute a cell as a run; return the value of its last expression."""
    others, settings = split_settings(words)
    if others:
        raise UsageError(f"`{others[0]}` is no `name=value`", hint=_USAGE)
    name = settings.pop("name", None)
    label = settings.pop("label", None)
    tags = tuple(tag for tag in settings.pop("tags", "").split(",") if tag)
    flags = find_cell_flags(cell)
    given, values = resolve_flags(_open(flags), settings, force=False, operation="this cell")
    cell = set_cell_flags(cell, _changes(flags, given))
    # What the cell does not assign itself it finds among its variables.
    shell.user_ns.update({n: v for n, v in given.items() if flags.find(n) is None})
    code, last = _compile(shell, cell)
    context = Context()
    if is_inside_run():
        join(values)
        return _execute(shell, code, last)
    began = begin(
        find_code(name, cell),
        context,
        flags=values,
        given=given,
        notes=Notes(label=label, tags=tags),
    )
    try:
        result = _execute(shell, code, last)
    except BaseException as error:
        began.end(error)
        _say_end(context, began.run.id)
        raise
    began.end()
    _say_end(context, began.run.id)
    return result


def _open(flags: FlagSet) -> FlagSet:
    """Let through names that a cell does not assign: they become variables."""
    return FlagSet(kind="cell", flags=flags.flags, open_ended=True)


def _changes(flags: FlagSet, given: Mapping[str, FlagValue]) -> list[tuple[Global, FlagValue]]:
    found = []
    for name, value in given.items():
        flag = flags.find(name)
        if flag is not None and isinstance(flag.binding, Global):
            found.append((flag.binding, value))
    return found


def _compile(shell: Any, cell: str) -> tuple[Any, Any]:
    """Compile a cell as IPython does; its last expression apart, so that its value can be shown."""
    text = shell.transform_cell(cell)
    name = shell.compile.cache(text, shell.execution_count, raw_code=cell)
    tree = shell.transform_ast(ast.parse(text, name))
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not text.rstrip().endswith(";"):
        last = compile(ast.Expression(tree.body.pop().value), name, "eval")
    return compile(tree, name, "exec"), last


def _execute(shell: Any, code: Any, last: Any) -> Any:
    exec(code, shell.user_ns)  # noqa: S102  # this is what the user has asked for
    return None if last is None else eval(last, shell.user_ns)  # noqa: S307


def _say_end(context: Context, run_id: Any) -> None:
    run = api.Run(context, context.store.read_run(run_id))
    print(f"run {run.id[:8]} {run.status} in {show_duration(run.duration_s)}")
