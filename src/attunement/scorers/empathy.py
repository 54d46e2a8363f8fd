"""Scorers `empathy.emotional_reactions`, `empathy.interpretations`, `empathy.explorations`: EPITOME's mechanisms.

In: a reply with what the person said before it. Out: 0, 1 or 2 (Sharma et al. 2020): whether the reply shows warmth,
whether it shows that it understood, whether it asks to understand more; not at all, weakly, strongly.

What they see is expression, as peers in a forum express it. They do not see whether the understanding is right, whether
a question is wise, or any clinical quality: a lecture that names a feeling counts. Read them beside `listening` and the
rubric. The classifier was tuned on pairs written and labelled for it by EPITOME's definitions, not on EPITOME.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from attunement import classifier
from attunement.scorers.base import Form, Item, Scored, Scorer, last_said, unscored

NAME = "empathy"
LEVELS = ("none", "weak", "strong")


class _Mechanism(Scorer):
    """Level 0, 1 or 2; two heads answer "at least weak" and "strong"."""

    threshold: float = Field(0.5, gt=0, lt=1)
    batch_size: int = Field(32, ge=1)

    forms: ClassVar[tuple[Form, ...]] = ("reply",)
    labels: ClassVar[tuple[str, ...]] = LEVELS
    head: ClassVar[str]

    def data_files(self) -> tuple[Path, ...]:
        """The classifier's adapter and the code that reads it."""
        return (*classifier.adapter_files(NAME), Path(classifier.__file__))

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item, in the same order."""
        pairs = [(last_said(item), item.words) for item in items]
        found = classifier.answers(NAME, pairs, batch_size=self.batch_size)
        return [self._answer(item, heads) for item, heads in zip(items, found, strict=True)]

    def _answer(self, item: Item, heads: dict[str, float] | None) -> Scored:
        if heads is None:
            return unscored(item, "empty reply, or no word of it is known")
        shown, strong = heads[f"{self.head}_shown"], heads[f"{self.head}_strong"]
        # Strong is strong among those that show it at all: the two heads were asked of the same replies.
        level = 0 if shown < self.threshold else 2 if strong >= shown / 2 else 1
        because = f"shown {shown:.3g}, strong {strong:.3g}"
        return Scored(id=item.id, value=float(level), label=LEVELS[level], because=because)


class EmotionalReactions(_Mechanism):
    """Warmth, compassion, concern: "I'm so sorry that you go through this"."""

    kind: Literal["empathy.emotional_reactions"] = "empathy.emotional_reactions"
    head: ClassVar[str] = "er"


class Interpretations(_Mechanism):
    """Understanding of feelings and experiences: "this must be terrifying", or a like experience of one's own."""

    kind: Literal["empathy.interpretations"] = "empathy.interpretations"
    head: ClassVar[str] = "ip"


class Explorations(_Mechanism):
    """Questions after what was not told: "are you feeling alone right now?"."""

    kind: Literal["empathy.explorations"] = "empathy.explorations"
    head: ClassVar[str] = "ex"
