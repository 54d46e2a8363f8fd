"""A sample is fixed, in the whole's proportions, and never parts twins."""

from collections import Counter

import pytest

from attunement.sampling import first_of_each, sample

ITEMS = [(stratum, i) for stratum, n in (("a", 60), ("b", 30), ("c", 10)) for i in range(n)]


def test_each_stratum_is_represented_in_proportion_to_within_one() -> None:
    taken = sample(ITEMS, 20, stratum=lambda item: item[0])
    counted = Counter(stratum for stratum, _ in taken)
    assert len(taken) == 20
    assert all(abs(counted[name] - share) <= 1 for name, share in (("a", 12), ("b", 6), ("c", 2)))


def test_the_sample_does_not_depend_on_the_order_of_the_strata_and_keeps_the_given_order() -> None:
    mixed = sorted(ITEMS, key=lambda item: (item[1] % 7, item))
    taken = sample(mixed, 20, stratum=lambda item: item[0])
    assert taken == sorted(taken, key=mixed.index)
    assert Counter(s for s, _ in taken) == Counter(s for s, _ in sample(ITEMS, 20, stratum=lambda item: item[0]))


@pytest.mark.parametrize("amount", ["all", 100, 1000])
def test_all_are_taken_when_there_are_no_more(amount: int) -> None:
    assert sample(ITEMS, amount, stratum=lambda item: item[0]) == ITEMS


@pytest.mark.parametrize("amount", range(1, 100))
def test_as_many_are_taken_as_asked_for_and_none_twice(amount: int) -> None:
    taken = sample(ITEMS, amount, stratum=lambda item: item[0])
    assert len(set(taken)) == len(taken) == amount


@pytest.mark.parametrize("amount", [2, 7, 20])
def test_twins_are_taken_together(amount: int) -> None:
    twins = [(pair, state) for state in ("flat", "sad") for pair in range(30)]
    taken = sample(twins, amount, stratum=lambda item: item[0] % 3, unit=lambda item: item[0])
    assert set(Counter(pair for pair, _ in taken).values()) == {2}
    assert amount - 1 <= len(taken) <= amount


@pytest.mark.parametrize("amount", [0, -1])
def test_nothing_asked_for_is_an_error(amount: int) -> None:
    with pytest.raises(ValueError, match="at least 1 or 'all'"):
        sample(ITEMS, amount, stratum=lambda item: item[0])


def stratum(item: tuple[str, int]) -> str:
    return item[0]


@pytest.mark.parametrize("amount", [1, 7, 20, 99])
def test_the_first_of_each_stratum_are_taken_in_proportion(amount: int) -> None:
    taken = first_of_each(ITEMS, amount, stratum=stratum)
    assert len(taken) == amount
    counted = Counter(map(stratum, taken))
    assert all(abs(counted[name] - amount * n / 100) < 1 for name, n in (("a", 60), ("b", 30), ("c", 10)))
    assert all(taken.count((name, i)) == 1 for name in counted for i in range(counted[name]))


@pytest.mark.parametrize("gone", [ITEMS[:1], ITEMS[3:8], ITEMS[90:]])
def test_an_item_more_or_less_changes_little_of_what_is_taken(gone: list[tuple[str, int]]) -> None:
    before = first_of_each(ITEMS, 40, stratum=stratum)
    after = first_of_each([item for item in ITEMS if item not in gone], 40, stratum=stratum)
    assert len(set(before) & set(after)) >= 40 - 2 * len(gone)
    assert set(before) <= set(first_of_each(ITEMS, 45, stratum=stratum))


def test_all_items_are_taken_when_there_are_no_more() -> None:
    assert first_of_each(ITEMS, "all", stratum=stratum) == first_of_each(ITEMS, 100, stratum=stratum) == ITEMS
