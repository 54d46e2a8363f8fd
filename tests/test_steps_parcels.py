"""Drafts that go to another process and back are as if the steps had seen them here; fingerprints stay true."""

import copy
import json
from pathlib import Path

import pytest

from attunement.drafts import Draft, Note
from attunement.runner import Engine, Runner, running
from attunement.score_cache import ScoreCache
from attunement.steps.asking import Work
from attunement.steps.base import Step
from attunement.steps.duplicates import DuplicatesStep
from attunement.steps.fingerprints import fingerprint
from attunement.steps.form import FormStep
from attunement.steps.order import after_steps
from attunement.steps.parcels import applied, change, changes_by, packed
from attunement.steps.pii import PiiStep
from attunement.steps.referral import ReferralStep
from attunement.steps.repair import RepairStep
from curation import draft

ROOT = Path(__file__).resolve().parents[1]
STEPS: tuple[Step, ...] = (
    FormStep(kind="form", min_turns=2, max_turns=20, max_turn_chars=4000, max_repeated_frac=0.3, drop_last_user=True),
    RepairStep(kind="repair"),
    ReferralStep(kind="referral", helplines=str(ROOT / "data/resources/helplines.yaml")),
    PiiStep(kind="pii"),
    DuplicatesStep(kind="duplicates", jaccard=0.8),
)


def drafts() -> list[Draft]:
    """What every step has something to do with, and a part of the project's own corpus."""
    lines = (ROOT / "data/calibration/pii.jsonl").read_text(encoding="utf-8").splitlines()[:60]
    told = [draft(json.loads(line)["text"], "I hear you.") for line in lines]
    return [*told, draft("I want to kill myself.", "Oh."), draft("cafÃ© &amp; tea\u200b", "Yes."),
            draft("It rains.", "It does.", "Still."), draft("user:", "Human: hello", risk="none"), *told[:2]]


def seen(found: list[Draft]) -> str:
    return repr([(one.turns, one.tags, one.unanswered, one.scores, one.notes, one.fingerprint) for one in found])


def test_a_draft_is_changed_there_as_it_is_here() -> None:
    here, there = drafts(), drafts()
    for one in (*here[:3], *there[:3]):
        one.note(Note("flagged", "before", "stays"))
        one.scores["known"] = 0.5
    applied(STEPS, here)
    change(there, changes_by(STEPS, packed(there)))
    assert seen(there) == seen(here)
    rules = {note.step for one in here for note in one.notes}
    assert rules == {"before", "form", "repair", "referral", "pii"}
    assert sum(one.fingerprint is not None for one in there) == sum(not one.out for one in there) > 50


def test_what_no_step_changes_stays_the_very_same() -> None:
    one = draft("It rains.", "It does.")
    turns, tags = one.turns, one.tags
    change([one], changes_by(STEPS[:4], packed([one])))
    assert one.turns is turns
    assert one.tags is tags
    assert one.fingerprint is None


@pytest.mark.parametrize("n_steps", range(len(STEPS) + 1))
def test_steps_decide_the_same_through_parcels_in_chunks_of_any_size(n_steps: int) -> None:
    engine = Engine(runner="local", workers=1, batch_dialogues=7)
    with running(engine) as runner:
        here = after_steps(STEPS[:n_steps], iter(drafts()), Work(runner, ScoreCache(None)))
    away = Runner(engine.model_copy(update={"workers": 2}), lambda function, chunk: function(copy.copy(chunk)),
                  lambda answer: answer)
    there = after_steps(STEPS[:n_steps], drafts(), Work(away, ScoreCache(None)))
    assert seen(there) == seen(here)


def test_a_fingerprint_is_made_again_when_a_step_has_changed_the_turns() -> None:
    one, other = draft("It rains.", "It does."), draft("It snows.", "It does.")
    fingerprint([one, other])
    first, kept = one.fingerprint, other.fingerprint
    one.turns = other.turns
    fingerprint([one, other])
    assert other.fingerprint is kept
    assert one.fingerprint is not None
    assert one.fingerprint == kept != first
