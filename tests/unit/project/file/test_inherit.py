"""What models inherit, include and fill in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reenact.project.file.find import check_project
from reenact.project.file.model import LoadedProject, OperationDef

Load = Callable[[str], LoadedProject]
Complaints = Callable[[str], list[str]]


def operation(project: LoadedProject, name: str) -> OperationDef:
    found = project.content.find_operation(name)
    assert found is not None
    return found


def defaults(found: OperationDef) -> dict[str, object]:
    return {flag.name: flag.default for flag in found.flags}


def complaints_in(directory: Path, **env: str) -> list[str]:
    return [str(finding) for finding in check_project(f"{directory}/reenact.yml", env).findings]


def test_a_model_has_what_its_parents_say_and_it_does_not(load: Load) -> None:
    project = load("""\
        - config: first
          operations:
            train:
              main: first
              flags:
                lr: {description: Rate, default: 0.1}
                epochs: 1
        - config: second
          description: The second
          operations:
            train: {main: second, label: from-second}
            test: test
        - model: m
          extends: [first, second]
          operations:
            train:
              flags: {lr: 1e-3}
        """)
    train = operation(project, "m:train")

    assert (train.main, train.label) == ("first", "from-second")
    assert defaults(train) == {"lr": 1e-3, "epochs": 1}
    assert train.flags[0].description == "Rate"
    assert operation(project, "m:test").main == "test"
    assert project.content.models[0].description == "The second"


def test_a_parent_may_be_a_model_and_have_parents(load: Load) -> None:
    project = load("""\
        - config: a
          operations: {x: from-a}
        - model: b
          extends: a
          operations: {y: from-b}
        - model: c
          extends: b
        """)

    assert [op.full_name for op in project.content.operations] == ["b:y", "b:x", "c:y", "c:x"]
    assert operation(project, "c:x").place.line == 2


def test_params_fill_texts_and_keep_their_types(load: Load) -> None:
    project = load("""\
        - config: base
          params: {name: cnn, size: 10, rate: 1e-4, list: [1, 2], whole: '{{name}}-{{size}}'}
          operations:
            train:
              main: 'train_{{name}} --size {{ size }}'
              label: '{{whole}}'
              flags:
                lr: '{{rate}}'
                sizes: '{{list}}'
                kept: '${name}'
        - model: a
          extends: base
        - model: b
          extends: base
          params: {name: mlp}
        """)
    a, b = operation(project, "a:train"), operation(project, "b:train")

    assert (a.main, a.label) == ("train_cnn --size 10", "cnn-10")
    assert (b.main, b.label) == ("train_mlp --size 10", "mlp-10")
    assert defaults(a) == {"lr": 1e-4, "sizes": [1, 2], "kept": "${name}"}


def test_a_param_that_is_not_there_is_a_warning_with_its_line(complaints: Complaints) -> None:
    assert complaints("- model: a\n  params: {size: 1}\n  operations:\n    b: 'c {{sice}}'\n") == [
        "4: warning: there is no param `sice` (did you mean `size`?)"
    ]


def test_params_that_are_made_of_each_other_are_refused(complaints: Complaints) -> None:
    found = complaints("- model: a\n  params:\n    x: '{{y}}!'\n    y: 'a {{x}} {{x}}'\n")

    assert found == ["3: error: params are made of each other: x → y → x"]


def test_a_few_params_cannot_make_more_than_memory_holds(complaints: Complaints) -> None:
    lines = ["- model: a", "  params:", "    p0: xxxxxxxxxx"]
    lines += [f"    p{n}: '{{{{p{n - 1}}}}}{{{{p{n - 1}}}}}'" for n in range(1, 60)]

    found = complaints("\n".join(lines))

    assert found[0].endswith("error: param `p14` has more than 100,000 characters")


def test_parents_that_share_parents_are_looked_at_once(load: Load) -> None:
    lines = ["- config: c0", "  operations: {train: x}"]
    for n in range(1, 60):
        lines += [f"- config: c{n}", f"  extends: [c{n - 1}, c{n - 1}]"]
    lines += ["- model: m", "  extends: c59"]

    assert operation(load("\n".join(lines)), "m:train").main == "x"


def test_flags_are_included_by_name(load: Load) -> None:
    project = load("""\
        - config: common
          flags: {seed: 0, lr: {default: 0.1, description: Rate}, debug: no}
        - model: m
          operations:
            train:
              flags: {$include: 'common#seed,lr', epochs: 10}
            tune:
              flags: {$include: [common, 'm:train#epochs'], lr: 0.01}
        """)

    assert defaults(operation(project, "m:train")) == {"seed": 0, "lr": 0.1, "epochs": 10}
    tune = operation(project, "m:tune")
    assert defaults(tune) == {"seed": 0, "lr": 0.01, "debug": False, "epochs": 10}
    assert {flag.name: flag.description for flag in tune.flags}["lr"] == "Rate"


def test_operations_resources_and_flags_of_steps_are_included_too(load: Load) -> None:
    project = load("""\
        - config: shared
          operations: {prepare: prepare, clean: clean}
          resources: {data: [data.csv]}
          flags: {lr: 0.5}
        - operations:
            $include: shared#prepare
            train:
              requires: data
              flags: {lr: 1}
            all:
              steps:
                - {run: train, flags: {$include: shared, n: 2}}
          resources:
            $include: shared
        """)
    names = [op.name for op in project.content.operations]

    assert names == ["prepare", "train", "all"]
    assert operation(project, "train").requires[0].resource is not None
    steps = operation(project, "all").steps
    assert steps is not None
    assert steps[0].flags == {"lr": 0.5, "n": 2}


def test_the_model_without_a_name_can_be_included_from(load: Load) -> None:
    project = load("a:\n  flags: {x: 1}\nb:\n  flags: {$include: ':a'}\n")

    assert defaults(operation(project, "b")) == {"x": 1}


def test_defaults_fill_what_an_operation_leaves_out(load: Load) -> None:
    project = load("""\
        - model: m
          operation-defaults:
            compare: [loss]
            env: {A: 1, B: 2}
            flags: {seed: 1}
          operations:
            train: train
            test: {compare: acc, env: {A: 3}}
        """)
    train, test = operation(project, "m:train"), operation(project, "m:test")

    assert (train.compare, train.env, defaults(train)) == (
        ("loss",),
        {"A": "1", "B": "2"},
        {"seed": 1},
    )
    assert (test.compare, test.env) == (("acc",), {"A": "3"})


def test_names_that_mean_nothing_are_refused_with_the_nearest(complaints: Complaints) -> None:
    assert complaints("- config: base\n- model: m\n  extends: bas\n") == [
        "3: error: there is no model or config `bas` to extend (did you mean `base`?)"
    ]
    assert complaints(
        "- config: common\n- operations:\n    a:\n      flags: {$include: comon}\n"
    ) == ["4: error: there is no `comon` to include (did you mean `common`?)"]
    assert complaints(
        "- config: c\n  flags: {seed: 1}\n- operations:\n    a:\n      flags: {$include: c#sed}\n"
    ) == ["5: error: `c#sed` has no `sed` (did you mean `seed`?)"]
    assert complaints("- model: m\n  extends: pkg/base\n") == [
        "2: error: there is no package `pkg` here, to extend `pkg/base`"
    ]


def test_models_that_extend_each_other_are_refused(complaints: Complaints) -> None:
    found = complaints(
        "- model: a\n  extends: b\n- model: b\n  extends: c\n- config: c\n  extends: a\n"
    )

    assert found[-1] == "6: error: models extend each other: a → b → c → a"
    assert all("extend each other" in line for line in found)


def test_sections_that_include_each_other_end(load: Load) -> None:
    project = load("""\
        - model: m
          operations:
            a: {flags: {$include: 'm:b', x: 1}}
            b: {flags: {$include: 'm:a', y: 2}}
        """)

    assert defaults(operation(project, "m:a")) == {"x": 1, "y": 2}
    assert defaults(operation(project, "m:b")) == {"x": 1, "y": 2}


def test_files_are_included_in_their_place(project: Path, load: Load) -> None:
    (project / "shared").mkdir()
    (project / "shared" / "base.yml").write_text(
        "- config: base\n  operations:\n    train: {requires: [{file: data.csv}]}\n"
    )
    (project / "more").mkdir()
    (project / "more" / "guild.yml").write_text("- model: last\n  extends: base\n")

    loaded = load("- include: shared/base.yml\n- model: first\n  extends: base\n- include: more\n")

    assert [model.name for model in loaded.content.models] == ["first", "last"]
    train = operation(loaded, "first:train")
    assert str(train.place) == "shared/base.yml:3"
    resource = train.requires[0].resource
    assert resource is not None
    assert resource.sources[0].base == "."
    assert loaded.files == ("reenact.yml", "shared/base.yml", "more/guild.yml")


def test_files_that_include_each_other_are_refused(project: Path) -> None:
    (project / "reenact.yml").write_text("- include: a.yml\n")
    (project / "a.yml").write_text("\n- include: [b.yml]\n")
    (project / "b.yml").write_text("- include: a.yml\n")

    assert complaints_in(project) == ["b.yml:1: files include each other: a.yml → b.yml → a.yml"]


def test_a_file_that_is_not_there_or_wrong_is_refused_at_its_place(project: Path) -> None:
    (project / "reenact.yml").write_text("- include: missing.yml\n- include: wrong.yml\n")
    (project / "wrong.yml").write_text("- model: a\n  operations:\n    b: {c: 'd}\n")

    assert complaints_in(project) == [
        "reenact.yml:1: there is neither a file nor a package `missing.yml` to include",
        "wrong.yml:4: the quote of line 3 is never closed",
    ]


def test_models_of_a_package_can_be_extended_and_keep_their_directory(
    project: Path, tmp_path: Path
) -> None:
    library = tmp_path / "library" / "flowers" / "models"
    library.mkdir(parents=True)
    (library / "guild.yml").write_text(
        "- config: flags\n  flags: {seed: 7}\n"
        "- model: base\n  resources: {data: [iris.csv]}\n"
        "  operations:\n    train: {requires: data, flags: {$include: flags}}\n"
    )
    (project / "reenact.yml").write_text("- model: mine\n  extends: flowers.models/base\n")

    checked = check_project(f"{project}/reenact.yml", {"PYTHONPATH": str(tmp_path / "library")})

    assert checked.findings == ()
    assert checked.project is not None
    train = operation(checked.project, "mine:train")
    assert defaults(train) == {"seed": 7}
    assert train.base == str(library)
    resource = train.requires[0].resource
    assert resource is not None
    assert resource.sources[0].base == str(library)


def test_a_directory_of_the_project_is_a_package_too(project: Path) -> None:
    (project / "pkg").mkdir()
    (project / "pkg" / "guild.yml").write_text("- config: b\n  operations: {op: main}\n")
    (project / "reenact.yml").write_text(
        "- model: m\n  extends: pkg/b\n- model: n\n  extends: pkg/c\n"
    )

    assert complaints_in(project) == [
        "reenact.yml:4: package `pkg` has no model or config `c`, to extend `pkg/c`"
    ]
