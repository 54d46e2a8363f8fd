"""Which heads of the crisis classifier tell danger best, on labelled whole talks and on labelled messages.

``PYTHONPATH=src python benchmarks/crisis/heads.py --labels ../shared/data``. Prints AUC, and the recall at the
threshold at which 2% of those without danger are false alarms: among the talks' own, among our messages, and among 600
turns of ESConv's seekers, of whom nearly none tell of danger.
"""

import argparse
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from attunement.classifier import answers
from attunement.labelled import SETS
from attunement.records import Turn
from attunement.scorers.crisis import KINDS, NAME, said
from attunement.suites import read_flawed

N_SEEKERS = 600
FALSE_ALARMS = 0.02
F64 = NDArray[np.float64]


def words(turns: tuple[Turn, ...]) -> str:
    """All that the person said."""
    return "\n".join(turn.text for turn in turns if turn.role == "user")


def log_odds(value: F64) -> F64:
    clipped = np.clip(value, 1e-6, 1 - 1e-6)
    found: F64 = np.log(clipped / (1 - clipped))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True)
    root = parser.parse_args().labels
    talks = [*read_flawed("flawed"), *read_flawed("fine")]
    messages = list(SETS["own_crisis"].items(root, None))
    seekers = random.Random(1).sample([one for one in SETS["esconv"].items(root, None) if "seeker" in one.groups],
                                      N_SEEKERS)
    texts = [*(words(one.turns) for one in talks), *(words(said(one.item)) for one in [*messages, *seekers])]
    found = [heads or dict.fromkeys(("risk", "active", *KINDS), 0.0)
             for heads in answers(NAME, [("", text) for text in texts], batch_size=32)]
    head = {name: np.array([one[name] for one in found]) for name in ("risk", "active", *KINDS)}
    kind = np.max([head[name] for name in KINDS], axis=0)
    ways = {"risk": head["risk"], "likeliest kind": kind, "risk and kind": log_odds(head["risk"]) + log_odds(kind),
            "risk, kind, half of active": log_odds(head["risk"]) + log_odds(kind) + 0.5 * log_odds(head["active"])}
    of_talks = np.array([one.severity != "none" for one in talks])
    of_messages = np.array([one.truth["risk"] for one in messages]) > 0
    print(f"| heads | talks (n = {len(talks)}), AUC | recall | messages (n = {len(messages)}), AUC | recall | "
          "recall at ESConv's threshold |\n|---|---|---|---|---|---|")
    for name, value in ways.items():
        one, other, calm = np.split(value, [len(talks), len(talks) + len(messages)])
        print(f"| {name} | {roc_auc_score(of_talks, one):.3f} | {recall(one[of_talks], one[~of_talks]):.2f} "
              f"| {roc_auc_score(of_messages, other):.3f} | {recall(other[of_messages], other[~of_messages]):.2f} "
              f"| {recall(other[of_messages], calm):.2f} |")


def recall(risky: F64, calm: F64) -> float:
    """At the threshold that 2% of the calm reach."""
    return float((risky >= np.quantile(calm, 1 - FALSE_ALARMS)).mean())


if __name__ == "__main__":
    main()
