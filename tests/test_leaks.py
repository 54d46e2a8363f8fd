"""What val and test share with train: every pair is looked at, what sketches missed is mended, the rest is told."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attunement import leaks
from attunement.drafts import Draft
from attunement.errors import DataError
from attunement.leaks import Held, Limits, check_leaks, cut, held, summary
from attunement.near_duplicates import exact_jaccard, shingles, text_of
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.splits import split
from attunement.steps.asking import Work
from curation import curated, draft, harmless

SENTENCES = [
    "My mother sold the piano while I was away at the summer camp.",
    "The nurse said that my blood was too thin for the tattoo.",
    "We lost the ferry tickets and slept in a bus shelter.",
    "Nobody at the bakery has spoken to me since the strike.",
    "I keep my brother's voicemail and play it in the car.",
    "The judge gave the dog to my husband and the cat to me.",
    "My hands have shaken at every exam since the fire drill.",
    "They painted over my mural in the school gym without a word.",
    "I have been sober for ninety days and told only my barber.",
    "Our well is dry and the neighbours pretend not to be home.",
    "She returned my letters in a shoe box tied up with string.",
    "I miss the lighthouse that we lived beside until last year.",
    "The chess club elected the man who used to bully me.",
    "My tomatoes won a prize and my father did not come to see.",
    "An old colleague waved at me and I hid behind the vans.",
    "I was promised the night shift and they gave it to a cousin.",
]


@pytest.fixture
def work() -> Iterator[Work]:
    with running(Engine(runner="local", workers=1, batch_dialogues=10)) as runner:
        yield Work(runner, ScoreCache(None))


def made(seed: int, words: int = 40, among: int = 60) -> Draft:
    rng = random.Random(seed)
    return draft(f"Opening {seed}.", " ".join(f"w{rng.randrange(among)}" for _ in range(words)))


def apart(train: list[Draft], test: list[Draft]) -> list[Draft]:
    for name, some in (("train", train), ("test", test)):
        for one in some:
            one.split = name
    return [*train, *test]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 8), st.integers(2, 4))
def test_the_nearest_in_words_is_that_of_every_pair(seed: int, n_train: int, n_test: int, among: int) -> None:
    drafts = [made(seed + at, words=12, among=among) for at in range(n_train + n_test)]
    with running(Engine(runner="local", workers=1, batch_dialogues=10)) as runner:
        found = held(apart(drafts[:n_train], drafts[n_train:]), Work(runner, ScoreCache(None)), by_meaning=False)
    sets = dict(zip([one.id for one in drafts], shingles(text_of(one.turns) for one in drafts), strict=True))
    assert len(found["test"]) == n_test
    for one in found["test"]:
        expected = [exact_jaccard(sets[one.id], sets[other.id]) for other in drafts[:n_train]]
        assert one.jaccard == pytest.approx(max(expected))
        assert exact_jaccard(sets[one.id], sets[one.nearest]) == pytest.approx(one.jaccard)


def test_without_likeness_in_meaning_the_splits_are_those_of_groups_alone(work: Work) -> None:
    drafts = [made(seed) for seed in range(80)]
    cut(drafts, Limits(0.5, None), work, val_frac=0.2, test_frac=0.2)
    found = [one.split for one in drafts]
    split(drafts, val_frac=0.2, test_frac=0.2, group_jaccard=0.5)
    assert found == [one.split for one in drafts]
    assert set(found) == {"train", "val", "test"}


def test_a_pair_that_sketches_miss_is_joined_all_the_same(work: Work) -> None:
    """At an index of .1 they find few of the pairs that there are."""
    drafts = [made(seed, words=30, among=3) for seed in range(60)]
    split(drafts, val_frac=0.2, test_frac=0.2, group_jaccard=0.12)
    missed = [one for every in held(drafts, work, by_meaning=False).values() for one in every if one.jaccard >= 0.12]
    assert missed, "nothing was missed, so this shows nothing"
    found = cut(drafts, Limits(0.12, None), work, val_frac=0.2, test_frac=0.2)
    assert not [one for every in found.values() for one in every if one.jaccard >= 0.12]


def test_dialogues_alike_in_meaning_lie_in_one_split(encoder: Path, work: Work) -> None:
    pairs = [(draft(f"{a} {b}", "Oh."), draft(f"{b} {a}", "Ah.")) for a, b in zip(SENTENCES[::2], SENTENCES[1::2],
                                                                                   strict=True)]
    drafts = [one for pair in pairs for one in pair]
    cut(drafts, Limits(0.9, None), work, val_frac=0.3, test_frac=0.3)
    assert any(a.split != b.split for a, b in pairs)
    found = cut(drafts, Limits(0.9, 0.8), work, val_frac=0.3, test_frac=0.3)
    assert all(a.split == b.split for a, b in pairs)
    assert len({one.split for one in drafts}) > 1
    told = summary(found, Limits(0.9, 0.8))
    assert [one["alike_in_meaning"] for one in told.values()] == [0, 0]
    assert sum(one["compared_in_meaning"] or 0 for one in told.values()) > 0


def test_a_copy_in_test_is_counted_and_ends_the_stage_without_a_word_of_it(work: Work) -> None:
    copy, other = draft("The marigold withers.", "Does it?"), draft("Another thing.", "What is it?")
    drafts = apart([draft("The  Marigold withers.", "does it?"), made(1)], [copy, other])
    found = held(drafts, work, by_meaning=False)
    limits = Limits(0.5, None)
    assert [(one.exact, one.jaccard) for one in found["test"]].count((True, 1.0)) == 1
    assert (summary(found, limits)["test"]["exact"], summary(found, limits)["test"]["near"]) == (1, 1)
    with pytest.raises(DataError, match=rf"1 dialogues of val and test[\s\S]*test {copy.id}") as caught:
        check_leaks(found, limits)
    assert "arigold" not in str(caught.value)


def test_what_lies_below_the_limit_ends_nothing() -> None:
    found = {"val": [Held("a", False, 0.49, "b", 0.99)], "test": []}
    check_leaks(found, Limits(0.5, 0.7))
    assert summary(found, Limits(0.5, 0.7))["val"] == {
        "dialogues": 1, "exact": 0, "group_jaccard": 0.5, "near": 0, "highest_jaccard": 0.49, "compared_in_meaning": 1,
        "group_similarity": 0.7, "alike_in_meaning": 1, "median_cosine": 0.99, "highest_cosine": 0.99}


def test_nothing_in_train_or_nothing_beside_it_is_no_trouble(work: Work) -> None:
    for drafts in ([], apart([made(1)], []), apart([], [made(1)])):
        found = held(drafts, work, by_meaning=False)
        check_leaks(found, Limits(0.5, None))
        assert sum(map(len, found.values())) == sum(one.split == "test" for one in drafts)


def test_curation_tells_of_each_dialogue_that_is_held_out() -> None:
    done = curated(*map(harmless, range(40)))
    assert {name: len(every) for name, every in done.held.items()} == {
        name: len(done.splits[name]) for name in leaks.HELD}
