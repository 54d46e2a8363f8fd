"""The loss, on a tiny random model."""

from pathlib import Path
from typing import Any

import build
import pytest

from attunement import chat
from attunement.params import Train, load
from attunement.records import Turn
from attunement.stream import Batches, Example

torch = pytest.importorskip("torch")
SHIPPED = Path(__file__).resolve().parents[1] / "params.yaml"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Example]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = build.build_model(tmp_path_factory.mktemp("model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["Short.", "A longer answer that goes on for a while, and then some more.", "What then?", "I see."]
    talks = [(Turn(role="user", text=f"This is number {i}."), Turn(role="assistant", text=text))
             for i, text in enumerate(texts)]
    encoded = [chat.encode(tokenizer, talk, system_prompt="Listen.", max_tokens=500) for talk in talks]
    return AutoModelForCausalLM.from_pretrained(folder), [Example(f"d{i}", e) for i, e in enumerate(encoded)]


def settings(accumulate: int) -> Train:
    return load(SHIPPED).train.model_copy(update={"accumulate_batches": accumulate})


def gradients(model: Any, examples: list[Example], plan: list[list[int]], window: int) -> list[Any]:
    """Gradients after one window, as training accumulates them (Lightning divides by the number of batches)."""
    from attunement.tuner import SupportTuner

    tuner = SupportTuner(model, settings(window), n_steps=1)
    model.zero_grad()
    for k, batch in enumerate(Batches(examples, plan, pad_id=2, window=window)):
        (tuner.training_step(batch, k) / window).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


def test_the_loss_is_that_of_the_whole_sequence_at_target_positions(parts: tuple[Any, list[Example]]) -> None:
    from attunement.tuner import supervised_loss

    model, examples = parts
    batch = next(iter(Batches(examples, [[0, 1, 2, 3]], pad_id=2, window=1)))
    total, n = supervised_loss(model, batch)
    whole = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.targets)
    assert n == sum(example.encoded.n_targets for example in examples)
    assert total.item() / n == pytest.approx(whole.loss.item(), rel=1e-5)


def test_one_big_batch_and_four_small_ones_give_the_same_gradient(parts: tuple[Any, list[Example]]) -> None:
    model, examples = parts
    big = gradients(model, examples, [[0, 1, 2, 3]], 1)
    small = gradients(model, examples, [[0], [1], [2], [3]], 4)
    uneven = gradients(model, examples, [[0, 1, 2], [3]], 2)
    for other in (small, uneven):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(big, other, strict=True))


def test_a_loss_that_is_not_finite_stops_training_and_names_the_dialogues(parts: tuple[Any, list[Example]]) -> None:
    import copy

    from attunement.errors import TrainingError
    from attunement.tuner import SupportTuner

    model, examples = copy.deepcopy(parts[0]), parts[1]
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    batch = next(iter(Batches(examples, [[1, 2]], pad_id=2, window=1)))
    tuner = SupportTuner(model, settings(1), n_steps=1)
    tuner._trainer = type("Trainer", (), {"global_step": 6})()
    with pytest.raises(TrainingError, match="not finite at step 7, for dialogues d1, d2"):
        tuner.training_step(batch, 0)
