"""The scorers of toxicity, as one choice for params.yaml: ``kind: detoxify`` or ``kind: linear``."""

from typing import Annotated

from pydantic import Field

from attunement.scorers.detoxify import Detoxify
from attunement.scorers.linear import Linear

Toxicity = Annotated[Detoxify | Linear, Field(discriminator="kind")]
