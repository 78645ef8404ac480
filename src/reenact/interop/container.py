"""Recipes for containers: a Dockerfile and a definition for Apptainer, from the same steps.

What a recipe says is executed word by word, never by a shell, and by a user without rights once
everything is installed. Nothing here asks for privileges or for a network at run time.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

WORK = "/work"
"""Where the project is in a container."""

USER = "runner"

BUILD_LOG = "build.log"
PRINTED = "printed.txt"
IGNORED = f"{BUILD_LOG}\n{PRINTED}\nresults\n*.sif\n"
"""Content of the file that keeps out of an image what building and running it leaves behind."""

_PLAIN = re.compile(r"[\w.,:+@%/-]*", re.ASCII)


class Copy(NamedTuple):
    """Something of the context that gets into the image.

    Attributes:
        source: path in the context; a directory's content is meant when it ends in a slash.
        target: absolute path in the image.
        is_users: it belongs to the user, who may change it.
    """

    source: str
    target: str
    is_users: bool = False


class Execute(NamedTuple):
    """A program that is executed while the image is made, with its arguments."""

    words: tuple[str, ...]


class Recipe(NamedTuple):
    """How an image is made and what it does.

    Attributes:
        base: the image to begin with, best with its digest.
        notes: what a reader must know, lines at the head.
        steps: what is done as root, in this order: seldom changed first.
        variables: of its processes.
        directory: where the command is executed.
        command: program and arguments.
        has_user: the base has a user without rights already, of this name.
    """

    base: str
    notes: tuple[str, ...]
    steps: tuple[Copy | Execute, ...]
    variables: Mapping[str, str]
    directory: str
    command: tuple[str, ...]
    has_user: str | None = None


def dockerfile(recipe: Recipe) -> str:
    """Return a Dockerfile, for docker and podman."""
    user = recipe.has_user or USER
    lines = [
        *(f"# {_one_line(note)}" for note in recipe.notes),
        f"FROM {_one_line(recipe.base)}",
        "",
    ]
    # A base may leave another user in charge.
    lines.append("USER root")
    if recipe.has_user is None:
        lines.append(_run(("useradd", "--create-home", user)))
    lines.append(_run(("install", "-d", "-o", user, WORK)))
    for step in recipe.steps:
        if isinstance(step, Execute):
            lines.append(_run(step.words))
        else:
            owner = f"--chown={user} " if step.is_users else ""
            lines.append(f"COPY {owner}{_json((step.source, step.target))}")
    lines.append("")
    lines += [f"ENV {name}={_quoted(recipe.variables[name])}" for name in sorted(recipe.variables)]
    lines += [f"USER {user}", f"WORKDIR {_place(recipe.directory)}", f"CMD {_json(recipe.command)}"]
    return "\n".join(lines) + "\n"


def apptainer(recipe: Recipe) -> str:
    """Return a definition for Apptainer, which was called Singularity.

    An image cannot be written to: the command works in a copy of the project, in the directory that
    `$REENACT_OUT` names, else in a new one; it says where.
    """
    copies = [step for step in recipe.steps if isinstance(step, Copy)]
    commands = [step for step in recipe.steps if isinstance(step, Execute)]
    inside = recipe.directory.removeprefix(WORK).lstrip("/")
    words = " ".join(
        f'"$work"{shlex.quote(word.removeprefix(WORK))}'
        if word == WORK or word.startswith(f"{WORK}/")
        else shlex.quote(word)
        for word in recipe.command
    )
    lines = [
        *(f"# {_one_line(note)}" for note in recipe.notes),
        "Bootstrap: docker",
        f"From: {_one_line(recipe.base)}",
        "",
        "%files",
        *(f"    {_file(step.source)} {_file(step.target)}" for step in copies),
        "",
        "%post",
        "    set -e",
        *(f"    {shlex.join(step.words)}" for step in commands),
        f"    chmod -R a+rX {WORK}",
        "",
        "%environment",
        *(
            f"    export {name}={shlex.quote(value)}"
            for name, value in sorted(recipe.variables.items())
        ),
        "",
        "%runscript",
        '    work="${REENACT_OUT:-$(mktemp -d)}"',
        '    echo "working in $work" >&2',
        f'    cp -R {WORK}/. "$work" && cd "$work"/{shlex.quote(inside) if inside else ""}',
        f"    exec {words}",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _run(words: Sequence[str]) -> str:
    return f"RUN {_json(words)}"


def _json(words: Sequence[str]) -> str:
    return json.dumps(list(words), ensure_ascii=False)


def _quoted(value: str) -> str:
    r"""Quote a value for ENV, where docker knows `\`, `"` and `$`."""
    if value and _PLAIN.fullmatch(value):
        return value
    return '"' + re.sub(r'([\\"$])', r"\\\1", value) + '"'


def _file(path: str) -> str:
    # Apptainer copies a directory's content when the source ends so.
    path = f"{path}." if path.endswith("/") and not path.startswith("/") else path
    return path if _PLAIN.fullmatch(path) else json.dumps(path, ensure_ascii=False)


def _place(directory: str) -> str:
    """Return a directory as an instruction names it: docker would put variables into it."""
    text = re.sub(r"[\r\n]", " ", directory)
    return text.replace("\\", "\\\\").replace("$", "\\$")


def _one_line(text: str) -> str:
    return " ".join(text.split())
