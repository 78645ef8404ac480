from __future__ import annotations

from datetime import date

import pytest

from reenact.judge.outputs.printed import Printed, judge_printed
from reenact.model.verdict import OutputVerdict, Verdict

FRIDAY, MONDAY = date(2026, 11, 20), date(2026, 11, 23)


def judge(original: str, reproduced: str) -> OutputVerdict:
    found = judge_printed(
        Printed(original.encode(), [FRIDAY]),
        Printed(reproduced.encode(), [MONDAY]),
        directories=("/store/runs/one", "/store/runs/two"),
    )
    assert found is not None
    return found


def test_nothing_printed_is_nothing_to_judge() -> None:
    assert judge_printed(Printed(b""), Printed(b"")) is None


@pytest.mark.parametrize("reproduced", ["a\nb\n", "a\r\nb\r\n"])
def test_the_same_text_is_identical_whatever_ends_its_lines(reproduced: str) -> None:
    found = judge("a\nb\n", reproduced)

    assert (found.verdict, found.detail) == (Verdict.IDENTICAL, None)


@pytest.mark.parametrize(
    ("original", "reproduced", "left_out"),
    [
        ("done in 0.123s", "done in 1.4s", "time"),
        ("took 3.2 and gave 7", "took 12 and gave 7", "time"),
        ("Training time: 0.2, loss: 0.3", "Training time: 11.2, loss: 0.3", "time"),
        ("fit time 0.2", "fit time 1e-05", "time"),
        ("epoch 1: 100 samples/s", "epoch 1: 98.2 samples/s", "time"),
        ("2m 3s elapsed", "1m 57s elapsed", "time"),
        ("19:45:33 INFO loss 0.3", "09:12:01,123 INFO loss 0.3", "time"),
        ("Date: Fri, 20 Nov 2026", "Date: Mon, 23 Nov 2026", "date"),
        ("2026-11-20T10:00:00 loss 1", "2026-11-23T11:00:00 loss 1", "date of 1 line, time"),
        ("<a.B object at 0x7f00aa>", "<a.B object at 0x7f10bb>", "address"),
        ("saved /var/x/tmpab12cd34/m", "saved /var/x/tmp_b12cd3x/m", "temporary name"),
        ("saved /store/runs/one/m.pt", "saved /store/runs/two/m.pt", "path"),
        ("{'train_runtime': '0.08', 'n': 3}", "{'train_runtime': '0.1', 'n': 3}", "time"),
        ("━━━━━━━━ 8/8 loss: 1", "━━━━━╸ 8/8 loss: 1", "progress bar"),
        ("1/2 0s\r2/2 loss: 3", "2/2 loss: 3", "sign for the terminal"),
        ("\x1b[1m2/2\x1b[0m loss: 3", "2/2 loss: 3", "sign for the terminal"),
    ],
)
def test_what_no_run_prints_twice_is_left_out(
    original: str, reproduced: str, left_out: str
) -> None:
    found = judge(f"begin\n{original}\nend\n", f"begin\n{reproduced}\nend\n")

    assert found.verdict is Verdict.WITHIN_TOLERANCE, found
    assert found.detail == f"same content; left out: {left_out} of 1 line"


@pytest.mark.parametrize(
    ("original", "reproduced"),
    [
        ("acc 0.5", "acc 0.6"),
        ("loss: 0.3 in 2.1s", "loss: 0.4 in 2.1s"),
        ("reaction_time_mse: 0.3", "reaction_time_mse: 0.4"),
        ("sales on Fri: 3", "sales on Mon: 3, on Tue: 4"),
        ("0.5 m", "0.6 m"),
        ("a\nb", "a"),
        ("2019-03-01 is the best day", "2019-03-02 is the best day"),
    ],
)
def test_another_result_differs(original: str, reproduced: str) -> None:
    assert judge(f"begin\n{original}", f"begin\n{reproduced}").verdict is Verdict.DIFFERS


def test_days_of_the_week_in_lines_that_are_the_same_stay() -> None:
    assert judge("Fri 3\nx 1s\n", "Fri 3\nx 2s\n").verdict is Verdict.WITHIN_TOLERANCE


def test_a_difference_is_named_by_its_line() -> None:
    assert judge("a\nacc 0.5\n", "a\nacc 0.6\n").detail == "line 2: 0.5 -> 0.6"


def test_the_same_lines_in_another_order_may_be_the_same_result() -> None:
    found = judge("begin\nb 2s\na\n", "begin\na\nb 3s\n")

    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.detail == "the same lines in another order, from line 2"


def test_a_tolerance_counts_for_printed_numbers() -> None:
    texts = Printed(b"acc 0.98"), Printed(b"acc 0.97")

    found = judge_printed(*texts, tolerance=(0.02, 0.0))

    assert found is not None
    assert found.verdict is Verdict.WITHIN_TOLERANCE
