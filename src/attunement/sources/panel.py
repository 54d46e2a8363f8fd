"""Every reader that ``curate.sources`` may name. A new one is one file and one name here."""

from typing import Annotated

from pydantic import Field

from attunement.sources.messages import Messages

AnySource = Annotated[Messages, Field(discriminator="kind")]
