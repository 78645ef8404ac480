"""What decides about chance in a run: its seed, what makes frameworks deterministic, thread counts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reenact.actions.ground import RunRequest
from reenact.errors import UsageError
from reenact.execute.chances import read_told
from reenact.model.environment import Runtime, ThreadPool
from reenact.model.paths import text_to_path
from reenact.model.run import Randomness, Run
from reenact.store.store import RECORD_DIRECTORY

SEED = "REENACT_SEED"
"""Tells the probe the run's seed; users set it as they would say `--seed`, or to `off`."""
SUPERVISOR = "REENACT_SUPERVISOR"
"""Process id by which the run's first process knows that it is the first."""
DETERMINISTIC = "REENACT_DETERMINISTIC"
HASH_SEED = "PYTHONHASHSEED"
OFF = ("off", "no", "false")
_LARGEST = (1 << 63) - 1
_DRAWN_BITS = 31

SWITCHES = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_CUDNN_DETERMINISTIC": "1",
    "MKL_CBWR": "AUTO",
    "MKL_DYNAMIC": "FALSE",
    "OMP_DYNAMIC": "FALSE",
}
"""Variables that `--deterministic` sets where the user has not set them."""
_OF_SWITCHES = (
    *SWITCHES,
    "XLA_FLAGS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "OPENBLAS_CORETYPE",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Variables on which results depend to the last bit."""
_FRAMEWORK_SWITCHES = {
    "torch": (
        "deterministic_algorithms",
        "cudnn_deterministic",
        "cudnn_benchmark",
        "float32_matmul_precision",
    ),
    "tensorflow": ("op_determinism",),
    "jaxlib": (
        "default_matmul_precision",
        "default_prng_impl",
        "enable_x64",
        "threefry_partitionable",
    ),
}
"""Framework, as `leaving.py` of the probe names it -> what it says of itself in the end."""
_XLA_FLAG = "--xla_gpu_deterministic_ops=true"
_THREAD_VARIABLES = {
    "openmp": ("OMP_NUM_THREADS",),
    "torch": ("OMP_NUM_THREADS",),
    "openblas": ("OPENBLAS_NUM_THREADS",),
    "mkl": ("MKL_NUM_THREADS",),
    "blis": ("BLIS_NUM_THREADS",),
    "numexpr": ("NUMEXPR_NUM_THREADS", "NUMEXPR_MAX_THREADS"),
    "tensorflow": ("TF_NUM_INTRAOP_THREADS",),
    "xla": ("NPROC",),
}
"""What a library of numbers, as in `ThreadPool.api`, reads its number of threads from."""
_PINNED = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
)


def choose_seed(
    request: RunRequest, env: Mapping[str, str], *, is_wanted: bool = True
) -> int | None:
    """Return the seed that a run gets; None where nothing is to be seeded.

    What the request says counts most, then the run that is restarted, then `REENACT_SEED`; without
    any of them it is drawn.

    Args:
        request: what was asked for.
        env: the environment of the run, as the user gives it.
        is_wanted: one is drawn where nobody says anything.

    Raises:
        UsageError: a seed is none.
    """
    if request.no_seed:
        if request.seed is not None:
            raise UsageError("`--seed` and `--no-seed` exclude each other")
        return None
    if request.seed is not None:
        return checked_seed(request.seed)
    if request.restart is not None:
        return request.restart.seed
    text = said_seed(request.variables, env)
    if text is None and not is_wanted:
        return None
    if text is None:
        return draw_seed()
    if text.strip().lower() in OFF:
        return None
    if not text.strip().isdecimal():
        raise UsageError(
            f"`{SEED}={text}` is no seed", hint="a seed is a whole number from 0; `off` is for none"
        )
    return checked_seed(int(text))


def draw_seed() -> int:
    """Return a seed that nobody has chosen."""
    return int.from_bytes(os.urandom(8), "big") >> (64 - _DRAWN_BITS)


def said_seed(variables: Mapping[str, str], env: Mapping[str, str]) -> str | None:
    """Return what the user has set `REENACT_SEED` to; that of a run around this one is not his."""
    if SEED in variables:
        return variables[SEED]
    return None if SUPERVISOR in env else env.get(SEED)


def with_seed(
    env: Mapping[str, str], request: RunRequest, seed: int | None, *, is_deterministic: bool
) -> dict[str, str]:
    """Return the environment of a run with all that decides about chance in it.

    Args:
        env: as the user and the operation give it.
        request: what was asked for.
        seed: of the run.
        is_deterministic: frameworks shall compute without chance where they can.
    """
    found = _without_outer_run(env)
    found.update({n: v for n, v in request.restored.items() if n not in request.variables})
    former = request.restart
    if former is not None and former.seed == seed:
        found = {**_hash_seed_of(former), **found}
    if seed is None:
        found[SEED] = "off"
    else:
        found[SEED] = str(seed)
        found.setdefault(HASH_SEED, str(seed % (1 << 32)))
    if is_deterministic:
        found[DETERMINISTIC] = "1"
        threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
        for name, value in (*SWITCHES.items(), *((name, threads) for name in _PINNED)):
            # Told so, TensorFlow refuses to draw without a seed.
            if seed is not None or name != "TF_DETERMINISTIC_OPS":
                found.setdefault(name, value)
        if "xla_gpu_deterministic_ops" not in found.get("XLA_FLAGS", ""):
            found["XLA_FLAGS"] = f"{found.get('XLA_FLAGS', '')} {_XLA_FLAG}".strip()
    return found


def seed_differences(request: RunRequest, env: Mapping[str, str], former: Run) -> list[str]:
    """Say in what a run that is there differs from one whose seed or determinism was asked for."""
    found = []
    is_asked = request.seed is not None or request.no_seed
    if is_asked or said_seed(request.variables, env) is not None:
        seed = choose_seed(request, env)
        if seed != former.seed:
            then, now = ("none" if n is None else str(n) for n in (former.seed, seed))
            found.append(f"{then} → {now}")
    if request.deterministic and not former.is_deterministic:
        found.append("it was not `--deterministic`")
    return found


def is_deterministic(request: RunRequest) -> bool:
    """Tell whether frameworks are told to compute without chance: a restarted run is as before."""
    return request.deterministic or (
        request.restart is not None and request.restart.is_deterministic
    )


def begun(env: Mapping[str, str]) -> Randomness | None:
    """Return what decides about chance in a run from its start."""
    return Randomness(hash_seed=env[HASH_SEED]) if HASH_SEED in env else None


def randomness_of(run: Run, directory: str, runtime: Mapping[str, Any] | None) -> Randomness | None:
    """Return what decided about chance in a run whose processes have ended.

    Args:
        run: the record so far.
        directory: the run directory.
        runtime: what the run's main process told at its end; None if it did not.
    """
    told = read_told(f"{directory}/{RECORD_DIRECTORY}", directory, text_to_path(run.project.root))
    known = run.randomness or Randomness()
    found = Randomness(
        hash_seed=known.hash_seed,
        seeded=told.seeded,
        switches=_switches({} if runtime is None else runtime),
        chances=told.chances,
    )
    return None if found == Randomness() else found


def _switches(runtime: Mapping[str, Any]) -> dict[str, str]:
    variables = runtime.get("variables") or {}
    found = {name: str(variables[name]) for name in _OF_SWITCHES if name in variables}
    for framework, names in _FRAMEWORK_SWITCHES.items():
        said = (runtime.get("frameworks") or {}).get(framework) or {}
        for name in names:
            if (value := said.get(name)) is not None:
                text = str(value).lower() if isinstance(value, bool) else str(value)
                found[f"{framework.removesuffix('lib')}.{name}"] = text
    return found


def variables_to_restore(
    run: Run, runtime: Runtime | None, set_then: Mapping[str, str], *, has_same_seed: bool = True
) -> dict[str, str]:
    """Return the variables by which another run has the thread counts and hash seed of this one.

    Args:
        run: that is to be reproduced.
        runtime: what its process had loaded in the end; None where that is not known.
        set_then: environment variables that were set when it ran, as far as they are recorded.
        has_same_seed: the other run has the seed of this one.
    """
    found = _hash_seed_of(run) if has_same_seed else {}
    pools: Sequence[ThreadPool] = () if runtime is None else runtime.pools or ()
    found.update(_threads_of(pools))
    names = {name for names in _THREAD_VARIABLES.values() for name in names}
    found.update({name: value for name, value in set_then.items() if name in names})
    return found


def _hash_seed_of(run: Run) -> dict[str, str]:
    if run.randomness is None or run.randomness.hash_seed is None:
        return {}
    return {HASH_SEED: run.randomness.hash_seed}


def _threads_of(pools: Iterable[ThreadPool]) -> dict[str, str]:
    counts: dict[str, int] = {}
    for pool in pools:
        if pool.threads is None:
            continue
        for name in _THREAD_VARIABLES.get(pool.api, ()):
            # Of two runtimes of a sort in one process one may have been held back by the script.
            counts[name] = max(counts.get(name, 0), pool.threads)
    return {name: str(count) for name, count in counts.items()}


def _without_outer_run(env: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the seed of a run that this one is started in."""
    found = dict(env)
    if SUPERVISOR in found:
        outer = found.pop(SEED, "")
        if outer.isdecimal() and found.get(HASH_SEED) == str(int(outer) % (1 << 32)):
            del found[HASH_SEED]
        del found[SUPERVISOR]
        found.pop(DETERMINISTIC, None)
    return found


def checked_seed(seed: int) -> int:
    """Return a seed.

    Raises:
        UsageError: it is none.
    """
    if not 0 <= seed <= _LARGEST:
        raise UsageError(
            f"{seed} is no seed", hint="a seed is a whole number from 0 to 9223372036854775807"
        )
    return seed
