"""Scorer `crisis`: does the person tell of danger, how near is it, and of which kind?

In: the person's words, as a text or as the user's turns of a context or dialogue, with what the assistant said before
them; a reply itself is not looked at. Out: the probability of any risk, and the severity. A classifier hears what is
veiled; the phrases of data/resources hear what is said plainly (see `attunement.risk`), and raise what they hear.

It hears English, and danger as people wrote it down for it. What a person does not put into words it does not hear.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from attunement import classifier, phrases, referral, risk
from attunement.phrases import REFERRAL_PHRASES, RISK_PHRASES, Severity
from attunement.records import Turn
from attunement.scorers.base import Form, Item, Scored, Scorer, unscored

NAME = "crisis"
CODE = tuple(Path(file) for file in (classifier.__file__, phrases.__file__, referral.__file__, risk.__file__))
THRESHOLD = 0.5  # how many of real seekers' turns are at it, of whom nearly none tell of danger: data/cards
BATCH_SIZE = 32
KINDS = ("suicide", "self-harm", "harm-to-others", "abuse", "eating-disorder", "third-person")
# A phrase is believed against the classifier unless that is this sure that there is no danger: idioms match phrases.
PHRASE_DOUBTED = 0.05
SURELY = 0.8  # of the head "imminent": at .5 much active danger is taken for imminent
LEAST = 1e-6  # a probability of 0 has no odds


class Danger(NamedTuple):
    """What a person's words tell of: probability of any risk, severity, kind, and where it was heard."""

    value: float
    severity: Severity
    kind: str | None
    because: str


class Crisis(Scorer):
    """Value: the probability of any risk; label: the severity."""

    kind: Literal["crisis"] = "crisis"
    threshold: float = Field(THRESHOLD, gt=0, lt=1)
    batch_size: int = Field(BATCH_SIZE, ge=1)

    forms: ClassVar[tuple[Form, ...]] = ("text", "reply", "dialogue")
    labels: ClassVar[tuple[str, ...]] = tuple(severity.label for severity in Severity)
    higher_is_better: ClassVar[bool | None] = None

    def data_files(self) -> tuple[Path, ...]:
        """The classifier, the phrases, and the code that applies them."""
        return data_files()

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item; ``because`` gives the kind and the entries with their spans, never words."""
        found = heard([said(item) for item in items], threshold=self.threshold, batch_size=self.batch_size)
        return [
            unscored(item, "no words of a user to look at") if danger is None
            else Scored(id=item.id, value=danger.value, label=danger.severity.label, because=danger.because)
            for item, danger in zip(items, found, strict=True)
        ]


def data_files() -> tuple[Path, ...]:
    """What an answer about danger depends on, for every scorer that asks after it."""
    return (*classifier.adapter_files(NAME), RISK_PHRASES, REFERRAL_PHRASES, *CODE)


def said(item: Item) -> tuple[Turn, ...]:
    """The turns in which the person speaks, with what they answered to; a reply is not looked at."""
    if item.form == "text":
        return (Turn(role="user", text=item.text),) if item.text else ()
    return item.context if item.form == "reply" else item.dialogue


def heard(
    talks: Sequence[Sequence[Turn]], *, threshold: float = THRESHOLD, batch_size: int = BATCH_SIZE
) -> list[Danger | None]:
    """The danger that each talk tells of; None where no user says a word. Raises ModelError without the classifier.

    All that the person said is read together, in windows where it is long. Their last words alone, beside the question
    that they answer, were tried: of a helper's question about suicide the classifier made danger.
    """
    said_by = ["\n".join(turn.text for turn in turns if turn.role == "user" and turn.text.strip()) for turns in talks]
    spoken = [text for text in said_by if text]
    answers = iter(classifier.answers(NAME, [("", text) for text in spoken], batch_size=batch_size))
    return [_danger(turns, next(answers), threshold) if text else None
            for turns, text in zip(talks, said_by, strict=True)]


def _danger(turns: Sequence[Turn], answer: dict[str, float] | None, threshold: float) -> Danger | None:
    rules = risk.risk_in(turns)
    phrase = rules.severity
    if answer is None:
        if phrase == Severity.NONE:
            return None
        return Danger(1.0, phrase, rules.kind, _told(rules))
    value = _sure(answer)
    believed = phrase > Severity.NONE and value >= PHRASE_DOUBTED
    if value < threshold and not believed:
        return Danger(value, Severity.NONE, None, f"{value:.3g} < {threshold:g}; " + _told(rules))
    severity = Severity.IMMINENT if answer["imminent"] >= SURELY else (
        Severity.ACTIVE if answer["active"] >= 0.5 else Severity.PASSIVE)
    kind = rules.kind if believed and value < threshold else max(KINDS, key=lambda name: answer[name])
    if value < threshold:
        severity = phrase
        value = threshold  # the phrase decides, and the value says so
    return Danger(value, max(severity, phrase), kind, f"{kind}: {value:.3g}; " + _told(rules))


def _sure(answer: dict[str, float]) -> float:
    """The mean log odds of "any risk" and of the likeliest kind, as a probability.

    Real danger is of some kind; what only sounds grave is of none. On whole talks that finds more at the same number of
    false alarms than either head alone (benchmarks/crisis/results.md).
    """
    heads = answer["risk"], max(answer[name] for name in KINDS)
    mean = sum(math.log(value / (1 - value)) for value in (min(max(head, LEAST), 1 - LEAST) for head in heads)) / 2
    return 1 / (1 + math.exp(-mean))


def _told(rules: risk.Risk) -> str:
    evidence = ", ".join(hit.evidence for hit in rules.entries)
    return f"phrases: {evidence}" if evidence else "no phrase matched"
