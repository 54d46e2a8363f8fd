"""Statistics against published values and against scipy's own implementations."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from attunement.stats import mean_interval, paired_lower_bound, pairs_needed, prompts_needed, upper_bound

VALUES = (0.1, 0.9, 0.4, 0.4, 0.7, 0.2, 0.8, 0.5, 0.3, 0.6, 0.95, 0.05)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("failures", "n"), [(0, 1), (0, 64), (1, 20), (7, 20), (19, 20), (3, 1000)])
def test_the_upper_bound_is_that_of_scipys_exact_test(failures: int, n: int, confidence: float) -> None:
    exact = scipy_stats.binomtest(failures, n, alternative="less").proportion_ci(confidence, method="exact").high
    assert upper_bound(failures, n, confidence=confidence) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("n", "published"), [(50, 0.058), (299, 0.010), (598, 0.005)])
def test_no_failure_in_n_bounds_the_rate_as_published_tables_say(n: int, published: float) -> None:
    assert round(upper_bound(0, n, confidence=0.95), 3) == published


def test_nothing_known_or_nothing_right_bounds_the_rate_by_one() -> None:
    assert upper_bound(0, 0, confidence=0.95) == 1.0
    assert upper_bound(5, 5, confidence=0.95) == 1.0


@pytest.mark.parametrize(("failures", "n"), [(-1, 5), (6, 5), (1, 0), (0, -1)])
def test_more_failures_than_trials_are_refused(failures: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"got {failures} of {n}"):
        upper_bound(failures, n, confidence=0.95)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
def test_a_confidence_in_percent_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        upper_bound(0, 5, confidence=confidence)
    with pytest.raises(ValueError, match="between 0 and 1"):
        prompts_needed(0.05, confidence=confidence)


@pytest.mark.parametrize(("rate", "n"), [(0.01, 299), (0.05, 59), (0.005, 598), (0.5, 5)])
def test_the_prompts_needed_are_the_fewest_whose_bound_holds(rate: float, n: int) -> None:
    assert prompts_needed(rate, confidence=0.95) == n
    assert upper_bound(0, n, confidence=0.95) <= rate < upper_bound(0, n - 1, confidence=0.95)


@pytest.mark.parametrize("k", range(1, 12))
def test_rounding_does_not_ask_for_a_prompt_more(k: int) -> None:
    assert prompts_needed(0.25, confidence=1 - 0.75**k) == k


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_no_number_of_prompts_shows_a_rate_of_nothing(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        prompts_needed(rate, confidence=0.95)


def test_the_interval_of_a_mean_is_that_of_scipys_bootstrap() -> None:
    own = mean_interval(VALUES, confidence=0.95, seed=1)
    theirs = scipy_stats.bootstrap(
        (np.array(VALUES),), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert own is not None
    assert own.estimate == pytest.approx(np.mean(VALUES))
    assert (own.low, own.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_no_value_has_no_mean_and_equal_values_are_a_point() -> None:
    assert mean_interval([], confidence=0.95, seed=1) is None
    point = mean_interval([0.5, 0.5], confidence=0.95, seed=1)
    assert point is not None
    assert (point.estimate, point.low, point.high) == (0.5, 0.5, 0.5)


def test_the_paired_bound_is_below_the_mean_and_is_scipys_one_sided() -> None:
    low = paired_lower_bound(VALUES, confidence=0.95, seed=1)
    theirs = scipy_stats.bootstrap(
        (np.array(VALUES),),
        np.mean,
        method="percentile",
        alternative="greater",
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    ).confidence_interval.low
    assert low is not None
    assert low < np.mean(VALUES)
    assert low == pytest.approx(theirs, abs=0.01)
    assert paired_lower_bound([], confidence=0.95, seed=1) is None


def test_fewer_than_five_pairs_show_nothing_at_95_percent() -> None:
    assert pairs_needed(confidence=0.95) == 5
    assert scipy_stats.binomtest(5, 5, alternative="greater").pvalue <= 0.05
    assert scipy_stats.binomtest(4, 4, alternative="greater").pvalue > 0.05


def test_a_seed_decides_the_draws_and_the_global_state_does_not() -> None:
    first = mean_interval(VALUES, confidence=0.95, seed=1)
    np.random.seed(5)  # the global state is what this test disturbs
    assert mean_interval(VALUES, confidence=0.95, seed=1) == first
    assert mean_interval(VALUES, confidence=0.95, seed=2) != first
