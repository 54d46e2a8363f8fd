"""Adapted encoders against PEFT on a toy: merging, windows, batches, memory, and the files that are refused."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import BertForSequenceClassification

import toy_encoder
from attunement import classifier as module
from attunement.artefacts import sha256_of
from attunement.classifier import (
    ADAPTER,
    MADE_OF,
    MAX_SAID_TOKENS,
    PREFIX,
    WINDOW_TOKENS,
    Classifier,
    adapted_state,
    answers,
    load_adapted,
    pair_ids,
    read_made_of,
)
from attunement.errors import ModelError
from attunement.half import halve

# Lightning's to mend: it asks torch by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning")

SAID = "you are hard"
REPLY = "i hear you"
WEIGHT = f"{PREFIX}classifier.weight"
DOWN = f"{PREFIX}bert.encoder.layer.0.attention.self.query.lora_A.weight"
UP = f"{PREFIX}bert.encoder.layer.0.attention.self.query.lora_B.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``encoder`` and ``classifiers/toy``. Read only: a test that damages one takes `damaged`."""
    folder = tmp_path_factory.mktemp("toy-classifier")
    encoder = toy_encoder.build(folder / "encoder")
    toy_encoder.adapt(folder / "classifiers" / "toy", encoder=encoder)
    return folder


@pytest.fixture
def damaged(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def toy(made: Path) -> Classifier:
    """The loaded classifier with an empty memory."""
    found = loaded(made)
    return Classifier(model=found.model, tokenizer=found.tokenizer, heads=found.heads, encoder=found.encoder)


def loaded(made: Path) -> Classifier:
    return load_adapted("toy", folder=made / "classifiers", encoder=made / "encoder")


def refused(made: Path) -> str:
    """The message with which loading ends."""
    with pytest.raises(ModelError) as caught:
        loaded(made)
    return str(caught.value)


def pinned_anew(made: Path) -> None:
    """Let the adapter say that it was made on the encoder as it now lies there."""
    path = made / "classifiers" / "toy" / MADE_OF
    found = json.loads(path.read_text(encoding="utf-8"))
    sha256 = sha256_of(made / "encoder" / "model.safetensors")
    path.write_text(json.dumps(found | {"encoder_sha256": sha256}), encoding="utf-8")


# --- merging


def test_the_merged_model_equals_what_peft_merges_from_the_same_adapter(made: Path) -> None:
    base = BertForSequenceClassification.from_pretrained(made / "encoder", num_labels=len(toy_encoder.HEADS))
    lora = LoraConfig(task_type="SEQ_CLS", r=2, lora_alpha=4, target_modules=["query", "key", "value", "dense"],
                      exclude_modules=["pooler.dense"], modules_to_save=["classifier", "pooler"])
    peer = get_peft_model(base, lora)
    result = set_peft_model_state_dict(peer, toy_encoder.tensors(made / "classifiers" / "toy"))
    assert not result.unexpected_keys
    expected = peer.merge_and_unload().state_dict()
    _, found = adapted_state("toy", folder=made / "classifiers", encoder=made / "encoder")
    assert found.keys() == expected.keys()
    assert max(float((found[key] - expected[key]).abs().max()) for key in found) < 1e-5
    plain = load_file(made / "encoder" / "model.safetensors")
    name = "encoder.layer.1.intermediate.dense.weight"
    assert float((found[f"bert.{name}"] - plain[name]).abs().max()) > 1e-3, "an adapter of nothing would show nothing"


def test_every_linear_layer_of_the_encoder_is_adapted(made: Path) -> None:
    _, found = adapted_state("toy", folder=made / "classifiers", encoder=made / "encoder")
    plain = load_file(made / "encoder" / "model.safetensors")
    unmoved = {key for key in plain if f"bert.{key}" in found and torch.equal(found[f"bert.{key}"], plain[key])}
    assert not [key for key in unmoved if key.endswith(("query.weight", "key.weight", "value.weight", "dense.weight"))]


def test_a_classifier_is_loaded_once(made: Path) -> None:
    assert loaded(made) is loaded(made)


# --- what is refused


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (f"classifiers/toy/{ADAPTER}", "restore it with git"),
        (f"classifiers/toy/{MADE_OF}", "restore it with git"),
        ("encoder/model.safetensors", "Run `dvc repro fetch`"),
    ],
)
def test_a_missing_file_ends_with_its_path_and_what_to_do(damaged: Path, path: str, told: str) -> None:
    (damaged / path).unlink()
    message = refused(damaged)
    assert str(damaged / path) in message
    assert told in message


def test_another_encoder_than_the_one_adapted_is_refused(damaged: Path) -> None:
    toy_encoder.build(damaged / "encoder", seed=8)
    message = refused(damaged)
    assert "is not the encoder on which" in message
    assert "Run `dvc repro fetch`" in message


@pytest.mark.parametrize("name", [UP, WEIGHT, f"{PREFIX}classifier.bias", f"{PREFIX}bert.pooler.dense.weight"])
def test_an_adapter_without_one_of_its_tensors_is_refused(damaged: Path, name: str) -> None:
    toy_encoder.change(damaged / "classifiers" / "toy", **{name: None})
    assert "restore it" in refused(damaged)


def test_half_a_product_without_the_half_that_multiplies_it_is_refused(damaged: Path) -> None:
    toy_encoder.change(damaged / "classifiers" / "toy", **{DOWN: None})
    assert "restore it" in refused(damaged)


@pytest.mark.parametrize("name", ["classifier.extra", "bert.embeddings.word_embeddings.weight"])
def test_an_adapter_with_a_tensor_too_many_is_refused(damaged: Path, name: str) -> None:
    toy_encoder.change(damaged / "classifiers" / "toy", **{f"{PREFIX}{name}": torch.zeros(3)})
    assert "for 3 answers; restore it with git" in refused(damaged)


def test_a_product_that_has_no_place_in_the_encoder_is_refused(damaged: Path) -> None:
    ninth = {name.replace("layer.0", "layer.9"): torch.zeros(16, 2) if "lora_B" in name else torch.zeros(2, 16)
             for name in (DOWN, UP)}
    toy_encoder.change(damaged / "classifiers" / "toy", **ninth)
    assert "without its other half or its place in the encoder" in refused(damaged)


def test_a_head_for_another_number_of_answers_is_refused(damaged: Path) -> None:
    toy_encoder.change(damaged / "classifiers" / "toy", **{WEIGHT: torch.zeros(2, 16)})
    assert "for 3 answers; restore it with git" in refused(damaged)


@pytest.mark.parametrize(
    ("name", "shape"), [(UP, (16, 3)), (DOWN, (2, 8)), (f"{PREFIX}classifier.bias", (2,)), (WEIGHT, (3, 8))]
)
def test_a_tensor_of_another_shape_is_refused_with_what_to_do(
    damaged: Path, name: str, shape: tuple[int, ...]
) -> None:
    toy_encoder.change(damaged / "classifiers" / "toy", **{name: torch.ones(shape)})
    message = refused(damaged)
    assert "restore" in message.lower()
    assert "with git" in message or ADAPTER in message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [UP, WEIGHT])
def test_a_number_that_is_none_is_refused(damaged: Path, name: str, value: float) -> None:
    found = toy_encoder.tensors(damaged / "classifiers" / "toy")[name]
    found[0, 0] = value
    toy_encoder.change(damaged / "classifiers" / "toy", **{name: found})
    assert "holds NaN or infinity" in refused(damaged)


def test_an_encoder_that_lacks_a_tensor_is_refused_with_what_to_do(damaged: Path) -> None:
    path = damaged / "encoder" / "model.safetensors"
    state = load_file(path)
    del state["encoder.layer.1.output.LayerNorm.bias"]
    save_file(state, path, metadata={"format": "pt"})
    pinned_anew(damaged)
    assert "dvc repro fetch" in refused(damaged)


def test_an_adapter_cut_short_is_refused_with_what_to_do(damaged: Path) -> None:
    path = damaged / "classifiers" / "toy" / ADAPTER
    path.write_bytes(path.read_bytes()[:-500])
    message = refused(damaged)
    assert str(path) in message
    assert "restore it" in message


@pytest.mark.parametrize(
    ("content", "told"), [("{}", "about"), ("[", "not JSON"), ('{"about": 3}', "about"), ("[]", "")]
)
def test_a_description_that_does_not_describe_is_refused(damaged: Path, content: str, told: str) -> None:
    path = damaged / "classifiers" / "toy" / MADE_OF
    path.write_text(content, encoding="utf-8")
    message = refused(damaged)
    assert message.startswith(f"{path} does not describe a classifier: ")
    assert told in message
    assert message.endswith("Restore it with git.")


def test_a_description_with_an_unknown_key_is_refused(damaged: Path) -> None:
    path = damaged / "classifiers" / "toy" / MADE_OF
    path.write_text(json.dumps(json.loads(path.read_text()) | {"surprise": 1}), encoding="utf-8")
    with pytest.raises(ModelError, match="surprise"):
        read_made_of(path)


# --- windows of what was said and what was replied


def words(n: int, *, start: int = 0) -> str:
    """``n`` words that are a token each, none equal to its neighbours."""
    return " ".join(toy_encoder.WORDS[(start + number) % len(toy_encoder.WORDS)] for number in range(n))


def tokens(toy: Classifier, text: str) -> list[int]:
    found: list[int] = toy.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def parts(toy: Classifier, window: module.Window) -> tuple[list[int], list[int]]:
    """The tokens of both segments without CLS and SEP; asserts that those stand where BERT has them."""
    ids, segments = window["input_ids"], window["token_type_ids"]
    assert len(ids) == len(segments)
    assert segments == sorted(segments)
    middle = segments.index(1)
    assert (ids[0], ids[middle - 1], ids[-1]) == (
        toy.tokenizer.cls_token_id, toy.tokenizer.sep_token_id, toy.tokenizer.sep_token_id)
    return ids[1 : middle - 1], ids[middle:-1]


def test_a_short_pair_is_encoded_as_the_tokenizer_encodes_it(toy: Classifier) -> None:
    (found,) = pair_ids(toy.tokenizer, SAID, REPLY, max_tokens=128)
    peer = toy.tokenizer(SAID, REPLY)
    assert found == {"input_ids": peer["input_ids"], "token_type_ids": peer["token_type_ids"]}


def test_a_text_alone_is_encoded_as_the_tokenizer_encodes_it(toy: Classifier) -> None:
    (found,) = pair_ids(toy.tokenizer, REPLY, None, max_tokens=128)
    peer = toy.tokenizer(REPLY)
    assert found == {"input_ids": peer["input_ids"], "token_type_ids": peer["token_type_ids"]}


def test_of_a_long_context_the_end_is_kept(toy: Classifier) -> None:
    said = words(MAX_SAID_TOKENS) + " " + words(MAX_SAID_TOKENS, start=5)
    (found,) = pair_ids(toy.tokenizer, said, REPLY, max_tokens=128)
    before, reply = parts(toy, found)
    assert before == tokens(toy, said)[-MAX_SAID_TOKENS:] != tokens(toy, said)[:MAX_SAID_TOKENS]
    assert reply == tokens(toy, REPLY)


@pytest.mark.parametrize("max_tokens", [100, 101, 128, 512])
@pytest.mark.parametrize("n", [1, 27, 29, 30, 43, 44, 45, 300, 1777])
@pytest.mark.parametrize("said", ["", SAID, words(300)])
def test_windows_cover_every_token_of_a_reply_in_order_and_none_is_too_long(
    toy: Classifier, max_tokens: int, n: int, said: str
) -> None:
    reply = tokens(toy, words(n))
    windows = pair_ids(toy.tokenizer, said, words(n), max_tokens=max_tokens)
    assert max(len(one["input_ids"]) for one in windows) <= max_tokens
    assert {tuple(parts(toy, one)[0]) for one in windows} == {tuple(tokens(toy, said)[-MAX_SAID_TOKENS:])}
    room = max_tokens - len(tokens(toy, said)[-MAX_SAID_TOKENS:]) - 3
    step = room // 2 or 1
    covered: set[int] = set()
    for number, one in enumerate(windows):
        found = parts(toy, one)[1]
        assert found == reply[number * step : number * step + room]
        covered |= set(range(number * step, number * step + len(found)))
    assert covered == set(range(n))
    assert (len(windows) == 1) == (n <= room)


def test_two_windows_that_follow_each_other_share_half_of_a_window(toy: Classifier) -> None:
    first, second, *_ = pair_ids(toy.tokenizer, SAID, words(300), max_tokens=128)
    ahead, behind = parts(toy, first)[1], parts(toy, second)[1]
    half = len(ahead) // 2
    assert ahead[half : 2 * half] == behind[:half]


# --- nothing to judge


@pytest.mark.parametrize("reply", ["", "  \n", "谢谢你", "🙂 🙂"])
@pytest.mark.parametrize("said", ["", SAID, "谢谢"])
def test_a_reply_of_which_nothing_is_known_has_no_answer(
    made: Path, monkeypatch: pytest.MonkeyPatch, said: str, reply: str
) -> None:
    serve(made, monkeypatch)
    empty, known = answers("toy", [(said, reply), (said, REPLY)], batch_size=2)
    assert empty is None
    assert known is not None


def test_a_known_word_among_unknown_ones_is_answered(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(made, monkeypatch)
    (found,) = answers("toy", [("", "谢谢 hear 谢谢")], batch_size=2)
    assert found is not None


@pytest.mark.parametrize("said", ["", "谢谢"])
def test_a_reply_is_answered_whatever_was_said_before_it(
    made: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    serve(made, monkeypatch)
    assert answers("toy", [(said, REPLY)], batch_size=2) != [None]


def test_nothing_asked_gives_no_answers(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(made, monkeypatch)
    assert answers("toy", [], batch_size=2) == []


# --- answers, batches, memory


def serve(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `answers`, which scorers call by name alone, find the toy."""
    monkeypatch.setattr(module, "load_adapted", lambda name: load_adapted(
        name, folder=made / "classifiers", encoder=made / "encoder"))


def pairs() -> list[tuple[str, str]]:
    """Pairs of mixed lengths, some of several windows."""
    texts = [*toy_encoder.sentences(20), words(700), words(30), words(1200, start=4)]
    return [(texts[(number * 7) % len(texts)], text) for number, text in enumerate(texts)]


def fresh(toy: Classifier) -> Classifier:
    return Classifier(model=toy.model, tokenizer=toy.tokenizer, heads=toy.heads, encoder=toy.encoder)


def test_answers_equal_those_of_the_model_on_each_window_alone(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(made, monkeypatch)
    toy = loaded(made)
    for (said, reply), found in zip(pairs(), answers("toy", pairs(), batch_size=5), strict=True):
        rows = []
        for one in pair_ids(toy.tokenizer, said, reply, max_tokens=WINDOW_TOKENS):
            batch = {key: torch.tensor([ids]) for key, ids in one.items()}
            with torch.inference_mode():
                rows.append(torch.sigmoid(toy.model(**batch).logits)[0])
        highest = torch.stack(rows).amax(dim=0).tolist()
        # In bfloat16 a window alone, without padding, is rounded otherwise than in a batch.
        assert found == pytest.approx(dict(zip(toy_encoder.HEADS, highest, strict=True)), abs=5e-3)


def test_halved_layers_answer_nearly_as_whole_ones() -> None:
    torch.manual_seed(1)
    whole = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.GELU(), torch.nn.Linear(64, 3))
    hidden = torch.randn(5, 64)
    expected = whole(hidden)
    halve(whole)
    assert not any(isinstance(layer, torch.nn.Linear) for layer in whole)
    found = whole(hidden)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.02
    assert not torch.equal(found, expected)


def test_the_texts_of_the_toy_are_told_apart(toy: Classifier) -> None:
    rows = toy.probabilities([one for found in toy.pair_windows(pairs()) for one in found], batch_size=4)
    assert len({round(row[0], 4) for row in rows}) > len(rows) * 0.7, "equal answers would hide a changed order"


@pytest.mark.parametrize("size", [2, 3, 64])
def test_the_size_of_a_batch_does_not_change_an_answer(toy: Classifier, size: int) -> None:
    windows = [one for found in toy.pair_windows(pairs()) for one in found]
    alone = toy.probabilities(windows, batch_size=1)
    together = fresh(toy).probabilities(windows, batch_size=size)
    assert all(one == pytest.approx(other, abs=1e-6) for one, other in zip(alone, together, strict=True))


class Counting:
    """A model that counts the rows it is asked for."""

    def __init__(self, model: Any) -> None:
        self.model, self.config, self.device, self.rows = model, model.config, model.device, 0

    def __call__(self, **batch: Any) -> Any:
        self.rows += len(batch["input_ids"])
        return self.model(**batch)


def counted(toy: Classifier) -> tuple[Classifier, Counting]:
    counting = Counting(toy.model)
    return Classifier(model=counting, tokenizer=toy.tokenizer, heads=toy.heads, encoder=toy.encoder), counting  # type: ignore[arg-type]


def short_windows(toy: Classifier, n: int) -> list[module.Window]:
    """``n`` different windows."""
    ids = tokens(toy, words(len(toy_encoder.WORDS)))
    return [{"input_ids": [2, ids[number % 14], ids[number // 14 % 14], ids[number // 196 % 14], 3]}
            for number in range(n)]


def test_what_was_asked_before_is_answered_from_memory_with_the_same_numbers(toy: Classifier) -> None:
    remembering, counting = counted(toy)
    windows = short_windows(toy, 30)
    first = remembering.probabilities(windows, batch_size=4)
    assert counting.rows == 30
    again = remembering.probabilities([*reversed(windows), windows[3]], batch_size=7)
    assert counting.rows == 30
    assert again == [*reversed(first), first[3]]


def test_equal_windows_are_asked_once_and_each_is_answered(toy: Classifier) -> None:
    remembering, counting = counted(toy)
    (window,) = short_windows(toy, 1)
    rows = remembering.probabilities([window, window, window], batch_size=2)
    assert counting.rows == 2, "a batch of one is computed otherwise than in company, so it is given company"
    assert rows[0] == rows[1] == rows[2]


def test_a_text_and_a_pair_of_the_same_tokens_are_not_taken_for_each_other(toy: Classifier) -> None:
    (window,) = pair_ids(toy.tokenizer, SAID, REPLY, max_tokens=128)
    flat = {"input_ids": window["input_ids"], "token_type_ids": [0] * len(window["input_ids"])}
    one, other = toy.probabilities([window, flat], batch_size=2)
    assert one != pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("chunk", [7, 25, 70])
def test_the_memory_of_answers_stays_bounded_and_right(
    toy: Classifier, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 20)
    windows = short_windows(toy, 70)
    expected = fresh(toy).probabilities(windows, batch_size=16)
    small = fresh(toy)
    found: list[list[float]] = []
    for start in range(0, len(windows), chunk):
        asked: Sequence[module.Window] = windows[max(0, start - 5) : start + chunk]  # some of them were asked before
        found += small.probabilities(asked, batch_size=16)[-len(windows[start : start + chunk]) :]
        assert len(small._known) <= 20
    assert all(one == pytest.approx(other, abs=1e-6) for one, other in zip(found, expected, strict=True))


@pytest.mark.usefixtures("encoder")
def test_an_answer_does_not_hang_on_what_it_is_batched_with() -> None:
    from attunement.classifier import load_adapted

    shipped = load_adapted("crisis")
    texts = [" ".join(["tired", "of", "rain"] * number) for number in (1, 3, 7, 11, 20, 40)]
    windows = [one for found in shipped.pair_windows([("", text) for text in texts]) for one in found]
    alone = [fresh(shipped).probabilities([one], batch_size=4)[0] for one in windows]
    assert fresh(shipped).probabilities(windows, batch_size=4) == alone
    assert fresh(shipped).probabilities(windows[::-1], batch_size=3)[::-1] == alone
