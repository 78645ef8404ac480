"""The local modules that a script imports: which file each is, and whether it matters for flags.

Only files under the project's root are looked at. A file matters if its text has a word of a
command-line framework in it, or if one that it imports does.
"""

from __future__ import annotations

import bisect
import os
import re

from reenact.project.detect.source import word_lines

BASE_WORDS = (
    "add_argument", "add_arguments", "ArgumentParser", "ArgParser", "parse_args",
    "parse_known_args", "parse_intermixed_args", "HfArgumentParser", "TrlParser",
    "parse_args_into_dataclasses", "add_subparsers", "add_parser", "add_argument_group",
    "add_mutually_exclusive_group", "set_defaults",
)  # fmt: skip
"""Words that speak of a command line in any file."""

_ABSL_WORDS = (
    "app.run", "FLAGS", "DEFINE_string", "DEFINE_integer", "DEFINE_float", "DEFINE_bool",
    "DEFINE_boolean", "DEFINE_enum", "DEFINE_enum_class", "DEFINE_list", "DEFINE_spaceseplist",
    "DEFINE_multi_string", "DEFINE_multi_integer", "DEFINE_multi_float", "DEFINE_multi_enum",
    "DEFINE_multi_enum_class", "DEFINE_alias", "DEFINE_config_file", "DEFINE_config_dict",
    "mark_flag_as_required", "mark_flags_as_required",
)  # fmt: skip
_OMEGACONF_WORDS = ("from_cli", "merge_with_cli")
FRAMEWORKS: dict[str, tuple[str, ...]] = {
    "absl": _ABSL_WORDS,
    "tensorflow": _ABSL_WORDS,
    "ml_collections": _ABSL_WORDS,
    **{
        name: (name,)
        for name in (
            "click", "rich_click", "asyncclick", "typer", "tyro", "simple_parsing", "fire",
            "hydra", "docopt", "jsonargparse", "cyclopts", "plac", "draccus", "pyrallis",
        )
    },
    "lightning": ("LightningCLI",),
    "pytorch_lightning": ("LightningCLI",),
    "omegaconf": ("OmegaConf", *_OMEGACONF_WORDS),
}  # fmt: skip
"""Modules that read command lines, and the words that speak of it where they are imported."""

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<base>[.\w]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#;]*)"
    r"|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_BLOCK = re.compile(
    r"^(?:(?:async[ \t]+)?(def|class)[ \t]+(\w+)|(import\b|from\b|if __name__\b|@)|(\w+)[ \t]*[:=]"
    r"|[^\s#)\]}'\"])",
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


class Facts:
    """What a file's text tells about command lines, before it is parsed.

    Attributes:
        words: words that speak of a command line in this file.
        names: functions and classes in which such a word stands.
        has_effects: whether importing the module may declare flags or read the command line.
    """

    __slots__ = ("has_effects", "names", "words")

    def __init__(self) -> None:
        self.words: set[str] = set()
        self.names: set[str] = set()
        self.has_effects = False

    @property
    def is_relevant(self) -> bool:
        """Whether the file matters for flags."""
        return self.has_effects or bool(self.names)

    def concerns(self, name: str | None) -> bool:
        """Tell whether a name that is imported from the file matters for flags."""
        return self.is_relevant if name in (None, "*") else self.has_effects or name in self.names


class Modules:
    """Finds the files of local modules.

    Args:
        root: the project's directory; nothing outside is read.
        search: directories on the script's module path that are inside the root.
    """

    def __init__(self, root: str, search: list[str]) -> None:
        self.root = root
        self._search = search
        self._listings: dict[str, set[str]] = {}
        self._facts: dict[str, Facts] = {}
        self._words: dict[str, set[str]] = {}
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
            if not is_inside(directory, self.root):
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
            return (
                os.path.join(base, "__init__.py") if "__init__.py" in self._listing(base) else None
            )
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

    def facts(self, path: str, depth: int = 0) -> Facts:
        """Return what the text of a local file tells."""
        known = self._facts.get(path)
        if known is not None:
            return known
        facts = self._facts[path] = Facts()  # what a cycle of imports sees
        if depth > _MAX_DEPTH or len(self._contents) >= _MAX_READ:
            return facts
        content = self.read(path)
        if content is not None:
            text = content.decode("utf-8", "replace")
            facts.words = self.words(text, path, depth)
            if facts.words:
                _find_blocks(text, facts)
        return facts

    def words(self, text: str, path: str, depth: int = 0) -> set[str]:
        """Return the words that speak of a command line in a source text."""
        if path in self._words:
            return self._words[path]
        words = self._words[path] = {word for word in BASE_WORDS if word in text}
        for item in imports_in(text):
            framework = FRAMEWORKS.get(item.module.partition(".")[0])
            if framework is FRAMEWORKS["omegaconf"] and not any(
                w in text for w in _OMEGACONF_WORDS
            ):
                # Most scripts take from there what has nothing to do with the command line.
                continue
            if framework is not None:
                words.update(word for word in framework if word in text)
                if framework is not _ABSL_WORDS:
                    words.add(item.bound)
                continue
            if item.name in BASE_WORDS:
                words.add(item.bound)
            words |= self._imported_words(item, path, depth)
        words.discard("*")
        return words

    def _imported_words(self, item: Import, importer: str, depth: int) -> set[str]:
        words: set[str] = set()
        path = self.find(item.module, importer)
        if path is not None:
            facts = self.facts(path, depth + 1)
            if facts.concerns(item.name):
                words |= facts.names if item.name == "*" else {item.bound}
                # The line itself must be followed where it stands inside a function.
                words.add(item.module.rpartition(".")[2])
        submodule = self.find_submodule(item, importer)
        if submodule is not None and self.facts(submodule, depth + 1).is_relevant:
            words.add(item.bound)
        words.discard("")
        return words

    def find_submodule(self, item: Import, importer: str) -> str | None:
        """Return the file of what `from module import name` names, if that is a module."""
        if item.name is None or item.name == "*":
            return None
        dot = "" if item.module.endswith(".") else "."
        return self.find(f"{item.module}{dot}{item.name}", importer)


def _find_blocks(text: str, facts: Facts) -> None:
    """Find which top-level functions and classes have to do with command lines, by their text."""
    blocks: list[tuple[str | None, str | None, int]] = []
    decorators: set[int] = set()
    decorated = 0
    for found in _BLOCK.finditer(text):
        keyword, name = found[1] or found[3], found[2] or found[4]
        first = text.count("\n", 0, found.start()) + 1
        if keyword == "@":
            decorators.add(first)
            decorated = decorated or first
            continue
        blocks.append((keyword, name, decorated or first))
        decorated = 0
    ends = [first - 1 for _, _, first in blocks[1:]] + [text.count("\n") + 1]
    lines: set[int] = set()
    words = facts.words
    while words:
        lines.update(word_lines(text, words))
        ordered = sorted(lines)
        words = set()
        for (keyword, name, first), last in zip(blocks, ends, strict=True):
            at = bisect.bisect_left(ordered, first)
            if at == len(ordered) or ordered[at] > last or keyword in ("import", "from"):
                continue
            if name is None or keyword is None or ordered[at] in decorators:
                facts.has_effects = facts.has_effects or keyword != "if __name__"
            if name is not None and name not in facts.names:
                facts.names.add(name)
                words.add(name)


def is_inside(directory: str, root: str) -> bool:
    """Tell whether a directory is a root or under it."""
    return directory == root or directory.startswith(root.rstrip("/") + "/")
