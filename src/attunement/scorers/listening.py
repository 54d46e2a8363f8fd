"""Scorer `listening`: does the assistant give back what it heard, or advise?

In: a reply, or a dialogue. Out: the share of the assistant's turns that reflect minus the share that advise, from -1 to
1. In AnnoMI's demonstrations that difference tells good motivational interviewing from poor at an AUC of .95 where the
people's own codes are used. Each sentence is coded as reflection, affirmation, question, advice, information or other,
after the codes of motivational interviewing; a turn reflects when one of its sentences does, and advises when one does.
Shares are of turns, so long turns count no more than short ones.

It sees form and not fit: a reflection of something that was never said counts as one. English only.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from attunement import classifier
from attunement.records import Turn
from attunement.scorers.base import Form, Item, Scored, Scorer, last_said, unscored

NAME = "listening"
SENTENCE_END = re.compile(r"(?<=[.!?…])[\"”’')]*\s+|\n+")
WORD_LIMIT = 40  # speech without full stops is cut here


class Listening(Scorer):
    """Reflection share minus advice share of the assistant's turns."""

    kind: Literal["listening"] = "listening"
    batch_size: int = Field(32, ge=1)

    forms: ClassVar[tuple[Form, ...]] = ("reply", "dialogue")
    labels: ClassVar[tuple[str, ...]] = ("reflects", "advises", "neither")

    def data_files(self) -> tuple[Path, ...]:
        """The classifier's adapter and the code that reads it."""
        return (*classifier.adapter_files(NAME), Path(classifier.__file__))

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item; ``because`` gives the codes and how many turns have them."""
        turns = [_turns(item) for item in items]
        coded = iter(code_turns([one for found in turns for one in found], batch_size=self.batch_size))
        return [_summed(item, [next(coded) for _ in found]) for item, found in zip(items, turns, strict=True)]


def code_turns(turns: Sequence[tuple[str, str]], *, batch_size: int) -> list[Counter[str] | None]:
    """How many sentences of each turn (what was said before, the turn) have which code; None for an empty turn."""
    pairs = [[(before, sentence) for sentence in sentences(text)] for before, text in turns]
    found = iter(classifier.answers(NAME, [one for turn in pairs for one in turn], batch_size=batch_size))
    coded: list[Counter[str] | None] = []
    for turn in pairs:
        heads = [one for one in [next(found) for _ in turn] if one is not None]
        coded.append(Counter(max(one, key=lambda code: one[code]) for one in heads) if heads else None)
    return coded


def sentences(text: str) -> list[str]:
    """The sentences of a turn; a very long one in pieces."""
    parts = [part.strip() for part in SENTENCE_END.split(text) if re.search(r"\w", part)]
    pieces: list[str] = []
    for part in parts:
        words = part.split()
        pieces += [" ".join(words[at : at + WORD_LIMIT]) for at in range(0, len(words), WORD_LIMIT)]
    return pieces


def _turns(item: Item) -> list[tuple[str, str]]:
    """(what the person said before, what the assistant said) of every turn that is judged."""
    if item.form == "reply":
        return [(last_said(item), item.words)]
    before: Sequence[Turn | None] = [None, *item.dialogue]
    return [(said.text if said and said.role == "user" else "", turn.text)
            for said, turn in zip(before, item.dialogue, strict=False) if turn.role == "assistant"]


def _summed(item: Item, coded: Sequence[Counter[str] | None]) -> Scored:
    turns = [codes for codes in coded if codes is not None]
    if not turns:
        return unscored(item, "no words of an assistant to look at")
    reflects, advises = (sum(codes[code] > 0 for codes in turns) / len(turns) for code in ("reflection", "advice"))
    total = sum(turns, Counter())
    value = reflects - advises
    label = "reflects" if value > 0 else "advises" if value < 0 else "neither"
    told = ", ".join(f"{code} {n}" for code, n in sorted(total.items()))
    return Scored(id=item.id, value=value, label=label,
                  because=f"{len(turns)} turns: {reflects:.0%} reflect, {advises:.0%} advise; sentences: {told}")
