"""Which number is the best one of several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from reenact.model.statistic import number_in

_GOOD = frozenset(
    """
    acc accuracy accuracies auc auroc auprc roc f1 fscore r2 score precision recall map ap mrr ndcg bleu
    rouge meteor iou miou dice psnr ssim reward return elbo throughput likelihood
    """.split()
)
_BAD = frozenset(
    """
    loss losses error errors err rmse mse mae mape msle rmsle nll perplexity ppl bpc wer cer fid
    regret brier deviance logloss
    """.split()
)
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*")


class Direction(StrEnum):
    """Which number of a column is the best one."""

    MIN = "min"
    MAX = "max"


def guess_direction(name: str) -> Direction | None:
    """Tell from a metric's name which of its values is best; None where that is not plain.

    `val_loss` and `rmse` are better when small, `test/acc` and `F1` when great, `neg_rmse` when
    great; `score_loss` says both, `lr` nothing.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    bare = {*words, *(word.rstrip("0123456789") for word in words)}
    is_good, is_bad = not _GOOD.isdisjoint(bare), not _BAD.isdisjoint(bare)
    is_negated = not bare.isdisjoint(("neg", "negative"))
    if is_good == is_bad:
        return None
    return Direction.MAX if is_good != is_negated else Direction.MIN


def best_of(values: Sequence[object], direction: Direction) -> frozenset[int]:
    """Return where the best of several numbers stands; nowhere if there are not two to compare."""
    numbers = {at: n for at, v in enumerate(values) if (n := number_in(v)) is not None and n == n}
    if len(set(numbers.values())) < 2:
        return frozenset()
    best = min(numbers.values()) if direction is Direction.MIN else max(numbers.values())
    return frozenset(at for at, number in numbers.items() if number == best)
