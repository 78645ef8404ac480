"""Operations of a project file in R, JavaScript, shell and Java: flags in, metrics out, batches, pipelines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from commands import Desk
from needs import needs


class Language(NamedTuple):
    """A program that descends a parabola, and how it is run."""

    program: str
    command: str
    source: str


LANGUAGES = {
    "R": Language(
        "Rscript",
        "Rscript train.R ${flag_args}",
        """\
words <- commandArgs(trailingOnly = TRUE)
lr <- as.numeric(words[match("--lr", words) + 1])
epochs <- as.integer(Sys.getenv("FLAG_EPOCHS", "1"))
x <- as.numeric(readLines("start.txt")[1])
for (epoch in seq_len(epochs)) {
  x <- x - lr * 2 * x
  cat(sprintf("epoch %d loss: %.6f\\n", epoch, x^2))
}
cat(sprintf("name: %s\\n", Sys.getenv("FLAG_RUN_NAME")))
write.csv(data.frame(x = x), "model.csv", row.names = FALSE)
""",
    ),
    "node": Language(
        "node",
        "node train.js --lr ${lr}",
        """\
const fs = require("node:fs");
const lr = Number(process.argv[process.argv.indexOf("--lr") + 1]);
const epochs = Number(process.env.FLAG_EPOCHS ?? 1);
let x = Number(fs.readFileSync("start.txt", "utf8"));
for (let epoch = 1; epoch <= epochs; epoch++) {
  x -= lr * 2 * x;
  console.log(`epoch ${epoch} loss: ${(x * x).toFixed(6)}`);
}
console.log(`name: ${process.env.FLAG_RUN_NAME}`);
fs.writeFileSync("model.csv", `x\\n${x}\\n`);
""",
    ),
    "shell": Language(
        "awk",
        "sh train.sh ${lr}",
        """\
set -eu
x=$(cat start.txt)
awk -v lr="$1" -v epochs="$FLAG_EPOCHS" -v x="$x" 'BEGIN {
  for (epoch = 1; epoch <= epochs; epoch++) {
    x -= lr * 2 * x
    printf "epoch %d loss: %.6f\\n", epoch, x * x
  }
  print "x\\n" x > "model.csv"
}'
echo "name: $FLAG_RUN_NAME"
""",
    ),
    "java": Language(
        "javac",
        "java Train.java ${lr}",
        """\
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

public class Train {
    public static void main(String[] words) throws Exception {
        double lr = Double.parseDouble(words[0]);
        int epochs = Integer.parseInt(System.getenv("FLAG_EPOCHS"));
        double x = Double.parseDouble(Files.readString(Path.of("start.txt")).trim());
        for (int epoch = 1; epoch <= epochs; epoch++) {
            x -= lr * 2 * x;
            System.out.printf(Locale.ROOT, "epoch %d loss: %.6f%n", epoch, x * x);
        }
        System.out.println("name: " + System.getenv("FLAG_RUN_NAME"));
        Files.writeString(Path.of("model.csv"), "x\\n" + x + "\\n");
    }
}
""",
    ),
}
NAMES = {"R": "train.R", "node": "train.js", "shell": "train.sh", "java": "Train.java"}


@pytest.fixture(params=LANGUAGES)
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    """A project with the same operations in one of the languages."""
    language = LANGUAGES[request.param]
    needs(language.program)
    desk = Desk(tmp_path)
    desk.write(NAMES[request.param], language.source)
    desk.write(
        "reenact.yml",
        f"""\
start:
  exec: sh -c 'echo ${{from}} > start.txt'
  flags: {{from: 3}}
train:
  exec: {language.command}
  flags:
    lr: {{type: float, default: 0.1, min: 0}}
    epochs: {{default: 2, arg-skip: yes}}
    run-name: {{default: plain, arg-skip: yes}}
  requires:
    - operation: start
      select: start.txt
    - file: notes.txt
  compare: [lr, loss]
  objective: {{minimize: loss}}
all:
  steps: [start, train]
""",
    )
    desk.write("notes.txt", "nothing\n")
    return desk


def loss_after(lr: float, epochs: int, start: float = 3) -> float:
    """Return what all programs print."""
    return round((start * (1 - 2 * lr) ** epochs) ** 2, 6)


def record(desk: Desk, *words: str) -> dict[str, Any]:
    """Run something that succeeds; return its record."""
    found = desk.record(desk.run(*words))
    assert found["exit"]["code"] == 0, found
    return found


def trials(desk: Desk) -> list[dict[str, Any]]:
    """Return the records of runs that a batch or a pipeline started."""
    return [found for run in desk.ids() if (found := desk.record(run)).get("parent")]


def test_flags_go_in_and_metrics_come_out(desk: Desk) -> None:
    first = record(desk, "start")
    found = record(desk, "train", "lr=0.25", "epochs=3", "run-name=two words")
    assert found["flags"] == {"lr": 0.25, "epochs": 3, "run-name": "two words"}
    assert found["metrics"]["loss"]["last"] == loss_after(0.25, 3)
    assert found["metrics"]["loss"]["count"] == 3
    assert found["metrics"]["loss"]["last_step"] == 3
    assert "name: two words" in desk.ok("log", found["id"])
    assert "model.csv" in [file["path"] for file in found["outputs"]]
    (dependency,) = [d for d in found["dependencies"] if d["kind"] == "operation"]
    assert dependency["run"] == first["id"]


def test_what_is_wrong_is_said_before_anything_starts(desk: Desk) -> None:
    record(desk, "start")
    before = desk.ids()
    for setting in ("lr=fast", "lr=-1", "lrr=1"):
        assert desk.reenact("run", "train", setting).status == 2
    assert desk.ids() == before


def test_a_batch_and_its_best_trial(desk: Desk) -> None:
    record(desk, "start")
    desk.ok("run", "train", "lr=[0.1,0.3]", "epochs=[1,2]", "--jobs", "2", "--quiet")
    seen = {
        (run["flags"]["lr"], run["flags"]["epochs"]): run["metrics"]["loss"]["last"]
        for run in trials(desk)
    }
    assert seen == {(lr, epochs): loss_after(lr, epochs) for lr in (0.1, 0.3) for epochs in (1, 2)}
    best = desk.json("show", "@latest/best")
    assert json.dumps(best).count('"lr": 0.3')


def test_a_pipeline_and_what_is_taken_from_it(desk: Desk) -> None:
    desk.ok("run", "all", "--quiet")
    parts = {run["operation"]["name"]: run for run in trials(desk)}
    assert parts["train"]["metrics"]["loss"]["last"] == loss_after(0.1, 2)
    before = desk.ids()
    assert desk.reenact("run", "train", "--needed").status == 0
    assert desk.ids() == before
