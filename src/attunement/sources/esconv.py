"""Reader of ESConv (Liu et al. 2021): ``{"dialog": [{"speaker": "seeker", "content": "…"}, …], …}``.

One array (as published) or JSON Lines; ``speaker`` is seeker and supporter or usr and sys, the words are ``content`` or
``text``. Its people type several lines in a row, its supporters often greet first.

    - kind: esconv
      name: esconv
      files: data/sources/ESConv.json
      licence: CC-BY-NC-4.0
      consent: paid crowd workers, informed (Liu et al. 2021)
      locale: en-US
      tags: {topic: problem_type}
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
from attunement.sources.turns import Said, Spots, Talk

SPOTS = Spots("dialog.{}.speaker", "dialog.{}.content")


class _Said(msgspec.Struct):
    speaker: str
    content: str | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET


class _Line(msgspec.Struct):
    dialog: list[_Said]


_LINE, _FIELDS = msgspec.json.Decoder(_Line), msgspec.json.Decoder(dict[str, Any])


class EsConv(Talk, Fielded):
    """Emotional support conversations, one an object."""

    kind: Literal["esconv"]
    roles: dict[str, Role] = Field(
        default={"seeker": "user", "usr": "user", "supporter": "assistant", "sys": "assistant"})
    merge_same_speaker: bool = True
    drop_empty: bool = True
    drop_leading_assistant: bool = True
    drop_trailing_user: bool = True

    suffixes: ClassVar[tuple[str, ...]] = (*JSON, ".txt")  # its splits are published as .txt

    def rows(self, path: Path) -> Iterator[Row]:
        """Every object as a Row."""
        for line, raw in objects(path):
            try:
                parsed = decoded(raw, _LINE)
                said = [_said(one, number) for number, one in enumerate(parsed.dialog)]
                turns, repairs, unanswered = self.turns_of(said, SPOTS)
                told = self.told(decoded(raw, _FIELDS)) if self.about() else {"locale": self.locale}
                yield Row(path.as_posix(), line, turns, repairs=repairs, unanswered=unanswered, **told)
            except RowError as fault:
                yield faulted(path, line, fault)


def _said(one: _Said, number: int) -> Said:
    words = one.text if one.content is msgspec.UNSET else one.content
    if words is msgspec.UNSET:
        raise RowError("is missing, and so is text", SPOTS.text.format(number))
    return one.speaker, words
