"""What the steps that ask a scorer share: items of a dialogue, and answers from the cache or from workers."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal, NamedTuple

from attunement.drafts import Draft
from attunement.risk import HEARD_KIND
from attunement.runner import Runner
from attunement.score_cache import Answer, ScoreCache, answer_of, chunked, key_of
from attunement.scorers.base import Item, Scored, Scorer

DIGITS = 4  # of a kept value
ITEMS_AT_ONCE = 64  # to a worker: two batches of most scorers
ITEMS_KEPT = 512  # answers that are written to the disk together, unless they take longer than
SECONDS_KEPT = 10.0  # which, and one chunk's, are what a kill costs at most

On = Literal["replies", "user", "dialogue"]
Shown = Literal[On, "told"]


class Spent(NamedTuple):
    """What a scorer took: seconds, items that it was asked about, and items whose answer was known."""

    seconds: float = 0.0
    asked: int = 0
    known: int = 0

    def line(self, name: str, of_seconds: float) -> str:
        """As a person reads it, with the share of a run's time."""
        rate = f" ({self.asked / self.seconds:.0f}/s)" if self.seconds and self.asked else ""
        return (f"{name}: {self.seconds:.0f} s, {self.seconds / max(of_seconds, 1e-9):.0%} of the time; "
                f"{self.asked} items asked{rate}, {self.known} known")


@dataclass(frozen=True)
class Work:
    """What a run of curation gives its steps: where kernels run, what is known already, what scorers took so far."""

    runner: Runner
    cache: ScoreCache
    spent: dict[str, Spent] = field(default_factory=dict)

    def add(self, name: str, seconds: float, asked: int, known: int) -> None:
        """Count what one call of a scorer took."""
        before = self.spent.get(name, Spent())
        self.spent[name] = Spent(before.seconds + seconds, before.asked + asked, before.known + known)


def items_of(draft: Draft, on: Shown) -> list[tuple[int | None, Item]]:
    """(turn, item): every assistant's turn with what stands before it, the user's words alone, or the dialogue.

    ``told``: the dialogue with the user's last words, also where they were left off.
    """
    if on == "replies":
        return [(number, Item(id="", context=draft.turns[:number], reply=text, locale=draft.locale, tags=_told(draft)))
                for number, text in draft.said("assistant")]
    turns = {"user": tuple(turn for turn in draft.turns if turn.role == "user"), "told": draft.told}
    return [(None, Item(id="", dialogue=turns.get(on, draft.turns), locale=draft.locale, tags=_told(draft)))]


def _told(draft: Draft) -> dict[str, str]:
    """The tags that a scorer reads; others would only make the same words another item."""
    return {name: draft.tags[name] for name in ("risk", "risk_kind", HEARD_KIND) if name in draft.tags}


def asked(scorer: Scorer, items: Sequence[Item], work: Work) -> list[Answer]:
    """A scorer's answer to each item; each is asked once, and kept soon after it is given.

    Items of like length are asked together: so a small chunk fills its batches as well as a large one would.
    """
    began = time.perf_counter()
    version = scorer.version
    keys = [key_of(scorer, version, item) for item in items]
    known = work.cache.known(keys)
    fresh = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
    # Not the order of the rows: what is batched together must not hang on it.
    order = sorted(fresh, key=lambda key: (_length(fresh[key]), key))
    known |= _answered(scorer, order, fresh, work, n_known=len(items) - len(order))
    work.add(scorer.name, time.perf_counter() - began, len(order), len(items) - len(order))
    return [known[key] for key in keys]


def _answered(
    scorer: Scorer, order: Sequence[bytes], fresh: Mapping[bytes, Item], work: Work, *, n_known: int
) -> dict[bytes, Answer]:
    """The answers to fresh items, written to the cache every so often, and when the scorer dies."""
    answers: dict[bytes, Answer] = {}
    waiting: dict[bytes, Answer] = {}
    written = time.perf_counter()
    try:
        for scored in work.runner.map(partial(_scored, scorer), chunked([fresh[key] for key in order], ITEMS_AT_ONCE)):
            part = {key: answer_of(one, DIGITS) for key, one in zip(order[len(answers):], scored, strict=False)}
            answers |= part
            waiting |= part
            if len(waiting) >= ITEMS_KEPT or time.perf_counter() - written >= SECONDS_KEPT:
                work.cache.add(waiting)
                waiting, written = {}, time.perf_counter()
                _progress(scorer.name, len(answers), len(order), n_known)
    finally:
        work.cache.add(waiting)
    if waiting:
        _progress(scorer.name, len(answers), len(order), n_known)
    return answers


def _length(item: Item) -> int:
    """The characters that a scorer reads, more or less: of a reply its own, for its context is cut."""
    return len(item.words) or sum(len(turn.text) for turn in item.dialogue)


def _scored(scorer: Scorer, items: Sequence[Item]) -> list[Scored]:
    return scorer.score(items)


def _progress(name: str, done: int, n_fresh: int, n_known: int) -> None:
    cached = f", {n_known} known" if n_known else ""
    print(f"curate: {name} {done} of {n_fresh}{cached}", file=sys.stderr, flush=True)


@cache
def version_of(scorer: Scorer) -> str:
    """A scorer's version, read from its files once a run."""
    return scorer.version


def by_draft(drafts: Sequence[Draft], on: Shown, scorer: Scorer, work: Work) -> list[list[tuple[int | None, Answer]]]:
    """For each draft its turns' answers."""
    shown = [items_of(draft, on) for draft in drafts]
    answers = iter(asked(scorer, [item for items in shown for _, item in items], work))
    return [[(number, next(answers)) for number, _ in items] for items in shown]


def worst(answers: Sequence[tuple[int | None, Answer]], take: str) -> tuple[int | None, float] | None:
    """(turn, value) of the highest or lowest answer, or (None, mean); None where one could not be given."""
    values: Mapping[int, tuple[int | None, float]] = {
        at: (number, answer.value) for at, (number, answer) in enumerate(answers) if answer.value is not None}
    if len(values) < len(answers) or not values:
        return None
    if take == "mean":
        return None, round(sum(value for _, value in values.values()) / len(values), DIGITS)
    chosen = sorted(values.values(), key=lambda pair: pair[1])
    return chosen[-1] if take == "max" else chosen[0]
