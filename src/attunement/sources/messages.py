"""Reader of OpenAI chat messages as JSON Lines: ``{"messages": [{"role", "content"}…], "locale"?, "tags"?}``."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from attunement.artefacts import first_fault
from attunement.records import Role, Turn
from attunement.sources.base import Row, Source


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    class Message(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        role: Role
        content: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    locale: str = "und"
    tags: dict[str, str] = {}


class Messages(Source):
    """OpenAI messages, one dialogue a line."""

    kind: Literal["messages"]

    def read(self) -> Iterator[Row]:
        """Every non-blank line as a Row; a line that does not parse carries its fault and where in it."""
        for path in self.paths():
            with path.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield _read_line(line, path, number)


def _read_line(line: bytes, path: Path, number: int) -> Row:
    place = partial(Row, file=path.as_posix(), line=number)
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return place(fault="not UTF-8", fault_at=f"byte {error.start}")
    try:
        parsed = _Line.model_validate_json(text)
    except ValidationError as error:
        where, _, what = first_fault(error).partition(": ")
        return place(fault=what, fault_at=where)
    turns = tuple(Turn(role=message.role, text=message.content) for message in parsed.messages)
    return place(turns=turns, locale=parsed.locale, tags=parsed.tags)
