"""Real scripts in a real directory: what is found in them, and what they receive when they run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from commands import PATIENCE_S
from reenact.model.flags import Flag, FlagSet, Global
from reenact.project.apply import command_line, rewrite
from reenact.project.detect import detect
from reenact.project.settings import resolve_flags


class Project:
    """A directory with scripts in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def detect(
        self, content: str | bytes, name: str = "train.py", module: str | None = None
    ) -> FlagSet:
        return detect(self.write(name, content), self.root, module=module)

    def flags(self, content: str | bytes) -> dict[str, Flag]:
        return {flag.name: flag for flag in self.detect(content).flags}

    def arguments(self, content: str, *settings: str) -> list[str]:
        """Return the arguments that settings such as `lr=0.1` make for a script."""
        flags = self.detect(content)
        pairs = dict(setting.split("=", 1) for setting in settings)
        given, _ = resolve_flags(flags, pairs, force=False, operation="train.py")
        return command_line(flags, given)

    def receives(self, content: str, *settings: str) -> Any:
        """Run a script for real with settings; return what it printed as JSON."""
        return self.run(*self.arguments(content, *settings))

    def run(self, *arguments: str, name: str = "train.py") -> Any:
        done = subprocess.run(
            [sys.executable, name, *arguments],
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def rewritten(self, content: str | bytes, *settings: str) -> bytes:
        """Return a script's source with its globals set."""
        flags = self.detect(content)
        pairs = dict(setting.split("=", 1) for setting in settings)
        given, _ = resolve_flags(flags, pairs, force=False)
        changes = []
        for name, value in given.items():
            flag = flags.find(name)
            assert flag is not None
            assert isinstance(flag.binding, Global)
            changes.append((flag.binding, value))
        return rewrite((self.root / "train.py").read_bytes(), changes)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)
