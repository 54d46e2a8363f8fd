"""What scorers have answered before, by what they were shown and which version they were; and vectors of texts.

In: items and a scorer. Out: its answers, those known from an SQLite file that outlives the run. A changed limit asks
nothing anew, a killed run goes on where it stopped. The file holds hashes and answers, never words; vectors lie in a
table beside (`attunement.embed` makes them).
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from attunement.errors import DataError
from attunement.scorers.base import Item, Scored, Scorer

T = TypeVar("T")
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
            self._base.execute("create table if not exists vectors (key blob primary key, vector blob)")
        except sqlite3.DatabaseError:
            raise DataError(f"{path} is no cache of scores. Remove it: it is made anew.") from None

    def known(self, keys: Iterable[bytes]) -> dict[bytes, Answer]:
        """The answers that are there."""
        return {key: Answer(*json.loads(text)) for key, text in self._found("key, answer from answers", keys)}

    def add(self, answers: Mapping[bytes, Answer]) -> None:
        """Keep answers, on the disk before this returns."""
        with self._base:
            self._base.executemany("insert or replace into answers values (?, ?)",
                                   [(key, json.dumps(answer)) for key, answer in answers.items()])

    def known_vectors(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The vectors that are there, as they were given."""
        return dict(self._found("key, vector from vectors", keys))

    def add_vectors(self, vectors: Mapping[bytes, bytes]) -> None:
        """Keep vectors, on the disk before this returns."""
        with self._base:
            self._base.executemany("insert or replace into vectors values (?, ?)", vectors.items())

    def close(self) -> None:
        self._base.close()

    def _found(self, what: str, keys: Iterable[bytes]) -> Iterator[tuple[bytes, Any]]:
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), KEYS_AT_ONCE):
            some = wanted[start : start + KEYS_AT_ONCE]
            marks = ",".join("?" * len(some))
            yield from self._base.execute(f"select {what} where key in ({marks})", some)


def key_of(scorer: Scorer, version: str, item: Item) -> bytes:
    """What an answer hangs on: the scorer, its version, and the item but for its id."""
    shown = item.model_dump_json(exclude={"id"})
    return hashlib.sha256("\x1f".join((scorer.name, version, shown)).encode()).digest()


def answer_of(scored: Scored, digits: int) -> Answer:
    """The answer as it is kept. Rounded: how items are batched together moves the last bits of a float."""
    value = None if scored.value is None else round(scored.value, digits)
    return Answer(value, scored.label, scored.because)


def chunked(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """Items in their order, ``size`` at a time."""
    return [items[start : start + size] for start in range(0, len(items), size)]
