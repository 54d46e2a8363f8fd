"""The one place with statistics. Every function says what it assumes and where it is from.

The unit is the prompt: replies to different prompts are taken as independent; samples of one prompt are not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
CALIBRATION_RESAMPLES = 1000  # of intervals in a scorer card: two digits are read
ROUNDING = 1e-9  # of logarithms: where n is whole, 3.0000000000000004 is 3
Values = np.ndarray[tuple[int], np.dtype[np.float64]]
Positions = np.ndarray[tuple[int], np.dtype[np.intp]]


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
    from scipy import stats

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


def rate_interval(k: int, n: int, *, confidence: float) -> Interval | None:
    """Share k / n with a two-sided exact interval (Clopper & Pearson 1934); None when n is 0: nothing is known."""
    from scipy import stats

    if n == 0:
        return None
    found = stats.binomtest(k, n).proportion_ci(confidence_level=confidence, method="exact")
    return Interval(k / n, float(found.low), float(found.high))


def auc_interval(
    values: Sequence[float], truth: Sequence[bool], *, confidence: float, seed: int
) -> Interval | None:
    """Area under the ROC curve: how often a positive scores above a negative, ties half (Hanley & McNeil 1982).

    Percentile bootstrap over items. None without an item of each side. Raises ValueError when a value is NaN, which has
    no rank, or values and truth differ in number.
    """
    data, labels = np.asarray(values, dtype=float), np.asarray(truth, dtype=bool)
    if len(data) != len(labels) or np.isnan(data).any():
        raise ValueError(f"expected a number for each of {len(labels)} items, got {np.sum(~np.isnan(data))}")
    if not labels.any() or labels.all():
        return None
    order = np.argsort(data, kind="stable")
    ranked = data[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))  # not by differences: ∞ − ∞ is no tie
    positive, negative = labels[order].astype(float), (~labels[order]).astype(float)
    estimate = _auc(np.ones((1, len(data))), positive, negative, starts)[0]
    generator = np.random.default_rng(seed)
    found = [_auc(generator.multinomial(len(data), np.full(len(data), 1 / len(data)), 50).astype(float),
                  positive, negative, starts) for _ in range(CALIBRATION_RESAMPLES // 50)]
    low, high = np.nanquantile(np.concatenate(found), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(estimate), float(low), float(high))


def _auc(weights: Values, positive: Values, negative: Values, starts: Positions) -> Values:
    """The area for each row of weights, (resample, item), items sorted by value and grouped where values tie."""
    up = np.add.reduceat(weights * positive, starts, axis=1)
    down = np.add.reduceat(weights * negative, starts, axis=1)
    below = np.cumsum(down, axis=1) - down
    pairs = up.sum(axis=1) * down.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (up * (below + down / 2)).sum(axis=1) / pairs  # type: ignore[no-any-return]


def statistic_interval(
    statistic: Callable[[Values, Values], float], truth: Sequence[float], given: Sequence[float], *,
    confidence: float, seed: int,
) -> Interval | None:
    """Any statistic of pairs (truth, answer) with a percentile bootstrap over items.

    None without items, or where it is not defined (one class alone); resamples in which it is not are left out.
    """
    if not truth:
        return None
    known, said = np.asarray(truth, dtype=float), np.asarray(given, dtype=float)
    estimate = statistic(known, said)
    if np.isnan(estimate):
        return None
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(CALIBRATION_RESAMPLES):
        chosen = generator.integers(0, len(known), len(known))
        found.append(statistic(known[chosen], said[chosen]))
    low, high = np.nanquantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate, float(low), float(high))


def weighted_kappa(truth: Values, given: Values) -> float:
    """Cohen's κ with quadratic weights (Cohen 1968) over ordered classes; for two classes it is plain κ.

    Disagreement by the square of its distance, beside what chance would give; NaN when both hold one class alone.
    """
    classes = np.union1d(truth, given)
    if len(classes) < 2:
        return float("nan")
    square = (classes[:, None] - classes[None, :]) ** 2
    table = np.array([[np.sum((truth == a) & (given == b)) for b in classes] for a in classes], dtype=float)
    chance = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / table.sum()
    return 1 - float((square * table).sum() / (square * chance).sum())


def macro_f1(truth: Values, given: Values) -> float:
    """Mean over the classes of the truth of 2 TP / (2 TP + FP + FN)."""
    scores = []
    for one in np.unique(truth):
        hit = np.sum((truth == one) & (given == one))
        scores.append(2 * hit / (np.sum(truth == one) + np.sum(given == one)))
    return float(np.mean(scores))


def corrected_rate(
    judged: float, *, n_judged: int, sensitivity: Interval, specificity: Interval, n_positive: int, n_negative: int,
    confidence: float,
) -> Interval | None:
    """A rate that an imperfect judge reports, corrected for its errors (Rogan & Gladen 1978).

    Interval by Lang & Reiczigel (2014), which carries the doubt of all three proportions. None when the judge is no
    better than chance (sensitivity + specificity ≤ 1): nothing can be corrected then.
    """
    from scipy import stats

    z = float(stats.norm.ppf((1 + confidence) / 2))
    # Lang & Reiczigel: z²/2 and 1 pseudo-observations keep the interval honest at rates near 0 and 1.
    rate = (n_judged * judged + z * z / 2) / (n_judged + z * z)
    sens = (n_positive * sensitivity.estimate + 1) / (n_positive + 2)
    spec = (n_negative * specificity.estimate + 1) / (n_negative + 2)
    youden = sens + spec - 1
    plain = sensitivity.estimate + specificity.estimate - 1
    if youden <= 0 or plain <= 0:
        return None
    middle = (rate + spec - 1) / youden
    shift = 2 * z * z * (middle * sens * (1 - sens) / (n_positive + 2)
                         - (1 - middle) * spec * (1 - spec) / (n_negative + 2))
    variance = (rate * (1 - rate) / (n_judged + z * z) + middle**2 * sens * (1 - sens) / (n_positive + 2)
                + (1 - middle) ** 2 * spec * (1 - spec) / (n_negative + 2)) / youden**2
    half = z * float(np.sqrt(variance))
    exact = (judged + specificity.estimate - 1) / plain
    estimate, low, high = np.clip([exact, middle + shift - half, middle + shift + half], 0.0, 1.0).tolist()
    return Interval(estimate, min(estimate, low), max(estimate, high))


def prediction_powered_mean(
    judged: Sequence[float], human: Sequence[float], judged_too: Sequence[float], *, confidence: float
) -> Interval | None:
    """A mean from many of a judge's ratings and a few of people's (Angelopoulos et al. 2023; power-tuned, PPI++).

    ``judged`` are the judge's ratings where no person rated, ``human`` and ``judged_too`` the two ratings of the same
    items. The judge's bias cancels; its agreement narrows the interval. Student's t with the few items' degrees of
    freedom, because the few decide. None with fewer than two items that both rated. By simulation a 95% interval
    covers 90% with 5 rated items, 94% with 20; less where nearly all ratings are equal (81% with 40 items of which 6%
    differ), and where all are, it is a point.
    """
    from scipy import stats

    rated, beside, alone = (np.asarray(one, dtype=float) for one in (human, judged_too, judged))
    n, big = len(rated), len(alone)
    if n != len(beside):
        raise ValueError(f"human and judged_too must rate the same items, got {n} and {len(beside)}")
    if n < 2:
        return None
    spread = float(np.var(beside, ddof=1))
    tuned = 0.0
    if big > 1 and spread > 0:
        tuned = float(np.cov(rated, beside, ddof=1)[0, 1]) / (spread * (1 + n / big))
        tuned = min(1.0, max(0.0, tuned))
    far = tuned * float(alone.mean()) if big else 0.0
    estimate = far + float((rated - tuned * beside).mean())
    variance = float(np.var(rated - tuned * beside, ddof=1)) / n
    variance += tuned**2 * float(np.var(alone, ddof=1)) / big if big > 1 else 0.0
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * float(np.sqrt(variance))
    return Interval(estimate, estimate - half, estimate + half)


def intraclass_correlation(ratings: Sequence[Sequence[float]]) -> tuple[float, float]:
    """ICC(C,1) and ICC(A,1) of a table (item, rater): consistency and absolute agreement (McGraw & Wong 1996).

    Two-way model, single ratings; consistency ignores that one rater is milder throughout, agreement does not. NaN when
    all ratings are equal. Raises ValueError with fewer than two items or raters, or a rating that is missing.
    """
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError("expected a whole table of at least two items by two raters")
    n, k = table.shape
    items = k * np.var(table.mean(axis=1), ddof=1)
    raters = n * np.var(table.mean(axis=0), ddof=1)
    rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
    error = (rest**2).sum() / ((n - 1) * (k - 1))
    if table.min() == table.max():
        return float("nan"), float("nan")
    consistency = (items - error) / (items + (k - 1) * error)
    agreement = (items - error) / (items + (k - 1) * error + k / n * (raters - error))
    return float(consistency), float(agreement)
