"""Encoders with yes/no heads over texts, or over what was said and what was replied: what several scorers stand on.

In: token ids of texts, cut into overlapping windows where they are long. Out: a probability for each head and window.
`load_adapted` makes one from MiniLM (models/encoder, which the fetch stage brings) and an adapter of a few megabytes
that lies in ``data/classifiers``; `attunement.tune_classifier` made those, and ``made_of.json`` beside each tells of
what.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import compress, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from attunement.artefacts import first_fault, sha256_of
from attunement.errors import ModelError
from attunement.models import device_name, resolved_precision, silence

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ENCODER = Path("models/encoder")
FOLDER = Path(__file__).resolve().parents[2] / "data" / "classifiers"
ADAPTER = "adapter.safetensors"
MADE_OF = "made_of.json"

# Detoxify's encoders hold 512 positions. Half a window of overlap shows every passage of up to 256 tokens whole.
WINDOW_TOKENS = 512
STRIDE_TOKENS = 256
MAX_SAID_TOKENS = 64  # of the context beside a reply: its end, where the question stands
REMEMBERED = 20_000  # answers of one classifier that are kept: several scorers ask about the same replies
PREFIX = "base_model.model."
# A window's answer must not hang on what it is batched with. Among windows that are padded to the same multiple of
# this, and in no batch of one, a row is computed alike whatever stands beside it (a test holds them so).
PAD_TOKENS = 16

Window = dict[str, list[int]]


class MadeOf(BaseModel):
    """``made_of.json``: what an adapter answers, and from what it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    about: str
    heads: list[str]
    pooling: Literal["mean", "first"]
    encoder_sha256: str
    scaling: float
    max_tokens: int
    examples: dict[str, int]
    licences: dict[str, str]
    seed: int
    runs: int = 1
    epochs: int
    learning_rate: float
    r: int
    batch_size: int


@dataclass(frozen=True)
class Classifier:
    """A loaded model: encoder with heads, tokenizer, and the names of the heads that count."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    heads: tuple[str, ...]
    encoder: Path
    _known: dict[tuple[int, ...], list[float]] = field(default_factory=dict)

    def windows(self, texts: Sequence[str]) -> list[list[Window]]:
        """Token ids of each text as overlapping windows; none for a text in which the tokenizer knows nothing.

        Unknown tokens alone (emoji, another script) would score as an empty text does: low, and about nothing.
        """
        found: list[list[Window]] = [[] for _ in texts]
        if not texts:
            return found
        size = self._window_tokens()
        encoded = self.tokenizer(list(texts), truncation=True, max_length=size, stride=min(STRIDE_TOKENS, size // 2),
                                 return_overflowing_tokens=True)
        for text, ids in zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True):
            found[text].append({"input_ids": ids})
        empty = set(self.tokenizer.all_special_ids)
        return [windows if any(set(one["input_ids"]) - empty for one in windows) else [] for windows in found]

    def pair_windows(self, pairs: Sequence[tuple[str, str]]) -> list[list[Window]]:
        """As `windows`, for what was said and what was replied: the end of the first, windows of the second."""
        empty = set(self.tokenizer.all_special_ids)
        found = [pair_ids(self.tokenizer, said, reply, max_tokens=self._window_tokens()) for said, reply in pairs]
        # The reply's own tokens alone: what was said before it is no answer to what is asked of it.
        return [[one for one in windows if set(compress(one["input_ids"], one["token_type_ids"])) - empty]
                for windows in found]

    def probabilities(self, windows: Sequence[Window], *, batch_size: int) -> list[list[float]]:
        """Sigmoids of the heads that count, (window, head), in the order given.

        Windows are batched by length, so that short ones are not padded to the longest of all; a window that was asked
        about before is answered from memory.
        """
        keys = [(*one["input_ids"], -1, *one.get("token_type_ids", ())) for one in windows]
        fresh = {key: number for number, key in enumerate(keys) if key not in self._known}
        order = sorted(fresh.values(), key=lambda number: len(keys[number]), reverse=True)
        if len(self._known) + len(order) > REMEMBERED:
            self._known.clear()
            order = sorted({key: number for number, key in enumerate(keys)}.values(), key=lambda n: -len(keys[n]))
        answered = {key: self._known[key] for key in keys if key in self._known}
        for chosen in alike(order, [len(one["input_ids"]) for one in windows], batch_size):
            answered |= zip((keys[number] for number in chosen), self._batch([windows[n] for n in chosen]), strict=True)
        self._known.update(list(answered.items())[:REMEMBERED])
        return [answered[key] for key in keys]

    def _batch(self, windows: Sequence[Window]) -> list[list[float]]:
        import torch

        rows = list(windows) if len(windows) > 1 else [*windows, *windows]
        batch = self.tokenizer.pad(rows, return_tensors="pt", pad_to_multiple_of=PAD_TOKENS).to(self.model.device)
        with torch.inference_mode():
            logits = self.model(**batch).logits[: len(windows)]
        # Detoxify's `unbiased` has 16 outputs, of which the last nine tell who is spoken of: not toxicity.
        found: list[list[float]] = torch.sigmoid(logits.float())[:, : len(self.heads)].tolist()
        return found

    def _window_tokens(self) -> int:
        """The longest input that tokenizer and encoder take, special tokens included."""
        config = self.model.config
        # RoBERTa counts positions from behind its padding token.
        behind = config.pad_token_id + 1 if config.model_type in ("roberta", "xlm-roberta") else 0
        positions: int = config.max_position_embeddings - behind
        accepted: int = self.tokenizer.model_max_length
        return min(WINDOW_TOKENS, accepted, positions)


def alike(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Batches of windows, by number, that are padded to the same length."""
    for _, some in groupby(order, key=lambda number: -(-lengths[number] // PAD_TOKENS)):
        found = list(some)
        yield from (found[start : start + batch_size] for start in range(0, len(found), batch_size))


def pair_ids(
    tokenizer: "PreTrainedTokenizerBase", first: str, second: str | None, *, max_tokens: int
) -> list[Window]:
    """Windows of BERT's input for one text, or for two: token ids and the segment of each.

    Of two, the first keeps its last 64 tokens and stands in every window of the second.
    """
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    ids = tokenizer([first, second or ""], add_special_tokens=False, verbose=False)["input_ids"]
    if second is None:
        head, body, segment = [cls], ids[0], 0
    else:
        head, body, segment = [cls, *ids[0][-MAX_SAID_TOKENS:], sep], ids[1], 1
    room = max_tokens - len(head) - 1
    starts = range(0, max(1, len(body) - room // 2), room // 2) if len(body) > room else range(1)
    return [
        {"input_ids": [*head, *(part := body[start : start + room]), sep],
         "token_type_ids": [0] * len(head) + [segment] * (len(part) + 1)}
        for start in starts
    ]


def adapter_files(name: str, folder: Path = FOLDER) -> tuple[Path, ...]:
    """The files on which an adapted classifier's answers depend: what was shipped, not what was made from it."""
    return (folder / name / ADAPTER, folder / name / MADE_OF)


@cache
def load_adapted(name: str, *, folder: Path = FOLDER, encoder: Path = ENCODER) -> Classifier:
    """MiniLM with the adapter and heads of ``data/classifiers/NAME``; raises ModelError when either is missing."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    from attunement.half import halve
    from attunement.mean_pooled import MeanPooled

    silence()
    made, state = adapted_state(name, folder=folder, encoder=encoder)
    config = BertConfig.from_pretrained(encoder, num_labels=len(made.heads))
    model = (MeanPooled if made.pooling == "mean" else BertForSequenceClassification)(config)
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError:
        raise ModelError(f"the tensors of the classifier '{name}' and of {encoder} are not those of one model. Restore "
                         f"{folder / name} with git, and run `dvc repro fetch`.") from None
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    if resolved_precision("auto") == "bf16":
        halve(model.bert.encoder)
    model = model.to(device_name()).eval()
    return Classifier(model=model, tokenizer=tokenizer, heads=tuple(made.heads), encoder=encoder)


def adapted_state(
    name: str, *, folder: Path = FOLDER, encoder: Path = ENCODER
) -> "tuple[MadeOf, dict[str, torch.Tensor]]":
    """The encoder's tensors with LoRA's products added, pooler and head replaced, by the names of the whole model.

    Raises ModelError when a file is missing, is about another encoder, or lacks or adds a tensor.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    adapter, described = adapter_files(name, folder)
    for path, mend in ((adapter, "It is a part of the repository: restore it with git."),
                       (described, "It is a part of the repository: restore it with git."),
                       (encoder / "model.safetensors", "Run `dvc repro fetch`, which brings the encoder.")):
        if not path.is_file():
            raise ModelError(f"the classifier '{name}' needs {path}, and no file is there. {mend}")
    made = read_made_of(described)
    if sha256_of(encoder / "model.safetensors") != made.encoder_sha256:
        raise ModelError(f"{encoder}/model.safetensors is not the encoder on which {adapter} was made "
                         f"({made.encoder_sha256[:12]}…). Run `dvc repro fetch`.")
    state = {f"bert.{key}": value.float() for key, value in load_file(encoder / "model.safetensors").items()
             if not key.endswith("position_ids")}
    try:
        return made, _merged(state, load_file(adapter), made, adapter)
    except SafetensorError:
        raise ModelError(f"{adapter} is not a whole file; restore it with git.") from None


def read_made_of(path: Path) -> MadeOf:
    """What an adapter was made of; raises ModelError when the file does not say it."""
    try:
        return MadeOf.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, ValueError) as error:
        fault = first_fault(error) if isinstance(error, ValidationError) else "not JSON"
        raise ModelError(f"{path} does not describe a classifier: {fault}. Restore it with git.") from None


def _merged(state: "dict[str, torch.Tensor]", adapter: "dict[str, Any]", made: MadeOf,
            path: Path) -> "dict[str, torch.Tensor]":
    """W + scaling · B A (Hu et al. 2021), computed in double precision and rounded once."""
    import torch

    merged, left = dict(state), {key.removeprefix(PREFIX): value for key, value in adapter.items()}
    for key in [key for key in left if key.endswith(".lora_A.weight")]:
        stem = key.removesuffix(".lora_A.weight")
        down, up = left.pop(key), left.pop(f"{stem}.lora_B.weight", None)
        place = merged.get(f"{stem}.weight")
        if (up is None or place is None or up.shape[1] != down.shape[0]
                or (up.shape[0], down.shape[1]) != place.shape):
            raise ModelError(f"{path} holds {key} without its other half or its place in the encoder; restore it.")
        product = made.scaling * (up.double() @ down.double())
        merged[f"{stem}.weight"] = (place.double() + product).float()
    whole = {"classifier.weight", "classifier.bias"}
    if made.pooling == "first":
        whole |= {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    if left.keys() != whole or left["classifier.weight"].shape[0] != len(made.heads):
        raise ModelError(f"{path} does not hold the head (and, for the first token, the pooler) for "
                         f"{len(made.heads)} answers; restore it with git.")
    merged |= {key: value.float() for key, value in left.items()}
    broken = [key for key, value in merged.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ModelError(f"{path} holds NaN or infinity ({broken[0]}); restore it with git.")
    return merged


def answers(name: str, pairs: Sequence[tuple[str, str]], *, batch_size: int) -> list[dict[str, float] | None]:
    """The answer of every head to what was said and what was replied; of several windows the highest of each.

    None where the reply holds nothing that the tokenizer knows. Raises ModelError when the classifier cannot be loaded.
    """
    classifier = load_adapted(name)
    windows = classifier.pair_windows(pairs)
    rows = iter(classifier.probabilities([one for found in windows for one in found], batch_size=batch_size))
    return [
        dict(zip(classifier.heads, map(max, zip(*[next(rows) for _ in found], strict=True)), strict=True))
        if found else None
        for found in windows
    ]
