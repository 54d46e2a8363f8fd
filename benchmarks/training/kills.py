"""Is a killed training's result that of an uninterrupted one? Kills it at planned and at random instants, and compares.

For each configuration of a toy project: once uninterrupted; then, for each instant, from nothing: killed there (once
or several times), run again to the end, and the sha256 of every file of out/train compared. Prints a Markdown table.

    .venv/bin/python benchmarks/training/kills.py > benchmarks/training/kills.md
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/toy"), str(ROOT / "tests")]

import killing  # noqa: E402  # it stands in the folder just named
from instants import Instant  # noqa: E402

STEP, STATE, PUBLISHED = "attunement.tuner:SupportTuner._move", "pathlib:Path.replace", "pathlib:Path.rename"
N_STEPS, FIRST = 20, 10  # 49 dialogues twice in steps of 5: the last holds 3, the tenth spans two epochs
EVERY_STEP = {"epochs: 1": "epochs: 2", "step_dialogues: 8": "step_dialogues: 5"}
NO_DROPOUT = {"dropout: 0.1": "dropout: 0.0"}
ROTATING = {"keep_checkpoints: all": "keep_checkpoints: 1", "checkpoints: 2\n": "checkpoints: 4\n"}
STOPPING = {"early_stop: null": "early_stop: {patience_checkpoints: 1, min_improvement: 9.0}"}
HEAD = """# Trainings that are killed and started again

`.venv/bin/python benchmarks/training/kills.py > benchmarks/training/kills.md`, a toy project in fp32 on one thread: a
random Llama of two layers, 49 dialogues, two epochs in steps of 5 dialogues (20 steps; the last holds 3, the tenth
spans both epochs), a state after every step. Each line begins from nothing, is killed with SIGKILL where it says, is
run again to the end, and every file of out/train is compared by sha256 with that of a run that nothing interrupted.
"""


@dataclass(frozen=True)
class Case:
    """Kills one after another, in words and as instants (seconds after the start when it is a number)."""

    name: str
    kills: Sequence[Instant | float]


COMMON = (
    Case("before the first step", [Instant(STEP, 1)]),
    Case("after the first step, before its state", [Instant(STEP, 1, "after")]),
    Case("half of the first state is written", [Instant("torch:save", 1, "middle")]),
    Case("half of the fifth state is written", [Instant("torch:save", 5, "middle")]),
    Case("a state is written, not yet in place", [Instant(STATE, 3, "before", ".ckpt")]),
    Case("a state is in place, its folder not yet forced to the disk", [Instant(STATE, 3, "after", ".ckpt")]),
    Case("an old state is about to be dropped", [Instant("pathlib:Path.unlink", 1, "before", "step-000000001.ckpt'")]),
    Case("validation begins", [Instant("attunement.tuner:SupportTuner.validation_step", 1)]),
    Case("in validation's last step", [Instant("attunement.tuner:SupportTuner.validation_step", 2, "after")]),
    Case("the model answers the probe", [Instant("attunement.chat:generate", 1, "after")]),
    Case("replies are scored", [Instant("attunement.probe:probe", 1, "after")]),
    Case("weights are written, the checkpoint is not published", [Instant(PUBLISHED, 1, "before", "/.step-")]),
    Case("a checkpoint is published, its state is not saved", [Instant(PUBLISHED, 1, "after", "/.step-")]),
    Case("a checkpoint is published, half of its state is written", [Instant("torch:save", FIRST, "middle")]),
    Case("before the step that spans two epochs", [Instant(STEP, FIRST)]),
    Case("after the step that spans two epochs", [Instant(STEP, FIRST, "after")]),
    Case("first in the step after the checkpoint", [Instant(STEP, FIRST + 1)]),
)
ENDING = (
    Case("before the last step", [Instant(STEP, N_STEPS)]),
    Case("after the last step, before validation", [Instant(STEP, N_STEPS, "after")]),
    Case("in the last probe", [Instant("attunement.chat:generate", 2)]),
    Case("the last checkpoint is published, its state is not", [Instant(PUBLISHED, 2, "after", "/.step-")]),
    Case("the last state is in place", [Instant(STATE, N_STEPS, "after", ".ckpt")]),
    Case("out/train is half written", [Instant("attunement.artefacts:write_jsonl", 2, "before", "/.train.")]),
    Case("out/train is written, not yet in place", [Instant(PUBLISHED, 1, "before", "/.train.partial")]),
    Case("out/train is in place, the scratch is there", [Instant(PUBLISHED, 1, "after", "/.train.partial")]),
    Case("the first of the scratch's weights are removed",
         [Instant("os:unlink", 1, "after", "('adapter_model.safetensors'")]),
    Case("the first of the scratch's summaries is removed", [Instant("os:unlink", 1, "after", "('checkpoint.json'")]),
    Case("the first of the scratch's states is removed", [Instant("os:unlink", 1, "after", "('step-0")]),
    Case("the last but one of the scratch's folders is removed", [Instant("os:rmdir", 1, "after", "('checkpoints'")]),
    Case("again and again: after every third step, in a save, in the probe, in the publication", [
        Instant(STEP, 3), Instant(STEP, 3, "after"), Instant("torch:save", 3, "middle"), Instant(STEP, 3),
        Instant("attunement.probe:probe", 1), Instant(PUBLISHED, 1, "after", "/.step-"), Instant(STEP, 3),
        Instant(STATE, 3, "after", ".ckpt"), Instant(STEP, 3), Instant("attunement.chat:generate", 1),
        Instant("attunement.artefacts:write_json", 1, "before", "/.train."),
        Instant(PUBLISHED, 1, "before", "/.train.partial"),
    ]),
    Case("twice at the same instant of a save", [Instant("torch:save", 2, "middle")] * 2),
)
ROTATION = (
    Case("a checkpoint is published, an older one's weights are to go",
         [Instant("attunement.probe:rotate", 1, "before")]),
    Case("an older checkpoint is moved away, the one without weights is not in place",
         [Instant(PUBLISHED, 1, "after", ".step-000005.previous'")]),
    Case("an older checkpoint has lost its weights, the state is not saved", [Instant("attunement.probe:rotate", 1,
                                                                                       "after")]),
)
CONFIGURATIONS: Mapping[str, tuple[Mapping[str, str], Sequence[Case]]] = {
    "dropout 0.1": (EVERY_STEP, (*COMMON, *ENDING)),
    "dropout 0": (EVERY_STEP | NO_DROPOUT, COMMON[2::3] + ENDING[::3]),
    "one checkpoint's weights kept of four": (EVERY_STEP | ROTATING, ROTATION),
    "stopped early, one kept": (EVERY_STEP | ROTATING | STOPPING, ROTATION),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=8, help="kills after a random delay, for the first configuration")
    parser.add_argument("--only", default="", help="configurations whose name begins so")
    parser.add_argument("--case", default="", help="cases whose name holds this")
    arguments = parser.parse_args()
    rng, n, n_same = random.Random(0), 0, 0
    print(HEAD)
    print("| configuration | killed when | kills | went on from | same bytes |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        for i, (name, (changed, cases)) in enumerate(CONFIGURATIONS.items()):
            if not name.startswith(arguments.only):
                continue
            project = killing.build_curated(Path(temporary) / str(i), changed)
            took_s = uninterrupted(project)
            whole = killing.published(project)
            delays = () if i else [Case(f"after {delay:.1f} s of {took_s:.1f}", [delay]) for delay in
                                   (rng.uniform(0.3 * took_s, took_s) for _ in range(arguments.random))]
            with killing.Nursery(project) as nursery:
                for case in (case for case in (*cases, *delays) if arguments.case in case.name):
                    told, same = tried(nursery, case, whole)
                    n, n_same = n + 1, n_same + same
                    print(f"| {name} | {case.name} | {len(case.kills)} | {told} | {'yes' if same else '**no**'} |",
                          flush=True)
    print(f"\n{n_same} of {n} ended with the bytes of an uninterrupted training, every file of out/train compared.")
    if n_same < n:
        raise SystemExit(1)


def uninterrupted(project: Path) -> float:
    """Train in a process of its own; the seconds that it took."""
    began = time.monotonic()
    killing.finish(project)
    return time.monotonic() - began


def tried(nursery: killing.Nursery, case: Case, whole: Mapping[str, str]) -> tuple[str, bool]:
    """From where the last run went on, and whether the same files stand at the end and nothing else is left."""
    project = nursery.folder
    killing.forget(project)
    for kill in case.kills:
        status, told = nursery.train(kill) if isinstance(kill, Instant) else killed_after(project, kill)
        if status != -signal.SIGKILL:
            return f"it ended by itself with status {status}: {told[-300:]!r}", False
    status, told = nursery.train()
    if status:
        return f"error: {told.strip().splitlines()[-1]}", False
    went_on = [line.rpartition("going on from ")[2] for line in told.splitlines() if "going on from" in line]
    same = killing.published(project) == whole and not killing.left_in_scratch(project)
    return went_on[0] if went_on else "the start", same


def killed_after(project: Path, delay_s: float) -> tuple[int, str]:
    """Kill a process of its own after a delay."""
    with killing.start(project) as process:
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        told = process.communicate()[1]
    return process.returncode, told


if __name__ == "__main__":
    main()
