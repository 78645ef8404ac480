"""Stop a reproduction as soon as one of its series has parted from the original's."""

from __future__ import annotations

from reenact.actions.reproduce.judgement import Rules, was_cut
from reenact.errors import NotFound
from reenact.judge.names import is_time
from reenact.judge.series import SeriesWatch
from reenact.model.identity import RunId
from reenact.model.metrics import kind_of
from reenact.store.metric_log import MetricLog, read_series
from reenact.store.store import RECORD_DIRECTORY, Store, StoredRun


class FailFast:
    """Follows the series of a running reproduction, and says when one has parted from the original's.

    Bits count where nothing is tolerated, as in the verdict. Times are left out.
    """

    def __init__(self, original: StoredRun, store: Store, rules: Rules) -> None:
        self._store = store
        self._directory = f"{original.directory}/{RECORD_DIRECTORY}"
        found = read_series(self._directory, kinds=original.record.kinds_of_series)
        self._is_cut = was_cut(original)
        self._kinds = original.record.kinds_of_series or {}
        self._series = {
            name: ((series.steps, series.values), rules.tolerance(name))
            for name, series in found.items()
            if not is_time(name)
        }
        self._watches: dict[RunId, dict[str, SeriesWatch]] = {}
        self._read: dict[RunId, int] = {}
        self._parted: set[RunId] = set()

    def look(self, run_id: RunId) -> str | None:
        """Return which series has parted beyond its tolerance since the last look, and where."""
        if run_id in self._parted:
            return None
        watches = self._watches.setdefault(run_id, {})
        try:
            log = MetricLog(f"{self._store.directory(run_id)}/{RECORD_DIRECTORY}")
            start = self._read.get(run_id, 0)
            points = list(log.points_and_kinds(start))
        except (OSError, NotFound):
            return None
        self._read[run_id] = start + len(points)
        for point, kind in points:
            known = self._series.get(point.name)
            wanted = self._kinds.get(point.name)
            if known is None or wanted not in (None, kind_of(kind)):
                continue
            watch = watches.get(point.name)
            if watch is None:
                points_of, tolerance = known
                watch = watches[point.name] = SeriesWatch(points_of, tolerance, is_cut=self._is_cut)
            parting = watch.feed([point.step], [point.value])
            if parting is not None:
                self._parted.add(run_id)
                return (
                    f"stopped: `{point.name}` parted at step {parting.step}: "
                    f"{parting.original} -> {parting.reproduced}"
                )
        return None
