"""PyTorch, run for real: what its optimizers, models, loaders and files leave in the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fidelity import Both, run_both
from frameworks import QUICK, python_with

TRAINING = """
    import hashlib
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.1), nn.Linear(16, 1))

        def forward(self, x):
            return self.body(x)

    def digest(model):
        content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
        return hashlib.sha256(content).hexdigest()

    def main():
        torch.manual_seed(0)
        train_loader = DataLoader(
            TensorDataset(torch.randn(96, 8), torch.randn(96, 1)), batch_size=32, shuffle=True
        )
        test_loader = DataLoader(TensorDataset(torch.randn(64, 8), torch.randn(64, 1)), 64)
        model = Net()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2)
        for epoch in range(5):
            for x, y in train_loader:
                optimizer.zero_grad()
                ((model(x) - y) ** 2).mean().backward()
                optimizer.step()
            scheduler.step()
            for x, y in test_loader:
                model(x)
        torch.save(model.state_dict(), "net.pt")
        torch.save({"x": torch.zeros(3)}, "data.pt")
        torch.save({"epoch": 3, "net": model.state_dict()}, "checkpoint.pt")
        torch.save(optimizer.state_dict(), "optimizer.pt")
        print(digest(model), torch.rand(3))

    main()
"""

Record = dict[str, Any]


def run(directory: Path, script: str, *words: str, **env: str) -> Both:
    """Run a script under plain Python and under `reenact run`; they must print the same."""
    done = run_both(
        directory,
        {"train.py": script},
        "train.py",
        recorded=[*words, "train.py"],
        python=python_with("torch"),
        env={**QUICK, **env},
    )
    assert done.recorded.status == done.plain.status, done.recorded.stderr
    assert done.recorded.stdout == done.plain.stdout
    return done


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """The training above, with models kept."""
    return run(tmp_path_factory.mktemp("training"), TRAINING, "--save-models")


@pytest.fixture
def both(tmp_path: Path) -> Callable[..., Both]:
    return partial(run, tmp_path)


def record_of(both: Both) -> Record:
    content = (both.world.run_directory / ".reenact" / "run.json").read_bytes()
    record: Record = json.loads(content)
    assert "capture" not in [warning["code"] for warning in record.get("warnings", ())], record
    return record


def test_a_seeded_training_comes_out_the_same_to_the_last_bit(training: Both) -> None:
    assert training.recorded.status == 0
    assert len(training.recorded.stdout.split()[0]) == 64
    assert training.recorded.stdout == training.plain.stdout
    assert training.recorded.stderr == training.plain.stderr


def test_the_optimizer_its_schedule_and_its_model_are_in_the_record(training: Both) -> None:
    record = record_of(training)

    params = record["params"]
    assert params["Adam.lr"] == 0.01
    assert params["Adam.betas"] == [0.9, 0.999]
    assert params["Adam.weight_decay"] == 0.5
    assert params["Adam.parameters"] == params["Net.parameters"] == 8 * 16 + 16 + 16 + 1
    assert params["Adam.models"] == ["Net"]
    assert params["Adam.steps"] == 15
    assert params["StepLR.step_size"] == 2
    assert params["StepLR.optimizer"] == "Adam"
    assert params["Net.device"] == "cpu"
    (model,) = record["models"]
    assert model["type"] == "__main__.Net"
    assert model["framework"] == "torch"
    assert "2: Linear(in_features=16, out_features=1, bias=True)" in model["summary"]
    assert [capture["framework"] for capture in record["captures"]] == ["torch"]


def test_the_learning_rate_is_recorded_where_it_changes(training: Both) -> None:
    summary = record_of(training)["metrics"]["lr"]

    # Before and after each of two changes, at the beginning and at the end.
    assert summary["count"] == 6
    assert (summary["first"], summary["last"]) == (0.01, pytest.approx(0.0001))
    assert summary["last_step"] == 15


def test_loaders_are_recorded_with_the_names_that_the_script_gave_them(training: Both) -> None:
    record = record_of(training)

    params = record["params"]
    assert params["DataLoader.name"] == "train_loader"
    assert params["DataLoader.batch_size"] == 32
    assert params["DataLoader.shuffle"] is True
    assert params["DataLoader-2.name"] == "test_loader"
    assert params["DataLoader-2.sampler"] == "SequentialSampler"
    assert params["DataLoader-2.dataset_size"] == 64
    assert [(d["name"], d["role"], d["shape"]) for d in record["datasets"]] == [
        ("train_loader", "train", [96, 8]),
        ("test_loader", "test", [64, 8]),
    ]


def test_saved_files_that_hold_models_have_that_role(training: Both) -> None:
    record = record_of(training)

    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    assert roles == {
        "net.pt": "model",
        "checkpoint.pt": "model",
        "data.pt": None,
        "optimizer.pt": None,
        "models/Net.pt": "model",
    }


def test_models_are_kept_on_request(training: Both) -> None:
    (model,) = record_of(training)["models"]

    assert "models/Net.pt" in training.recorded.made
    assert model["path"] == "models/Net.pt"
    assert model["framework"] == "torch"


def test_two_optimizers_over_two_models_are_told_apart(both: Callable[..., Both]) -> None:
    record = record_of(
        both("""
        import copy, pickle
        import torch

        class Critic(torch.nn.Linear):
            pass

        def step(model, optimizer):
            for p in model.parameters():
                p.grad = torch.ones_like(p)
            optimizer.step()

        actor = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        critic = copy.deepcopy(Critic(2, 1))
        first = torch.optim.SGD(
            [{"params": actor[0].parameters()}, {"params": actor[1].parameters(), "lr": 0.5}],
            lr=0.1,
            momentum=0.9,
        )
        second = pickle.loads(pickle.dumps(torch.optim.SGD(critic.parameters(), lr=0.3)))
        second.param_groups[0]["params"] = list(critic.parameters())
        step(actor, first)
        step(critic, second)
        """)
    )

    params = record["params"]
    assert params["SGD.lr"] == [0.1, 0.5]
    assert params["SGD.momentum"] == 0.9
    assert params["SGD.groups"] == 2
    assert params["SGD.models"] == ["Sequential"]
    # SGD-2 was copied before its first step.
    assert params["SGD-3.models"] == ["Critic"]
    assert params["SGD-3.lr"] == 0.3
    assert "lr" not in record.get("metrics", {})


def test_compiled_training_is_compiled_as_before(both: Callable[..., Both]) -> None:
    done = both("""
        import logging
        import torch
        import torch._dynamo

        logging.disable(logging.CRITICAL)
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout(0.1))
        model = torch.compile(net, backend="eager")
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

        @torch.compile(backend="eager")
        def step(x):
            loss = model(x).sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            torch.nn.Linear(3, 3)
            return loss.detach()

        for _ in range(20):
            loss = step(torch.ones(2, 3))
            scheduler.step()
        counters = torch._dynamo.utils.counters
        print(loss, counters["stats"], len(counters["graph_break"]))
    """)

    params = record_of(done)["params"]
    assert params["Adam.steps"] == 20
    assert params["Adam.models"] == ["Sequential"]


def test_what_torch_raises_is_raised_and_shown_as_without_us(both: Callable[..., Both]) -> None:
    done = both("""
        import torch

        try:
            torch.optim.SGD([], lr=0.1)
        except ValueError as error:
            print(type(error), error)
        torch.save(torch.nn.Linear(1, 1), "missing/directory.pt")
    """)

    assert done.recorded.status == 1
    assert done.recorded.stderr == done.plain.stderr


def test_a_model_of_the_project_is_replaced_in_the_run_alone(tmp_path: Path) -> None:
    python = python_with("torch")
    files = {
        "train.py": """
            import torch
            torch.save(torch.nn.Linear(1, 1).state_dict(), "net.pt")
        """,
        "net.pt": b"an older one",
    }

    done = run_both(tmp_path, files, "train.py", python=python)

    assert done.recorded.status == 0
    assert done.touched == {}
    assert isinstance(done.recorded.made["net.pt"], bytes)
    assert done.recorded.made["net.pt"] != b"an older one"


def test_many_optimizers_are_counted_and_not_listed(both: Callable[..., Both]) -> None:
    record = record_of(
        both("""
        import torch

        for _ in range(70):
            weight = torch.nn.Parameter(torch.ones(1))
            optimizer = torch.optim.SGD([weight], lr=0.1)
            weight.grad = torch.ones(1)
            optimizer.step()
    """)
    )

    params = record["params"]
    assert params["SGD.instances"] == 70
    assert params["SGD-50.steps"] == 1
    assert "SGD-51.lr" not in params


def test_nothing_is_captured_when_autologging_is_off(both: Callable[..., Both]) -> None:
    record = record_of(both(TRAINING, REENACT_AUTOLOG="off"))

    assert not record.get("params")
    assert not record.get("models")


def test_a_dataset_of_the_script_is_not_asked_for_its_length(both: Callable[..., Both]) -> None:
    script = """
        import torch
        from torch.utils.data import DataLoader, Dataset

        class Plain(Dataset):
            def __init__(self):
                self.images = [1.0, 2.0, 3.0]

            def __len__(self):
                return len(self.images)

            def __getitem__(self, i):
                return self.images[i]

        class Loud(Plain):
            def __len__(self):
                print("asked")
                return len(self.images)

        class Counting(Plain):
            def __len__(self):
                self.images.append(4.0)
                return 2

        plain, loud, counting = Plain(), Loud(), Counting()
        for loader in (DataLoader(plain), DataLoader(loud), DataLoader(counting)):
            print(len(list(loader)), len(counting.images))
    """

    params = record_of(both(script))["params"]

    sizes = {
        params[name]: params.get(name.replace(".dataset", ".dataset_size"))
        for name in params
        if name.endswith(".dataset")
    }
    assert sizes == {"Plain": 3, "Loud": None, "Counting": None}
