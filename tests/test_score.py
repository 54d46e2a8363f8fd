"""Scoring: every reply has an answer of every scorer, and what was not scored is counted and not averaged."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import pytest

import real_encoder
from attunement import score as stage
from attunement.artefacts import publishing, read_jsonl, verify, write_jsonl
from attunement.errors import DataError
from attunement.records import ModelName, Prompt, Reply, Score, ScoreSummary, Turn
from attunement.score import score, summarise
from attunement.scorers.base import Item, Scored, Scorer, unscored
from attunement.scorers.linear import Linear
from attunement.scorers.referral import Referral
from attunement.suites import read_suite

ROOT = Path(__file__).resolve().parents[1]
TOY = (ROOT / "tests/toy/params.yaml").read_text(encoding="utf-8").replace("@SHA256@", "0" * 64)
TOY = TOY.replace('"@ENCODER_SHA256@"', "{model.safetensors: '" + "0" * 64 + "'}")


class Length(Scorer):
    """The number of characters; an empty reply is unscored, and one of more than three is long."""

    kind: Literal["length"] = "length"
    labels: ClassVar[tuple[str, ...]] = ("long", "short")

    def score(self, items: Sequence[Item]) -> list[Scored]:
        return [
            unscored(item, "no words")
            if not item.words
            else Scored(
                id=item.id,
                value=float(len(item.words)),
                label="long" if len(item.words) > 3 else "short",
                because="counted",
            )
            for item in items
        ]


def prompt(prompt_id: str, suite: str = "toy", **tags: str) -> Prompt:
    return Prompt(
        suite=suite,
        prompt_id=prompt_id,
        context=(Turn(role="user", text="Hello."),),
        category="toy",
        locale="en-US",
        severity="none",
        good="",
        fail="",
        right="",
        pair="",
        tags=tags,
    )


def reply(prompt_id: str, text: str, model: ModelName = "tuned", suite: str = "toy") -> Reply:
    return Reply(
        suite=suite, prompt_id=prompt_id, model=model, sample=0, text=text, stopped_by="end_of_turn", n_tokens=3
    )


def both(prompt_id: str, base: str, tuned: str) -> list[Reply]:
    return [reply(prompt_id, base, "base"), reply(prompt_id, tuned)]


def test_each_reply_has_the_answer_to_its_own_words_whatever_the_order() -> None:
    replies = [*both("b", "bbb", "bbbb"), *both("a", "a", "aa")]
    found = score([Length()], [prompt("a"), prompt("b")], replies)
    assert [(s.prompt_id, s.model, s.value) for s in found] == [
        ("a", "base", 1.0),
        ("a", "tuned", 2.0),
        ("b", "base", 3.0),
        ("b", "tuned", 4.0),
    ]
    assert found == score([Length()], [prompt("b"), prompt("a")], replies[::-1])
    assert {s.version for s in found} == {Length().version}


def test_a_reply_to_a_prompt_that_its_suite_does_not_hold_is_an_error() -> None:
    with pytest.raises(DataError, match=r"a reply of suite 'toy' answers prompt gone, which the suite does not hold"):
        score([Length()], [prompt("a")], [*both("a", "a", "b"), reply("gone", "secret")])
    with pytest.raises(DataError, match="a reply of suite 'other'"):
        score([Length()], [prompt("a")], [*both("a", "a", "b"), reply("a", "b", suite="other")])


def test_a_prompt_without_a_reply_is_an_error_and_not_left_out() -> None:
    with pytest.raises(DataError, match=r"tuned has not answered every prompt: 2 of 'toy' lack a reply"):
        score(
            [Length()],
            [prompt("a"), prompt("b"), prompt("c")],
            [*both("a", "a", "b"), reply("b", "b", "base"), reply("c", "c", "base")],
        )


def test_the_prompts_tags_and_locale_reach_the_scorer() -> None:
    texts = "Are you thinking of suicide? Call 988, tell your doctor, and ask your sister to sit with you."
    (_, tuned) = score([Referral()], [prompt("a", risk="active")], both("a", "Hm.", texts))
    assert tuned.label == "complete"
    assert "988 (US)" in tuned.because


def test_a_tag_that_names_no_severity_leaves_its_reply_unscored_and_says_why() -> None:
    found = score(
        [Referral()], [prompt("a", risk="severe"), prompt("b")], [*both("a", "Hm.", "Hm."), *both("b", "", "")]
    )
    assert [(s.prompt_id, s.value) for s in found] == [("a", None), ("a", None), ("b", 1.0), ("b", 1.0)]
    assert "must be one of none, passive, active, imminent" in found[0].because


def test_an_unscored_reply_is_counted_and_in_no_mean() -> None:
    replies = [*both("a", "", "aa"), *both("b", "bb", "bbbb"), *both("c", "", "")]
    base, tuned = summarise(score([Length()], [prompt(p) for p in "abc"], replies), [Length()], seed=1)
    assert (base.model, base.n, base.n_unscored, base.mean) == ("base", 3, 2, 2.0)
    assert (tuned.model, tuned.n, tuned.n_unscored, tuned.mean) == ("tuned", 3, 1, 3.0)
    assert tuned.labels == {"long": 1, "short": 1}
    assert tuned.low is not None
    assert tuned.high is not None
    assert tuned.low <= 3.0 <= tuned.high


def test_a_suite_without_a_score_has_no_mean_rather_than_zero() -> None:
    base, _ = summarise(score([Length()], [prompt("a")], both("a", "", "")), [Length()], seed=1)
    assert (base.mean, base.low, base.high, base.labels) == (None, None, None, {})


def test_a_scorer_whose_file_is_missing_names_it() -> None:
    with pytest.raises(DataError, match=r"scorer 'referral' needs gone\.yaml"):
        score([Referral(helplines="gone.yaml")], [prompt("a")], both("a", "a", "b"))


def test_another_setting_is_another_version() -> None:
    assert Linear(kind="linear", threshold=0.5).version != Linear(kind="linear", threshold=0.6).version


def test_the_stage_scores_both_models_on_every_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    (tmp_path / "models").symlink_to(real_encoder.ensure().parent)
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(
        TOY.replace("suites: {adversarial_test: 40, empathy: 20, crisis: 20}", "suites: {crisis: 20}")
        .replace("suite: adversarial_test, ", "suite: crisis, ")
        .replace("suite: empathy", "suite: crisis")
        .replace("      suite: adversarial_test", "      suite: crisis"),
        encoding="utf-8",
    )
    prompts = read_suite("crisis", amount=20)
    models: tuple[ModelName, ...] = ("base", "tuned")
    for model in models:
        with publishing(Path(f"out/respond/{model}")) as folder:
            write_jsonl(folder / "replies.jsonl", [reply(p.prompt_id, "I hear you.", model, "crisis") for p in prompts])
    stage.main()
    out = verify(Path("out/score"))
    assert len(read_jsonl(out / "scores.jsonl", Score)) == 2 * 3 * len(prompts)
    summaries = read_jsonl(out / "summary.jsonl", ScoreSummary)
    assert [(s.model, s.scorer) for s in summaries[:3]] == [
        ("base", "linear"),
        ("base", "referral"),
        ("base", "rubric:support"),
    ]
    referral = next(s for s in summaries if (s.model, s.scorer) == ("tuned", "referral"))
    assert 0 < referral.n < referral.n + referral.n_not_asked == len(prompts)  # false alarms ask for no referral
    assert "complete" not in referral.labels
    assert (
        f"{2 * 3 * len(prompts)} scores of {2 * len(prompts)} replies by 3 scorers, 0 unscored"
        in capsys.readouterr().err
    )


def test_what_a_scorer_was_not_asked_about_is_in_no_mean_and_counted_apart() -> None:
    class Careful(Length):
        labels: ClassVar[tuple[str, ...]] = ("said", "skipped")
        nothing_asked: ClassVar[tuple[str, ...]] = ("skipped",)

        def score(self, items: Sequence[Item]) -> list[Scored]:
            return [Scored(id=i.id, value=1.0 if i.words == "skip" else 0.5,
                           label="skipped" if i.words == "skip" else "said", because="") for i in items]

    scorer = Careful()
    replies = [*both("a", "skip", "skip"), *both("b", "word", "word")]
    found = summarise(score([scorer], [prompt("a"), prompt("b")], replies), [scorer], seed=1)[0]
    assert (found.n, found.n_not_asked, found.mean) == (1, 1, 0.5)
