"""The errors a person can meet, and how a stage ends when it meets one.

Every message says what was expected, what came, where, and what to do next; none carries a person's words.
"""

import errno
import functools
import sys
from collections.abc import Callable

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_TERMINATED = 143  # 128 + SIGTERM: DVC must not take a stopped training for a finished one
FULL_DISK = ("No space left on device", "os error 28", "Disk quota exceeded")  # as safetensors and shutil put it


class AttunementError(Exception):
    """Any fault that a person can mend. Its text is the whole message; no traceback is shown."""


class ParamsError(AttunementError):
    """params.yaml holds a fault: unknown key, wrong type, impossible combination, missing file."""


class DataError(AttunementError):
    """A corpus, suite, rubric or task does not parse, or too much of it was quarantined."""


class FetchError(AttunementError):
    """Declared weights could not be had."""


class IntegrityError(AttunementError):
    """A file is not the one that its manifest or its declared sha256 describes."""


class ModelError(AttunementError):
    """A model, tokenizer or adapter cannot be loaded, or does not belong to the other parts."""


class TrainingError(AttunementError):
    """A training step broke an invariant; nothing was published."""


def ends_clearly(main: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command so that a known fault prints its message on stderr and exits 1, without a traceback.

    A full disk and a folder that may not be written are known faults, in whatever exception a library wraps them.
    """

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except KeyboardInterrupt:
            print("\nstopped; the same command goes on or begins again", file=sys.stderr)
            sys.exit(EXIT_INTERRUPTED)
        except Exception as error:
            told = str(error) if isinstance(error, AttunementError) else _disk_fault(error)
            if told is None:
                raise
            print(f"\nerror: {told}", file=sys.stderr)
            sys.exit(EXIT_ERROR)

    return wrapped


def _disk_fault(error: Exception) -> str | None:
    """What to say of an exception that a full or forbidden disk caused; None for any other."""
    number = error.errno if isinstance(error, OSError) else None
    where = f" (at {error.filename})" if isinstance(error, OSError) and error.filename else ""
    if number in (errno.ENOSPC, errno.EDQUOT) or any(sign in str(error) for sign in FULL_DISK):
        return f"the disk is full{where}. Nothing half-made was published; free some space and run it again."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"a file or folder may not be written or read{where}. Give this user the right and run it again."
    return None
