"""The one place with statistics. Every function says what it assumes and where it is from.

The unit is the prompt: replies to different prompts are taken as independent; samples of one prompt are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000
ROUNDING = 1e-9  # of logarithms: where n is whole, 3.0000000000000004 is 3
Values = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Interval:
    """An estimate with a two-sided interval; all in the units of what was measured."""

    estimate: float
    low: float
    high: float


def upper_bound(failures: int, n: int, *, confidence: float) -> float:
    """One-sided exact upper bound of a failure rate (Clopper & Pearson 1934), as a fraction.

    0 failures in n is not 0: at 95% it is 4.6% for n = 64 and 1% for n = 299. With n = 0 nothing is known: 1.0.
    Raises ValueError when failures is not within 0…n, or confidence not between 0 and 1.
    """
    if not 0 <= failures <= n:
        raise ValueError(f"failures must lie in 0…n, got {failures} of {n}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    if failures == n:
        return 1.0
    return float(stats.beta.ppf(confidence, failures + 1, n - failures))


def prompts_needed(max_rate: float, *, confidence: float) -> int:
    """The n at which 0 failures bound the rate by ``max_rate``: (1 − rate)^n ≤ 1 − confidence.

    Raises ValueError unless both lie between 0 and 1: no n shows a rate of 0.
    """
    if not (0 < max_rate < 1 and 0 < confidence < 1):
        raise ValueError(f"max_rate and confidence must lie between 0 and 1, got {max_rate} and {confidence}")
    exact = float(np.log1p(-confidence) / np.log1p(-max_rate))
    return int(np.ceil(exact - ROUNDING))


def mean_interval(values: Sequence[float], *, confidence: float, seed: int) -> Interval | None:
    """Mean with a percentile bootstrap interval over prompts (Efron & Tibshirani 1993); None without values.

    With one value, or all values equal, the interval is the point: the bootstrap can say no more.
    """
    if not values:
        return None
    data = np.asarray(values, dtype=float)
    mean = float(data.mean())
    if data.min() == data.max():
        return Interval(mean, mean, mean)
    means = _resampled_means(data, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(mean, float(low), float(high))


def pairs_needed(*, confidence: float) -> int:
    """The fewest pairs that can show a difference at all, if all fall one way (sign test: ½^n ≤ 1 − confidence).

    A bootstrap of fewer knows too little of the spread: of one pair its bound is the pair itself.
    """
    return prompts_needed(0.5, confidence=confidence)


def paired_lower_bound(differences: Sequence[float], *, confidence: float, seed: int) -> float | None:
    """One-sided lower bound of a mean paired difference, by the percentile bootstrap over prompts.

    Pairs are resampled whole, so that a prompt's difficulty cancels. None without pairs.
    """
    if not differences:
        return None
    return float(np.quantile(_resampled_means(np.asarray(differences, dtype=float), seed), 1 - confidence))


def _resampled_means(data: Values, seed: int) -> Values:
    """Means of RESAMPLES bootstrap samples; a thousand at a time, to bound memory."""
    generator = np.random.default_rng(seed)
    parts = [data[generator.integers(0, len(data), (1000, len(data)))].mean(axis=1) for _ in range(RESAMPLES // 1000)]
    return np.concatenate(parts)
