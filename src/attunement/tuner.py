"""The LightningModule: a causal language model, loss over the assistant's words alone, one optimiser step a batch.

What Lightning calls a batch is a whole step here (see ``stream``), so that the loss is summed over the target tokens
of all its packs on all devices and divided once: the same dialogues give the same gradient however they are cut.
Optimisation is manual for that reason alone. Logits are computed at target positions only.
"""

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import lightning
import torch
from torch.nn.utils import clip_grad_norm_

from attunement.chat import IGNORED
from attunement.errors import TrainingError
from attunement.fused import DOCUMENTS, supervised_cross_entropy
from attunement.params import Train
from attunement.records import StepLog
from attunement.stream import Pack, Step

PROGRESS_EVERY_S = 10.0
LOST = "Nothing was published; lower train.learning_rate or look at these dialogues."


class SupportTuner(lightning.LightningModule):
    """Trains the trainable weights of a model; checkpoints hold those weights alone."""

    def __init__(self, model: Any, params: Train, *, n_steps: int) -> None:
        super().__init__()
        self.model = model
        self.params_ = params
        self.n_steps = n_steps
        self.automatic_optimization = False
        self.strict_loading = False  # the frozen base is not in the checkpoint; on_load_checkpoint checks the rest
        self.val_loss = math.nan
        self.n_val_tokens = 0
        self.last_probe = ""
        self._val_sum = 0.0
        self._steps: list[StepLog] = []
        self._started = self._told = time.monotonic()
        self._first_step = self._n_tokens = 0

    def training_step(self, step: Step, batch_idx: int) -> None:
        """One optimiser step: every pack forward and backward, the gradient checked and clipped, the weights moved."""
        if step.n_targets == 0:
            raise TrainingError(f"dialogues {_named(step)} hold nothing to learn from.")
        total = 0.0
        for i, pack in enumerate(step.packs):
            with nullcontext() if i == len(step.packs) - 1 else self._unsynchronised():
                loss, _ = supervised_loss(self.model, pack)
                if not torch.isfinite(loss):
                    raise TrainingError(f"the loss is not finite at step {self.global_step + 1}, for dialogues "
                                        f"{', '.join(pack.dialogue_ids)}. {LOST}")
                # devices' gradients are averaged, so each is raised by their number
                self.manual_backward(loss * (self._world() / step.n_targets))
                total += loss.item()
        self._move(step, mean_loss=self._summed(total) / step.n_targets)

    def _move(self, step: Step, *, mean_loss: float) -> None:
        """Refuse a gradient that is not finite, before clipping would hide it; then move the weights."""
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        norm = float(self._clip())
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient is not finite at step {self.global_step + 1}, for dialogues "
                                f"{_named(step)}. {LOST}")
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        self._steps.append(StepLog(step=self.global_step, loss=mean_loss, learning_rate=rate, grad_norm=norm,
                                   n_target_tokens=step.n_targets))
        self._n_tokens += step.n_tokens
        self._tell()

    def _clip(self) -> Any:
        """Clip to ``train.max_grad_norm`` and return the norm before; a sharded model does it by itself."""
        limit = self.params_.max_grad_norm
        sharded = getattr(self._trainer and self.trainer.strategy.model, "clip_grad_norm_", None)
        return sharded(limit) if sharded else clip_grad_norm_([p for p in self.parameters() if p.requires_grad], limit)

    def _unsynchronised(self) -> Any:
        """Devices exchange gradients once a step, with its last pack."""
        if self._world() == 1:
            return nullcontext()
        strategy: Any = self.trainer.strategy
        return strategy.block_backward_sync()

    def _world(self) -> int:
        return self.trainer.world_size if self._trainer else 1

    def _summed(self, value: float) -> float:
        """The sum over all devices."""
        if self._world() == 1:
            return value
        local = torch.tensor(value, dtype=torch.float64, device=self.device)
        return float(self.trainer.strategy.reduce(local, reduce_op="sum"))

    def on_validation_epoch_start(self) -> None:
        self._val_sum, self.n_val_tokens = 0.0, 0

    def validation_step(self, step: Step, batch_idx: int) -> None:
        """Sum; the mean is taken once, over all target tokens of the split."""
        self._val_sum += sum(supervised_loss(self.model, pack)[0].item() for pack in step.packs)
        self.n_val_tokens += step.n_targets

    def on_validation_epoch_end(self) -> None:
        self.val_loss = self._summed(self._val_sum) / self.n_val_tokens
        if not math.isfinite(self.val_loss):
            raise TrainingError(f"the validation loss is not finite at step {self.global_step}; nothing was published.")

    def configure_optimizers(self) -> Any:
        """AdamW (Loshchilov & Hutter 2019) on what is trained, its rate by ``rate_factor``."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=self.params_.learning_rate, weight_decay=self.params_.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate_factor(self.params_, self.n_steps))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch overloads it
        """The trainable weights alone."""
        trainable = {name for name, p in self.named_parameters() if p.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in trainable}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The steps since the last published checkpoint go with the state: they are published with the next."""
        checkpoint["steps"] = [step.model_dump() for step in self._steps]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a state whose tensors are not exactly those trained: a missing one would stay at its start."""
        if checkpoint["state_dict"].keys() != self.state_dict().keys():
            raise TrainingError("the saved state is not of this model; remove the scratch folder and train anew.")
        self._steps = [StepLog(**step) for step in checkpoint["steps"]]

    def mean_train_loss(self) -> float:
        """Mean loss per target token since the last checkpoint."""
        tokens = sum(step.n_target_tokens for step in self._steps)
        return sum(step.loss * step.n_target_tokens for step in self._steps) / max(1, tokens)

    def take_steps(self) -> list[StepLog]:
        """The steps since the last checkpoint; they are given out once."""
        taken, self._steps = self._steps, []
        return taken

    def _tell(self) -> None:
        """A line now and then: where training is, how fast, how long it will take, what the last probe found."""
        now, step = time.monotonic(), self._steps[-1]
        if now - self._told < PROGRESS_EVERY_S or self._trainer is None or not self.trainer.is_global_zero:
            return
        self._told = now
        per_step = (now - self._started) / max(1, step.step - self._first_step)
        print(f"train: step {step.step}/{self.n_steps}  loss {step.loss:.3f}  "
              f"{self._n_tokens / (now - self._started):,.0f} tokens/s  "
              f"about {max(0.0, per_step * (self.n_steps - step.step)) / 60:.1f} min left{self.last_probe}",
              file=sys.stderr, flush=True)

    def on_train_start(self) -> None:
        self._started = self._told = time.monotonic()
        self._first_step = self.global_step


def rate_factor(params: Train, n_steps: int) -> Callable[[int], float]:
    """Share of ``train.learning_rate`` at a step: linear warm-up, then cosine (Loshchilov & Hutter 2017) or line."""
    warmup = max(1, round(params.warmup_frac * n_steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, n_steps - warmup)
        return {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[params.schedule]

    return factor


def supervised_loss(model: Any, pack: Pack) -> tuple[torch.Tensor, int]:
    """(summed cross-entropy in nats over target tokens, their number) of a pack."""
    hidden, head, targets = _at_targets(model, pack)
    return supervised_cross_entropy(hidden, head, targets), len(targets)


def logits_of(model: Any, pack: Pack) -> torch.Tensor:
    """The logits of which ``supervised_loss`` takes the loss; (targets, vocabulary), float32."""
    hidden, head, _ = _at_targets(model, pack)
    return (hidden @ head.to(hidden.dtype).t()).float()


def _at_targets(model: Any, pack: Pack) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states where the next token is a target, the output layer's weight, and those targets.

    Only those positions go through the output layer. No mask is given: position_ids that begin anew tell transformers
    where a dialogue ends, which is exact without a cache.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    apart = {"documents": pack.documents} if base.config._attn_implementation == DOCUMENTS else {}
    hidden = base.get_decoder()(
        input_ids=pack.input_ids, position_ids=pack.position_ids, use_cache=False, **apart
    ).last_hidden_state
    learnt = pack.targets[:, 1:] != IGNORED
    return hidden[:, :-1][learnt], base.get_output_embeddings().weight, pack.targets[:, 1:][learnt]


def _named(step: Step) -> str:
    return ", ".join(name for pack in step.packs for name in pack.dialogue_ids)
