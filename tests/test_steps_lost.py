"""Sources of which nothing is left: the rule and its settings are named, and an override where there may be one."""

from attunement.drafts import Draft, Note, draft_of
from attunement.sources.base import Row
from attunement.steps.form import FormStep
from attunement.steps.language import LanguageStep
from attunement.steps.lost import SETTINGS, lost
from attunement.steps.panel import AnyStep
from attunement.steps.referral import ReferralStep
from curation import draft

FORM = FormStep(kind="form", min_turns=4, max_turns=6, max_turn_chars=300, max_repeated_frac=0.3, drop_last_user=False)
ENGLISH = LanguageStep(kind="language", keep=("en",), min_score=0.6)
REFER = ReferralStep(kind="referral", helplines="data/resources/helplines.yaml")


def out(step: str, rule: str, *texts: str) -> Draft:
    one = draft(*(texts or ("a", "b")))
    one.note(Note("dropped", step, rule, "why"))
    return one


def test_a_source_of_which_a_row_is_left_is_not_lost() -> None:
    assert lost([draft("a", "b"), out("form", "turns")], [FORM]) == []
    assert lost([], [FORM]) == []


def test_the_rule_that_took_most_is_named_with_its_number() -> None:
    (told,) = lost([out("form", "turns"), out("language", "other_language"), out("language", "other_language")],
                   [FORM, ENGLISH])
    assert told.startswith("Nothing is left of source 'toy': 2 of its 3 rows were dropped by language: other_language "
                           "(why), the first at toy.jsonl:1.")
    assert told.endswith("keep: [\"en\"], min_score: 0.6. For this source alone: `overrides: {toy: {keep: …}}` in the "
                         "step.")


def test_no_looser_rule_of_safety_is_offered() -> None:
    (told,) = lost([out("form", "turns", *"abcdefgh")], [FORM])
    assert told.endswith("max_turns: 6. They hold for all sources alike: a source may not be judged by looser ones.")
    (told,) = lost([out("referral", "crisis_without_safe_referral")], [REFER])
    assert told.endswith("crisis_without_safe_referral (why), the first at toy.jsonl:1.")


def test_a_reader_that_reads_no_row_is_doubted() -> None:
    (told,) = lost([draft_of(Row(file="toy.csv", line=2, fault="an unknown field", fault_at="id"), source="toy",
                             licence="CC0-1.0")], [FORM])
    assert told == ("Nothing is left of source 'toy': all its 1 rows were quarantined by read: unreadable (id: an "
                    "unknown field), the first at toy.csv:2. Are its `kind` (the reader) and the fields that it names "
                    "those of these files (curate.sources)?")


def test_settings_that_are_named_are_there() -> None:
    kinds = {kind: member for member in AnyStep.__origin__.__args__  # type: ignore[attr-defined]  # a union's members
             for kind in member.model_fields["kind"].annotation.__args__}
    for (step, _), names in SETTINGS.items():
        assert set(names) <= kinds[step].model_fields.keys(), step
