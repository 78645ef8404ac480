"""A script does under `reenact run` what it does under plain `python`: same files, same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands import PATIENCE_S
from fidelity import Both, Link, World, interpreters, run_both
from reenact.snapshot.rules import FOLDED_FROM

# --- what a script sees of itself ---

_SELF = """
    import json, os, sys
    main = sys.modules["__main__"]
    print(json.dumps({
        "name": __name__,
        "file": __file__,
        "spec": __spec__ and [__spec__.name, __spec__.origin],
        "loader": type(__loader__).__name__,
        "package": __package__,
        "cached": globals().get("__cached__"),
        "doc": __doc__,
        "argv": sys.argv,
        "path": sys.path,
        "orig_argv": getattr(sys, "orig_argv", None),
        "flags": list(sys.flags),
        "executable": sys.executable,
        "modules": sorted(n for n in sys.modules if "reenact" in n or n == "sitecustomize"),
        "cwd": os.getcwd(),
        "pwd": os.environ.get("PWD") == os.getcwd(),
        "main_is_us": main.__dict__ is globals(),
        "same_file": os.path.samefile(main.__file__, sys.argv[0]),
        "line_of_names": sorted(k for k in globals() if k.startswith("__")),
    }, indent=1))
"""


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
@pytest.mark.parametrize("command", [("train.py", "--x", "1 2"), ("-m", "train", "a")])
def test_a_script_sees_itself_as_under_plain_python(
    tmp_path: Path, python: str, command: tuple[str, ...]
) -> None:
    after = ["--", python, *command]

    both = run_both(tmp_path, {"train.py": _SELF}, *command, recorded=after, python=python)

    recorded, plain = json.loads(both.recorded.stdout), json.loads(both.plain.stdout)
    ours = set(recorded.pop("modules")) - set(plain.pop("modules"))
    assert {name.partition(".")[0] for name in ours} <= {"_reenact", "sitecustomize"}
    assert recorded == plain
    assert both.recorded.stderr == both.plain.stderr == b""


@pytest.mark.parametrize("spelling", ["train.py", "./train.py", "sub/../train.py"])
def test_the_file_of_a_script_has_the_form_in_which_it_was_named(
    tmp_path: Path, spelling: str
) -> None:
    files = {"train.py": "import sys; print(__file__, sys.argv, sys.path[0])", "sub/x.txt": ""}

    both = run_both(tmp_path, files, spelling)

    assert both.recorded == both.plain


def test_a_script_with_an_absolute_name_runs_from_its_copy(tmp_path: Path) -> None:
    script = "import os\nlr = 0.1\nprint(lr, os.path.abspath(__file__), os.getcwd())\n"
    world = World(tmp_path, {"sub/train.py": script, "pyproject.toml": ""})
    words = world.words([str(world.project / "sub/train.py"), "lr=0.5"])

    done = subprocess.run(words, cwd=world.project, env=world.env, capture_output=True, check=True)

    here = world.run_directory
    assert done.stdout.decode() == f"0.5 {here}/sub/train.py {here}\n"


def test_docstrings_comments_and_source_can_be_inspected(tmp_path: Path) -> None:
    script = '''
        """What this is."""
        import inspect
        LR = 0.1

        def loss(x):  # a comment
            return x * LR

        print(inspect.getsource(loss), inspect.getsourcefile(loss), inspect.getcomments(loss))
        print(__doc__, loss.__code__.co_firstlineno, inspect.getmodule(loss).__name__)
    '''

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


def test_type_hints_resolve_under_postponed_annotations(tmp_path: Path) -> None:
    script = """
        from __future__ import annotations
        import dataclasses, typing
        LR: float = 0.1

        @dataclasses.dataclass
        class Config:
            lr: float = LR
            other: Config | None = None

        print(typing.get_type_hints(Config), Config(), __annotations__)
    """

    both = run_both(
        tmp_path,
        {"train.py": script},
        "train.py",
        recorded=["train.py", "LR=0.25"],
        plain_files={"train.py": script.replace("0.1", "0.25")},
    )

    assert both.recorded == both.plain


# --- flags ---


def test_arguments_reach_argparse_as_typed(tmp_path: Path) -> None:
    script = """
        import argparse, sys
        p = argparse.ArgumentParser()
        p.add_argument("data")
        p.add_argument("--lr", type=float, default=0.1)
        p.add_argument("--name", default="")
        p.add_argument("--layers", type=int, nargs="+")
        p.add_argument("--fast", action="store_true")
        a = p.parse_args()
        print(sys.argv, vars(a))
    """

    both = run_both(
        tmp_path,
        {"train.py": script},
        *("train.py", "a b.csv", "--lr", "1e-4", "--name=-ü x", "--layers", "3", "4", "--fast"),
        recorded=["train.py", "data=a b.csv", "lr=1e-4", "name=-ü x", "layers=[3,4]", "fast=yes"],
    )

    plain, recorded = (o.stdout[o.stdout.index(b"{") :] for o in (both.plain, both.recorded))
    assert recorded == plain
    assert both.recorded.status == 0


def test_a_rewritten_global_is_all_that_changes(tmp_path: Path) -> None:
    script = """
        import linecache, sys, traceback
        lr = 0.1
        layers = (
            64,  # first
            64,
        )
        name = "x"; wd = -1e-3
        def where():
            return sys._getframe(1).f_lineno
        print(lr, layers, name, wd, where(), type(layers).__name__)
        print(linecache.getline(__file__, where()))
        raise ValueError(lr)
    """
    changed = (
        script.replace("lr = 0.1", "lr = 0.5")
        .replace("64,  # first\n            64,", "8,\n            8,")
        .replace('"x"', "'a\\'b'")
        .replace("-1e-3", "0.0")
    )

    both = run_both(
        tmp_path,
        {"train.py": script},
        "train.py",
        recorded=["train.py", "layers=[8,8]", "wd=0.0"],
        plain_files={"train.py": changed.replace("lr = 0.5", "lr = 0.1").replace("'a\\'b'", '"x"')},
    )

    assert both.recorded == both.plain
    assert b"line 12" in both.plain.stderr


def test_a_script_that_reads_its_own_globals_file_runs(tmp_path: Path) -> None:
    files = {
        "train.py": "lr = 0.1\nexec(open('configurator.py').read())\nprint(lr)\n",
        "configurator.py": "lr = lr * 2\n",
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded == both.plain


# --- processes ---

_WORKERS = """
    import multiprocessing, os, sys
    SCALE = 2

    class Point:
        def __init__(self, x):
            self.x = x

    def work(p):
        return SCALE * p.x

    def tell(q, p):
        q.put((SCALE, p.x, __name__, multiprocessing.current_process().name))

    if __name__ == "__main__":
        method = sys.argv[1]
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            print(pool.map(work, [Point(1), Point(2)]))
        q = context.Queue()
        child = context.Process(target=tell, args=(q, Point(3)), name="one")
        child.start()
        print(q.get())
        child.join()
        print(child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_see_the_rewritten_global_and_the_classes_of_the_script(
    tmp_path: Path, method: str
) -> None:
    script = _WORKERS.replace("sys.argv[1]", repr(method))

    both = run_both(
        tmp_path,
        {"train.py": script},
        "train.py",
        recorded=["train.py", "SCALE=10"],
        plain_files={"train.py": script.replace("SCALE = 2", "SCALE = 10")},
    )

    assert both.recorded == both.plain
    assert both.plain.stdout.startswith(b"[10, 20]")


def test_a_process_pool_of_concurrent_futures_works(tmp_path: Path) -> None:
    script = """
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor
        N = 3
        def square(x):
            return x * x + N
        if __name__ == "__main__":
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                print(list(pool.map(square, range(4))))
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


def test_a_pickle_of_the_scripts_class_loads_in_another_process(tmp_path: Path) -> None:
    files = {
        "train.py": """
            import pickle, subprocess, sys
            class Model:
                w = 1
            if __name__ == "__main__":
                m = Model(); m.w = [1, 2]
                with open("model.pkl", "wb") as f:
                    pickle.dump(m, f)
                print(pickle.dumps(m))
                print(subprocess.check_output([sys.executable, "load.py"]))
        """,
        "load.py": """
            import pickle, sys, train
            sys.modules["__main__"].Model = train.Model
            print(pickle.load(open("model.pkl", "rb")).w)
        """,
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded == both.plain
    assert set(both.plain.made) == {"model.pkl"}


def test_a_fork_without_exec_runs_both_halves(tmp_path: Path) -> None:
    script = """
        import atexit, os, sys
        atexit.register(lambda: print("bye", flush=True))
        print("before", flush=True)
        pid = os.fork()
        if pid == 0:
            print("child", flush=True)
            os._exit(5)
        print("parent", os.waitpid(pid, 0)[1] >> 8)
        open("made.txt", "w").write("x")
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


def test_a_daemon_that_outlives_its_script_does_not_hold_it_up(tmp_path: Path) -> None:
    script = """
        import os, sys, time
        print("start", flush=True)
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(write, b"up")
                time.sleep(600)
            os._exit(0)
        os.wait()
        os.read(read, 2)
        import subprocess
        print(subprocess.run(["true"]).returncode)
    """
    world = World(tmp_path, {"train.py": script})

    child = world.start(["train.py"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    try:
        assert child.wait(PATIENCE_S) == 0
        assert world.stored() == b"start\n0\n"
    finally:
        _end_descendants(world)


def _end_descendants(world: World) -> None:
    import psutil

    for process in psutil.process_iter(["environ"]):
        values = process.info["environ"] or {}
        if values.get("REENACT_HOME") == str(world.home) and process.pid != os.getpid():
            process.kill()


def test_threads_that_live_at_the_end_finish_first(tmp_path: Path) -> None:
    script = """
        import atexit, threading, time
        event = threading.Event()
        def late():
            event.wait(5)
            print("thread")
        threading.Thread(target=late).start()
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        atexit.register(lambda: print("atexit"))
        threading.Timer(0.05, event.set).start()
        print("main")
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


def test_a_pipe_between_the_scripts_own_processes_keeps_its_buffering(tmp_path: Path) -> None:
    script = """
        import subprocess, sys
        child = [sys.executable, "-c", "import sys; print(sys.stdout.line_buffering)"]
        print(subprocess.check_output(child))
        isolated = [sys.executable, "-I", "-c", "import sys; print(sys.path[:1], 1)"]
        print(subprocess.check_output(isolated))
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


# --- ends ---


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('so it ends')", 1),
        ("sys.exit(None)", 0),
        ("sys.exit(256 + 4)", 4),
        ("os._exit(7)", 7),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139),
        ("os.abort()", 134),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("raise KeyboardInterrupt", 130),
        ("raise SystemExit([1])", 1),
        ("raise MemoryError", 1),
        ("threading.Thread(target=lambda: 1 / 0, name='t').start()", 0),
    ],
)
def test_the_end_of_a_script_is_the_end_of_its_run(tmp_path: Path, end: str, status: int) -> None:
    script = f"""
        import os, signal, sys, threading
        print("on its way", flush=True)
        {end}
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain
    assert both.plain.status == status


def test_tracebacks_name_the_same_lines(tmp_path: Path) -> None:
    files = {
        "train.py": """
            from helper import fail
            lr = 0.1

            def inner():
                try:
                    fail(lr)
                except ZeroDivisionError as error:
                    raise RuntimeError("wrapped") from error

            try:
                inner()
            finally:
                print("cleanup")
        """,
        "helper.py": "def fail(x):\n    return x / 0\n",
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded == both.plain
    assert both.plain.stderr.count(b"Traceback") == 2


@pytest.mark.parametrize(
    "script",
    [
        b"lr = 0.1\nprint(lr\n",
        b"def f():\n\tx = 1\n        y = 2\n",
        b"print('\xff')\n",
        b"x = 1\0\n",
        b"",
        b"# coding: latin-1\nprint(ascii('\xe9'))\n",
        b"\xef\xbb\xbfprint('bom')\r\nprint('crlf')\r\n",
        b"import nowhere\n",
    ],
    ids="unclosed tabs undecodable nul empty latin-1 bom missing-module".split(),
)
def test_a_script_that_python_refuses_is_refused_in_the_same_words(
    tmp_path: Path, script: bytes
) -> None:
    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


# --- output and input ---


@pytest.mark.parametrize(
    "write",
    [
        "out.write(b'no end of line')",
        "out.write(b'a\\rb\\r\\nc\\0d\\xff\\xfe\\n')",
        "out.write(bytes(range(256)) * 40000)",
        "out.write(b'x' * 10_000_000)",
        "[out.write(b'%d\\n' % i) for i in range(50_000)]",
        "os.write(1, b'one'); os.write(2, b'two'); os.write(1, b'three')",
        "print('ü€😀'); sys.stderr.write('é\\n')",
        "print('a', end=''); sys.stdout.flush(); os.write(1, b'b')",
        "subprocess.run(['sh', '-c', 'echo out; echo err >&2'])",
        "sys.stdout.close()",
        "os.close(1); os.write(2, b'still')",
        "sys.stdout = open(1, 'wb', buffering=0, closefd=False); sys.stdout.write(b'raw')",
        "print(sys.stdout.encoding, sys.stdout.errors, sys.stdin.encoding, sys.stdout.isatty())",
    ],
)
def test_every_byte_of_output_passes_unchanged_and_is_stored(tmp_path: Path, write: str) -> None:
    script = f"""
        import os, subprocess, sys
        out = sys.stdout.buffer
        {write}
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain
    assert both.world.stored("stdout") == both.plain.stdout
    assert both.world.stored("stderr") == both.plain.stderr


def test_what_is_piped_in_reaches_the_script(tmp_path: Path) -> None:
    script = """
        import sys
        print(sys.stdin.buffer.readline(), sys.stdin.isatty())
        print(sys.stdin.buffer.read())
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py", stdin=b"Ada\n\xff\0rest")

    assert both.recorded == both.plain
    assert both.plain.stdout == b"b'Ada\\n' False\nb'\\xff\\x00rest'\n"


def test_input_reads_line_by_line(tmp_path: Path) -> None:
    script = "print([input('name? '), input()])"

    both = run_both(tmp_path, {"train.py": script}, "train.py", stdin=b"Ada\nGrace")

    assert both.recorded == both.plain


def test_input_at_the_end_of_a_file_fails_as_ever(tmp_path: Path) -> None:
    both = run_both(tmp_path, {"train.py": "input()"}, "train.py")

    assert both.recorded == both.plain
    assert b"EOFError" in both.plain.stderr


@pytest.mark.parametrize(
    "closed",
    [
        "<&-",
        ">&-",
        "2>&-",
        "<&- >&- 2>&-",
    ],
)
def test_a_standard_stream_that_is_closed_spoils_nothing(tmp_path: Path, closed: str) -> None:
    script = """
        import sys
        print("out", flush=True)
        if sys.stderr:
            print("err", file=sys.stderr)
        open("done.txt", "w").write(str(sys.stdin and sys.stdin.read()))
    """
    world = World(tmp_path, {"train.py": script})
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *world.words(["train.py"])]

    done = subprocess.run(  # noqa: PLW1510
        shell, cwd=world.project, env=world.env, stdin=subprocess.DEVNULL, capture_output=True
    )

    assert done.returncode == 0, done.stderr
    assert (world.run_directory / "done.txt").exists()
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"out\n")
    assert world.stored() == b"out\n"
    world.reenact("fsck")


def test_a_reader_that_has_seen_enough_is_felt_by_the_script(tmp_path: Path) -> None:
    script = "import itertools, sys\nfor i in itertools.count():\n    print(i, flush=True)\n"
    world = World(tmp_path, {"train.py": script})
    ends = []
    for words in ([sys.executable, "train.py"], world.words(["train.py"])):
        child = subprocess.Popen(
            words,
            cwd=world.project,
            env=world.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.read(10) == b"0\n1\n2\n3\n4\n"
        child.stdout.close()
        assert child.stderr is not None
        errors = child.stderr.read().replace(os.fsencode(world.run_directory), b"<here>")
        child.stderr.close()
        ends.append((child.wait(PATIENCE_S), errors.replace(os.fsencode(world.project), b"<here>")))

    assert ends[1] == ends[0]
    assert b"BrokenPipeError" in ends[0][1]


def test_a_line_printed_just_before_a_kill_is_stored(tmp_path: Path) -> None:
    script = """
        import os, signal
        print("loss: 0.5")
        print("half a line", end="")
        os.kill(os.getpid(), signal.SIGKILL)
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.world.stored() == b"loss: 0.5\n"
    assert both.recorded.status == both.plain.status == 137


# --- files ---


def _both_agree(both: Both) -> None:
    assert both.recorded == both.plain
    assert both.touched == {}


@pytest.mark.parametrize(
    "script",
    [
        "open('log.txt', 'a').write('more\\n')",
        "open('data/a.csv', 'a').write('more\\n')",
        "open('data/a.csv', 'r+').write('X')",
        "open('data/a.csv', 'w').write('new')",
        "f = open('data/a.csv', 'rb+'); f.seek(2); f.truncate()",
        "open('data/new.csv', 'x').write('new')",
        "os.makedirs('out/deep/er'); open('out/deep/er/f', 'w').write('1')",
        "os.mkdir('empty-too')",
        "import pathlib; pathlib.Path('data/a.csv').write_text('p')",
        "import pathlib; pathlib.Path('data', 'b.csv').write_text('p')",
        "import shutil; shutil.copy('data/a.csv', 'data/b.csv')",
        "import shutil; shutil.copyfile('conf.yaml', 'data/b.csv')",
        "import shutil; shutil.copy2('data/a.csv', 'conf.yaml')",
        "fd = os.open('data/a.csv', os.O_WRONLY | os.O_APPEND); os.write(fd, b'low')",
        "os.truncate('data/a.csv', 1)",
        "open('tmp', 'w').write('swap'); os.replace('tmp', 'data/a.csv')",
        "open('tmp', 'w').write('swap'); os.rename('tmp', 'conf.yaml')",
        "open('conf.yaml', 'a').write('b: 2\\n')",
        "open('helper.py', 'a').write('# grown\\n')",
        "c = sqlite3.connect('data/base.db'); c.execute('create table t (a)'); c.commit()",
        "os.symlink('a.csv', 'data/link.csv')",
        "os.link('log.txt', 'hard.txt'); open('hard.txt', 'a').write('x')",
        "import tempfile; tempfile.NamedTemporaryFile(dir='data', delete=True).write(b'x')",
        "import csv; csv.writer(open('data/a.csv', 'w')).writerow([1])",
        "os.chdir('data'); open('a.csv', 'a').write('m'); open('../log.txt', 'a').write('m')",
        "os.chmod('data/a.csv', 0o600); print(oct(os.stat('data/a.csv').st_mode))",
        "subprocess.run([sys.executable, '-c', \"open('data/a.csv', 'a').write('c')\"])",
        "print(open(__file__).read()); open('linked.csv', 'a').write('via link')",
        "print(sorted(os.listdir('data')), os.listdir('empty'), os.path.islink('linked.csv'))",
        "print(open(os.path.join(os.path.dirname(__file__), 'data/a.csv')).read())",
        "print(open(os.path.abspath('data/a.csv')).read(), os.path.getsize('data/a.csv'))",
        "import glob; print(sorted(glob.glob('**/*', recursive=True)))",
        "print([sorted((d, sorted(s), sorted(f)) for d, s, f in os.walk('data'))])",
        "import pathlib; print(sorted(map(str, pathlib.Path().rglob('*.csv'))))",
    ],
)
def test_files_are_read_and_written_as_under_plain_python(tmp_path: Path, script: str) -> None:
    files = {
        "train.py": f"import os, sqlite3, subprocess, sys\n{script}\n",
        "helper.py": "x = 1\n",
        "log.txt": "first\n",
        "conf.yaml": "a: 1\n",
        "data/a.csv": "1,2\n",
        "data/b.csv": "3,4\n",
        "data/base.db": b"",
        "linked.csv": Link("data/a.csv"),
        "empty/": None,
    }

    _both_agree(run_both(tmp_path, files, "train.py"))


def test_the_only_thing_more_in_a_listing_is_the_record(tmp_path: Path) -> None:
    files = {"train.py": "import os; print(*sorted(os.listdir()))", "a": "", ".b": "", "c/": None}

    both = run_both(tmp_path, files, "train.py")

    assert both.plain.stdout == b".b a c train.py\n"
    assert both.recorded.stdout == b".b .reenact a c train.py\n"


@pytest.mark.parametrize(
    "script",
    [
        "os.remove('data/a.csv'); os.unlink('conf.yaml')",
        "shutil.rmtree('data')",
        "shutil.rmtree('empty'); os.remove('helper.py')",
        "os.rename('data/a.csv', 'data/c.csv'); print(open('data/c.csv').read())",
        "shutil.move('data/a.csv', 'out.csv'); open('out.csv', 'a').write('x')",
        "os.rename('helper.py', 'other.py'); import other; print(other.x)",
        "os.replace('conf.yaml', 'data/a.csv')",
        "shutil.rmtree('data'); os.mkdir('data'); open('data/n.csv', 'w').write('n')",
    ],
)
def test_what_a_script_removes_or_moves_stays_in_the_project(tmp_path: Path, script: str) -> None:
    files = {
        "train.py": f"""
            import os, shutil, sys
            {script}
            for d, s, f in sorted(os.walk('.')):
                if '.reenact' not in d:
                    print(d, sorted(set(s) - {{'.reenact'}}), sorted(f))
        """,
        "helper.py": "x = 1\n",
        "conf.yaml": "a: 1\n",
        "data/a.csv": "1,2\n",
        "data/b.csv": "3,4\n",
        "empty/": None,
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded[:3] == both.plain[:3]
    assert both.touched == {}
    kept = {path: text for path, text in both.plain.made.items() if text != "gone"}
    assert {path: text for path, text in both.recorded.made.items() if path in kept} == kept


def test_a_directory_that_was_moved_still_does_not_lead_to_the_project(tmp_path: Path) -> None:
    script = """
        import os
        os.rename("data", "moved")
        open("moved/a.csv", "a").write("more")
        os.symlink(os.path.realpath("moved/b.csv"), "latest")
        open("latest", "a").write("more")
        print(sorted(os.listdir("moved")), open("moved/a.csv").read())
    """

    both = run_both(
        tmp_path, {"train.py": script, "data/a.csv": "1\n", "data/b.csv": "2\n"}, "train.py"
    )

    assert both.recorded[:3] == both.plain[:3]
    assert both.recorded.made["moved/a.csv"] == b"1\nmore"
    assert both.touched == {}


def test_numpy_saves_over_a_file_of_the_project(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    script = """
        import numpy as np
        w = np.load("data/w.npy")
        np.save("data/w.npy", w + 1)
        np.savez("data/more.npz", w=w)
        np.savetxt("data/w.csv", w)
        m = np.lib.format.open_memmap("data/m.npy", "r+")
        m[:] = 7
        m.flush()
    """

    def prepare(project: Path) -> None:
        import numpy as np

        (project / "data").mkdir()
        np.save(project / "data/w.npy", np.arange(3.0))
        np.save(project / "data/m.npy", np.zeros(3))
        (project / "data/w.csv").write_text("old")

    both = run_both(tmp_path, {"train.py": script}, "train.py", prepare=prepare)

    both.plain.made.pop("data/more.npz")
    assert both.recorded.made.pop("data/more.npz")
    _both_agree(both)


def _fill(directory: Path) -> None:
    """Make so many files that the directory is linked as one; hard links are quickly made."""
    directory.mkdir(parents=True)
    (directory / "0.txt").write_text("0")
    for i in range(1, FOLDED_FROM + 1):
        os.link(directory / "0.txt", directory / f"{i}.txt")
    (directory / "8.txt").unlink()
    (directory / "8.txt").write_text("0")


def test_a_directory_of_thousands_of_files_is_written_into(tmp_path: Path) -> None:
    files = {
        "data/notes.py": "",
        "train.py": """
            import os
            print(len(os.listdir("data/many")), open("data/many/7.txt").read())
            open("data/many/8.txt", "a").write("more")
            open("data/many/new.txt", "w").write("new")
            os.makedirs("data/many/sub", exist_ok=True)
            open("data/many/sub/x.txt", "w").write("x")
            print(len(os.listdir("data/many")), open("data/many/7.txt").read())
        """,
    }

    both = run_both(tmp_path, files, "train.py", prepare=lambda root: _fill(root / "data/many"))

    assert both.recorded[:3] == both.plain[:3]
    assert both.touched == {}
    assert both.recorded.made == {
        "data/many/8.txt": b"0more",
        "data/many/new.txt": b"new",
        "data/many/sub": "",
        "data/many/sub/x.txt": b"x",
    }


def test_a_directory_of_thousands_of_files_is_removed(tmp_path: Path) -> None:
    files = {
        "data/notes.py": "",
        "train.py": """
            import os, shutil
            shutil.rmtree("data/many")
            print(os.listdir("data"))
        """,
    }

    both = run_both(tmp_path, files, "train.py", prepare=lambda root: _fill(root / "data/many"))

    assert both.recorded[:3] == both.plain[:3]
    assert both.touched == {}


def test_every_kind_of_walk_finds_the_files_of_a_directory_of_thousands(tmp_path: Path) -> None:
    files = {
        "data/notes.py": "",
        "train.py": """
            import glob, os, pathlib
            print(sum(len(f) for d, s, f in os.walk("data")))
            print(len(list(pathlib.Path(".").rglob("*.txt"))))
            print(len(list(pathlib.Path("data").glob("many/*.txt"))))
            print(len(glob.glob("**/*.txt", recursive=True)))
            print([e.name for e in os.scandir("data") if e.is_dir(follow_symlinks=False)])
        """,
    }

    both = run_both(tmp_path, files, "train.py", prepare=lambda root: _fill(root / "data/many"))

    _both_agree(both)


@pytest.mark.parametrize(
    "script",
    [
        "print(open('current/a.csv').read(), os.readlink('current'), os.readlink('up/to.csv'))",
        "open('current/a.csv', 'a').write('more')",
        "open('current/new.csv', 'w').write('new')",
        "open('up/to.csv', 'a').write('more')",
        "open('code_link.py', 'a').write('# more')",
        "print(os.path.exists('broken'), os.path.lexists('broken'))",
        "open('broken', 'w').write('made')",
        "os.remove('up/to.csv'); open('up/to.csv', 'w').write('own')",
        "os.remove('current'); os.mkdir('current'); open('current/f', 'w').write('1')",
        "import code_link, helper; print(code_link.x, helper.x)",
        "print(open('outside/f.txt').read()); open('outside/f.txt', 'a').write('more')",
        "open('outside/new.txt', 'w').write('new')",
    ],
)
def test_symbolic_links_of_the_project_lead_where_they_led(tmp_path: Path, script: str) -> None:
    files = {
        "train.py": f"import os\n{script}\n",
        "helper.py": "x = 1\n",
        "code_link.py": Link("helper.py"),
        "data/v1/a.csv": "1,2\n",
        "current": Link("data/v1"),
        "up/to.csv": Link("../current/a.csv"),
        "broken": Link("nowhere.txt"),
        "outside": Link("../elsewhere"),
    }

    def prepare(project: Path) -> None:
        elsewhere = project.parent / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "f.txt").write_text("outside")

    both = run_both(tmp_path, files, "train.py", prepare=prepare)

    assert both.recorded[:3] == both.plain[:3]
    assert both.touched == {}
    assert (tmp_path / "recorded/elsewhere/f.txt").read_text() == "outside"
    for name in ("data/v1/a.csv", "data/v1/new.csv", "helper.py", "nowhere.txt", "current/f"):
        assert both.recorded.made.get(name) == both.plain.made.get(name)


@pytest.mark.parametrize(
    "name",
    ["a b.csv", "new\nline.csv", "quote'\".csv", "ü€.csv", "raw\udcff\udcfe.csv", "-x", "{a}", "*"],
)
def test_file_names_of_any_bytes_are_read_and_written(tmp_path: Path, name: str) -> None:
    files = {
        "train.py": """
            import os
            for d in ("data", "text dir"):
                for name in sorted(os.listdir(d)):
                    path = os.path.join(d, name)
                    print(ascii(path), open(path).read())
                    open(path, "a").write("more")
                    open(path + ".new", "w").write("new")
        """,
        f"data/{name}": "1\n",
        f"text dir/{name}": "2\n",
    }

    both = run_both(tmp_path, files, "train.py")

    _both_agree(both)
    assert len(both.recorded.made) == 4
    both.world.reenact("ls")
    both.world.reenact("show", "--json")


# --- modules ---


@pytest.mark.parametrize("name", "queue yaml types click random reenact site code token".split())
def test_a_module_beside_the_script_shadows_what_plain_python_lets_it(
    tmp_path: Path, name: str
) -> None:
    files = {
        f"{name}.py": "mine = True\nclass Random: pass\ndef choice(x): return x\n",
        "train.py": f"""
            import {name}, sys
            print({name}.__file__, getattr({name}, "mine", False))
            print(sorted(m for m in sys.modules if m == {name!r}))
        """,
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded == both.plain


_PACKAGE = {
    "pack/__init__.py": "NAME = __name__\n",
    "pack/train.py": """
        import sys
        from . import NAME
        from .deep.model import Net
        from pack.deep import model
        lr = 0.1
        print(NAME, __name__, __package__, __spec__.name, __file__, sys.argv, Net().where, lr)
        print(model.__file__, sys.path[0])
    """,
    "pack/deep/model.py": "class Net:\n    where = __name__\n",
    "pack/__main__.py": "print('main of', __package__, __file__)\n",
    "data/a.csv": "1\n",
}


@pytest.mark.parametrize("command", [("-m", "pack.train"), ("-m", "pack"), ("pack",)])
def test_packages_run_as_they_do(tmp_path: Path, command: tuple[str, ...]) -> None:
    _both_agree(run_both(tmp_path, _PACKAGE, *command))


def test_a_global_of_a_module_is_rewritten(tmp_path: Path) -> None:
    train = _PACKAGE["pack/train.py"].replace("0.1", "0.5")

    both = run_both(
        tmp_path,
        _PACKAGE,
        *("-m", "pack.train"),
        recorded=["-m", "pack.train", "lr=0.5"],
        plain_files={"pack/train.py": train},
    )

    _both_agree(both)


@pytest.mark.parametrize("cwd", [".", "scripts", "scripts/deep"])
def test_a_script_in_a_subdirectory_runs_from_anywhere(tmp_path: Path, cwd: str) -> None:
    files = {
        "pyproject.toml": "",
        "data/a.csv": "1\n",
        "scripts/deep/x.txt": "",
        "scripts/local.py": "y = 2\n",
        "scripts/train.py": """
            import os, sys, local
            here = os.path.dirname(os.path.abspath(__file__))
            print(open(os.path.join(here, "..", "data", "a.csv")).read(), local.y, sys.argv)
            print(os.getcwd(), sys.path[0], os.path.exists("../data/a.csv"))
            open("made.txt", "w").write("made")
            open(os.path.join(here, "..", "data", "made.csv"), "w").write("made")
        """,
    }
    script = os.path.relpath("scripts/train.py", cwd)

    _both_agree(run_both(tmp_path, files, script, cwd=cwd))


def test_a_script_that_asks_git_gets_an_answer(tmp_path: Path) -> None:
    script = """
        import subprocess
        def git(*words):
            print(subprocess.run(["git", *words], capture_output=True, text=True).stdout)
        git("log", "--format=%s")
        git("rev-parse", "--abbrev-ref", "HEAD")
        git("rev-parse", "--show-toplevel")
        git("describe", "--always", "--tags")
        git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    """

    def prepare(project: Path) -> None:
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(project)]
        subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
        subprocess.run([*git, "tag", "v1"], check=True)

    files = {"train.py": script, "data/a.csv": "1", ".gitignore": "*.out\n"}

    _both_agree(run_both(tmp_path, files, "train.py", prepare=prepare))
