"""JSON objects of a file, one a line (.jsonl) or in one array (.json), each with its line, and how one is decoded.

Where two objects of an array begin on one line, the objects' numbers do for lines: each has a place of its own.
msgspec decodes typed, and rejects what does not fit; its messages name fields and types, not values.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from attunement.artefacts import KEY
from attunement.sources.lines import BOM, CutError, RowError, TornError, chunks, lines, plain_suffix, utf8

JSON = (".jsonl", ".ndjson", ".json")
T = TypeVar("T")
_PLACE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_FIELD = re.compile(r"`(?P<field>.*)`", re.DOTALL)
_GAP = re.compile(r"[\s,]*")


def objects(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line, JSON) of every object; raises CutError. ``.json`` may hold an array, one object, or lines."""
    if plain_suffix(path) != ".json":
        yield from lines(path)
        return
    parts: list[bytes] = []
    torn = ""
    try:
        parts.extend(chunks(path))
    except TornError as error:
        torn = str(error)
    data = b"".join(parts).removeprefix(BOM)
    if data.lstrip().startswith(b"["):
        yield from _elements(data, torn)
    elif not torn and _is_one(data):
        yield 1 + _skipped(data).count(b"\n"), data.strip()
    else:
        yield from lines(path)


def decoded(raw: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """What the JSON holds; raises RowError, which names the field and no value."""
    if not raw.isascii():
        utf8(raw)
    try:
        return decoder.decode(raw)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise _fault(error) from None
    except RecursionError:
        raise RowError("nested too deep", "the line") from None
    except UnicodeError:
        raise RowError("half of a surrogate pair", "the line") from None


def _fault(error: msgspec.MsgspecError) -> RowError:
    told = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return RowError(f"Invalid JSON: {told}", "the line")
    place = _PLACE.search(told)
    what = told[: place.start()] if place else told
    path = re.sub(r"\[(\d+|\.\.\.)\]", lambda found: "" if found[1] == "..." else f".{found[1]}", place["path"]) \
        if place else ""
    for start, short in (("Object contains unknown field", "an unknown field"),
                         ("Object missing required field", "is missing")):
        if what.startswith(start) and (named := _FIELD.search(what)):
            return RowError(short, ".".join(filter(None, (path.strip("."), plain_key(named["field"])))))
    return RowError(what, path.strip(".") or "the line")


def plain_key(key: str) -> str:
    """A key when it looks like one; else its length: words may stand where a key should."""
    return key if KEY.fullmatch(key) else f"(a key of {len(key)} characters)"


def _is_one(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True


def _skipped(data: bytes) -> bytes:
    return data[: len(data) - len(data.lstrip())]


def _elements(data: bytes, torn: str) -> Iterator[tuple[int, bytes]]:
    """The elements of an array. One that does not parse as a whole is read up to where it breaks; raises CutError.

    Each has the line on which it begins, or all have their numbers where two begin on one.
    """
    try:
        found = [] if torn else msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        torn = "not JSON from here on"
    if torn:
        placed, cut = _before_the_break(data, torn)
    else:
        placed, cut = _placed(data, map(bytes, found)), None
    begins = [line for line, _ in placed] + ([cut.line] if cut else [])
    if shared := len(set(begins)) < len(begins):
        placed = [(number, raw) for number, (_, raw) in enumerate(placed, 1)]
    yield from placed
    if cut:
        raise CutError(len(placed) + 1, cut.why) if shared else cut


def _placed(data: bytes, found: Iterable[bytes]) -> list[tuple[int, bytes]]:
    """Each element with the line on which it begins."""
    placed = []
    at, line = data.index(b"[") + 1, 1 + _skipped(data).count(b"\n")
    for raw in found:
        start = data.index(raw, at)  # only space and a comma lie between
        line += data.count(b"\n", at, start)
        placed.append((line, raw))
        line += raw.count(b"\n")
        at = start + len(raw)
    return placed


def _before_the_break(data: bytes, why: str) -> tuple[list[tuple[int, bytes]], CutError]:
    """The elements before the break, each with its line, and the break with its own."""
    text = data.decode("utf-8", "surrogateescape")  # an element that is not UTF-8 is a fault of its own
    decoder = json.JSONDecoder()
    placed: list[tuple[int, bytes]] = []
    at, line = text.index("[") + 1, 1 + _skipped(data).count(b"\n")
    while True:
        gap = _GAP.match(text, at)
        start = gap.end() if gap else at
        line += text.count("\n", at, start)
        try:
            _, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return placed, CutError(line, why)
        placed.append((line, text[start:end].encode("utf-8", "surrogateescape")))
        line += text.count("\n", start, end)
        at = end
