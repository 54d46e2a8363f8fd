"""Step `duplicates`: of dialogues that repeat each other one is kept, the same whatever the order of the files.

Exact ones differ in case and white space at most; near ones have an exact Jaccard index of word 5-grams at or above the
limit (see `attunement.near_duplicates`). Kept is the one with more turns, then more text, then the smaller id, so that
nothing hangs on which file came first. Dialogues that share passages with many others but repeat none are flagged: they
were written on a template, which a model would learn by heart.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.near_duplicates import Texts, copies
from attunement.records import Turn
from attunement.steps.base import Step
from attunement.steps.fingerprints import fingerprint, sketches_of


class DuplicatesStep(Step):
    """``jaccard``: from which index on two dialogues are copies; null: exact copies alone."""

    kind: Literal["duplicates"]
    jaccard: Annotated[float, Field(ge=0.5, le=1)] | None = 0.8

    whole: ClassVar[bool] = True
    prepares: ClassVar[bool] = True

    def prepare(self, drafts: Sequence[Draft]) -> None:
        """Take fingerprints."""
        fingerprint(drafts)

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop copies; the note names the dialogue that is kept."""
        fingerprint(drafts)
        ranked = sorted(drafts, key=rank)
        for draft, first in _exact(ranked):
            draft.note(Note("dropped", self.name, "exact_duplicate", ref=first.id))
        if self.jaccard is None:
            return
        left = [draft for draft in ranked if not draft.out]
        found = copies(Texts([draft.turns for draft in left]), jaccard=self.jaccard, sketch=sketches_of(left))
        for place, copy in found.copies.items():
            left[place].note(Note("dropped", self.name, "near_duplicate", score=copy.jaccard, op=">=",
                                  limit=self.jaccard, ref=left[copy.of].id))
        for place, size in found.templates.items():
            left[place].note(Note("flagged", self.name, "template", f"shares passages with {size - 1} others"))


def rank(draft: Draft) -> tuple[int, int, str, str, str, int]:
    """A total order: the first of those alike is kept."""
    return (-len(draft.turns), -sum(len(turn.text) for turn in draft.turns), draft.id, draft.source, draft.file,
            draft.line)


def _exact(ranked: Sequence[Draft]) -> Iterator[tuple[Draft, Draft]]:
    """(copy, what it repeats). Words are split only where the letters are equal: that costs as much as all the rest."""
    by_letters: dict[bytes, list[Draft]] = {}
    for draft in ranked:
        by_letters.setdefault(draft.fingerprint.letters if draft.fingerprint else b"", []).append(draft)
    for alike in by_letters.values():
        seen: dict[str, Draft] = {}
        for draft in alike if len(alike) > 1 else ():
            first = seen.setdefault(normalised(draft.turns), draft)
            if first is not draft:
                yield draft, first


def normalised(turns: Sequence[Turn]) -> str:
    """Equal for dialogues that differ only in case and white space."""
    return "\n".join(f"{turn.role}:{' '.join(turn.text.casefold().split())}" for turn in turns)
