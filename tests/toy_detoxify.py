"""A real checkpoint in Detoxify's format, small enough to build in a test.

Seeded random weights and a WordPiece tokenizer: it knows nothing of toxicity, and has everything that loading and
scoring can get wrong.
"""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

POSITIONS = 512
ORIGINAL = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
WORDS = ("you", "are", "an", "idiot", "thank", "for", "telling", "me", "that", "sounds", "hard", "i", "hear", "how")


def build(
    folder: Path,
    *,
    classes: Sequence[str] = ORIGINAL,
    n_outputs: int = 6,
    hidden: int = 16,
    layers: int = 2,
    spread: float = 0.3,
) -> Path:
    """Write an encoder and ``checkpoint.ckpt``, which names a model of the hub as Detoxify's releases do.

    ``spread`` is the standard deviation of the weights: wide enough that texts differ clearly in their scores, not so
    wide that rounding does too.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _write_tokenizer(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=POSITIONS,
        num_labels=n_outputs,
        initializer_range=spread,
    )
    config.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        state = BertForSequenceClassification(config).state_dict()
    arguments = {
        "num_classes": n_outputs,
        "model_type": "bert-base-uncased",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
    }
    described = {"arch": {"type": "BERT", "args": arguments}, "dataset": {"args": {"classes": list(classes)}}}
    torch.save({"config": described, "state_dict": state}, folder / "checkpoint.ckpt")
    return folder


def change(folder: Path, **parts: Any) -> Path:
    """Save the checkpoint in ``folder`` again with ``config`` or ``state_dict`` replaced."""
    import torch

    path = folder / "checkpoint.ckpt"
    torch.save(torch.load(path, weights_only=True) | parts, path)
    return path


def _write_tokenizer(folder: Path) -> list[str]:
    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase), *string.punctuation]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *dict.fromkeys([*WORDS, *letters])]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(f'{{"do_lower_case": true, "model_max_length": {POSITIONS}}}\n')
    return vocabulary
