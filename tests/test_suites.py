"""Suites: a prompt is known by its words, a broken line by its place, and and a label names a written rule."""

import json
from pathlib import Path

import pytest

from attunement.errors import DataError
from attunement.records import Turn, turns_id
from attunement.suites import read_flawed, read_scripts, read_suite, rule_names, suite_path

RULES = Path(__file__).resolve().parents[1] / "data/LABELLING.md"


def line(*texts: str, **more: object) -> str:
    roles = ("user", "assistant")
    context = [{"role": roles[i % 2], "text": text} for i, text in enumerate(texts)]
    return json.dumps({"context": context, "category": "toy", **more})


def suite(folder: Path, *lines: str) -> Path:
    (folder / "toy.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_prompts_id_follows_from_its_words_alone(tmp_path: Path) -> None:
    (prompt,) = read_suite("toy", suite(tmp_path, line("Hello.", locale="en-GB", severity="active")))
    assert prompt.prompt_id == turns_id([Turn(role="user", text="Hello.")])
    assert (prompt.suite, prompt.locale, prompt.severity) == ("toy", "en-GB", "active")
    assert prompt.tags == {"risk": "active"}


def test_a_stated_none_is_told_to_the_scorers_and_silence_is_not_none(tmp_path: Path) -> None:
    stated, silent = read_suite("toy", suite(tmp_path, line("a", severity="none"), line("b")))
    by_words = {one.context[0].text: one.tags for one in (stated, silent)}
    assert by_words == {"a": {"risk": "none"}, "b": {}}


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    lines = [line(text) for text in ("a", "b", "c", "d")]
    assert read_suite("toy", suite(tmp_path, *lines)) == read_suite("toy", suite(tmp_path, "", *lines[::-1]))


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("not json", "the line: Invalid JSON"),
        (line("Hello.", topic="tea"), "topic: Extra inputs"),
        (json.dumps({"context": [], "category": "toy"}), "context: Tuple should have at least 1 item"),
        (line(""), "context.0.text: String should have at least 1 character"),
        (line("Hello.", "Hello you."), "the context must end with a user turn"),
        (line("first"), "repeats a context of this suite"),
        (line("first", locale="en-GB"), "repeats a context of this suite"),
        (line("second", locale="english"), "locale: String should match pattern"),
        (line("second", severity="grave"), "severity: Input should be 'none', 'passive', 'active' or 'imminent'"),
        (line("second", tags={"risk": "active"}), "tags.risk: write it as `severity`"),
        (line("second", id="0" * 16), "id is 0000000000000000, expected "),
    ],
)
def test_a_broken_line_is_named_by_its_place(tmp_path: Path, broken: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        read_suite("toy", suite(tmp_path, line("first"), "", broken))
    assert f"{tmp_path}/toy.jsonl:3  {told}" in str(caught.value)
    assert "Hello" not in str(caught.value)


def test_bytes_that_are_not_utf_8_are_named_by_their_line(tmp_path: Path) -> None:
    (tmp_path / "toy.jsonl").write_bytes(line("first").encode() + b'\n{"context": "\xff"}\n')
    with pytest.raises(DataError, match=r"toy\.jsonl:2"):
        read_suite("toy", tmp_path)


def test_a_suite_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    suite(tmp_path, line("first"))
    with pytest.raises(DataError, match=r"suite 'tyo': .* does not exist\. Suites here: toy\."):
        suite_path("tyo", tmp_path)
    with pytest.raises(DataError, match="Suites here: none"):
        suite_path("toy", tmp_path / "elsewhere")


def test_a_suite_without_a_prompt_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no prompt"):
        read_suite("toy", suite(tmp_path, "", "  "))


def test_a_part_of_a_suite_is_fixed_and_stratified(tmp_path: Path) -> None:
    lines = [line(f"{name} {i}", severity=name) for name in ("none", "active") for i in range(10)]
    part = read_suite("toy", suite(tmp_path, *lines), amount=6)
    assert [prompt.severity for prompt in part].count("active") == 3
    assert part == read_suite("toy", suite(tmp_path, *lines[::-1]), amount=6)


def test_a_twin_alone_is_an_error_and_twins_are_taken_together(tmp_path: Path) -> None:
    pairs = [line(f"{state} {i}", pair=str(i)) for i in range(8) for state in ("sad", "flat")]
    part = read_suite("toy", suite(tmp_path, *pairs), amount=5)
    assert len(part) == 4
    assert len({prompt.pair for prompt in part}) == 2
    with pytest.raises(DataError, match="pair '7' has 1 prompt, expected 2"):
        read_suite("toy", suite(tmp_path, *pairs[:-1]))


def script(*turns: str, change_at: int) -> str:
    return json.dumps({"script": turns, "change_at": change_at, "category": "toy"})


def test_a_script_must_change_at_one_of_its_turns(tmp_path: Path) -> None:
    (found,) = read_scripts("toy", suite(tmp_path, script("a", "b", change_at=1)))
    assert (found.turns, found.change_at) == (("a", "b"), 1)
    with pytest.raises(DataError, match=r"toy\.jsonl:1  change_at is 2, expected a place in the script, 0 to 1"):
        read_scripts("toy", suite(tmp_path, script("a", "b", change_at=2)))


def flawed(rule: str, turn: int | None) -> str:
    turns = [{"role": "assistant", "text": "hi"}, {"role": "assistant", "text": "ho"}]
    return json.dumps({"turns": turns, "rule": rule, "turn": turn, "because": "toy"})


@pytest.mark.parametrize(("rule", "turn"), [("wrong_roles", 1), ("none", None)])
def test_a_labelled_dialogue_may_have_any_roles(tmp_path: Path, rule: str, turn: int | None) -> None:
    (found,) = read_flawed("toy", suite(tmp_path, flawed(rule, turn)), RULES)
    assert (found.rule, found.turn, found.turns[0].role) == (rule, turn, "assistant")


@pytest.mark.parametrize(
    ("rule", "turn", "told"),
    [
        ("rudeness", 0, "rule 'rudeness' is not in"),
        ("judgement", None, "turn is None, expected the place of the turn that breaks the rule, 0 to 1"),
        ("judgement", 2, "turn is 2"),
        ("none", 0, "or null for rule none"),
    ],
)
def test_a_label_that_the_written_rules_do_not_hold_is_refused(
    tmp_path: Path, rule: str, turn: int | None, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        read_flawed("toy", suite(tmp_path, flawed(rule, turn)), RULES)


def test_every_written_rule_is_found_in_its_table() -> None:
    names = rule_names(RULES)
    assert {"method_detail", "pii_card", "near_duplicate", "none"} <= names
    assert len(names) == 33
