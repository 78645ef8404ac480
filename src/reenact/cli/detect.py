"""`reenact detect`."""

from __future__ import annotations

from typing import Any

import click

from reenact.actions.context import Context
from reenact.actions.detect import Detected, detect
from reenact.cli.options import as_json
from reenact.cli.output import print_json, show_size, visible
from reenact.model.environment import Machine
from reenact.model.words import counted


@click.command(
    "detect",
    epilog="""\b
Examples:
  reenact detect
  reenact detect --python .venv/bin/python
  reenact detect --json
""",
)
@click.option("--python", metavar="PYTHON", help="Ask this interpreter.")
@as_json
@click.pass_obj
def detect_command(home: str | None, /, **options: Any) -> None:
    """Show what a run's record would say of environment and machine. Nothing is written."""
    found = detect(Context(store=home), options["python"])
    if options["as_json"]:
        print_json({"ok": True, **found._asdict()})
        return
    _print_machine(found.machine)
    _print_state(found)
    _print_environment(found)
    for what, value in (("machine", found.machine), ("environment", found.environment)):
        for name, reason in value.reasons.items():
            _line("unknown", f"{what} {name}: {reason}")


def _print_machine(machine: Machine) -> None:
    _line("machine", machine.hostname)
    _line("system", ", ".join(filter(None, (machine.os, machine.kernel, machine.architecture))))
    _line("libc", machine.libc)
    cores = [
        f"{machine.cores_logical} logical" if machine.cores_logical else None,
        f"{machine.cores_physical} physical" if machine.cores_physical else None,
        counted(machine.sockets, "socket") if machine.sockets else None,
        counted(machine.numa_nodes, "NUMA node") if machine.numa_nodes else None,
        "virtual" if machine.is_virtual else None,
    ]
    _line("cpu", machine.cpu)
    _line("cores", ", ".join(filter(None, cores)))
    _line("features", " ".join(machine.cpu_features or ()))
    _line("memory", show_size(machine.memory_bytes))
    for index, gpu in enumerate(machine.gpus or ()):
        facts = [
            gpu.name,
            show_size(gpu.memory_bytes) if gpu.memory_bytes else None,
            f"capability {gpu.capability}" if gpu.capability else None,
            gpu.pcie,
            f"{gpu.power_limit_w:.0f} W" if gpu.power_limit_w else None,
        ]
        _line(f"gpu {index}", ", ".join(filter(None, facts)))
    if machine.gpus == ():
        _line("gpus", "none")
    for link in machine.gpu_links:
        count = f" x{link.count}" if link.count else ""
        _line("link", f"gpu {link.a} - gpu {link.b}: {link.kind}{count}")
    _line("driver", machine.gpu_driver)
    _line("cuda", machine.cuda_driver and f"up to {machine.cuda_driver}")


def _print_state(found: Detected) -> None:
    state = found.state
    facts = [
        None if state.load is None else f"load {state.load}",
        None
        if state.memory_available_bytes is None
        else f"{show_size(state.memory_available_bytes)} memory available",
        state.governor,
        *(
            f"gpu {index} at {gpu.percent:.0f} %"
            for index, gpu in enumerate(state.gpus)
            if gpu.percent is not None
        ),
    ]
    _line("now", ", ".join(filter(None, facts)))
    granted = [
        None if found.cpus_granted is None else f"{found.cpus_granted:g} CPUs",
        f"{show_size(found.memory_limit_bytes)} memory" if found.memory_limit_bytes else None,
    ]
    _line("granted", ", ".join(filter(None, granted)))


def _print_environment(found: Detected) -> None:
    environment = found.environment
    python = environment.python
    if python is not None:
        _line("python", f"{python.version} ({python.implementation}, {python.prefix_kind})")
        _line("build", python.build)
    _line("at", found.python)
    if environment.packages is not None:
        _line("packages", str(len(environment.packages)))
        for package in environment.packages:
            if package.origin is not None:
                exact = package.origin.commit or package.origin.digest
                at = f" at {exact[:12]}" if exact else ""
                place = f"{package.origin.kind} {package.origin.url}{at}"
                _line("", f"{package.name} {package.version} ({place})")
    if environment.conda:
        _line("conda", counted(len(environment.conda), "package"))
    for tool in environment.tools or ():
        _line(tool.name, f"{tool.version or 'did not answer'} ({tool.path})")
    for name, value in environment.variables.items():
        _line("variable", f"{name}={value}")


def _line(name: str, text: str | None) -> None:
    if text:
        print(f"{name:<12}{visible(text)}")
