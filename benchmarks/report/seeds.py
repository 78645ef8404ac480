"""Do the experiment on seeds of the comparison report: the network's results over seeds 0 to 9, in two groups.

    python benchmarks/report/seeds.py --python DIR/bin/python [--seeds 0..9] [--jobs N]

The groups stand for two machines: one computes with one thread, the other with two, so that sums
are rounded otherwise. What is printed is what `reenact compare --group-by threads --stats` says, which is
Table 12 of the report: mean, standard deviation and range of each group, and their differences.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from report import make_data

_SEEDED = "seed = 0\nthreads = 1\nimport torch\ntorch.set_num_threads(threads)\n"


def main() -> None:
    """Run the seeds of both groups, and print what their results come to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="an interpreter with keras and torch")
    parser.add_argument("--seeds", default="0..9")
    parser.add_argument("--jobs", default="1")
    options = parser.parse_args()
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory(prefix="reenact-bench-") as scratch:
        project = Path(scratch, "project")
        (project / "data").mkdir(parents=True)
        script = (here / "scripts" / "cnn.py").read_text()
        script = script.replace("set_random_seed(7)", "set_random_seed(seed)")
        (project / "cnn.py").write_text(_SEEDED + script)
        make_data(options.python, project)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "REENACT"))}
        env.update(REENACT_HOME=f"{scratch}/store", KERAS_BACKEND="torch")
        reenact = str(Path(sys.executable).with_name("reenact"))
        run = [reenact, "run", "--python", options.python, "cnn.py", "threads=[1,2]", "--quiet",
               "--seeds", options.seeds, "--jobs", options.jobs]  # fmt: skip
        subprocess.run(run, cwd=project, env=env, check=True)
        compare = [reenact, "compare", "--group-by", "threads", "--stats",
                   "test_accuracy,test_loss"]  # fmt: skip
        subprocess.run(compare, cwd=project, env=env, check=False)


if __name__ == "__main__":
    main()
