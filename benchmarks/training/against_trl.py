"""Training steps beside TRL's SFTTrainer: same rows in the same order, same adapter, seed and rate, on a CPU.

Run from the project's root after `make repro`, with TRL beside it (it is no dependency):
    python -m pip install --no-deps --target /tmp/trl trl==1.16.0
    PYTHONPATH=/tmp/trl .venv/bin/python benchmarks/training/against_trl.py --steps 20
Two processes, one for each, take steps in turn, so that both meet the same machine; each step holds four dialogues.
TRL runs with its defaults (bf16, activation checkpointing), ours as params.yaml says. Told are supervised tokens a
second, the ratio of times step by step, both losses, and each process' peak memory. results.md holds a run.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RATE, RANK, ALPHA, DIALOGUES = 4e-4, 8, 16.0, 4


def prepare(n_steps: int) -> tuple[Any, Any, Any]:
    """(params for this measurement, tokenizer, the stream of steps)."""
    import warnings

    from attunement.models import BASE, load_tokenizer, silence
    from attunement.params import load
    from attunement.training_data import TrainingData

    warnings.simplefilter("ignore")
    silence()
    params = load()
    assert params.train.lora is not None  # noqa: S101
    lora = params.train.lora.model_copy(update={"r": RANK, "alpha": ALPHA})
    train = params.train.model_copy(update={
        "lora": lora, "learning_rate": RATE, "schedule": "linear", "warmup_frac": 0.0, "precision": "bf16",
        "step_dialogues": DIALOGUES, "batch_dialogues": DIALOGUES, "epochs": 2})
    params = params.model_copy(update={"train": train})
    tokenizer = load_tokenizer(BASE)
    stream, _ = TrainingData.read(params, tokenizer).streams(params)
    stream.plan = stream.plan[:n_steps]
    return params, tokenizer, stream


def begin_alike(model: Any, seed: int) -> Any:
    """Give the adapter the same first weights in both processes (B is zero in both)."""
    import math

    import torch

    torch.manual_seed(seed)
    for name, weight in sorted(model.named_parameters()):
        if "lora_A" in name:
            torch.nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return model


def wait() -> float:
    """Wait for the word to take a step; the time then."""
    sys.stdin.readline()
    return time.perf_counter()


def tell(started: float, loss: float) -> None:
    print(json.dumps({"s": time.perf_counter() - started, "loss": loss,
                      "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}), flush=True)


def ours(n_steps: int) -> None:
    """The pipeline's own tuner under Lightning, without its checkpoints."""
    import lightning

    from attunement.trainable import trainable_model
    from attunement.tuner import SupportTuner

    params, _, stream = prepare(n_steps)
    lightning.seed_everything(params.seed, verbose=False)

    class Turns(lightning.Callback):
        def on_train_batch_start(self, *args: Any) -> None:
            self.started = wait()

        def on_train_batch_end(self, trainer: Any, tuner: Any, *args: Any) -> None:
            tell(self.started, tuner._steps[-1].loss)

    trainer = lightning.Trainer(accelerator="cpu", devices=1, precision="bf16-mixed", max_epochs=1, logger=False,
                                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                                callbacks=[Turns()])
    model = begin_alike(trainable_model(params, "bf16"), params.seed)
    trainer.fit(SupportTuner(model, params.train, n_steps=n_steps), stream)


def trl(n_steps: int) -> None:
    """SFTTrainer on the same token ids and labels."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    params, tokenizer, stream = prepare(n_steps)
    rows = [stream.examples[i].encoded for step in stream.plan for i in step]
    data = Dataset.from_list([{"input_ids": list(e.input_ids), "labels": list(e.targets)} for e in rows])
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(), use_cpu=True, per_device_train_batch_size=DIALOGUES, max_steps=n_steps,
        learning_rate=RATE, report_to=[], save_strategy="no", disable_tqdm=True, seed=params.seed, logging_steps=1000,
        dataset_kwargs={"skip_prepare_dataset": True},
    )

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            # the optimiser's step, a few milliseconds, falls outside: to TRL's favour
            started = wait()
            loss = super().training_step(*args, **kwargs)
            tell(started, loss.item())
            return loss

    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = InOrder(model="models/base", args=config, train_dataset=data, processing_class=tokenizer,
                      peft_config=lora)
    begin_alike(trainer.model, params.seed)
    trainer.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--as", dest="which", choices=["ours", "trl"])
    asked = parser.parse_args()
    if asked.which:
        {"ours": ours, "trl": trl}[asked.which](asked.steps)
        return
    _, _, stream = prepare(asked.steps)
    targets = [stream.step(k).n_targets for k in range(asked.steps)]
    told: dict[str, list[dict[str, float]]] = {"ours": [], "trl": []}
    processes = {name: subprocess.Popen([sys.executable, str(Path(__file__)), "--as", name, "--steps",
                                         str(asked.steps)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True) for name in told}
    for k in range(asked.steps):
        for name in ("ours", "trl") if k % 2 else ("trl", "ours"):
            process = processes[name]
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018
            process.stdin.write("go\n")
            process.stdin.flush()
            told[name].append(next(json.loads(line) for line in process.stdout if line.startswith('{"s"')))
        a, b = told["ours"][-1], told["trl"][-1]
        print(f"step {k + 1:2}  {targets[k]:4} tokens   ours {a['s']:5.2f} s  loss {a['loss']:.4f}   "
              f"trl {b['s']:5.2f} s  loss {b['loss']:.4f}   {b['s'] / a['s']:.2f} times", flush=True)
    ratios = [b["s"] / a["s"] for a, b in zip(told["ours"][1:], told["trl"][1:], strict=True)]  # the first warms up
    apart = [abs(a["loss"] - b["loss"]) for a, b in zip(told["ours"], told["trl"], strict=True)]
    for name, found in told.items():
        speeds = [n / one["s"] for n, one in zip(targets[1:], found[1:], strict=True)]
        print(f"{name}: median {statistics.median(speeds):.0f} supervised tokens/s, peak {found[-1]['peak_gb']:.2f} GB")
    print(f"times as fast, step by step: median {statistics.median(ratios):.2f}, "
          f"{min(ratios):.2f} to {max(ratios):.2f} (n = {len(ratios)}); losses apart at every fifth step: "
          f"{', '.join(f'{one:.4f}' for one in apart[4::5])}, at most {max(apart):.4f}")


if __name__ == "__main__":
    main()
