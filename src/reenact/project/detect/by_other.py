"""Command lines that are recognised, but whose flags are not worked out."""

from __future__ import annotations

from collections.abc import Callable

from reenact.project.detect.parameters import Parameters
from reenact.project.detect.trace import Trace
from reenact.project.detect.values import UNKNOWN, Function, Method, Native, Site, Value

_READERS = {
    "fire.Fire": "fire",
    "jsonargparse.CLI": "jsonargparse",
    "jsonargparse.auto_cli": "jsonargparse",
    "lightning.pytorch.cli.LightningCLI": "LightningCLI",
    "pytorch_lightning.cli.LightningCLI": "LightningCLI",
    "pytorch_lightning.utilities.cli.LightningCLI": "LightningCLI",
    "docopt.docopt": "docopt",
    "plac.call": "plac",
    "cyclopts.run": "cyclopts",
    "draccus.parse": "draccus",
    "pyrallis.parse": "pyrallis",
}
_WRAPPERS = {
    "draccus.wrap": "draccus",
    "pyrallis.wrap": "pyrallis",
}


def register(trace: Trace) -> None:
    """Teach a trace the names by which other frameworks read the command line."""
    for name, framework in _READERS.items():
        trace.externals[name] = _reader(framework)
    for name, framework in _WRAPPERS.items():
        trace.externals[name] = _wrapper(framework)


class Other(Native):
    """A command line of another framework."""

    kind = "none"
    open_ended = True

    def __init__(self, framework: str) -> None:
        self.framework = framework

    def call(self, site: Site) -> Value:
        """Read the command line."""
        text = f"flags are read by {self.framework}: they are passed on as they are given"
        site.trace.remark(f"{site.at}: {text}")
        return site.trace.use(self)

    def collect(self, found: Parameters) -> None:
        """Add nothing."""


def _reader(framework: str) -> Callable[[Site], Value]:
    return lambda site: Other(framework).call(site)


def _wrapper(framework: str) -> Callable[[Site], Value]:
    def decorate(site: Site) -> Value:
        return Other(framework) if isinstance(site.get("f", 0), Function) else UNKNOWN

    return lambda _: Method(decorate)
