"""Where a paraphrase ends and a shared topic begins: ``python benchmarks/curation/semantic.py``.

Positives are paraphrases.jsonl: for 44 items of suites and tasks, drawn at random, a short dialogue whose user says the
same in other words (``of`` names the item). Each is compared as it stands, and once more with its first exchange before
the later turns of another dialogue, drawn with a seed. Negatives are our own dialogues, written apart from the suites:
what is dropped of them shares a topic, or a line that two people may well say. The texts and vectors are those of the
step; last, pairs of our own dialogues, of which none was written to repeat another.
"""

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attunement.embed import Vectors, embedded, nearest, pairs, told
from attunement.records import Turn
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.stats import rate_interval
from attunement.steps.asking import Work
from attunement.steps.decontaminate import Asked
from attunement.steps.semantic import SemanticStep, shown

LIMITS = (0.6, 0.65, 0.675, 0.7, 0.725, 0.75, 0.775, 0.8)
PARAPHRASES = Path(__file__).with_name("paraphrases.jsonl")
OWN = Path("data/sources/attunement")
SEED = 5

Turns = tuple[Turn, ...]


def alternating(texts: Sequence[str]) -> Turns:
    """Turns of user and assistant."""
    return tuple(Turn(role="assistant" if at % 2 else "user", text=text) for at, text in enumerate(texts))


def own_dialogues() -> list[Turns]:
    """Our own corpus as it is written."""
    rows = [json.loads(line) for path in sorted(OWN.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [tuple(Turn(role=one["role"], text=one["content"]) for one in row["messages"]) for row in rows]


def best(dialogues: Sequence[Turns], items: Sequence[Asked], known: Vectors, work: Work) -> NDArray[np.float64]:
    """Of each dialogue the largest cosine to the items' texts; 0 where it is too short to be compared."""
    texts = [(at, text) for at, turns in enumerate(dialogues) for text in told(turns)]
    found = np.zeros(len(dialogues))
    for near in nearest(embedded([text for _, text in texts], work), known):
        at = texts[near.one][0]
        found[at] = max(found[at], near.likeness)
    return found


def share(k: int, n: int) -> str:
    """A share as counts, with its exact 95% interval."""
    found = rate_interval(k, n, confidence=0.95)
    return f"{k} of {n}" if found is None else f"{k} of {n} ({k / n:.1%}; {found.low:.1%} to {found.high:.1%})"


def of_evaluations(own: Sequence[Turns], work: Work) -> None:
    """A table by limit: paraphrases found, alone and before another talk, and our own dialogues dropped."""
    items = sorted({one for path in SemanticStep(kind="semantic", min_similarity=None).data_files()
                    for one in shown(path)})
    known = embedded([one.text for one in items], work)
    rows = [json.loads(line) for line in PARAPHRASES.read_text("utf-8").splitlines()]
    rng = random.Random(SEED)
    alone = [alternating(row["turns"]) for row in rows]
    longer = [(*turns[:2], *rng.choice(own)[2:]) for turns in alone]
    found = []
    for made in (alone, longer):
        values = [best([turns], items, known[[at for at, one in enumerate(items) if one.item == row["of"]]], work)[0]
                  for row, turns in zip(rows, made, strict=True)]
        found.append(np.array(values))
    negatives = best(own, items, known, work)
    print("| limit | paraphrases found | before another talk | own dialogues dropped |\n|---|---|---|---|")
    for limit in LIMITS:
        counts = [share(int((values >= limit).sum()), len(values)) for values in (*found, negatives)]
        print(f"| {limit} | {' | '.join(counts)} |")
    medians = [f"{np.median(values):.2f}" for values in (*found, negatives)]
    print(f"\n{len(items)} texts of evaluations; median cosine {', '.join(medians)}.\n")


def of_our_own(own: Sequence[Turns], work: Work) -> None:
    """A table by limit: pairs of our own dialogues, by all that the user says, and by that or the opening."""
    texts = [(at, number, text) for at, turns in enumerate(own) for number, text in enumerate(told(turns))]
    near = list(pairs(embedded([text for *_, text in texts], work), min(LIMITS)))
    print("| limit | pairs by all that the user says | pairs by that or the opening |\n|---|---|---|")
    for limit in LIMITS:
        alike = [(texts[one.one], texts[one.other]) for one in near if one.likeness >= limit]
        either = {(a[0], b[0]) for a, b in alike if a[0] != b[0]}
        whole = {(a[0], b[0]) for a, b in alike if a[0] != b[0] and a[1] == b[1] == 0}
        print(f"| {limit} | {len(whole)} | {len(either)} |")
    compared = len({at for at, *_ in texts})
    print(f"\n{compared} of {len(own)} dialogues are long enough to be compared.")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path(".cache/scores.sqlite"), help="where vectors are kept")
    cache = ScoreCache(parser.parse_args().cache)
    own = own_dialogues()
    with running(Engine(runner="local", workers=1, batch_dialogues=1000)) as runner:
        work = Work(runner, cache)
        of_evaluations(own, work)
        of_our_own(own, work)


if __name__ == "__main__":
    main()
