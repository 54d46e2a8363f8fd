"""Two versions of a dataset beside each other: what came, went, moved, and how the whole shifted.

In: two folders that stage curate published. Out: ids, counts, shares, means and quantiles; no words. A dialogue is the
same in both when it was read with the same words; it is changed when curation left other words of it. Texts are held
against each other as hashes, a row group at a time, so that a large corpus is never whole in memory.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from attunement import ledger
from attunement.errors import DataError
from attunement.splits import SPLITS

if TYPE_CHECKING:
    import numpy
    import pyarrow

TAGS = ("risk", "topic", "style", "tier")
COLUMNS = ("id", "source", "locale", "turns", "tags", "scores")
NO_TAG = "not tagged"


class Shown(NamedTuple):
    """What is compared of one dialogue."""

    split: str
    source: str
    locale: str
    tags: dict[str, str]
    scores: dict[str, float | None]
    digest: bytes
    n_turns: int
    n_words: int  # of the assistant's turns


class Spread(NamedTuple):
    """A quantity over the dialogues of one version; ``unscored`` are in none of the others."""

    n: int
    unscored: int
    mean: float
    median: float
    p95: float


class Rewritten(NamedTuple):
    """A place of a source file at which other words stand now: the ids before and after."""

    place: str
    before: str
    after: str


@dataclass(frozen=True)
class Comparison:
    """What differs. Pairs are (first, second). ``composition``: by what is counted and its values, numbers in both.

    ``decided`` and ``rewritten`` are None where a version has no ledger.
    """

    sizes: tuple[int, int]
    both: int
    only_first: list[str]
    only_second: list[str]
    moved: dict[str, tuple[str, str]]
    changed: list[str]
    rewritten: list[Rewritten] | None
    composition: dict[str, dict[str, tuple[int, int]]]
    lengths: dict[str, tuple[Spread | None, Spread | None]]
    scores: dict[str, tuple[Spread | None, Spread | None]]
    decided: list[ledger.Change] | None

    def plain(self) -> dict[str, object]:
        """As JSON holds it; of decisions the numbers by what was and is decided, and their ids."""
        decided = None if self.decided is None else [
            {"before": before, "after": after, "ids": [one.id for one in rows]}
            for (before, after), rows in ledger.by_fate(self.decided).items()]
        return {**vars(self), "decided": decided,
                "rewritten": None if self.rewritten is None else [one._asdict() for one in self.rewritten],
                **{name: {key: [None if one is None else one._asdict() for one in pair]
                          for key, pair in getattr(self, name).items()} for name in ("lengths", "scores")}}


def compare(first: Path, second: Path) -> Comparison:
    """Read both and compare; raises DataError for a folder that holds no dataset."""
    one, other = _read(first), _read(second)
    ledgers = [ledger.read(folder) for folder in (first, second) if (folder / "ledger.parquet").exists()]
    shared = sorted(one.keys() & other.keys())
    return Comparison(
        sizes=(len(one), len(other)), both=len(shared), only_first=sorted(one.keys() - other.keys()),
        only_second=sorted(other.keys() - one.keys()),
        moved={key: (one[key].split, other[key].split) for key in shared if one[key].split != other[key].split},
        changed=[key for key in shared if one[key].digest != other[key].digest],
        rewritten=_rewritten(*ledgers) if len(ledgers) == 2 else None,
        composition=_composition(one.values(), other.values()), lengths=_lengths(one.values(), other.values()),
        scores=_scores(one.values(), other.values()),
        decided=ledger.changes(*ledgers) if len(ledgers) == 2 else None,
    )


def _read(folder: Path) -> dict[str, Shown]:
    """Every dialogue by id."""
    found: dict[str, Shown] = {}
    for split in SPLITS:
        for batch in _batches(folder / f"{split}.parquet"):
            for key, shown in _shown(batch, split):
                if key in found:
                    raise DataError(f"{folder}: dialogue {key} stands there twice (in {found[key].split} and {split}). "
                                    "Run `dvc repro curate` again.")
                found[key] = shown
    return found


def _batches(path: Path) -> "Iterable[pyarrow.RecordBatch]":
    from pyarrow import ArrowInvalid, parquet

    if not path.is_file():
        raise DataError(f"{path} is missing: expected a folder that stage curate published, with "
                        f"{', '.join(f'{name}.parquet' for name in SPLITS)}.")
    try:
        file = parquet.ParquetFile(path)
    except ArrowInvalid:
        raise DataError(f"{path} is no Parquet file. Run `dvc repro curate` again.") from None
    if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
        raise DataError(f"{path} has no column {', '.join(missing)}: it holds no dialogues of stage curate.")
    return file.iter_batches(batch_size=2000, columns=list(COLUMNS))  # type: ignore[no-any-return]  # pyarrow is untyped


def _shown(batch: "pyarrow.RecordBatch", split: str) -> Iterable[tuple[str, Shown]]:
    import numpy as np
    import pyarrow as pa
    from pyarrow import compute as pc

    turns = batch.column("turns")
    flat, starts = turns.flatten(), turns.offsets.to_numpy() - turns.offsets[0].as_py()
    role, text = flat.field("role"), flat.field("text")
    said = pc.binary_join(pa.ListArray.from_arrays(pa.array(starts), pc.binary_join_element_wise(role, text, "\x1f")),
                          "\x1e")
    words = np.where(pc.equal(role, "assistant").to_numpy(zero_copy_only=False),
                     _n_words(text), 0)
    before = np.concatenate([[0], np.cumsum(words)])
    tags = msgspec.json.Decoder(dict[str, str])
    scores = msgspec.json.Decoder(dict[str, float | None])
    columns = [batch.column(name).to_pylist() for name in ("id", "source", "locale", "tags", "scores")]
    for at, (key, source, locale, tag, score, whole) in enumerate(
            zip(*columns, said.cast(pa.binary()).to_pylist(), strict=True)):
        yield key, Shown(split, source, locale, tags.decode(tag), scores.decode(score),
                         hashlib.blake2b(whole, digest_size=16).digest(), int(starts[at + 1] - starts[at]),
                         int(before[starts[at + 1]] - before[starts[at]]))


def _n_words(text: "pyarrow.StringArray") -> "numpy.ndarray[Any, Any]":
    """Words between ASCII white space, of each text: a count over the bytes is ten times as fast as a pattern."""
    import numpy as np

    _, offsets, data = text.buffers()
    if not len(text) or data is None:
        return np.zeros(len(text), np.int64)
    ends = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    blank = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] <= ord(" ")
    ends -= ends[0]
    begins = ~blank
    begins[1:] &= blank[:-1]
    starts = ends[:-1][np.diff(ends) > 0]
    begins[starts] = ~blank[starts]  # whatever the text before it ended with
    words: numpy.ndarray[Any, Any] = np.diff(np.searchsorted(np.flatnonzero(begins), ends))
    return words


def _rewritten(before: "pyarrow.Table", after: "pyarrow.Table") -> list[Rewritten]:
    """Places whose row is in neither version under the other's id: lines that merely moved down are none."""
    old, new = _places(before), _places(after)
    known, now = set(old.values()), set(new.values())
    return [Rewritten(f"{file}:{line}", old[source, file, line], new[source, file, line])
            for source, file, line in sorted(old.keys() & new.keys())
            if (key := old[source, file, line]) != (other := new[source, file, line])
            and key not in now and other not in known]


def _places(table: "pyarrow.Table") -> dict[tuple[str, str, int], str]:
    from pyarrow import compute as pc

    first = table.filter(pc.equal(table["seq"], 0))
    source, file, line, key = (first[name].to_pylist() for name in ("source", "file", "line", "id"))
    return dict(zip(zip(source, file, line, strict=True), key, strict=True))


def _composition(one: Collection[Shown], other: Collection[Shown]) -> dict[str, dict[str, tuple[int, int]]]:
    def by_tag(name: str) -> Callable[[Shown], str]:
        return lambda shown: shown.tags.get(name, NO_TAG)

    counted: dict[str, Callable[[Shown], str]] = {
        "split": lambda shown: shown.split, "source": lambda shown: shown.source, "locale": lambda shown: shown.locale,
        **{name: by_tag(name) for name in TAGS}}
    composed = {}
    for name, value_of in counted.items():
        before, after = Counter(map(value_of, one)), Counter(map(value_of, other))
        composed[name] = {value: (before[value], after[value]) for value in sorted(before.keys() | after.keys())}
    return composed


def _lengths(one: Collection[Shown], other: Collection[Shown]) -> dict[str, tuple[Spread | None, Spread | None]]:
    def spreads(dialogues: Iterable[Shown]) -> tuple[Spread | None, Spread | None]:
        turns, words = [], []
        for shown in dialogues:
            turns.append(float(shown.n_turns))
            words.append(float(shown.n_words))
        return spread(turns), spread(words)

    before, after = spreads(one), spreads(other)
    return {"turns": (before[0], after[0]), "words of the assistant": (before[1], after[1])}


def _scores(one: Collection[Shown], other: Collection[Shown]) -> dict[str, tuple[Spread | None, Spread | None]]:
    def values(dialogues: Iterable[Shown]) -> dict[str, list[float | None]]:
        found: dict[str, list[float | None]] = {}
        for shown in dialogues:
            for name, value in shown.scores.items():
                found.setdefault(name, []).append(value)
        return found

    before, after = values(one), values(other)
    return {name: (spread(before.get(name, [])), spread(after.get(name, [])))
            for name in sorted(before.keys() | after.keys())}


def spread(values: Sequence[float | None]) -> Spread | None:
    """Mean, median and 95th percentile of what is known; None where nothing is."""
    import numpy as np

    known = np.array([value for value in values if value is not None])
    if not len(known):
        return None
    median, p95 = np.quantile(known, [0.5, 0.95])
    return Spread(len(known), len(values) - len(known), float(known.mean()), float(median), float(p95))


def shift(values: Mapping[str, tuple[int, int]], sizes: tuple[int, int]) -> float:
    """The share of dialogues that would have to change their value for both compositions to be alike, 0 to 1."""
    a, b = (max(1, size) for size in sizes)
    return sum(abs(before / a - after / b) for before, after in values.values()) / 2
