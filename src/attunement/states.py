"""The states that a killed training goes on from: two newest, each whole or not there, and what they were made of.

A training's folder is named by the fingerprint of all that its result depends on, and holds ``made_of.json``, which
lists the parts. Each state holds them too, so that one that was put into another's folder is refused, naming what
differs. Beside each lies its sha256: the checksums in torch's files cover their tensors, not all that is read.
"""

import json
import os
import shutil
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attunement.artefacts import sha256_of, verify, write_json, write_text
from attunement.errors import TrainingError
from attunement.models import BASE, base_sha256, resolved_precision
from attunement.params import Params
from attunement.records import content_id
from attunement.suites import suite_path

if TYPE_CHECKING:
    from lightning.pytorch.plugins.io import CheckpointIO

KEPT = 2  # the newest, and the one before it
MADE_OF = "made_of.json"
GONE = "discarded"
NO_MATTER = ("save_state_every_min", "keep_checkpoints")  # when states are saved changes nothing about the result


def made_of(params: Params, *, curated: Path) -> dict[str, str]:
    """All that the result depends on, with its value or hash: params, data, base, suite, scorers, code, libraries."""
    package = Path(__file__).parent
    train = {key: value for key, value in params.train.model_dump(mode="json").items() if key not in NO_MATTER}
    parts: dict[str, object] = {
        "seed": params.seed, "train": train, "chat": params.chat.model_dump(mode="json"),
        "respond": {"max_new_tokens": params.respond.max_new_tokens, "batch_size": params.respond.batch_size,
                    "engine": params.respond.engine},
        "precision here": resolved_precision(params.train.precision),
        "base model and tokenizer": base_sha256(verify(BASE)),
        "data": {name: sha256_of(verify(curated) / f"{name}.parquet") for name in ("train", "val")},
        "suite": sha256_of(suite_path(params.train.probe.suite)),
        "scorers": {scorer.name: scorer.version for scorer in params.train.probe.scorers},
        "code": content_id([(p.relative_to(package).as_posix(), sha256_of(p)) for p in sorted(package.rglob("*.py"))]),
        "libraries": {name: version(name) for name in ("torch", "lightning", "transformers", "peft")},
    }
    return dict(sorted(_flat(parts)))


def _flat(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        found += _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, json.dumps(value))]
    return found


def differing(now: Mapping[str, str], then: Mapping[str, str]) -> str:
    """What differs between two lists of parts, in words."""
    names = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    told = [f"{name} ({_short(then.get(name))} then, {_short(now.get(name))} now)" for name in names[:5]]
    return ", ".join(told) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _short(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 24 else f"{value[:12]}…"


class States:
    """The saved states in a training's folder."""

    def __init__(self, folder: Path, parts: Mapping[str, str]) -> None:
        self.folder, self.parts = folder / "states", dict(parts)

    def path(self, step: int) -> Path:
        """Where the state after ``step`` lies."""
        return self.folder / f"step-{step:09d}.ckpt"

    def newest(self, *, lost: Collection[int] = ()) -> tuple[Path | None, list[str]]:
        """The newest state that is whole, and a line about each that is not, which is set aside.

        A training that goes on from a state makes no checkpoint up to its step again: where the checkpoint of one of
        those steps is ``lost``, the state is of no use. Raises TrainingError when a state is of another training.
        """
        told = []
        for path in sorted(self.folder.glob("step-*.ckpt"), reverse=True):
            try:
                self._check(path)
                if gone := [step for step in lost if step <= step_of(path)]:
                    raise DamagedError(f"is of no use without the checkpoint at step {min(gone)}, which is not whole")
            except DamagedError as error:
                told.append(f"the state {path.name} {error}; the one before it is used")
                path.replace(path.with_suffix(".damaged"))
                continue
            return path, told
        return None, [*told, "no state is left before it; training begins anew"] if told else []

    def _check(self, path: Path) -> None:
        import torch

        written = sum_beside(path).read_text(encoding="ascii") if sum_beside(path).exists() else ""
        if written != sha256_of(path):
            raise DamagedError("is damaged (its sha256 does not fit)" if written else "has no sha256 beside it")
        then = torch.load(path, weights_only=True, map_location="cpu", mmap=True)["made_of"]
        if then != self.parts:
            raise TrainingError(f"{path} is the state of another training: {differing(self.parts, then)}. "
                                "Remove it, or train with what it was made of.")

    def drop_old(self) -> None:
        """Keep the newest two, and nothing of a save that was cut off."""
        for path in sorted(self.folder.glob("step-*.ckpt"))[:-KEPT]:
            path.unlink()
            sum_beside(path).unlink(missing_ok=True)
        for path in self.folder.glob(".*.partial"):
            path.unlink()

    def note_parts(self) -> None:
        """Write down what this training is made of, for people and for ``nearby``."""
        write_json(self.folder.parent / MADE_OF, self.parts)

    def nearby(self) -> str:
        """What sets the newest unfinished training beside this one apart from it, or nothing."""
        others = [path for path in self.folder.parent.parent.glob(f"[!.]*/{MADE_OF}")
                  if path.parent != self.folder.parent and any((path.parent / "states").glob("step-*.ckpt"))]
        if not others:
            return ""
        newest = max(others, key=lambda path: path.stat().st_mtime)
        return differing(self.parts, json.loads(newest.read_text(encoding="utf-8")))


def sum_beside(path: Path) -> Path:
    """Where a state's sha256 lies."""
    return path.with_suffix(".sha256")


def step_of(path: Path) -> int:
    """The step in the name of a state or a checkpoint."""
    return int(path.stem.removeprefix("step-"))


def discard(folder: Path) -> None:
    """Remove a training's folder, at once as far as a next training can see.

    Removed file by file it could keep states without their checkpoints, and the next training would go on from them.
    """
    gone = folder.with_name(f".{folder.name}.{GONE}")
    shutil.rmtree(gone, ignore_errors=True)
    folder.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def clear_discarded(root: Path) -> None:
    """Remove what is left of folders that were being discarded."""
    for folder in root.glob(f".*.{GONE}"):
        shutil.rmtree(folder, ignore_errors=True)


class DamagedError(Exception):
    """A state can not be read whole, or can not be gone on from."""


def atomic_checkpoint_io() -> "CheckpointIO":
    """Lightning's own writer, made atomic: temp in the same folder, fsync, sha256, rename, fsync of the folder.

    Lightning writes through TMPDIR; on another filesystem that is not atomic, and a kill or a full disk then
    destroys the last good state.
    """
    from lightning.fabric.plugins.io import TorchCheckpointIO

    class AtomicCheckpointIO(TorchCheckpointIO):
        def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
            import torch

            final = Path(path)
            partial = final.with_name(f".{final.name}.partial")
            final.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                write_text(sum_beside(final), sha256_of(partial))
                partial.replace(final)
            finally:
                partial.unlink(missing_ok=True)
            folder = os.open(final.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    return AtomicCheckpointIO()
