"""What texts mean, as vectors: sentence embeddings by MiniLM, and which of them lie near each other.

In: texts. Out: vectors of length 1, whose product is the cosine of two texts. The encoder is all-MiniLM-L6-v2 in
models/encoder, the mean over its last layer, cut at 256 tokens, as it was trained (Reimers and Gurevych 2019; Wang et
al. 2020). A vector hangs on its text and the encoder alone, and is kept in the score cache: a re-run embeds nothing.

Neighbours are found exactly, block by block: n × m texts cost n · m · 768 multiplications and additions in double
precision, so that all pairs of 25,000 dialogues (half of 0.5 TFLOP) take tens of seconds on a CPU.
"""

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attunement.artefacts import sha256_of
from attunement.classifier import ENCODER, PAD_TOKENS, alike
from attunement.errors import ModelError
from attunement.models import silence
from attunement.records import Turn
from attunement.score_cache import chunked
from attunement.steps.asking import Work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST_WORDS = 20  # of what is compared: two short openings are alike for their topic (benchmarks/curation/results.md)
MAX_TOKENS = 256  # sentence_bert_config.json of its makers: what stands behind is not read
WIDTH = 384
BATCH_SIZE = 32
TEXTS_AT_ONCE = 1024  # to a worker, and then to the disk
ROWS_AT_ONCE = 512  # of a block of cosines: 512 × 25,000 in double precision are 100 MB
DIGITS = 4  # of a cosine that is decided by: its last bits hang on how a block was cut
KEPT_AS = np.dtype("<f2")  # rounded on the way into the cache, so that a vector is the same made or known
VERSION = "mean-256-f2"

Vectors = NDArray[np.float32]


class Near(NamedTuple):
    """Two texts by their places, and how alike they are: here a cosine."""

    one: int
    other: int
    likeness: float


def embedded(texts: Sequence[str], work: Work, *, encoder: Path = ENCODER) -> Vectors:
    """Vectors of length 1, (text, 384); zeros for a text in which the tokenizer knows nothing, which is like no other.

    Raises ModelError when the encoder is missing.
    """
    began = time.perf_counter()
    version = _version(encoder)
    keys = [hashlib.sha256(f"{version}\x1f{text}".encode()).digest() for text in texts]
    known = work.cache.known_vectors(keys)
    fresh = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
    chunks = chunked(sorted(fresh, key=lambda key: (len(fresh[key]), key)), TEXTS_AT_ONCE)
    done = 0
    for chunk, made in zip(chunks, work.runner.map(partial(_made, encoder), ([fresh[key] for key in chunk]
                                                                              for chunk in chunks)), strict=True):
        part = dict(zip(chunk, (row.tobytes() for row in made), strict=True))
        work.cache.add_vectors(part)
        known |= part
        done += len(chunk)
        print(f"curate: embedded {done} of {len(fresh)} texts", file=sys.stderr, flush=True)
    work.add("embeddings", time.perf_counter() - began, len(fresh), len(texts) - len(fresh))
    rows = np.frombuffer(b"".join(known[key] for key in keys), KEPT_AS)
    return rows.reshape(len(texts), -1 if texts else WIDTH).astype(np.float32)


def told(turns: Sequence[Turn]) -> list[str]:
    """What of a dialogue is compared with others: all that the user says, and the opening; each if it is long enough.

    What is replied is left out: good replies to different people are alike.
    """
    said = [turn.text for turn in turns if turn.role == "user"]
    texts = dict.fromkeys(("\n".join(said), *said[:1]))
    return [text for text in texts if len(text.split()) >= LEAST_WORDS]


def nearest(rows: Vectors, others: Vectors) -> list[Near]:
    """For each row the nearest of the others, the first of equals; nothing where there are no others."""
    found: list[Near] = []
    for start, cosines in _blocks(rows, others) if len(others) else ():
        best = cosines.argmax(axis=1)
        found += [Near(start + at, place, float(cosines[at, place])) for at, place in enumerate(best.tolist())]
    return found


def pairs(vectors: Vectors, least: float) -> Iterator[Near]:
    """All pairs among the vectors whose cosine is at least that, the earlier place first, in order."""
    for start, cosines in _blocks(vectors, vectors, above=True):
        at, place = np.nonzero(cosines >= least)
        beyond = place > at  # the block begins at its own column
        for one, other in zip(at[beyond].tolist(), place[beyond].tolist(), strict=True):
            yield Near(start + one, start + other, float(cosines[one, other]))


def _blocks(rows: Vectors, others: Vectors, *, above: bool = False) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """(first row, cosines of some rows to others); ``above``: to those alone that do not stand before the first row."""
    wide = others.astype(np.float64)
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE].astype(np.float64)
        yield start, np.round(some @ wide[start if above else 0 :].T, DIGITS)


def _made(encoder: Path, texts: Sequence[str]) -> list[NDArray[Any]]:
    """The vectors of texts, as they are kept. Texts are batched with those of their length, as windows are."""
    import torch

    from attunement.mean_pooled import mean_of

    tokenizer, model = _loaded(encoder)
    tokens = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
    windows = [{"input_ids": ids} for ids in tokens]
    lengths = [len(one["input_ids"]) for one in windows]
    empty = set(tokenizer.all_special_ids)
    found = [np.zeros(model.config.hidden_size, KEPT_AS) for _ in texts]
    said = [number for number, one in enumerate(windows) if set(one["input_ids"]) - empty]
    # As classifiers batch, by the function that they do it with: its module's bytes are in the version of every scorer
    # that the shipped cards measured, so it keeps its name. None stands alone in a batch.
    for chosen in alike(sorted(said, key=lambda number: -lengths[number]), lengths, BATCH_SIZE):
        rows = [windows[number] for number in (chosen if len(chosen) > 1 else chosen * 2)]
        batch = tokenizer.pad(rows, return_tensors="pt", pad_to_multiple_of=PAD_TOKENS)
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
            made = torch.nn.functional.normalize(mean_of(hidden, batch["attention_mask"]).double())
        for number, row in zip(chosen, made.numpy(), strict=False):
            found[number] = row.astype(KEPT_AS)
    return found


@cache
def _version(encoder: Path) -> str:
    """What a vector hangs on beside its text; raises ModelError for an encoder that is not there."""
    if not (encoder / "model.safetensors").is_file():
        raise ModelError(f"comparing by meaning needs {encoder}/model.safetensors, and no file is there. Run "
                         "`dvc repro fetch`, which brings the encoder.")
    return "\x1f".join((VERSION, *(sha256_of(path) for path in sorted(encoder.iterdir()) if path.suffix != ".md")))


@cache
def _loaded(encoder: Path) -> "tuple[PreTrainedTokenizerBase, Any]":
    """Tokenizer and encoder, once a process."""
    from transformers import AutoTokenizer, BertModel

    silence()
    model = BertModel.from_pretrained(encoder, local_files_only=True, add_pooling_layer=False)
    return AutoTokenizer.from_pretrained(encoder, local_files_only=True), model.float().eval()
