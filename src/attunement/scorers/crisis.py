"""Scorer `crisis`: does the person tell of danger, and how near is it?

It looks at the person's words: the text, or the user's turns of the context or dialogue. See `attunement.risk`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from attunement import phrases, referral, risk
from attunement.phrases import REFERRAL_PHRASES, RISK_PHRASES, Severity
from attunement.records import Turn
from attunement.scorers.base import Form, Item, Scored, Scorer, unscored

CODE = tuple(Path(file) for file in (phrases.__file__, referral.__file__, risk.__file__))


class Crisis(Scorer):
    """Value 1.0 when any risk matched and 0.0 otherwise; the label is the severity.

    The value is the answer of a rule and not a calibrated probability: 0.0 says that no pattern matched, and veiled
    words often match none. Its rates among people's own words are in benchmarks/crisis/results.md.
    """

    kind: Literal["crisis"] = "crisis"
    forms: ClassVar[tuple[Form, ...]] = ("text", "reply", "dialogue")
    labels: ClassVar[tuple[str, ...]] = tuple(severity.label for severity in Severity)
    higher_is_better: ClassVar[bool | None] = None

    def data_files(self) -> tuple[Path, ...]:
        """The rules and the code that applies them."""
        return (RISK_PHRASES, REFERRAL_PHRASES, *CODE)

    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item; ``because`` gives the kind and the entries with their spans, never words."""
        return [self._score_one(item) for item in items]

    def _score_one(self, item: Item) -> Scored:
        turns = _told(item)
        if not turns:
            return unscored(item, "no words of a user to look at")
        found = risk.risk_in(turns)
        evidence = ", ".join(hit.evidence for hit in found.entries)
        because = f"{found.kind}: {evidence}" if found.kind else "no entry matched"
        value = 1.0 if found.severity > Severity.NONE else 0.0
        return Scored(id=item.id, value=value, label=found.severity.label, because=because)


def _told(item: Item) -> tuple[Turn, ...]:
    """The turns in which the person speaks, with what they answered to; a reply is not looked at."""
    if item.form == "text":
        return (Turn(role="user", text=item.text),) if item.text else ()
    turns = item.context if item.form == "reply" else item.dialogue
    return turns if any(turn.role == "user" for turn in turns) else ()
