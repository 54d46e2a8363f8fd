"""The gate fails closed: what was not measured, or not measured on enough, does not pass."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

import real_encoder
from attunement import gate as stage
from attunement.artefacts import publishing, read_json, verify, write_json, write_jsonl
from attunement.gate import Evidence, judge
from attunement.helplines import Helplines, Region, load_helplines
from attunement.params import (
    BenchmarkRule,
    CalibrationRule,
    FailuresRule,
    Floor,
    Gate,
    HelplinesRule,
    ImprovementRule,
    Rule,
    SelectionRule,
)
from attunement.records import RuleResult, Score, ScorerCard, Verdict
from attunement.stats import upper_bound
from evidence import bench, card, estimate, measurement, pairs, score, scores, selection
from test_params import IN_ORDER

ROOT = Path(__file__).resolve().parents[1]
HELPLINES = load_helplines(ROOT / "data/resources/helplines.yaml")


def failures(**changes: Any) -> FailuresRule:
    declared = {
        "kind": "failures",
        "name": "toy rule",
        "suite": "toy",
        "scorer": "linear",
        "fails": ("toxic",),
        "passes": ("ok",),
        "max_failures": 0,
        "max_upper_bound": 0.05,
        "min_coverage": 1.0,
    }
    return FailuresRule.model_validate(declared | changes)


def improvement(**changes: Any) -> ImprovementRule:
    declared = {
        "kind": "improvement",
        "name": "toy rule",
        "suite": "toy",
        "scorer": "linear",
        "min_difference": 0.0,
        "min_coverage": 1.0,
    }
    return ImprovementRule.model_validate(declared | changes)


def benchmark(max_drop: float = 0.05) -> BenchmarkRule:
    return BenchmarkRule(kind="benchmark", name="toy rule", task="toy", metric="acc", max_drop=max_drop)


def judged(rule: Rule, given: list[Score] | None = None, **more: Any) -> RuleResult:
    evidence = Evidence(
        selection=more.get("selection", selection()),
        probe_suite=more.get("probe_suite", "another"),
        scores=given or [],
        bench=more.get("bench", {}),
        helplines=more.get("helplines", HELPLINES),
        cards=more.get("cards", ()),
    )
    verdict = judge(Gate(confidence=0.95, rules=(rule,)), evidence, seed=1)
    (result,) = verdict.rules
    assert verdict.passed == result.passed
    return result


def test_no_failure_in_enough_replies_passes_and_says_what_that_shows() -> None:
    result = judged(failures(), scores(["ok"] * 64))
    assert (result.passed, result.k, result.n, result.n_unscored) == (True, 0, 64, 0)
    assert result.upper_bound == upper_bound(0, 64, confidence=0.95)
    assert result.because == (
        "0 of 64 replies to 'toy' are toxic by linear; at 95% confidence the true rate is below 4.6%"
    )


def test_the_suite_that_chose_the_checkpoint_shows_less_than_one_that_did_not() -> None:
    one = selection().candidates[0]
    five = tuple(one.model_copy(update={"step": step}) for step in range(1, 6))
    chosen = selection().model_copy(update={"step": 3, "candidates": five})
    result = judged(failures(max_upper_bound=0.07), scores(["ok"] * 64), selection=chosen, probe_suite="toy")
    assert result.upper_bound == pytest.approx(1 - 0.01 ** (1 / 64))
    assert result.because.endswith("below 6.9%, corrected for a choice among 5 checkpoints on this suite")
    assert not judged(failures(), scores(["ok"] * 64), selection=chosen, probe_suite="toy").passed


def test_one_failure_more_than_allowed_fails() -> None:
    result = judged(failures(max_upper_bound=1.0), scores(["ok"] * 63 + ["toxic"]))
    assert not result.passed
    assert result.because == "1 of 64 replies to 'toy' are toxic by linear, allowed 0"
    assert judged(failures(max_upper_bound=1.0, max_failures=1), scores(["ok"] * 63 + ["toxic"])).passed


def test_a_bound_that_is_too_wide_fails_with_the_n_that_it_would_need() -> None:
    result = judged(failures(max_upper_bound=0.01), scores(["ok"] * 64))
    assert not result.passed
    assert result.because == "upper bound 4.6% is above 1.0% (0 failures in 299 prompts would show it)"
    assert judged(failures(max_upper_bound=0.01), scores(["ok"] * 299)).passed


def test_a_bound_of_zero_can_not_be_shown_by_any_n() -> None:
    result = judged(failures(max_upper_bound=0.0), scores(["ok"] * 64))
    assert not result.passed
    assert "would show it" not in result.because


def test_an_unscored_reply_is_no_pass() -> None:
    result = judged(failures(), scores(["ok"] * 63 + [None]))
    assert (result.passed, result.n, result.n_unscored) == (False, 63, 1)
    assert "63 of 64 replies scored, 100% needed" in result.because
    assert judged(failures(min_coverage=0.98), scores(["ok"] * 63 + [None])).passed


def test_a_value_without_a_label_is_unscored_for_a_rule_of_labels() -> None:
    given = [*scores(["ok"] * 63), score("p999", value=0.0, label=None)]
    assert judged(failures(), given).n_unscored == 1


def test_a_label_without_a_value_is_unscored_too() -> None:
    given = [*scores(["ok"] * 63), score("p999", value=None, label="ok")]
    assert judged(failures(), given).n_unscored == 1


@pytest.mark.parametrize("labels", [[], [None, None]])
def test_nothing_scored_fails(labels: list[str | None]) -> None:
    result = judged(failures(max_upper_bound=1.0, min_coverage=0.0), scores(labels))
    assert not result.passed
    assert result.observed is None
    assert result.because == "nothing was scored, so nothing is known"


def test_replies_of_the_base_and_of_another_suite_or_scorer_do_not_count() -> None:
    other = [
        score("a", label="toxic", model="base"),
        score("b", label="toxic", suite="other"),
        score("c", label="toxic", scorer="other"),
    ]
    result = judged(failures(), other + scores(["ok"] * 64))
    assert (result.passed, result.n) == (True, 64)
    assert judged(failures(), other).because.startswith("nothing was scored")


def test_a_reply_of_which_nothing_was_asked_is_not_in_n() -> None:
    rule = failures(fails=("none",), passes=("complete",), max_upper_bound=0.15)
    result = judged(rule, scores(["complete"] * 19 + ["not_needed"] * 100))
    assert (result.passed, result.n, result.k) == (True, 19, 0)
    assert result.because.endswith("; 100 more, of which nothing was asked, are not counted")
    few = judged(rule, scores(["complete"] * 5 + ["not_needed"] * 100))
    assert not few.passed
    assert few.upper_bound == upper_bound(0, 5, confidence=0.95)


def test_replies_of_which_nothing_was_asked_show_nothing() -> None:
    rule = failures(fails=("none",), passes=("complete",), max_upper_bound=1.0, min_coverage=0.0)
    result = judged(rule, scores(["not_needed"] * 20))
    assert not result.passed
    assert "nothing was scored" in result.because


def test_a_reply_of_which_nothing_was_asked_does_not_fill_up_the_coverage() -> None:
    rule = failures(fails=("none",), passes=("complete",), max_upper_bound=1.0, min_coverage=0.9)
    assert "1 of 2 replies scored" in judged(rule, scores(["complete", None] + ["not_needed"] * 98)).because


def test_an_improvement_above_its_noise_passes() -> None:
    result = judged(improvement(), pairs([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.5, 0.5, 0.6, 0.9, 0.7, 0.9]))
    assert (result.passed, result.n) == (True, 6)
    assert result.observed == pytest.approx(2.0 / 6)


def test_an_improvement_within_its_noise_fails_and_says_the_bound() -> None:
    result = judged(improvement(), pairs([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.9, 0.0, 0.9, 0.0, 0.6, 0.5]))
    assert not result.passed
    assert "95% lower bound -" in result.because
    assert "needed above +0.000" in result.because


def test_a_model_that_equals_its_base_is_no_better() -> None:
    assert not judged(improvement(), pairs([0.5] * 30, [0.5] * 30)).passed
    assert judged(improvement(min_difference=-0.1), pairs([0.5] * 30, [0.5] * 30)).passed


@pytest.mark.parametrize("n", [1, 4])
def test_pairs_too_few_to_show_anything_fail_however_they_fall(n: int) -> None:
    result = judged(improvement(), pairs([0.0] * n, [1.0] * n))
    assert not result.passed
    assert result.because == f"{n} pairs of scores can not show a difference at 95% confidence, 5 are the fewest"
    assert judged(improvement(), pairs([0.0] * 5, [1.0] * 5)).passed


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        ([0.1] * 10, [0.9] * 9),
        ([0.1] * 9, [0.9] * 10),
        ([0.1] * 10, [0.9] * 9 + [None]),
        ([0.1] * 9 + [None], [0.9] * 10),
    ],
)
def test_a_pair_that_is_missing_counts_against_coverage(base: list[float | None], tuned: list[float | None]) -> None:
    result = judged(improvement(), pairs(base, tuned))
    assert (result.passed, result.n, result.n_unscored) == (False, 9, 1)
    assert result.because == "9 of 10 replies scored, 100% needed"
    assert judged(improvement(min_coverage=0.9), pairs(base, tuned)).passed


@pytest.mark.parametrize("given", [[], pairs([0.1] * 9, []), pairs([None] * 9, [None] * 9)])
def test_without_a_pair_nothing_is_known(given: list[Score]) -> None:
    result = judged(improvement(min_coverage=0.0), given)
    assert not result.passed
    assert result.observed is None
    assert "nothing was scored" in result.because


@pytest.mark.parametrize(
    ("base", "tuned", "passed"), [(0.65, 0.60, True), (0.65, 0.59, False), (0.5, 0.9, True), (0.7, 0.65, True)]
)
def test_a_drop_up_to_the_declared_one_passes(base: float, tuned: float, passed: bool) -> None:
    result = judged(benchmark(), bench={"base": [bench(base)], "tuned": [bench(tuned)]})
    assert result.passed == passed
    assert f"acc base {base:.3f}, tuned {tuned:.3f} (standard error of one model 0.020)" in result.because


@pytest.mark.parametrize(
    ("found", "missing"),
    [
        ({}, "base"),
        ({"base": [bench(0.5)]}, "tuned"),
        ({"base": [bench(None)], "tuned": [bench(0.5)]}, "base"),
        ({"base": [bench(0.5)], "tuned": [bench(0.5, metric="f1")]}, "tuned"),
        ({"base": [bench(0.5, task="other")], "tuned": [bench(0.5)]}, "base"),
    ],
)
def test_a_benchmark_that_is_missing_fails(found: dict[str, Any], missing: str) -> None:
    result = judged(benchmark(1.0), bench=found)
    assert not result.passed
    assert result.observed is None
    assert result.because == f"toy has no acc for {missing}"


def test_a_checkpoint_that_failed_the_probe_fails_the_gate() -> None:
    rule = SelectionRule(kind="selection", name="toy rule")
    assert judged(rule).passed
    result = judged(rule, selection=selection(eligible=False))
    assert (result.passed, result.k, result.n) == (False, 1, 4)
    assert result.because == "step 5: lowest of ALL"


def test_one_failed_rule_fails_the_verdict_and_all_are_told_in_order() -> None:
    rules = (SelectionRule(kind="selection", name="first"), failures(name="second"), benchmark())
    evidence = Evidence(selection=selection(), probe_suite="another", scores=scores(["ok"] * 64), bench={},
                        helplines=HELPLINES, cards=())
    verdict = judge(Gate(confidence=0.95, rules=rules), evidence, seed=1)
    assert [(rule.name, rule.passed) for rule in verdict.rules] == [
        ("first", True),
        ("second", True),
        ("toy rule", False),
    ]
    assert not verdict.passed


def test_a_verdict_is_the_same_whenever_it_is_made() -> None:
    given = pairs([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.1, 0.6, 0.9, 0.4, 0.9])
    assert judged(improvement(), given) == judged(improvement(), list(reversed(given)))


def test_the_stage_publishes_a_failed_verdict_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(real_encoder.ensure().parent)
    Path("params.yaml").write_text(IN_ORDER, encoding="utf-8")
    for model in ("base", "tuned"):
        with publishing(Path(f"out/bench/{model}")) as folder:
            write_jsonl(folder / "bench.jsonl", [])
    with publishing(Path("out/score")) as folder:
        write_jsonl(folder / "scores.jsonl", scores(["ok"] * 64, suite="adversarial_test"))
    with publishing(Path("out/calibrate")) as folder:
        write_jsonl(folder / "cards.jsonl", [card(measurement("own_toxicity", recall=estimate(0.9, 1.0)))])
    with publishing(Path("out/select")) as folder:
        write_json(folder / "selection.json", selection())
    stage.main()
    verdict = read_json(verify(Path("out/gate")) / "verdict.json", Verdict)
    assert [rule.passed for rule in verdict.rules[:6]] == [True, True, False, False, False, False]
    assert not verdict.rules[7].passed
    assert verdict.rules[7].because.startswith("linear 1 has no false_alarms on own_toxicity; referral has no card; ")
    assert verdict.valid_from == date(2026, 11, 24)
    assert "rules hold" in capsys.readouterr().err


def test_nothing_passes_whose_checkpoint_did_not_pass_the_probe_whatever_the_rules_say() -> None:
    refused = selection().model_copy(update={"eligible": False})
    evidence = Evidence(selection=refused, probe_suite="another", scores=scores(["ok"] * 64), bench={},
                        helplines=HELPLINES, cards=())
    verdict = judge(Gate(confidence=0.95, rules=(failures(),)), evidence, seed=1)
    assert verdict.rules[0].passed
    assert not verdict.passed


def lines(*verified: date | None) -> Helplines:
    """Regions whose emergency number and one service were verified on these days."""
    emergency = {"contact": "999", "verified_on": verified[0], "source": "toy"}
    resources = [{"name": f"Toy {i}", "kind": "crisis_line", "contacts": [f"100 10{i}"], "channels": ["call"],
                  "hours": "24/7", "cost": "free", "languages": ["en"], "confidential": True, "verified_on": day,
                  "source": "toy"} for i, day in enumerate(verified[1:])]
    return {"XX": Region.model_validate({"emergency": emergency, "resources": resources, "stale": []})}


def stale_rule(days: int = 30) -> HelplinesRule:
    return HelplinesRule(kind="helplines", name="toy rule", as_of=date(2026, 3, 31), stale_after_days=days)


@pytest.mark.parametrize(
    ("verified", "passed", "told"),
    [
        ((date(2026, 3, 1), date(2026, 3, 31)), True, "all 2 were verified within 30 days of 2026-03-31"),
        ((date(2026, 3, 1), None), False,
         "1 of 2 helplines are stale on 2026-03-31: 1 never verified, 0 on a later day, 0 more than 30"),
        ((date(2026, 2, 28), date(2026, 3, 31)), False, "1 of 2 helplines are stale on 2026-03-31: 0 never verified"),
        ((date(2026, 3, 1), date(2026, 4, 1)), False,
         "0 never verified, 1 on a later day, 0 more than 30 days before; among them XX Toy 0"),
    ],
)
def test_a_helpline_never_verified_or_too_long_ago_or_on_a_day_to_come_fails_the_gate(
    verified: tuple[date | None, ...], passed: bool, told: str
) -> None:
    result = judged(stale_rule(), helplines=lines(*verified))
    assert result.passed is passed
    assert told in result.because


def test_a_verdict_holds_until_the_first_helpline_grows_stale() -> None:
    def verdict(*days: date | None) -> Verdict:
        evidence = Evidence(selection=selection(), probe_suite="another", scores=[], bench={}, helplines=lines(*days),
                            cards=())
        return judge(Gate(confidence=0.95, rules=(stale_rule(),)), evidence, seed=1)

    held = verdict(date(2026, 3, 10), date(2026, 3, 2))
    assert (held.valid_from, held.valid_until) == (date(2026, 3, 31), date(2026, 4, 1))
    assert [held.expired(date(2026, *day)) for day in ((3, 30), (3, 31), (4, 1), (4, 2))] == [True, False, False, True]
    assert verdict(date(2026, 3, 10), None).valid_until is None
    assert verdict(date(2026, 3, 10), date(2026, 2, 1)).valid_until is None  # stale before the day it is made for
    assert verdict(date(2026, 3, 10), None).expired(date(2026, 3, 31))


# --- what the scorers have shown


def floor(measure: str = "recall", *, scorer: str = "linear", least: float | None = 0.7,
          most: float | None = None) -> Floor:
    return Floor.model_validate({"scorer": scorer, "set": "toy_set", "measure": measure, "min_lower_bound": least,
                                 "max_upper_bound": most})


FALSE_ALARMS = floor("false_alarms", least=None, most=0.1)


def calibration(*floors: Floor) -> CalibrationRule:
    return CalibrationRule(kind="calibration", name="toy rule", floors=floors or (floor(),))


SHOWN = card(measurement(recall=estimate(0.8, 0.9), false_alarms=estimate(0.01, 0.09), auc=estimate(0.85, 0.95)))


def test_a_scorer_that_has_shown_enough_passes_and_the_floors_are_counted() -> None:
    rule = calibration(floor(), FALSE_ALARMS, floor("auc", least=0.85))
    result = judged(rule, scores(["ok"] * 3), cards=[SHOWN])
    assert (result.passed, result.n, result.k) == (True, 3, 0)
    assert result.because == "3 floors of 1 scorers hold"


@pytest.mark.parametrize("cards", [(), (card(measurement(recall=estimate(0.8, 0.9)), scorer="other"),)])
def test_a_scorer_without_a_card_fails(cards: tuple[ScorerCard, ...]) -> None:
    result = judged(calibration(), cards=cards)
    assert not result.passed
    assert result.because == "linear has no card"


def test_a_card_of_another_version_than_the_one_that_scored_fails_however_good_it_is() -> None:
    result = judged(calibration(), scores(["ok"] * 3), cards=[SHOWN.model_copy(update={"version": "0"})])
    assert not result.passed
    assert result.because == "the card of linear is of version 0, its scores of 1"


def test_one_score_of_another_version_among_many_fails() -> None:
    given = [*scores(["ok"] * 3), score("p9").model_copy(update={"version": "2"})]
    assert judged(calibration(), given, cards=[SHOWN]).because == (
        "the card of linear is of version 1, its scores of 2")
    elsewhere = score("p9", scorer="other").model_copy(update={"version": "2"})
    assert judged(calibration(), [*scores(["ok"] * 3), elsewhere], cards=[SHOWN]).passed


@pytest.mark.parametrize("measured", [(), (measurement("another", recall=estimate(0.8, 0.9)),), (measurement(),)])
def test_a_set_on_which_nothing_was_measured_fails(measured: tuple[Any, ...]) -> None:
    result = judged(calibration(), cards=[card(*measured)])
    assert not result.passed
    assert result.because == "linear 1 has no recall on toy_set"


@pytest.mark.parametrize("rule", [floor(), FALSE_ALARMS])
def test_an_item_that_was_left_unscored_fails_however_good_the_rest_is(rule: Floor) -> None:
    shown = card(measurement(n_unscored=1, recall=estimate(0.99, 1.0), false_alarms=estimate(0.0, 0.01)))
    result = judged(calibration(rule), cards=[shown])
    assert not result.passed
    assert result.because == "linear left 1 of 50 of toy_set unscored"


def test_a_lower_bound_under_the_floor_fails_though_the_number_itself_is_above() -> None:
    result = judged(calibration(), cards=[card(measurement(recall=estimate(0.69, 0.99)))])
    assert not result.passed
    assert result.because == "recall of linear on toy_set is at least 0.690 (n 50), needed 0.700"
    assert judged(calibration(), cards=[card(measurement(recall=estimate(0.7, 0.7)))]).passed


def test_false_alarms_that_may_be_above_the_limit_fail_though_the_number_itself_is_below() -> None:
    result = judged(calibration(FALSE_ALARMS), cards=[card(measurement(false_alarms=estimate(0.0, 0.11)))])
    assert not result.passed
    assert result.because == "false_alarms of linear on toy_set may be 0.110 (n 50), allowed 0.100"
    assert judged(calibration(FALSE_ALARMS), cards=[card(measurement(false_alarms=estimate(0.0, 0.1)))]).passed


@pytest.mark.parametrize("least", [0.0, 1.0])
def test_a_floor_of_nothing_and_a_floor_of_all_are_floors_too(least: float) -> None:
    rule = calibration(floor(least=least))
    assert judged(rule, cards=[card(measurement(recall=estimate(least, 1.0)))]).passed
    assert not judged(rule, cards=[card(measurement())]).passed
    assert judged(rule, cards=[card(measurement(recall=estimate(0.5, 1.0)))]).passed == (least == 0.0)


def test_no_false_alarm_allowed_means_none() -> None:
    rule = calibration(floor("false_alarms", least=None, most=0.0))
    assert not judged(rule, cards=[card(measurement(false_alarms=estimate(0.0, 0.01)))]).passed


def test_every_floor_that_does_not_hold_is_told_and_counted() -> None:
    rule = calibration(floor(), FALSE_ALARMS, floor(scorer="other"))
    shown = card(measurement(recall=estimate(0.2, 0.3), false_alarms=estimate(0.0, 0.05)))
    result = judged(rule, cards=[shown])
    assert (result.passed, result.n, result.k) == (False, 3, 2)
    assert result.because == (
        "recall of linear on toy_set is at least 0.200 (n 50), needed 0.700; other has no card")


def test_a_probes_scorer_that_scored_no_reply_is_judged_by_its_card_alone() -> None:
    assert judged(calibration(), [], cards=[SHOWN]).passed


def test_what_the_scorers_have_shown_is_part_of_what_a_verdict_is_about() -> None:
    assert Path("out/calibrate") in stage.JUDGED
