"""What a row says about itself beside its words: the locale and the tags, which stand in the data as they are.

In: either of a row. Out: the locale as BCP 47 writes it, or RowError, which names the field and the shape expected and
never what stood there. Tags go into train.parquet and their values into datasheet.md, and no step masks them: so a key
is a short identifier, and a value is short, on one line, and holds nothing that `find_pii` finds.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from attunement.helplines import HELPLINES, known_helplines
from attunement.pii import find_pii
from attunement.sources.lines import RowError

LOCALE = re.compile(r"(?P<none>und)|([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}))?", re.IGNORECASE | re.ASCII)
LOCALE_SHAPE = "expected a BCP 47 tag such as en, en-GB or en-Latn-GB; und when nobody knows"
TAG_KEY = r"[a-z][a-z0-9_]{0,39}"
KEY_SHAPE = "expected a key of at most 40 lower-case letters, digits and _, which begins with a letter"
MAX_TAG_CHARS = 80  # a label; what is longer is somebody's words
LINE_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # as `str.splitlines` knows them
SEEN = 4096  # labels come again and again: so many are remembered


@lru_cache(SEEN)
def plain_locale(locale: str) -> str:
    """A locale as BCP 47 writes it ("en_gb": "en-GB"); raises RowError for anything else."""
    found = LOCALE.fullmatch(locale)
    if found is None:
        raise RowError(LOCALE_SHAPE, "locale")
    if found["none"]:
        return "und"
    language, script, region = found.group(2, 3, 4)
    return "-".join(filter(None, (language.lower(), (script or "").title(), (region or "").upper())))


def check_tags(tags: Mapping[str, str], locale: str) -> None:
    """Raise RowError for the first tag that is no label."""
    for key, value in tags.items():
        if not re.fullmatch(TAG_KEY, key):
            raise RowError(f"{KEY_SHAPE}, got one of {len(key)} characters", "tags")
        if wrong := _wrong(value, locale):
            raise RowError(f"expected a label of at most {MAX_TAG_CHARS} characters on one line that tells nobody "
                           f"apart, got {wrong}", f"tags.{key}")


@lru_cache(SEEN)
def _wrong(value: str, locale: str) -> str:
    """What is wrong with a tag's value, in words that do not repeat it; empty when nothing is."""
    if len(value) > MAX_TAG_CHARS:
        return f"{len(value)} characters"
    if LINE_BREAK.search(value):
        return "a line break"
    found = find_pii(value, locale=locale, helplines=known_helplines(HELPLINES))
    return ", ".join(dict.fromkeys(f"[{one.type}]" for one in found))
