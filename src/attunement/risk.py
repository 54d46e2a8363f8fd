"""What danger a person's words tell of: rules, read from data files.

In: the user's turns. Out: a `Risk`: severity, kind, and evidence by entry and offsets, never words.

What it cannot do: patterns see what people have said before, not what they say for the first time, so much of what is
veiled passes unseen (benchmarks/crisis/results.md has the figures); English only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from pydantic import Field

from attunement.errors import DataError
from attunement.phrases import SUICIDE, RiskRules, Severity, load_referral_phrases, load_risk_phrases, plain, sentences
from attunement.prefilter import candidates
from attunement.records import Record, Role, Turn
from attunement.referral import slot_in

NEAR_TURNS = 2  # of the person's own; in a long talk "tonight" mostly belongs to something else
AFFIRMED = "affirmed"  # the entry of a yes to a direct question
HEARD_KIND = "heard_kind"  # tag: the kind that a scorer hears where `risk_kind` names another


class Found(Record):
    """One entry that matched: in which of the texts, from which character to which."""

    kind: str
    severity: Severity
    entry: str
    text: int
    start: int
    end: int

    @property
    def evidence(self) -> str:
        """The entry and the span, without the words."""
        return f"{self.kind}/{self.entry}@{self.text}:{self.start}-{self.end}"


class Risk(Record):
    """The highest severity found, the kind it belongs to, and everything that matched."""

    severity: Severity
    kind: str | None
    entries: tuple[Found, ...]
    imminent_from: int | None = Field(description="the first text by which imminent danger is told")


def risk_of(texts: Sequence[str]) -> Risk:
    """The danger that a person's own texts tell of, taken together."""
    rules = load_risk_phrases()
    return _risk(_own(texts, rules), texts, rules)


def risk_in(turns: Sequence[Turn]) -> Risk:
    """The danger that a conversation tells of: the user's own words, and a yes to the assistant's direct question.

    Offsets of an affirmed question are those of the user's turn that affirms it.
    """
    rules = load_risk_phrases()
    texts = [turn.text for turn in turns if turn.role == "user"]
    return _risk([*_own(texts, rules), *_affirmed(turns, rules)], texts, rules)


def risk_in_many(talks: Sequence[Sequence[Turn]]) -> list[Risk]:
    """`risk_in` of each, with those patterns alone that may match a turn: the same answers, sooner."""
    rules = load_risk_phrases()
    own = iter(candidates(_said(talks, "user"), tuple(pattern.regex for pattern in rules.patterns)))
    asking = iter(candidates(_said(talks, "assistant"), _questions()))
    found = []
    for turns in talks:
        texts = [turn.text for turn in turns if turn.role == "user"]
        hits = [hit for number, text in enumerate(texts) if (chosen := next(own))
                for hit in _hits(rules, number, plain(text), chosen)]
        asked = [next(asking) for turn in turns if turn.role == "assistant"]
        found.append(_risk([*hits, *(_affirmed(turns, rules) if any(asked) else ())], texts, rules))
    return found


def _said(talks: Sequence[Sequence[Turn]], role: Role) -> list[str]:
    return [turn.text for turns in talks for turn in turns if turn.role == role]


@cache
def _questions() -> tuple[re.Pattern[str], ...]:
    """What asks a person directly, and may be affirmed."""
    return tuple(regex for _, regex in load_referral_phrases().slots["direct_ask"])


def known_kind(tags: Mapping[str, str], name: str = "risk_kind") -> str | None:
    """The kind of risk that a tag names; None without the tag. Raises DataError for one that is no kind."""
    kinds, tagged = load_risk_phrases().kinds, tags.get(name)
    if tagged is not None and tagged not in kinds:
        raise DataError(f"a tag `{name}` must be one of {', '.join(kinds)}.")
    return tagged


def _own(texts: Sequence[str], rules: RiskRules) -> list[Found]:
    return [hit for number, text in enumerate(texts) for hit in _hits(rules, number, plain(text))]


def _affirmed(turns: Sequence[Turn], rules: RiskRules) -> Iterator[Found]:
    number = -1
    for before, turn in zip([None, *turns], turns, strict=False):
        number += turn.role == "user"
        if before is None or before.role != "assistant" or turn.role != "user":
            continue
        answer = next((m for regex in rules.affirmed if (m := regex.search(plain(turn.text)))), None)
        severity = _asked(before.text)
        if answer and severity > Severity.NONE:
            start, end = answer.span()
            yield Found(kind=SUICIDE, severity=severity, entry=AFFIRMED, text=number, start=start, end=end)


def _escalated(found: Sequence[Found], texts: Sequence[str], rules: RiskRules) -> list[Found]:
    """Time and means make a thought imminent; without one they are no risk by themselves."""
    near = _active(found)
    return [
        Found(kind=p.kind, severity=p.severity, entry=p.entry, text=number, start=m.start(), end=m.end())
        for number, text in enumerate(texts)
        if any(abs(number - other) <= NEAR_TURNS for other in near)
        for p in rules.escalators
        for m in p.regex.finditer(plain(text))
    ]


def _active(found: Sequence[Found]) -> set[int]:
    """The texts whose thoughts a time or means make imminent."""
    return {hit.text for hit in found if hit.kind in (SUICIDE, "self-harm") and hit.severity == Severity.ACTIVE}


def _imminent_from(found: Sequence[Found], escalated: Sequence[Found]) -> int | None:
    """Where imminent danger is first told.

    A time that comes before the thought tells of it only with the thought. The reply that asks what is then affirmed
    has heard it already, and may refer in the same breath.
    """
    plainly = [hit.text - (hit.entry == AFFIRMED) for hit in found if hit.severity == Severity.IMMINENT]
    together = [max(hit.text, other) for hit in escalated for other in _active(found)
                if abs(hit.text - other) <= NEAR_TURNS]
    first = min([*plainly, *together], default=None)
    return None if first is None else max(first, 0)


def _asked(text: str) -> Severity:
    """What a direct question asks after: a time makes it imminent, a wish to be dead alone leaves it passive."""
    rules = load_referral_phrases()
    questions = [sentence for sentence in sentences(plain(text)) if slot_in("direct_ask", sentence, rules)]
    if not questions:
        return Severity.NONE
    words = " ".join(questions)
    if re.search(r"\b(?:tonight|right now|today)\b", words, re.IGNORECASE):
        return Severity.IMMINENT
    only_wish = re.search(r"were dead|want(?:ing)? to die|thoughts? of death", words, re.IGNORECASE)
    plainly = re.search(r"kill|suicid|end(?:ing)? your|taking your", words, re.IGNORECASE)
    return Severity.PASSIVE if only_wish and not plainly else Severity.ACTIVE


def _hits(rules: RiskRules, number: int, text: str, chosen: Sequence[int] | None = None) -> Iterator[Found]:
    """What the patterns, or those chosen by number, find in a text, but where an exception says otherwise."""
    patterns = rules.patterns if chosen is None else [rules.patterns[at] for at in chosen]
    matches = [(pattern, match) for pattern in patterns for match in pattern.regex.finditer(text)]
    if not matches:
        return
    excepted = [match.span() for regex in rules.exceptions for match in regex.finditer(text)]
    for (kind, severity, entry, _), match in matches:
        if not any(start < match.end() and match.start() < end for start, end in excepted):
            start, end = match.span()
            yield Found(kind=kind, severity=severity, entry=entry, text=number, start=start, end=end)


def _risk(found: Sequence[Found], texts: Sequence[str], rules: RiskRules) -> Risk:
    if not found:
        return Risk(severity=Severity.NONE, kind=None, entries=(), imminent_from=None)
    escalated = _escalated(found, texts, rules)
    entries = (*found, *escalated)
    highest = min(entries, key=lambda hit: (-hit.severity, rules.kinds.index(hit.kind)))
    return Risk(severity=highest.severity, kind=highest.kind, entries=entries,
                imminent_from=_imminent_from(found, escalated))
