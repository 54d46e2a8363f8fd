"""The order of training: batch k is a function of the seed and k."""

from itertools import chain

from attunement.chat import IGNORED, Encoded
from attunement.stream import Example, Stream, collate, plan_batches


def examples(n: int) -> list[Example]:
    """Examples of 3, 4, 5 … tokens, of which all but the first two are targets."""
    return [Example(dialogue_id=f"d{i}", encoded=Encoded(
        input_ids=tuple(range(1, i + 4)), targets=(IGNORED, IGNORED, *range(3, i + 4)), n_cut_turns=0))
        for i in range(n)]


def test_each_epoch_holds_every_dialogue_once() -> None:
    plan = plan_batches([5] * 10, batch=3, epochs=2, seed=1)
    flat = list(chain.from_iterable(plan))
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))


def test_the_order_follows_from_the_seed_alone() -> None:
    lengths = [i % 7 for i in range(40)]
    assert plan_batches(lengths, batch=4, epochs=2, seed=3) == plan_batches(lengths, batch=4, epochs=2, seed=3)
    assert plan_batches(lengths, batch=4, epochs=2, seed=3) != plan_batches(lengths, batch=4, epochs=2, seed=4)


def test_a_stream_that_is_told_its_place_gives_the_batches_that_were_left() -> None:
    plan = plan_batches(list(range(8)), batch=2, epochs=1, seed=0)
    whole = [batch.dialogue_ids for batch in Stream(examples(8), plan, pad_id=0, window=1)]
    first = Stream(examples(8), plan, pad_id=0, window=1)
    taken = iter(first)
    next(taken)
    rest = Stream(examples(8), plan, pad_id=0, window=1)
    rest.load_state_dict(first.state_dict())
    assert [batch.dialogue_ids for batch in rest] == whole[1:]


def test_padding_is_masked_and_never_a_target() -> None:
    batch = collate(examples(3), pad_id=9, window_targets=1)
    assert batch.input_ids.shape == (3, 5)
    assert batch.input_ids[0].tolist() == [1, 2, 3, 9, 9]
    assert batch.attention_mask[0].tolist() == [1, 1, 1, 0, 0]
    assert batch.targets[0].tolist() == [IGNORED, IGNORED, 3, IGNORED, IGNORED]


def test_every_batch_of_a_window_is_divided_by_the_same_number_of_targets() -> None:
    stream = Stream(examples(6), [[0, 1], [2, 3], [4, 5]], pad_id=0, window=2)
    counted = [example.encoded.n_targets for example in examples(6)]
    assert [batch.window_targets for batch in stream] == [sum(counted[:4]), sum(counted[:4]), sum(counted[4:])]
