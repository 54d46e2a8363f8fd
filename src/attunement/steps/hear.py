"""Step `hear`: what danger does the person tell of, plainly or veiled? The scorer `crisis` writes it into the tags.

In: the user's words and what they answered to, also last words that nobody answered and that were left off. Out: tags
``risk`` and ``risk_kind``, raised where the scorer hears more than they say; never lowered. A kind that is heard beside
the tag's own goes into ``heard_kind``, so that neither hides the other. What is heard here, step `referral` demands a
referral for.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from attunement.drafts import Draft, Note
from attunement.phrases import SUICIDE, Severity
from attunement.risk import HEARD_KIND
from attunement.scorers.crisis import KINDS, Crisis
from attunement.steps.asking import Work, by_draft
from attunement.steps.base import Direction, Step


class HearStep(Step):
    """``scorer``: as `score.scorers` declares it; its threshold is how sure it must be."""

    kind: Literal["hear"]
    scorer: Crisis

    asks: ClassVar[bool] = True
    safety: ClassVar[bool] = True
    strict: ClassVar[dict[str, Direction]] = {}

    def over(self, drafts: Sequence[Draft], work: Work) -> None:
        """Raise the tags of every draft in which more is heard than they say."""
        for draft, answers in zip(drafts, by_draft(drafts, "told", self.scorer, work), strict=True):
            self._tag(draft, answers[0][1])

    def _tag(self, draft: Draft, answer: Any) -> None:
        draft.scores[self.scorer.name] = answer.value
        if answer.value is None:
            draft.note(Note("flagged", self.name, "unheard", "could not be scored"))
            return
        heard, told = Severity.of(answer.label), Severity.of(draft.tags.get("risk", "none"))
        if heard == Severity.NONE or heard < told:
            return
        kind, tagged = _kind(answer.because), draft.tags.get("risk_kind")
        if tagged not in (None, kind):
            draft.tags |= {HEARD_KIND: kind}
            draft.note(Note("changed", self.name, HEARD_KIND, f"{kind} beside {tagged}", score=answer.value, op=">=",
                            limit=self.scorer.threshold))
        if heard > told:
            draft.tags |= {"risk": heard.label, "risk_kind": tagged or kind}
            draft.note(Note("changed", self.name, "risk", f"{told.label} to {heard.label}, {tagged or kind}",
                            score=answer.value, op=">=", limit=self.scorer.threshold))


def _kind(because: str) -> str:
    kind = because.split(":", 1)[0]
    return kind if kind in KINDS else SUICIDE
