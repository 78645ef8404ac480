from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from reenact.model.environment import (
    CondaPackage,
    Environment,
    Origin,
    OriginKind,
    Package,
    PrefixKind,
    PythonFacts,
    Tool,
)
from reenact.model.record import to_json
from reenact.model.secrets import REDACTED
from reenact.snapshot.environment import capture_environment, relevant_variables

ASK = """
import json, os, platform, sys
print(json.dumps({
    "version": platform.python_version(), "implementation": sys.implementation.name,
    "prefix": sys.prefix, "base_prefix": sys.base_prefix, "executable": sys.executable,
    "path": sys.path, "build": sys.version, "abi": sys.implementation.cache_tag,
    "platform": sys.platform + "-" + os.uname().machine, "libc": "glibc 2.36",
}))
"""


def ask(python: Path | str) -> PythonFacts:
    answer = subprocess.run(
        [python, "-c", ASK], capture_output=True, check=True, cwd="/", env={"LC_ALL": "C.UTF-8"}
    )
    return msgspec.json.decode(answer.stdout, type=PythonFacts)


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("venv") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    return root


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory for packages, that has not changed for a while."""
    directory = tmp_path / "lib" / "python3.11" / "site-packages"
    directory.mkdir(parents=True)
    return directory


def facts(*path: Path, prefix: Path | None = None) -> PythonFacts:
    root = str(prefix or path[0].parents[2])
    return PythonFacts(
        version="3.11.7",
        implementation="cpython",
        prefix=root,
        base_prefix=root,
        executable=f"{root}/bin/python",
        path=tuple(map(str, path)),
    )


def install(site: Path, name: str, metadata: str = "", **direct_url: object) -> Path:
    directory = site / name
    directory.mkdir()
    (directory / "METADATA").write_text(metadata or "Metadata-Version: 2.1\n")
    if direct_url:
        (directory / "direct_url.json").write_text(json.dumps(direct_url))
    return directory


def settle(site: Path) -> None:
    """Make the directory look as if it had last changed an hour ago."""
    past = time.time_ns() - 3600 * 10**9
    os.utime(site, ns=(past, past))


def packages(site: Path, *more: Path) -> list[str]:
    found = capture_environment(facts(site, *more), {}).packages
    assert found is not None
    return [f"{package.name} {package.version}" for package in found]


def origin(site: Path) -> Origin | None:
    found = capture_environment(facts(site), {}).packages
    assert found is not None
    return found[0].origin


def test_the_packages_of_this_interpreter_are_those_that_it_names_itself() -> None:
    code = (
        "import importlib.metadata as m, re\n"
        "for d in m.distributions():\n"
        "    print(re.sub('[-_.]+', '-', d.metadata['Name']).lower(), d.version)"
    )
    named = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    ).stdout.splitlines()

    found = capture_environment(ask(sys.executable), {}).packages

    assert found is not None
    assert [f"{p.name} {p.version}" for p in found] == sorted(named)
    assert "pytest" in {package.name for package in found}


def test_an_interpreter_is_described_without_being_started(venv: Path) -> None:
    environment = capture_environment(ask(venv / "bin" / "python"), {}, tools=())

    assert environment.packages == ()
    assert environment.python is not None
    assert environment.python.prefix_kind is PrefixKind.VENV
    assert environment.python.version == ".".join(map(str, sys.version_info[:3]))
    assert environment.python.build == " ".join(sys.version.split()[1:])
    assert environment.reasons == {}


def test_equal_environments_in_two_places_are_one_blob(tmp_path: Path) -> None:
    sites = []
    for place in ("here", "there"):
        sites.append(tmp_path / place / "lib" / "python3.11" / "site-packages")
        sites[-1].mkdir(parents=True)
        install(sites[-1], "numpy-2.0.0.dist-info")

    first, second = (to_json(capture_environment(facts(site), {"TZ": "UTC"})) for site in sites)

    assert first == second


def test_names_are_normalised_and_sorted(site: Path) -> None:
    for name in ("zope.interface-7.0", "Typing_Extensions-4.12", "Foo--Bar_x-1", "a-b-2.0"):
        install(site, f"{name}.dist-info")

    assert packages(site) == [
        "a-b 2.0",
        "foo-bar-x 1",
        "typing-extensions 4.12",
        "zope-interface 7.0",
    ]


def test_a_local_version_is_kept(site: Path) -> None:
    install(site, "torch-2.13.0+cpu.dist-info")

    assert packages(site) == ["torch 2.13.0+cpu"]


def test_the_first_of_two_on_the_path_wins(site: Path, tmp_path: Path) -> None:
    user = tmp_path / "user"
    user.mkdir()
    install(user, "numpy-1.26.4.dist-info")
    install(site, "numpy-2.0.0.dist-info")
    install(site, "scipy-1.0.dist-info")

    assert packages(user, site) == ["numpy 1.26.4", "scipy 1.0"]


def test_of_two_in_one_directory_the_newer_wins_and_the_other_is_named(site: Path) -> None:
    old = install(site, "numpy-2.0.0.dist-info")
    install(site, "numpy-1.26.4.dist-info")
    os.utime(old, (1, 1))

    environment = capture_environment(facts(site), {})

    assert environment.packages == (Package(name="numpy", version="1.26.4"),)
    assert environment.leftovers == ("numpy-2.0.0.dist-info",)


def test_broken_distributions_are_named_and_not_counted(site: Path) -> None:
    install(site, "~umpy-1.0.dist-info")
    (site / "empty-1.0.dist-info").mkdir()
    (site / "file-1.0.dist-info").write_text("not a directory")
    install(site, "nameless.dist-info", metadata="nothing here\n")
    install(site, "good-1.0.dist-info")
    (site / "gone.egg-link").write_text("/no/such/place\n")

    environment = capture_environment(facts(site), {})

    assert environment.packages == (Package(name="good", version="1.0"),)
    assert environment.leftovers == (
        "empty-1.0.dist-info",
        "file-1.0.dist-info",
        "gone.egg-link",
        "nameless.dist-info",
        "~umpy-1.0.dist-info",
    )


def test_a_name_without_a_version_is_looked_up_in_the_metadata(site: Path) -> None:
    install(site, "odd.dist-info", metadata="Name: Odd.One\nVersion: 3.0\n\nVersion: 9\n")

    assert packages(site) == ["odd-one 3.0"]


def test_older_kinds_of_distributions_are_understood(site: Path, tmp_path: Path) -> None:
    (site / "distro_info-1.5-py3.11.egg-info").write_text("Name: distro-info\n")
    (site / "versionless.egg-info").write_text("Name: versionless\nVersion: 2\n")
    (site / "Old_Style-0.9-py2.7.egg-info").mkdir()
    egg = tmp_path / "zipped-4.0-py3.11.egg"
    egg.mkdir()

    assert packages(site, egg) == [
        "distro-info 1.5",
        "old-style 0.9",
        "versionless 2",
        "zipped 4.0",
    ]


def test_a_development_link_is_followed_to_its_source(site: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "My_Tool.egg-info").mkdir(parents=True)
    (source / "My_Tool.egg-info" / "PKG-INFO").write_text("Name: My-Tool\nVersion: 0.1.dev0\n")
    (site / "my-tool.egg-link").write_text(f"{source}\n.")

    found = capture_environment(facts(site, source), {}).packages

    assert found == (
        Package(
            name="my-tool",
            version="0.1.dev0",
            origin=Origin(kind=OriginKind.EDITABLE, url=f"file://{source}"),
        ),
    )


def test_an_editable_install_says_where_its_source_is(site: Path) -> None:
    install(site, "x-1.dist-info", url="file:///src/x", dir_info={"editable": True})

    assert origin(site) == Origin(kind=OriginKind.EDITABLE, url="file:///src/x")


def test_an_install_from_a_directory_says_which(site: Path) -> None:
    install(site, "x-1.dist-info", url="file:///src/x", dir_info={})

    assert origin(site) == Origin(kind=OriginKind.DIRECTORY, url="file:///src/x")


def test_an_install_from_version_control_says_which_commit(site: Path) -> None:
    install(
        site,
        "x-1.dist-info",
        url="https://bob:s3cret@git.example/x.git",
        vcs_info={"vcs": "git", "commit_id": "a" * 40, "requested_revision": "main"},
        subdirectory="python",
    )

    assert origin(site) == Origin(
        kind=OriginKind.VCS,
        url=f"git+https://bob:{REDACTED}@git.example/x.git",
        commit="a" * 40,
        requested="main",
        subdirectory="python",
    )


@pytest.mark.parametrize(
    ("archive_info", "digest"),
    [
        ({}, None),
        ({"hash": "md5=00"}, "md5=00"),
        ({"hash": "md5=00", "hashes": {"sha256": "ab"}}, "sha256=ab"),
    ],
)
def test_an_install_from_a_file_says_its_digest_when_known(
    site: Path, archive_info: dict[str, object], digest: str | None
) -> None:
    install(site, "x-1.dist-info", url="file:///w/x-1.whl", archive_info=archive_info)

    assert origin(site) == Origin(kind=OriginKind.ARCHIVE, url="file:///w/x-1.whl", digest=digest)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 5}', '{"url": "x", "dir_info": 1}'])
def test_an_origin_that_cannot_be_read_is_unknown(site: Path, text: str) -> None:
    directory = install(site, "x-1.dist-info")
    (directory / "direct_url.json").write_text(text)

    assert origin(site) is None
    assert packages(site) == ["x 1"]


def test_directories_that_are_not_there_and_the_standard_library_are_passed_over(
    site: Path, tmp_path: Path
) -> None:
    library = tmp_path / "lib" / "python3.11"
    (library / "os.py").write_text("")
    install(library, "not_seen-1.dist-info")
    install(site, "seen-1.dist-info")

    assert packages(site, library, library / "lib-dynload", tmp_path / "python311.zip", site) == [
        "seen 1"
    ]


def test_a_conda_environment_names_its_packages_of_all_languages(site: Path) -> None:
    prefix = site.parents[2]
    meta = prefix / "conda-meta"
    meta.mkdir()
    record = {
        "name": "openblas",
        "version": "0.3.27",
        "build": "h0",
        "channel": "https://conda.anaconda.org/t/x/conda-forge",
        "url": "https://bob:s3cret@conda.example/openblas-0.3.27-h0.conda",
        "files": ["lib/libopenblas.so"],
    }
    (meta / "openblas-0.3.27-h0.json").write_text(json.dumps(record))
    (meta / "lib-with-dashes-1.0-0.json").write_text("{broken")
    (meta / "odd.json").write_text("{}")
    (meta / "history").write_text("")

    environment = capture_environment(facts(site), {})

    assert environment.python is not None
    assert environment.python.prefix_kind is PrefixKind.CONDA
    assert environment.conda == (
        CondaPackage(name="lib-with-dashes", version="1.0", build="0"),
        CondaPackage(
            name="openblas",
            version="0.3.27",
            build="h0",
            channel="https://conda.anaconda.org/t/x/conda-forge",
            url=f"https://bob:{REDACTED}@conda.example/openblas-0.3.27-h0.conda",
        ),
    )


def test_a_venv_made_by_conda_has_the_packages_of_both(site: Path, tmp_path: Path) -> None:
    base = tmp_path / "conda"
    (base / "conda-meta").mkdir(parents=True)
    (base / "conda-meta" / "zlib-1.3-0.json").write_text(
        '{"name":"zlib","version":"1.3","build":"0"}'
    )
    inside = msgspec.structs.replace(facts(site), base_prefix=str(base))

    environment = capture_environment(inside, {})

    assert environment.python is not None
    assert environment.python.prefix_kind is PrefixKind.VENV
    assert [package.name for package in environment.conda] == ["zlib"]


def test_an_interpreter_that_says_little_leaves_reasons(site: Path) -> None:
    environment = capture_environment(facts(site), {}, tools=())

    assert environment.python is not None
    assert environment.python.prefix_kind is PrefixKind.SYSTEM
    assert sorted(environment.reasons) == [
        "python.abi",
        "python.build",
        "python.libc",
        "python.platform",
    ]


def test_a_command_without_python_has_variables_and_says_why_no_more() -> None:
    environment = capture_environment(None, {"OMP_NUM_THREADS": "4"}, tools=())

    reason = "no Python process was seen in this run"
    assert environment == Environment(
        tools=(), variables={"OMP_NUM_THREADS": "4"}, reasons={"python": reason, "packages": reason}
    )


def test_variables_that_can_change_a_result_are_kept_and_no_others() -> None:
    env = {
        "TZ": "UTC",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "4",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "PYTHONHASHSEED": "0",
        "TF_DETERMINISTIC_OPS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true",
        "PATH": "/bin",
        "HOME": "/home/bob",
        "USER": "bob",
        "WANDB_API_KEY": "x",
        "TF_VAR_password": "x",
        "REENACT_HOME": "/x",
        "PWD": "/x",
    }

    assert relevant_variables(env) == dict(sorted(list(env.items())[:9]))


def test_secrets_among_the_variables_leave_only_a_mark() -> None:
    env = {"HF_TOKEN": "s3cret", "HF_ENDPOINT": "https://bob:s3cret@hub.example", "HF_HOME": "/hub"}

    assert relevant_variables(env) == {
        "HF_ENDPOINT": f"https://bob:{REDACTED}@hub.example",
        "HF_HOME": "/hub",
        "HF_TOKEN": REDACTED,
    }


def test_bytes_that_are_not_utf8_can_be_recorded(site: Path) -> None:
    odd = os.fsdecode(b"bad\xff")
    install(site, f"{odd}-1.dist-info")

    environment = capture_environment(facts(site), {"HF_HOME": f"/hüb/{odd}"})

    assert environment.variables == {"HF_HOME": "/hüb/bad\\xff"}
    assert environment.packages == (Package(name="bad\\xff", version="1"),)
    assert to_json(environment)


class TestCache:
    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        return tmp_path / "cache"

    def capture(self, site: Path, cache: Path) -> Environment:
        return capture_environment(facts(site), {}, cache=str(cache))

    def files(self, cache: Path) -> list[Path]:
        return sorted(path for path in cache.rglob("*") if path.is_file())

    def test_an_unchanged_directory_is_not_read_again(self, site: Path, cache: Path) -> None:
        inside = install(site, "x-1.dist-info", url="file:///a", dir_info={})
        settle(site)
        first = self.capture(site, cache)
        # The directory's own time of modification does not see this.
        (inside / "direct_url.json").write_text('{"url": "file:///b", "dir_info": {}}')

        assert self.capture(site, cache) == first

    def test_the_cached_answer_is_the_fresh_one(self, site: Path, cache: Path) -> None:
        install(site, "x-1.dist-info", url="https://h/x.whl", archive_info={"hash": "sha256=0"})
        (site / "empty-1.0.dist-info").mkdir()
        settle(site)
        fresh = self.capture(site, cache)

        assert self.files(cache)
        assert self.capture(site, cache) == fresh == capture_environment(facts(site), {})

    def test_a_package_that_was_added_is_seen(self, site: Path, cache: Path) -> None:
        install(site, "x-1.dist-info")
        settle(site)
        self.capture(site, cache)

        install(site, "y-1.dist-info")

        assert len(self.capture(site, cache).packages or ()) == 2

    def test_a_directory_that_has_just_changed_is_not_kept(self, site: Path, cache: Path) -> None:
        install(site, "x-1.dist-info")

        self.capture(site, cache)

        assert self.files(cache) == []

    def test_what_had_to_be_read_inside_is_not_kept(self, site: Path, cache: Path) -> None:
        install(site, "x.dist-info", metadata="Name: x\nVersion: 1\n")
        settle(site)

        self.capture(site, cache)

        assert self.files(cache) == []

    def test_a_directory_without_packages_leaves_no_file(self, site: Path, cache: Path) -> None:
        settle(site)

        self.capture(site, cache)

        assert self.files(cache) == []

    @pytest.mark.parametrize("rubbish", [b"", b"{", b"[]", b'{"mtime_ns":"x"}', b"\xff"])
    def test_a_broken_file_is_replaced(self, site: Path, cache: Path, rubbish: bytes) -> None:
        install(site, "x-1.dist-info")
        settle(site)
        first = self.capture(site, cache)
        (file,) = self.files(cache)
        whole = file.read_bytes()
        file.write_bytes(rubbish)

        assert self.capture(site, cache) == first
        assert file.read_bytes() == whole

    def test_a_cache_that_cannot_be_written_does_no_harm(self, site: Path, cache: Path) -> None:
        cache.write_text("a file, not a directory")
        install(site, "x-1.dist-info")
        settle(site)

        assert self.capture(site, cache).packages == (Package(name="x", version="1"),)


def test_tools_belong_to_it_and_who_was_not_asked_is_a_reason(site: Path) -> None:
    gcc = Tool(name="gcc", path="/usr/bin/gcc", version="gcc 12.2.0")

    asked = capture_environment(facts(site), {}, tools=(gcc,))
    unasked = capture_environment(facts(site), {})

    assert asked.tools == (gcc,)
    assert unasked.tools is None
    assert unasked.reasons["tools"] == "they were not asked"
