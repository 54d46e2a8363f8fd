"""Step `score`: a scorer's answer about each dialogue, kept beside it, and a limit where one is declared.

In: drafts, a scorer as `score.scorers` declares them, and what of a dialogue it is shown. Out: a score by the scorer's
name; a dialogue beyond the limit is dropped, and so is one that the scorer could not judge while a limit is declared:
what nobody could judge has not passed. Scores are kept by text, scorer and version: another limit asks nothing anew.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from attunement.drafts import Draft, Note
from attunement.scorers.panel import AnyScorer
from attunement.steps.asking import On, Work, by_draft, worst
from attunement.steps.base import Direction, Step


class ScoreStep(Step):
    """``on``: each reply, or the dialogue; ``take``: of several answers which; limits: either, both or none."""

    kind: Literal["score"]
    scorer: AnyScorer
    on: On
    take: Literal["max", "min", "mean"]
    drop_at_least: float | None
    drop_below: float | None

    asks: ClassVar[bool] = True
    safety: ClassVar[bool] = True
    strict: ClassVar[dict[str, Direction]] = {"drop_at_least": "lower", "drop_below": "higher"}

    @property
    def name(self) -> str:
        """What the ledger and `attune ledger --if` call it."""
        return self.scorer.name

    def over(self, drafts: Sequence[Draft], work: Work) -> None:
        """Ask about every draft and decide."""
        for draft, answers in zip(drafts, by_draft(drafts, self.on, self.scorer, work), strict=True):
            own = self.for_source(draft.source) if draft.source in self.overrides else self
            own._decide(draft, answers)

    def _decide(self, draft: Draft, answers: Any) -> None:
        found = worst(answers, self.take)
        draft.scores[self.name] = None if found is None else found[1]
        if found is None:
            unscored = next((number for number, answer in answers if answer.value is None), None)
            limited = self.drop_at_least is not None or self.drop_below is not None
            draft.note(Note("dropped" if limited else "flagged", "score", self.name, "could not be scored",
                            turn=unscored))
            return
        turn, value = found
        if self.drop_at_least is not None and value >= self.drop_at_least:
            draft.note(Note("dropped", "score", self.name, self.take, turn=turn, score=value, op=">=",
                            limit=self.drop_at_least))
        elif self.drop_below is not None and value < self.drop_below:
            draft.note(Note("dropped", "score", self.name, self.take, turn=turn, score=value, op="<",
                            limit=self.drop_below))

    @model_validator(mode="after")
    def _form_fits(self) -> Self:
        """Raises ValueError for a scorer that cannot look at what it would be shown."""
        wanted = "reply" if self.on == "replies" else "dialogue"
        if wanted not in self.scorer.forms:
            raise ValueError(f"{self.scorer.name} looks at {' or '.join(self.scorer.forms)}, not at "
                             f"{'each reply' if wanted == 'reply' else 'a dialogue'} (on: {self.on})")
        return self
