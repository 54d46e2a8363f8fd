"""What a training step and an answer keep in memory, found by running them on tensors that have shapes and no values.

In: a model's configuration, ``params.train`` and the lengths of a pack's dialogues. Out: bytes. The model is built on
the meta device with PEFT's own adapter on it, then moved to PyTorch's fake tensors, and training's own attention,
layers and loss run over it: what autograd keeps is counted where it arises, so no formula has to follow the
architecture, the adapter's variant, mixed precision or recomputation. Takes seconds and next to no memory at any size
of model.
"""

import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch._subclasses.fake_tensor import FakeTensorMode  # private, and what torch.compile itself stands on
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from attunement.errors import ParamsError
from attunement.fused import DOCUMENTS, register_documents_attention, supervised_cross_entropy
from attunement.models import Precision, torch_dtype
from attunement.params import Train
from attunement.trainable import prepared

Device = Literal["cuda", "cpu"]
FLASH = "rehearsed"  # what a GPU's kernels keep, for a machine that has none
# 4 bits, a byte of scale for 64 weights, and 4 bytes for 256 of those (Dettmers et al. 2023, double quantisation).
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)


@dataclass(frozen=True)
class Weights:
    """How many weights a model has, how many of them are trained, and the bytes of both kinds on one device."""

    n_base: int
    n_trained: int
    frozen_bytes: int
    trained_bytes: int
    largest_bytes: int  # of one tensor in the precision that computes: what is unpacked or gathered at a time


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a step beyond weights and the optimiser's state.

    ``kept`` stands when the forward pass is done, ``peak`` is the most that stood at once, gradients among it.
    """

    kept_bytes: int
    peak_bytes: int


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that live, by their storages: views are counted once. ``peak`` is the most."""

    def __init__(self, known: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.peak = 0
        self._seen = {tensor.untyped_storage()._cdata: 0 for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._count(leaf.untyped_storage())
        return out

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._seen:
            return
        self._seen[storage._cdata] = storage.nbytes()
        self.bytes += storage.nbytes()
        self.peak = max(self.peak, self.bytes)
        weakref.finalize(storage, self._gone, storage._cdata)

    def _gone(self, key: int) -> None:
        self.bytes -= self._seen.pop(key)


class _Flash(torch.autograd.Function):
    """What a flash kernel keeps (Dao 2023): its inputs, its output, and a float32 a head and position."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        out = torch.empty_like(q)
        ctx.save_for_backward(q, k, v, out, torch.empty(q.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _flash_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    q, k = query.to(value.dtype), key.to(value.dtype)
    return _Flash.apply(q, k, value).transpose(1, 2), None  # type: ignore[no-untyped-call]


def read_config(folder_or_file: Path) -> Any:
    """The configuration in a model's folder or file; raises ParamsError when it is none that transformers knows."""
    from transformers import AutoConfig

    if not folder_or_file.exists():
        raise ParamsError(f"{folder_or_file} is not here. Expected a model's config.json, as its authors publish it.")
    try:
        return AutoConfig.from_pretrained(folder_or_file, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ParamsError(f"{folder_or_file} is not the config.json of a model that the installed transformers knows "
                          f"({str(error).splitlines()[0]}). Expected the file as its authors publish it.") from error


def built(config: Any, settings: Train, precision: Precision, device: Device) -> Any:
    """The model as training has it, without values: on the meta device, with its adapter, in training mode."""
    from transformers import AutoModelForCausalLM

    _register_flash()
    register_documents_attention()
    full = settings.lora is None
    dtype = torch.float32 if full else torch_dtype(precision)
    flash = device == "cuda" and settings.attention != "eager"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=FLASH if flash else settings.attention)
        if settings.lora is not None:  # a warm start is of the same shape
            settings = settings.model_copy(update={"lora": settings.lora.model_copy(update={"warm_start": None})})
        return prepared(model, settings, fuse=precision != "nf4")  # over 4 bits nothing is fused


def weights_of(model: Any, precision: Precision) -> Weights:
    """Count a built model's weights; those of 4 bits are what bitsandbytes packs, all linear layers but the head."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    frozen = [p for p in model.parameters() if not p.requires_grad]
    trained = [p for p in model.parameters() if p.requires_grad]
    packed = _packed(base) if precision == "nf4" else set()
    frozen_bytes = sum(p.numel() * (NF4_BYTES if id(p) in packed else p.element_size()) for p in frozen)
    return Weights(
        n_base=sum(p.numel() for p in (frozen or trained)), n_trained=sum(p.numel() for p in trained),
        frozen_bytes=round(frozen_bytes), trained_bytes=sum(p.numel() * p.element_size() for p in trained),
        largest_bytes=max(p.numel() * p.element_size() for p in (frozen or trained) if not packed or id(p) in packed),
    )


def _packed(base: Any) -> set[int]:
    head = base.get_output_embeddings()
    return {id(layer.weight) for layer in base.modules()
            if isinstance(layer, torch.nn.Linear) and layer is not head and not layer.weight.requires_grad}


def rehearse_step(
    model: Any, settings: Train, *, documents: Sequence[int], n_targets: int, n_packs: int, mixed: bool
) -> StepMemory:
    """Forward and backward over a pack of ``documents``, their lengths in tokens, ``n_targets`` of them learnt.

    ``n_packs`` in a step: from the second on gradients stand already. ``mixed``: under autocast to bfloat16, as
    Lightning has it. Changes ``model``, which is of no use afterwards.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    with _fake(model), _autocast(mixed):
        live = Live(list(model.parameters()))
        given = _inputs(base, settings, documents)
        with live:
            for _ in range(min(2, n_packs)):
                hidden = base.get_decoder()(**given, use_cache=False).last_hidden_state[0]
                kept = live.bytes
                targets = torch.zeros(n_targets, dtype=torch.int64)
                loss = supervised_cross_entropy(hidden[:n_targets], base.get_output_embeddings().weight, targets)
                del hidden
                loss.backward()  # type: ignore[no-untyped-call]
                del loss
    return StepMemory(kept_bytes=kept, peak_bytes=live.peak)


def rehearse_answers(
    config: Any, precision: Precision, *, prompts: int, prompt_tokens: int, new_tokens: int
) -> int:
    """The most bytes that answering takes beyond weights: reading a batch of prompts, then the cache as it grows."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch_dtype(precision), attn_implementation="sdpa")
    n_layers = config.get_text_config().num_hidden_layers
    with _fake(model.eval()), torch.no_grad():
        live = Live(list(model.parameters()))
        ids = torch.zeros(prompts, prompt_tokens, dtype=torch.int64)
        mask = torch.ones(prompts, 1, prompt_tokens, prompt_tokens, dtype=torch.bool)
        with live:
            out = model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1)
            reading, cache = live.peak, live.bytes
            del out
    grown = cache * (prompt_tokens + new_tokens) / prompt_tokens
    return int(max(reading, grown * (1 + 1 / n_layers)))  # a layer's cache is copied when it grows


def _inputs(base: Any, settings: Train, documents: Sequence[int]) -> dict[str, Any]:
    """What the decoder is given: a mask of (1, 1, time, time) where attention masks what another dialogue holds."""
    n, attention = sum(documents), base.config._attn_implementation
    given: dict[str, Any] = {"input_ids": torch.zeros(1, n, dtype=torch.int64)}
    if attention == DOCUMENTS:
        return given | {"documents": tuple(documents)}
    masked = settings.attention == "eager" or (settings.attention == "sdpa" and attention != FLASH)
    dtype = base.get_input_embeddings().weight.dtype if attention == "eager" else torch.bool
    return given | ({"attention_mask": torch.zeros(1, 1, n, n, dtype=dtype)} if masked else {})


@contextmanager
def _fake(model: Any) -> Iterator[None]:
    """Inside, the model's tensors are fake ones of a CPU: they have a dispatcher, as autocast needs, and no memory."""
    with FakeTensorMode():
        made: dict[int, Any] = {}
        for module in model.modules():
            for name, p in [*module._parameters.items()]:
                if p is not None:
                    like = torch.empty(p.shape, dtype=p.dtype)
                    module._parameters[name] = made.setdefault(id(p), torch.nn.Parameter(like, p.requires_grad))
            for name, buffer in [*module._buffers.items()]:
                if buffer is not None:
                    module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
        yield


def _autocast(mixed: bool) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if mixed else nullcontext()


def _register_flash() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(FLASH, _flash_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(FLASH, sdpa_mask)
