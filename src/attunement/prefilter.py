r"""Which of many texts a pattern may match at all: weaker patterns, in linear time, before the patterns themselves.

In: texts and Python's patterns. Out: for each text the patterns that may match it. Nearly no turn of a corpus tells of
danger or discloses anything, and hundreds of Python's patterns over each of them would take hours. `weaker` rewrites a
pattern, by its own syntax tree, for RE2 (Cox 2010), which arrow runs over a column; each rewriting may only widen what
is matched, so a text without a hit is done with, and the patterns themselves decide about the others.

Python and RE2 disagree on what a letter is beyond ASCII. A text whose letters and digits are all ASCII has none of
those, and there ``\w``, ``\d`` and ``\b`` mean the same to both; in any other text a sign beyond ASCII counts as
whatever a class asks for, and ``\b`` holds everywhere.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from re import _compiler, _parser  # type: ignore[attr-defined]  # Python's own, the only ones that know its syntax
from re import _constants as sre  # type: ignore[attr-defined]
from typing import Any

from attunement.phrases import plain

OTHERS = r"\x{80}-\x{10ffff}"  # beyond ASCII
ANYTHING = rf"[\x00-\x7f{OTHERS}]"
TWINS = {"s": "\u017f", "k": "\u212a", "i": "\u0130\u0131"}  # what else an ASCII letter matches if case is ignored
FOREIGN_WORD = re.compile(r"[^\W\x00-\x7f]")
LEAST, MOST = 12, 4  # larger counts make RE2's automaton larger and hardly let fewer texts pass
AT_ONCE = 10  # patterns in one expression: with 12, varied texts outgrow RE2's memory, and it becomes slow
FEW = 40  # texts: sooner given to all patterns than a second set of automata is built

Patterns = tuple[re.Pattern[str], ...]


def candidates(texts: Sequence[str], patterns: Patterns, *, taken: str = "") -> list[list[int]]:
    """For each text the numbers of the patterns that may match it as `plain` has it, in order.

    ``taken`` is a sign that will stand in the place of other characters when the patterns are used: it may be anything.
    """
    found: list[list[int]] = [[] for _ in texts]
    straight = [text if text.isascii() else plain(text) for text in texts]
    foreign = [at for at, text in enumerate(straight) if not text.isascii() and FOREIGN_WORD.search(text)]
    apart = set(foreign)
    if len(foreign) <= FEW:
        for at in foreign:
            found[at].extend(range(len(patterns)))
        foreign = []
    for ascii_words, chosen in ((True, [at for at in range(len(texts)) if at not in apart]), (False, foreign)):
        if chosen:
            expressions = _expressions(patterns, ascii_words, taken)
            for numbers, hits in _hits([straight[at] for at in chosen], expressions):
                for hit in hits:
                    found[chosen[hit]].extend(numbers)
    return found


def _hits(texts: Sequence[str], expressions: Iterable[tuple[range, str]]) -> Iterator[tuple[range, list[int]]]:
    """The places of the texts that an expression matches, with the numbers of its patterns."""
    import pyarrow as pa
    from pyarrow import compute

    column = pa.array(texts, pa.large_string())
    for numbers, expression in expressions:
        yield numbers, compute.indices_nonzero(compute.match_substring_regex(column, expression)).to_pylist()


@cache
def _expressions(patterns: Patterns, ascii_words: bool, taken: str) -> tuple[tuple[range, str], ...]:
    """Alternations of some weaker patterns each, with the patterns' numbers."""
    each = [weaker(pattern, ascii_words=ascii_words, taken=taken) for pattern in patterns]
    return tuple((range(len(each))[start : start + AT_ONCE], "|".join(each[start : start + AT_ONCE]))
                 for start in range(0, len(each), AT_ONCE))


def weaker(pattern: re.Pattern[str], *, ascii_words: bool, taken: str = "") -> str:
    """An expression of RE2 that is found in every text in which the pattern is.

    ``ascii_words``: only texts without a letter or digit beyond ASCII will be asked about.
    """
    parsed = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    return _Weaker(ascii_words, taken).sequence(parsed, pattern.flags)


class _Weaker:
    """Rewrites a pattern's tree; remembers its groups, for what refers back to one."""

    def __init__(self, ascii_words: bool, taken: str) -> None:
        self._ascii_words, self._taken = ascii_words, taken
        self._groups: dict[int, str] = {}

    def sequence(self, parsed: Any, flags: int) -> str:
        return "".join(self._part(op, given, flags) for op, given in parsed)

    def _part(self, op: Any, given: Any, flags: int) -> str:
        if op in (sre.LITERAL, sre.NOT_LITERAL, sre.IN, sre.ANY):
            return self._signs(op, given, flags)
        if op is sre.AT:  # an anchor is dropped
            return r"\b" if given is sre.AT_BOUNDARY and self._ascii_words else ""
        if op in (sre.ASSERT, sre.ASSERT_NOT):
            return ""
        if op is sre.BRANCH:
            return f"(?:{'|'.join(self.sequence(one, flags) for one in given[1])})"
        if op is sre.SUBPATTERN:
            return self._group(given, flags)
        if op is sre.ATOMIC_GROUP:
            return f"(?:{self.sequence(given, flags)})"
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            return f"(?:{self.sequence(given[2], flags)}){_count(given[0], given[1])}"
        if op is sre.GROUPREF and given in self._groups:
            return self._groups[given]
        return f"{ANYTHING}*"  # a condition, or what no pattern of ours has

    def _group(self, given: Any, flags: int) -> str:
        number, added, removed, parsed = given
        flags = (flags | added) & ~removed
        if number is not None:  # its text again, beside other characters: no \b, and its case may differ
            self._groups[number] = f"(?:{_Weaker(False, self._taken).sequence(parsed, flags)})"
        return f"(?:{self.sequence(parsed, flags)})"

    def _signs(self, op: Any, given: Any, flags: int) -> str:
        return _class_of(op, tuple(given) if op is sre.IN else given, flags, self._ascii_words, self._taken)


@cache  # few of a pattern's signs are not in another one too
def _class_of(op: Any, given: Any, flags: int, ascii_words: bool, taken: str) -> str:
    """A class of characters: Python says which of ASCII it holds; of the others it may hold too many."""
    members = list(given) if op is sre.IN else given
    one = _compiler.compile(_parser.SubPattern(_parser.State(), [(op, members)]), flags)
    if taken and one.fullmatch(taken):
        return ANYTHING
    held = _ranges([code for code in range(128) if one.fullmatch(chr(code))])
    held += _beyond(given if op is sre.IN else [(op, given)], ascii_words)
    return f"[{held}]" if held else ANYTHING


def _beyond(members: Iterable[tuple[Any, Any]], ascii_words: bool) -> str:
    """The characters beyond ASCII that a class may hold."""
    found = ""
    for kind, given in members:
        if kind is sre.LITERAL and given < 128:
            found += "" if ascii_words else TWINS.get(chr(given).lower(), "")
        elif kind is sre.LITERAL and chr(given).lower() == chr(given).upper():
            found += rf"\x{{{given:x}}}"
        elif not (ascii_words and (
                (kind is sre.CATEGORY and given in (sre.CATEGORY_WORD, sre.CATEGORY_DIGIT))
                or (kind is sre.RANGE and given[1] < 128))):
            return OTHERS
    return found


def _count(least: Any, most: Any) -> str:
    if (least, most) == (0, 1):
        return "?"
    return f"{{{min(least, LEAST)},{most if most is not sre.MAXREPEAT and most <= MOST else ''}}}"


def _ranges(codes: Sequence[int]) -> str:
    """Codes in order as the ranges of a class."""
    starts = [code for code in codes if code - 1 not in codes]
    ends = [code for code in codes if code + 1 not in codes]
    return "".join(rf"\x{{{first:x}}}" + (rf"-\x{{{last:x}}}" if last > first else "")
                   for first, last in zip(starts, ends, strict=True))
