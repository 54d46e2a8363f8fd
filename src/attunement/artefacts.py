"""Reading and publishing artefacts: JSON Lines, Parquet, and folders with a manifest of sha256.

A stage writes into a partial folder beside the final one and publishes it by rename, so a reader never meets
half of an output, and a killed stage leaves what stood before. The manifest lets the next stage refuse a file
that was changed by hand; DVC's cache alone would not notice (it trusts size and mtime).
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate, chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from attunement.errors import DataError, IntegrityError
from attunement.records import DialogueScore, LedgerRow, Record

if TYPE_CHECKING:
    import pyarrow

MANIFEST = "manifest.json"
GROUP_ROWS = 10_000  # of a Parquet file
KEY = re.compile(r"[\w.:-]{1,40}")  # a field, an index, or a name such as rubric:support
R = TypeVar("R", bound=Record)
_MAP = json.JSONEncoder(ensure_ascii=False, sort_keys=True)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, forced to the disk and put in place by rename: a full disk leaves what stood before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` (a record or plain JSON) with sorted keys; NaN is refused."""
    plain = value.model_dump(mode="json") if isinstance(value, Record) else value
    write_text(path, json.dumps(plain, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False) + "\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write one record a line, in the order given."""
    write_text(path, "".join(record.model_dump_json() + "\n" for record in records))


def read_json(path: Path, record: type[R]) -> R:
    """Read one record; raises DataError naming the file when it does not fit."""
    try:
        return record.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing. Run `dvc repro`, which makes it.") from error
    except ValidationError as error:
        raise DataError(f"{path} is not a {record.__name__}: {first_fault(error)}. Run `dvc repro` again.") from error


def read_jsonl(path: Path, record: type[R]) -> list[R]:
    """Read records, one a line; raises DataError naming file, line and field of the first that does not fit."""
    if not path.exists():
        raise DataError(f"{path} is missing. Run `dvc repro`, which makes it.")
    found = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                found.append(record.model_validate_json(line))
            except ValidationError as error:
                raise DataError(f"{path}:{number} is not a {record.__name__}: {first_fault(error)}.") from error
    return found


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation, without the value that caused it (it may be a person's words).

    A key is named when it looks like one: a table whose first row was taken for its heads has words for keys.
    """
    fault = error.errors(include_input=False, include_url=False)[0]
    parts = [str(part) for part in fault["loc"]]
    where = ".".join(part if KEY.fullmatch(part) else f"(a key of {len(part)} characters)" for part in parts)
    where = where or "the line"
    return f"{where}: {fault['msg']}"


def write_parquet(path: Path, records: Sequence[Record], schema: "pyarrow.Schema") -> None:
    """Write records as one Parquet file with fixed row groups, so that equal records give equal bytes."""
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
            for start in range(0, max(1, len(records)), GROUP_ROWS):
                writer.write_table(_table(records[start : start + GROUP_ROWS], schema), row_group_size=GROUP_ROWS)
        file.flush()
        os.fsync(file.fileno())


def _table(records: Sequence[Record], schema: "pyarrow.Schema") -> "pyarrow.Table":
    """Records as columns, without a dict of each row in between."""
    import pyarrow

    columns = [_column([*map(attrgetter(field.name), records)], field.type) for field in schema]
    return pyarrow.Table.from_arrays(columns, schema=schema)


def _column(values: Sequence[Any], kind: "pyarrow.DataType") -> "pyarrow.Array":
    """Values as they stand in a column. Maps become JSON text: their keys differ by row, and a map would sort them."""
    import pyarrow

    if not pyarrow.types.is_list(kind):
        are_maps = bool(values) and isinstance(values[0], dict)
        return pyarrow.array(map(_MAP.encode, values) if are_maps else values, kind, size=len(values))
    inner = list(chain.from_iterable(values))
    parts = [_column([*map(attrgetter(field.name), inner)], field.type) for field in kind.value_type]
    structs = pyarrow.StructArray.from_arrays(parts, fields=list(kind.value_type))
    return pyarrow.ListArray.from_arrays([0, *accumulate(map(len, values))], structs, type=kind)


def read_parquet(path: Path, record: type[R]) -> list[R]:
    """Read records back from Parquet; raises DataError when the file is missing or its columns do not fit."""
    from pyarrow import ArrowInvalid, parquet

    try:
        rows = parquet.read_table(path).to_pylist()
        return [record.model_validate_json(json.dumps(_from_row(row))) for row in rows]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing. Run `dvc repro`, which makes it.") from error
    except (ArrowInvalid, ValidationError) as error:
        raise DataError(f"{path} does not hold {record.__name__} records. Run `dvc repro` again.") from error


def _from_row(row: dict[str, Any]) -> dict[str, Any]:
    return {k: json.loads(v) if k in ("tags", "scores") else v for k, v in row.items()}


def dialogue_schema() -> "pyarrow.Schema":
    """Columns of train, val and test."""
    import pyarrow as pa

    turn = pa.struct([("role", pa.string()), ("text", pa.string())])
    text = ("id", "source", "licence", "locale")
    columns = [(name, pa.string()) for name in text]
    return pa.schema([*columns, ("turns", pa.list_(turn)), ("tags", pa.string()), ("scores", pa.string())])


def ledger_schema() -> "pyarrow.Schema":
    """Columns of the ledger."""
    import pyarrow as pa

    types = {"line": pa.int64(), "seq": pa.int64(), "turn": pa.int64(), "score": pa.float64(), "limit": pa.float64()}
    names = tuple(LedgerRow.model_fields)
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def score_schema() -> "pyarrow.Schema":
    """Columns of the scores of dialogues."""
    import pyarrow as pa

    return pa.schema([(name, pa.float64() if name == "value" else pa.string()) for name in DialogueScore.model_fields])


def manifest_of(folder: Path) -> dict[str, str]:
    """sha256 by relative path for every file in ``folder`` but the manifest itself and DVC's .gitignore."""
    skipped = (folder / MANIFEST, folder / ".gitignore")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path not in skipped)
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Yield a partial folder beside ``folder``; on success add its manifest and rename it into place.

    On an exception the partial folder is removed and ``folder`` is as it was. A process killed between the two
    renames leaves ``.NAME.previous``; whoever verifies or publishes next puts it back. Of two runs at once each has a
    partial folder of its own, and the last to end is what stands.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent):
        _put_back(folder)
        _clean(folder)
        partial = _beside(folder, f"partial-{uuid4().hex[:8]}")
        partial.mkdir()
        alive = ExitStack()
        alive.enter_context(_locked(partial))
    try:
        yield partial
        write_json(partial / MANIFEST, manifest_of(partial))
        for path in (*partial.rglob("*"), partial):
            _force(path)
        previous = _beside(folder, "previous")
        with _locked(folder.parent):
            shutil.rmtree(previous, ignore_errors=True)
            if folder.exists():
                folder.rename(previous)
            partial.rename(folder)
            _force(folder.parent)
            shutil.rmtree(previous, ignore_errors=True)
    except BaseException:
        with _locked(folder.parent):
            _put_back(folder)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        alive.close()


def _force(path: Path) -> None:
    """Have a file's or a folder's content on the disk: a name that outlives a power cut must not outlive its bytes."""
    opened = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system does it for folders
            os.fsync(opened)
    finally:
        os.close(opened)


def _beside(folder: Path, what: str) -> Path:
    return folder.parent / f".{folder.name}.{what}"


def _partials(folder: Path) -> list[Path]:
    """The partial folders of runs that go on or were killed."""
    begins = _beside(folder, "partial").name
    return sorted(path for path in folder.parent.iterdir() if path.name.startswith(begins))


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock, which the system lets go of when a process ends, however it ends.

    Without ``wait`` BlockingIOError is raised when another holds it, or may: not every file system has locks. Where
    there are none nobody is waited for either.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if not wait:
                raise BlockingIOError(f"{folder} may be in use") from error
        yield
    finally:
        os.close(opened)


def _clean(folder: Path) -> None:
    """Remove the partial folders of runs that were killed: nobody holds their locks."""
    for partial in _partials(folder):
        with suppress(BlockingIOError), _locked(partial, wait=False):
            shutil.rmtree(partial, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """Undo the first rename of a publication whose second did not happen: both folders wait and none is in place."""
    previous = _beside(folder, "previous")
    if previous.exists() and not folder.exists() and _partials(folder):
        previous.rename(folder)


def put_all_back(parent: Path) -> None:
    """Undo every publication in ``parent`` that was killed between its two renames."""
    for previous in parent.glob(".*.previous"):
        with _locked(parent):
            _put_back(parent / previous.name[1 : -len(".previous")])


def verify(folder: Path) -> Path:
    """Return ``folder`` when its files are those of its manifest; raise IntegrityError naming what differs."""
    if _beside(folder, "previous").exists():
        with _locked(folder.parent):
            _put_back(folder)
    path = folder / MANIFEST
    if not path.exists():
        raise IntegrityError(f"{folder} has no {MANIFEST}. Run `dvc repro`, which makes it.")
    try:
        expected = TypeAdapter(dict[str, str]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise IntegrityError(
            f"{path} is damaged: {first_fault(error)}. Remove {folder} and run `dvc repro` to make it anew."
        ) from error
    found = manifest_of(folder)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if differing:
        names = ", ".join(differing[:5])
        raise IntegrityError(
            f"{folder} is not as its stage left it (changed, missing or extra: {names}). "
            f"Remove {folder} and run `dvc repro` to make it anew."
        )
    return folder
