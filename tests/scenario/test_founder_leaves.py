"""The founder leaves: with nothing but the store, somebody else retrains every model and is told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from commands import Desk
from frameworks import QUICK, python_with
from wheels import install, make_environment, make_wheel

SCRIPTS = {
    "forest.py": """
import csv, pickle
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split

trees = 20
rows = [list(map(float, row)) for row in csv.reader(open("data/points.csv"))]
x, y = [row[:2] for row in rows], [row[2] for row in rows]
x_train, x_test, y_train, y_test = train_test_split(x, y)
model = RandomForestClassifier(trees, n_jobs=2).fit(x_train, y_train)
print("accuracy:", model.score(x_test, y_test))
pickle.dump(model, open("model.pkl", "wb"))
""",
    "net.py": """
import torch

hidden = 8
x = torch.randn(200, 4)
y = (x.sum(1, keepdim=True) > 0).float()
model = torch.nn.Sequential(torch.nn.Linear(4, hidden), torch.nn.Dropout(0.1), torch.nn.Linear(hidden, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
for step in range(20):
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.8f}")
torch.save(model.state_dict(), "weights.pt")
""",
    "boost.py": """
import numpy as np
import lightgbm as lgb

leaves = 7
rng = np.random.default_rng()
x = rng.normal(size=(300, 3))
y = x[:, 0] * 2 + rng.normal(size=300)
settings = {"num_leaves": leaves, "verbose": -1, "bagging_fraction": 0.5, "bagging_freq": 1, "metric": "l2"}
model = lgb.train(settings, lgb.Dataset(x, y), 10)
print("mse:", float(np.mean((model.predict(x) - y) ** 2)))
model.save_model("model.txt")
""",
}


def test_with_nothing_but_the_store_three_models_are_retrained(
    tmp_path: Path,
) -> None:
    python = python_with("sklearn", "torch", "lightgbm")
    (tmp_path / "mine").mkdir()
    desk = Desk(tmp_path / "mine")
    points = "\n".join(f"{i % 7},{i % 5},{i % 7 > 3:d}" for i in range(120))
    desk.write("data/points.csv", points)
    for name, script in SCRIPTS.items():
        desk.write(name, script)
        done = desk.reenact("run", "--python", python, name, "-q", env=QUICK)
        assert done.status == 0, done
    shutil.rmtree(desk.project)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.move(desk.store, theirs / "results")
    home = theirs / "home"
    home.mkdir()
    empty = theirs / "somewhere"
    empty.mkdir()
    desk.project = empty
    env = {**QUICK, "REENACT_HOME": str(theirs / "results"), "HOME": str(home), "USER": "she"}
    done = desk.reenact("reproduce", "--all", "--json", env=env)
    assert done.out, done
    found = json.loads(done.out)
    assert found["problems"] == [], done
    verdicts = [one["verdict"] for one in found["reproductions"]]
    assert (done.status, verdicts) == (0, ["identical"] * 3), done
    assert list(empty.iterdir()) == []


def test_one_changed_package_is_named(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("use.py", "import scale\nprint('loss:', 0.5 * scale.FACTOR)\n")
    pythons = []
    for version, factor in (("1.0", "1.0"), ("1.1", "1.001")):
        wheel = make_wheel(
            tmp_path / "wheels", "scale", version, {"scale.py": f"FACTOR = {factor}\n"}
        )
        python = make_environment(tmp_path / f"env{version}")
        install(python, wheel)
        pythons.append(python)
    first = desk.run("--python", str(pythons[0]), "use.py")
    done = desk.reenact("reproduce", first, "--python", str(pythons[1]), "--json")
    found: dict[str, Any] = json.loads(done.out)["reproductions"][0]
    assert (done.status, found["verdict"]) == (3, "differs"), found
    assert [(c["kind"], c["what"]) for c in found["causes"]] == [("package", "scale")]
    assert found["causes"][0]["original"].startswith("1.0 ")
    assert found["causes"][0]["reproduced"].startswith("1.1 ")
    assert "scale: 1.0 " in done.err
    near = desk.reenact(
        "reproduce", first, "--python", str(pythons[1]), "--tolerance", "loss=1%", "--json"
    )
    assert near.status == 0
    assert json.loads(near.out)["reproductions"][0]["verdict"] == "within tolerance"
    # The environment of the run is still there, and is used although another one is named on PATH.
    path = f"{pythons[1].parent}{os.pathsep}{os.environ['PATH']}"
    same = desk.reenact("reproduce", first, "--json", env={"PATH": path})
    assert json.loads(same.out)["reproductions"][0]["verdict"] == "identical", same


DETERMINISTIC = "print('loss:', sum(1 / n for n in range(1, 99)))\n"
SUITE = [
    ("deterministic", DETERMINISTIC, ["identical"]),
    (
        "seeded",
        "import random\nrandom.seed(3)\nfor s in range(5):\n    print('step:', s)\n    print('loss:', random.random())\n",
        ["identical"],
    ),
    ("unseeded", "import random\nprint('loss:', random.random())\n", ["identical"]),
    ("hashes", "print('loss:', float(hash('a') % 97))\nprint('first:', hash(str(set('abc'))))\n", ["identical"]),
    ("noise", "import os\nprint('loss:', int.from_bytes(os.urandom(4), 'big') / 2**32)\n", ["differs", "inconclusive"]),
    ("clock", "import time\nprint('loss:', time.time_ns() % 100003)\n", ["differs", "inconclusive"]),
    ("only time", "import time\nprint('loss: 0.5')\nprint('elapsed:', time.perf_counter())\n", ["identical"]),
    ("broken", "raise SystemExit(3)\n", ["identical", "inconclusive"]),
    ("nan", "print('loss:', float('nan'))\n", ["identical"]),
    ("dated file", "import time\nprint('loss: 0.5')\nopen('out.txt', 'w').write(f'{time.time_ns()}')\n", ["within tolerance", "differs"]),
    ("nothing", "pass\n", ["inconclusive", "identical"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("script", "verdicts"), [one[1:] for one in SUITE], ids=[one[0] for one in SUITE]
)
def test_no_verdict_is_wrong(tmp_path: Path, script: str, verdicts: list[str]) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", script)
    first = desk.run("train.py")
    done = desk.reenact("reproduce", first, "--env", "current", "--json")
    found = json.loads(done.out)["reproductions"][0]
    assert found["verdict"] in verdicts, found
