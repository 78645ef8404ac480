from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.execute.metric_line import Rule
from reenact.execute.metric_objects import MAX_LINE_BYTES, decode_object
from reenact.execute.metric_text import MAX_JSON_BYTES, MAX_NAMES, LineMetrics
from reenact.execute.params_told import ParamsTold
from reenact.model.metrics import Point

NAN = math.nan
INF = math.inf
T = 1_700_000_000_000_000_000

# A line, and the (name, step, value) that it must give as the first of a stream.
TAKEN: list[tuple[str, list[tuple[str, int, float]]]] = [
    # pairs
    ("loss: 0.5", [("loss", 0, 0.5)]),
    ("loss:0.5", [("loss", 0, 0.5)]),
    ("loss=0.5", [("loss", 0, 0.5)]),
    ("Loss = 0.5", [("Loss", 0, 0.5)]),
    ("loss :  0.37310863", [("loss", 0, 0.37310863)]),
    ("epoch 3 loss: 0.5 acc: 91.2%", [("loss", 3, 0.5), ("acc", 3, 91.2)]),
    ("loss: 0.5, acc: 0.9", [("loss", 0, 0.5), ("acc", 0, 0.9)]),
    ("loss=0.5|acc=0.9", [("loss", 0, 0.5), ("acc", 0, 0.9)]),
    ("loss=0.5;acc=0.9", [("loss", 0, 0.5), ("acc", 0, 0.9)]),
    ("loss: 0.5\tacc: 0.9", [("loss", 0, 0.5), ("acc", 0, 0.9)]),
    ("Train accuracy:0.99|Val Accuracy=0.98",
     [("Train accuracy", 0, 0.99), ("Val Accuracy", 0, 0.98)]),
    ("Mean Squared Error: 3.4", [("Mean Squared Error", 0, 3.4)]),
    ("Final F1 (macro): 0.71.", [("Final F1 (macro)", 0, 0.71)]),
    ("loss[train]: 0.5", [("loss[train]", 0, 0.5)]),
    ("  Accuracy:      58.34%", [("Accuracy", 0, 58.34)]),
    ("Best CV Score: 0.8234 (±0.0156)", [("Best CV Score", 0, 0.8234)]),
    ("损失: 0.5", [("损失", 0, 0.5)]),
    ("mAP@0.5: 0.31", [("mAP@0.5", 0, 0.31)]),
    ("R²: 0.93", [("R²", 0, 0.93)]),
    ("val/loss: 0.5", [("val/loss", 0, 0.5)]),
    ('"loss": 0.5,', [("loss", 0, 0.5)]),
    ("a = b = 5", [("b", 0, 5.0)]),
    ("seed: 42", [("seed", 0, 42.0)]),
    ("Test accuracy: 9840/10000", [("Test accuracy", 0, 0.984)]),
    ("elapsed time per iteration (ms): 3542.5", [("elapsed time per iteration (ms)", 0, 3542.5)]),
    # numbers
    ("loss: 1e-4", [("loss", 0, 1e-4)]),
    ("loss: -1.5E+3", [("loss", 0, -1500.0)]),
    ("loss: .5 acc: 5.", [("loss", 0, 0.5), ("acc", 0, 5.0)]),
    ("loss: nan", [("loss", 0, NAN)]),
    ("loss: NaN acc: -inf", [("loss", 0, NAN), ("acc", 0, -INF)]),
    ("loss=Infinity", [("loss", 0, INF)]),
    ("loss: 0.10000000000000000555", [("loss", 0, 0.1)]),
    ("loss: 0.3333333333333333 n: 16777217", [("loss", 0, 1 / 3), ("n", 0, 16777217.0)]),
    ("loss: 0.97 ± 0.01", [("loss", 0, 0.97)]),
    ("loss: tensor(0.5123, grad_fn=<NllLossBackward0>)", [("loss", 0, 0.5123)]),
    ("loss: tensor(0.25, device='cuda:0')", [("loss", 0, 0.25)]),
    ("loss: np.float32(2.5) acc: Array(0.5, dtype=float32)", [("loss", 0, 2.5), ("acc", 0, 0.5)]),
    # steps
    ("Epoch [3/10], Step [200/600], Loss: 0.2345", [("Loss", 2000, 0.2345)]),
    ("Epoch 3, global_step 12: loss 0.5", [("loss", 12, 0.5)]),
    ("global_step=7 step=3 iter=2 epoch=1 loss=0.5", [("loss", 7, 0.5)]),
    ("step=3 iter=2 batch=9 epoch=1 loss=0.5", [("loss", 3, 0.5)]),
    ("Iteration 500, loss = 0.5", [("loss", 500, 0.5)]),
    ("batch 40 loss: 0.5", [("loss", 40, 0.5)]),
    ("epoch 2 batch 40 loss: 0.5", [("loss", 0, 0.5)]),
    ("epoch 2 batch 40/100 loss: 0.5", [("loss", 240, 0.5)]),
    ("Epoch 2/10 - loss: 0.5", [("loss", 2, 0.5)]),
    ("Epoch=1 Step=0/11 Loss=6.89 Rate=141.8", [("Loss", 11, 6.89), ("Rate", 11, 141.8)]),
    ("train/step: 5 train/loss: 0.5", [("train/loss", 5, 0.5)]),
    ("epoch: 0.25 loss: 0.5", [("epoch", 0, 0.25), ("loss", 0, 0.5)]),
    ("best epoch: 7", [("best epoch", 0, 7.0)]),
    ("Steps per epoch: 100", [("Steps per epoch", 0, 100.0)]),
    ("step: 99999999999999999999 loss: 1", [("loss", 0, 1.0)]),
    ("epoch 999999999999999999 [1/999999] loss: 0.5", [("loss", 0, 0.5)]),
    # a blank between
    ("step 100 loss 0.5", [("loss", 100, 0.5)]),
    ("iter 0: loss 4.2, time 1234.5ms, mfu -100.00%", [("loss", 0, 4.2), ("mfu", 0, -100.0)]),
    ("step 250: train loss 1.96, val loss 2.09",
     [("train loss", 250, 1.96), ("val loss", 250, 2.09)]),
    (" * Acc@1 76.130 Acc@5 92.862", [("Acc@1", 0, 76.13), ("Acc@5", 0, 92.862)]),
    ("| epoch 001 | loss 5.1 | ppl 33", [("loss", 1, 5.1), ("ppl", 1, 33.0)]),
    # frameworks
    ("12/12 [====] - 1s 5ms/step - loss: 0.5 - accuracy: 0.9",
     [("loss", 12, 0.5), ("accuracy", 12, 0.9)]),
    ("\x1b[1m469/469\x1b[0m \x1b[32m━━━━\x1b[0m\x1b[37m\x1b[0m \x1b[1m1s\x1b[0m 2ms/step - loss: 0.5",
     [("loss", 469, 0.5)]),
    ("469/469 - 1s - 2ms/step - loss: 0.5 - val_loss: 0.6",
     [("loss", 469, 0.5), ("val_loss", 469, 0.6)]),
    ("Train Epoch: 1 [640/60000 (1%)]\tLoss: 1.385", [("Loss", 60640, 1.385)]),
    ("Test set: Average loss: 0.0479, Accuracy: 9840/10000 (98%)",
     [("Test Average loss", 0, 0.0479), ("Test Accuracy", 0, 0.984)]),
    ("Epoch: [0][ 10/5005]\tTime  0.3 ( 0.5)\tLoss 6.9 (6.95)\tAcc@1 0.39 (0.2)",
     [("Time", 10, 0.3), ("Loss", 10, 6.9), ("Acc@1", 10, 0.39)]),
    ("Test: [ 10/98]\tLoss 6.9 (6.95)", [("Test Loss", 10, 6.9)]),
    ("Train: 3 [  50/100 ( 50%)]  Loss: 6.95 (6.9)  Time: 3.2s,  40.0/s  LR: 1.0e-06",
     [("Loss", 350, 6.95), ("LR", 350, 1e-6)]),
    ("Accuracy: 45.6%, Avg loss: 2.154", [("Accuracy", 0, 45.6), ("Avg loss", 0, 2.154)]),
    ("loss: 2.303494  [   64/60000]", [("loss", 64, 2.303494)]),
    ("[1,  2000] loss: 2.173", [("loss", 0, 2.173)]),
    ("[10]\ttrain-rmse:0.12\ttest-rmse:0.13", [("train-rmse", 10, 0.12), ("test-rmse", 10, 0.13)]),
    # under the names that are recorded without printing
    ("[100]\tvalid_0's l2: 0.25", [("valid_0-l2", 100, 0.25)]),
    ("[2]\tmy set's l2: 0.25\tmy set's l1: 0.5", [("my-set-l2", 2, 0.25), ("my-set-l1", 2, 0.5)]),
    ("[2]\tvalid's l2: 0.25 + 0.01", [("valid-l2-mean", 2, 0.25)]),
    ("[2]\tcv_agg's valid l2: 0.25 + 0.01", [("valid-l2-mean", 2, 0.25)]),
    ("Anna's score: 0.5", [("Anna's score", 0, 0.5)]),
    ("Number of parameters: 12345", [("Number of parameters", 0, 12345.0)]),
    ("Results (5 folds), acc: 0.5", [("acc", 0, 0.5)]),
    ("10:\tlearn: 0.3\ttest: 0.31\tbest: 0.31 (9)\ttotal: 12ms\tremaining: 3s",
     [("learn", 10, 0.3), ("test", 10, 0.31), ("best", 10, 0.31)]),
    ("{'loss': 0.5, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.33}",
     [("loss", 0, 0.5), ("grad_norm", 0, 1.25), ("learning_rate", 0, 5e-5), ("epoch", 0, 0.33)]),
    ("{'loss': '0.5', 'epoch': '1.0'}", [("loss", 0, 0.5), ("epoch", 0, 1.0)]),
    ("{'loss': np.float64(0.5), 'val': {'acc': nan, 'x': -inf}, 'ok': True, 'n': None}",
     [("loss", 0, 0.5), ("val/acc", 0, NAN), ("val/x", 0, -INF)]),
    ('{"loss": 0.5, "step": 3}', [("loss", 3, 0.5)]),
    ('{"step": 3.0, "epoch": 1, "train": {"loss": 1e-3, "ok": true, "tags": [1, 2]}}',
     [("train/loss", 3, 1e-3)]),
    ('{"loss": NaN, "acc": Infinity}', [("loss", 0, NAN), ("acc", 0, INF)]),
    ('  {"loss": "0.25", "note": "12 cats"} ', [("loss", 0, 0.25)]),
    ("Epoch 2:  50%|#### | 5/10 [00:01<00:01,  4.9it/s, loss=0.5, v_num=3]", [("loss", 25, 0.5)]),
    ("50%|#### | 5/10 [00:01<00:01, 4.9it/s, loss=0.5, acc=.9]", [("loss", 5, 0.5), ("acc", 5, 0.9)]),
    ("valid: 100%|███| 39/39 [00:00<00:00, 116.6it/s, loss=0.4, metrics={'acc': 0.6}]",
     [("valid loss", 39, 0.4), ("valid acc", 39, 0.6)]),
    ("17it [00:01, 4.9it/s, loss=0.5]", [("loss", 17, 0.5)]),
    ("Epoch 2: 17it [00:01, 4.9it/s, loss=0.5]", [("loss", 0, 0.5)]),
    ("step:100/1750 val_loss:10.82 train_time:0ms step_avg:nanms", [("val_loss", 100, 10.82)]),
    ("Epoch(train) [1][100/937]  lr: 1.0e-02  eta: 0:10:00  loss: 0.5",
     [("lr", 1037, 0.01), ("loss", 1037, 0.5)]),
    ("Epoch(val) [1][157/157]    accuracy/top1: 70.1", [("val accuracy/top1", 314, 70.1)]),
    ("│   test_acc    │   0.97   │", [("test_acc", 0, 0.97)]),
    ("|    ep_rew_mean   | 20.1  |", [("ep_rew_mean", 0, 20.1)]),
    ("Train - Loss: 0.6, Acc: 91.67% | Val - Loss: 0.7, Acc: 90%",
     [("Loss", 0, 0.6), ("Acc", 0, 91.67), ("Val Loss", 0, 0.7), ("Val Acc", 0, 90.0)]),
    # what stands around them
    ("2024-01-01 12:00:00,123 INFO root: loss=0.5", [("loss", 0, 0.5)]),
    ("2024-01-01 12:00:00 INFO loss: 0.5", [("loss", 0, 0.5)]),
    ("[2024-01-01 12:00:00,123][root][INFO] - epoch 3 loss: 0.5", [("loss", 3, 0.5)]),
    ("01/02 12:00:00 - mmengine - INFO - Epoch(train) [1][100/937]  loss: 0.5",
     [("loss", 1037, 0.5)]),
    ("INFO:root:loss=0.5", [("loss", 0, 0.5)]),
    ("INFO:tensorflow:loss = 0.5, step = 100 (0.3 sec)", [("loss", 100, 0.5)]),
    ("2024-01-01 12:00:00.123 | INFO     | __main__:main:10 - loss: 0.5", [("loss", 0, 0.5)]),
    ("I0101 12:00:00.123456 12345 train.cc:88] loss: 0.5", [("loss", 0, 0.5)]),
    ("[INFO] Epoch 4: train loss = 1.58 (1.58, 0.1); best loss = inf",
     [("train loss", 4, 1.58), ("best loss", 4, INF)]),
    ("\x1b[32mloss\x1b[0m: \x1b[1;31m0.5\x1b[0m", [("loss", 0, 0.5)]),
    ("\x1b]0;title 5\x07loss: 0.5", [("loss", 0, 0.5)]),
]  # fmt: skip

NOTHING = [
    "",
    "hello world",
    "line 123456",
    "loss 0.5",
    "12:30:45",
    "Time: 12:30:45",
    "time: 3.2s",
    "took: 5ms/step, 4.9it/s, 12GB",
    "eta: 12",
    "ETA: 0:00:12",
    "2024-01-01",
    "date: 2024-01-01",
    "date: 3/4/2024",
    "2024-01-01T12:30:45.123Z start",
    "x: 1,234.5",
    "losses: 0.5,0.6",
    "address: 0x1f",
    "id: 5f3a9c",
    "sha: 3e5x",
    "http://localhost:8080/path=3/4",
    "Serving on localhost:8080",
    "using cuda:0",
    "port: 8080",
    "ip: 10.0.0.1",
    "10.0.0.1:8080",
    "torch==2.1.0",
    "torch: 2.1.0",
    "numpy>=1.2",
    "if x == 3",
    "x != 3",
    "Python 3.11.7",
    "CUDA version: 12.1",
    "v1.2",
    "version: 2.0",
    "wrote /tmp/3/x=5/model.pt",
    'File "x.py", line 12, in main',
    "train.py:12: something",
    "train.py: 12",
    "python train.py --lr=0.1 --epochs=3",
    "Namespace(lr=0.1, epochs=3)",
    "TrainConfig(lr=0.1, model=Net(width=3, depth=4), epochs=3)",
    "(conv1): Conv2d(3, 64, kernel_size=(7, 7), stride=(2, 2), padding=(3, 3), bias=False)",
    "Dropout(p=0.5, inplace=False)",
    "SGD(lr=0.1,",
    "Requirement already satisfied: numpy in ./lib (1.26.4)",
    "Downloading torch-2.1.0-cp311-none-any.whl (619.9 MB)",
    "   ━━━━━━━━━━━━━ 619.9/619.9 MB 5.0 MB/s eta 0:00:00",
    "100%|██████████| 10/10 [00:01<00:00,  9.9it/s]",
    "Training:  50%|#####     | 5/10 [00:01<00:01]",
    "progress: 50%",
    "Epoch 3/10",
    "Epoch 3 finished in 12.5 seconds",
    "Epoch 00003: val_loss improved from 0.52 to 0.48, saving model to m.h5",
    "Saving checkpoint at step 100",
    "step 100 of 2000",
    "This is a long sentence about the final results: 5",
    "a nan b inf",
    "x 3 y 4",
    "[LightGBM] [Info] Start training from score 0.5",
    "loss: N/A",
    "loss: none",
    "x[3] = y",
    "nan",
    "[1, 2, 3]",
    '{"loss": [0.5, 0.6], "ok": true, "none": null}',
    "{'a': 'b'}",
    "{not json: at all}",
    "fraction: 5/0",
    "x.py:7: UserWarning: limit: 5",
    "lines: {[(",
    " Total params: 19 (76.00 B)",
    " Trainable params: 19 (76.00 B)",
    " Non-trainable params: 0 (0.00 B)",
    " Optimizer params: 40 (160.00 B)",
    "Params size (MB): 1.72",
    "Estimated Total Size (MB): 2.15",
]


def feed(text: str, **options: Any) -> list[tuple[str, int, float]]:
    metrics = LineMetrics(**options)
    points = metrics.feed(text.encode(), T) + metrics.finish(T)
    assert all(point.time_ns == T for point in points)
    return [(point.name, point.step, point.value) for point in points]


@pytest.mark.parametrize(("line", "expected"), TAKEN, ids=[line for line, _ in TAKEN])
def test_metrics_of_a_line(line: str, expected: list[tuple[str, int, float]]) -> None:
    assert repr(feed(line + "\n")) == repr(expected)


@pytest.mark.parametrize("line", NOTHING)
def test_lines_without_metrics_give_nothing(line: str) -> None:
    assert feed(line + "\n") == []


@pytest.mark.parametrize("line", [line for line, _ in TAKEN] + NOTHING)
def test_an_explanation_says_what_feeding_would_do(line: str) -> None:
    metrics = LineMetrics()
    metrics.feed(b"loss: 1\nacc: 2\nacc: 3\n", T)

    explained = metrics.explain(line)

    taken = [(f.name, f.step, f.value) for f in explained.findings if f.rule is Rule.TAKEN]
    fed = [(p.name, p.step, p.value) for p in metrics.feed(line.encode() + b"\n", T)]
    assert repr(taken) == repr(fed)
    assert (explained.reason is None) == bool(explained.findings)


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("epoch 3 loss: 0.5", [("3", Rule.STEP), ("0.5", Rule.TAKEN)]),
        ("loss 0.5", [("0.5", Rule.BLANK)]),
        ("v2.1.0 x: 3.2s", [("v2.1.0", Rule.WORD), ("3.2s", Rule.WORD)]),
        ("cuda:0", [("0", Rule.COLON)]),
        ("Adam(lr=0.1)", [("lr=0.1", Rule.CALL)]),
        ("port: 1", [("1", Rule.NOT_A_METRIC)]),
        ("a.py: 1", [("1", Rule.FILE)]),
        ("x == 1", [("1", Rule.COMPARED)]),
        ("50%|## | 1/2 [", [("50", Rule.PLACE), ("1/2", Rule.PLACE)]),
        ("(5)", [("5", Rule.NO_NAME)]),
        ("one two three four five six seven: 8", [("8", Rule.SENTENCE)]),
        ("loss: 1 loss: 2", [("1", Rule.TAKEN), ("2", Rule.TWICE)]),
        ("lr: 0.1", [("0.1", Rule.FLAG)]),
        ('{"lr": 1, "step": 2}', [("1.0", Rule.FLAG), ("2.0", Rule.STEP)]),
        ("share: 5/0", [("5/0", Rule.WORD)]),
    ],
)
def test_an_explanation_names_the_rule(line: str, rules: list[tuple[str, Rule]]) -> None:
    explained = LineMetrics(exclude=frozenset({"lr"})).explain(line)

    assert [(finding.text, finding.rule) for finding in explained.findings] == rules


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("Traceback (most recent call last):", "a traceback"),
        ("x.py:3: UserWarning: loss: 5", "a warning"),
        ("x" * MAX_LINE_BYTES + "y: 1", "longer than 64 kB"),
        ("no number", "no number"),
    ],
)
def test_an_explanation_says_why_a_whole_line_gives_none(line: str, reason: str) -> None:
    assert LineMetrics().explain(line).reason == reason


def test_a_step_that_is_not_said_counts_the_names_earlier_points() -> None:
    found = feed("loss: 3\nloss: 2\nacc: 1\nloss: 1\n")

    assert found == [("loss", 0, 3.0), ("loss", 1, 2.0), ("acc", 0, 1.0), ("loss", 2, 1.0)]


def test_a_step_that_repeats_or_goes_back_is_stored_as_it_was_said() -> None:
    found = feed("step 5 loss: 3\nstep 5 loss: 2\nstep 2 loss: 1\n")

    assert [step for _, step, _ in found] == [5, 5, 2]


def test_flags_are_not_metrics() -> None:
    found = feed("lr: 0.1\nloss: 0.5 lr: 0.1\n", exclude=frozenset({"lr"}))

    assert found == [("loss", 0, 0.5)]


def test_a_traceback_gives_nothing_and_what_follows_it_does() -> None:
    text = (
        "loss: 1\n"
        "Traceback (most recent call last):\n"
        '  File "/x/train.py", line 12, in <module>\n'
        "    loss = 5\n"
        "    ^^^^^^^^\n"
        "ValueError: loss: 7\n"
        "loss: 2\n"
    )

    assert feed(text) == [("loss", 0, 1.0), ("loss", 1, 2.0)]


def test_a_traceback_of_a_rank_or_a_group_gives_nothing() -> None:
    text = (
        "[rank0]: Traceback (most recent call last):\n"
        "[rank0]:   x = 5\n"
        "[rank0]: KeyError: 7\n"
        "loss: 1\n"
        "  + Exception Group Traceback (most recent call last):\n"
        "  |   x = 5\n"
        "  | ExceptionGroup: y: 3 (1 sub-exception)\n"
        "  +------------------------------------\n"
        "done: yes\n"
        "loss: 2\n"
    )

    assert feed(text) == [("loss", 0, 1.0), ("loss", 1, 2.0)]


def test_a_warning_and_its_source_line_give_nothing() -> None:
    text = "/x/a.py:3: FutureWarning: y: 5\n  limit = 7\nloss: 1\nUserWarning: z: 3\nacc: 2\n"

    assert feed(text) == [("loss", 0, 1.0), ("acc", 0, 2.0)]


SKLEARN_WARNS = """\
/x/_logistic.py:599: ConvergenceWarning: lbfgs failed to converge after 1 iteration(s) (status=1):
STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT

Increase the number of iterations to improve the convergence (max_iter=1).
You might also want to scale the data as shown in:
    https://scikit-learn.org/stable/modules/preprocessing.html
Set max_iter: 5 or more, max_iter=1 is not enough: acc = 0.5
  n_iter_i = _check_optimize_result(
"""


def test_a_warning_of_several_lines_gives_nothing() -> None:
    text = f"loss: 3\n{SKLEARN_WARNS}loss: 2\n{SKLEARN_WARNS}{SKLEARN_WARNS}loss: 1\n"

    assert feed(text) == [("loss", 0, 3.0), ("loss", 1, 2.0), ("loss", 2, 1.0)]


@pytest.mark.parametrize("lines", [1, 5, 40])
def test_a_warning_without_a_source_line_takes_nothing_away(lines: int) -> None:
    text = "<string>:1: UserWarning: x: 9\n" + "".join(f"loss: {n}\n" for n in range(lines))

    assert feed(text) == [("loss", n, float(n)) for n in range(lines)]
    assert feed("a.py:1: UserWarning: x: 9\n" + text)[-1] == ("loss", lines - 1, lines - 1.0)


def test_what_waits_for_the_end_of_a_warning_keeps_its_time() -> None:
    metrics = LineMetrics()

    assert metrics.feed(b"<string>:1: UserWarning: x: 9\nloss: 1\n", T) == []
    # A bar is drawn again: no warning does that.
    found = metrics.feed(b"50%|## | 1/2 [00:01<00:01, loss=2]\r ", T + 7)
    found += metrics.finish(T + 9)

    assert [(p.name, p.time_ns, p.value) for p in found] == [("loss", T, 1.0), ("loss", T + 7, 2.0)]


def test_a_run_that_was_cut_short_keeps_whole_lines_only() -> None:
    metrics = LineMetrics()

    assert metrics.feed(b"<string>:1: UserWarning: x: 9\nloss: 1\nloss: 0.1", T) == []

    assert [p.value for p in metrics.finish(T, was_cut_short=True)] == [1.0]


OBJECTS = [
    ("Adam (\nParameter Group 0\n    betas: (0.9, 0.999)\n    lr: 0.001\n\nParameter Group 1\n"
     "    lr: 0.1\n    weight_decay: 0\n)\n"),
    "optimizer: SGD (\nParameter Group 0\n    lr: 0.001\n)\n",
    ("Net(\n  (0): Linear(in_features=3, out_features=4, bias=True)\n  (act): Act(\n"
     "    slope: 0.5\n  )\n  p: 0.1\n)\n"),
    ("GridSearchCV(cv=5, estimator=SVC(),\n             param_grid={'C': [1.0], 'g': 0.5},\n"
     "             n_jobs=1)\n"),
    "best: ElasticNet(alpha=0.1,\n                 max_iter=5)\n",
]  # fmt: skip


@pytest.mark.parametrize("shown", OBJECTS)
def test_a_printed_object_of_several_lines_gives_nothing(shown: str) -> None:
    assert feed(f"loss: 1\n{shown}  loss: 2\n{shown}loss: 3\n") == [
        ("loss", 0, 1.0), ("loss", 1, 2.0), ("loss", 2, 3.0),
    ]  # fmt: skip


def test_an_open_bracket_takes_only_what_is_indented() -> None:
    text = "Training (this may take long,\nloss: 1\nScores:\n  acc: 0.5\nsee f(\nacc: 0.6\n"

    assert feed(text) == [("loss", 0, 1.0), ("acc", 0, 0.5), ("acc", 1, 0.6)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{'C': 1.0, 'gamma': 0.5}", []),
        ("best: {'C': 1.0, 'gamma': 0.5}", []),
        ("{'svc': {'C': 1.0}}", []),
        ("{'C': 1.0, 'gamma': 0.25}", ["C", "gamma"]),
        ("{'C': 1.0, 'loss': 0.5}", ["C", "loss"]),
        ("C: 1.0", ["C"]),
        ("epoch 3 C: 1.0", ["C"]),
    ],
)
def test_an_object_of_params_that_are_known_gives_nothing(line: str, expected: list[str]) -> None:
    told = ParamsTold()
    told.add("GridSearchCV.best_params.C", 1, T)
    told.add("SVC.inner", {"gamma": 0.5}, T)
    metrics = LineMetrics(is_param=told.has)
    explained = metrics.explain(line, T)

    assert [point.name for point in metrics.feed(line.encode() + b"\n", T)] == expected
    assert [f.name for f in explained.findings if f.rule is Rule.TAKEN] == expected
    if not expected:
        assert {finding.rule for finding in explained.findings} == {Rule.PARAM}
    # Before they were told they were metrics like others.
    early = LineMetrics(is_param=told.has)
    assert early.feed(line.encode() + b"\n", T - 1) != []


def test_what_was_a_metric_before_remains_one() -> None:
    told = ParamsTold()
    told.add("SVC.C", 1.0, T)
    metrics = LineMetrics(is_param=told.has)

    points = metrics.feed(b"{'C': 2.0}\n{'C': 1.0}\n", T)

    assert [point.value for point in points] == [2.0, 1.0]


BAR = "{0}%|## | {0}/100 [00:01<00:01, 4.9it/s, loss={1}]"


def test_a_bar_drawn_again_at_the_same_place_with_the_same_values_is_no_new_point() -> None:
    drawn = [BAR.format(1, 0.5), BAR.format(1, 0.5), BAR.format(1, 0.4), BAR.format(2, 0.4)]

    found = feed("".join("\r" + line for line in drawn) + "\r" + drawn[-1] + "\n")

    assert found == [("loss", 1, 0.5), ("loss", 1, 0.4), ("loss", 2, 0.4)]


def test_a_bar_that_starts_over_counts_on() -> None:
    epochs = [[(50, 0.5), (100, 0.4)], [(50, 0.3), (100, 0.2)]]

    found = feed("".join(
        "".join("\r" + BAR.format(*state) for state in epoch) + "\n" for epoch in epochs
    ))  # fmt: skip

    assert [step for _, step, _ in found] == [50, 100, 150, 200]


def test_finished_bars_of_equal_length_count_on() -> None:
    found = feed("12/12 - 1s - loss: 0.5\n12/12 - 1s - loss: 0.5\n12/12 - 1s - loss: 0.4\n")

    assert [step for _, step, _ in found] == [12, 24, 36]


def test_a_bar_without_a_total_counts_on() -> None:
    bars = ["3it [00:01, loss=3]", "9it [00:02, loss=2]", "4it [00:01, loss=1]"]

    found = feed("\n".join(bars) + "\n")

    assert [step for _, step, _ in found] == [3, 9, 13]


def test_backspaces_end_a_line_that_is_drawn_again() -> None:
    line = "{}/9 [=>...] - ETA: 0s - loss: {}"

    found = feed(line.format(1, 0.5) + "\b" * 30 + line.format(2, 0.4) + "\b" * 30 + "\n")

    assert found == [("loss", 1, 0.5), ("loss", 2, 0.4)]


def test_a_spinner_that_stays_is_one_point() -> None:
    assert feed("\rloss: 0.5" * 5 + "\n") == [("loss", 0, 0.5)]


def test_lines_that_end_as_on_a_terminal_are_ordinary() -> None:
    assert feed("loss: 1\r\nloss: 1\r\n") == [("loss", 0, 1.0), ("loss", 1, 1.0)]


def test_a_last_line_without_an_end_counts_when_the_stream_does() -> None:
    metrics = LineMetrics()

    before = metrics.feed(b"loss: 0.5", T)

    assert before == []
    assert metrics.finish(T + 1) == [Point("loss", 0, T + 1, 0.5)]
    assert metrics.finish(T + 2) == []


@pytest.mark.parametrize("size", [10_000_000, 1000])
def test_lines_above_the_limit_are_left_out(size: int) -> None:
    long = b"x " * MAX_LINE_BYTES + b"loss: 1\n"
    data = b"loss: 2\n" + long + b"loss: 3\n"
    metrics = LineMetrics()

    points = [p for i in range(0, len(data), size) for p in metrics.feed(data[i : i + size], T)]

    assert [point.value for point in points] == [2.0, 3.0]


@pytest.mark.parametrize("size", [10_000_000, 5000])
def test_json_lines_may_be_longer(size: int) -> None:
    short = json.dumps({"note": "x" * (MAX_JSON_BYTES - 100), "loss": 1}).encode()
    long = json.dumps({"note": "x" * MAX_JSON_BYTES, "loss": 2}).encode()
    data = short + b"\n" + long + b"\nloss: 3\n"
    metrics = LineMetrics()

    points = [p for i in range(0, len(data), size) for p in metrics.feed(data[i : i + size], T)]

    assert [point.value for point in points] == [1.0, 3.0]


def test_names_are_limited_in_number() -> None:
    metrics = LineMetrics()
    names = "".join(f"loss_{i}x: 1\n" for i in range(MAX_NAMES + 5))

    points = metrics.feed(names.encode(), T)

    assert len(points) == MAX_NAMES
    assert metrics.ignored_names == 5
    assert [f.rule for f in metrics.explain("new: 1").findings] == [Rule.TOO_MANY]
    assert len(metrics.feed(b"loss_3x: 2\n", T)) == 1


def test_bytes_that_are_not_utf_8_do_no_harm() -> None:
    metrics = LineMetrics()

    points = metrics.feed(b"\xff\xfe | loss: 0.5\nf\xfcnf: 5\n", T)

    assert [(point.name, point.value) for point in points] == [("loss", 0.5), ("f\ufffdnf", 5.0)]


@pytest.mark.parametrize(
    "line",
    [
        "(" * 30_000 + "=1",
        "a(" * 20_000 + "=1",
        "f(a=" * 12_000 + "x=1",
        "{'a':" * 9_000 + "1" + "}" * 9_000,
        '{"a":' * 9_000 + "1" + "}" * 9_000,
        "w " * 30_000 + ": 1",
        "x=" + "1." * 30_000,
        "x: " + "1" * 60_000,
        "step " + "1" * 5_000 + " loss: 2",
        "'" * 60_000 + ": 1",
        "|" + " " * 60_000 + "|",
        "-{'x': 1}",
        "{**{'x': 1}, 'y': -'z'}",
    ],
)
def test_strange_lines_do_no_harm(line: str) -> None:
    feed(line + "\n")


def test_objects_are_json_or_python() -> None:
    assert decode_object('{"a": NaN, "b": +1, "c": [1]}') == pytest.approx(
        {"a": NAN, "b": 1, "c": None}, nan_ok=True
    )
    assert decode_object("[1]") is None
    assert decode_object("{1, 2}") is None
    assert decode_object("{'a': '\\d'}") is None
    assert decode_object("{'n': " + "9" * 5000 + "}") is None


PIECES = st.sampled_from([
    *(line for line, _ in TAKEN), *NOTHING, BAR.format(1, 0.5), BAR.format(2, 0.5),
    "Traceback (most recent call last):", "  x = 5", "ValueError: x: 3", '{"loss": 1', "}",
    "a.py:3: UserWarning: x: 5", "UserWarning: x: 5", "Adam (", "    lr: 0.1", ")", "",
])  # fmt: skip
ENDS = st.sampled_from(["\n", "\n", "\r\n", "\r", "\r\r\n", "\b\b\b", "\b\r\n", ""])


@given(st.lists(st.tuples(PIECES, ENDS), max_size=12), st.lists(st.integers(0, 600), max_size=8))
def test_how_output_is_cut_into_chunks_plays_no_part(
    lines: list[tuple[str, str]], cuts: list[int]
) -> None:
    data = "".join(line + end for line, end in lines).encode()
    whole = LineMetrics()
    expected = whole.feed(data, T) + whole.finish(T)

    metrics = LineMetrics()
    edges = [0, *sorted(cuts), len(data)]
    points = [
        point
        for begin, end in zip(edges, edges[1:], strict=False)  # noqa: RUF007
        for point in metrics.feed(data[begin : max(begin, end)], T)
    ]
    points += metrics.finish(T)

    assert repr(points) == repr(expected)


@given(
    st.text(alphabet=st.sampled_from("ab :=0123.5-+/%|[](){}',\t\"eE_nanif\r\n\b\x1b"), max_size=80)
)
def test_any_text_is_read_without_an_error_and_as_explained(text: str) -> None:
    metrics = LineMetrics()

    for line in text.replace("\r", "\n").replace("\b", "\n").split("\n"):
        taken = [f for f in metrics.explain(line).findings if f.rule is Rule.TAKEN]
        fed = metrics.feed(line.encode() + b"\n", T)
        assert repr([(f.name, f.step, f.value) for f in taken]) == repr(
            [(p.name, p.step, p.value) for p in fed]
        )


@given(st.floats())
def test_a_number_keeps_its_last_digit(value: float) -> None:
    assert repr(feed(f"loss: {value!r}\n")) == repr([("loss", 0, value)])
