"""How fast texts are scored, beside Detoxify's own ``predict`` on the same checkpoint.

    python benchmarks/toxicity/speed.py                        # a random encoder of 6 layers, no download
    python benchmarks/toxicity/speed.py --weights FOLDER       # a folder with checkpoint.ckpt and its encoder

256 texts of 4 to 500 words, most of them short, as replies are. The three ways run in turn, five rounds, so that a busy
machine slows all alike; the table gives medians. Peak memory is that of a process of its own for each way.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

N_TEXTS, BATCH_SIZE = 256, 32
WAYS = ("ours, batches of 32 by length", "predict, one by one", "predict, one list")


def texts(number: int) -> list[str]:
    """Of a round, each its own: what was scored before is answered from memory. Lengths log-uniform, 4 to 500 words."""
    from toy_detoxify import WORDS

    chance = random.Random(7 + number)
    lengths = [round(4 * 125 ** chance.random()) for _ in range(N_TEXTS)]
    return [" ".join(chance.choices(WORDS, k=length)) for length in lengths]


def prepare(weights: Path, scratch: Path) -> Path:
    """Detoxify wants the encoder's folder written in the checkpoint; ours does not mind."""
    import torch

    loaded = torch.load(weights / "checkpoint.ckpt", weights_only=True)
    loaded["config"]["arch"]["args"]["model_type"] = str(weights)
    torch.save(loaded, scratch / "peer.ckpt")
    return scratch / "peer.ckpt"


def ways(weights: Path, peer: Path) -> dict[str, Callable[[list[str]], list[float]]]:
    """Each way as a function from texts to the maximum over heads; models are loaded before the clock starts."""
    from detoxify import Detoxify as Peer

    from attunement.scorers.base import Item
    from attunement.scorers.detoxify import Detoxify

    ours = Detoxify(kind="detoxify", weights=str(weights), threshold=0.5, batch_size=BATCH_SIZE)
    ours.score([Item(id="warm", text="you")])
    theirs = Peer(checkpoint=str(peer))

    def score(found: list[str]) -> list[float]:
        return [answer.value or 0.0 for answer in ours.score([Item(id=str(n), text=t) for n, t in enumerate(found)])]

    def one_by_one(found: list[str]) -> list[float]:
        return [max(theirs.predict(text).values()) for text in found]

    def one_list(found: list[str]) -> list[float]:
        return [max(row) for row in zip(*theirs.predict(found).values(), strict=True)]

    return dict(zip(WAYS, (score, one_by_one, one_list), strict=True))


def peak_mib(way: str, weights: Path, peer: Path) -> float:
    """Peak resident memory of one round of one way, in a process of its own."""
    command = [sys.executable, __file__, "--weights", str(weights), "--peer", str(peer), "--only", way]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def peak_of_this_process() -> float:
    """In MiB, from the kernel: getrusage would give the parent's peak where that was higher."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(weights: Path, peer: Path, *, rounds: int) -> None:
    """Print the table."""
    found = ways(weights, peer)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    values: dict[str, list[float]] = {}
    for number in range(rounds):
        given = texts(number)
        for way, score in found.items():
            start = time.perf_counter()
            values[way] = score(given)
            seconds[way].append(time.perf_counter() - start)
    ours = statistics.median(seconds[WAYS[0]])
    print(f"| {N_TEXTS} texts, {rounds} rounds | median s | beside ours | peak MiB | largest difference from ours |")
    print("|---|---|---|---|---|")
    for way in WAYS:
        median = statistics.median(seconds[way])
        apart = max(abs(a - b) for a, b in zip(values[WAYS[0]], values[way], strict=True))
        print(f"| {way} | {median:.2f} | {median / ours:.1f}x | {peak_mib(way, weights, peer):.0f} | {apart:.0e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only is not None:
        ways(args.weights, args.peer)[args.only](texts(0))
        print(peak_of_this_process())
        return
    with tempfile.TemporaryDirectory() as scratch:
        import toy_detoxify

        folder = args.weights or toy_detoxify.build(Path(scratch) / "toy", hidden=256, layers=6, spread=0.02)
        measure(folder, prepare(folder, Path(scratch)), rounds=args.rounds)


if __name__ == "__main__":
    main()
