"""lm-eval's results in our schema."""

import math
from typing import Any

from attunement.bench import records


def results(**metrics: Any) -> dict[str, Any]:
    return {"results": {"t": {"alias": "t", **metrics}}, "versions": {"t": 1.0}, "n-samples": {"t": {"effective": 60}}}


def test_each_metric_carries_its_standard_error_and_n() -> None:
    found = records(results(**{"acc,none": 0.5, "acc_stderr,none": 0.06, "acc_norm,none": 0.4}), ["t"])
    assert [(b.metric, b.value, b.stderr, b.n) for b in found] == [("acc", 0.5, 0.06, 60), ("acc_norm", 0.4, None, 60)]


def test_what_lm_eval_could_not_measure_is_none_and_never_zero() -> None:
    found = records(results(**{"acc,none": math.nan, "acc_stderr,none": "N/A"}), ["t"])
    assert (found[0].value, found[0].stderr) == (None, None)
