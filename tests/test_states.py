"""The state that a killed run goes on from: whole or not used, and of this training or refused."""

from pathlib import Path
from typing import Any

import pytest

from attunement.errors import TrainingError
from attunement.states import States, atomic_checkpoint_io, clear_discarded, differing, discard

torch = pytest.importorskip("torch")
PARTS = {"train.lora.r": "8", "seed": "1"}


def saved(tmp_path: Path, *steps: int) -> States:
    states = States(tmp_path / "one", PARTS)
    for step in steps:
        atomic_checkpoint_io().save_checkpoint({"made_of": PARTS, "step": torch.full((1000,), step)}, states.path(step))
    return states


def test_a_failed_save_leaves_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, path = atomic_checkpoint_io(), tmp_path / "resume.ckpt"
    writer.save_checkpoint({"step": 1}, path)

    def full(*args: Any, **kwargs: Any) -> None:
        args[1].write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint({"step": 2}, path)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["resume.ckpt", "resume.sha256"]


def test_saving_does_not_go_through_the_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "of another file system, and full"))
    assert saved(tmp_path, 3).newest()[0] == tmp_path / "one/states/step-000000003.ckpt"


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    states = saved(tmp_path, 1, 2, 3)
    (states.folder / ".step-000000004.ckpt.partial").write_bytes(b"cut off")
    states.drop_old()
    assert sorted(p.name for p in states.folder.iterdir()) == [
        "step-000000002.ckpt", "step-000000002.sha256", "step-000000003.ckpt", "step-000000003.sha256"]
    assert states.newest() == (states.path(3), [])


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied", "without its sum"])
def test_a_damaged_state_is_found_and_the_one_before_it_is_used(tmp_path: Path, damage: str) -> None:
    states = saved(tmp_path, 1, 2)
    whole = states.path(2).read_bytes()
    if damage == "without its sum":
        states.path(2).with_suffix(".sha256").unlink()
    else:
        states.path(2).write_bytes({"truncated": whole[:500], "flipped": flipped(whole, 700), "emptied": b""}[damage])
    newest, told = states.newest()
    assert newest == states.path(1)
    assert len(told) == 1
    assert told[0].startswith("the state step-000000002.ckpt is damaged") or "has no sha256" in told[0]
    assert states.newest() == (states.path(1), []), "it is set aside, and told once"


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    # by zip's own checksums alone, some gave an exception of their own and two in 2,000 bytes another state
    states = saved(tmp_path, 1, 2)
    whole = states.path(2).read_bytes()
    for at in range(0, len(whole), 7):
        states.path(2).write_bytes(flipped(whole, at))
        assert states.newest()[0] == states.path(1), at


def flipped(whole: bytes, at: int) -> bytes:
    return whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :]


def test_when_no_state_is_whole_it_is_told_that_training_begins_anew(tmp_path: Path) -> None:
    states = saved(tmp_path, 1)
    states.path(1).write_bytes(b"")
    assert states.newest()[1][1:] == ["no state is left before it; training begins anew"]


def test_a_state_that_stands_on_a_lost_checkpoint_is_not_used(tmp_path: Path) -> None:
    states = saved(tmp_path, 3, 5)
    newest, told = states.newest(lost={5, 9})
    assert newest == states.path(3)
    assert "step-000000005.ckpt is of no use without the checkpoint at step 5, which is not whole" in told[0]
    assert saved(tmp_path, 3, 5).newest(lost={2})[0] is None


def test_a_discarded_training_is_gone_at_once_for_those_beside_it(tmp_path: Path) -> None:
    states = saved(tmp_path, 1)
    states.note_parts()
    left = tmp_path / ".one.discarded"
    (tmp_path / "one").rename(left)  # as a kill in the middle of removing it leaves it
    assert States(tmp_path / "two", PARTS | {"seed": "2"}).nearby() == ""
    clear_discarded(tmp_path)
    assert not left.exists()
    saved(tmp_path, 1)
    discard(tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


def test_a_state_of_another_training_is_refused_naming_what_differs(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    other = States(tmp_path / "one", PARTS | {"train.lora.r": "16"})
    with pytest.raises(TrainingError, match=r"another training: train\.lora\.r \(8 then, 16 now\)"):
        other.newest()


def test_an_unfinished_training_beside_this_one_is_told_apart(tmp_path: Path) -> None:
    before = saved(tmp_path, 1)
    before.note_parts()
    assert States(tmp_path / "two", PARTS | {"seed": "2"}).nearby() == "seed (1 then, 2 now)"
    assert before.nearby() == ""


def test_what_differs_is_told_shortly() -> None:
    now, then = {str(i): "x" * 64 for i in range(8)}, {str(i): "y" for i in range(7)}
    assert differing(now, then).startswith("0 (y then, xxxxxxxxxxxx… now), 1 ")
    assert differing(now, then).endswith(" and 3 more")
    assert differing(now, now) == ""
