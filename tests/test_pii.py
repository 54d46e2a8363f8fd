"""The scorer of disclosures: what tells a person apart is found, what looks like it is not, and no word gets out."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from attunement.errors import ModelError
from attunement.helplines import load_helplines
from attunement.pii import TYPES, find_pii
from attunement.records import Turn
from attunement.scorers.base import Item
from attunement.scorers.pii import Pii

ROOT = Path(__file__).resolve().parents[1]
PLANTED = ROOT / "data/calibration/pii.jsonl"
HELPLINES = load_helplines()
RULED = tuple(kind for kind in TYPES if kind != "name")  # names need Presidio, which the tests do without
MIN_RECALL = 0.9


def found(text: str, *, locale: str = "und") -> list[tuple[str, str]]:
    return [(one.type, text[one.start:one.end]) for one in find_pii(text, locale=locale, helplines=HELPLINES)]


def planted() -> list[dict[str, object]]:
    return [json.loads(line) for line in PLANTED.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to ines.k@example.org.", [("email", "ines.k@example.org")]),
        ("it is anna dot k at mail dot com, please", [("email", "anna dot k at mail dot com")]),
        ("tomo_r (at) example (dot) co (dot) uk", [("email", "tomo_r (at) example (dot) co (dot) uk")]),
        ("text me on 07700 900123 tonight", [("phone", "07700 900123")]),
        ("it's (212) 555-0143.", [("phone", "(212) 555-0143")]),
        ("oh seven seven double oh, nine double oh, one two three", [
            ("phone", "oh seven seven double oh, nine double oh, one two three")]),
        ("my insta is anna_k92", [("handle", "anna_k92")]),
        ("discord: anna#1234", [("handle", "anna#1234")]),
        ("see @jonas.wehr.", [("handle", "@jonas.wehr")]),
        ("I live at 14 Elm Street, Apt 3B, Dayton, OH 45402", [("address", "14 Elm Street, Apt 3B, Dayton, OH 45402")]),
        ("27 Larkspur Close, Stockport SK4 3QD", [("address", "27 Larkspur Close, Stockport SK4 3QD")]),
        ("Lindenstraße 48, 04109 Leipzig", [("address", "Lindenstraße 48, 04109 Leipzig")]),
        ("Flat 302, Lotus Residency, Bengaluru 560102", [("address", "Flat 302, Lotus Residency, Bengaluru 560102")]),
        ("4/22 Wattle Street, Carlton VIC 3053", [("address", "4/22 Wattle Street, Carlton VIC 3053")]),
        ("my ssn: 219-09-9999", [("id", "219-09-9999")]),
        ("AB123456C was on the letter", [("id", "AB123456C")]),
        ("DE89 3704 0044 0532 0130 00 da soll es hin", [("id", "DE89 3704 0044 0532 0130 00")]),
        ("passport number 533380006", [("id", "533380006")]),
        ("4111 1111 1111 1111 exp 04/29", [("card", "4111 1111 1111 1111")]),
        ("four two four two, four two four two, four two four two, four two four two", [
            ("card", "four two four two, four two four two, four two four two, four two four two")]),
    ],
)
def test_a_disclosure_is_found_whole_and_once(text: str, expected: list[tuple[str, str]]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Call 988, or 116 123 in the UK, or 13 11 14 in Australia.",
        "1-800-273-8255 is the old number",
        "Text HOME to 741741 or SHOUT to 85258, or write to jo@samaritans.org.",
        "follow @samaritans and @nhsuk",
        "the shop's line is 0800 123 4567",
        "fill in your.name@example.com",
        "meet @ 5, I'm @home",
        "I work at amazon.com",
        "my insta is private now",
        "in 2019, 2020 and 2021 I paid $1,249.99",
        "order 302-4471920-8830415, ISBN 978-0-14-103614-4",
        "10 Downing Street, 4 Privet Drive",
        "a 20 minute drive down the road",
        "150 mg at 23:40, on 14/03/2026",
        "10 9 8 7 6 5 4 3 2 1",
        "lost 6-4, 3-6, 7-5 on version 17.4.1",
        "My name is Anna.",
        "Jenny, 867-5309",
    ],
)
def test_what_looks_like_a_disclosure_is_none(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize("number", ["4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "2341 2341 2346"])
def test_a_number_with_a_check_is_found_without_words_and_not_once_a_digit_is_changed(number: str) -> None:
    assert len(found(f"so {number} then")) == 1
    assert found(f"so {number[:-1]}{(int(number[-1]) + 1) % 10} then") == []


def test_an_id_with_its_word_beside_it_is_found_though_its_check_fails() -> None:
    assert found("my aadhaar is 2341 2341 2347") == [("id", "2341 2341 2347")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("my number is 9151 1768", [("phone", "9151 1768")]),
        ("call me at 2389 2223.", [("phone", "2389 2223")]),
        ("whatsapp: 91511768", [("phone", "91511768")]),
        ("my number is 612 34 56 78", [("phone", "612 34 56 78")]),
        ("her number is 712 345 678", [("phone", "712 345 678")]),
        ("text me on 712345678", [("phone", "712345678")]),
        ("0477 13 11 15", [("phone", "0477 13 11 15")]),
        ("it's 012-345 6789", [("phone", "012-345 6789")]),
        ("My ID number is 8001015009087", [("id", "8001015009087")]),
        ("NRIC S1234567D", [("id", "S1234567D")]),
        ("passport: A1234567", [("id", "A1234567")]),
        ("sort code 12-34-56 account 12345678", [("id", "12-34-56"), ("id", "12345678")]),
        ("account no 12345678, sort code 12 34 56", [("id", "12345678"), ("id", "12 34 56")]),
        ("routing 021000021 account 123456789", [("id", "021000021"), ("id", "123456789")]),
        ("D04 X2K5", [("address", "D04 X2K5")]),
        ("my eircode is d6wf7x2", [("address", "d6wf7x2")]),
        ("M5V 3L9", [("address", "M5V 3L9")]),
        ("postal code: k1a0b1", [("address", "k1a0b1")]),
    ],
)
@pytest.mark.parametrize("locale", ["und", "en-US"])
def test_a_number_of_another_country_is_found_by_its_form_or_the_words_beside_it(
    text: str, locale: str, expected: list[tuple[str, str]]
) -> None:
    assert found(text, locale=locale) == expected


@pytest.mark.parametrize(
    "text",
    [
        "9151 1768",
        "my order number is 9151 1768",
        "the number is 9151 1768 of 10000000",
        "call me in 2019 2020",
        "my number is 2019 2020",
        "phone: 2023-1105",
        "my number is 12345678",
        "612 34 56 78 were the scores",
        "I paid 712 345 678 shillings",
        "call me at 2389.50",
        "on 13 11 15 and 04 13 11 15",
        "order id number is 8001015009087",
        "S1234567D",
        "on 12-34-56 I wrote an account of 12345678 words",
        "the account was short, 123456 words",
        "a routing table of 12345 rows",
        "my P45 2023 and my P60 2024",
        "T20 2024 and C19 2021",
        "R2D 2C3P, H2O 2B1",
        "the a4m 3x5 lens",
        "call 15, or 112, or 13 11 14",
    ],
)
def test_what_only_looks_like_a_number_of_another_country_is_none(text: str) -> None:
    assert found(text) == []


def test_a_number_that_an_order_bears_is_not_a_card() -> None:
    assert found("order number 4111 1111 1111 1111") == []


def test_the_locale_says_how_its_own_numbers_are_written() -> None:
    assert found("021 555 0199 anytime", locale="en-NZ")[0][0] == "phone"


def score(*items: Item) -> list[tuple[float | None, str | None, str]]:
    return [(one.value, one.label, one.because) for one in Pii().score(items)]


def test_the_label_joins_the_types_in_fixed_order_and_the_value_counts_each() -> None:
    text = "07700 900123 or 07700 900456, and ines@example.org"
    assert score(Item(id="a", text=text)) == [(3.0, "email+phone", "phone@0:0-12, phone@0:16-28, email@0:34-50")]


def test_every_label_that_can_be_given_is_declared() -> None:
    assert len(Pii.labels) == len(set(Pii.labels)) == 2 ** len(TYPES)
    assert {"none", "email", "email+phone", "+".join(TYPES)} <= set(Pii.labels)


def test_a_reply_is_judged_and_its_context_is_not() -> None:
    told = (Turn(role="user", text="I'm at ines@example.org"),)
    assert score(Item(id="a", context=told, reply="Thank you.")) == [(0.0, "none", "nothing found")]
    assert score(Item(id="a", context=told, reply="So ines@example.org?")) == [(1.0, "email", "email@1:3-19")]


def test_every_turn_of_a_dialogue_is_judged() -> None:
    turns = (Turn(role="user", text="ines@example.org"), Turn(role="assistant", text="And u/quiet_otter?"))
    assert score(Item(id="a", dialogue=turns)) == [(2.0, "email+handle", "email@0:0-16, handle@1:4-17")]


def test_an_empty_text_is_unscored() -> None:
    assert score(Item(id="a", text=" "), Item(id="b", reply="")) == [(None, None, "no words to look at")] * 2


def test_names_that_cannot_be_read_are_an_error_that_says_what_to_install() -> None:
    with pytest.raises(ModelError, match=r"no_such_model is not installed.*pip install attunement\[names\]"):
        Pii(names=True, names_model="no_such_model").score([Item(id="a", text="Anna Kowalski")])


def test_the_version_follows_the_settings(tmp_path: Path) -> None:
    other = tmp_path / "helplines.yaml"
    other.write_bytes((ROOT / "data/resources/helplines.yaml").read_bytes() + b"\n")
    assert Pii().version != Pii(helplines=other.as_posix()).version


@pytest.mark.parametrize("written", ["before", "after"])
@pytest.mark.parametrize("kind", RULED)
def test_planted_disclosures_are_found(kind: str, written: str) -> None:
    rows = [str(row["text"]) for row in planted() if kind in row["types"] and row["written"] == written]
    hits = sum(kind in {one for one, _ in found(text)} for text in rows)
    assert len(rows) >= 10
    assert hits / len(rows) >= MIN_RECALL


def test_nothing_is_found_in_a_planted_row_but_what_it_holds() -> None:
    wrong = [row["id"] for row in planted() if not {one for one, _ in found(str(row["text"]))} <= set(row["types"])]
    assert wrong == []


def test_because_holds_types_and_offsets_and_no_word() -> None:
    for one in Pii().score([Item(id=str(row["id"]), text=str(row["text"])) for row in planted()]):
        assert re.fullmatch(r"nothing found|(?:[a-z]+@0:\d+-\d+(?:, (?=[a-z])|$))+", one.because)


def test_planted_rows_have_hashes_of_their_text_as_ids_and_types_in_order() -> None:
    for row in planted():
        assert row["id"] == hashlib.sha256(str(row["text"]).encode()).hexdigest()[:16]
        assert row["types"] == [kind for kind in TYPES if kind in row["types"]]


def test_the_projects_own_dialogues_and_suites_disclose_nothing() -> None:
    alarms = [where for where, locale, text in own_turns() if find_pii(text, locale=locale, helplines=HELPLINES)]
    assert alarms == []


def own_turns() -> Iterator[tuple[str, str, str]]:
    files = [*ROOT.glob("data/sources/attunement/*.jsonl"), *ROOT.glob("data/suites/*.jsonl")]
    assert files
    for file in sorted(files):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            row = json.loads(line)
            for turn in row.get("messages") or row.get("context") or row["turns"]:
                text = turn if isinstance(turn, str) else turn.get("content") or turn["text"]
                yield f"{file.name}:{number}", row.get("locale", "und"), text
