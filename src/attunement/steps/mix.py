"""Step `mix`: how much of each source, topic or tier there is in the whole.

In: drafts that are fit. Out: of each value of a tag (or source) at most ``cap`` dialogues, and of those named in
``keep_frac`` that share. Which ones is decided by a hash of the dialogue, so that a dialogue's fate does not hang on
its place in a file and, for shares, on no other dialogue. To take more than all of something, raise its weight in
training, not here.
"""

import hashlib
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.steps.base import Step


class MixStep(Step):
    """``by``: source, or a tag such as topic, tier, risk; ``caps`` by its values; ``cap``: of each other value."""

    kind: Literal["mix"]
    by: str
    cap: Annotated[int, Field(ge=1)] | None
    caps: dict[str, Annotated[int, Field(ge=0)]]
    keep_frac: dict[str, Annotated[float, Field(ge=0, le=1)]]

    whole: ClassVar[bool] = True

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop what is beyond a share or a cap; the note says of what."""
        groups: dict[str, list[Draft]] = {}
        for draft in drafts:
            value = draft.source if self.by == "source" else draft.tags.get(self.by, "none")
            groups.setdefault(value, []).append(draft)
        for value, members in sorted(groups.items()):
            share = self.keep_frac.get(value, 1.0)
            cap = self.caps.get(value, self.cap)
            left = sorted(members, key=lambda draft: (place(draft.id), draft.file, draft.line))
            beyond = [draft for draft in left if place(draft.id) >= share]
            within = [draft for draft in left if place(draft.id) < share]
            for draft in beyond:
                draft.note(Note("dropped", self.name, f"share_of_{self.by}", value, limit=share))
            for draft in within[cap:] if cap is not None else ():
                draft.note(Note("dropped", self.name, f"cap_of_{self.by}", value, limit=float(cap or 0)))


def place(key: str) -> float:
    """Where a key falls between 0 and 1: by its hash, the same for ever."""
    return int(hashlib.sha256(f"mix:{key}".encode()).hexdigest()[:13], 16) / 16**13
