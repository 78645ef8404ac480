"""Flags of click, typer and absl scripts: what is found agrees with what the scripts receive."""

from __future__ import annotations

import pytest

from reenact.errors import UsageError
from reenact.model.flags import Action, FlagType, Option, Positional, Subcommand
from unit.project.conftest import Project

CLICK = '''
import click, json

@click.command(context_settings={"show_default": True})
@click.argument("data")
@click.argument("more", nargs=-1)
@click.option("--learning-rate", "-l", "lr", default=0.1, show_default=True, help="step size")
@click.option("-n", type=int, default=3, envvar="N")
@click.option("--shout/--no-shout", default=False)
@click.option("--debug", is_flag=True)
@click.option("--fast", "speed", flag_value="fast", default="slow")
@click.option("-v", "--verbose", count=True)
@click.option("--tag", multiple=True)
@click.option("--size", nargs=2, type=float, default=(1.0, 2.0))
@click.option("--opt", type=click.Choice(["sgd", "adam"]), default="sgd")
@click.option("--k", type=click.IntRange(1, 9), default=5)
@click.option("--out", type=click.Path(), default="out")
@click.option("--pair", type=(str, int), default=("a", 1))
@click.option("--level", required=True, type=click.INT)
@click.version_option("1.0")
def main(**kwargs):
    """Train."""
    print(json.dumps(kwargs))

if __name__ == "__main__":
    main()
'''


def test_every_kind_of_click_parameter_is_found(project: Project) -> None:
    found = project.detect(CLICK)

    assert found.kind == "click"
    assert {flag.name: (flag.type.value, flag.default) for flag in found.flags} == {
        "data": ("string", None),
        "more": ("string", None),
        "learning-rate": ("float", 0.1),
        "n": ("int", 3),
        "shout": ("bool", False),
        "debug": ("bool", False),
        "fast": ("string", "slow"),
        "verbose": ("int", 0),
        "tag": ("string", []),
        "size": ("float", [1.0, 2.0]),
        "opt": ("string", "sgd"),
        "k": ("int", 5),
        "out": ("path", "out"),
        "pair": ("any", ["a", 1]),
        "level": ("int", None),
    }
    assert [flag.name for flag in found.flags if flag.required] == ["data", "level"]


def test_every_kind_of_click_parameter_arrives(project: Project) -> None:
    received = project.receives(
        CLICK,
        "data=-d",
        "more=a b",
        "lr=-0.5",
        "n=-1",
        "shout=yes",
        "debug=yes",
        "verbose=2",
        "tag=x -y",
        "size=[-3, 4]",
        "opt=adam",
        "k=2",
        "out=o",
        "pair=[b, 7]",
        "level=1",
    )

    assert received == {
        "data": "-d",
        "more": ["a", "b"],
        "lr": -0.5,
        "n": -1,
        "shout": True,
        "debug": True,
        "speed": "slow",
        "verbose": 2,
        "tag": ["x", "-y"],
        "size": [-3.0, 4.0],
        "opt": "adam",
        "k": 2,
        "out": "o",
        "pair": ["b", 7],
        "level": 1,
    }
    assert project.receives(CLICK, "data=d", "level=1", "fast=fast", "shout=no")["speed"] == "fast"


CLICK_GROUP = """
import json
from click import group, option, argument, command

def common(function):
    function = option("--seed", type=int, default=0)(function)
    return function

@group()
@option("--quiet", is_flag=True)
def cli(quiet): ...

@cli.command("train-it")
@common
@option("--lr", default=0.1)
def train(**kwargs):
    print(json.dumps(kwargs))

@command()
@common
@argument("path", required=False)
def eval_command(**kwargs):
    print(json.dumps(kwargs))

cli.add_command(eval_command)

if __name__ == "__main__":
    cli(obj={})
"""


def test_click_groups_become_subcommands(project: Project) -> None:
    flags = project.flags(CLICK_GROUP)

    assert list(flags) == ["quiet", "command", "train-it.seed", "lr", "eval.seed", "path"]
    assert flags["command"].binding == Subcommand()
    assert flags["command"].choices == ("train-it", "eval")
    assert flags["path"].binding == Positional(index=0, nargs="?", subcommand=("eval",))
    assert project.arguments(CLICK_GROUP, "quiet=1", "command=eval", "eval.seed=4", "path=p") == [
        *("--quiet", "eval", "--seed", "4", "p"),
    ]
    received = project.receives(CLICK_GROUP, "command=train-it", "train-it.seed=2", "lr=3")
    assert received == {"seed": 2, "lr": 3.0}


def test_a_click_command_without_its_subcommand_is_refused(project: Project) -> None:
    with pytest.raises(UsageError, match="the subcommand is missing"):
        project.arguments(CLICK_GROUP, "quiet=1")


TYPER = '''
import json
from enum import Enum
from pathlib import Path
from typing import Annotated, List, Literal, Optional
import typer

class Opt(str, Enum):
    sgd = "sgd-1"
    adam = "adam-1"

def main(
    data: Path,
    learning_rate: float = 0.1,
    epochs: Annotated[int, typer.Option("--epochs", "-e", help="how long")] = 3,
    amp: bool = False,
    force: bool = typer.Option(False, "--force", help="overwrite"),
    color: bool = typer.Option(True, "--color/--plain"),
    opt: Opt = Opt.sgd,
    kind: Literal["a", "b"] = "a",
    name: Optional[str] = None,
    tags: List[str] = [],
    size: tuple[int, int] = (1, 2),
    extra: Annotated[Optional[str], typer.Argument()] = "x",
    seed: int = typer.Option(..., help="required"),
):
    """Train."""
    print(json.dumps(dict(locals()), default=lambda v: v.value if isinstance(v, Enum) else str(v)))

if __name__ == "__main__":
    typer.run(main)
'''


def test_every_kind_of_typer_parameter_is_found(project: Project) -> None:
    found = project.detect(TYPER)

    assert found.kind == "typer"
    assert {flag.name: (flag.type.value, flag.default) for flag in found.flags} == {
        "data": ("path", None),
        "learning_rate": ("float", 0.1),
        "epochs": ("int", 3),
        "amp": ("bool", False),
        "force": ("bool", False),
        "color": ("bool", True),
        "opt": ("string", "sgd-1"),
        "kind": ("string", "a"),
        "name": ("string", None),
        "tags": ("string", []),
        "size": ("int", [1, 2]),
        "extra": ("string", "x"),
        "seed": ("int", None),
    }
    flags = {flag.name: flag for flag in found.flags}
    assert flags["learning_rate"].binding == Option(option="--learning-rate")
    assert flags["learning_rate"].aliases == ("learning-rate",)
    assert flags["amp"].binding == Option(option="--amp", action=Action.PAIR, negative="--no-amp")
    assert flags["epochs"].help == "how long"
    assert flags["opt"].choices == ("sgd-1", "adam-1")
    assert flags["kind"].choices == ("a", "b")
    assert [flag.name for flag in found.flags if flag.required] == ["data", "seed"]


def test_every_kind_of_typer_parameter_arrives(project: Project) -> None:
    received = project.receives(
        TYPER,
        "data=d",
        "learning-rate=-1e-5",
        "epochs=7",
        "amp=yes",
        "force=yes",
        "color=no",
        "opt=adam-1",
        "kind=b",
        "name=-x",
        "tags=a b",
        "size=[-3, 4]",
        "extra=y",
        "seed=1",
    )

    assert received == {
        "data": "d",
        "learning_rate": -1e-5,
        "epochs": 7,
        "amp": True,
        "force": True,
        "color": False,
        "opt": "adam-1",
        "kind": "b",
        "name": "-x",
        "tags": ["a", "b"],
        "size": [-3, 4],
        "extra": "y",
        "seed": 1,
    }


TYPER_APP = """
import json, typer
app = typer.Typer()
data = typer.Typer(name="data")
app.add_typer(data)

@app.callback()
def top(quiet: bool = False): ...

@app.command()
def train_model(lr: float = 0.1):
    print(json.dumps(lr))

@data.command("fetch")
def fetch(ctx: typer.Context, url: str, n: int = 1):
    print(json.dumps([url, n]))

@data.command()
def clear(): ...

if __name__ == "__main__":
    app()
"""


def test_typer_applications_become_subcommands(project: Project) -> None:
    flags = project.flags(TYPER_APP)

    assert list(flags) == ["quiet", "data.command", "url", "n", "command", "lr"] or list(flags) == [
        *("quiet", "command", "data.command", "url", "n", "lr"),
    ]
    assert flags["command"].choices is not None
    assert set(flags["command"].choices) == {"train-model", "data"}
    assert project.receives(TYPER_APP, "quiet=yes", "command=train-model", "lr=2") == 2.0
    settings = ("command=data", "data.command=fetch", "url=u", "n=3")
    assert project.receives(TYPER_APP, *settings) == ["u", 3]


def test_a_typer_application_with_one_command_needs_no_subcommand(project: Project) -> None:
    script = (
        "import typer\napp = typer.Typer()\n"
        "@app.command()\ndef main(lr: float = 0.1):\n    print(lr)\n"
        "if __name__ == '__main__':\n    app()\n"
    )

    assert project.receives(script, "lr=0.5") == 0.5


ABSL = """
import enum, json
from absl import app, flags
class Mode(enum.Enum):
    FAST = 1
    SLOW = 2
FLAGS = flags.FLAGS
flags.DEFINE_integer("epochs", 3, "how long", lower_bound=1, short_name="e")
flags.DEFINE_float("lr", 0.1, "step size")
flags.DEFINE_string("name", None, "a name")
flags.DEFINE_bool("amp", False, "mixed")
flags.DEFINE_boolean("cuda", True, "gpu")
flags.DEFINE_enum("opt", "sgd", ["sgd", "adam"], "optimizer")
flags.DEFINE_enum_class("mode", Mode.FAST, Mode, "mode")
flags.DEFINE_list("layers", ["64", "32"], "layers")
flags.DEFINE_multi_integer("k", [1], "several")
flags.DEFINE_multi_string("tag", "x", "tags")
flags.DEFINE_alias("learning_rate", "lr")
flags.mark_flag_as_required("name")

def main(argv):
    names = "epochs lr name amp cuda opt layers k tag".split()
    print(json.dumps({**{n: FLAGS[n].value for n in names}, "mode": FLAGS.mode.name}))

if __name__ == "__main__":
    app.run(main)
"""


def test_every_kind_of_absl_flag_is_found(project: Project) -> None:
    found = project.detect(ABSL)

    assert found.kind == "absl"
    assert {flag.name: (flag.type.value, flag.default) for flag in found.flags} == {
        "epochs": ("int", 3),
        "lr": ("float", 0.1),
        "name": ("string", None),
        "amp": ("bool", False),
        "cuda": ("bool", True),
        "opt": ("string", "sgd"),
        "mode": ("string", "fast"),
        "layers": ("list", ["64", "32"]),
        "k": ("int", [1]),
        "tag": ("string", ["x"]),
    }
    flags = {flag.name: flag for flag in found.flags}
    assert flags["mode"].choices == ("fast", "slow")
    assert flags["name"].required
    assert flags["epochs"].help == "how long"


def test_every_kind_of_absl_flag_arrives(project: Project) -> None:
    received = project.receives(
        ABSL,
        "e=7",
        "learning_rate=-1e-5",
        "name=-n",
        "amp=yes",
        "cuda=no",
        "opt=adam",
        "mode=slow",
        "layers=[1, 'a,b']",
        "k=2 3",
        "tag=y z",
    )

    assert received == {
        "epochs": 7,
        "lr": -1e-5,
        "name": "-n",
        "amp": True,
        "cuda": False,
        "opt": "adam",
        "mode": "SLOW",
        "layers": ["1", "a,b"],
        "k": [2, 3],
        "tag": ["y", "z"],
    }


def test_absl_flags_of_imported_modules_are_found(project: Project) -> None:
    project.write("model.py", "from absl import flags\nflags.DEFINE_integer('width', 8, '')\n")

    found = project.detect(
        "from absl import app\nimport model\ndef main(_): pass\n"
        "if __name__ == '__main__':\n    app.run(main)\n"
    )

    assert [flag.name for flag in found.flags] == ["width"]


def test_flags_of_tensorflow_1_are_absls(project: Project) -> None:
    found = project.detect(
        "import tensorflow as tf\nflags = tf.app.flags\n"
        "flags.DEFINE_float('lr', 0.1, 'rate')\ntf.app.run()\n"
    )

    assert (found.kind, [flag.default for flag in found.flags]) == ("absl", [0.1])


@pytest.mark.parametrize(
    "script",
    [
        "import fire\ndef main(lr=0.1): ...\nfire.Fire(main)\n",
        "from lightning.pytorch.cli import LightningCLI\nLightningCLI()\n",
    ],
)
def test_other_frameworks_are_recognised_and_said(project: Project, script: str) -> None:
    found = project.detect("lr = 0.1\n" + script)

    assert found.kind == "none"
    assert found.open_ended
    assert len(found.remarks) == 1


def test_types_of_click_parameters_follow_their_defaults(project: Project) -> None:
    script = (
        "import click\n@click.command()\n@click.option('--x', default=[1, 2], multiple=True)\n"
        "@click.option('--y', default=None)\ndef main(x, y): ...\nmain()\n"
    )

    flags = project.flags(script)

    assert flags["x"].type is FlagType.INT
    assert flags["y"].type is FlagType.STRING
