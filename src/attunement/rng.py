"""Random states travel with the training state: dropout after a resume draws what it would have drawn."""

from typing import Any

import lightning
import torch


class RandomState(lightning.Callback):
    """Saves torch's random states with each checkpoint and restores them before the first batch after a resume."""

    def __init__(self) -> None:
        self._waiting: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """CPU and, where there is one, GPU state as byte tensors."""
        state: dict[str, Any] = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training begins: Lightning may draw numbers in between."""
        self._waiting = state_dict

    def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """Restore once."""
        if self._waiting is None:
            return
        torch.set_rng_state(self._waiting["cpu"].cpu())
        if "cuda" in self._waiting and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._waiting["cuda"].cpu())
        self._waiting = None
