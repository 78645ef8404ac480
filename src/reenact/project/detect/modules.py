"""The local modules that a script imports: which file each is, and whether it matters for flags.

Only files under the project's root are looked at. A file matters if its text has a word of a
command-line framework in it, or if one that it imports does.
"""

from __future__ import annotations

import os
import re

TRIGGERS = (
    "add_argument", "add_arguments", "ArgumentParser", "ArgParser", "parse_args",
    "parse_known_args", "click", "typer", "Typer", "tyro", "simple_parsing", "HfArgumentParser",
    "TrlParser", "parse_args_into_dataclasses", "fire", "Fire", "hydra", "docopt", "jsonargparse",
    "LightningCLI", "cyclopts", "plac", "draccus", "pyrallis", "app.run", "FLAGS",
    "DEFINE_string", "DEFINE_integer", "DEFINE_float", "DEFINE_bool", "DEFINE_boolean",
    "DEFINE_enum", "DEFINE_enum_class", "DEFINE_list", "DEFINE_spaceseplist", "DEFINE_multi_string",
    "DEFINE_multi_integer", "DEFINE_multi_float", "DEFINE_multi_enum", "DEFINE_alias",
    "DEFINE_config_file", "DEFINE_config_dict", "mark_flag_as_required", "mark_flags_as_required",
)  # fmt: skip
"""Words without which no command-line framework is in use."""

_TRIGGER = re.compile(rb"\b(?:" + "|".join(map(re.escape, TRIGGERS)).encode() + rb")\b")
_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]*)"
    r"|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_MAX_READ = 60
_MAX_BYTES = 2_000_000
_MAX_DEPTH = 4


class Import:
    """One import statement, as far as its text tells.

    Attributes:
        module: dotted name, with leading dots if it is relative.
        name: what is taken from the module, or None.
        bound: the name that it is bound to.
    """

    __slots__ = ("bound", "module", "name")

    def __init__(self, module: str, name: str | None, bound: str) -> None:
        self.module = module
        self.name = name
        self.bound = bound


def imports_in(text: str) -> list[Import]:
    """Return what a source text imports anywhere, found without parsing it."""
    found: list[Import] = []
    for match in _IMPORT.finditer(text):
        base = match["base"]
        if base is not None:
            for item in match["names"].strip("()").replace("\\\n", " ").split(","):
                words = item.partition("#")[0].split()
                if words:
                    found.append(Import(base, words[0], words[-1]))
            continue
        for item in match["modules"].split(","):
            words = item.split()
            if words:
                bound = words[-1] if len(words) == 3 else words[0].partition(".")[0]
                found.append(Import(words[0], None, bound))
    return found


class Modules:
    """Finds the files of local modules.

    Args:
        root: the project's directory; nothing outside is read.
        search: directories on the script's module path that are inside the root.
    """

    def __init__(self, root: str, search: list[str]) -> None:
        self._root = root
        self._search = search
        self._listings: dict[str, set[str]] = {}
        self._relevant: dict[str, bool] = {}
        self._contents: dict[str, bytes | None] = {}
        self._files: dict[tuple[str, str], str | None] = {}

    def read(self, path: str) -> bytes | None:
        """Return a local file's content, or None if it cannot be read."""
        if path not in self._contents:
            content = None
            try:
                with open(path, "rb") as file:
                    content = file.read(_MAX_BYTES)
            except OSError:
                pass
            self._contents[path] = content
        return self._contents[path]

    def find(self, module: str, importer: str) -> str | None:
        """Return the file of a module, given its dotted name and the file that imports it."""
        directory = os.path.dirname(importer) if module.startswith(".") else ""
        key = (module, directory)
        if key not in self._files:
            self._files[key] = self._find(module, directory)
        return self._files[key]

    def _find(self, module: str, directory: str) -> str | None:
        if directory:
            rest = module.lstrip(".")
            for _ in range(len(module) - len(rest) - 1):
                directory = os.path.dirname(directory)
            if not _is_inside(directory, self._root):
                return None
            return self._find_under(directory, rest.split(".") if rest else [])
        for base in self._search:
            path = self._find_under(base, module.split("."))
            if path is not None:
                return path
        return None

    def _find_under(self, base: str, parts: list[str]) -> str | None:
        for part in parts[:-1]:
            if part not in self._listing(base):
                return None
            base = os.path.join(base, part)
        if not parts:
            return os.path.join(base, "__init__.py") if "__init__.py" in self._listing(base) else None
        names = self._listing(base)
        if parts[-1] in names:
            inside = os.path.join(base, parts[-1])
            if "__init__.py" in self._listing(inside):
                return os.path.join(inside, "__init__.py")
        name = parts[-1] + ".py"
        return os.path.join(base, name) if name in names else None

    def _listing(self, directory: str) -> set[str]:
        names = self._listings.get(directory)
        if names is None:
            try:
                names = set(os.listdir(directory))
            except OSError:
                names = set()
            self._listings[directory] = names
        return names

    def is_relevant(self, path: str, depth: int = 0) -> bool:
        """Tell whether a local file, or one that it imports, may have to do with flags."""
        known = self._relevant.get(path)
        if known is not None:
            return known
        self._relevant[path] = False  # a cycle adds nothing
        if depth > _MAX_DEPTH or len(self._contents) >= _MAX_READ:
            return False
        content = self.read(path)
        if content is None:
            return False
        result = has_trigger(content) or any(
            self.is_relevant(file, depth + 1)
            for file in self.imported_files(content.decode("utf-8", "replace"), path)
        )
        self._relevant[path] = result
        return result

    def imported_files(self, text: str, importer: str) -> list[str]:
        """Return the local files that a source text imports."""
        files: dict[str, None] = {}
        for item in imports_in(text):
            for path in self.files_of(item, importer):
                files.setdefault(path)
        return list(files)

    def files_of(self, item: Import, importer: str) -> list[str]:
        """Return the local files of one import: a module, and the submodule taken from it."""
        files = []
        path = self.find(item.module, importer)
        if path is not None:
            files.append(path)
        if item.name is not None and item.name != "*":
            dot = "" if item.module.endswith(".") else "."
            submodule = self.find(f"{item.module}{dot}{item.name}", importer)
            if submodule is not None:
                files.append(submodule)
        return files

    def relevant_names(self, text: str, importer: str) -> set[str]:
        """Return the names that a source text binds to, or takes from, modules that matter."""
        names: set[str] = set()
        for item in imports_in(text):
            if any(self.is_relevant(path) for path in self.files_of(item, importer)):
                names.add(item.bound)
                names.add(item.module.rpartition(".")[2])
        names.discard("")
        names.discard("*")
        return names


def has_trigger(content: bytes) -> bool:
    """Tell whether a file's content has a word of a command-line framework in it."""
    return _TRIGGER.search(content) is not None


def _is_inside(directory: str, root: str) -> bool:
    return directory == root or directory.startswith(root.rstrip("/") + "/")
