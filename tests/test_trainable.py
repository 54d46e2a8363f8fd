"""Models that would be trained on another loss than their own are refused before training."""

from typing import Any

import build
import gym
import pytest

from attunement import chat
from attunement.errors import TrainingError
from attunement.stream import Example, Share, Stream

torch = pytest.importorskip("torch")

SIZES = {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(build.build_model(tmp_path_factory.mktemp("model")))
    return [Example(f"d{i}", chat.encode(tokenizer, gym.dialogue(i).turns, system_prompt="Listen.", max_tokens=999))
            for i in range(3)]


def check(examples: list[Example], name: str, *, attention: str, batch_dialogues: int = 2, **options: Any) -> None:
    """Check a random model of a family of transformers."""
    import transformers

    from attunement.fused import register_documents_attention
    from attunement.trainable import check_loss

    register_documents_attention()
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES, **options)
    config._attn_implementation = attention
    model = getattr(transformers, f"{name}ForCausalLM")(config)
    check_loss(model, Stream(examples, [[0, 1, 2]], Share(batch_dialogues, None)), "fp32")
    assert model.training


@pytest.mark.parametrize("attention", ["documents", "sdpa", "eager"])
@pytest.mark.parametrize(("name", "options"), [("Llama", {}), ("Qwen2", {}), ("Mistral", {"sliding_window": 16})])
def test_usual_models_are_what_they_seem(
    examples: list[Example], name: str, options: dict[str, Any], attention: str
) -> None:
    check(examples, name, attention=attention, **options)


@pytest.mark.parametrize(("name", "options"), [("Granite", {"logits_scaling": 8.0}), ("Cohere", {})])
def test_a_model_that_scales_its_logits_is_refused(
    examples: list[Example], name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError, match="own logits are not its hidden states times its output layer"):
        check(examples, name, attention="documents", **options)


def test_a_model_that_mixes_the_dialogues_of_a_pack_is_refused_and_learns_them_one_by_one(
    examples: list[Example]
) -> None:
    with pytest.raises(TrainingError, match=r"depends on its neighbour in a pack .*Take train\.batch_dialogues: 1"):
        check(examples, "Mamba", attention="eager", state_size=4)
    check(examples, "Mamba", attention="eager", state_size=4, batch_dialogues=1)


def test_a_model_that_an_attention_does_not_fit_is_refused_with_what_to_try(examples: list[Example]) -> None:
    with pytest.raises(TrainingError, match=r"can not be run in packs with train\.attention: documents: .*Try eager"):
        check(examples, "Gemma2", attention="documents", head_dim=8)
