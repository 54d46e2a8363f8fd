"""Step `referral`: a dialogue in which danger is told is kept only with a complete and safe referral.

What the words show and what tags say count together (a source's own, and those of step `hear`): a tag may raise the
demand and never lower it. See `attunement.risk` and `attunement.referral` for the rules. It stands before `pii`, which
would take a contact for somebody's telephone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from attunement.drafts import Draft, Note
from attunement.helplines import RESOURCES, known_helplines
from attunement.phrases import REFERRAL_PHRASES, RISK_PHRASES, SUICIDE, Severity
from attunement.referral import judge_referral, referral_in
from attunement.risk import known_kind, risk_in_many
from attunement.steps.base import Step


class ReferralStep(Step):
    """``helplines``: the file of contacts by region."""

    kind: Literal["referral"]
    helplines: str

    safety: ClassVar[bool] = True

    def data_files(self) -> tuple[Path, ...]:
        """Contacts and phrases."""
        return (Path(self.helplines), RISK_PHRASES, REFERRAL_PHRASES, RESOURCES)

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop dialogues of crisis without a complete referral; the note names the slots, never words."""
        helplines = known_helplines(Path(self.helplines).resolve())
        for draft, found in zip(drafts, risk_in_many([draft.turns for draft in drafts]), strict=True):
            severity = max(found.severity, Severity.of(draft.tags.get("risk", "none")))
            if severity == Severity.NONE:
                continue
            kind = SUICIDE if found.kind == SUICIDE else known_kind(draft.tags) or found.kind or SUICIDE
            replies = [text for _, text in draft.said("assistant")]
            referral = referral_in(replies, locale=draft.locale, helplines=helplines)
            verdict = judge_referral(referral, severity, kind=kind)
            if verdict.label != "complete":
                draft.note(Note("dropped", self.name, "crisis_without_safe_referral",
                                f"{severity.label} risk ({kind}); {verdict.because}", score=verdict.share, op="<",
                                limit=1.0))
