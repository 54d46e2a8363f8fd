"""Asking a scorer through the cache: once each, kept soon, whatever becomes of the scorer afterwards."""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from attunement.runner import Engine, running
from attunement.score_cache import Answer, ScoreCache, key_of
from attunement.scorers.base import Form, Item, Scored, Scorer
from attunement.steps import asking
from attunement.steps.asking import ITEMS_KEPT, Work, asked

ENGINE = Engine(runner="local", workers=1, batch_dialogues=7)


class Kettle(Scorer):
    """Counts letters, and dies of a word."""

    kind: Literal["kettle"] = "kettle"
    dies_of: str = ""
    forms: ClassVar[tuple[Form, ...]] = ("text",)

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """The number of letters, a hundredth each."""
        if any(item.words == self.dies_of for item in items):
            raise KeyboardInterrupt
        return [Scored(id=item.id, value=len(item.words) / 100, label=None, because="") for item in items]


class Counted(ScoreCache):
    """A cache that tells how many answers came to it at a time."""

    def __init__(self) -> None:
        super().__init__(None)
        self.parts: list[int] = []

    def add(self, answers: Mapping[bytes, Answer]) -> None:
        """Keep and count."""
        self.parts.append(len(answers))
        super().add(answers)


def items(n: int) -> list[Item]:
    """Texts of different words; the longest stand first."""
    return [Item(id="", text="tea " * (n - number)) for number in range(n)]


def answers(scorer: Scorer, given: list[Item], cache: ScoreCache) -> list[Answer]:
    with running(ENGINE) as runner:
        return asked(scorer, given, Work(runner, cache))


def test_what_a_scorer_answered_before_it_died_is_known_to_the_next_run(tmp_path: Path) -> None:
    given = items(300)
    mortal = Kettle(dies_of=given[100].words)
    cache = ScoreCache(tmp_path / "scores.sqlite")
    with pytest.raises(KeyboardInterrupt):
        answers(mortal, given, cache)
    cache.close()
    again = ScoreCache(tmp_path / "scores.sqlite")
    assert len(again.known(key_of(mortal, mortal.version, item) for item in given)) == 192, "three chunks of 64"


def test_answers_that_take_long_are_on_the_disk_while_others_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SECONDS_KEPT", 0.0)
    path, seen = tmp_path / "scores.sqlite", []
    given = items(300)

    class Watched(Kettle):
        def score(self, items: Sequence[Item]) -> list[Scored]:
            """Also: how many answers another process would find by now."""
            other = ScoreCache(path)
            seen.append(len(other.known(key_of(self, self.version, item) for item in given)))
            other.close()
            return super().score(items)

    answers(Watched(), given, ScoreCache(path))
    assert seen == [0, 64, 128, 192, 256]


def test_answers_that_come_fast_are_written_many_at_a_time() -> None:
    cache = Counted()
    answers(Kettle(), items(1000), cache)
    assert cache.parts == [ITEMS_KEPT, 1000 - ITEMS_KEPT]


def test_items_of_like_length_are_asked_together_and_answers_come_in_the_order_of_the_items() -> None:
    lengths: list[list[int]] = []

    class Watched(Kettle):
        def score(self, items: Sequence[Item]) -> list[Scored]:
            """Also: the lengths of what it is shown."""
            lengths.append([len(item.words) for item in items])
            return super().score(items)

    given = items(200)
    found = answers(Watched(), given, ScoreCache(None))
    assert [answer.value for answer in found] == [len(item.words) / 100 for item in given]
    assert list(chain.from_iterable(lengths)) == sorted(len(item.words) for item in given)
    once = len(lengths)
    assert answers(Watched(), given[::-1], ScoreCache(None)) == found[::-1]
    assert lengths[:once] == lengths[once:], "what is batched together must not hang on the order of the rows"
