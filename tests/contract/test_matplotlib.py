"""matplotlib, and what draws with it, run for real: which figures become outputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from commands import Desk
from fidelity import Both, run_both
from frameworks import QUICK, python_with
from notebooks import notebook

_PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a directory where matplotlib keeps its list of fonts, which takes long to make."""
    return str(tmp_path_factory.mktemp("matplotlib"))


def run(directory: Path, script: str, fonts: str, backend: str = "agg") -> Both:
    """Run a script under plain Python and under `reenact run`; nobody can tell them apart."""
    both = run_both(
        directory,
        {"plot.py": script},
        "plot.py",
        python=python_with("matplotlib", "seaborn", "pandas"),
        env={**QUICK, "MPLBACKEND": backend, "MPLCONFIGDIR": fonts},
    )
    assert both.recorded.stdout == both.plain.stdout
    assert both.recorded.stderr == both.plain.stderr
    assert both.recorded.status == both.plain.status
    return both


def figures_of(both: Both) -> dict[str, str | None]:
    """Return path and title of the figures among the run's outputs."""
    record = json.loads((both.world.run_directory / ".reenact" / "run.json").read_bytes())
    assert record.get("warnings", []) == []
    outputs = record.get("outputs", [])
    return {f["path"]: f.get("title") for f in outputs if f.get("role") == "figure"}


def test_saved_figures_are_outputs_wherever_they_come_from(tmp_path: Path, fonts: str) -> None:
    script = """
        import io, os, pathlib
        import matplotlib.pyplot as plt
        import pandas as pd
        import seaborn as sns

        frame = pd.DataFrame({"x": [1, 2, 3], "y": [3, 1, 2]})
        plt.plot([1, 2]); plt.title("a line"); plt.savefig("line.pdf")
        figure, axes = plt.subplots(1, 2)
        figure.suptitle("both"); axes[0].set_title("left")
        os.mkdir("plots")
        figure.savefig(pathlib.Path("plots") / "two", dpi=50)
        figure.savefig("two.dat", format="svg")
        frame.plot(title="of a frame").figure.savefig("frame.png")
        grid = sns.relplot(frame, x="x", y="y")
        grid.savefig("grid.jpg")
        figure.savefig(io.BytesIO())
        with open("open.png", "wb") as file:
            figure.savefig(file)
        plt.figure().add_subplot().set_title("never saved")
        print(plt.rcParams["savefig.format"], sorted(os.listdir("plots")))
    """

    both = run(tmp_path, script, fonts)

    assert figures_of(both) == {
        "line.pdf": "a line",
        "plots/two.png": "both",
        "two.dat": "both",
        "frame.png": "of a frame",
        "grid.jpg": None,
        "open.png": "both",
    }
    assert set(both.recorded.made) == set(both.plain.made)


def test_shown_figures_are_kept_once(tmp_path: Path, fonts: str) -> None:
    script = """
        import os
        import matplotlib.pyplot as plt

        def draw(title):
            figure, axes = plt.subplots()
            axes.plot([1, 2, 3])
            axes.set_title(title)
            return figure

        draw("saved").savefig("saved.png")
        draw("first")
        draw("second")
        plt.show()
        plt.show()
        third = draw("third")
        plt.plot([3, 2, 1])
        plt.show()
        third.axes[0].plot([1, 1])
        plt.show()
        plt.close("all")
        draw("never shown")
        print(third.dpi, plt.get_fignums(), plt.rcParams["figure.dpi"])
    """

    both = run(tmp_path, script, fonts)

    assert figures_of(both) == {
        "saved.png": "saved",
        "figures/1.png": "first",
        "figures/2.png": "second",
        "figures/3.png": "third",
        "figures/4.png": "third",
    }
    images = [both.recorded.made[f"figures/{i}.png"] for i in range(1, 5)]
    assert all(isinstance(image, bytes) and image.startswith(_PNG) for image in images)
    assert len(set(images)) == 4


def test_warnings_come_from_the_script_and_only_once(tmp_path: Path, fonts: str) -> None:
    script = """
        import warnings
        import matplotlib.pyplot as plt

        def show(text):
            plt.title(text)
            plt.show()

        show("a \\u97ff that no font here has")
        plt.savefig("saved.png")
        warnings.warn("of my own")
    """

    for backend in ("agg", "svg"):
        both = run(tmp_path / backend, script, fonts, backend)

        assert both.recorded.stderr.count(b"UserWarning") >= 2
        assert b"_reenact" not in both.recorded.stderr


def test_a_figure_that_cannot_be_drawn_is_said_and_the_script_goes_on(
    tmp_path: Path, fonts: str
) -> None:
    script = """
        import matplotlib.pyplot as plt

        class Broken(plt.Line2D):
            def draw(self, renderer):
                raise RuntimeError("no ink")

        plt.gca().add_line(Broken([0, 1], [0, 1]))
        plt.figure(); plt.plot([1, 2])
        plt.show()
        print("shown")
    """

    both = run_both(
        tmp_path,
        {"plot.py": script},
        "plot.py",
        python=python_with("matplotlib"),
        env={"MPLBACKEND": "agg", "MPLCONFIGDIR": fonts},
    )

    record = json.loads((both.world.run_directory / ".reenact" / "run.json").read_bytes())
    assert both.recorded.stdout == both.plain.stdout == b"shown\n"
    assert [file["path"] for file in record["outputs"]] == ["figures/2.png"]
    (warning,) = record["warnings"]
    assert "figure 1 was not captured: RuntimeError: no ink" in warning["message"]


def test_a_figure_of_the_project_is_not_written_over(tmp_path: Path, fonts: str) -> None:
    script = """
        import matplotlib.pyplot as plt
        plt.plot([1, 2])
        plt.savefig("figures/1.png")
        plt.figure(); plt.plot([2, 1]); plt.show()
    """

    both = run_both(
        tmp_path,
        {"plot.py": script, "figures/1.png": b"of an earlier time", ".gitignore": "*.png\n"},
        "plot.py",
        python=python_with("matplotlib"),
        env={"MPLBACKEND": "agg", "MPLCONFIGDIR": fonts},
    )

    assert both.touched == {}
    assert set(figures_of(both)) == {"figures/1.png", "figures/2.png"}


@pytest.mark.parametrize("pillow", ["PIL.__version__", "'10.4.0'"])
def test_a_figure_that_is_only_written_over_is_no_input(
    tmp_path: Path, fonts: str, pillow: str
) -> None:
    """Pillow before version 11 goes along links by itself, past what we put in their place."""
    script = f"""
        import os
        import matplotlib.pyplot as plt
        import PIL
        PIL.__version__ = {pillow}
        plt.plot([1, 2])
        for name in ("fit.png", "fit.pdf", "plots/fit.png", "plots/fit-2.png"):
            plt.savefig(name)
        try:
            plt.savefig("fit-3.png", pil_kwargs={{"format": "none of these"}})
        except KeyError as error:
            print(error, os.path.getsize("fit-3.png"))
    """
    files = ("fit.png", "fit.pdf", "plots/fit.png", "fit-3.png")

    both = run_both(
        tmp_path,
        {"plot.py": script, **dict.fromkeys(files, b"of yesterday"), ".gitignore": "fit*\n"},
        "plot.py",
        python=python_with("matplotlib"),
        env={"MPLBACKEND": "agg", "MPLCONFIGDIR": fonts},
    )

    assert both.recorded.stdout == both.plain.stdout == b"'NONE OF THESE' 12\n", both.plain.stderr
    assert both.touched == {}
    assert set(figures_of(both)) == {"fit.png", "fit.pdf", "plots/fit.png", "plots/fit-2.png"}
    record = json.loads((both.world.run_directory / ".reenact" / "run.json").read_bytes())
    assert record.get("inputs", []) == []
    assert {file["path"] for file in record["outputs"]} == set(figures_of(both))


def test_a_figure_of_a_notebook_is_kept_once(tmp_path: Path, fonts: str) -> None:
    desk = Desk(tmp_path)
    desk.env.update(MPLCONFIGDIR=fonts)
    child = (
        "import os, subprocess, sys\n"
        "code = 'import matplotlib.pyplot as p; p.plot([2]); p.title(\"a child\"); p.show()'\n"
        "env = {**os.environ, 'MPLBACKEND': 'agg'}\n"
        "subprocess.run([sys.executable, '-c', code], env=env, check=True)"
    )
    desk.write(
        "plot.ipynb",
        notebook("import matplotlib.pyplot as plt", "plt.plot([1, 2])\nplt.show()", child),
    )

    run_id = desk.run("--python", python_with("matplotlib", "ipykernel"), "plot.ipynb")

    outputs = {f["path"]: f.get("title") for f in desk.record(run_id)["outputs"]}
    assert outputs.pop("plot.executed.ipynb", None) is None
    # What nobody but the child has shown is its own.
    assert outputs == {"figures/cell-2.png": "cell 2", "figures/1.png": "a child"}
