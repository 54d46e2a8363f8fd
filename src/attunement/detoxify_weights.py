"""Fetching Detoxify's weights: the release's checkpoint and its encoder's config and tokenizer, into one folder.

In: the name of a model that Detoxify releases. Out: a folder from which the detoxify scorer works without a network.
The checkpoint's address and the start of its sha256 are Detoxify's own (``detoxify.detoxify.MODEL_URLS``, checked as
torch.hub does); the encoder's files come from the model hub at a pinned revision. The folder is published when a
strict load of it has succeeded, so what stands there works.
"""

import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from attunement.artefacts import publishing
from attunement.classifier import adapted_state
from attunement.errors import FetchError, IntegrityError
from attunement.scorers.detoxify import CHECKPOINT, ENCODER_FILES, RELEASED, load_classifier, read_checkpoint

HUB = "https://huggingface.co"
TIMEOUT_S = 60
CHUNK_BYTES = 1 << 20
INSTEAD = (
    f"On a machine without access, bring a checkpoint in Detoxify's format and its encoder's config.json and tokenizer "
    f"in one folder, name it in params.yaml as the detoxify scorer's `weights: path/to/{CHECKPOINT}`, and leave its "
    "name out of fetch.detoxify."
)


class Encoder(NamedTuple):
    """Where an encoder's config and tokenizer are had: a repository of the hub at one commit."""

    repository: str
    revision: str
    files: tuple[str, ...]


COMMON = ("config.json", "tokenizer.json", "tokenizer_config.json")

# By the name that the released checkpoints give their encoder; revisions are the hub's main of those repositories.
ENCODERS = {
    "bert-base-uncased": Encoder(
        "google-bert/bert-base-uncased", "86b5e0934494bd15c9632b12f734a8a67f723594", (*COMMON, "vocab.txt")
    ),
    "roberta-base": Encoder(
        "FacebookAI/roberta-base", "e2da8e2f811d1448a5b465c236feacd80ffbac7b", (*COMMON, "vocab.json", "merges.txt")
    ),
    "xlm-roberta-base": Encoder(
        "FacebookAI/xlm-roberta-base", "e73636d4f797dec63c3081bb6ed5c7b0bb3f2089", (*COMMON, "sentencepiece.bpe.model")
    ),
}


def fetch_detoxify(name: str, *, folder: Path, sha256: str | None) -> None:
    """Make ``folder`` hold checkpoint.ckpt, config.json and the tokenizer of Detoxify's model ``name``.

    ``sha256`` is the whole hash where params.yaml pins it; the 8 digits in the release's file name always count.
    Raises FetchError when something cannot be had, IntegrityError when a file is another than its hash says, and
    ModelError when what was fetched does not load; ``folder`` is then as it was.
    """
    from detoxify.detoxify import MODEL_URLS

    if name not in RELEASED:
        raise FetchError(f"fetch.detoxify: {name!r} is not one of {', '.join(RELEASED)}. {INSTEAD}")
    url = MODEL_URLS[name]
    with publishing(folder) as partial:
        checkpoint = partial / CHECKPOINT
        _check_hash(_download(url, checkpoint), url=url, sha256=sha256)
        config, _ = read_checkpoint(checkpoint)
        encoder = ENCODERS.get(config.architecture.model_type)
        if encoder is None:
            raise FetchError(
                f"{url} was trained from {config.architecture.model_type!r}, and only "
                f"{', '.join(ENCODERS)} have a pinned revision here. {INSTEAD}"
            )
        # HF_ENDPOINT is the hub client's own variable for a mirror.
        hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        for file in encoder.files:
            _download(f"{hub}/{encoder.repository}/resolve/{encoder.revision}/{file}", partial / file)
        load_classifier(checkpoint)


def embed_detoxify(folder: Path, *, encoder: Path) -> None:
    """Make ``folder`` hold our own classifier of toxicity as a Detoxify checkpoint, beside its encoder's files.

    MiniLM with the adapter of data/classifiers/toxicity added to it; Detoxify's own classes load the result. Raises
    ModelError when adapter and encoder do not belong together; ``folder`` is then as it was.
    """
    import torch

    made, state = adapted_state("toxicity", encoder=encoder)
    arguments = {"num_classes": len(made.heads), "model_type": encoder.as_posix(),
                 "model_name": "BertForSequenceClassification", "tokenizer_name": "BertTokenizer"}
    described = {"arch": {"type": "BERT", "args": arguments}, "dataset": {"args": {"classes": made.heads}}}
    with publishing(folder) as partial:
        for name in ENCODER_FILES:
            if (encoder / name).is_file():
                shutil.copyfile(encoder / name, partial / name)
        torch.save({"config": described, "state_dict": state}, partial / CHECKPOINT)
        load_classifier(partial / CHECKPOINT)


def _download(url: str, path: Path) -> str:
    """Write the file at ``url`` to ``path`` and return its sha256. Raises FetchError."""
    digest, n_bytes = hashlib.sha256(), 0
    try:
        # The address is from Detoxify's table or the constants above, not from a person: no scheme can be smuggled in.
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:  # noqa: S310
            expected = answer.headers.get("Content-Length")
            while chunk := answer.read(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                n_bytes += len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise FetchError(
            f"{url} could not be downloaded ({error}). Check the connection and run it again. {INSTEAD}"
        ) from error
    # A connection that closes early ends the reading without an error.
    if expected is not None and n_bytes != int(expected):
        raise FetchError(f"{url} ended after {n_bytes} of {expected} bytes. Run it again. {INSTEAD}")
    return digest.hexdigest()


def _check_hash(found: str, *, url: str, sha256: str | None) -> None:
    """Refuse a checkpoint that is not the one that the release's name, and params.yaml, describe."""
    named = re.search(r"-([0-9a-f]{8,64})\.", url.rsplit("/", 1)[-1])
    if named is None:
        raise IntegrityError(
            f"{url} names no hash, so its file cannot be checked. Install the pinned version of detoxify."
        )
    wanted = (
        (named[1], found[: len(named[1])], "its file name"),
        (found if sha256 is None else sha256, found, "params.yaml"),
    )
    for expected, had, source in wanted:
        if expected != had:
            raise IntegrityError(
                f"{url} has sha256 {found}, but {source} says {expected}. The file is damaged or is another one: "
                "fetch it again, or check the source before changing the hash."
            )
