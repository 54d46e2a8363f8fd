"""How a stage begins: it obeys what it is told or says that it does not know it."""

import subprocess
import sys

import pytest


def stage(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("attunement.gate", "--enforce"), ("attunement.respond", "other")])
def test_a_stage_refuses_an_argument_that_it_does_not_know(words: tuple[str, ...]) -> None:
    done = stage(*words)
    assert done.returncode == 2
    assert "usage: python -m attunement." in done.stderr


def test_help_of_a_stage_says_what_it_does_and_does_nothing() -> None:
    done = stage("attunement.select", "--help")
    assert done.returncode == 0
    assert "Zero tolerance" in done.stdout
