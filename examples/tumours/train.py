"""Tell benign from malignant tumours: reads data/*.csv, writes a model, a figure and metrics."""

import csv
import json
from pathlib import Path

import joblib
import matplotlib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import RocCurveDisplay, accuracy_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

matplotlib.use("Agg")

C = 1.0
max_iter = 200
test_size = 0.25
seed = 7

rows = []
for path in sorted(Path("data").glob("*.csv")):
    with path.open(newline="") as file:
        rows += list(csv.DictReader(file))
names = [name for name in rows[0] if name != "diagnosis"]
cells = np.array([[float(row[name]) for name in names] for row in rows])
malignant = np.array([row["diagnosis"] == "malignant" for row in rows])

train_x, test_x, train_y, test_y = train_test_split(
    cells, malignant, test_size=test_size, random_state=seed, stratify=malignant
)
model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=max_iter))
model.fit(train_x, train_y)
chances = model.predict_proba(test_x)[:, 1]
metrics = {
    "accuracy": accuracy_score(test_y, chances > 0.5),
    "auc": roc_auc_score(test_y, chances),
}
print(json.dumps(metrics))

out = Path("results")
out.mkdir(exist_ok=True)
(out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
joblib.dump(model, out / "model.joblib")
RocCurveDisplay.from_predictions(test_y, chances).figure_.savefig(out / "roc.png", dpi=80)
