"""What was asked of a run that is started later: a staged one, or the trials of a batch.

It lies in `.reenact/request.json`. What the record says is not in it: operation, flags, source.
"""

from __future__ import annotations

import msgspec

from reenact.actions.ground import Ground, RunRequest
from reenact.errors import Damaged
from reenact.model.identity import RunId
from reenact.model.paths import path_to_text, printable, text_to_path
from reenact.model.record import to_json
from reenact.model.run import OperationKind
from reenact.model.secrets import redact
from reenact.project.operation import find_python
from reenact.store.files import read_file, write_atomically

REQUEST_FILE = "request.json"


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options of a request that a later start needs.

    Attributes:
        python: path of the interpreter, so that it is the one of now, not of later.
        gpus_per_trial: for a batch: how many GPUs each trial gets.
        fail_fast: for a batch: nothing is started after a trial that failed.
        among, seed, no_seed, deterministic, restored: as in a request.
    """

    python: str | None = None
    tags: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    force_flags: bool = False
    snapshot: bool = True
    in_place: bool = False
    time_limit_s: float | None = None
    gpus: str | None = None
    save_models: bool = False
    keep_data: str | None = None
    trace_files: str = "preload"
    gpus_per_trial: int | None = None
    fail_fast: bool = False
    among: tuple[RunId, ...] | None = None
    seed: int | None = None
    no_seed: bool = False
    deterministic: bool = False
    restored: dict[str, str] = {}

    def request(self) -> RunRequest:
        """Return the request, without what the record says."""
        return RunRequest(
            python=None if self.python is None else text_to_path(self.python),
            tags=self.tags,
            variables=self.variables,
            force_flags=self.force_flags,
            snapshot=self.snapshot,
            in_place=self.in_place,
            time_limit_s=self.time_limit_s,
            gpus=self.gpus,
            save_models=self.save_models,
            keep_data=self.keep_data,
            trace_files=self.trace_files,
            among=self.among,
            seed=self.seed,
            no_seed=self.no_seed,
            deterministic=self.deterministic,
            restored=self.restored,
        )


def ask_later(ground: Ground, env: dict[str, str]) -> Asked:
    """Return what must be kept of a request, with the interpreter that it means today."""
    request = ground.request
    if ground.target.is_python or ground.target.kind is OperationKind.NOTEBOOK:
        python = find_python({**env, **request.variables}, request.python)
        request = msgspec.structs.replace(request, python=python)
    return asked_of(request)


def asked_of(request: RunRequest) -> Asked:
    """Return what must be kept of a request to go on with it."""
    return Asked(
        python=None if request.python is None else path_to_text(request.python),
        tags=request.tags,
        variables={n: redact(n, printable(v)) for n, v in request.variables.items()},
        force_flags=request.force_flags,
        snapshot=request.snapshot,
        in_place=request.in_place,
        time_limit_s=request.time_limit_s,
        gpus=request.gpus,
        save_models=request.save_models,
        keep_data=request.keep_data,
        trace_files=request.trace_files,
        among=request.among,
        seed=request.seed,
        no_seed=request.no_seed,
        deterministic=request.deterministic,
        restored=dict(request.restored),
    )


def write_asked(directory: str, asked: Asked) -> None:
    """Keep it in a run's `.reenact/`."""
    write_atomically(f"{directory}/{REQUEST_FILE}", to_json(asked) + b"\n", sync=False)


def read_asked(directory: str) -> Asked:
    """Read it back.

    Raises:
        Damaged: it is not there, or not what it was.
    """
    path = f"{directory}/{REQUEST_FILE}"
    try:
        return msgspec.json.decode(read_file(path), type=Asked)
    except (OSError, msgspec.DecodeError) as error:
        raise Damaged(
            f"`{path}` cannot be read: {error}", hint="run the operation itself with the same flags"
        ) from None
