"""Loading the base model and adapters, on whatever this machine has, and only those that belong together.

PEFT loads an adapter onto another base without a word, so the adapter's folder carries the sha256 of the base
it was trained on, and loading checks it.
"""

import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attunement.artefacts import MANIFEST, sha256_of, verify, write_json
from attunement.errors import ModelError

if TYPE_CHECKING:
    import torch

BASE = Path("models/base")
TRAINED_ON = "trained_on.json"
FULL_WEIGHTS = "model.safetensors"  # of a model whose every weight was trained
Precision = Literal["bf16", "fp32", "nf4"]  # nf4: the frozen base in 4 bits, computing in bf16 (Dettmers et al. 2023)


def device_name() -> Literal["cuda", "cpu"]:
    """'cuda' when a usable GPU is there, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolved_precision(wanted: Literal["auto", "bf16", "fp32", "nf4"]) -> Precision:
    """bf16 where the machine computes in it natively, else fp32; a declared precision is taken as it is."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    capabilities = torch.backends.cpu.get_cpu_capability(), getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    native = capabilities[1] is not None and capabilities[1]()
    return "bf16" if native else "fp32"


def torch_dtype(precision: Precision) -> "torch.dtype":
    """The dtype in which the frozen base is kept."""
    import torch

    return torch.float32 if precision == "fp32" else torch.bfloat16


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a verified base folder; raises ModelError when it has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(verify(folder), local_files_only=True)
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer in {folder} has no chat template; use an instruction-tuned model.")
    return tokenizer


def load_base(folder: Path, precision: Precision, *, attention: str | None = None) -> Any:
    """The base model of a verified folder, in eval mode, on this machine's device; its dtype follows precision.

    ``attention`` is one that transformers knows, or ``documents``; None is the best that the model can have. Raises
    ModelError where the model has not that one, and where nf4 can not be had.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from attunement.fused import DOCUMENTS, register_documents_attention

    if attention == DOCUMENTS:
        register_documents_attention()
    quantised = _quantised(precision)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            verify(folder), dtype=torch_dtype(precision), local_files_only=True, use_safetensors=True,
            attn_implementation=attention, quantization_config=quantised,
        )
    except ValueError as error:
        if "attention implementation" not in str(error):
            raise
        raise ModelError(f"the model in {folder} does not know train.attention: {attention}; take eager.") from error
    head = model.get_output_embeddings()
    if isinstance(head, torch.nn.Linear):
        head.register_forward_pre_hook(_contiguous)
    return model.to(device_name()).eval()


def _contiguous(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """What goes into the output layer, laid out in a row.

    Generation gives it the last position of each prompt, a strided view, and torch 2.13's linear of a strided bfloat16
    view on a CPU works on all positions: 3.3 s and 3.5 GB in place of 0.02 s for 64 prompts of 191 tokens.
    """
    return tuple(x.contiguous() if hasattr(x, "contiguous") else x for x in given)


def _quantised(precision: Precision) -> Any:
    if precision != "nf4":
        return None
    try:
        import bitsandbytes  # noqa: F401  # transformers asks for it much later, and less clearly
    except ImportError as error:
        raise ModelError("train.precision: nf4 needs bitsandbytes: pip install 'attunement[quantised]', or take "
                         "bf16.") from error
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=torch.bfloat16)


def base_sha256(folder: Path) -> str:
    """What identifies a base: the sha256 of its manifest, which lists every file's."""
    return sha256_of(folder / MANIFEST)


def save_adapter(model: Any, folder: Path, *, base: Path) -> None:
    """Write PEFT's adapter files with the base's identity beside them, the same bytes for the same weights.

    PEFT writes ``target_modules`` in set order and the base's path; both would change between equal runs.
    """
    model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    config_path = folder / "adapter_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config = {key: sorted(value) if key == "target_modules" and isinstance(value, list) else value
              for key, value in config.items()}
    write_json(config_path, config | {"base_model_name_or_path": BASE.as_posix()})
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; ours is out/report/card.md
    write_json(folder / TRAINED_ON, {"base_manifest_sha256": base_sha256(base)})


def save_full(model: Any, folder: Path, *, base: Path, precision: Precision) -> None:
    """Write all weights of a trained model, in the dtype in which it will answer, with the base's identity beside."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: p.detach().to("cpu", torch_dtype(precision)).contiguous() for name, p in model.named_parameters()}
    save_file(weights, folder / FULL_WEIGHTS, metadata={"format": "pt"})
    write_json(folder / TRAINED_ON, {"base_manifest_sha256": base_sha256(base)})


def load_tuned(model: Any, folder: Path, *, base: Path) -> Any:
    """The base with what was trained: an adapter on it, or all its weights replaced; in eval mode.

    Raises ModelError as ``load_adapter`` does.
    """
    if not (folder / FULL_WEIGHTS).exists():
        return load_adapter(model, folder, base=base)
    from safetensors.torch import load_file

    check_belongs(folder, base=base)
    saved, own = load_file(folder / FULL_WEIGHTS), dict(model.named_parameters())
    _same_names(folder, set(own), set(saved))
    _all_finite(folder, saved)
    if wrong := [name for name, parameter in own.items() if parameter.shape != saved[name].shape]:
        raise ModelError(f"{folder}: {len(wrong)} of its tensors have another shape than this base's.")
    for name, parameter in own.items():
        parameter.data.copy_(saved[name])
    return model.eval()


def load_adapter(model: Any, folder: Path, *, base: Path) -> Any:
    """The base with the adapter in ``folder`` on it, in eval mode.

    Raises ModelError when the adapter was trained on another base, when a tensor is missing (PEFT would leave
    its initial value in place) or when a weight is not finite.
    """
    from peft import PeftModel

    from attunement.fused import fuse_lora

    check_belongs(folder, base=base)
    tuned = PeftModel.from_pretrained(model, folder, local_files_only=True)
    _check_adapter(tuned, folder)
    fuse_lora(tuned)
    return tuned.eval()


def fill_adapter(tuned: Any, folder: Path, *, base: Path) -> None:
    """Put the weights of the adapter in ``folder`` into a model with a fresh one of its shape.

    Raises ModelError as ``load_adapter`` does, as NamesError where it stands on other layers.
    """
    from peft import set_peft_model_state_dict

    check_belongs(folder, base=base)
    set_peft_model_state_dict(tuned, _check_adapter(tuned, folder))


def _check_adapter(tuned: Any, folder: Path) -> dict[str, "torch.Tensor"]:
    """The saved tensors, of which none is missing, unknown or not finite."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file

    saved: dict[str, torch.Tensor] = load_file(folder / "adapter_model.safetensors")
    _same_names(folder, set(get_peft_model_state_dict(tuned, save_embedding_layers=False)), set(saved))
    _all_finite(folder, saved)
    return saved


class NamesError(ModelError):
    """Saved tensors are not those that the model has."""


def _same_names(folder: Path, expected: set[str], saved: set[str]) -> None:
    if expected != saved:
        raise NamesError(f"{folder}: its tensors are not those of this base ({len(expected - saved)} missing, "
                         f"{len(saved - expected)} unknown).")


def _all_finite(folder: Path, saved: dict[str, "torch.Tensor"]) -> None:
    if not all(math.isfinite(tensor.float().sum().item()) for tensor in saved.values()):
        raise ModelError(f"{folder}: a weight is not finite; the training that made it went wrong.")


def check_belongs(adapter: Path, *, base: Path) -> None:
    """Raise ModelError unless ``adapter`` was trained on ``base``."""
    path = adapter / TRAINED_ON
    if not path.exists():
        raise ModelError(f"{adapter} does not say which base it was trained on ({TRAINED_ON} is missing).")
    trained_on = json.loads(path.read_text(encoding="utf-8"))["base_manifest_sha256"]
    if trained_on != base_sha256(base):
        raise ModelError(f"{adapter} was trained on another base (manifest {trained_on[:12]}…) than {base} "
                         f"({base_sha256(base)[:12]}…). Train again, or declare the base it belongs to.")


def silence() -> None:
    """Keep the libraries' bars and warnings off the terminal: the stage prints its own progress, never words."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)  # PEFT's to mend
