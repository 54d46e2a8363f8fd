"""Every step that ``curate.steps`` may name. A new one is one file and one name here."""

from typing import Annotated

from pydantic import Field

from attunement.steps.decontaminate import DecontaminateStep
from attunement.steps.duplicates import DuplicatesStep
from attunement.steps.form import FormStep
from attunement.steps.hear import HearStep
from attunement.steps.language import LanguageStep
from attunement.steps.mix import MixStep
from attunement.steps.pii import PiiStep
from attunement.steps.referral import ReferralStep
from attunement.steps.repair import RepairStep
from attunement.steps.score import ScoreStep
from attunement.steps.semantic import SemanticStep
from attunement.steps.tiers import TiersStep

AnyStep = Annotated[
    FormStep | RepairStep | LanguageStep | DuplicatesStep | HearStep | ReferralStep | PiiStep | DecontaminateStep
    | SemanticStep | ScoreStep | TiersStep | MixStep,
    Field(discriminator="kind"),
]
"""The steps that a declaration may hold."""
