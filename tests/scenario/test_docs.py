"""The documentation is kept honest: its sessions run, its lists are whole, its links lead somewhere.

A page's ```console blocks are one session, run in order by one bash on a terminal of its own, in a
fresh copy of the project that `<!-- project: examples/… -->` names, with a store of its own. Shown
output is compared after taking out what differs from run to run and machine to machine: ids, times,
durations, sizes, absolute paths, the last digits of long numbers, the number of blanks, the version of
Python, the packages, the machine. A line `...` stands for any
lines, `...` within a line for anything there. Sessions that are not to be run are not `console`.
"""

from __future__ import annotations

import ast
import difflib
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from fcntl import ioctl
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from needs import needs
from reenact.cli.main import COMMANDS, cli

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
TEXTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
DEFAULT_PROJECT = "examples/iris"
PATIENCE_S = 240
COLUMNS = 200

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FENCED = re.compile(r"^(```+).*?^\1$", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r"<!-- (project|needs): (.*?) -->")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)
_MARK = "--8<-- status"


class Step(NamedTuple):
    """A command of a session and what the page shows of its output."""

    command: str
    shown: list[str]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def session_of(page: Path) -> list[Step]:
    steps: list[Step] = []
    for block in _BLOCK.findall(page.read_text(encoding="utf-8")):
        is_continued = False
        for line in block.splitlines():
            if is_continued:
                steps[-1] = Step(f"{steps[-1].command}\n{line}", [])
            elif line.startswith("$ "):
                steps.append(Step(line[2:], []))
            else:
                assert steps, f"{name_of(page)}: output without a command: {line}"
                steps[-1].shown.append(line)
            is_continued = line.endswith("\\") and (is_continued or line.startswith("$ "))
    return steps


def settings_of(page: Path) -> dict[str, str]:
    return dict(_SETTING.findall(page.read_text(encoding="utf-8")))


def perform(steps: list[Step], directory: Path, home: Path) -> Iterator[str]:
    """Run commands in one bash on a terminal; yield the output of each."""
    script = home / "session.sh"
    lines = [f"cd {directory}"]
    for step in steps:
        lines += [
            "( exit ${status:-0} )",
            f"{{\n{step.command}\n}}",
            "status=$?",
            f"printf '\\n%s\\n' '{_MARK}'",
        ]
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    answer = _on_a_terminal(["bash", str(script)], _environment(home))
    outputs = answer.decode("utf-8", "replace").replace("\r\n", "\n").split(f"\n{_MARK}\n")
    assert len(outputs) == len(steps) + 1, f"the session broke off: {outputs[-1]}"
    yield from outputs[:-1]


def _environment(home: Path) -> dict[str, str]:
    interpreters = os.path.dirname(sys.executable)
    return {
        "PATH": f"{interpreters}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"],
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm",
        "NO_COLOR": "1",
    }


def _on_a_terminal(words: list[str], env: dict[str, str]) -> bytes:
    master, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    child = subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=env, start_new_session=True
    )
    os.close(terminal)
    deadline = time.monotonic() + PATIENCE_S
    answer = bytearray()
    try:
        while True:
            ready, _, _ = select.select([master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no end after {PATIENCE_S} s: {answer[-500:].decode(errors='replace')}"
            try:
                data = os.read(master, 65536)
            except OSError:  # Linux says so when nobody has the terminal open any more.
                break
            if not data:
                break
            answer += data
    finally:
        os.close(master)
        if child.poll() is None:
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
    return bytes(answer)


_FILTERS = [
    (re.compile(r"^machine +\S.*"), "machine"),
    (re.compile(r"\b3\.\d+\.\d+\b"), "VERSION"),
    (re.compile(r"\b\d+ packages\b"), "N packages"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "TIME"),
    (re.compile(r"\b\d+ (second|minute|hour|day)s? ago\b|\bnow\b"), "TIME"),
    (re.compile(r"\b\d+(\.\d+)?s\b|\b\d+m \d\ds\b|\b\d+h \d\dm\b"), "DURATION"),
    (re.compile(r"\b\d+(\.\d+)? ?(B|kB|MB|GB|bytes)\b"), "SIZE"),
    (re.compile(r"\b\d+\.\d{7,}(e-?\d+)?"), lambda match: f"{float(match[0]):.5g}"),
    (re.compile(r"(?<![\w./~])(/[\w.@+-]+){2,}/?|~(/[\w.@+-]+)+"), "PATH"),
    (re.compile(r"\b([0-9a-f]{64}|[0-9a-f]{32}|[0-9a-f]{12}|[0-9a-f]{8})\b"), "ID"),
    (re.compile(r"\s+"), " "),
]


def filtered(line: str) -> str:
    for pattern, replacement in _FILTERS:
        line = pattern.sub(replacement, line)
    return line.strip()


def fits(shown: list[str], actual: list[str]) -> bool:
    """Tell whether output is what a page shows: whole lines, but for the wildcards."""
    pattern = ""
    for line in shown:
        if line.strip() == "...":
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, filtered(line).split("..."))) + "\n"
    return re.fullmatch(pattern, "".join(f"{filtered(line)}\n" for line in actual)) is not None


@pytest.mark.parametrize("page", [p for p in PAGES if session_of(p)], ids=name_of)
def test_a_session_in_the_documentation_is_what_happens(page: Path, tmp_path: Path) -> None:
    settings = settings_of(page)
    for program in settings.get("needs", "").split():
        needs(program)
    project = ROOT / settings.get("project", DEFAULT_PROJECT)
    home = tmp_path / "home"
    home.mkdir()
    copy = home / project.name
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__"))
    steps = session_of(page)

    for step, output in zip(steps, perform(steps, copy, home), strict=True):
        actual = output.strip("\n").splitlines()
        if not fits(step.shown, actual):
            difference = difflib.unified_diff(
                step.shown, actual, "in the documentation", "what happens", lineterm=""
            )
            pytest.fail(f"$ {step.command}\n" + "\n".join(difference), pytrace=False)


def test_wildcards_stand_for_any_lines_and_any_part_of_one() -> None:
    actual = ["run 1a2b3c4d completed in 0.13s", "loss: 0.5", "loss: 0.25"]

    assert fits(["run ffffffff completed in 2m 10s", "..."], actual)
    assert fits(["run ... in ...", "loss: 0.5", "loss: 0.25"], actual)
    assert not fits(["run ... in ...", "loss: 0.5"], actual)
    assert not fits(["...", "loss: 0.26"], actual)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page_that_names_all_its_options(name: str) -> None:
    page = DOCS / "reference" / "commands" / f"{name}.md"
    entry = COMMANDS[name]
    command = getattr(import_module(f"reenact.cli.{entry[0]}"), f"{name.replace('-', '_')}_command")

    text = page.read_text(encoding="utf-8")

    assert text.startswith(f"# `reenact {name}`\n")
    missing = [option for option in _options(command) if f"`{option}" not in text]
    assert not missing, f"{name_of(page)} does not name {missing}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_in_the_table_of_a_command_s_page_exists(name: str) -> None:
    page = DOCS / "reference" / "commands" / f"{name}.md"
    command = getattr(
        import_module(f"reenact.cli.{COMMANDS[name][0]}"), f"{name.replace('-', '_')}_command"
    )
    rows = [
        line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `-")
    ]

    named = {word for row in rows for word in re.findall(r"`(--?[\w-]+)", row.split("|")[1])}

    assert named <= {*command.get_help_option_names(_context(command)), *_all_options(command)}


def _context(command: click.Command) -> click.Context:
    return click.Context(command, parent=click.Context(cli, info_name="reenact"))


def _options(command: click.Command) -> list[str]:
    """Return the longest spelling of each option that help shows."""
    options = [p for p in _parameters(command) if isinstance(p, click.Option) and not p.hidden]
    return [max(option.opts, key=len) for option in options]


def _parameters(command: click.Command) -> list[click.Parameter]:
    """Return the parameters of a command and of those below it."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return [*command.params, *(parameter for one in below for parameter in one.params)]


def _all_options(command: click.Command) -> set[str]:
    return {
        name
        for parameter in _parameters(command)
        if isinstance(parameter, click.Option)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }


def test_every_error_code_is_explained() -> None:
    tree = ast.parse((ROOT / "src/reenact/errors.py").read_text(encoding="utf-8"))
    codes = {
        node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        and "code" in ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    }

    text = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")

    assert "failed" in codes
    assert {code for code in codes if f"## `{code}`" not in text} == set()


def test_every_environment_variable_is_explained() -> None:
    names = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r"\b_?REENACT_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }

    text = (DOCS / "reference" / "environment-variables.md").read_text(encoding="utf-8")

    assert "REENACT_HOME" in names
    assert {name for name in names if f"`{name}`" not in text} == set()


def _slug(heading: str) -> str:
    """Return the anchor of a heading, as GitHub makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    return {_slug(text) for text in _HEADING.findall(_prose(page))}


def _prose(page: Path) -> str:
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", TEXTS, ids=name_of)
def test_every_link_inside_the_documentation_leads_somewhere(page: Path) -> None:
    dead = []
    for target in _LINK.findall(_prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            dead.append(target)

    assert not dead


def test_every_page_can_be_reached_from_the_first_one() -> None:
    first = DOCS / "index.md"
    reached = {first}
    waiting = [first]
    while waiting:
        page = waiting.pop()
        for target in _LINK.findall(_prose(page)):
            there = (page.parent / target.partition("#")[0]).resolve()
            if there.suffix == ".md" and there.exists() and there not in reached:
                reached.add(there)
                waiting.append(there)

    assert [name_of(page) for page in PAGES if page not in reached and DOCS in page.parents] == []
