"""Start the command of a run in a container, with the seeds that it had.

This file is copied into containers and executed there, by the container's own Python, with nothing of
this package at hand but the probe: `python -I start.py PROBE COMMAND…`.
"""

import os
import signal
import subprocess
import sys
import tempfile
from types import FrameType
from typing import List, Optional  # noqa: UP035  # for any Python 3 that a container may have


def start(probe: str, words: List[str]) -> int:  # noqa: UP006  # as above
    """Run the command as Reenact runs it: the probe seeds the first process of a group of its own.

    Returns:
        Its exit status, as a shell tells it.
    """
    record = tempfile.mkdtemp(prefix="reenact-")
    os.mkdir(record + "/probe")
    path = os.environ.get("PYTHONPATH")
    env = dict(
        os.environ,
        PYTHONPATH=probe + (os.pathsep + path if path else ""),
        REENACT_RECORD_DIR=record,
        REENACT_SUPERVISOR=str(os.getpid()),
        REENACT_AUTOLOG="off",
    )
    child = subprocess.Popen(words, env=env, start_new_session=True)

    def forward(number: int, frame: Optional[FrameType]) -> None:  # noqa: ARG001, UP045  # as above
        os.killpg(child.pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(start(sys.argv[1], sys.argv[2:]))
