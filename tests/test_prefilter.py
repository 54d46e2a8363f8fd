"""A weaker pattern is found wherever its pattern is, so that the fast answers about many are those about each."""

import json
import re
import sys
from functools import cache
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import compute

from attunement import pii, pii_address, prefilter
from attunement.helplines import load_helplines
from attunement.phrases import load_referral_phrases, load_risk_phrases, plain
from attunement.pii import OPENING, TAKEN, find_pii, find_pii_many
from attunement.prefilter import ANYTHING, AT_ONCE, FOREIGN_WORD, OTHERS, TWINS, candidates, weaker
from attunement.records import Turn
from attunement.risk import risk_in, risk_in_many

ROOT = Path(__file__).resolve().parents[1]
HELPLINES = load_helplines()
RISK = tuple(pattern.regex for pattern in load_risk_phrases().patterns)
QUESTIONS = tuple(regex for _, regex in load_referral_phrases().slots["direct_ask"])
EVERY = (*RISK, *QUESTIONS, *OPENING)
SIGNS = "".join(map(chr, (*range(0xD800), *range(0xE000, sys.maxunicode + 1))))
FOREIGN = str.maketrans("iskaI ", "ıſ\u212aéİ\u2003")  # letters beyond ASCII, of which three count as ASCII ones
WAYS = pytest.mark.parametrize("few", [-1, prefilter.FEW])  # texts with foreign letters are searched, or given to all
BROAD = settings(max_examples=12, deadline=None, database=None, derandomize=True,
                 suppress_health_check=list(HealthCheck))


def talks() -> list[list[Turn]]:
    """Every dialogue and prompt of the project."""
    found = []
    for path in (*sorted((ROOT / "data/sources").rglob("*.jsonl")), *sorted((ROOT / "data/suites").rglob("*.jsonl"))):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            turns = row.get("messages") or row.get("context") or row.get("turns") or []
            found.append([Turn(role="user", text=one) if isinstance(one, str)
                          else Turn(role=one["role"], text=one.get("text") or one["content"]) for one in turns])
    return found


@cache
def planted() -> tuple[str, ...]:
    lines = (ROOT / "data/calibration/pii.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(json.loads(line)["text"] for line in lines)


@cache
def contacts() -> tuple[str, ...]:
    return tuple(contact for region in HELPLINES.values() for contact in (
        region.emergency.contact, *(contact for one in region.resources for contact in one.contacts)))


def held(expression: str, text: str) -> bool:
    """Whether RE2 finds an expression."""
    return bool(compute.match_substring_regex(pa.array([text]), expression)[0].as_py())


def rewritten(pattern: str, flags: int = 0, *, ascii_words: bool = True, taken: str = "") -> str:
    return weaker(re.compile(pattern, flags), ascii_words=ascii_words, taken=taken)


A, B = r"[\x{61}]", r"[\x{62}]"
DIGITS, WORD = r"\x{30}-\x{39}", r"\x{30}-\x{39}\x{41}-\x{5a}\x{5f}\x{61}-\x{7a}"


@pytest.mark.parametrize(("pattern", "expected", "elsewhere"), [
    (r"a(?=c)b", A + B, A + B),
    (r"a(?!c)b", A + B, A + B),
    (r"(?<=c)a(?<!c)b", A + B, A + B),
    (r"^\Aa$\Z", A, A),
    (r"\ba\b", rf"\b{A}\b", A),
    (r"\Ba", A, A),
    (r"\w", f"[{WORD}]", f"[{WORD}{OTHERS}]"),
    (r"\d", f"[{DIGITS}]", f"[{DIGITS}{OTHERS}]"),
    (r"\s", rf"[\x{{9}}-\x{{d}}\x{{1c}}-\x{{20}}{OTHERS}]", rf"[\x{{9}}-\x{{d}}\x{{1c}}-\x{{20}}{OTHERS}]"),
    (r"[^a]", rf"[\x{{0}}-\x{{60}}\x{{62}}-\x{{7f}}{OTHERS}]", rf"[\x{{0}}-\x{{60}}\x{{62}}-\x{{7f}}{OTHERS}]"),
    (r"[a-b]", r"[\x{61}-\x{62}]", rf"[\x{{61}}-\x{{62}}{OTHERS}]"),
    (r"–", r"[\x{2013}]", r"[\x{2013}]"),
    (r"é", f"[{OTHERS}]", f"[{OTHERS}]"),
    (r"(?i:a)", r"(?:[\x{41}\x{61}])", r"(?:[\x{41}\x{61}])"),
    (r"(?i:s)", r"(?:[\x{53}\x{73}])", "(?:[\\x{53}\\x{73}\u017f])"),
    (r"(?:ab|b\w)", rf"(?:{A}{B}|{B}[{WORD}])", rf"(?:{A}{B}|{B}[{WORD}{OTHERS}])"),
    (r"a?", rf"(?:{A})?", rf"(?:{A})?"),
    (r"a{2,4}?", rf"(?:{A}){{2,4}}", rf"(?:{A}){{2,4}}"),
    (r"a{2,5}", rf"(?:{A}){{2,}}", rf"(?:{A}){{2,}}"),
    (r"a{20}", rf"(?:{A}){{12,}}", rf"(?:{A}){{12,}}"),
    (r"(?>a)b*+", rf"(?:{A})(?:{B}){{0,}}", rf"(?:{A})(?:{B}){{0,}}"),
    (r"(\ba)\1", rf"(?:\b{A})(?:{A})", rf"(?:{A})(?:{A})"),
    (r"(a)?(?(1)b|c)", rf"(?:(?:{A}))?{ANYTHING}*", rf"(?:(?:{A}))?{ANYTHING}*"),
])
def test_each_rewriting_is_as_it_is_told(pattern: str, expected: str, elsewhere: str) -> None:
    assert rewritten(pattern) == expected
    assert rewritten(pattern, ascii_words=False) == elsewhere


def test_what_may_match_a_sign_that_stands_for_others_may_be_anything() -> None:
    assert rewritten(r"a[^b]", taken=TAKEN) == A + ANYTHING
    assert rewritten(r"\W", taken=TAKEN) == ANYTHING
    assert rewritten(r"\w", taken=TAKEN) == rewritten(r"\w")


def test_case_is_ignored_where_the_pattern_ignores_it_and_not_where_it_says_otherwise() -> None:
    assert held(rewritten("cat", re.IGNORECASE), "CaT")
    assert not held(rewritten("cat"), "CaT")
    assert held(rewritten("(?-i:[^a])", re.IGNORECASE), "A")


def test_no_other_sign_beyond_ascii_matches_an_ascii_letter_than_its_twins() -> None:
    beyond = SIGNS[128:]
    for code in range(128):
        found = "".join(re.findall(re.escape(chr(code)), beyond, re.IGNORECASE))
        assert set(found) == set(TWINS.get(chr(code).lower(), "")), code
    assert set("".join(re.findall(r"[\w\d\x00-\x7f]", beyond, re.IGNORECASE))) == set(FOREIGN_WORD.findall(beyond))


@pytest.mark.parametrize("pattern", EVERY, ids=range(len(EVERY)))
def test_a_weaker_pattern_is_found_where_its_pattern_is(pattern: re.Pattern[str]) -> None:
    taken = TAKEN if pattern in OPENING else ""
    strict, loose = (weaker(pattern, ascii_words=words, taken=taken) for words in (True, False))
    seen = 0

    @BROAD
    @given(st.from_regex(pattern), st.sampled_from(["", " ", "x", "é ", ". "]), st.booleans())
    def holds(text: str, around: str, foreign: bool) -> None:
        nonlocal seen
        text = (around + text + around).encode(errors="replace").decode()
        if foreign:
            text = text.translate(FOREIGN)
        if pattern.search(text):
            seen += 1
            assert held(loose, text)
            assert FOREIGN_WORD.search(text) or held(strict, text)

    holds()
    assert seen


@pytest.mark.parametrize("start", range(0, len(EVERY), AT_ONCE))
def test_a_weaker_pattern_lets_plain_talk_pass(start: int) -> None:
    talk = ["The kettle sings in the morning, and nobody minds.", "I planted tulips; they came up red. Odd, no?"] * 3
    assert not any(candidates(talk, EVERY[start : start + AT_ONCE], taken=TAKEN))


def test_candidates_are_told_by_number_in_order() -> None:
    patterns = tuple(re.compile(rf"\bword{number}\b") for number in range(AT_ONCE * 2 + 1))
    found = candidates(["word0", "none", f"word{AT_ONCE * 2} word{AT_ONCE}"], patterns)
    assert found == [list(range(AT_ONCE)), [], list(range(AT_ONCE, AT_ONCE * 2 + 1))]
    assert candidates([], patterns) == []


@WAYS
def test_danger_is_found_in_many_as_in_each(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefilter, "FEW", few)
    every = talks()
    assert len(every) > 2000
    every += [[Turn(role=turn.role, text=turn.text.translate(FOREIGN)) for turn in turns] for turns in every[::7]]
    slow = [risk_in(turns) for turns in every]
    assert risk_in_many(every) == slow
    assert sum(bool(one.entries) for one in slow) > 100


@WAYS
def test_personal_data_are_found_in_many_as_in_each(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefilter, "FEW", few)
    texts = [*planted(), *(turn.text for turns in talks()[::9] for turn in turns)]
    texts += [f"{one} é" for one in planted()] + [one.translate(FOREIGN) for one in planted()]
    slow = [find_pii(text, locale="en-US", helplines=HELPLINES) for text in texts]
    assert find_pii_many(texts, locales=["en-US"] * len(texts), helplines=HELPLINES) == slow
    assert sum(map(bool, slow)) > 100
    assert find_pii_many([], locales=[], helplines=HELPLINES) == []


@settings(BROAD, max_examples=300)
@given(st.lists(st.sampled_from([*planted(), *contacts(), "call", "my number is", "street", "@", "é", "12", "x"]),
                min_size=1, max_size=4), st.sampled_from(["", " ", ", ", "\n", "’", "."]))
def test_personal_data_beside_helplines_are_found_in_many_as_in_each(pieces: list[str], between: str) -> None:
    text = between.join(pieces)
    expected = find_pii(text, locale="en-GB", helplines=HELPLINES)
    assert find_pii_many([text], locales=["en-GB"], helplines=HELPLINES) == [expected]


def test_every_pattern_that_can_begin_a_finding_is_asked_first() -> None:
    """What is left out only judges what another pattern has found; a new pattern must be placed."""
    judging = {"BRANDS", "CAPITALISED", "DATE", "EMAIL_WORD", "FICTION", "FREE", "GERMAN_CITY", "LIVES",
               "LOCAL_US", "NATIONAL", "NOT_DISCORD", "NOT_INDIAN", "NOT_MENTION", "NOT_NAMED", "NO_LOCAL",
               "ORDER_WORD", "ORGANISATION", "PAIRS", "PAIRS_BEFORE", "PHONE_WORD", "PLACEHOLDER", "UNIT"}
    every = {name: one for module in (pii, pii_address) for name, one in vars(module).items()
             if isinstance(one, re.Pattern)}
    assert {name for name, one in every.items() if one not in OPENING} == judging
    for text in planted():
        if find_pii(text, locale="und", helplines=HELPLINES):
            assert any(one.search(plain(text)) for one in OPENING)
