from __future__ import annotations

import re
import shlex

import pytest

from reenact.interop.container import Copy, Execute, Recipe, apptainer, dockerfile


def recipe(**changes: object) -> Recipe:
    found = Recipe(
        base="python:3.11",
        notes=("first", "second\nline"),
        steps=(Copy("a b/", "/work/", is_users=True), Execute(("echo", 'say "$HOME"'))),
        variables={"PLAIN": "1", "ODD": 'a "b" $c \\d'},
        directory="/work/sub",
        command=("python", "/work/train.py", "it's"),
    )
    return found._replace(**changes)


class TestDockerfile:
    def test_words_are_executed_as_they_are(self) -> None:
        text = dockerfile(recipe())

        assert 'RUN ["echo", "say \\"$HOME\\""]' in text
        assert 'COPY --chown=runner ["a b/", "/work/"]' in text
        assert text.endswith('CMD ["python", "/work/train.py", "it\'s"]\n')

    def test_values_of_variables_are_quoted(self) -> None:
        text = dockerfile(recipe())

        assert "ENV PLAIN=1\n" in text
        assert 'ENV ODD="a \\"b\\" \\$c \\\\d"\n' in text

    def test_no_record_writes_an_instruction_of_its_own(self) -> None:
        text = dockerfile(recipe(base="python:3.11\nRUN evil", directory="/work/$HOME\nRUN evil"))

        assert "FROM python:3.11 RUN evil\n" in text
        assert "WORKDIR /work/\\$HOME RUN evil\n" in text
        assert "\nRUN evil" not in text

    def test_notes_are_comments(self) -> None:
        assert dockerfile(recipe()).startswith("# first\n# second line\nFROM python:3.11\n")

    def test_the_user_of_the_base_is_taken_where_it_has_one(self) -> None:
        text = dockerfile(recipe(has_user="mambauser"))

        assert "useradd" not in text
        assert "USER root\n" in text
        assert re.findall(r"^USER .*", text, re.MULTILINE)[-1] == "USER mambauser"


class TestApptainer:
    def test_the_command_works_in_a_copy(self) -> None:
        lines = apptainer(recipe()).splitlines()

        assert lines[-1].strip() == """exec python "$work"/train.py 'it'"'"'s'"""
        assert lines[-2].strip() == 'cp -R /work/. "$work" && cd "$work"/sub'

    def test_values_of_variables_are_quoted_for_a_shell(self) -> None:
        line = next(line for line in apptainer(recipe()).splitlines() if "ODD" in line)

        assert shlex.split(line) == ["export", 'ODD=a "b" $c \\d']

    @pytest.mark.parametrize("text", ["a b", "x"])
    def test_directories_are_copied_with_their_content(self, text: str) -> None:
        found = apptainer(recipe(steps=(Copy(f"{text}/", "/work/"),)))

        assert f'    "{text}/." /work/' in found or f"    {text}/. /work/" in found
