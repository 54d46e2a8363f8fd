"""Tune one of the scorers' classifiers: ``python -m attunement.tune_classifier NAME --labels FOLDER``.

In: MiniLM (models/encoder, made by the fetch stage), the examples of a recipe. Out: ``data/classifiers/NAME/``: a LoRA
adapter with pooler and head in half precision, and ``made_of.json``, which tells from what. A person runs it when
recipes or examples change; the pipeline only reads what it made.

Every head is a yes/no question of its own: binary cross-entropy over the heads that an example answers. Batches hold
examples of like length, in an order drawn from the seed; on one machine a run gives the same bytes again.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lightning
import torch
from torch.utils.data import DataLoader

from attunement.artefacts import sha256_of
from attunement.classifier import ADAPTER, ENCODER, FOLDER, MADE_OF
from attunement.classifier_recipes import RECIPES, Example, Recipe
from attunement.errors import TrainingError, ends_clearly
from attunement.mean_pooled import MeanPooled
from attunement.models import resolved_precision, silence

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_ASKED = -1.0  # a head that an example says nothing about
BUCKET_BATCHES = 50  # batches within which examples are sorted by length
SHAPE_TOKENS = 16
SHOWN_STEPS = 50
PROBE_BATCH = 64
SEED = 20260401


class Batches:
    """Lists of example numbers: like lengths together, in an order that the seed and the epoch decide."""

    def __init__(self, lengths: Sequence[int], *, size: int, epochs: int, seed: int) -> None:
        self.batches: list[list[int]] = []
        for epoch in range(epochs):
            rng = random.Random(seed * 1000 + epoch)
            order = list(range(len(lengths)))
            rng.shuffle(order)
            step = size * BUCKET_BATCHES
            found: list[list[int]] = []
            for start in range(0, len(order), step):
                bucket = sorted(order[start : start + step], key=lambda number: lengths[number])
                found += [bucket[at : at + size] for at in range(0, len(bucket), size)]
            rng.shuffle(found)
            self.batches += found

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Tuning(lightning.LightningModule):
    """The adapted encoder, its loss, and a learning rate that rises for a tenth of the steps and falls to zero."""

    def __init__(self, model: Any, *, learning_rate: float, n_steps: int, head_weights: Sequence[float]) -> None:
        super().__init__()
        self.head_weights: torch.Tensor
        self.register_buffer("head_weights", torch.tensor(head_weights), persistent=False)
        self.model, self.learning_rate, self.n_steps = model, learning_rate, n_steps

    def training_step(self, batch: dict[str, torch.Tensor], _number: int) -> torch.Tensor:
        """Each example's loss, summed over the heads that it answers by their weights; the mean over examples.

        Not the mean over answers: of sets that answer one head alone little would be learnt beside those that answer
        all.
        """
        targets, weights = batch.pop("targets"), batch.pop("weights")
        logits = self.model(**batch).logits.float()
        asked = (targets != NOT_ASKED).float() * weights[:, None] * self.head_weights
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.clamp(min=0), reduction="none")
        counted = weights * (targets != NOT_ASKED).any(dim=1)
        loss = (losses * asked).sum() / counted.sum().clamp(min=1)
        self.log("loss", loss)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        """A line now and then: a bar says nothing in a log."""
        if self.global_step % SHOWN_STEPS == 0:
            loss = float(self.trainer.callback_metrics["loss"])
            print(f"step {self.global_step} of {self.n_steps}, loss {loss:.3f}", file=sys.stderr, flush=True)

    def configure_optimizers(self) -> Any:
        """AdamW over what is trainable: LoRA, pooler and head."""
        trainable = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trainable, lr=self.learning_rate, weight_decay=0.01)
        warm = max(1, self.n_steps // 10)
        shape = lambda step: min(step / warm, max(0.0, (self.n_steps - step) / max(1, self.n_steps - warm)))  # noqa: E731
        return {"optimizer": optimizer, "lr_scheduler": {"interval": "step", "scheduler": (
            torch.optim.lr_scheduler.LambdaLR(optimizer, shape))}}

    def train(self, mode: bool = True) -> "Tuning":
        """Dropout is on in training, which ``from_pretrained`` leaves off and Lightning does not turn on."""
        super().train(mode)
        return self


def tune(
    recipe: Recipe, examples: Sequence[Example], *, folder: Path, encoder: Path = ENCODER, seed: int = SEED
) -> None:
    """Train and write the adapter; raises ModelError when the encoder is missing.

    Of several ``runs`` over the same examples in other orders the weights are averaged (Wortsman et al. 2022).
    """
    from transformers import AutoTokenizer

    silence()
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    encoded = [_encode(one, tokenizer, recipe.max_tokens) for one in examples]
    states = [_trained(recipe, encoded, tokenizer, encoder=encoder, seed=seed, order=seed + run)
              for run in range(recipe.runs)]
    _write(averaged(states), recipe, examples, encoder=encoder, folder=folder, seed=seed)


def _trained(recipe: Recipe, encoded: Sequence[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", *, encoder: Path,
             seed: int, order: int) -> dict[str, torch.Tensor]:
    """The tensors after one training, by PEFT's names, in half precision; ``seed`` draws weights, ``order`` batches."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    lightning.seed_everything(seed, verbose=False)
    base = _with_probe(recipe, encoded, tokenizer, encoder=encoder)
    lora = LoraConfig(task_type="SEQ_CLS", r=recipe.r, lora_alpha=2 * recipe.r, lora_dropout=0.0,
                      target_modules=["query", "key", "value", "dense"], exclude_modules=["pooler.dense"],
                      modules_to_save=["classifier", "pooler"] if recipe.pooling == "first" else ["classifier"])
    model = get_peft_model(base, lora)
    batches = Batches([len(one["input_ids"]) for one in encoded], size=recipe.batch_size, epochs=recipe.epochs,
                      seed=order)
    loader = DataLoader(_Rows(encoded), batch_sampler=batches,
                        collate_fn=lambda chosen: _padded(chosen, tokenizer, len(recipe.heads)))
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if resolved_precision("auto") == "bf16" else "32-true"
    trainer = lightning.Trainer(max_epochs=1, accelerator="auto", devices=1, precision=precision, logger=False,
                                gradient_clip_val=1.0, enable_checkpointing=False, enable_model_summary=False,
                                enable_progress_bar=False)
    tuning = Tuning(model.train(), learning_rate=recipe.learning_rate, n_steps=len(batches),
                    head_weights=recipe.weights)
    trainer.fit(tuning, loader)
    # Lightning ends quietly when it is asked to stop; half a training is none.
    if trainer.global_step != len(batches):
        raise TrainingError(f"stopped after {trainer.global_step} of {len(batches)} steps; nothing was written.")
    return {key: value.detach().to(torch.float16).contiguous().cpu()
            for key, value in sorted(get_peft_model_state_dict(model).items())}


def averaged(states: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One adapter whose weights are the mean of those of several: LoRA's halves side by side, the rest as a mean."""
    found: dict[str, torch.Tensor] = {}
    for key, first in states[0].items():
        tensors = [state[key] for state in states]
        if key.endswith("lora_A.weight"):
            found[key] = torch.cat(tensors, dim=0)
        elif key.endswith("lora_B.weight"):
            found[key] = torch.cat([tensor.float() / len(states) for tensor in tensors], dim=1).to(first.dtype)
        else:
            found[key] = torch.stack([tensor.float() for tensor in tensors]).mean(dim=0).to(first.dtype)
    return found


def _with_probe(recipe: Recipe, encoded: Sequence[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", *,
                encoder: Path) -> Any:
    """The encoder with heads that a linear probe has fitted to it as it is, where the recipe asks for that.

    Tuning then begins where the features are of use and does not first bend them to heads drawn at random (Kumar et al.
    2022), which a few hundred steps on a small set would not undo. Of many examples it takes the worth away: heads that
    fit already leave the features as they are.
    """
    from transformers import BertForSequenceClassification

    model_class = MeanPooled if recipe.pooling == "mean" else BertForSequenceClassification
    base = model_class.from_pretrained(encoder, num_labels=len(recipe.heads), local_files_only=True,
                                       dtype=torch.float32).eval()
    if recipe.pooling == "first":
        # MiniLM's pooler is as it was drawn, near zero: begin with the first token as it is.
        with torch.no_grad():
            base.bert.pooler.dense.weight.copy_(torch.eye(base.config.hidden_size))
            base.bert.pooler.dense.bias.zero_()
    if not recipe.probe_examples:
        return base
    chosen = list(encoded)
    if len(chosen) > recipe.probe_examples:
        chosen = random.Random(SEED).sample(chosen, recipe.probe_examples)
    features = _features(base, recipe, chosen, tokenizer)
    with torch.no_grad():
        for number in range(len(recipe.heads)):
            answers = [one["targets"][number] for one in chosen]
            weight, bias = _probe(features, answers)
            base.classifier.weight[number].copy_(torch.tensor(weight))
            base.classifier.bias[number] = bias
    return base


def _features(base: Any, recipe: Recipe, encoded: Sequence[dict[str, Any]],
              tokenizer: "PreTrainedTokenizerBase") -> Any:
    """What the heads see of every example, (example, width)."""
    import numpy as np

    found = np.zeros((len(encoded), base.config.hidden_size), dtype=np.float32)
    order = sorted(range(len(encoded)), key=lambda number: len(encoded[number]["input_ids"]))
    for start in range(0, len(order), PROBE_BATCH):
        chosen = order[start : start + PROBE_BATCH]
        batch = _padded([encoded[number] for number in chosen], tokenizer, len(recipe.heads))
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        with torch.inference_mode():
            found[chosen] = (base.pooled(**inputs) if recipe.pooling == "mean"
                             else base.bert(**inputs).pooler_output).float().numpy()
    return found


def _probe(features: Any, answers: Sequence[float]) -> tuple[Any, float]:
    """Weights and bias of one head by logistic regression; zero, and the log odds, where all answers are alike."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    asked = np.asarray(answers) != NOT_ASKED
    yes = np.asarray(answers)[asked] >= 0.5
    if not asked.any() or yes.all() or not yes.any():
        return np.zeros(features.shape[1], dtype=np.float32), 0.0 if not asked.any() else (3.0 if yes.all() else -3.0)
    fitted = LogisticRegression(C=1.0, max_iter=300).fit(features[asked], yes)
    return fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0])


class _Rows(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return self.rows[number]


def _encode(one: Example, tokenizer: "PreTrainedTokenizerBase", max_tokens: int) -> dict[str, Any]:
    """Token ids as the scorers make them; see `attunement.classifier.pair_ids`."""
    from attunement.classifier import pair_ids

    encoded = pair_ids(tokenizer, one.first, one.second, max_tokens=max_tokens)[0]
    return {**encoded, "targets": [NOT_ASKED if t is None else t for t in one.targets], "weight": one.weight}


def _padded(chosen: Sequence[dict[str, Any]], tokenizer: "PreTrainedTokenizerBase", n_heads: int) -> dict[str, Any]:
    inputs = [{"input_ids": one["input_ids"], "token_type_ids": one["token_type_ids"]} for one in chosen]
    # Few different shapes: a CPU's kernels are made anew for each.
    batch = dict(tokenizer.pad(inputs, return_tensors="pt", pad_to_multiple_of=SHAPE_TOKENS))
    targets = torch.tensor([one["targets"] for one in chosen], dtype=torch.float32).reshape(-1, n_heads)
    return batch | {"targets": targets, "weights": torch.tensor([one["weight"] for one in chosen])}


def _write(state: dict[str, torch.Tensor], recipe: Recipe, examples: Sequence[Example], *, encoder: Path, folder: Path,
           seed: int) -> None:
    """The trained tensors, and what they were made of."""
    from safetensors.torch import save_file

    counts: dict[str, int] = {}
    for one in examples:
        counts[one.origin] = counts.get(one.origin, 0) + 1
    made = {
        "heads": list(recipe.heads), "pooling": recipe.pooling, "scaling": 2.0, "max_tokens": recipe.max_tokens,
        "encoder_sha256": sha256_of(encoder / "model.safetensors"),
        "about": recipe.about, "examples": dict(sorted(counts.items())), "licences": recipe.licences,
        "seed": seed, "runs": recipe.runs, "epochs": recipe.epochs, "learning_rate": recipe.learning_rate,
        "r": recipe.r * recipe.runs, "batch_size": recipe.batch_size,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / ADAPTER)
    (folder / MADE_OF).write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@ends_clearly
def main() -> None:
    """``python -m attunement.tune_classifier``"""
    parser = argparse.ArgumentParser(prog="attunement.tune_classifier", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--labels", type=Path, required=True, help="the folder that holds the labelled sets")
    parser.add_argument("--to", type=Path, default=FOLDER, help="where the classifiers lie")
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.name]
    examples = recipe.examples(arguments.labels)
    print(f"{arguments.name}: {len(examples)} examples, {recipe.epochs} epochs", file=sys.stderr)
    tune(recipe, examples, folder=arguments.to / arguments.name)


if __name__ == "__main__":
    main()
