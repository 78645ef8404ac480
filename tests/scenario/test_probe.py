"""The probe in the user's processes: what it does there, and that nobody notices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from commands import PATIENCE_S
from fidelity import REENACT, World, interpreters, run_both
from frameworks import python_with

SHIM = Path(__file__).parents[2] / "src" / "reenact" / "probe" / "shim"


def _record(world: World) -> dict[str, Any]:
    shown = json.loads(world.reenact("show", "--json"))
    record = shown["run"]
    assert isinstance(record, dict)
    return record


def _run(world: World, *command: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    words = world.words(command, python=options.pop("python", None))
    options = {"cwd": world.project, "env": world.env, "capture_output": True, **options}
    return subprocess.run(words, check=False, **options)


# --- what it tells ---


def test_every_python_process_says_hello(tmp_path: Path) -> None:
    script = """
        import multiprocessing, os, subprocess, sys
        def work(x):
            return x
        if __name__ == "__main__":
            subprocess.run(["sh", "-c", f"exec {sys.executable} -c pass"])
            if os.fork() == 0:
                os._exit(0)
            os.wait()
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.map(work, [1])
    """
    world = World(tmp_path, {"train.py": script})

    done = _run(world, "train.py")

    assert done.returncode == 0, done.stderr
    processes = _record(world)["processes"]
    assert processes[0]["argv"][-1] == "train.py"
    kinds = [process["kind"] for process in processes]
    assert kinds[0] == "start"
    assert kinds.count("fork") == 1
    assert len(kinds) >= 4  # the script, `-c pass`, the fork, the worker and its tracker
    pids = {process["pid"] for process in processes}
    assert all(p["parent_pid"] in pids for p in processes if p["kind"] == "fork")


def test_what_a_run_read_of_the_projects_data_is_an_input(tmp_path: Path) -> None:
    files = {
        "train.py": """
            import subprocess, sys
            open("data/a.csv").read()
            open("data/a.csv").read()
            subprocess.run([sys.executable, "-c", "open('data/b.csv')"])
            open("new.txt", "w").close()
            open("new.txt").read()
        """,
        "data/a.csv": "1",
        "data/b.csv": "2",
        "data/c.csv": "3",
    }
    world = World(tmp_path, files)

    _run(world, "train.py")

    assert [file["path"] for file in _record(world)["inputs"]] == ["data/a.csv", "data/b.csv"]


# --- interpreters ---


@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).name)
def test_any_python_runs_with_it(tmp_path: Path, python: str) -> None:
    files = {
        "train.py": """
            import sys
            lr = 0.1
            assert "_reenact" in sys.modules
            open("data/a.csv", "a").write("more")
            print(lr, sys.version_info[:2])
        """,
        "data/a.csv": "1",
    }
    world = World(tmp_path, files)

    done = _run(world, "train.py", "lr=0.5", python=python)

    assert done.stderr == b""
    assert done.stdout.startswith(b"0.5 (3, ")
    assert (world.run_directory / "data/a.csv").read_bytes() == b"1more"
    assert (world.project / "data/a.csv").read_bytes() == b"1"
    processes = _record(world)["processes"]
    assert os.path.samefile(processes[0]["executable"], python)


def test_the_python_is_the_active_environments_else_the_one_on_the_path(tmp_path: Path) -> None:
    script = "import sys; print(sys.prefix)"
    active, on_path = tmp_path / "active", tmp_path / "on path"
    for directory in (active, on_path):
        venv.create(directory, with_pip=False)
    results = []

    for number, extra in enumerate([{}, {"VIRTUAL_ENV": str(active)}]):
        world = World(tmp_path / str(number), {"train.py": script})
        words = [*REENACT, "run", "train.py"]
        env = {**world.env, "PATH": f"{on_path}/bin:{os.environ['PATH']}", **extra}
        done = subprocess.run(words, cwd=world.project, env=env, capture_output=True, check=True)
        results.append(done.stdout.decode().strip())

    assert results == [str(on_path), str(active)]


def test_children_that_ignore_the_environment_run_without_it(tmp_path: Path) -> None:
    script = """
        import subprocess, sys
        for option in ("-I", "-E", "-s"):
            code = "import sys; print(len(sys.path), 'pickle' in sys.modules)"
            print(option, subprocess.check_output([sys.executable, option, "-c", code]))
        print(subprocess.check_output(["env", "-i", sys.executable, "-c", "print(1)"]))
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.recorded == both.plain


def old_interpreters() -> list[str]:
    """Return the interpreters before Python 3.8 that are installed here."""
    roots = [os.environ.get("PYENV_ROOT", ""), os.path.expanduser("~/.pyenv")]
    patterns = ("2.7.*/bin/python2.7", "3.6.*/bin/python3.6", "3.7.*/bin/python3.7")
    return [
        str(path)
        for pattern in patterns
        for path in [p for root in roots if root for p in Path(root, "versions").glob(pattern)][:1]
    ]


@pytest.mark.parametrize("python", old_interpreters(), ids=lambda path: Path(path).name)
def test_children_of_an_older_python_run_without_it(tmp_path: Path, python: str) -> None:
    code = "import sys, json, os; print(sys.version_info[:2], len(sys.path), len(sys.meta_path))"
    script = f"""
        import subprocess
        print(subprocess.check_output([{python!r}, "-c", {code!r}]))
    """

    both = run_both(tmp_path, {"train.py": script}, "train.py")

    assert both.plain.status == 0
    assert both.recorded == both.plain


_UNREACHED = """
    import os, subprocess, sys
    wait = "import sys; print('_reenact' in sys.modules, flush=True); sys.stdin.read()"
    path = {"PATH": os.environ["PATH"]}
    children = [
        subprocess.Popen([sys.executable, *words, "-c", wait], env=env, stdin=-1, stdout=-1)
        for words, env in [
            (["-I"], None),
            (["-uE"], None),
            (["-S", "-W", "error"], None),
            ([], path),
            ([], {**os.environ, "PYTHONPATH": "/nowhere"}),
            ([], None),
        ]
    ]
    print([child.stdout.readline() == b"True\\n" for child in children], flush=True)
    sys.stdin.read()
    for child in children:
        child.communicate()
"""


def _unreached(world: World) -> tuple[list[str], list[str]]:
    """Run processes some of which are not reached; return the answers of all and what doctor says.

    They end once all of them have been seen.
    """
    pipe = subprocess.PIPE
    with world.start(["train.py"], stdin=pipe, text=True) as process:
        assert process.stdout is not None
        answers = process.stdout.readline().strip("[]\n").split(", ")
        # A look or two; there is nothing else to see of them.
        time.sleep(3.0)
        process.communicate("")
    assert process.returncode == 0
    findings = json.loads(world.reenact("doctor", "--json"))["findings"]
    return answers, [f["detail"] for f in findings if f["what"] == "not reached"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there they are seen")
def test_doctor_says_which_processes_were_not_reached_and_why(tmp_path: Path) -> None:
    world = World(tmp_path, {"train.py": _UNREACHED})

    answers, details = _unreached(world)

    assert answers == ["False"] * 5 + ["True"]
    ends = [detail.rpartition("): ")[2] for detail in details]
    assert sorted(ends) == [
        "it was started with -E; `reenact install-hook` reaches it",
        "it was started with -I; `reenact install-hook` reaches it",
        "it was started with -S",
        "its PYTHONPATH had been replaced; `reenact install-hook` reaches it",
        "its environment had been emptied",
    ]
    assert any(" -I -c " in detail for detail in details)


def test_the_hook_reaches_processes_that_ignore_pythonpath(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = str(environment / "bin/python")
    site = next((environment / "lib").glob("python*/site-packages"))
    before = sorted(os.listdir(site))
    script = """
        import subprocess, sys
        for words in (["-I"], ["-E"], []):
            code = "import reenact; reenact.log(%s=1.0)" % (words or ["none"])[0].strip("-")
            subprocess.check_call([sys.executable, *words, "-c", code])
    """
    world = World(tmp_path, {"train.py": script})

    said = json.loads(world.reenact("install-hook", "--python", python, "--json"))
    done = _run(world, "train.py", python=python)

    assert (said["is_there"], said["directory"]) == (True, str(site))
    assert done.returncode == 0, done.stderr
    record = _record(world)
    assert set(record["metrics"]) == {"I", "E", "none"}
    # Once each.
    assert [process["kind"] for process in record["processes"]] == ["start"] * 4
    world.reenact("install-hook", "--python", python, "--remove")
    assert [name for name in sorted(os.listdir(site)) if name != "__pycache__"] == before


def test_the_hook_is_silent_outside_of_runs_and_when_reenact_has_gone(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = str(environment / "bin/python")
    site = next((environment / "lib").glob("python*/site-packages"))
    world = World(tmp_path, {})
    world.reenact("install-hook", "--python", python)
    module = site / "_reenact_hook.py"
    module.write_text(module.read_text().replace(str(SHIM), "/gone"))
    code = (
        "import sys; print(sorted(m for m in sys.modules if 'reenact' in m), '/gone' in sys.path)"
    )

    outcomes = []
    for env in ({}, {"REENACT_RECORD_DIR": str(tmp_path)}):
        words = [python, "-I", "-c", code]
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
        outcomes.append((done.stdout, done.stderr))

    assert outcomes == [("[] False\n", ""), ("['_reenact_hook'] False\n", "")]


def test_an_environment_that_cannot_take_the_hook_is_refused(tmp_path: Path) -> None:
    world = World(tmp_path, {})
    (tmp_path / "python").write_text("#!/bin/sh\nprintf '/proc/nowhere\\n3.11.0\\n'\n")
    (tmp_path / "python").chmod(0o755)

    said = []
    for python in (tmp_path / "python", tmp_path / "none", "/bin/false"):
        words = [*REENACT, "install-hook", "--python", str(python)]
        done = subprocess.run(words, env=world.env, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        said.append(done.stderr.splitlines()[0])

    assert said[0].startswith("error: cannot write `/proc/nowhere`: ")
    assert said[1] == f"error: there is no interpreter `{tmp_path}/none`"
    assert said[2].startswith("error: `/bin/false` does not say where its packages are")


@pytest.mark.parametrize("python", old_interpreters(), ids=lambda path: Path(path).name)
def test_an_interpreter_that_is_too_old_for_the_hook_is_refused(
    tmp_path: Path, python: str
) -> None:
    words = [*REENACT, "install-hook", "--python", python]

    done = subprocess.run(
        words, env=World(tmp_path, {}).env, capture_output=True, text=True, check=False
    )

    version = Path(python).name.removeprefix("python")
    assert done.returncode == 1
    assert done.stderr.split("\n\n") == [
        f"error: Python {version} is not supported",
        "hint: name Python 3.8 or later\n",
    ]


# --- launchers ---

_RANKS = """
    import os, reenact
    rank = os.environ.get("RANK", "none")
    for step in range(3):
        reenact.log({f"rank {rank}": float(step)}, step=step)
"""


@pytest.mark.parametrize(
    ("words", "ranks"),
    [
        (("-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"), ("0", "1")),
        # Without a GPU it starts one process, which has no rank.
        (("-m", "accelerate.commands.accelerate_cli", "launch", "--cpu"), ("none",)),
    ],
    ids=["torchrun", "accelerate"],
)
def test_what_a_launcher_starts_logs_into_the_run(
    tmp_path: Path, words: tuple[str, ...], ranks: tuple[str, ...]
) -> None:
    python = python_with("torch", "accelerate")
    world = World(tmp_path, {"train.py": _RANKS}, {"OMP_NUM_THREADS": "1"})

    done = _run(world, "--", python, *words, "train.py", timeout=PATIENCE_S)

    assert done.returncode == 0, done.stderr
    found = {
        name: metric["count"]
        for name, metric in _record(world)["metrics"].items()
        if name.startswith("rank")
    }
    assert found == {f"rank {rank}": 3 for rank in ranks}


def test_workers_of_joblib_log_into_the_run(tmp_path: Path) -> None:
    python = python_with("joblib")
    script = """
        import joblib, reenact
        def work(number):
            import reenact
            reenact.log({f"worker{number}": float(number)})
            return number
        if __name__ == "__main__":
            print(sum(joblib.Parallel(n_jobs=2)(joblib.delayed(work)(n) for n in range(6))))
    """
    world = World(tmp_path, {"train.py": script})

    done = _run(world, "train.py", python=python)

    assert (done.returncode, done.stdout) == (0, b"15\n"), done.stderr
    assert {f"worker{number}" for number in range(6)} <= set(_record(world)["metrics"])


# --- imports ---


def test_a_framework_that_fails_to_be_imported_fails_as_ever(tmp_path: Path) -> None:
    files = {
        "sklearn/__init__.py": "",
        "sklearn/base.py": "def fail():\n    raise ValueError('broken')\nfail()\n",
        "train.py": """
            try:
                import sklearn.base
            except ValueError as error:
                print(error, error.__context__)
            import sys
            assert "sklearn.base" not in sys.modules
            from sklearn import base
        """,
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.plain.status == 1
    assert b"broken None" in both.plain.stdout
    assert both.recorded == both.plain


def test_a_module_that_is_waited_for_looks_as_ever(tmp_path: Path) -> None:
    files = {
        "sklearn/__init__.py": "",
        "sklearn/base.py": "class BaseEstimator: pass\n",
        "train.py": """
            import importlib.util, inspect, sys
            print(importlib.util.find_spec("sklearn.base").loader.__class__)
            import sklearn.base as base
            print(type(base.__loader__), base.__spec__.loader is base.__loader__)
            print(vars(base.__loader__), inspect.getsource(base.BaseEstimator))
            print(importlib.reload(base) is base, importlib.import_module("sklearn.base") is base)
        """,
    }

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded[:3] == both.plain[:3]


def test_a_start_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "shim"
    shutil.copytree(SHIM, broken, ignore=shutil.ignore_patterns("__pycache__"))
    start = broken / "_reenact" / "__init__.py"
    text = start.read_text()
    assert "    os.register_at_fork(" in text
    start.write_text(text.replace("    os.register_at_fork(", "    raise SystemError(", 1))
    env = {**os.environ, "PYTHONPATH": str(broken), "REENACT_RECORD_DIR": str(tmp_path)}
    code = "import sys, json; print(len(sys.meta_path), any('shim' in p for p in sys.path))"

    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=True)
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert (done.stdout, done.stderr) == (plain.stdout, b"")


# --- the user's own start-up code ---


def test_the_users_own_sitecustomize_still_runs(tmp_path: Path) -> None:
    files = {
        "start/sitecustomize.py": """
            import sys
            sys.notes = [__name__, __file__, sys.modules[__name__].__file__]
        """,
        "train.py": "import sys, sitecustomize; print(sys.notes, sitecustomize.__file__)",
    }
    env = {"PYTHONPATH": "{project}/start"}

    both = run_both(tmp_path, files, "train.py", env=env)

    assert both.recorded == both.plain
    assert both.plain.stdout.startswith(b"['sitecustomize', '<here>/start/sitecustomize.py'")


def test_a_sitecustomize_that_fails_fails_as_ever(tmp_path: Path) -> None:
    files = {
        "start/sitecustomize.py": "import nowhere_to_be_found\n",
        "train.py": "print('runs all the same')",
    }

    both = run_both(tmp_path, files, "train.py", env={"PYTHONPATH": "{project}/start"})

    assert both.recorded.status == both.plain.status
    assert both.recorded.stdout == both.plain.stdout
    last = [o.stderr.strip().split(b"\n")[-1] for o in (both.recorded, both.plain)]
    assert last[0] == last[1]


def test_the_users_pythonpath_leads_to_the_runs_copy(tmp_path: Path) -> None:
    files = {
        "lib/mine.py": "x = 1\n",
        "train.py": "import mine, os, sys; print(mine.__file__, sys.path[:3])",
    }

    both = run_both(tmp_path, files, "train.py", env={"PYTHONPATH": "{project}/lib:lib"})

    assert both.recorded == both.plain
    assert b"<here>/lib/mine.py" in both.plain.stdout


# --- editable installs ---

_FINDER = """
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

MAPPING = {mapping!r}
NAMESPACES = {{}}

class _EditableFinder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        for name, place in MAPPING.items():
            if fullname == name or fullname.startswith(name + "."):
                rest = fullname[len(name):].strip(".").split(".")
                return spec_from_file_location(fullname, Path(place, *rest) / "__init__.py")
        return None

def install():
    sys.meta_path.append(_EditableFinder)
"""


def _install_by_path(site: Path, project: Path) -> None:
    (site / "_mine.pth").write_text(f"{project}/src\n")


def _install_by_finder(site: Path, project: Path) -> None:
    finder = _FINDER.format(mapping={"mine": f"{project}/src/mine"})
    (site / "__editable___mine_0_1_finder.py").write_text(finder)
    start = "import __editable___mine_0_1_finder; __editable___mine_0_1_finder.install()\n"
    (site / "__editable__.mine-0.1.pth").write_text(start)


@pytest.mark.parametrize("install", [_install_by_path, _install_by_finder])
def test_an_editable_install_of_the_project_is_the_runs_own_copy(
    tmp_path: Path, install: Any
) -> None:
    script = """
        import os, sys, time
        project = sys.argv[1]
        print("waiting", flush=True)
        while "edited" not in open(os.path.join(project, "src/mine/__init__.py")).read():
            time.sleep(0.01)
        import mine
        print(mine.text, mine.__file__)
    """
    files = {"scripts/train.py": script, "src/mine/__init__.py": "text = 'as it was'\n"}
    world = World(tmp_path, {**files, "pyproject.toml": ""})
    environment = tmp_path / "env"
    venv.create(environment, with_pip=False)
    (site,) = environment.glob("lib/python*/site-packages")
    install(site, world.project)
    python = str(environment / "bin/python")

    command = ["--", python, "scripts/train.py", str(world.project)]
    child = world.start(command, python=python)
    assert child.stdout is not None
    first = child.stdout.readline()
    (world.project / "src/mine/__init__.py").write_text("text = 'edited'\n")
    rest, errors = child.communicate(timeout=PATIENCE_S)

    assert (first, errors) == (b"waiting\n", b"")
    assert rest.decode() == f"as it was {world.run_directory}/src/mine/__init__.py\n"


# --- it stays out of the way ---


def test_a_store_reached_through_a_link_is_as_safe(tmp_path: Path) -> None:
    files = {"train.py": "open('data/a.csv', 'a').write('more')", "data/a.csv": "1"}
    world = World(tmp_path, files)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    home = tmp_path / "link" / "store"

    done = _run(world, "train.py", env={**world.env, "REENACT_HOME": str(home)})

    assert (done.returncode, done.stderr) == (0, b"")
    assert (world.project / "data/a.csv").read_text() == "1"
    (made,) = (tmp_path / "real/store/runs").glob("*/data/a.csv")
    assert made.read_text() == "1more"


def test_many_threads_and_processes_write_to_linked_files_at_once(tmp_path: Path) -> None:
    script = """
        import multiprocessing, threading
        def append(name):
            with open(f"data/{name % 8}.txt", "a") as file:
                file.write("x")
        def work(number):
            threads = [threading.Thread(target=append, args=(i,)) for i in range(16)]
            [t.start() for t in threads]
            [t.join() for t in threads]
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(4) as pool:
                pool.map(work, range(8), chunksize=1)
            print([len(open(f"data/{i}.txt").read()) for i in range(8)])
    """
    files = {"train.py": script, **{f"data/{i}.txt": "" for i in range(8)}}

    both = run_both(tmp_path, files, "train.py")

    assert both.recorded == both.plain
    assert both.plain.stdout == b"[16, 16, 16, 16, 16, 16, 16, 16]\n"
    assert both.touched == {}


def test_many_processes_write_into_a_linked_directory_at_once(tmp_path: Path) -> None:
    script = """
        import multiprocessing, os
        def work(number):
            with open(f"deep/many/new{number}.txt", "w") as file:
                file.write("x")
            return open("deep/many/1.txt").read()
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(4) as pool:
                print(pool.map(work, range(12), chunksize=1))
            print(sum(name.startswith("new") for name in os.listdir("deep/many")))
    """

    def prepare(project: Path) -> None:
        many = project / "deep/many"
        many.mkdir(parents=True)
        (project / "deep/code.py").write_text("")
        (many / "0.txt").write_text("0")
        for i in range(1, 2001):
            os.link(many / "0.txt", many / f"{i}.csv")
        (many / "1.txt").write_text("one")

    both = run_both(tmp_path, {"train.py": script}, "train.py", prepare=prepare)

    assert both.recorded[:3] == both.plain[:3]
    assert both.recorded.made == both.plain.made
    assert both.touched == {}


def test_a_script_that_replaces_open_keeps_its_own(tmp_path: Path) -> None:
    script = """
        import builtins, os
        calls = []
        original = builtins.open
        def spy(path, *rest, **more):
            calls.append(path)
            return original(path, *rest, **more)
        builtins.open = spy
        os.readlink = os.lstat = None
        with open("data/a.csv") as file:
            print(file.read(), calls)
    """

    both = run_both(tmp_path, {"train.py": script, "data/a.csv": "1"}, "train.py")

    assert both.recorded == both.plain


def test_a_probe_that_cannot_write_its_record_says_nothing(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(SHIM),
        "REENACT_RECORD_DIR": str(tmp_path / "gone"),
        "REENACT_STAGE": str(tmp_path),
        "REENACT_PROJECT": "/nowhere",
    }
    script = "import sys; open('made.txt', 'w').write('1'); print(sys.path[0] == '')"

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"True\n", b"")


def test_without_a_run_the_shim_does_nothing(tmp_path: Path) -> None:
    script = "import sys; print([p for p in sys.path if 'shim' in p], sys.stdout.line_buffering)"
    env = {**os.environ, "PYTHONPATH": str(SHIM)}

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"[] False\n", b"")


def test_the_shim_is_in_a_syntax_that_python_2_reads() -> None:
    source = (SHIM / "sitecustomize.py").read_text()

    assert 'f"' not in source
    assert "->" not in source
    compile(source, "sitecustomize.py", "exec")


def test_a_run_inside_a_run_has_its_own_record(tmp_path: Path) -> None:
    inner = dedent("""
        print(open("data/a.csv").read())
        open("data/a.csv", "a").write("inner")
    """)
    outer = """
        import subprocess, sys
        command = [sys.executable, "-P", "-m", "reenact", "run", "inner.py"]
        print(subprocess.run(command, capture_output=True))
        open("data/a.csv", "a").write("outer")
    """
    world = World(tmp_path, {"outer.py": outer, "inner.py": inner, "data/a.csv": "1"})

    done = _run(world, "outer.py")

    assert b"returncode=0, stdout=b'1\\n', stderr=b''" in done.stdout
    assert (world.project / "data/a.csv").read_text() == "1"
    assert len(list(world.run_directory.parent.iterdir())) == 2
