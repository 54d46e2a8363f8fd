"""Runners: the same answers in the same order, here and in several processes; what does not answer is told."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from attunement.errors import DataError
from attunement.runner import AHEAD, Engine, Runner, running

ROOT = Path(__file__).resolve().parents[1]


def engine(**changes: object) -> Engine:
    return Engine.model_validate({"runner": "local", "workers": 1, "batch_dialogues": 10} | changes)


def length(text: str) -> int:
    return len(text)


WORDS = ["a" * number for number in (9, 1, 5, 0, 3, 7, 2)]


@pytest.mark.parametrize("workers", [1, 2])
def test_answers_come_in_the_order_of_the_chunks(workers: int) -> None:
    with running(engine(workers=workers)) as runner:
        assert list(runner.map(length, WORDS)) == [9, 1, 5, 0, 3, 7, 2]


def test_no_more_chunks_are_taken_than_are_under_way() -> None:
    taken: list[int] = []

    def chunks() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    found = Runner(engine(workers=2), lambda function, chunk: function(chunk), lambda answer: answer)
    assert next(found.map(lambda chunk: chunk, chunks())) == 0
    assert len(taken) == AHEAD * 2


def test_a_cluster_that_does_not_answer_is_told_with_its_address() -> None:
    if not find_spec("ray"):
        pytest.skip("ray is not installed (extra: cluster)")
    script = ("from attunement.runner import Engine, running\n"
              "with running(Engine(runner='ray', workers=2, batch_dialogues=1, address='127.0.0.1:1')): pass")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert "no Ray cluster answers at curate.engine.address 127.0.0.1:1" in done.stderr


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError, match=r"pip install 'attunement\[cluster\]'"), running(engine(runner="ray")):
        pass
