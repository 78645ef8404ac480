"""What modules for other trackers have in common: runs, metrics, params, files.

The first run of a tracker in a process has its metrics and params under their own names; a further
one has them as `run-2/loss` and `run-2.lr`. What a tracker knows of the run itself, such as its
project, are params `wandb.project`, of a further one `wandb-2.project`.
"""

import os
from itertools import count

from _reenact import journal, media
from _reenact.patches.training import plain
from _reenact.wrap import PROBLEMS

MOST_RUNS = 50
"""Of one tracker in one process; a remark says that there were more."""
MOST_FILE_BYTES = 1 << 30
"""Larger files outside the run directory are not copied; a remark says so."""
MOST_FILES = 1000

_runs = {}
_numbers = {}


class Tracked(object):
    """A run of another tracker.

    Attributes:
        origin: name of the tracker.
        number: 1 for its first run in this process.
    """

    def __init__(self, origin, number):
        self.origin = origin
        self.number = number
        self.files = 0
        self.params = {}
        self.seen = set()
        self.counts = {}

    def metric(self, name, value, step=None):
        """Record a number; tell whether it is one."""
        if isinstance(value, (str, bytes)) or value is None:
            return False
        try:
            value = float(value)
        except (TypeError, ValueError):
            return False
        self.seen.add(name)
        name = name if self.number == 1 else "run-%d/%s" % (self.number, name)
        journal.report(name, value, step, self.origin)
        return True

    def metrics(self, values, step=None, between=".", before=""):
        """Record the numbers of a dictionary; return what is none, by full name."""
        others = {}
        for name, value in list(values.items()):
            name = before + str(name)
            if isinstance(value, dict) or hasattr(value, "items"):
                others.update(self.metrics(value, step, between, name + between))
            elif not self.metric(name, value, step):
                others[name] = value
        return others

    def config(self, values):
        """Record settings that the script chose, as far as they have changed."""
        news = {}
        for name, value in values.items():
            value = plain(value)
            if name not in self.params or self.params[name] != value:
                self.params[str(name)] = news[str(name)] = value
        if news and not journal.is_worker():
            scope = "" if self.number == 1 else "run-%d" % self.number
            journal.params(scope, news, self.origin)

    def about(self, **facts):
        """Record what the script said of the tracker's run; None is nothing."""
        facts = {name: plain(value) for name, value in facts.items() if value not in (None, (), [])}
        if facts and not journal.is_worker():
            scope = self.origin if self.number == 1 else "%s-%d" % (self.origin, self.number)
            journal.params(scope, facts, self.origin)

    def file(self, path, name=None, role=None, title=None, step=None):
        """Keep a file, or all of a directory, as an output.

        Args:
            path: of it. What is not in the run directory is copied to `outputs/<tracker>/`.
            name: of the copy.
            role: `model`, `figure`, ...; None to judge by the file's name.
            title: what the tracker calls it.
            step: at which it was logged.
        """
        path = os.path.abspath(os.fspath(path))
        if self.files >= MOST_FILES or journal.is_worker() or not os.path.exists(path):
            return
        name = name or os.path.basename(path)
        if os.path.isdir(path):
            for directory, inner, names in os.walk(path):
                inner[:] = [n for n in inner if n not in (".git", "__pycache__")]
                for one in names:
                    full = os.path.join(directory, one)
                    relative = os.path.relpath(full, path)
                    self.file(full, "%s/%s" % (name, relative), role, title, step)
            return
        self.files += 1
        if not is_inside(path):
            if os.path.getsize(path) > MOST_FILE_BYTES:
                text = "`%s`, logged to %s, is above 1 GiB and was not copied into the run"
                journal.remark("autolog", text % (path, self.origin))
                return
            path = self._copy(path, name)
        role = role or role_of(path)
        journal.output(path, role, title=title, step=step, origin=self.origin)

    def write(self, name, data):
        """Write bytes to a file below `outputs/<tracker>/`; return its path."""
        path = self._place(name)
        media._write(path, data)
        return path

    def _copy(self, path, name):
        target = self._place(name)
        media._copy(path, target)
        return target

    def _place(self, name):
        part = self.origin if self.number == 1 else "%s-%d" % (self.origin, self.number)
        return media._place("outputs", "%s/%s" % (part, name))


def run_of(origin, key):
    """Return the tracker's run with this key, a new one if need be; None if it is one too many."""
    tracked = _runs.get((origin, key))
    if tracked is None:
        if journal.record_directory() is None:
            return None
        number = next(_numbers.setdefault(origin, count(1)))
        if number > MOST_RUNS:
            if number == MOST_RUNS + 1:
                text = "more than %d runs of %s in one process: others are not recorded"
                journal.remark("autolog", text % (MOST_RUNS, origin))
            return None
        tracked = _runs[origin, key] = Tracked(origin, number)
    return tracked


def flat(tree, between=".", before=""):
    """Return a nested dictionary as one, names joined."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, between, "%s%s%s" % (before, name, between)))
        else:
            found[before + str(name)] = value
    return found


def watch_property(owner, name, tell):
    """Call `tell(object, value)` after a property of a class was set."""
    watched = owner.__dict__[name]
    setter = watched.fset

    def change(self, value):
        setter(self, value)
        try:
            tell(self, value)
        except PROBLEMS as error:
            journal.failure("%s.%s" % (owner.__name__, name), error)

    setattr(owner, name, watched.setter(change))


def role_of(path):
    """Return what a file is, by its name."""
    return media._role_of(path)


def say_offline(origin, what):
    """Say in the record that a tracker was told to stay offline because it has no key."""
    text = "%s has no API key here: %s, so that the script neither asks nor fails"
    journal.remark("tracker-offline", text % (origin, what))


def from_text(text):
    """Return the value that a setting had before it became a text."""
    if not isinstance(text, str):
        return text
    known = {"True": True, "False": False, "None": None}
    if text in known:
        return known[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def is_inside(path):
    """Tell whether a file is in the run directory, and no link to elsewhere."""
    return media._is_inside(path) and not os.path.islink(path)
