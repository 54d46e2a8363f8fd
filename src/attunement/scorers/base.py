"""What every scorer shares: what it is given, what it answers, and its settings as a frozen model.

A scorer never raises for one item that it cannot judge: it answers ``value=None`` and says why. It raises
only when it cannot work at all (its weights are missing), and then nothing passes.
"""

import hashlib
import inspect
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from attunement.errors import DataError
from attunement.records import Record, Turn, content_id

Form = Literal["text", "reply", "dialogue"]


class Item(Record):
    """What a scorer looks at. One of ``text``, ``reply`` (with its ``context``) or ``dialogue`` is given."""

    id: str
    text: str | None = None
    context: tuple[Turn, ...] = ()
    reply: str | None = None
    dialogue: tuple[Turn, ...] = ()
    locale: str = "und"
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def form(self) -> Form:
        """Which of the three forms this item has."""
        if self.reply is not None:
            return "reply"
        return "text" if self.text is not None else "dialogue"

    @property
    def words(self) -> str:
        """The words that a scorer of single texts judges: the reply or the text, never the person's own pain."""
        return self.reply if self.reply is not None else self.text or ""


class Scored(Record):
    """One answer: ``value`` is None when the item could not be scored, and ``because`` says why."""

    id: str
    value: float | None
    label: str | None
    because: str


class Scorer(BaseModel):
    """A scorer's settings. Subclasses add ``kind: Literal[…]`` and fields, and implement ``score``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    kind: str
    forms: ClassVar[tuple[Form, ...]] = ("text", "reply")
    labels: ClassVar[tuple[str, ...]] = ()
    higher_is_better: ClassVar[bool | None] = True  # None: neither, as of what a person said
    nothing_asked: ClassVar[tuple[str, ...]] = ()  # labels for a reply that the scorer's question does not concern

    @property
    def name(self) -> str:
        """How this scorer is called in scores, rules and on the command line."""
        return self.kind

    @property
    def version(self) -> str:
        """A hash of this scorer's code, settings and data: scores of different versions are not comparable.

        Raises DataError when a file that it depends on is missing.
        """
        source = Path(inspect.getfile(type(self))).read_bytes()
        missing = [path.as_posix() for path in self.data_files() if not path.is_file()]
        if missing:
            raise DataError(f"scorer '{self.name}' needs {', '.join(missing)}, which does not exist.")
        data = [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.data_files()]
        return content_id([hashlib.sha256(source).hexdigest(), self.model_dump(mode="json"), data], length=12)

    def data_files(self) -> tuple[Path, ...]:
        """Files that this scorer's answers depend on (weights, rubrics, resources)."""
        return ()

    @abstractmethod
    def score(self, items: Sequence[Item]) -> list[Scored]:
        """One answer per item, in the same order."""


def last_said(item: Item) -> str:
    """What the person said last before the reply; empty when nobody said anything."""
    return next((turn.text for turn in reversed(item.context) if turn.role == "user"), "")


def unscored(item: Item, because: str) -> Scored:
    """The answer for an item that could not be scored."""
    return Scored(id=item.id, value=None, label=None, because=because)
