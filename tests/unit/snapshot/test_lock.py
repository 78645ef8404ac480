from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reenact.model.environment import Environment, Origin, OriginKind, PythonFacts
from reenact.model.lock import Lock, Locked, decode_lock
from reenact.model.paths import text_to_path
from reenact.snapshot import locked as locked_module
from reenact.snapshot.environment import capture_environment
from reenact.snapshot.lock import LockFound, known_lock, make_lock
from reenact.snapshot.tree import read_tree
from reenact.store.blobs import Blobs
from wheels import ask, install, make_environment, make_wheel

ALPHA = {
    "alpha/__init__.py": "x = 1\n",
    "alpha/with, comma.txt": "text",
    "{info}/entry_points.txt": "[console_scripts]\nalpha = alpha:main\n",
    "{data}/scripts/alpha-tool": "#!python\nprint('tool')\n",
    "{data}/data/share/alpha/note.txt": "note",
}


class World:
    """An environment, and a store that gets its lock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.python = make_environment(root / "env")
        self.blobs = Blobs(str(root / "blobs"))
        self.cache = str(root / "cache")
        self.project = root / "project"
        self.env = {"HOME": str(root)}

    @property
    def site(self) -> Path:
        return next((self.root / "env" / "lib").glob("python*")) / "site-packages"

    def asked(self) -> tuple[PythonFacts, Environment]:
        facts = ask(self.python)
        return facts, capture_environment(facts, self.env)

    def find(self) -> LockFound:
        facts, environment = self.asked()
        places = {"project": str(self.project), "blobs": self.blobs, "cache": self.cache}
        return make_lock(facts, environment, self.env, **places)

    def known(self) -> LockFound | None:
        facts, environment = self.asked()
        places = {"project": str(self.project), "blobs": self.blobs, "cache": self.cache}
        return known_lock(facts, environment, self.env, **places)

    def lock(self) -> Lock:
        return decode_lock(self.blobs.get(self.find().digest), where="the lock")

    def one(self, name: str) -> Locked:
        return next(package for package in self.lock().packages if package.name == name)

    def content(self, tree: str) -> dict[str, bytes]:
        files = read_tree(self.blobs, tree).files
        return {text_to_path(path): self.blobs.get(digest) for path, _, _, digest in files}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestDigest:
    def test_it_is_the_same_whoever_installed_where(self, world: World, tmp_path: Path) -> None:
        wheel = make_wheel(world.wheels, "alpha", "1.0", ALPHA)
        install(world.python, wheel)
        other = World(tmp_path / "another place")
        subprocess.run([sys.executable, "-m", "venv", other.root / "env"], check=True)
        pip = [other.python, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--disable-pip-version-check", wheel], check=True)
        subprocess.run([other.python, "-c", "import alpha"], check=True)

        assert world.one("alpha").digest == other.one("alpha").digest is not None

    def test_another_content_has_another_digest(self, world: World, tmp_path: Path) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0", ALPHA))
        other = World(tmp_path / "other")
        changed = {**ALPHA, "alpha/__init__.py": "x = 2\n"}
        install(other.python, make_wheel(other.wheels, "alpha", "1.0", changed))

        assert world.one("alpha").digest != other.one("alpha").digest

    def test_a_program_that_names_no_interpreter_counts(self, world: World, tmp_path: Path) -> None:
        digests = []
        for name, program in (("a", b"\x7fELF-1"), ("b", b"\x7fELF-2")):
            other = World(tmp_path / name)
            files = {"{data}/scripts/tool": program}
            install(other.python, make_wheel(other.wheels, "tool", "1.0", files))
            digests.append(other.one("tool").digest)

        assert len(set(digests)) == 2

    def test_the_tag_is_that_of_the_wheel(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0", ALPHA))

        assert world.one("alpha").tag == "py3-none-any"

    def test_a_distribution_without_a_record_says_so(self, world: World) -> None:
        info = world.site / "old-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Name: old\nVersion: 1.0\n")

        package = world.one("old")

        assert (package.digest, package.reason) == (None, "it has no RECORD")


class TestWhatNoIndexHas:
    def test_a_local_version_is_kept_as_its_wheel_was(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0+cpu", ALPHA))

        package = world.one("alpha")

        content = world.content(str(package.files))
        assert content["alpha/__init__.py"] == b"x = 1\n"
        assert content["alpha-1.0+cpu.data/scripts/alpha-tool"] == b"#!python\nprint('tool')\n"
        assert content["alpha-1.0+cpu.data/data/share/alpha/note.txt"] == b"note"
        assert "alpha-1.0+cpu.data/scripts/alpha" not in content

    def test_what_was_changed_since_is_kept_as_it_is_now(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0+cpu", ALPHA))
        before = world.one("alpha").digest
        module = world.site / "alpha" / "__init__.py"
        module.unlink()
        module.write_text("x = 3\n")

        package = world.one("alpha")

        assert world.content(str(package.files))["alpha/__init__.py"] == b"x = 3\n"
        assert package.digest != before

    def test_hashes_that_a_build_tool_left_out_do_not_matter(self, world: World) -> None:
        wheel = make_wheel(world.wheels, "alpha", "1.0+mine", ALPHA)
        install(world.python, wheel)
        whole = world.one("alpha").digest
        site = next((Path(world.python).parents[1] / "lib").glob("python*")) / "site-packages"
        record = site / "alpha-1.0+mine.dist-info" / "RECORD"
        lines = [line.rsplit(",", 2)[0] + ",," for line in record.read_text().splitlines()]
        record.write_text("\n".join(lines) + "\n")
        os.utime(site)

        assert world.one("alpha").digest == whole

    def test_what_is_on_an_index_is_not_kept(self, world: World) -> None:
        make_wheel(world.wheels, "alpha", "1.0", ALPHA)
        install(world.python, "--no-index", "--find-links", world.wheels, "alpha==1.0")

        assert world.one("alpha").files is None

    def test_what_is_too_large_is_not_kept_and_the_lock_says_so(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0+cpu", ALPHA))
        monkeypatch.setattr(locked_module, "KEPT_LIMIT", 10)

        package = world.one("alpha")

        assert package.files is None
        assert "were not kept" in str(package.reason)


@pytest.mark.parametrize(
    ("origin", "url"),
    [
        (
            Origin(kind=OriginKind.VCS, url="git+https://h/x", commit="ab12", subdirectory="py"),
            "git+https://h/x@ab12#subdirectory=py",
        ),
        (
            Origin(kind=OriginKind.ARCHIVE, url="https://h/x.whl", digest="sha256=00ff"),
            "https://h/x.whl#sha256=00ff",
        ),
        (Origin(kind=OriginKind.ARCHIVE, url="file:///x.whl"), None),
        (Origin(kind=OriginKind.DIRECTORY, url="file:///x"), None),
        (None, None),
    ],
)
def test_what_came_from_the_network_has_an_address(origin: Origin | None, url: str | None) -> None:
    assert locked_module._url_of(origin) == url


def editable(world: World, source: Path) -> None:
    """Install a package in editable form, as build tools do it."""
    (source / "src" / "lib").mkdir(parents=True)
    (source / "src" / "lib" / "__init__.py").write_text("value = 1\n")
    info = world.site / "lib-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lib\nVersion: 0.1\n")
    (info / "direct_url.json").write_text(
        f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}'
    )
    (world.site / "_lib.pth").write_text(f"{source}/src\n")
    (info / "RECORD").write_text(
        "_lib.pth,sha256=x,1\nlib-0.1.dist-info/METADATA,sha256=y,1\n"
        "lib-0.1.dist-info/RECORD,,\nlib-0.1.dist-info/direct_url.json,sha256=z,1\n"
    )


class TestEditable:
    def test_its_source_is_kept(self, world: World) -> None:
        editable(world, world.root / "lib")

        package = world.one("lib")

        assert package.editable is not None
        assert package.editable.location == str(world.root / "lib")
        [source] = package.editable.sources
        assert source.path == "src"
        assert world.content(source.tree) == {"lib/__init__.py": b"value = 1\n"}
        assert world.content(str(package.files))["_lib.pth"] == f"{world.root}/lib/src\n".encode()

    def test_a_whole_home_is_not_kept(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        home = world.root / "home"
        editable(world, home)
        (world.site / "_lib.pth").write_text(f"{home}\n")
        monkeypatch.setenv("HOME", str(home))

        package = world.one("lib")

        assert package.editable is not None
        assert package.editable.sources == ()

    def test_that_of_the_project_is_the_source_of_the_run(self, world: World) -> None:
        editable(world, world.project)

        package = world.one("lib")

        assert package.editable is not None
        assert package.editable.project == ""
        assert package.editable.sources == ()


class TestMemory:
    def age(self, world: World) -> None:
        """Let the last change of the environment be long ago."""
        os.utime(world.site, (1_600_000_000, 1_600_000_000))

    def test_a_lock_is_found_again(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0", ALPHA))
        self.age(world)
        found = world.find()

        assert world.known() == found

    def test_a_change_of_the_environment_is_noticed(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0", ALPHA))
        self.age(world)
        world.find()
        install(world.python, "--reinstall", make_wheel(world.wheels, "alpha", "1.0", {"b.py": ""}))

        assert world.known() is None

    def test_other_settings_make_another_lock(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0", ALPHA))
        self.age(world)
        world.find()
        world.env["PIP_EXTRA_INDEX_URL"] = "https://user:secret@example.org/simple"

        assert world.known() is None
        assert world.lock().indexes.extra == ("https://user:<redacted>@example.org/simple",)

    def test_a_lock_that_was_collected_is_made_again(self, world: World) -> None:
        install(world.python, make_wheel(world.wheels, "alpha", "1.0", ALPHA))
        self.age(world)
        world.blobs.remove(world.find().digest)

        assert world.known() is None
