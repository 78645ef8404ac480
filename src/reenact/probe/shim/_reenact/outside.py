"""Modules from outside the project as a record has them, in a reproduction where those of now are others.

The supervisor has written them below a directory, each at its absolute path, and which there are into a
file beside it. Here Python is led there: by an import from a directory on `sys.path`, whoever put it
there, by `spec_from_file_location`, `runpy.run_path`, and by `open` for `exec`. A module finds beside
itself what lies beside the original.

Not covered: that a file is there is asked by other means, such as `os.path.exists`; what other
programs read.
"""

import ast
import builtins
import io
import os
import sys

_external = sys.modules["_frozen_importlib_external"]


def install(root):
    """Lead this process to what lies below `root`; once, at its start."""
    with open(root + ".files", encoding="utf-8", errors="surrogateescape") as file:
        told = ast.literal_eval(file.read())
    places = _Places(root, told["files"])
    _lead_imports(places)
    _lead_locations(places)
    _lead_opens(places)
    known = set(sys.path)
    sys.path.extend(entry for entry in told["path"] if entry not in known)


class _Places(object):
    """Where files are that were restored."""

    def __init__(self, root, files):
        self.root = root
        self.files = frozenset(files)
        self.names = frozenset(os.path.basename(path) for path in files)
        self.directories = set()
        for path in files:
            above = os.path.dirname(path)
            while above not in self.directories:
                self.directories.add(above)
                above = os.path.dirname(above)

    def directory(self, path):
        """Return the original's path of a directory that has restored files below it, else None."""
        for way in (os.path.abspath, os.path.realpath):
            found = way(path)
            if found in self.directories:
                return found
        return None

    def file(self, path):
        """Return where a file is that was restored; the path itself for another one."""
        if isinstance(path, int):
            return path
        text = os.fsdecode(path)
        if os.path.basename(text) in self.names:
            for way in (os.path.abspath, os.path.realpath):
                found = way(text)
                if found in self.files:
                    return self.root + found
        return path


class _Finder(object):
    """Finds modules of a directory: what was restored of them, then what else there is."""

    def __init__(self, finders):
        self.finders = finders

    def find_spec(self, name, target=None):
        portions = None
        for finder in self.finders:
            spec = finder.find_spec(name, target)
            if spec is None:
                continue
            if spec.loader is not None or spec.submodule_search_locations is None:
                return spec if portions is None else portions
            if portions is None:
                portions = spec
            else:
                portions.submodule_search_locations += spec.submodule_search_locations
        return portions

    def invalidate_caches(self):
        for finder in self.finders:
            invalidate = getattr(finder, "invalidate_caches", None)
            if invalidate is not None:
                invalidate()


def _lead_imports(places):
    hooks = list(sys.path_hooks)

    def find(path):
        for hook in hooks:
            try:
                yield hook(path)
                return
            except ImportError:
                continue

    def hook(path):
        original = places.directory(path) if isinstance(path, (str, bytes)) else None
        if original is None:
            raise ImportError("nothing below was restored", path=path)
        return _Finder([*find(places.root + original), *find(path)])

    sys.path_hooks.insert(0, hook)
    for path in list(sys.path_importer_cache):
        if isinstance(path, str) and places.directory(path) is not None:
            del sys.path_importer_cache[path]


def _lead_locations(places):
    original = _external.spec_from_file_location

    def spec_from_file_location(name, location=None, **options):
        if location is not None:
            location = places.file(location)
        return original(name, location, **options)

    _external.spec_from_file_location = spec_from_file_location
    # Who has it by name already: `importlib.util`, and the finders of editable installations.
    for name, module in list(sys.modules.items()):
        if name != "importlib.util" and not name.startswith("__editable__"):
            continue
        if getattr(module, "spec_from_file_location", None) is original:
            module.spec_from_file_location = spec_from_file_location


def _lead_opens(places):
    def leading(function):
        def opened(file, *arguments, **options):
            mode = options.get("mode", arguments[0] if arguments else "r")
            if not isinstance(mode, str) or not set(mode) & set("wax+"):
                file = places.file(file)
            return function(file, *arguments, **options)

        opened.__name__ = opened.__qualname__ = function.__name__
        opened.__doc__ = function.__doc__
        return opened

    io.open = builtins.open = leading(builtins.open)
    code = getattr(io, "open_code", None)
    if code is not None:
        io.open_code = sys.modules["_io"].open_code = leading(code)
