"""Adapters and bases that belong together, and those that do not."""

from pathlib import Path
from typing import Any

import build
import pytest

from attunement.artefacts import MANIFEST, manifest_of, write_json
from attunement.errors import IntegrityError, ModelError
from attunement.models import load_adapter, load_base, load_tokenizer, save_adapter
from attunement.params import load
from attunement.trainable import add_lora

SHIPPED = Path(__file__).resolve().parents[1] / "params.yaml"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build.build_model(tmp_path_factory.mktemp("base"))
    write_json(folder / MANIFEST, manifest_of(folder))
    return folder


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    model = add_lora(load_base(base, "fp32"), load(SHIPPED).train.lora)
    save_adapter(model, tmp_path / "adapter", base=base)
    return tmp_path / "adapter"


def saved(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def rewrite(folder: Path, tensors: dict[str, Any]) -> None:
    from safetensors.torch import save_file

    save_file(tensors, folder / "adapter_model.safetensors")


def test_a_saved_adapter_loads_on_its_own_base(base: Path, adapter: Path) -> None:
    tuned = load_adapter(load_base(base, "fp32"), adapter, base=base)
    assert not tuned.training
    assert any("lora_A" in name for name, _ in tuned.named_parameters())


def test_an_adapter_does_not_load_on_another_base(base: Path, adapter: Path, tmp_path: Path) -> None:
    other = build.build_model(tmp_path / "other")
    write_json(other / MANIFEST, manifest_of(other) | {"config.json": "0" * 64})
    with pytest.raises(ModelError, match="was trained on another base"):
        load_adapter(load_base(base, "fp32"), adapter, base=other)


def test_an_adapter_with_a_missing_tensor_is_refused(base: Path, adapter: Path) -> None:
    tensors = saved(adapter)
    tensors.pop(sorted(tensors)[0])
    rewrite(adapter, tensors)
    with pytest.raises(ModelError, match="1 missing, 0 unknown"), pytest.warns(UserWarning, match="missing"):
        load_adapter(load_base(base, "fp32"), adapter, base=base)


def test_an_adapter_with_a_weight_that_is_not_finite_is_refused(base: Path, adapter: Path) -> None:
    tensors = saved(adapter)
    tensors[sorted(tensors)[0]].fill_(float("nan"))
    rewrite(adapter, tensors)
    with pytest.raises(ModelError, match="not finite"):
        load_adapter(load_base(base, "fp32"), adapter, base=base)


def test_an_adapter_that_does_not_say_its_base_is_refused(base: Path, adapter: Path) -> None:
    (adapter / "trained_on.json").unlink()
    with pytest.raises(ModelError, match="does not say which base"):
        load_adapter(load_base(base, "fp32"), adapter, base=base)


def test_a_base_whose_files_were_changed_is_refused(base: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(base, tmp_path / "copy")
    (copy / "config.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"config\.json"):
        load_base(copy, "fp32")


def test_a_tokenizer_without_a_chat_template_is_refused(base: Path, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(base, tmp_path / "copy")
    (copy / "chat_template.jinja").unlink()
    write_json(copy / MANIFEST, manifest_of(copy))
    with pytest.raises(ModelError, match="no chat template"):
        load_tokenizer(copy)


def test_the_adapters_files_are_the_same_under_any_hash_seed(base: Path, tmp_path: Path) -> None:
    import json
    import os
    import subprocess
    import sys

    code = (
        "import sys, torch; from pathlib import Path; from attunement.models import *\n"
        "from attunement.params import load\n"
        "from attunement.trainable import add_lora\n"
        "torch.manual_seed(0); base = Path(sys.argv[1])\n"
        "model = add_lora(load_base(base, 'fp32'), load(Path(sys.argv[2])).train.lora)\n"
        "save_adapter(model, Path(sys.argv[3]), base=base)\n"
    )
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-W", "ignore", "-c", code, base, SHIPPED, tmp_path / seed], check=True,
                       env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True)
    assert json.dumps(manifest_of(tmp_path / "1")) == json.dumps(manifest_of(tmp_path / "2"))


@pytest.fixture
def full(base: Path, tmp_path: Path) -> Path:
    """All weights of a model, as full training leaves them."""
    from attunement.models import save_full

    save_full(load_base(base, "fp32"), tmp_path / "full", base=base, precision="fp32")
    return tmp_path / "full"


def damaged(folder: Path, change: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = dict(load_file(folder / "model.safetensors"))
    change(tensors, min(tensors))
    save_file(tensors, folder / "model.safetensors")


def test_all_weights_of_a_trained_model_replace_those_of_its_base(base: Path, full: Path) -> None:
    from attunement.models import load_tuned

    damaged(full, lambda tensors, name: tensors[name].fill_(0.25))
    tuned = dict(load_tuned(load_base(base, "fp32"), full, base=base).named_parameters())
    assert bool((tuned[min(tuned)] == 0.25).all())


@pytest.mark.parametrize(("change", "told"), [
    (lambda tensors, name: tensors.pop(name), "1 missing, 0 unknown"),
    (lambda tensors, name: tensors[name].fill_(float("nan")), "not finite"),
    (lambda tensors, name: tensors.update({name: tensors[name][:2].clone()}), "1 of its tensors have another shape"),
])
def test_all_weights_with_a_fault_are_refused(base: Path, full: Path, change: Any, told: str) -> None:
    from attunement.models import load_tuned

    damaged(full, change)
    with pytest.raises(ModelError, match=told):
        load_tuned(load_base(base, "fp32"), full, base=base)


def test_all_weights_that_were_trained_from_another_base_are_refused(base: Path, full: Path) -> None:
    from attunement.models import load_tuned

    write_json(full / "trained_on.json", {"base_manifest_sha256": "0" * 64})
    with pytest.raises(ModelError, match="was trained on another base"):
        load_tuned(load_base(base, "fp32"), full, base=base)


def test_an_attention_that_a_model_does_not_know_is_refused_and_its_best_is_taken_otherwise(tmp_path: Path) -> None:
    from transformers import BloomConfig, BloomForCausalLM

    BloomForCausalLM(BloomConfig(vocab_size=50, hidden_size=8, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    write_json(tmp_path / MANIFEST, manifest_of(tmp_path))
    with pytest.raises(ModelError, match=r"does not know train\.attention: sdpa; take eager"):
        load_base(tmp_path, "fp32", attention="sdpa")
    assert load_base(tmp_path, "fp32").config._attn_implementation == "eager"
