"""Toy evidence for the tests of gate and report: scores, a selection and benchmarks of a model that nobody trained."""

from collections.abc import Sequence
from datetime import date

from attunement.records import (
    Bench,
    Candidate,
    Estimate,
    Measurement,
    ModelName,
    RuleResult,
    Score,
    ScorerCard,
    Selection,
    TrainingSummary,
    Verdict,
)


def score(
    prompt: str,
    *,
    value: float | None = 1.0,
    label: str | None = "ok",
    model: ModelName = "tuned",
    suite: str = "toy",
    scorer: str = "linear",
) -> Score:
    return Score(
        suite=suite,
        prompt_id=prompt,
        model=model,
        sample=0,
        scorer=scorer,
        version="1",
        value=value,
        label=label,
        because="toy",
    )


def scores(labels: Sequence[str | None], **place: str) -> list[Score]:
    """One tuned reply per label; None is unscored."""
    return [
        score(f"p{i:03d}", value=None if label is None else 1.0, label=label, **place) for i, label in enumerate(labels)
    ]


def pairs(base: Sequence[float | None], tuned: Sequence[float | None]) -> list[Score]:
    """The values of both models, prompt by prompt; of the shorter list some prompts are missing."""
    both: list[tuple[ModelName, Sequence[float | None]]] = [("base", base), ("tuned", tuned)]
    return [
        score(f"p{i:03d}", value=value, label=None, model=model)
        for model, values in both
        for i, value in enumerate(values)
    ]


def selection(*, eligible: bool = True) -> Selection:
    candidate = Candidate(
        step=5,
        val_loss=1.23456,
        n_replies=4,
        n_toxic=0 if eligible else 1,
        n_unscored=0,
        eligible=eligible,
        because="toy",
    )
    return Selection(step=5, eligible=eligible, because="lowest of ALL", candidates=(candidate,))


def training(*, n_steps: int = 20, stopped_because: str = "", n_cut: int = 2, n_left_out: int = 1) -> TrainingSummary:
    """A training of 20 planned steps."""
    return TrainingSummary(n_dialogues=79, n_val_dialogues=9, n_cut=n_cut, n_left_out=n_left_out, n_steps=n_steps,
                           n_planned_steps=20, stopped_because=stopped_because)


def bench(value: float | None, *, metric: str = "acc", task: str = "toy") -> Bench:
    return Bench(task=task, version="1", metric=metric, value=value, stderr=None if value is None else 0.02, n=40)


def verdict_of(passed: bool, rules: Sequence[RuleResult]) -> Verdict:
    """A verdict of these rules that holds for ever."""
    return Verdict(passed=passed, rules=tuple(rules), valid_from=date.min, valid_until=date.max)


def estimate(low: float, high: float) -> Estimate:
    """A number in the middle of its interval."""
    return Estimate(value=(low + high) / 2, low=low, high=high)


def measurement(name: str = "toy_set", *, n_unscored: int = 0, **measures: Estimate | None) -> Measurement:
    """A scorer against a set of 50; what is not given was not measured."""
    nothing = dict.fromkeys(("auc", "precision", "recall", "false_alarms", "accuracy", "kappa", "macro_f1"))
    return Measurement(
        set=name,
        licence="CC-BY-4.0",
        about="toys",
        question="toxic",
        content="0" * 16,
        n=50 - n_unscored,
        n_unscored=n_unscored,
        prevalence=0.5,
        groups=(),
        **nothing | measures,
    )


def card(*measured: Measurement, scorer: str = "linear", version: str = "1") -> ScorerCard:
    """What a scorer has shown, in the version that `score` scores with."""
    return ScorerCard(
        scorer=scorer,
        kind=scorer.partition(":")[0],
        version=version,
        settings={},
        does_not_see="anything",
        items_per_s=None,
        measured=measured,
    )
