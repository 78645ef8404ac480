"""scikit-learn, run for real: what its estimators, searches and metrics leave in the record."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fidelity import Both, run_both
from frameworks import QUICK, python_with

Record = dict[str, Any]

BEGIN = """
    import numpy as np
    from sklearn.datasets import load_diabetes, load_iris
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC

    X, y = load_iris(return_X_y=True)
"""


def run(directory: Path, script: str, *words: str, begin: str = BEGIN) -> Both:
    """Run a script under plain Python and under `reenact run`; nobody can tell them apart."""
    both = run_both(
        directory,
        {"train.py": begin + script},
        "train.py",
        recorded=[*words, "train.py"],
        python=python_with("sklearn", "pandas", "skops"),
        env=QUICK,
    )
    assert both.recorded.stdout == both.plain.stdout
    assert both.recorded.status == both.plain.status
    assert both.touched == {}
    return both


def record_of(both: Both, *, warnings: int = 0) -> Record:
    """Return the record of the run, which nothing went wrong in."""
    path = both.world.run_directory / ".reenact" / "run.json"
    record: Record = json.loads(path.read_bytes())
    assert len(record.get("warnings", [])) == warnings, record["warnings"]
    return record


def metrics_of(record: Record) -> dict[str, list[float]]:
    """Return count and last value of the metrics that scikit-learn reported."""
    return {
        name: [summary["count"], summary["last"]]
        for name, summary in record["metrics"].items()
        if not name.startswith(("system/", "machine/"))
    }


def test_an_estimator_leaves_all_its_params_data_and_scores(tmp_path: Path) -> None:
    script = """
    from sklearn.model_selection import train_test_split
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    model = Ridge(alpha=0.3)
    model.fit(X_train, y_train)
    test_r2 = model.score(X_test, y_test)
    print(model.score(X_train, y_train), test_r2)
    import hashlib
    print(hashlib.blake2b(X_train.to_numpy().tobytes(), digest_size=16).hexdigest())
    """

    both = run(tmp_path, script)

    record = record_of(both)
    (train_score, test_score), (digest,) = (
        line.split() for line in both.recorded.stdout.decode().splitlines()
    )
    assert record["params"] == {
        "Ridge.alpha": 0.3,
        "Ridge.copy_X": True,
        "Ridge.fit_intercept": True,
        "Ridge.max_iter": None,
        "Ridge.positive": False,
        "Ridge.random_state": None,
        "Ridge.solver": "auto",
        "Ridge.tol": 0.0001,
    }
    metrics = metrics_of(record)
    assert metrics["Ridge.train_score"] == [1, pytest.approx(float(train_score))]
    assert metrics["test_r2"] == [1, float(test_score)]
    assert metrics["Ridge.fit_seconds"][1] > 0
    assert len(metrics) == 3
    (model,) = record["models"]
    assert model["type"] == "sklearn.linear_model._ridge.Ridge"
    assert model["framework"] == "sklearn"
    assert model["signature"]["X"]["shape"] == [331, 10]
    assert model["signature"]["X"]["columns"][:2] == ["age", "sex"]
    assert record["captures"][-1] == {"framework": "sklearn", "version": model["version"]}
    assert [(d["name"], d["role"], d["shape"]) for d in record["datasets"]] == [
        ("X_train", "train", [331, 10]),
        ("y_train", "train", [331]),
        ("X_test", "test", [111, 10]),
        ("y_test", "test", [111]),
    ]
    assert record["datasets"][0]["digest"] == digest


def test_a_score_on_training_data_has_the_step_of_its_fit(tmp_path: Path) -> None:
    # Beyond 10,000 rows nothing is scored.
    script = """
    X, y = load_diabetes(return_X_y=True)
    Ridge().fit(X, y)
    Ridge().fit(np.tile(X, (30, 1)), np.tile(y, 30))
    Ridge().fit(X, y)
    """

    both = run(tmp_path, script)

    metrics = record_of(both)["metrics"]
    assert metrics["Ridge.fit_seconds"]["last_step"] == 2
    assert metrics["Ridge.train_score"]["count"] == 2
    assert metrics["Ridge.train_score"]["last_step"] == 2


def test_a_pipeline_and_a_search_count_once_and_say_what_they_found(tmp_path: Path) -> None:
    script = """
    from sklearn.model_selection import GridSearchCV
    pipeline = Pipeline([("scale", StandardScaler()), ("svm", SVC())])
    search = GridSearchCV(pipeline, {"svm__C": np.logspace(-1, 1, 3)}, cv=3).fit(X, y)
    print(search.best_params_["svm__C"])
    """

    record = record_of(run(tmp_path, script))

    params, metrics = record["params"], metrics_of(record)
    assert params["GridSearchCV.estimator"] == "Pipeline"
    assert params["GridSearchCV.param_grid"] == {"svm__C": [0.1, 1.0, 10.0]}
    assert params["GridSearchCV.best_params.svm__C"] == params["SVC-2.C"] == 10.0
    assert params["GridSearchCV.best_estimator"] == "Pipeline-2"
    assert params["Pipeline-2.steps"] == ["scale: StandardScaler", "svm: SVC-2"]
    assert params["SVC.C"] == 1.0
    assert params["GridSearchCV.n_fits"] == 9
    assert params["Pipeline.steps"] == ["scale: StandardScaler", "svm: SVC"]
    assert params["StandardScaler.with_mean"] is True
    assert metrics["GridSearchCV.best_score"][1] > 0.9
    assert metrics["GridSearchCV.mean_test_score"][0] == 3
    assert metrics["GridSearchCV.train_score"][0] == 1
    assert {name.partition(".")[0] for name in metrics} == {"GridSearchCV"}
    (model,) = record["models"]
    assert model["summary"].splitlines() == [
        "GridSearchCV",
        "  estimator: Pipeline",
        "    scale: StandardScaler",
        "    svm: SVC",
    ]


def test_metrics_are_named_after_what_takes_them(tmp_path: Path) -> None:
    script = """
    from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss
    from sklearn.metrics import precision_recall_fscore_support
    train, test = slice(0, None, 2), slice(1, None, 2)
    model = LogisticRegression(max_iter=500).fit(X[train], y[train])
    predicted = model.predict(X[test])
    y_test = y[test]

    class Results: pass

    def evaluate(results, by_name):
        accuracy = accuracy_score(y_test, predicted)
        results.macro = f1_score(y_test, predicted, average="macro")
        by_name["loss"] = log_loss(y_test, model.predict_proba(X[test]))
        return accuracy_score(y_test, predicted)

    evaluate(Results(), {})
    first = second = accuracy_score(y_test, predicted)
    print(round(accuracy_score(y_test, predicted), 3))
    p, r, f, s = precision_recall_fscore_support(y_test, predicted, average="macro")
    print(confusion_matrix(y_test, predicted), p)
    per_class = f1_score(y_test, predicted, average=None)
    """

    both = run(tmp_path, script)

    record = record_of(both)
    assert {name: count for name, (count, _) in metrics_of(record).items()} == {
        "LogisticRegression.fit_seconds": 1,
        "LogisticRegression.train_score": 1,
        "accuracy": 1,
        "macro": 1,
        "loss": 1,
        "accuracy_score": 2,
        "first": 1,
        "precision_recall_fscore_support.precision": 1,
        "precision_recall_fscore_support.recall": 1,
        "precision_recall_fscore_support.fscore": 1,
        "per_class.0": 1,
        "per_class.1": 1,
        "per_class.2": 1,
    }
    assert record["params"]["macro.function"] == "f1_score"
    assert record["params"]["macro.average"] == "macro"
    (table,) = record["outputs"]
    assert (table["path"], table["role"]) == ("tables/confusion_matrix.csv", "table")
    rows = both.recorded.made[table["path"]]
    assert isinstance(rows, bytes)
    assert rows.splitlines()[0] == b"true \\ predicted,0,1,2"
    assert {(d["name"], d["role"]) for d in record["datasets"] if "model" not in d} == {
        ("y_test", "test")
    }


def test_cross_validation_leaves_every_fold_and_the_mean(tmp_path: Path) -> None:
    script = """
    from sklearn.model_selection import cross_val_score, cross_validate
    scores = cross_val_score(SVC(C=3), X, y, cv=4)
    print(scores.mean())
    cross_validate(SVC(C=3), X, y, scoring=["accuracy", "f1_macro"])
    """

    both = run(tmp_path, script)

    record = record_of(both)
    metrics = metrics_of(record)
    assert metrics["scores"][0] == 4
    assert metrics["scores.mean"] == [1, float(both.recorded.stdout)]
    assert metrics["cross_validate.test_accuracy"][0] == 5
    assert metrics["cross_validate.test_f1_macro.mean"][0] == 1
    assert len(metrics) == 6
    assert record["params"]["SVC.C"] == 3
    assert record["params"]["cross_val_score.cv"] == 4


def test_estimators_of_others_and_of_the_script_are_recorded(tmp_path: Path) -> None:
    script = """
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.linear_model import LogisticRegression

    class Guess(ClassifierMixin, BaseEstimator):
        calls = 0
        def __init__(self, answer=1, helper=None):
            self.answer = answer
            self.helper = helper
        def fit(self, X, y):
            LogisticRegression(C=7, max_iter=500).fit(X, y)
            self.classes_ = np.unique(y)
            return self
        def predict(self, X):
            Guess.calls += 1
            return np.full(len(X), self.answer)

    Guess(answer=2, helper=lambda x: x).fit(X, y)
    print(Guess.calls)
    """

    record = record_of(run(tmp_path, script))

    assert record["params"] == {"Guess.answer": 2, "Guess.helper": "__main__.<lambda>"}
    assert list(metrics_of(record)) == ["Guess.fit_seconds"]
    assert [model["type"] for model in record["models"]] == ["__main__.Guess"]


def test_nothing_that_the_script_can_see_is_different(tmp_path: Path) -> None:
    script = """
    import inspect, io, pickle, warnings
    from sklearn.base import clone
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import accuracy_score, make_scorer, precision_score
    from sklearn.model_selection import cross_val_score
    from sklearn.neural_network import MLPClassifier

    np.random.seed(3)
    random = np.random.RandomState(5)
    DummyClassifier(strategy="uniform").fit(X, y)
    DummyClassifier(strategy="uniform", random_state=random).fit(X, y)
    print(np.random.rand(), random.rand())
    RandomForestClassifier(n_estimators=3, verbose=1).fit(X, y)
    Pipeline([("say", FunctionTransformer(lambda X: print("seen", len(X)) or X)),
              ("svc", SVC())]).fit(X, y)
    for _ in range(2):
        MLPClassifier(max_iter=2, random_state=0).fit(X, y)
        precision_score([0, 1], [0, 0])
    model = clone(Ridge(alpha=2)).fit(X, y)
    print(sorted(vars(model)), inspect.signature(model.fit), inspect.signature(accuracy_score))
    print(len(pickle.dumps(model)), pickle.loads(pickle.dumps(accuracy_score)) is accuracy_score)
    print(hasattr(Pipeline([("svc", SVC())]), "fit_predict"), model.__sklearn_tags__())
    print(repr(make_scorer(accuracy_score)), model._repr_html_()[:3])
    print(cross_val_score(SVC(), X, y, scoring=make_scorer(accuracy_score), n_jobs=2))

    class Loud(Ridge):
        def fit(self, X, y):
            warnings.warn("look at the line that called", stacklevel=2)
            return super().fit(X, y)

    Loud().fit(X, y)
    Ridge(alpha="much").fit(X, y)
    """

    both = run(tmp_path, script)

    # `verbose` prints how long it took.
    took = re.compile(rb"[0-9.]+s\b")
    assert both.recorded.status == 1
    assert took.sub(b"", both.recorded.stderr) == took.sub(b"", both.plain.stderr)
    assert b"alpha" in both.recorded.stderr
    record_of(both)


def test_workers_and_loops_stay_small(tmp_path: Path) -> None:
    script = """
    from joblib import Parallel, delayed

    def fit(C):
        return LogisticRegression(C=C, max_iter=500).fit(X, y).C

    print(sum(Parallel(n_jobs=2)(delayed(fit)(C) for C in (1, 2))))
    for i in range(600):
        SGDClassifier(alpha=1e-4 * (1 + i % 60), max_iter=1, tol=None).fit(X, y)
    online = SGDClassifier(alpha=5)
    for i in range(20):
        online.partial_fit(X, y, classes=[0, 1, 2])
    """

    record = record_of(run(tmp_path, script))

    assert not any("LogisticRegression" in name for name in record["params"])
    assert len([name for name in record["params"] if name.endswith(".alpha")]) == 50
    assert metrics_of(record)["SGDClassifier.fit_seconds"][0] == 620
    assert len(record["models"]) == 50
    assert len(record["datasets"]) == 2
    (capture,) = [one for one in record["captures"] if one["framework"] == "sklearn"]
    assert "more than 50 different params of `SGDClassifier`" in capture["detail"]
    assert capture["version"]


def test_models_are_kept_on_request(tmp_path: Path) -> None:
    script = """
    Pipeline([("scale", StandardScaler()), ("svc", SVC(C=2))]).fit(X, y)
    online = SGDClassifier(random_state=0)
    for i in range(5):
        online.partial_fit(X, y, classes=[0, 1, 2])
    Pipeline([("f", FunctionTransformer(lambda X: X)), ("ridge", Ridge())]).fit(X, y)
    """

    both = run(tmp_path, script, "--save-models")

    record = record_of(both, warnings=1)
    paths = {model["name"]: model.get("path") for model in record["models"]}
    assert paths == {
        "Pipeline": "models/Pipeline.skops",
        "SGDClassifier": "models/SGDClassifier.skops",
        "Pipeline-2": None,
    }
    assert record["warnings"][0]["code"] == "model-not-saved"
    assert "`Pipeline-2` could not be saved: PicklingError" in record["warnings"][0]["message"]
    signature = both.recorded.made["models/Pipeline.signature.json"]
    assert isinstance(signature, bytes)
    assert json.loads(signature)["signature"]["X"] == {"shape": [150, 4], "dtype": "float64"}
    roles = {file["path"]: file["role"] for file in record["outputs"]}
    assert roles["models/SGDClassifier.skops"] == "model"
    code = """
import skops.io, sys
for name in ("Pipeline", "SGDClassifier"):
    model = skops.io.load(f"{name}.skops", trusted=["sklearn.linear_model._sgd_fast.Hinge"])
    print(model.t_ if name == "SGDClassifier" else model["svc"].C)
"""
    done = subprocess.run(
        [python_with("sklearn", "skops"), "-c", code],
        cwd=both.world.run_directory / "models",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["2", "751.0"], done.stderr


def test_joblib_is_used_where_skops_is_missing(tmp_path: Path) -> None:
    script = """
    Ridge().fit(X, y)
    """
    hidden = "import sys; sys.modules['skops'] = None\n"

    both = run(tmp_path, script, "--save-models", begin="    " + hidden + BEGIN)

    (model,) = record_of(both)["models"]
    assert model["path"] == "models/Ridge.joblib"
    assert model["path"] in both.recorded.made


def test_data_of_any_kind_is_described(tmp_path: Path) -> None:
    script = """
    import pandas as pd, scipy.sparse
    from sklearn.feature_extraction.text import CountVectorizer
    fortran = np.asfortranarray(X)
    sparse = scipy.sparse.csr_matrix(X)
    labels = pd.Series(np.array(["a", "b", "c"])[y])
    rows = X.tolist()
    texts = ["one two", "two three"]
    LogisticRegression(max_iter=500).fit(fortran, labels)
    Ridge().fit(sparse, y)
    SVC().fit(rows, list(y))
    CountVectorizer().fit_transform(texts)
    print(__import__("hashlib").blake2b(X.tobytes(), digest_size=16).hexdigest())
    """

    both = run(tmp_path, script)

    datasets = {d["name"]: d for d in record_of(both)["datasets"]}
    digest = both.recorded.stdout.decode().strip()
    assert datasets["fortran"]["digest"] == datasets["rows"]["digest"] == digest
    assert datasets["sparse"]["dtype"] == "csr float64"
    assert datasets["labels"]["shape"] == [150]
    assert datasets["y"]["digest"] not in (None, datasets["labels"]["digest"])
    assert datasets["sparse"]["digest"] not in (None, digest)
    assert (datasets["texts"]["shape"], datasets["texts"]["dtype"]) == ([2], "list")


def test_the_digest_of_data_tells_it_from_other_data(tmp_path: Path) -> None:
    script = """
    X[7, 2] += 1e-9
    Ridge().fit(X, y)
    """

    (data, _) = record_of(run(tmp_path / "changed", script))["datasets"]
    (former, _) = record_of(run(tmp_path / "former", "\n    Ridge().fit(X, y)\n"))["datasets"]

    assert len(data["digest"]) == len(hashlib.blake2b(digest_size=16).hexdigest())
    assert data["digest"] != former["digest"]


def test_what_only_we_call_cannot_end_the_script(tmp_path: Path) -> None:
    script = """
    import sys, warnings
    warnings.simplefilter("ignore")

    class Leaving:
        def __repr__(self):
            sys.exit(3)

        def __reduce__(self):
            raise GeneratorExit

    class Interrupted(FunctionTransformer):
        def get_params(self, deep=True):
            raise KeyboardInterrupt

    FunctionTransformer(np.log1p, kw_args={"with": Leaving()}, validate=False)
    scale = FunctionTransformer(func=None, inv_kw_args={"with": Leaving()})
    scale.fit(X)
    try:
        Interrupted().fit(X)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted")
    acc = Ridge().fit(X, y).score(X, y)
    print(acc)
    """

    both = run(tmp_path, script, "--save-models")

    assert both.recorded.status == 0, both.recorded.stderr
    record = record_of(both, warnings=1)
    assert record["warnings"][0]["code"] == "model-not-saved"
    assert record["params"]["FunctionTransformer.inv_kw_args"] == {"with": "<__main__.Leaving>"}
    assert "acc" in record["metrics"], "the interrupted hook has left everything as it was"
    # The Ctrl-C that came while we looked was the script's.
    assert both.recorded.stderr.startswith(b"interrupted")


def test_a_slow_repr_is_paid_once(tmp_path: Path) -> None:
    script = """
    import time
    asked = []

    class Slow:
        def __repr__(self):
            asked.append(1)
            time.sleep(0.02)
            return "Slow()"

    class Quick:
        def __repr__(self):
            return "Quick()"

    for i in range(5):
        FunctionTransformer(kw_args={"a": Slow(), "b": Quick(), "c": i}).fit(X)
    import sys
    sys.stderr.write(str(len(asked)))
    """

    both = run(tmp_path, script)

    assert (both.plain.stderr, both.recorded.stderr) == (b"0", b"1")
    params = record_of(both)["params"]
    for scope in ("FunctionTransformer", "FunctionTransformer-5"):
        shown = params[f"{scope}.kw_args"]
        assert (shown["a"], shown["b"]) == ("<__main__.Slow>", "Quick()")


def test_a_wrong_name_in_autolog_is_said_once(tmp_path: Path) -> None:
    both = run_both(
        tmp_path,
        {"train.py": BEGIN + "    import os; os.fork() or os._exit(0); Ridge().fit(X, y)\n"},
        "train.py",
        python=python_with("sklearn"),
        env={"REENACT_AUTOLOG": "sklern, keras"},
    )

    record = record_of(both, warnings=1)
    assert record.get("params", {}) == {}
    warning = record["warnings"][0]
    assert warning["code"] == "autolog"
    assert "names `sklern`: known are off, " in warning["message"]
    assert "sklearn" in warning["message"]


def test_functions_show_the_parameters_of_the_original(tmp_path: Path) -> None:
    script = """
    import functools
    import inspect
    import pickle
    import pydoc
    import warnings
    from sklearn.base import BaseEstimator
    from sklearn.cluster import KMeans
    from sklearn.metrics import accuracy_score
    from sklearn.model_selection import GridSearchCV

    class Mine(BaseEstimator):
        def fit(self, X, y=None, *, rate: float = 0.5):
            return self

    class Noisy(Ridge):
        @functools.wraps(Ridge.fit)
        def fit(estimator, *rest, **options):
            warnings.warn("from the outside", stacklevel=2)
            return super(Noisy, estimator).fit(*rest, **options)

    pipeline = Pipeline([("svc", SVC())])
    for function in (
        Mine.fit, Mine().fit, Ridge.fit, Ridge().fit, Ridge.score, Noisy.fit, SVC.fit, KMeans.fit,
        KMeans.fit_predict, StandardScaler.fit_transform, StandardScaler().fit_transform,
        StandardScaler.partial_fit, Pipeline.fit, Pipeline.score, pipeline.predict,
        GridSearchCV.fit, GridSearchCV(SVC(), {}).score,
    ):
        print(inspect.getfullargspec(function), inspect.signature(function))
        print(function.__name__, function.__qualname__, function.__module__, inspect.getdoc(function))
        print(inspect.getsource(function), pydoc.render_doc(function))
        over = functools.wraps(function)(lambda *rest: None)
        print(inspect.signature(over), over.__wrapped__ is function, over.__qualname__)
    print(inspect.getfullargspec(accuracy_score), inspect.signature(accuracy_score))
    for function in (Ridge.fit, SVC.fit, accuracy_score):
        print(pickle.loads(pickle.dumps(function)) is function)
    fit = pickle.loads(pickle.dumps(Ridge(alpha=2).fit))
    print(fit.__self__, fit(X, y).coef_)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Noisy().fit(X, y=y)
    print([(str(one.message), one.filename.endswith("train.py"), one.lineno) for one in caught])
    print(pydoc.render_doc(Ridge))
    """

    both = run(tmp_path, script)

    assert both.plain.status == 0, both.plain.stderr
    assert b"rate" in both.recorded.stdout
