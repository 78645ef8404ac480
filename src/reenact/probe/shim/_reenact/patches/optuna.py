"""Studies of Optuna 5.0 that a script runs by itself.

Recorded is each trial at its end, in whichever thread: its values (`optuna.value`) and its params
that are numbers (`optuna.params.x`) at the trial's number, the best value so far, and a row in a
table with its state and all its params. The study's directions, sampler and pruner, how many trials
came to which end and the best trial's params are params of the run.

Not covered: trials that other processes of the same study make.
"""

import _thread
import csv
import io
import os
import weakref

from _reenact import journal
from _reenact.wrap import version_of, wrap

_ORIGIN = "optuna"

_MOST_STUDIES = 50
_MOST_ROWS = 100000

_studies = {}
_counter = [0]
_lock = _thread.allocate_lock()


def after_optuna(module):
    """Say that Optuna is captured."""
    journal.framework("optuna", version_of(module))


def after_optuna_study__tell(module):
    """Hear of each trial's end: `optimize` and `tell` both pass here."""
    wrap(module, "_tell_with_warning", after=_told)


def after_optuna_study_study(module):
    """Hear of what a study is asked to do."""
    wrap(module.Study, "optimize", before=_began)


class _Study(object):
    """What is known of one study."""

    def __init__(self, study, scope):
        key = id(study)
        self.reference = weakref.ref(study, lambda _: _studies.pop(key, None))
        self.scope = scope
        self.prefix = scope.replace("Study", "optuna")
        self.seen = set()
        self.counts = {}
        self.best = None
        self.table = _Table("%s-trials.csv" % self.prefix)


def _known(study):
    with _lock:
        known = _studies.get(id(study))
        if known is None or known.reference() is not study:
            if journal.is_worker() or _counter[0] >= _MOST_STUDIES:
                return None
            _counter[0] += 1
            known = _studies[id(study)] = _Study(study, journal.scope("Study"))
            _tell_study(known, study)
        return known


def _tell_study(known, study):
    directions = [direction.name.lower() for direction in study.directions]
    settings = {
        "direction": directions[0] if len(directions) == 1 else directions,
        "sampler": type(study.sampler).__name__,
        "pruner": type(study.pruner).__name__,
        "storage": type(study._storage).__name__,
    }
    # Optuna's own names are different each time.
    if not study.study_name.startswith("no-name-"):
        settings["name"] = study.study_name
    journal.params(known.scope, settings, _ORIGIN)


def _began(args, kwargs):
    known = _known(args[0])
    if known is None:
        return
    names = ("self", "func", "n_trials", "timeout", "n_jobs")
    given = dict(zip(names, args))
    given.update(kwargs)
    settings = {name: given[name] for name in names[2:] if given.get(name) is not None}
    journal.params(known.scope, settings, _ORIGIN)


def _told(result, args, kwargs, state):
    study = kwargs.get("study", args[0] if args else None)
    trial = kwargs.get("trial", args[1] if len(args) > 1 else None)
    known = _known(study)
    if known is None:
        return
    storage = study._storage
    if isinstance(trial, int):
        number = storage.get_trial_id_from_study_id_trial_number(study._study_id, trial)
    else:
        number = trial._trial_id
    trial = storage.get_trial(number)
    with _lock:
        if trial.number in known.seen or not trial.state.is_finished():
            return
        known.seen.add(trial.number)
        _tell_trial(known, study, trial)


def _tell_trial(known, study, trial):
    values = trial.values or ()
    is_single = len(study.directions) == 1
    # A pruned trial's value is the last that it had reached, not comparable with those of others.
    for position, value in enumerate(values if trial.state.name == "COMPLETE" else ()):
        name = "value" if is_single else "value_%d" % position
        journal.report("%s.%s" % (known.prefix, name), value, trial.number, origin=_ORIGIN)
    for name, value in trial.params.items():
        if isinstance(value, (int, float)):
            name = "%s.params.%s" % (known.prefix, name)
            journal.report(name, value, trial.number, origin=_ORIGIN)
    ending = trial.state.name.lower()
    known.counts[ending] = known.counts.get(ending, 0) + 1
    settings = {"trials_" + name: count for name, count in known.counts.items()}
    if is_single and ending == "complete":
        settings.update(_best(known, study, trial))
    journal.params(known.scope, settings, _ORIGIN)
    if len(known.seen) <= _MOST_ROWS:
        known.table.add(_row(trial, values))


def _best(known, study, trial):
    try:
        best = study.best_trial
    except ValueError:
        # None of them meets the constraints.
        return {}
    name = "%s.best_value" % known.prefix
    journal.report(name, best.value, trial.number, origin=_ORIGIN)
    if best.number == known.best:
        return {}
    known.best = best.number
    return {"best_trial": best.number, "best_value": best.value, "best_params": best.params}


def _row(trial, values):
    row = {"number": trial.number, "state": trial.state.name}
    for position, value in enumerate(values):
        row["value" if len(values) == 1 else "value_%d" % position] = repr(value)
    if trial.duration is not None:
        row["seconds"] = "%.6f" % trial.duration.total_seconds()
    row.update(("params." + name, value) for name, value in trial.params.items())
    return row


class _Table(object):
    """Rows in a CSV file below the run directory; each is there before the next trial ends."""

    def __init__(self, name):
        directory = journal.run_directory()
        self.path = directory and "%s/tables/%s" % (directory, name)
        self.columns = []
        self.rows = []

    def add(self, row):
        """Add a row; what is a new column for it is one for all."""
        if self.path is None:
            return
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns += new
            self._rewrite()
        else:
            self._append(row)

    def _rewrite(self):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        half = "%s.%d" % (self.path, os.getpid())
        with open(half, "w", newline="") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(half, self.path)
        journal.output(self.path, "table", title="trials", origin=_ORIGIN)

    def _append(self, row):
        text = io.StringIO()
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(row)
        with open(self.path, "a", newline="") as file:
            file.write(text.getvalue())
