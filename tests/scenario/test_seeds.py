"""Seeds of runs: who gets which, what the script seeds itself, and what else is up to chance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Desk
from fidelity import run_both

PYTHONS = [
    str(path)
    for name in ("3.8", "3.13")
    for path in sorted(Path("~/.pyenv/versions").expanduser().glob(f"{name}.*/bin/python{name}"))[
        :1
    ]
]
"""The oldest and the newest that are installed here; `HOME` is another one in a test."""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def out_of(desk: Desk, *words: str) -> str:
    """Run something; return what it printed."""
    return desk.ok("run", *words)


def chances(desk: Desk, script: str) -> list[tuple[str, str, int]]:
    """Run a script; return kind, place and count of what was seen to be up to chance."""
    desk.write("train.py", script)
    found = desk.record(desk.run("train.py")).get("randomness", {}).get("chances", [])
    return [(one["kind"], one["place"], one.get("count", 1)) for one in found]


PLAIN = """
import random
values = {"a", "b", "c", "d", "e"}
print(random.random(), random.Random().random(), random.Random().random(), list(values))
"""


def test_a_run_draws_a_seed_with_which_it_comes_back(desk: Desk) -> None:
    desk.write("train.py", PLAIN)

    first, other = out_of(desk, "train.py"), out_of(desk, "train.py")
    records = sorted(map(desk.record, desk.ids()), key=lambda record: record["created"])
    seeds = [record["seed"] for record in records]
    again = out_of(desk, "--seed", str(seeds[0]), "train.py")

    assert first != other
    assert first == again
    assert len(set(seeds)) == 2
    assert all(0 <= seed < 1 << 31 for seed in seeds)
    assert records[0]["randomness"] == {
        "hash_seed": str(seeds[0]), "seeded": {"random": "reenact"},
    }  # fmt: skip


def test_a_restart_keeps_the_seed_and_a_run_like_another_draws_one(desk: Desk) -> None:
    desk.write("train.py", PLAIN)
    first = out_of(desk, "train.py")
    (run_id,) = desk.ids()

    restarted = out_of(desk, "--restart", run_id)
    like = out_of(desk, "--like", run_id)

    assert restarted == first
    assert like != first


def test_no_seed_leaves_everything_to_chance(desk: Desk) -> None:
    desk.write("train.py", PLAIN)
    desk.write("reenact.yml", "calm:\n  main: train\n  seed: no\n")

    several = {out_of(desk, "--no-seed", "train.py") for _ in range(2)}
    several |= {desk.ok("run", "train.py", env={"REENACT_SEED": "off"}) for _ in range(2)}
    several |= {out_of(desk, "calm") for _ in range(2)}

    assert len(several) == 6
    assert all("seed" not in desk.record(run) for run in desk.ids())


def test_the_environment_says_a_seed_as_the_option_does(desk: Desk) -> None:
    desk.write("train.py", PLAIN)

    by_option = out_of(desk, "--seed", "5", "train.py")
    by_variable = desk.ok("run", "train.py", env={"REENACT_SEED": "5"})
    other_hashes = desk.ok("run", "train.py", env={"REENACT_SEED": "5", "PYTHONHASHSEED": "1"})
    wrong = desk.reenact("run", "train.py", env={"REENACT_SEED": "five"})
    both = desk.reenact("run", "--seed", "5", "--no-seed", "train.py")

    assert by_option == by_variable
    assert other_hashes.split(" [")[0] == by_option.split(" [")[0]
    assert other_hashes != by_option
    assert (wrong.status, both.status) == (2, 2)
    assert "`REENACT_SEED=five` is no seed" in wrong.err


def test_a_run_within_a_run_draws_a_seed_of_its_own(desk: Desk) -> None:
    desk.write("inner.py", PLAIN)

    out_of(desk, "--seed", "5", "--", sys.executable, "-m", "reenact", "run", "inner.py")

    inner, outer = sorted(map(desk.record, desk.ids()), key=lambda r: r["operation"]["name"])[::-1]
    seeds = {inner["seed"], outer["seed"]}
    assert 5 in seeds
    assert len(seeds) == 2
    assert {inner["randomness"]["hash_seed"], outer["randomness"]["hash_seed"]} == set(
        map(str, seeds)
    )


def test_each_trial_of_a_batch_has_its_seed_whether_or_not_a_flag_takes_it(desk: Desk) -> None:
    desk.write("plain.py", "import random\nprint(f'x: {random.random()}')\n")
    desk.write("flagged.py", "import random\nseed = 0\nprint(f'x: {random.random() + seed}')\n")

    for script in ("plain.py", "flagged.py"):
        desk.ok("run", script, "--seeds", "3,4", "--quiet")
        desk.ok("run", script, "--seeds", "3,4", "--quiet")

    trials = [record for record in map(desk.record, desk.ids()) if "parent" in record]
    found = sorted((t["operation"]["name"], t["seed"], t["metrics"]["x"]["last"]) for t in trials)
    assert found[::2] == found[1::2]
    assert [seed for _, seed, _ in found[::2]] == [3, 4, 3, 4]
    assert len({x for _, _, x in found}) == 4


def test_needed_takes_a_run_of_another_seed_only_where_none_is_asked_for(desk: Desk) -> None:
    desk.write("train.py", PLAIN)
    out_of(desk, "--seed", "5", "train.py")

    taken = desk.reenact("run", "--needed", "train.py")
    same = desk.reenact("run", "--needed", "--seed", "5", "train.py")
    other = desk.reenact("run", "--needed", "--explain", "--seed", "6", "train.py")

    assert (taken.out, same.out) == ("", "")
    assert other.out != ""
    assert "seed: 5 → 6" in other.err


SPAWNED = """
import multiprocessing, os, random, sys
def draw(queue):
    queue.put((random.random(), random.Random().random(), hash("a")))
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    found = [random.random()]
    for _ in range(3):
        queue = context.SimpleQueue()
        process = context.Process(target=draw, args=(queue,))
        process.start()
        found += queue.get()[:2]
        process.join()
    assert len(set(found)) == len(found), found
    print(found)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_workers_have_seeds_of_their_own_which_come_back(desk: Desk, method: str) -> None:
    desk.write("train.py", SPAWNED)

    words = ("--seed", "7", "--", sys.executable, "train.py", method)
    first, again = out_of(desk, *words), out_of(desk, *words)

    assert first == again


SCRIPT_SEEDS_ITS_WORKERS = """
import multiprocessing, random
random.seed(3)
def draw(queue):
    queue.put(random.random())
if __name__ == "__main__":
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    process = multiprocessing.get_context("spawn").Process(target=draw, args=(queue,))
    process.start()
    print(random.random(), queue.get())
    process.join()
"""


def test_what_a_script_seeds_in_its_workers_counts(desk: Desk) -> None:
    desk.write("train.py", SCRIPT_SEEDS_ITS_WORKERS)

    own, workers = out_of(desk, "train.py").split()

    assert own == workers


CHILDREN = """
import random, subprocess, sys
code = "import random, sys; print(random.random())"
found = [random.random()]
for words in (["1"], ["2"], ["2"], ["/tmp/%d/x" % random.SystemRandom().randrange(10**9)]):
    found.append(float(subprocess.check_output([sys.executable, "-c", code, *words])))
assert len(set(found)) == len(found), found
print(found)
"""


def test_programs_that_a_script_starts_have_seeds_of_their_own(desk: Desk) -> None:
    desk.write("train.py", CHILDREN)

    first, again = (out_of(desk, "--seed", "7", "train.py") for _ in range(2))

    assert first == again


def test_ranks_have_the_seed_of_the_run(desk: Desk) -> None:
    desk.write("rank.py", "import random\nprint(random.random())\n")
    desk.write(
        "launch.sh",
        "for r in 0 1; do RANK=$r LOCAL_RANK=$r WORLD_SIZE=2 python3 rank.py; done\npython3 rank.py\n",
    )
    desk.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    alone = out_of(desk, "--seed", "7", "rank.py")
    first, second, other = out_of(desk, "--seed", "7", "launch.sh").split()

    assert first == second == alone.strip()
    assert other != first


FAITHFUL = """
import copy, inspect, pickle, random, secrets, tempfile, threading, uuid, warnings
warnings.simplefilter("error")
r = random.Random(3)
state = random.getstate()
random.setstate(state)
print(r.random(), pickle.loads(pickle.dumps(r)).random() == copy.deepcopy(r).random())
random.seed(12)
print(random.random(), random.Random("text").random(), random.Random(1.5).random())
print(inspect.signature(random.Random.seed), inspect.signature(random.seed))
print(random.seed.__self__ is random._inst, pickle.loads(pickle.dumps(uuid.uuid4)) is uuid.uuid4)
print(inspect.getsource(random.Random.seed).splitlines()[0], uuid.uuid4().version)
print(random.seed.__doc__ == random.Random.seed.__doc__, random.Random.seed.__qualname__)
class Mine(random.Random):
    def seed(self, a=None, version=2):
        print("mine", a)
        super().seed(5)
print(Mine().random(), random.SystemRandom().seed())
try:
    random.seed([])
except TypeError as error:
    print(error)
import sys
print("numpy" in sys.modules)
1 / 0
"""


@pytest.mark.parametrize("python", [sys.executable, *PYTHONS])
def test_nobody_can_tell_a_seeded_generator_from_pythons_own(tmp_path: Path, python: str) -> None:
    both = run_both(
        tmp_path, {"train.py": FAITHFUL}, "train.py", recorded=["train.py"], python=python
    )

    assert both.recorded == both.plain


def test_secrets_stay_chance(desk: Desk) -> None:
    desk.write(
        "train.py",
        "import os, random, secrets, tempfile, uuid\n"
        "print(os.urandom(4), secrets.token_hex(), uuid.uuid4(), random.SystemRandom().random(),\n"
        "      tempfile.mktemp())\n",
    )

    first, again = (out_of(desk, "--seed", "7", "train.py").split() for _ in range(2))

    assert not set(first) & set(again)


def test_the_line_where_a_script_seeds_is_recorded(desk: Desk) -> None:
    desk.write("helper.py", "import random\ndef go():\n    random.seed(42)\n")
    desk.write("train.py", "import helper\nhelper.go()\n")

    found = desk.record(desk.run("train.py"))

    assert found["randomness"]["seeded"] == {"random": "42 at helper.py:3"}
    assert "random: 42 at helper.py:3" in desk.ok("show")


LISTINGS = """
import glob, os, random, time
from pathlib import Path
for name in os.listdir("."):
    pass
for name in sorted(os.listdir(".")):
    pass
names = os.listdir(".")
names.sort()
found = glob.glob("*.csv")
print(len(os.listdir(".")), "x" in os.listdir("."))
for path in Path(".").iterdir():
    pass
for path in sorted(Path(".").glob("*")):
    pass
for here, directories, files in os.walk("."):
    print(len(files))
for here, directories, files in os.walk("."):
    directories.sort()
    print(sorted(files)[:0])
random.seed(int(time.time()))
"""


def test_listings_without_order_and_seeds_from_the_clock_are_named(desk: Desk) -> None:
    desk.write("a.csv", "1\n")

    found = chances(desk, LISTINGS)

    assert [(kind, place) for kind, place, _ in found] == [
        ("listing", "train.py:4"),
        ("listing", "train.py:10"),
        ("listing", "train.py:12"),
        ("listing", "train.py:16"),
        ("time", "train.py:21"),
    ]


def test_what_libraries_do_for_themselves_is_not_named(desk: Desk) -> None:
    library = desk.write(".venv/lib/site-packages/library.py", "import os, threading, uuid\n"
        "def work():\n    uuid.uuid4(); return os.listdir('.')\n")  # fmt: skip

    found = chances(
        desk,
        f"import sys\nsys.path.append({str(library.parent)!r})\nimport library\nlibrary.work()\n"
        "import tempfile, shutil, pkgutil\nlist(pkgutil.iter_modules())\n"
        "shutil.rmtree(tempfile.mkdtemp())\n",
    )

    assert found == []


def test_uuids_forks_and_contacts_are_named_with_how_often(desk: Desk) -> None:
    script = (
        "import os, socket, uuid\nfor _ in range(3):\n    uuid.uuid4()\n"
        "if os.fork() == 0:\n    os._exit(0)\nos.wait()\n"
        "s = socket.socket()\ns.settimeout(0.01)\n"
        "try:\n    s.connect(('192.0.2.1', 9))\nexcept OSError:\n    pass\n"
        "try:\n    s.connect(('127.0.0.1', 9))\nexcept OSError:\n    pass\n"
    )

    found = chances(desk, script)

    assert found == [
        ("uuid", "train.py:3", 3),
        ("processes", "train.py:4", 1),
        ("network", "train.py:10", 1),
    ]
    assert "train.py:3: uuid.uuid4, other names each time, 3 times" in desk.ok("doctor")


def test_a_run_whose_supervisor_is_killed_keeps_what_it_told_of_chance(desk: Desk) -> None:
    desk.write(
        "train.py",
        "import os, random, signal\nrandom.seed(4)\nos.listdir('.')[0]\n"
        "os.kill(os.getppid(), signal.SIGKILL)\n",
    )

    desk.reenact("run", "--seed", "7", "train.py")
    desk.ok("runs")

    (found,) = map(desk.record, desk.ids())
    assert found["seed"] == 7
    assert found["randomness"]["hash_seed"] == "7"
    assert found["randomness"]["seeded"] == {"random": "4 at train.py:2"}


def test_seeds_of_two_runs_differ_only_where_one_was_needed(desk: Desk) -> None:
    desk.write("still.py", "import random\nprint(random.Random(4).random())\n")
    desk.write("moving.py", "import random\nrandom.random()\nprint(1)\n")
    for script in ("still.py", "still.py", "moving.py", "moving.py"):
        desk.run(script)
    still, moving = (
        [r["id"] for r in map(desk.record, desk.ids()) if r["operation"]["name"] == name]
        for name in ("still.py", "moving.py")
    )

    same = desk.json("diff", *still)["sections"]["run"]["changes"]
    other = desk.json("diff", *moving)["sections"]["run"]["changes"]

    assert same == []
    assert [change["name"] for change in other] == ["seed"]


IN_PROCESS = """
import random
import reenact
before = random.getstate()
with reenact.start("left alone"):
    pass
assert random.getstate() == before
found = []
for _ in range(2):
    with reenact.start("seeded", seed=7) as run:
        found.append((random.random(), random.Random().random()))
assert found[0] == found[1], found
with reenact.start("seeded", seed=8):
    assert random.random() != found[0][0]
def fit(seed, rate=0.1):
    return {"x": random.random() + seed}
def train(rate=0.1):
    return {"x": random.random()}
assert reenact.run(fit, seed=7).result["x"] == found[0][0] + 7
assert reenact.run(train, seed=7).result["x"] == found[0][0]
assert random.Random().random() != random.Random().random()
print(reenact.run(["sh", "-c", "echo $REENACT_SEED"], seed=9, quiet=True).log().strip())
print(*sorted(str(run.record.seed) for run in reenact.runs()))
"""


def test_a_process_is_seeded_only_on_request(desk: Desk) -> None:
    desk.write("own.py", IN_PROCESS)
    words = [sys.executable, "own.py"]
    env = {**os.environ, **desk.env}

    done = subprocess.run(
        words, cwd=desk.project, env=env, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["9", "7 7 7 7 8 9 None"]


def test_the_seed_is_a_column_where_no_flag_is_called_so(desk: Desk) -> None:
    desk.write("train.py", "print(1)\n")
    desk.run("--seed", "7", "train.py")
    desk.run("--seed", "8", "train.py")

    found = desk.json("runs", "--filter", "seed = 7")["runs"]

    assert [run["id"] for run in found] == [
        r["id"] for r in map(desk.record, desk.ids()) if r["seed"] == 7
    ]
    shown = json.loads(desk.ok("show", found[0]["id"], "--json"))
    assert shown["run"]["seed"] == 7
