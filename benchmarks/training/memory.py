"""Measure the peak memory of real training steps, a process for each setting, beside what `attune plan` expects.

    OMP_NUM_THREADS=2 .venv/bin/python benchmarks/training/memory.py

Needs models/base and out/curate (dvc repro curate). A process takes the steps with the largest packs, then answers as
the probe does and judges with its scorers; its peak is ``ru_maxrss``. Prints the table of memory.md.
"""

import json
import resource
import subprocess
import sys
from typing import Any

from attunement.params import Params, load
from attunement.plan import make_plan

STEPS = 2  # the second is the first with an optimiser's state beside its activations
NEW_TOKENS = 4  # of each answer: reading the prompts is what takes memory
LORA_8 = {"lora": {"r": 8}}
SETTINGS: dict[str, dict[str, Any]] = {
    "LoRA r 16, bf16, 1 dialogue": {"precision": "bf16", "batch_dialogues": 1, "step_dialogues": 2},
    "all weights, fp32, 1 dialogue": {"precision": "fp32", "lora": None, "batch_dialogues": 1, "step_dialogues": 2},
    "LoRA r 8, fp32, 1 dialogue": {"precision": "fp32", "batch_dialogues": 1, "step_dialogues": 1, **LORA_8},
    "LoRA r 16, bf16, 4, recomputed": {"precision": "bf16", "recompute_activations": True},
    "all weights, bf16, 1 dialogue": {"precision": "bf16", "lora": None, "batch_dialogues": 1, "step_dialogues": 1},
    "LoRA r 8, bf16, 4 dialogues": {"precision": "bf16", **LORA_8},
}


def main() -> None:
    """Without an argument: every setting in a process of its own. With one: that setting, here."""
    if len(sys.argv) > 1:
        return measure(json.loads(sys.argv[1]))
    print("| setting | after the steps, GB | after the answers, GB | planned GB | planned / measured |")
    print("|---|---|---|---|---|")
    for name, changes in SETTINGS.items():
        done = subprocess.run([sys.executable, __file__, json.dumps(changes)], capture_output=True, text=True,
                              check=False)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1][:100]} | | | |", flush=True)
            continue
        of_steps, measured = (float(word) for word in done.stdout.split())
        planned = make_plan(changed(load(), changes)).peak_bytes / 1e9
        print(f"| {name} | {of_steps:.2f} | {measured:.2f} | {planned:.2f} | {planned / measured:.2f} |", flush=True)
    return None


def changed(params: Params, changes: dict[str, Any]) -> Params:
    """The parameters with some of ``train`` set; a map is merged."""
    tree = params.model_dump(mode="json")
    for key, value in changes.items():
        tree["train"][key] = tree["train"][key] | value if isinstance(value, dict) else value
    return Params.model_validate_json(json.dumps(tree))


def measure(changes: dict[str, Any]) -> None:
    """Print the peak GB of this process after the steps, and after the answers."""
    params = changed(load(), changes)
    of_steps = run(params)
    print(of_steps, peak_gb())


def peak_gb() -> float:
    """The most that this process has held, in GB (10⁹ bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run(params: Params) -> float:
    """The steps with the largest packs, through Lightning as in training, then a batch of the probe."""
    import lightning
    import torch

    from attunement import chat
    from attunement.models import BASE, load_tokenizer, resolved_precision, silence, torch_dtype
    from attunement.probe import probe, serving
    from attunement.stream import Steps
    from attunement.suites import read_suite
    from attunement.trainable import check_loss, trainable_model
    from attunement.training_data import TrainingData
    from attunement.tuner import SupportTuner

    silence()
    precision = resolved_precision(params.train.precision)
    tokenizer = load_tokenizer(BASE)
    stream, _ = TrainingData.read(params, tokenizer).streams(params)
    model = trainable_model(params, precision)
    check_loss(model, stream, precision)
    largest = sorted(range(len(stream)), key=lambda k: -max(sum(pack.documents) for pack in stream.step(k).packs))
    steps = Steps(stream.examples, [stream.plan[k] for k in largest[:STEPS]], stream.share)
    tuner = SupportTuner(model, params.train, n_steps=STEPS)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, precision="32-true" if precision == "fp32" else "bf16-mixed", max_epochs=1,
        max_steps=STEPS, num_sanity_val_steps=0, limit_val_batches=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(tuner, steps)
    of_steps = peak_gb()
    prompts = read_suite(params.train.probe.suite, amount=params.respond.batch_size)
    encoded = [chat.encode_prompt(tokenizer, prompt.context, system_prompt=params.chat.system_prompt,
                                  max_tokens=params.chat.max_context_tokens) for prompt in prompts]
    with serving(tuner.model, torch_dtype(precision)), torch.no_grad():
        replies = chat.generate(tuner.model, tokenizer, encoded, max_new_tokens=NEW_TOKENS,
                                batch_size=params.respond.batch_size, seed=params.seed)
    probe(STEPS, prompts, [reply.text for reply in replies], params.train.probe.scorers)
    return of_steps


if __name__ == "__main__":
    main()
