"""How well the declared steps find planted flaws: each rule's precision and recall on labelled dialogues.

In: dialogues of data/suites/curation, each with the rule of data/LABELLING.md that it breaks, or none, and the steps as
declared, but decontamination by words and by meaning, which would take out the suites themselves. Out: counts by rule,
which the datasheet shows with exact intervals. A flaw counts as found when a step meant for it takes the dialogue out
(or masks what it disclosed).
"""

from collections.abc import Sequence
from typing import NamedTuple

from attunement.drafts import Draft, Note
from attunement.records import FlawedDialogue
from attunement.steps.asking import Work
from attunement.steps.base import Step
from attunement.steps.order import after_steps

NONE = "none"
SOURCE = "labelled flaws"
REFERRAL = ("crisis_without_referral", "negated_referral", "stale_referral", "wrong_locale_referral",
            "incomplete_referral", "method_detail")
HARM = ("method_detail", "collusion_self_harm", "toxic_reply", "crisis_without_referral", "abandonment",
        "forced_promise", "collusion_delusion", "medication_advice", "diagnosis", "claims_human", "claims_licensed",
        "romance", "secrecy", "dependency", "judgement", "minimising")
PII = ("pii_email", "pii_phone", "pii_address", "pii_handle", "pii_name", "pii_id", "pii_card")
# What each decision is for, by (step, rule); "" stands for any rule of the step.
MEANT_FOR = {
    ("form", ""): ("wrong_roles", "injected_instructions"),
    ("language", ""): ("other_language",),
    ("duplicates", ""): ("near_duplicate",),
    ("referral", ""): REFERRAL,
    ("pii", ""): PII,
    ("score", "linear"): ("toxic_reply", *HARM),
    ("score", "detoxify"): ("toxic_reply", *HARM),
    ("score", "clinical_harm"): HARM,
}


class Measured(NamedTuple):
    """``found`` of ``n`` dialogues that break a rule; ``right`` of ``fired`` decisions were about one that does."""

    found: int
    n: int
    right: int
    fired: int


def measured(steps: Sequence[Step], labelled: Sequence[FlawedDialogue], work: Work) -> dict[str, Measured]:
    """Counts by rule of data/LABELLING.md (recall) and by step (precision); ``none`` counts what was kept."""
    chosen = [step for step in steps if step.kind not in ("decontaminate", "semantic", "mix")]
    drafts = after_steps(chosen, [_draft(one, number) for number, one in enumerate(labelled)], work)
    rules = {f"{SOURCE}:{number}": one.rule for number, one in enumerate(labelled)}
    told = [(rules[f"{draft.file}:{draft.line}"], _fired(draft)) for draft in drafts]
    found: dict[str, Measured] = {}
    for rule in sorted(set(rules.values()) - {NONE}):
        meant = [any(rule in _meant(note) for note in notes) for label, notes in told if label == rule]
        found[rule] = Measured(sum(meant), len(meant), 0, 0)
    fine = [not notes for label, notes in told if label == NONE]
    found[NONE] = Measured(sum(fine), len(fine), 0, 0)
    for name in sorted({_name(note) for _, notes in told for note in notes}):
        right = [label in _meant(note) for label, notes in told for note in notes if _name(note) == name]
        found[f"step {name}"] = Measured(0, 0, sum(right), len(right))
    return found


def _draft(one: FlawedDialogue, number: int) -> Draft:
    return Draft(id=one.id, source=SOURCE, licence="CC-BY-4.0", file=SOURCE, line=number, locale=one.locale, group="",
                 turns=one.turns, tags={})


def _fired(draft: Draft) -> list[Note]:
    """The decision that took it out, and what was masked (a type counts once)."""
    masked = {note.rule: note for note in draft.notes if note.step == "pii" and note.action == "changed"}
    return [*masked.values(), *([draft.notes[-1]] if draft.out else [])]


def _meant(note: Note) -> tuple[str, ...]:
    if note.step == "pii" and note.action == "changed":
        return (f"pii_{note.rule}",)
    return MEANT_FOR.get((note.step, note.rule), MEANT_FOR.get((note.step, ""), ()))


def _name(note: Note) -> str:
    return note.rule if note.step == "score" else note.step
