"""What every reader shares: its declaration in params.yaml and the rows it yields.

Nothing is skipped in silence: a line that does not parse comes back as a row with its fault, and so does the place
where a file breaks off, so that the ledger accounts for every row read. A fault names a field, never what stood there.

    - kind: …                         # of `attunement.sources.panel`
      name: mine
      files: data/sources/mine        # a file, a glob, a folder, or a list of these; .gz and .zst are unpacked
      licence: CC-BY-4.0
      consent: how the people in it agreed, or that there are none
      locale: en-GB                   # of rows that carry none; und when nobody knows

A row's own locale and tags are checked as `attunement.sources.about` says, whichever reader they come from.
"""

import difflib
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from attunement.errors import DataError
from attunement.records import Turn
from attunement.sources.about import check_tags, plain_locale
from attunement.sources.files import below, each_once, matching
from attunement.sources.lines import CutError, RowError, plain_suffix

UNDECLARED = ("", "-", "?", "n/a", "na", "none", "null", "tbd", "todo", "undeclared", "unknown", "unspecified")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source: either turns, or the fault that kept it from being read. No pydantic: there are many."""

    file: str
    line: int  # 1-based; of a dialogue that spans lines its first; of Parquet, Arrow, an array with two a line the row
    turns: tuple[Turn, ...] = ()
    locale: str = "und"
    tags: dict[str, str] = field(default_factory=dict)
    group: str = ""  # a thread, person or question: what shares one lies in one split
    repairs: tuple[str, ...] = ()  # what the reader mended, for the ledger
    fault: str | None = None
    fault_at: str = ""
    unanswered: tuple[Turn, ...] = ()  # what the user said last and the reader left off: heard, and not learnt


def _declared(text: str) -> str:
    if text.strip().casefold() in UNDECLARED:
        raise ValueError("is not declared: expected a licence by name, or how consent was given. Data that nobody "
                         "may use is not read; find out, or leave the source away")
    return text


def _locale(text: str) -> str:
    try:
        return plain_locale(text)
    except RowError as fault:
        raise ValueError(fault.what) from None


Declared = Annotated[str, AfterValidator(_declared)]


class Source(BaseModel):
    """A corpus as declared: where it lies, under which licence, and how its people consented."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    name: Annotated[str, Field(min_length=1)]
    files: str | Annotated[tuple[str, ...], Field(min_length=1)]
    licence: Declared
    consent: Declared
    locale: Annotated[str, AfterValidator(_locale)] = "und"

    suffixes: ClassVar[tuple[str, ...]]  # which files of a folder are read

    def paths(self) -> list[Path]:
        """The declared files, sorted, each once whatever links lead to it; raises DataError when one is missing."""
        found: list[Path] = []
        for entry in (self.files,) if isinstance(self.files, str) else self.files:
            files = self._matching(entry)
            if not files:
                fit = f" with a suffix among {', '.join(self.suffixes)}" if Path(entry).is_dir() else ""
                raise DataError(f"source '{self.name}': no file{fit} matches {entry} (curate.sources in params.yaml)."
                                f"{_nearest(Path(entry))} Correct `files` (relative to the folder of params.yaml), "
                                "or put the data there.")
            found += files
        return each_once(found)

    def _matching(self, entry: str) -> list[Path]:
        given = Path(entry)
        if given.is_file():
            return [given]
        if given.is_dir():
            return [path for path in below(given) if plain_suffix(path) in self.suffixes]
        return matching(entry)

    def read(self) -> Iterator[Row]:
        """Every row of every file, in order; where a file breaks off, a row that says so."""
        for path in self.paths():
            try:
                yield from map(_about_checked, self.rows(path))
            except CutError as cut:
                yield Row(file=path.as_posix(), line=cut.line, fault=cut.why, fault_at="the file")

    @abstractmethod
    def rows(self, path: Path) -> Iterator[Row]:
        """Every row of one file; raises CutError where it can not be read on."""


def _nearest(path: Path) -> str:
    """What lies beside the first file or folder on the way that is not there, and is called nearly so."""
    gone = next((one for one in (*reversed(path.parents), path) if not one.exists()), path)
    beside = [one.name for one in gone.parent.iterdir()] if gone.parent.is_dir() else []
    close = difflib.get_close_matches(gone.name, beside, n=1)
    return f" Is it {gone.parent / close[0]}?" if close and close[0] != gone.name else ""


def _about_checked(row: Row) -> Row:
    """The row with its locale as BCP 47 writes it, or with the fault of its locale or tags in place of its words."""
    if row.fault is not None:
        return row
    try:
        locale = plain_locale(row.locale)
        check_tags(row.tags, locale)
    except RowError as fault:
        return Row(file=row.file, line=row.line, fault=fault.what, fault_at=fault.at)
    return row if locale == row.locale else replace(row, locale=locale)


def faulted(path: Path, line: int, fault: RowError) -> Row:
    """The row of what could not be read."""
    return Row(file=path.as_posix(), line=line, fault=fault.what, fault_at=fault.at)
