"""Reader of EmpatheticDialogues (Rashkin et al. 2019): CSV, an utterance a line, commas written ``_comma_``.

Its files are written without quoting (a ``"`` is a character like any other), and some lines carry one column more than
the heads (candidate replies). Who speaks first in a conversation is the speaker, the other the listener.

    - kind: empathetic_dialogues
      name: empathetic_dialogues
      files: data/sources/empatheticdialogues/*.csv
      licence: CC-BY-NC-4.0
      consent: paid crowd workers (Rashkin et al. 2019)
      locale: en-US
      tags: {emotion: context}
      quoted: false  # true for a copy that some tool wrote with quotes
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from attunement.records import Role
from attunement.sources.base import Row
from attunement.sources.entries import DELIMITED, Layout, entries
from attunement.sources.fields import Fielded, optional_text, plain_value
from attunement.sources.lines import RowError
from attunement.sources.turns import Said, Spots, Talk
from attunement.sources.utterances import Gathered, gathered_rows, numbered

SPOTS = Spots("turn {}, speaker_idx", "turn {}, utterance")
_TASK = re.compile(r"_conv:\d+$")  # hit:3_conv:6: the conversations of one task are by the same two people


class EmpatheticDialogues(Talk, Fielded):
    """Conversations about a feeling, by a speaker and a listener."""

    kind: Literal["empathetic_dialogues"]
    roles: dict[str, Role] = Field(default={"speaker": "user", "listener": "assistant"})
    group: str = "conv_id"
    quoted: bool = False
    merge_same_speaker: bool = True
    drop_empty: bool = True
    drop_leading_assistant: bool = True
    drop_trailing_user: bool = True

    suffixes: ClassVar[tuple[str, ...]] = DELIMITED

    def rows(self, path: Path) -> Iterator[Row]:
        """Every conversation as a Row; a line that can not be read as a row of its own."""
        needed = ("conv_id", "utterance_idx", "speaker_idx", "utterance", *self.about())
        layout = Layout(columns=needed, quoted=self.quoted, spare=1)
        yield from gathered_rows(path, entries(path, layout), "conv_id", lambda one: self._row(one, path))

    def _row(self, one: Gathered, path: Path) -> Row:
        turns, repairs, unanswered = self.turns_of(_said(one.records), SPOTS)
        told = self.told({key: _with_commas(value) for key, value in one.records[0].items()})
        if self.group == "conv_id":
            told["group"] = _TASK.sub("", told["group"])
        return Row(path.as_posix(), one.line, turns, repairs=repairs, unanswered=unanswered, **told)


def _said(records: list[dict[str, Any]]) -> list[Said]:
    """Turns by speaker and listener; raises RowError for a gap, a number that is there twice, a third person."""
    found = numbered(records, "utterance_idx")
    for expected, (number, _) in enumerate(found, 1):
        if number != expected:
            raise RowError(f"expected {expected}, got {number}", "utterance_idx")
    said_by = [plain_value(record["speaker_idx"], "speaker_idx") for _, record in found]
    people = list(dict.fromkeys(said_by))
    if len(people) > 2:
        raise RowError(f"{len(people)} people, expected two", "speaker_idx")
    names = dict(zip(people, ("speaker", "listener"), strict=False))
    return [(names[who], _with_commas(optional_text(record, "utterance")))
            for who, (_, record) in zip(said_by, found, strict=True)]


def _with_commas(text: str) -> str:
    return text.replace("_comma_", ",")
