"""What makes a training step cheap, each with the same result as the plain computation (see tests/test_fused.py).

``documents``: attention that sees each dialogue of a pack by itself, so that nothing is computed and then masked.
``fuse_lora``: a linear layer with its LoRA adapter as one function: no float32 copies of activations, and one
saved input. ``supervised_cross_entropy``: loss and its gradient at target positions, a chunk of rows at a time, so
that logits (positions, vocabulary) never stand in memory as a whole. Figures: benchmarks/training/results.md.
"""

import types
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch.autograd.function import FunctionCtx
from torch.nn.functional import scaled_dot_product_attention

DOCUMENTS = "documents"
CHUNK_ROWS = 256  # of logits at a time: 50 MB in float32 with a vocabulary of 49,152


def register_documents_attention() -> None:
    """Make ``attn_implementation="documents"`` known to transformers; without documents it is sdpa."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(DOCUMENTS, _documents_attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(DOCUMENTS, sdpa_mask)


def _documents_attention(
    module: torch.nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0,
    documents: Sequence[int] | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention over (1, heads, time, width), within each of ``documents``, their lengths in order.

    transformers' own sdpa answers where there is one dialogue a row (generation), for layers that see a window, and for
    those with dropout.
    """
    if documents is None or kwargs.get("sliding_window") is not None or kwargs.get("softcap") is not None or dropout:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        answer: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
        return answer
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotated in float32 where all weights are trained
    if query.is_cuda:
        return _varlen(query, key, value, documents, scale), None
    lengths = list(documents)
    parts = zip(*(torch.split(tensor, lengths, 2) for tensor in (query, key, value)), strict=True)
    attend = _by_products if query.dtype == torch.bfloat16 else _by_sdpa
    with torch.autocast(query.device.type, enabled=False):
        seen = torch.cat([attend(q, k, v, scale) for q, k, v in parts], 2)
    return seen.transpose(1, 2), None


def _by_products(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention written out, the query heads of a key's group side by side.

    In bfloat16 on a CPU the backward pass of products is three times as fast as that of the flash kernel.
    """
    _, heads, time, width = q.shape
    groups = k.shape[1]
    grouped = (q * scale).reshape(groups, heads // groups * time, width)
    future = torch.full((time, time), float("-inf"), dtype=q.dtype, device=q.device).triu_(1)
    scores = torch.bmm(grouped, k[0].transpose(1, 2)).view(groups, heads // groups, time, time) + future
    seen = torch.bmm(scores.softmax(-1).view(groups, heads // groups * time, time), v[0])
    return seen.view(1, heads, time, width)


def _by_sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
    return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=q.shape[1] != k.shape[1])


def _varlen(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, documents: Sequence[int], scale: float
) -> torch.Tensor:
    """Torch's variable-length flash kernel: all documents in one call; (1, time, heads, width)."""
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *documents], device=q.device).cumsum(0, dtype=torch.int32)
    longest = max(documents)
    flat_q, flat_k, flat_v = (tensor[0].transpose(0, 1).contiguous() for tensor in (q, k, v))
    seen = varlen_attn(flat_q, flat_k, flat_v, ends, ends, longest, longest, scale=scale, window_size=(-1, 0),
                       enable_gqa=q.shape[1] != k.shape[1])
    return cast(torch.Tensor, seen)[None]


class _LoraLinear(torch.autograd.Function):
    """x Wᵀ + s (x Aᵀ) Bᵀ for x (…, in), W (out, in), A (r, in), B (out, r); gradients of x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, a: torch.Tensor,
                b: torch.Tensor, scale: float) -> torch.Tensor:
        rows, down, up = x.reshape(-1, x.shape[-1]), a.to(x.dtype), (b * scale).to(x.dtype)
        low = rows @ down.t()
        out = (rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())).addmm_(low, up.t())
        ctx.save_for_backward(rows, weight, down, up, low)
        ctx.scale = scale
        return out.view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, weight, down, up, low = ctx.saved_tensors
        grad = grads[0].reshape(-1, grads[0].shape[-1])
        grad_low = grad @ up
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_low, down).view(*grads[0].shape[:-1], weight.shape[1])
        grad_b = (grad.t() @ low).float().mul_(ctx.scale)
        return grad_x, None, None, (grad_low.t() @ rows).float(), grad_b, None


def fuse_lora(model: Any) -> int:
    """Let every plain LoRA layer of a PEFT model compute as one function; returns how many.

    Left to PEFT are layers with dropout, DoRA's, those over a quantised base, and whatever is not one adapter on a
    plain linear layer.
    """
    from peft.tuners.lora.layer import Linear

    fused = 0
    for layer in model.modules():
        plain = type(layer) is Linear and type(layer.base_layer) is torch.nn.Linear
        if not plain or layer.lora_variant or len(layer.active_adapters) != 1 or layer.merged:
            continue
        dropout = layer.lora_dropout[layer.active_adapters[0]]
        if isinstance(dropout, torch.nn.Dropout) and dropout.p > 0:
            continue
        layer.forward = types.MethodType(_fused_forward, layer)
        fused += 1
    return fused


def _fused_forward(layer: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """PEFT's own forward where the adapter is switched off."""
    base, name = layer.base_layer, layer.active_adapters[0]
    if layer.disable_adapters or layer.merged or x.dtype != base.weight.dtype:
        unfused: torch.Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return unfused
    out: torch.Tensor = _LoraLinear.apply(x, base.weight, base.bias, layer.lora_A[name].weight,  # type: ignore[no-untyped-call]
                                          layer.lora_B[name].weight, layer.scaling[name])
    return out


class _SupervisedCrossEntropy(torch.autograd.Function):
    """The gradient is made with the loss, while a chunk's logits are there; a trained head keeps its gradient too."""

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wants = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wants[0] else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants[1] else None
        head = weight.to(hidden.dtype)
        for start in range(0, len(targets), CHUNK_ROWS):
            rows, wanted = hidden[start : start + CHUNK_ROWS], targets[start : start + CHUNK_ROWS, None]
            logits = (rows @ head.t()).float()
            total += cross_entropy_into_gradient(logits, wanted)
            if grad_hidden is not None:
                grad_hidden[start : start + CHUNK_ROWS] = logits.to(hidden.dtype) @ head
            if grad_weight is not None:
                grad_weight += (logits.to(hidden.dtype).t() @ rows).float()
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtypes = hidden.dtype, weight.dtype
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors  # type: ignore[attr-defined]
        return (None if grad_hidden is None else grad_hidden * grads[0].to(grad_hidden.dtype),
                None if grad_weight is None else grad_weight * grads[0], None)


def cross_entropy_into_gradient(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy of (rows, vocabulary) float32 logits, which become their gradient; targets are (rows, 1)."""
    lse = logits.logsumexp(-1, keepdim=True)
    total = (lse - logits.gather(1, targets)).sum()
    logits.sub_(lse).exp_().scatter_add_(1, targets, -torch.ones_like(lse))
    return total


def supervised_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed cross-entropy in nats of hidden states (positions, width) under the output layer's (vocabulary, width)."""
    total: torch.Tensor = _SupervisedCrossEntropy.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return total
