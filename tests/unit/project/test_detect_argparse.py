"""Flags of argparse scripts: what is found agrees with what the scripts receive."""

from __future__ import annotations

import pytest

from reenact.errors import UsageError
from reenact.model.flags import Action, FlagType, Option, Positional, Subcommand
from unit.project.conftest import Project

PRINT = "import json; print(json.dumps(vars(args), default=str))\n"
HEAD = "import argparse, json, os\np = argparse.ArgumentParser()\n"
TAIL = "args = p.parse_args()\n" + PRINT

EVERYTHING = """
import argparse, os
from pathlib import Path

BATCH = 2 ** 5

def str2bool(text):
    return text.lower() in ("yes", "true", "1")

def make():
    p = argparse.ArgumentParser(description="everything")
    p.add_argument("data", type=Path, help="where the data is")
    p.add_argument("extra", nargs="*")
    p.add_argument("--learning-rate", "--lr", "-l", type=float, default=1 / 3,
                   help="step size, "
                        "%(default)s if not set")
    p.add_argument("--batch_size", type=int, default=BATCH)
    p.add_argument("-n", type=int, default=int(1e6))
    p.add_argument("--opt", choices=["sgd", "adam"], default="sgd")
    p.add_argument("--amp", action="store_true")
    p.add_argument("--no-cuda", dest="cuda", action="store_false")
    p.add_argument("--quick", action="store_const", const=7, default=1)
    p.add_argument("--pretrained", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--tag", action="append", default=[])
    p.add_argument("-v", "--verbose", action="count", default=0)
    p.add_argument("--layers", type=int, nargs="+", default=[64, 32])
    p.add_argument("--betas", type=float, nargs=2, default=(0.9, 0.999))
    p.add_argument("--flag", type=str2bool, default=False)
    p.add_argument("--really", type=bool, default=True)
    p.add_argument("--name", default=os.path.basename(__file__)[:-3])
    p.add_argument("--split", type=lambda s: s.split("+"))
    p.add_argument("--version", action="version", version="1")
    return p

if __name__ == "__main__":
    args = make().parse_args()
    import json
    print(json.dumps(vars(args), default=str))
"""


def test_every_kind_of_argument_is_found(project: Project) -> None:
    found = project.detect(EVERYTHING)

    assert found.kind == "argparse"
    assert not found.open_ended
    assert found.remarks == ()
    assert {flag.name: (flag.type.value, flag.default) for flag in found.flags} == {
        "data": ("path", None),
        "extra": ("string", None),
        "learning-rate": ("float", 1 / 3),
        "batch_size": ("int", 32),
        "n": ("int", 1000000),
        "opt": ("string", "sgd"),
        "amp": ("bool", False),
        "cuda": ("bool", True),
        "quick": ("any", 1),
        "pretrained": ("bool", True),
        "tag": ("any", []),
        "verbose": ("int", 0),
        "layers": ("int", [64, 32]),
        "betas": ("float", [0.9, 0.999]),
        "flag": ("string", False),
        "really": ("bool", True),
        "name": ("string", "train"),
        "split": ("string", None),
    }


def test_details_of_an_option_are_found(project: Project) -> None:
    flag = project.flags(EVERYTHING)["learning-rate"]

    assert flag.binding == Option(option="--learning-rate", aliases=("--lr", "-l"))
    assert flag.aliases == ("learning_rate", "lr", "l")
    assert flag.help == f"step size, {1 / 3} if not set"
    assert flag.found == "train.py:14"


def test_a_script_run_without_flags_has_the_defaults_that_were_found(project: Project) -> None:
    received = project.receives(EVERYTHING, "data=d")

    flags = project.flags(EVERYTHING)
    for flag in flags.values():
        dest = flag.name.replace("-", "_")
        if flag.name not in ("data", "extra"):
            assert received[dest] == flag.default, flag.name
    assert received["data"] == "d"


def test_every_kind_of_argument_arrives(project: Project) -> None:
    received = project.receives(
        EVERYTHING,
        "data=in dir",
        "extra=a b",
        "lr=-1e-5",
        "batch-size=8",
        "n=-3",
        "opt=adam",
        "amp=yes",
        "cuda=no",
        "quick=7",
        "pretrained=no",
        "tag=[x, -y]",
        "verbose=2",
        "layers=1",
        "betas=[-1e-9, 0.5]",
        "flag=yes",
        "really=no",
        "name=--odd",
        "split=a+b",
    )

    assert received == {
        "data": "in dir",
        "extra": ["a", "b"],
        "learning_rate": -1e-5,
        "batch_size": 8,
        "n": -3,
        "opt": "adam",
        "amp": True,
        "cuda": False,
        "quick": 7,
        "pretrained": False,
        "tag": ["x", "-y"],
        "verbose": 2,
        "layers": [1],
        "betas": [-1e-9, 0.5],
        "flag": True,
        "really": False,
        "name": "--odd",
        "split": ["a", "b"],
    }


def test_the_command_line_can_be_pasted(project: Project) -> None:
    words = project.arguments(EVERYTHING, "data=d", "lr=0.1", "layers=1 2", "amp=on", "tag=a b")

    assert words == [
        *("d", "--layers", "1", "2", "--learning-rate", "0.1", "--amp", "--tag", "a", "--tag", "b"),
    ]


SUBCOMMANDS = (
    HEAD
    + """
p.add_argument("--seed", type=int, default=0)
sub = p.add_subparsers(dest="mode", required=True, help="what to do")
common = argparse.ArgumentParser(add_help=False)
common.add_argument("--gpu", type=int, default=-1)
t = sub.add_parser("train", parents=[common])
t.add_argument("data")
t.add_argument("--lr", type=float, default=0.1)
t.set_defaults(lr=0.2)
e = sub.add_parser("eval", parents=[common])
e.add_argument("--k", type=int, default=5)
"""
    + TAIL
)


def test_flags_of_subcommands_are_found_and_clashes_get_a_prefix(project: Project) -> None:
    flags = project.flags(SUBCOMMANDS)

    assert list(flags) == ["seed", "mode", "train.gpu", "data", "lr", "eval.gpu", "k"]
    assert flags["mode"].binding == Subcommand()
    assert flags["mode"].choices == ("train", "eval")
    assert flags["mode"].required
    assert flags["lr"].default == 0.2
    assert flags["lr"].binding == Option(option="--lr", subcommand=("train",))
    assert flags["data"].binding == Positional(index=0, subcommand=("train",))


def test_flags_of_a_subcommand_arrive(project: Project) -> None:
    settings = ("seed=3", "mode=train", "data=-d", "lr=0.5", "train.gpu=1")

    received = project.receives(SUBCOMMANDS, *settings)

    assert received == {"seed": 3, "mode": "train", "gpu": 1, "data": "-d", "lr": 0.5}
    assert project.receives(SUBCOMMANDS, "mode=eval", "k=7")["k"] == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("seed=1",), "the subcommand is missing: set flag `mode`"),
        (("mode=train",), "flag `data` is required"),
        (("mode=eval", "lr=1"), "flag `lr` belongs to the subcommand `train`"),
    ],
)
def test_what_is_missing_or_misplaced_is_named(
    project: Project, settings: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        project.arguments(SUBCOMMANDS, *settings)

    assert caught.value.message == message


@pytest.mark.parametrize(
    ("declaration", "setting", "message"),
    [
        ("'--x', required=True", None, "flag `x` is required"),
        ("'--x', type=int", "x=null", None),
        ("'--x', action='store_true', default=True", "x=no", "flag `x` is always true"),
        ("'-v', action='count', default=1", "v=0", "flag `v` counts from 1, not `0`"),
    ],
)
def test_what_the_command_line_cannot_say_is_refused(
    project: Project, declaration: str, setting: str | None, message: str | None
) -> None:
    script = f"{HEAD}p.add_argument({declaration})\n{TAIL}"
    settings = [setting] if setting else []

    if message is None:
        assert project.arguments(script, *settings) == []
        return
    with pytest.raises(UsageError) as caught:
        project.arguments(script, *settings)
    assert caught.value.message.startswith(message)


def test_positionals_are_filled_in_up_to_the_last_one_given(project: Project) -> None:
    script = (
        HEAD + "p.add_argument('a', nargs='?', default='x', type=str)\n"
        "p.add_argument('b', nargs='?', type=int, default=2)\n"
        "p.add_argument('c', nargs='?', default=None)\n" + TAIL
    )

    assert project.receives(script, "b=5") == {"a": "x", "b": 5, "c": None}
    assert project.arguments(script) == []


def test_a_positional_that_begins_with_a_dash_stands_behind_two(project: Project) -> None:
    script = HEAD + "p.add_argument('a')\np.add_argument('--n', nargs='*', type=int)\n" + TAIL

    assert project.receives(script, "a=-x", "n=1 2") == {"a": "-x", "n": [1, 2]}


IN_A_CLASS = """
import argparse
class Options:
    def __init__(self):
        self.parser = argparse.ArgumentParser()
        self.initialized = False
    def initialize(self):
        group = self.parser.add_argument_group("training")
        group.add_argument("--lr", type=float, default=0.1)
        exclusive = self.parser.add_mutually_exclusive_group(required=True)
        exclusive.add_argument("--train", action="store_true")
        exclusive.add_argument("--test", action="store_true")
    def parse(self):
        if not self.initialized:
            self.initialize()
        return self.parser.parse_args()
class TrainOptions(Options):
    def initialize(self):
        Options.initialize(self)
        self.parser.add_argument("--epochs", type=int, default=3)
if __name__ == "__main__":
    opt = TrainOptions().parse()
"""
SUBCLASS = """
from argparse import ArgumentParser
class Parser(ArgumentParser):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.add_argument("--lr", type=float, default=0.1)
    def full(self):
        self.add_argument("--epochs", type=int, default=3)
        return self.parse_args()
def main():
    Parser(description="x").full()
main()
"""
CALLED_BY_OTHERS = """
import argparse, torch.multiprocessing as mp
def add_common(parser, default):
    parser.add_argument("--lr", type=float, default=default)
    return parser
def worker(rank):
    parser = add_common(argparse.ArgumentParser(), default=0.1)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
if __name__ == "__main__":
    mp.spawn(worker, nprocs=4)
"""
NEVER_SEEN_CALLED = """
import argparse
def main(argv=None):
    parser = argparse.ArgumentParser()
    for name, default in (("lr", 0.1), ("epochs", 3)):
        parser.add_argument("--" + name, type=type(default), default=default)
    args = parser.parse_args(argv)
"""
BY_OTHER_NAMES = """
from argparse import ArgumentParser as AP, BooleanOptionalAction as Yes
def build():
    p = AP()
    p.add_argument("-lr", type=float, default=0.1)
    sub = p.add_subparsers(dest="cmd")
    sub.add_parser("clean")
    t = sub.add_parser("train")
    group = t.add_argument_group()
    group.add_argument("--epochs", type=int, default=3)
    return p
p = build()
p.parse_args()
"""
LOOPED = """
import argparse
DEFAULTS = dict(lr=0.1, epochs=3)
parser = argparse.ArgumentParser()
for key, value in DEFAULTS.items():
    parser.add_argument(f"--{key}", default=value)
options = [("--batch", {"type": int, "default": 8})]
for names, kw in options:
    parser.add_argument(*[names], **kw)
args = parser.parse_args()
"""


@pytest.mark.parametrize(
    ("script", "names"),
    [
        (IN_A_CLASS, ["lr", "train", "test", "epochs"]),
        (SUBCLASS, ["lr", "epochs"]),
        (CALLED_BY_OTHERS, ["lr", "epochs"]),
        (NEVER_SEEN_CALLED, ["lr", "epochs"]),
        (BY_OTHER_NAMES, ["lr", "cmd", "epochs"]),
        (LOOPED, ["lr", "epochs", "batch"]),
    ],
    ids=["class", "subclass", "callback", "uncalled", "names", "loop"],
)
def test_a_parser_is_found_however_it_is_built(
    project: Project, script: str, names: list[str]
) -> None:
    found = project.detect(script)

    assert [flag.name for flag in found.flags] == names
    assert (found.flags[0].default, found.flags[-1].default) in ((0.1, 3), (0.1, 8))
    assert not found.open_ended


def test_only_one_of_two_exclusive_options_is_required_by_the_group(project: Project) -> None:
    assert not any(flag.required for flag in project.flags(IN_A_CLASS).values())


@pytest.mark.parametrize(
    ("files", "script"),
    [
        ({"options.py": "parser"}, "from options import get_parser\nget_parser().parse_args()"),
        ({"cfg/options.py": "parser"}, "import cfg.options as o\no.get_parser().parse_args()"),
        ({"cfg/options.py": "parser"}, "import cfg.options\ncfg.options.get_parser().parse_args()"),
        ({"cfg/__init__.py": "parser"}, "import cfg\nargs = cfg.get_parser().parse_args()"),
        (
            {"cfg/options.py": "parser"},
            "from cfg import options\noptions.get_parser().parse_args()",
        ),
        ({"src/lib/opt.py": "parser"}, "from lib.opt import get_parser\nget_parser().parse_args()"),
        (
            {"options.py": "parser", "cli.py": "from options import *\n"},
            "from cli import get_parser as g\ng().parse_args()",
        ),
        (
            {"options.py": "parser", "cli.py": "import options\nimport train\n"},
            "import cli\nargs = cli.options.get_parser().parse_args()",
        ),
        (
            {"options.py": "parser"},
            "def main():\n    from options import get_parser\n    get_parser().parse_args()\nmain()",
        ),
        (
            {
                "config.py": "parser",
                "more.py": "from config import get_parser\nget_parser().parse_args()",
            },
            "from more import args",
        ),
    ],
)
def test_a_parser_in_another_module_is_found(
    project: Project, files: dict[str, str], script: str
) -> None:
    parser = (
        "import argparse\nfrom constants import LR\n"
        "def get_parser():\n    p = argparse.ArgumentParser()\n"
        "    p.add_argument('--lr', type=float, default=LR)\n    return p\n"
    )
    project.write("constants.py", "LR = 10 ** -3\n")
    for name, content in files.items():
        project.write(name, parser if content == "parser" else content)

    found = project.detect(script)

    assert [(flag.name, flag.default) for flag in found.flags] == [("lr", 0.001)]
    assert found.flags[0].found is not None
    assert not found.flags[0].found.startswith("train.py")


def test_relative_imports_are_followed_within_a_package(project: Project) -> None:
    project.write("pkg/__init__.py", "")
    project.write("pkg/sub/__init__.py", "")
    project.write(
        "pkg/options.py",
        "import argparse\ndef parse():\n    p = argparse.ArgumentParser()\n"
        "    p.add_argument('--lr', default=0.1)\n    return p.parse_args()\n",
    )

    script = "from ..options import parse\nargs = parse()\n"
    found = project.detect(script, "pkg/sub/train.py", module="pkg.sub.train")

    assert [flag.name for flag in found.flags] == ["lr"]


def test_the_parser_of_an_imported_scripts_own_main_does_not_count(project: Project) -> None:
    project.write(
        "model.py",
        "import argparse\nclass Net: pass\n"
        "if __name__ == '__main__':\n    p = argparse.ArgumentParser()\n"
        "    p.add_argument('--size')\n    p.parse_args()\n",
    )

    found = project.detect("from model import Net\nlr = 0.1\n")

    assert (found.kind, [flag.name for flag in found.flags]) == ("globals", ["lr"])


def test_a_parser_that_is_never_used_does_not_count(project: Project) -> None:
    project.write("tool.py", "import argparse\ndef make():\n    return argparse.ArgumentParser()\n")

    found = project.detect("from tool import make\nhelp_text = make().format_help()\nlr = 0.1\n")

    assert found.kind == "globals"


def test_words_given_to_parse_args_are_not_the_command_line(project: Project) -> None:
    script = HEAD + "p.add_argument('--lr')\nargs = p.parse_args([])\nlr = 0.1\n"

    assert project.detect(script).kind == "globals"


@pytest.mark.parametrize(
    "script",
    [
        HEAD + "p.add_argument('--lr')\nargs, rest = p.parse_known_args()\n",
        HEAD + "import pl\np.add_argument('--lr')\np = pl.Trainer.add_args(p)\np.parse_args()\n",
        HEAD.replace("()", "(parents=[lib.p])") + "p.add_argument('--lr')\nargs = p.parse_args()\n",
        HEAD + "p.add_argument('--lr')\np.add_argument(*make())\nargs = p.parse_args()\n",
    ],
)
def test_what_cannot_be_found_out_leaves_the_script_open_ended(
    project: Project, script: str
) -> None:
    found = project.detect(script)

    assert [flag.name for flag in found.flags] == ["lr"]
    assert found.open_ended
    assert found.remarks or "known" in script


def test_a_first_parser_for_the_config_file_is_joined_with_the_second(project: Project) -> None:
    script = (
        "import argparse\n"
        "first = argparse.ArgumentParser(add_help=False)\n"
        "first.add_argument('-c', '--config', default='')\n"
        "p = argparse.ArgumentParser()\np.add_argument('--lr', type=float, default=0.1)\n"
        "known, rest = first.parse_known_args()\nargs = p.parse_args(rest)\n"
    )

    found = project.detect(script)

    assert [flag.name for flag in found.flags] == ["config", "lr"]
    assert not found.open_ended


@pytest.mark.parametrize(
    ("default", "value", "source"),
    [
        ("os.path.join('a', 'b')", "a/b", None),
        ("os.path.basename(__file__)", "train.py", None),
        ("[2 ** i for i in range(3)]", [1, 2, 4], None),
        ("'a' 'b'", "ab", None),
        ("f'{1 + 1}x'", "2x", None),
        ("'1,2'.split(',')", ["1", "2"], None),
        ("float('inf')", float("inf"), None),
        ("max(1, 2)", 2, None),
        ("argparse.SUPPRESS", None, None),
        ("os.getcwd()", None, "os.getcwd()"),
        ("os.cpu_count() // 2", None, "os.cpu_count() // 2"),
        ("os.path.dirname(__file__)", None, "os.path.dirname(__file__)"),
        ("10 ** 10 ** 10", None, "10 ** 10 ** 10"),
        ("'x' * 10 ** 9", None, "'x' * 10 ** 9"),
        ("DEVICE", None, "DEVICE"),
        ("SAME", 5, None),
    ],
)
def test_defaults_are_worked_out_or_quoted(
    project: Project, default: str, value: object, source: str | None
) -> None:
    script = (
        HEAD + "if os.environ.get('X'):\n    DEVICE = 'a'; SAME = 5\n"
        "else:\n    DEVICE = 'b'; SAME = 5\n" + f"p.add_argument('--x', default={default})\n" + TAIL
    )

    flag = project.flags(script)["x"]

    assert (flag.default, flag.default_source) == (value, source)


@pytest.mark.parametrize(
    ("declaration", "kind"),
    [
        ("type=int", FlagType.INT),
        ("type=float", FlagType.FLOAT),
        ("type=str", FlagType.STRING),
        ("type=pathlib.Path", FlagType.PATH),
        ("type=argparse.FileType('r')", FlagType.PATH),
        ("type=json.loads", FlagType.STRING),
        ("default=3", FlagType.ANY),
        ("default='a'", FlagType.STRING),
        ("", FlagType.STRING),
    ],
)
def test_types_are_those_that_the_script_declares(
    project: Project, declaration: str, kind: FlagType
) -> None:
    script = f"import pathlib\n{HEAD}p.add_argument('--x', {declaration})\n{TAIL}"

    assert project.flags(script)["x"].type is kind


@pytest.mark.parametrize(
    ("choices", "found"),
    [
        ("('a', 'b')", ("a", "b")),
        ("range(3)", (0, 1, 2)),
        ("TABLE", ("x", "y")),
        ("TABLE.keys()", ("x", "y")),
        ("list(TABLE)", ("x", "y")),
        ("[m.value for m in Mode]", ("fast", "slow")),
        ("list(Mode)", ("fast", "slow")),
        ("sorted(n for n in models.__dict__)", None),
    ],
)
def test_choices_are_found(
    project: Project, choices: str, found: tuple[object, ...] | None
) -> None:
    script = (
        "import enum\nfrom torchvision import models\nTABLE = {'x': 1, 'y': 2}\n"
        "class Mode(enum.Enum):\n    FAST = 'fast'\n    SLOW = 'slow'\n"
        f"{HEAD}p.add_argument('--x', choices={choices})\n{TAIL}"
    )

    assert project.flags(script)["x"].choices == found


def test_a_pair_of_switches_becomes_one_flag(project: Project) -> None:
    script = (
        HEAD + "p.add_argument('--feature', action='store_true')\n"
        "p.add_argument('--no-feature', dest='feature', action='store_false')\n"
        "p.set_defaults(feature=True)\n" + TAIL
    )

    flag = project.flags(script)["feature"]

    assert flag.default is True
    assert flag.binding == Option(option="--feature", action=Action.PAIR, negative="--no-feature")
    assert project.receives(script, "feature=no") == {"feature": False}


def test_other_prefixes_than_a_dash_are_understood(project: Project) -> None:
    script = (
        "import argparse\np = argparse.ArgumentParser(prefix_chars='-+')\n"
        "p.add_argument('++lr', type=float)\np.add_argument('-n')\n" + TAIL
    )

    assert project.receives(script, "lr=0.5", "n=x") == {"lr": 0.5, "n": "x"}


def test_branches_that_are_known_are_not_both_taken(project: Project) -> None:
    script = (
        HEAD + "def build(p, full=False):\n"
        "    if full:\n        p.add_argument('--much')\n"
        "    else:\n        p.add_argument('--little')\n"
        "build(p)\n" + TAIL
    )

    assert list(project.flags(script)) == ["little"]


def test_alternatives_that_are_unknown_are_both_kept(project: Project) -> None:
    script = (
        HEAD + "if os.environ.get('X'):\n    p.add_argument('--a', type=int, default=1)\n"
        "else:\n    p.add_argument('--b', type=int, default=2)\n" + TAIL
    )

    assert list(project.flags(script)) == ["a", "b"]


PAIRS = """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--pair", action="append", nargs=2, default=[["x", "1.0"]])
parser.add_argument("--size", action="append", nargs=2, type=int)
parser.add_argument("--group", action="append", nargs="+", type=float, default=[])
parser.add_argument("--note", action="append", nargs="?", const="!")
print(json.dumps(vars(parser.parse_args())))
"""


def test_an_option_that_takes_several_values_each_time_has_lists_of_lists(
    project: Project,
) -> None:
    flags = project.flags(PAIRS)

    assert {name: (flag.type.value, flag.default) for name, flag in flags.items()} == {
        "pair": ("string", [["x", "1.0"]]),
        "size": ("int", None),
        "group": ("float", []),
        "note": ("string", None),
    }


def test_lists_of_lists_arrive_as_they_are(project: Project) -> None:
    received = project.receives(
        PAIRS, "pair=[[lr, 1.10], [a b, yes]]", "size=[[-1, 2], [3, 4]]", "group=[[1.5], [2, 3]]",
        "note=[a, b]",
    )  # fmt: skip

    assert received == {
        # argparse adds to the default.
        "pair": [["x", "1.0"], ["lr", "1.10"], ["a b", "yes"]],
        "size": [[-1, 2], [3, 4]],
        "group": [[1.5], [2.0, 3.0]],
        "note": ["a", "b"],
    }


def test_one_list_is_one_occurrence(project: Project) -> None:
    assert project.arguments(PAIRS, "size=[1, 2]", "group=1 2") == [
        *("--group", "1.0", "2.0", "--size", "1", "2"),
    ]
