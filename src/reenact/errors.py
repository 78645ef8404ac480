"""Every error that a user can meet: its code, its exit status and a way out.

ReenactError                 failed            1
├── UsageError               usage             2    the command line is wrong
│   ├── UnknownFlag          unknown-flag      2
│   ├── BadFlagValue         bad-flag-value    2
│   ├── BadFilter            bad-filter        2
│   ├── BadColumn            bad-column        2
│   ├── BadProjectFile       bad-project-file  2    `reenact.yml` cannot be used
│   └── UnmetRequirement     unmet-requirement 2    what an operation requires is not there
├── NotFound                 not-found         1    a run, a file, a blob that is not there
├── Ambiguous                ambiguous         1    a run id or label that matches several runs
├── Damaged                  damaged           1    a record or a blob is not what it was
├── DataChanged              data-changed      1    what a run has read is not as it was
├── NotPublic                not-public        1    a public bundle would hold what is private
├── StoreUnusable            store-unusable    1    the store cannot be read or written
├── TooNew                   too-new           1    written by a later version of Reenact
└── CannotRun                cannot-run        125  `run` could not start the command
"""

from __future__ import annotations

from typing import ClassVar

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DIFFERS = 3
EXIT_PARTLY = 4
EXIT_BUG = 70
EXIT_CANNOT_RUN = 125
EXIT_INTERRUPTED = 130


class ReenactError(Exception):
    """A problem that the user can act on: one line, and a hint that names the way out."""

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ReenactError):
    """The command line or the arguments of an action are wrong."""

    code = "usage"
    exit_status = EXIT_USAGE


class UnknownFlag(UsageError):
    """A flag was set that the operation does not have."""

    code = "unknown-flag"


class BadFlagValue(UsageError):
    """A flag was set to a value that the operation refuses: its type or its choices."""

    code = "bad-flag-value"


class BadFilter(UsageError):
    """A filter expression cannot be understood."""

    code = "bad-filter"


class BadColumn(UsageError):
    """A column expression cannot be understood."""

    code = "bad-column"


class BadProjectFile(UsageError):
    """A project file cannot be used; the message begins with file and line."""

    code = "bad-project-file"


class UnmetRequirement(UsageError):
    """What an operation requires is not there; the message begins with file and line."""

    code = "unmet-requirement"


class NotFound(ReenactError):
    """What was named does not exist."""

    code = "not-found"


class Ambiguous(ReenactError):
    """What was named is several things."""

    code = "ambiguous"


class Damaged(ReenactError):
    """A record or a blob was changed behind our back and cannot be trusted."""

    code = "damaged"


class DataChanged(ReenactError):
    """The data of a run that is to be run again is not as it was."""

    code = "data-changed"


class NotPublic(ReenactError):
    """Something private would be in a bundle that is to be public."""

    code = "not-public"


class StoreUnusable(ReenactError):
    """The store cannot be created, read or written."""

    code = "store-unusable"


class TooNew(ReenactError):
    """A record was written by a later version of Reenact than this one."""

    code = "too-new"


class CannotRun(ReenactError):
    """The command could not be started; the user's script has not run."""

    code = "cannot-run"
    exit_status = EXIT_CANNOT_RUN
