"""What train can be told, each tried on a tiny model: it trains, its result is what it says, or it ends clearly."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import gym
import pytest

from attunement.artefacts import sha256_of
from attunement.errors import ModelError, TrainingError

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _here(gym_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gym_folder)


@pytest.mark.parametrize("changes", [{"train.batch_dialogues": 1}, {"train.batch_tokens": 150}])
def test_one_big_batch_and_many_small_ones_give_the_same_adapter(
    gym_folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    big = gym.fit(gym_folder, tmp_path / "big")
    small = gym.fit(gym_folder, tmp_path / "small", changes)
    assert gym.distance(gym.weights(big), gym.weights(small)) < 1e-6


@pytest.mark.parametrize("changes", [
    {"train.attention": "sdpa"}, {"train.attention": "eager"}, {"train.recompute_activations": True},
    {"train.recompute_activations": True, "train.lora": None},
])
def test_how_it_is_computed_changes_nothing(gym_folder: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    plain = gym.fit(gym_folder, tmp_path / "plain", {"train.lora": None} if "train.lora" in changes else {})
    other = gym.fit(gym_folder, tmp_path / "other", changes)
    assert gym.distance(gym.weights(plain), gym.weights(other)) < 2e-5


@pytest.mark.parametrize("changes", [
    {"train.lora.variant": "rslora"}, {"train.lora.variant": "dora"}, {"train.lora.dropout": 0.1},
    {"train.lora.target_modules": ["q_proj", "v_proj"]}, {"train.schedule": "linear"}, {"train.schedule": "constant"},
    {"train.lora": None}, {"train.lora": None, "train.precision": "bf16"}, {"train.precision": "bf16"},
    {"train.lora": None, "train.precision": "bf16", "train.attention": "sdpa", "train.recompute_activations": True},
])
def test_every_variant_trains_and_its_weights_load_and_answer_as_the_probe_said(
    gym_folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    from attunement import chat
    from attunement.models import BASE, load_base, load_tokenizer, load_tuned
    from attunement.suites import read_suite

    scratch = gym.fit(gym_folder, tmp_path, changes)
    losses = [point.val_loss for point in published(scratch).history]
    assert losses[1] < losses[0]
    params, tokenizer = gym.declare(gym_folder, changes), load_tokenizer(BASE)
    tuned = load_tuned(load_base(BASE, "bf16" if params.train.precision == "bf16" else "fp32"),
                       scratch / f"checkpoints/step-{published(scratch).history[-1].step:06d}/weights", base=BASE)
    prompts = read_suite("adversarial_probe", amount=6)
    asked = [chat.encode_prompt(tokenizer, prompt.context, system_prompt="Listen.", max_tokens=2048)
             for prompt in prompts]
    replies = chat.generate(tuned, tokenizer, asked, max_new_tokens=4, batch_size=2, seed=1)
    probed = {probe.prompt_id: probe.reply for probe in published(scratch).probes
              if probe.step == published(scratch).history[-1].step}
    assert {prompt.prompt_id: reply.text for prompt, reply in zip(prompts, replies, strict=True)} == probed


def published(scratch: Path) -> Any:
    from attunement.probe import Published

    return Published.read(scratch)


def steps_of(scratch: Path) -> list[int]:
    return [point.step for point in published(scratch).history]


@pytest.mark.parametrize(("checkpoints", "steps"), [
    (1, [6]), (4, [2, 3, 4, 6]), (6, [1, 2, 3, 4, 5, 6]), ({"every_frac": 1.0}, [6]), ({"every_frac": 0.5}, [3, 6]),
    ({"every_frac": 0.4}, [2, 5, 6]), ({"every_frac": 0.95}, [6]), ({"every_tokens": 10**9}, [6]),
    ({"every_tokens": 1}, [1, 2, 3, 4, 5, 6]),
])
def test_checkpoints_are_made_where_they_are_declared(gym_folder: Path, checkpoints: object, steps: list[int]) -> None:
    assert planned(gym_folder, checkpoints) == steps


def test_every_so_many_tokens_is_after_the_step_that_read_them(gym_folder: Path) -> None:
    stream = streamed(gym_folder, {})
    read = [stream.step(k).n_tokens for k in range(6)]
    assert planned(gym_folder, {"every_tokens": read[0] + read[1]})[0] == 2
    assert planned(gym_folder, {"every_tokens": read[0] + read[1] + 1})[0] == 3
    assert planned(gym_folder, {"every_tokens": read[0]})[0] == 1


@pytest.mark.parametrize("checkpoints", [7, {"every_frac": 0.05}])
def test_more_checkpoints_than_steps_are_refused(gym_folder: Path, checkpoints: object) -> None:
    with pytest.raises(TrainingError, match=r"6 steps are too few for (7|20) checkpoints"):
        planned(gym_folder, checkpoints)


def planned(folder: Path, checkpoints: object) -> list[int]:
    from attunement.training_data import checkpoint_steps

    changes = {"train.checkpoints": checkpoints}
    return checkpoint_steps(gym.declare(folder, changes), streamed(folder, changes))


def streamed(folder: Path, changes: dict[str, object]) -> Any:
    from attunement.models import BASE, load_tokenizer
    from attunement.training_data import TrainingData

    params = gym.declare(folder, changes)
    return TrainingData.read(params, load_tokenizer(BASE)).streams(params)[0]


def test_how_often_is_looked_changes_nothing_about_the_result(gym_folder: Path, tmp_path: Path) -> None:
    often = gym.fit(gym_folder, tmp_path / "often", {"train.checkpoints": 6, "train.lora.dropout": 0.1})
    once = gym.fit(gym_folder, tmp_path / "once", {"train.checkpoints": 1, "train.lora.dropout": 0.1})
    assert steps_of(often) == [1, 2, 3, 4, 5, 6]
    last = {name: tensor for name, tensor in gym.weights(often).items() if name.startswith("step-000006")}
    assert gym.distance(last, gym.weights(once)) == 0


def test_a_breach_stops_training_where_that_is_declared_and_a_restart_remembers_it(
    gym_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from attunement.models import BASE, load_tokenizer
    from attunement.select import select
    from attunement.train import publish
    from attunement.training_data import TrainingData

    changes = {"train.probe.on_breach": "stop", "train.checkpoints": 3}
    scratch = gym.fit(gym_folder, tmp_path / "scratch", changes)  # what the toy says can not be scored: a breach
    assert steps_of(scratch) == [2]
    gym.fit(gym_folder, scratch, changes)
    assert capsys.readouterr().err.count("checkpoint at step") == 1, "a restart trains no step"
    gym.remove(scratch, "states")  # as when it is killed between the checkpoint and its state
    gym.fit(gym_folder, scratch, changes)
    assert steps_of(scratch) == [2]
    params = gym.declare(gym_folder, changes)
    publish(params, TrainingData.read(params, load_tokenizer(BASE)), scratch, out=tmp_path / "out")
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["n_steps"], summary["n_planned_steps"]) == (2, 6)
    assert "train.probe.on_breach is stop" in summary["stopped_because"]
    chosen = select(params.select, published(scratch).history, published(scratch).probes)
    assert (chosen.step, chosen.eligible) == (2, False)
    assert "no checkpoint of 1 passed the probe" in chosen.because


def test_a_loss_that_falls_too_little_stops_training_and_a_restart_remembers_it(
    gym_folder: Path, tmp_path: Path
) -> None:
    changes = {"train.early_stop": {"patience_checkpoints": 1, "min_improvement": 10.0}, "train.checkpoints": 3}
    scratch = gym.fit(gym_folder, tmp_path, changes)
    assert steps_of(scratch) == [2, 4]
    gym.fit(gym_folder, scratch, changes)
    assert steps_of(scratch) == [2, 4]


def test_whatever_the_limits_the_chosen_checkpoint_still_has_its_weights(gym_folder: Path, tmp_path: Path) -> None:
    from attunement.params import Select
    from attunement.select import select

    scratch = gym.fit(gym_folder, tmp_path, {"train.keep_checkpoints": 1, "train.checkpoints": 6})
    kept = {int(name.split()[0].removeprefix("step-")) for name in gym.weights(scratch)}
    assert kept < set(steps_of(scratch)), "some were dropped"
    found = published(scratch)
    chosen = {select(Select(max_toxic_replies=toxic, max_unscored_replies=unscored), found.history, found.probes).step
              for toxic in range(8) for unscored in range(8)}
    assert chosen <= kept


@pytest.mark.parametrize("changes", [{"train.lora.dropout": 0.1}, {"train.lora": None}])
def test_a_training_that_was_cut_anywhere_ends_in_the_same_bytes(
    gym_folder: Path, tmp_path: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    from attunement.tuner import SupportTuner

    whole = gym.weights(gym.fit(gym_folder, tmp_path / "whole", changes))
    real, cut_after = SupportTuner.training_step, [2, 4]

    def cut(self: Any, step: Any, batch_idx: int) -> None:
        if cut_after and self.global_step == cut_after[0]:
            cut_after.pop(0)
            raise RuntimeError("cut")
        real(self, step, batch_idx)

    monkeypatch.setattr(SupportTuner, "training_step", cut)
    changes = {**changes, "train.save_state_every_min": 1e-9}
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cut"):
            gym.fit(gym_folder, tmp_path / "cut", changes)
    assert gym.distance(gym.weights(gym.fit(gym_folder, tmp_path / "cut", changes)), whole) == 0


@pytest.fixture(scope="module")
def adapter(gym_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter to go on from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(gym_folder)
        scratch = gym.fit(gym_folder, tmp_path_factory.mktemp("adapter"), {"train.checkpoints": 1})
    return scratch / "checkpoints/step-000006/weights"


def warm(folder: Path, **lora: object) -> dict[str, object]:
    pinned = {"path": str(folder), "sha256": sha256_of(folder / "adapter_model.safetensors")}
    return {"train.lora.warm_start": pinned, "train.checkpoints": 1,
            **{f"train.lora.{name}": value for name, value in lora.items()}}


def test_a_warm_start_goes_on_from_that_adapter_with_the_declared_dropout(
    gym_folder: Path, tmp_path: Path, adapter: Path
) -> None:
    from attunement.models import BASE, load_base
    from attunement.trainable import add_lora

    still = gym.fit(gym_folder, tmp_path / "still", warm(adapter) | {"train.learning_rate": 1e-12})
    before = gym.weights(adapter.parents[2])
    assert gym.distance(gym.weights(still), before) < 1e-9
    on = gym.fit(gym_folder, tmp_path / "on", warm(adapter))
    assert published(on).history[0].val_loss < published(still).history[0].val_loss
    tuned = add_lora(load_base(BASE, "fp32"), gym.declare(gym_folder, warm(adapter, dropout=0.3)).train.lora)
    assert {module.p for module in tuned.modules() if type(module).__name__ == "Dropout"} == {0.3}


@pytest.mark.parametrize(("lora", "told"), [
    ({"r": 4}, "has r 2, and train.lora asks for 4"), ({"alpha": 8.0}, "has lora_alpha 32.0"),
    ({"variant": "rslora"}, "has use_rslora False"), ({"variant": "dora"}, "has use_dora False"),
    ({"target_modules": ["q_proj"]}, r"unknown\). Its target_modules are down_proj, gate_proj"),
])
def test_a_warm_start_of_another_shape_is_refused(
    gym_folder: Path, tmp_path: Path, adapter: Path, lora: dict[str, object], told: str
) -> None:
    with pytest.raises(TrainingError, match=told):
        gym.fit(gym_folder, tmp_path, warm(adapter, **lora))


def test_a_warm_start_that_is_not_the_pinned_one_or_of_another_base_is_refused(
    gym_folder: Path, tmp_path: Path, adapter: Path
) -> None:
    pinned = warm(adapter)
    pinned["train.lora.warm_start"] = {"path": str(adapter), "sha256": "0" * 64}
    with pytest.raises(TrainingError, match=r"but train\.lora\.warm_start\.sha256 is 0000"):
        gym.fit(gym_folder, tmp_path / "1", pinned)
    with pytest.raises(TrainingError, match=r"holds no adapter_model\.safetensors"):
        gym.fit(gym_folder, tmp_path / "2", {"train.lora.warm_start": {"path": "nowhere", "sha256": "0" * 64}})
    other = shutil.copytree(adapter, tmp_path / "other")
    (other / "trained_on.json").write_text(json.dumps({"base_manifest_sha256": "1" * 64}))
    with pytest.raises(ModelError, match="was trained on another base"):
        gym.fit(gym_folder, tmp_path / "3", warm(other))


@pytest.mark.parametrize("targets", ["nope", ["nope", "neither"]])
def test_target_modules_that_the_model_lacks_are_named(gym_folder: Path, tmp_path: Path, targets: object) -> None:
    with pytest.raises(TrainingError, match=r"target_modules .*nope.* does not fit this model"):
        gym.fit(gym_folder, tmp_path, {"train.lora.target_modules": targets})


def test_four_bits_without_their_library_end_clearly(
    gym_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match=r"pip install 'attunement\[quantised\]', or take bf16"):
        gym.fit(gym_folder, tmp_path, {"train.precision": "nf4"})
