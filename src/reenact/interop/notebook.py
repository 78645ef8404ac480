"""Execute a notebook with nbclient: `python -E -P notebook.py train.ipynb --python PATH`.

This is a program of its own, in Reenact's own interpreter; the options keep it apart from what the
project puts on Python's path. The kernel of a Python notebook is the
interpreter that it is given; kernels of other languages are found by the name that the notebook
says. The kernel stays in our process group, so that whoever stops the group stops it, too.

What cells print goes to our standard output and error as it comes. The notebook with its outputs is
written beside the original as `train.executed.ipynb`, every few seconds and at the end, however that
comes about; images among the outputs become files in `figures/`. The first cell that fails is the
last one that is executed.

Not covered: `input()` in a cell fails, because nobody can answer.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from typing import Any

if __name__ == "__main__":
    # As the last one: where Reenact is installed it is on the path already.
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from reenact.project.notebook import read_notebook
from reenact.project.operation import NOTEBOOK_SUFFIX
from reenact.store.files import delete_tree, read_file, write_atomically

_SAVE_S = 2.0
_IMAGES = {"image/png": "png", "image/jpeg": "jpg", "image/gif": "gif", "image/svg+xml": "svg"}
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def executed_name(notebook: str) -> str:
    """Return what the executed copy of a notebook is called."""
    return notebook[: -len(NOTEBOOK_SUFFIX)] + ".executed" + NOTEBOOK_SUFFIX


def main(words: Sequence[str]) -> int:
    """Execute a notebook; return the exit status."""
    parser = argparse.ArgumentParser(prog="notebook.py")
    parser.add_argument("notebook", help="what to execute")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the kernel")
    options = parser.parse_args(words)
    # What libraries of ours say is not the notebook's.
    warnings.simplefilter("ignore")
    execution = _Execution(options.notebook, options.python)
    return asyncio.run(execution.run())


class _Client(NotebookClient):
    """Passes on what cells print."""

    def process_message(self, message: dict[str, Any], cell: Any, index: int) -> Any:
        """Take a message of the kernel."""
        if message["msg_type"] == "stream":
            content = message["content"]
            _print(content.get("text", ""), is_error=content.get("name") == "stderr")
        return super().process_message(message, cell, index)


class _InOurGroup(LocalProvisioner):
    """Starts kernels in our own process group, not in a session of their own."""

    async def launch_kernel(self, cmd: list[str], **options: Any) -> Any:
        """Start the kernel."""
        env = {**options["env"], "JPY_PARENT_PID": str(os.getpid())}
        self.process = subprocess.Popen(  # noqa: ASYNC220  # nothing else goes on by then
            cmd, env=env, cwd=options.get("cwd"), stdin=subprocess.DEVNULL
        )
        self.pid = self.process.pid
        # Signals are for the kernel alone: its group is ours.
        self.pgid = None
        return self.connection_info


class _Execution:
    def __init__(self, path: str, python: str) -> None:
        self.path = os.path.abspath(path)
        self.name = path
        content = read_file(self.path)
        self.read = read_notebook(content, path)
        self.document: Any = nbformat.reads(content.decode(), as_version=4)  # type: ignore[no-untyped-call]
        self.target = executed_name(self.path)
        self.directory = os.environ.get("REENACT_STAGE") or os.path.dirname(self.path)
        self.numbers = {cell.position: cell.number for cell in self.read.cells}
        # What cells show becomes files here, and not in the kernel as well.
        self.env = {**os.environ, "REENACT_NOTEBOOK": "1"}
        self.sockets: str | None = None
        self.journal: Any = None
        if "REENACT_RECORD_DIR" in self.env:
            shim = os.path.join(os.path.dirname(os.path.dirname(__file__)), "probe", "shim")
            sys.path.append(os.path.abspath(shim))
            # It finds the run by the environment.
            from _reenact import journal

            self.journal = journal
        self.manager = self._make_manager(python)
        self.client = _Client(
            self.document,
            km=self.manager,
            timeout=None,
            record_timing=False,
            resources={"metadata": {"path": os.path.dirname(self.path)}},
        )
        self.signal: signal.Signals | None = None
        self.saved_at = 0.0

    def _make_manager(self, python: str) -> Any:
        if self.read.language == "python":
            argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            spec = KernelSpec(argv=argv, display_name="Python 3", language="python")
            name = "python3"
        else:
            name = self.read.kernel or self.read.language
            spec = find_kernel(name, python)
        options = {}
        if self.read.language == "python":
            # Sockets that only we can open, and names short enough for them.
            self.sockets = tempfile.mkdtemp(prefix="reenact-")
            options = {"transport": "ipc", "ip": f"{self.sockets}/kernel"}
            options["connection_file"] = f"{self.sockets}/kernel.json"
        manager = AsyncKernelManager(kernel_name=name, **options)
        manager._kernel_spec = spec  # noqa: SLF001  # there is no other way to choose argv
        manager.provisioner = _InOurGroup(parent=manager, kernel_id=name, kernel_spec=spec)
        return manager

    async def run(self) -> int:
        """Execute all cells; return the exit status, or die of the signal that ended us."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        # The kernel gets SIGINT itself: its cell fails, or goes on, as a script would.
        loop.add_signal_handler(signal.SIGINT, self._note, signal.SIGINT)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._leave, number, task)
        status = 1
        try:
            await self.client.async_start_new_kernel(env=self.env)
            await self.client.async_start_new_kernel_client()
            status = await self._execute()
        except asyncio.CancelledError:
            pass
        except (RuntimeError, OSError) as error:
            # Before the first cell: nbclient says of its kernel that it died.
            if self.signal is None:
                _print(f"error: the kernel did not start: {error}\n", is_error=True)
        finally:
            self._save()
            await self._end_kernel()
        if self.signal is not None and status != 0:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
            signal.signal(self.signal, signal.SIG_DFL)
            os.kill(os.getpid(), self.signal)
        return status

    async def _execute(self) -> int:
        for index, cell in enumerate(self.document.cells):
            if cell.cell_type != "code":
                continue
            number = self.numbers[index]
            try:
                await self.client.async_execute_cell(
                    cell, index, execution_count=self.client.code_cells_executed + 1
                )
            except CellExecutionError as error:
                self._keep_images(cell, number)
                return self._fail(error, number)
            except DeadKernelError:
                return await self._die(number)
            self._keep_images(cell, number)
            if time.monotonic() - self.saved_at > _SAVE_S:
                self._save()
        return 0

    def _fail(self, error: CellExecutionError, number: int) -> int:
        """Say which cell failed and how; return the exit status."""
        if error.ename == "SystemExit":
            code = error.evalue.strip()
            if code in ("", "None"):
                return 0
            if code.lstrip("-").isdigit():
                return int(code) & 0xFF
        lines: list[str] = next(
            (
                output.get("traceback", [])
                for cell in self.document.cells
                for output in cell.get("outputs", [])
                if output.output_type == "error" and output.get("ename") == error.ename
            ),
            [],
        )
        text = "\n".join(lines)
        plain = _ANSI.sub("", text)
        if text:
            _print((text if sys.stderr.isatty() else plain) + "\n", is_error=True)
        said = f"{error.ename}: {error.evalue}" if error.evalue else error.ename
        _print(f"error: cell {number} of {self.name} failed: {said}\n", is_error=True)
        if self.journal is not None:
            self.journal.event(
                "exception",
                type=error.ename,
                message=error.evalue,
                traceback=plain or None,
                cell=number,
            )
        return 1

    async def _die(self, number: int) -> int:
        process = self.manager.provisioner.process
        code = process.poll() if process is not None else None
        if code == 0:
            return 0  # The cell has called `exit()`.
        how = f" with status {code}" if code is not None else ""
        if code is not None and code < 0:
            how = f" of {signal.Signals(-code).name}"
        _print(f"error: the kernel died{how} in cell {number} of {self.name}\n", is_error=True)
        return 128 - code if code is not None and code < 0 else code or 1

    def _note(self, number: signal.Signals) -> None:
        self.signal = number

    def _leave(self, number: signal.Signals, task: asyncio.Task[Any]) -> None:
        self.signal = number
        task.cancel()

    async def _end_kernel(self) -> None:
        process = self.manager.provisioner.process
        if self.signal is not None and process is not None and process.poll() is None:
            process.kill()
        try:
            await self.client._async_cleanup_kernel()  # noqa: SLF001  # it is only done for its own
        except Exception as error:  # noqa: BLE001  # the notebook has ended already
            if process is not None and process.poll() is None:
                process.kill()
            _print(f"warning: the kernel did not end well: {error}\n", is_error=True)
        if self.sockets is not None:
            delete_tree(self.sockets)

    def _save(self) -> None:
        self.saved_at = time.monotonic()
        try:
            content: str = nbformat.writes(self.document)  # type: ignore[no-untyped-call]
            write_atomically(self.target, content.encode("utf-8", "surrogatepass"), sync=False)
        except (OSError, ValueError) as error:
            _print(f"warning: the executed notebook was not kept: {error}\n", is_error=True)
            return
        if self.journal is not None:
            self.journal.output(self.target, "notebook")

    def _keep_images(self, cell: Any, number: int) -> None:
        """Keep the images among a cell's outputs as files."""
        count = 0
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            mime = next((mime for mime in _IMAGES if mime in data), None)
            if mime is None:
                continue
            count += 1
            part = f"-{count}" if count > 1 else ""
            path = f"{self.directory}/figures/cell-{number}{part}.{_IMAGES[mime]}"
            try:
                content = _decode(mime, data[mime])
                os.makedirs(os.path.dirname(path), exist_ok=True)
                write_atomically(path, content, sync=False)
            except (OSError, ValueError) as error:
                _print(f"warning: an image was not kept: {error}\n", is_error=True)
                continue
            if self.journal is not None:
                self.journal.output(path, "figure", title=f"cell {number}")


def find_kernel(name: str, python: str) -> Any:
    """Return the specification of a kernel, also of one that only `python`'s environment has."""
    manager = KernelSpecManager()
    prefix = os.path.dirname(os.path.dirname(python))
    manager.kernel_dirs = [f"{prefix}/share/jupyter/kernels", *manager.kernel_dirs]
    try:
        return manager.get_kernel_spec(name)
    except NoSuchKernel:
        there = ", ".join(sorted(manager.find_kernel_specs())) or "none"
        sys.exit(f"error: there is no kernel `{name}`\n\nhint: kernels that are there: {there}")


def _decode(mime: str, data: str | list[str]) -> bytes:
    text = "".join(data) if isinstance(data, list) else data
    return text.encode() if mime == "image/svg+xml" else base64.b64decode(text)


def _print(text: str, *, is_error: bool) -> None:
    """Pass text on at once."""
    view = memoryview(text.encode("utf-8", "backslashreplace"))
    try:
        while view:
            view = view[os.write(2 if is_error else 1, view) :]
    except OSError:
        pass  # Nobody reads it any more.


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
