"""Reader of Alpaca: ``{"instruction": "…", "input": "", "output": "…"}``, one array or JSON Lines.

The input, where there is one, follows the instruction after an empty line. Rows of one instruction lie in one split.

    - kind: alpaca
      name: mine
      files: data/sources/instructions.json
      licence: CC-BY-4.0
      consent: written by annotators for this purpose
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from attunement.sources.base import Row
from attunement.sources.entries import DELIMITED, PARQUET, Layout, entries, entry_rows
from attunement.sources.fields import Fielded, optional_text, text_of
from attunement.sources.objects import JSON
from attunement.sources.pairs import pair


class Alpaca(Fielded):
    """Instructions, with or without an input, and outputs."""

    kind: Literal["alpaca"]

    suffixes: ClassVar[tuple[str, ...]] = (*JSON, *DELIMITED, *PARQUET)

    def rows(self, path: Path) -> Iterator[Row]:
        """Every record as a Row of two turns."""
        layout = Layout(columns=("instruction", "output", *self.about()), optional=("input",))
        yield from entry_rows(path, entries(path, layout), lambda line, values: self._row(path, line, values))

    def _row(self, path: Path, line: int, values: dict[str, Any]) -> Row:
        asked = text_of(values, "instruction")
        if given := optional_text(values, "input"):
            asked = f"{asked}\n\n{given}"
        return pair(self, path, line, values, asked=asked, answered=text_of(values, "output"))
