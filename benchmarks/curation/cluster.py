"""The same corpus, curated in this process and on a Ray cluster of several nodes that loses a worker: the same bytes.

``python benchmarks/curation/cluster.py FILE.jsonl``: starts a head and two more nodes on this machine
(ray.cluster_utils), runs the cheap steps of params.yaml over the file both ways, kills a worker process in the middle,
and compares the files.
"""

import argparse
import os
import signal
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from attunement import curate as stage
from attunement.artefacts import manifest_of
from attunement.params import Curate
from attunement.runner import Engine, running
from attunement.score_cache import ScoreCache
from attunement.steps.asking import Work
from corpus import declared_over


def curated(params: Curate, engine: Engine, out: Path) -> float:
    """Publish what curation decides; returns the seconds it took."""
    start = time.perf_counter()
    rows = ((source, row) for source in params.sources for row in source.read())
    with running(engine) as runner:
        done = stage.curate(params, rows, Work(runner, ScoreCache(None)))
    stage.publish(done, params, None, out)
    return time.perf_counter() - start


def kill_a_worker(after_s: float, killed: list[int]) -> None:
    """End one of the processes that run tasks, as a machine that goes away would."""
    time.sleep(after_s)
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if line.startswith(b"ray::task"):
                os.kill(int(folder.name), signal.SIGKILL)
                killed.append(int(folder.name))
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--kill-after-s", type=float, default=8.0)
    arguments = parser.parse_args()
    from ray.cluster_utils import Cluster

    params = declared_over(arguments.file)
    with TemporaryDirectory() as folder:
        here = Path(folder) / "here"
        local = curated(params, Engine(runner="local", workers=1, batch_dialogues=500), here)
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        killed: list[int] = []
        threading.Thread(target=kill_a_worker, args=(arguments.kill_after_s, killed), daemon=True).start()
        there = Path(folder) / "there"
        away = curated(params, Engine(runner="ray", workers=3, batch_dialogues=500, address=cluster.address), there)
        cluster.shutdown()
        same = manifest_of(here) == manifest_of(there)
    print(f"here {local:.1f} s; on 3 nodes {away:.1f} s, workers killed: {len(killed)}; bytes equal: {same}")
    if not same or not killed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
