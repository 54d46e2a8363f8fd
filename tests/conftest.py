"""Fixtures that several test files share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toy_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small real checkpoint in Detoxify's format. Read only: a test that damages one builds its own."""
    import toy_detoxify

    return toy_detoxify.build(tmp_path_factory.mktemp("toy-detoxify"))


@pytest.fixture(scope="session")
def encoder() -> Path:
    """models/encoder, fetched when it is not there: tests of real classifiers need it."""
    import real_encoder

    return real_encoder.ensure()


@pytest.fixture(scope="session")
def gym_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which training can start at once. Its params.yaml is each test's own."""
    import gym

    return gym.make(tmp_path_factory.mktemp("gym"))
