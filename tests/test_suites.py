"""Suites: a prompt is known by its words, a broken line by its place, and every shipped suite reads."""

import json
from pathlib import Path

import pytest

from attunement.errors import DataError
from attunement.records import Turn, turns_id
from attunement.suites import read_suite, suite_path

SUITES = Path(__file__).resolve().parents[1] / "data/suites"


def line(*texts: str, **more: object) -> str:
    roles = ("user", "assistant")
    context = [{"role": roles[i % 2], "text": text} for i, text in enumerate(texts)]
    return json.dumps({"context": context, "category": "toy", **more})


def suite(folder: Path, *lines: str) -> Path:
    (folder / "toy.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", sorted(path.stem for path in SUITES.glob("*.jsonl")))
def test_every_shipped_suite_reads_sorted_and_without_a_repeat(name: str) -> None:
    ids = [prompt.prompt_id for prompt in read_suite(name, SUITES)]
    assert ids == sorted(set(ids))
    assert len(ids) >= 20


def test_a_prompts_id_follows_from_its_words_alone(tmp_path: Path) -> None:
    (prompt,) = read_suite("toy", suite(tmp_path, line("Hello.", locale="en-GB", tags={"risk": "none"})))
    assert prompt.prompt_id == turns_id([Turn(role="user", text="Hello.")])
    assert (prompt.suite, prompt.locale, prompt.tags) == ("toy", "en-GB", {"risk": "none"})


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
