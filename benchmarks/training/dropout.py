"""What LoRA's dropout costs in a training step: tokens a second with and without, interleaved in one process.

Run from the project's root after `make repro`: .venv/bin/python benchmarks/training/dropout.py
It trains on the curated dialogues with the settings of params.yaml; only dropout differs. results.md holds a run.
"""

import statistics
import time
import warnings

import torch

from attunement.models import BASE, load_base, load_tokenizer, resolved_precision, silence
from attunement.params import load
from attunement.train import add_lora, make_streams
from attunement.tuner import supervised_loss

RATES = (0.0, 0.05)
ROUNDS = 5


def main() -> None:
    warnings.simplefilter("ignore")
    silence()
    params = load()
    precision = resolved_precision(params.train.precision)
    stream, _ = make_streams(params, load_tokenizer(BASE))
    models = {}
    for rate in RATES:
        lora = params.train.lora.model_copy(update={"dropout": rate})
        changed = params.model_copy(update={"train": params.train.model_copy(update={"lora": lora})})
        models[rate] = add_lora(load_base(BASE, precision), changed)
    speeds: dict[float, list[float]] = {rate: [] for rate in RATES}
    for k in range(ROUNDS + 1):
        batch = stream.batch(k)
        for rate, model in models.items():
            started = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                total, n = supervised_loss(model, batch)
            (total / n).backward()
            speeds[rate].append(batch.attention_mask.sum().item() / (time.perf_counter() - started))
    for rate in RATES:
        told = [f"{speed:.0f}" for speed in speeds[rate][1:]]  # the first step warms up
        print(f"dropout {rate}: median {statistics.median(speeds[rate][1:]):.0f} tokens/s ({', '.join(told)})")
    ratios = [a / b for a, b in zip(speeds[0.0][1:], speeds[0.05][1:], strict=True)]
    print(f"without / with, batch by batch: median {statistics.median(ratios):.2f}, "
          f"{min(ratios):.2f} to {max(ratios):.2f} (n = {ROUNDS}, {precision}, {torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()
