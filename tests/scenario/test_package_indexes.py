"""Making an environment again from an index that misbehaves, in every way that was thought of."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import PATIENCE_S, Desk, wait_until
from package_index import Index, package_index
from reenact.actions.context import Context
from reenact.actions.rebuild import environment_with_packages, rebuild_environment
from reenact.errors import ReenactError
from reenact.model.identity import RunId
from reenact.rebuild import uv
from reenact.rebuild.making import Rebuilt
from wheels import UV, call, make_environment, make_wheel

ALPHA = "alpha-1.0-py3-none-any.whl"

BACKEND = """
import os, zipfile
{prelude}
def build_wheel(directory, settings=None, metadata=None):
    name, info = "{name}-{version}-py3-none-any.whl", "{name}-{version}.dist-info"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        archive.writestr("{name}.py", "value = 1\\n")
        archive.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        archive.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr(info + "/RECORD", "{name}.py,,\\n" + info + "/METADATA,,\\n")
    return name
"""


class World:
    """A project whose environment came from an index, and uv with a cache of its own."""

    def __init__(self, root: Path, index: Index) -> None:
        self.root = root
        self.index = index
        self.desk = Desk(root)
        self.python = make_environment(root / "env")
        self.desk.env |= {
            "UV_DEFAULT_INDEX": index.url,
            "UV_CACHE_DIR": str(root / "uv"),
            "UV_HTTP_RETRIES": "0",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": "",
        }
        index.add(make_wheel(root / "alpha", "alpha", "1.0", {"alpha.py": "value = 1\n"}))
        self.said: list[str] = []

    def install(self, what: str, *words: str) -> None:
        fixed = ("pip", "install", "-q", "--no-config", "--no-deps", "--no-cache")
        call(
            UV,
            *fixed,
            "--default-index",
            self.index.url,
            *words,
            "--python",
            str(self.python),
            what,
        )

    def run(self, name: str = "alpha") -> RunId:
        """Run a script that uses one package, which comes from the index."""
        self.install(f"{name}==1.0")
        self.desk.write("train.py", f"import {name}\nprint('value:', {name}.value)\n")
        return RunId(self.desk.run("--python", str(self.python), "train.py"))

    def rebuild(self, run_id: RunId) -> Rebuilt:
        env = {**os.environ, **self.desk.env}
        context = Context(env=env, directory=str(self.desk.project), store=str(self.desk.store))
        run = context.store.read_run(run_id).record
        recorded = environment_with_packages(context, run)
        return rebuild_environment(context, run, recorded, self.said.append)

    def refused(self, run_id: RunId) -> ReenactError:
        """Make it, which must fail; nothing may be left of it."""
        with pytest.raises(ReenactError) as caught:
            self.rebuild(run_id)
        assert self.made == []
        return caught.value

    def forget(self, *names: str) -> None:
        """Delete what was made, and what is remembered."""
        shutil.rmtree(self.root / "uv", ignore_errors=True)
        for name in ("environments", *names):
            shutil.rmtree(self.desk.store / "cache" / name, ignore_errors=True)

    @property
    def made(self) -> list[str]:
        directory = self.desk.store / "cache" / "environments"
        return os.listdir(directory) if directory.exists() else []

    def keeps(self, text: str) -> list[Path]:
        """Return the files of the store that have a text in them."""
        files = (path for path in self.desk.store.rglob("*") if path.is_file())
        return [path for path in files if text.encode() in path.read_bytes()]


@pytest.fixture
def index() -> Iterator[Index]:
    with package_index() as served:
        yield served


@pytest.fixture
def world(tmp_path: Path, index: Index) -> World:
    return World(tmp_path, index)


def source(directory: Path, name: str, version: str, prelude: str = "") -> Path:
    """Write a source distribution that needs nothing to be built."""
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{version}"
    files = {
        "pyproject.toml": (
            "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
            f"[project]\nname = '{name}'\nversion = '{version}'\n"
        ),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "backend.py": BACKEND.format(name=name, version=version, prelude=prelude),
    }
    path = directory / f"{stem}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inner, text in files.items():
            info = tarfile.TarInfo(f"{stem}/{inner}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return path


class TestAnIndexThatDoesNotGiveIt:
    @pytest.mark.parametrize(
        ("status", "message", "hint"),
        [
            (401, "alpha 1.0 is not to be had (any more) from {url}; {url} refuses: 401 Unauthorized", "netrc"),
            (403, "alpha 1.0 is not to be had (any more) from {url}; {url} refuses: 403 Forbidden", "netrc"),
            (404, "alpha 1.0 is not to be had (any more) from {url}", "UV_FIND_LINKS"),
            (429, "{url}/alpha/ does not serve it: 429 Too Many Requests", "try again later"),
            (500, "{url}/alpha/ does not serve it: 500 Internal Server Error", "try again later"),
        ],
    )  # fmt: skip
    def test_its_pages(self, world: World, status: int, message: str, hint: str) -> None:
        run = world.run()
        world.index.status = status

        error = world.refused(run)

        assert error.message == message.format(url=world.index.url)
        assert hint in str(error.hint)

    @pytest.mark.parametrize(
        ("status", "message"),
        [
            (401, "refuses: 401 Unauthorized"),
            (404, "is gone: 404 Not Found"),
            (410, "is gone: 410 Gone"),
            (503, "does not serve it: 503 Service Unavailable"),
        ],
    )
    def test_its_files(self, world: World, status: int, message: str) -> None:
        run = world.run()
        world.index.file_status = status

        error = world.refused(run)

        address = world.index.url.removesuffix("simple") + f"files/{ALPHA}"
        assert error.message == f"{address} {message}"

    def test_a_file_that_is_damaged(self, world: World) -> None:
        run = world.run()
        world.index.files[ALPHA] = bytes(1000)

        error = world.refused(run)

        assert error.message.startswith(f"the file of alpha==1.0 on {world.index.url} is damaged: ")

    def test_nobody_listens_any_more(self, world: World) -> None:
        with package_index() as other:
            other.files = world.index.files
            world.desk.env["UV_DEFAULT_INDEX"] = other.url
            run = world.run()

        error = world.refused(run)

        assert error.message == f"{other.url}/alpha/ cannot be reached"
        assert "mirror" in str(error.hint)

    def test_an_index_that_never_answers_can_be_interrupted(self, world: World) -> None:
        run = world.run()
        world.index.is_hanging.set()
        words = ("reproduce", run, "--env", "recorded")
        process = world.desk.start(*words, start_new_session=True)
        asked = len(world.index.asked)
        wait_until(lambda: len(world.index.asked) > asked, what="the index is asked")

        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)

        assert process.returncode == 130, err
        assert world.made == []

    def test_an_index_that_never_answers_is_told_of_and_has_an_end(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(uv, "_PATIENCE_S", 0.2)
        run = world.run()
        world.desk.env["UV_HTTP_TIMEOUT"] = "1"
        world.index.is_hanging.set()

        error = world.refused(run)

        assert error.message == f"{world.index.url}/alpha/ cannot be reached"
        assert any(text.startswith("uv is still at work") for text in world.said)


class TestAFileThatIsNotAsItWas:
    @pytest.mark.parametrize("is_json", [True, False])
    def test_one_that_was_taken_back_is_installed(self, world: World, is_json: bool) -> None:
        run = world.run()
        world.index.is_json = is_json
        world.index.yanked[ALPHA] = "it was broken"

        assert world.rebuild(run).differences == ()

    def test_one_that_was_deleted_after_it_was_pinned_is_named(self, world: World) -> None:
        run = world.run()
        world.rebuild(run)
        world.forget()
        del world.index.files[ALPHA]

        error = world.refused(run)

        assert error.message == f"alpha 1.0 is not to be had (any more) from {world.index.url}"

    def test_one_that_was_deleted_is_taken_from_the_cache_of_uv(self, world: World) -> None:
        run = world.run()
        world.rebuild(run)
        shutil.rmtree(world.desk.store / "cache" / "environments")
        world.index.status = 500

        rebuilt = world.rebuild(run)

        assert rebuilt.differences == ()
        assert rebuilt.remarks[-1].startswith(
            "no index was of use: what this machine has was taken"
        )

    def test_one_that_was_replaced_after_it_was_pinned_is_refused(self, world: World) -> None:
        run = world.run()
        world.rebuild(run)
        world.forget()
        world.index.add(make_wheel(world.root / "2", "alpha", "1.0", {"alpha.py": "value = 2\n"}))

        error = world.refused(run)

        assert error.message.startswith("the file of alpha==1.0 is not the one that was pinned")

    def test_one_that_was_replaced_before_that_is_named_as_a_difference(self, world: World) -> None:
        run = world.run()
        world.index.add(make_wheel(world.root / "2", "alpha", "1.0", {"alpha.py": "value = 2\n"}))

        assert world.rebuild(run).differences == ("alpha 1.0 has not the content that the run had",)

    def test_an_index_without_hashes_is_said(self, world: World) -> None:
        run = world.run()
        world.index.tells_hashes = False

        rebuilt = world.rebuild(run)

        assert rebuilt.differences == ()
        assert rebuilt.remarks == ("not pinned by hash, their place tells none: alpha==1.0",)

    @pytest.mark.parametrize("tag", ["cp311-cp311-manylinux_2_17_riscv64", "cp27-cp27mu-any"])
    def test_wheels_for_other_machines_only(self, world: World, tag: str) -> None:
        run = world.run()
        world.index.files.clear()
        world.index.add(make_wheel(world.root / "other", "alpha", "1.0", {"alpha.py": ""}, tag=tag))

        error = world.refused(run)

        assert error.message == (
            f"alpha 1.0 has no file for this system and Python on {world.index.url}"
        )

    def test_one_for_other_pythons_is_named(self, world: World) -> None:
        run = world.run()
        world.index.requires = ">=4"

        error = world.refused(run)

        here = ".".join(map(str, sys.version_info[:3]))
        assert error.message == (
            f"alpha 1.0 is for Python >=4 by what {world.index.url} says, and the run had {here}"
        )


class TestSourceDistributions:
    def test_one_is_built_and_is_equal(self, world: World) -> None:
        world.index.add(source(world.root / "source", "gamma", "1.0"))
        run = world.run("gamma")

        assert world.rebuild(run).differences == ()
        assert re.search(
            r"^gamma==1\.0 \\\n +--hash=sha256:", world.desk.ok("lock", run), re.MULTILINE
        )

    def test_one_that_does_not_build_is_named_with_the_reason(self, world: World) -> None:
        world.index.add(source(world.root / "source", "gamma", "1.0"))
        run = world.run("gamma")
        prelude = "raise OSError('there is no compiler')"
        world.index.add(source(world.root / "broken", "gamma", "1.0", prelude))

        error = world.refused(run)

        assert error.message == (
            "gamma==1.0 has no wheel for this system, and its source does not build: "
            "OSError: there is no compiler"
        )

    def test_one_from_a_repository_that_is_gone_comes_from_the_store(self, world: World) -> None:
        repository = world.root / "repository"
        with tarfile.open(source(world.root / "source", "gamma", "1.0")) as archive:
            archive.extractall(world.root, filter="data")
        (world.root / "gamma-1.0").rename(repository)
        me = ("-c", "user.name=me", "-c", "user.email=me@here")
        for words in (("init", "-q"), ("add", "."), (*me, "commit", "-qm", "first")):
            subprocess.run(["git", *words], cwd=repository, check=True)
        world.install(f"gamma @ git+file://{repository}")
        world.desk.write("train.py", "import gamma\nprint('value:', gamma.value)\n")
        run = RunId(world.desk.run("--python", str(world.python), "train.py"))
        shutil.rmtree(repository)

        assert world.rebuild(run).differences == ()


class TestCredentials:
    SECRET = "s3cr3t-of-mine"

    @pytest.fixture
    def private(self, world: World) -> Iterator[Index]:
        """A second index, with a package of its own, that demands a password."""
        with package_index() as served:
            served.login = f"me:{self.SECRET}"
            served.add(
                make_wheel(world.root / "gamma", "gamma", "1.0", {"gamma.py": "value = 3\n"})
            )
            yield served

    def run(self, world: World, private: Index) -> RunId:
        address = private.address(f"me:{self.SECRET}")
        world.install("gamma==1.0", "--index", address)
        world.desk.env["UV_INDEX"] = address
        run = world.run()
        world.desk.env["UV_INDEX"] = ""
        return run

    def test_they_are_not_recorded(self, world: World, private: Index) -> None:
        run = self.run(world, private)
        world.desk.env["UV_INDEX"] = private.address(f"me:{self.SECRET}")

        world.rebuild(run)

        assert world.keeps(private.url.removeprefix("http://")) != []
        assert world.keeps(self.SECRET) == []

    def test_without_them_it_is_said_who_wants_some(self, world: World, private: Index) -> None:
        run = self.run(world, private)

        error = world.refused(run)

        assert error.message == (
            f"gamma 1.0 is not to be had (any more) from {world.index.url}, {private.url}; "
            f"{private.url} refuses: 401 Unauthorized"
        )

    def test_from_netrc(self, world: World, private: Index) -> None:
        run = self.run(world, private)
        netrc = world.root / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login me password {self.SECRET}\n")
        world.desk.env["NETRC"] = str(netrc)

        assert world.rebuild(run).differences == ()

    def test_from_a_file_of_pip(self, world: World, private: Index) -> None:
        run = self.run(world, private)
        settings = world.root / "pip.conf"
        settings.write_text(f"[global]\nextra-index-url = {private.address(f'me:{self.SECRET}')}\n")
        world.desk.env["PIP_CONFIG_FILE"] = str(settings)

        assert world.rebuild(run).differences == ()

    def test_for_an_index_that_a_file_of_uv_names(self, world: World, private: Index) -> None:
        run = self.run(world, private)
        settings = world.root / "uv.toml"
        settings.write_text(f'[[index]]\nname = "our-own"\nurl = "{private.url}"\n')
        world.desk.env |= {
            "UV_CONFIG_FILE": str(settings),
            "UV_INDEX_OUR_OWN_USERNAME": "me",
            "UV_INDEX_OUR_OWN_PASSWORD": self.SECRET,
        }

        assert world.rebuild(run).differences == ()

    def test_from_a_keyring(self, world: World, private: Index) -> None:
        run = self.run(world, private)
        program = world.root / "bin" / "keyring"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho {self.SECRET}\n")
        program.chmod(0o755)
        world.desk.env |= {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "UV_KEYRING_PROVIDER": "subprocess",
            "UV_INDEX": private.address("me"),
        }

        assert world.rebuild(run).differences == ()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are Linux's")
class TestWithoutANetwork:
    """In a namespace without any network, loopback included."""

    @pytest.fixture
    def off(self) -> tuple[str, ...]:
        words = ("unshare", "--net", "--map-root-user")
        if subprocess.run([*words, "true"], capture_output=True, check=False).returncode != 0:
            pytest.fail("this machine lets nobody make a network namespace")
        return words

    def reproduce(self, world: World, off: tuple[str, ...], *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*off, sys.executable, "-m", "reenact", "reproduce", *words],
            cwd=world.desk.project,
            env={**os.environ, **world.desk.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_the_environment_of_now_needs_none(self, world: World, off: tuple[str, ...]) -> None:
        run = world.run()

        status, said = self.reproduce(world, off, run)

        assert status == 0, said

    def test_one_that_was_made_before_needs_none(self, world: World, off: tuple[str, ...]) -> None:
        run = world.run()
        world.rebuild(run)

        status, said = self.reproduce(world, off, run, "--env", "recorded")

        assert status == 0, said

    def test_what_uv_has_in_its_cache_is_enough(self, world: World, off: tuple[str, ...]) -> None:
        run = world.run()
        world.rebuild(run)
        for name in ("environments", "pins"):
            shutil.rmtree(world.desk.store / "cache" / name)

        status, said = self.reproduce(world, off, run, "--env", "recorded")

        assert status == 0, said
        assert "no index was of use" in said

    def test_with_nothing_at_all_one_line_says_so(self, world: World, off: tuple[str, ...]) -> None:
        run = world.run()

        status, said = self.reproduce(world, off, run, "--env", "recorded")

        assert status == 1
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert errors == [f"error: {world.index.url}/alpha/ cannot be reached"]
        assert world.made == []
