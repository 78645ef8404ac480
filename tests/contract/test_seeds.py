"""Scripts that seed nothing come back to the last bit with the run's seed, and differ without one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from commands import Desk
from frameworks import QUICK, python_with

KEEP = """
import hashlib, sys
def keep(*arrays, name="result"):
    with open(name, "wb") as file:
        for array in arrays:
            file.write(array if isinstance(array, bytes) else array.tobytes())
"""

SKLEARN = """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
X, y = load_digits(return_X_y=True)
X, X_test, y, y_test = train_test_split(X[:600] / 16, y[:600])
models = [
    RandomForestClassifier(20, n_jobs=2),
    SGDClassifier(max_iter=5, tol=None),
    MLPClassifier((16,), max_iter=3, early_stopping=True),
    HistGradientBoostingClassifier(max_iter=3, early_stopping=True),
    KMeans(10, n_init=1),
]
import warnings
warnings.simplefilter("ignore")
keep(X_test, *(np.asarray(model.fit(X, y).predict(X_test), dtype=float) for model in models))
"""

TORCH = """
import random
import numpy as np
import torch
from torch import nn

class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 64
    def __getitem__(self, i):
        return (torch.full((8,), float(i)) / 64 + torch.randn(8) * 0.1
                + random.random() + np.random.rand() + np.random.default_rng().random()).float()

def main():
    loader = torch.utils.data.DataLoader(
        Noisy(), batch_size=8, shuffle=True, num_workers=2, multiprocessing_context=CONTEXT
    )
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for batch in loader:
        loss = (model(batch) - batch.sum(1, keepdim=True)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    keep(*(p.detach().numpy() for p in model.parameters()))

if __name__ == "__main__":
    main()
"""

KERAS = """
import os
os.environ["KERAS_BACKEND"] = "torch"
import keras
import numpy as np
x = np.random.rand(128, 8).astype("float32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.3),
                          keras.layers.Dense(1)])
model.compile("adam", "mse")
model.fit(x, x.sum(1), epochs=2, verbose=0, shuffle=True)
keep(*model.get_weights())
"""

BOOSTED = """
import numpy as np
import xgboost, lightgbm
X = np.random.rand(300, 6)
y = X @ np.arange(6) + np.random.rand(300)
trees = xgboost.XGBRegressor(n_estimators=5, subsample=0.5, colsample_bytree=0.5, n_jobs=2).fit(X, y)
forest = lightgbm.LGBMRegressor(n_estimators=5, subsample=0.5, subsample_freq=1, n_jobs=2, verbose=-1)
keep(X, trees.predict(X), forest.fit(X, y).predict(X))
"""

SCRIPTS = {
    "sklearn": (("sklearn",), SKLEARN),
    "torch, forked workers": (("torch",), TORCH.replace("CONTEXT", '"fork"')),
    "torch, spawned workers": (("torch",), TORCH.replace("CONTEXT", '"spawn"')),
    "keras": (("keras", "torch"), KERAS),
    "xgboost and lightgbm": (("xgboost", "lightgbm"), BOOSTED),
}


def record(desk: Desk, *words: str) -> dict[str, Any]:
    """Run the script; return the record of a run that went well."""
    run_id = desk.run("--quiet", *words, "train.py")
    found = desk.record(run_id)
    assert found["exit"] == {"code": 0}, desk.ok("log", run_id)
    assert found.get("warnings", []) == []
    return found


def digest(found: dict[str, Any], name: str = "result") -> str:
    """Return the digest of what it made."""
    return next(file["digest"] for file in found["outputs"] if file["path"] == name)


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_seeds_nothing_comes_back_bit_by_bit_with_the_seed(tmp_path: Path, name: str) -> None:
    modules, script = SCRIPTS[name]
    desk = Desk(tmp_path)
    desk.env.update(QUICK)
    desk.write("train.py", KEEP + script)
    python = ("--python", python_with(*modules))

    drawn = record(desk, *python)
    again = record(desk, *python, "--seed", str(drawn["seed"]))
    other = record(desk, *python, "--seed", "7")

    assert digest(drawn) == digest(again)
    assert digest(drawn) != digest(other)
    assert drawn["randomness"]["seeded"]["numpy.random"] == "reenact"


def test_nothing_is_seeded_where_nobody_wants_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", KEEP + "import numpy as np\nkeep(np.random.rand(9))\n")
    python = ("--python", python_with("numpy"))

    made = [digest(record(desk, *python, *words)) for words in [("--no-seed",)] * 2]
    made += [digest(record(desk, *python)) for _ in range(2)]

    assert len(set(made)) == 4


SEEDED = """
import random
import lightning
import numpy as np
import torch
lightning.seed_everything(3, verbose=False)
rng = np.random.default_rng(11)
keep(np.random.rand(3), torch.rand(3).numpy(), rng.random(3))
"""


def test_what_the_script_seeds_counts_and_is_recorded_with_its_line(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.env.update(QUICK)
    desk.write("train.py", KEEP + SEEDED)
    python = ("--python", python_with("lightning", "torch"))

    first, other = (record(desk, *python, "--seed", seed) for seed in "78")

    assert digest(first) == digest(other)
    line = (KEEP + SEEDED).split("\n").index("lightning.seed_everything(3, verbose=False)") + 1
    seeded = first["randomness"]["seeded"]
    assert seeded["torch"] == seeded["numpy.random"] == seeded["random"] == f"3 at train.py:{line}"
    assert seeded["numpy.random.default_rng"] == f"11 at train.py:{line + 1}"


CALM = """
import torch, warnings
def scatter(x, index):
    return x.put_(index, torch.ones(2), accumulate=False)
scatter(torch.zeros(4), torch.tensor([1, 1]))
print(torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic)
"""


def test_switches_are_set_on_request_and_operations_that_have_none_are_named(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", CALM)
    python = ("--python", python_with("torch"))

    calm = desk.record(desk.run(*python, "--deterministic", "train.py"))
    again = desk.record(desk.run(*python, "--like", calm["id"]))
    restarted = desk.reenact("run", *python, "--restart", calm["id"])

    assert restarted.out == "True True\n"
    assert calm["is_deterministic"]
    assert calm["randomness"]["switches"]["torch.deterministic_algorithms"] == "true"
    assert calm["randomness"]["switches"]["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    (chance,) = calm["randomness"]["chances"]
    assert (chance["kind"], chance["what"], chance["place"]) == ("operation", "put_", "train.py:4")
    assert "is_deterministic" not in again
    assert again["seed"] != calm["seed"]


LOKY = """
import random
import numpy as np
from joblib import Parallel, delayed
def draw(i):
    import os
    return os.getpid(), random.random(), np.random.rand(), np.random.default_rng().random()
if __name__ == "__main__":
    # Each waits for all: there is one for each worker.
    drawn = dict((d[0], d[1:]) for d in Parallel(2)(delayed(draw)(i) for i in range(20)))
    values = sorted(drawn.values()) + [(random.random(), np.random.rand())]
    print(len({v for value in values for v in value}) == sum(map(len, values)), flush=True)
"""


def test_workers_of_joblib_have_seeds_of_their_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("train.py", LOKY)

    out = desk.ok("run", "--python", python_with("joblib", "numpy"), "--seed", "7", "train.py")

    assert out == "True\n"


TENSORFLOW = """
import hashlib, os
import numpy as np
import tensorflow as tf
import keras
x = np.random.rand(64, 8).astype("float32")
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
model.compile("adam", "mse")
data = tf.data.Dataset.from_tensor_slices((x, x.sum(1))).shuffle(64).batch(16)
model.fit(data, epochs=2, verbose=0)
keep(*model.get_weights(), tf.function(lambda: tf.random.uniform([3]))().numpy())
if "TF_DETERMINISTIC_OPS" not in os.environ:
    made = [tf.random.Generator.from_non_deterministic_state(), tf.random.get_global_generator()]
    keep(*(generator.normal([3]).numpy() for generator in made), name="by chance")
tf.random.set_seed(5)
keep(tf.random.normal([9]).numpy(), name="own")
"""


def test_tensorflow_is_seeded_before_the_script_seeds_it_and_switched_on_request(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.env.update(QUICK, TF_CPP_MIN_LOG_LEVEL="3")
    desk.write("train.py", KEEP + TENSORFLOW)
    python = ("--python", python_with("tensorflow"))

    drawn = record(desk, *python)
    again = record(desk, *python, "--seed", str(drawn["seed"]))
    other = record(desk, *python, "--seed", "7", "--deterministic")

    assert digest(drawn) == digest(again) != digest(other)
    assert digest(drawn, "by chance") == digest(again, "by chance")
    assert digest(drawn, "own") == digest(other, "own")
    line = (KEEP + TENSORFLOW).split("\n").index("tf.random.set_seed(5)") + 1
    assert other["randomness"]["seeded"]["tensorflow"] == f"5 at train.py:{line}"
    switches = [run["randomness"]["switches"] for run in (drawn, other)]
    assert [s["tensorflow.op_determinism"] for s in switches] == ["false", "true"]


JAX = """
import time
import jax
import numpy as np
from flax import nnx
model = nnx.Linear(4, 4, rngs=nnx.Rngs(np.random.randint(1 << 31)))
own = jax.random.key(3)
keep(np.asarray(model.kernel[...]))
keep(np.asarray(jax.random.normal(own, (3,))), name="own")
later = jax.random.key(int(time.time()))
"""


def test_keys_of_jax_follow_from_what_the_script_draws_and_their_lines_are_recorded(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.env.update(QUICK)
    desk.write("train.py", KEEP + JAX)
    python = ("--python", python_with("jax", "flax"))

    drawn = record(desk, *python)
    again = record(desk, *python, "--seed", str(drawn["seed"]))
    other = record(desk, *python, "--seed", "7", "--deterministic")

    assert digest(drawn) == digest(again) != digest(other)
    assert digest(drawn, "own") == digest(other, "own")
    line = (KEEP + JAX).split("\n").index("later = jax.random.key(int(time.time()))") + 1
    assert other["randomness"]["seeded"]["jax"].endswith(f" at train.py:{line}")
    (chance,) = other["randomness"]["chances"]
    assert (chance["kind"], chance["place"]) == ("time", f"train.py:{line}")


def test_a_reproduction_has_as_many_threads_of_xla_as_the_original(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.env.update(QUICK)
    desk.write("train.py", "import jax, os\nprint('threads:', os.environ.get('NPROC'))\n")

    run_id = desk.run("--python", python_with("jax"), "train.py")
    desk.reenact("reproduce", run_id)

    (again,) = {*desk.ids()} - {run_id}
    assert desk.ok("log", run_id) == "threads: None\n"
    assert desk.ok("log", again) == f"threads: {len(os.sched_getaffinity(0))}\n"


WORKERS = """
import multiprocessing, random
import numpy as np
import torch

def draw(i):
    return i, random.random(), np.random.rand(), np.random.default_rng().random(), list({"a", "b", "c"})

class Noisy(torch.utils.data.Dataset):
    def __len__(self):
        return 16
    def __getitem__(self, i):
        return torch.tensor([i, random.random(), np.random.rand(), torch.rand(1).item()])

if __name__ == "__main__":
    drawn = []
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            drawn += pool.map(draw, range(3))
    loader = torch.utils.data.DataLoader(
        Noisy(), shuffle=True, num_workers=2, persistent_workers=True, multiprocessing_context="forkserver"
    )
    keep(repr(drawn).encode(), *(batch.numpy() for _ in range(2) for batch in loader))
"""


def test_workers_of_all_ways_to_start_them_come_back_and_are_no_chance_of_the_script(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.env.update(QUICK)
    desk.write("train.py", KEEP + WORKERS)
    python = ("--python", python_with("torch"))

    drawn = record(desk, *python)
    again = record(desk, *python, "--seed", str(drawn["seed"]))

    assert digest(drawn) == digest(again)
    assert "<string>" not in str(drawn["randomness"].get("chances"))


def test_a_generator_that_a_library_makes_for_itself_is_none_of_the_script(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.env.update(QUICK)
    desk.write("train.py", KEEP + "import scipy.stats\nkeep(b'1')\n")

    found = record(desk, "--python", python_with("scipy"))

    assert "numpy.random.default_rng" not in found["randomness"]["seeded"]
