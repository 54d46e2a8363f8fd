"""The declared curation over a file of generated dialogues, without what asks a scorer."""

from attunement.params import Curate, load
from attunement.sources.messages import Messages


def declared_over(file: str) -> Curate:
    """``curate`` of params.yaml with one source and the cheap steps; every dialogue that is fit is taken."""
    declared = load().curate
    source = Messages(kind="messages", name="corpus", files=file, licence="CC0-1.0", consent="made up")
    steps = tuple(step for step in declared.steps if not step.asks and step.kind != "tiers")
    return declared.model_copy(update={"sources": (source,), "steps": steps, "dialogues": "all",
                                       "group_similarity": None})  # to compare meaning asks the encoder
