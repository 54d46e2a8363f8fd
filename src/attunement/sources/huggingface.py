"""Reader of a Hugging Face dataset: a folder that `save_to_disk` wrote, or a hub id with a pinned revision.

    - kind: huggingface
      name: mine
      files: data/sources/saved      # of Dataset.save_to_disk or DatasetDict.save_to_disk
      split: train                   # of a DatasetDict, or of the hub's
      licence: Apache-2.0
      consent: as its card says, read on the day it was declared
      turns: messages                # a column of lists, each {role, content} or {from, value}
      # or: prompt: question, response: answer

    - kind: huggingface
      name: theirs
      hub: owner/name                # in place of files; asks the network
      revision: 0123456789abcdef0123456789abcdef01234567   # the commit: a branch may change below you
      …

Rows are numbered from 1 in their order. A machine without a network reads a folder that another one saved.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from attunement.errors import DataError
from attunement.records import Role
from attunement.sources.base import Row
from attunement.sources.entries import BATCH_ROWS, batch_entries, check_columns, entry_rows
from attunement.sources.fields import Fielded, text_of
from attunement.sources.lines import RowError
from attunement.sources.pairs import pair
from attunement.sources.turns import Said, Spots, Talk

if TYPE_CHECKING:
    from datasets import Dataset  # type: ignore[import-untyped]  # it ships none

FORMS = (("role", "content"), ("from", "value"))


class HuggingFace(Talk, Fielded):
    """A dataset that `datasets` reads."""

    kind: Literal["huggingface"]
    files: str = ""
    hub: Annotated[str, StringConstraints(pattern=r"^(|[\w.-]+/[\w.-]+)$")] = ""
    revision: Annotated[str, StringConstraints(pattern=r"^(|[0-9a-f]{40})$")] = ""
    config: str = Field(default="", description="of a hub dataset that has several")
    split: str = ""
    turns: str = ""
    prompt: str = ""
    response: str = ""
    roles: dict[str, Role] = Field(default={
        "system": "system", "user": "user", "assistant": "assistant", "human": "user", "gpt": "assistant"})

    suffixes: ClassVar[tuple[str, ...]] = ()

    def read(self) -> Iterator[Row]:
        """Every row; raises DataError when the dataset, its split or a column is not there."""
        from pyarrow import ArrowException

        file = f"hub:{self.hub}@{self.revision}" if self.hub else Path(self.files).as_posix()
        place, row = Path(f"{file}/{self.split}" if self.split else file), 0
        dataset = self._with_columns(self._dataset())
        try:
            for table in dataset.with_format("arrow").iter(batch_size=BATCH_ROWS):
                for batch in table.to_batches():
                    yield from entry_rows(place, batch_entries(batch, row + 1),
                                          lambda line, values: self._row(place, line, values))
                    row += batch.num_rows
        except (OSError, ArrowException) as error:
            yield Row(place.as_posix(), row + 1, fault=f"not a whole Arrow file ({type(error).__name__})",
                      fault_at="the file")

    def rows(self, path: Path) -> Iterator[Row]:
        """A dataset is not read file by file."""
        raise NotImplementedError(f"{path}: huggingface reads a dataset as a whole")

    def _row(self, place: Path, line: int, values: dict[str, Any]) -> Row:
        if self.prompt:
            return pair(self, place, line, values, asked=text_of(values, self.prompt),
                        answered=text_of(values, self.response))
        said, spots = _said(values.get(self.turns), self.turns)
        turns, repairs, unanswered = self.turns_of(said, spots)
        return Row(place.as_posix(), line, turns, repairs=repairs, unanswered=unanswered, **self.told(values))

    def _dataset(self) -> "Dataset":
        """The dataset of the declared split; raises DataError."""
        from datasets import Dataset, load_dataset, load_from_disk

        where = self.hub or self.files
        try:
            if self.hub:
                found = load_dataset(self.hub, self.config or None, revision=self.revision, split=self.split)
            else:
                found = load_from_disk(self.files)
        except Exception as error:  # what a hub, a network and a folder raise is many classes of many libraries
            raise DataError(f"source '{self.name}': {where} can not be read ({type(error).__name__}). "
                            + ("Is the hub reachable, and are id, config, revision and split right? On a machine "
                               "without a network, save it with save_to_disk on another and name the folder as files."
                               if self.hub else "Expected a folder that save_to_disk wrote.")) from error
        if isinstance(found, Dataset):
            if self.split and not self.hub:
                raise DataError(f"source '{self.name}': {where} has no splits; leave `split` away.")
            return found
        if self.split not in found:
            raise DataError(f"source '{self.name}': {where} has no split '{self.split}'. Its splits: "
                            f"{', '.join(sorted(found))}.")
        return found[self.split]

    def _with_columns(self, dataset: "Dataset") -> "Dataset":
        wanted = [name for name in dict.fromkeys((self.turns, self.prompt, self.response, *self.about())) if name]
        check_columns(self.name, dataset.column_names, wanted)
        return dataset.select_columns(wanted)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.files) == bool(self.hub):
            raise ValueError("expected either files (a saved folder) or hub (an id)")
        if self.hub and not (self.revision and self.split):
            raise ValueError("a hub dataset needs its revision (a commit of 40 hex digits) and its split")
        if self.files and (self.revision or self.config):
            raise ValueError("revision and config are of a hub dataset; a saved folder has none")
        if bool(self.turns) == bool(self.prompt) or bool(self.prompt) != bool(self.response):
            raise ValueError("expected either turns, or prompt and response")
        return self


def _said(value: Any, column: str) -> tuple[list[Said], Spots]:
    """Turns of a column of lists; raises RowError."""
    if not isinstance(value, list) or not value:
        raise RowError("expected at least 1 turn", column)
    keys = next((form for form in FORMS if isinstance(value[0], dict) and set(form) <= set(value[0])), None)
    if keys is None:
        raise RowError("expected turns of role and content, or from and value", column)
    spots = Spots(*(f"{column}.{{}}.{key}" for key in keys))
    said = []
    for number, turn in enumerate(value):
        who, what = (turn.get(key) if isinstance(turn, dict) else None for key in keys)
        if not isinstance(who, str) or not isinstance(what, str):
            raise RowError("expected words", f"{column}.{number}")
        said.append((who, what))
    return said, spots
