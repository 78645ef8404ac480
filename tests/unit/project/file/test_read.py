"""What project files say, attribute by attribute."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.project.file import keys
from reenact.project.file.find import Checked, check_project
from reenact.project.file.model import (
    FlagDef,
    FlagsImport,
    FlagsKind,
    LoadedProject,
    Objective,
    OperationDef,
    Place,
    Rename,
    Select,
    SourceKind,
    StepDef,
)

Check = Callable[[str], Checked]
Load = Callable[[str], LoadedProject]
Complaints = Callable[[str], list[str]]


def only(project: LoadedProject) -> OperationDef:
    (operation,) = project.content.operations
    return operation


def flag_of(load: Load, text: str) -> FlagDef:
    (flag,) = only(load(f"train:\n  flags:\n    f: {text}\n")).flags
    return flag


def test_a_text_is_the_main_of_an_operation_and_nothing_is_its_name(load: Load) -> None:
    project = load("train: pkg.train --fast\nclean-up:\n")

    assert [(op.name, op.main) for op in project.content.operations] == [
        ("train", "pkg.train --fast"),
        ("clean-up", "clean_up"),
    ]


def test_everything_knows_its_line(load: Load) -> None:
    operation = only(
        load("""\
        # a comment
        train:
          flags:
            lr:
              choices: [1,
                2]
          requires:
            - file: a
          steps:
            - other
        """)
    )

    assert operation.place == Place("reenact.yml", 2)
    assert operation.flags[0].place == Place("reenact.yml", 4)
    assert [choice.place.line for choice in operation.flags[0].choices or ()] == [5, 6]
    assert operation.requires[0].place == Place("reenact.yml", 8)
    assert operation.steps is not None
    assert operation.steps[0].place == Place("reenact.yml", 10)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-4", 1e-4), ("10", 10), ("yes", True), ("Off", False), ("'yes'", "yes"), ("text", "text"),
        ("[1, no, a]", [1, False, "a"]), ("uniform[0:1]", "uniform[0:1]"), ("1.10", 1.1),
    ],
)  # fmt: skip
def test_a_value_alone_is_a_flag_s_default(load: Load, written: str, value: object) -> None:
    flag = flag_of(load, written)

    assert flag.default == value
    assert type(flag.default) is type(value)
    assert flag.has_default


def test_null_is_a_default_and_no_default_is_not(load: Load) -> None:
    assert flag_of(load, "null").has_default
    assert flag_of(load, "{default: null}").has_default
    assert not flag_of(load, "{description: x}").has_default


def test_all_attributes_of_a_flag_are_read(load: Load) -> None:
    flag = flag_of(
        load,
        "{default: 1, description: d, type: number, required: no, alias: [g, h], allow-other: on,"
        " choices: [1, {value: 2, description: two, alias: zwei, flags: {other: 3}}],"
        " arg-name: a.b, arg-skip: yes, arg-switch: off, arg-split: ',', arg-encoding: {yes: 1},"
        " env-name: F, env-encoding: {no: ''}, null-label: none, min: 0, max: 1.5,"
        " distribution: log-uniform, nb-replace: 'f = (.*)'}",
    )

    assert (flag.description, flag.type, flag.required) == ("d", "number", False)
    assert (flag.aliases, flag.allow_other) == (("g", "h"), True)
    assert flag.choices is not None
    assert [c.value for c in flag.choices] == [1, 2]
    assert (flag.choices[1].description, flag.choices[1].alias) == ("two", "zwei")
    assert flag.choices[1].flags == {"other": 3}
    assert (flag.arg_name, flag.arg_skip, flag.arg_switch, flag.arg_split) == (
        "a.b",
        True,
        False,
        ",",
    )
    assert [(e.value, e.passed) for e in flag.arg_encoding] == [(True, 1)]
    assert [(e.value, e.passed) for e in flag.env_encoding] == [(False, "")]
    assert (flag.env_name, flag.null_label, flag.nb_replace) == ("F", "none", "f = (.*)")
    assert (flag.min, flag.max, flag.distribution) == (0, 1.5, "log-uniform")


@pytest.mark.parametrize(
    ("written", "split"), [("yes", "shlex"), ("shlex", "shlex"), ("no", None), ("';'", ";")]
)
def test_arguments_are_split_as_told(load: Load, written: str, split: str | None) -> None:
    assert flag_of(load, f"{{arg-split: {written}}}").arg_split == split


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("yes", (FlagsImport.ALL, ())),
        ("all", (FlagsImport.ALL, ())),
        ("no", (FlagsImport.NONE, ())),
        ("[]", (FlagsImport.NONE, ())),
        ("[lr, epochs]", (FlagsImport.LISTED, ("lr", "epochs"))),
        ("lr", (FlagsImport.LISTED, ("lr",))),
    ],
)
def test_flags_import_says_which_flags_come_from_the_script(
    load: Load, written: str, expected: tuple[FlagsImport, tuple[str, ...]]
) -> None:
    operation = only(load(f"train:\n  flags-import: {written}\n  flags-import-skip: debug\n"))

    assert (operation.flags_import, operation.flags_import_names) == expected
    assert operation.flags_import_skip == ("debug",)


def test_unless_told_otherwise_described_flags_are_imported_or_all_if_none_is(load: Load) -> None:
    project = load("bare: train\nnamed:\n  flags: {lr: 1}\nnull:\n  flags-import: null\n")

    assert [op.flags_import for op in project.content.operations] == [
        FlagsImport.ALL, FlagsImport.DEFINED, FlagsImport.DEFINED,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "kind", "name"),
    [
        ("args", FlagsKind.ARGS, None),
        ("args:click", FlagsKind.ARGS, "click"),
        ("args:pkg.cli:main", FlagsKind.ARGS, "pkg.cli:main"),
        ("globals", FlagsKind.GLOBALS, None),
        ("global:params", FlagsKind.GLOBAL, "params"),
        ("dict:params", FlagsKind.GLOBAL, "params"),
        ("namespace:p", FlagsKind.NAMESPACE, "p"),
        ("config:a/b.toml", FlagsKind.CONFIG, "a/b.toml"),
        ("none", FlagsKind.NONE, None),
        ("no", FlagsKind.NONE, None),
        ("off", FlagsKind.NONE, None),
    ],
)
def test_flags_dest_says_where_flags_go(
    load: Load, written: str, kind: FlagsKind, name: str | None
) -> None:
    dest = only(load(f"train:\n  flags-dest: {written}\n")).flags_dest

    assert dest is not None
    assert (dest.kind, dest.name) == (kind, name)


def test_what_runs_is_read(load: Load) -> None:
    project = load("""\
        a:
          exec: Rscript a.R ${flag_args}
        b:
          notebook: b.ipynb
        c:
          main: c
          python: python3.12
          python-path: [src, lib]
          python-requires: '>=3.9'
          env: {A: 1, B: 'yes', C: null, D: '${lr}'}
          env-secrets: TOKEN
          label: lr=${lr}
          tags: small
          run-attrs: {set: iris, n: 3}
          compare: [=lr, loss as l]
          default-max-trials: 7
          stoppable: yes
          delete-on-success: yes
          can-stage-trials: yes
          default: yes
          description: |
            Long

            and longer
        """)
    a, b, c = project.content.operations

    assert (a.exec, a.main) == ("Rscript a.R ${flag_args}", None)
    assert (b.notebook, b.main) == ("b.ipynb", None)
    assert (c.python, c.python_path, c.python_requires) == ("python3.12", ("src", "lib"), ">=3.9")
    assert c.env == {"A": "1", "B": "yes", "C": "", "D": "${lr}"}
    assert (c.env_secrets, c.label, c.tags) == (("TOKEN",), "lr=${lr}", ("small",))
    assert c.run_attrs == {"set": "iris", "n": 3}
    assert (c.compare, c.default_max_trials) == (("=lr", "loss as l"), 7)
    assert c.stoppable
    assert c.delete_on_success
    assert c.can_stage_trials
    assert c.default
    assert c.description == "Long\n\nand longer"


def test_the_default_operation_is_the_marked_or_the_only_public_one(load: Load) -> None:
    marked = load("a: x\nb: {main: x, default: yes}\n").content
    single = load("a: x\n_b: x\n").content
    unclear = load("a: x\nb: x\n").content

    assert marked.default_operation is not None
    assert marked.default_operation.name == "b"
    assert single.default_operation is not None
    assert single.default_operation.name == "a"
    assert unclear.default_operation is None


def test_operations_are_found_by_name_and_by_model(load: Load) -> None:
    content = load("""\
        - model: one
          operations: {train: a, only-one: a}
        - model: two
          operations: {train: b}
        """).content

    def main_of(name: str) -> str | None:
        found = content.find_operation(name)
        return None if found is None else found.main

    assert [main_of(n) for n in ("one:train", "two:train", "two:", "only-one")] == [
        "a",
        "b",
        "b",
        "a",
    ]
    assert [main_of(n) for n in ("train", "three:train", "one:", "one:nothing")] == [None] * 4


def test_a_source_in_place_is_a_resource_of_its_own(load: Load) -> None:
    operation = only(
        load(r"""
        train:
          requires:
            - file: data.csv
              target-path: data
              rename: 'data\.csv other.csv'
            - url: https://example.org/a.zip
              sha256: 3552534A0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
              name: a
              unpack: no
        """)
    )
    first, second = (required.resource for required in operation.requires)

    assert first is not None
    assert second is not None
    (file,), (url,) = first.sources, second.sources
    assert (file.kind, file.spec, file.name) == (SourceKind.FILE, "data.csv", "file:data.csv")
    assert (file.target_path, file.rename) == ("data", (Rename(r"data\.csv", "other.csv"),))
    assert (second.name, url.name, url.unpack) == ("a", "a", False)
    assert url.sha256 == "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"


def test_what_a_resource_says_is_filled_in_at_its_sources(load: Load) -> None:
    project = load("""\
        - resources:
            data:
              path: data
              target-type: link
              default-unpack: no
              private: yes
              sources:
                - a.csv
                - {file: b.csv, path: other, target-type: copy, unpack: yes}
          operations:
            train: {requires: data}
            test: {requires: [{resource: data, description: why}]}
        """)
    (data,) = project.content.models[0].resources
    train, test = project.content.operations

    assert [(s.spec, s.target_path, s.target_type, s.unpack) for s in data.sources] == [
        ("a.csv", "data", "link", False),
        ("b.csv", "other", "copy", True),
    ]
    assert data.private
    assert train.requires[0].reference == "data"
    assert train.requires[0].resource == data
    assert (test.requires[0].resource, test.requires[0].description) == (data, "why")


def test_files_of_a_source_are_selected_and_renamed(load: Load) -> None:
    operation = only(
        load(r"""
        train:
          requires:
            operation: prepare,other
            select: [a, b]
            select-min: 'loss-(.*)'
            select-max: 'step-(\d+)'
            rename:
              - {pattern: '(.+)\.txt', repl: '\1.csv'}
              - '\.bin '''''
              - new
        """)
    )
    resource = operation.requires[0].resource
    assert resource is not None
    (source,) = resource.sources

    assert source.select == (
        Select(pattern="a"), Select(pattern="b"),
        Select(pattern="loss-(.*)", reduce="min"), Select(pattern=r"step-(\d+)", reduce="max"),
    )  # fmt: skip
    assert source.rename == (
        Rename(r"(.+)\.txt", r"\1.csv"),
        Rename(r"\.bin", ""),
        Rename(".*", "new"),
    )


def test_an_operation_or_a_resource_of_another_model_can_be_required(load: Load) -> None:
    project = load("""\
        - model: data
          resources: {iris: [iris.csv]}
          operations: {prepare: prepare}
        - model: cnn
          operations:
            train: {requires: [data:iris, data:prepare]}
            test: {requires: train}
            later: {requires: ['package/data', 'data-${name}']}
        """)
    train, test, later = project.content.models[1].operations

    kinds = [required.resource.sources[0].kind for required in train.requires if required.resource]
    assert kinds == [SourceKind.FILE, SourceKind.OPERATION]
    assert test.requires[0].resource is not None
    assert test.requires[0].resource.sources[0].spec == "train"
    assert [required.resource for required in later.requires] == [None, None]


def rules_of(load: Load, written: str) -> list[tuple[bool, tuple[str, ...], str | None]]:
    rules = only(load(f"train:\n  sourcecode: {written}\n")).sourcecode
    assert rules is not None
    return [(rule.is_include, rule.patterns, rule.type) for rule in rules.rules]


def test_patterns_alone_choose_those_files_and_rules_change_the_usual_ones(load: Load) -> None:
    assert rules_of(load, "'*.py'") == [(False, ("*",), None), (True, ("*.py",), None)]
    assert rules_of(load, "[a, b]") == [
        (False, ("*",), None), (True, ("a",), None), (True, ("b",), None),
    ]  # fmt: skip
    assert rules_of(load, "[a, exclude: {dir: [d, e]}, include: {text: t}]") == [
        (True, ("a",), None), (False, ("d", "e"), "dir"), (True, ("t",), "text"),
    ]  # fmt: skip
    assert rules_of(load, "{exclude: x}") == [(False, ("x",), None)]


def test_source_files_can_be_elsewhere_or_none(load: Load) -> None:
    off = only(load("train:\n  sourcecode: no\n")).sourcecode
    elsewhere = only(
        load("train:\n  sourcecode: {root: ../lib, select: '*.py', dest: src, digest: no}\n")
    ).sourcecode

    assert off is not None
    assert off.is_off
    assert elsewhere is not None
    assert (elsewhere.root, elsewhere.dest, elsewhere.digest) == ("../lib", "src", False)
    assert len(elsewhere.rules) == 2


def test_the_rules_of_a_model_come_before_those_of_its_operations(load: Load) -> None:
    project = load("""\
        - model: m
          sourcecode: {root: src, select: [exclude: a]}
          operations:
            plain: x
            own: {sourcecode: [exclude: b]}
            none: {sourcecode: no}
        """)
    plain, own, none = (op.sourcecode for op in project.content.operations)

    assert plain is not None
    assert own is not None
    assert none is not None
    assert [rule.patterns for rule in plain.rules] == [("a",)]
    assert [rule.patterns for rule in own.rules] == [("a",), ("b",)]
    assert own.root == "src"
    assert none.is_off


def test_metrics_are_found_by_patterns(load: Load) -> None:
    project = load(r"""
        a:
          output-scalars: {step: 'step (\step)', loss: 'loss (\value)'}
        b:
          output-scalars: '(\key)=(\value)'
        c:
          output-scalars: ['(?P<loss>\value)', {acc: 'acc (.*)'}]
          output-attrs: {device: 'on (.*)'}
        d:
          output-scalars: no
        e:
        """)
    a, b, c, d, e = (op.output_scalars for op in project.content.operations)

    assert a is not None
    assert b is not None
    assert c is not None
    assert d is not None
    assert a.step is not None
    assert [(p.name, p.pattern) for p in a.patterns] == [("loss", r"loss (\value)")]
    assert [(p.name, p.pattern) for p in b.patterns] == [(None, r"(\key)=(\value)")]
    assert [p.name for p in c.patterns] == [None, "acc"]
    assert d.patterns == ()
    assert e is None
    assert project.content.operations[2].output_attrs is not None


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("loss", [("minimize", "loss")]),
        ("-acc", [("maximize", "acc")]),
        ("{maximize: [acc, f1], minimize: loss}", [("minimize", "loss"), ("maximize", "acc"), ("maximize", "f1")]),
        ("[loss, {maximize: acc}]", [("minimize", "loss"), ("maximize", "acc")]),
    ],
)  # fmt: skip
def test_a_search_aims_at_objectives(
    load: Load, written: str, expected: list[tuple[str, str]]
) -> None:
    operation = only(load(f"train:\n  objective: {written}\n"))

    assert operation.objectives == tuple(Objective(*pair) for pair in expected)


def test_optimizers_have_names_algorithms_and_settings(check: Check) -> None:
    def optimizers(written: str) -> list[tuple[str, str, bool, dict[str, object]]]:
        project = check(f"train:\n  {written}\n").project
        assert project is not None
        found = only(project).optimizers
        return [(o.name, o.algorithm, o.default, dict(o.flags)) for o in found]

    assert optimizers("optimizer: gp") == [("gp", "gp", True, {})]
    assert optimizers("optimizer: {algorithm: gp, noise: 0.1}") == [
        ("gp", "gp", True, {"noise": 0.1})
    ]
    assert optimizers("optimizers: [gp, random]") == [
        ("gp", "gp", False, {}), ("random", "random", False, {}),
    ]  # fmt: skip
    assert optimizers("optimizers: {a: gp, b: {algorithm: tune, default: yes, x: 1}, gp: {}}") == [
        ("a", "gp", False, {}), ("b", "tune", True, {"x": 1}), ("gp", "gp", False, {}),
    ]  # fmt: skip


def test_settings_of_an_optimizer_are_its_flags_but_for_the_number_of_trials(
    check: Check, complaints: Complaints
) -> None:
    text = """\
        train:
          optimizers:
            o:
              algorithm: random
              max-trials: 2
              xi: 0.1
        """

    project = check(text).project

    assert project is not None
    found = only(project).optimizers[0]
    assert (found.trials, found.flags) == (2, {"xi": 0.1})
    assert complaints(text) == []
    assert complaints("train:\n  optimizer: {algorithm: random, trials: many}\n") == [
        "2: error: `trials` of an optimizer takes a number, not `many`"
    ]


def steps_of(load: Load, text: str) -> tuple[StepDef, ...]:
    steps = load(text).content.operations[-1].steps
    assert steps is not None
    return steps


def test_a_step_can_be_a_command_line(load: Load) -> None:
    (step,) = steps_of(
        load,
        "all:\n  steps:\n    - train lr=[0.1,0.2] msg='a b' @trials.csv --needed -l first -t x"
        " --tag=y -m 5 --stop-after 2 -N loss --no-gpus -y\n",
    )

    assert (step.name, step.run) == ("train", "train")
    assert step.settings == {"lr": "[0.1,0.2]", "msg": "a b"}
    assert step.batch_files == ("trials.csv",)
    assert (step.needed, step.label, step.tags) == (True, "first", ("x", "y"))
    assert (step.max_trials, step.stop_after_s, step.gpus) == (5, 120.0, "")
    assert step.objectives == (Objective("minimize", "loss"),)


def test_attributes_of_a_step_count_more_than_its_command_line(load: Load) -> None:
    (step,) = steps_of(
        load,
        "all:\n  steps:\n    - run: train lr=1 --label a -m 3\n      label: b\n"
        "      flags: {lr: 2, mode: yes}\n      isolate-runs: no\n      max-trials: 4\n"
        "      expect: [{file: x, contains: y}, {output: z}]\n",
    )

    assert (step.label, step.max_trials, step.isolate_runs) == ("b", 4, False)
    assert (step.flags, step.settings) == ({"lr": 2, "mode": True}, {"lr": "1"})
    assert [(e.file, e.contains, e.output) for e in step.expect] == [
        ("x", "y", None),
        (None, None, "z"),
    ]


def test_steps_of_one_operation_are_numbered(load: Load) -> None:
    steps = steps_of(
        load, "all:\n  steps: [a, a, {run: a, name: b}, m:a, {run: a, needs: [a_2, b]}]\n"
    )

    assert [step.name for step in steps] == ["a", "a_2", "b", "m:a", "a_3"]
    assert steps[-1].needs == ("a_2", "b")


def test_a_package_is_read(load: Load) -> None:
    package = load(
        "- package: flowers\n  version: 1.10\n  author-email: a@b.c\n  data-files: '*.csv'\n"
        "  requires: [numpy]\n  packages: {flowers: src}\n"
    ).content.package

    assert package is not None
    assert (package.name, package.version, package.author_email) == ("flowers", "1.10", "a@b.c")
    assert (package.data_files, package.requires) == (("*.csv",), ("numpy",))
    assert package.packages == {"flowers": "src"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hello\n", "1: error: a project file is a mapping of operations or a list, not `hello`"),
        ("- hello\n", "1: error: an item of the list is a mapping, not `hello`"),
        ("- modle: a\n", "1: error: an item has one of `model`, `config`, `package`, `include`, `claims` (did you mean `model`?)"),
        ("- model: a\n  config: b\n", "2: error: an item is one of `model` and `config`, not both"),
        ("- model: a\n- model: a\n", "2: error: a second model `a`; the first stands in reenact.yml:1"),
        ("- package: a\n- package: b\n", "2: error: a second package; the first stands in reenact.yml:1"),
        ("model: a\noperations: {b: c}\n", "1: error: `model` and `operations` stand in an item of a list (write `- model: …`, and indent the rest)"),
        ("a: [b]\n", "1: error: operation `a` takes a text or a mapping, not a list"),
        ("a: yes\n", "1: error: operation `a` takes a text or a mapping, not `yes`"),
        ("a b: c\n", "1: error: `a b` cannot be the name of an operation (leave out blanks and `: / = @`, and a dash at the beginning)"),
        ("a: {mian: b}\n", "1: warning: operation `a` has no attribute `mian` (did you mean `main`?)"),
        ("a: {main: b, exec: c}\n", "1: error: operation `a` has both `main` and `exec`"),
        ("a: {main: \"b 'c\"}\n", "1: error: a quote is not closed in `b 'c`"),
        ("a:\n  main: b\n  pip-freeze: no\n", "3: note: `pip-freeze` has no effect: packages are always recorded"),
        ("a: {default: maybe}\n", "1: error: `default` of operation `a` takes yes or no, not `maybe`"),
        ("a: {default-max-trials: -1}\n", "1: error: `default-max-trials` of operation `a` takes a whole number, not `-1`"),
        ("a: {flags: [b]}\n", "1: error: `flags` takes a mapping, not a list"),
        ("a: {flags: {f: {typ: int}}}\n", "1: warning: flag `f` of operation `a` has no attribute `typ` (did you mean `type`?)"),
        ("a: {flags: {f: {min: 2, max: 1}}}\n", "1: error: `min` of flag `f` of operation `a` is larger than `max`"),
        ("a: {flags: {f: {max: x}}}\n", "1: error: `max` of flag `f` of operation `a` takes a number, not `x`"),
        ("a: {flags: {f: {choices: b}}}\n", "1: error: `choices` of flag `f` of operation `a` takes a list, not `b`"),
        ("a: {flags: {f: {choices: [{alias: b}]}}}\n", "1: error: a choice of flag `f` of operation `a` has no `value`"),
        ("a: {flags: {f: {choices: [cnn, mlp], default: cn}}}\n", "1: warning: the default of flag `f` of operation `a` is none of its choices: `cn` (did you mean `cnn`?)"),
        ("a: {flags: {f: 1, g: {alias: f}}}\n", "1: error: `f` is both a flag and an alias of `g`"),
        ("a: {flags: {$dest: globals, f: 1}}\n", "1: note: `$dest` is an old way to write `flags-dest`"),
        ("a: {exec: x, flags-dest: arg}\n", "1: warning: `flags-dest` of operation `a` cannot be `arg` (did you mean `args`?)"),
        ("a: {flags-dest: arg}\n", "1: error: `flags-dest` of operation `a` cannot be `arg` (did you mean `args`?)"),
        ("a: {flags-dest: global}\n", "1: error: `global` needs a name: `global:NAME`"),
        ("a: {flags-dest: c.yml}\n", "1: error: `flags-dest` of operation `a` cannot be `c.yml` (a config file is written `config:c.yml`)"),
        ("a: {requires: dat}\ndata: b\n", "1: error: operation `a` requires `dat`, which is neither a resource nor an operation (did you mean `data`?)"),
        ("a: {requires: [{fiel: b}]}\n", "1: error: a source of `requires` has none of `file`, `url`, `module`, `config`, `operation`, `dvcfile`, `dvcstage` (did you mean `file`?)"),
        ("a: {requires: [{file: b, url: c}]}\n", "1: error: a source of `requires` has more than one of `file`, `url`"),
        ("a: {requires: [{file: b, sha256: c}]}\n", "1: error: `c` is no SHA-256 digest: it has 64 hexadecimal digits"),
        ("a: {requires: [{file: b, select: '('}]}\n", "1: error: `(` is no regular expression: missing ), unterminated subpattern at position 0"),
        ("a: {requires: [{file: b, select-max: c}]}\n", "1: error: `select-max` needs a group around the number: `c`"),
        ("a: {requires: [{file: b, rename: 'c d e'}]}\n", "1: error: `rename` of a source of `requires` takes `PATTERN REPLACEMENT`, or a mapping of `pattern` and `repl`, not `c d e`"),
        ("a: {requires: [{file: b, target-type: move}]}\n", "1: error: `target-type` of a source of `requires` takes one of `copy`, `link`, not `move`"),
        ("- resources: {r: {file: a}}\n", "1: error: resource `r` has no `sources` (write `sources:`, and below it `- file: …`)"),
        ("a: {sourcecode: [{include: b, exclude: c}]}\n", "1: error: a rule in `sourcecode` of operation `a` has one of `include` and `exclude`"),
        ("a: {sourcecode: [{include: {dri: b}}]}\n", "1: error: `include` takes patterns, or one of `dir`, `text`, `binary`, not `dri` (did you mean `dir`?)"),
        ("a: {output-scalars: 'loss: \\value'}\n", "1: warning: the pattern `loss: \\value` has no group: it finds nothing"),
        ("a: {output-scalars: '(\\value)'}\n", "1: warning: the pattern `(\\value)` has no name: it needs two groups, for key and value, or named ones"),
        ("a: {optimizer: gp, optimizers: [gp]}\n", "1: error: operation `a` has both `optimizer` and `optimizers`"),
        ("a: {steps: 5}\n", "1: error: `steps` of operation `a` takes a list, not `5`"),
        ("a: {steps: []}\n", "1: error: `steps` of operation `a` has no steps"),
        ("a: {steps: [{name: b}]}\n", "1: error: a step of operation `a` has no `run`"),
        ("a: {steps: [b c]}\n", "1: error: `c` is no setting: write `NAME=VALUE`"),
        ("a: {steps: [b --neded]}\n", "1: warning: option `--neded` of a step of operation `a` is not known (did you mean `--needed`?)"),
        ("a: {steps: [b --run-dir /tmp c=1]}\n", "1: warning: option `--run-dir` of a step of operation `a` is not known"),
        ("a:\n  steps:\n    - run: b\n      needs: train\n", "3: error: step `b` needs `train`, which is no step of operation `a`"),
        ("a:\n  steps:\n    - {run: b, needs: c}\n    - {run: c, needs: b}\n", "3: error: steps wait for each other: b → c → b"),
        ("a: {steps: [{run: b, expect: [{contains: c}]}]}\n", "1: error: `expect` of a step of operation `a` has one of `file` and `output`"),
        ("a:\n  b: 1\n  b: 2\n", "3: error: duplicate key `b`, first in line 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(complaints: Complaints, text: str, expected: str) -> None:
    assert complaints(text) == [expected]


def test_everything_that_is_wrong_is_said_at_once(complaints: Complaints) -> None:
    found = complaints("""\
        a: {mian: x}
        b:
          flags: {f: {type: flot}}
          requires: nothing
        """)

    assert [line.partition(":")[0] for line in found] == ["1", "3", "4"]


def test_attributes_that_are_inherited_are_complained_of_once(complaints: Complaints) -> None:
    found = complaints("""\
        - config: base
          operations: {train: {mian: x}}
        - model: a
          extends: base
        - model: b
          extends: base
        """)

    assert len(found) == 1


SHAPES = {
    name: sorted(table)
    for name, table in vars(keys).items()
    if name.endswith("_KEYS") and isinstance(table, dict)
}
WORDS = [*sorted({key for table in SHAPES.values() for key in table}), "a", "b", "$include", "loss"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["a", "b c", "(", "a#b", "{{a}}"])
)
trees = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=25,
)


@given(tree=trees)
def test_whatever_is_in_a_file_is_answered_with_findings(
    tmp_path_factory: pytest.TempPathFactory, tree: object
) -> None:
    import msgspec

    path = tmp_path_factory.mktemp("any") / "reenact.yml"
    for content in (tree, [{"model": "a", "operations": tree, "params": {"a": tree}}], {"a": tree}):
        path.write_bytes(msgspec.json.encode(content))

        checked = check_project(str(path), {})

        errors = [f for f in checked.findings if f.level == "error"]
        if checked.project is None:
            assert errors
        else:
            assert {f for own in checked.project.broken.values() for f in own} <= set(errors)
        assert all(re.fullmatch(r"\S.*", f.message, re.DOTALL) for f in checked.findings)
