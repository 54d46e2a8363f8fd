"""The order of training: step k is a function of the seed and k, however it is cut into packs and dealt to devices."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement.chat import IGNORED, Encoded
from attunement.stream import Example, Share, Steps, Stream, fill_packs, pack_of, plan_steps

ALONE = Share(batch_dialogues=2, batch_tokens=None)


def examples(n: int) -> list[Example]:
    """Examples of 3, 4, 5 … tokens, of which all but the first two are targets."""
    return [Example(dialogue_id=f"d{i}", encoded=Encoded(
        input_ids=tuple(range(1, i + 4)), targets=(IGNORED, IGNORED, *range(3, i + 4)), n_cut_turns=0))
        for i in range(n)]


def test_each_epoch_holds_every_dialogue_once() -> None:
    flat = list(chain.from_iterable(plan_steps(10, step=3, epochs=2, seed=1)))
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


def test_no_dialogue_is_left_over_and_only_the_last_step_is_smaller() -> None:
    assert [len(step) for step in plan_steps(10, step=4, epochs=2, seed=1)] == [4, 4, 4, 4, 4]
    assert [len(step) for step in plan_steps(10, step=4, epochs=1, seed=1)] == [4, 4, 2]


def test_the_order_follows_from_the_seed_alone() -> None:
    assert plan_steps(40, step=4, epochs=2, seed=3) == plan_steps(40, step=4, epochs=2, seed=3)
    assert plan_steps(40, step=4, epochs=2, seed=3) != plan_steps(40, step=4, epochs=2, seed=4)


def named(step: object) -> list[tuple[str, ...]]:
    return [pack.dialogue_ids for pack in step.packs]  # type: ignore[attr-defined]


def test_a_stream_that_is_told_its_place_gives_the_steps_that_were_left() -> None:
    plan = plan_steps(8, step=2, epochs=1, seed=0)
    whole = [named(step) for step in Stream(examples(8), plan, ALONE)]
    first = Stream(examples(8), plan, ALONE)
    next(iter(first))
    rest = Stream(examples(8), plan, ALONE)
    rest.load_state_dict(first.state_dict())
    assert [named(step) for step in rest] == whole[1:]


def test_dialogues_of_a_pack_are_told_apart_by_positions_and_the_first_token_of_each_is_no_target() -> None:
    pack = pack_of(examples(2))
    assert pack.input_ids.tolist() == [[1, 2, 3, 1, 2, 3, 4]]
    assert pack.position_ids.tolist() == [[0, 1, 2, 0, 1, 2, 3]]
    assert pack.targets.tolist() == [[IGNORED, IGNORED, 3, IGNORED, IGNORED, 3, 4]]
    assert pack.documents == (3, 4)


@pytest.mark.parametrize("share", [Share(1, None), Share(2, None), Share(4, 9), Share(6, None)])
def test_a_step_counts_the_same_targets_however_it_is_cut(share: Share) -> None:
    step = Steps(examples(6), [[0, 1, 2, 3, 4, 5]], share).step(0)
    assert step.n_targets == sum(example.encoded.n_targets for example in examples(6))
    assert sorted(chain.from_iterable(named(step))) == [f"d{i}" for i in range(6)]


@pytest.mark.parametrize("world", [2, 3, 4])
def test_devices_share_a_step_without_gap_or_repeat_and_each_has_as_many_packs(world: int) -> None:
    shares = [Steps(examples(5), [[0, 1, 2, 3, 4]], Share(2, None, rank, world)).step(0) for rank in range(world)]
    assert len({len(step.packs) for step in shares}) == 1
    assert sorted(chain.from_iterable(chain.from_iterable(map(named, shares)))) == [f"d{i}" for i in range(5)]
    learnt = sum(int((pack.targets != IGNORED).sum()) for step in shares for pack in step.packs)
    assert learnt == shares[0].n_targets == shares[-1].n_targets


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 6), st.none() | st.integers(1, 80))
def test_a_pack_is_never_fuller_than_allowed_unless_one_dialogue_is_longer_by_itself(
    lengths: list[int], most: int, most_tokens: int | None
) -> None:
    packs = fill_packs(lengths, most=most, most_tokens=most_tokens)
    assert sorted(chain.from_iterable(packs)) == list(range(len(lengths)))
    for pack in packs:
        assert len(pack) <= most
        assert most_tokens is None or len(pack) == 1 or sum(lengths[i] for i in pack) <= most_tokens
