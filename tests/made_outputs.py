"""Make one file in each format with the library that people use for it.

Run by an interpreter that has them: `python made_outputs.py DIRECTORY=KIND ...`, where the kind is
`same`, `near` (numbers are off in the last places) or `other`. Dates are those of the clock.
"""

import importlib
import io
import json
import os
import pickle
import random
import sqlite3
import struct
import sys
import tarfile
import traceback
import wave
import zipfile

MADE = {}
KIND = "same"


def makes(name):
    def keep(function):
        MADE[name] = function
        return function

    return keep


def shift(value):
    """Return the value as this kind of run computes it."""
    if KIND == "near":
        return value * (1 + 1e-6)
    return value + 1 if KIND == "other" else value


def weights(*shape, dtype="float32"):
    import numpy as np

    values = np.random.default_rng(0).normal(size=shape)
    return shift(values).astype(dtype)


def frame():
    import pandas as pd

    rows = range(50)
    return pd.DataFrame(
        {
            "epoch": list(rows),
            "loss": weights(50, dtype="float64"),
            "name": [f"row-{row}" for row in rows],
        }
    )


@makes("array.npy")
def npy(path):
    import numpy as np

    np.save(path, weights(30, 40))


@makes("arrays.npz")
def npz(path):
    import numpy as np

    np.savez(path, first=weights(10), second=weights(3, 4, dtype="float64"), n=np.arange(5))


@makes("packed.npz")
def packed_npz(path):
    import numpy as np

    np.savez_compressed(path, first=weights(10), names=np.array(["a", "b"]))


@makes("records.npy")
def records(path):
    import numpy as np

    table = np.zeros(20, dtype=[("step", "i4"), ("loss", "f8"), ("tag", "U4")])
    table["step"] = range(20)
    table["loss"] = weights(20, dtype="float64")
    table["tag"] = "abc"
    np.save(path, table)


@makes("objects.npy")
def objects(path):
    import numpy as np

    values = np.empty(2, dtype=object)
    values[:] = [{"loss": shift(0.25)}, [1, 2, 3]]
    np.save(path, values, allow_pickle=True)


@makes("table.csv")
def csv(path):
    frame().to_csv(path, index=False)


@makes("table.csv.gz")
def csv_gz(path):
    frame().to_csv(path, index=False)


@makes("table.csv.bz2")
def csv_bz2(path):
    frame().to_csv(path, index=False)


@makes("table.csv.xz")
def csv_xz(path):
    frame().to_csv(path, index=False)


@makes("table.parquet")
def parquet(path):
    frame().to_parquet(path)


@makes("table.feather")
def feather(path):
    frame().to_feather(path)


@makes("frame.pkl")
def frame_pickle(path):
    frame().to_pickle(path)


@makes("table.h5")
def pytables(path):
    frame().drop(columns="name").to_hdf(path, key="table", format="table")


@makes("table.xlsx")
def xlsx(path):
    frame().to_excel(path)


@makes("results.json")
def json_file(path):
    with open(path, "w") as file:
        json.dump({"loss": [shift(0.5), shift(0.25)], "config": {"lr": 0.1}}, file)


@makes("log.jsonl")
def jsonl(path):
    with open(path, "w") as file:
        file.writelines(
            json.dumps({"step": step, "loss": shift(1 / (step + 1))}) + "\n" for step in range(20)
        )


@makes("log.txt")
def text(path):
    with open(path, "w") as file:
        for step in range(20):
            print(f"step {step}: loss={shift(1 / (step + 1)):.9f} on conv2d_{step}", file=file)


@makes("backup.tar")
def tar(path):
    with tarfile.open(path, "w") as archive:
        for name in ("results.json", "table.csv.gz"):
            with open(f"part-{name}", "wb") as file:
                file.write(made(name))
            archive.add(f"part-{name}", name)
            os.remove(f"part-{name}")


@makes("backup.tgz")
def tgz(path):
    with tarfile.open(path, "w:gz") as archive:
        for name in ("log.txt", "array.npy"):
            data = made(name)
            member = tarfile.TarInfo(f"run/{name}")
            member.size = len(data)
            member.mtime = int(os.stat(path).st_mtime)
            archive.addfile(member, io.BytesIO(data))


@makes("backup.zip")
def zipped(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # `writestr` notes the time; two seconds are the unit.
        archive.writestr("run/log.txt", made("log.txt"))
        archive.writestr("run/table.csv.gz", made("table.csv.gz"))


def made(name):
    path = f"made-{name}"
    MADE[name](path)
    with open(path, "rb") as file:
        data = file.read()
    os.remove(path)
    return data


@makes("figure.png")
def png(path):
    figure().savefig(path)


@makes("figure.svg")
def svg(path):
    figure().savefig(path)


@makes("figure.pdf")
def pdf(path):
    figure().savefig(path)


@makes("figure.eps")
def eps(path):
    figure().savefig(path)


@makes("figure.jpg")
def jpg(path):
    figure().savefig(path)


def figure():
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    drawn, axes = plt.subplots()
    # A marker's and a clip path's name are drawn by chance in SVG.
    axes.plot(range(20), weights(20) if KIND != "near" else weights(20) + 0.02, "o-")
    axes.set_title("loss")
    plt.close(drawn)
    return drawn


@makes("notebook.ipynb")
def notebook(path):
    import nbformat

    cells = [nbformat.v4.new_code_cell("print(loss)")]
    cells[0].outputs = [nbformat.v4.new_output("stream", text=f"{shift(0.5):.9f}\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@makes("page.html")
def html(path):
    import plotly.graph_objects

    y = [shift(1 / (step + 1)) for step in range(10)]
    plotly.graph_objects.Figure(plotly.graph_objects.Scatter(y=y)).write_html(
        path, include_plotlyjs="cdn"
    )


@makes("words.pkl")
def words(path):
    # Strings of a set come in an order that is another in every process.
    with open(path, "wb") as file:
        value = {"words": {f"word-{n}" for n in range(30)}, "loss": shift(0.5)}
        pickle.dump(value, file)


@makes("several.pickle")
def several(path):
    import numpy as np

    with open(path, "wb") as file:
        for protocol in (0, 2, 4, 5):
            pickle.dump({"w": weights(5), "s": np.float64(shift(0.5))}, file, protocol)


@makes("script.pkl")
def script(path):
    import cloudpickle

    factor = shift(0.5)

    class Model:
        weights = weights(3)

        def __init__(self):
            self.words = {f"word-{n}" for n in range(30)}

        def predict(self, x):
            return x * factor

    with open(path, "wb") as file:
        cloudpickle.dump(Model(), file)


@makes("classifier.pkl")
def classifier(path):
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = make_classification(random_state=1 if KIND == "other" else 0)
    x = x * (1 + 1e-6) if KIND == "near" else x
    with open(path, "wb") as file:
        pickle.dump(make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(x, y), file)


@makes("forest.joblib")
def forest(path):
    import joblib
    from sklearn.datasets import make_regression
    from sklearn.ensemble import RandomForestRegressor

    x, y = make_regression(random_state=0)
    joblib.dump(RandomForestRegressor(5, max_depth=3, random_state=0).fit(x, shift(y)), path)


@makes("packed.joblib")
def packed_joblib(path):
    import joblib

    joblib.dump({"w": weights(200, 30), "note": "abc"}, path, compress=3)


@makes("weights.joblib")
def weights_joblib(path):
    import joblib

    joblib.dump([weights(200, 30), weights(40, 5, dtype="float64").T], path)


@makes("model.pt")
def state_dict(path):
    torch.save(network().state_dict(), path)


@makes("legacy.pt")
def legacy(path):
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=False)


@makes("checkpoint.pt")
def checkpoint(path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    halves = {"half": model[0].weight.half(), "bf16": model[0].weight.bfloat16()}
    saved = {"model": model, "optimizer": optimizer.state_dict(), "epoch": 3, **halves}
    torch.save({**saved, "turned": model[0].weight.T, "long": torch.arange(5)}, path)


@makes("scripted.pt")
def scripted(path):
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(network(), torch.ones(1, 8)).save(path)


def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    with torch.no_grad():
        for part in model.parameters():
            part.copy_(shift(part))
    return model


@makes("model.safetensors")
def safetensors(path):
    from safetensors.torch import save_file

    tensors = {**network().state_dict(), "bf16": network()[0].weight.bfloat16()}
    save_file(tensors, path, metadata={"made by": "a test"})


@makes("model.keras")
def keras_model(path):
    keras_network().save(path)


@makes("model.weights.h5")
def keras_weights(path):
    keras_network().save_weights(path)


@makes("legacy.h5")
def keras_legacy(path):
    keras_network().save(path)


def keras_network():
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4, name="d"), keras.layers.Dense(1, name="e")]
    )
    model.compile("adam", "mse")
    model.set_weights([shift(part) for part in model.get_weights()])
    return model


def boosters():
    from sklearn.datasets import make_regression

    x, y = make_regression(300, 5, random_state=0)
    return x, shift(y)


@makes("booster.json")
def xgboost_json(path):
    xgboost_model().save_model(path)


@makes("booster.ubj")
def xgboost_ubj(path):
    xgboost_model().save_model(path)


@makes("booster.pkl")
def xgboost_pickle(path):
    with open(path, "wb") as file:
        pickle.dump(xgboost_model(), file)


def xgboost_model():
    import xgboost

    return xgboost.XGBRegressor(n_estimators=5, max_depth=3, n_jobs=1).fit(*boosters())


@makes("booster.txt")
def lightgbm_text(path):
    import lightgbm

    x, y = boosters()
    params = {"objective": "regression", "num_threads": 1, "verbose": -1}
    lightgbm.train(params, lightgbm.Dataset(x, y), 5).save_model(path)


@makes("results.sqlite")
def sqlite(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE results (step INTEGER PRIMARY KEY, loss REAL, name TEXT)")
        rows = [(step, shift(1 / (step + 1)), f"s{step}") for step in range(100)]
        connection.executemany("INSERT INTO results VALUES (?, ?, ?)", rows)
    connection.close()


@makes("events.out.tfevents.1700000000.host.1.0")
def events(path):
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter("part-logs") as writer:
        for step in range(20):
            writer.add_scalar("loss", shift(1 / (step + 1)), step)
        writer.add_histogram("weights", weights(30), 1)
        writer.add_image("picture", torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)))
        writer.add_text("note", "abc")
        writer.add_hparams({"lr": 0.1}, {"final": shift(0.5)}, run_name=".")
    files = sorted(os.listdir("part-logs"))
    with open(path, "wb") as out:
        for name in files:
            with open(f"part-logs/{name}", "rb") as file:
                out.write(file.read())
            os.remove(f"part-logs/{name}")
    os.rmdir("part-logs")


@makes("data.tfrecord")
def tfrecord(path):
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: F401  # protobuf is there
    from tensorboard.summary.writer.record_writer import RecordWriter

    def field(number, data):
        return bytes([number << 3 | 2, len(data)]) + data

    with open(path, "wb") as file:
        writer = RecordWriter(file)
        for step in range(5):
            floats = struct.pack("<2f", shift(0.5), step)
            feature = field(2, field(1, floats))
            writer.write(field(1, field(1, field(1, b"x") + field(2, feature))))
        writer.flush()


@makes("sound.wav")
def sound(path):
    with wave.open(path, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        loudness = {"same": 20_000, "near": 20_001, "other": 25_000}[KIND]
        file.writeframes(struct.pack("<200h", *(loudness + n for n in range(200))))


@makes("model.skops")
def skops_model(path):
    import skops.io
    from sklearn.linear_model import Ridge

    skops.io.dump(Ridge().fit(weights(20, 3), weights(20)), path)


@makes("data.nc")
def netcdf(path):
    from netCDF4 import Dataset

    with Dataset(path, "w") as data:
        data.createDimension("x", 30)
        data.createVariable("loss", "f8", ("x",), zlib=True)[:] = weights(30, dtype="float64")


def main(*targets):
    global torch
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import torch

    torch.set_num_threads(1)
    # Once for all that follow.
    for name in ("keras", "matplotlib.pyplot", "pandas", "sklearn.ensemble", "xgboost"):
        importlib.import_module(name)
    for target in targets:
        # Libraries count what they have made; a process of its own begins anew.
        child = os.fork()
        if child == 0:
            make_all(*target.split("="))
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            sys.exit(1)


def make_all(directory, kind):
    global KIND
    KIND = kind
    os.makedirs(directory)
    os.chdir(directory)
    random.seed(0)
    for name, make in MADE.items():
        try:
            make(name)
        except BaseException:
            traceback.print_exc()
            os._exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
