"""The prefilter lets through everything that the patterns find: the fast answers are those of the slow ones."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attunement.helplines import load_helplines
from attunement.phrases import load_risk_phrases, plain
from attunement.pii import find_pii, find_pii_many
from attunement.prefilter import Candidates, needed
from attunement.records import Turn
from attunement.risk import risk_in, risk_in_many

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = [pattern.regex for pattern in load_risk_phrases().patterns]
HELPLINES = load_helplines()


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


def test_danger_is_found_in_many_as_in_each() -> None:
    every = talks()
    assert len(every) > 2000
    slow = [risk_in(turns) for turns in every]
    assert risk_in_many(every) == slow
    assert sum(bool(one.entries) for one in slow) > 100


def test_personal_data_are_found_in_many_as_in_each() -> None:
    planted = (ROOT / "data/calibration/pii.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in planted] + [turn.text for turns in talks()[::9] for turn in turns]
    slow = [find_pii(text, locale="en-US", helplines=HELPLINES) for text in texts]
    assert find_pii_many(texts, locales=["en-US"] * len(texts), helplines=HELPLINES) == slow
    assert sum(map(bool, slow)) > 100
    assert find_pii_many([], locales=[], helplines=HELPLINES) == []


@pytest.mark.parametrize("number", range(len(PATTERNS)))
def test_what_a_pattern_of_danger_matches_it_is_a_candidate_for(number: int) -> None:
    candidates = Candidates(PATTERNS)

    @settings(max_examples=15, deadline=None, database=None, derandomize=True,
              suppress_health_check=list(HealthCheck))
    @given(st.from_regex(PATTERNS[number], alphabet=st.characters(codec="ascii")))
    def holds(text: str) -> None:
        if PATTERNS[number].search(plain(text)):
            assert number in candidates.of(plain(text))

    holds()


@pytest.mark.parametrize(("pattern", "strings"), [
    (r"\bkill(?:ing)? (?:my ?self|meself)\b", {"kill myself", "killing myself", "kill my self", "kill meself",
                                                "killing my self", "killing meself"}),
    (r"(?:red|blue) (?:\w+ )?rope", {"rope"}),
    (r"a|b\w", set()),
    (r"(?:cat|dog)+s", {"cat", "dog"}),
    (r"x(?=never)yz", {"xyz"}),
    (r"(?:left out)?kept", {"left outkept", "kept"}),
])
def test_what_a_match_needs_is_read_from_the_pattern(pattern: str, strings: set[str]) -> None:
    found = needed(re.compile(pattern, re.IGNORECASE))
    assert (set(found[0]) if found else set()) == strings
