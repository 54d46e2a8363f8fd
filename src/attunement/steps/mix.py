"""Step `mix`: how much of each source, topic or tier there is in the whole.

In: drafts that are fit. Out: of each value of a tag (or source) at most ``cap`` dialogues, and of those named in
``keep_frac`` that share. Which ones is decided by a hash of the dialogue, so that a dialogue's fate does not hang on
its place in a file and, for shares, on no other dialogue. To take more than all of something, raise its weight in
training, not here.
"""

import hashlib
import sys
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.errors import DataError
from attunement.faults import nearest
from attunement.steps.base import Step

TOLD_OF_FEW = ("risk", "risk_kind")  # tags that a dialogue without danger need not carry


class MixStep(Step):
    """``by``: source, or a tag such as topic, tier, risk; ``caps`` by its values; ``cap``: of each other value."""

    kind: Literal["mix"]
    by: str
    cap: Annotated[int, Field(ge=1)] | None
    caps: dict[str, Annotated[int, Field(ge=0)]]
    keep_frac: dict[str, Annotated[float, Field(ge=0, le=1)]]

    whole: ClassVar[bool] = True

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop what is beyond a share or a cap; the note says of what.

        Raises DataError when no dialogue carries the tag; a value that none has is told on stderr.
        """
        self._known(drafts)
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

    def _known(self, drafts: Sequence[Draft]) -> None:
        """Whether what is declared is there; with no dialogue at all nobody can tell."""
        values = {draft.source if self.by == "source" else draft.tags.get(self.by) for draft in drafts}
        if values == {None} and self.by not in TOLD_OF_FEW:
            tags = sorted({tag for draft in drafts for tag in draft.tags})
            meant = nearest(self.by, tags) or "."
            raise DataError(f"curate.steps: mix by '{self.by}': none of {len(drafts)} dialogues carries such a tag. "
                            f"There are source and the tags {', '.join(tags) or '(none)'}{meant} A tag comes "
                            "from a source's declaration or from a step before this one.")
        found = sorted(value or "none" for value in values)
        for name in sorted({*self.caps, *self.keep_frac} - set(found)) if found else ():
            print(f"curate: mix by {self.by}: '{name}' is declared, and no dialogue has it{nearest(name, found)}",
                  file=sys.stderr)


def place(key: str) -> float:
    """Where a key falls between 0 and 1: by its hash, the same for ever."""
    return int(hashlib.sha256(f"mix:{key}".encode()).hexdigest()[:13], 16) / 16**13
