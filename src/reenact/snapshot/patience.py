"""Ask something that may never answer.

Promised: the caller goes on in time. Not promised: the question ends; the thread that asks it stays
behind until the process ends, which it does not hold up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def ask(question: Callable[[], _T], limit_s: float, *, who: str) -> _T:
    """Return what `question` returns, or raise what it raises.

    Raises:
        TimeoutError: there was no answer within `limit_s` seconds; `who` stands in the message.
    """
    answers: list[_T] = []
    errors: list[BaseException] = []

    def put() -> None:
        try:
            answers.append(question())
        except BaseException as error:  # noqa: BLE001  # it is raised again where it was asked
            errors.append(error)

    thread = threading.Thread(target=put, name="reenact-question", daemon=True)
    thread.start()
    thread.join(limit_s)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"{who} did not answer within {limit_s:g} s")
    return answers[0]
