"""Which of many texts may match at all: words that a match must hold, before the patterns themselves.

In: texts. Out: for each whether a pattern may match it. Nearly no turn of a corpus tells of danger or discloses
anything, and hundreds of Python's patterns over each of them would take hours. `needed` finds in a pattern's own syntax
a set of strings of which every match holds one (as Cox 2012 does for code search); a text that holds none is done with.
"""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from re import _constants as sre  # type: ignore[attr-defined]  # Python's own parser, the only one that knows its syntax
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from attunement.phrases import plain

Needed = frozenset[str]
MAX_STRINGS = 400  # of a set: more are not worth their search
MAX_SPELLINGS = 12  # of a part that is read out: one that may be more things tells little
MAX_RUN = 64  # of a run of such parts
SETS = 3  # of a pattern that are looked for
TELLING = 20  # rarity from which a second set is worth its search

EVERYDAY = frozenset(  # in any text, whatever it tells
    ["a", "i", "if", "is", "it", "its", "to", "of", "on", "in", "at", "my", "me", "we", "us", "be", "am", "are", "was",
     "were", "the", "he", "him", "his", "she", "her", "they", "them", "their", "you", "your", "this", "that", "and",
     "or", "so", "as", "up", "out", "off", "not", "no", "do", "did", "does", "had", "has", "have", "would", "could",
     "can", "will", "just", "all", "any", "some", "one", "over", "with", "for", "like", "feel", "felt", "want",
     "wanted", "need", "keep", "see", "look", "show", "know", "think", "been", "being", "get", "got", "going", "go",
     "make", "made", "when", "then", "than", "about", "from", "into", "more", "much", "what", "how", "there", "here",
     "too", "very", "really", "time", "day", "love", "hope", "might", "may", "ve", "re", "ll", "don", "can"])

# Every rule of attunement.pii needs one of these (a test holds the two together): an at sign or a word for one, four
# digits near each other, a digit beside a word of addresses, a domain, the name of a platform, three digits in words.
_SPOKEN = r"(?:zero|oh|o|nought|null|one|two|three|four|five|six|seven|eight|nine|double|triple)"
DISCLOSING = (
    r"[@#]|[(\[{<]\s*(?:at|\x{e4}t|a)\s*[)\]}>]",
    r"\pN(?:\PN{0,12}\pN){3}",  # telephones, cards, ids, most postcodes
    r"\pN[\s\S]{0,80}(?:\W)(?:street|st|avenue|ave|road|rd|boulevard|blvd|lane|ln|crescent|cres|terrace|mews|parade|highway"
    r"|hwy|pkwy|parkway|gardens|esplanade|cul-de-sac|nagar|marg|drive|dr|court|ct|close|way|place|pl|grove|square|sq|row|hill"
    r"|circle|cir|trail|walk|rise|green|park|view)(?:\W|$)",
    r"(?:stra\x{df}e|strasse|str\.|weg|platz|allee|gasse|damm|ufer|stieg|chaussee|ring)\s*(?:nr\.?\s*)?\pN",
    r"(?:^|\W)[a-z]{1,2}\pN[\pNa-z]?\s?\pN[a-z]{2}(?:\W|$)",
    r"(?:flat|house|no|plot|door|room|shop|qtr|quarter|block|tower|sector|box|postfach)\W*(?:no)?\W*[a-z]?[-/]?\pN",
    r"(?:\.|dot|punkt)[\s)\]}]*(?:com|org|net|edu|gov|io|co|info|me|app|uk|de|fr|in|au|nz|ie|ca|us|eu|ch|at|nl|it|es|pl|se"
    r"|no|dk|fi|pt|be|br|mx|za|ph|sg|tv|example|test|invalid)(?:\W|$)",
    r"(?:^|\W)(?:insta|ig\W|twitter|tik ?tok|snap|discord|telegram|tumblr|reddit|kik\W|facebook|fb\W|messenger|linkedin"
    r"|twitch|steam|psn|xbox|bluesky|bsky|mastodon|threads|youtube|yt\W|wechat|skype|bereal|pinterest|soundcloud|roblox|vsco"
    r"|gamer ?tag|user|screen ?name|nick|profile|handle|g-?mail|hotmail|outlook|yahoo|icloud|proton)|underscore|u/",
    rf"{_SPOKEN}\W[\s\S]{{0,30}}?{_SPOKEN}\W[\s\S]{{0,30}}?{_SPOKEN}(?:\W|$)",
)


def may_disclose(texts: Sequence[str]) -> list[bool]:
    """Whether texts may hold personal data."""
    return may_match([plain(text) for text in texts], DISCLOSING)


def may_match(texts: Sequence[str], expressions: Iterable[str]) -> list[bool]:
    """Whether any of the expressions, of RE2 (linear time) and whatever the case, is found in each text."""
    import pyarrow as pa
    from pyarrow import compute

    column = pa.array(texts, pa.large_string())
    found = pa.array([False] * len(texts), pa.bool_())
    for expression in expressions:
        found = compute.or_(found, compute.match_substring_regex(column, expression, ignore_case=True))
    flags: list[bool] = found.to_pylist()
    return flags


class Candidates:
    """Which of some patterns may match a text, by the strings that it holds (Aho & Corasick 1975)."""

    def __init__(self, patterns: Sequence[re.Pattern[str]]) -> None:
        from ahocorasick_rs import AhoCorasick

        owners: dict[str, list[tuple[int, int]]] = {}
        self._full: list[int] = []
        for number, pattern in enumerate(patterns):
            sets = needed(pattern)
            self._full.append((1 << len(sets)) - 1)
            for at, strings in enumerate(sets):
                for string in strings:
                    owners.setdefault(string, []).append((number, 1 << at))
        self._always = [number for number, full in enumerate(self._full) if not full]
        self._owners = list(owners.values())
        self._search = AhoCorasick(list(owners))

    def of(self, text: str) -> list[int]:
        """The numbers of the patterns that may match, in order."""
        held: dict[int, int] = {}
        for string, _, _ in self._search.find_matches_as_indexes(text.casefold(), overlapping=True):
            for number, bit in self._owners[string]:
                held[number] = held.get(number, 0) | bit
        found = [number for number, bits in held.items() if bits == self._full[number]]
        return sorted([*found, *self._always]) if found else self._always


@cache
def needed(pattern: re.Pattern[str]) -> tuple[Needed, ...]:
    """Sets of strings, in folded case: every match holds one of each. Empty where nothing is known of a match."""
    sets = _of_sequence(_parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
    best = _best(sets)
    if best is None:
        return ()
    telling = [one for one in dict.fromkeys(sets) if one != best and _tells(one) and min(map(_rarity, one)) >= TELLING]
    return (best, *sorted(telling, key=lambda one: -min(map(_rarity, one)))[: SETS - 1])


def _tells(one: Needed) -> bool:
    return 0 < len(one) <= MAX_STRINGS and min(map(len, one)) > 1


def _best(sets: Iterable[Needed]) -> Needed | None:
    """The set that fewest texts will hold: no everyday words, the longest strings, then the fewest."""
    known = [one for one in sets if _tells(one)]
    return max(known, key=lambda one: (min(map(_rarity, one)), -len(one), sorted(one)), default=None)


def _rarity(string: str) -> int:
    """How much a string tells: the letters of its words that are not everyday ones."""
    words = re.findall(r"[^\W_]+", string)
    return sum(len(word) for word in words if word not in EVERYDAY) * 10 + len(string)


def _of_sequence(parsed: Any) -> list[Needed]:
    """Sets of which every match of a sequence holds one string each: runs of characters, and what its parts need."""
    found: list[Needed] = []
    run: Needed = frozenset({""})
    for op, given in parsed:
        spelt = _spellings(op, given)
        if spelt is not None and len(spelt) * len(run) <= MAX_RUN:
            run = frozenset(before + after for before in run for after in spelt)
            continue
        if op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            continue  # takes no room: the run goes on
        found.append(run)
        run = frozenset({""})
        if spelt is not None:
            run = spelt
            continue
        inner = _of_part(op, given)
        if inner is not None:
            found.append(inner)
    return [*found, run]


def _of_part(op: Any, given: Any) -> Needed | None:
    """The best set of a part that is no plain run; None for one that may be left out or is anything."""
    if op is sre.BRANCH:
        each = [_best(_of_sequence(one)) for one in given[1]]
        return None if any(one is None for one in each) else frozenset().union(*(one for one in each if one))
    if op is sre.SUBPATTERN:
        return _best(_of_sequence(given[3]))
    if op is sre.ATOMIC_GROUP:
        return _best(_of_sequence(given))
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT) and given[0] > 0:
        return _best(_of_sequence(given[2]))
    return None


def _spellings(op: Any, given: Any) -> Needed | None:
    """Every text that a part matches, where these are few; None where they are not."""
    if op is sre.LITERAL:
        return frozenset({chr(given).casefold()})
    if op is sre.IN and all(kind is sre.LITERAL for kind, _ in given) and len(given) <= MAX_SPELLINGS:
        return frozenset(chr(one).casefold() for _, one in given)
    if op is sre.SUBPATTERN:
        return _whole(given[3])
    if op is sre.BRANCH:
        each = [_whole(one) for one in given[1]]
        known = [one for one in each if one is not None]
        every = frozenset().union(*known)
        return every if len(known) == len(each) and len(every) <= MAX_SPELLINGS else None
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and given[0] == 0 and given[1] == 1:
        inner = _whole(given[2])
        return None if inner is None or len(inner) >= MAX_SPELLINGS else inner | {""}
    return None


def _whole(parsed: Any) -> Needed | None:
    """Every text that a sequence matches, where these are few."""
    every: Needed = frozenset({""})
    for op, given in parsed:
        if op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            continue
        spelt = _spellings(op, given)
        if spelt is None or len(spelt) * len(every) > MAX_SPELLINGS:
            return None
        every = frozenset(before + after for before in every for after in spelt)
    return every
