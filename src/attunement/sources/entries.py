"""Records with named fields, from CSV, TSV, Parquet or JSON Lines: one Entry a record, or the fault that it has.

CSV is read strictly: a record with too few or too many columns, a NUL byte, a quote that never ends or a field beyond
`csv.field_size_limit` is a fault of that record. Columns that are declared and missing are an error of the declaration:
DataError, before a row is read.
"""

import csv
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from attunement.errors import DataError
from attunement.sources.base import Row, faulted
from attunement.sources.lines import BOM, CutError, RowError, plain_suffix, raw_lines
from attunement.sources.objects import JSON, decoded, objects, plain_key

if TYPE_CHECKING:
    import pyarrow

DELIMITED = (".csv", ".tsv")
PARQUET = (".parquet",)
BATCH_ROWS = 1000
FIELD_CHARS = 1 << 17  # beyond which a quote that never ends is likelier than a field
_OBJECT = msgspec.json.Decoder(dict[str, Any])
_BROKEN_CSV = (  # what the csv module says, and how it is told
    ("field larger", "a field beyond csv.field_size_limit"),
    ("unexpected end", "a quote that never ends"),
    ("expected after", "a quote in the middle of a field"),
    ("new-line", "a carriage return outside quotes"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record: its values, or its fault. ``line`` is the first it spans; of Parquet the row."""

    line: int
    values: dict[str, Any] = field(default_factory=dict)
    fault: RowError | None = None


def entry_rows(path: Path, found: Iterable[Entry], row_of: Callable[[int, dict[str, Any]], Row]) -> Iterator[Row]:
    """A row for every record, of its line and values; with its fault for one that can not be read."""
    for entry in found:
        try:
            if entry.fault:
                raise entry.fault
            yield row_of(entry.line, entry.values)
        except RowError as fault:
            yield faulted(path, entry.line, fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a file's records are laid out. ``columns`` must be there, ``optional`` ones are read where they are."""

    columns: Sequence[str]
    optional: Sequence[str] = ()
    delimiter: str = ""  # empty: a tab in .tsv, else a comma
    quoted: bool = True  # whether " encloses fields
    spare: int = 0  # columns beyond the heads that a record may have


def entries(path: Path, layout: Layout) -> Iterator[Entry]:
    """Every record of a file; raises DataError for columns that are not there, CutError where it breaks off."""
    suffix = plain_suffix(path)
    if suffix in PARQUET:
        return _parquet(path, layout)
    return _json(path) if suffix in JSON else _delimited(path, layout)


def _json(path: Path) -> Iterator[Entry]:
    for line, raw in objects(path):
        try:
            yield Entry(line, decoded(raw, _OBJECT))
        except RowError as fault:
            yield Entry(line, fault=fault)


class _Feed:
    """Text lines for the csv module, which must not be interrupted: what is wrong with one is written down."""

    def __init__(self, path: Path) -> None:
        self.lines = raw_lines(path)
        self.first = True
        self.wrong = ""

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        if self.first:
            line, self.first = line.removeprefix(BOM), False
        if b"\0" in line:
            self.wrong, line = "a NUL byte", line.replace(b"\0", b"")
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.wrong = "not UTF-8"
            return line.decode("utf-8", "replace")


def _records(path: Path, layout: Layout) -> Iterator[tuple[int, list[str] | RowError]]:
    """(first line, fields or fault) of every CSV record that is not blank."""
    feed = _Feed(path)
    delimiter = layout.delimiter or ("\t" if plain_suffix(path) == ".tsv" else ",")
    csv.field_size_limit(FIELD_CHARS)  # a setting of the whole process, which others set too
    reader = csv.reader(feed, delimiter=delimiter, strict=True,
                        quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE)
    while True:
        start, feed.wrong = reader.line_num + 1, ""
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            told = next((ours for theirs, ours in _BROKEN_CSV if theirs in str(error)), "not CSV")
            yield start, RowError(told, "the line")
            continue
        if feed.wrong:
            yield start, RowError(feed.wrong, "the line")
        elif any(map(str.strip, fields[:1])) or len(fields) > 1:
            yield start, fields


def _delimited(path: Path, layout: Layout) -> Iterator[Entry]:
    records = _records(path, layout)
    heads: Sequence[str] | RowError
    line, heads = next(records, (1, ()))
    if isinstance(heads, RowError):
        raise DataError(f"{path}:{line} should hold the names of the columns and can not be read: {heads.what}.")
    if not heads:
        return
    heads = [head.strip() for head in heads]
    wanted = _found(path, heads, layout)
    places = [(name, heads.index(name)) for name in wanted]
    for line, fields in records:
        if isinstance(fields, RowError):
            yield Entry(line, fault=fields)
        elif not len(heads) <= len(fields) <= len(heads) + layout.spare:
            yield Entry(line, fault=RowError(f"{len(fields)} columns, expected {len(heads)}", "the line"))
        else:
            yield Entry(line, {name: fields[place] for name, place in places})


def _found(path: Path, heads: Sequence[str], layout: Layout) -> list[str]:
    """The columns to read; raises DataError for those that are missing, or there twice."""
    check_columns(str(path), heads, layout.columns)
    wanted = list(dict.fromkeys((*layout.columns, *(name for name in layout.optional if name in heads))))
    if twice := [name for name in wanted if heads.count(name) > 1]:
        raise DataError(f"{path} has two columns '{twice[0]}'. Rename one.")
    return wanted


def check_columns(where: str, heads: Sequence[str], needed: Sequence[str]) -> None:
    """Raises DataError, naming the nearest, for a declared column that is not there."""
    missing = [name for name in needed if name not in heads]
    if missing:
        near = difflib.get_close_matches(missing[0], heads, n=1)
        hint = f" (is it '{plain_key(near[0])}'?)" if near else ""
        raise DataError(f"{where} has no column '{missing[0]}'{hint}. Its columns: "
                        f"{', '.join(plain_key(head) for head in heads[:30])}. Name the right one in curate.sources.")


def _parquet(path: Path, layout: Layout) -> Iterator[Entry]:
    from pyarrow import ArrowException, parquet

    row = 0
    try:
        with parquet.ParquetFile(path) as file:
            wanted = _found(path, file.schema_arrow.names, layout)
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                yield from batch_entries(batch, row + 1)
                row += batch.num_rows
    except (ArrowException, OSError, UnicodeError) as error:
        raise CutError(row + 1, f"not a whole Parquet file ({type(error).__name__})") from None


def batch_entries(batch: "pyarrow.RecordBatch", first: int) -> Iterator[Entry]:
    """The rows of an Arrow batch; one that is not UTF-8 is a fault of its own."""
    try:
        found: Iterable[dict[str, Any] | None] = batch.to_pylist()
    except UnicodeDecodeError:
        found = (_row(batch, number) for number in range(batch.num_rows))
    for line, values in enumerate(found, first):
        yield Entry(line, values) if values is not None else Entry(line, fault=RowError("not UTF-8", "the row"))


def _row(batch: "pyarrow.RecordBatch", number: int) -> dict[str, Any] | None:
    try:
        (values,) = batch.slice(number, 1).to_pylist()
    except UnicodeDecodeError:
        return None
    found: dict[str, Any] = values
    return found
