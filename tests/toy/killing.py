"""A toy project whose training is ended at planned instants; used by test_kills.py and benchmarks/training/kills.py."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import build
import instants
from instants import Instant

from attunement.artefacts import sha256_of

ALWAYS = {"save_state_every_min: 0.001": "save_state_every_min: 0.000001"}  # a state after every step


def build_curated(folder: Path, changed: Mapping[str, str]) -> Path:
    """A toy project with ``changed`` texts in its params.yaml, curated, and with instants armed."""
    build.build_project(folder)
    shutil.copy(instants.__file__, folder / "blocked")
    with (folder / "blocked/sitecustomize.py").open("a") as file:
        file.write("\nimport instants\ninstants.arm()\n")
    change(folder, ALWAYS | dict(changed))
    for stage in ("fetch", "curate"):
        build.run(folder, "python", "-m", f"attunement.{stage}")
    return folder


def change(folder: Path, changed: Mapping[str, str]) -> None:
    """Put other texts into params.yaml; each must be there."""
    text = (folder / "params.yaml").read_text()
    for old, new in changed.items():
        assert old in text, old
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text)


def start(folder: Path, instant: Instant | None = None, **variables: str) -> subprocess.Popen[str]:
    """A training that goes on in its own process."""
    armed = {instants.VARIABLE: instant.as_json()} if instant else {}
    return subprocess.Popen([sys.executable, "-m", "attunement.train"], cwd=folder, text=True,
                            env=build.environment(folder) | armed | variables, stderr=subprocess.PIPE)


def train(folder: Path, instant: Instant | None = None, **variables: str) -> tuple[int, str]:
    """Its exit status and what it said; an instant that never came is an error of the test's own."""
    with start(folder, instant, **variables) as process:
        told = process.communicate(timeout=300)[1]
    return process.returncode, told


class Nursery:
    """Trainings of one project, without the seconds that imports take: each is a fork of a process that has them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, folder / "told.txt"
        self.process = subprocess.Popen([sys.executable, instants.__file__], cwd=folder, text=True, bufsize=1,
                                        env=build.environment(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def train(self, instant: Instant | None = None) -> tuple[int, str]:
        """Exit status and what it said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        asked = {"instant": instant.as_json() if instant else "", "stderr": str(self.told)}
        self.process.stdin.write(json.dumps(asked) + "\n")
        return int(self.process.stdout.readline()), self.told.read_text()

    def finish(self) -> str:
        """Train to the end; what it said."""
        status, told = self.train()
        assert status == 0, told[-3000:]
        return told

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()  # it ends with its stdin


def finish(folder: Path, **variables: str) -> str:
    """Train to the end; what it said."""
    status, told = train(folder, **variables)
    assert status == 0, told[-3000:]
    return told


def published(folder: Path) -> dict[str, str]:
    """sha256 by name of every file in out/train."""
    out = folder / "out/train"
    return {path.relative_to(out).as_posix(): sha256_of(path) for path in sorted(out.rglob("*")) if path.is_file()}


def forget(folder: Path) -> None:
    """As DVC does before it runs the stage: no output is there. Nor is any state."""
    for name in ("out/train", "scratch"):
        shutil.rmtree(folder / name, ignore_errors=True)


def saved_states(folder: Path) -> list[Path]:
    """The states of the training that was ended, the oldest first."""
    return sorted((folder / "scratch").glob("*/states/step-*.ckpt"))


def left_in_scratch(folder: Path) -> list[str]:
    """What a finished training has left behind, but for its lock."""
    return sorted(path.name for path in (folder / "scratch").iterdir() if path.suffix != ".lock")
