"""Statistics of scorers and judges against scikit-learn, published tables and simulations with a known truth."""

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

from attunement.stats import (
    Interval,
    auc_interval,
    corrected_rate,
    intraclass_correlation,
    macro_f1,
    prediction_powered_mean,
    rate_interval,
    statistic_interval,
    weighted_kappa,
)

# Shrout & Fleiss 1979, Psychological Bulletin 86, table 2: six targets by four judges.
SHROUT_FLEISS = ((9, 2, 5, 8), (6, 1, 3, 2), (8, 4, 6, 8), (7, 1, 2, 6), (10, 5, 6, 9), (6, 2, 4, 7))
RUNS = 2000  # simulations: the error of a coverage near 95% is 0.5%
RATED, JUDGED = 60, 1200  # items that people and the judge rated, and the judge alone


# Shares


@pytest.mark.parametrize(("k", "n", "low", "high"), [(0, 10, 0.0, 0.3085), (8, 10, 0.4439, 0.9748), (5, 5, 0.4782, 1)])
def test_the_interval_of_a_share_is_that_of_published_exact_tables(k: int, n: int, low: float, high: float) -> None:
    found = rate_interval(k, n, confidence=0.95)
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((k / n, low, high), abs=1e-4)


def test_a_share_of_nothing_is_not_known() -> None:
    assert rate_interval(0, 0, confidence=0.95) is None


# Area under the curve


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_the_area_is_that_of_scikit_learn_with_ties(levels: int) -> None:
    generator = np.random.default_rng(levels)
    truth = generator.random(300) < 0.3
    values = np.round((generator.normal(size=300) + truth) * levels / 5)
    found = auc_interval(values.tolist(), truth.tolist(), confidence=0.95, seed=1)
    assert found is not None
    assert found.estimate == pytest.approx(roc_auc_score(truth, values), abs=1e-12)
    assert found.low < found.estimate < found.high


def test_the_areas_interval_is_that_of_a_plain_bootstrap() -> None:
    generator = np.random.default_rng(2)
    truth = generator.random(120) < 0.4
    values = np.round(generator.normal(size=120) + truth, 1)
    drawn = generator.integers(0, 120, (1000, 120))
    plain = np.quantile([roc_auc_score(truth[one], values[one]) for one in drawn], [0.025, 0.975])
    found = auc_interval(values.tolist(), truth.tolist(), confidence=0.95, seed=3)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(plain, abs=0.012)


def test_a_perfect_order_has_the_area_one_and_its_reverse_zero() -> None:
    truth = [False, False, True, True]
    assert auc_interval([1, 2, 3, 4], truth, confidence=0.95, seed=1) == Interval(1.0, 1.0, 1.0)
    assert auc_interval([4, 3, 2, 1], truth, confidence=0.95, seed=1) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("value", [0.0, math.inf, -math.inf])
def test_one_value_for_all_has_the_area_of_chance(value: float) -> None:
    assert auc_interval([value] * 4, [False, True] * 2, confidence=0.95, seed=1) == Interval(0.5, 0.5, 0.5)


def test_values_without_bound_still_tie() -> None:
    values, truth = [-math.inf, -math.inf, 0.0, math.inf, math.inf], [False, True, True, False, True]
    found = auc_interval(values, truth, confidence=0.95, seed=1)
    assert found is not None
    assert found.estimate == pytest.approx((0.5 + 1 + 1 + 0 + 0 + 0.5) / 6)


@pytest.mark.parametrize("truth", [[], [True, True], [False, False]])
def test_an_area_without_both_sides_is_not_known(truth: list[bool]) -> None:
    assert auc_interval([1.0, 2.0][: len(truth)], truth, confidence=0.95, seed=1) is None


@pytest.mark.parametrize("values", [[0.1, math.nan, 0.3], [0.1, 0.3]])
def test_an_item_without_a_value_is_refused_not_ranked_last(values: list[float]) -> None:
    with pytest.raises(ValueError, match="each of 3 items, got 2"):
        auc_interval(values, [True, False, True], confidence=0.95, seed=1)


# Agreement of classes


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_kappa_and_f1_are_those_of_scikit_learn(classes: int) -> None:
    generator = np.random.default_rng(classes)
    truth = generator.integers(0, classes, 200).astype(float)
    given = np.clip(truth + generator.integers(-1, 2, 200), 0, classes - 1)
    kappa = cohen_kappa_score(truth, given, weights="quadratic")
    assert weighted_kappa(truth, given) == pytest.approx(kappa, abs=1e-12)
    assert macro_f1(truth, given) == pytest.approx(f1_score(truth, given, average="macro"), abs=1e-12)


def test_kappa_counts_the_distance_of_classes_that_nobody_used_in_between() -> None:
    truth, given = np.array([1.0, 1, 2, 5, 5, 2]), np.array([1.0, 2, 2, 5, 1, 5])
    expected = cohen_kappa_score(truth, given, weights="quadratic", labels=[1, 2, 3, 4, 5])
    assert weighted_kappa(truth, given) == pytest.approx(expected, abs=1e-12)


def test_the_f1_of_a_class_that_is_never_given_is_zero_and_one_that_is_never_true_does_not_count() -> None:
    truth, given = np.array([0.0, 0, 1, 1]), np.array([0.0, 0, 2, 0])
    expected = f1_score(truth, given, average="macro", labels=[0, 1], zero_division=0)
    assert macro_f1(truth, given) == pytest.approx(expected, abs=1e-12)


def test_a_constant_answer_agrees_by_chance_alone() -> None:
    assert weighted_kappa(np.array([0.0, 1, 2, 1]), np.ones(4)) == pytest.approx(0.0)


def test_kappa_of_one_class_alone_is_not_defined_and_gets_no_interval() -> None:
    assert math.isnan(weighted_kappa(np.ones(4), np.ones(4)))
    assert statistic_interval(weighted_kappa, [1.0] * 4, [1.0] * 4, confidence=0.95, seed=1) is None
    assert statistic_interval(weighted_kappa, [], [], confidence=0.95, seed=1) is None


def test_resamples_of_one_class_alone_are_left_out_of_the_interval() -> None:
    found = statistic_interval(weighted_kappa, [0.0, 0, 0, 1], [0.0, 0, 0, 1], confidence=0.95, seed=1)
    assert found == Interval(1.0, 1.0, 1.0)


def test_the_interval_of_a_statistic_is_as_wide_as_its_error() -> None:
    """For shares the bootstrap must give 1.96 standard errors to each side, 2 × 1.96 × √(pq / n)."""
    truth = np.ones(400)
    given = (np.arange(400) % 10 < 8).astype(float)
    found = statistic_interval(lambda one, other: float(np.mean(one == other)), truth.tolist(), given.tolist(),
                               confidence=0.95, seed=4)
    assert found is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(0.8 * 0.2 / 400), rel=0.1)


# Agreement of raters


def test_the_intraclass_correlations_are_those_of_shrout_and_fleiss() -> None:
    consistency, agreement = intraclass_correlation(SHROUT_FLEISS)
    assert (round(consistency, 2), round(agreement, 2)) == (0.71, 0.29)


def test_a_rater_who_is_milder_throughout_agrees_in_order_but_not_in_value() -> None:
    consistency, agreement = intraclass_correlation([(one, one + 3) for one in range(1, 6)])
    assert consistency == pytest.approx(1.0)
    assert agreement == pytest.approx(2.5 / (2.5 + 4.5))  # variance of items beside that of raters


def test_ratings_that_are_all_equal_have_no_correlation() -> None:
    assert all(math.isnan(one) for one in intraclass_correlation([(4, 4), (4, 4), (4, 4)]))


@pytest.mark.parametrize("table", [[], [(1, 2)], [(1,), (2,)], [(1, 2), (3, math.nan)], [(1, 2), (3, math.inf)]])
def test_a_table_with_a_gap_or_without_two_of_each_is_refused(table: list[tuple[float, ...]]) -> None:
    with pytest.raises(ValueError, match="whole table"):
        intraclass_correlation(table)


# Rates corrected for a judge's errors


def _corrected(k: int, n: int, hits: int, n_positive: int, passes: int, n_negative: int) -> Interval | None:
    """The corrected rate from counts: k of n judged yes, hits of the true yes, passes of the true no."""
    sensitivity = Interval(hits / n_positive, 0.0, 1.0)  # the estimate alone is read
    specificity = Interval(passes / n_negative, 0.0, 1.0)
    return corrected_rate(k / n, n_judged=n, sensitivity=sensitivity, specificity=specificity, n_positive=n_positive,
                          n_negative=n_negative, confidence=0.95)


def test_the_correction_undoes_the_judges_errors() -> None:
    """At 30% true yes, sensitivity 80% and specificity 90% the judge says yes to .3 × .8 + .7 × .1 = 31%."""
    found = _corrected(3100, 10_000, 800, 1000, 900, 1000)
    assert found is not None
    assert found.estimate == pytest.approx(0.30)
    assert found.low < 0.30 < found.high
    assert found.high - found.low < 0.08


@pytest.mark.parametrize(
    ("counts", "estimate", "low", "high"),
    [((27, 650, 50, 100, 199, 200), 0.0738, 0.0275, 0.1146), ((130, 200, 30, 40, 20, 25), 0.8182, 0.5910, 1.0)],
)
def test_the_corrected_interval_is_that_of_its_authors_formula(
    counts: tuple[int, int, int, int, int, int], estimate: float, low: float, high: float
) -> None:
    """Worked by hand from Lang & Reiczigel 2014: their pseudo-observations and their shift move the third digit."""
    found = _corrected(*counts)
    assert found is not None
    assert (found.estimate, found.low, found.high) == pytest.approx((estimate, low, high), abs=1e-4)


def test_a_judge_without_errors_leaves_the_rate_as_it_is() -> None:
    found, plain = _corrected(310, 1000, 10_000, 10_000, 10_000, 10_000), rate_interval(310, 1000, confidence=0.95)
    assert found is not None
    assert plain is not None
    assert found.estimate == pytest.approx(0.31)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.003)


def _simulated_rates(prevalence: float) -> list[Interval]:
    """Intervals of RUNS draws of 500 judged items, 60 true yes and 100 true no; the judge hits 80% and passes 90%."""
    generator = np.random.default_rng(int(100 * prevalence))
    yes = prevalence * 0.8 + (1 - prevalence) * 0.1
    counts = zip(generator.binomial(500, yes, RUNS), generator.binomial(60, 0.8, RUNS),
                 generator.binomial(100, 0.9, RUNS), strict=True)
    found = [_corrected(k, 500, hits, 60, passes, 100) for k, hits, passes in counts]
    assert None not in found
    return [one for one in found if one is not None]


@pytest.mark.parametrize("prevalence", [0.01, 0.1, 0.3, 0.7, 0.95])
def test_the_corrected_interval_covers_the_true_rate(prevalence: float) -> None:
    found = _simulated_rates(prevalence)
    assert np.mean([one.low <= prevalence <= one.high for one in found]) >= 0.93
    assert np.mean([one.high - one.low for one in found]) < 0.3  # not by saying nothing


def test_the_rate_that_the_judge_reports_does_not_cover_the_true_rate() -> None:
    """What the correction is for: at 10% true yes the judge says 17%, whatever n."""
    reported = np.random.default_rng(7).binomial(500, 0.17, 200)
    found = [rate_interval(int(k), 500, confidence=0.95) for k in reported]
    assert np.mean([one is not None and one.low <= 0.1 <= one.high for one in found]) < 0.1


@pytest.mark.parametrize("k", [0, 3, 500])
def test_the_corrected_rate_stays_a_rate_within_its_interval(k: int) -> None:
    found = _corrected(k, 500, 48, 60, 90, 100)
    assert found is not None
    assert 0 <= found.low <= found.estimate <= found.high <= 1


@pytest.mark.parametrize(("hits", "passes"), [(50, 50), (30, 70), (20, 70), (0, 100)])
def test_a_judge_no_better_than_chance_cannot_be_corrected(hits: int, passes: int) -> None:
    assert _corrected(50, 100, hits, 100, passes, 100) is None


# Means from a judge and a few people


def _simulated(agreement: float, bias: float, seed: int) -> tuple[list[Interval], list[float]]:
    """Intervals and naive means of RUNS draws; people's true mean is 3, the judge's 3 + bias."""
    generator = np.random.default_rng(seed)
    intervals, naive = [], []
    for _ in range(RUNS // 2):
        common = generator.normal(size=RATED + JUDGED)
        own = generator.normal(size=RATED + JUDGED)
        judge = 3 + bias + common
        human = 3 + agreement * common[:RATED] + math.sqrt(1 - agreement**2) * own[:RATED]
        found = prediction_powered_mean(judge[RATED:].tolist(), human.tolist(), judge[:RATED].tolist(), confidence=0.95)
        assert found is not None
        intervals.append(found)
        naive.append(float(judge.mean()))
    return intervals, naive


@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.9])
def test_the_mean_of_people_is_covered_though_the_judge_is_biased(agreement: float) -> None:
    intervals, naive = _simulated(agreement, bias=0.4, seed=11)
    assert np.mean([one.low <= 3 <= one.high for one in intervals]) >= 0.93
    assert np.mean([one.estimate for one in intervals]) == pytest.approx(3, abs=0.02)
    error = 1.96 / math.sqrt(RATED + JUDGED)
    assert np.mean([one - error <= 3 <= one + error for one in naive]) == 0  # what the judge alone would claim


def _humans_width(human: np.ndarray) -> float:
    """Width of Student's 95% interval of people's ratings alone, for RATED items."""
    return 2 * 2.0010 * float(human.std(ddof=1)) / math.sqrt(RATED)  # t table, 59 degrees of freedom


@pytest.mark.parametrize(("agreement", "least", "most"), [(0.0, 0.9, 1.1), (0.5, 0.75, 0.95), (0.9, 0.4, 0.6)])
def test_agreement_narrows_the_interval_and_its_lack_hardly_widens_it(
    agreement: float, least: float, most: float
) -> None:
    intervals, _ = _simulated(agreement, bias=0.4, seed=12)
    ratio = np.mean([one.high - one.low for one in intervals]) / (2 * 2.0010 / math.sqrt(RATED))
    assert least <= ratio <= most


def test_as_many_items_rated_as_judged_weigh_the_same() -> None:
    """A judge who agrees wholly: the best weight of the judge's part is 1 / (1 + n / N), one half where n = N."""
    human, judged = [1.0, 2.0, 4.0, 5.0], [2.0, 5.0, 5.0, 4.0]
    found = prediction_powered_mean(judged, human, human, confidence=0.95)
    assert found is not None
    assert found.estimate == pytest.approx((3 + 4) / 2)


def test_a_judge_who_says_the_opposite_does_not_widen_the_interval() -> None:
    human = np.random.default_rng(5).normal(3, 1, RATED)
    found = prediction_powered_mean([3.0, 2.0, 4.0] * 99, human.tolist(), (6 - human).tolist(), confidence=0.95)
    assert found is not None
    assert found.high - found.low == pytest.approx(_humans_width(human), rel=1e-3)
    assert found.estimate == pytest.approx(human.mean())


@pytest.mark.parametrize(("judged", "beside"), [([], None), ([4.0], None), ([4.0, 5.0], 4.0)])
def test_a_judge_who_tells_nothing_leaves_people_alone(judged: list[float], beside: float | None) -> None:
    """Nothing judged, one item judged, or a judge who gives one rating to all that people rated."""
    human = np.random.default_rng(6).normal(3, 1, RATED)
    judge = human if beside is None else np.full(RATED, beside)
    found = prediction_powered_mean(judged, human.tolist(), judge.tolist(), confidence=0.95)
    assert found is not None
    assert found.estimate == pytest.approx(human.mean())
    assert found.high - found.low == pytest.approx(_humans_width(human), rel=1e-3)


@pytest.mark.parametrize("human", [[], [3.0]])
def test_a_judge_without_two_items_rated_by_people_gives_no_mean(human: list[float]) -> None:
    assert prediction_powered_mean([4.0] * 50, human, human, confidence=0.95) is None


def test_ratings_of_different_items_are_refused() -> None:
    with pytest.raises(ValueError, match="the same items, got 3 and 2"):
        prediction_powered_mean([4.0, 5.0], [1.0, 2.0, 3.0], [1.0, 2.0], confidence=0.95)
