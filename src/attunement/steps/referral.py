"""Step `referral`: a dialogue in which danger is told is kept only with a complete and safe referral.

What the words show and what tags say count together (a source's own, and those of step `hear`): a tag may raise the
demand and never lower it, so the replies are judged for every kind that words or tags name. See `attunement.risk`,
`attunement.referral` and `attunement.demand` for the rules. It stands before `pii`, which would take a contact for
somebody's telephone.

The user's last words, where nobody answered them and they were left off, are words like all others here: who tells of
imminent danger in them got no help after it, and the dialogue goes out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from attunement.demand import demanded, judge_dialogue
from attunement.drafts import Draft, Note
from attunement.helplines import RESOURCES, known_helplines, unlisted_region
from attunement.phrases import REFERRAL_PHRASES, RISK_PHRASES, Severity
from attunement.risk import risk_in_many
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
        for draft, found in zip(drafts, risk_in_many([draft.told for draft in drafts]), strict=True):
            demand = demanded(found, draft.tags)
            if demand.severity == Severity.NONE:
                continue
            if region := unlisted_region(draft.locale, helplines):
                draft.note(Note("flagged", self.name, "unlisted_region",
                                f"no contacts are listed for {region}; judged as for an unknown region"))
            verdict = judge_dialogue(draft.told, demand, locale=draft.locale, helplines=helplines)
            if verdict.label != "complete":
                draft.note(Note("dropped", self.name, "crisis_without_safe_referral",
                                f"{demand.severity.label} risk ({verdict.kind}); {verdict.because}",
                                score=verdict.share, op="<", limit=1.0))
