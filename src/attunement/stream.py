"""The order of training: one flat, sized stream in which batch k is a function of the seed and k alone.

A shuffling DataLoader loses its place when a run is killed; this stream is told its place and goes on from
there, so that a resumed run sees the very batches an uninterrupted one would have seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attunement.chat import IGNORED, Encoded

if TYPE_CHECKING:
    import torch

CHUNK_BATCHES = 8  # batches whose dialogues are sorted by length together: less padding, and order stays random


@dataclass(frozen=True)
class Batch:
    """Dialogues padded on the right.

    ``input_ids``, ``attention_mask`` and ``targets`` are (batch, time), int64. ``window_targets`` counts the
    target tokens of all batches between two optimiser steps, by which the loss is divided once.
    """

    input_ids: "torch.Tensor"
    attention_mask: "torch.Tensor"
    targets: "torch.Tensor"
    window_targets: int
    dialogue_ids: tuple[str, ...]

    def to(self, device: "torch.device") -> "Batch":
        """The same batch on another device; Lightning calls this."""
        return replace(self, input_ids=self.input_ids.to(device), attention_mask=self.attention_mask.to(device),
                       targets=self.targets.to(device))


@dataclass(frozen=True)
class Example:
    """One encoded dialogue with its id, so that a fault can name it."""

    dialogue_id: str
    encoded: Encoded


class Batches:
    """Batches of examples in a planned order, from the beginning at each iteration."""

    def __init__(self, examples: Sequence[Example], plan: Sequence[Sequence[int]], *, pad_id: int, window: int) -> None:
        self.examples = examples
        self.plan = plan
        self.pad_id = pad_id
        self.window = window

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        for k in range(len(self.plan)):
            yield self.batch(k)

    def batch(self, k: int) -> Batch:
        """Batch k: depends on the plan and k alone."""
        first = k - k % self.window
        window = [i for batch in self.plan[first : first + self.window] for i in batch]
        n_targets = sum(self.examples[i].encoded.n_targets for i in window)
        return collate([self.examples[i] for i in self.plan[k]], pad_id=self.pad_id, window_targets=n_targets)


class Stream(Batches):
    """Training's batches: all epochs in one stream, passed through once, that remembers its place."""

    place = 0

    def __iter__(self) -> Iterator[Batch]:
        while self.place < len(self.plan):
            self.place += 1
            yield self.batch(self.place - 1)

    def state_dict(self) -> dict[str, int]:
        """How many batches were given out."""
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after as many batches as ``state`` says."""
        self.place = state["place"]


def collate(examples: Sequence[Example], *, pad_id: int, window_targets: int) -> Batch:
    """Pad to the longest; padding is masked and never learnt from."""
    import torch

    width = max(len(example.encoded.input_ids) for example in examples)

    def padded(rows: Sequence[Sequence[int]], filler: int) -> "torch.Tensor":
        return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])

    ids = [example.encoded.input_ids for example in examples]
    return Batch(
        input_ids=padded(ids, pad_id),
        attention_mask=padded([[1] * len(row) for row in ids], 0),
        targets=padded([example.encoded.targets for example in examples], IGNORED),
        window_targets=window_targets,
        dialogue_ids=tuple(example.dialogue_id for example in examples),
    )


def plan_batches(lengths: Sequence[int], *, batch: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices by batch for all epochs: shuffled, then grouped by like length within chunks, then shuffled again."""
    import torch

    plan: list[list[int]] = []
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(len(lengths), generator=generator).tolist()
        chunk = batch * CHUNK_BATCHES
        batches = []
        for start in range(0, len(order), chunk):
            near = sorted(order[start : start + chunk], key=lambda i: (lengths[i], i))
            batches += [near[i : i + batch] for i in range(0, len(near), batch)]
        plan += [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]
    return plan
