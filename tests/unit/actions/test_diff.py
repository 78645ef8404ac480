from __future__ import annotations

import math
import os
import shutil
import subprocess
from array import array
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reenact.actions.changes import (
    SECTIONS,
    Change,
    ChangeKind,
    Divergence,
    Reported,
    RunDiff,
    Section,
    SourceChange,
)
from reenact.actions.context import Context
from reenact.actions.diff import diff_runs, diff_working, find_divergence, find_pair
from reenact.actions.diff_source import unified_diff
from reenact.errors import NotFound, UsageError
from reenact.model.environment import (
    Environment,
    Library,
    Machine,
    Origin,
    OriginKind,
    Package,
    PrefixKind,
    Python,
    Runtime,
    ThreadPool,
)
from reenact.model.identity import Digest, new_run_id
from reenact.model.metrics import Point, summarize
from reenact.model.record import to_json
from reenact.model.run import Dataset, Exit, File, Operation, OperationKind, Run, Source, Vcs
from reenact.model.secrets import REDACTED
from reenact.snapshot.tree import SourceTree
from reenact.store.blobs import digest_bytes
from reenact.store.metric_log import MetricWriter, Series
from reenact.store.store import RECORD_DIRECTORY, StoredRun

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PYTHON = Python(version="3.11.7", implementation="cpython", prefix_kind=PrefixKind.VENV)
Files = Mapping[str, bytes | str]


class World:
    """A project and a store on disk, and what is needed to put runs into it."""

    def __init__(self, root: Path) -> None:
        self.project = root / "project"
        self.project.mkdir()
        self.context = Context(dict(os.environ), str(self.project), str(root / "store"))
        self.store = self.context.store
        self.store.create()
        self.blobs = self.store.blobs
        self.made = 0

    def run(
        self,
        *,
        source: Files | None = None,
        executable: frozenset[str] = frozenset(),
        links: Mapping[str, str] | None = None,
        vcs: Vcs | None = None,
        points: list[tuple[str, int, float]] | None = None,
        environment: Environment | None = None,
        machine: Machine | None = None,
        runtime: Runtime | None = None,
        **fields: Any,
    ) -> StoredRun:
        self.made += 1
        started = BEGIN + timedelta(minutes=self.made)
        reported = [Point(name, step, self.made, value) for name, step, value in points or ()]
        tree = None
        if source is not None or links is not None:
            tree = self.tree(source or {}, executable, links or {}, vcs)
        fields = {"exit": Exit(code=0), "command": ("python", "train.py"), **fields}
        run = Run(
            id=new_run_id(),
            operation=Operation(name="train.py", kind=OperationKind.SCRIPT, target="train.py"),
            project=self.context.project,
            created=started,
            started=started,
            ended=started + timedelta(seconds=self.made),
            source=tree,
            metrics=summarize(reported),
            environment=None if environment is None else self.blobs.put(to_json(environment)),
            machine=None if machine is None else self.blobs.put(to_json(machine)),
            runtime=None if runtime is None else self.blobs.put(to_json(runtime)),
            **fields,
        )
        directory = os.path.dirname(self.store.record_path(run.id))
        os.makedirs(directory)
        self.store.write_run(run, sync=False)
        writer = MetricWriter(directory)
        writer.append(reported)
        writer.close()
        return self.store.read_run(run.id)

    def tree(
        self, files: Files, executable: frozenset[str], links: Mapping[str, str], vcs: Vcs | None
    ) -> Source:
        contents = {n: c.encode() if isinstance(c, str) else c for n, c in files.items()}
        listed = [
            (name, 0o755 if name in executable else 0o644, len(data), self.blobs.put(data))
            for name, data in sorted(contents.items())
        ]
        tree = self.blobs.put(to_json(SourceTree(listed, sorted(links.items()))))
        return Source(tree=tree, files=len(listed), size_bytes=0, vcs=vcs)

    def diff(self, a: StoredRun, b: StoredRun, *sections: str, **options: Any) -> RunDiff:
        return diff_runs(self.context, a, b, sections=frozenset(sections or SECTIONS), **options)

    def source_diff(self, a: Files, b: Files, **options: Any) -> list[SourceChange]:
        found = self.diff(self.run(source=a), self.run(source=b), "source", **options).source
        assert found is not None
        return list(found.changes)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def changes_of(section: Section[Change] | None) -> list[tuple[str, ChangeKind, object, object]]:
    assert section is not None
    return [
        (f"{c.group} {c.name}" if c.group else c.name, c.kind, c.a, c.b) for c in section.changes
    ]


FULL = Environment(python=PYTHON, packages=(), variables={})


def test_runs_that_differ_in_times_and_ids_only_do_not_differ(world: World) -> None:
    facts: dict[str, Any] = {
        "source": {"train.py": "pass\n"},
        "points": [("loss", 0, 0.5), ("loss", 1, math.nan)],
        "environment": FULL,
        "machine": Machine(cpu="x"),
        "runtime": Runtime(pools=(ThreadPool(api="torch", threads=2),)),
        "flags": {"lr": math.nan},
        "outputs": (File(path="m.pt", size_bytes=1, digest=Digest("a" * 64)),),
        "inputs": (File(path="d", size_bytes=1, digest=Digest("b" * 64), mtime_ns=1),),
    }
    a, b = world.run(**facts), world.run(**facts)

    found = world.diff(a, b)

    assert set(found.sections) == set(SECTIONS)
    assert not found.differs
    assert found.is_complete


def test_only_the_sections_that_are_asked_for_are_compared(world: World) -> None:
    a, b = world.run(flags={"lr": 1}), world.run(flags={"lr": 2})

    assert list(world.diff(a, b, "metrics").sections) == ["metrics"]
    assert not world.diff(a, b, "metrics").differs


def test_facts_of_the_run_are_compared(world: World) -> None:
    a = world.run(exit=Exit(code=0), source={}, vcs=Vcs(commit="abc", branch="main"))
    b = world.run(exit=Exit(signal=9), source={}, vcs=Vcs(commit="abd", branch="main"), cwd="sub")

    found = world.diff(a, b, "run").run

    assert changes_of(found) == [
        ("commit", ChangeKind.CHANGED, "abc", "abd"),
        ("directory", ChangeKind.CHANGED, ".", "sub"),
        ("exit", ChangeKind.CHANGED, "exit status 0", "SIGKILL"),
        ("status", ChangeKind.CHANGED, "completed", "failed"),
    ]


def test_a_command_differs_not_because_it_names_its_own_run(world: World) -> None:
    a, b = world.run(), world.run()
    commands = [("python", "train.py", f"--out={run.directory}/x") for run in (a, b)]
    for run, command in zip((a, b), commands, strict=True):
        world.store.write_run(msgspec.structs.replace(run.record, command=command), sync=False)
    same = [world.store.read_run(run.id) for run in (a, b)]
    other = world.run(command=("python", "train.py"))

    assert not world.diff(same[0], same[1], "run").differs
    assert world.diff(same[0], other, "run").differs


def test_flags_are_changed_added_and_removed(world: World) -> None:
    a = world.run(flags={"lr": 1, "old": None, "same": [1, {"x": math.nan}]})
    b = world.run(flags={"lr": 1.0, "new": True, "same": [1, {"x": math.nan}]})

    assert changes_of(world.diff(a, b).flags) == [
        ("lr", ChangeKind.CHANGED, 1, 1.0),
        ("new", ChangeKind.ADDED, None, True),
        ("old", ChangeKind.REMOVED, None, None),
    ]


def test_a_redacted_flag_never_counts_as_equal(world: World) -> None:
    a = world.run(flags={"api_key": REDACTED})

    found = world.diff(a, world.run(flags={"api_key": REDACTED}), "flags")

    assert not found.differs
    assert not found.is_complete
    assert found.flags is not None
    assert found.flags.remarks == (
        "`api_key` is redacted in both runs: whether it differs is not known",
    )


# --- source ---


def test_source_is_a_unified_diff_by_file(world: World) -> None:
    before = {"a.py": "one\ntwo\nthree\n", "gone.py": "x\n", "same.py": "s\n"}
    after = {"a.py": "one\n2\nthree\n", "new.py": "y", "same.py": "s\n"}

    changed, gone, new = world.source_diff(before, after)

    assert changed.diff == (
        "diff --git a/a.py b/a.py\n"
        "--- a/a.py\n"
        "+++ b/a.py\n"
        "@@ -1,3 +1,3 @@\n"
        " one\n"
        "-two\n"
        "+2\n"
        " three\n"
    )
    assert (changed.kind, changed.added_lines, changed.removed_lines) == ("changed", 1, 1)
    assert gone.diff is not None
    assert "deleted file mode 100644\n--- a/gone.py\n+++ /dev/null\n" in gone.diff
    assert new.diff is not None
    assert new.diff.endswith("@@ -0,0 +1 @@\n+y\n\\ No newline at end of file\n")


def test_a_file_that_becomes_executable_differs_and_a_umask_does_not(world: World) -> None:
    source = {"run.sh": "echo\n", "b.py": "b\n"}
    a = world.run(source=source)
    b = world.run(source=source, executable=frozenset(["run.sh"]))
    umask = world.blobs.put(
        to_json(SourceTree([("b.py", 0o600, 2, digest_bytes(b"b\n"))]))
    )  # fmt: skip
    c = world.run(source={"b.py": "b\n"})
    tight = msgspec.structs.replace(c.record, source=Source(tree=umask, files=1, size_bytes=2))

    found = world.diff(a, b, "source").source

    assert found is not None
    assert [(c.name, c.diff) for c in found.changes] == [
        ("run.sh", "diff --git a/run.sh b/run.sh\nold mode 100644\nnew mode 100755\n")
    ]
    assert not world.diff(c, c._replace(run=tight), "source").differs


def test_links_are_compared_by_where_they_lead(world: World) -> None:
    a = world.run(links={"latest": "v1"}, source={"x": "x\n"})
    b = world.run(links={"latest": "v2", "x": "latest"}, source={})

    found = world.diff(a, b, "source").source

    assert found is not None
    link, became = found.changes
    assert link.diff is not None
    assert "-v1\n\\ No newline at end of file\n+v2\n\\ No newline" in link.diff
    assert became.remark == "a file became a link"


def test_binary_content_is_named_and_not_printed(world: World) -> None:
    (change,) = world.source_diff({"a.txt": b"\0\1"}, {"a.txt": b"\0\2"})

    assert change.diff == "diff --git a/a.txt b/a.txt\nBinary files a/a.txt and b/a.txt differ\n"
    assert (change.remark, change.added_lines) == ("binary", None)


def test_content_that_is_not_utf8_is_shown_by_its_bytes(world: World) -> None:
    (change,) = world.source_diff({"a.py": b"# caf\xe9\n"}, {"a.py": b"# th\xe9\n"})

    assert change.diff is not None
    assert change.diff.endswith("-# caf\\xe9\n+# th\\xe9\n")
    assert change.remark == r"not UTF-8: other bytes are shown as \xNN"


def test_content_that_is_gone_is_named_and_still_differs(world: World) -> None:
    a, b = world.run(source={"a.py": "1\n", "b.py": "1\n"}), world.run(source={"a.py": "2\n"})
    os.unlink(world.blobs.path(digest_bytes(b"1\n")))

    found = world.diff(a, b, "source")

    assert found.source is not None
    assert [(c.name, c.kind, c.diff) for c in found.source.changes] == [
        ("a.py", "changed", None),
        ("b.py", "removed", None),
    ]
    assert "is not in this store" in (found.source.changes[0].remark or "")
    assert not found.is_complete


def test_a_list_of_source_that_is_gone_is_named_and_still_differs(world: World) -> None:
    a, b = world.run(source={"a.py": "1\n"}), world.run(source={"a.py": "2\n"})
    assert a.record.source is not None
    os.unlink(world.blobs.path(a.record.source.tree))

    found = world.diff(a, b, "source")

    assert found.differs
    assert found.source is not None
    assert "which files differ is not known: blob" in found.source.remarks[0]


def test_equal_source_is_not_read(world: World) -> None:
    a, b = world.run(source={"a.py": "1\n"}), world.run(source={"a.py": "1\n"})
    shutil.rmtree(world.blobs.root)

    found = world.diff(a, b, "source")

    assert not found.differs
    assert found.is_complete


def test_a_run_without_source_cannot_be_compared(world: World) -> None:
    a, b = world.run(), world.run(source={"a.py": "1\n"})

    found = world.diff(a, b, "source")

    assert not found.differs
    assert not found.is_complete
    assert found.source is not None
    assert found.source.remarks == (f"A ({a.id[:8]}): no source was kept",)


def test_patterns_choose_source_by_path_or_by_name(world: World) -> None:
    before, after = {"pkg/a.py": "1\n", "b.txt": "1\n"}, {"pkg/a.py": "2\n", "b.txt": "2\n"}

    def names(*patterns: str) -> list[str]:
        return [c.name for c in world.source_diff(before, after, patterns=patterns)]

    assert names("*.py") == ["pkg/a.py"]
    assert names("pkg/*", "b.*") == ["b.txt", "pkg/a.py"]
    assert names("other") == []


LINES = st.lists(st.sampled_from(["a", "b", "c", "", "-- x", "@@ y", "\r", "\f", "\u2028"]))


@given(LINES, LINES, st.booleans(), st.booleans())
def test_a_patch_leads_from_one_text_to_the_other(
    before: list[str], after: list[str], ends_before: bool, ends_after: bool
) -> None:
    old = "\n".join(before) + "\n" * ends_before
    new = "\n".join(after) + "\n" * ends_after

    patch, added, removed = unified_diff(old, new)

    assert applied(old, patch) == new
    assert (patch == "") == (old == new)
    assert new.count("\n") - old.count("\n") == added - removed or not (ends_before and ends_after)


@given(st.integers(0, 12), st.integers(0, 12), LINES, LINES)
def test_what_is_alike_at_both_ends_stays_in_place(
    head: int, tail: int, before: list[str], after: list[str]
) -> None:
    first, last = ["same"] * head, [f"end {n}" for n in range(tail)]
    old = "".join(f"{line}\n" for line in (*first, *before, *last))
    new = "".join(f"{line}\n" for line in (*first, *after, *last))

    assert applied(old, unified_diff(old, new)[0]) == new


def applied(text: str, patch: str) -> str:
    """Apply hunks strictly: every line that a hunk names must be where it says."""
    lines = text.split("\n")
    lines = [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
    out: list[str] = []
    at = 0
    patch_lines = [f"{line}\n" for line in patch.split("\n")[:-1]]
    for number, line in enumerate(patch_lines):
        rest = patch_lines[number + 1] if number + 1 < len(patch_lines) else ""
        content = line[1:]
        if rest.startswith("\\ No newline"):
            content = content[:-1]
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            begin = int(start) if count == "0" else int(start) - 1
            out += lines[at:begin]
            at = begin
        elif line[0] in " -":
            assert lines[at] == content
            at += 1
            out += [content] if line[0] == " " else []
        elif line[0] == "+":
            out.append(content)
    return "".join([*out, *lines[at:]])


def test_git_applies_what_is_printed(world: World, tmp_path: Path) -> None:
    many = "".join(f"line {n}\n" for n in range(50))
    before = {"a.py": many, "sub dir/b.py": "1\n", 'we"ird\tn\n.py': "x\n", "ü.py": "u", "c": "c\n"}
    after = {
        "a.py": many.replace("line 40", "LINE 40").replace("line 3\n", ""),
        "sub dir/b.py": "1\n2",
        'we"ird\tn\n.py': "y\n",
        "ü.py": "u\n",
        "new.py": "n\n",
    }
    patch = "".join(change.diff or "" for change in world.source_diff(before, after))
    tree = tmp_path / "tree"
    for name, text in before.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)

    subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
    subprocess.run(["git", "apply", "-"], cwd=tree, input=patch.encode(), check=True)

    shutil.rmtree(tree / ".git")
    found = {str(p.relative_to(tree)): p.read_text() for p in tree.rglob("*") if p.is_file()}
    assert found == after


# --- files ---


def test_files_are_compared_by_content(world: World) -> None:
    def file(path: str, digest: str | None, size: int = 1, **more: Any) -> File:
        content = None if digest is None else Digest(digest * 64)
        return File(path=path, size_bytes=size, digest=content, **more)

    a = world.run(
        outputs=(file("gone", "a"), file("changed", "b"), file("moved", "c", mtime_ns=1)),
        inputs=(file("link", None, target="x"), file("unread", None, reason="EACCES")),
    )
    b = world.run(
        outputs=(file("new", "a"), file("changed", "c", size=2), file("moved", "c", mtime_ns=2)),
        inputs=(file("link", None, target="y"), file("unread", None)),
    )

    found = world.diff(a, b)

    assert [(name, kind) for name, kind, _, _ in changes_of(found.outputs)] == [
        ("changed", "changed"),
        ("gone", "removed"),
        ("new", "added"),
    ]
    assert changes_of(found.outputs)[0][2:] == (
        {"size_bytes": 1, "digest": "b" * 64},
        {"size_bytes": 2, "digest": "c" * 64},
    )
    assert [name for name, *_ in changes_of(found.inputs)] == ["link"]
    assert found.inputs is not None
    assert found.inputs.remarks == ("`unread` was not read (EACCES): not compared",)
    assert not found.inputs.is_complete


def test_data_in_memory_is_an_input(world: World) -> None:
    def data(name: str, digest: str | None, *shape: int, size: int | None = None) -> Dataset:
        return Dataset(
            name=name,
            role="train",
            model="Ridge",
            shape=shape,
            dtype="float64",
            size_bytes=size,
            digest=digest,
        )

    same = (data("huge", None, 99, size=1 << 30), data("loader", None, 99), data("y", "c" * 32))
    a = world.run(datasets=(data("X", "a" * 32, 9, 2), *same))
    b = world.run(datasets=(data("X", "b" * 32, 9, 2), *same))

    found = world.diff(a, b, "inputs").inputs

    assert found is not None
    (change,) = found.changes
    assert (change.group, change.name, change.kind) == ("in memory", "Ridge train X", "changed")
    assert change.a == {"shape": [9, 2], "dtype": "float64", "digest": "a" * 32}
    assert found.remarks == (
        "`Ridge train huge` was too large to digest: whether it differs is not known",
        "`Ridge train loader` has no digest: whether it differs is not known",
    )
    assert not found.is_complete


def test_a_file_that_was_not_read_but_has_another_size_differs(world: World) -> None:
    a = world.run(inputs=(File(path="big", size_bytes=1),))
    b = world.run(inputs=(File(path="big", size_bytes=2),))

    assert world.diff(a, b, "inputs").differs


def test_outputs_of_a_run_that_goes_on_are_not_called_equal(world: World) -> None:
    a, b = world.run(), world.run(exit=None)
    lock = world.store.lock(b.id)
    lock.acquire()
    try:
        found = world.diff(a, world.store.read_run(b.id), "outputs", "metrics")
    finally:
        lock.release()

    assert not found.differs
    assert not found.is_complete


# --- environment and machine ---


def test_packages_python_and_variables_are_compared(world: World) -> None:
    origin = Origin(kind=OriginKind.VCS, url="https://x/y", commit="c0ffee")
    a = world.run(
        environment=Environment(
            python=PYTHON,
            packages=(Package(name="numpy", version="1.26.4"), Package(name="old", version="1")),
            variables={"OMP_NUM_THREADS": "1"},
        ),
        variables={"SEED": "1"},
    )
    b = world.run(
        environment=Environment(
            python=msgspec.structs.replace(PYTHON, version="3.12.1"),
            packages=(
                Package(name="numpy", version="2.0.0"),
                Package(name="torch", version="2.4", origin=origin),
            ),
        ),
        variables={"SEED": "2"},
    )

    assert changes_of(world.diff(a, b).environment) == [
        ("python version", ChangeKind.CHANGED, "3.11.7", "3.12.1"),
        ("package numpy", ChangeKind.CHANGED, "1.26.4", "2.0.0"),
        ("package old", ChangeKind.REMOVED, "1", None),
        ("package torch", ChangeKind.ADDED, None, "2.4 (vcs https://x/y@c0ffee)"),
        ("variable OMP_NUM_THREADS", ChangeKind.REMOVED, "1", None),
        ("set for the run SEED", ChangeKind.CHANGED, "1", "2"),
    ]


def test_packages_that_are_not_known_of_one_run_are_not_all_new(world: World) -> None:
    unknown = Environment(python=PYTHON, reasons={"packages": "permission denied"})
    a = world.run(environment=unknown)
    b = world.run(
        environment=Environment(python=PYTHON, packages=(Package(name="x", version="1"),))
    )

    found = world.diff(a, b, "environment")

    assert not found.differs
    assert found.environment is not None
    assert found.environment.remarks == ("A: packages not known: permission denied",)
    assert not found.is_complete


def test_an_environment_whose_blob_is_gone_still_differs(world: World) -> None:
    a = world.run(environment=FULL)
    b = world.run(environment=msgspec.structs.replace(FULL, variables={"TZ": "UTC"}))
    assert a.record.environment is not None
    os.unlink(world.blobs.path(a.record.environment))

    found = world.diff(a, b, "environment")

    assert found.differs
    assert not found.is_complete
    assert found.environment is not None
    assert "what differs is not known: blob" in found.environment.remarks[0]


def test_machines_are_compared_fact_by_fact(world: World) -> None:
    a = world.run(machine=Machine(cpu="x", cpu_features=("avx", "avx2"), cores_logical=4))
    b = world.run(machine=Machine(cpu="y", cpu_features=("avx", "sve"), memory_bytes=10))

    assert changes_of(world.diff(a, b).machine) == [
        ("cpu", ChangeKind.CHANGED, "x", "y"),
        ("CPU feature avx2", ChangeKind.REMOVED, True, None),
        ("CPU feature sve", ChangeKind.ADDED, None, True),
        ("cores_logical", ChangeKind.REMOVED, 4, None),
        ("memory_bytes", ChangeKind.ADDED, None, 10),
    ]


def test_a_machine_that_was_not_recorded_is_not_called_equal(world: World) -> None:
    found = world.diff(world.run(), world.run(machine=Machine(cpu="x")), "machine")

    assert not found.differs
    assert not found.is_complete
    assert found.machine is not None
    assert found.machine.remarks == ("A: no machine was recorded",)


# --- what was loaded ---


def blas(library: str, version: str = "0.3.30", threads: int = 2) -> ThreadPool:
    return ThreadPool(api="openblas", library=library, version=version, threads=threads)


def test_another_version_of_a_library_is_a_change_of_its_thread_pool(world: World) -> None:
    old, new = "numpy.libs/libopenblas-1.so", "numpy.libs/libopenblas-2.so"
    a = world.run(
        runtime=Runtime(
            libraries=(Library(path=old), Library(path="/usr/lib/libm.so.6", version="6")),
            pools=(blas(old), ThreadPool(api="torch", threads=2)),
            frameworks={"torch": {"cuda": "12.4", "cudnn": 90100, "simd": ["AVX", "AVX2"]}},
        )
    )
    b = world.run(
        runtime=Runtime(
            libraries=(Library(path=new), Library(path="/usr/lib/libm.so.6", version="7")),
            pools=(blas(new, version="0.3.31"), ThreadPool(api="torch", threads=1)),
            frameworks={"torch": {"cuda": "12.6", "cudnn": 90100, "simd": ["AVX"]}},
            variables={"OMP_NUM_THREADS": "1"},
        )
    )

    found = world.diff(a, b, "runtime")

    assert found.is_complete
    assert changes_of(found.runtime) == [
        ("library /usr/lib/libm.so.6", ChangeKind.CHANGED, "6", "7"),
        (f"library {old}", ChangeKind.REMOVED, True, None),
        (f"library {new}", ChangeKind.ADDED, None, True),
        ("thread pool openblas numpy.libs version", ChangeKind.CHANGED, "0.3.30", "0.3.31"),
        ("thread pool torch threads", ChangeKind.CHANGED, 2, 1),
        ("framework torch cuda", ChangeKind.CHANGED, "12.4", "12.6"),
        ("framework torch simd AVX2", ChangeKind.REMOVED, True, None),
        ("variable set by itself OMP_NUM_THREADS", ChangeKind.ADDED, None, "1"),
    ]


def test_thread_pools_that_lie_in_one_directory_are_told_apart_by_their_files(world: World) -> None:
    one, two = blas("/usr/lib/libblas.so.3"), blas("/usr/lib/libopenblas.so.0", threads=4)
    a, b = world.run(runtime=Runtime(pools=(one, two))), world.run(runtime=Runtime(pools=(two,)))

    assert changes_of(world.diff(a, b, "runtime").runtime) == [
        ("thread pool openblas /usr/lib/libblas.so.3 threads", ChangeKind.REMOVED, 2, None),
        ("thread pool openblas /usr/lib/libblas.so.3 version", ChangeKind.REMOVED, "0.3.30", None),
    ]


def test_a_process_that_did_not_live_to_tell_is_not_called_equal(world: World) -> None:
    reasons = dict.fromkeys(("pools", "frameworks", "variables"), "it did not say it")
    a = world.run(runtime=Runtime(pools=(), frameworks={"numpy": {"version": "2.0"}}))
    b = world.run(runtime=Runtime(reasons=reasons))

    found = world.diff(a, b, "runtime").runtime

    assert found is not None
    assert (found.changes, found.is_complete) == ((), False)
    assert found.remarks == tuple(f"B: {field} not known: it did not say it" for field in reasons)


def test_runs_that_loaded_nothing_do_not_differ_in_it_but_one_of_them_may(world: World) -> None:
    nothing, something = world.run(), world.run(runtime=Runtime(libraries=()))

    assert world.diff(nothing, world.run(), "runtime").is_complete
    found = world.diff(nothing, something, "runtime").runtime
    assert found is not None
    assert (found.remarks, found.is_complete) == (("A: no runtime was recorded",), False)


# --- metrics ---


def test_metrics_say_where_the_series_part(world: World) -> None:
    a = world.run(points=[("loss", 0, 3.0), ("loss", 1, 2.0), ("loss", 2, 1.0), ("old", 0, 1.0)])
    b = world.run(points=[("loss", 0, 3.0), ("loss", 1, 2.5), ("loss", 2, 1.0), ("new", 0, 1.0)])

    found = world.diff(a, b, "metrics").metrics

    assert found is not None
    loss, new, old = found.changes
    assert (loss.name, new.kind, old.kind) == ("loss", "added", "removed")
    assert loss.first == Divergence(index=1, a=Reported(1, 2.0), b=Reported(1, 2.5))
    assert loss.a is not None
    assert loss.b is not None
    assert (loss.a.last, loss.b.last) == (1.0, 1.0)


def test_samples_of_the_machine_are_no_results(world: World) -> None:
    a = world.run(points=[("system/cpu_percent", 0, 1.0), ("machine/load", 0, 1.0)])
    b = world.run(points=[("system/cpu_percent", 0, 2.0)])

    assert not world.diff(a, b, "metrics").differs


def test_points_that_are_gone_are_named(world: World) -> None:
    points = [("loss", 0, 1.0)]
    a, b = world.run(points=points), world.run(points=points)
    os.unlink(f"{a.directory}/{RECORD_DIRECTORY}/metrics")

    found = world.diff(a, b, "metrics")

    assert not found.differs
    assert not found.is_complete
    assert found.metrics is not None
    assert found.metrics.remarks == (
        "points of `loss` are gone: only what they come to is compared",
    )


def series(*pairs: tuple[int, float]) -> Series:
    steps, values = array("q", [p[0] for p in pairs]), array("d", [p[1] for p in pairs])
    return Series(steps, array("q", [0] * len(pairs)), values)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([], [], None),
        ([(0, 1.0)], [(0, 1.0)], None),
        ([(0, math.nan)], [(0, -math.nan)], None),
        ([(0, 0.1 + 0.2)], [(0, 0.3)], Divergence(index=0, a=Reported(0, 0.1 + 0.2), b=Reported(0, 0.3))),
        ([(0, 0.0)], [(0, -0.0)], Divergence(index=0, a=Reported(0, 0.0), b=Reported(0, -0.0))),
        ([(0, 1.0)], [(1, 1.0)], Divergence(index=0, a=Reported(0, 1.0), b=Reported(1, 1.0))),
        ([(0, 1.0), (1, 2.0)], [(0, 1.0)], Divergence(index=1, a=Reported(1, 2.0), b=None)),
        ([], [(5, math.inf)], Divergence(index=0, a=None, b=Reported(5, "Infinity"))),
        ([(0, math.nan), (1, 1.0)], [(0, -math.nan), (1, 2.0)], Divergence(index=1, a=Reported(1, 1.0), b=Reported(1, 2.0))),
    ],
)  # fmt: skip
def test_the_first_difference_of_two_series(
    a: list[tuple[int, float]], b: list[tuple[int, float]], expected: Divergence | None
) -> None:
    assert find_divergence(series(*a), series(*b)) == expected


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 1.0, math.nan])), max_size=5)


@given(PAIRS, PAIRS)
def test_a_divergence_is_symmetric_and_there_only_if_series_differ(
    a: list[tuple[int, float]], b: list[tuple[int, float]]
) -> None:
    found, back = find_divergence(series(*a), series(*b)), find_divergence(series(*b), series(*a))

    assert (found is None) == (repr(a) == repr(b))
    if found is not None:
        assert back == Divergence(index=found.index, a=found.b, b=found.a)
        assert repr(a[: found.index]) == repr(b[: found.index])


# --- which runs, and the working tree ---


def test_the_last_two_runs_are_compared_unless_some_are_named(world: World) -> None:
    first, second, third = world.run(), world.run(), world.run()

    def pair(a: str | None, b: str | None) -> tuple[str, str]:
        found = find_pair(world.context, a, b)
        return found[0].id, found[1].id

    assert pair(None, None) == (second.id, third.id)
    assert pair(first.id, None) == (first.id, third.id)
    assert pair(third.id, first.id) == (third.id, first.id)
    with pytest.raises(UsageError, match="is the latest one"):
        pair("@latest", None)


def test_one_run_is_not_enough(world: World) -> None:
    world.run()

    with pytest.raises(NotFound, match="there are no two runs"):
        find_pair(world.context, None, None)


@pytest.fixture(params=["git", "plain"])
def project(request: pytest.FixtureRequest, world: World) -> Path:
    (world.project / "pyproject.toml").write_text("")
    if request.param == "git":
        subprocess.run(["git", "init", "-q"], cwd=world.project, check=True)
    # Where the project is and what it is called is found out once.
    world.context = Context(dict(os.environ), str(world.project), world.store.root)
    return world.project


def test_the_working_tree_is_compared_with_a_run_s_source(world: World, project: Path) -> None:
    (project / "train.py").write_text("new\n")
    (project / "run.sh").write_text("echo\n")
    (project / "run.sh").chmod(0o755)
    (project / "link").symlink_to("train.py")
    run = world.run(
        source={"train.py": "old\n", "run.sh": "echo\n", "gone.py": "", "pyproject.toml": ""}
    )

    found = diff_working(world.context, run)

    assert found.working == str(project)
    assert found.source is not None
    assert [(c.name, c.kind, c.added_lines, c.removed_lines) for c in found.source.changes] == [
        ("gone.py", "removed", 0, 0),
        ("link", "added", 1, 0),
        ("run.sh", "changed", 0, 0),
        ("train.py", "changed", 1, 1),
    ]
    assert not list(Path(world.store.cache_directory).glob("tree-*"))


def test_an_untouched_working_tree_does_not_differ(world: World, project: Path) -> None:
    (project / "train.py").write_text("x\n")
    run = world.run(source={"train.py": "x\n", "pyproject.toml": ""})

    assert not diff_working(world.context, run).differs


def test_a_project_that_is_gone_is_named(world: World, tmp_path: Path) -> None:
    run = world.run(source={"train.py": "x\n"})
    world.project.rmdir()
    elsewhere = Context(dict(os.environ), str(tmp_path), world.store.root)

    with pytest.raises(NotFound, match=r"is not at .* any more"):
        diff_working(elsewhere, run)


def test_the_project_of_another_directory_is_found_where_it_was(
    world: World, tmp_path: Path
) -> None:
    (world.project / "train.py").write_text("x\n")
    run = world.run(source={"train.py": "x\n"})
    elsewhere = Context(dict(os.environ), str(tmp_path), world.store.root)

    found = diff_working(elsewhere, run)

    assert found.working == str(world.project)
    assert not found.differs
