"""Files of trials, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.errors import BadFlagValue, ReenactError, UnknownFlag, UsageError
from reenact.model.flags import Flag, FlagSet, FlagType, FlagValue, Option
from reenact.search.trial_files import format_trials, read_trials
from reenact.search.trials import Trial, plan_trials
from reenact.search.values import Sequence, Single

FLAGS = FlagSet(
    kind="argparse",
    flags=(
        Flag(name="lr", binding=Option(option="--lr"), type=FlagType.FLOAT, aliases=("rate",)),
        Flag(name="epochs", binding=Option(option="--epochs"), type=FlagType.INT),
        Flag(name="name", binding=Option(option="--name"), type=FlagType.STRING),
        Flag(name="layers", binding=Option(option="--layers"), type=FlagType.LIST),
    ),
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(name: str, text: str, flags: FlagSet | None = None) -> list[dict[str, FlagValue]]:
    Path(name).write_text(text, encoding="utf-8", newline="")
    return [trial.settings for trial in plan_trials({}, rows=read_trials([name], flags))]


@pytest.mark.usefixtures("here")
def test_csv_has_a_trial_in_every_row() -> None:
    text = "lr, opt ,note\n0.1,adam,\n\n,sgd,\"a, b\"\n1e-3,null,'1'\n"

    assert read("t.csv", text) == [
        {"lr": 0.1, "opt": "adam"},
        {"opt": "sgd", "note": "a, b"},
        {"lr": 0.001, "opt": None, "note": "1"},
    ]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("text", "trials"),
    [
        ("lr,opt\n,\n1,\n", [{}, {"lr": 1}]),
        ("lr,opt\n\n , \n", [{}]),
        ("lr\n  \n1\n\n", [{"lr": 1}]),
        ('lr\n""\n1\n', [{}, {"lr": 1}]),
    ],
)
def test_a_row_of_empty_cells_is_a_trial_and_a_blank_line_is_none(
    text: str, trials: list[dict[str, FlagValue]]
) -> None:
    assert read("t.csv", text) == trials


@pytest.mark.usefixtures("here")
def test_csv_of_other_programs_is_read() -> None:
    assert read("t.csv", "\ufefflr,epochs,\r\n1,2,\r\n3,4,\r\n") == [
        {"lr": 1, "epochs": 2},
        {"lr": 3, "epochs": 4},
    ]


@pytest.mark.usefixtures("here")
def test_cells_are_read_as_the_flags_want_them() -> None:
    text = "rate,epochs,name,layers\n1,3,1.10,\"[64, 32]\"\n2,4,'1.10',[8]\n3,5,'',\n"

    assert read("t.csv", text, FLAGS) == [
        {"lr": 1.0, "epochs": 3, "name": "1.10", "layers": [64, 32]},
        {"lr": 2.0, "epochs": 4, "name": "1.10", "layers": [8]},
        {"lr": 3.0, "epochs": 5, "name": ""},
    ]


@pytest.mark.usefixtures("here")
def test_json_is_a_list_or_one_mapping() -> None:
    assert read("t.json", '[{"lr": 0.1, "opt": "adam"}, {"lr": 1}]') == [
        {"lr": 0.1, "opt": "adam"},
        {"lr": 1},
    ]
    assert read("t.json", '\n {"lr": [0.1, 1], "opt": "adam"} ') == [
        {"lr": 0.1, "opt": "adam"},
        {"lr": 1, "opt": "adam"},
    ]


@pytest.mark.usefixtures("here")
def test_yaml_is_a_list_or_one_mapping() -> None:
    assert read("t.yaml", "- lr: 1e-4\n  opt: adam\n- {lr: 1, opt: '1'}\n") == [
        {"lr": 1e-4, "opt": "adam"},
        {"lr": 1, "opt": "1"},
    ]
    assert read("t.yml", "lr: [0.1, 1]\nseed: range[1:2]\n") == [
        {"lr": 0.1, "seed": 1},
        {"lr": 0.1, "seed": 2},
        {"lr": 1, "seed": 1},
        {"lr": 1, "seed": 2},
    ]


@pytest.mark.usefixtures("here")
def test_several_values_in_a_row_stand_for_their_product() -> None:
    assert read("t.json", '[{"x": [1, 2]}, {"x": 3}]') == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert read("t.csv", 'x,y\n"[1, 2]",range[1:2]\n') == [
        {"x": 1, "y": 1},
        {"x": 1, "y": 2},
        {"x": 2, "y": 1},
        {"x": 2, "y": 2},
    ]


@pytest.mark.usefixtures("here")
def test_files_are_read_one_after_the_other() -> None:
    Path("a.csv").write_text("x\n1\n")
    Path("b.json").write_text('{"x": 2}')

    assert read_trials(["b.json", "a.csv"]) == [{"x": Single(2)}, {"x": Single(1)}]


@pytest.mark.usefixtures("here")
def test_a_list_of_a_list_flag_is_one_value() -> None:
    Path("t.yaml").write_text("layers: [64, 32]\nepochs: [1, 2]\n")

    assert read_trials(["t.yaml"], FLAGS) == [
        {"layers": Single([64, 32]), "epochs": Sequence((1, 2))}
    ]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "t.csv: there is no trial"),
        ("t.csv", "lr,epochs\n", "t.csv: there is no trial"),
        ("t.csv", "lr,epochs\n1,2\n1,2,3\n", "t.csv:3: 3 cells, but the header has 2"),
        ("t.csv", "lr,lr\n1,2\n", "t.csv:1: `lr` stands in the header twice"),
        ("t.csv", "lr,,epochs\n1,2,3\n", "t.csv:1: a column has no name"),
        ("t.csv", 'lr\n"a\nb"c\n', "t.csv:3: this is not CSV"),
        ("t.csv", 'name,epochs\n"a\n\nb",1\nx,y\n', "t.csv:5: flag `epochs` takes an integer"),
        ("t.csv", "lr\n0.1\nfast\n", "t.csv:3: flag `lr` takes a number, not `fast`"),
        ("t.csv", "lr,rate\n1,2\n", "t.csv:2: flag `lr` is set twice, the second time as `rate`"),
        ("t.csv", "lrr\n1\n", "t.csv:2: unknown flag `lrr`"),
        ("t.csv", "lr\n[0:1]\n", "t.csv:2: flag `lr`: `[0:1]` is a space"),
        ("t.json", "", "t.json: there is no trial"),
        ("t.json", "[]", "t.json: there is no trial"),
        ("t.json", '[\n{"lr": 1},\n{"lr": }]', "t.json:3: this is not JSON"),
        ("t.json", '[\n{"lr": 1}\n{"lr": 2}]', "t.json:3: this is not JSON"),
        ("t.json", '[\n{"lr": 1}', "t.json:2: this is not JSON: the list does not end"),
        ("t.json", '[{"lr": 1}]\n1', "t.json:2: this is not JSON: something follows"),
        ("t.json", '{"lr": 1} {}', "t.json:1: this is not JSON: something follows"),
        ("t.json", "[\n1]", "t.json:2: a trial maps flags to values"),
        ("t.json", '[{"lr": 1, "lr": 2}]', "t.json: `lr` stands twice in one trial"),
        ("t.json", '[{"lr": 1},\n {"lr": "fast"}]', "t.json:2: flag `lr` takes a number"),
        ("t.yaml", "# nothing\n", "t.yaml: there is no trial"),
        ("t.yaml", "- lr: 1\n- 3\n", "t.yaml:2: a trial maps flags to values"),
        ("t.yaml", "- lr: 1\n- lr: fast\n", "t.yaml:2: flag `lr` takes a number"),
        ("t.yaml", "lr: 1\nlr: 2\n", "t.yaml:2: "),
        ("t.yaml", "lr: [1\n", "t.yaml:"),
        ("t.txt", "lr\n1\n", "t.txt: trials are not read from files of this name"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_where_it_is(name: str, text: str, message: str) -> None:
    with pytest.raises(ReenactError) as caught:
        read(name, text, FLAGS)

    assert caught.value.message.startswith(message)
    assert caught.value.exit_status == 2


@pytest.mark.usefixtures("here")
def test_errors_keep_their_kind_and_hint() -> None:
    with pytest.raises(UnknownFlag) as unknown:
        read("t.csv", "epoch\n1\n", FLAGS)
    with pytest.raises(BadFlagValue):
        read("t.csv", "epochs\n1.5\n", FLAGS)

    assert unknown.value.hint == "did you mean `epochs`?"


def test_what_cannot_be_read_is_said(here: Path) -> None:
    (here / "latin.csv").write_bytes(b"name\nJos\xe9\n")

    with pytest.raises(UsageError, match=r"gone.csv: cannot be read: No such file"):
        read_trials(["gone.csv"])
    with pytest.raises(UsageError, match=r"latin.csv: this is not text in UTF-8"):
        read_trials(["latin.csv"])


@pytest.mark.usefixtures("here")
def test_forced_flags_and_values_pass() -> None:
    Path("t.csv").write_text("epochs,new\nmany,1\n")

    assert read_trials(["t.csv"], FLAGS, force=True) == [
        {"epochs": Single("many"), "new": Single(1)}
    ]


def test_saved_trials_are_readable() -> None:
    trials = [Trial(1, {"lr": 0.1, "opt": "adam"}), Trial(2, {"opt": None, "n": [1, 2], "s": "1"})]

    assert format_trials(trials) == "lr,opt,n,s\n0.1,adam,,\n,null,\"[[1, 2]]\",'1'\n"


FLAG_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["range[1:3]", "[1:2]", "[1, 2]", "[1]*3", "linspce[1:2]", "x,y", " a "]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["lr", "a b", 'quote"d', "x"]), FLAG_VALUES),
        min_size=1,
        max_size=5,
    ).filter(any)
)
def test_saved_trials_are_read_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, planned: list[dict[str, FlagValue]]
) -> None:
    path = tmp_path_factory.mktemp("trials") / "t.csv"
    text = format_trials([Trial(i, settings) for i, settings in enumerate(planned, 1)])
    path.write_text(text, encoding="utf-8", newline="")

    rows = read_trials([str(path)])

    again = [plan_trials({}, rows=[row])[0].settings for row in rows]
    assert [repr(sorted(a.items())) for a in again] == [repr(sorted(p.items())) for p in planned]


STRINGS = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(
    ["1.10", "yes", "null", "[1, 2]", "range[1:2]", "'", "''", '"']
)


@given(st.lists(STRINGS, min_size=1, max_size=5))
def test_saved_texts_of_text_flags_are_read_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("trials") / "t.csv"
    planned = format_trials([Trial(i, {"name": text}) for i, text in enumerate(texts, 1)])
    path.write_text(planned, encoding="utf-8", newline="")

    rows = read_trials([str(path)], FLAGS)

    assert [plan_trials({}, rows=[row])[0].settings["name"] for row in rows] == texts
