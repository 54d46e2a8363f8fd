"""A fixed, stratified sample: the same part of a suite, task or corpus at every run, in the whole's proportions.

Systematic sampling of a list sorted by stratum (Cochran 1977, chapter 8): every total/n-th unit is taken, so each
stratum is represented in proportion, to within one unit, without a random number.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Amount = int | Literal["all"]


def first_of_each(items: Sequence[T], amount: Amount, *, stratum: Callable[[T], Any]) -> list[T]:
    """The first of each stratum, in proportion; in their given order, or all items when there are no more.

    Where items are sorted by a hash this is chance, and it stays nearly the same when items come or go or another
    amount is taken, which a systematic sample does not. Quotas are by largest remainder, of equals the first stratum's.
    """
    if amount == "all" or amount >= len(items):
        return list(items)
    strata: dict[Any, list[int]] = {}
    for i, item in enumerate(items):
        strata.setdefault(stratum(item), []).append(i)
    names = sorted(strata)
    quotas = {name: amount * len(strata[name]) // len(items) for name in names}
    left = sorted(names, key=lambda name: -(amount * len(strata[name]) % len(items)))
    for name in left[: amount - sum(quotas.values())]:
        quotas[name] += 1
    chosen = {i for name in names for i in strata[name][: quotas[name]]}
    return [item for i, item in enumerate(items) if i in chosen]


def sample(
    items: Sequence[T], amount: Amount, *, stratum: Callable[[T], Any], unit: Callable[[T], Hashable] | None = None
) -> list[T]:
    """``amount`` items in their given order, or all of them when there are no more.

    ``stratum`` is a sortable key; within one the given order decides, which for ids that are hashes is as good as
    chance. Items of one ``unit`` (a pair of twins) are taken together, so that up to a unit less is returned when
    the amount ends inside one. Raises ValueError when ``amount`` is below 1.
    """
    if amount == "all" or amount >= len(items):
        return list(items)
    if amount < 1:
        raise ValueError(f"amount must be at least 1 or 'all', got {amount}")
    units: dict[Hashable, list[int]] = {}
    for i, item in enumerate(items):
        units.setdefault(i if unit is None else unit(item), []).append(i)
    ordered = sorted(units.values(), key=lambda members: (stratum(items[members[0]]), members[0]))
    n_units = max(1, amount * len(ordered) // len(items))
    chosen = {i for k in range(n_units) for i in ordered[(2 * k + 1) * len(ordered) // (2 * n_units)]}
    return [item for i, item in enumerate(items) if i in chosen]
