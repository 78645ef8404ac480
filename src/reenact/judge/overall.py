"""Make one verdict of many: of series, outputs, statistics and claims. See `docs/explanation/verdicts.md`.

In short: claims decide where there are any; else statistics, where there are several runs; else the
series. Outputs decide where equal bits can be expected, and where there is nothing else; what was
printed where there is no output either. Times and logs never come back and decide only where
somebody names them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

from msgspec.structs import replace

from reenact.judge.names import is_log, is_time
from reenact.model.metrics import JsonNumber
from reenact.model.verdict import (
    STDOUT,
    ClaimVerdict,
    Expectation,
    OutputVerdict,
    SeriesVerdict,
    StatisticVerdict,
    Verdict,
)
from reenact.model.words import counted

_Judged: TypeAlias = SeriesVerdict | OutputVerdict | StatisticVerdict | ClaimVerdict

_ORDER = list(Verdict)
_PLACE = {verdict: at for at, verdict in enumerate(_ORDER)}
_MOST_NAMED = 3
_ROUNDED = 1e-6
"""Nobody's result depends on a smaller part of it."""
_PRINTED_TEXT = "what it printed"


def overall(
    *,
    series: Sequence[SeriesVerdict] = (),
    outputs: Sequence[OutputVerdict] = (),
    printed: OutputVerdict | None = None,
    statistics: Sequence[StatisticVerdict] = (),
    claims: Sequence[ClaimVerdict] = (),
    expectation: Expectation = Expectation.IDENTICAL,
    named: Collection[str] = (),
) -> tuple[Verdict, str]:
    """Return the verdict in all, and why in one line. That all runs ended well is up to the caller.

    Args:
        series: of single runs, the worst of each metric; left out where there are statistics.
        outputs: of the run that was made again.
        printed: of its standard output.
        statistics: of several runs.
        claims: of which all must be confirmed.
        expectation: what can be asked of bits.
        named: metrics and outputs that the user named: they count whatever they are called.
    """
    everything: list[_Judged] = [*series, *outputs, *statistics, *claims]
    texts = [] if printed is None else [printed]
    judged = _of_single_runs(statistics, series, expectation) if statistics else series
    metrics: Sequence[_Judged] = [metric for metric in judged if counts(metric, named)]
    files = [output for output in outputs if counts(output, named)]
    deciding: list[_Judged] = [*(claims or metrics)]
    missing = [output for output in files if output.reproduced is None]
    if expectation is Expectation.IDENTICAL and _all_identical(deciding) and not claims:
        deciding += files
    elif not deciding:
        deciding = [_doubted(output, expectation) for output in files]
    else:
        deciding += missing
    if not deciding or STDOUT in named:
        deciding += texts
    if not deciding:
        return _judge_nothing(everything)
    verdict = worst(judged.verdict for judged in deciding)
    rest = [
        *outputs,
        *judged,
        *(text for text in texts if text.verdict is not Verdict.WITHIN_TOLERANCE),
    ]
    decided = {(type(judged), _name(judged)) for judged in deciding}
    others = [
        j for j in rest if (type(j), _name(j)) not in decided and j.verdict is not Verdict.IDENTICAL
    ]
    if verdict is Verdict.IDENTICAL and any(counts(judged, named) for judged in others):
        # Claims, say, are confirmed to the last bit, but something else is not the same.
        verdict = Verdict.WITHIN_TOLERANCE
    return verdict, _summarize(verdict, deciding, others)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return that which is furthest from identical; there is one at least."""
    return max(verdicts, key=_PLACE.__getitem__)


def counts(judged: _Judged, named: Collection[str] = ()) -> bool:
    """Tell whether this is a result: not a time, a sample of the machine or a log."""
    if isinstance(judged, ClaimVerdict):
        return True
    if isinstance(judged, OutputVerdict):
        return judged.is_printed or judged.path in named or not is_log(judged.path)
    return judged.name in named or not is_time(judged.name)


def _of_single_runs(
    statistics: Sequence[StatisticVerdict],
    series: Sequence[SeriesVerdict],
    expectation: Expectation,
) -> list[StatisticVerdict | SeriesVerdict]:
    """Return statistics, and the series of a metric in place of one that cannot decide.

    A single original that was repeated with its own seed came back if all repetitions did, step by
    step, by what is tolerated; no distribution is known. A margin that the user names counts more.
    """
    by_name = {one.name: one for one in series}

    def chosen(one: StatisticVerdict) -> StatisticVerdict | SeriesVerdict:
        single = by_name.get(one.name)
        is_single = len(one.original.values) == 1 and expectation is not Expectation.STATISTICS
        if single is None or not is_single:
            return one
        if single.verdict in (Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE):
            is_open = one.verdict is Verdict.INCONCLUSIVE
            is_refuted = one.verdict is Verdict.DIFFERS and one.margin_source != "user"
            return single if is_open or is_refuted else one
        # The same in the end, and not on the way there.
        return single if one.verdict is Verdict.IDENTICAL else one

    return [chosen(one) for one in statistics]


def _all_identical(judged: Iterable[_Judged]) -> bool:
    return all(j.verdict is Verdict.IDENTICAL for j in judged)


def _doubted(output: OutputVerdict, expectation: Expectation) -> OutputVerdict:
    """Return an output of which other bytes say little as inconclusive."""
    is_bytes = output.how == "digest" and output.reproduced is not None
    if output.verdict is Verdict.DIFFERS and is_bytes and expectation is not Expectation.IDENTICAL:
        return replace(output, verdict=Verdict.INCONCLUSIVE)
    return output


def _judge_nothing(everything: Sequence[_Judged]) -> tuple[Verdict, str]:
    if not everything:
        return Verdict.INCONCLUSIVE, "nothing to compare: no metric, no output, nothing printed"
    if _all_identical(everything):
        return Verdict.IDENTICAL, f"{_count(everything)} identical"
    return Verdict.INCONCLUSIVE, "nothing to compare but times and logs"


# --- words ---


def _summarize(verdict: Verdict, deciding: Sequence[_Judged], others: Sequence[_Judged]) -> str:
    guilty = [judged for judged in deciding if judged.verdict is verdict]
    if verdict in (Verdict.DIFFERS, Verdict.INCONCLUSIVE, Verdict.COULD_NOT_RUN):
        said = [_explain(judged) for judged in guilty[:_MOST_NAMED]]
        if len(guilty) > _MOST_NAMED:
            said.append(f"and {len(guilty) - _MOST_NAMED} more")
        text = "; ".join(said)
        if len(guilty) < len(deciding):
            kinds = {_kind(judged) for judged in deciding}
            every = _count(deciding) if len(kinds) == 1 else f"{len(deciding)} results"
            text += f" ({len(deciding) - len(guilty)} of {every} came back)"
    else:
        same = [judged for judged in deciding if judged.verdict is Verdict.IDENTICAL]
        rest = [judged for judged in deciding if judged.verdict is not Verdict.IDENTICAL]
        said = [f"{_count(same)} identical"] if same else []
        said += [f"{_count(rest)} {_worst_word(rest)}"] if rest else []
        text = ", ".join(said)
        if all(_kind(judged) == _PRINTED_TEXT for judged in deciding):
            text = f"{_PRINTED_TEXT} is {deciding[0].verdict}"
            if verdict is not Verdict.IDENTICAL:
                text += f": {_detail(deciding[0])}"
    others = [judged for judged in others if not _is_expected(judged)]
    if others:
        names = [_name(judged) for judged in others[:_MOST_NAMED]]
        if len(others) > _MOST_NAMED:
            names.append(f"{len(others) - _MOST_NAMED} more")
        text += f"; not the same, and not decisive: {', '.join(names)}"
    return text


def _is_expected(judged: _Judged) -> bool:
    """Whether nobody wants to hear of it: no time comes back, and no log bit by bit."""
    if isinstance(judged, OutputVerdict):
        return judged.verdict is Verdict.WITHIN_TOLERANCE and is_log(judged.path)
    return isinstance(judged, SeriesVerdict | StatisticVerdict) and is_time(judged.name)


def _worst_word(judged: Iterable[_Judged]) -> str:
    return worst(j.verdict for j in judged).value


def _detail(judged: _Judged) -> str:
    return (judged.detail if isinstance(judged, OutputVerdict) else None) or judged.verdict.value


def _explain(judged: _Judged) -> str:
    name = f"`{_name(judged)}`"
    if isinstance(judged, OutputVerdict) and judged.is_printed:
        return f"{_PRINTED_TEXT}: {_detail(judged)}"
    if isinstance(judged, OutputVerdict):
        if judged.reproduced is None and judged.original is not None:
            return f"{name} was not written"
        return f"{name}: {judged.detail or 'other bytes'}"
    if isinstance(judged, SeriesVerdict):
        parting = judged.first_beyond or judged.first_parting
        if parting is None or None in (parting.original, parting.reproduced):
            return f"{name}: {judged.reason or judged.verdict.value}"
        values = "{}, was {}".format(*_apart(parting.reproduced, parting.original))
        return f"{name} parts at step {parting.step}: {values}{_how_little(judged)}"
    if isinstance(judged, ClaimVerdict):
        found, claimed = _apart(judged.found, judged.claimed)
        found = "no value" if judged.found is None else found
        reason = f" ({judged.reason})" if judged.reason else ""
        return f"claim {name}: {found}, claimed {claimed}{reason}"
    if judged.reproduced.mean is None or judged.original.mean is None:
        return f"{name}: {judged.reason}"
    means = "mean {}, was {}".format(*_apart(judged.reproduced.mean, judged.original.mean))
    more = f", {judged.more_seeds} more runs may decide" if judged.more_seeds else ""
    reason = f" ({judged.reason})" if judged.reason else ""
    return f"{name}: {means}{more}{reason}"


def _how_little(judged: SeriesVerdict) -> str:
    """Say of a whole series that it is only rounded otherwise."""
    relative = judged.largest_relative
    if not isinstance(relative, float | int) or not 0 < relative < _ROUNDED:
        return ""
    return f", nowhere by more than {relative:.1e} of the value"


def _name(judged: _Judged) -> str:
    if isinstance(judged, OutputVerdict) and judged.is_printed:
        return f"{_PRINTED_TEXT} ({_detail(judged)})"
    return judged.path if isinstance(judged, OutputVerdict) else judged.name


def _apart(a: JsonNumber | None, b: JsonNumber | None) -> tuple[str, str]:
    """Return two numbers with as many digits as tell them apart."""
    short = _short(a), _short(b)
    if a is None or b is None or short[0] != short[1]:
        return short
    return repr(float(a)), repr(float(b))


def _short(value: JsonNumber | None) -> str:
    return "nothing" if value is None else f"{float(value):.6g}"


def _count(judged: Sequence[_Judged]) -> str:
    """Return how many of each there are: `3 metrics and 1 output`."""
    kinds = [_kind(one) for one in judged]
    found = [(kinds.count(noun), noun) for noun in ("claim", "metric", "output")]
    words = [counted(n, noun) for n, noun in found if n]
    return " and ".join(words + [_PRINTED_TEXT] * (_PRINTED_TEXT in kinds))


def _kind(judged: _Judged) -> str:
    if isinstance(judged, OutputVerdict):
        return _PRINTED_TEXT if judged.is_printed else "output"
    return "claim" if isinstance(judged, ClaimVerdict) else "metric"
