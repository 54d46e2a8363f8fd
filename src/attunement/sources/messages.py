"""Reader of OpenAI chat messages as JSON Lines: ``{"messages": [{"role", "content"}…], "locale"?, "tags"?}``.

A row with any other key is a fault, unless the key is declared.

    - kind: messages
      name: mine
      files: data/sources/mine/*.jsonl
      licence: CC-BY-4.0
      consent: composed; no person's own words
      extra: [thread, created]  # keys of a row that may be there; any other unknown key is a fault
      group: thread             # one of them: rows that share its value lie in one split
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from attunement.records import Role
from attunement.sources.base import Row, faulted
from attunement.sources.fields import plain_value
from attunement.sources.lines import RowError
from attunement.sources.objects import JSON, decoded, objects, plain_key
from attunement.sources.turns import Spots, Talk

SPOTS = Spots("messages.{}.role", "messages.{}.content")
KNOWN = ("messages", "locale", "tags")


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    role: str
    content: str


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Message]
    locale: str = ""
    tags: dict[str, str] = {}


class _OpenLine(msgspec.Struct):
    messages: list[_Message]
    locale: str = ""
    tags: dict[str, str] = {}


_STRICT: "msgspec.json.Decoder[_Line | _OpenLine]" = msgspec.json.Decoder(_Line)
_OPEN: "msgspec.json.Decoder[_Line | _OpenLine]" = msgspec.json.Decoder(_OpenLine)
_KEYS = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Messages(Talk):
    """OpenAI messages, one dialogue a line."""

    kind: Literal["messages"]
    roles: dict[str, Role] = Field(default={"system": "system", "user": "user", "assistant": "assistant"})
    extra: tuple[str, ...] = ()
    group: str = Field(default="", description="one of extra")

    suffixes: ClassVar[tuple[str, ...]] = JSON

    def rows(self, path: Path) -> Iterator[Row]:
        """Every object as a Row; one that does not fit carries its fault and where in it."""
        file = path.as_posix()
        for line, raw in objects(path):
            try:
                parsed = decoded(raw, _OPEN if self.extra else _STRICT)
                group = self._extras(raw) if self.extra else ""
                if not parsed.messages:
                    raise RowError("expected at least 1 item", "messages")
                said = [(one.role, one.content) for one in parsed.messages]
                turns, repairs, unanswered = self.turns_of(said, SPOTS)
                yield Row(file, line, turns, parsed.locale or self.locale, parsed.tags, group, repairs,
                          unanswered=unanswered)
            except RowError as fault:
                yield faulted(path, line, fault)

    def _extras(self, raw: bytes) -> str:
        """The row's group, once its keys are found to be declared; raises RowError."""
        found = decoded(raw, _KEYS)
        if odd := [key for key in found if key not in KNOWN and key not in self.extra]:
            raise RowError("an unknown field", plain_key(odd[0]))
        if self.group not in found:
            return ""
        value: Any = msgspec.json.decode(found[self.group])
        return plain_value(value, self.group)

    @model_validator(mode="after")
    def _group_is_extra(self) -> Self:
        if self.group and self.group not in self.extra:
            raise ValueError(f"group: expected a key among extra, got {self.group}")
        return self
