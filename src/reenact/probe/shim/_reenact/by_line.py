"""Standard output that writes each line at once, and fails when Python's own blocks would have.

Into a pipe Python writes blocks of about 8 kB. Where nobody reads any more, the script feels it when
a block is written: when it is full, at `flush()`, at the end. Lines that go out one by one would fail
at another moment and end with another exit status. So the first line that fails is held back, and
from there on standard output is what it would have been all along: Python's own, in blocks.

The block that was begun when the reader left counts as read: the reader left because of the lines of
it that came early.

Not covered: `sys.stdout.buffer` with a `flush` of its own feels it one write later.
"""

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper

_BLOCK = 8192
_write = BufferedWriter.write
_flush = BufferedWriter.flush


class _ByLine(BufferedWriter):
    """What is below the text of standard output, which flushes it after each line.

    Attributes:
        text: what is above.
        last: what was written last, as long as nobody has flushed since.
        begun: bytes of the block that Python would have begun; those of `last` included.
    """

    text = None
    last = b""
    begun = 0

    def write(self, data):
        length = len(data)
        if self.begun >= _BLOCK:
            self.begun = 0
        self.begun += length
        self.last = data
        try:
            return _write(self, data)
        except BrokenPipeError:
            self.last = b""
            self.become_plain(data)
            return length

    def flush(self):
        last, self.last = self.last, b""
        try:
            _flush(self)
        except BrokenPipeError as error:
            if b"\n" not in last:
                # It is a `flush` of the script's.
                from _reenact import wrap

                wrap.leave_traceback(error)
                raise
            self.become_plain(last)
        else:
            if not last:
                self.begun = 0  # The line was out already.

    def become_plain(self, last):
        """Be Python's own from now on: no frames of ours, and the text above holds its blocks."""
        last = bytes(last)
        is_read = self.begun > len(last)
        self.flush = _flush.__get__(self)
        self.write = _write.__get__(self)
        _drop(self)
        text = self.text
        text.reconfigure(line_buffering=False)
        if is_read:
            self.write = self.forgive
        # Where it would have been.
        text.write(last.decode(text.encoding, text.errors))

    def forgive(self, data):
        """Let the block that comes next count as read."""
        self.write = _write.__get__(self)
        return len(data)

    def __repr__(self):
        return "<_io.BufferedWriter name=%r>" % self.name


_ByLine.__name__ = _ByLine.__qualname__ = "BufferedWriter"
_ByLine.__module__ = "_io"


def _drop(buffer):
    """Empty a buffer whose reader is gone; there is no function for that."""
    kept = os.dup(1)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 1)
            _flush(buffer)
        finally:
            os.dup2(kept, 1)
            os.close(nowhere)
    finally:
        os.close(kept)


def begin():
    """Let this process write to its standard output, a pipe of the supervisor's, line by line."""
    former = sys.stdout
    if type(former) is not TextIOWrapper or type(former.buffer) is not BufferedWriter:
        # `python -u`, or somebody has been here before.
        former.reconfigure(line_buffering=True)
        return
    if former is not sys.__stdout__ or former.line_buffering or former.fileno() != 1:
        former.reconfigure(line_buffering=True)
        return
    former.flush()
    raw = FileIO(1, "wb", closefd=False)
    raw.name = former.name
    size = former.buffer.__sizeof__() - BufferedWriter.__basicsize__
    buffer = _ByLine(raw, size)
    text = TextIOWrapper(buffer, former.encoding, former.errors, "\n", True)
    text.mode = former.mode
    buffer.text = text
    buffer.former = former  # Who holds it already may go on using it.
    sys.stdout = sys.__stdout__ = text
