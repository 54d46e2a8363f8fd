"""A folder in which training can start at once: the toy's tiny model as base, composed dialogues as curated, suites.

``fit`` trains in this process, a few seconds each; ``start`` runs the stage's command as a person would.
"""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import build
from ruamel.yaml import YAML

from attunement.artefacts import MANIFEST, dialogue_schema, manifest_of, publishing, write_json, write_parquet
from attunement.params import Params, load
from attunement.records import Dialogue, Turn, turns_id

# Short, so that a training takes seconds; no dropout, so that what is compared is equal to the last digits.
SMALL = {
    "train.step_dialogues": 3, "train.batch_dialogues": 4, "train.checkpoints": 2, "train.lora.dropout": 0.0,
    "train.save_state_every_min": 60.0, "train.probe.prompts": 6, "train.probe.prompts_between": 4,
    "respond.max_new_tokens": 4, "respond.batch_size": 2, "chat.system_prompt": "Listen.",
}
SAID = ("I lost my job.", "Nobody calls me any more, and the evenings are long.", "It rains.", "My sister is ill, and "
        "I drive to her each night after work, and I am tired in a way that sleep does not help.")
ANSWERED = ("That is hard. What was it like?", "You miss being called.", "Tell me more about your day, if you like.")


def make(folder: Path) -> Path:
    """Build it; raises OSError when the folder holds one already."""
    base = build.build_model(folder / "models/base")
    write_json(base / MANIFEST, manifest_of(base))
    (folder / "data").symlink_to(build.ROOT / "data")
    (folder / "blocked").mkdir()
    (folder / "blocked/sitecustomize.py").write_text(build.BLOCKED)
    with publishing(folder / "out/curate") as curated:
        for split, begin, n in (("train", 0, 16), ("val", 100, 4)):
            write_parquet(curated / f"{split}.parquet", [dialogue(begin + i) for i in range(n)], dialogue_schema())
    declare(folder)
    return folder


def dialogue(i: int) -> Dialogue:
    """The i-th: two exchanges, of a length of its own."""
    turns = tuple(Turn(role=role, text=f"{said[(i + k) % len(said)]} {i}") for k in range(2)
                  for role, said in (("user", SAID), ("assistant", ANSWERED)))
    return Dialogue(id=turns_id(turns), source="toy", licence="none", locale="en", turns=turns, tags={}, scores={})


def declare(folder: Path, changes: Mapping[str, object] | None = None) -> Params:
    """Write params.yaml: the toy's, small, with ``changes`` by dotted name; and load it."""
    yaml = YAML()
    tree = yaml.load((build.ROOT / "tests/toy/params.yaml").read_text().replace(
        '"@ENCODER_SHA256@"', "{}").replace("@SHA256@", "0" * 64))
    for name, value in {**SMALL, **(changes or {})}.items():
        if value is not None and name.startswith("train.lora.") and tree["train"]["lora"] is None:
            continue
        *path, last = name.split(".")
        node = tree
        for key in path:
            node = node[key]
        node[last] = value
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(json.loads(json.dumps(tree)), file)
    return load(folder / "params.yaml")


def fit(folder: Path, scratch: Path, changes: Mapping[str, object] | None = None) -> Path:
    """Train in this process, whose working folder this is; what was trained lies in ``scratch``, which is returned."""
    from attunement.models import BASE, load_tokenizer
    from attunement.train import train
    from attunement.training_data import TrainingData

    params = declare(folder, changes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's and PEFT's hints; the stage's main() does the same
        tokenizer = load_tokenizer(BASE)
        train(params, TrainingData.read(params, tokenizer), tokenizer, scratch=scratch)
    return scratch


def start(folder: Path, **told: str) -> subprocess.Popen[str]:
    """``python -m attunement.train``, with its errors as a pipe and ``told`` in its environment."""
    environment = build.environment(folder) | {
        "PYTHONPATH": f"{folder / 'blocked'}{os.pathsep}{build.ROOT / 'src'}", **told}
    return subprocess.Popen([sys.executable, "-m", "attunement.train"], cwd=folder, text=True, env=environment,
                            stderr=subprocess.PIPE)


def finished(folder: Path, **told: str) -> tuple[int, str]:
    """Run it to its end: the status, and what it told."""
    process = start(folder, **told)
    return (process.communicate(timeout=300)[1], process.returncode)[::-1]  # type: ignore[return-value]


def weights(folder: Path) -> dict[str, Any]:
    """All tensors of all checkpoints in a scratch folder or ``out/train``, by checkpoint and name."""
    from safetensors.torch import load_file

    return {f"{file.relative_to(folder).parts[1]} {name}": tensor
            for file in sorted(folder.glob("checkpoints/**/*.safetensors"))
            for name, tensor in load_file(file).items()}


def distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The largest difference of two sets of tensors, which must have the same names."""
    assert one.keys() == other.keys()
    assert one
    return max((one[name].float() - other[name].float()).abs().max().item() for name in one)


def remove(folder: Path, name: str) -> None:
    """Take a file or folder away, if it is there."""
    path = folder / name
    shutil.rmtree(path, ignore_errors=True)
    path.unlink(missing_ok=True)
