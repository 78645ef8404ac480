"""In a terminal a run looks and feels as under plain `python`: keys, signals, sizes, colours."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commands import PATIENCE_S, wait_until
from fidelity import World
from terminals import Terminal

Play = Callable[[Terminal], None]


def _nothing(_: Terminal) -> None:
    pass


class Stage:
    """Plays the same scene in a terminal with plain Python and with a recorded run."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.terminals: list[Terminal] = []

    def play(
        self, script: str, play: Play = _nothing, *, shell: str | None = None
    ) -> tuple[tuple[int, bytes], tuple[int, bytes], World]:
        """Return status and screen under plain Python, the same of the run, and the run's world.

        `shell` is a command line for `sh` in which `"$@"` stands for the program.
        """
        results = []
        for kind in ("plain", "recorded"):
            world = World(self.tmp_path / kind, {"train.py": script})
            words = [sys.executable, "train.py"]
            if kind == "recorded":
                words = world.words(["train.py"])
            if shell is not None:
                words = ["sh", "-c", shell, "sh", *words]
            terminal = Terminal(words, world)
            self.terminals.append(terminal)
            play(terminal)
            results.append((terminal.end(), _screen(terminal.seen, world)))
        return results[0], results[1], world


def _screen(seen: bytes, world: World) -> bytes:
    for path in (world.run_directory, world.project):
        seen = seen.replace(os.fsencode(path), b"<here>")
    # Whether an interrupt comes during `print` or `sleep` is a matter of luck.
    seen = re.sub(rb"\n +[\^~]+\r", b"", seen)
    return re.sub(rb"(\x1b\[2m)?run f{8} [^\n]* in [^\n]*s(\x1b\[0m)?\r\n", b"", seen)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for terminal in stage.terminals:
        terminal.close()


def test_a_script_sees_a_terminal_of_the_right_size(stage: Stage) -> None:
    script = """
        import os, sys
        print([s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)])
        print(os.get_terminal_size(1), os.get_terminal_size(2), sys.stdout.line_buffering)
        print(os.ttyname(0) == os.ttyname(1), open("/dev/tty").isatty())
    """

    plain, recorded, _ = stage.play(script)

    assert recorded == plain
    assert b"columns=100, lines=30" in plain[1]


def test_bytes_and_colours_pass_and_are_stored_as_written(stage: Stage) -> None:
    script = r"""
        import sys
        sys.stdout.buffer.write(b"\x1b[31mred\x1b[0m\r 50%\r100%\n\ttab\x07 \xff\n")
        sys.stdout.flush()
        sys.stderr.write("\x1b[1mbold\x1b[0m\n")
    """

    plain, recorded, world = stage.play(script)

    assert recorded == plain
    assert world.stored() == b"\x1b[31mred\x1b[0m\r 50%\r100%\n\ttab\x07 \xff\n"
    assert world.stored("stderr") == b"\x1b[1mbold\x1b[0m\n"


def test_a_change_of_the_windows_size_reaches_the_script(stage: Stage) -> None:
    script = """
        import os, signal, time
        sizes = []
        signal.signal(signal.SIGWINCH, lambda *_: sizes.append(os.get_terminal_size().columns))
        print("ready")
        while not sizes or sizes[-1] != 77:
            time.sleep(0.01)
        print(os.get_terminal_size(1).columns, os.get_terminal_size(2).columns)
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"ready")
        terminal.resize(20, 77)

    plain, recorded, _ = stage.play(script, play)

    assert recorded == plain
    assert b"77 77" in plain[1]


def test_what_is_typed_is_echoed_and_edited_and_read(stage: Stage) -> None:
    script = """
        import sys
        print([input("name? ")])
        print([sys.stdin.readline()])
        print([sys.stdin.read()])
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"name? ")
        terminal.type(b"Adx\x7fa\r")
        terminal.wait_for(b"['Ada']")
        terminal.type(b"one two\x15three\r")
        terminal.wait_for(b"['three\\n']")
        terminal.type(b"last\r\x04")

    plain, recorded, _ = stage.play(script, play)

    assert recorded == plain
    assert b"['last\\n']" in plain[1]


def test_a_password_is_neither_shown_nor_stored(stage: Stage) -> None:
    script = """
        import getpass
        print(len(getpass.getpass()))
        print([input("again? ")])
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"Password: ")
        terminal.type(b"secret\r")
        terminal.wait_for(b"again? ")
        terminal.type(b"shown\r")

    plain, recorded, world = stage.play(script, play)

    assert recorded == plain
    assert b"secret" not in plain[1] + recorded[1] + world.stored()


def test_single_keys_are_read_without_a_line_end(stage: Stage) -> None:
    script = """
        import sys, termios, tty
        before = termios.tcgetattr(0)
        tty.setcbreak(0)
        print("press")
        print([sys.stdin.read(1)])
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        print([input("line? ")])
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"press")
        terminal.type(b"q")
        terminal.wait_for(b"line? ")
        terminal.type(b"line\r")

    plain, recorded, _ = stage.play(script, play)

    assert recorded == plain


def test_the_debugger_works(stage: Stage) -> None:
    script = """
        x = 41
        breakpoint()
        print("x is", x)
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"(Pdb) ")
        terminal.type(b"x = x + 1\r")
        terminal.wait_for(b"(Pdb) ")
        terminal.type(b"c\r")
        terminal.wait_for(b"x is 42")

    plain, recorded, _ = stage.play(script, play)

    assert recorded == plain


def test_ctrl_c_reaches_the_script_first_and_its_cleanup_runs(stage: Stage) -> None:
    script = """
        import time
        try:
            print("ready"); time.sleep(600)
        finally:
            print("cleaned up")
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"ready")
        terminal.type(b"\x03")

    plain, recorded, world = stage.play(script, play)

    assert recorded == plain
    assert plain[0] == 130
    assert b"^C" in plain[1]
    assert '"interrupt"' in world.reenact("show", "--json")


def test_a_script_that_handles_ctrl_c_goes_on(stage: Stage) -> None:
    script = """
        import time
        try:
            print("ready"); time.sleep(600)
        except KeyboardInterrupt:
            print("stopping early")
        print([input("save? ")])
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"ready")
        terminal.type(b"\x03")
        terminal.wait_for(b"save? ")
        terminal.type(b"yes\r")

    plain, recorded, _ = stage.play(script, play)

    assert recorded == plain
    assert plain[0] == 0


def test_ctrl_backslash_quits(stage: Stage) -> None:
    script = """
        import resource, time
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        print("ready"); time.sleep(600)
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"ready")
        terminal.type(b"\x1c")

    plain, recorded, _ = stage.play(script, play)

    assert recorded == plain
    assert plain[0] == 131


def test_a_shell_script_around_the_run_feels_ctrl_c_too(stage: Stage) -> None:
    script = """
        import time
        print("ready"); time.sleep(600)
    """

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"ready")
        terminal.type(b"\x03")

    shell = "trap 'echo shell felt it' INT; \"$@\"; echo status $?"
    plain, recorded, _ = stage.play(script, play, shell=shell)

    assert recorded == plain
    assert b"shell felt it\r\nstatus 130" in plain[1]


def test_the_terminal_is_left_as_it_was(stage: Stage) -> None:
    script = """
        import os, signal, termios, tty
        tty.setraw(0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    shell = 'stty -g > before; "$@"; stty -g > after; stty sane; cmp before after && echo same'

    _, recorded, _ = stage.play(script, shell=shell)

    assert b"same" in recorded[1]


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ('"$@" | cat', b"[True, False, True] None"),
        ('"$@" 2>&1 >/dev/null', b""),
        ('"$@" 2> errors; cat errors', b"[True, True, False] 100"),
        ('echo x | "$@"', b"[False, True, True] 100"),
        ('"$@" < /dev/null > out; cat out', b"[False, False, True] None"),
    ],
)
def test_only_what_is_a_terminal_looks_like_one(stage: Stage, shell: str, expected: bytes) -> None:
    script = """
        import os, sys
        ttys = [s.isatty() for s in (sys.stdin, sys.stdout, sys.stderr)]
        print(ttys, os.get_terminal_size().columns if ttys[1] else None)
    """

    plain, recorded, _ = stage.play(script, shell=shell)

    assert recorded == plain
    assert expected in plain[1]


def test_keys_are_left_to_a_pager_while_the_script_reads_none(stage: Stage) -> None:
    script = """
        import os, sys, time
        print("from the script", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
    """
    pager = "import sys; print(sys.stdin.readline().strip()); t = open('/dev/tty'); "
    pager += "print('key', t.readline().strip()); open(sys.argv[1], 'w').close()"

    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"from the script\r\n")
        terminal.type(b"space\r")
        terminal.wait_for(b"key space")

    world_go = f'{sys.executable} -c "{pager}"'
    shell = f'"$@" | {world_go} "$GO"'
    results = []
    for kind in ("plain", "recorded"):
        world = World(stage.tmp_path / kind, {"train.py": script})
        go = world.project / "go" if kind == "plain" else world.run_directory / "go"
        words = [sys.executable, "train.py"] if kind == "plain" else world.words(["train.py"])
        world.env["GO"] = str(go)
        terminal = Terminal(["sh", "-c", shell, "sh", *words], world)
        stage.terminals.append(terminal)
        play(terminal)
        results.append((terminal.end(), _screen(terminal.seen, world)))

    assert results[1] == results[0]


def test_input_works_while_output_goes_into_a_pipe(stage: Stage) -> None:
    def play(terminal: Terminal) -> None:
        terminal.wait_for(b"name? ")
        terminal.type(b"Ada\r")

    plain, recorded, _ = stage.play("print([input('name? ')])", play, shell='"$@" | cat')

    assert recorded == plain
    assert b"['Ada']" in plain[1]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with job control")
def test_ctrl_z_stops_the_run_and_fg_continues_it(stage: Stage) -> None:
    script = """
        import os, time
        print("ready", os.getpid(), flush=True)
        print([input("name? ")])
    """
    screens = []
    for kind in ("plain", "recorded"):
        world = World(stage.tmp_path / kind, {"train.py": script})
        words = [sys.executable, "train.py"] if kind == "plain" else world.words(["train.py"])
        terminal = Terminal(["bash", "--norc", "--noediting", "-i"], world)
        stage.terminals.append(terminal)
        terminal.wait_for(b"$ ")
        terminal.type((" ".join(words) + "; echo status $?\r").encode())
        terminal.wait_for(b"ready ")
        terminal.wait_for(b"name? ")
        pid = int(terminal.seen.split(b"ready ")[-1].split()[0])
        terminal.type(b"\x1a")
        terminal.wait_for(b"Stopped")
        terminal.wait_for(b"$ ")
        wait_until(lambda pid=pid: _state(pid) == "T", what="it is stopped")
        terminal.type(b"echo in the shell\r")
        terminal.wait_for(b"\nin the shell")
        terminal.wait_for(b"$ ")
        terminal.type(b"fg\r")
        terminal.wait_for(b"train.py")
        wait_until(lambda pid=pid: _state(pid) == "S", what="it goes on")
        terminal.type(b"Ada\r")
        terminal.wait_for(b"['Ada']")
        terminal.wait_for(b"$ ")
        terminal.type(b"exit\r")
        status = terminal.end()
        screen = _screen(terminal.seen, world).replace(" ".join(words).encode(), b"<command>")
        screens.append((status, re.sub(rb"ready \d+|Stopped +", b"", screen)))

    assert screens[1] == screens[0]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs a shell with job control")
def test_a_background_job_leaves_the_keys_to_the_shell(stage: Stage) -> None:
    script = """
        import os, time
        print("started", flush=True)
        while not os.path.exists("go"):
            time.sleep(0.01)
        print("done", flush=True)
    """
    world = World(stage.tmp_path, {"train.py": script})
    terminal = Terminal(["bash", "--norc", "--noediting", "-i"], world)
    stage.terminals.append(terminal)

    terminal.wait_for(b"$ ")
    terminal.type((" ".join(world.words(["train.py"])) + " &\r").encode())
    terminal.wait_for(b"started")
    terminal.type(b"echo the shell reads; tty -s && echo on a terminal\r")
    terminal.wait_for(b"\nthe shell reads")
    (world.run_directory / "go").touch()
    terminal.wait_for(b"done")
    terminal.type(b"wait; exit\r")

    assert terminal.end() == 0


@pytest.mark.parametrize("program", ["tqdm", "rich"])
def test_progress_bars_look_as_always(stage: Stage, program: str) -> None:
    pytest.importorskip(program)
    scripts = {
        "tqdm": """
            from tqdm import tqdm
            bar = tqdm(total=3, mininterval=0, bar_format="{l_bar}{bar}|{n_fmt}/{total_fmt}{postfix}")
            for i in range(3):
                bar.set_postfix(loss=1 / (i + 1))
                bar.update()
            bar.close()
        """,
        "rich": """
            from rich.console import Console
            from rich.progress import Progress
            console = Console()
            print(console.is_terminal, console.width, console.color_system)
            console.rule("[bold red]title")
            with Progress("{task.description}", console=console, auto_refresh=False) as bar:
                task = bar.add_task("train", total=2)
                for _ in range(2):
                    bar.update(task, advance=1, refresh=True)
        """,
    }

    plain, recorded, _ = stage.play(scripts[program])

    assert recorded == plain
    assert b"\r" in plain[1]


def test_a_terminal_that_goes_away_hangs_the_run_up(stage: Stage) -> None:
    script = """
        import signal, sys, time
        def note(number, _):
            open("felt", "w").write(str(number))
            sys.exit(9)
        signal.signal(signal.SIGHUP, note)
        print("ready"); time.sleep(600)
    """
    world = World(stage.tmp_path, {"train.py": script})
    terminal = Terminal(world.words(["train.py"]), world)

    terminal.wait_for(b"ready")
    os.close(terminal.master)

    terminal.process.wait(PATIENCE_S)
    assert (world.run_directory / "felt").read_text() == str(int(signal.SIGHUP))
    assert '"hangup"' in world.reenact("show", "--json")


def _state(pid: int) -> str:
    import psutil

    status = psutil.Process(pid).status()
    return {psutil.STATUS_STOPPED: "T"}.get(status, "S")
