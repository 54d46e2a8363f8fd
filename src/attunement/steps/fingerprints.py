"""What near-copies are found by, made once of each dialogue: by whoever has it at hand, for duplicates and for splits.

In: drafts. Out: each with a `Fingerprint`: a digest of its letters, and its sketch (see `attunement.near_duplicates`).
One that a step has changed since is made again.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from attunement.drafts import Draft, Fingerprint
from attunement.near_duplicates import PERMUTATIONS, U32, Texts, sketches, text_of

SPACE = bytes(at for at in range(128) if chr(at).isspace())


def fingerprint(drafts: Sequence[Draft]) -> None:
    """Give a fingerprint to each draft that has none of its turns as they stand."""
    stale = [draft for draft in drafts if draft.fingerprint is None or draft.fingerprint.turns is not draft.turns]
    for draft, sketch in zip(stale, sketches(Texts([draft.turns for draft in stale])), strict=True):
        draft.fingerprint = Fingerprint(draft.turns, _letters(draft), sketch.tobytes())


def sketches_of(drafts: Sequence[Draft]) -> U32:
    """Sketches of drafts that have their fingerprints, (draft, 128)."""
    raw = b"".join(draft.fingerprint.sketch for draft in drafts if draft.fingerprint)
    return np.frombuffer(raw, np.uint32).reshape(len(drafts), PERMUTATIONS)


def _letters(draft: Draft) -> bytes:
    """Equal at least for dialogues that differ only in case and white space."""
    text = text_of(draft.turns).casefold()
    raw = text.encode().translate(None, SPACE) if text.isascii() else "".join(text.split()).encode()
    return hashlib.sha256(raw).digest()
