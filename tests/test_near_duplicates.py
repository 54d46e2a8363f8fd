"""Near-copies: hashes are those of the words, what shares a band is compared, and the file's order tells nothing."""

import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attunement import near_duplicates
from attunement.near_duplicates import BUCKET_CAP, Texts, clusters, copies, exact_jaccard, shingles, sketches
from attunement.records import Turn

WORDS = [f"{a}{b}" for a in ("ka", "lo", "mi", "ru", "te", "vo", "su", "ne") for b in ("ban", "dor", "fel", "gim")]
LONG = 400


def talk(seed: int, words: int = LONG) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def changed(words: list[str], share: float, seed: int = 0) -> list[str]:
    """With so many words replaced."""
    rng, made = random.Random(seed), list(words)
    for place in rng.sample(range(len(made)), round(share * len(made))):
        made[place] = f"new{rng.random()}".replace(".", "")
    return made


def plain(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[^\W_]+", text.casefold())
    return {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))} if words else set()


def truly(one: str, other: str) -> float:
    return len(plain(one) & plain(other)) / len(plain(one) | plain(other))


@pytest.mark.parametrize("other", [
    "THE KETTLE SINGS, AND NOBODY HEARS IT!",
    "the kettle — sings … and “nobody” hears it",
    "  The\tkettle\n\nsings and nobody hears it?",
    "The_kettle sings; and nobody hears it 🙂",
])
def test_case_space_and_signs_do_not_move_a_hash(other: str) -> None:
    one, same = shingles(["The kettle sings and nobody hears it.", other])
    assert one.tolist() == same.tolist()
    assert len(one) == 3


@pytest.mark.parametrize("other", ["ab c d e f", "a bcd e f", "a b c d f e", "a b c d é", "a b c d e f", "a b c d é"])
def test_other_words_have_another_hash(other: str) -> None:
    one, another = shingles(["a b c d e", other])
    assert one.tolist() != another.tolist()


def test_a_text_shorter_than_a_run_has_one_hash_and_one_without_words_none() -> None:
    found = shingles(["a b c d", "", "…!", "a", "a b c d e f g", "日本語 и русский"])
    assert [len(one) for one in found] == [1, 0, 0, 1, 3, 1]


def test_hashes_hang_neither_on_the_batch_nor_on_the_place_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(talk(seed, seed)) for seed in range(40)]
    whole = shingles(texts)
    monkeypatch.setattr(near_duplicates, "BATCH_BYTES", 1)
    for one, alone in zip(whole, shingles(texts), strict=True):
        assert one.tolist() == alone.tolist()


@given(st.lists(st.text("abcABC09äßñÉ \n\t.,'_’—…🙂-", max_size=60), min_size=1, max_size=6))
def test_there_are_as_many_hashes_as_distinct_runs_of_words(texts: list[str]) -> None:
    assert [len(one) for one in shingles(texts)] == [len(plain(text)) for text in texts]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.03, 0.1])
def test_the_index_is_that_of_the_sets_of_words(share: float) -> None:
    one, other = " ".join(talk(1)), " ".join(changed(talk(1), share))
    assert exact_jaccard(*shingles([one, other])) == pytest.approx(truly(one, other), abs=1e-12)


def test_texts_without_a_word_are_no_copies_of_each_other() -> None:
    assert copies(["…", "!", "?"], jaccard=0.5).copies == {}


def test_every_copy_at_or_above_the_limit_is_found_and_none_below() -> None:
    texts, pairs = [], []
    for seed in range(300):
        texts += [" ".join(talk(seed)), " ".join(changed(talk(seed), seed / 3000, seed))]
        pairs.append(truly(texts[-2], texts[-1]))
    found = copies(texts, jaccard=0.8).copies
    assert found == {2 * at + 1: (2 * at, pytest.approx(index)) for at, index in enumerate(pairs) if index >= 0.8}
    assert 40 < len(found) < 260


def test_what_repeats_a_copy_is_held_against_what_is_kept() -> None:
    first, second = talk(1), changed(talk(1), 0.02)
    third = changed(second, 0.02, seed=5)
    texts = [" ".join(one) for one in (first, second, third)]
    assert truly(texts[1], texts[2]) >= 0.8 > truly(texts[0], texts[2])
    assert list(copies(texts, jaccard=0.8).copies) == [1]


def test_many_that_share_a_passage_are_a_template_and_none_is_dropped() -> None:
    passage = talk(9, 340)
    texts = [" ".join([*passage, *talk(100 + at, 60)]) for at in range(3 * BUCKET_CAP)]
    found = copies([*texts, " ".join(talk(7))], jaccard=0.8)
    assert found.copies == {}
    assert len(found.templates) > BUCKET_CAP
    assert len(texts) not in found.templates


def test_copies_within_a_template_are_found() -> None:
    passage = talk(9, 240)
    own = [[*passage, *talk(100 + at, 160)] for at in range(4 * BUCKET_CAP)]
    texts = [" ".join(one) for one in own] + [" ".join(changed(one, 0.01, at)) for at, one in enumerate(own[:40])]
    found = copies(texts, jaccard=0.8).copies
    assert {later: copy.of for later, copy in found.items()} == {len(own) + at: at for at in range(40)}


def test_many_copies_of_one_are_all_dropped_for_the_first() -> None:
    texts = [" ".join(talk(1))] + [" ".join(changed(talk(1), 0.005, seed)) for seed in range(4 * BUCKET_CAP)]
    found = copies(texts, jaccard=0.8).copies
    assert {copy.of for copy in found.values()} == {0}
    assert len(found) == len(texts) - 1


def test_groups_hang_together_over_others_and_bear_the_smallest_id() -> None:
    chain = [talk(1)]
    for step in range(3):
        chain.append(changed(chain[-1], 0.05, step))
    texts = [" ".join(one) for one in [*chain, talk(2)]]
    assert truly(texts[0], texts[3]) < 0.5 <= truly(texts[0], texts[1])
    ids = ["d", "c", "b", "a", "e"]
    groups = clusters(ids, texts, jaccard=0.5)
    assert groups == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e"}
    order = [3, 0, 4, 2, 1]
    assert clusters([ids[at] for at in order], [texts[at] for at in order], jaccard=0.5) == groups


@pytest.mark.parametrize("n", [0, 1])
def test_few_texts_are_no_trouble(n: int) -> None:
    texts = ["a b c d e f"] * n
    assert copies(texts, jaccard=0.8).copies == {}
    assert clusters(["x"] * n, texts, jaccard=0.5) == dict([("x", "x")] * n)
    assert sketches(texts).shape == (n, 128)


def test_a_sketch_estimates_the_index_without_bias() -> None:
    pairs = [(" ".join(talk(seed)), " ".join(changed(talk(seed), 0.03, seed))) for seed in range(100)]
    errors = [(one == other).mean() - truly(*pair) for pair in pairs for one, other in [sketches(pair)]]
    assert abs(np.mean(errors)) < 0.02
    assert np.abs(errors).max() < near_duplicates.UNLIKELY


def test_texts_are_joined_when_they_are_asked_for() -> None:
    said = [[Turn(role="user", text="a"), Turn(role="assistant", text="b")], [Turn(role="user", text="c")]]
    texts = Texts(said)
    assert (len(texts), list(texts), list(texts[1:])) == (2, ["a\nb", "c"], ["c"])
