"""Reader of AnnoMI (Wu et al. 2022): CSV, an utterance of a motivational interview a line.

Therapists open, people speak in several utterances in a row, and an utterance that several annotators coded is there
several times.

    - kind: annomi
      name: annomi
      files: data/sources/AnnoMI-full.csv
      licence: CC-BY-4.0
      consent: demonstrations by actors, published as videos
      locale: en
      tags: {topic: topic, quality: mi_quality}
      group: video_url  # transcript_id, when it is not said
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from attunement.records import Role
from attunement.sources.base import Row
from attunement.sources.entries import DELIMITED, PARQUET, Layout, entries
from attunement.sources.fields import Fielded, optional_text, plain_value
from attunement.sources.lines import RowError
from attunement.sources.turns import Said, Spots, Talk
from attunement.sources.utterances import Gathered, gathered_rows, numbered

SPOTS = Spots("turn {}, interlocutor", "turn {}, utterance_text")


class AnnoMi(Talk, Fielded):
    """Motivational interviews by therapist and client."""

    kind: Literal["annomi"]
    roles: dict[str, Role] = Field(default={"client": "user", "therapist": "assistant"})
    group: str = "transcript_id"
    merge_same_speaker: bool = True
    drop_empty: bool = True
    drop_leading_assistant: bool = True
    drop_trailing_user: bool = True

    suffixes: ClassVar[tuple[str, ...]] = (*DELIMITED, *PARQUET)

    def rows(self, path: Path) -> Iterator[Row]:
        """Every transcript as a Row; a line that can not be read as a row of its own."""
        needed = ("transcript_id", "utterance_id", "interlocutor", "utterance_text", *self.about())
        found = entries(path, Layout(columns=needed))
        yield from gathered_rows(path, found, "transcript_id", lambda one: self._row(one, path))

    def _row(self, one: Gathered, path: Path) -> Row:
        said = _said(one.records)
        turns, repairs, unanswered = self.turns_of(said, SPOTS)
        if again := len(one.records) - len(said):
            repairs = (f"left out {again} repeats of utterances", *repairs)
        told = self.told(one.records[0])
        return Row(path.as_posix(), one.line, turns, repairs=repairs, unanswered=unanswered, **told)


def _said(records: list[dict[str, Any]]) -> list[Said]:
    """Utterances by number, each once; raises RowError for a gap, and for two utterances with one number."""
    found: dict[int, Said] = {}
    for number, record in numbered(records, "utterance_id"):
        said = (plain_value(record["interlocutor"], "interlocutor"), optional_text(record, "utterance_text"))
        if found.setdefault(number, said) != said:
            raise RowError(f"two utterances with the number {number}", "utterance_id")
    numbers = list(found)
    for before, after in pairwise(numbers):
        if after != before + 1:
            raise RowError(f"expected {before + 1}, got {after}", "utterance_id")
    return list(found.values())
