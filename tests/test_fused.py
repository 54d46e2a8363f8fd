"""What is computed cheaply equals what is computed plainly."""

from pathlib import Path
from typing import Any

import build
import pytest

from attunement import chat
from attunement.records import Turn
from attunement.stream import Example, pack_of

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build.build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def examples(folder: Path) -> list[Example]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["Short.", "A longer answer that goes on for a while, and then some more.", "What then?", "I see."]
    talks = [(Turn(role="user", text=f"This is number {i}."), Turn(role="assistant", text=text))
             for i, text in enumerate(texts)]
    return [Example(f"d{i}", chat.encode(tokenizer, talk, system_prompt="Listen.", max_tokens=500))
            for i, talk in enumerate(talks)]


def model(folder: Path, attention: str) -> Any:
    from transformers import AutoModelForCausalLM

    from attunement.fused import register_documents_attention

    register_documents_attention()
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation=attention)


def losses_and_gradients(net: Any, packs: list[Any]) -> tuple[float, list[Any]]:
    from attunement.tuner import supervised_loss

    net.zero_grad()
    total = 0.0
    for pack in packs:
        loss, _ = supervised_loss(net, pack)
        loss.backward()
        total += loss.item()
    return total, [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("attention", ["documents", "sdpa", "eager"])
def test_packed_equals_separate(folder: Path, examples: list[Example], attention: str) -> None:
    net = model(folder, attention)
    together, packed = losses_and_gradients(net, [pack_of(examples)])
    apart, separate = losses_and_gradients(net, [pack_of([example]) for example in examples])
    assert together == pytest.approx(apart, rel=1e-6)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(packed, separate, strict=True))


@pytest.mark.parametrize("attention", ["documents", "sdpa", "eager"])
def test_no_dialogue_of_a_pack_sees_another(folder: Path, examples: list[Example], attention: str) -> None:
    from attunement.tuner import supervised_loss

    net = model(folder, attention)
    first, second, third = examples[:3]
    alone = supervised_loss(net, pack_of([second]))[0].item()
    for neighbours in ([first, second], [third, second]):
        pack = pack_of(neighbours)
        start = pack.documents[0]
        pack.targets[0, :start] = chat.IGNORED
        assert supervised_loss(net, pack)[0].item() == pytest.approx(alone, abs=1e-5)


def test_the_loss_is_that_of_the_whole_sequence_at_target_positions(folder: Path, examples: list[Example]) -> None:
    net = model(folder, "sdpa")
    for example in examples:
        pack = pack_of([example])
        whole = net(input_ids=pack.input_ids, labels=pack.targets)
        assert losses_and_gradients(net, [pack])[0] == pytest.approx(
            whole.loss.item() * example.encoded.n_targets, rel=1e-5)


def test_all_gradients_are_those_of_the_plain_loss_the_tied_head_included(
    folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    from attunement import fused

    monkeypatch.setattr(fused, "CHUNK_ROWS", 5)  # several chunks, the last one smaller
    net, pack = model(folder, "sdpa"), pack_of(examples[1:2])
    mine = losses_and_gradients(net, [pack])[1]
    net.zero_grad()
    (net(input_ids=pack.input_ids, labels=pack.targets).loss * examples[1].encoded.n_targets).backward()
    theirs = [p.grad for p in net.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-4, rtol=1e-4) for a, b in zip(mine, theirs, strict=True))


def test_attention_written_out_equals_sdpa() -> None:
    from attunement.fused import _by_products, _by_sdpa

    torch.manual_seed(0)
    q, k, v = torch.randn(1, 6, 17, 8), torch.randn(1, 2, 17, 8), torch.randn(1, 2, 17, 8)
    assert torch.allclose(_by_products(q, k, v, 0.3), _by_sdpa(q, k, v, 0.3), atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_a_fused_lora_layer_gives_pefts_output_and_gradients(bias: bool) -> None:
    from peft import LoraConfig, get_peft_model

    from attunement.fused import fuse_lora

    torch.manual_seed(0)
    net = get_peft_model(torch.nn.Sequential(torch.nn.Linear(6, 5, bias=bias)),
                         LoraConfig(r=2, lora_alpha=3, target_modules=["0"], use_rslora=True))
    for name, p in net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p)
    x = torch.randn(3, 4, 6, requires_grad=True)

    def passed() -> list[Any]:
        net.zero_grad()
        x.grad = None
        out = net(x)
        out.square().sum().backward()
        return [out.detach(), x.grad.clone(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]

    plain = passed()
    assert fuse_lora(net) == 1
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(passed(), plain, strict=True))
    with net.disable_adapter():
        assert torch.allclose(net(x), net.base_model.model[0].base_layer(x))


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_dropout": 0.1}])
def test_what_is_not_plain_lora_is_left_to_peft(options: dict[str, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    from attunement.fused import fuse_lora

    net = get_peft_model(torch.nn.Sequential(torch.nn.Linear(6, 5)), LoraConfig(r=2, target_modules=["0"], **options))
    assert fuse_lora(net) == 0
