"""Every scorer that ``score.scorers`` may name. A new one is one file and one name here."""

from typing import Annotated

from pydantic import Field

from attunement.scorers.clinical_harm import ClinicalHarm
from attunement.scorers.crisis import Crisis
from attunement.scorers.detoxify import Detoxify
from attunement.scorers.empathy import EmotionalReactions, Explorations, Interpretations
from attunement.scorers.judge import Judge
from attunement.scorers.linear import Linear
from attunement.scorers.listening import Listening
from attunement.scorers.pii import Pii
from attunement.scorers.referral import Referral
from attunement.scorers.refusal import Refusal
from attunement.scorers.rubric import Rubric

AnyScorer = Annotated[
    Detoxify | Linear | ClinicalHarm | Crisis | Referral | Refusal | EmotionalReactions | Interpretations | Explorations
    | Listening | Rubric | Pii | Judge,
    Field(discriminator="kind"),
]
