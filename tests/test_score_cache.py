"""The cache of scores: known by what was shown, to which version; no words in it; a damaged one is told."""

from pathlib import Path

import pytest

from attunement.errors import DataError
from attunement.records import Turn
from attunement.score_cache import Answer, ScoreCache, key_of
from attunement.scorers.base import Item
from attunement.scorers.linear import Linear
from attunement.steps.asking import DIGITS, worst

LINEAR = Linear(kind="linear", threshold=0.8)


def item(reply: str, number: str = "1", **tags: str) -> Item:
    return Item(id=number, context=(Turn(role="user", text="Hello."),), reply=reply, tags=tags)


def test_an_answer_is_known_again_by_what_was_shown_whoever_it_was_about(tmp_path: Path) -> None:
    key = key_of(LINEAR, "v1", item("Good day."))
    ScoreCache(tmp_path / "a/b.sqlite").add({key: Answer(0.25, "ok", "because")})
    again = ScoreCache(tmp_path / "a/b.sqlite")
    assert again.known([key_of(LINEAR, "v1", item("Good day.", "2"))]) == {key: Answer(0.25, "ok", "because")}
    for other in (key_of(LINEAR, "v2", item("Good day.")), key_of(LINEAR, "v1", item("Good night.")),
                  key_of(LINEAR, "v1", item("Good day.", risk="active"))):
        assert again.known([other]) == {}


def test_the_file_holds_no_words(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path / "b.sqlite")
    cache.add({key_of(LINEAR, "v1", item("a very peculiar sentence")): Answer(None, None, "empty")})
    cache.close()
    assert b"peculiar" not in (tmp_path / "b.sqlite").read_bytes()


def test_a_damaged_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.sqlite").write_bytes(b"no database at all, and long enough to be read as one" * 20)
    with pytest.raises(DataError, match="Remove it"):
        ScoreCache(tmp_path / "b.sqlite")


def answers(*values: float | None) -> list[tuple[int | None, Answer]]:
    return [(number, Answer(value, None, "")) for number, value in enumerate(values)]


def test_one_turn_that_could_not_be_scored_leaves_the_dialogue_unscored() -> None:
    assert worst(answers(0.1, None), "max") is None
    assert worst([], "mean") is None
    assert worst(answers(0.1, 0.7, 0.3), "max") == (1, 0.7)
    assert worst(answers(0.1, 0.7, 0.3), "min") == (0, 0.1)
    assert worst(answers(0.1, 0.2), "mean") == (None, round(0.15, DIGITS))
