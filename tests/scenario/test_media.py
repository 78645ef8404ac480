"""Figures, images, sound, tables, texts and distributions that a script keeps with its run."""

from __future__ import annotations

import csv
import json
import math
import os
import struct
import subprocess
import sys
import wave
import zlib
from pathlib import Path
from typing import Any

import pytest

from commands import Desk
from frameworks import python_with


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def kept(desk: Desk, code: str, *options: str, python: str = sys.executable) -> tuple[Any, Path]:
    """Run code that has imported reenact; return its record and its run directory."""
    desk.write("train.py", "import reenact\n" + code)
    run_id = desk.run("train.py", "--python", python, *options)
    record = desk.record(run_id)
    assert record["exit"] == {"code": 0}, desk.ok("log", run_id)
    return record, desk.store / "runs" / run_id


def outputs_of(record: Any) -> dict[str, tuple[str, str | None]]:
    return {f["path"]: (f.get("role"), f.get("title")) for f in record.get("outputs", ())}


def messages_of(record: Any) -> list[str]:
    return [w["message"] for w in record.get("warnings", ()) if w["code"] in ("log", "media")]


def pixels_of(path: Path) -> tuple[int, int, int, bytes]:
    """Return width, height, type of colour and bytes of a PNG without filters."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    at = 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        at += 12 + size
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert depth == 8
    packed = zlib.decompress(chunks[b"IDAT"])
    length = len(packed) // height
    rows = [packed[i * length : (i + 1) * length] for i in range(height)]
    assert {row[0] for row in rows} == {0}
    return width, height, colour, b"".join(row[1:] for row in rows)


PLAIN = """
nan, inf = float("nan"), float("inf")
reenact.log_image([[0, 255, 300], [128, -5, True]], "gray")
reenact.log_image([[[0.0, 1.0, nan], [0.5, 2.0, -1.0]]], "colour", step=10)
reenact.log_images([[[0]], [[255]]], "batch", step=2)
reenact.log_audio([0.0, 1.0, -2.0, nan], 8000, "mono")
reenact.log_audio([[0, 32767], [-32768, 40000]], 44100.0, "stereo", step=1)
reenact.log_histogram([1, 2, [3, nan], inf], "weights", bins=4)
reenact.log_histogram([2.5, 2.5], "weights", step=7)
reenact.log_histogram([], "empty")
reenact.log_table([{"a": 0.1, "b": None}, {"b": "", "c": nan, "a": 1}], "dicts")
reenact.log_table([(1, "x,y"), (2, 'say "so"', "NaN")], "rows", step=3)
reenact.log_table({"lr": [1e-05, 1 / 3], "ok": [True, None]}, "columns.csv")
reenact.log_table({"loss": 0.5}, "one")
reenact.log_text("h\\u00e4llo \\ud800", "notes.md")
reenact.log_text(b"\\x00\\xff", "raw")
"""


def test_plain_python_of_any_version_keeps_all_kinds_without_numpy(desk: Desk) -> None:
    old = Path(os.path.expanduser("~root")) / ".pyenv" / "versions" / "3.8.18" / "bin" / "python"
    python = str(old) if old.exists() else sys.executable

    record, run = kept(desk, PLAIN, python=python)

    assert messages_of(record) == []
    assert outputs_of(record) == {
        "audio/mono.wav": ("audio", "mono"),
        "audio/stereo-000001.wav": ("audio", "stereo"),
        "histograms/empty.jsonl": ("histogram", "empty"),
        "histograms/weights.jsonl": ("histogram", "weights"),
        "images/batch-000002-0.png": ("image", "batch 0"),
        "images/batch-000002-1.png": ("image", "batch 1"),
        "images/colour-000010.png": ("image", "colour"),
        "images/gray.png": ("image", "gray"),
        "tables/columns.csv": ("table", "columns.csv"),
        "tables/dicts.csv": ("table", "dicts"),
        "tables/one.csv": ("table", "one"),
        "tables/rows-000003.csv": ("table", "rows"),
        "texts/notes.md": ("text", "notes.md"),
        "texts/raw.txt": ("text", "raw"),
    }
    assert pixels_of(run / "images/gray.png") == (3, 2, 0, bytes([0, 255, 255, 128, 0, 255]))
    colour = bytes([0, 255, 0, 128, 255, 0])
    assert pixels_of(run / "images/colour-000010.png") == (2, 1, 2, colour)
    assert sound_of(run / "audio/mono.wav") == (1, 8000, (0, 32767, -32767, 0))
    assert sound_of(run / "audio/stereo-000001.wav") == (2, 44100, (0, 32767, -32768, 32767))
    assert (run / "tables/dicts.csv").read_text() == 'a,b,c\n0.1,,\n1,"",NaN\n'
    assert (run / "tables/rows-000003.csv").read_text() == (
        '0,1,2\n1,"x,y",\n2,"say ""so""","NaN"\n'
    )
    assert (run / "tables/columns.csv").read_text() == ("lr,ok\n1e-05,True\n0.3333333333333333,\n")
    assert (run / "tables/one.csv").read_text() == "loss\n0.5\n"
    assert (run / "texts/notes.md").read_bytes() == b"h\xc3\xa4llo \xed\xa0\x80"
    assert (run / "texts/raw.txt").read_bytes() == b"\x00\xff"
    first, second = map(json.loads, (run / "histograms/weights.jsonl").read_text().splitlines())
    assert (first["step"], first["count"], first["nan_count"], first["infinite_count"]) == (
        0, 3, 1, 1,
    )  # fmt: skip
    assert (first["edges"], first["counts"]) == ([1.0, 1.5, 2.0, 2.5, 3.0], [1, 0, 1, 1])
    assert (second["step"], second["edges"], second["counts"]) == (7, [2.5, 2.5], [2])
    empty = json.loads((run / "histograms/empty.jsonl").read_text())
    assert (empty["count"], empty["minimum"], empty["counts"]) == (0, None, [])


def sound_of(path: Path) -> tuple[int, int, tuple[int, ...]]:
    with wave.open(str(path), "rb") as file:
        frames = file.readframes(file.getnframes())
        values = struct.unpack(f"<{len(frames) // 2}h", frames)
        return file.getnchannels(), file.getframerate(), values


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b", "texts/a/b.txt"),
        ("../../etc/passwd", "texts/_/_/etc/passwd.txt"),
        ("/absolute", "texts/absolute.txt"),
        (".reenact/run.json", "texts/_reenact/run.json"),
        ("Verlust (größe) 損失", "texts/Verlust (größe) 損失.txt"),
        ("", "texts/text.txt"),
        ("a\0b\nc\\d", "texts/a_b_c_d.txt"),
        ("v1.2", "texts/v1.2.txt"),
        ("x" * 300, f"texts/{'x' * 150}-{zlib.crc32(b'x' * 300):08x}.txt"),
    ],
)
def test_a_name_leads_to_one_place_inside_the_run_directory(
    desk: Desk, name: str, path: str
) -> None:
    record, run = kept(desk, f"reenact.log_text('here', {name!r})\n")

    assert list(outputs_of(record)) == [path.replace("\\", "\\\\")]
    assert (run / path).read_text() == "here"


def test_what_cannot_be_kept_is_one_line_and_the_script_goes_on(desk: Desk) -> None:
    code = """
class Odd:
    def savefig(self, path, format=None):
        open(path, "w").write("half")
        raise RuntimeError("no more ink")
    def __repr__(self):
        return "<odd>"
reenact.log_figure(Odd())
reenact.log_figure(3)
reenact.log_image("cat.png")
reenact.log_image([[1, 2], [3]])
reenact.log_image([])
reenact.log_audio([1, 2], 0)
reenact.log_audio([["a"]], 8000)
reenact.log_histogram(["a"])
reenact.log_histogram([1], bins=0)
reenact.log_table("text")
reenact.log_table({"a": [1, 2], "b": [1]})
reenact.log_table([{"a": 1}, 5])
reenact.log_output("nowhere.bin")
reenact.log_text("x", step="last")
print("done")
"""

    record, run = kept(desk, code)

    messages = [m.partition(": ")[2] for m in messages_of(record)]
    assert messages[0] == "`log_figure` could not keep <odd> (Odd): no more ink"
    assert messages[1] == (
        "`log_figure` could not keep 3 (int): it is no figure of matplotlib, plotly, bokeh or altair"
    )
    assert len(messages) == 14
    assert outputs_of(record) == {}
    assert [p for p in run.rglob("*") if p.is_file() and ".reenact" not in p.parts] == []
    assert desk.ok("log", "--stdout").endswith("done\n")


def test_a_link_in_the_project_does_not_lead_a_file_out_of_the_run(desk: Desk) -> None:
    desk.write("figures/data/0.csv", "1\n")
    outside = desk.project.parent / "outside"
    outside.mkdir()
    (desk.project / "texts").symlink_to(outside)
    desk.write("images", "a file of this name\n")

    record, run = kept(desk, "reenact.log_text('x')\nreenact.log_image([[1]])\n")

    assert list(outside.iterdir()) == []
    assert set(outputs_of(record)) == {"texts-2/text.txt", "images-2/image.png"}
    assert (run / "texts-2/text.txt").read_text() == "x"


def test_a_directory_that_links_to_itself_and_holds_a_pipe_is_kept(
    desk: Desk, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "kept.txt").write_text("kept")
    (data / "again").symlink_to(data)
    (data / "twice").symlink_to(data)
    os.mkfifo(data / "pipe")
    desk.write("train.py", f"import reenact\nreenact.log_output({str(data)!r})")

    run_id = desk.run("--python", sys.executable, "train.py")

    outputs = {output["path"] for output in desk.record(run_id)["outputs"]}
    assert outputs == {"outputs/data/kept.txt", "outputs/data/again", "outputs/data/twice"}
    assert "warnings" not in desk.record(run_id)


def test_the_same_name_and_step_again_replaces_the_file(desk: Desk) -> None:
    desk.write("texts/report.txt", "the project's own\n")

    record, run = kept(desk, "for n in range(3): reenact.log_text(str(n), 'report')\n")

    assert (run / "texts/report.txt").read_text() == "2"
    assert (desk.project / "texts/report.txt").read_text() == "the project's own\n"
    assert outputs_of(record) == {"texts/report.txt": ("text", "report")}


class TestOutputs:
    def test_a_file_of_the_run_is_announced_where_it_is(self, desk: Desk) -> None:
        code = (
            "import os; os.makedirs('out'); open('out/model.pt', 'w').write('w')\n"
            "open('notes.xyz', 'w').write('n')\n"
            "reenact.log_output('out/model.pt', 'the best')\nreenact.log_output('notes.xyz')\n"
        )

        record, _ = kept(desk, code)

        assert outputs_of(record) == {
            "notes.xyz": ("file", None),
            "out/model.pt": ("model", "the best"),
        }

    def test_one_from_elsewhere_is_copied(self, desk: Desk) -> None:
        elsewhere = desk.project.parent / "elsewhere"
        (elsewhere / "deep").mkdir(parents=True)
        (elsewhere / "a.csv").write_text("1\n")
        (elsewhere / "deep" / "b.png").write_text("2\n")
        code = (
            f"reenact.log_output({str(elsewhere)!r})\n"
            f"reenact.log_output({str(elsewhere)!r})\n"
            f"reenact.log_output({str(elsewhere / 'a.csv')!r}, 'tables/../x/renamed.csv')\n"
        )

        record, run = kept(desk, code)

        assert outputs_of(record) == {
            "outputs/elsewhere/a.csv": ("table", None),
            "outputs/elsewhere/deep/b.png": ("image", None),
            "outputs/tables/_/x/renamed.csv": ("table", "tables/../x/renamed.csv"),
        }
        assert (run / "outputs/elsewhere/deep/b.png").read_text() == "2\n"

    def test_the_project_s_data_is_copied_and_not_moved(self, desk: Desk) -> None:
        desk.write("data/big.npy", b"\x00" * 100)

        record, run = kept(desk, "reenact.log_output('data/big.npy')\n")

        assert outputs_of(record) == {"outputs/big.npy": ("file", None)}
        assert (run / "outputs/big.npy").stat().st_size == 100
        assert (desk.project / "data/big.npy").exists()

    def test_the_record_is_no_output(self, desk: Desk) -> None:
        code = (
            "import os\nreenact.log_output(os.environ['REENACT_RECORD_DIR'] + '/run.json', 'r')\n"
        )

        record, run = kept(desk, code)

        assert outputs_of(record) == {"outputs/r": ("file", "r")}
        assert (run / ".reenact" / "run.json").exists()


class TestInPlace:
    CODE = (
        "import os\nopen('made.txt', 'w').write('m')\nreenact.log_text('t')\n"
        "open(os.path.join(os.environ['REENACT_RUN_DIR'], 'direct.bin'), 'w').write('d')\n"
    )

    def test_what_lies_in_the_run_directory_is_among_the_outputs(self, desk: Desk) -> None:
        record, run = kept(desk, self.CODE, "--in-place")

        assert outputs_of(record) == {
            "direct.bin": (None, None),
            "texts/text.txt": ("text", "text"),
            str(desk.project / "made.txt"): (None, None),
        }
        assert (run / "texts/text.txt").read_text() == "t"
        assert not (desk.project / "texts").exists()
        assert desk.ok("path", record["id"], "texts/text.txt") == f"{run}/texts/text.txt\n"


def test_processes_and_threads_add_to_one_histogram(desk: Desk) -> None:
    code = """
import os, threading
def work():
    for step in range(50): reenact.log_histogram(range(100), "h", step=step)
reenact.log_histogram(range(100), "h", step=0)
threads = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in threads]
pid = os.fork()
if not pid:
    work(); os._exit(0)
[t.join() for t in threads]; os.waitpid(pid, 0)
"""
    python = sys.executable

    _, run = kept(desk, code, python=python)

    lines = (run / "histograms/h.jsonl").read_text().splitlines()
    assert len(lines) == 251
    assert all(json.loads(line)["count"] == 100 for line in lines)


def test_a_killed_process_leaves_whole_files(desk: Desk) -> None:
    desk.write(
        "train.py",
        "import reenact, os, signal\nreenact.log_table({'a': list(range(1000))})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
    )

    run_id = desk.run("train.py")

    assert outputs_of(desk.record(run_id)) == {"tables/table.csv": ("table", "table")}


ARRAYS = """
import numpy as np, torch, PIL.Image
nan = float("nan")
reenact.log_image(np.array([[0.0, 0.5], [1.0, nan]], dtype=np.float32), "float")
reenact.log_image(np.array([[0, 300], [-1, 7]], dtype=np.int64), "int")
reenact.log_image(np.array([[True, False]]), "bool")
reenact.log_image(torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.5, 1.0]]]), "channels_first")
reenact.log_image(torch.ones(1, 2, dtype=torch.bfloat16, requires_grad=True), "bfloat16")
reenact.log_image(PIL.Image.new("CMYK", (2, 1)), "pil")
reenact.log_images(torch.zeros(2, 1, 1, 4), "alpha")
reenact.log_audio(np.array([0.0, 1.0], dtype=np.float32), 8000, "np")
reenact.log_audio(torch.zeros(2, 100), 8000, "torch")
reenact.log_histogram(torch.arange(8).reshape(2, 4), "t", bins=2)
reenact.log_histogram(np.array([1e308, -1e308, nan]), "wide", bins=2)
reenact.log_image(np.zeros((0, 3)))
reenact.log_image(np.zeros((2, 2, 7)))
reenact.log_histogram(np.array(["a"]))
"""


def test_arrays_and_tensors_are_images_sound_and_distributions(desk: Desk) -> None:
    record, run = kept(desk, ARRAYS, python=python_with("numpy", "torch", "PIL"))

    images = run / "images"
    assert pixels_of(images / "float.png") == (2, 2, 0, bytes([0, 128, 255, 0]))
    assert pixels_of(images / "int.png") == (2, 2, 0, bytes([0, 255, 0, 7]))
    assert pixels_of(images / "bool.png") == (2, 1, 0, bytes([255, 0]))
    first = bytes([255, 0, 128, 0, 0, 255])
    assert pixels_of(images / "channels_first.png") == (2, 1, 2, first)
    assert pixels_of(images / "bfloat16.png") == (2, 1, 0, bytes([255, 255]))
    assert (images / "pil.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert pixels_of(images / "alpha-1.png") == (1, 1, 6, bytes(4))
    assert sound_of(run / "audio/np.wav") == (1, 8000, (0, 32767))
    assert sound_of(run / "audio/torch.wav")[:2] == (2, 8000)
    counted = json.loads((run / "histograms/t.jsonl").read_text())
    assert (counted["count"], counted["counts"], counted["mean"]) == (8, [4, 4], 3.5)
    wide = json.loads((run / "histograms/wide.jsonl").read_text())
    assert (wide["edges"][0], wide["edges"][-1], wide["counts"]) == (-1e308, 1e308, [1, 1])
    messages = [m.partition(": ")[2] for m in messages_of(record)]
    assert len(messages) == 3
    assert "(2, 2, 7) is none of an image" in messages[1]


TABLES = """
import numpy as np, pandas as pd, polars as pl, torch
nan = float("nan")
third = 1 / 3
frame = pd.DataFrame({"x": [third, nan], "y": pd.array([1, None], dtype="Int64")})
reenact.log_table(frame, "pandas")
reenact.log_table(frame.set_axis(["r", "s"]), "index")
reenact.log_table(frame.set_index(pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["i", "j"])), "multi")
reenact.log_table(frame["x"], "series")
reenact.log_table(pl.DataFrame({"x": [third, nan, None], "s": ["", None, "nan"]}), "polars")
reenact.log_table(torch.tensor([[0.1, 2.0]]), "tensor")
reenact.log_table(np.array([1, 2]), "vector")
reenact.log_table({"a": np.arange(2), "b": torch.tensor([1.5, nan])}, "columns")
reenact.log_table(np.array([(1, 2.5)], dtype=[("i", "i4"), ("f", "f8")]), "records")
reenact.log_table(np.zeros((2, 2, 2)), "cube")
"""


def test_tables_of_every_library_keep_all_digits_and_tell_nan_from_nothing(desk: Desk) -> None:
    record, run = kept(desk, TABLES, python=python_with("pandas", "polars", "torch"))

    def read(name: str) -> list[list[str]]:
        return list(csv.reader((run / f"tables/{name}.csv").read_text().splitlines()))

    third = repr(1 / 3)
    assert read("pandas") == [["x", "y"], [third, "1"], ["NaN", ""]]
    assert read("index") == [["index", "x", "y"], ["r", third, "1"], ["s", "NaN", ""]]
    assert read("multi") == [["i", "j", "x", "y"], ["1", "a", third, "1"], ["2", "b", "NaN", ""]]
    assert read("series") == [["x"], [third], ["NaN"]]
    assert (run / "tables/polars.csv").read_text() == f'x,s\n{third},""\nNaN,\n,"nan"\n'
    assert read("tensor") == [
        ["0", "1"],
        [repr(struct.unpack("f", struct.pack("f", 0.1))[0]), "2.0"],
    ]
    assert read("vector") == [["value"], ["1"], ["2"]]
    assert read("columns") == [["a", "b"], ["0", "1.5"], ["1", "NaN"]]
    assert read("records") == [["i", "f"], ["1", "2.5"]]
    assert ["no table" in m for m in messages_of(record)] == [True]
    assert math.isnan(float(read("pandas")[2][0]))


FIGURES = """
import matplotlib; matplotlib.use("Agg")
import matplotlib.pyplot as plt, plotly.graph_objects as go
import bokeh.plotting, altair, pandas
figure, axes = plt.subplots(); axes.plot([1, 2])
reenact.log_figure(figure, "curve", step=5)
reenact.log_figure(axes, "axes.svg")
reenact.log_figure(plt, "current.pdf")
reenact.log_figure(go.Figure(go.Scatter(y=[1, 2])), "deep/plotly")
reenact.log_figure(go.Figure(go.Scatter(y=[1, 2])), "plotly")
drawing = bokeh.plotting.figure(); drawing.line([1, 2], [3, 4])
reenact.log_figure(drawing, "bokeh")
data = pandas.DataFrame({"a": [1, 2], "b": [3, 4]})
reenact.log_figure(altair.Chart(data).mark_line().encode(x="a", y="b"), "altair")
class Shown:
    def _repr_svg_(self): return "<svg/>"
reenact.log_figure(Shown(), "shown")
"""


def test_figures_of_every_library_are_drawn(desk: Desk) -> None:
    python = python_with("matplotlib", "plotly", "bokeh", "altair")

    record, run = kept(desk, FIGURES, python=python)

    assert messages_of(record) == []
    figures = run / "figures"
    found = {path for path, (role, _) in outputs_of(record).items() if role == "figure"}
    assert found == {
        f"figures/{name}"
        for name in (
            "altair.html axes.svg bokeh.html current.pdf curve-000005.png deep/plotly.html "
            "plotly.html shown.svg"
        ).split()
    }
    assert (figures / "curve-000005.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (figures / "axes.svg").read_bytes()
    assert (figures / "current.pdf").read_bytes()[:5] == b"%PDF-"
    assert 'src="../plotly.min.js"' in (figures / "deep/plotly.html").read_text()
    assert 'src="plotly.min.js"' in (figures / "plotly.html").read_text()
    assert "bokeh" in (figures / "bokeh.html").read_text()
    assert "vega" in (figures / "altair.html").read_text()


def test_nothing_is_imported_for_the_sake_of_an_object(desk: Desk) -> None:
    python = python_with("numpy", "pandas", "matplotlib")
    code = (
        PLAIN
        + "import sys\nprint(sorted({'numpy', 'pandas', 'PIL', 'matplotlib'} & set(sys.modules)))\n"
    )

    kept(desk, code, python=python)

    assert desk.ok("log", "--stdout").endswith("[]\n")


def test_huge_tables_and_texts_are_cut_and_say_so(desk: Desk) -> None:
    code = (
        "reenact.log_table({'a': range(1000002)})\nreenact.log_table([[i] for i in range(5)], 'b')\n"
        "reenact.log_text('x' * ((1 << 28) + 10), 'long')\n"
    )

    record, run = kept(desk, code)

    with (run / "tables/table.csv").open() as file:
        assert sum(1 for _ in file) == 1000001
    assert (run / "texts/long.txt").stat().st_size == 1 << 28
    assert messages_of(record) == [
        "of the 1000002 rows of table `table` the first 1000000 are kept",
        "text `long` was cut at 268435456 bytes",
    ]


def test_outside_a_run_nothing_happens(desk: Desk) -> None:
    shim = Path(__file__).parents[2] / "src" / "reenact" / "probe" / "shim"
    code = "from _reenact import api\napi.log_text('x')\napi.log_figure(None)\n"
    env = {**os.environ, "PYTHONPATH": str(shim), "REENACT_DISABLED": "1"}

    done = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=desk.project, capture_output=True, check=True
    )

    assert done.stdout == done.stderr == b""
    assert list(desk.project.iterdir()) == []
