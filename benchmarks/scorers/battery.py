"""How long the whole battery takes over 1,000 replies: ``python benchmarks/scorers/battery.py [--replies N]``.

Replies are the assistant's turns of the project's own dialogues, each with what was said before it. Every scorer of
params.yaml is timed alone, in the declared order and in one process, so that scorers which ask the same classifier
share its answers as they do in the pipeline; loading is counted. Peak memory is the process's own. Nothing that was
said is printed.
"""

import argparse
import json
import resource
import time
from itertools import pairwise
from pathlib import Path

from attunement.params import load
from attunement.records import Turn, content_id
from attunement.scorers.base import Item

SOURCES = Path("data/sources/attunement")


def replies(n: int) -> list[Item]:
    """The first n replies by id, each with its whole context."""
    found = []
    for path in sorted(SOURCES.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            turns = [Turn(role=one["role"], text=one["content"]) for one in row["messages"]]
            found += [Item(id=content_id([one.text for one in turns[: at + 2]]), context=tuple(turns[: at + 1]),
                           reply=after.text, locale=row.get("locale", "und"))
                      for at, (before, after) in enumerate(pairwise(turns)) if after.role == "assistant" and before]
    return sorted(found, key=lambda item: item.id)[:n]


def main() -> None:
    """Time every declared scorer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replies", type=int, default=1000)
    n = parser.parse_args().replies
    items = replies(n)
    started, scorers = time.perf_counter(), load().score.scorers
    print(f"{'scorer':32}{'s':>8}{'items/s':>10}{'unscored':>10}")
    for scorer in scorers:
        before = time.perf_counter()
        unscored = sum(one.value is None for one in scorer.score(items))
        spent = time.perf_counter() - before
        print(f"{scorer.name:32}{spent:8.1f}{len(items) / spent:10.0f}{unscored:10}")
    total = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{len(scorers)} scorers over {len(items)} replies: {total:.1f} s; peak memory {peak:.2f} GB")


if __name__ == "__main__":
    main()
