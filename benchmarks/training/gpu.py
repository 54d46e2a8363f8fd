"""Training steps of a 3B architecture on a GPU: random weights, fixed packs, LoRA; beside TRL with --peer.

Run from the project's root on a machine with a GPU:
    python benchmarks/training/gpu.py                                 # 3B, packs of 4,096 tokens, bf16, LoRA r 16
    python benchmarks/training/gpu.py --attention sdpa                # the same with a mask, not varlen kernels
    PYTHONPATH=/tmp/trl python benchmarks/training/gpu.py --peer trl  # TRL's SFTTrainer; --peer liger: its kernels
    python benchmarks/training/gpu.py --tiny                          # a toy, to see that the script runs
Told are tokens a second (median of steps after three), peak GPU memory and MFU: the share of the card's dense bf16
peak (--peak-tflops) that 4 FLOP a frozen weight and token and 6 a trained one amount to, without attention's.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from typing import Any

import torch

TOKENS, DIALOGUE_TOKENS = 4096, 400


def build(*, tiny: bool) -> Any:
    """A Llama of 3.2B weights (Llama-3.2-3B's shape) or of a few thousand, random, on the device."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512} if tiny else {
        "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "num_key_value_heads": 8, "vocab_size": 128_256}
    config = LlamaConfig(**shape, max_position_embeddings=8192, tie_word_embeddings=True, dtype="bfloat16")
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def rows(n_steps: int, vocabulary: int, *, tokens: int) -> list[list[Any]]:
    """For each step dialogues of about 400 tokens that fill a pack; the latter half of each is learnt from."""
    from attunement.chat import IGNORED, Encoded
    from attunement.stream import Example

    chance, found = random.Random(1), []
    for k in range(n_steps):
        left, step = tokens, []
        while left:
            n = min(left, chance.randint(DIALOGUE_TOKENS // 2, DIALOGUE_TOKENS * 3 // 2))
            ids = tuple(chance.randrange(vocabulary) for _ in range(n))
            targets = (*[IGNORED] * (n // 2), *ids[n // 2 :])
            step.append(Example(f"{k}-{len(step)}", Encoded(input_ids=ids, targets=targets, n_cut_turns=0)))
            left -= n
        found.append(step)
    return found


def ours(model: Any, steps: list[list[Any]], *, attention: str) -> list[float]:
    """Seconds of each step: forward, backward, clipping, AdamW."""
    from peft import LoraConfig, get_peft_model

    from attunement.fused import DOCUMENTS, fuse_lora, register_documents_attention
    from attunement.stream import pack_of
    from attunement.tuner import supervised_loss

    if attention == DOCUMENTS:
        register_documents_attention()
    model.set_attn_implementation(attention)
    tuned = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")).train()
    fuse_lora(tuned)
    trainable = [p for p in tuned.parameters() if p.requires_grad]
    optimizer, spent = torch.optim.AdamW(trainable, lr=1e-4), []
    for step in steps:
        started = now()
        loss, n = supervised_loss(tuned, pack_of(step).to(model.device))
        (loss / n).backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        spent.append(now() - started)
    return spent


def peer(model: Any, steps: list[list[Any]], *, liger: bool, tokens: int) -> list[float]:
    """SFTTrainer with packing by itself (bfd, flash attention where installed), its other settings by default."""
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list([{"input_ids": list(e.encoded.input_ids), "labels": list(e.encoded.targets)}
                              for step in steps for e in step])
    config = SFTConfig(output_dir=tempfile.mkdtemp(), max_length=tokens, packing=True, use_liger_kernel=liger,
                       per_device_train_batch_size=1, max_steps=len(steps), report_to=[], save_strategy="no",
                       disable_tqdm=True, use_cpu=not torch.cuda.is_available())
    spent: list[float] = []

    class Timed(SFTTrainer):  # type: ignore[misc]
        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            started = now()
            loss = super().training_step(*args, **kwargs)
            spent.append(now() - started)
            return loss

    specials = dict.fromkeys(("unk_token", "eos_token", "pad_token"), "?")
    one_word = Tokenizer(WordLevel({"?": 0}, unk_token=specials["unk_token"]))
    words = PreTrainedTokenizerFast(tokenizer_object=one_word, **specials)  # the rows are tokens already
    Timed(model=model, args=config, train_dataset=data, processing_class=words,
          peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")).train()
    return spent


def now() -> float:
    """The time when all that was asked of the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--attention", choices=["documents", "sdpa"], default="documents")
    parser.add_argument("--peer", choices=["trl", "liger"])
    parser.add_argument("--peak-tflops", type=float, default=989.0, help="dense bf16; 989 for H100 and H200")
    parser.add_argument("--tiny", action="store_true")
    asked = parser.parse_args()
    tokens = 256 if asked.tiny else TOKENS
    model = build(tiny=asked.tiny)
    weights = sum(p.numel() for p in model.parameters())
    steps = rows(asked.steps, model.config.vocab_size, tokens=tokens)
    spent = (peer(model, steps, liger=asked.peer == "liger", tokens=tokens) if asked.peer else
             ours(model, steps, attention=asked.attention))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    per_token = 4 * weights + 6 * trained
    speed = tokens / statistics.median(spent[3:])
    memory = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    print(json.dumps({
        "what": asked.peer or f"ours, {asked.attention}", "weights": weights, "tokens_per_s": round(speed),
        "peak_gb": memory and round(memory, 1), "mfu": round(per_token * speed / (asked.peak_tflops * 1e12), 3),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu", "n": len(spent) - 3,
    }))


if __name__ == "__main__":
    main()
