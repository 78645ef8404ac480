"""The Trainer of transformers, run for real on a tiny model made from a configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fidelity import run_both
from frameworks import QUICK, python_with

TRAINING = """
    import hashlib
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

    class Tokens(torch.utils.data.Dataset):
        def __init__(self, size):
            self.tokens = torch.randint(0, 64, (size, 16))

        def __len__(self):
            return len(self.tokens)

        def __getitem__(self, index):
            return {"input_ids": self.tokens[index], "labels": self.tokens[index]}

    set_seed(0)
    config = GPT2Config(
        vocab_size=64, n_positions=16, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    arguments = TrainingArguments(
        output_dir="out",
        num_train_epochs=2,
        per_device_train_batch_size=8,
        logging_steps=2,
        learning_rate=1e-3,
        save_strategy="epoch",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Tokens(32), eval_dataset=Tokens(8))
    callbacks = [type(callback).__name__ for callback in trainer.callback_handler.callbacks]
    trainer.remove_callback(trainer.callback_handler.callbacks[-1])
    trainer.train()
    print(trainer.evaluate()["eval_loss"], callbacks)
    content = b"".join(p.detach().numpy().tobytes() for p in model.parameters())
    print(hashlib.sha256(content).hexdigest())
"""


def test_a_training_is_recorded_and_comes_out_the_same(tmp_path: Path) -> None:
    done = run_both(
        tmp_path,
        {"train.py": TRAINING},
        "train.py",
        recorded=["--save-models", "train.py"],
        python=python_with("torch", "transformers", "accelerate"),
        env={**QUICK, "HF_HUB_OFFLINE": "1"},
    )

    assert done.plain.status == done.recorded.status == 0, done.recorded.stderr
    assert done.recorded.stdout == done.plain.stdout
    record = json.loads((done.world.run_directory / ".reenact/run.json").read_bytes())
    assert "capture" not in [warning["code"] for warning in record.get("warnings", ())], record
    params = record["params"]
    assert params["TrainingArguments.learning_rate"] == 1e-3
    assert params["TrainingArguments.weight_decay"] == 0.0
    assert params["TrainingArguments.model"] == "GPT2LMHeadModel"
    assert params["GPT2Config.n_embd"] == 32
    assert params["GPT2LMHeadModel.parameters"] == params["AdamW.parameters"]
    assert params["AdamW.steps"] == 8
    assert (params["DataLoader.batch_size"], params["DataLoader.shuffle"]) == (8, True)
    assert [(d["name"], d["role"], d["shape"]) for d in record["datasets"]] == [
        ("train_dataset", "train", [32]),
        ("eval_dataset", "validation", [8]),
    ]
    metrics = record["metrics"]
    assert (metrics["loss"]["count"], metrics["loss"]["last_step"]) == (4, 8)
    assert metrics["eval_loss"]["last_step"] == 8
    assert metrics["eval_loss"]["last"] == pytest.approx(float(done.recorded.stdout.split()[0]))
    (model,) = record["models"]
    assert model["framework"] == "transformers"
    assert model["path"] == "models/GPT2LMHeadModel.pt"
    roles = {output["path"]: output.get("role") for output in record["outputs"]}
    assert roles["out/checkpoint-8/model.safetensors"] == "model"
    assert roles["out/checkpoint-8/optimizer.pt"] is None
