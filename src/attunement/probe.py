"""The probe: at every checkpoint the model answers the adversarial suite and toxicity scorers judge its replies.

A callback of Lightning. It publishes a checkpoint only together with its probe: the adapter, the replies with
every scorer's value, the validation loss. Then it saves the state from which a killed run goes on. Sampling
state and module modes are restored, so that probing changes nothing about the training.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning

from attunement import chat
from attunement.artefacts import publishing, write_json, write_jsonl
from attunement.findings import count_replies
from attunement.models import save_adapter
from attunement.records import CheckpointSummary, Probe, Prompt
from attunement.scorers.base import Item, Scorer

if TYPE_CHECKING:
    from lightning.pytorch.plugins.io import CheckpointIO

    from attunement.tuner import SupportTuner

RESUME = "resume.ckpt"


class CheckpointProbe(lightning.Callback):
    """Publishes ``scratch/checkpoints/step-NNNNNN`` at each validation, with the probe's findings in it."""

    def __init__(
        self,
        *,
        scratch: Path,
        base: Path,
        tokenizer: Any,
        prompts: Sequence[Prompt],
        encoded: Sequence[Sequence[int]],
        scorers: Sequence[Scorer],
        max_new_tokens: int,
        batch_size: int,
        seed: int,
    ) -> None:
        self.scratch, self.base, self.tokenizer = scratch, base, tokenizer
        self.prompts, self.encoded, self.scorers = prompts, encoded, scorers
        self.max_new_tokens, self.batch_size, self.seed = max_new_tokens, batch_size, seed

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Answer, score, publish, save."""
        tuner: SupportTuner = pl_module  # type: ignore[assignment]  # the trainer knows only the base class
        step = trainer.global_step
        replies = chat.generate(
            tuner.model, self.tokenizer, self.encoded,
            max_new_tokens=self.max_new_tokens, batch_size=self.batch_size, seed=self.seed,
        )
        probes = probe(step, self.prompts, [reply.text for reply in replies], self.scorers)
        loss = CheckpointSummary(step=step, train_loss=tuner.mean_train_loss(), val_loss=tuner.val_loss,
                                 n_val_tokens=tuner.n_val_tokens)
        with publishing(self.scratch / "checkpoints" / f"step-{step:06d}") as folder:
            save_adapter(tuner.model, folder / "adapter", base=self.base)
            write_jsonl(folder / "probes.jsonl", probes)
            write_json(folder / "checkpoint.json", loss)
            write_jsonl(folder / "steps.jsonl", tuner.take_steps())
        trainer.save_checkpoint(self.scratch / RESUME)
        print(_line(loss, probes, trainer.max_steps), file=sys.stderr, flush=True)


def probe(step: int, prompts: Sequence[Prompt], replies: Sequence[str], scorers: Sequence[Scorer]) -> list[Probe]:
    """Every scorer's answer for every reply, sorted by prompt and scorer."""
    items = [Item(id=p.prompt_id, context=p.context, reply=reply, locale=p.locale, tags=p.tags)
             for p, reply in zip(prompts, replies, strict=True)]
    found = []
    for scorer in scorers:
        for prompt, item, scored in zip(prompts, items, scorer.score(items), strict=True):
            found.append(Probe(step=step, suite=prompt.suite, prompt_id=prompt.prompt_id, reply=item.words,
                               scorer=scorer.name, value=scored.value, label=scored.label, because=scored.because))
    return sorted(found, key=lambda p: (p.prompt_id, p.scorer))


def _line(loss: CheckpointSummary, probes: Sequence[Probe], n_steps: int) -> str:
    n, toxic, unscored = count_replies(probes)
    highest = max((p.value for p in probes if p.value is not None), default=float("nan"))
    return (f"train: checkpoint at step {loss.step}/{n_steps}: validation loss {loss.val_loss:.4f}; probe: "
            f"{toxic} of {n} replies toxic, {unscored} unscored, highest score {highest:.2f}")


def atomic_checkpoint_io() -> "CheckpointIO":
    """Lightning's own writer, made atomic: temp in the same folder, fsync, rename, fsync of the folder.

    Lightning writes through TMPDIR; on another filesystem that is not atomic, and a kill or a full disk then
    destroys the last good state.
    """
    from lightning.fabric.plugins.io import TorchCheckpointIO

    class AtomicCheckpointIO(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            import torch

            final = Path(path)
            partial = final.with_name(f".{final.name}.partial")
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(final)
            finally:
                partial.unlink(missing_ok=True)
            folder = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    return AtomicCheckpointIO()
