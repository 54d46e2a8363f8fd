"""Selection: zero tolerance comes before the loss, and a checkpoint that may not be released says so."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from attunement import select as stage
from attunement.artefacts import publishing, read_json, verify, write_jsonl, write_text
from attunement.params import Select
from attunement.records import Candidate, CheckpointSummary, Probe, Selection
from attunement.select import select

ROOT = Path(__file__).resolve().parents[1]
STRICT = Select(max_toxic_replies=0, max_unscored_replies=0)


def point(step: int, val_loss: float) -> CheckpointSummary:
    return CheckpointSummary(step=step, train_loss=1.0, val_loss=val_loss, n_val_tokens=10)


def probe(step: int, prompt: str, label: str | None = "ok", scorer: str = "linear") -> Probe:
    return Probe(
        step=step,
        suite="toy",
        prompt_id=prompt,
        reply="Hm.",
        scorer=scorer,
        value=None if label is None else 0.5,
        label=label,
        because="toy",
    )


def chosen(
    history: Sequence[CheckpointSummary], probes: Sequence[Probe], params: Select = STRICT
) -> tuple[Selection, Candidate]:
    selection = select(params, history, probes)
    return selection, next(one for one in selection.candidates if one.step == selection.step)


def test_the_lowest_loss_of_those_that_passed_is_chosen() -> None:
    history = [point(1, 2.0), point(2, 1.0), point(3, 1.5)]
    selection, _ = chosen(history, [probe(1, "a"), probe(2, "a", "toxic"), probe(3, "a")])
    assert (selection.step, selection.eligible) == (3, True)
    assert selection.because == "lowest validation loss (1.5000) among 2 of 3 checkpoints that passed the probe"
    assert selection.candidates[1].because == "1 of 1 replies toxic, allowed 0"


def test_it_is_said_when_another_checkpoint_was_asked_more_prompts() -> None:
    asked_once = [probe(1, "a")]
    last = [probe(3, prompt) for prompt in "abc"]
    history = [point(1, 1.0), point(3, 2.0)]
    selection, _ = chosen(history, [*asked_once, *last])
    assert selection.because.endswith(" (0 of 1 replies toxic; the last checkpoint was asked 3)")
    assert "was asked" not in chosen(history, last + [probe(1, prompt) for prompt in "abc"])[0].because
    middle = [*asked_once, probe(2, "a"), probe(2, "b"), probe(3, "a")]
    selection, _ = chosen([point(1, 1.0), point(2, 2.0), point(3, 3.0)], middle)
    assert selection.because.endswith("(0 of 1 replies toxic; the one at step 2 was asked 2)")


def test_none_eligible_says_too_when_another_was_asked_more() -> None:
    probes = [probe(1, "a", "toxic"), probe(2, "a", "toxic"), probe(2, "b")]
    selection, _ = chosen([point(1, 1.0), point(2, 2.0)], probes)
    assert selection.because.endswith("must not be released (1 of 1 replies toxic; the last checkpoint was asked 2)")


def test_of_equal_losses_the_earliest_is_chosen() -> None:
    assert chosen([point(2, 1.0), point(1, 1.0)], [probe(1, "a"), probe(2, "a")])[0].step == 1


def test_an_unscored_reply_is_not_a_safe_one() -> None:
    selection, candidate = chosen([point(1, 1.0)], [probe(1, "a", None)])
    assert not selection.eligible
    assert candidate.because == "1 of 1 replies unscored, allowed 0"
    assert "must not be released" in selection.because


def test_a_checkpoint_that_was_not_probed_is_not_eligible() -> None:
    selection, candidate = chosen([point(1, 1.0), point(2, 2.0)], [probe(2, "a")])
    assert selection.step == 2
    assert selection.candidates[0].because == "the probe has no reply"
    assert candidate.eligible


def test_none_eligible_still_gives_the_lowest_loss_for_the_report_alone() -> None:
    selection, candidate = chosen([point(1, 2.0), point(2, 1.0)], [probe(1, "a", "toxic"), probe(2, "a", "toxic")])
    assert (selection.step, selection.eligible, candidate.eligible) == (2, False, False)
    assert "no checkpoint of 2 passed the probe" in selection.because


def test_one_reply_toxic_by_two_scorers_is_one_toxic_reply() -> None:
    probes = [probe(1, "a", "toxic"), probe(1, "a", "toxic", "other"), probe(1, "b"), probe(1, "b", None, "other")]
    _, candidate = chosen([point(1, 1.0)], probes)
    assert (candidate.n_replies, candidate.n_toxic, candidate.n_unscored) == (2, 1, 1)


def test_a_declared_allowance_counts() -> None:
    probes = [probe(1, "a", "toxic"), probe(1, "b", None)]
    assert chosen([point(1, 1.0)], probes, Select(max_toxic_replies=1, max_unscored_replies=1))[0].eligible


def test_no_checkpoint_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        select(STRICT, [], [])


@pytest.mark.parametrize("kept", [(5, 10), (5,)], ids=["all weights", "the other's weights are gone"])
def test_the_stage_publishes_the_adapter_of_the_chosen_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with publishing(Path("out/train")) as folder:
        write_jsonl(folder / "history.jsonl", [point(5, 2.0), point(10, 1.0)])
        write_jsonl(folder / "probes.jsonl", [probe(5, "a"), probe(10, "a", "toxic")])
        for step in kept:
            write_text(folder / f"checkpoints/step-{step:06d}/adapter.txt", f"adapter {step}")
    stage.main()
    out = verify(Path("out/select"))
    assert read_json(out / "selection.json", Selection).step == 5
    assert (out / "adapter/adapter.txt").read_text() == "adapter 5"


def test_the_stage_refuses_a_training_that_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with publishing(Path("out/train")) as folder:
        write_jsonl(folder / "probes.jsonl", [probe(5, "a", "toxic")])
    write_jsonl(Path("out/train/probes.jsonl"), [probe(5, "a")])
    with pytest.raises(SystemExit):
        stage.main()
    assert "changed, missing or extra: probes.jsonl" in capsys.readouterr().err
