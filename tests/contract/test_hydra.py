"""Hydra and OmegaConf, run for real: flags found, overrides passed on, what was composed recorded."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import Desk
from frameworks import QUICK, python_with

TRAIN = """\
import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> None:
    print(OmegaConf.to_yaml(cfg))
    print("loss:", cfg.optimizer.lr * 2)


if __name__ == "__main__":
    main()
"""
FILES = {
    "train.py": TRAIN,
    "conf/config.yaml": """\
defaults:
  - optimizer: sgd
  - server/db: mysql
  - optional extra: nothing
  - override hydra/job_logging: disabled
  - _self_

epochs: 10
layers: [64, 32]
title: run of ${epochs} epochs
width: ${optimizer.lr}
ready: yes
seed: ???
""",
    "conf/optimizer/sgd.yaml": "lr: 0.1\nmomentum: 0.9\n",
    "conf/optimizer/adam.yaml": "lr: 0.001\nbetas: [0.9, 0.999]\n",
    "conf/server/db/mysql.yaml": "host: localhost\npassword: in-the-file\n",
    "conf/server/db/postgres.yaml": "# @package database\nhost: pg\n",
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    for name, content in FILES.items():
        desk.write(name, content)
    return desk


def record(desk: Desk, *words: str) -> dict[str, Any]:
    """Run something with Hydra's interpreter; return the record of the run, which succeeded."""
    run = desk.run("--python", python_with("hydra", "omegaconf"), *words, env=QUICK)
    found = desk.record(run)
    assert found["exit"]["code"] == 0, desk.ok("log", run)
    assert "warnings" not in found
    return found


def overrides(found: dict[str, Any]) -> list[str]:
    """Return the arguments that a run's script got."""
    command: list[str] = found["command"]
    return command[command.index("train.py") + 1 :]


def defaults(desk: Desk, name: str = "train.py") -> dict[str, Any]:
    """Return the flags that `help` finds, with their defaults."""
    return {flag["name"]: flag.get("default") for flag in desk.json("help", name)["flags"]}


def test_flags_are_groups_and_values(desk: Desk) -> None:
    shown = desk.json("help", "train.py")
    flags = {flag["name"]: flag for flag in shown["flags"]}
    assert flags["optimizer"]["choices"] == ["adam", "sgd"]
    assert flags["optimizer"]["default"] == "sgd"
    assert flags["server/db"]["choices"] == ["mysql", "postgres"]
    assert flags["optimizer.lr"]["default"] == flags["width"]["default"] == 0.1
    assert flags["layers"]["default"] == [64, 32]
    assert flags["ready"]["default"] is True
    assert flags["title"]["default"] == "run of ${epochs} epochs"
    assert flags["optimizer.lr"]["found"] == "conf/optimizer/sgd.yaml:1"
    # Another choice has other keys; all can be set.
    assert {"optimizer.betas", "optimizer.momentum", "database.host", "seed"} <= flags.keys()
    assert "defaults" not in flags


def test_a_plain_run_has_the_composed_configuration_as_flags(desk: Desk) -> None:
    found = record(desk, "train.py", "seed=1")
    assert overrides(found) == ["seed=1"]
    assert found["flags"] == {
        "optimizer": "sgd",
        "server/db": "mysql",
        "extra": "nothing",
        "optimizer.lr": 0.1,
        "optimizer.momentum": 0.9,
        "server.db.host": "localhost",
        "server.db.password": "<redacted>",
        "epochs": 10,
        "layers": [64, 32],
        "title": "run of ${epochs} epochs",
        "width": 0.1,
        "ready": True,
        "seed": 1,
    }
    assert found["given"] == ["seed"]
    assert found["operation"]["flags_kind"] == "hydra"
    assert found["metrics"]["loss"]["last"] == 0.2


def test_another_choice_has_its_own_keys_and_defaults(desk: Desk) -> None:
    found = record(desk, "train.py", "optimizer=adam", "server/db=postgres", "optimizer.lr=0.5")
    assert overrides(found) == ["optimizer=adam", "server/db=postgres", "optimizer.lr=0.5"]
    flags = found["flags"]
    assert flags["optimizer.lr"] == flags["width"] == 0.5
    assert flags["optimizer.betas"] == [0.9, 0.999]
    assert flags["database.host"] == "pg"
    assert not {"optimizer.momentum", "server.db.host", "server.db.password"} & flags.keys()


def test_the_defaults_of_a_choice_are_known_before_the_run(desk: Desk) -> None:
    shown = desk.reenact("run", "--dry-run", "train.py", "optimizer=adam").out
    assert "0.001" in shown
    assert "momentum" not in shown


def test_what_the_script_prints_is_what_it_prints_alone(desk: Desk) -> None:
    words = ["optimizer=adam", "layers=[1,2]", "title=a, b (c) 'd'", "seed=null"]
    run = record(desk, "train.py", *words)
    alone = subprocess.run(
        [python_with("hydra"), "train.py", *overrides(run)],
        cwd=desk.project,
        capture_output=True,
        text=True,
        check=True,
    )
    assert desk.ok("log", run["id"]) == alone.stdout
    assert run["flags"]["title"] == "a, b (c) 'd'"
    assert run["flags"]["layers"] == [1, 2]
    assert run["flags"]["seed"] is None


@pytest.mark.parametrize(
    "text",
    ["a b", "it's", "a=b", "back\\slash\\", "\\'", "[x", "1_000", "'7'", "true story", "ü", ""],
)
def test_text_reaches_hydra_as_it_is(desk: Desk, text: str) -> None:
    found = record(desk, "train.py", f"title={text}")
    assert found["flags"]["title"] == {"'7'": "7"}.get(text, text)


def test_an_unknown_key_is_refused_and_added_by_force(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "optimizer.lrr=1")
    assert done.status == 2
    assert "did you mean `optimizer.lr`?" in done.err
    assert overrides(record(desk, "--force-flags", "train.py", "new=1")) == ["+new=1"]
    found = record(desk, "train.py", "+deep.new=2", "++epochs=3")
    assert overrides(found) == ["+deep.new=2", "++epochs=3"]
    assert found["flags"]["deep.new"] == 2
    assert found["flags"]["epochs"] == 3


def test_a_choice_that_is_not_there_is_refused_before_anything_starts(desk: Desk) -> None:
    done = desk.reenact("run", "train.py", "optimizer=adm")
    assert done.status == 2
    assert "did you mean `adam`?" in done.err
    assert desk.ids() == []


def test_settings_of_hydra_itself_are_passed_on(desk: Desk) -> None:
    found = record(desk, "train.py", "hydra.run.dir=elsewhere", "epochs=3")
    assert overrides(found) == ["hydra.run.dir=elsewhere", "epochs=3"]
    assert "elsewhere/.hydra/config.yaml" in [file["path"] for file in found["outputs"]]
    assert found["flags"]["epochs"] == 3
    assert found["flags"]["optimizer.lr"] == 0.1


def test_several_jobs_are_left_alone(desk: Desk) -> None:
    python = python_with("hydra")
    run = desk.run("--", python, "train.py", "-m", "optimizer.lr=0.1,0.2")
    found = desk.record(run)
    assert found["exit"]["code"] == 0
    assert found.get("flags", {}) == {}


def test_a_secret_on_the_command_line_is_not_in_the_record(desk: Desk) -> None:
    found = record(
        desk, "train.py", "server.db.password=hunter2-and-more", "title=hunter2-and-more"
    )
    assert "hunter2-and-more" not in str(found)


def test_a_batch_over_a_group_and_a_key(desk: Desk) -> None:
    desk.ok(
        "run", "--python", python_with("hydra"), "train.py",
        "optimizer=[sgd,adam]", "epochs=[1,2]", env=QUICK,
    )  # fmt: skip
    runs = [desk.record(run) for run in desk.ids()]
    trials = [run for run in runs if run.get("parent")]
    seen = {(run["flags"]["optimizer"], run["flags"]["epochs"]) for run in trials}
    assert seen == {("sgd", 1), ("sgd", 2), ("adam", 1), ("adam", 2)}


def test_an_operation_of_a_project_file(desk: Desk) -> None:
    desk.write(
        "reenact.yml",
        "train:\n  main: train\n  flags-import: all\n  flags:\n    optimizer: adam\n    rate:\n"
        "      arg-name: optimizer.lr\n      default: 0.5\n",
    )
    python = python_with("hydra")
    run = desk.record(desk.run("--python", python, "train", "epochs=2", env=QUICK))
    assert run["exit"]["code"] == 0
    assert sorted(run["command"][-3:]) == ["epochs=2", "optimizer.lr=0.5", "optimizer=adam"]


def test_a_run_again_with_the_same_flags(desk: Desk) -> None:
    first = record(desk, "train.py", "optimizer=adam", "+new=1")
    again = record(desk, "--like", first["id"])
    assert overrides(again) == overrides(first)
    assert again["flags"] == first["flags"]


def test_a_run_whose_supervisor_was_killed(desk: Desk) -> None:
    killing = "    import os, signal\n    os.kill(os.getppid(), signal.SIGKILL)\n"
    desk.write("train.py", TRAIN.replace("\n\nif __name__", f"\n{killing}\n\nif __name__"))
    run = desk.run("--python", python_with("hydra"), "train.py", "optimizer=adam", env=QUICK)
    assert desk.status(run) == "killed"
    flags = desk.record(run)["flags"]
    assert flags["optimizer.betas"] == [0.9, 0.999]
    assert flags["server.db.password"] == "<redacted>"


TREES = {
    "packages": {
        "config": "defaults: [db@source: mysql, db@target: pg, db@_global_: plain, _self_]\na: 1\n",
        "db/mysql": "host: m\nport: 1\n",
        "db/pg": "host: p\n",
        "db/plain": "name: x\n",
    },
    "headers": {
        "config": "defaults: [a: one, b: two, b@c: two, _self_]\n",
        "a/one": "# @package _global_\nx: 1\ndeep: {y: 2}\n",
        "b/two": "# @package other.place\nz: 3\n",
    },
    "nested": {
        "config": "defaults: [server: apache, override server/db: pg, _self_]\nserver: {port: 9}\n",
        "server/apache": "defaults: [db: mysql, https, /common: base, _self_]\nname: apache\n",
        "server/https": "tls: true\n",
        "server/db/mysql": "host: m\n",
        "server/db/pg": "host: p\nuser: u\n",
        "common/base": "k: 1\n",
    },
    "order": {
        "config": "defaults: [_self_, base, a: one]\nx: 1\na: {y: 1}\n",
        "base": "x: 2\nz: 2\n",
        "a/one": "y: 3\n",
    },
    "no self": {"config": "defaults: [base]\nx: 1\n", "base": "x: 2\nz: {a: 1}\n"},
    "several": {
        "config": "defaults: [site: [one, two], optional none: such, _self_]\n",
        "site/one": "one: {up: true}\nlast: 1\n",
        "site/two": "two: {up: off}\nlast: 2\n",
    },
    "references": {
        "config": "defaults: [data: small, model: big, both: '${data}_${model}', _self_]\n",
        "data/small": "rows: 1\n",
        "model/big": "width: 2\n",
        "both/small_big": "fits: yes\n",
    },
    "replaced": {
        "config": "defaults: [a: one, _self_]\na: {list: [3], map: null, e: {}, f: 1e-4, g: .5}\n",
        "a/one": "list: [1, 2]\nmap: {x: 1}\ntext: '01'\noct: 0o7\nold: 017\nlong: 1_000\nnothing:\n",
    },
}


@pytest.mark.parametrize("tree", TREES)
def test_what_is_found_is_what_hydra_composes(desk: Desk, tree: str) -> None:
    for name, content in TREES[tree].items():
        desk.write(f"tree/{name}.yaml", content)
    desk.write(
        "train.py",
        "import json\nimport hydra\nfrom omegaconf import OmegaConf\n"
        "@hydra.main(version_base=None, config_path='tree', config_name='config')\n"
        "def main(cfg):\n    print(json.dumps(OmegaConf.to_container(cfg)))\nmain()\n",
    )
    alone = subprocess.run(
        [python_with("hydra"), "train.py"],
        cwd=desk.project,
        capture_output=True,
        text=True,
        check=True,
    )
    composed = dict(_leaves(json.loads(alone.stdout)))
    found = {name: value for name, value in defaults(desk).items() if name in composed}
    assert found == composed
    assert not [flag for flag in desk.json("help", "train.py")["flags"] if "???" in str(flag)]


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_configurations_of_dataclasses(desk: Desk) -> None:
    desk.write(
        "train.py",
        """\
from dataclasses import dataclass, field
from typing import Any, List

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass
class Adam:
    lr: float = 0.001


@dataclass
class Sgd:
    lr: float = 0.1
    momentum: float = 0.9


@dataclass
class Model:
    width: int = 64


@dataclass
class Config:
    defaults: List[Any] = field(default_factory=lambda: ["_self_", {"optimizer": "adam"}])
    epochs: int = 10
    name: str = MISSING
    model: Model = field(default_factory=Model)
    optimizer: Any = MISSING


cs = ConfigStore.instance()
cs.store(name="config", node=Config)
cs.store(group="optimizer", name="adam", node=Adam)
cs.store(group="optimizer", name="sgd", node=Sgd)


@hydra.main(version_base=None, config_path=None, config_name="config")
def main(cfg):
    print("epochs:", cfg.epochs)


main()
""",
    )
    assert defaults(desk) == {
        "optimizer": "adam",
        "optimizer.lr": 0.001,
        "optimizer.momentum": 0.9,
        "epochs": 10,
        "name": None,
        "model.width": 64,
    }
    found = record(desk, "train.py", "optimizer=sgd", "model.width=8")
    assert found["flags"]["optimizer.momentum"] == 0.9
    assert found["flags"]["model.width"] == 8


def test_a_directory_that_is_not_to_be_found_lets_every_flag_through(desk: Desk) -> None:
    desk.write("train.py", TRAIN.replace('"conf"', 'str(__import__("os").environ["CONF"])'))
    run = desk.run(
        "--python", python_with("hydra"), "train.py", "epochs=3",
        env={**QUICK, "CONF": "conf"},
    )  # fmt: skip
    found = desk.record(run)
    assert overrides(found) == ["epochs=3"]
    assert found["flags"]["epochs"] == 3
    assert found["flags"]["optimizer.lr"] == 0.1


OMEGA = """\
from omegaconf import OmegaConf

base = OmegaConf.load("conf.yaml")
cfg = OmegaConf.merge(base, OmegaConf.from_cli())
print("loss:", cfg.model.lr * 2)
print(OmegaConf.to_yaml(cfg))
"""


def test_omegaconf_takes_flags_of_its_file(desk: Desk) -> None:
    desk.write("conf.yaml", "model:\n  lr: 0.1\n  layers: [1, 2]\nname: a\ntoken: in-the-file\n")
    desk.write("train.py", OMEGA)
    assert defaults(desk) == {
        "model.lr": 0.1,
        "model.layers": [1, 2],
        "name": "a",
        "token": "in-the-file",
    }
    found = record(desk, "train.py", "model.lr=0.5", "name=it's: b", "model.layers=[3]")
    assert overrides(found) == ["model.lr=0.5", "name='it''s: b'", "model.layers=[3]"]
    assert found["flags"] == {
        "model.lr": 0.5,
        "model.layers": [3],
        "name": "it's: b",
        "token": "<redacted>",
    }
    assert found["metrics"]["loss"]["last"] == 1.0
    assert "name: 'it''s: b'" in desk.ok("log", found["id"])
    assert desk.reenact("run", "train.py", "model.lrr=1").status == 2
    assert overrides(record(desk, "--force-flags", "train.py", "extra=1")) == ["extra=1"]


def test_omegaconf_takes_flags_of_a_dataclass(desk: Desk) -> None:
    desk.write(
        "train.py",
        "from dataclasses import dataclass, field\nfrom omegaconf import OmegaConf\n"
        "@dataclass\nclass Model:\n    lr: float = 0.1\n"
        "@dataclass\nclass Config:\n    model: Model = field(default_factory=Model)\n"
        "    epochs: int = 3\n"
        "def main():\n    cfg = OmegaConf.structured(Config)\n    cfg.merge_with_cli()\n"
        "    print('loss:', cfg.model.lr)\n"
        "if __name__ == '__main__':\n    main()\n",
    )
    assert defaults(desk) == {"model.lr": 0.1, "epochs": 3}
    assert record(desk, "train.py", "model.lr=0.5")["metrics"]["loss"]["last"] == 0.5


def test_omegaconf_with_a_file_that_the_command_line_names(desk: Desk) -> None:
    desk.write("conf.yaml", "lr: 0.1\n")
    desk.write(
        "train.py",
        "from omegaconf import OmegaConf\ncli = OmegaConf.from_cli()\n"
        "cfg = OmegaConf.merge(OmegaConf.load(cli.config), cli)\nprint('loss:', cfg.lr)\n",
    )
    found = record(desk, "train.py", "config=conf.yaml", "lr=0.5")
    assert overrides(found) == ["config=conf.yaml", "lr=0.5"]
    assert found["metrics"]["loss"]["last"] == 0.5
