"""What val and test share with train: the same words, the same runs of words, the same meaning.

In: drafts with their split. Out: for each of val and test the dialogue of train that is nearest to it, in exact Jaccard
of word 5-grams and in cosine of what the user says. Splits are made of groups (`attunement.splits`); here is looked
whether that held, with every pair compared and not with sketches, which find a pair at their limit with .996 alone. A
pair that they missed is tied, and the corpus cut again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attunement.drafts import Draft
from attunement.embed import Near, embedded, nearest, pairs, told
from attunement.errors import DataError
from attunement.near_duplicates import shingles, text_of
from attunement.score_cache import chunked
from attunement.splits import Tie, split
from attunement.steps.asking import Work
from attunement.steps.duplicates import normalised

HELD = ("val", "test")
Summary = dict[str, dict[str, float | None]]
MAYBE_BITS = 24
AT_ONCE = 1000  # dialogues whose runs of words are in memory beside those of val and test


class Limits(NamedTuple):
    """From which exact Jaccard, and from which cosine, two dialogues belong to one split; None: not compared."""

    jaccard: float
    similarity: float | None


class Held(NamedTuple):
    """A dialogue of val or test, and how near the nearest of train is; cosine None: not compared, or too short."""

    id: str
    exact: bool
    jaccard: float
    nearest: str
    cosine: float | None


def cut(
    drafts: Sequence[Draft], limits: Limits, work: Work, *, val_frac: float, test_frac: float
) -> dict[str, list[Held]]:
    """Set each draft's split, so that nothing of val and test is like anything of train; by split what is left."""
    ties = [] if limits.similarity is None else list(_ties(drafts, limits.similarity, work))
    while True:
        split(drafts, val_frac=val_frac, test_frac=test_frac, group_jaccard=limits.jaccard, ties=ties)
        found = held(drafts, work, by_meaning=limits.similarity is not None)
        missed = [(one.id, one.nearest) for every in found.values() for one in every if one.jaccard >= limits.jaccard]
        if not missed or set(missed) <= set(ties):
            return found
        ties += missed


def held(drafts: Sequence[Draft], work: Work, *, by_meaning: bool) -> dict[str, list[Held]]:
    """By split, of each dialogue that is not in train what it shares with train."""
    train = sorted((draft for draft in drafts if draft.split == "train"), key=lambda draft: draft.id)
    rest = sorted((draft for draft in drafts if draft.split in HELD), key=lambda draft: draft.id)
    exact = {normalised(draft.turns) for draft in train}
    words = list(_nearest_in_words(rest, train))
    cosines = _cosines(rest, train, work) if by_meaning else {}
    found: dict[str, list[Held]] = {name: [] for name in HELD}
    for at, draft in enumerate(rest):
        near = train[words[at].other].id if train else ""
        found[draft.split].append(Held(draft.id, normalised(draft.turns) in exact, words[at].likeness, near,
                                       cosines.get(at)))
    return found


def check_leaks(found: Mapping[str, Sequence[Held]], limits: Limits) -> None:
    """Raise DataError, naming the first, when a dialogue of val or test is, or nearly is, one of train."""
    bad = [(name, one) for name, every in found.items() for one in every if one.exact or one.jaccard >= limits.jaccard]
    if bad:
        told_of = "\n".join(f"  {name} {one.id}: like {one.nearest} of train, Jaccard index {one.jaccard:.2f}"
                            for name, one in bad[:10])
        raise DataError(f"{len(bad)} dialogues of val and test are like one of train (curate.group_jaccard "
                        f"{limits.jaccard}):\n{told_of}\nDeclare the step `duplicates` with a lower limit, or take "
                        "these rows out: a model would be measured on what it learnt.")


def summary(found: Mapping[str, Sequence[Held]], limits: Limits) -> Summary:
    """Counts and the largest values by split, as plain JSON, with the limits that they are counted by."""
    told_of: Summary = {}
    for name, every in found.items():
        cosines = [one.cosine for one in every if one.cosine is not None]
        told_of[name] = {
            "dialogues": len(every),
            "exact": sum(one.exact for one in every),
            "group_jaccard": limits.jaccard,
            "near": sum(one.jaccard >= limits.jaccard for one in every),
            "highest_jaccard": round(max((one.jaccard for one in every), default=0.0), 4),
            "compared_in_meaning": len(cosines),
            "group_similarity": limits.similarity,
            "alike_in_meaning": sum(limits.similarity is not None and one >= limits.similarity for one in cosines),
            "median_cosine": round(float(np.median(cosines)), 4) if cosines else None,
            "highest_cosine": max(cosines, default=None),
        }
    return told_of


def _ties(drafts: Sequence[Draft], limit: float, work: Work) -> Iterator[Tie]:
    """Pairs of dialogues of which what the user says, or the opening, is alike in meaning."""
    texts = [(draft.id, text) for draft in drafts for text in told(draft.turns)]
    for near in pairs(embedded([text for _, text in texts], work), limit):
        one, other = texts[near.one][0], texts[near.other][0]
        if one != other:
            yield one, other


def _cosines(rest: Sequence[Draft], train: Sequence[Draft], work: Work) -> dict[int, float]:
    """The largest cosine to train of each dialogue, by its place, that is long enough to be compared."""
    texts = [(at, text) for at, draft in enumerate(rest) for text in told(draft.turns)]
    known = embedded([text for draft in train for text in told(draft.turns)], work)
    found: dict[int, float] = {}
    for near in nearest(embedded([text for _, text in texts], work), known):
        at = texts[near.one][0]
        found[at] = max(near.likeness, found.get(at, near.likeness))
    return found


def _nearest_in_words(rest: Sequence[Draft], train: Sequence[Draft]) -> Iterator[Near]:
    """For each of some dialogues the one of train with the largest exact Jaccard index, the first of equals."""
    sets = shingles(text_of(draft.turns) for draft in rest)
    sizes = np.array([len(one) for one in sets], np.int64)
    runs = np.concatenate([np.zeros(0, np.uint64), *sets])
    order = np.argsort(runs, kind="stable")
    runs, owners = runs[order], np.repeat(np.arange(len(sets)), sizes)[order]
    maybe = np.zeros(1 << MAYBE_BITS, bool)
    maybe[runs >> np.uint64(64 - MAYBE_BITS)] = True
    best, at = np.zeros(len(sets)), np.zeros(len(sets), np.int64)
    texts = (own for some in chunked(train, AT_ONCE) for own in shingles(text_of(draft.turns) for draft in some))
    for place, own in enumerate(texts):
        likely = own[maybe[own >> np.uint64(64 - MAYBE_BITS)]]  # few: most runs of words stand in one dialogue
        low, high = (np.searchsorted(runs, likely, side=side) for side in ("left", "right"))
        shared = [owners[a:b] for a, b in zip(low, high, strict=True) if a < b]
        if not shared:
            continue
        both = np.bincount(np.concatenate(shared), minlength=len(sets))
        jaccard = both / (len(own) + sizes - both)
        at[jaccard > best] = place
        best = np.maximum(best, jaccard)
    yield from (Near(number, int(at[number]), float(best[number])) for number in range(len(sets)))
