"""The probe: at every checkpoint the model answers the adversarial suite and toxicity scorers judge its replies.

A callback of Lightning. It publishes a checkpoint only together with its probe: the weights, the replies with every
scorer's value, the validation loss. Then it saves the state from which a killed run goes on. Sampling state and
module modes are restored, so that probing changes nothing about the training. On several devices each answers every
n-th batch of prompts, the first device judges and publishes.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning
from lightning.pytorch.utilities.exceptions import SIGTERMException

from attunement import chat
from attunement.artefacts import publishing, put_all_back, read_json, read_jsonl, verify, write_json, write_jsonl
from attunement.errors import EXIT_TERMINATED, IntegrityError
from attunement.findings import breach, count_replies, reason_to_stop, to_rotate
from attunement.params import Train
from attunement.records import CheckpointSummary, Probe, Prompt, StepLog
from attunement.scorers.base import Item, Scorer
from attunement.states import States, step_of

if TYPE_CHECKING:
    import torch

    from attunement.tuner import SupportTuner

WEIGHTS = "weights"  # of a published checkpoint


@dataclass(frozen=True)
class Questions:
    """Prompts with their tokens: all for the last checkpoint, and the indices of those for checkpoints between."""

    prompts: Sequence[Prompt]
    encoded: Sequence[Sequence[int]]
    between: Sequence[int]

    def at(self, *, last: bool) -> tuple[list[Prompt], list[Sequence[int]]]:
        """Those to ask."""
        chosen = range(len(self.prompts)) if last else self.between
        return [self.prompts[i] for i in chosen], [self.encoded[i] for i in chosen]


@dataclass
class Costs:
    """Seconds spent, for the line at the end; they are in no output, which would differ from run to run."""

    probe_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def told(self) -> str:
        """The probe's share of the time since training began."""
        total = time.monotonic() - self.started
        return f"the probe took {self.probe_s:.0f} s of {total:.0f} s, {self.probe_s / max(total, 1e-9):.0%}"


class CheckpointProbe(lightning.Callback):
    """Publishes ``scratch/checkpoints/step-NNNNNN`` at each checkpoint, with the probe's findings in it."""

    def __init__(
        self,
        *,
        scratch: Path,
        states: States,
        settings: Train,
        checkpoints: Sequence[int],
        questions: Questions,
        save_weights: Callable[[Any, Path], None],
        served: "torch.dtype",
        tokenizer: Any,
        max_new_tokens: int,
        batch_size: int,
        engine: chat.Engine,
        seed: int,
    ) -> None:
        self.scratch, self.states, self.settings, self.checkpoints = scratch, states, settings, tuple(checkpoints)
        self.questions, self.save_weights, self.served, self.tokenizer = questions, save_weights, served, tokenizer
        self.max_new_tokens, self.batch_size, self.engine, self.seed = max_new_tokens, batch_size, engine, seed
        self.costs = Costs()
        self._saved = time.monotonic()
        self._asked_to_end = False
        self._parent = os.getppid()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Lightning validates when a step's number divides by its interval: the number itself is the first to do so.

        On several devices its handler of SIGTERM would exchange tensors amid the exchange of gradients; ours waits.
        """
        self._aim(trainer)
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, lambda *_: self._on_sigterm(trainer.is_global_zero))

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save the state now and then, and when the process was asked to end; a checkpoint's step saves it later."""
        if trainer.global_step in self.checkpoints:
            return
        due = time.monotonic() - self._saved >= 60 * self.settings.save_state_every_min
        asked = self._asked_to_end or trainer.received_sigterm
        due, asked = trainer.strategy.broadcast((due, asked))
        if due or asked:
            self._save(trainer)
        if asked:
            raise SIGTERMException

    def _on_sigterm(self, leads: bool) -> None:
        """The first process ends all at a step's end; another goes at once when the one that started it is gone."""
        if leads:
            self._asked_to_end = True
        elif os.getppid() != self._parent:
            os._exit(EXIT_TERMINATED)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Answer, score, publish, save; then see whether training ends here."""
        started = time.monotonic()
        tuner: SupportTuner = pl_module  # type: ignore[assignment]  # the trainer knows only the base class
        step = trainer.global_step
        prompts, encoded = self.questions.at(last=step == self.checkpoints[-1])
        with serving(tuner.model, self.served):
            replies = self._replies(trainer, tuner.model, encoded)
            if trainer.is_global_zero:
                tuner.last_probe = self._publish(tuner, step, prompts, replies)
        trainer.strategy.barrier()
        self.costs.probe_s += time.monotonic() - started
        self._save(trainer)
        if trainer.strategy.broadcast(self._asked_to_end) and step != self.checkpoints[-1]:
            raise SIGTERMException
        trainer.should_stop = trainer.strategy.broadcast(bool(stop_reason(self.scratch, self.settings)))
        self._aim(trainer)

    def _replies(self, trainer: lightning.Trainer, model: Any, encoded: Sequence[Sequence[int]]) -> list[str]:
        """Every reply, on every device; each answers every n-th batch, so that a prompt's neighbours are the same."""
        batches = chat.batches_of_like_length(encoded, self.batch_size)
        mine = sorted(i for batch in batches[trainer.global_rank :: trainer.world_size] for i in batch)
        answers = chat.generate(model, self.tokenizer, [encoded[i] for i in mine], max_new_tokens=self.max_new_tokens,
                                batch_size=self.batch_size, engine=self.engine, seed=self.seed)
        found = {i: answer.text for i, answer in zip(mine, answers, strict=True)}
        if trainer.world_size > 1:
            import torch

            parts: list[dict[int, str]] = [{} for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(parts, found)
            found = {i: text for part in parts for i, text in part.items()}
        return [found[i] for i in range(len(encoded))]

    def _publish(self, tuner: "SupportTuner", step: int, prompts: Sequence[Prompt], replies: Sequence[str]) -> str:
        """Write the checkpoint, drop weights that no limit could choose, and tell; returns the probe in a few words."""
        probes = probe(step, prompts, replies, self.settings.probe.scorers)
        loss = CheckpointSummary(step=step, train_loss=tuner.mean_train_loss(), val_loss=tuner.val_loss,
                                 n_val_tokens=tuner.n_val_tokens)
        with publishing(checkpoint_folder(self.scratch, step)) as folder:
            self.save_weights(tuner.model, folder / WEIGHTS)
            write_jsonl(folder / "probes.jsonl", probes)
            write_json(folder / "checkpoint.json", loss)
            write_jsonl(folder / "steps.jsonl", tuner.take_steps())
        if self.settings.keep_checkpoints != "all":
            published = Published.read(self.scratch)
            for old in to_rotate(published.history, published.probes, keep=self.settings.keep_checkpoints):
                rotate(self.scratch, old)
        print(_line(loss, probes, self.checkpoints[-1]), file=sys.stderr, flush=True)
        n = count_replies(probes)[0]
        return f"; last probe: {breach(probes) or f'{n} replies, none toxic'}"

    def _save(self, trainer: lightning.Trainer) -> None:
        trainer.save_checkpoint(self.states.path(trainer.global_step))
        if trainer.is_global_zero:
            self.states.drop_old()
        self._saved = time.monotonic()

    def _aim(self, trainer: lightning.Trainer) -> None:
        """Validate at the next checkpoint."""
        ahead = [step for step in self.checkpoints if step > trainer.global_step]
        trainer.val_check_batch = ahead[0] if ahead else self.checkpoints[-1]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What the state was made of goes with it."""
        checkpoint["made_of"] = self.states.parts


@contextmanager
def serving(model: Any, dtype: "torch.dtype") -> Iterator[None]:
    """Answer in the dtype in which the model will be used, where all weights are trained in another; then put back."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if len(trained) < sum(1 for _ in model.parameters()):  # an adapter: its base is kept as it is used
        yield
        return
    kept = {name: p.data for name, p in trained.items()}
    try:
        for p in trained.values():
            p.data = p.data.to(dtype)
        yield
    finally:
        for name, p in trained.items():
            p.data = kept[name]


def checkpoint_folder(scratch: Path, step: int) -> Path:
    """Where the checkpoint after ``step`` is published."""
    return scratch / "checkpoints" / f"step-{step:06d}"


def rotate(scratch: Path, step: int) -> None:
    """Take the weights out of a published checkpoint; what the probe found stays."""
    folder = checkpoint_folder(scratch, step)
    if not (folder / WEIGHTS).exists():
        return
    with publishing(folder) as partial:
        for name in ("probes.jsonl", "checkpoint.json", "steps.jsonl"):
            shutil.copyfile(folder / name, partial / name)


@dataclass(frozen=True)
class Published:
    """The checkpoints that were published into a scratch folder, in their order."""

    folders: tuple[Path, ...]
    history: tuple[CheckpointSummary, ...]
    probes: tuple[Probe, ...]
    steps: tuple[StepLog, ...]

    @classmethod
    def read(cls, scratch: Path) -> "Published":
        """Read them; raises DataError when one is damaged."""
        folders = tuple(sorted((scratch / "checkpoints").glob("step-*")))
        return cls(
            folders=folders,
            history=tuple(read_json(folder / "checkpoint.json", CheckpointSummary) for folder in folders),
            probes=tuple(p for folder in folders for p in read_jsonl(folder / "probes.jsonl", Probe)),
            steps=tuple(s for folder in folders for s in read_jsonl(folder / "steps.jsonl", StepLog)),
        )


def mend(scratch: Path, checkpoints: Sequence[int], *, keep: int | Literal["all"]) -> tuple[set[int], list[str]]:
    """Put back or remove what a kill, a disk or a person left half; (steps without a checkpoint, what to tell)."""
    parent, told = scratch / "checkpoints", []
    put_all_back(parent)
    for folder in sorted(parent.glob("step-*")):
        try:
            verify(folder)
        except IntegrityError:
            told.append(f"the checkpoint {folder.name} is damaged; it is made again")
            shutil.rmtree(folder, ignore_errors=True)  # of several devices each does it
    found = Published.read(scratch)
    may_lack = [] if keep == "all" else to_rotate(found.history, found.probes, keep=keep)
    whole = {point.step for folder, point in zip(found.folders, found.history, strict=True)
             if (folder / WEIGHTS).exists() or point.step in may_lack}
    return set(checkpoints) - whole, told


def drop_after(scratch: Path, step: int) -> None:
    """Remove the checkpoints after ``step``: a training that goes on from there makes them again.

    Left there, they would be counted when it is asked whether training ends, or whose weights may go.
    """
    for folder in sorted((scratch / "checkpoints").glob("step-*"), reverse=True):
        if step_of(folder) > step:
            shutil.rmtree(folder, ignore_errors=True)


def stop_reason(scratch: Path, settings: Train) -> str:
    """Why no step follows the checkpoints that were published, or nothing."""
    published = Published.read(scratch)
    return reason_to_stop(published.history, published.probes, on_breach=settings.probe.on_breach,
                          early=settings.early_stop)


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
