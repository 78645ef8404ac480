"""Plain scripts of all kinds print no warning of ours, and have the inputs that one expects."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import Desk
from frameworks import python_with

SKLEARN = """
import pandas
from sklearn.linear_model import LogisticRegression
table = pandas.read_csv("rows.csv")
model = LogisticRegression().fit(table[["a", "b"]], table["y"])
print("accuracy:", model.score(table[["a", "b"]], table["y"]))
"""
TORCH = """
import csv, torch
rows = [list(map(float, row)) for row in list(csv.reader(open("rows.csv")))[1:]]
X, y = torch.tensor([row[:2] for row in rows]), torch.tensor([row[2] for row in rows])
net = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
data = torch.utils.data.TensorDataset(X, y)
for xs, ys in torch.utils.data.DataLoader(data, batch_size=8, shuffle=True, num_workers=2):
    loss = ((net(xs).squeeze() - ys) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"loss: {loss.item():.4f}")
torch.save(net.state_dict(), "net.pt")
torch.load("net.pt")
"""
XGBOOST = """
import numpy, xgboost
table = numpy.loadtxt("rows.csv", delimiter=",", skiprows=1)
model = xgboost.XGBClassifier(n_estimators=3).fit(table[:, :2], table[:, 2])
model.save_model("model.json")
"""
TRACKIO = """
import csv, trackio
rows = list(csv.reader(open("rows.csv")))
trackio.init(project="p", config={"lr": 0.1})
trackio.log({"loss": 0.5})
trackio.finish()
"""


@pytest.mark.parametrize(
    ("module", "script"),
    [("sklearn", SKLEARN), ("torch", TORCH), ("xgboost", XGBOOST), ("trackio", TRACKIO)],
    ids=["sklearn", "torch", "xgboost", "trackio"],
)
def test_a_plain_script_prints_no_warning(tmp_path: Path, module: str, script: str) -> None:
    python = python_with(module)
    desk = Desk(tmp_path)
    desk.env["OMP_NUM_THREADS"] = "1"
    rows = [f"{number % 7},{number % 5},{number % 2}" for number in range(40)]
    desk.write("rows.csv", "\n".join(["a,b,y", *rows]))
    desk.write("train.py", script)

    # Twice: what the first one has left in caches is read by the second one.
    done = [desk.reenact("run", "--python", python, "train.py") for _ in range(2)]

    for run_id in desk.ids():
        record = desk.record(run_id)
        assert record.get("warnings", []) == []
        assert [file["path"] for file in record["inputs"]] == ["rows.csv"]
    assert [one.status for one in done] == [0, 0], done[0].err
    assert "warning:" not in done[0].err + done[1].err
