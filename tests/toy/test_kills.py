"""A training that is ended at any instant goes on to the bytes of an uninterrupted one, or says why it does not.

``benchmarks/training/kills.py`` tries more instants, one at a time.
"""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import build
import killing
import pytest
from instants import VARIABLE, Instant

STEP, STATE, PUBLISHED = "attunement.tuner:SupportTuner._move", "pathlib:Path.replace", "pathlib:Path.rename"
# 49 dialogues twice in steps of 16: seven steps, the last of two dialogues, the fourth in both epochs
CHANGED = {"epochs: 1": "epochs: 2", "step_dialogues: 8": "step_dialogues: 16", "checkpoints: 2\n": "checkpoints: 3\n",
           "keep_checkpoints: all": "keep_checkpoints: 1"}
CHECKPOINTS = (2, 5, 7)
SELDOM = {"save_state_every_min: 0.000001": "save_state_every_min: 1000"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is curated."""
    return killing.build_curated(tmp_path_factory.mktemp("kills"), CHANGED)


@pytest.fixture(scope="module")
def whole(project: Path) -> dict[str, str]:
    """The files of a training that nothing interrupted."""
    killing.finish(project, PYTHONHASHSEED="1")
    return killing.published(project)


@pytest.fixture(scope="module")
def nursery(project: Path, whole: dict[str, str]) -> Iterator[killing.Nursery]:
    with killing.Nursery(project) as process:
        yield process


@pytest.fixture(autouse=True)
def _from_nothing(project: Path) -> Iterator[None]:
    yield
    killing.forget(project)


def test_the_same_bytes_with_other_hashes_and_temporary_files_on_another_filesystem(
    project: Path, whole: dict[str, str]
) -> None:
    assert [name for name in whole if name.endswith("adapter_model.safetensors")] == [
        f"checkpoints/step-{step:06d}/adapter_model.safetensors" for step in CHECKPOINTS[1:]]
    killing.finish(project, PYTHONHASHSEED="2", TMPDIR="/dev/shm")  # noqa: S108  # a filesystem of its own on Linux
    assert killing.published(project) == whole
    assert killing.left_in_scratch(project) == []


KILLS = {
    "again and again, in steps, saves, probes and publications": [
        Instant(STEP, 1), Instant("torch:save", 1, "middle"), Instant(STATE, 1, "after", ".ckpt"),
        Instant("attunement.tuner:SupportTuner.validation_step"), Instant("attunement.probe:probe"),
        Instant(PUBLISHED, 1, "after", "/.step-"), Instant("torch:save", 2, "middle"),
        Instant(STEP, 2, "after"),  # the step that two epochs share
        Instant(PUBLISHED, 1, "after", ".step-000002.previous'"),  # between its two renames
        Instant(STEP, 3, "after"), Instant(PUBLISHED, 1, "before", "/.train."),  # the last step, then the end
    ],
    "while the scratch is removed": [Instant("os:unlink", 1, "after", "('checkpoint.json'")],
}


@pytest.mark.parametrize("kills", KILLS.values(), ids=KILLS.keys())
def test_a_killed_training_goes_on_to_the_same_bytes(
    nursery: killing.Nursery, whole: dict[str, str], kills: list[Instant]
) -> None:
    for kill in kills:
        assert nursery.train(kill)[0] == -signal.SIGKILL, kill
    nursery.finish()
    assert killing.published(nursery.folder) == whole
    assert killing.left_in_scratch(nursery.folder) == []


def test_a_training_that_is_asked_to_end_saves_the_step_it_is_in(
    nursery: killing.Nursery, whole: dict[str, str]
) -> None:
    def states() -> list[str]:
        return [path.stem for path in killing.saved_states(nursery.folder)]

    killing.change(nursery.folder, SELDOM)
    try:
        status, told = nursery.train(Instant(STEP, 4, what="term"))
        assert (status, states()) == (143, ["step-000000002", "step-000000004"]), told
        assert "Traceback" not in told
        in_the_probe = Instant("attunement.chat:generate", what="interrupt")
        assert (nursery.train(in_the_probe)[0], states()[-1]) == (143, "step-000000005")
        assert "going on from step-000000005" in nursery.finish()
    finally:
        killing.change(nursery.folder, {new: old for old, new in SELDOM.items()})
    assert killing.published(nursery.folder) == whole


def test_a_full_disk_is_told_in_a_line_and_leaves_the_last_good_state(
    nursery: killing.Nursery, whole: dict[str, str]
) -> None:
    for instant, left in ((Instant("torch:save", 4, "middle", what="full"), "step-000000003"),
                          (Instant("attunement.probe:write_jsonl", 1, what="full"), "step-000000004")):
        status, told = nursery.train(instant)
        assert (status, killing.saved_states(nursery.folder)[-1].stem) == (1, left), told
        assert "error: the disk is full" in told
        assert "Traceback" not in told
    assert "going on from step-000000004" in nursery.finish()
    assert killing.published(nursery.folder) == whole


def test_a_damaged_state_or_checkpoint_is_told_and_the_same_bytes_come_out(
    nursery: killing.Nursery, whole: dict[str, str]
) -> None:
    nursery.train(Instant(STEP, 5))
    newest = killing.saved_states(nursery.folder)[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    told = nursery.train(Instant(STEP, 3))[1]
    assert "the state step-000000004.ckpt is damaged (its sha256 does not fit); the one before it is used" in told
    assert "going on from step-000000003" in told
    adapter, = (nursery.folder / "scratch").glob("*/checkpoints/step-000005/weights/adapter_model.safetensors")
    adapter.write_bytes(b"")
    told = nursery.finish()
    assert "the checkpoint step-000005 is damaged; it is made again" in told
    # the weights at step 2 went because those at step 5 were better: without them they are missed too
    assert "step-000000005.ckpt is of no use without the checkpoint at step 2, which is not whole" in told
    assert "no state is left before it; training begins anew" in told
    assert killing.published(nursery.folder) == whole


def test_a_training_that_was_ended_with_other_settings_is_not_gone_on_with_and_it_is_told_which(
    project: Path, nursery: killing.Nursery
) -> None:
    nursery.train(Instant(STEP, 3))
    other = {"learning_rate: 2.0e-4": "learning_rate: 3.0e-4"}
    killing.change(project, other)
    try:
        told = nursery.train(Instant(STEP, 1))[1]
    finally:
        killing.change(project, {new: old for old, new in other.items()})
    assert "not gone on with, because it differs: train.learning_rate (0.0002 then, 0.0003 now)" in told


def test_a_second_trainer_of_the_same_run_is_refused(project: Path, nursery: killing.Nursery) -> None:
    first = killing.start(project)
    try:
        assert first.stderr is not None
        first.stderr.readline()  # it holds the lock by now
        first.send_signal(signal.SIGSTOP)
        status, told = nursery.train()
    finally:
        _kill(first)
    assert status == 1
    assert "another process is training exactly this" in told


def test_dvc_takes_a_terminated_training_for_failed_and_writes_no_lock(project: Path) -> None:
    done = _dvc(project, Instant(STEP, 3, what="term"))
    told = done.communicate(timeout=120)[1]
    assert done.returncode != 0
    assert "stopped when it was asked to" in told
    assert not (project / "dvc.lock").exists()
    assert not (project / "out/train").exists()


def test_a_killed_dvc_takes_its_trainer_with_it(project: Path) -> None:
    dvc = _dvc(project)
    try:
        assert dvc.stderr is not None
        next(line for line in dvc.stderr if line.startswith("train:"))
        assert len(build.trainers(project)) == 1
    finally:
        _kill(dvc)
    deadline = time.monotonic() + 60
    while build.trainers(project) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert build.trainers(project) == []


def _dvc(project: Path, instant: Instant | None = None) -> "subprocess.Popen[str]":
    armed = {VARIABLE: instant.as_json()} if instant else {}
    return subprocess.Popen(["dvc", "repro", "--single-item", "train"], cwd=project, text=True,
                            env=build.environment(project) | armed, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _kill(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait(timeout=60)
    assert process.stderr is not None
    process.stderr.close()
