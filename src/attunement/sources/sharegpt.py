"""Reader of ShareGPT: ``{"id"?, "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]}``.

JSON Lines or one array. Other fields are left alone.

    - kind: sharegpt
      name: mine
      files: data/sources/mine.json.gz
      licence: Apache-2.0
      consent: donated by those who wrote it, with terms
      roles: {human: user, gpt: assistant}  # in place of the names below
      group: thread                         # a field beside `conversations`; by default the id up to its _number,
                                            # since long conversations were cut into QWJhYvA_0, QWJhYvA_17, …

An id whose beginning is a plain word, such as conv_0, counts the conversations of a file and is its own group: of all
conv_… one group, and so one split, would be made.
"""

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
ID_CHARS = 5  # fewer, before the number of a part, are a word; ShareGPT's ids have seven


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
                said = [(one.who, one.value) for one in parsed.conversations]
                turns, repairs, unanswered = self.turns_of(said, SPOTS)
                told = self.told(decoded(raw, _FIELDS)) if self.about() else {"locale": self.locale}
                if self.group == "id":
                    told["group"] = conversation_of(told["group"])
                yield Row(path.as_posix(), line, turns, repairs=repairs, unanswered=unanswered, **told)
            except RowError as fault:
                yield faulted(path, line, fault)


def conversation_of(key: str) -> str:
    """The id without the number of its part, where what is left looks like an id itself: digits, or mixed letters."""
    stem, _, part = key.rpartition("_")
    plain = stem in (stem.lower(), stem.upper(), stem.capitalize()) and not any(map(str.isdigit, stem))
    is_id = len(stem) >= ID_CHARS and stem.isascii() and stem.replace("-", "").isalnum() and not plain
    return stem if is_id and part.isdecimal() else key
