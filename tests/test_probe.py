"""The probe's findings, and the state that a killed run goes on from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from attunement.findings import count_replies
from attunement.probe import atomic_checkpoint_io, probe
from attunement.records import Probe, Prompt, Turn, turns_id
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


def test_a_failed_save_leaves_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    writer, path = atomic_checkpoint_io(), tmp_path / "resume.ckpt"
    writer.save_checkpoint({"step": 1}, path)

    def full(*args: Any, **kwargs: Any) -> None:
        args[1].write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["resume.ckpt"]
