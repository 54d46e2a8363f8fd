"""What a training step holds, for a person to look at: which words are learnt from, and which are only read.

In: a pack of tokens. Out: stretches of text, each learnt from or not, dialogue by dialogue, with the special tokens
that the chat template puts between turns. This shows people's words: it is for a terminal, and goes into no log.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from attunement.chat import IGNORED
from attunement.stream import Pack, Step

READ, LEARNT = "dim", "bold green"  # rich's styles
OPENING, CLOSING = "⟦", "⟧"  # where there is no colour


@dataclass(frozen=True)
class Stretch:
    """Neighbouring tokens of one dialogue that are all learnt from, or all only read."""

    text: str
    learnt: bool
    n_tokens: int


@dataclass(frozen=True)
class Preview:
    """One dialogue of a pack."""

    dialogue_id: str
    stretches: tuple[Stretch, ...]

    @property
    def n_tokens(self) -> int:
        """All its tokens."""
        return sum(stretch.n_tokens for stretch in self.stretches)

    @property
    def n_learnt(self) -> int:
        """Those that the loss is taken over."""
        return sum(stretch.n_tokens for stretch in self.stretches if stretch.learnt)


def previews(tokenizer: Any, pack: Pack) -> Iterator[Preview]:
    """The dialogues of a pack, in their order."""
    ids, targets, start = pack.input_ids[0].tolist(), pack.targets[0].tolist(), 0
    for dialogue_id, length in zip(pack.dialogue_ids, pack.documents, strict=True):
        pairs = list(zip(ids[start : start + length], targets[start : start + length], strict=True))
        start += length
        runs = [(learnt, [token for token, _ in run]) for learnt, run in groupby(pairs, lambda p: p[1] != IGNORED)]
        yield Preview(dialogue_id, tuple(Stretch(tokenizer.decode(run, skip_special_tokens=False), learnt, len(run))
                                         for learnt, run in runs))


def print_step(tokenizer: Any, step: Step, *, number: int, of: int) -> None:
    """Print a step: learnt words in green where there is colour, within ⟦ ⟧ where there is none."""
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    coloured = console.color_system is not None
    console.print(f"step {number} of {of}: {step.n_tokens} tokens in {len(step.packs)} "
                  f"pack{'s' * (len(step.packs) > 1)}, {step.n_targets} of them learnt from")
    console.print(Text.assemble(("learnt from", LEARNT), ("  read only", READ)) if coloured else
                  f"{OPENING}learnt from{CLOSING}  read only")
    for k, pack in enumerate(step.packs, 1):
        for shown in previews(tokenizer, pack):
            console.print(f"\n── pack {k}, dialogue {shown.dialogue_id}: {shown.n_learnt} of {shown.n_tokens} tokens "
                          "learnt from ──")
            console.print(Text.assemble(*((_marked(one, coloured=coloured), LEARNT if one.learnt else READ)
                                          for one in shown.stretches)))


def _marked(stretch: Stretch, *, coloured: bool) -> str:
    return stretch.text if coloured or not stretch.learnt else f"{OPENING}{stretch.text}{CLOSING}"
