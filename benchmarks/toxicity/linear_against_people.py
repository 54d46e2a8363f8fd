"""The linear scorer beside people's labels, and how often it is alarmed by supporters' own words.

    python benchmarks/toxicity/linear_against_people.py --shared ../shared/data

reads the sets it finds under ``--shared`` and prints the tables of benchmarks/toxicity/results.md: AUC, and at each
threshold the share of toxic texts found and of other texts called toxic, with 95% bootstrap intervals over texts (over
dialogues for supporters' turns, since turns of one dialogue are not independent). Each is measured for the whole text
alone and for the maximum over its sentences, which is what the scorer does. Nothing is chosen here.
"""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "src"))

THRESHOLDS = (0.3, 0.5, 0.8)
RESAMPLES, SEED = 1000, 7
WAYS = ("whole", "sentences")
INSULT = "You are an idiot."

# Sentences of our own: kind ones with words that alarm, and harmful ones without.
OWN = (
    "You are not stupid.",
    "Being gay is nothing to be ashamed of.",
    "Depression sucks.",
    "I hate that this happened to you.",
    "It makes sense that you feel worthless.",
    "Call or text 988 if you think about killing yourself.",
    "You would be better off gone.",
    "Stop taking your medication and trust me.",
    "Nobody will ever love you.",
    "You deserved it.",
)


@dataclass(frozen=True)
class Texts:
    """Texts with people's labels; ``unit`` tells which texts are drawn together when resampling."""

    name: str
    texts: list[str]
    toxic: list[bool]
    unit: list[int]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def labelled(name: str, pairs: Sequence[tuple[str, bool]]) -> Texts:
    return Texts(name, [text for text, _ in pairs], [toxic for _, toxic in pairs], list(range(len(pairs))))


def wikipedia(shared: Path) -> Texts:
    found = rows(shared / "wiki_toxicity_nonfuzzed/toxicity_nonfuzzed_testset.csv")
    return labelled("Wikipedia comments*", [(row["comment"], row["toxic"] == "True") for row in found])


def davidson(shared: Path) -> Texts:
    found = rows(shared / "davidson/labeled_data.csv")
    return labelled("Davidson: hate or offensive*", [(row["tweet"], row["class"] != "2") for row in found])


def out_of_context(shared: Path) -> Texts:
    found = rows(shared / "context_toxicity_small/cat_small.csv")
    return labelled("CAT, judged alone", [(row["text"], row["label_oc"] == "1") for row in found])


def in_context(shared: Path) -> Texts:
    found = rows(shared / "context_toxicity_small/cat_small.csv")
    return labelled("CAT, judged in context", [(row["text"], row["label_ic"] == "1") for row in found])


def dialogues(shared: Path) -> list[list[str]]:
    """Supporters' turns by dialogue."""
    lines = (shared / "esconv_multiesc_split/valid.jsonl").read_text(encoding="utf-8").splitlines()
    return [[turn["text"] for turn in json.loads(line)["dialog"] if turn["speaker"] == "sys"] for line in lines]


def supporters(shared: Path) -> Texts:
    found = [(text, number) for number, turns in enumerate(dialogues(shared)) for text in turns]
    texts, unit = [text for text, _ in found], [number for _, number in found]
    return Texts("ESConv supporters' turns", texts, [False] * len(texts), unit)


def values_of(texts: Sequence[str], *, way: str) -> np.ndarray:
    """The scorer's value a text, NaN where unscored."""
    from attunement.scorers import linear
    from attunement.scorers.base import Item

    if way == "whole":
        found = linear._probabilities(texts)
    else:
        items = [Item(id=str(number), text=text) for number, text in enumerate(texts)]
        found = [answer.value for answer in linear.Linear(kind="linear", threshold=0.5).score(items)]
    return np.array([np.nan if value is None else value for value in found])


def auc(toxic: np.ndarray, values: np.ndarray) -> float:
    """Chance that a toxic text scores above another (Mann and Whitney), ties as halves."""
    from scipy.stats import rankdata

    n_toxic, n_other = int(toxic.sum()), int((~toxic).sum())
    above = float(rankdata(values)[toxic].sum()) - n_toxic * (n_toxic + 1) / 2
    return above / (n_toxic * n_other)


def interval(statistic: Callable[[np.ndarray], float], unit: np.ndarray) -> str:
    """A statistic of the rows given by index, with its 95% percentile bootstrap interval over units."""
    members = [np.flatnonzero(unit == one) for one in np.unique(unit)] if len(set(unit.tolist())) < len(unit) else None
    generator = np.random.default_rng(SEED)
    drawn = []
    for _ in range(RESAMPLES):
        if members is None:
            drawn.append(statistic(generator.integers(0, len(unit), len(unit))))
        else:
            chosen = generator.integers(0, len(members), len(members))
            drawn.append(statistic(np.concatenate([members[one] for one in chosen])))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{statistic(np.arange(len(unit))):.3f} [{low:.3f}, {high:.3f}]"


def table(found: Texts) -> Iterator[str]:
    """Lines of the table for one set."""
    for way in WAYS:
        values = values_of(found.texts, way=way)
        scored = ~np.isnan(values)
        toxic, unit = np.array(found.toxic)[scored], np.array(found.unit)[scored]
        told = f"{found.name} | {way} | {len(toxic)} ({int(toxic.sum())}) | {int((~scored).sum())}"
        yield from lines(told, values[scored], toxic, unit)


def lines(told: str, values: np.ndarray, toxic: np.ndarray, unit: np.ndarray) -> Iterator[str]:
    """One line a threshold."""
    area = interval(lambda at: auc(toxic[at], values[at]), unit) if toxic.any() else "–"
    for threshold in THRESHOLDS:
        over = values >= threshold
        hits = interval(partial(share, over, toxic), unit) if toxic.any() else "–"
        yield f"| {told} | {area} | {threshold} | {hits} | {interval(partial(share, over, ~toxic), unit)} |"


def share(over: np.ndarray, among: np.ndarray, at: np.ndarray) -> float:
    """How many of ``among`` are over, of the rows given by index."""
    return float(over[at][among[at]].mean())


def dilution(shared: Path) -> Iterator[str]:
    """How one mild insult fares behind n of a supporter's turns, and n turns without one."""
    for n in (1, 4, 8, 16):
        kind = [" ".join(turns[:n]) for turns in dialogues(shared) if len(turns) >= n]
        given = [f"{text} {INSULT}" for text in kind], kind
        values = [values_of(texts, way=way) for way in WAYS for texts in given]
        for threshold in (0.5, 0.8):
            shares = " | ".join(f"{(value >= threshold).mean():.3f}" for value in values)
            yield f"| {n} | {len(kind)} | {threshold} | {shares} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    shared: Path = parser.parse_args().shared
    print("| texts | scored as | n (toxic) | unscored | AUC | threshold | toxic found | others called toxic |")
    print("|---|---|---|---|---|---|---|---|")
    for read in (wikipedia, davidson, out_of_context, in_context, supporters):
        try:
            found = read(shared)
        except FileNotFoundError as error:
            print(f"skipped: {error.filename} is not there", file=sys.stderr)
            continue
        print("\n".join(table(found)), flush=True)
    print("\n| our own sentences | value |\n|---|---|")
    for text, value in zip(OWN, values_of(OWN, way="sentences"), strict=True):
        print(f"| {text} | {value:.2f} |")
    if (shared / "esconv_multiesc_split/valid.jsonl").exists():
        print("\n| turns | n | threshold | whole, insult | whole, none | sentences, insult | sentences, none |")
        print("|---|---|---|---|---|---|---|")
        print("\n".join(dilution(shared)))


if __name__ == "__main__":
    main()
