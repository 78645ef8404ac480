r"""Lines of output that belong together and hold no metrics: tracebacks, warnings, printed objects.

A traceback begins with its headline and ends with the first line that is not indented, the
exception. A warning as Python prints it (`file:3: UserWarning: ...`) ends with its source line, which
two blanks indent; its message may have several lines before that, so those are held back until it
is known: a warning without a source line has none of them. A printed object is a call that stays
open at a line's end, `Adam (` or `SVC(C=1.0,`, and the indented lines that follow until it is closed.
"""

from __future__ import annotations

import copy
import re
from enum import Enum

_TRACEBACK = "Traceback (most recent call last)"
_WARNING = re.compile(r"\b[A-Z]\w*Warning: ")
_WARNING_OF_PYTHON = re.compile(r"\S.*:[0-9]+: (?:[a-z_]\w*\.)*[A-Z]\w*Warning: ")
_OPEN_CALL = re.compile(r"(?:\b[A-Za-z_]\w*|\b[A-Z]\w* )\((?:[^()]|\([^()]*\))*$")
_OPEN_END = re.compile(rb"[(,][ \t\r]*(?:\n|$)")
_MOST_OBJECT = 1000
"""Lines of a printed object."""
_MOST_MESSAGE = 12
"""Lines of a warning's message after its first: scikit-learn's longest has 8."""


class Verdict(Enum):
    """What is to be done with a line."""

    READ = "read"
    """It belongs to nothing: there may be metrics on it."""
    LEAVE = "leave"
    """It holds no metrics."""
    HOLD = "hold"
    """It may belong to a warning: the next lines tell."""
    LEAVE_HELD = "leave held"
    """It ends a warning, to which the lines that were held back belong; it holds no metrics."""
    READ_HELD = "read held"
    """The lines that were held back belong to nothing; this one is to be judged again after them."""


class Blocks:
    """Follows one stream of output line by line.

    Attributes:
        is_open: the next line may belong to what came before. Otherwise only a line for which
            `may_open` is true needs to be judged.
    """

    def __init__(self) -> None:
        self.is_open = False
        self._traceback: str | None = None
        self._after_warning = False
        self._message = 0
        self._object = 0
        self._depth = 0

    def foresee(self, text: str) -> str | None:
        """Say what the next line would belong to, without taking it in; None for nothing."""
        verdict = copy.copy(self).judge(text)
        if verdict in (Verdict.READ, Verdict.READ_HELD):
            return None
        if self._traceback is not None or _TRACEBACK in text:
            return "a traceback"
        return "a printed object" if self._object else "a warning"

    def judge(self, text: str) -> Verdict:
        """Say what is to be done with the next line."""
        if self.is_open:
            verdict = self._continued(text)
            self.is_open = (
                self._traceback is not None or self._after_warning
                or self._message > 0 or self._object > 0
            )  # fmt: skip
            if verdict is not Verdict.READ:
                return verdict
        return self._opened(text)

    def release(self) -> None:
        """Forget a warning whose end has not come: what was held back belongs to nothing."""
        self._message = 0

    def _opened(self, text: str) -> Verdict:
        if _TRACEBACK in text:
            # `[rank0]: Traceback ...`: the lines that follow open with the same.
            prefix = text[: text.index(_TRACEBACK)]
            self._traceback = prefix if prefix.startswith("[") else ""
        elif "Warning: " in text and _WARNING.search(text):
            if _WARNING_OF_PYTHON.match(text):
                self._message = 1
            else:
                self._after_warning = True
        else:
            if _opens_object(text):
                self._object = 1
                self._depth = text.count("(") - text.count(")")
                self.is_open = True
            return Verdict.READ
        self.is_open = True
        return Verdict.LEAVE

    def _continued(self, text: str) -> Verdict:
        if self._message:
            return self._in_message(text)
        if self._object:
            return self._in_object(text)
        if self._after_warning:
            self._after_warning = False
            if text.startswith("  "):
                return Verdict.LEAVE
        prefix = self._traceback
        if prefix is None:
            return Verdict.READ
        if text.startswith(prefix) and text[len(prefix) : len(prefix) + 1] in ("", " "):
            return Verdict.LEAVE
        # The first line that is not indented names the exception and ends it.
        self._traceback = None
        return Verdict.LEAVE

    def _in_message(self, text: str) -> Verdict:
        if text.startswith("  ") and text[2:3].strip():
            self._message = 0
            return Verdict.LEAVE_HELD
        self._message += 1
        if self._message > _MOST_MESSAGE or _TRACEBACK in text or _WARNING.search(text):
            self._message = 0
            return Verdict.READ_HELD
        return Verdict.HOLD

    def _in_object(self, text: str) -> Verdict:
        self._object += 1
        first = text[:1]
        if (first and first not in " \t)" and not text.startswith("Parameter Group ")) or (
            self._object > _MOST_OBJECT
        ):
            self._object = 0
            return Verdict.READ
        self._depth += text.count("(") - text.count(")")
        if self._depth <= 0:
            self._object = 0
        return Verdict.LEAVE


def leaves_open(data: bytes) -> bool:
    """Say quickly whether one of some lines may leave a call open; no means no."""
    return _OPEN_END.search(data) is not None


def may_open(text: str) -> bool:
    """Say quickly whether something may begin on a line; no means no."""
    return "r" in text or text.rstrip()[-1:] in ("(", ",")


def _opens_object(text: str) -> bool:
    """Say whether a call stays open at the end of a line."""
    text = text.rstrip()
    if text[-1:] not in ("(", ",") or text.count("(") <= text.count(")") or len(text) > 2000:
        return False
    return _OPEN_CALL.search(text) is not None
