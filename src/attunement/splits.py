"""Train, val and test: what belongs together lies in one, decided by a hash that other dialogues do not move.

In: drafts that are fit. Out: each with its split. Together belong dialogues of one thread, person or question,
dialogues that begin with the same words, near-copies (exact Jaccard of word 5-grams at or above a limit), what the
caller ties (likeness in meaning, see `attunement.leaks`), and what hangs together over several of these. A group's
place is a hash of its smallest key, so that it stays where it is as the corpus grows, unless a new dialogue joins two
groups.
"""

import hashlib
from collections.abc import Mapping, Sequence

from attunement.drafts import Draft
from attunement.near_duplicates import Texts, clusters
from attunement.steps.fingerprints import fingerprint, sketches_of

SPLITS = ("train", "val", "test")
Tie = tuple[str, str]  # ids of two dialogues that belong together


def split(drafts: Sequence[Draft], *, val_frac: float, test_frac: float, group_jaccard: float,
          ties: Sequence[Tie] = ()) -> None:
    """Set each draft's split and what it lies together with; two that are tied, by id, lie in one."""
    groups = groups_of(drafts, group_jaccard, ties)
    for draft in drafts:
        draft.together = groups[draft.id]
        place = int(hashlib.sha256(draft.together.encode()).hexdigest()[:13], 16) / 16**13
        draft.split = "test" if place < test_frac else "val" if place < test_frac + val_frac else "train"


def groups_of(drafts: Sequence[Draft], group_jaccard: float, ties: Sequence[Tie] = ()) -> dict[str, str]:
    """The smallest key of the group that each dialogue, by id, belongs to."""
    fingerprint(drafts)
    alike = clusters([draft.id for draft in drafts], Texts([draft.turns for draft in drafts]), jaccard=group_jaccard,
                     sketch=sketches_of(drafts))
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        parent.setdefault(key, key)
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = [_keys(draft, alike) for draft in drafts]
    for own in keys:
        first, *others = sorted({root(key) for key in own})
        for key in others:
            parent[key] = first
    first_key = {draft.id: own[0] for draft, own in zip(drafts, keys, strict=True)}
    for tie in ties:
        one, other = sorted(root(first_key[end]) for end in tie)
        parent[other] = one
    return {draft.id: root(own[0]) for draft, own in zip(drafts, keys, strict=True)}


def _keys(draft: Draft, alike: Mapping[str, str]) -> list[str]:
    """What ties a dialogue to others, as hashes that tell nothing of it. A thread's comes first: it names the group."""
    opening = " ".join(draft.turns[0].text.casefold().split()) if draft.turns else draft.id
    threads = [f"group:{draft.source}:{draft.group}"] if draft.group else []
    return [*(f"0{_hash(tie)}" for tie in threads), f"1{_hash(opening)}", f"2{_hash(alike[draft.id])}"]


def _hash(tie: str) -> str:
    return hashlib.sha256(tie.encode()).hexdigest()
