"""The SQL of questions to the index: which rows a filter means, and in which order they come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reenact.model.paths import printable
from reenact.store.columns import Kind, Sort
from reenact.store.query import Filter, Known, Sql, compile_filter, metric_column


def rows_where(
    filter_: Filter | None, project: str | None, deleted: bool, names: Mapping[str, Known]
) -> Sql:
    """Return the condition for the runs that a filter means, in `runs r`."""
    text = "r.deleted = ?"
    parameters: tuple[object, ...] = (deleted,)
    if project is not None:
        text += " and (r.project = ? or r.project is null)"
        parameters += (project,)
    if filter_ is not None:
        condition = compile_filter(filter_, names.get)
        text += f" and {condition.text}"
        parameters += condition.parameters
    # An argument of the command line that is not UTF-8 cannot be bound; nothing equals it.
    clean = (printable(p) if isinstance(p, str) else p for p in parameters)
    return Sql(text, tuple(clean))


def order_by(sort: Sequence[Sort], names: Mapping[str, Known]) -> tuple[Sql, str]:
    """Return joins and the terms to order by: first those with a value, then NaN, then none."""
    joins = ["left join details d on d.n = r.n"]
    keys: list[int] = []
    terms = []
    for number, (operand, is_descending) in enumerate((s.operand, s.is_descending) for s in sort):
        known = names.get(operand.name)
        parts = []
        if operand.kind is Kind.ATTRIBUTE:
            value = _SORTED_BY.get(operand.name) or f"r.{operand.name}"
            parts.append(("1", f"{value} is null", value))
        elif known is not None:
            if known.is_flag and operand.kind in (Kind.ANY, Kind.FLAG):
                joins.append(_join_values("flags", flag := f"f{number}"))
                keys.append(known.key)
                parts.append(_order_of_values(flag))
            if known.is_metric and operand.kind in (Kind.ANY, Kind.METRIC):
                metric = f"m{number}"
                joins.append(
                    f"left join metrics {metric} on {metric}.name = ? and {metric}.n = r.n"
                )
                keys.append(known.key)
                column = f"{metric}.{metric_column(operand)}"
                rank = f"case typeof({column}) when 'null' then 2 when 'text' then 1 else 0 end"
                parts.append((f"{metric}.n is not null", rank, column))
            if known.is_param and operand.kind in (Kind.ANY, Kind.PARAM):
                joins.append(_join_values("params", param := f"p{number}"))
                keys.append(known.key)
                parts.append(_order_of_values(param))
        if parts:
            ranks = " ".join(f"when {there} then {rank}" for there, rank, _ in parts)
            values = " ".join(f"when {there} then {value}" for there, _, value in parts)
            direction = " desc" if is_descending else ""
            terms.append(f"case {ranks} else 2 end, case {values} end{direction}, ")
    return Sql(" ".join(joins), tuple(keys)), "".join(terms)


def _join_values(table: str, alias: str) -> str:
    return f"left join {table} {alias} on {alias}.name = ? and {alias}.n = r.n"


def _order_of_values(alias: str) -> tuple[str, str, str]:
    """Return for rows like those of `flags`: if there is one, its rank, its value."""
    return (
        f"{alias}.n is not null",
        f"case {alias}.kind when 0 then 2 when 3 then 1 else 0 end",
        f"iif({alias}.kind in (0, 3), null, coalesce({alias}.number, {alias}.text))",
    )


_SORTED_BY = {
    "part": "iif(r.part glob '[0-9]*', cast(r.part as integer), r.part)",
    "tag": "nullif(r.tags, '')",
    "project": "r.project_name",
    "comment": "d.comment",
    "command": "d.command",
    "commit": "d.commit_id",
    "dirty": "d.dirty",
    "source": "d.source",
}
