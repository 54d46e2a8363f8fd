"""Reader of ShareGPT: ``{"id"?, "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}``.

JSON Lines or one array. Other fields are left alone.

    - kind: sharegpt
      name: mine
      files: data/sources/mine.json.gz
      licence: Apache-2.0
      consent: donated by those who wrote it, with terms
      roles: {human: user, gpt: assistant}  # in place of the names below
      group: thread                         # a field beside `conversations`; by default the id up to its _number,
                                            # since long conversations were cut into id_0, id_17, …
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec
from pydantic import Field

from attunement.records import Role
from attunement.sources.base import Row, faulted
from attunement.sources.fields import Fielded
from attunement.sources.lines import RowError
from attunement.sources.objects import JSON, decoded, objects
from attunement.sources.turns import Spots, Talk

SPOTS = Spots("conversations.{}.from", "conversations.{}.value")
_PART = re.compile(r"_\d+$")


class _Said(msgspec.Struct):
    who: str = msgspec.field(name="from")
    value: str


class _Line(msgspec.Struct):
    conversations: list[_Said]


_LINE, _FIELDS = msgspec.json.Decoder(_Line), msgspec.json.Decoder(dict[str, Any])


class ShareGpt(Talk, Fielded):
    """ShareGPT conversations, one an object."""

    kind: Literal["sharegpt"]
    roles: dict[str, Role] = Field(default={
        "system": "system", "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant",
        "assistant": "assistant", "model": "assistant", "bing": "assistant", "bard": "assistant",
    })
    group: str = "id"

    suffixes: ClassVar[tuple[str, ...]] = JSON

    def rows(self, path: Path) -> Iterator[Row]:
        """Every object as a Row."""
        for line, raw in objects(path):
            try:
                parsed = decoded(raw, _LINE)
                if not parsed.conversations:
                    raise RowError("expected at least 1 item", "conversations")
                turns, repairs = self.turns_of([(one.who, one.value) for one in parsed.conversations], SPOTS)
                told = self.told(decoded(raw, _FIELDS)) if self.about() else {"locale": self.locale}
                if self.group == "id":
                    told["group"] = _PART.sub("", told["group"])
                yield Row(path.as_posix(), line, turns, repairs=repairs, **told)
            except RowError as fault:
                yield faulted(path, line, fault)
