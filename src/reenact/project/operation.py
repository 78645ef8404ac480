"""What the user wants to run: a Python script or module, a notebook, another script, a command."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reenact.errors import CannotRun, UsageError
from reenact.model.flags import Flag, FlagSet, FlagType, FlagValue, Template
from reenact.model.run import OperationKind
from reenact.model.secrets import redact_argv
from reenact.project.flag_text import format_value

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
_SCRIPT_NAME = re.compile(r"[^\s;|&]+\.[A-Za-z0-9]{1,6}")
_SETTING = re.compile(r"[A-Za-z_][\w.:-]*=", re.ASCII)
_OVERRIDE = re.compile(r"\+{0,2}[A-Za-z_][\w.:/@-]*=", re.ASCII)
"""As Hydra has them, too; the name of a script may look like one."""

INTERPRETERS: dict[str, tuple[str, ...]] = {
    ".r": ("Rscript",),
    ".jl": ("julia",),
    ".sh": ("sh",),
    ".bash": ("bash",),
    ".js": ("node",),
    ".mjs": ("node",),
    ".java": ("java",),
    ".pl": ("perl",),
    ".rb": ("ruby",),
    ".lua": ("lua",),
}
"""Programs that run a script of another language when it has no `#!` line of its own."""


NOTEBOOK_SUFFIX = ".ipynb"


class Target(NamedTuple):
    """What is to be run, resolved against a directory but not against a project.

    Attributes:
        kind: script, notebook, module or command.
        name: as the user wrote it.
        script: absolute path of the script, or of the module's file where it was found.
        words: program and arguments, without flags; a Python interpreter is not yet in it.
        is_python: it runs in Python, so that flags can be found in its source.
    """

    kind: OperationKind
    name: str
    script: str | None
    words: tuple[str, ...]
    is_python: bool


def split_settings(words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Separate `flag=value` words from the others; the last of two settings of a flag counts."""
    others: list[str] = []
    settings = {}
    for word in words:
        if _SETTING.match(word) or (others and _OVERRIDE.match(word)):
            name, _, value = word.partition("=")
            settings[name] = value
        else:
            others.append(word)
    return others, settings


def resolve_script(text: str, cwd: str) -> Target:
    """Find a script that the user named.

    Raises:
        CannotRun: there is none that can be read.
    """
    path = os.path.join(cwd, text)
    if os.path.isdir(path) and os.path.exists(f"{path}/__main__.py"):
        word = _relative(path, cwd) if os.path.isabs(text) else text
        return Target(OperationKind.SCRIPT, text, f"{path}/__main__.py", (word,), True)
    if os.path.isdir(path):
        raise CannotRun(
            f"`{text}` is a directory without a `__main__.py`",
            hint="name the script to run, or use `-m` for a module",
        )
    if not os.path.exists(path):
        raise CannotRun(f"there is no script `{text}`", hint=_missing_hint(text, cwd))
    if not os.access(path, os.R_OK):
        raise CannotRun(f"the script `{text}` cannot be read", hint=f"try `chmod u+r {text}`")
    path = os.path.normpath(path)
    if os.path.isabs(text):
        text = _relative(path, cwd)
    suffix = os.path.splitext(text)[1].lower()
    if suffix == NOTEBOOK_SUFFIX:
        return Target(OperationKind.NOTEBOOK, text, path, (text,), False)
    if suffix in (".py", ".pyw"):
        return Target(OperationKind.SCRIPT, text, path, (text,), True)
    shebang = _shebang(path)
    if "python" in shebang and suffix not in INTERPRETERS:
        return Target(OperationKind.SCRIPT, text, path, (text,), True)
    local = text if "/" in text else f"./{text}"
    if shebang and os.access(path, os.X_OK):
        return Target(OperationKind.SCRIPT, text, path, (local,), False)
    if suffix in INTERPRETERS:
        words = (*INTERPRETERS[suffix], text)
        return Target(OperationKind.SCRIPT, text, path, words, False)
    if os.access(path, os.X_OK):
        return Target(OperationKind.SCRIPT, text, path, (local,), False)
    raise CannotRun(
        f"it is not clear how to run `{text}`",
        hint=f"write the command out: `reenact run -- PROGRAM {text}`",
    )


def resolve_module(module: str, cwd: str, root: str) -> Target:
    """Find the file of a module that is run with `-m`; one that is installed has none here."""
    relative = module.replace(".", "/")
    places = [cwd, root, f"{root}/src"]
    for place in dict.fromkeys(places):
        for candidate in (f"{relative}.py", f"{relative}/__main__.py"):
            path = os.path.normpath(f"{place}/{candidate}")
            if os.path.isfile(path):
                return Target(OperationKind.MODULE, module, path, ("-m", module), True)
    return Target(OperationKind.MODULE, module, None, ("-m", module), True)


def resolve_command(words: Sequence[str]) -> Target:
    """Take a command as it is. Its name is its program and the script that it runs, if any."""
    if not words:
        raise UsageError("there is no command after `--`", hint="e.g. `-- Rscript train.R`")
    first, *rest = redact_argv(words)
    shown = [os.path.basename(first)]
    for word in rest:
        if word.startswith("-") or "{" in word:
            continue
        if _SCRIPT_NAME.fullmatch(word):
            shown.append(word)
        break
    return Target(OperationKind.COMMAND, " ".join(shown), None, tuple(words), False)


def template_flags(words: Sequence[str], settings: Mapping[str, object]) -> FlagSet:
    """Return the flags of a command: the names in braces, and whatever the user sets."""
    names = dict.fromkeys(name for word in words for name in _PLACEHOLDER.findall(word))
    flags = [
        Flag(name=name, binding=Template(), required=True, type=FlagType.ANY, found="the command")
        for name in names
    ]
    others = [n for n in settings if n not in names]
    flags += [Flag(name=name, binding=Template(), type=FlagType.ANY) for name in others]
    return FlagSet(kind="template", flags=tuple(flags), open_ended=True)


def fill_in(
    words: Sequence[str], values: Mapping[str, FlagValue], texts: Mapping[str, str]
) -> list[str]:
    """Put flags into the `{name}`s of a command, as the user typed them.

    Braces around anything that is not the name of a flag stay as they are.

    Args:
        words: the command.
        values: the flags.
        texts: how the user wrote their values, where there was a user.
    """

    def text(match: re.Match[str]) -> str:
        name = match[1]
        if name in texts:
            return texts[name]
        return format_value(values[name]) if name in values else match[0]

    return [_PLACEHOLDER.sub(text, word) for word in words]


def unset_placeholders(words: Sequence[str], values: Mapping[str, FlagValue]) -> list[str]:
    """Return the names in braces that are no flags of a run, where they are all of a word's value.

    `{lr}` and `--lr={lr}` are meant as flags; braces inside a longer text (`awk '{print $1}'`) are
    somebody else's.
    """
    names = []
    for word in words:
        match = _PLACEHOLDER.fullmatch(word.rpartition("=")[2])
        if match is not None and match[1] not in values:
            names.append(match[1])
    return names


def flag_variables(values: Mapping[str, FlagValue]) -> dict[str, str]:
    """Return the environment variables `FLAG_NAME` for a run's flags; null ones are left out."""
    return {
        "FLAG_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper(): format_value(value)
        if not isinstance(value, str)
        else value
        for name, value in values.items()
        if value is not None
    }


def find_python(env: Mapping[str, str], chosen: str | None) -> str:
    """Return the user's interpreter: the one chosen, the active environment's, the one on PATH.

    Raises:
        CannotRun: there is none.
    """
    path = env.get("PATH", os.defpath)
    if chosen is not None:
        found = shutil.which(chosen, path=path)
        if found is None:
            raise CannotRun(f"there is no interpreter `{chosen}`")
        return os.path.abspath(found)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if prefix := env.get(variable):
            candidate = f"{prefix}/bin/python"
            if os.access(candidate, os.X_OK):
                return candidate
    for name in ("python", "python3"):
        if found := shutil.which(name, path=path):
            return os.path.abspath(found)
    raise CannotRun("there is no `python` on PATH", hint="name one with `--python`")


def notebook_command(notebook: str, python: str, env: Mapping[str, str]) -> list[str]:
    """Return the command that executes a notebook with the user's interpreter as its kernel.

    Raises:
        CannotRun: something that this needs is not installed.
    """
    import subprocess
    from importlib.util import find_spec

    if find_spec("nbclient") is None:
        raise CannotRun(
            f"`{notebook}` needs nbclient, which is not installed beside Reenact",
            hint="install `reenact[notebook]`",
        )
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('ipykernel') is None)"
    try:
        # It has to be asked itself: what is on its path nobody else knows.
        done = subprocess.run((python, "-c", code), env=dict(env), capture_output=True, check=False)
    except OSError as error:
        raise CannotRun(f"cannot start `{python}`: {error.strerror}") from error
    if done.returncode != 0:
        raise CannotRun(
            f"`{notebook}` needs ipykernel, which `{python}` does not have",
            hint=f"`{python} -m pip install ipykernel`, or choose another one with `--python`",
        )
    # -E, -P: modules and settings of the project are for the kernel; so is the probe.
    driver = os.path.join(os.path.dirname(os.path.dirname(__file__)), "interop", "notebook.py")
    return [sys.executable, "-E", "-P", driver, notebook, "--python", python]


def _relative(path: str, cwd: str) -> str:
    """Name an absolute path from a directory: the run has its own copy at the same place there."""
    directory = os.path.realpath(os.path.dirname(path))
    return os.path.relpath(f"{directory}/{os.path.basename(path)}", os.path.realpath(cwd))


def _shebang(path: str) -> str:
    try:
        with open(path, "rb") as file:
            line = file.readline(200)
    except OSError:
        return ""
    return line.decode(errors="replace") if line.startswith(b"#!") else ""


def _missing_hint(text: str, cwd: str) -> str:
    from reenact.project.flag_text import nearest

    directory = os.path.dirname(os.path.join(cwd, text))
    try:
        names = os.listdir(directory)
    except OSError:
        return f"there is no directory `{os.path.dirname(text)}`"
    close = nearest(os.path.basename(text), names)
    if close is not None:
        return f"did you mean `{os.path.join(os.path.dirname(text), close)}`?"
    return "use `-m` for a module, and `--` before any other command"
