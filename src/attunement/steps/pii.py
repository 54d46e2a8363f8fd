"""Step `pii`: what tells a person apart is masked by its type; helplines stay.

In: turns of every role. Out: the text with ``[email]``, ``[phone]`` … in its place. The ledger tells type, place and
form (d for a digit, x for a letter), from which nobody is found. It stands after `referral`: a masked contact would
refer nobody.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.helplines import RESOURCES, known_helplines
from attunement.pii import Found, PiiType, find_pii_many
from attunement.records import Turn
from attunement.steps.base import Direction, Step

HELPLINES = RESOURCES / "helplines.yaml"


class PiiStep(Step):
    """``quarantine_above``: a dialogue with more findings is somebody's record and not to be masked but left out."""

    kind: Literal["pii"]
    types: Annotated[tuple[PiiType, ...], Field(min_length=1)] = tuple(
        kind for kind in get_args(PiiType) if kind != "name")
    quarantine_above: Annotated[int, Field(ge=0)] | None = None

    safety: ClassVar[bool] = True
    strict: ClassVar[dict[str, Direction]] = {"quarantine_above": "lower"}

    def data_files(self) -> tuple[Path, ...]:
        """The contacts that are nobody's."""
        return (HELPLINES,)

    def each(self, drafts: Sequence[Draft]) -> None:
        """Mask every finding, and tell of each."""
        texts = [turn.text for draft in drafts for turn in draft.turns]
        locales = [draft.locale for draft in drafts for _ in draft.turns]
        found = iter(find_pii_many(texts, locales=locales, helplines=known_helplines(HELPLINES)))
        for draft in drafts:
            by_turn = [[one for one in next(found) if one.type in self.types] for _ in draft.turns]
            if any(by_turn):
                self._mask(draft, by_turn)

    def _mask(self, draft: Draft, by_turn: Sequence[Sequence[Found]]) -> None:
        n = sum(map(len, by_turn))
        if self.quarantine_above is not None and n > self.quarantine_above:
            draft.note(Note("quarantined", self.name, "personal_record", score=float(n), op=">",
                            limit=float(self.quarantine_above)))
            return
        for number, (turn, findings) in enumerate(zip(draft.turns, by_turn, strict=True)):
            for one in findings:
                draft.note(Note("changed", self.name, one.type,
                                f"{one.start}-{one.end}, {form_of(turn.text[one.start : one.end])}", turn=number))
        draft.turns = tuple(Turn(role=turn.role, text=masked(turn.text, findings)) if findings else turn
                            for turn, findings in zip(draft.turns, by_turn, strict=True))


def masked(text: str, findings: Sequence[Found]) -> str:
    """The text with each finding's type in its place."""
    for one in sorted(findings, key=lambda one: one.start, reverse=True):
        text = f"{text[: one.start]}[{one.type}]{text[one.end :]}"
    return text


def form_of(value: str) -> str:
    """Digits as d, punctuation of ASCII as it is, white space as a space, all else as x: "ddd-dddd"."""
    return "".join("d" if sign.isdigit() else " " if sign.isspace() else
                   sign if sign.isascii() and sign.isprintable() and not sign.isalnum() else "x" for sign in value)
