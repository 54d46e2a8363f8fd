"""Two versions of a dataset beside each other: what came, went, moved, and how the whole shifted.

In: two folders that stage curate published. Out: ids, counts and means; no words.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from attunement.artefacts import read_parquet
from attunement.records import Dialogue
from attunement.splits import SPLITS

SHOWN_TAGS = ("risk", "topic", "style", "tier")


@dataclass(frozen=True)
class Comparison:
    """What differs. Composition holds, by what is counted and its values, the numbers in both."""

    sizes: tuple[int, int]
    both: int
    only_first: list[str]
    only_second: list[str]
    moved: dict[str, tuple[str, str]]
    changed: list[str]
    composition: dict[str, dict[str, tuple[int, int]]]
    scores: dict[str, tuple[tuple[float, int] | None, tuple[float, int] | None]]

    def plain(self) -> dict[str, object]:
        """As JSON holds it."""
        return dict(vars(self))


def compare(first: Path, second: Path) -> Comparison:
    """Read both and compare; raises DataError for a folder that is none."""
    (one, where), (other, there) = _read(first), _read(second)
    shared = sorted(one.keys() & other.keys())
    return Comparison(
        sizes=(len(one), len(other)), both=len(shared), only_first=sorted(one.keys() - other.keys()),
        only_second=sorted(other.keys() - one.keys()),
        moved={key: (where[key], there[key]) for key in shared if where[key] != there[key]},
        changed=[key for key in shared if one[key].turns != other[key].turns],
        composition=_composition(one, where, other, there), scores=_scores(one, other),
    )


def _read(folder: Path) -> tuple[dict[str, Dialogue], dict[str, str]]:
    dialogues, where = {}, {}
    for split in SPLITS:
        for one in read_parquet(folder / f"{split}.parquet", Dialogue):
            dialogues[one.id], where[one.id] = one, split
    return dialogues, where


def _composition(one: dict[str, Dialogue], where: dict[str, str], other: dict[str, Dialogue], there: dict[str, str]
                 ) -> dict[str, dict[str, tuple[int, int]]]:
    def counted(dialogues: dict[str, Dialogue], splits: dict[str, str]) -> dict[str, Counter[str]]:
        found = {"split": Counter(splits.values()), "source": Counter(d.source for d in dialogues.values()),
                 "locale": Counter(d.locale for d in dialogues.values())}
        for tag in SHOWN_TAGS:
            found[tag] = Counter(d.tags.get(tag, "") for d in dialogues.values())
        return found

    before, after = counted(one, where), counted(other, there)
    return {name: {value: (before[name][value], after[name][value])
                   for value in sorted(before[name].keys() | after[name].keys())} for name in before}


def _scores(one: dict[str, Dialogue], other: dict[str, Dialogue]
            ) -> dict[str, tuple[tuple[float, int] | None, tuple[float, int] | None]]:
    def means(dialogues: dict[str, Dialogue]) -> dict[str, tuple[float, int]]:
        values: dict[str, list[float]] = {}
        for dialogue in dialogues.values():
            for name, value in dialogue.scores.items():
                if value is not None:
                    values.setdefault(name, []).append(value)
        return {name: (sum(found) / len(found), len(found)) for name, found in values.items()}

    before, after = means(one), means(other)
    return {name: (before.get(name), after.get(name)) for name in sorted(before.keys() | after.keys())}
