"""Reader of CSV, TSV, Parquet or JSON Lines with declared columns: an utterance a row, or a prompt and a response.

Of CSV, what the module `entries` says about broken records holds.

    - kind: table
      name: mine
      files: [data/sources/a.parquet, data/sources/b.csv]
      licence: CC-BY-4.0
      consent: asked of every participant, on paper
      dialogue: session  # the id that the rows of a dialogue share, within a file
      order: minute      # numbers, or words that sort as written; without it the order of the rows
      role: speaker
      text: words
      roles: {Helper: assistant, Caller: user}
      merge_same_speaker: true

    - kind: table
      …
      prompt: question   # in place of dialogue, order, role, text
      response: answer
"""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from attunement.records import Role
from attunement.sources.base import Row
from attunement.sources.entries import DELIMITED, PARQUET, Layout, entries
from attunement.sources.fields import Fielded, optional_text, plain_value
from attunement.sources.objects import JSON
from attunement.sources.pairs import pair_rows
from attunement.sources.turns import Spots, Talk
from attunement.sources.utterances import Gathered, gathered_rows, ordered


class Table(Talk, Fielded):
    """A table whose columns are declared."""

    kind: Literal["table"]
    roles: dict[str, Role] = Field(default={"system": "system", "user": "user", "assistant": "assistant"})
    dialogue: str = ""
    order: str = ""
    role: str = ""
    text: str = ""
    prompt: str = ""
    response: str = ""
    delimiter: str = Field(default="", max_length=1, description="empty: a tab in .tsv, else a comma")

    suffixes: ClassVar[tuple[str, ...]] = (*DELIMITED, *PARQUET, *JSON)

    def rows(self, path: Path) -> Iterator[Row]:
        """Every dialogue as a Row; a record that can not be read as a row of its own."""
        names = (self.prompt, self.response) if self.prompt else (self.dialogue, self.order, self.role, self.text)
        layout = Layout(columns=[name for name in (*names, *self.about()) if name], delimiter=self.delimiter)
        if self.prompt:
            yield from pair_rows(self, path, layout, self.prompt, self.response)
            return
        yield from gathered_rows(path, entries(path, layout), self.dialogue, lambda one: self._row(one, path))

    def _row(self, one: Gathered, path: Path) -> Row:
        told = self.told(one.records[0])
        records = ordered(one.records, self.order) if self.order else one.records
        said = [(plain_value(record.get(self.role), self.role), optional_text(record, self.text)) for record in records]
        spots = Spots(f"turn {{}}, {_literal(self.role)}", f"turn {{}}, {_literal(self.text)}")
        turns, repairs, unanswered = self.turns_of(said, spots)
        return Row(path.as_posix(), one.line, turns, repairs=repairs, unanswered=unanswered, **told)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        utterances, pair = (self.dialogue, self.role, self.text), (self.prompt, self.response)
        if not (all(utterances) and not any(pair)) and not (all(pair) and not any((*utterances, self.order))):
            raise ValueError("expected either dialogue, role and text (and order), or prompt and response")
        return self


def _literal(name: str) -> str:
    return name.replace("{", "{{").replace("}", "}}")
