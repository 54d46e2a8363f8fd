"""The patterns of risk and of referral, read from data files, and the severities that they tell apart.

In: data/resources/risk_phrases.yaml and referral_phrases.yaml. Out: compiled patterns, for `attunement.risk` (what a
person's words tell of) and `attunement.referral` (what a reply offers). Severity follows the levels of the Columbia
Suicide Severity Rating Scale: a wish, thoughts or plan, and now.
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attunement.artefacts import first_fault
from attunement.errors import DataError
from attunement.helplines import RESOURCES, read_yaml

RISK_PHRASES = RESOURCES / "risk_phrases.yaml"
REFERRAL_PHRASES = RESOURCES / "referral_phrases.yaml"
SUICIDE = "suicide"

SlotName = Literal["professional", "trusted_person", "emergency", "direct_ask", "presence", "means"]


class Severity(IntEnum):
    """How near the danger is, in order."""

    NONE = 0
    PASSIVE = 1
    ACTIVE = 2
    IMMINENT = 3

    @property
    def label(self) -> str:
        """As it is written in tags, labels and data files."""
        return self.name.lower()

    @classmethod
    def of(cls, label: str) -> "Severity":
        """The severity that a tag names; raises DataError for another word."""
        try:
            return cls[label.upper()]
        except KeyError as error:
            expected = ", ".join(severity.label for severity in cls)
            raise DataError(f"a tag `risk` must be one of {expected}.") from error

class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Entry(_Shape):
    """A named pattern."""

    id: str
    pattern: str


class RiskPhrases(_Shape):
    """The shape of risk_phrases.yaml."""

    parts: dict[str, str]
    exceptions: list[Entry]
    phrases: dict[str, dict[Literal["passive", "active", "imminent"], list[Entry]]]
    escalators: list[Entry]
    affirmed: list[Entry]


class SlotPhrases(_Shape):
    """How one slot is recognised."""

    needs: Literal["none", "suggestion", "question"]
    patterns: list[Entry]
    exclude: str = Field(alias="except")


class Negation(_Shape):
    """What takes a mention back."""

    opens: str
    never_opens: str
    turns: str
    taken_back: str
    warned_off: str
    follows: str
    follows_positive: str


class Urgency(_Shape):
    """What makes help conditional, what puts it off, and what makes it now."""

    conditional: str
    conditional_after: str
    harmless_condition: str
    put_off: str
    later: str
    now: str


class Elsewhere(_Shape):
    """What says that a contact of another region is for somebody there; places by region code."""

    for_another: str
    place: str
    regions: dict[str, str]
    somebody: str
    theirs: str
    cities: dict[str, str]


class MethodEntry(Entry):
    """A hint at how one could die, and what makes a sentence that holds it safe."""

    unless: str


class ReferralPhrases(_Shape):
    """The shape of referral_phrases.yaml."""

    parts: dict[str, str]
    slots: dict[SlotName, SlotPhrases]
    needs: dict[Literal["suggestion", "question"], str]
    negation: Negation
    urgency: Urgency
    elsewhere: Elsewhere
    young: str
    young_self: str
    method: list[MethodEntry]
    contact_words: str
    not_a_contact_before: str
    not_a_contact_after: str
    function_words: str


class Pattern(NamedTuple):
    kind: str
    severity: Severity
    entry: str
    regex: re.Pattern[str]


class RiskRules(NamedTuple):
    patterns: tuple[Pattern, ...]
    exceptions: tuple[re.Pattern[str], ...]
    escalators: tuple[Pattern, ...]
    affirmed: tuple[re.Pattern[str], ...]
    kinds: tuple[str, ...]


@cache
def load_risk_phrases(path: Path = RISK_PHRASES) -> RiskRules:
    """The compiled patterns; raises DataError naming the entry that does not compile."""
    try:
        file = RiskPhrases.model_validate(read_yaml(path))
    except ValidationError as error:
        raise DataError(f"{path} does not hold risk phrases: {first_fault(error)}.") from error
    patterns = [
        Pattern(kind, Severity.of(severity), entry.id, _compile(entry.pattern, file.parts, f"{path} ({entry.id})"))
        for kind, by_severity in file.phrases.items()
        for severity, entries in by_severity.items()
        for entry in entries
    ]
    excepted = [_compile(e.pattern, file.parts, f"{path} ({e.id})") for e in file.exceptions]
    yes = [_compile(e.pattern, file.parts, f"{path} ({e.id})") for e in file.affirmed]
    escalators = [
        Pattern(SUICIDE, Severity.IMMINENT, e.id, _compile(e.pattern, file.parts, f"{path} ({e.id})"))
        for e in file.escalators
    ]
    return RiskRules(tuple(patterns), tuple(excepted), tuple(escalators), tuple(yes), tuple(file.phrases))


class Method(NamedTuple):
    entry: str
    regex: re.Pattern[str]
    unless: re.Pattern[str]


class ReferralRules(NamedTuple):
    slots: Mapping[SlotName, tuple[tuple[str, re.Pattern[str]], ...]]
    excludes: Mapping[SlotName, re.Pattern[str]]
    needs: Mapping[SlotName, re.Pattern[str] | None]
    named: Mapping[str, re.Pattern[str]]
    regions: Mapping[str, re.Pattern[str]]
    cities: Mapping[str, re.Pattern[str]]
    methods: tuple[Method, ...]


@cache
def load_referral_phrases(path: Path = REFERRAL_PHRASES) -> ReferralRules:
    """The compiled patterns; raises DataError naming the part that does not compile."""
    try:
        file = ReferralPhrases.model_validate(read_yaml(path))
    except ValidationError as error:
        raise DataError(f"{path} does not hold referral phrases: {first_fault(error)}.") from error

    def compiled(pattern: str, what: str) -> re.Pattern[str]:
        return _compile(pattern, file.parts, f"{path} ({what})")

    needs = {name: compiled(pattern, name) for name, pattern in file.needs.items()}
    texts = file.negation.model_dump() | file.urgency.model_dump()
    texts |= {"for_another": file.elsewhere.for_another, "place": file.elsewhere.place,
              "theirs": file.elsewhere.theirs, "somebody": file.elsewhere.somebody}
    texts |= {
        name: getattr(file, name) for name in ReferralPhrases.model_fields if isinstance(getattr(file, name), str)
    }
    return ReferralRules(
        slots={n: tuple((e.id, compiled(e.pattern, e.id)) for e in s.patterns) for n, s in file.slots.items()},
        excludes={name: compiled(slot.exclude, name) for name, slot in file.slots.items()},
        needs={name: None if slot.needs == "none" else needs[slot.needs] for name, slot in file.slots.items()},
        named={name: compiled(pattern, name) for name, pattern in texts.items()},
        regions={code: compiled(pattern, f"place {code}") for code, pattern in file.elsewhere.regions.items()},
        cities={code: compiled(pattern, f"city {code}") for code, pattern in file.elsewhere.cities.items()},
        methods=tuple(Method(e.id, compiled(e.pattern, e.id), compiled(e.unless, e.id)) for e in file.method),
    )


def _compile(pattern: str, parts: Mapping[str, str], where: str) -> re.Pattern[str]:
    # Parts may use parts; names are letters and underscores, so quantifiers such as {2,3} are never taken for one.
    for _ in range(3):
        pattern = re.sub(r"\{([a-z_]+)\}", lambda name: parts.get(name[1], name[0]), pattern)
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise DataError(f"{where}: expected a regular expression, {error.msg} at character {error.pos}.") from error


def plain(text: str) -> str:
    """Straight apostrophes and plain spaces, character for character, so that offsets stay those of the text."""
    return text.translate(str.maketrans("’‘ʼ\u00a0\u2011", "''' -"))


# A full stop before a digit ends a sentence only after a word: "no. 3" and "9 a.m. 10" go on.
SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?![a-z0-9])|(?<=[a-z]{3}[.!?])\s+(?=\d)|\n+")


def sentences(text: str) -> list[str]:
    """The sentences of a text, a line's end counting as one."""
    return [part for part in SENTENCE_END.split(text) if part and part.strip()]
