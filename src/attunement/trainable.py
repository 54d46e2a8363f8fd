"""The model as it is trained: an adapter on a frozen base, or all weights; and that its loss is what it should be."""

import json
from pathlib import Path
from typing import Any

from attunement.artefacts import sha256_of
from attunement.errors import TrainingError
from attunement.models import BASE, NamesError, Precision, fill_adapter, load_base
from attunement.params import Lora, Params
from attunement.stream import Stream

TOLERANCE = {"fp32": 1e-3, "bf16": 0.03, "nf4": 0.03}  # relative, of the loss in packs and the model's own


def trainable_model(params: Params, precision: Precision) -> Any:
    """The base with a fresh or a warm adapter, or all of it in float32, in training mode."""
    settings = params.train
    model = load_base(BASE, "fp32" if settings.lora is None else precision, attention=settings.attention)
    if settings.recompute_activations:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train() if settings.lora is None else add_lora(model, settings.lora)


def add_lora(model: Any, lora: Lora) -> Any:
    """The model with a LoRA adapter, its weights in float32, in training mode.

    Raises TrainingError when ``train.lora.target_modules`` matches nothing or the warm start is another shape's, and
    ModelError when it is another base's.
    """
    from peft import LoraConfig, get_peft_model

    from attunement.fused import fuse_lora

    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=targets,
                        use_rslora=lora.variant == "rslora", use_dora=lora.variant == "dora", task_type="CAUSAL_LM")
    try:
        tuned = get_peft_model(model, config).train()
    except ValueError as error:
        raise TrainingError(f"train.lora ({lora.variant}, target_modules {targets}) does not fit this model: "
                            f"{error}") from error
    if lora.warm_start is not None:
        _warm(tuned, Path(lora.warm_start.path), lora.warm_start.sha256, config)
    fuse_lora(tuned)
    return tuned


def _warm(tuned: Any, folder: Path, sha256: str, config: Any) -> None:
    """Go on from an adapter: it must be the pinned one, of this base, and shaped as ``train.lora`` says."""
    file = folder / "adapter_model.safetensors"
    for path in (file, folder / "adapter_config.json"):
        if not path.is_file():
            raise TrainingError(f"train.lora.warm_start.path: {folder} holds no {path.name}.")
    if (found := sha256_of(file)) != sha256:
        raise TrainingError(f"{file} has sha256 {found}, but train.lora.warm_start.sha256 is {sha256}.")
    saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    wanted = {"r": config.r, "lora_alpha": config.lora_alpha, "use_rslora": config.use_rslora,
              "use_dora": config.use_dora}
    for key, value in wanted.items():
        if saved.get(key) != value:
            raise TrainingError(f"the adapter in {folder} has {key} {saved.get(key)}, and train.lora asks for {value}; "
                                "write the same.")
    try:
        fill_adapter(tuned, folder, base=BASE)
    except NamesError as error:
        modules = saved["target_modules"]
        short = modules if isinstance(modules, str) else ", ".join(sorted({name.split(".")[-1] for name in modules}))
        raise TrainingError(f"train.lora.warm_start: {error} Its target_modules are {short}.") from error


def check_loss(model: Any, stream: Stream, precision: Precision) -> None:
    """Raise TrainingError unless two dialogues in one pack give the loss that the model itself gives to each alone.

    A model that mixes what stands in one row, or scales its logits, would be trained on something else unnoticed.
    """
    import torch

    from attunement.stream import pack_of
    from attunement.tuner import supervised_loss

    two = sorted(stream.examples, key=lambda example: (len(example.encoded.input_ids), example.dialogue_id))[:2]
    was = model.training
    model.eval()
    with torch.no_grad():
        together = supervised_loss(model, pack_of(two).to(model.device))[0].item()
        alone = 0.0
        for example in two:
            ids = torch.tensor([example.encoded.input_ids], device=model.device)
            targets = torch.tensor([example.encoded.targets], device=model.device)
            alone += model(input_ids=ids, labels=targets, use_cache=False).loss.item() * example.encoded.n_targets
    model.train(was)
    if not abs(together - alone) <= TOLERANCE[precision] * abs(alone):
        raise TrainingError(
            f"two dialogues in one pack give a loss of {together:.4f}, and {alone:.4f} by themselves: this model mixes "
            "what stands in one row, or scales its logits. Try train.attention: sdpa, then train.batch_dialogues: 1.")
