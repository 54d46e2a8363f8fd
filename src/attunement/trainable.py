"""The model as it is trained: an adapter on a frozen base, or all weights; and that its loss is what it should be."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from attunement.artefacts import sha256_of
from attunement.errors import TrainingError
from attunement.models import BASE, NamesError, Precision, fill_adapter, load_base
from attunement.params import Lora, Params, Train
from attunement.stream import Pack, Stream
from attunement.tuner import logits_of

# Relative. Other shapes round otherwise; with equal shapes a neighbour changes nothing at all.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.02, "nf4": 0.02}  # of the likeliest words' logits, on average
MIXING = {"fp32": 1e-6, "bf16": 0.01, "nf4": 0.01}  # of the largest logit
REMEDY = "Take train.batch_dialogues: 1, or train.attention: sdpa where its layers attend."


def trainable_model(params: Params, precision: Precision) -> Any:
    """The base with a fresh or a warm adapter, or all of it in float32, in training mode."""
    settings = params.train
    model = load_base(BASE, "fp32" if settings.lora is None else precision, attention=settings.attention)
    return prepared(model, settings)


def prepared(model: Any, settings: Train, *, fuse: bool = True) -> Any:
    """The model with what is trained on it, in training mode; ``fuse`` as ``add_lora`` has it."""
    if settings.recompute_activations:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return model.train() if settings.lora is None else add_lora(model, settings.lora, fuse=fuse)


def add_lora(model: Any, lora: Lora, *, fuse: bool = True) -> Any:
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
    if fuse:
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
    try:
        saved = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise TrainingError(f"{folder / 'adapter_config.json'} is no JSON: expected PEFT's own file.") from error
    wanted = {"r": config.r, "lora_alpha": config.lora_alpha, "use_rslora": config.use_rslora,
              "use_dora": config.use_dora}
    for key, value in wanted.items():
        if saved.get(key) != value:
            raise TrainingError(f"the adapter in {folder} has {key} {saved.get(key)}, and train.lora asks for {value}; "
                                "write the same.")
    try:
        fill_adapter(tuned, folder, base=BASE)
    except NamesError as error:
        modules = saved.get("target_modules", "not told")
        short = modules if isinstance(modules, str) else ", ".join(sorted({name.split(".")[-1] for name in modules}))
        raise TrainingError(f"train.lora.warm_start: {error} Its target_modules are {short}.") from error


def check_loss(model: Any, stream: Stream, precision: Precision) -> None:
    """Raise TrainingError unless a dialogue in a pack gets the logits that the model itself gives to it alone.

    A model that mixes what stands in one row, or does more to its logits than to multiply by its output layer, would
    be trained on something else unnoticed. The loss tells of it too late: a scale or a neighbour changes it little.
    """
    import torch

    from attunement.stream import pack_of

    shortest = sorted(stream.examples, key=lambda example: (len(example.encoded.input_ids), example.dialogue_id))
    asked = shortest[: min(2, stream.share.batch_dialogues)]
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            pack = pack_of(asked).to(model.device)
            start = pack.documents[0]
            packed = logits_of(model, pack)
            alone = torch.cat([_own_logits(model, pack_of([one]).to(model.device)) for one in asked])
            changed = replace(pack, input_ids=torch.cat([pack.input_ids[:, :start].flip(1),
                                                         pack.input_ids[:, start:]], 1))
            n = asked[-1].encoded.n_targets
            moved = (logits_of(model, changed) - packed)[-n:] if len(asked) > 1 else torch.zeros(1)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise TrainingError(f"this model can not be run in packs with train.attention: {_attention(model)}: {error}. "
                            "Try eager or sdpa, or another base.") from error
    finally:
        model.train(was)
    size, mixed = float(alone.abs().max()), float(moved.abs().max())
    if not mixed <= MIXING[precision] * size:
        raise TrainingError(f"what follows in a dialogue depends on its neighbour in a pack (by {mixed:.2g} of "
                            f"{size:.2g} in its logits). {REMEDY}")
    likeliest = alone.argmax(-1, keepdim=True)  # what is capped or scaled is so there most
    own, ours = (float(tensor.gather(1, likeliest).mean()) for tensor in (alone, packed))
    if not abs(ours - own) <= TOLERANCE[precision] * abs(own):
        raise TrainingError(
            f"this model's own logits are not its hidden states times its output layer (the likeliest words have "
            f"{own:.3g}, not {ours:.3g}): it scales, caps or shifts them, or reads a pack otherwise than a dialogue "
            "alone. Training would learn another loss; take another base.")


def _own_logits(model: Any, pack: Pack) -> Any:
    """What the model says at target positions, without a pack's help; (targets, vocabulary), float32."""
    from attunement.chat import IGNORED

    logits = model(input_ids=pack.input_ids, use_cache=False).logits[:, :-1]
    return logits[pack.targets[:, 1:] != IGNORED].float()


def _attention(model: Any) -> str:
    return str(model.config._attn_implementation)
