"""What bfloat16 gains and changes: one classifier's encoder with whole and with halved linear layers, interleaved.

``PYTHONPATH=src python benchmarks/scorers/half.py --labels ../shared/data``: 300 replies of DiaSafety in their context,
three rounds in one process. Prints seconds, and how far the probabilities of all heads lie apart.
"""

import argparse
import copy
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from attunement.classifier import Classifier, load_adapted
from attunement.classifier_recipes import last_text
from attunement.half import halve
from attunement.labelled import SETS

N = 300
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, required=True)
    items = list(SETS["diasafety"].items(parser.parse_args().labels, None))[:N]
    pairs = [(last_text(one), one.item.words) for one in items]
    whole = loaded_whole()
    half = copy.deepcopy(whole.model)
    halve(half.bert.encoder)
    windows = [one for found in whole.pair_windows(pairs) for one in found]
    for number in range(1, ROUNDS + 1):
        answers: dict[str, Any] = {}
        seconds: dict[str, float] = {}
        for name, model in (("fp32", whole.model), ("bf16", half)):
            fresh = Classifier(model=model, tokenizer=whole.tokenizer, heads=whole.heads, encoder=whole.encoder)
            began = time.perf_counter()
            answers[name] = np.array(fresh.probabilities(windows, batch_size=32))
            seconds[name] = time.perf_counter() - began
        apart = np.abs(answers["fp32"] - answers["bf16"])
        print(f"round {number}: fp32 {seconds['fp32']:.1f} s, bf16 {seconds['bf16']:.1f} s, "
              f"{seconds['fp32'] / seconds['bf16']:.2f} times; apart {apart.mean():.1g} in the mean, "
              f"{apart.max():.2g} at most")


def loaded_whole() -> Classifier:
    """The classifier of clinical harm in float32, whatever the machine computes in."""
    with patch("attunement.classifier.resolved_precision", lambda _wanted: "fp32"):
        return load_adapted("clinical_harm")


if __name__ == "__main__":
    main()
