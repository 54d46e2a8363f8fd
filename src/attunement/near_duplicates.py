"""Near-copies: MinHash finds candidates, exact Jaccard decides.

In: dialogues. Out: which repeats which, and groups of those that are alike. A dialogue is the set of its word 5-grams
(case and punctuation aside), as 64-bit hashes made over whole batches at once; R-MinHash of 128 values (rensa) is cut
into bands (Leskovec et al., Mining of Massive Datasets, chapter 3); what shares a band is compared exactly. Without
that last step most of what such tools remove lies below the limit. Hashes of a whole corpus never stand in memory:
sketches are made as they stream by, and the sets of candidates alone are made again.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, groupby
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from attunement.records import Turn

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

WORDS = 5  # of a shingle
PERMUTATIONS = 128
SEED = 42
SKETCH = f"rensa-rminhash-{PERMUTATIONS}-{SEED}-w{WORDS}"  # two sketches compare when this is equal
BATCH_BYTES = 1 << 18  # hashed at a time: what is made of them still fits a core's cache
BUCKET_CAP = 50  # members up to which all pairs of a bucket are looked at: a bigger bucket is a template
UNLIKELY = 0.18  # five standard deviations of a sketch's estimate: that far below the limit nothing is compared
PAIRS_AT_ONCE = 20_000
SETS_AT_ONCE = 40_000  # kept in memory: of 728 words 230 MB

LETTER = np.uint64(0x9E3779B97F4A7C15)  # the base of a word's polynomial over its bytes, modulo 2^64
WORD = np.uint64(0xD6E8FEB86659FD93)  # of a run's over its words: another one, or "ab c" and "a bc" might be as one
MIXERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class Hashes(NamedTuple):
    """Hashes of many texts in a row: those of text i are ``hashes[starts[i]:starts[i + 1]]``."""

    hashes: U64
    starts: I64


class Copy(NamedTuple):
    """Which dialogue is repeated, by its place, and how alike the two are."""

    of: int
    jaccard: float


@dataclass(frozen=True, slots=True)
class Found:
    """By place: copies of what is kept; and of those kept the size of the family that shares passages with them."""

    copies: dict[int, Copy] = field(default_factory=dict)
    templates: dict[int, int] = field(default_factory=dict)


def copies(texts: Sequence[str], *, jaccard: float, sketch: U32 | None = None) -> Found:
    """Which dialogues repeat one that stands before them and is kept: the order says which one of two is the better.

    ``sketch``: of each text, where they are made already.
    """
    pairs, crowded = _candidates(sketches(texts) if sketch is None else sketch, jaccard)
    sets, found = _Sets(texts.__getitem__), Found()
    for later, others in _by_later(pairs, sets):
        kept = sorted({found.copies[one].of if one in found.copies else one for one in others})
        best = max((Copy(one, sets.jaccard(later, one)) for one in kept), key=lambda copy: (copy.jaccard, -copy.of))
        if best.jaccard >= jaccard:
            found.copies[later] = best
    for bucket in crowded:
        family = [place for place in bucket if place not in found.copies]
        if len(family) > BUCKET_CAP:
            found.templates.update((place, max(found.templates.get(place, 0), len(family))) for place in family)
    return found


def clusters(ids: Sequence[str], texts: Sequence[str], *, jaccard: float, sketch: U32 | None = None) -> dict[str, str]:
    """For each id the smallest id of those it hangs together with by pairs at or above ``jaccard``."""
    order = sorted(range(len(ids)), key=lambda place: ids[place])  # the file's order must not tell
    made = sketches(texts) if sketch is None else sketch
    pairs, _ = _candidates(made[order], jaccard)
    sets = _Sets(lambda at: texts[order[at]])
    parent = list(range(len(ids)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for later, others in _by_later(pairs, sets):
        for other in others:
            a, b = root(later), root(other)
            if a != b and sets.jaccard(later, other) >= jaccard:
                parent[max(a, b)] = min(a, b)
    return {ids[place]: ids[order[root(at)]] for at, place in enumerate(order)}


def text_of(turns: Sequence[Turn]) -> str:
    """The words of a dialogue, turn after turn."""
    return "\n".join(turn.text for turn in turns)


class Texts(Sequence[str]):
    """`text_of` dialogues, joined when they are asked for: a corpus need not stand in memory twice."""

    def __init__(self, said: Sequence[Sequence[Turn]]) -> None:
        self._said = said

    def __len__(self) -> int:
        return len(self._said)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> "Texts": ...
    def __getitem__(self, at: int | slice) -> "str | Texts":
        return Texts(self._said[at]) if isinstance(at, slice) else text_of(self._said[at])


def exact_jaccard(one: U64, other: U64) -> float:
    """|A and B| / |A or B| of two sorted sets without repeats; 0 for two without a word."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / max(1, len(one) + len(other) - both)


# Words and runs of words, as hashes


def shingles(texts: Iterable[str], *, words: int = WORDS) -> list[U64]:
    """Of each text the sorted distinct hashes of its runs of ``words`` words; of a shorter text the one of all."""
    return [np.unique(found.hashes[begin:end])
            for batch in batches(texts)
            for found in [grams(hashed_words(batch), words)]
            for begin, end in zip(found.starts[:-1], found.starts[1:], strict=True)]


def batches(texts: Iterable[str]) -> Iterator[list[bytes]]:
    """The texts in folded case, as UTF-8, as many at a time as are hashed together."""
    batch: list[bytes] = []
    size = 0
    for text in texts:
        batch.append(text.casefold().encode())
        size += len(batch[-1])
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def hashed_words(batch: Sequence[bytes]) -> Hashes:
    """Every word's hash; all is done on the bytes of the texts together.

    A word's hash is its polynomial: what the prefix sums before and behind it differ by, moved to the first power.
    """
    joined = b"\n".join(batch) + b"\n"
    raw = np.frombuffer(joined, np.uint8)
    inside = np.frombuffer(joined.translate(_ASCII_WORDS), np.bool_)
    if not joined.isascii():
        inside = _with_other_letters(raw, inside)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    if inside[0]:
        edges = np.concatenate([[0], edges])
    first, behind = edges[0::2], edges[1::2]  # the last byte is a line feed, so edges come in pairs
    powers, inverses = _powers(1 << len(raw).bit_length())
    sums = np.empty(len(raw) + 1, np.uint64)
    sums[0] = 0
    np.cumsum(raw * powers[: len(raw)], out=sums[1:])
    ends = np.cumsum([len(one) + 1 for one in batch])
    return Hashes((sums[behind] - sums[first]) * inverses[first],
                  np.searchsorted(first, np.concatenate([[0], ends])).astype(np.int64))


def all_words(texts: Iterable[str]) -> Hashes:
    """`hashed_words` of many texts, a batch at a time."""
    parts = [hashed_words(batch) for batch in batches(texts)]
    sizes = [np.diff(part.starts) for part in parts]
    return Hashes(np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)]),
                  np.concatenate([[0], *sizes]).cumsum().astype(np.int64))


def grams(found: Hashes, words: int) -> Hashes:
    """Hashes of every run of ``words`` words; of a shorter text the one of all, of one without a word none."""
    tokens, starts = found
    sizes = np.diff(starts)
    short = np.flatnonzero((sizes > 0) & (sizes < words))
    total = tokens.copy()
    whole = np.zeros(len(short), np.uint64)
    for at in range(1, words):
        done = sizes[short] == at
        whole[done] = total[starts[short[done]]]
        total = total[:-1] * WORD + tokens[at:] if len(total) else total
    total = np.concatenate([total, np.zeros(len(tokens) - len(total), np.uint64)])
    begun = np.ones(len(tokens), bool)  # whether a run begins here and ends in its own text
    filled = np.flatnonzero(sizes)
    behind = starts[filled + 1][:, None] - np.arange(1, words)
    begun[np.maximum(behind, starts[filled][:, None])] = False
    begun[starts[short]] = True
    total[starts[short]] = whole
    counts = np.where(sizes < words, sizes > 0, sizes - words + 1)
    return Hashes(_mixed(total[begun]), np.concatenate([[0], np.cumsum(counts)]))


def _mixed(values: U64) -> U64:
    """SplitMix64's finaliser (Steele et al. 2014): every bit of the value moves every bit of the hash."""
    for shift, factor in ((30, MIXERS[0]), (27, MIXERS[1])):
        values = (values ^ (values >> np.uint64(shift))) * factor
    mixed: U64 = values ^ (values >> np.uint64(31))
    return mixed


_ASCII_WORDS = bytes(at < 0x80 and chr(at).isalnum() for at in range(256))


def _with_other_letters(raw: NDArray[np.uint8], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Marks the bytes of letters beyond ASCII too; curly quotes and dashes are no letters."""
    inside = inside.copy()
    for size, low, high, bits in ((2, 0xC0, 0xE0, 0x1F), (3, 0xE0, 0xF0, 0x0F), (4, 0xF0, 0xF8, 0x07)):
        leads = np.flatnonzero((raw >= low) & (raw < high))
        points = (raw[leads] & bits).astype(np.int64)
        for at in range(1, size):
            points = (points << 6) | (raw[leads + at] & 0x3F)
        kinds, of_kind = np.unique(points, return_inverse=True)
        letters = leads[np.fromiter(map(_is_letter, kinds.tolist()), np.bool_)[of_kind]]
        for at in range(size):
            inside[letters + at] = True
    return inside


@cache
def _is_letter(point: int) -> bool:
    """Whether a code point is of a word: a letter, a mark upon one, or a digit."""
    return unicodedata.category(chr(point))[0] in "LMN"


@cache
def _powers(n: int) -> tuple[U64, U64]:
    """The first n powers of the base and of its inverse, modulo 2^64."""
    made = []
    for base in (LETTER, np.uint64(pow(int(LETTER), -1, 1 << 64))):
        factors = np.full(n, base)
        factors[0] = 1
        made.append(np.cumprod(factors, dtype=np.uint64))
    return made[0], made[1]


# Sketches and what they bring together


def sketches(texts: Iterable[str]) -> U32:
    """R-MinHash of each text, (text, 128)."""
    from rensa import RMinHash

    parts = [np.zeros((0, PERMUTATIONS), np.uint32)]
    for batch in batches(texts):
        found = grams(hashed_words(batch), WORDS)
        made = RMinHash.digest_matrix_from_flat_token_hashes(found.hashes, found.starts.astype(np.uint64),
                                                             PERMUTATIONS, SEED)
        parts.append(np.fromiter(chain.from_iterable(made.to_rows()), np.uint32).reshape(-1, PERMUTATIONS))
    return np.concatenate(parts)


def _candidates(sketch: U32, jaccard: float) -> tuple[I64, list[list[int]]]:
    """(pair, 2) of places, later before earlier, that share a band and may reach the limit; buckets above the cap.

    In a bucket above the cap each member meets the first one and the one before it alone: time grows as rows do.
    """
    n = len(sketch)
    found, crowded = [np.zeros(0, np.int64)], []
    bands, rows = _bands_for(jaccard)
    for band in range(bands):
        for members in _buckets(sketch[:, band * rows : (band + 1) * rows]):
            size = members.shape[1]
            if size <= BUCKET_CAP:
                one, other = np.triu_indices(size, 1)
            else:
                crowded += members.tolist()
                one = np.concatenate([np.zeros(size - 1, np.int64), np.arange(size - 2) + 1])
                other = np.concatenate([np.arange(size - 1) + 1, np.arange(size - 2) + 2])
            # Members stand in the order of places, so the first of two is the earlier.
            keys = members[:, other].ravel() * n + members[:, one].ravel()
            found.append(keys[_likely(sketch, keys, jaccard - UNLIKELY)])
    keys = np.unique(np.concatenate(found))
    return np.stack([keys // max(n, 1), keys % max(n, 1)], axis=1), crowded


def _bands_for(jaccard: float) -> tuple[int, int]:
    """(bands, rows): 25 of 5 find a pair at .8 with probability .9999, 42 of 3 one at .5 with .996."""
    return (25, 5) if jaccard >= 0.75 else (42, 3)


def _buckets(values: U32) -> Iterator[I64]:
    """Buckets of two members or more, those of a size together: (bucket, member), members in order."""
    keys = np.zeros(len(values), np.uint64)
    for column in values.T:
        keys = keys * WORD + column
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.concatenate([begins, [len(keys)]]))
    for size in np.unique(sizes[sizes > 1]):
        yield order[begins[sizes == size][:, None] + np.arange(size)]


def _likely(sketch: U32, keys: I64, least: float) -> NDArray[np.bool_]:
    """Whether the sketches of each pair agree as often as that."""
    flags = np.zeros(len(keys), bool)
    for start in range(0, len(keys), PAIRS_AT_ONCE):
        later, earlier = np.divmod(keys[start : start + PAIRS_AT_ONCE], len(sketch))
        flags[start : start + PAIRS_AT_ONCE] = (sketch[later] == sketch[earlier]).mean(axis=1) >= least
    return flags


def _by_later(pairs: I64, sets: "_Sets") -> Iterator[tuple[int, list[int]]]:
    """Each place with the earlier ones that it may repeat; their sets are made many at a time."""
    for start in range(0, len(pairs), PAIRS_AT_ONCE):
        sets.make(pairs[start : start + PAIRS_AT_ONCE])
        for later, some in groupby(pairs[start : start + PAIRS_AT_ONCE].tolist(), key=lambda pair: pair[0]):
            yield later, [earlier for _, earlier in some]


class _Sets:
    """Shingles of dialogues, made when they are wanted and forgotten when they are too many."""

    def __init__(self, text_at: Callable[[int], str]) -> None:
        self._text_at = text_at
        self._known: dict[int, U64] = {}

    def make(self, pairs: I64) -> None:
        """Have the sets of these places."""
        wanted = np.unique(pairs).tolist()
        if len(self._known) > SETS_AT_ONCE:
            self._known.clear()
        new = [place for place in wanted if place not in self._known]
        self._known.update(zip(new, shingles(map(self._text_at, new)), strict=True))

    def jaccard(self, one: int, other: int) -> float:
        """How alike two dialogues are, exactly."""
        return exact_jaccard(self._of(one), self._of(other))

    def _of(self, place: int) -> U64:
        if place not in self._known:
            (self._known[place],) = shingles([self._text_at(place)])
        return self._known[place]
