"""Step `repair`: text as its writer meant it: mojibake, entities, invisible characters, Unicode in composed form.

With ftfy (Speer 2019), behind a test that most texts pass untouched. Curly quotes, dashes and emoji stay as they are
written; what nobody can see (zero-width spaces, byte order marks, direction marks, other control characters) goes.
"""

import re
from collections.abc import Sequence
from typing import Literal

from attunement.drafts import Draft, Note
from attunement.records import Turn
from attunement.steps.base import Step

# Zero-width joiners hold emoji together and are kept; so are tab and line feed.
UNSEEN = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufffe\uffff\x00-\x08\x0b-\x1f\x7f-\x9f]")


class RepairStep(Step):
    """No settings: what is repaired is what is broken."""

    kind: Literal["repair"]

    def each(self, drafts: Sequence[Draft]) -> None:
        """Replace turns whose text is mended; the ledger tells which and by how many characters."""
        for draft in drafts:
            if all(_clean(turn.text) for turn in draft.told):
                continue
            draft.unanswered = tuple(Turn(role=turn.role, text=repaired(turn.text) or turn.text)
                                     for turn in draft.unanswered)
            texts = [turn.text if _clean(turn.text) else repaired(turn.text) for turn in draft.turns]
            if "" in texts:
                draft.note(Note("quarantined", self.name, "unseen_turn", "nothing in it can be seen",
                                turn=texts.index("")))
                continue
            for number, (before, after) in enumerate(zip(draft.turns, texts, strict=True)):
                if before.text != after:
                    draft.note(Note("changed", self.name, "text", f"{len(before.text)} characters to {len(after)}",
                                    turn=number))
            draft.turns = tuple(Turn(role=turn.role, text=text) for turn, text in zip(draft.turns, texts, strict=True))


def _clean(text: str) -> bool:
    """Whether nothing can be wrong with it: plain printable ASCII without an entity."""
    return text.isascii() and text.isprintable() and "&" not in text


def repaired(text: str) -> str:
    """The text as it was meant; empty when nothing of it can be seen."""
    from ftfy import TextFixerConfig, fix_text

    config = TextFixerConfig(uncurl_quotes=False, fix_latin_ligatures=True, normalization="NFC", unescape_html="auto",
                             explain=False)
    fixed = UNSEEN.sub("", fix_text(text, config).replace("\r\n", "\n").replace("\r", "\n"))
    return fixed.strip()
