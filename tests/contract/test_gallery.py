"""Small programs in the manner of an example gallery: nobody can tell that they are recorded.

They do what examples of scikit-learn do (draw, search, warn, measure, fail, define estimators, work in
several processes). All of them run unchanged under `python` and under `reenact run`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fidelity import Both, run_both
from frameworks import QUICK, python_with

Record = dict[str, Any]


class Shown(NamedTuple):
    """What a record must show of a program.

    Attributes:
        params: some of them.
        status: of the program.
        metrics: some of their names.
        data: names and roles.
        figures: how many.
        models: names of all.
    """

    params: dict[str, object]
    status: int = 0
    metrics: frozenset[str] = frozenset()
    data: frozenset[tuple[str, str]] = frozenset()
    figures: int = 0
    models: frozenset[str] = frozenset()


BOUNDARIES = """
    import matplotlib.pyplot as plt
    from sklearn.datasets import load_iris
    from sklearn.inspection import DecisionBoundaryDisplay
    from sklearn.svm import SVC, LinearSVC

    iris = load_iris()
    X, y = iris.data[:, :2], iris.target
    models = (SVC(kernel="linear", C=1.0), LinearSVC(max_iter=10), SVC(kernel="rbf", gamma=0.7))
    models = [model.fit(X, y) for model in models]
    figure, axes = plt.subplots(1, 3)
    for model, axis in zip(models, axes):
        DecisionBoundaryDisplay.from_estimator(model, X, ax=axis, grid_resolution=20)
        axis.set_title(type(model).__name__)
    plt.show()
    print([model.n_features_in_ for model in models])
"""

SEARCH = """
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import classification_report, confusion_matrix
    from sklearn.model_selection import GridSearchCV, train_test_split
    from sklearn.pipeline import Pipeline

    X, y = load_digits(n_class=3, return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    pipe = Pipeline([("reduce", PCA(random_state=0)), ("classify", LogisticRegression(tol=0.1))])
    search = GridSearchCV(pipe, {"reduce__n_components": [2, 5]}, cv=2, n_jobs=2)
    search.fit(X_train, y_train)
    print("Best parameter (CV score=%0.3f):" % search.best_score_)
    print(search.best_params_)
    test_score = search.score(X_test, y_test)
    print(classification_report(y_test, search.predict(X_test)), test_score)
    print(confusion_matrix(y_test, search.predict(X_test)))
    print(search)
"""

REGRESSION = """
    import logging, sys, warnings
    import numpy as np
    import matplotlib.pyplot as plt
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso, LassoCV
    from sklearn.metrics import mean_squared_error, r2_score

    def make(rng=np.random.RandomState(3)):
        X = rng.randn(60, 8)
        y = X @ np.arange(8) + rng.randn(60)
        return X, y

    def main():
        X, y = make()
        before = dict(locals())
        lasso = Lasso(alpha=1e-9, max_iter=2, random_state=0)
        lasso.fit(X, y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lasso.fit(X, y)
        print(len(caught), caught[0].category.__name__, sorted(before))
        chosen = LassoCV(cv=3, random_state=0).fit(X, y)
        r2 = r2_score(y, chosen.predict(X))
        print("alpha %.4f r2 %.4f" % (chosen.alpha_, r2))
        print(mean_squared_error(y, chosen.predict(X)))
        plt.plot(chosen.alphas_, chosen.mse_path_.mean(1))
        plt.title("Path")
        plt.savefig("path.png")
        print(np.random.RandomState(0).rand(), X.sum(), file=sys.stderr)

    main()
"""

OWN_ESTIMATOR = """
    import pickle
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin, clone
    from sklearn.datasets import make_classification
    from sklearn.ensemble import VotingClassifier
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    class Nearest(ClassifierMixin, BaseEstimator):
        \"\"\"The class whose centre is nearest.\"\"\"

        def __init__(self, power=2):
            self.power = power

        def fit(self, X, y):
            self.classes_, self.n_features_in_ = np.unique(y), X.shape[1]
            self.centres_ = np.array([X[y == k].mean(0) for k in self.classes_])
            return self

        def predict(self, X):
            distances = abs(X[:, None] - self.centres_) ** self.power
            return self.classes_[distances.sum(-1).argmin(1)]

    X, y = make_classification(random_state=0)
    scores = cross_val_score(Nearest(power=1), X, y, cv=3)
    print(scores, Nearest.fit.__name__, Nearest.__doc__)
    vote = VotingClassifier([("near", Nearest()), ("tree", DecisionTreeClassifier(max_depth=2))])
    vote.fit(X, y)
    again = pickle.loads(pickle.dumps(vote))
    print((again.predict(X) == vote.predict(X)).all(), clone(vote), vars(again).keys())
"""

PARTS = """
    import numpy as np
    from sklearn.cluster import KMeans
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import silhouette_score
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(5)
    X = np.concatenate([rng.normal(at, 0.3, (40, 2)) for at in (0, 2, 4)])
    for n in (2, 3):
        labels = KMeans(n_clusters=n, n_init=2, random_state=0).fit_predict(X)
        print("For n_clusters =", n, "the average is", silhouette_score(X, labels))
    y = np.repeat([0, 1, 2], 40)
    online = SGDClassifier(random_state=0)
    for start in range(0, 120, 40):
        part = slice(start % 7, None, 3)
        online.partial_fit(X[part], y[part], classes=[0, 1, 2])
    print(online.coef_, StandardScaler().fit_transform(X)[:2], rng.random())
"""

FAILS = """
    import numpy as np
    from sklearn.linear_model import Ridge

    def train(values):
        model = Ridge(alpha=0.5)
        return model.fit(values[:, None], values)

    print(train(np.arange(5.0)).coef_)
    train(np.array([1.0, np.nan]))
"""

PROGRAMS = {
    "boundaries": (
        BOUNDARIES,
        Shown(
            params={"SVC.kernel": "linear", "SVC-2.gamma": 0.7, "LinearSVC.max_iter": 10},
            metrics=frozenset({"SVC.fit_seconds", "SVC.train_score", "LinearSVC.train_score"}),
            data=frozenset({("X", "train"), ("y", "train")}),
            figures=1,
            models=frozenset({"SVC", "SVC-2", "LinearSVC"}),
        ),
    ),
    "search": (
        SEARCH,
        Shown(
            params={"GridSearchCV.cv": 2, "LogisticRegression.tol": 0.1},
            metrics=frozenset({"test_score", "GridSearchCV.best_score"}),
            data=frozenset({("X_train", "train"), ("y_train", "train"), ("y_test", "test")}),
            models=frozenset({"GridSearchCV"}),
        ),
    ),
    "regression": (
        REGRESSION,
        Shown(
            params={"Lasso.max_iter": 2, "LassoCV.cv": 3},
            metrics=frozenset({"r2", "Lasso.fit_seconds", "train_mean_squared_error"}),
            figures=1,
            models=frozenset({"Lasso", "LassoCV"}),
        ),
    ),
    "own estimator": (
        OWN_ESTIMATOR,
        Shown(
            params={"Nearest.power": 1, "DecisionTreeClassifier.max_depth": 2},
            metrics=frozenset({"scores", "scores.mean", "VotingClassifier.fit_seconds"}),
            data=frozenset({("X", "train"), ("y", "train")}),
            models=frozenset({"VotingClassifier"}),
        ),
    ),
    "parts": (
        PARTS,
        Shown(
            params={"KMeans.n_clusters": 2, "KMeans-2.n_clusters": 3},
            metrics=frozenset({"silhouette_score", "SGDClassifier.fit_seconds"}),
            models=frozenset({"KMeans", "KMeans-2", "SGDClassifier", "StandardScaler"}),
        ),
    ),
    "fails": (
        FAILS,
        Shown(status=1, params={"Ridge.alpha": 0.5}, models=frozenset({"Ridge"})),
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_a_gallery_is_the_same_and_is_recorded(tmp_path: Path, name: str) -> None:
    script, shown = PROGRAMS[name]

    both = run(tmp_path, script)

    assert both.recorded.stdout == both.plain.stdout
    assert both.recorded.stderr == both.plain.stderr
    assert both.recorded.status == both.plain.status == shown.status
    assert both.touched == {}
    record = record_of(both)
    assert record.get("warnings", []) == []
    assert {key: record["params"].get(key) for key in shown.params} == shown.params
    assert shown.metrics <= record["metrics"].keys()
    assert shown.data <= {(data["name"], data["role"]) for data in record["datasets"]}
    assert {model["name"] for model in record["models"]} == shown.models
    roles = [output.get("role") for output in record.get("outputs", [])]
    assert roles.count("figure") == shown.figures


def run(directory: Path, script: str) -> Both:
    return run_both(
        directory,
        {"plot_example.py": script},
        "plot_example.py",
        python=python_with("sklearn", "matplotlib"),
        env={**QUICK, "MPLBACKEND": "Agg"},
    )


def record_of(both: Both) -> Record:
    path = both.world.run_directory / ".reenact" / "run.json"
    record: Record = json.loads(path.read_bytes())
    return record
