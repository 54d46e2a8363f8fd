"""What scorers have answered before, by what they were shown and which version they were.

In: items and a scorer. Out: its answers, those known from an SQLite file that outlives the run. A changed limit asks
nothing anew, a killed run goes on where it stopped. The file holds hashes and answers, never words.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attunement.errors import DataError
from attunement.scorers.base import Item, Scored, Scorer

KEYS_AT_ONCE = 500


class Answer(NamedTuple):
    """A scorer's answer without the id of whom it was about."""

    value: float | None
    label: str | None
    because: str


class ScoreCache:
    """Answers by key. ``path`` None: kept for this run alone."""

    def __init__(self, path: Path | None) -> None:
        self._file: str | Path = ":memory:" if path is None else path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(self._file)
            self._base.execute("create table if not exists answers (key blob primary key, answer text) without rowid")
        except sqlite3.DatabaseError:
            raise DataError(f"{path} is no cache of scores. Remove it: it is made anew.") from None

    def known(self, keys: Iterable[bytes]) -> dict[bytes, Answer]:
        """The answers that are there."""
        wanted = list(dict.fromkeys(keys))
        found: dict[bytes, str] = {}
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"select key, answer from answers where key in ({marks})"  # noqa: S608  # marks are question marks
            found |= dict(self._base.execute(query, some))
        return {key: Answer(*json.loads(text)) for key, text in found.items()}

    def add(self, answers: Mapping[bytes, Answer]) -> None:
        """Keep answers, on the disk before this returns."""
        with self._base:
            self._base.executemany("insert or replace into answers values (?, ?)",
                                   [(key, json.dumps(answer)) for key, answer in answers.items()])

    def close(self) -> None:
        self._base.close()


def key_of(scorer: Scorer, version: str, item: Item) -> bytes:
    """What an answer hangs on: the scorer, its version, and the item but for its id."""
    shown = item.model_dump_json(exclude={"id"})
    return hashlib.sha256("\x1f".join((scorer.name, version, shown)).encode()).digest()


def answer_of(scored: Scored, digits: int) -> Answer:
    """The answer as it is kept. Rounded: how items are batched together moves the last bits of a float."""
    value = None if scored.value is None else round(scored.value, digits)
    return Answer(value, scored.label, scored.because)


def chunked(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Items in their order, ``size`` at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]
