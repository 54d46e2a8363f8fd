"""Every scorer that ``score.scorers`` may name. A new one is one file and one name here."""

from typing import Annotated

from pydantic import Field

from attunement.scorers.crisis import Crisis
from attunement.scorers.detoxify import Detoxify
from attunement.scorers.linear import Linear
from attunement.scorers.referral import Referral
from attunement.scorers.rubric import Rubric

AnyScorer = Annotated[Detoxify | Linear | Crisis | Referral | Rubric, Field(discriminator="kind")]
