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
Precision = Literal["bf16", "fp32"]


def device_name() -> Literal["cuda", "cpu"]:
    """'cuda' when a usable GPU is there, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolved_precision(wanted: Literal["auto", "bf16", "fp32"]) -> Precision:
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

    return torch.bfloat16 if precision == "bf16" else torch.float32


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a verified base folder; raises ModelError when it has no chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(verify(folder), local_files_only=True)
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer in {folder} has no chat template; use an instruction-tuned model.")
    return tokenizer


def load_base(folder: Path, precision: Precision) -> Any:
    """The base model of a verified folder, in eval mode, on this machine's device; its dtype follows precision."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        verify(folder), dtype=torch_dtype(precision), local_files_only=True, use_safetensors=True
    )
    return model.to(device_name()).eval()


def base_sha256(folder: Path) -> str:
    """What identifies a base: the sha256 of its manifest, which lists every file's."""
    return sha256_of(folder / MANIFEST)


def save_adapter(model: Any, folder: Path, *, base: Path) -> None:
    """Write PEFT's adapter files with the base's identity beside them, the same bytes for the same weights.

    PEFT writes ``target_modules`` in set order and the base's path; both would change between equal runs.
    """
    model.save_pretrained(folder, safe_serialization=True)
    config_path = folder / "adapter_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config = {key: sorted(value) if key == "target_modules" and isinstance(value, list) else value
              for key, value in config.items()}
    write_json(config_path, config | {"base_model_name_or_path": BASE.as_posix()})
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model card; ours is out/report/card.md
    write_json(folder / TRAINED_ON, {"base_manifest_sha256": base_sha256(base)})


def load_adapter(model: Any, folder: Path, *, base: Path) -> Any:
    """The base with the adapter in ``folder`` on it, in eval mode.

    Raises ModelError when the adapter was trained on another base, when a tensor is missing (PEFT would leave
    its initial value in place) or when a weight is not finite.
    """
    from peft import PeftModel
    from safetensors.torch import load_file

    check_belongs(folder, base=base)
    tuned = PeftModel.from_pretrained(model, folder, local_files_only=True)
    saved = load_file(folder / "adapter_model.safetensors")
    expected = {name.replace(".default.", ".") for name, _ in tuned.named_parameters() if "lora_" in name}
    if expected != set(saved):
        raise ModelError(f"{folder}: its tensors are not those of this base "
                         f"({len(expected - set(saved))} missing, {len(set(saved) - expected)} unknown).")
    if not all(math.isfinite(tensor.float().sum().item()) for tensor in saved.values()):
        raise ModelError(f"{folder}: a weight is not finite; the training that made it went wrong.")
    return tuned.eval()


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
