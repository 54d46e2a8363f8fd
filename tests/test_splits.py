"""Splits: what belongs together lies in one, and stays where it is as the corpus grows."""

import random

from attunement.drafts import Draft
from attunement.splits import SPLITS, groups_of, split
from curation import draft

WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te") for b in ("ban", "dor", "fel", "gim", "hus", "jol")]


def made(number: int, opening: str = "", group: str = "") -> Draft:
    rng = random.Random(number)
    one = draft(opening or f"Opening {number}.", " ".join(rng.choice(WORDS) for _ in range(60)))
    one.group = group
    return one


def splits(drafts: list[Draft]) -> dict[str, str]:
    split(drafts, val_frac=0.2, test_frac=0.2, group_jaccard=0.5)
    return {one.id: one.split for one in drafts}


def test_a_thread_an_opening_and_near_copies_lie_in_one_group() -> None:
    near = made(3)
    near_copy = draft("Another opening.", f"{near.turns[1].text} and one more thing")
    drafts = [made(1, group="thread 7"), made(2, group="thread 7"), made(4, "The same words."),
              made(5, "the SAME  words."), near, near_copy, made(6)]
    groups = groups_of(drafts, 0.5)
    found = [groups[one.id] for one in drafts]
    assert found[0] == found[1]
    assert found[2] == found[3]
    assert found[4] == found[5]
    assert len(set(found)) == 4


def test_ties_of_different_sorts_join() -> None:
    drafts = [made(1, "Hello there, you.", "a"), made(2, "Hello there, you.", "b"), made(3, "Other.", "b")]
    assert len(set(groups_of(drafts, 0.5).values())) == 1


def test_a_split_stays_as_the_corpus_grows_and_order_tells_nothing() -> None:
    few = splits([made(number, group=f"thread {number % 20}") for number in range(40)])
    many = splits([made(number, group=f"thread {number % 20}") for number in range(80)][::-1])
    assert few == {key: many[key] for key in few}
    assert set(many.values()) == set(SPLITS)


def test_shares_are_near_those_declared() -> None:
    sizes = list(splits([made(number) for number in range(1500)]).values())
    assert 230 < sizes.count("test") < 370
    assert 230 < sizes.count("val") < 370
