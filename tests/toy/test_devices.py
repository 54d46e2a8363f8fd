"""Training on two devices: two processes on this machine's CPU. What one device makes they make, and end together."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import build
import gym
import pytest

pytest.importorskip("torch")

TWO = {"train.devices": {"count": 2, "nodes": 1, "strategy": "ddp"}}
# Three packs a step for two devices: one of them is dealt a muted one. One pack a step in the other: one has nothing.
UNEVEN = {"train.batch_dialogues": 1, "train.checkpoints": 3, "train.save_state_every_min": 1e-9}
SCARCE = {"train.batch_dialogues": 3, "train.checkpoints": 1, "train.lora": None}
JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1",
       "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost"}


@dataclass(frozen=True)
class Cut:
    """A training on two devices that was asked to end, then killed, then let finish."""

    folder: Path
    asked_status: int
    asked: str
    killed: str
    orphans_after: tuple[int, int]
    finished: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gym.make(tmp_path_factory.mktemp("devices"))


@pytest.fixture(scope="module")
def cut(folder: Path) -> Cut:
    gym.declare(folder, UNEVEN | TWO)
    process = gym.start(folder)
    told = _until_checkpoint(process)
    for each in build.trainers(folder):  # as a cluster does: all at once
        os.kill(each, signal.SIGTERM)
    told += process.communicate(timeout=120)[1]
    asked_left = _left(folder)
    second = gym.start(folder)
    killed = _until_checkpoint(second)
    second.kill()
    killed += second.communicate(timeout=120)[1]
    killed_left = _left(folder)
    status, finished = gym.finished(folder)
    assert status == 0, finished
    return Cut(folder, process.returncode, told, killed, (asked_left, killed_left), finished)


def _until_checkpoint(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    told = ""
    for line in process.stderr:
        told += line
        if "checkpoint at step" in line:
            return told
    raise AssertionError(f"it ended before a checkpoint:\n{told}")


def _left(folder: Path) -> int:
    """How many are there still after half a minute."""
    deadline = time.monotonic() + 30
    while build.trainers(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return len(build.trainers(folder))


def test_two_devices_make_what_one_makes_in_one_batch_however_often_they_are_cut(
    cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cut.folder)
    one = gym.fit(cut.folder, tmp_path, UNEVEN | {"train.batch_dialogues": 3})
    assert gym.distance(gym.weights(cut.folder / "out/train"), gym.weights(one)) < 1e-6
    steps = [path.name for path in sorted((one / "checkpoints").iterdir())]
    probed = b"".join((one / "checkpoints" / step / "probes.jsonl").read_bytes() for step in steps)
    assert (cut.folder / "out/train/probes.jsonl").read_bytes() == probed


def test_devices_that_are_asked_to_end_do_so_together_and_say_it_once(cut: Cut) -> None:
    assert cut.asked_status == 143, cut.asked
    assert cut.asked.count("stopped when it was asked to") == 1
    assert "Traceback" not in cut.asked


def test_none_is_left_when_the_first_ends_or_is_killed(cut: Cut) -> None:
    assert cut.orphans_after == (0, 0)


def test_they_go_on_from_the_last_state(cut: Cut) -> None:
    assert "going on from step-" in cut.killed
    assert "going on from step-" in cut.finished


def test_only_the_first_process_tells(cut: Cut) -> None:
    assert cut.finished.count("dialogues, 6 steps") == 1
    assert cut.finished.count("published to out/train/") == 1
    assert "Initializing distributed" not in cut.finished


def test_devices_without_a_pack_of_their_own_change_nothing_where_all_weights_are_trained(
    folder: Path, cut: Cut, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    one = gym.weights(gym.fit(folder, tmp_path, SCARCE))
    gym.declare(folder, SCARCE | TWO)
    status, told = gym.finished(folder)
    assert status == 0, told
    assert gym.distance(gym.weights(folder / "out/train"), one) < 1e-6


def test_a_job_of_one_task_trains_and_is_not_put_back_into_the_queue(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.plugins.environments import SLURMEnvironment

    made: list[bool] = []
    plain = SLURMEnvironment.__init__
    monkeypatch.setattr(SLURMEnvironment, "__init__", lambda self, auto_requeue=True, **more: (
        made.append(auto_requeue), plain(self, auto_requeue, **more))[1])
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    assert gym.weights(gym.fit(folder, tmp_path))
    assert made == [False]


@pytest.mark.parametrize(("devices", "job", "told"), [
    ({"count": 2, "nodes": 1, "strategy": "ddp"}, JOB, r"\(2 on each of 1 nodes.*ntasks-per-node"),
    ({"count": 1, "nodes": 1, "strategy": "auto"}, {"LOCAL_RANK": "1"}, "several processes were started"),
])
def test_devices_that_can_not_be_had_end_clearly(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: dict[str, object], job: dict[str, str],
    told: str,
) -> None:
    from attunement.errors import TrainingError

    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)
    with pytest.raises(TrainingError, match=told):
        gym.fit(folder, tmp_path, {"train.devices": devices})


@pytest.mark.parametrize(("told", "leads"), [
    ({}, True), ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True), ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
    ({"NODE_RANK": "1"}, False), ({"RANK": "0", "LOCAL_RANK": "0"}, True), ({"RANK": "2", "LOCAL_RANK": "0"}, False),
    ({"SLURM_PROCID": "0"}, True), ({"SLURM_PROCID": "3", "SLURM_LOCALID": "0"}, False),
])
def test_who_leads_is_known_from_what_the_launcher_tells(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str], leads: bool
) -> None:
    from attunement.train import is_leader

    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert is_leader() is leads
