"""Every reader that ``curate.sources`` may name. A new one is one file and one name here."""

from typing import Annotated

from pydantic import Field

from attunement.sources.alpaca import Alpaca
from attunement.sources.annomi import AnnoMi
from attunement.sources.counsel_chat import CounselChat
from attunement.sources.empathetic_dialogues import EmpatheticDialogues
from attunement.sources.esconv import EsConv
from attunement.sources.huggingface import HuggingFace
from attunement.sources.messages import Messages
from attunement.sources.pairs import Pairs
from attunement.sources.sharegpt import ShareGpt
from attunement.sources.table import Table
from attunement.sources.transcript import Transcript

AnySource = Annotated[
    Alpaca | AnnoMi | CounselChat | EmpatheticDialogues | EsConv | HuggingFace | Messages | Pairs | ShareGpt | Table
    | Transcript,
    Field(discriminator="kind"),
]
