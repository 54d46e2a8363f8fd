"""What every reader shares: its declaration in params.yaml and the rows it yields.

Nothing is skipped in silence: a line that does not parse comes back as a row with its fault, so that the
ledger can account for every row read.
"""

from abc import abstractmethod
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from attunement.errors import DataError
from attunement.records import Record, Turn


class Row(Record):
    """One row of a source: either turns, or the fault that kept it from being read."""

    file: str
    line: int
    turns: tuple[Turn, ...] = ()
    locale: str = "und"
    tags: dict[str, str] = Field(default_factory=dict)
    fault: str | None = None
    fault_at: str = ""


class Source(BaseModel):
    """A corpus as declared: where it lies, under which licence, and how its people consented."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    name: Annotated[str, Field(min_length=1)]
    files: str
    licence: Annotated[str, Field(min_length=1)]
    consent: Annotated[str, Field(min_length=1)]

    def paths(self) -> list[Path]:
        """The files of the glob, sorted; raises DataError when there is none."""
        names = glob(self.files, recursive=True)  # noqa: PTH207  # Path.glob takes no absolute pattern
        found = sorted(path for name in names if (path := Path(name)).is_file())
        if not found:
            raise DataError(f"source '{self.name}': no file matches {self.files} (curate.sources in params.yaml).")
        return found

    @abstractmethod
    def read(self) -> Iterator[Row]:
        """Every row of every file, in order."""
