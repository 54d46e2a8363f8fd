"""What curation costs without models: seconds by step, cpu-seconds, peak memory, rows a second.

``python benchmarks/curation/generate.py --dialogues 25000 --to FILE.jsonl --seed 1``, then
``python benchmarks/curation/speed.py FILE.jsonl``. Ledger and Parquet files are written; steps that ask a scorer are
left out.
"""

import argparse
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from attunement import curate as stage
from attunement import leaks
from attunement.drafts import draft_of
from attunement.params import Curate
from attunement.process import without_collector
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.steps.asking import Work
from attunement.steps.order import after_steps
from corpus import declared_over


def cpu_s() -> float:
    """Of this process and of workers that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


class Clock:
    """Prints what passed since the last time it was asked."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), cpu_s()
        self.first = self.wall

    def told(self, what: str) -> None:
        wall, cpu = time.perf_counter(), cpu_s()
        print(f"| {what} | {wall - self.wall:.1f} | {cpu - self.cpu:.1f} |", flush=True)
        self.wall, self.cpu = wall, cpu


def step_by_step(params: Curate, work: Work, clock: Clock) -> stage.Curated:
    """As `stage.curate`, told of after every step."""
    (source,) = params.sources
    with without_collector():
        drafts = [draft_of(row, source=source.name, licence=source.licence) for row in source.read()]
    clock.told(f"read {len(drafts)} rows")
    for step in params.steps:
        drafts = after_steps((step,), drafts, work)
        clock.told(step.name)
    fit = sorted((draft for draft in drafts if not draft.out), key=lambda draft: draft.id)
    limits = stage.limits_of(params)
    held = leaks.cut(fit, limits, work, val_frac=params.val_frac, test_frac=params.test_frac)
    leaks.check_leaks(held, limits)
    clock.told(f"split {len(fit)}, and looked for leaks")
    return replace(stage.finished(drafts, fit), held=held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    params = declared_over(arguments.file)
    engine = Engine(runner="local", workers=arguments.workers, batch_dialogues=params.engine.batch_dialogues)
    clock = Clock()
    print("| step | wall s | cpu s |\n| --- | --- | --- |")
    with TemporaryDirectory() as folder:
        with running(engine) as runner:
            work = Work(runner, ScoreCache(None))
            if arguments.workers == 1:
                done = step_by_step(params, work, clock)
            else:
                done = stage.curate(params, ((source, row) for source in params.sources for row in source.read()), work)
        if arguments.workers > 1:
            clock.told("read, steps and split")
        stage.publish(done, params, None, Path(folder) / "out")
        clock.told(f"write, {len(done.ledger)} ledger rows")
    total = time.perf_counter() - clock.first
    peak, most = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    others = f" and {most:.0f} MB in the largest worker" if arguments.workers > 1 else ""
    print(f"\nin all {total:.1f} s, {len(done.drafts) / total:.0f} dialogues/s, peak {peak:.0f} MB{others}, "
          f"workers {arguments.workers}")


if __name__ == "__main__":
    main()
