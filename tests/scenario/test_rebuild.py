"""Making the environment of a run again: from a record, when the environment itself is gone."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from commands import Desk, wait_until
from reenact.actions.context import Context
from reenact.actions.rebuild import environment_with_packages, lock_of, rebuild_environment
from reenact.errors import ReenactError
from reenact.model.environment import Environment
from reenact.model.identity import RunId
from reenact.rebuild.environment import rebuild
from reenact.rebuild.making import Rebuilt
from wheels import UV, call, install, make_environment, make_wheel

ALPHA = {
    "alpha/__init__.py": "value = 1\ndef main(): print('from alpha')\n",
    "{info}/entry_points.txt": "[console_scripts]\nalpha = alpha:main\n",
    "{data}/scripts/alpha-tool": "#!python\nimport alpha\nprint(alpha.value)\n",
}
SCRIPT = "import alpha, beta\nprint('value:', alpha.value + beta.value)\n"


class World:
    """A project, a store, an environment in which runs run, and a directory of wheels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.desk = Desk(root)
        self.wheels = root / "wheels"
        self.wheels.mkdir()
        self.environment = root / "env"
        self.python = make_environment(self.environment)
        settings = {"UV_FIND_LINKS": str(self.wheels), "UV_OFFLINE": "1"}
        settings["PIP_FIND_LINKS"] = ""
        settings["UV_CACHE_DIR"] = str(root / "uv")
        self.desk.env |= {**settings, "PIP_CONFIG_FILE": os.devnull, "UV_NO_INDEX": "1"}
        self.said: list[str] = []

    @property
    def context(self) -> Context:
        env = {**os.environ, **self.desk.env}
        return Context(env=env, directory=str(self.desk.project), store=str(self.desk.store))

    def from_index(self, name: str, version: str, content: dict[str, str | bytes]) -> None:
        """Install a package that can be had again from where it came."""
        make_wheel(self.wheels, name, version, content)
        install(self.python, "--no-index", "--find-links", self.wheels, f"{name}=={version}")

    def run(self, script: str = SCRIPT) -> RunId:
        """Run a script in the environment."""
        self.desk.write("train.py", script)
        return RunId(self.desk.run("--python", str(self.python), "train.py"))

    def recorded(self, run_id: RunId) -> Environment:
        context = self.context
        return environment_with_packages(context, context.store.read_run(run_id).record)

    def rebuild(self, run_id: RunId) -> Rebuilt:
        context = self.context
        run = context.store.read_run(run_id).record
        return rebuild_environment(context, run, self.recorded(run_id), self.said.append)

    def refused(self, run_id: RunId) -> ReenactError:
        with pytest.raises(ReenactError) as caught:
            self.rebuild(run_id)
        return caught.value

    @property
    def made(self) -> list[str]:
        """What lies among the environments that were made."""
        directory = self.desk.store / "cache" / "environments"
        return sorted(os.listdir(directory)) if directory.exists() else []


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.from_index("alpha", "1.0", {**ALPHA})
    install(
        world.python, make_wheel(tmp_path / "own", "beta", "2.0+mine", {"beta.py": "value = 2"})
    )
    return world


def printed(python: str, code: str, **variables: str) -> str:
    env = {**os.environ, **variables}
    words = [python, "-c", code]
    return subprocess.run(words, capture_output=True, check=True, text=True, env=env).stdout.strip()


class TestTheSameAgain:
    def test_it_is_equal_package_by_package(self, world: World) -> None:
        run = world.run()
        shutil.rmtree(world.environment)
        shutil.rmtree(world.root / "own")

        rebuilt = world.rebuild(run)

        assert rebuilt.differences == ()
        assert printed(rebuilt.python, "import alpha, beta; print(alpha.value + beta.value)") == "3"

    def test_a_run_in_it_has_the_same_environment_and_lock(self, world: World) -> None:
        first = world.run()
        rebuilt = world.rebuild(first)

        again = world.desk.run("--python", rebuilt.python, "train.py")

        before, after = world.desk.record(first), world.desk.record(again)
        assert before["environment"] == after["environment"]
        assert before["lock"] == after["lock"]

    def test_its_programs_work_from_where_it_lies(self, world: World) -> None:
        rebuilt = world.rebuild(world.run())

        programs = Path(rebuilt.python).parent
        for program, expected in (("alpha", "from alpha"), ("alpha-tool", "1")):
            done = subprocess.run([programs / program], capture_output=True, check=True, text=True)
            assert done.stdout.strip() == expected

    def test_the_second_time_it_is_there(self, world: World) -> None:
        run = world.run()
        first = world.rebuild(run)
        world.said.clear()
        shutil.rmtree(world.wheels)

        assert world.rebuild(run) == first
        assert world.said == []

    def test_bytecode_in_it_makes_no_difference(self, world: World) -> None:
        run = world.run()
        first = world.rebuild(run)
        printed(first.python, "import beta", PYTHONDONTWRITEBYTECODE="")
        world.said.clear()

        assert world.rebuild(run) == first
        assert world.said == []

    def test_one_that_somebody_changed_is_made_anew(self, world: World) -> None:
        run = world.run()
        rebuilt = world.rebuild(run)
        other = make_wheel(world.root / "other", "gamma", "1.0", {"gamma.py": ""})
        install(Path(rebuilt.python), other)
        world.said.clear()

        world.rebuild(run)

        assert world.said != []
        found = subprocess.run(
            [rebuilt.python, "-c", "import gamma"], capture_output=True, check=False
        )
        assert found.returncode == 1

    def test_the_environment_of_the_run_is_not_touched(self, world: World) -> None:
        run = world.run()
        site = next((world.environment / "lib").glob("python*")) / "site-packages"
        before = sorted(os.listdir(site))

        world.rebuild(run)

        assert sorted(os.listdir(site)) == before

    def test_two_at_once_make_one(self, world: World) -> None:
        run = world.run()
        found: list[Rebuilt] = []
        threads = [
            threading.Thread(target=lambda: found.append(world.rebuild(run))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(found) == 2
        assert found[0] == found[1]
        assert len(world.made) == 1


class TestOneThatSomebodyDamaged:
    """It is made anew; the parts of it that are proven equal are those that a run can read."""

    def part(self, rebuilt: Rebuilt) -> Path:
        site = next((Path(rebuilt.python).parents[1] / "lib").glob("python*")) / "site-packages"
        return site / "alpha" / "__init__.py"

    def test_a_file_that_was_deleted(self, world: World) -> None:
        run = world.run()
        self.part(world.rebuild(run)).unlink()

        rebuilt = world.rebuild(run)

        assert printed(rebuilt.python, "import alpha; print(alpha.value)") == "1"

    def test_a_file_that_an_editor_has_written_anew(self, world: World) -> None:
        run = world.run()
        path = self.part(world.rebuild(run))
        other = path.with_name("new")
        other.write_text(path.read_text().replace("value = 1", "value = 4"))
        other.replace(path)

        rebuilt = world.rebuild(run)

        assert printed(rebuilt.python, "import alpha; print(alpha.value)") == "1"

    def test_a_file_that_was_added(self, world: World) -> None:
        run = world.run()
        path = self.part(world.rebuild(run)).parents[1] / "sitecustomize.py"
        path.write_text("import alpha\nalpha.value = 5\n")

        rebuilt = world.rebuild(run)

        assert printed(rebuilt.python, "import alpha; print(alpha.value)") == "1"

    def test_an_edit_in_another_environment_that_shares_the_file(self, world: World) -> None:
        # uv makes hard links of the files in its cache: who writes into one writes into all.
        run = world.run()
        world.desk.env["UV_LINK_MODE"] = "hardlink"
        first = world.rebuild(run)
        path = self.part(first)
        path.write_text(path.read_text().replace("value = 1", "value = 4"))
        shutil.rmtree(Path(first.python).parents[1])

        rebuilt = world.rebuild(run)

        assert rebuilt.differences == ()
        assert printed(rebuilt.python, "import alpha; print(alpha.value)") == "1"

    def test_one_that_is_right_stays_after_its_modules_were_compiled(self, world: World) -> None:
        run = world.run()
        first = world.rebuild(run)
        python = first.python
        call(python, "-m", "compileall", "-q", str(self.part(first).parents[1]))
        made_at = (Path(python).parents[1] / "pyvenv.cfg").stat().st_mtime_ns

        world.rebuild(run)

        assert (Path(python).parents[1] / "pyvenv.cfg").stat().st_mtime_ns == made_at


class TestAPlaceThatCannotBeWritten:
    """A directory that is mounted read only, in a namespace of the command's own."""

    def reproduce(self, world: World, run: str, name: str, kind: str) -> tuple[int, str]:
        place = world.desk.store / "cache" / name
        place.mkdir(parents=True, exist_ok=True)
        mount = f"mount -t tmpfs -o {kind} none {place}"
        if kind == "ro":
            mount = f"mount --bind {place} {place} && mount -o remount,ro,bind {place}"
        script = f'{mount} && exec "$@"'
        words = [sys.executable, "-m", "reenact", "reproduce", run, "--env", "recorded"]
        done = subprocess.run(
            ["unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", *words],
            cwd=world.desk.project,
            env={**os.environ, **world.desk.env},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_an_environment_that_is_there_needs_no_room(self, world: World) -> None:
        run = world.run()
        printed(world.rebuild(run).python, "import beta", PYTHONDONTWRITEBYTECODE="")

        status, said = self.reproduce(world, run, "environments", "ro")

        assert status == 0, said

    def test_a_new_one_says_where_it_cannot_be_written(self, world: World) -> None:
        run = world.run()

        status, said = self.reproduce(world, run, "environments", "ro")

        assert status == 1
        place = world.desk.store / "cache" / "environments"
        assert f"error: nothing can be written in `{place}`: Read-only file system" in said

    def test_a_full_disk_says_so(self, world: World) -> None:
        run = world.run()

        status, said = self.reproduce(world, run, "environments", "size=64k")

        assert status == 1
        assert "error: nothing can be written" in said
        assert "No space left on device" in said

    def test_pins_that_cannot_be_remembered_are_no_harm(self, world: World) -> None:
        run = world.run()

        status, said = self.reproduce(world, run, "pins", "ro")

        assert status == 0, said


class TestWhatIsNotTheSame:
    def test_another_content_under_the_same_version_is_named(self, world: World) -> None:
        run = world.run()
        changed = {**ALPHA, "alpha/__init__.py": "value = 7\n"}
        make_wheel(world.wheels, "alpha", "1.0", changed)

        rebuilt = world.rebuild(run)

        assert rebuilt.differences == ("alpha 1.0 has not the content that the run had",)

    def test_a_file_that_was_replaced_since_it_was_pinned_is_refused(self, world: World) -> None:
        run = world.run()
        shutil.rmtree(os.path.dirname(os.path.dirname(world.rebuild(run).python)))
        shutil.rmtree(world.root / "uv")
        make_wheel(world.wheels, "alpha", "1.0", {"alpha/__init__.py": "value = 7\n"})

        error = world.refused(run)

        assert "alpha==1.0" in error.message
        assert "not the one that was pinned" in error.message
        assert world.made == []

    def test_a_package_that_is_gone_is_named_with_the_places(self, world: World) -> None:
        run = world.run()
        shutil.rmtree(world.wheels)
        world.wheels.mkdir()

        error = world.refused(run)

        assert error.message == f"alpha 1.0 is not to be had (any more) from {world.wheels}"
        assert "UV_FIND_LINKS" in str(error.hint)
        assert world.made == []

    def test_the_nearest_python_is_taken_and_said(self, world: World) -> None:
        run = world.run()
        recorded = world.recorded(run)
        assert recorded.python is not None
        minor = ".".join(recorded.python.version.split(".")[:2])
        path = world.desk.file(run, "run.json")
        other = json.loads(
            world.context.store.blobs.get(json.loads(path.read_text())["environment"])
        )
        other["python"]["version"] = f"{minor}.98"
        record = json.loads(path.read_text())
        record["environment"] = world.context.store.blobs.put(json.dumps(other).encode())
        path.write_text(json.dumps(record))

        rebuilt = world.rebuild(run)

        [difference] = rebuilt.differences
        assert difference.endswith(f"in place of {minor}.98, which is not to be had")

    def test_without_a_lock_names_and_versions_have_to_do(self, world: World) -> None:
        install(world.python, "--no-index", "--find-links", world.wheels, "alpha==1.0")
        run = world.run("import alpha\n")
        path = world.desk.file(run, "run.json")
        record = json.loads(path.read_text())
        del record["lock"]
        path.write_text(json.dumps(record))
        make_wheel(world.wheels, "beta", "2.0+mine", {"beta.py": "value = 5"})

        rebuilt = world.rebuild(run)

        assert printed(rebuilt.python, "import beta; print(beta.value)") == "5"
        assert "no lock was recorded" in rebuilt.remarks[-1]

    def test_content_that_the_store_has_lost_is_named(self, world: World) -> None:
        run = world.run()
        context = world.context
        lock = lock_of(context, context.store.read_run(run).record)
        assert lock is not None
        [tree] = lock.trees()
        context.store.blobs.remove(tree)

        error = world.refused(run)

        assert error.message.startswith(
            "the files of beta 2.0+mine, which no index has, are not all"
        )
        assert world.made == []

    def test_a_wheel_for_another_machine_is_named(self, world: World) -> None:
        run = world.run()
        context = world.context
        path = world.desk.file(run, "run.json")
        record = json.loads(path.read_text())
        lock = json.loads(context.store.blobs.get(record["lock"]))
        for package in lock["packages"]:
            if package["name"] == "beta":
                package["tag"] = "cp311-cp311-win_arm64"
        record["lock"] = context.store.blobs.put(json.dumps(lock).encode())
        path.write_text(json.dumps(record))

        error = world.refused(run)

        assert "what the store has of beta 2.0+mine (cp311-cp311-win_arm64)" in error.message
        assert world.made == []


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve the files of a directory; the address is what comes out."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Handler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class TestWhatIsTooLargeToBeKept:
    def test_it_is_installed_from_where_it_came(self, world: World) -> None:
        wheel = make_wheel(world.root / "served", "gamma", "1.0", {"gamma.py": "value = 8\n"})
        with served(wheel.parent) as address:
            url = f"{address}/{wheel.name}"
            words = ["pip", "install", "-q", "--no-config", "--no-deps", "--no-index"]
            call(UV, *words, "--python", str(world.python), f"gamma @ {url}")
            del world.desk.env["UV_OFFLINE"]
            run = world.run("import gamma\n")
            context = world.context
            record = context.store.read_run(run).record
            lock = lock_of(context, record)
            assert lock is not None
            kept = next(package for package in lock.packages if package.name == "gamma")
            assert kept.url is None
            large = msgspec.structs.replace(kept, files=None, url=url)
            packages = tuple(large if p is kept else p for p in lock.packages)
            changed = msgspec.structs.replace(lock, packages=packages)

            rebuilt = rebuild(
                world.recorded(run),
                changed,
                context.store.blobs,
                context.store.cache_directory,
                env=context.env,
            )

        assert rebuilt.differences == ()
        assert printed(rebuilt.python, "import gamma; print(gamma.value)") == "8"


def make_index(directory: Path, wheel: Path) -> str:
    """Make an index with one wheel; return its address."""
    place = directory / wheel.name.partition("-")[0]
    place.mkdir(parents=True)
    shutil.copy(wheel, place)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
    (place / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    return f"file://{directory}"


def test_of_two_files_of_a_version_the_one_of_the_run_is_taken(world: World) -> None:
    tag = "py2.py3-none-any"
    ours = make_wheel(world.root / "1", "gamma", "1.0", {"gamma.py": "value = 1"}, tag=tag)
    theirs = make_wheel(world.root / "2", "gamma", "1.0", {"gamma.py": "value = 2"})
    first = make_index(world.root / "first", theirs)
    second = make_index(world.root / "second", ours)
    install(world.python, "--no-index", ours)
    info = next((world.environment / "lib").glob("python*")) / "site-packages/gamma-1.0.dist-info"
    (info / "direct_url.json").unlink()
    del world.desk.env["UV_NO_INDEX"]
    world.desk.env |= {"UV_DEFAULT_INDEX": first, "UV_INDEX": second}
    run = world.run("import gamma\n")

    rebuilt = world.rebuild(run)

    assert rebuilt.differences == ()
    assert printed(rebuilt.python, "import gamma; print(gamma.value)") == "1"
    shutil.rmtree(Path(rebuilt.python).parents[1])
    world.said.clear()
    assert world.rebuild(run) == rebuilt
    assert not any(text.startswith("asking") for text in world.said)
    assert hashlib.sha256(ours.read_bytes()).hexdigest() in world.desk.ok("lock", run)


class TestAnEndInBetween:
    def test_what_a_killed_process_left_is_removed(self, world: World) -> None:
        run = world.run()
        code = (
            "import sys, os; sys.path.insert(0, sys.argv[1])\n"
            "from reenact.actions.context import Context\n"
            "from reenact.actions.rebuild import *\n"
            "c = Context(store=sys.argv[2])\n"
            "run = c.store.read_run(sys.argv[3]).record\n"
            "def say(text):\n"
            "    if text.startswith('installing'):\n"
            "        print('there', flush=True); import time; time.sleep(600)\n"
            "rebuild_environment(c, run, environment_with_packages(c, run), say)\n"
        )
        words = [sys.executable, "-c", code, str(world.root), str(world.desk.store), run]
        env = {**os.environ, **world.desk.env}
        with subprocess.Popen(words, stdout=subprocess.PIPE, env=env) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"there\n"
            assert any(name.endswith(".tmp") for name in world.made)
            process.send_signal(signal.SIGKILL)

        rebuilt = world.rebuild(run)

        assert rebuilt.differences == ()
        assert world.made == [os.path.basename(os.path.dirname(os.path.dirname(rebuilt.python)))]

    def test_an_interruption_leaves_nothing(self, world: World) -> None:
        run = world.run()
        context = world.context
        record = context.store.read_run(run).record

        def say(text: str) -> None:
            if text.startswith("installing"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rebuild_environment(context, record, world.recorded(run), say)

        assert world.made == []


def editable(world: World, source: Path) -> None:
    """Install a package in editable form, as build tools do it."""
    (source / "src" / "lib").mkdir(parents=True)
    (source / "src" / "lib" / "__init__.py").write_text("value = 1\n")
    site = next((world.environment / "lib").glob("python*")) / "site-packages"
    info = site / "lib-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lib\nVersion: 0.1\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": f"file://{source}", "dir_info": {"editable": True}})
    )
    (site / "_lib.pth").write_text(f"{source}/src\n")
    (info / "RECORD").write_text(
        "_lib.pth,sha256=x,1\nlib-0.1.dist-info/METADATA,sha256=y,1\n"
        "lib-0.1.dist-info/RECORD,,\nlib-0.1.dist-info/direct_url.json,sha256=z,1\n"
    )


FINDER = """
import sys
from importlib.util import spec_from_file_location

MAPPING: dict[str, str] = {{'lib': '{place}'}}


class Finder:
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in MAPPING:
            return spec_from_file_location(name, MAPPING[name] + "/__init__.py")


def install():
    sys.meta_path.append(Finder)
"""


class TestEditable:
    def test_the_source_of_another_project_comes_along(self, world: World) -> None:
        source = world.root / "another"
        editable(world, source)
        run = world.run("import lib\nprint('value:', lib.value)\n")
        shutil.rmtree(source)

        rebuilt = world.rebuild(run)

        assert printed(rebuilt.python, "import lib; print(lib.value)") == "1"
        assert rebuilt.differences == ()

    def test_what_was_edited_between_two_runs_is_kept_for_each(self, world: World) -> None:
        source = world.root / "another"
        editable(world, source)
        site = next((world.environment / "lib").glob("python*")) / "site-packages"
        os.utime(site, (1_600_000_000, 1_600_000_000))
        first = world.run("import lib\nprint('value:', lib.value)\n")
        (source / "src" / "lib" / "__init__.py").write_text("value = 22\n")
        second = world.run("import lib\nprint('value:', lib.value)\n")

        values = [
            printed(world.rebuild(run).python, "import lib; print(lib.value)")
            for run in (first, second)
        ]

        assert values == ["1", "22"]

    def test_one_that_a_finder_imports_is_kept_as_it_was_for_each_run(self, world: World) -> None:
        source = world.root / "another"
        editable(world, source)
        site = next((world.environment / "lib").glob("python*")) / "site-packages"
        finder = FINDER.format(place=source / "src" / "lib")
        (site / "__editable___lib_finder.py").write_text(finder)
        (site / "_lib.pth").write_text(
            "import __editable___lib_finder as f; f.install()  # of a build tool\n"
        )
        with (site / "lib-0.1.dist-info" / "RECORD").open("a") as record:
            record.write("__editable___lib_finder.py,,\n")
        os.utime(site, (1_600_000_000, 1_600_000_000))
        first = world.run("import lib\nprint('value:', lib.value)\n")
        (source / "src" / "lib" / "__init__.py").write_text("value = 22\n")
        second = world.run("import lib\nprint('value:', lib.value)\n")
        shutil.rmtree(source)

        values = [
            printed(world.rebuild(run).python, "import lib; print(lib.value)")
            for run in (first, second)
        ]

        assert values == ["1", "22"]
        [file] = world.desk.record(first)["inputs"]
        assert file["role"] == "source"

    def test_that_of_the_project_leads_to_the_project_of_the_run(self, world: World) -> None:
        editable(world, world.desk.project)
        run = world.run("import lib\nprint('value:', lib.value)\n")
        rebuilt = world.rebuild(run)
        # Of another size: Python takes bytecode for that of a file of the same second and size.
        (world.desk.project / "src" / "lib" / "__init__.py").write_text("value = 9.0  # now\n")

        again = world.desk.run("--python", rebuilt.python, "train.py")

        assert world.desk.record(again)["metrics"]["value"]["last"] == 9
        assert not any(
            f.get("role") == "source" for f in world.desk.record(again).get("inputs", ())
        )
        before, after = world.desk.record(run), world.desk.record(again)
        assert before["environment"] == after["environment"]


class TestTheRecord:
    def test_a_long_run_has_its_lock_while_it_runs(self, world: World) -> None:
        world.desk.write("train.py", "input()\n")
        with world.desk.start(
            "run", "--python", str(world.python), "train.py", stdin=subprocess.PIPE
        ) as process:
            wait_until(
                lambda: [r for r in world.desk.ids() if "lock" in world.desk.record(r)],
                what="the lock is there",
            )
            process.communicate(b"\n")
        [run] = world.desk.ids()

        assert world.rebuild(RunId(run)).differences == ()

    def test_gc_keeps_what_a_lock_needs(self, world: World) -> None:
        run = world.run()

        world.desk.ok("gc")

        assert world.rebuild(run).differences == ()
        assert world.desk.json("fsck")["problems"] == []

    def test_gc_deletes_environments_that_nobody_has_asked_for(self, world: World) -> None:
        run = world.run()
        marker = Path(world.rebuild(run).python).parents[1] / "reenact.json"
        world.desk.ok("gc")
        assert len(world.made) == 1
        long_ago = time.time() - 31 * 86400
        os.utime(marker, (long_ago, long_ago))
        world.rebuild(run)
        world.desk.ok("gc")
        assert len(world.made) == 1

        os.utime(marker, (long_ago, long_ago))
        world.desk.ok("gc")

        assert world.made == []

    def test_fsck_names_the_run_whose_kept_package_is_lost(self, world: World) -> None:
        run = world.run()
        context = world.context
        lock = lock_of(context, context.store.read_run(run).record)
        assert lock is not None
        context.store.blobs.remove(lock.trees()[0])

        found = json.loads(world.desk.reenact("fsck", "--json").out)["problems"]

        assert [(p["kind"], p["where"]) for p in found] == [("blob-missing", lock.trees()[0])]
        assert run[:8] in found[0]["detail"]

    def test_doctor_names_what_was_not_kept(self, world: World) -> None:
        run = world.run()
        path = world.desk.file(run, "run.json")
        record = json.loads(path.read_text())
        blobs = world.context.store.blobs
        lock = json.loads(blobs.get(record["lock"]))
        for package in lock["packages"]:
            if package.pop("files", None):
                package["reason"] = "its 665 MiB were not kept: more than 128 MiB"
        record["lock"] = blobs.put(json.dumps(lock).encode())
        path.write_text(json.dumps(record))

        findings = world.desk.json("doctor", run)["findings"]

        [found] = [one for one in findings if one["what"] == "lock"]
        assert found["detail"].startswith("beta 2.0+mine: its 665 MiB were not kept")


class TestLockCommand:
    def test_it_prints_what_can_be_installed_from_it(self, world: World) -> None:
        run = world.run()
        wheels = world.root / "from the store"

        text = world.desk.ok("lock", run, "--wheels", str(wheels))

        file = world.root / "requirements.txt"
        file.write_text(text)
        fresh = make_environment(world.root / "fresh")
        links = ("--find-links", wheels, "--find-links", world.wheels)
        install(fresh, "--require-hashes", *links, "-r", file)
        assert printed(str(fresh), "import alpha, beta; print(alpha.value + beta.value)") == "3"

    def test_what_it_cannot_pin_is_a_comment(self, world: World) -> None:
        editable(world, world.root / "another")
        run = world.run()

        lines = world.desk.ok("lock", run).splitlines()

        assert "# not here: lib 0.1, installed in editable form from its source" in lines
        [beta] = [line for line in lines if "beta" in line]
        assert beta.startswith("# not here: beta 2.0+mine, which no index has")

    def test_pylock_names_files_by_hash(self, world: World) -> None:
        run = world.run()

        text = world.desk.ok("lock", run, "--format", "pylock")

        assert 'name = "alpha"' in text
        assert 'lock-version = "1.0"' in text

    def test_conda_is_refused_where_there_is_none(self, world: World) -> None:
        run = world.run()

        done = world.desk.reenact("lock", run, "--format", "conda")

        assert done.status == 1
        assert done.complaint[0] == f"error: run {run[:8]} ran in no environment of conda"

    def test_a_package_that_is_gone_is_an_error(self, world: World) -> None:
        run = world.run()
        shutil.rmtree(world.wheels)

        done = world.desk.reenact("lock", run)

        assert done.status == 1
        assert done.complaint[-2] == "error: alpha 1.0 is not to be had (any more) from any place"


class TestInAProcess:
    def test_a_run_that_takes_a_while_has_a_lock(self, world: World) -> None:
        world.desk.write(
            "inside.py", "import reenact, time\nwith reenact.start():\n    time.sleep(1.1)\n"
        )
        env = {**os.environ, **world.desk.env}
        words = [sys.executable, "inside.py"]
        subprocess.run(words, cwd=world.desk.project, env=env, check=True)

        [run] = world.desk.ids()

        context = world.context
        lock = lock_of(context, context.store.read_run(RunId(run)).record)
        assert lock is not None
        assert "msgspec" in [package.name for package in lock.packages]
