"""Both scorers of toxicity against real models: a toy checkpoint in Detoxify's format, and the packaged linear one."""

import hashlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from detoxify import Detoxify as Peer
from detoxify import detoxify as peer_module
from pydantic import TypeAdapter, ValidationError

import toy_detoxify
from attunement.classifier import STRIDE_TOKENS, WINDOW_TOKENS
from attunement.detoxify_weights import ENCODERS, fetch_detoxify
from attunement.errors import FetchError, IntegrityError, ModelError
from attunement.records import Turn
from attunement.scorers.base import Item
from attunement.scorers.detoxify import Detoxify
from attunement.scorers.linear import Linear
from attunement.scorers.toxicity import Toxicity

KIND = "thank you for telling me, that sounds hard."
MILD = "you are an idiot."
MIXED = [KIND, MILD, "i hear you", KIND * 20, "you", (MILD + " ") * 7, KIND * 3, "hurts", "A b C"]


def scorer(weights: Path, *, threshold: float = 0.5, batch_size: int = 4) -> Detoxify:
    return Detoxify(kind="detoxify", weights=str(weights), threshold=threshold, batch_size=batch_size)


def items(*texts: str) -> list[Item]:
    return [Item(id=f"item-{number}", text=text) for number, text in enumerate(texts)]


def value_of(weights: Path, text: str) -> float:
    (found,) = scorer(weights).score(items(text))
    assert found.value is not None, found.because
    return found.value


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A toy checkpoint that a test may damage."""
    return toy_detoxify.build(tmp_path / "toy")


@pytest.fixture
def peer(toy_checkpoint: Path, tmp_path: Path) -> Any:
    """Detoxify itself on the same weights; it wants the encoder's folder written in the checkpoint."""
    loaded = torch.load(toy_checkpoint / "checkpoint.ckpt", weights_only=True)
    loaded["config"]["arch"]["args"]["model_type"] = str(toy_checkpoint)
    torch.save(loaded, tmp_path / "peer.ckpt")
    return Peer(checkpoint=str(tmp_path / "peer.ckpt"))


# --- equal to Detoxify


def test_scores_equal_detoxifys_own_on_texts_of_mixed_lengths(toy_checkpoint: Path, peer: Any) -> None:
    expected = [max(peer.predict(text).values()) for text in MIXED]
    found = [answer.value for answer in scorer(toy_checkpoint, batch_size=3).score(items(*MIXED))]
    assert found == pytest.approx(expected, abs=1e-6)
    assert len({round(value, 5) for value in expected}) == len(MIXED), "equal scores would hide a changed order"


def test_the_size_of_a_batch_does_not_change_a_score(toy_checkpoint: Path) -> None:
    one, many = (
        [answer.value for answer in scorer(toy_checkpoint, batch_size=size).score(items(*MIXED))] for size in (1, 64)
    )
    assert one == pytest.approx(many, abs=1e-6)


def test_the_head_with_the_maximum_decides_and_is_named(toy_checkpoint: Path, peer: Any) -> None:
    heads = peer.predict(MILD)
    loudest = max(heads, key=heads.__getitem__)
    (found,) = scorer(toy_checkpoint).score(items(MILD))
    assert found.value == pytest.approx(heads[loudest], abs=1e-6)
    assert found.because.startswith(f"maximum over 6 heads: {loudest} {heads[loudest]:.4g}")


def test_outputs_that_tell_who_is_spoken_of_do_not_decide(tmp_path: Path) -> None:
    folder = toy_detoxify.build(tmp_path, classes=("toxicity", "insult"), n_outputs=5)
    state = torch.load(folder / "checkpoint.ckpt", weights_only=True)["state_dict"]
    state["classifier.bias"][2:] = 50.0
    toy_detoxify.change(folder, state_dict=state)
    (found,) = scorer(folder).score(items(MILD))
    assert found.value is not None
    assert found.value < 0.9999
    assert found.because.startswith("maximum over 2 heads: ")


# --- long texts


def words(text: str, n: int) -> str:
    """``n`` words that are a token each."""
    return " ".join((text.split() * n)[:n])


def test_a_text_that_fills_the_encoder_is_one_window(toy_checkpoint: Path, peer: Any) -> None:
    text = words("i hear you telling me that sounds hard", WINDOW_TOKENS - 2)
    (found,) = scorer(toy_checkpoint).score(items(text))
    assert "window" not in found.because
    assert found.value == pytest.approx(max(peer.predict(text).values()), abs=1e-6)


def test_the_last_window_of_a_long_text_decides_where_detoxify_would_cut_it(toy_checkpoint: Path, peer: Any) -> None:
    room = WINDOW_TOKENS - 2

    def alarm(part: list[str]) -> float:
        return max(peer.predict(" ".join(part)).values())

    # The toy knows no toxicity: take as the ending the word that raises its heads most.
    calm = words("i hear you telling me", 2 * (room - STRIDE_TOKENS)).split()
    texts = [[*calm, *([word] * STRIDE_TOKENS)] for word in toy_detoxify.WORDS]
    text = max(texts, key=lambda end: alarm(end[-room:]) - alarm(end[:room]))
    assert alarm(text[-room:]) > alarm(text[:room]) + 0.01
    (found,) = scorer(toy_checkpoint).score(items(" ".join(text)))
    assert found.value == pytest.approx(alarm(text[-room:]), abs=1e-6)
    assert found.because.endswith("in window 2")


def test_every_token_of_a_long_text_is_in_a_window_and_none_is_too_long(toy_checkpoint: Path) -> None:
    found = scorer(toy_checkpoint)._load()
    text = words("you are an idiot thank for telling me that", 1777)
    (cut,) = found.windows([text])
    windows = [one["input_ids"] for one in cut]
    step = WINDOW_TOKENS - 2 - STRIDE_TOKENS
    rebuilt = [token for ids in windows[:-1] for token in ids[1:-1][:step]] + windows[-1][1:-1]
    assert rebuilt == found.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert max(map(len, windows)) == WINDOW_TOKENS


# --- answers


def test_order_and_ids_are_those_of_the_items(toy_checkpoint: Path) -> None:
    answers = scorer(toy_checkpoint, batch_size=2).score(items(*MIXED))
    assert [answer.id for answer in answers] == [f"item-{number}" for number in range(len(MIXED))]
    assert [answer.value for answer in answers] == pytest.approx([value_of(toy_checkpoint, text) for text in MIXED])


def test_an_empty_text_is_unscored_with_a_reason_and_its_neighbours_are_scored(toy_checkpoint: Path) -> None:
    answers = scorer(toy_checkpoint).score(items(KIND, "", " \n ", MILD))
    assert [answer.value is None for answer in answers] == [False, True, True, False]
    assert answers[1].because == "empty text"
    assert answers[1].label is None


def test_a_text_of_which_no_token_is_known_is_unscored(toy_checkpoint: Path) -> None:
    (found,) = scorer(toy_checkpoint).score(items("谢谢 🙂"))
    assert found.value is None
    assert "vocabulary" in found.because


def test_nothing_to_score_gives_no_answers(toy_checkpoint: Path) -> None:
    assert scorer(toy_checkpoint).score([]) == []


def test_a_score_that_is_not_a_number_is_unscored(toy_checkpoint: Path) -> None:
    (item,) = items(MILD)
    found = scorer(toy_checkpoint)._answer(item, ("toxicity",), [[float("nan")], [0.1]])
    assert found.value is None
    assert "NaN" in found.because


def test_a_score_at_the_threshold_is_toxic_and_one_below_it_is_ok(toy_checkpoint: Path) -> None:
    value = value_of(toy_checkpoint, MILD)
    (at,) = scorer(toy_checkpoint, threshold=value).score(items(MILD))
    (below,) = scorer(toy_checkpoint, threshold=value + 1e-4).score(items(MILD))
    assert (at.label, below.label) == ("toxic", "ok")
    assert "≥" in at.because
    assert "<" in below.because


def test_the_reply_is_judged_and_the_persons_own_words_are_not(toy_checkpoint: Path) -> None:
    context = (Turn(role="user", text=MILD),)
    (found,) = scorer(toy_checkpoint).score([Item(id="a", context=context, reply=KIND)])
    assert found.value == pytest.approx(value_of(toy_checkpoint, KIND))


def test_no_reason_quotes_the_text(toy_checkpoint: Path) -> None:
    texts = ["idiot " * 700, "an idiot. You are an idiot.", "idiot"]
    answers = [*scorer(toy_checkpoint).score(items(*texts)), *linear().score(items(*texts))]
    assert not [answer for answer in answers if "idiot" in answer.because]


# --- weights that are refused


def test_missing_weights_end_with_where_they_were_expected_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"models/detoxify-unbiased/checkpoint\.ckpt.*dvc repro fetch.*weights: path"):
        scorer(Path("unbiased")).score(items(MILD))


def test_a_name_means_the_folder_that_the_fetch_stage_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_detoxify.build(tmp_path / "models" / "detoxify-original")
    monkeypatch.chdir(tmp_path)
    assert scorer(Path("original")).score(items(MILD))[0].value is not None


@pytest.mark.parametrize("head", ["classifier.weight", "classifier.bias"])
def test_a_missing_head_is_refused(fresh: Path, head: str) -> None:
    state = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["state_dict"]
    del state[head]
    toy_detoxify.change(fresh, state_dict=state)
    with pytest.raises(ModelError, match=f"1 missing: {head}"):
        scorer(fresh).score(items(MILD))


def test_a_head_of_another_width_is_refused(fresh: Path) -> None:
    state = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["state_dict"]
    state["classifier.weight"] = state["classifier.weight"][:4]
    toy_detoxify.change(fresh, state_dict=state)
    with pytest.raises(ModelError, match=r"of another shape: classifier\.weight"):
        scorer(fresh).score(items(MILD))


def test_a_tensor_that_the_model_does_not_have_is_refused(fresh: Path) -> None:
    state = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["state_dict"]
    toy_detoxify.change(fresh, state_dict=state | {"bert.encoder.layer.2.output.dense.bias": torch.zeros(16)})
    with pytest.raises(ModelError, match=r"1 unknown: bert\.encoder\.layer\.2"):
        scorer(fresh).score(items(MILD))


def test_position_ids_as_old_releases_store_them_are_accepted_and_others_refused(fresh: Path) -> None:
    state = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["state_dict"]
    positions = torch.arange(512).unsqueeze(0)
    before = value_of(fresh, MILD)
    toy_detoxify.change(fresh, state_dict=state | {"bert.embeddings.position_ids": positions})
    assert value_of(fresh, MILD) == pytest.approx(before)
    toy_detoxify.change(fresh, state_dict=state | {"bert.embeddings.position_ids": positions.flip(1)})
    with pytest.raises(ModelError, match="does not hold its values"):
        scorer(fresh).score(items(MILD))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(fresh: Path, value: float) -> None:
    state = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["state_dict"]
    state["classifier.bias"][3] = value
    toy_detoxify.change(fresh, state_dict=state)
    with pytest.raises(ModelError, match=r"NaN or infinity in classifier\.bias"):
        scorer(fresh).score(items(MILD))


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., int], tuple[str]]:
        return Path(self.path).write_text, ("ran",)


def test_code_in_a_pickled_checkpoint_is_refused_and_does_not_run(fresh: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = toy_detoxify.change(fresh, extra=Malicious(mark))
    with pytest.raises(ModelError, match="was not loaded"):
        scorer(fresh).score(items(MILD))
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the toy attack must work where nothing guards against it"


def test_a_checkpoint_cut_short_is_refused(fresh: Path) -> None:
    path = fresh / "checkpoint.ckpt"
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="not a whole file"):
        scorer(fresh).score(items(MILD))


def test_a_checkpoint_without_its_config_is_refused(fresh: Path) -> None:
    toy_detoxify.change(fresh, config={})
    with pytest.raises(ModelError, match="not in Detoxify's format"):
        scorer(fresh).score(items(MILD))


def test_a_checkpoint_may_only_name_a_text_classifier(fresh: Path) -> None:
    config = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["config"]
    config["arch"]["args"]["model_name"] = "pipeline"
    toy_detoxify.change(fresh, config=config)
    with pytest.raises(ModelError, match="model_name"):
        scorer(fresh).score(items(MILD))


def test_an_absent_tokenizer_is_refused(fresh: Path) -> None:
    (fresh / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=r"trained from bert-base-uncased"):
        scorer(fresh).score(items(MILD))


def test_a_tokenizer_that_knows_no_word_is_refused(fresh: Path) -> None:
    (fresh / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", encoding="utf-8")
    with pytest.raises(ModelError, match="do not belong together"):
        scorer(fresh).score(items(MILD))


def test_loading_and_scoring_open_no_socket(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert scorer(fresh).score(items(MILD))[0].value is not None


def test_a_checkpoint_is_read_once_and_again_when_it_changes(fresh: Path) -> None:
    assert scorer(fresh)._load() is scorer(fresh, threshold=0.9)._load()
    before = scorer(fresh)._load()
    state = torch.load(fresh / "checkpoint.ckpt", weights_only=True)["state_dict"]
    toy_detoxify.change(fresh, state_dict=state | {"classifier.bias": state["classifier.bias"] + 1})
    assert scorer(fresh)._load() is not before


def test_the_version_follows_weights_tokenizer_and_threshold_but_not_the_folder(tmp_path: Path) -> None:
    here, there = toy_detoxify.build(tmp_path / "here"), toy_detoxify.build(tmp_path / "there")
    same = scorer(here).version
    assert scorer(there).version == same
    assert scorer(here, threshold=0.6).version != same
    (there / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    assert scorer(there).version != same
    state = torch.load(here / "checkpoint.ckpt", weights_only=True)["state_dict"]
    toy_detoxify.change(here, state_dict=state | {"classifier.bias": state["classifier.bias"] + 1})
    assert scorer(here).version != same


# --- linear


def linear(threshold: float = 0.5) -> Linear:
    return Linear(kind="linear", threshold=threshold)


def test_linear_calls_a_mild_insult_toxic_and_a_kind_reply_ok() -> None:
    insult, kind = linear().score(items("You are an idiot.", "Thank you for telling me. That sounds hard."))
    assert (insult.label, kind.label) == ("toxic", "ok")
    assert kind.because.startswith("maximum over the text and its 2 sentences: ")


def test_linear_hears_one_insult_at_the_end_of_a_long_kind_reply() -> None:
    kind = "Thank you for telling me. That sounds hard. How long have you felt this way? " * 8
    (found,) = linear().score(items(kind + "You are an idiot."))
    assert found.label == "toxic"
    assert "sentence 25 " in found.because


def test_linear_leaves_a_text_without_a_word_it_knows_unscored() -> None:
    answers = linear().score(items("", "  ", "12345", "谢谢你告诉我", "I am here with you."))
    assert [answer.value is None for answer in answers] == [True, True, True, True, False]
    assert answers[0].because == "empty text"
    assert "English" in answers[3].because


def test_linear_keeps_order_and_takes_its_threshold_as_toxic() -> None:
    texts = ["You are an idiot.", "I hear you.", "Shut up."]
    first = linear().score(items(*texts))
    assert [answer.id for answer in first] == ["item-0", "item-1", "item-2"]
    value = first[2].value
    assert value is not None
    assert linear(value).score(items(*texts))[2].label == "toxic"


def test_linears_version_follows_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = linear().version
    monkeypatch.setattr("attunement.scorers.linear.package_version", lambda _: "0.0.0")
    assert linear().version != before


# --- one choice of both


def test_the_kind_chooses_the_scorer() -> None:
    choice: TypeAdapter[Detoxify | Linear] = TypeAdapter(Toxicity)
    assert isinstance(choice.validate_python({"kind": "linear", "threshold": 0.5}), Linear)
    settings = {"kind": "detoxify", "weights": "original", "threshold": 0.5, "batch_size": 32}
    assert isinstance(choice.validate_python(settings), Detoxify)


@pytest.mark.parametrize("threshold", [0, 1, -0.5, float("nan")])
def test_a_threshold_that_decides_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ValidationError):
        linear(threshold)


# --- fetching, from a server on this machine


class Hub:
    """Serves a toy release and its encoder on 127.0.0.1 under the addresses that the real ones have."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url

    def release(self, toy: Path, *, named: str | None = None) -> str:
        data = (toy / "checkpoint.ckpt").read_bytes()
        name = f"toxic_original-{named or hashlib.sha256(data).hexdigest()[:8]}.ckpt"
        (self.root / name).write_bytes(data)
        return f"{self.url}/{name}"

    def encoder(self, toy: Path) -> None:
        encoder = ENCODERS["bert-base-uncased"]
        folder = self.root / encoder.repository / "resolve" / encoder.revision
        folder.mkdir(parents=True)
        tokenizer = peer_module.transformers.BertTokenizer.from_pretrained(toy)
        tokenizer.save_pretrained(folder)
        for name in ("config.json", "vocab.txt"):
            (folder / name).write_bytes((toy / name).read_bytes())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(root))

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = Hub(root, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found
        server.shutdown()
        thread.join()


def test_a_fetched_folder_scores_as_the_release_does(
    hub: Hub, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.encoder(fresh)
    monkeypatch.setitem(peer_module.MODEL_URLS, "original", hub.release(fresh))
    pinned = hashlib.sha256((fresh / "checkpoint.ckpt").read_bytes()).hexdigest()
    fetch_detoxify("original", folder=tmp_path / "fetched", sha256=pinned)
    assert value_of(tmp_path / "fetched", MILD) == pytest.approx(value_of(fresh, MILD))
    assert (tmp_path / "fetched" / "manifest.json").exists()


@pytest.mark.parametrize(("named", "sha256"), [("0" * 8, None), (None, "0" * 64), (None, "")])
def test_a_release_with_another_hash_is_not_published(
    hub: Hub, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, sha256: str | None
) -> None:
    hub.encoder(fresh)
    monkeypatch.setitem(peer_module.MODEL_URLS, "original", hub.release(fresh, named=named))
    with pytest.raises(IntegrityError, match=r"has sha256 [0-9a-f]{64}, but"):
        fetch_detoxify("original", folder=tmp_path / "fetched", sha256=sha256)
    assert not (tmp_path / "fetched").exists()


def test_a_release_that_cannot_be_had_ends_with_its_address_and_what_to_write(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{hub.url}/toxic_original-c1212f89.ckpt"
    monkeypatch.setitem(peer_module.MODEL_URLS, "original", url)
    with pytest.raises(FetchError, match=rf"{url} could not be downloaded .*404.*`weights: path/to/checkpoint\.ckpt`"):
        fetch_detoxify("original", folder=tmp_path / "fetched", sha256=None)
    assert not (tmp_path / "fetched").exists()


def test_a_release_that_does_not_load_on_its_encoder_is_not_published(
    hub: Hub, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.encoder(toy_detoxify.build(tmp_path / "other", hidden=32))
    monkeypatch.setitem(peer_module.MODEL_URLS, "original", hub.release(fresh))
    with pytest.raises(ModelError, match="of another shape"):
        fetch_detoxify("original", folder=tmp_path / "fetched", sha256=None)
    assert not (tmp_path / "fetched").exists()


def test_an_encoder_that_cannot_be_had_leaves_what_stood_before(
    hub: Hub, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(peer_module.MODEL_URLS, "original", hub.release(fresh))
    (tmp_path / "fetched").mkdir()
    (tmp_path / "fetched" / "before").touch()
    with pytest.raises(FetchError, match=r"google-bert/bert-base-uncased/resolve/86b5e09"):
        fetch_detoxify("original", folder=tmp_path / "fetched", sha256=None)
    assert [path.name for path in (tmp_path / "fetched").iterdir()] == ["before"]


def test_a_name_that_detoxify_does_not_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="original, unbiased, multilingual"):
        fetch_detoxify("orignal", folder=tmp_path / "fetched", sha256=None)
