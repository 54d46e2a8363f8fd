"""Step `semantic`: what says in other words what a suite or a task asks, and dialogues that mean nearly the same.

In: all that the user says and the opening words of each dialogue, from 20 words on, and every text of 13 words or more
that evaluation files show to a model, as one talk or as what its user says. Out: a dialogue is dropped whose cosine to
such a text is at or above ``min_similarity``; two dialogues whose users say nearly the same are flagged, or all but one
are dropped, as declared. Which limits tell a paraphrase from a shared topic was measured, and so was how many
paraphrases stay unfound (benchmarks/curation/results.md): this step comes on top of `decontaminate`, not in its place.

Cost: embedding, on one core 20 to 60 texts a second by their length, once for each text and encoder (see
`attunement.embed`); then every pair is compared, 25,000 dialogues with each other in tens of seconds.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.embed import embedded, nearest, pairs, told
from attunement.steps.asking import Work
from attunement.steps.base import Step
from attunement.steps.decontaminate import FILES, LEAST_COVERED, Asked, asked, evaluation_files
from attunement.steps.duplicates import rank

Cosine = Annotated[float, Field(ge=0.5, le=1)]


class SemanticStep(Step):
    """``min_similarity`` to an evaluation, from which on a dialogue is dropped; null limits compare nothing.

    ``duplicate_similarity`` of two dialogues' users, from which on ``duplicates`` says what becomes of the lesser one.
    """

    kind: Literal["semantic"]
    files: tuple[str, ...] = FILES
    min_similarity: Cosine | None
    duplicate_similarity: Cosine | None = None
    duplicates: Literal["flag", "drop"] = "flag"

    whole: ClassVar[bool] = True
    asks: ClassVar[bool] = True
    safety: ClassVar[bool] = True

    def data_files(self) -> tuple[Path, ...]:
        """The evaluation files; raises DataError for a glob that matches none."""
        return evaluation_files(self.files, self.kind)

    def over(self, drafts: Sequence[Draft], work: Work) -> None:
        """Drop paraphrases of evaluations; then flag or drop what repeats another in meaning."""
        if self.min_similarity is not None:
            self._evaluations(drafts, self.min_similarity, work)
        if self.duplicate_similarity is not None:
            left = [draft for draft in drafts if not draft.out]
            self._duplicates(sorted(left, key=rank), self.duplicate_similarity, work)

    def _evaluations(self, drafts: Sequence[Draft], limit: float, work: Work) -> None:
        if not drafts:
            return  # embedding the evaluations takes minutes
        items = sorted({one for path in self.data_files() for one in shown(path)})
        texts = [(place, text) for place, draft in enumerate(drafts) for text in told(draft.turns)]
        found = nearest(embedded([text for _, text in texts], work), embedded([one.text for one in items], work))
        for place, some in groupby(found, key=lambda near: texts[near.one][0]):
            best = max(some, key=lambda near: near.likeness)
            if best.likeness >= limit:
                drafts[place].note(Note("dropped", self.name, "paraphrased_evaluation", score=best.likeness, op=">=",
                                        limit=limit, ref=items[best.other].item))

    def _duplicates(self, ranked: Sequence[Draft], limit: float, work: Work) -> None:
        """The one with more turns, then more text, stands before: it is kept, and named by the others."""
        whole = [(draft, texts[0]) for draft in ranked if (texts := told(draft.turns))]
        vectors = embedded([text for _, text in whole], work)
        for other, some in groupby(sorted(pairs(vectors, limit), key=lambda near: (near.other, near.one)),
                                   key=lambda near: near.other):
            before = [near for near in some if not whole[near.one][0].out]
            if before:
                best = max(before, key=lambda near: near.likeness)
                action: Literal["flagged", "dropped"] = "flagged" if self.duplicates == "flag" else "dropped"
                whole[other][0].note(Note(action, self.name, "semantic_duplicate", score=best.likeness, op=">=",
                                          limit=limit, ref=whole[best.one][0].id))


def shown(path: Path) -> Iterator[Asked]:
    """Texts of a file that are long enough to mean one thing: an item's talk as one, and what is not replied in it."""
    for item, some in groupby(asked(path), key=lambda one: one.item):
        texts = list(some)
        turns = [one.text for one in texts if not one.alone]
        for one in (*(one for one in texts if one.alone), Asked(item, " ".join(turns), alone=True)):
            if len(one.text.split()) >= LEAST_COVERED:
                yield one
