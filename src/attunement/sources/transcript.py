"""Reader of plain text with role tags: ``User: …`` and ``Assistant: …``, a line each.

    - kind: transcript
      name: mine
      files: data/sources/transcripts   # a folder of .txt
      licence: CC0-1.0
      consent: role plays by staff
      roles: {Caller: user, Helper: assistant}   # the names before the colon, as they are written
      between: blank_line   # or file (each file is one dialogue), or a line such as --- that stands alone
      continues: false      # true: a line without a name goes on with what was said before; else it is a fault
      unsaid: ["["]         # lines that begin so are nobody's words, and left out

Where lines go on, a name that is not declared can not be told from words: declare all of them.
A file has no group of its own: dialogues that belong together can not be told apart here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attunement.records import Role
from attunement.sources.base import Row, faulted
from attunement.sources.lines import BOM, CutError, RowError, raw_lines, utf8
from attunement.sources.turns import Spots, Talk

SPOTS = Spots("turn {}, name", "turn {}, text")


@dataclass(slots=True)
class _Script:
    """The lines of one dialogue, by number."""

    lines: list[tuple[int, bytes]] = field(default_factory=list)
    hole: int | None = None


class Transcript(Talk):
    """Dialogues as text, a name before what is said."""

    kind: Literal["transcript"]
    roles: dict[str, Role] = Field(
        default={"System": "system", "User": "user", "Assistant": "assistant"}, min_length=1)
    between: Annotated[str, Field(min_length=1)] = "blank_line"
    continues: bool = False
    unsaid: tuple[Annotated[str, Field(min_length=1)], ...] = ()

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".text", ".md")

    def rows(self, path: Path) -> Iterator[Row]:
        """Every dialogue as a Row, at its first line; one in which a line can not be read is a fault."""
        for script in self._scripts(path):
            if not any(line.strip() for _, line in script.lines):
                continue
            first = next(number for number, line in script.lines if line.strip())
            try:
                if script.hole is not None:
                    raise RowError(f"may miss a turn: line {script.hole} can not be read", "the dialogue")
                said, left = self._said(script)
                turns, repairs, unanswered = self.turns_of(said, SPOTS)
                told = (f"left out {left} lines that nobody says",) if left else ()
                yield Row(path.as_posix(), first, turns, self.locale, repairs=told + repairs, unanswered=unanswered)
            except RowError as fault:
                yield faulted(path, first, fault)

    def _scripts(self, path: Path) -> Iterator[_Script]:
        """The dialogues of a file; raises CutError after the one that is broken off."""
        script = _Script()
        try:
            for number, line in enumerate(raw_lines(path), 1):
                bare = line.removeprefix(BOM).strip() if number == 1 else line.strip()
                if self._parts(bare):
                    yield script
                    script = _Script()
                else:
                    script.lines.append((number, bare))
        except CutError as cut:
            script.hole = cut.line
            yield script
            raise
        yield script

    def _parts(self, bare: bytes) -> bool:
        if self.between == "file":
            return False
        return not bare if self.between == "blank_line" else bare == self.between.encode()

    def _said(self, script: _Script) -> tuple[list[tuple[str, str]], int]:
        """(turns by name, number of lines left out); raises RowError, which names the line."""
        names = "|".join(re.escape(name) for name in sorted(self.roles, key=len, reverse=True))
        tagged = re.compile(rf"({names})\s*:(.*)", re.DOTALL)
        said: list[tuple[str, list[str]]] = []
        left = 0
        for number, line in script.lines:
            text = self._text(line, number)
            if self.unsaid and text.startswith(self.unsaid):
                left += 1
            elif found := tagged.match(text):
                said.append((found[1], [found[2].strip()]))
            elif said and self.continues:
                said[-1][1].append(text)
            elif text:
                raise RowError(f"a line without a name; declared are {', '.join(self.roles)}", f"line {number}")
        if self.continues and len({who for who, _ in said}) < 2:  # the other's name may have been taken for words
            raise RowError(f"one speaker alone; declared are {', '.join(self.roles)}", "the dialogue")
        return [(who, "\n".join(what)) for who, what in said], left

    @staticmethod
    def _text(line: bytes, number: int) -> str:
        try:
            return utf8(line)
        except RowError as fault:
            raise RowError(f"{fault.what} at {fault.at}", f"line {number}") from None
