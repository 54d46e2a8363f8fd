"""What curation costs without models: seconds by step, cpu-seconds, peak memory, rows a second.

``python benchmarks/curation/generate.py --dialogues 25000 --to FILE.jsonl --seed 1``, then
``python benchmarks/curation/speed.py FILE.jsonl``. Ledger and Parquet files are written; steps that ask a scorer are
left out.
"""

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from attunement import curate as stage
from attunement.drafts import draft_of
from attunement.process import without_collector
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.splits import split
from attunement.steps.asking import Work
from attunement.steps.order import after_steps
from corpus import declared_over


class Clock:
    """Prints what passed since the last time it was asked."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.first = self.wall

    def told(self, what: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        print(f"| {what} | {wall - self.wall:.1f} | {cpu - self.cpu:.1f} |", flush=True)
        self.wall, self.cpu = wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    params = declared_over(arguments.file)
    (source,) = params.sources
    engine = Engine(runner="local", workers=arguments.workers, batch_dialogues=params.engine.batch_dialogues)
    clock = Clock()
    print("| step | wall s | cpu s |\n| --- | --- | --- |")
    with running(engine) as runner, TemporaryDirectory() as folder:
        work = Work(runner, ScoreCache(None))
        with without_collector():
            drafts = [draft_of(row, source=source.name, licence=source.licence) for row in source.read()]
        clock.told(f"read {len(drafts)} rows")
        for step in params.steps:
            drafts = after_steps((step,), drafts, work)
            clock.told(step.name)
        fit = sorted((draft for draft in drafts if not draft.out), key=lambda draft: draft.id)
        split(fit, val_frac=params.val_frac, test_frac=params.test_frac, group_jaccard=params.group_jaccard)
        clock.told(f"split {len(fit)}")
        done = stage.finished(drafts, fit)
        stage.publish(done, params, None, Path(folder) / "out")
        clock.told(f"write, {len(done.ledger)} ledger rows")
    total = time.perf_counter() - clock.first
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nin all {total:.1f} s, {len(drafts) / total:.0f} dialogues/s, peak {peak:.0f} MB, "
          f"workers {arguments.workers}")


if __name__ == "__main__":
    main()
