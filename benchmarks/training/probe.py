"""The probe beside what one would write first: a prompt at a time through `generate`, a reply at a time to Detoxify.

Run from the project's root after `make repro`: .venv/bin/python benchmarks/training/probe.py --prompts 64 --plain 12
Both answer with the same model, an untrained adapter on the base, greedy, at most respond.max_new_tokens tokens; the
same embedded Detoxify checkpoint judges. The plain way answers an even sample of the prompts. Told are replies and
generated tokens a second and how alike the replies are; results.md holds a run.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from attunement import chat
from attunement.models import BASE, load_base, load_tokenizer, resolved_precision, silence
from attunement.params import load
from attunement.probe import probe
from attunement.suites import read_suite
from attunement.trainable import add_lora


def detoxify() -> Any:
    """Detoxify itself, on the embedded checkpoint; it wants the encoder's folder written in it."""
    from detoxify import Detoxify

    folder = Path("models/detoxify-embedded").absolute()
    loaded = torch.load(folder / "checkpoint.ckpt", weights_only=True)
    loaded["config"]["arch"]["args"]["model_type"] = str(folder)
    with tempfile.TemporaryDirectory() as scratch:
        torch.save(loaded, Path(scratch) / "peer.ckpt")
        return Detoxify(checkpoint=str(Path(scratch) / "peer.ckpt"))


def plain_model(lora: Any, precision: str) -> Any:
    """The base with PEFT's own adapter on it, as one would write it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=dtype, local_files_only=True)
    return get_peft_model(base, LoraConfig(r=lora.r, lora_alpha=lora.alpha, target_modules=lora.target_modules))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--plain", type=int, default=12)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--engine", choices=["batches", "continuous"], default="batches")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    silence()
    params = load()
    assert params.train.lora is not None  # noqa: S101
    tokenizer, precision = load_tokenizer(BASE), resolved_precision(params.train.precision)
    model = add_lora(load_base(BASE, precision, attention=params.train.attention), params.train.lora)
    prompts = read_suite(params.train.probe.suite, amount=asked.prompts)
    encoded = [chat.encode_prompt(tokenizer, p.context, system_prompt=params.chat.system_prompt,
                                  max_tokens=params.chat.max_context_tokens) for p in prompts]
    most, batch = params.respond.max_new_tokens, asked.batch or params.respond.batch_size
    probe(0, prompts[:2], ["Hello."] * 2, params.train.probe.scorers)  # loads the scorers

    started = time.perf_counter()
    replies = chat.generate(model, tokenizer, encoded, max_new_tokens=most, batch_size=batch, engine=asked.engine,
                            seed=1)
    generated_s = time.perf_counter() - started
    probe(1, prompts, [reply.text for reply in replies], params.train.probe.scorers)
    ours_s = time.perf_counter() - started

    del model
    model, detector = plain_model(params.train.lora, precision), detoxify()
    every = max(1, len(prompts) // asked.plain)
    chosen = list(range(0, len(prompts), every))[: asked.plain]
    model.eval()
    started, plain, plain_tokens = time.perf_counter(), [], 0
    for i in chosen:
        ids = torch.tensor([encoded[i]])
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=most,
                                 do_sample=False, pad_token_id=tokenizer.pad_token_id,
                                 eos_token_id=list(chat.end_of_turn_ids(tokenizer)))
        words = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        plain_tokens += out.shape[1] - ids.shape[1]
        detector.predict([words])
        plain.append(words)
    plain_s = time.perf_counter() - started

    same = sum(replies[i].text == words for i, words in zip(chosen, plain, strict=True))
    tokens = sum(reply.n_tokens for reply in replies)
    print(f"ours: {len(prompts)} replies in {ours_s:.1f} s ({generated_s:.1f} s of it generating), "
          f"{len(prompts) / ours_s:.2f} replies/s, {tokens / ours_s:.0f} tokens/s, batches of {batch}")
    print(f"plain: {len(chosen)} replies in {plain_s:.1f} s, {len(chosen) / plain_s:.2f} replies/s, "
          f"{plain_tokens / plain_s:.0f} tokens/s; {same} of {len(chosen)} replies the same, word for word")
    print(f"ours answers {len(prompts) / ours_s / (len(chosen) / plain_s):.1f} times as many replies a second, "
          f"{tokens / ours_s / (plain_tokens / plain_s):.1f} times as many tokens ({precision})")


if __name__ == "__main__":
    main()
