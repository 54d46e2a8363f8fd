"""Lines of a text file, plain or packed (.gz, .zst), with their numbers; and what a reader raises when one is broken.

Text is UTF-8. A file that begins with the byte order mark of UTF-16 or UTF-32, which some spreadsheets and shells
write, is read as that; the mark of UTF-8 is left out.

A packed file that breaks off is found out (a plain stream reader of zstandard would just end): all lines before the
break come, then CutError.
"""

import codecs
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

CHUNK_BYTES = 1 << 16  # of the packed file, read at a time: of a damaged one, what lies in the damaged piece is lost
BUFFER_BYTES = 1 << 20  # of a plain one: a line of a corpus is as long as the usual buffer
PACKED = (".gz", ".zst")
BOM = b"\xef\xbb\xbf"
WIDE = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before those of UTF-16, of which one begins so
        codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


class RowError(Exception):
    """Why a row can not be read, and in which field. Never what stood there."""

    def __init__(self, what: str, at: str) -> None:
        """``what`` was expected or came, ``at`` which field."""
        super().__init__(f"{at}: {what}")
        self.what, self.at = what, at


class CutError(Exception):
    """Where a file can not be read on."""

    def __init__(self, line: int, why: str) -> None:
        """``line`` is the first that did not come."""
        super().__init__(f"{line}: {why}")
        self.line, self.why = line, why


class TornError(Exception):
    """Why no more bytes come."""


class _Inflater(Protocol):
    @property
    def eof(self) -> bool:
        """Whether the member is whole."""

    @property
    def unused_data(self) -> bytes:
        """What came after it."""

    def decompress(self, data: bytes) -> bytes:
        """More of the plain bytes."""


def plain_suffix(path: Path) -> str:
    """The suffix below the packing's, in small letters: ``.jsonl`` of ``a.JSONL.gz``."""
    name = Path(path.stem) if path.suffix.lower() in PACKED else path
    return name.suffix.lower()


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(1-based number, line without its end or byte order mark) of every line that is not blank; raises CutError."""
    number = 0
    try:
        for number, line in enumerate(_split(path), 1):
            if bare := line.removeprefix(BOM).strip():
                yield number, bare
    except TornError as torn:
        raise CutError(number + 1, str(torn)) from None


def raw_lines(path: Path) -> Iterator[bytes]:
    """Every line as it stands, with its end; raises CutError."""
    number = 0
    try:
        for line in _split(path):
            yield line
            number += 1
    except TornError as torn:
        raise CutError(number + 1, str(torn)) from None


def utf8(line: bytes) -> str:
    """The text of a line; raises RowError."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise RowError("not UTF-8", f"byte {error.start}") from None


def _split(path: Path) -> Iterator[bytes]:
    """Lines with their ends; raises TornError."""
    if path.suffix.lower() not in PACKED and not _is_wide(path):
        yield from _plain_lines(path)
        return
    rest: list[bytes] = []  # the beginning of a line whose end has not come
    for chunk in chunks(path):
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield b"".join((*rest, line, b"\n"))
            rest.clear()
        rest.append(last)
    if left := b"".join(rest):
        yield left


def _plain_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            yield from file
    except OSError as error:
        raise TornError(_told(error)) from None


def chunks(path: Path) -> Iterator[bytes]:
    """A file's bytes, unpacked, as UTF-8, in pieces; raises TornError."""
    packing = path.suffix.lower() if path.suffix.lower() in PACKED else ""
    try:
        with path.open("rb") as file:
            pieces = iter(lambda: file.read(CHUNK_BYTES), b"")
            yield from _as_utf8(_inflated(pieces, packing) if packing else pieces)
    except OSError as error:
        raise TornError(_told(error)) from None


def _is_wide(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(tuple(WIDE))
    except OSError as error:
        raise TornError(_told(error)) from None


def _as_utf8(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, or those of the same text in UTF-8 where they begin with another mark; raises TornError."""
    head = b""
    while len(head) < 4 and (piece := next(pieces, b"")):
        head += piece
    encoding = next((name for mark, name in WIDE.items() if head.startswith(mark)), "")
    if not encoding:
        yield from chain([head], pieces) if head else ()
        return
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")  # half of a pair is a fault of its line alone
    try:
        for piece in chain([head], pieces):
            yield decoder.decode(piece).encode("utf-8", "surrogatepass")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise TornError(f"not whole {encoding.upper()}, with whose mark the file begins; save it as UTF-8") from None


def _inflated(pieces: Iterator[bytes], packing: str) -> Iterator[bytes]:
    """The plain bytes of packed ones, member after member; raises TornError."""
    broken = _errors(packing)
    inflater: _Inflater | None = None
    empty = True
    for piece in pieces:
        data, empty = piece, False
        while data := data if inflater else data.lstrip(b"\0"):  # zeros may pad the end
            inflater = inflater or _inflater(packing)
            try:
                plain = inflater.decompress(data)
            except broken:
                raise TornError(f"not a whole {packing} file") from None
            if plain:
                yield plain
            data = b""
            if inflater.eof:
                data, inflater = inflater.unused_data, None
    if inflater is not None or empty:
        raise TornError(f"the {packing} file breaks off")


def _inflater(packing: str) -> _Inflater:
    if packing == ".gz":
        return zlib.decompressobj(wbits=31)  # 31: with a gzip head, and nothing else
    from zstandard import ZstdDecompressor

    return ZstdDecompressor().decompressobj()


def _errors(packing: str) -> tuple[type[Exception], ...]:
    if packing == ".gz":
        return (zlib.error,)
    from zstandard import ZstdError

    return (ZstdError,)


def _told(error: OSError) -> str:
    return f"can not be read ({error.strerror or type(error).__name__})"
