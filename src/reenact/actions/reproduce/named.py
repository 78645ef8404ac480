"""Let the name of an operation or script mean its latest result: `reenact reproduce train.py`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from reenact.actions.context import Context
from reenact.actions.find import find_run
from reenact.errors import Ambiguous, NotFound
from reenact.model.identity import RunId
from reenact.model.run import Status
from reenact.store.columns import IndexedRun, Kind, Operand
from reenact.store.index import Index
from reenact.store.query import All, Comparison, Expression, Filter, Not, Relation, Value, ValueKind

_SHOWN = 3


def with_operations_found(
    context: Context, texts: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """Return texts in which each name of an operation is replaced by the run that is meant.

    That is the latest of its runs in this project that has completed, stands for itself and is no
    reproduction. Ids, labels and all else that names a run come first.

    Args:
        context: where.
        texts: each a run, a file or an operation.
        say: told which run is taken.

    Raises:
        Ambiguous: several operations are called so.
        NotFound: there are runs of the operation, and none has completed.
    """
    return [_found(context, text, say) for text in texts]


def _found(context: Context, text: str, say: Callable[[str], None]) -> str:
    try:
        find_run(context, text)
    except NotFound:
        pass
    except Ambiguous:
        return text
    else:
        return text
    runs = _runs_of(context, text)
    if not runs:
        return text
    names = sorted({run.operation for run in runs if run.operation is not None})
    if len(names) > 1 and text not in names:
        listed = ", ".join(f"`{name}`" for name in names[:_SHOWN])
        raise Ambiguous(f"`{text}` means several operations: {listed}", hint="name one of them")
    name = text if text in names else names[0]
    own = [run for run in runs if run.operation == name and run.status is Status.COMPLETED]
    chosen = next((run.id for run in own if not _reproduces(context, run.id)), None)
    if chosen is None:
        raise NotFound(
            f"no run of `{name}` has completed: there is no result to show again",
            hint="`reenact runs` lists what there is; name a run by its id",
        )
    say(f"{text}: the latest completed run of {name} is {chosen[:8]}")
    return chosen


def _runs_of(context: Context, text: str) -> list[IndexedRun]:
    """Return the runs of this project that stand for themselves and whose operation is called so."""
    stands_for_itself: Expression = Not(_is("parent", Relation.EXISTS))
    with Index(context.store) as index:
        for name in _names(context, text):
            which = Filter(text, All((_is("op", Relation.EQUAL, name), stands_for_itself)))
            if found := index.query(which, project=context.project.id):
                return list(found)
    return []


def _names(context: Context, text: str) -> list[str]:
    """Return what an operation may be called: as it is said, or a script's path in the project."""
    path = os.path.realpath(os.path.join(context.directory, text))
    inside = f"{context.root.path}/"
    in_project = [path[len(inside) :]] if path.startswith(inside) else []
    return list(dict.fromkeys([*in_project, text])) if os.path.isfile(path) else [text]


def _is(attribute: str, relation: Relation, value: str | None = None) -> Expression:
    values = () if value is None else (Value(ValueKind.TEXT, value),)
    return Comparison(Operand(Kind.ATTRIBUTE, attribute), relation, values)


def _reproduces(context: Context, run_id: RunId) -> bool:
    run = context.store.read_run(run_id).run
    return run is None or run.reproduces is not None
