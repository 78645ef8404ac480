from __future__ import annotations

import pytest

from reenact.project.composition import Leaf, Loaded, compose, leaves, read_config, resolved
from reenact.project.file.yaml import YamlError


def configs(**contents: str) -> dict[str, Loaded]:
    """Return configurations by path; two underscores stand for a slash."""
    return {
        (path := name.replace("__", "/")): read_config(text.encode(), f"conf/{path}.yaml")
        for name, text in contents.items()
    }


def test_values_know_where_they_are_written() -> None:
    known = configs(config="defaults: [db: mysql]\na: 1\nb:\n  c: 2\n", db__mysql="host: m\n")
    found = compose(known.get, "config", {})
    assert dict(leaves(found.tree)) == {
        "db.host": Leaf("m", "conf/db/mysql.yaml:1"),
        "a": Leaf(1, "conf/config.yaml:2"),
        "b.c": Leaf(2, "conf/config.yaml:4"),
    }
    assert found.groups["db"].choice == "mysql"
    assert found.missing == ()


def test_what_the_user_chose_counts_more() -> None:
    known = configs(
        config="defaults: [server: one, override server/db: pg]\n",
        server__one="defaults: [db: mysql]\n",
        server__db__mysql="host: m\n",
        server__db__pg="host: p\n",
        server__db__lite="file: f\n",
    )
    assert dict(leaves(compose(known.get, "config", {}).tree))["server.db.host"].value == "p"
    chosen = compose(known.get, "config", {"server/db": "lite"})
    assert list(dict(leaves(chosen.tree))) == ["server.db.file"]


def test_what_is_missing_is_said_and_the_rest_is_there() -> None:
    known = configs(config="defaults: [db: gone, nothing, optional x: y, _self_]\na: 1\n")
    found = compose(known.get, "config", {})
    assert found.missing == ("db/gone", "nothing")
    assert list(found.tree) == ["a"]


def test_configurations_that_include_each_other_come_to_an_end() -> None:
    known = configs(config="defaults: [other]\na: 1\n", other="defaults: [config]\nb: 2\n")
    assert compose(known.get, "config", {}).missing


def test_references_to_values_are_followed_and_others_stay() -> None:
    tree = read_config(
        b"a: 1\nb: ${a}\nc: ${b}\nd: x ${a}\ne: ${now:%Y}\nf: ${f}\ng: ${gone}\n", "c.yaml"
    ).tree
    values = {name: resolved(tree, leaf.value) for name, leaf in leaves(tree)}
    assert values == {
        "a": 1,
        "b": 1,
        "c": 1,
        "d": "x ${a}",
        "e": "${now:%Y}",
        "f": "${f}",
        "g": "${gone}",
    }


def test_plain_values_are_those_of_yaml_1_1() -> None:
    text = b"a: yes\nb: Off\nc: 'yes'\nd: 017\ne: 0o17\nf: 1_000\ng: 1e-4\nh: y\n"
    tree = read_config(text, "c.yaml").tree
    assert [leaf.value for _, leaf in leaves(tree)] == [
        True, False, "yes", 15, "0o17", 1000, 1e-4, "y",
    ]  # fmt: skip


def test_the_package_of_a_header_is_found_among_comments() -> None:
    assert read_config(b"# about\n\n#  @package a.b\nx: 1\n", "c.yaml").package == "a.b"
    assert read_config(b"x: 1\n# @package a.b\n", "c.yaml").package is None
    assert read_config(b"", "c.yaml") == Loaded({}, [], None)


def test_what_is_no_yaml_is_said_with_its_line() -> None:
    with pytest.raises(YamlError, match=r"c\.yaml:2: "):
        read_config(b"a: 1\na: 2\n", "c.yaml")
