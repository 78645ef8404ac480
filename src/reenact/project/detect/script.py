"""The way from a script's path to its flags: which frameworks to ask, and which answer counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from reenact.model.flags import FlagSet
from reenact.model.paths import path_to_text
from reenact.project.detect.modules import Modules, is_inside
from reenact.project.detect.source import Source, Unreadable
from reenact.project.detect.trace import Trace

if TYPE_CHECKING:
    from pathlib import Path

_WORDS = {
    "argparse": ("argparse", "ArgumentParser", "ArgParser"),
    "click": ("click",),
    "typer": ("typer",),
    "absl": ("absl", "tensorflow"),
    "dataclass": ("tyro", "simple_parsing", "HfArgumentParser", "TrlParser"),
    "config": ("hydra", "from_cli", "merge_with_cli"),
    "other": (
        "fire", "docopt", "jsonargparse", "LightningCLI", "cyclopts", "plac", "draccus",
        "pyrallis",
    ),
}  # fmt: skip
"""What stands in a source text that may use a framework."""


def detect(script: Path, root: Path, *, module: str | None = None) -> FlagSet:
    """Find out which flags a script has, without running it.

    Never raises because of what is in the script: what could not be understood is in the result's
    remarks. Only files under `root` are read.

    Args:
        script: the file that is run.
        root: the project's directory.
        module: its dotted name, if it is run by `python -m`.
    """
    root_path = os.path.abspath(root)
    path = os.path.abspath(script)

    def name_of(path: str) -> str:
        return path_to_text(os.path.relpath(path, root_path))

    try:
        with open(path, "rb") as file:
            source = Source(path, name_of(path), file.read())
    except OSError as error:
        return FlagSet(kind="none", remarks=(f"{name_of(path)}: {error.strerror or error}",))
    except Unreadable as error:
        return FlagSet(kind="none", remarks=(str(error),))
    trace = Trace(Modules(root_path, _search_path(path, root_path, module)), name_of, _load)
    return _by_command_line(trace, source, module) or _by_globals(source, list(trace.remarks))


def _search_path(path: str, root: str, module: str | None) -> list[str]:
    directory = os.path.dirname(path)
    if module is not None:
        # `python -m a.b` finds `a` in a directory two above `a/b.py`, if not in the root.
        for _ in range(module.count(".") + (os.path.basename(path) == "__main__.py")):
            directory = os.path.dirname(directory)
    places = [directory] if module is None or is_inside(directory, root) else []
    return list(dict.fromkeys([*places, root, os.path.join(root, "src")]))


def _load(trace: Trace, text: str) -> None:
    """Teach a trace the frameworks that a source text may use."""
    for name, words in _WORDS.items():
        if name not in trace.frameworks and any(word in text for word in words):
            trace.frameworks.add(name)
            _REGISTER[name](trace)


def _argparse(trace: Trace) -> None:
    from reenact.project.detect import by_argparse

    by_argparse.register(trace)


def _click(trace: Trace) -> None:
    from reenact.project.detect import by_click

    by_click.register(trace)


def _typer(trace: Trace) -> None:
    from reenact.project.detect import by_typer

    by_typer.register(trace)


def _absl(trace: Trace) -> None:
    from reenact.project.detect import by_absl

    by_absl.register(trace)


def _dataclass(trace: Trace) -> None:
    from reenact.project.detect import by_dataclass

    by_dataclass.register(trace)


def _config(trace: Trace) -> None:
    from reenact.project.detect import by_config

    by_config.register(trace)


def _other(trace: Trace) -> None:
    from reenact.project.detect import by_other

    by_other.register(trace)


_REGISTER: dict[str, Callable[[Trace], None]] = {
    "argparse": _argparse,
    "click": _click,
    "typer": _typer,
    "absl": _absl,
    "dataclass": _dataclass,
    "config": _config,
    "other": _other,
}


def _by_command_line(trace: Trace, source: Source, module: str | None) -> FlagSet | None:
    """Return the flags of the command line that the script reads, None if it reads none."""
    if not trace.modules.words(source.text, source.path):
        return None
    trace.run(source, module or "__main__")
    uses = trace.uses or [made for made in trace.made if getattr(made, "is_open", False)]
    if not uses:
        return None
    from reenact.project.detect.parameters import Parameters, finish

    found = Parameters()
    for use in uses:
        use.collect(found)
    is_open = any(use.open_ended for use in uses) or all(
        getattr(use, "reads_rest", False) for use in uses
    )
    kind = next((use.kind for use in uses if use.kind != "none"), "none")
    names = next((use.open_names for use in uses if hasattr(use, "open_names")), ())
    flags = finish(kind, found.flags, open_ended=is_open, remarks=trace.remarks)
    return msgspec.structs.replace(flags, open_names=names) if names else flags


def _by_globals(source: Source, remarks: list[str]) -> FlagSet:
    from reenact.project.detect.by_globals import find_globals

    flags = find_globals(source)
    return FlagSet(kind="globals" if flags else "none", flags=tuple(flags), remarks=tuple(remarks))
