"""Reader of questions and answers in declared fields, from JSON Lines, a JSON array, CSV, TSV or Parquet.

    - kind: pairs
      name: mine
      files: data/sources/answers.csv
      licence: CC-BY-4.0
      consent: asked and answered in public, under the site's terms
      question: Context
      answer: Response
      group: thread_id  # without it, rows with the same question lie together (by its hash)

A pair is a dialogue of two turns. Where step `form` asks for more (``min_turns: 4`` in our params.yaml) it takes all of
them out, unless the source has a number of its own there: ``overrides: {mine: {min_turns: 2}}``. Alpaca's files are
such pairs too (see `alpaca`), and so are counsel_chat's, and tables and datasets with a prompt and a response.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from attunement.sources.base import Row
from attunement.sources.entries import DELIMITED, PARQUET, Layout, entries, entry_rows
from attunement.sources.fields import Fielded, text_of
from attunement.sources.objects import JSON
from attunement.sources.turns import Spots, built

Column = Annotated[str, Field(min_length=1)]


class Pairs(Fielded):
    """A question and an answer a row."""

    kind: Literal["pairs"]
    question: Column
    answer: Column

    suffixes: ClassVar[tuple[str, ...]] = (*JSON, *DELIMITED, *PARQUET)

    def rows(self, path: Path) -> Iterator[Row]:
        """Every record as a Row of two turns."""
        yield from pair_rows(self, path, Layout(columns=(self.question, self.answer, *self.about())),
                             self.question, self.answer)


def pair_rows(source: Fielded, path: Path, layout: Layout, question: str, answer: str) -> Iterator[Row]:
    """The rows of a file of two declared columns."""
    yield from entry_rows(path, entries(path, layout), lambda line, values: pair(
        source, path, line, values, asked=text_of(values, question), answered=text_of(values, answer)))


def pair(source: Fielded, path: Path, line: int, values: dict[str, Any], *, asked: str, answered: str,
         repairs: tuple[str, ...] = ()) -> Row:
    """A dialogue of one question and one answer; equal questions share a group; raises RowError."""
    turns = built([{"role": "user", "text": asked}, {"role": "assistant", "text": answered}],
                  Spots("the row", "text {}"))
    told = source.told(values)
    told["group"] = told["group"] or f"question {hashlib.sha256(asked.encode()).hexdigest()[:16]}"
    return Row(path.as_posix(), line, turns, repairs=repairs, **told)
