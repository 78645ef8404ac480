"""Build the image of a container and run it: what it makes is judged against what the run made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from reenact.actions.container.draft import Written
from reenact.actions.container.engine import Apptainer, Engine, is_apptainer
from reenact.errors import ReenactError
from reenact.interop.container import WORK
from reenact.judge.outputs.output import judge_output
from reenact.judge.outputs.printed import Printed, judge_printed
from reenact.judge.overall import counts
from reenact.judge.pairing import pair_paths
from reenact.model.paths import path_to_text, text_to_path
from reenact.model.verdict import OutputVerdict, Verdict
from reenact.store.blobs import digest_file
from reenact.store.output_log import STDOUT, read_output
from reenact.store.store import RECORD_DIRECTORY, StoredRun

_HOST = "reenact"
"""Name of the machine that a container is; some files have it in their name."""

MOST_PRINTED = 64 << 20
"""Bytes. What was printed is compared up to here."""

_CAME_BACK = (Verdict.IDENTICAL, Verdict.WITHIN_TOLERANCE)


class Outcome(NamedTuple):
    """What a container did.

    Attributes:
        status: exit status of its command.
        directory: what it left of the project.
        outputs: how each output of the run came back.
        printed: how that came back which it printed; None where nothing was.
    """

    status: int
    directory: str
    outputs: tuple[OutputVerdict, ...]
    printed: OutputVerdict | None

    @property
    def same(self) -> tuple[str, ...]:
        """Outputs that came back, byte by byte or by their content."""
        return tuple(one.path for one in self.outputs if one.verdict in _CAME_BACK)

    @property
    def different(self) -> tuple[OutputVerdict, ...]:
        """Results with another content, or that it did not make.

        What was printed counts where there are no files: in it is much that is no result.
        """
        judged = self.outputs or ((self.printed,) if self.printed is not None else ())
        return tuple(one for one in judged if one.verdict is Verdict.DIFFERS and counts(one))


def run_container(
    stored: StoredRun,
    written: Written,
    engine: str,
    env: Mapping[str, str],
    say: Callable[[str], None],
    *,
    output: int = 1,
) -> Outcome:
    """Build and run; output passes through.

    Args:
        stored: the run.
        written: its context.
        engine: what `find_engine` returned.
        env: the user's variables.
        say: told what is done.
        output: file descriptor for what it prints.

    Raises:
        ReenactError: the image cannot be built, or data that it needs is not to be found.
    """
    lost = [mount.target for mount in written.mounts if mount.source is None]
    if lost:
        raise ReenactError(
            f"the container needs {lost[0]}, which is not to be found",
            hint="see its README.md: mount what the run read, and run it yourself",
        )
    results = os.path.abspath(f"{written.directory}/results")
    kind = Apptainer if is_apptainer(engine) else Engine
    container = kind(engine, written, env)
    say(f"building {written.image}: {container.log} has what is said")
    container.build()
    say("running it")
    status = container.run(results, output, host=_HOST)
    with open(container.printed, "rb") as file:
        printed = file.read(MOST_PRINTED)
    outputs = tuple(_judge(stored, results))
    return Outcome(status, results, outputs, _judge_printed(stored, printed))


def _judge(stored: StoredRun, directory: str) -> Iterator[OutputVerdict]:
    """Say how the outputs of a run that lie in its project came back."""
    root = f"{stored.record.project.root}/"
    outputs = {file.path.removeprefix(root): file for file in stored.record.outputs}
    before = {
        path: file
        for path, file in outputs.items()
        if file.digest is not None and not path.startswith("/")
    }
    hosts = (_HOST, os.uname().nodename)
    for path, other in pair_paths(before, _files_below(directory), hosts):
        if path is None:
            continue
        file = before[path]
        place = None if other is None else os.path.join(directory, text_to_path(other))
        yield judge_output(
            path,
            os.path.join(stored.directory, text_to_path(file.path)),
            place,
            original_digest=file.digest,
            reproduced_digest=None if place is None else digest_file(place)[0],
            directories=(stored.directory, WORK),
        )


def _judge_printed(stored: StoredRun, printed: bytes) -> OutputVerdict | None:
    run = stored.record
    today = datetime.now(UTC)
    times = [time for time in (run.started, run.ended, today) if time is not None]
    days = sorted({time.astimezone(zone).date() for time in times for zone in (UTC, None)})
    before = bytearray()
    for piece in read_output(f"{stored.directory}/{RECORD_DIRECTORY}"):
        if piece.stream == STDOUT:
            before += piece.data
        if len(before) > MOST_PRINTED:
            break
    return judge_printed(
        Printed(bytes(before[:MOST_PRINTED]), days),
        Printed(printed, days),
        directories=(stored.directory, WORK),
    )


def _files_below(directory: str) -> Iterator[str]:
    for place, _, names in os.walk(directory):
        for name in sorted(names):
            path = os.path.join(place, name)
            # What a link leads to may be ours, and no result of the container.
            if os.path.isfile(path) and not os.path.islink(path):
                yield path_to_text(os.path.relpath(path, directory))
