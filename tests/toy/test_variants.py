"""What train can be told, each tried on a tiny model: it trains, its result is what it says, or it ends clearly."""

from pathlib import Path

import gym
import pytest

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _here(gym_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(gym_folder)


@pytest.mark.parametrize("changes", [{"train.batch_dialogues": 1}, {"train.batch_tokens": 150}])
def test_one_big_batch_and_many_small_ones_give_the_same_adapter(
    gym_folder: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    big = gym.fit(gym_folder, tmp_path / "big")
    small = gym.fit(gym_folder, tmp_path / "small", changes)
    assert gym.distance(gym.weights(big), gym.weights(small)) < 1e-6
