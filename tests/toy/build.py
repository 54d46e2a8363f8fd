"""A whole project in a folder, around a tiny random model: the real pipeline, in seconds.

The model is a two-layer Llama with random, seeded weights and a byte-level BPE tokenizer trained on the suites;
code, data and dvc.yaml are copies of the project's own. ``blocked/sitecustomize.py`` refuses every socket that is
not local to a process, in each Python that runs in the project.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import real_encoder
from attunement.artefacts import sha256_of
from attunement.params import load

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BLOCKED = '''
import socket

def refuse(*args, **kwargs):
    raise OSError("this project's stages may not touch a network")

socket.socket.connect = refuse
socket.socket.connect_ex = refuse
socket.create_connection = refuse
socket.getaddrinfo = refuse
'''


def build_model(folder: Path) -> Path:
    """A tiny random chat model in transformers' format; the same bytes at each call."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trained.train([str(path) for path in sorted((ROOT / "data/suites").glob("*.jsonl"))], vocab_size=600,
                  special_tokens=specials, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained._tokenizer, bos_token=specials[1],
                                        eos_token=specials[2], pad_token=specials[2], unk_token=specials[0],
                                        chat_template=TEMPLATE)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
        pad_token_id=2,
    ))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_project(folder: Path) -> Path:
    """Copies of code, data and dvc.yaml, the toy's params.yaml with the model's hash, and a DVC repository."""
    for name in ("src", "data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "dvc.yaml", folder)
    model = build_model(folder / "toy_model")
    params = (ROOT / "tests/toy/params.yaml").read_text(encoding="utf-8")
    encoder = real_encoder.ensure()
    hashes = load(ROOT / "params.yaml").fetch.encoder.sha256
    params = params.replace("@SHA256@", sha256_of(model / "model.safetensors"))
    params = params.replace("@ENCODER@", str(encoder)).replace('"@ENCODER_SHA256@"', json.dumps(hashes))
    (folder / "params.yaml").write_text(params)
    (folder / "blocked").mkdir()
    (folder / "blocked/sitecustomize.py").write_text(BLOCKED)
    run(folder, "dvc", "init", "--no-scm", "--quiet")
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The running Python first on PATH, the project's own code, sockets blocked, scratch inside the project."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {
        "PATH": path, "PYTHONPATH": f"{folder / 'blocked'}{os.pathsep}{folder / 'src'}", "DVC_NO_ANALYTICS": "1",
        "ATTUNEMENT_SCRATCH": str(folder / "scratch"), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1",
    }


def run(folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the project; its output is captured."""
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
    if check and done.returncode:
        told = f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        raise AssertionError(f"{' '.join(command)} exited {done.returncode}:\n{told}")
    return done


def read_lines(path: Path) -> list[dict[str, object]]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def trainers(folder: Path) -> list[int]:
    """Processes that train in this folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if b"attunement.train" in command and (process / "cwd").samefile(folder):
                found.append(int(process.name))
        except OSError:
            continue  # it has ended in the meantime
    return found
