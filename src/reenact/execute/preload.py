"""The library that is preloaded into a run's processes: compiled on first use, then kept.

It is kept in the user's cache, else in the store's, by the digest of its source, the kind of
machine and the version of the C library; which compiler made it does not matter. It is used only
after it has been seen to work in a process of this machine.

Not there: without a C compiler, elsewhere than on Linux with the GNU C library, or where programs
may not be executed from a cache. Then nothing is preloaded, and `reason` says why.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from reenact.execute.opened import OPENED_FILE, create_log, read_log
from reenact.store.blobs import digest_bytes
from reenact.store.files import read_file, temporary_name, write_atomically

SOURCE = os.path.join(os.path.dirname(os.path.dirname(__file__)), "probe", "preload", "preload.c")

_COMPILERS = ("cc", "gcc", "clang")
_OPTIONS = ("-O2", "-std=gnu11", "-fPIC", "-shared", "-fvisibility=hidden", "-fno-stack-protector")
_PATIENCE_S = 10.0
_TRY_AGAIN_S = 3600.0
"""What failed once is tried again after that time: somebody may have installed what was missing."""
_NAME = "reenact.so"
_32_BIT = {"lib/x86_64-linux-gnu": "lib/i386-linux-gnu", "lib64": "lib", "lib": "lib32"}
"""What `$LIB` is for programs of 32 bits, by what it is for those of 64."""


class Preload(NamedTuple):
    """What to preload, as LD_PRELOAD names it; or why there is nothing."""

    library: str | None
    reason: str | None = None


class _Done(NamedTuple):
    """How a program ended, and what it wrote to standard error."""

    status: int
    complaint: str


def find_preload(caches: Sequence[str], env: Mapping[str, str]) -> Preload:
    """Return the library; compile it where that has not been done yet.

    The loader reads `$LIB` in the path as the directory of libraries that fit the program, so that
    programs of 32 bits find an empty library of theirs, and those of another C library find none:
    neither prints a message.

    Args:
        caches: directories to keep it in, of which the first that can be used is taken.
        env: where the compiler is looked for.
    """
    if sys.platform != "linux":
        return Preload(None, f"no library is preloaded on {sys.platform}")
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (ValueError, OSError):
        libc = None
    if not libc:
        return Preload(None, "the C library of this system is not the GNU one")
    try:
        source = read_file(SOURCE)
    except OSError as error:
        return Preload(None, f"its source is missing: {error.strerror}")
    words = [digest_bytes(source)[:16], os.uname().machine, libc.replace("glibc ", "")]
    name = f"preload-{'-'.join(words)}"
    reason = "no cache can be written"
    for cache in caches:
        if any(sign in cache for sign in " :;$\n\t"):
            reason = f"the loader cannot read the name of `{cache}`"
            continue
        directory = f"{cache}/{name}"
        if _is_made(directory):
            return Preload(f"{directory}/$LIB/{_NAME}")
        failed = f"{directory}.failed"
        try:
            if time.time() - os.stat(failed).st_mtime < _TRY_AGAIN_S:
                return Preload(None, read_file(failed).decode("utf-8", "replace"))
        except OSError:
            pass
        try:
            os.makedirs(cache, exist_ok=True)
            made = _make(directory, env)
        except OSError as error:
            reason = f"`{cache}` cannot be written: {error.strerror}"
            continue
        return made
    return Preload(None, reason)


def _places() -> tuple[str, ...]:
    """Return what `$LIB` may be."""
    return f"lib/{os.uname().machine}-linux-gnu", "lib64", "lib"


def _is_made(directory: str) -> bool:
    # What is not there when it is named makes the loader complain in every process.
    return any(os.path.exists(f"{directory}/{at}/{_NAME}") for at in _places())


def _make(directory: str, env: Mapping[str, str]) -> Preload:
    # Imported here: nearly all runs find it made.
    import shutil

    path = env.get("PATH", os.defpath)
    compiler = next(
        (found for name in _COMPILERS if (found := shutil.which(name, path=path))), None
    )
    if compiler is None:
        return Preload(None, "no C compiler was found to make it with")
    beside = temporary_name(directory)
    os.mkdir(beside)
    try:
        problem = _compile(compiler, beside, env) or _put_in_place(compiler, beside, env)
        if problem is not None:
            write_atomically(f"{directory}.failed", problem.encode(), sync=False)
            return Preload(None, problem)
        try:
            os.rename(beside, directory)
        except OSError:
            # Another run has made it at the same time, or somebody has taken the library away.
            if not _is_made(directory):
                shutil.rmtree(directory, ignore_errors=True)
                os.rename(beside, directory)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Preload(f"{directory}/$LIB/{_NAME}")


def _compile(compiler: str, directory: str, env: Mapping[str, str]) -> str | None:
    """Compile into `directory`; return what went wrong."""
    words = [compiler, *_OPTIONS, "-o", f"{directory}/{_NAME}", SOURCE, "-ldl"]
    done = _run(words, env)
    if done is None:
        return f"`{compiler}` took more than {_PATIENCE_S:.0f} s"
    if done.status != 0:
        text = done.complaint.split("\n")
        return f"`{compiler}` failed: {next((t for t in text if 'error' in t), text[0])[:200]}"
    return None


def _put_in_place(compiler: str, directory: str, env: Mapping[str, str]) -> str | None:
    """Find out what `$LIB` is here, and that the library works; return what went wrong."""
    import shutil

    for at in _places():
        os.makedirs(f"{directory}/{at}")
        shutil.copy(f"{directory}/{_NAME}", f"{directory}/{at}/{_NAME}")
        problem = _try_out(directory, env)
        if problem is None:
            os.unlink(f"{directory}/{_NAME}")
            if os.uname().machine == "x86_64":
                _make_empty(compiler, f"{directory}/{_32_BIT.get(at, 'lib32')}", env)
            return None
        shutil.rmtree(f"{directory}/{at.partition('/')[0]}")
    return problem


def _try_out(directory: str, env: Mapping[str, str]) -> str | None:
    """Start a program with the library; return what went wrong."""
    import shutil

    program = shutil.which("true", path=env.get("PATH", os.defpath)) or "/bin/true"
    create_log(directory)
    try:
        preload = f"LD_PRELOAD={directory}/$LIB/{_NAME}"
        done = _run(["/usr/bin/env", preload, f"REENACT_RECORD_DIR={directory}", program], {})
        if done is None or done.status != 0:
            return f"`{program}` does not run with it"
        if done.complaint:
            return done.complaint[:200]
        if not read_log(directory).is_preloaded:
            return f"`{program}` runs without it"
        return None
    finally:
        os.unlink(f"{directory}/{OPENED_FILE}")


def _make_empty(compiler: str, directory: str, env: Mapping[str, str]) -> None:
    """Make a library without content for programs of 32 bits; they print a warning without it."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError:
        return
    _run(
        [compiler, "-m32", "-shared", "-nostdlib", "-o", f"{directory}/{_NAME}", "-x", "c",
         os.devnull], env
    )  # fmt: skip


def _run(words: list[str], env: Mapping[str, str]) -> _Done | None:
    """Run a program; None where it takes too long."""
    import subprocess

    quiet = {name: value for name, value in env.items() if not name.startswith("LC_")}
    try:
        done = subprocess.run(
            words,
            env={**quiet, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return _Done(done.returncode, done.stderr.decode("utf-8", "replace").strip())
