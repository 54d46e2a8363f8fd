"""Step `duplicates`: what is dropped and why, and that the kept one is the same in whatever order files are read."""

import pytest
from pydantic import ValidationError

from attunement.drafts import Draft
from attunement.near_duplicates import BUCKET_CAP
from attunement.steps.duplicates import DuplicatesStep
from curation import draft
from test_near_duplicates import changed, talk

STEP = DuplicatesStep(kind="duplicates", jaccard=0.8)


def decided(drafts: list[Draft], step: DuplicatesStep = STEP) -> list[tuple[str, str] | None]:
    for one in drafts:
        one.notes.clear()
    step.each(drafts)
    return [(one.notes[-1].action, one.notes[-1].rule) if one.notes else None for one in drafts]


def test_a_copy_but_for_case_and_space_is_exact_and_names_what_is_kept() -> None:
    drafts = [draft("The kettle sings.", "It does, I hear it."), draft("THE kettle  sings.", "It does, I hear\nit.")]
    assert decided(drafts) == [("dropped", "exact_duplicate"), None]  # kept is the one with more text
    assert drafts[0].notes[0].ref == drafts[1].id


@pytest.mark.parametrize("other", [
    ("a b c", "d"),
    ("a", "b c\u00a0d"),
    ("a\nassistant:b c", "d"),
    ("ab", "c d"),
])
def test_equal_letters_in_other_words_or_by_other_speakers_are_not_exact(other: tuple[str, ...]) -> None:
    drafts = [draft("a", "b", "c", "d"), draft(*other)]
    assert decided(drafts, DuplicatesStep(kind="duplicates", jaccard=None)) == [None, None]


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\x1f", "\t\n"])
def test_white_space_of_any_kind_tells_no_two_apart(space: str) -> None:
    drafts = [draft("The kettle sings.", "Straße."), draft(f"The{space}kettle sings.", "STRASSE.")]
    assert decided(drafts).count(("dropped", "exact_duplicate")) == 1


def test_a_copy_with_other_signs_is_near_and_its_note_shows_index_limit_and_ref() -> None:
    drafts = [draft("The kettle sings.", "It does, I hear it!!"), draft("The kettle sings", "It does: I hear it")]
    assert decided(drafts) == [None, ("dropped", "near_duplicate")]
    note = drafts[1].notes[0]
    assert (note.score, note.op, note.limit, note.ref) == (1.0, ">=", 0.8, drafts[0].id)


def test_without_a_limit_only_exact_copies_are_dropped() -> None:
    drafts = [draft("The kettle sings!", "Yes."), draft("The kettle sings.", "Yes.")]
    assert decided(drafts, DuplicatesStep(kind="duplicates", jaccard=None)) == [None, None]


@pytest.mark.parametrize(("share", "dropped"), [(0.01, True), (0.1, False)])
def test_a_pair_is_dropped_from_the_limit_on_and_never_below(share: float, dropped: bool) -> None:
    drafts = [draft("Hello.", " ".join(talk(1))), draft("Hello.", " ".join(changed(talk(1), share)))]
    assert any(decided(drafts)) is dropped


def test_more_turns_are_kept_before_more_text_and_neither_hangs_on_the_order() -> None:
    words = talk(1)
    many = draft(" ".join(words[:200]), " ".join(words[200:300]), " ".join(words[300:390]), "yes yes yes")
    long = draft(" ".join(words[:200]), " ".join(words[200:]))
    short = draft(" ".join(words[:200]), " ".join(words[200:395]))
    for order in ([many, long, short], [short, long, many], [long, short, many]):
        decided(order)
        assert not many.out
        assert {long.notes[-1].ref, short.notes[-1].ref} == {many.id}


def test_what_shares_a_passage_with_many_is_flagged_and_stays() -> None:
    passage = " ".join(talk(9, 340))
    drafts = [draft(passage, " ".join(talk(100 + at, 60))) for at in range(3 * BUCKET_CAP)]
    assert ("flagged", "template") in decided(drafts)
    assert not any(one.out for one in drafts)


def test_a_limit_below_a_half_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.5"):
        DuplicatesStep(kind="duplicates", jaccard=0.3)


def test_the_note_holds_no_words() -> None:
    drafts = [draft("Marigolds wither.", "They do, in autumn."), draft("Marigolds wither!", "They do, in autumn!")]
    decided(drafts)
    told = repr([one.notes for one in drafts]).casefold()
    assert "near_duplicate" in told
    assert not any(word in told for word in ("marigold", "wither", "autumn"))
