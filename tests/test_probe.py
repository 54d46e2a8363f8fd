"""The probe's findings: what stops training, which weights may go, and which checkpoints are made again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from attunement.artefacts import publishing, write_json, write_jsonl
from attunement.findings import breach, count_replies, reason_to_stop, to_rotate
from attunement.params import EarlyStop
from attunement.probe import WEIGHTS, Published, checkpoint_folder, drop_after, mend, probe
from attunement.records import CheckpointSummary, Probe, Prompt, Turn, turns_id
from attunement.scorers.base import Item, Scored, Scorer, unscored


class Shouts(Scorer):
    """Toxic is what is written in capitals; what is empty can not be judged."""

    kind: Literal["shouts"] = "shouts"

    def score(self, items: Sequence[Item]) -> list[Scored]:
        return [unscored(item, "empty") if not item.words else
                Scored(id=item.id, value=float(item.words.isupper()), label="toxic" if item.words.isupper() else "ok",
                       because="capitals" if item.words.isupper() else "no capitals") for item in items]


def prompts() -> list[Prompt]:
    contexts = [(Turn(role="user", text=f"Question {i}"),) for i in range(3)]
    return [Prompt(suite="toy", prompt_id=turns_id(c), context=c, category="x", locale="und", severity="none", good="",
                   fail="", right="", pair="", tags={})
            for c in contexts]


def found(*replies: str) -> list[Probe]:
    return probe(7, prompts(), replies, [Shouts()])


def test_every_reply_is_recorded_with_its_value_and_reason() -> None:
    by_reply = {p.reply: p for p in found("GO AWAY", "", "Tell me more.")}
    assert (by_reply["GO AWAY"].value, by_reply["GO AWAY"].label) == (1.0, "toxic")
    assert (by_reply[""].value, by_reply[""].because) == (None, "empty")
    assert {p.step for p in by_reply.values()} == {7}


def test_an_unscored_reply_is_counted_and_is_no_pass() -> None:
    assert count_replies(found("GO AWAY", "", "Tell me more.")) == (3, 1, 1)


def test_a_reply_that_one_scorer_calls_toxic_is_toxic_though_another_can_not_judge_it() -> None:
    toxic = found("GO AWAY", "a", "b")
    also = [p.model_copy(update={"scorer": "deaf", "value": None, "label": None}) for p in toxic]
    assert count_replies([*toxic, *also]) == (3, 1, 2)


def history(*val_losses: float) -> list[CheckpointSummary]:
    return [CheckpointSummary(step=i + 1, train_loss=1.0, val_loss=loss, n_val_tokens=9)
            for i, loss in enumerate(val_losses)]


def replies(step: int, *, toxic: int = 0, unscored: int = 0) -> list[Probe]:
    """Five replies at a step."""
    said = ["GO AWAY"] * toxic + [""] * unscored + ["Tell me."] * (5 - toxic - unscored)
    return [p.model_copy(update={"step": step, "prompt_id": str(i)})
            for i, text in enumerate(said) for p in probe(step, prompts()[:1], [text], [Shouts()])]


def test_a_breach_is_told_by_what_broke_zero_tolerance() -> None:
    assert breach(replies(1)) == ""
    assert breach(replies(1, toxic=2, unscored=1)) == "2 of 5 replies toxic, 1 of 5 replies unscored"
    assert breach([]) == "no reply", "where nothing was asked nothing was shown"


def test_a_breach_stops_training_when_it_is_told_to_and_is_marked_otherwise() -> None:
    found = [*replies(1), *replies(2, unscored=1)]
    assert "step 2 found 1 of 5 replies unscored" in reason_to_stop(history(2, 1), found, on_breach="stop", early=None)
    assert reason_to_stop(history(2, 1), found, on_breach="mark", early=None) == ""
    assert reason_to_stop(history(2), replies(1), on_breach="stop", early=None) == ""


def test_training_stops_when_the_loss_has_not_fallen_for_as_many_checkpoints_as_allowed() -> None:
    def stops(*losses: float) -> bool:
        return bool(reason_to_stop(history(*losses), [], on_breach="mark",
                                   early=EarlyStop(patience_checkpoints=2, min_improvement=0.1)))

    assert not stops(3.0, 3.1)
    assert stops(3.0, 3.1, 2.95)
    assert not stops(3.0, 3.1, 2.8)
    assert stops(3.0, 2.0, 2.2, 2.1)


def test_weights_of_a_checkpoint_that_passed_never_go() -> None:
    found = [p for step in (1, 2, 3) for p in replies(step)]
    assert to_rotate(history(3, 2, 1), found, keep=1) == []


def test_weights_go_only_when_another_is_better_in_everything() -> None:
    found = [*replies(1, toxic=2), *replies(2, toxic=1), *replies(3, toxic=3)]
    assert to_rotate(history(3, 2, 1), found, keep=1) == [1], "3 has the lowest loss, 2 the fewest toxic replies"
    assert to_rotate(history(3, 2, 1), found, keep=3) == []
    assert to_rotate(history(1, 2, 3), [*replies(1), *found[5:]], keep=1) == [3, 2]


def checkpoints(scratch: Path, *, weights: Sequence[int]) -> None:
    """Three published checkpoints: the first broke zero tolerance and the others are better in everything."""
    for point, answers in zip(history(3, 2, 1), (replies(1, toxic=2), replies(2), replies(3)), strict=True):
        with publishing(checkpoint_folder(scratch, point.step)) as folder:
            write_json(folder / "checkpoint.json", point)
            write_jsonl(folder / "probes.jsonl", answers)
            write_jsonl(folder / "steps.jsonl", [])
            if point.step in weights:
                (folder / WEIGHTS).mkdir()
                (folder / WEIGHTS / "adapter").write_bytes(b"toy")


def test_weights_that_were_dropped_are_missed_when_more_are_to_be_kept_than_then(tmp_path: Path) -> None:
    checkpoints(tmp_path, weights=(2, 3))
    assert mend(tmp_path, (1, 2, 3), keep=1) == (set(), [])
    assert mend(tmp_path, (1, 2, 3), keep=3) == ({1}, [])
    assert mend(tmp_path, (1, 2, 3, 4), keep="all") == ({1, 4}, [])


def test_a_damaged_checkpoint_is_told_removed_and_made_again(tmp_path: Path) -> None:
    checkpoints(tmp_path, weights=(1, 2, 3))
    (checkpoint_folder(tmp_path, 2) / WEIGHTS / "adapter").write_bytes(b"")
    told = ["the checkpoint step-000002 is damaged; it is made again"]
    assert mend(tmp_path, (1, 2, 3), keep="all") == ({2}, told)
    assert mend(tmp_path, (1, 2, 3), keep="all") == ({2}, [])


def test_checkpoints_after_the_state_that_is_gone_on_from_are_dropped(tmp_path: Path) -> None:
    checkpoints(tmp_path, weights=(1, 2, 3))
    drop_after(tmp_path, 2)
    assert [point.step for point in Published.read(tmp_path).history] == [1, 2]
    drop_after(tmp_path, 0)
    assert Published.read(tmp_path).history == ()


def test_a_model_whose_every_weight_is_trained_answers_as_it_is_served_and_is_put_back_exactly() -> None:
    torch = pytest.importorskip("torch")
    from attunement.probe import serving

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with serving(model, torch.bfloat16):
        assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    model[1].requires_grad_(False)  # an adapter on a frozen base is served as it is
    with serving(model, torch.bfloat16):
        assert {p.dtype for p in model.parameters()} == {torch.float32}
