"""The order of training: one flat, sized stream in which step k is a function of the seed and k alone.

A shuffling DataLoader loses its place when a run is killed; this stream is told its place and goes on from there,
so that a resumed run sees the very steps an uninterrupted one would have seen. A step is an optimiser step: which
dialogues it holds depends on ``train.step_dialogues`` alone, and how they are cut into packs and dealt to devices
changes nothing about its gradient. Dialogues of a pack stand one after another in a single row, without padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from attunement.chat import IGNORED, Encoded

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Example:
    """One encoded dialogue with its id, so that a fault can name it."""

    dialogue_id: str
    encoded: Encoded


@dataclass(frozen=True)
class Pack:
    """Dialogues one after another. ``input_ids``, ``position_ids`` and ``targets`` are (1, time), int64.

    ``position_ids`` begin anew at each dialogue, by which a model tells them apart; ``documents`` are their lengths.
    """

    input_ids: "torch.Tensor"
    position_ids: "torch.Tensor"
    targets: "torch.Tensor"
    documents: tuple[int, ...]
    dialogue_ids: tuple[str, ...]

    def to(self, device: "torch.device") -> "Pack":
        """The same pack on another device."""
        return replace(self, input_ids=self.input_ids.to(device), position_ids=self.position_ids.to(device),
                       targets=self.targets.to(device))


@dataclass(frozen=True)
class Step:
    """One device's share of an optimiser step. ``n_targets`` and ``n_tokens`` count those of all devices."""

    packs: tuple[Pack, ...]
    n_targets: int
    n_tokens: int

    def to(self, device: "torch.device") -> "Step":
        """The same step on another device; Lightning calls this."""
        return replace(self, packs=tuple(pack.to(device) for pack in self.packs))


@dataclass(frozen=True)
class Share:
    """Which packs of a step are this device's: those at ``rank``, ``rank + world``, …; and how large a pack may be."""

    batch_dialogues: int
    batch_tokens: int | None
    rank: int = 0
    world: int = 1


class Steps:
    """Steps of examples in a planned order, from the beginning at each iteration."""

    def __init__(self, examples: Sequence[Example], plan: Sequence[Sequence[int]], share: Share) -> None:
        self.examples = examples
        self.plan = plan
        self.share = share

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Step]:
        for k in range(len(self.plan)):
            yield self.step(k)

    def step(self, k: int) -> Step:
        """Step k: depends on the plan and k alone.

        Every device gets as many packs as every other, because a model that is spread over them must be run by all
        at once; a device that lacks one is given the first, muted: nothing is learnt from it.
        """
        examples = [self.examples[i] for i in self.plan[k]]
        lengths = [len(example.encoded.input_ids) for example in examples]
        packs = fill_packs(lengths, most=self.share.batch_dialogues, most_tokens=self.share.batch_tokens)
        mine = [pack_of([examples[i] for i in pack]) for pack in packs[self.share.rank :: self.share.world]]
        if len(mine) < -(-len(packs) // self.share.world):
            mine.append(muted(pack_of([examples[i] for i in packs[0]])))
        return Step(packs=tuple(mine), n_tokens=sum(lengths),
                    n_targets=sum(example.encoded.n_targets for example in examples))


class Stream(Steps):
    """Training's steps: all epochs in one stream, passed through once, that remembers its place."""

    place = 0

    def __iter__(self) -> Iterator[Step]:
        while self.place < len(self.plan):
            self.place += 1
            yield self.step(self.place - 1)

    def state_dict(self) -> dict[str, int]:
        """How many steps were given out."""
        return {"place": self.place}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after as many steps as ``state`` says."""
        self.place = state["place"]


def pack_of(examples: Sequence[Example]) -> Pack:
    """Examples in one row. The first token of each is no target: nothing before it predicts it."""
    import torch

    encoded = [example.encoded for example in examples]
    documents = tuple(len(one.input_ids) for one in encoded)
    return Pack(
        input_ids=torch.tensor([list(chain.from_iterable(one.input_ids for one in encoded))]),
        position_ids=torch.tensor([list(chain.from_iterable(range(length) for length in documents))]),
        targets=torch.tensor([list(chain.from_iterable((IGNORED, *one.targets[1:]) for one in encoded))]),
        documents=documents,
        dialogue_ids=tuple(example.dialogue_id for example in examples),
    )


def muted(pack: Pack) -> Pack:
    """The same pack with nothing to learn from."""
    import torch

    return replace(pack, targets=torch.full_like(pack.targets, IGNORED), dialogue_ids=())


def fill_packs(lengths: Sequence[int], *, most: int, most_tokens: int | None) -> list[list[int]]:
    """Indices by pack: the longest first, each into the first pack with room (first-fit decreasing, Johnson 1973).

    A dialogue that is longer than ``most_tokens`` by itself has a pack of its own. Without a limit of tokens this
    gives packs of ``most`` dialogues.
    """
    packs: list[list[int]] = []
    taken: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        for k, pack in enumerate(packs):
            if len(pack) < most and (most_tokens is None or taken[k] + lengths[i] <= most_tokens):
                pack.append(i)
                taken[k] += lengths[i]
                break
        else:
            packs.append([i])
            taken.append(lengths[i])
    return packs


def plan_steps(n: int, *, step: int, epochs: int, seed: int) -> list[list[int]]:
    """Indices of ``n`` dialogues by step: each epoch shuffled, one after another; only the very last is smaller."""
    import torch

    order: list[int] = []
    for epoch in range(epochs):
        order += torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
    return [order[start : start + step] for start in range(0, len(order), step)]
