"""Planted copies found, and others left alone: ``python benchmarks/curation/near_duplicates.py FILE.jsonl``.

FILE and its truth are made by generate.py. Recall is over planted pairs at or above the limit; every dialogue that is
dropped as near is compared with the kept one again, the plain way (sets of tuples of words). Time and memory are those
of the step, reading not counted, and of grouping at .5 and of decontamination beside it.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

from generate import jaccard, truth_of

from attunement.drafts import Draft, draft_of
from attunement.near_duplicates import Texts, clusters
from attunement.sources.messages import Messages
from attunement.steps.decontaminate import DecontaminateStep
from attunement.steps.duplicates import DuplicatesStep

LIMIT = 0.8


def drafts_of(corpus: Path) -> list[Draft]:
    """The corpus as curation reads it."""
    source = Messages(kind="messages", name="generated", files=corpus.as_posix(), licence="CC0-1.0", consent="made up")
    return [draft_of(row, source="generated", licence="CC0-1.0") for row in source.read()]


def timed(name: str, work: Callable[[], object]) -> None:
    """Run and print wall seconds, cpu seconds, and by how much the peak of memory grew."""
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    work()
    print(f"| {name} | {time.perf_counter() - wall:.1f} | {time.process_time() - cpu:.1f} | "
          f"{peak_mb() - before:.0f} | {peak_mb():.0f} |")


def peak_mb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def figures(drafts: list[Draft], corpus: Path) -> dict[str, str]:
    """Recall of planted copies, and how many were dropped that are less alike than the limit says."""
    by_line = {draft.line: draft for draft in drafts}
    by_id = {draft.id: draft for draft in drafts}
    planted = [json.loads(line) for line in truth_of(corpus).read_text(encoding="utf-8").splitlines()]
    pairs = [flaw for flaw in planted if "of" in flaw]
    found = {(by_line[flaw["line"]].id, by_line[flaw["of"]].id): flaw["jaccard"] for flaw in pairs}
    near = [draft for draft in drafts if draft.out and draft.notes[-1].rule == "near_duplicate"]
    exact = [draft for draft in drafts if draft.out and draft.notes[-1].rule == "exact_duplicate"]
    dropped = {frozenset((draft.id, str(draft.notes[-1].ref))) for draft in (*near, *exact)}
    above = [frozenset(pair) for pair, index in found.items() if index >= LIMIT]
    n_found = sum(pair in dropped for pair in above)
    n_false = sum(jaccard(said(draft), said(by_id[str(draft.notes[-1].ref)])) < LIMIT for draft in near)
    return {"dialogues": f"{len(drafts)}", "dropped as exact / near": f"{len(exact)} / {len(near)}",
            f"recall at J >= {LIMIT}": f"{n_found} of {len(above)} ({n_found / max(1, len(above)):.4f})",
            f"dropped below {LIMIT}": f"{n_false} (planted there: {len(pairs) - len(above)})"}


def said(draft: Draft) -> list[str]:
    """What is said in it, turn after turn."""
    return [turn.text for turn in draft.turns]


def main() -> None:
    """Print a table of costs and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    corpus = parser.parse_args().corpus
    drafts = drafts_of(corpus)
    print("| step | wall s | cpu s | peak grew by MB | peak MB |\n|---|---|---|---|---|")
    timed("duplicates", lambda: DuplicatesStep(kind="duplicates", jaccard=LIMIT).each(drafts))
    left = [draft for draft in drafts if not draft.out]
    timed("groups at .5", lambda: clusters([one.id for one in left], Texts([one.turns for one in left]), jaccard=0.5))
    timed("decontaminate", lambda: DecontaminateStep(kind="decontaminate").each(left))
    for name, value in figures(drafts, corpus).items():
        print(f"- {name}: {value}")


if __name__ == "__main__":
    main()
