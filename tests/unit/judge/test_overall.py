from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from reenact.judge.names import is_log, is_time
from reenact.judge.overall import overall, worst
from reenact.judge.statistics import sample
from reenact.model.identity import Digest
from reenact.model.verdict import (
    PRINTED,
    STDOUT,
    ClaimVerdict,
    Expectation,
    OutputVerdict,
    Parting,
    SeriesVerdict,
    StatisticVerdict,
    Verdict,
)

IDENTICAL, WITHIN, EQUIVALENT = Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE, Verdict.EQUIVALENT
INCONCLUSIVE, DIFFERS = Verdict.INCONCLUSIVE, Verdict.DIFFERS
OTHER_MACHINE, OTHER_SEED = Expectation.TOLERANCE, Expectation.STATISTICS
A, B = Digest("a" * 64), Digest("b" * 64)


def metric(verdict: Verdict, name: str = "loss", **fields: Any) -> SeriesVerdict:
    return SeriesVerdict(name=name, verdict=verdict, points=3, reproduced_points=3, **fields)


def output(verdict: Verdict, path: str = "model.pt", **fields: Any) -> OutputVerdict:
    reproduced = A if verdict is IDENTICAL else B
    return OutputVerdict(
        **{"path": path, "verdict": verdict, "original": A, "reproduced": reproduced, **fields}
    )


def statistic(verdict: Verdict, name: str = "loss", **fields: Any) -> StatisticVerdict:
    return StatisticVerdict(
        name=name, verdict=verdict, original=sample([1, 2]), reproduced=sample([2, 3]), **fields
    )


def claim(verdict: Verdict, name: str = "C1", **fields: Any) -> ClaimVerdict:
    return ClaimVerdict(name=name, verdict=verdict, metric="acc", claimed=0.97, **fields)


def test_all_that_is_identical_is_identical() -> None:
    assert overall(
        series=[metric(IDENTICAL), metric(IDENTICAL, "acc")], outputs=[output(IDENTICAL)]
    ) == (IDENTICAL, "2 metrics and 1 output identical")


def test_one_metric_that_differs_differs_and_says_where() -> None:
    parting = Parting(step=12, original=0.3, reproduced=0.31)

    found = overall(series=[metric(IDENTICAL, "acc"), metric(DIFFERS, first_beyond=parting)])

    assert found == (
        DIFFERS, "`loss` parts at step 12: 0.31, was 0.3 (1 of 2 metrics came back)",
    )  # fmt: skip


def test_points_that_are_missing_are_told() -> None:
    parting = Parting(step=7, original=0.3)
    gone = metric(DIFFERS, first_beyond=parting, reason="3 of 9 points missing")

    assert overall(series=[gone]) == (DIFFERS, "`loss`: 3 of 9 points missing")


def test_an_output_differs_where_bits_can_be_expected() -> None:
    found = overall(series=[metric(IDENTICAL)], outputs=[output(DIFFERS, detail="line 3")])

    assert found == (
        DIFFERS, "`model.pt`: line 3 (1 of 2 results came back)",
    )  # fmt: skip


def test_an_archive_of_the_same_content_is_within_tolerance() -> None:
    found = overall(series=[metric(IDENTICAL)], outputs=[output(WITHIN, "model.zip", how="zip")])

    assert found == (WITHIN, "1 metric identical, 1 output within tolerance")


def test_who_tolerates_other_numbers_cannot_expect_the_same_files() -> None:
    found = overall(series=[metric(WITHIN)], outputs=[output(DIFFERS)])

    assert found == (
        WITHIN, "1 metric within tolerance; not the same, and not decisive: model.pt",
    )  # fmt: skip


def test_another_machine_need_not_write_the_same_files() -> None:
    same = overall(series=[metric(IDENTICAL)], outputs=[output(DIFFERS)], expectation=OTHER_MACHINE)
    alone = overall(outputs=[output(DIFFERS)], expectation=OTHER_MACHINE)
    compared = overall(outputs=[output(DIFFERS, how="zip")], expectation=OTHER_MACHINE)

    assert same[0] is WITHIN
    assert alone == (INCONCLUSIVE, "`model.pt`: other bytes")
    assert compared[0] is DIFFERS


@pytest.mark.parametrize("expectation", list(Expectation))
def test_a_file_that_was_not_written_differs_whatever_was_expected(
    expectation: Expectation,
) -> None:
    gone = output(DIFFERS, reproduced=None)

    found = overall(series=[metric(WITHIN)], outputs=[gone], expectation=expectation)

    assert found[0] is DIFFERS
    assert "`model.pt` was not written" in found[1]


def test_statistics_decide_in_place_of_single_series() -> None:
    found = overall(
        series=[metric(DIFFERS)], outputs=[output(DIFFERS)], statistics=[statistic(EQUIVALENT)],
        expectation=OTHER_SEED,
    )  # fmt: skip

    assert found == (
        EQUIVALENT,
        "1 metric statistically equivalent; not the same, and not decisive: model.pt",
    )


def test_repetitions_that_only_end_where_the_original_did_differ() -> None:
    single = replace(statistic(IDENTICAL), original=sample([1]))

    assert overall(statistics=[single], series=[metric(DIFFERS)])[0] is DIFFERS


def test_one_original_that_was_repeated_came_back_if_every_repetition_did() -> None:
    single = StatisticVerdict(
        name="loss", verdict=INCONCLUSIVE, original=sample([1]), reproduced=sample([1, 2, 3]),
        reason="single run",
    )  # fmt: skip

    tolerated = overall(series=[metric(WITHIN)], statistics=[single])
    parted = overall(series=[metric(DIFFERS)], statistics=[single])
    seeds = overall(series=[metric(WITHIN)], statistics=[single], expectation=OTHER_SEED)

    predicted = replace(single, verdict=DIFFERS, margin_source="1 % of the mean")
    named = replace(single, verdict=DIFFERS, margin_source="user")
    assert overall(series=[metric(WITHIN)], statistics=[predicted])[0] is WITHIN
    assert overall(series=[metric(WITHIN)], statistics=[named])[0] is DIFFERS
    assert tolerated == (WITHIN, "1 metric within tolerance")
    assert (parted[0], seeds[0]) == (INCONCLUSIVE, INCONCLUSIVE)


def test_numbers_that_look_alike_are_told_apart() -> None:
    near = SeriesVerdict(
        name="loss", verdict=DIFFERS, points=1, reproduced_points=1,
        first_parting=Parting(step=0, original=1.0, reproduced=1.0 + 1e-12),
    )  # fmt: skip

    assert overall(series=[near])[1] == "`loss` parts at step 0: 1.000000000001, was 1.0"


def test_all_metrics_must_be_equivalent() -> None:
    found = overall(
        statistics=[statistic(EQUIVALENT), statistic(INCONCLUSIVE, "acc", more_seeds=4)],
        expectation=OTHER_SEED,
    )

    assert found == (
        INCONCLUSIVE,
        "`acc`: mean 2.5, was 1.5, 4 more runs may decide (1 of 2 metrics came back)",
    )


def test_claims_decide_where_there_are_any() -> None:
    confirmed = overall(series=[metric(DIFFERS)], claims=[claim(WITHIN, found=0.9701)])
    refuted = overall(series=[metric(IDENTICAL)], claims=[claim(DIFFERS, found=0.95)])

    assert confirmed == (
        WITHIN, "1 claim within tolerance; not the same, and not decisive: loss",
    )  # fmt: skip
    assert refuted == (DIFFERS, "claim `C1`: 0.95, claimed 0.97")


def test_claims_confirmed_to_the_bit_do_not_make_all_identical() -> None:
    assert overall(series=[metric(DIFFERS)], claims=[claim(IDENTICAL)])[0] is WITHIN
    assert overall(series=[metric(IDENTICAL)], claims=[claim(IDENTICAL)])[0] is IDENTICAL


def test_times_and_logs_do_not_decide() -> None:
    found = overall(
        series=[metric(IDENTICAL), metric(DIFFERS, "train_runtime")],
        outputs=[output(IDENTICAL), output(DIFFERS, "logs/train.log")],
    )

    assert found[0] is IDENTICAL
    assert found[1] == (
        "1 metric and 1 output identical; not the same, and not decisive: logs/train.log"
    )


def test_times_and_logs_that_the_user_named_decide() -> None:
    time, log = metric(DIFFERS, "train_runtime"), output(DIFFERS, "train.log")

    assert overall(series=[metric(IDENTICAL), time], named=["train_runtime"])[0] is DIFFERS
    assert overall(series=[metric(IDENTICAL)], outputs=[log], named=["train.log"])[0] is DIFFERS


def test_where_there_is_nothing_but_times_and_logs_nothing_is_known() -> None:
    assert overall() == (
        INCONCLUSIVE,
        "nothing to compare: no metric, no output, nothing printed",
    )
    assert overall(series=[metric(DIFFERS, "time")]) == (
        INCONCLUSIVE, "nothing to compare but times and logs",
    )  # fmt: skip
    assert overall(outputs=[output(IDENTICAL, "out.log")]) == (IDENTICAL, "1 output identical")


def test_of_many_that_differ_three_are_named() -> None:
    found = overall(outputs=[output(DIFFERS, f"{name}.bin") for name in "abcde"])

    assert found[1] == (
        "`a.bin`: other bytes; `b.bin`: other bytes; `c.bin`: other bytes; and 2 more"
    )


@pytest.mark.parametrize(
    "name",
    ["time", "epoch_time", "train_runtime", "train_samples_per_second", "it/s", "images/sec",
     "inferenceTime", "latency", "latency_p99", "fps", "forward_ms", "elapsed", "system/cpu",
     "tokens_per_sec", "wall-time", "train/throughput", "duration", "eta", "step_per_s",
     "TimeSeriesScaler.fit_seconds", "F1Scorer.fit_time",
     "mean_score_time", "dur"],
)  # fmt: skip
def test_names_of_times(name: str) -> None:
    assert is_time(name)


@pytest.mark.parametrize(
    "name",
    ["loss", "accuracy", "val/accuracy", "ms_ssim", "time_series_loss", "reaction_time_mse",
     "timestep", "time_step", "update_norm", "second_moment", "sentiment", "perplexity", "speed_error",
     "eta_grad", "lifetime_error", "f1", "", "per_class_acc", "success", "dates_seen", "consensus",
     "recall.us", "time_series.loss", "Timeseries.train_score"],
)  # fmt: skip
def test_names_of_results(name: str) -> None:
    assert not is_time(name)


def test_names_of_logs() -> None:
    logs = ["a.log", "logs/a.log.1", "log.txt", "x/nohup.out", "stderr", "stdout.txt", "a.pid",
            "runs/events.out.tfevents.1.host.2.0", "catboost_info/time_left.tsv"]  # fmt: skip
    results = ["model.pt", "catalog", "logs/best.ckpt", "logistic.pkl", "log.csv", "blog.txt"]

    assert all(map(is_log, logs))
    assert not any(map(is_log, results))


VERDICTS = st.sampled_from([IDENTICAL, WITHIN, INCONCLUSIVE, DIFFERS])


@given(
    st.lists(VERDICTS, max_size=3), st.lists(VERDICTS, max_size=3), st.lists(VERDICTS, max_size=2),
    st.sampled_from(list(Expectation)),
)  # fmt: skip
def test_the_verdict_is_one_of_those_given_and_identical_only_if_all_are(
    series: list[Verdict], outputs: list[Verdict], claims: list[Verdict], expectation: Expectation
) -> None:
    found, why = overall(
        series=[metric(v, f"m{at}") for at, v in enumerate(series)],
        outputs=[output(v, f"o{at}") for at, v in enumerate(outputs)],
        claims=[claim(v, f"C{at}") for at, v in enumerate(claims)],
        expectation=expectation,
    )

    every = [*series, *outputs, *claims]
    assert why
    assert "\n" not in why
    assert (found is IDENTICAL) is (bool(every) and set(every) == {IDENTICAL})
    if DIFFERS in claims or (DIFFERS in series and not claims):
        assert found is DIFFERS


def test_the_worst_is_the_one_furthest_from_identical() -> None:
    order = list(Verdict)

    for a, b in product(order, order):
        assert worst([a, b]) is order[max(order.index(a), order.index(b))]


def printed(verdict: Verdict, detail: str | None = None) -> OutputVerdict:
    return OutputVerdict(path=STDOUT, how=PRINTED, verdict=verdict, detail=detail)


@pytest.mark.parametrize(
    ("verdict", "detail", "summary"),
    [
        (IDENTICAL, None, "what it printed is identical"),
        (WITHIN, "same content; left out: time of 1 line",
         "what it printed is within tolerance: same content; left out: time of 1 line"),
        (DIFFERS, "line 2: 1 -> 2", "what it printed: line 2: 1 -> 2"),
        (INCONCLUSIVE, "the same lines in another order, from line 2",
         "what it printed: the same lines in another order, from line 2"),
    ],
)  # fmt: skip
def test_what_was_printed_decides_where_there_is_nothing_else(
    verdict: Verdict, detail: str | None, summary: str
) -> None:
    assert overall(printed=printed(verdict, detail)) == (verdict, summary)


def test_other_words_leave_the_result_and_no_longer_everything_is_identical() -> None:
    found = overall(series=[metric(IDENTICAL)], printed=printed(DIFFERS, "line 2: 1 -> 2"))

    assert found == (
        WITHIN,
        "1 metric identical; not the same, and not decisive: what it printed (line 2: 1 -> 2)",
    )


def test_times_that_were_printed_are_not_worth_a_word() -> None:
    assert overall(series=[metric(IDENTICAL)], printed=printed(WITHIN)) == (
        IDENTICAL,
        "1 metric identical",
    )


def test_printed_text_that_the_user_names_decides() -> None:
    text = printed(DIFFERS, "line 2: 1 -> 2")

    found = overall(series=[metric(IDENTICAL)], printed=text, named=[STDOUT])

    assert found[0] is DIFFERS


def test_nobody_is_told_that_times_did_not_come_back() -> None:
    found = overall(series=[metric(IDENTICAL), metric(DIFFERS, "Ridge.fit_seconds")])

    assert found == (IDENTICAL, "1 metric identical")


def test_rounding_is_told_from_another_result() -> None:
    parting = Parting(step=2, original=1.0, reproduced=1.0000000000000002)
    series = metric(DIFFERS, first_parting=parting, largest_relative=2.2e-16)

    assert overall(series=[series])[1] == (
        "`loss` parts at step 2: 1.0000000000000002, was 1.0, nowhere by more than 2.2e-16 of the value"
    )
