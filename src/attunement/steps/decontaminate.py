"""Step `decontaminate`: what a suite or a task asks must not be learnt by heart.

In: dialogues, and every text that evaluation files show to a model. A dialogue is dropped when runs of eight words that
it shares with one such text cover a good share of the text's words. Brown et al. (2020, appendix C) drop at one shared
run of 13 words; here a phrase that people often say does not suffice, and a copy with some words changed is found all
the same. A prompt that is shorter than a run, and stands alone, must be a whole turn of the user; a short turn among
others ("How did you find out?") is anybody's. What is said with other words step `semantic` looks for.
"""

import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attunement.drafts import Draft, Note
from attunement.errors import DataError
from attunement.near_duplicates import I64, U64, Hashes, all_words, grams
from attunement.sources.files import each_once, matching
from attunement.steps.base import Step

# What a model is not shown: names, labels, and what raters are told.
NOT_ASKED = frozenset({"id", "canary", "category", "locale", "severity", "tags", "rule", "because", "pair", "principle",
                       "role", "suite", "task", "source", "licence", "good", "fail", "kind", "style"})
FILES = ("data/suites/**/*.jsonl", "data/tasks/**/*.jsonl")
LEAST_COVERED = 13  # words, as in Brown et al.; of a prompt with fewer all
LEAST_WORDS = 4  # of a prompt that is looked for as a whole turn: shorter ones are greetings
DRAFTS_AT_ONCE = 500
MAYBE_BITS = 22


class DecontaminateStep(Step):
    """``files``: globs of JSON Lines; ``ngram`` words of a run; ``min_overlap`` of a text's words covered by runs."""

    kind: Literal["decontaminate"]
    files: tuple[str, ...] = FILES
    ngram: Annotated[int, Field(ge=3, le=13)] = 8
    min_overlap: Annotated[float, Field(gt=0, le=1)] = 0.5

    safety: ClassVar[bool] = True

    def data_files(self) -> tuple[Path, ...]:
        """The evaluation files; raises DataError for a glob that matches none."""
        return evaluation_files(self.files, self.kind)

    def each(self, drafts: Sequence[Draft]) -> None:
        """Drop what holds an evaluation's text; the note names the item and the share of its words."""
        index = _index(tuple(path.resolve() for path in self.data_files()), self.ngram)
        for start in range(0, len(drafts), DRAFTS_AT_ONCE):
            some = drafts[start : start + DRAFTS_AT_ONCE]
            shared = _shared(some, index)
            for number, draft in enumerate(some):
                turn, match = _whole_turn(draft, index)
                if turn is None:
                    match = index.best(shared.get(number, set()))
                if match is not None and match.share >= self.min_overlap:
                    draft.note(Note("dropped", self.name, "contaminated", turn=turn, score=match.share, op=">=",
                                    limit=self.min_overlap, ref=match.item))


class Match(NamedTuple):
    """An item of an evaluation, and the share of the words of one of its texts that a dialogue holds."""

    item: str
    share: float


class Asked(NamedTuple):
    """What an item of an evaluation shows a model: all of it (``alone``), or one turn or choice of several."""

    item: str
    text: str
    alone: bool


class Index:
    """The texts of evaluation files: runs of words in their order, whose they are, and the short prompts whole."""

    def __init__(self, texts: Sequence[Asked], ngram: int) -> None:
        self.ngram = ngram
        sizes = np.diff(all_words([one.text for one in texts]).starts).tolist()
        self.short = {_plain(one.text): one.item for one, size in zip(texts[::-1], sizes[::-1], strict=True)
                      if one.alone and LEAST_WORDS <= size < ngram}
        self.longest = max(map(len, self.short), default=0)
        long = [one for one, size in zip(texts, sizes, strict=True)
                if size >= (ngram if one.alone else max(ngram, LEAST_COVERED))]
        self.items = [one.item for one in long]
        self.runs, self.starts = grams(all_words([one.text for one in long]), ngram)
        order = np.argsort(self.runs, kind="stable")
        self.sorted = self.runs[order]
        self.owners = np.repeat(np.arange(len(long)), np.diff(self.starts))[order]
        self.maybe = np.zeros(1 << MAYBE_BITS, bool)  # most runs of a corpus end here
        self.maybe[_high(self.sorted)] = True

    def hits(self, runs: U64) -> I64:
        """Places of the runs that some evaluation text holds."""
        likely = np.flatnonzero(self.maybe[_high(runs)])
        if not len(likely):
            return likely
        at = np.minimum(np.searchsorted(self.sorted, runs[likely]), len(self.sorted) - 1)
        found: I64 = likely[self.sorted[at] == runs[likely]]
        return found

    def best(self, runs: set[int]) -> Match | None:
        """The text of which these runs cover the largest share, if any is covered for more than a phrase."""
        if not runs:
            return None
        own = np.array(sorted(runs), np.uint64)
        low, high = (np.searchsorted(self.sorted, own, side=side) for side in ("left", "right"))
        places = sorted({int(one) for a, b in zip(low, high, strict=True) for one in self.owners[a:b]})
        found = [match for place in places if (match := self._match(place, own)) is not None]
        return max(found, key=lambda match: (match.share, match.item), default=None)

    def _match(self, place: int, own: U64) -> Match | None:
        there = np.isin(self.runs[self.starts[place] : self.starts[place + 1]], own)
        covered = np.convolve(there, np.ones(self.ngram, np.int64)) > 0
        if covered.sum() < min(LEAST_COVERED, len(covered)):
            return None
        return Match(self.items[place], float(covered.mean()))


def _shared(drafts: Sequence[Draft], index: Index) -> dict[int, set[int]]:
    """Of each draft, by its place, the runs that it shares with evaluations: of all turns, and of the user's alone.

    A script holds a user's turns alone; what was answered between them does not hide it.
    """
    turns = [turn for draft in drafts for turn in draft.turns]
    words, starts = all_words([turn.text for turn in turns])
    sizes = np.diff(starts)
    of_user = np.array([turn.role == "user" for turn in turns], bool)
    bounds = np.concatenate([[0], np.cumsum([len(draft.turns) for draft in drafts])]).astype(np.int64)
    user_starts = np.concatenate([[0], np.cumsum(sizes * of_user)])[bounds]
    found: dict[int, set[int]] = {}
    for view in (Hashes(words, starts[bounds]), Hashes(words[np.repeat(of_user, sizes)], user_starts)):
        runs = grams(view, index.ngram)
        places = index.hits(runs.hashes)
        owners = np.searchsorted(runs.starts, places, side="right") - 1
        for owner, run in zip(owners.tolist(), runs.hashes[places].tolist(), strict=True):
            found.setdefault(owner, set()).add(run)
    return found


def _whole_turn(draft: Draft, index: Index) -> tuple[int | None, Match | None]:
    """The first turn of the user that is a short prompt of an evaluation."""
    for number, text in draft.said("user"):
        if len(text) <= 2 * index.longest and (item := index.short.get(_plain(text))):
            return number, Match(item, 1.0)
    return None, None


def evaluation_files(patterns: Sequence[str], kind: str) -> tuple[Path, ...]:
    """The files that globs match; raises DataError, naming the step, for one that matches none."""
    found: list[Path] = []
    for pattern in patterns:
        paths = matching(pattern)
        if not paths:
            raise DataError(f"curate.steps: {kind} looks for evaluations in {pattern}, and no file matches. "
                            "Correct `files`: what is not read cannot be kept out of training.")
        found += paths
    return tuple(each_once(found))


@cache
def _index(files: tuple[Path, ...], ngram: int) -> Index:
    """Once a process; by absolute paths, since a process may change its folder."""
    return Index([found for path in files for found in asked(path)], ngram)


def asked(path: Path) -> Iterator[Asked]:
    """The texts of a file; raises DataError for a line that is no object."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            item = f"{path.stem}:{row.get('id', number)}"
        except (ValueError, AttributeError):
            raise DataError(f"{path}:{number}: expected one JSON object a line. Mend the line.") from None
        for shown in (list(_texts(value)) for name, value in row.items() if name not in NOT_ASKED):
            # A talk is looked for as one, and each thing that is not an assistant's by itself: the referral and the
            # question that stand in an answer stand in good answers everywhere.
            yield Asked(item, " ".join(text for text, _ in shown), alone=True)
            if len(shown) > 1:
                yield from (Asked(item, text, alone=False) for text, answered in shown if not answered)


def _texts(value: Any) -> Iterator[tuple[str, bool]]:
    """(text, whether an assistant says it) of all that a model is shown of a value."""
    if isinstance(value, str):
        yield value, False
    elif isinstance(value, list):
        yield from chain.from_iterable(map(_texts, value))
    elif isinstance(value, dict):
        answered = value.get("role") == "assistant"
        for inner in (inner for name, inner in value.items() if name not in NOT_ASKED):
            yield from ((text, answered) for text, _ in _texts(inner))


def _plain(text: str) -> str:
    """The words alone."""
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _high(runs: U64) -> NDArray[np.uint64]:
    high: NDArray[np.uint64] = runs >> np.uint64(64 - MAYBE_BITS)
    return high
