"""The errors a person can meet, and how a stage ends when it meets one.

Every message says what was expected, what came, where, and what to do next; none carries a person's words.
"""

import errno
import functools
import sys
from collections.abc import Callable

EXIT_ERROR = 1


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

    A full disk is a known fault too: outputs are published by rename, so what stood before still stands.
    """

    @functools.wraps(main)
    def wrapped(*args: object, **kwargs: object) -> None:
        try:
            main(*args, **kwargs)
        except AttunementError as error:
            print(f"\nerror: {error}", file=sys.stderr)
            sys.exit(EXIT_ERROR)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            where = error.filename or "an output"
            print(
                f"\nerror: the disk is full (while writing {where}). Nothing was published and what stood before is "
                "untouched; free some space and run the same command again.",
                file=sys.stderr,
            )
            sys.exit(EXIT_ERROR)

    return wrapped
