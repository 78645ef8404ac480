"""Readers of data that are native code: each with the real library, preloaded and without."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Desk
from frameworks import python_with

preloads = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="a library is preloaded on Linux only, and compiled first",
)

READERS = {
    # What is made, how, how it is read, and whether that is seen without the preloaded library.
    "pandas-parquet": (
        "d.parquet",
        "import pandas as p; p.DataFrame({'a': [1]}).to_parquet('d.parquet')",
        "import pandas as p; p.read_parquet('d.parquet')",
        ("pandas", "pyarrow"),
        True,
    ),
    "pyarrow-csv": (
        "d.csv",
        "open('d.csv', 'w').write('a\\n1\\n')",
        "from pyarrow import csv; csv.read_csv('d.csv')",
        ("pyarrow",),
        True,
    ),
    "pyarrow-dataset": (
        "d.parquet",
        "import pyarrow as a, pyarrow.parquet as p; p.write_table(a.table({'a': [1]}), 'd.parquet')",
        "import pyarrow.dataset as d; d.dataset('d.parquet').to_table()",
        ("pyarrow",),
        True,
    ),
    "polars": (
        "d.csv",
        "open('d.csv', 'w').write('a\\n1\\n')",
        "import polars; polars.scan_csv('d.csv').collect()",
        ("polars",),
        True,
    ),
    "duckdb": (
        "d.csv",
        "open('d.csv', 'w').write('a\\n1\\n')",
        "import duckdb; duckdb.sql(\"select * from 'd.csv'\").fetchall()",
        ("duckdb",),
        False,
    ),
    "h5py": (
        "d.h5",
        "import h5py; f = h5py.File('d.h5', 'w'); f['a'] = [1]; f.close()",
        "import h5py; h5py.File('d.h5', 'r')['a'][:]",
        ("h5py",),
        True,
    ),
    "netcdf4": (
        "d.nc",
        "import netCDF4; netCDF4.Dataset('d.nc', 'w').close()",
        "import netCDF4; netCDF4.Dataset('d.nc')",
        ("netCDF4",),
        False,
    ),
    "cv2": (
        "d.png",
        "import cv2, numpy; cv2.imwrite('d.png', numpy.zeros((2, 2, 3)))",
        "import cv2; assert cv2.imread('d.png') is not None",
        ("cv2",),
        True,
    ),
    "safetensors": (
        "d.safetensors",
        "import numpy, safetensors.numpy as s; s.save_file({'a': numpy.ones(2)}, 'd.safetensors')",
        "import safetensors.numpy as s; s.load_file('d.safetensors')",
        ("safetensors", "numpy"),
        True,
    ),
    "lmdb": (
        "d/data.mdb",
        "import lmdb; lmdb.open('d').close()",
        "import lmdb; lmdb.open('d', readonly=True, lock=False).begin()",
        ("lmdb",),
        False,
    ),
    "soundfile": (
        "d.wav",
        "import soundfile, numpy; soundfile.write('d.wav', numpy.zeros(8), 8000)",
        "import soundfile; soundfile.read('d.wav')",
        ("soundfile",),
        True,
    ),
    "xgboost": (
        "d.txt",
        "open('d.txt', 'w').write('1 0:1\\n0 0:2\\n')",
        "import xgboost; xgboost.DMatrix('d.txt?format=libsvm').num_row()",
        ("xgboost",),
        False,
    ),
    "lightgbm": (
        "d.csv",
        "open('d.csv', 'w').write('1,2\\n' * 50)",
        "import lightgbm; lightgbm.Dataset('d.csv').construct()",
        ("lightgbm",),
        True,
    ),
    "torch-load": (
        "d.pt",
        "import torch; torch.save(torch.ones(2), 'd.pt')",
        "import torch; torch.load('d.pt', weights_only=True)",
        ("torch",),
        True,
    ),
    "numpy-mmap": (
        "d.npy",
        "import numpy; numpy.save('d.npy', numpy.ones(2))",
        "import numpy; numpy.load('d.npy', mmap_mode='r')",
        ("numpy",),
        True,
    ),
    "pillow": (
        "d.png",
        "from PIL import Image; Image.new('RGB', (2, 2)).save('d.png')",
        "from PIL import Image; Image.open('d.png').load()",
        ("PIL",),
        True,
    ),
    "sqlite": (
        "d.db",
        "import sqlite3; c = sqlite3.connect('d.db'); c.execute('create table t (a)'); c.commit()",
        "import sqlite3; sqlite3.connect('d.db').execute('select * from t').fetchall()",
        (),
        True,
    ),
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@preloads
@pytest.mark.parametrize("name", READERS)
def test_what_a_native_reader_reads_is_an_input(desk: Desk, name: str) -> None:
    file, make, read, modules, _ = READERS[name]

    inputs = _inputs_of(desk, python_with(*modules), make, read, "preload")

    assert file in inputs


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader[4]])
def test_readers_written_in_other_languages_are_watched_from_python_as_well(
    desk: Desk, name: str
) -> None:
    file, make, read, modules, _ = READERS[name]

    inputs = _inputs_of(desk, python_with(*modules), make, read, "audit")

    assert file in inputs


def _inputs_of(desk: Desk, python: str, make: str, read: str, trace: str) -> set[str]:
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([python, "-c", make], cwd=desk.project, env=env, check=True)
    desk.write("read.py", read)
    plain = subprocess.run(
        [python, "read.py"], cwd=desk.project, env=env, capture_output=True, text=True, check=False
    )

    words = ["run", "--python", python, "--trace-files", trace, "read.py"]
    done = desk.reenact(*words, env={"OMP_NUM_THREADS": "1"})

    said = [re.sub(r"\d+\.\d+ seconds", "TIME", out) for out in (plain.stdout, done.out)]
    assert (done.status, said[1]) == (plain.returncode, said[0]), done.err
    (run_id,) = desk.ids()
    return {file["path"] for file in desk.record(run_id).get("inputs", ())}
