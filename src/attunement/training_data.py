"""What training reads: curated dialogues as tokens, in steps, with a row for each that was cut or left out.

A dialogue that is longer than the window loses its oldest turns, at turn boundaries. One without a word to learn from
is left out and counted: a batch of such would give a loss that is not a number.
"""

from dataclasses import dataclass
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import Any, Literal

from attunement import chat
from attunement.artefacts import read_parquet, verify
from attunement.errors import TrainingError
from attunement.params import EveryFrac, EveryTokens, Params
from attunement.records import Dialogue, TrainingRow
from attunement.stream import Example, Share, Steps, Stream, plan_steps

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
CURATED = Path("out/curate")


@dataclass(frozen=True)
class TrainingData:
    """What is learnt from and what is not: examples of train and val, and a row for each that was cut or left out."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    rows: tuple[TrainingRow, ...]

    @classmethod
    def read(cls, params: Params, tokenizer: Any) -> "TrainingData":
        """Encode the curated dialogues. Raises TrainingError when a split holds nothing to learn from."""
        folder, rows = verify(CURATED), []
        parts: dict[str, tuple[Example, ...]] = {}
        for split in SPLITS:
            encoded = [encode_dialogue(dialogue, params, tokenizer, split=split)
                       for dialogue in read_parquet(folder / f"{split}.parquet", Dialogue)]
            rows += [row for _, row in encoded if row]
            parts[split] = tuple(example for example, _ in encoded if example)
            if not parts[split]:
                raise TrainingError(f"no dialogue of {split} holds anything to learn from: see out/curate/datasheet.md")
        return cls(train=parts["train"], val=parts["val"], rows=tuple(rows))

    def streams(self, params: Params) -> tuple[Stream, Steps]:
        """Training's stream and validation's steps, as a single device sees them."""
        settings = params.train
        share = Share(settings.batch_dialogues, settings.batch_tokens)
        plan = plan_steps(len(self.train), step=settings.step_dialogues, epochs=settings.epochs, seed=params.seed)
        each = settings.step_dialogues
        val_plan = [list(range(i, min(i + each, len(self.val)))) for i in range(0, len(self.val), each)]
        return Stream(self.train, plan, share), Steps(self.val, val_plan, share)

    def count(self, action: str) -> int:
        """How many dialogues were ``cut`` or ``left_out``."""
        return sum(row.action == action for row in self.rows)

    def told(self) -> str:
        """How much was cut or left out, in a line; nothing when nothing was."""
        turns = sum(row.n_cut_turns for row in self.rows if row.action == "cut")
        parts = [f"{self.count('cut')} dialogues are longer than chat.max_context_tokens and lose {turns} of their "
                 "oldest turns"] if turns else []
        if left := self.count("left_out"):
            parts.append(f"{left} dialogues hold nothing to learn from and are left out")
        return "; ".join(parts) + (" (out/train/left_out.jsonl)" if parts else "")


def encode_dialogue(
    dialogue: Dialogue, params: Params, tokenizer: Any, *, split: Split
) -> tuple[Example | None, TrainingRow | None]:
    """The example, and a row when some or all of the dialogue can not be learnt from."""
    def row(action: Literal["cut", "left_out"], n: int, because: str) -> TrainingRow:
        return TrainingRow(id=dialogue.id, split=split, action=action, n_cut_turns=n, because=because)

    limit = params.chat.max_context_tokens
    try:
        encoded = chat.encode(tokenizer, dialogue.turns, system_prompt=params.chat.system_prompt, max_tokens=limit)
    except chat.TooLongError:
        return None, row("left_out", len(dialogue.turns), f"its last exchange is longer than {limit} tokens")
    if not encoded.n_targets:
        return None, row("left_out", len(dialogue.turns), "no word of an assistant is in it")
    cut = encoded.n_cut_turns
    found = row("cut", cut, f"longer than {limit} tokens; the end is kept") if cut else None
    return Example(dialogue_id=dialogue.id, encoded=encoded), found


def checkpoint_steps(params: Params, stream: Stream) -> list[int]:
    """The steps after which a checkpoint is made, the last among them.

    Raises TrainingError when there are fewer steps than checkpoints.
    """
    wanted, n = params.train.checkpoints, len(stream)
    if isinstance(wanted, EveryTokens):
        read = list(accumulate(sum(len(stream.examples[i].encoded.input_ids) for i in step) for step in stream.plan))
        crossed = [k + 1 for k in range(n) if read[k] // wanted.every_tokens > (read[k - 1] if k else 0) //
                   wanted.every_tokens]
        return sorted({*crossed, n})
    shares = ([k * wanted.every_frac for k in range(1, ceil(1 / wanted.every_frac - 1e-9))]
              if isinstance(wanted, EveryFrac) else [k / wanted for k in range(1, wanted)])
    steps = [round(n * share) for share in shares]
    if len({0, *steps}) <= len(steps) or (n in steps and not isinstance(wanted, EveryFrac)):
        raise TrainingError(f"{n} steps are too few for {len(shares) + 1} checkpoints; lower train.checkpoints or "
                            "train.step_dialogues, or raise train.epochs.")
    return sorted({*steps, n})
