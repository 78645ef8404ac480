"""Say in a README how a container is built and run, and what is to be known of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from reenact import __version__
from reenact.actions.container.draft import Mount, Written
from reenact.model.metrics import SAMPLED
from reenact.model.run import Run

_MOST_METRICS = 50
_MOST_OUTPUTS = 100


def readme(run: Run, written: Written, *, has_gpus: bool, with_apptainer: bool) -> str:
    """Return the text.

    Args:
        run: which runs again.
        written: its context.
        has_gpus: there were some where it ran.
        with_apptainer: there is a definition for Apptainer.
    """
    mounts = "".join(f" {shlex.join(mount_words(mount))}" for mount in written.mounts)
    gpus = " --gpus all" if has_gpus else ""
    lines = [
        f"# Run {run.id[:8]} again",
        "",
        f"`{run.operation.name}`, recorded {run.created:%Y-%m-%d}, by Reenact {__version__}.",
        "",
        "```text",
        f"docker build -t {written.image} .",
        f"docker run --rm{gpus}{mounts} {written.image}",
        "```",
        "",
        "podman takes the same words.",
    ]
    if with_apptainer:
        binds = "".join(f" {shlex.join(bind_words(mount))}" for mount in written.mounts)
        nv = " --nv" if has_gpus else ""
        image = f"{written.image}.sif"
        lines += ["", "```text", f"apptainer build {image} container.def"]
        lines += [f"apptainer run --contain{nv}{binds} {image}", "```"]
    if written.mounts:
        lines += ["", "Data that is not part of the image:", ""]
        for mount in written.mounts:
            where = mount.source or "not found when this was written"
            lines.append(f"* `{mount.target}`: {where}, {mount.size_bytes} bytes")
    named = [name for name in run.metrics if not name.startswith(SAMPLED)]
    if named:
        lines += ["", "It ended with:", ""]
        lines += [f"* `{name}`: {run.metrics[name].last}" for name in named[:_MOST_METRICS]]
    outputs = [file for file in run.outputs if file.digest is not None]
    if outputs:
        lines += ["", "It made, with BLAKE3 digests:", ""]
        lines += [f"* `{file.path}`: {file.digest}" for file in outputs[:_MOST_OUTPUTS]]
    if written.remarks:
        lines += ["", "Not as it was:", "", *(f"* {text}" for text in written.remarks)]
    return "\n".join(lines) + "\n"


def mount_words(mount: Mount) -> Sequence[str]:
    """Return the words that mount data, for docker and podman; a path may have any sign in it."""
    fields = ("type=bind", f"source={mount.source or 'PATH'}", f"target={mount.target}", "readonly")
    return ("--mount", ",".join(_field(text) for text in fields))


def bind_words(mount: Mount) -> Sequence[str]:
    """Return the words that mount data, for Apptainer."""
    return ("--bind", f"{mount.source or 'PATH'}:{mount.target}:ro")


def _field(text: str) -> str:
    """Quote a field of comma-separated values, where it needs that."""
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text
