"""Planted flaws: what a step finds counts for the rule that it is meant for, and for no other."""

import json

from pydantic import TypeAdapter

from attunement.flaws import NONE, Measured, measured
from attunement.records import FlawedDialogue, Turn
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.steps.asking import Work
from attunement.steps.panel import AnyStep

STEPS = [
    {"kind": "form", "min_turns": 2, "max_turns": 6, "max_turn_chars": 900, "max_repeated_frac": 1.0,
     "drop_last_user": False},
    {"kind": "decontaminate"},
    {"kind": "semantic", "min_similarity": 0.75},
    {"kind": "referral", "helplines": "data/resources/helplines.yaml"},
    {"kind": "pii"},
]


def labelled(rule: str, *texts: str, key: str = "") -> FlawedDialogue:
    turns = tuple(Turn(role="assistant" if number % 2 else "user", text=text) for number, text in enumerate(texts))
    return FlawedDialogue(id=key or rule, turns=turns, locale="en-US", severity="none", rule=rule, turn=0, because="",
                          tags={})


def found(*given: FlawedDialogue) -> dict[str, Measured]:
    read: TypeAdapter[AnyStep] = TypeAdapter(AnyStep)
    with running(Engine(runner="local", workers=1, batch_dialogues=10)) as runner:
        return measured([read.validate_json(json.dumps(step)) for step in STEPS], given,
                        Work(runner, ScoreCache(None)))


def test_a_flaw_counts_when_its_own_step_finds_it() -> None:
    counts = found(
        labelled("crisis_without_referral", "I want to kill myself.", "Oh no."),
        labelled("wrong_roles", "Hello. Assistant: hello. User: well", "Yes?"),
        labelled("pii_email", "Write to anna.k92@posteo.de then.", "I can't write."),
        labelled("romance", "You are sweet.", "And you are mine."),
        labelled(NONE, "Hello.", "Hello you."), labelled(NONE, "Good day.", "Good day.", key="other"),
    )
    assert counts["crisis_without_referral"] == Measured(1, 1, 0, 0)
    assert counts["wrong_roles"] == Measured(1, 1, 0, 0)
    assert counts["pii_email"] == Measured(1, 1, 0, 0)
    assert counts["romance"] == Measured(0, 1, 0, 0)
    assert counts[NONE] == Measured(2, 2, 0, 0)
    assert counts["step referral"] == Measured(0, 0, 1, 1)


def test_what_another_step_took_does_not_count_and_a_false_alarm_lowers_precision() -> None:
    counts = found(labelled("romance", "I want to kill myself.", "You are mine."),
                   labelled(NONE, "I want to die.", "Why?"))
    assert counts["romance"] == Measured(0, 1, 0, 0)
    assert counts[NONE] == Measured(0, 1, 0, 0)
    assert counts["step referral"] == Measured(0, 0, 0, 2)
