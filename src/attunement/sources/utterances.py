"""Dialogues of a table in which each record is an utterance: gathered by their id, in order, or told why not.

A record that can not be read may belong to the dialogue before it or to the one after: both are held to have a hole,
and a dialogue with a hole is a fault. A table is gathered as a whole: the records of a dialogue
need not stand together.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attunement.sources.base import Row, faulted
from attunement.sources.entries import Entry
from attunement.sources.fields import plain_value
from attunement.sources.lines import CutError, RowError


@dataclass(slots=True)
class Gathered:
    """One dialogue: its records as they came; ``hole`` is the line beside it that could not be read."""

    id: str
    line: int
    records: list[dict[str, Any]] = field(default_factory=list)
    hole: int | None = None

    def check(self) -> None:
        """Raises RowError for a dialogue with a hole."""
        if self.hole is not None:
            raise RowError(f"may miss a turn: line {self.hole} beside it can not be read", "the dialogue")


def gathered(found: Iterable[Entry], id_field: str) -> Iterator[Gathered | Entry]:
    """Dialogues and broken records, by line; raises CutError after them where the file breaks off."""
    dialogues: dict[str, Gathered] = {}
    broken: list[Entry] = []
    last: Gathered | None = None
    before: int | None = None  # the line of a broken record just before
    cut = None
    try:
        for entry in found:
            if fault := entry.fault or _id_fault(entry, id_field):
                broken.append(Entry(entry.line, fault=fault))
                before = entry.line
                if last is not None:
                    last.hole = entry.line
                continue
            name = plain_value(entry.values[id_field], id_field)
            last = dialogues.setdefault(name, Gathered(name, entry.line))
            last.records.append(entry.values)
            if before is not None:
                last.hole, before = before, None
    except CutError as error:
        cut = error
        if last is not None:
            last.hole = cut.line
    every: list[Gathered | Entry] = [*dialogues.values(), *broken]
    yield from sorted(every, key=lambda one: one.line)
    if cut is not None:
        raise cut


def gathered_rows(
    path: Path, found: Iterable[Entry], id_field: str, row_of: Callable[[Gathered], Row]
) -> Iterator[Row]:
    """A row for every dialogue, and with its fault for each that has a hole and each record that can not be read."""
    for one in gathered(found, id_field):
        try:
            if isinstance(one, Entry):
                raise one.fault or AssertionError("a record without a fault is in a dialogue")
            one.check()
            yield row_of(one)
        except RowError as fault:
            yield faulted(path, one.line, fault)


def _id_fault(entry: Entry, id_field: str) -> RowError | None:
    try:
        name = plain_value(entry.values.get(id_field), id_field)
    except RowError as fault:
        return fault
    return None if name else RowError("is empty", id_field)


def numbered(records: Iterable[dict[str, Any]], number_field: str) -> list[tuple[int, dict[str, Any]]]:
    """(number, record) by number; raises RowError for one that is no whole number."""
    found = []
    for record in records:
        try:
            found.append((int(plain_value(record.get(number_field), number_field)), record))
        except ValueError:
            raise RowError("expected a whole number", number_field) from None
    return sorted(found, key=lambda one: one[0])


def ordered(records: list[dict[str, Any]], order_field: str) -> list[dict[str, Any]]:
    """Records by a column of numbers, or of words that sort as they are written (ISO 8601); raises RowError."""
    keys = [_order_key(record.get(order_field), order_field) for record in records]
    if len({type(key) for key in keys}) > 1:
        raise RowError("numbers and words", order_field)
    if len(set(keys)) < len(keys):
        raise RowError("two turns with the same place", order_field)
    places = sorted(range(len(records)), key=keys.__getitem__)
    return [records[place] for place in places]


def _order_key(value: Any, order_field: str) -> Any:
    text = plain_value(value, order_field)
    if not text:
        raise RowError("is empty", order_field)
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        raise RowError("expected a finite number", order_field)
    return number
