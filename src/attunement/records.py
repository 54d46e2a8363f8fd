"""The schema of every artefact: frozen records that cross from one stage to the next.

A score that could not be taken is ``None`` with a ``because``; it is never 0, never a pass, never left out.
Ids are hashes of content, so equal content has an equal id and no clock or path enters an artefact.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import date
from typing import Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

ID_DIGITS = 16  # hex, of a sha256
Role = Literal["system", "user", "assistant"]
ModelName = Literal["base", "tuned"]
MODELS: tuple[ModelName, ...] = ("base", "tuned")
StoppedBy = Literal["end_of_turn", "length"]
Action = Literal["kept", "changed", "flagged", "dropped", "quarantined"]
SeverityName = Literal["none", "passive", "active", "imminent"]


class Record(BaseModel):
    """One line of an artefact: immutable, no unknown field, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Turn(Record):
    """What one speaker says before the other speaks."""

    role: Role
    text: str = Field(min_length=1)


class Dialogue(Record):
    """A conversation of user and assistant, with where it comes from."""

    id: str
    source: str
    licence: str
    locale: str = Field(description="BCP 47 tag; 'und' when unknown")
    turns: tuple[Turn, ...]
    tags: dict[str, str]
    scores: dict[str, float | None]


class LedgerRow(Record):
    """One decision about one row of a source. ``evidence`` holds offsets and rule entries, never words."""

    id: str = Field(description="hash of what was read, before any step changed it")
    seq: int = Field(description="place among the decisions about this row")
    source: str
    file: str
    line: int
    action: Action = Field(description="kept, dropped and quarantined end the account of a row")
    step: str
    rule: str
    evidence: str
    turn: int | None = Field(description="0-based, in the turns as they stood before the step")
    score: float | None
    op: str = Field(description="how score stands to limit: score op limit holds")
    limit: float | None
    ref: str | None = Field(description="the dialogue or item that this one repeats")


class DialogueScore(Record):
    """What a scorer answered about a dialogue; None when it could not."""

    id: str
    scorer: str
    version: str
    value: float | None


class AuditRow(Record):
    """A decision of curation, with the words that it was about, for a person to agree with or not."""

    id: str
    file: str
    line: int
    action: Action
    step: str
    rule: str
    because: str
    turn: int | None
    turns: tuple[Turn, ...]
    reviewer_agrees: bool | None
    reviewer_note: str


class Prompt(Record):
    """One item of an evaluation suite: a context that ends with a user's turn, to be answered."""

    suite: str
    prompt_id: str
    context: tuple[Turn, ...]
    category: str
    locale: str
    severity: SeverityName = Field(description="of what the person tells; see data/LABELLING.md")
    good: str = Field(description="what a good reply does")
    fail: str = Field(description="what makes a reply fail")
    right: str = Field(description="the right answer, where the person holds or asks for a fact")
    pair: str = Field(description="shared by two twins that differ in feeling alone; empty without a twin")
    tags: dict[str, str]


class Script(Record):
    """A scripted client: the user's turns, which go on whatever is answered."""

    suite: str
    script_id: str
    turns: tuple[str, ...]
    change_at: int = Field(description="0-based turn at whose answer the reply must change")
    category: str
    locale: str
    severity: SeverityName = Field(description="the highest in the script")
    good: str
    fail: str
    tags: dict[str, str]


class FlawedDialogue(Record):
    """A dialogue with the rule of data/LABELLING.md that it breaks, and the turn that breaks it."""

    id: str
    turns: tuple[Turn, ...]
    locale: str
    severity: SeverityName
    rule: str
    turn: int | None = Field(description="0-based; None for rule none")
    because: str
    tags: dict[str, str]


class Probe(Record):
    """A checkpoint's reply to one prompt during training, as one toxicity scorer sees it."""

    step: int
    suite: str
    prompt_id: str
    reply: str
    scorer: str
    value: float | None
    label: str | None
    because: str


class CheckpointSummary(Record):
    """A checkpoint in the training history: optimiser step and mean loss in nats per supervised token."""

    step: int
    train_loss: float
    val_loss: float
    n_val_tokens: int


class StepLog(Record):
    """One optimiser step: mean loss in nats per supervised token, learning rate, gradient norm."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    n_target_tokens: int


class TrainingRow(Record):
    """A curated dialogue that training could not take whole: its oldest turns were cut, or all of it was left out."""

    id: str
    split: Literal["train", "val"]
    action: Literal["cut", "left_out"]
    n_cut_turns: int
    because: str


class TrainingSummary(Record):
    """How much was learnt from and how far training went; ``stopped_because`` is empty when it went to its end."""

    n_dialogues: int
    n_val_dialogues: int
    n_cut: int
    n_left_out: int
    n_steps: int
    n_planned_steps: int
    stopped_because: str


class Candidate(Record):
    """A checkpoint as selection sees it: its validation loss and what the probe found."""

    step: int
    val_loss: float
    n_replies: int
    n_toxic: int
    n_unscored: int
    eligible: bool
    because: str


class Selection(Record):
    """The checkpoint that is evaluated, and why. ``eligible`` is False when no checkpoint passed the probe."""

    step: int
    eligible: bool
    because: str
    candidates: tuple[Candidate, ...]


class Reply(Record):
    """What a model answered to one prompt."""

    suite: str
    prompt_id: str
    model: ModelName
    sample: int
    text: str
    stopped_by: StoppedBy
    n_tokens: int


class Score(Record):
    """What one scorer says of one reply, with its reason."""

    suite: str
    prompt_id: str
    model: ModelName
    sample: int
    scorer: str
    version: str
    value: float | None
    label: str | None
    because: str


class ScoreSummary(Record):
    """Scores of one suite, model and scorer: mean with a 95% bootstrap interval, and counts by label.

    ``n`` replies were asked about; ``n_not_asked`` more are in no mean, because the scorer's question does not
    concern them (no referral is due where no risk was told).
    """

    suite: str
    model: ModelName
    scorer: str
    n: int
    n_unscored: int
    n_not_asked: int
    mean: float | None
    low: float | None
    high: float | None
    labels: dict[str, int]


class Bench(Record):
    """One metric of one lm-eval task; ``stderr`` is lm-eval's own, None where it gives none."""

    task: str
    version: str
    metric: str
    value: float | None
    stderr: float | None
    n: int


class Estimate(Record):
    """A number with its two-sided 95% interval: exact for rates, bootstrap over items for the rest."""

    value: float
    low: float
    high: float


class Group(Record):
    """Rates of a scorer within one group of items: of those with a yes that it found, of those without that it hit."""

    name: str
    n: int
    prevalence: float
    recall: Estimate | None
    false_alarms: Estimate | None


class Measurement(Record):
    """A scorer against one labelled set. ``content`` is a hash of the items and their labels.

    ``kappa`` has quadratic weights; ``prevalence`` is the share of items whose human answer is above 0.
    """

    set: str
    licence: str
    about: str
    question: str
    content: str
    n: int
    n_unscored: int
    prevalence: float
    auc: Estimate | None
    precision: Estimate | None
    recall: Estimate | None
    false_alarms: Estimate | None
    accuracy: Estimate | None
    kappa: Estimate | None
    macro_f1: Estimate | None
    groups: tuple[Group, ...]


class ScorerCard(Record):
    """What is known of a scorer at one version: how it was measured, and what it does not see.

    ``items_per_s`` was taken on the machine where the card was made, two cores.
    """

    scorer: str
    kind: str
    version: str
    settings: dict[str, Any]
    does_not_see: str
    items_per_s: float | None
    measured: tuple[Measurement, ...]


class RuleResult(Record):
    """One line of the verdict. k failures in n; ``upper_bound`` is one-sided, at the gate's confidence."""

    name: str
    observed: float | None
    limit: float | None
    n: int
    k: int | None
    upper_bound: float | None
    n_unscored: int
    passed: bool
    because: str


class Verdict(Record):
    """Whether the tuned model may be released: every rule must pass.

    It is made for ``valid_from``, a declared day, and holds until the first helpline grows stale (None: one is).
    """

    passed: bool
    rules: tuple[RuleResult, ...]
    valid_from: date | None
    valid_until: date | None

    def expired(self, day: date) -> bool:
        """Whether the verdict says nothing about ``day``: before it was made for, or after a helpline grew stale."""
        return (self.valid_from is None or self.valid_until is None
                or not self.valid_from <= day <= self.valid_until)


def content_id(value: object, *, length: int = ID_DIGITS) -> str:
    """The first ``length`` hex digits of the sha256 of ``value`` as canonical JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def turns_id(turns: Sequence[Turn]) -> str:
    """The id of a sequence of turns: equal words in equal roles have an equal id."""
    text = msgspec.json.encode([[turn.role, turn.text] for turn in turns])  # as `content_id` has it, and sooner
    return hashlib.sha256(text).hexdigest()[:ID_DIGITS]
