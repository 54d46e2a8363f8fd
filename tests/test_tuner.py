"""A step of training, on a tiny random model."""

import copy
from pathlib import Path
from typing import Any

import build
import pytest

from attunement import chat
from attunement.errors import TrainingError
from attunement.params import Train, load
from attunement.records import Turn
from attunement.stream import Example, Share, Steps

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


def settings(**changed: Any) -> Train:
    return load(SHIPPED).train.model_copy(update=changed)


class Watched:
    """A tuner outside Lightning: the gradient of a step is looked at where the optimiser would use it."""

    def __init__(self, model: Any, **changed: Any) -> None:
        from attunement.tuner import SupportTuner

        self.tuner = SupportTuner(model, settings(max_grad_norm=1e9, **changed), n_steps=1)
        self.tuner.manual_backward = lambda loss, *args, **kwargs: loss.backward()  # type: ignore[method-assign]
        self.tuner._move = lambda step, *, mean_loss: self.moved.append(mean_loss)  # type: ignore[method-assign]
        self.moved: list[float] = []

    def gradients(self, examples: list[Example], share: Share) -> list[Any]:
        self.tuner.model.zero_grad()
        self.tuner.training_step(Steps(examples, [list(range(len(examples)))], share).step(0), 0)
        return [p.grad.clone() for p in self.tuner.model.parameters() if p.grad is not None]


def test_one_big_pack_and_four_small_ones_give_the_same_gradient(parts: tuple[Any, list[Example]]) -> None:
    model, examples = parts
    watched = Watched(model)
    big = watched.gradients(examples, Share(4, None))
    for share in (Share(1, None), Share(2, None), Share(3, None), Share(4, 60)):
        other = watched.gradients(examples, share)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(big, other, strict=True))
    assert watched.moved == pytest.approx([watched.moved[0]] * 5, rel=1e-6)


def test_the_gradient_is_that_of_the_mean_over_all_target_tokens(parts: tuple[Any, list[Example]]) -> None:
    model, examples = parts
    mine = Watched(model).gradients(examples, Share(2, None))
    model.zero_grad()
    total = sum(example.encoded.n_targets for example in examples)
    for example in examples:
        ids, labels = torch.tensor([example.encoded.input_ids]), torch.tensor([example.encoded.targets])
        (model(input_ids=ids, labels=labels).loss * example.encoded.n_targets / total).backward()
    theirs = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(mine, theirs, strict=True))


def test_a_loss_that_is_not_finite_stops_training_and_names_the_dialogues(parts: tuple[Any, list[Example]]) -> None:
    model, examples = copy.deepcopy(parts[0]), parts[1]
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite at step 1, for dialogues d1, d0"):
        Watched(model).gradients(examples[:2], Share(2, None))


def test_a_gradient_that_is_not_finite_is_refused_before_the_weights_move(parts: tuple[Any, list[Example]]) -> None:
    from attunement.tuner import SupportTuner

    model, examples = copy.deepcopy(parts[0]), parts[1]
    tuner = SupportTuner(model, settings(), n_steps=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tuner.optimizers = lambda: optimizer  # type: ignore[method-assign,assignment,return-value]
    tuner.lr_schedulers = lambda: None  # type: ignore[method-assign,assignment]
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.full_like(p, float("inf"))
    step = Steps(examples, [[0, 1]], Share(2, None)).step(0)
    with pytest.raises(TrainingError, match="gradient is not finite at step 1, for dialogues d1, d0"):
        tuner._move(step, mean_loss=1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_step_with_nothing_to_learn_from_is_refused(parts: tuple[Any, list[Example]]) -> None:
    from dataclasses import replace

    model, examples = parts
    mute = [replace(e, encoded=replace(e.encoded, targets=tuple([chat.IGNORED] * len(e.encoded.input_ids))))
            for e in examples]
    with pytest.raises(TrainingError, match="hold nothing to learn from"):
        Watched(model).gradients(mute, Share(4, None))


@pytest.mark.parametrize(("schedule", "half", "end"), [("cosine", 0.5, 0.0), ("linear", 0.5, 0.0), ("constant", 1, 1)])
def test_the_rate_warms_up_and_then_follows_its_schedule(schedule: str, half: float, end: float) -> None:
    from attunement.tuner import rate_factor

    factor = rate_factor(settings(schedule=schedule, warmup_frac=0.1), 100)
    assert [factor(0), factor(4), factor(9)] == pytest.approx([0.1, 0.5, 1.0])
    assert [factor(10), factor(55), factor(100)] == pytest.approx([1.0, half, end], abs=1e-9)
