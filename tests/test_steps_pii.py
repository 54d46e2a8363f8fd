"""Step `pii`: what is masked is told by type, place and form and by no sign of it; helplines and referrals stay."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from attunement.drafts import Draft, Note
from attunement.helplines import load_helplines
from attunement.phrases import SUICIDE, Severity
from attunement.pii import find_pii
from attunement.referral import judge_referral, referral_in
from attunement.risk import risk_in_many
from attunement.steps.pii import PiiStep, form_of, masked
from attunement.steps.referral import ReferralStep
from curation import REFERRAL, draft

ROOT = Path(__file__).resolve().parents[1]
HELPLINES = load_helplines()
MASK = PiiStep(kind="pii")
REFER = ReferralStep(kind="referral", helplines="data/resources/helplines.yaml")
FORM = re.compile(r"[dx !-/:-@\[-`{-~]*")  # punctuation of ASCII, and what stands for a sign
MIN_RECALL = 0.98  # over all types that rules find


def planted() -> list[dict[str, object]]:
    return [json.loads(line) for line in (ROOT / "data/calibration/pii.jsonl").read_text(encoding="utf-8").splitlines()]


def after(one: Draft, step: PiiStep = MASK) -> list[str]:
    step.run([one])
    return [turn.text for turn in one.turns]


def test_each_type_stands_in_the_place_of_what_was_told_in_every_role() -> None:
    one = draft("I'm at ines.k@example.org, or 07700 900123.", "Shall I write to ines.k@example.org?", topic="tea")
    assert after(one) == ["I'm at [email], or [phone].", "Shall I write to [email]?"]
    assert [turn.role for turn in one.turns] == ["user", "assistant"]
    assert one.tags == {"topic": "tea"}
    assert one.notes == [
        Note("changed", "pii", "email", "7-25, xxxx.x@xxxxxxx.xxx", turn=0),
        Note("changed", "pii", "phone", "30-42, ddddd dddddd", turn=0),
        Note("changed", "pii", "email", "17-35, xxxx.x@xxxxxxx.xxx", turn=1),
    ]


def test_a_text_that_discloses_nothing_is_the_same_text() -> None:
    one = draft("The kettle sings.", "It does.")
    before = one.turns
    MASK.run([one])
    assert (one.turns, one.notes) == (before, [])


def test_types_that_are_not_declared_are_left() -> None:
    one = draft("ines@example.org or 07700 900123", "Yes.")
    assert after(one, PiiStep(kind="pii", types=("phone",))) == ["ines@example.org or [phone]", "Yes."]
    assert [note.rule for note in one.notes] == ["phone"]


def test_a_step_that_would_mask_nothing_is_none() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        PiiStep(kind="pii", types=())


@pytest.mark.parametrize(("limit", "out"), [(1, True), (2, False), (None, False)])
def test_more_findings_than_declared_are_somebodys_record_and_quarantined(limit: int | None, out: bool) -> None:
    one = draft("ines@example.org or 07700 900123", "Yes.")
    PiiStep(kind="pii", quarantine_above=limit).run([one])
    assert one.out is out
    if out:
        assert one.notes == [Note("quarantined", "pii", "personal_record", score=2.0, op=">", limit=1.0)]
        assert one.turns[0].text == "ines@example.org or 07700 900123"


def test_only_what_is_masked_counts_as_a_finding_of_a_record() -> None:
    one = draft("ines@example.org or 07700 900123", "Yes.")
    PiiStep(kind="pii", types=("phone",), quarantine_above=1).run([one])
    assert not one.out


def test_a_source_may_quarantine_sooner_and_never_later_or_mask_less() -> None:
    PiiStep(kind="pii", quarantine_above=3, overrides={"toy": {"quarantine_above": 1}})
    with pytest.raises(ValidationError, match="looser"):
        PiiStep(kind="pii", quarantine_above=3, overrides={"toy": {"quarantine_above": None}})
    with pytest.raises(ValidationError, match="rule of safety"):
        PiiStep(kind="pii", overrides={"toy": {"types": ("email",)}})


def test_every_listed_contact_survives_in_a_sentence() -> None:
    said = [sentence.format(contact)
            for region in HELPLINES.values()
            for contact in (region.emergency.contact, *region.emergency.also,
                            *(contact for one in region.resources for contact in one.contacts),
                            *(one.contact for one in region.stale))
            for sentence in ("You can call or text {}, at any hour.", "Their number is {}.", "My phone rang {} first")]
    assert len(said) > 300
    for locale in ("en-US", "und"):
        one = draft(*said, roles="a" * len(said), locale=locale)
        assert after(one) == said


def test_a_helpline_stays_beside_what_is_masked() -> None:
    one = draft("My number is 07700 900123.", "Then call 988 or 116 123 now, and I'll write to ines@example.org.")
    assert after(one) == ["My number is [phone].", "Then call 988 or 116 123 now, and I'll write to [email]."]


def test_masked_text_discloses_nothing_more() -> None:
    for row in planted():
        text = str(row["text"])
        first = masked(text, find_pii(text, locale="und", helplines=HELPLINES))
        assert find_pii(first, locale="und", helplines=HELPLINES) == [], row["id"]


def test_a_referral_is_judged_the_same_before_and_after_masking() -> None:
    told = "I want to kill myself. I'm at ines@example.org, 14 Elm Street, and my insta is ines_k92."
    replies = (REFERRAL, f"Thank you, ines_k92. {REFERRAL}", "Let's talk, ines@example.org.")
    for reply in replies:
        one, plainly = draft(told, reply), draft(told, reply)
        MASK.run([one])
        assert "[email]" in one.turns[0].text
        REFER.run([one])
        REFER.run([plainly])
        assert one.out is plainly.out is (REFERRAL not in reply)
        assert [note for note in one.notes if note.step == "referral"] == plainly.notes


def test_the_referrals_of_our_own_dialogues_are_judged_the_same_before_and_after_masking() -> None:
    drafts = [draft(*(message["content"] for message in json.loads(line)["messages"]),
                    roles="".join(message["role"][0] for message in json.loads(line)["messages"]))
              for path in sorted((ROOT / "data/sources/attunement").glob("*.jsonl"))
              for line in path.read_text(encoding="utf-8").splitlines()]
    drafts += [draft(str(row["text"]), f"{row['text']} {REFERRAL}") for row in planted()]
    before = [verdict(one) for one in drafts]
    risks = risk_in_many([one.turns for one in drafts])
    MASK.run(drafts)
    assert sum(bool(one.notes) for one in drafts) > 100
    assert sum(bool(one.entries) for one in risks) > 10
    assert [one.severity for one in risk_in_many([one.turns for one in drafts])] == [one.severity for one in risks]
    complete = [(one, told) for one, told in zip(drafts, before, strict=True) if told[0] == "complete"]
    assert len(complete) > 50
    assert all(verdict(one) == told for one, told in complete)


def verdict(one: Draft) -> tuple[str, float | None]:
    """What a referral is worth to somebody in danger."""
    replies = [text for _, text in one.said("assistant")]
    found = judge_referral(referral_in(replies, locale=one.locale, helplines=HELPLINES), Severity.ACTIVE, kind=SUICIDE)
    return found.label, found.share


def test_planted_disclosures_are_masked() -> None:
    wanted = [(str(row["text"]), kind) for row in planted() for kind in row["types"] if kind != "name"]  # type: ignore[attr-defined]
    hits = sum(f"[{kind}]" in after(draft(text, "Yes.", locale="und"))[0] for text, kind in wanted)
    assert len(wanted) >= 150
    assert hits / len(wanted) >= MIN_RECALL


@settings(deadline=None, database=None, derandomize=True)
@given(st.text(max_size=40))
def test_a_form_has_the_length_and_no_letter_or_digit_of_what_was_told(value: str) -> None:
    form = form_of(value)
    assert len(form) == len(value)
    assert FORM.fullmatch(form)


def test_no_sign_of_what_was_told_is_in_a_note() -> None:
    for row in planted():
        one = draft(str(row["text"]), "Yes.")
        MASK.run([one])
        for note in one.notes:
            start, end, form = re.fullmatch(r"(\d+)-(\d+), (.*)", note.evidence, re.DOTALL).groups()  # type: ignore[union-attr]
            assert len(form) == int(end) - int(start)
            assert FORM.fullmatch(form)
