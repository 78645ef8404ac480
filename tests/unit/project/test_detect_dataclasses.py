"""Flags from dataclasses: tyro for real, simple_parsing and HfArgumentParser by what they declare."""

from __future__ import annotations

from reenact.model.flags import Action, FlagType, Option
from unit.project.conftest import Project

TYRO = '''
import json, os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, Optional, Tuple
import tyro

class Mode(Enum):
    FAST = "f"
    SLOW = "s"

@dataclass
class Model:
    learning_rate: float = 0.1
    """step size"""
    bias: bool = True
    depth: int = 3

@dataclass
class Base:
    name: str
    seed: int = 1

@dataclass
class Args(Base):
    exp_name: str = os.path.basename(__file__)[: -len(".py")]
    model: Model = field(default_factory=lambda: Model(depth=5))
    amp: bool = False
    total: int = int(1e6)
    layers: tuple[int, ...] = (64, 32)
    pair: Tuple[int, int] = (1, 2)
    words: list[str] = field(default_factory=list)
    opt: Literal["sgd", "adam"] = "sgd"
    mode: Mode = Mode.FAST
    entity: Optional[str] = None
    maybe: int | None = None
    out: Path = Path("runs")

if __name__ == "__main__":
    args = tyro.cli(Args)
    plain = dict(vars(args), model=vars(args.model), mode=args.mode.name, out=str(args.out))
    print(json.dumps(plain))
'''


def test_every_kind_of_tyro_field_is_found(project: Project) -> None:
    found = project.detect(TYRO)

    assert found.kind == "dataclass"
    assert found.remarks == ()
    assert {flag.name: (flag.type.value, flag.default) for flag in found.flags} == {
        "name": ("string", None),
        "seed": ("int", 1),
        "exp_name": ("string", "train"),
        "model.learning_rate": ("float", 0.1),
        "model.bias": ("bool", True),
        "model.depth": ("int", 5),
        "amp": ("bool", False),
        "total": ("int", 1000000),
        "layers": ("int", [64, 32]),
        "pair": ("int", [1, 2]),
        "words": ("string", []),
        "opt": ("string", "sgd"),
        "mode": ("string", "FAST"),
        "entity": ("string", None),
        "maybe": ("int", None),
        "out": ("path", "runs"),
    }
    flags = {flag.name: flag for flag in found.flags}
    assert flags["model.learning_rate"].help == "step size"
    assert flags["model.learning_rate"].aliases == ("model.learning-rate",)
    assert flags["mode"].choices == ("FAST", "SLOW")
    assert [flag.name for flag in found.flags if flag.required] == ["name"]


def test_a_tyro_script_without_flags_has_the_defaults_that_were_found(project: Project) -> None:
    received = project.receives(TYRO, "name=x")

    flat = {**received, **{f"model.{k}": v for k, v in received["model"].items()}, "name": None}
    for flag in project.flags(TYRO).values():
        assert flat[flag.name] == flag.default, flag.name


def test_every_kind_of_tyro_field_arrives(project: Project) -> None:
    received = project.receives(
        TYRO,
        "seed=-3",
        "name=a b",
        "exp_name=-e",
        "model.learning-rate=-1e-5",
        "model.bias=no",
        "model.depth=7",
        "amp=yes",
        "total=5",
        "layers=[1, 2, 3]",
        "pair=[-3, 4]",
        "words=x y",
        "opt=adam",
        "mode=SLOW",
        "entity=me",
        "maybe=4",
        "out=o",
    )

    assert received == {
        "seed": -3,
        "name": "a b",
        "exp_name": "-e",
        "model": {"learning_rate": -1e-5, "bias": False, "depth": 7},
        "amp": True,
        "total": 5,
        "layers": [1, 2, 3],
        "pair": [-3, 4],
        "words": ["x", "y"],
        "opt": "adam",
        "mode": "SLOW",
        "entity": "me",
        "maybe": 4,
        "out": "o",
    }


def test_tyro_takes_the_parameters_of_a_function(project: Project) -> None:
    script = (
        "import json, tyro\n"
        "def main(lr: float, epochs: int = 3, amp: bool = True):\n"
        "    print(json.dumps([lr, epochs, amp]))\n"
        "if __name__ == '__main__':\n    tyro.cli(main)\n"
    )

    assert project.receives(script, "lr=0.5", "amp=no") == [0.5, 3, False]


def test_tyro_booleans_without_a_default_take_a_word(project: Project) -> None:
    script = (
        "import json, tyro\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: bool\n    y: bool | None = None\n"
        "a = tyro.cli(A)\nprint(json.dumps([a.x, a.y]))\n"
    )

    assert project.receives(script, "x=no", "y=yes") == [False, True]


def test_tyro_defaults_may_come_from_an_instance(project: Project) -> None:
    script = (
        "import json, tyro\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int = 1\n    y: int = 2\n"
        "a = tyro.cli(A, default=A(x=5))\n"
    )

    assert [flag.default for flag in project.flags(script).values()] == [5, 2]


def test_a_choice_of_dataclasses_leaves_tyro_open_ended(project: Project) -> None:
    script = (
        "import tyro\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A: ...\n@dataclass\nclass B: ...\n"
        "@dataclass\nclass Args:\n    lr: float = 0.1\n    which: A | B = A()\ntyro.cli(Args)\n"
    )

    found = project.detect(script)

    assert [flag.name for flag in found.flags] == ["lr"]
    assert found.open_ended
    assert "train.py:10" in found.remarks[0]


def test_a_tyro_positional_is_passed_as_one(project: Project) -> None:
    script = (
        "import json, tyro\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    data: tyro.conf.Positional[str]\n    n: int = 1\n"
        "a = tyro.cli(A)\nprint(json.dumps([a.data, a.n]))\n"
    )

    assert project.receives(script, "data=d", "n=2") == ["d", 2]


SIMPLE = """
from dataclasses import dataclass
from simple_parsing import ArgumentParser, field, choice

@dataclass
class Optimizer:
    name: str = choice("sgd", "adam", default="sgd")
    momentum: float = 0.9

@dataclass
class Options:
    lr: float = field(default=0.1, help="rate")
    layers: list[int] = field(default_factory=lambda: [1, 2])
    amp: bool = False
    optimizer: Optimizer = field(default_factory=Optimizer)

parser = ArgumentParser()
parser.add_argument("--seed", type=int, default=0)
parser.add_arguments(Options, dest="options")
args = parser.parse_args()
"""


def test_dataclasses_of_simple_parsing_are_found(project: Project) -> None:
    found = project.detect(SIMPLE)

    assert found.kind == "dataclass"
    assert {flag.name: (flag.type, flag.default) for flag in found.flags} == {
        "seed": (FlagType.INT, 0),
        "lr": (FlagType.FLOAT, 0.1),
        "layers": (FlagType.INT, [1, 2]),
        "amp": (FlagType.BOOL, False),
        "name": (FlagType.STRING, "sgd"),
        "momentum": (FlagType.FLOAT, 0.9),
    }
    flags = {flag.name: flag for flag in found.flags}
    assert flags["lr"].help == "rate"
    assert flags["name"].choices == ("sgd", "adam")
    words = project.arguments(SIMPLE, "lr=0.2", "layers=3", "amp=no")
    assert words == ["--layers", "3", "--amp", "False", "--lr", "0.2"]


def test_simple_parsing_may_parse_a_dataclass_at_once(project: Project) -> None:
    script = (
        "import simple_parsing\nfrom dataclasses import dataclass\n"
        "@dataclass\nclass A:\n    x: int = 1\na = simple_parsing.parse(A)\n"
    )

    assert list(project.flags(script)) == ["x"]


HF = """
from dataclasses import dataclass, field
from typing import Optional
from transformers import HfArgumentParser, TrainingArguments

@dataclass
class ModelArguments:
    model_name: str = field(metadata={"help": "which model"})
    revision: Optional[str] = field(default="main")
    use_fast: bool = field(default=True)
    freeze: bool = False
    ks: list[int] = field(default_factory=lambda: [1, 5])

def main():
    parser = HfArgumentParser((ModelArguments, TrainingArguments))
    model_args, training_args = parser.parse_args_into_dataclasses()

if __name__ == "__main__":
    main()
"""


def test_dataclasses_of_transformers_are_found(project: Project) -> None:
    found = project.detect(HF)

    assert found.kind == "dataclass"
    assert found.open_ended
    assert [(flag.name, flag.default, flag.required) for flag in found.flags] == [
        ("model_name", None, True),
        ("revision", "main", False),
        ("use_fast", True, False),
        ("freeze", False, False),
        ("ks", [1, 5], False),
    ]
    assert found.flags[0].help == "which model"
    assert found.flags[2].binding == Option(
        option="--use_fast", action=Action.STORE, nargs="?", const=True
    )
    words = project.arguments(HF, "model_name=m", "use_fast=no", "learning_rate=0.1")
    assert words == ["--use_fast", "False", "--model_name", "m", "--learning_rate", "0.1"]
