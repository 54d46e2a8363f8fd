"""Helplines by region, and the telephone numbers that a reply names: which are listed, where, and which are made up.

In: data/resources/helplines.yaml and a reply. Out: spans of listed contacts, and spans that look like a number to call
and stand in no list. A number counts however it is written and only as a whole: "988" is not in "1988".
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from attunement.artefacts import first_fault
from attunement.errors import DataError

RESOURCES = Path(__file__).resolve().parents[2] / "data" / "resources"
HELPLINES = RESOURCES / "helplines.yaml"
UNKNOWN_REGION = "und"
ALIASES = {"UK": "GB"}  # what people write for a code of ISO 3166


Kind = Literal["crisis_line", "text_line", "domestic_abuse", "eating_disorder", "child", "health_line", "directory"]
Contact = Annotated[str, StringConstraints(min_length=2)]
Code = Annotated[str, StringConstraints(pattern=r"^([A-Z]{2}|und)$")]  # ISO 3166, or und where the region is unknown


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Emergency(_Shape):
    """The number to name first in an emergency, and others that reach the same help."""

    contact: str
    also: list[str] = []
    verified_on: date | None
    source: str
    because: str = ""


class Resource(_Shape):
    """A service that a person can turn to."""

    name: str
    kind: Kind
    contacts: Annotated[list[Contact], Field(min_length=1)]
    channels: list[str]
    hours: str  # "24/7", or when it is open, or that this is not certain
    cost: str  # "free", or what it costs
    languages: list[str]  # BCP 47, as the operator states them
    confidential: bool
    verified_on: date | None
    source: str
    because: str = ""


class Stale(_Shape):
    """A contact that is still repeated and must not be given."""

    contact: str
    since: date | None
    because: str


class Region(_Shape):
    """The resources of one region."""

    emergency: Emergency
    resources: list[Resource]
    stale: list[Stale]


Helplines = Mapping[str, Region]


def read_yaml(path: Path) -> object:
    """The content of a YAML 1.2 file; raises DataError naming file and place."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        content: object = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise DataError(f"{path} is missing; expected a YAML file there.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}).") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise DataError(f"{path}:{line} is not YAML 1.2: {error.problem}.") from error
    except YAMLError as error:  # a character that YAML does not allow
        raise DataError(f"{path} is not YAML 1.2: {str(error).splitlines()[0]}.") from error
    return content


def load_helplines(path: Path = HELPLINES) -> Helplines:
    """Resources by region code; raises DataError when the file does not have the expected shape."""
    try:
        regions = TypeAdapter(dict[Code, Region]).validate_python(read_yaml(path))
    except ValidationError as error:
        raise DataError(f"{path} does not list helplines by region: {first_fault(error)}.") from error
    silent = [f"{code}: {name}" for code, region in regions.items() for name, day, why in (
                  ("emergency", region.emergency.verified_on, region.emergency.because),
                  *((one.name, one.verified_on, one.because) for one in region.resources)) if not (day or why)]
    if silent:
        raise DataError(f"{path}: {'; '.join(silent)} has no day of verification and no `because`; expected one of "
                        "the two.")
    if not any(resource.kind == "directory" for region in regions.values() for resource in region.resources):
        raise DataError(f"{path} lists no directory; expected one under {UNKNOWN_REGION!r}, for people anywhere else.")
    if UNKNOWN_REGION not in regions:
        raise DataError(f"{path} has no entry {UNKNOWN_REGION!r}; expected what to give when the region is unknown.")
    return regions


@cache
def known_helplines(path: Path) -> Helplines:
    """`load_helplines`, once a process and file: for what asks again and again, by the file's absolute path."""
    return load_helplines(path)


class Verified(NamedTuple):
    """A service of the list and the day on which it was last seen on its operator's or a public body's page."""

    region: str
    name: str
    on: date | None

    def expires(self, stale_after_days: int) -> date | None:
        """The last day on which it may be given; None when it was never verified."""
        return None if self.on is None else self.on + timedelta(days=stale_after_days)


def verifications(helplines: Helplines) -> list[Verified]:
    """Every service that a reply may name, emergency numbers among them, in the list's order."""
    return [one for code, region in helplines.items() for one in (
        Verified(code, f"emergency number ({region.emergency.contact})", region.emergency.verified_on),
        *(Verified(code, resource.name, resource.verified_on) for resource in region.resources))]


def stale_on(day: date, helplines: Helplines, *, stale_after_days: int) -> list[Verified]:
    """Services that may not be given on ``day``: never verified, or too long ago, or on a day still to come."""
    return [one for one in verifications(helplines)
            if (last := one.expires(stale_after_days)) is None or one.on is None or not one.on <= day <= last]


def region_of(locale: str, helplines: Helplines) -> str:
    """A locale's region: "en-US" is "US"; a locale without a region, or with one that is not listed, is "und"."""
    return next((code for code in _codes(locale) if code in helplines), UNKNOWN_REGION)


def unlisted_region(locale: str, helplines: Helplines) -> str | None:
    """The region that a locale names and no list holds; None where it names none, or one that is listed."""
    codes = _codes(locale)
    return None if any(code in helplines for code in codes) else next(iter(codes), None)


def _codes(locale: str) -> list[str]:
    """A locale's subtags of two letters after the language, as codes of regions."""
    parts = [part.upper() for part in re.split(r"[-_.@]", locale)[1:]]
    return [ALIASES.get(part, part) for part in parts if re.fullmatch("[A-Z]{2}", part)]


class Span(NamedTuple):
    """A contact of the lists, as it stands in a text."""

    start: int
    end: int
    contact: str
    region: str
    kind: str


KEYPAD = {"2": "ABC", "3": "DEF", "4": "GHI", "5": "JKL", "6": "MNO", "7": "PQRS", "8": "TUV", "9": "WXYZ"}
# Groups of digits with separators, 8 digits or more together: how telephone numbers look. Dates are taken out first.
PHONE_LIKE = re.compile(
    r"(?<![\w$£€.,/#])\+?\(?\d{1,5}\)?(?:[\s.\-–]{1,2}\(?\d{1,4}\)?){2,5}(?![\w/]|[.,]\d)"
    r"|(?<![\w$£€.,/#-])(?:\d{3}-\d{4}|\+?\d{8,13})(?![\w/%-])"
)
HOTLINE_LIKE = re.compile(
    r"\b(?:call|calling|dial|ring|phone|text|sms|hotline|helpline|lifeline)\s+(?:or\s+\w+\s+)?(?:[\w\"']+\s+(?:to|at|on)\s+|at\s+|on\s+|is\s+)?"
    r"(\d{3,6})(?![\d:%]|[.,-]\d|\s*(?:times|people|days|hours|minutes|am|pm)\b)",
    re.IGNORECASE,
)
VANITY = re.compile(r"(?<![\w-])1?[\s.-]?\(?8\d\d\)?[\s.-]?(?:\d{3}[\s.-]?)?[A-Z]{4,}(?:-[A-Z]+)*\b")
DATE = re.compile(r"\b(?:\d{4}-\d{2}-\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|(?:19|20)\d\d\s?[-–]\s?(?:19|20)\d\d)\b")
NO_DIGIT = re.compile(r"[^0-9]+")
SAME_LETTERS = str.maketrans("\u017f\u0131\u0130\u212a", "siik")  # to a pattern that ignores case, not to `lower`
SHORT_DIGITS = 4
SPELT = ("(?:zero|oh|o)", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPELT_PLACES = 7  # at the end of a long number, in letters of the keypad (1-800-273-TALK)
SPELT_DIGITS = range(3, 6)  # "nine eight eight", "triple zero"; longer numbers are not said in words


def listed(text: str, region: str, helplines: Helplines, words: Mapping[str, re.Pattern[str]]) -> Iterator[Span]:
    """Contacts of all regions in a text: the longest first, and the person's own region before any other."""
    taken: list[tuple[int, int]] = []
    digits, letters = _seen(text)
    for one in _catalogue(region, _Known(helplines)):
        if not _may_stand(one, digits, letters):
            continue
        for match in _contact_regex(one.contact).finditer(text):
            start, end = match.span()
            if any(start < stop and begin < end for begin, stop in taken):
                continue
            if len(_digits(one.contact)) in range(1, SHORT_DIGITS + 1) and not _is_called(text, start, end, words):
                continue
            taken.append((start, end))
            yield Span(start, end, one.contact, one.region, one.kind)


class _Listed(NamedTuple):
    """A contact that stands in a list, and what every text that names it holds."""

    contact: str
    region: str
    kind: str
    digits: str  # in a row, other signs left away
    spelt: tuple[str, ...]  # or else these words
    letters: str  # in small letters


def _seen(text: str) -> tuple[str, str]:
    """A text's digits in a row, and its letters as a pattern sees them that ignores case."""
    return NO_DIGIT.sub("", text), text.translate(SAME_LETTERS).lower()


def _may_stand(one: _Listed, digits: str, letters: str) -> bool:
    """Whether a contact may stand in a text that holds these; most texts hold hardly a digit."""
    if one.digits in digits:
        return one.letters in letters
    return bool(one.spelt) and ("triple" in letters or all(word in letters for word in one.spelt))


class _Known:
    """Helplines as the key of a cache: the same object is the same list."""

    def __init__(self, helplines: Helplines) -> None:
        self.helplines = helplines

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and other.helplines is self.helplines

    def __hash__(self) -> int:
        return id(self.helplines)


@cache
def _catalogue(region: str, known: _Known) -> tuple[_Listed, ...]:
    """Every contact that stands in a list; words such as 'local emergency number' do not."""
    helplines = known.helplines
    order = [region, *(code for code in helplines if code not in (region, UNKNOWN_REGION)), UNKNOWN_REGION]
    found: list[tuple[str, str, str]] = []
    for code in dict.fromkeys(order):
        at = helplines[code]
        found += [(contact, code, "emergency") for contact in (at.emergency.contact, *at.emergency.also)]
        for resource in at.resources:
            # Names such as "1800RESPECT" are numbers too, spelt in letters.
            spelt = re.findall(r"\b\d{2,4}[A-Z]{3,}\b", resource.name)
            found += [(contact, code, resource.kind) for contact in (*resource.contacts, *spelt)]
        found += [(stale.contact, code, "stale") for stale in at.stale]
    named = [entry for entry in found if re.search(r"\d|\.\w", entry[0])]
    return tuple(_listed(*entry) for entry in sorted(named, key=lambda entry: -len(_digits(entry[0]) or entry[0])))


def _listed(contact: str, region: str = UNKNOWN_REGION, kind: str = "") -> _Listed:
    return _Listed(contact, region, kind, *_held(contact))


def _held(contact: str) -> tuple[str, tuple[str, ...], str]:
    """Digits, words and letters without which `_contact_regex` finds nothing."""
    if re.search(r"[a-zA-Z]", contact):
        return "", (), re.sub(r"^\d+", "", contact).lower() if contact.isascii() else ""
    digits = _digits(contact)
    if len(digits) == 11 and digits.startswith("1"):
        digits = digits[1:]
    if len(digits) in SPELT_DIGITS:
        return digits, tuple("o" if d == "0" else SPELT[int(d)] for d in digits), ""
    return digits[:-SPELT_PLACES] if len(digits) >= 10 else digits, (), ""


@cache
def _contact_regex(contact: str) -> re.Pattern[str]:
    """A contact however it is written, as a whole: "988" is not in "1988", nor a part of a longer number."""
    if re.search(r"[a-zA-Z]", contact):
        # A web address, or a number spelt in letters with a space or none ("1800RESPECT").
        written = re.sub(r"^(\d+)", r"\1\\s?", re.escape(contact))
        return re.compile(rf"(?<![\w-])(?:www\.)?{written}(?!\w|-\w|\.\w)", re.IGNORECASE)
    digits, country = _digits(contact), ""
    if len(digits) == 11 and digits.startswith("1"):
        digits, country = digits[1:], r"(?:\+?1[\s.\-–]{0,2})?"
    spelt = len(digits) - SPELT_PLACES if len(digits) >= 10 else len(digits)
    places = [f"[{d}{KEYPAD.get(d, '')}]" if place >= spelt else d for place, d in enumerate(digits)]
    body = r"[\s.\-–()]{0,2}".join(places)
    if len(digits) in SPELT_DIGITS:
        words = r"[\s,\-–]{1,2}".join(SPELT[int(d)] for d in digits)
        same = len(digits) == 3 and len({*digits}) == 1
        triple = rf"|triple[\s\-](?:{SPELT[int(digits[0])]}|{digits[0]})" if same else ""
        body = f"(?:{body}|{words}{triple})"
    before = r"(?<![\w$£€#])(?<!\d[.,:\-–])(?<!\d{3}\s)"
    return re.compile(rf"{before}\(?{country}\(?{body}(?!\w|[.,:]\d|[\s\-–]\d{{3}}|%)")


def _digits(contact: str) -> str:
    return re.sub(r"\D", "", contact)


def _is_called(text: str, start: int, end: int, words: Mapping[str, re.Pattern[str]]) -> bool:
    """Whether a short number stands as something to call, and not as a year, a sum or a count."""
    before, after = sentence_around(text, start, end)
    if words["not_a_contact_before"].search(before) or words["not_a_contact_after"].search(after):
        return False
    if words["contact_words"].search(before + " " + after):
        return True
    return not re.match(r"\s+[a-z]", after) or bool(words["function_words"].match(after))


def unlisted(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Spans that look like a telephone number or hotline and are in no list: made up, or not known to us."""
    blank = text
    for start, end in [*((s.start, s.end) for s in spans), *(m.span() for m in DATE.finditer(text))]:
        blank = blank[:start] + "_" * (end - start) + blank[end:]
    found = [m.span() for m in PHONE_LIKE.finditer(blank) if len(_digits(m[0])) >= 7]
    found += [m.span(1) for m in HOTLINE_LIKE.finditer(blank)]
    found += [m.span() for m in VANITY.finditer(blank)]
    return sorted(set(found))


def sentence_around(text: str, start: int, end: int) -> tuple[str, str]:
    """What stands in the same sentence before and after a span."""
    before = re.split(r"(?<=[.!?])\s+|\n+", text[:start])[-1]
    after = re.split(r"(?<=[.!?])\s+|\n+", text[end:])[0]
    return before, after
