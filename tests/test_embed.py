"""Vectors of texts: what they hang on and what not, what the cache holds, and neighbours against every pair."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertModel

import toy_encoder
from attunement import embed
from attunement.embed import LEAST_WORDS, embedded, nearest, pairs, told
from attunement.errors import ModelError
from attunement.runner import Engine, Runner, running
from attunement.score_cache import ScoreCache
from attunement.steps.asking import Work
from curation import draft

TEXTS = toy_encoder.sentences(40)
ALONE = Engine(runner="local", workers=1, batch_dialogues=10)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_encoder.build(tmp_path_factory.mktemp("toy-encoder"))


@pytest.fixture
def work() -> Iterator[Work]:
    with running(ALONE) as runner:
        yield Work(runner, ScoreCache(None))


def asks_nothing() -> Runner:
    def refuse(*_: object) -> None:
        raise AssertionError("asked to embed")

    return Runner(ALONE, refuse, refuse)


def test_a_vector_is_the_mean_over_the_tokens_at_length_one(toy: Path, work: Work) -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(toy), BertModel.from_pretrained(toy, add_pooling_layer=False)
    with torch.inference_mode():
        shown = [tokenizer(text, return_tensors="pt") for text in TEXTS]
        means = [model.eval()(**one).last_hidden_state[0].mean(dim=0) for one in shown]
    expected = np.stack([(mean / mean.norm()).numpy() for mean in means])
    found = embedded(TEXTS, work, encoder=toy)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-3
    assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-3
    assert len(np.unique(found, axis=0)) == len(set(TEXTS)), "one vector for all would show nothing"


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=40))
def test_a_vector_does_not_hang_on_what_stands_beside_it(toy: Path, texts: list[str]) -> None:
    with running(ALONE) as runner:
        among = dict(zip(TEXTS, embedded(TEXTS, Work(runner, ScoreCache(None)), encoder=toy), strict=True))
        found = embedded(texts, Work(runner, ScoreCache(None)), encoder=toy)
    assert np.array_equal(found, np.stack([among[text] for text in texts]))


def test_several_workers_make_the_same_vectors(toy: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "TEXTS_AT_ONCE", 9)
    with running(Engine(runner="local", workers=2, batch_dialogues=10)) as runner:
        apart = embedded(TEXTS, Work(runner, ScoreCache(None)), encoder=toy)
    assert np.array_equal(apart, embedded(TEXTS, work, encoder=toy))


def test_a_second_run_embeds_nothing_and_the_file_holds_no_words(toy: Path, work: Work, tmp_path: Path) -> None:
    path = tmp_path / "scores.sqlite"
    first = embedded(TEXTS, Work(work.runner, ScoreCache(path)), encoder=toy)
    again = embedded(TEXTS[::-1], Work(asks_nothing(), ScoreCache(path)), encoder=toy)
    assert np.array_equal(again, first[::-1])
    told = Work(work.runner, ScoreCache(path))
    embedded([*TEXTS, "nobody has said this one before"], told, encoder=toy)
    assert (told.spent["embeddings"].asked, told.spent["embeddings"].known) == (1, len(TEXTS))
    assert "1 items asked" in told.spent["embeddings"].line("embeddings", 10)
    assert not [word for word in toy_encoder.WORDS if len(word) > 4 and word.encode() in path.read_bytes()]


def test_another_encoder_is_asked_anew(toy: Path, work: Work, tmp_path: Path) -> None:
    other = toy_encoder.build(tmp_path / "other", seed=8)
    assert not np.allclose(embedded(TEXTS, work, encoder=toy), embedded(TEXTS, work, encoder=other), atol=0.01)


def test_what_the_tokenizer_does_not_know_is_like_nothing(toy: Path, work: Work) -> None:
    found = embedded(["", "☃ ☃", "i hear you", "☃"], work, encoder=toy)
    assert np.abs(found[[0, 1, 3]]).max() == 0
    assert list(pairs(found, 0.5)) == []


def test_no_text_at_all_is_no_trouble(toy: Path, work: Work) -> None:
    none = embedded([], work, encoder=toy)
    assert none.shape == (0, embed.WIDTH)
    assert nearest(none, none) == list(pairs(none, 0.5)) == []


def test_an_encoder_that_is_not_there_is_told(tmp_path: Path, work: Work) -> None:
    with pytest.raises(ModelError, match="dvc repro fetch"):
        embedded(TEXTS, work, encoder=tmp_path)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 40), st.sampled_from((0.0, 0.2, 0.5)))
def test_neighbours_are_those_of_every_pair_however_blocks_are_cut(
    monkeypatch: pytest.MonkeyPatch, seed: int, n: int, rows_at_once: int, least: float
) -> None:
    monkeypatch.setattr(embed, "ROWS_AT_ONCE", rows_at_once)
    vectors = np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.round(vectors.astype(np.float64) @ vectors.T.astype(np.float64), embed.DIGITS)
    expected = [(a, b, cosines[a, b]) for a in range(n) for b in range(a + 1, n) if cosines[a, b] >= least]
    assert sorted(map(tuple, pairs(vectors, least))) == expected
    half = n // 2
    found = nearest(vectors[half:], vectors[:half])
    assert [near.likeness for near in found] == (cosines[half:, :half].max(axis=1).tolist() if half else [])


def test_what_a_user_says_is_compared_whole_and_from_its_opening_if_it_is_long_enough() -> None:
    long, short = "word " * LEAST_WORDS, "word"
    assert told(draft(short, long, short, long).turns) == []
    assert told(draft(short, "Oh.", long, "Oh.").turns) == [f"{short}\n{long}"]
    assert told(draft(long, "Oh.", short, "Oh.").turns) == [f"{long}\n{short}", long]
    assert told(draft(long, "Oh.").turns) == [long]
