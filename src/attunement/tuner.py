"""The LightningModule: LoRA on a causal language model, loss over the assistant's words alone.

The loss is summed over the target tokens of the whole accumulation window and divided once, so that the same
dialogues give the same gradient however they are cut into batches. Logits are computed at target positions
only, which gives the same loss and gradients and leaves out most of the memory (Lightning hooks call in the
order: training_step, on_before_optimizer_step, …).
"""

import math
import sys
import time
from typing import Any

import lightning
import torch
from torch.nn.functional import cross_entropy

from attunement.chat import IGNORED
from attunement.errors import TrainingError
from attunement.params import Train
from attunement.records import StepLog
from attunement.stream import Batch

PROGRESS_EVERY_S = 10.0


class SupportTuner(lightning.LightningModule):
    """Trains the adapter's weights of a PEFT model; checkpoints hold those weights alone."""

    def __init__(self, model: Any, params: Train, *, n_steps: int) -> None:
        super().__init__()
        self.model = model
        self.params_ = params
        self.n_steps = n_steps
        self.strict_loading = False  # the frozen base is not in the checkpoint; load_state_dict checks the rest
        self.val_loss = math.nan
        self.n_val_tokens = 0
        self._val_sum = 0.0
        self._window_loss = 0.0
        self._window_tokens = 0
        self._steps: list[StepLog] = []
        self._started = self._told = time.monotonic()
        self._first_step = self._n_tokens = 0

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Summed loss over the window's target tokens; Lightning divides by the accumulation, we multiply it back."""
        total, n_targets = supervised_loss(self.model, batch)
        if n_targets == 0:
            raise TrainingError(f"dialogues {', '.join(batch.dialogue_ids)} hold nothing to learn from.")
        if not torch.isfinite(total):
            raise TrainingError(f"the loss is not finite at step {self.global_step + 1}, for dialogues "
                                f"{', '.join(batch.dialogue_ids)}. Nothing was published; lower train.learning_rate "
                                "or look at these dialogues.")
        self._window_loss += total.item()
        self._window_tokens += n_targets
        self._n_tokens += int(batch.attention_mask.sum())
        return total / batch.window_targets * self.params_.accumulate_batches

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the step and refuse a gradient that is not finite (before clipping, which would hide it)."""
        gradients = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
        norm = torch.stack(gradients).norm().item()
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient is not finite at step {self.global_step + 1}; nothing was published. "
                                "Lower train.learning_rate.")
        self._steps.append(StepLog(step=self.global_step + 1, loss=self._window_loss / self._window_tokens,
                                   learning_rate=optimizer.param_groups[0]["lr"], grad_norm=norm,
                                   n_target_tokens=self._window_tokens))
        self._window_loss, self._window_tokens = 0.0, 0
        self._tell()

    def on_validation_epoch_start(self) -> None:
        self._val_sum, self.n_val_tokens = 0.0, 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Sum; the mean is taken once, over all target tokens of the split."""
        total, n_targets = supervised_loss(self.model, batch)
        self._val_sum += total.item()
        self.n_val_tokens += n_targets

    def on_validation_epoch_end(self) -> None:
        self.val_loss = self._val_sum / self.n_val_tokens
        if not math.isfinite(self.val_loss):
            raise TrainingError(f"the validation loss is not finite at step {self.global_step}; nothing was published.")

    def configure_optimizers(self) -> Any:
        """AdamW on the adapter; linear warm-up, then a cosine to zero (Loshchilov & Hutter 2017, 2019)."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=self.params_.learning_rate, weight_decay=self.params_.weight_decay)
        warmup = max(1, round(self.params_.warmup_frac * self.n_steps))

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, self.n_steps - warmup)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch overloads it
        """The trainable weights alone."""
        trainable = {name for name, p in self.named_parameters() if p.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in trainable}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a state whose tensors are not exactly the adapter's: a missing one would stay at its start."""
        if checkpoint["state_dict"].keys() != self.state_dict().keys():
            raise TrainingError("the saved state is not of this adapter; remove the scratch folder and train anew.")

    def mean_train_loss(self) -> float:
        """Mean loss per target token since the last checkpoint."""
        tokens = sum(step.n_target_tokens for step in self._steps)
        return sum(step.loss * step.n_target_tokens for step in self._steps) / max(1, tokens)

    def take_steps(self) -> list[StepLog]:
        """The steps since the last checkpoint; they are given out once."""
        taken, self._steps = self._steps, []
        return taken

    def _tell(self) -> None:
        """A line now and then: where training is, how fast, how long it will take."""
        now, step = time.monotonic(), self._steps[-1]
        if now - self._told < PROGRESS_EVERY_S:
            return
        self._told = now
        per_step = (now - self._started) / (step.step - self._first_step)
        print(f"train: step {step.step}/{self.n_steps}  loss {step.loss:.3f}  "
              f"{self._n_tokens / (now - self._started):,.0f} tokens/s  "
              f"about {max(0.0, per_step * (self.n_steps - step.step)) / 60:.1f} min left", file=sys.stderr, flush=True)

    def on_train_start(self) -> None:
        self._started = self._told = time.monotonic()
        self._first_step = self.global_step


def supervised_loss(model: Any, batch: Batch) -> tuple[torch.Tensor, int]:
    """(summed cross-entropy in nats over target tokens, their number), for a (batch, time) batch.

    Hidden states are gathered where the next token is a target; only those go through the output layer.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hidden = base.get_decoder()(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state
    learnt = batch.targets[:, 1:] != IGNORED
    logits = base.get_output_embeddings()(hidden[:, :-1][learnt])
    targets = batch.targets[:, 1:][learnt]
    return cross_entropy(logits.float(), targets, reduction="sum"), targets.numel()
