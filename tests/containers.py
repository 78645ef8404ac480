"""Do what a Dockerfile says, step by step, in a directory in place of a container.

There is no daemon where tests run. This reads the file as docker does, refuses what it does not know,
and executes every step with the same words; only paths in the image are moved below a directory, and
`python` is that of a virtual environment in there. As a program it takes the words of docker that are
needed to build, run and read a container: `python containers.py build -t NAME DIR`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

MOVED = re.compile(r"(?<![\w/])/(opt/reenact|work|data)(?=/|$|['\",;\s])")


class Image:
    """An image that is made of a context.

    Attributes:
        root: stands for `/` of the container.
        user: who executes the command.
    """

    def __init__(self, context: Path, root: Path) -> None:
        self.context = context
        self.root = root
        self.base = ""
        self.user = "root"
        self.directory = "/"
        self.variables: dict[str, str] = {}
        self.command: list[str] = []
        self.log: list[list[str]] = []

    def build(self) -> None:
        """Do all steps of the Dockerfile."""
        for line in (self.context / "Dockerfile").read_text().splitlines():
            if not line or line.startswith("#"):
                continue
            word, _, rest = line.partition(" ")
            getattr(self, f"_{word.lower()}")(rest)

    def run(self) -> subprocess.CompletedProcess[str]:
        """Execute the command."""
        assert self.user != "root"
        words = self._words(self.command)
        cwd = self._moved(self.directory)
        env = {n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "REENACT"))}
        env |= {name: self._moved(value) for name, value in self.variables.items()}
        env["PATH"] = f"{self.root}/env/bin:{env['PATH']}"
        return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False)

    def _from(self, image: str) -> None:
        self.base = image
        words = [sys.executable, "-m", "venv", str(self.root / "env")]
        subprocess.run(words, check=True, capture_output=True)

    def _run(self, text: str) -> None:
        words = json.loads(text)
        self.log.append(words)
        if words[0] == "useradd":
            return
        if words[0] == "install" and "-o" in words:
            at = words.index("-o")
            del words[at : at + 2]
        done = subprocess.run(
            self._words(words), capture_output=True, text=True, check=False, cwd=self.root
        )
        assert done.returncode == 0, done

    def _copy(self, text: str) -> None:
        owner, _, rest = text.partition(" ") if text.startswith("--chown=") else ("", "", text)
        source, target = json.loads(rest)
        self.log.append(["COPY", owner, source, target])
        at = Path(self._moved(target.rstrip("/"))) if target != "/" else self.root
        if source.endswith("/"):
            shutil.copytree(self.context / source, at, symlinks=True, dirs_exist_ok=True)
            for path in at.rglob("*") if source == "editable/" else ():
                # What leads to sources names where they are in the image.
                if path.suffix in (".pth", ".py"):
                    path.write_text(self._moved(path.read_text()))
        else:
            at.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.context / source, at)

    def _env(self, text: str) -> None:
        name, _, value = text.partition("=")
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        else:
            assert not re.search(r"[\s\"'$\\]", value)
        self.variables[name] = value

    def _user(self, text: str) -> None:
        self.user = text

    def _workdir(self, text: str) -> None:
        self.directory = text

    def _cmd(self, text: str) -> None:
        self.command = json.loads(text)

    def _words(self, words: list[str]) -> list[str]:
        moved = [self._moved(word) for word in words]
        if moved[0] == "python":
            moved[0] = str(self.root / "env" / "bin" / "python")
        return moved

    def _moved(self, text: str) -> str:
        return MOVED.sub(lambda found: f"{self.root}/{found[1]}", text)


def main(words: list[str]) -> int:
    """Act as docker does. What was built is kept in `$CONTAINERS`."""
    kept = Path(os.environ["CONTAINERS"])
    if words[0] == "version":
        return 0
    if words[0] == "build":
        assert words[1] == "-t"
        (kept / words[2]).mkdir(parents=True)
        (kept / f"{words[2]}.context").write_text(os.path.abspath(words[3]))
        return 0
    if words[0] == "create":
        assert "--privileged" not in words
        print(words[-1])
        return 0
    name = words[-1] if words[0] != "cp" else words[1].partition(":")[0]
    image = Image(Path((kept / f"{name}.context").read_text()), kept / name)
    if words[0] == "start":
        assert words[1] == "-a"
        image.build()
        done = image.run()
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        return done.returncode
    if words[0] == "cp":
        path = words[1].partition(":")[2]
        assert path.endswith("/.")
        shutil.copytree(image.root / path.strip("/."), words[2], dirs_exist_ok=True)
        return 0
    assert words[:2] == ["rm", "-f"]
    shutil.rmtree(image.root)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
