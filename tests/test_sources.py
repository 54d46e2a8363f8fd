"""Readers of corpora: every row comes back, as turns or as the fault that kept it from being read."""

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from attunement.errors import DataError
from attunement.records import Turn
from attunement.sources.base import Row
from attunement.sources.messages import Messages
from attunement.sources.panel import AnySource


def source(files: str) -> Messages:
    return Messages(kind="messages", name="toy", files=files, licence="CC0", consent="made up")


def read(tmp_path: Path, *lines: bytes) -> list[Row]:
    path = tmp_path / "toy.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return list(source(path.as_posix()).read())


def messages(*contents: str) -> bytes:
    roles = ("user", "assistant")
    return json.dumps({"messages": [{"role": roles[i % 2], "content": c} for i, c in enumerate(contents)]}).encode()


def test_a_dialogue_is_read_with_its_place_its_locale_and_its_tags(tmp_path: Path) -> None:
    line = b'{"messages": [{"role": "user", "content": " hi "}], "locale": "en-IE", "tags": {"topic": "tea"}}'
    (row,) = read(tmp_path, line)
    assert row.turns == (Turn(role="user", text="hi"),)
    assert (row.locale, row.tags, row.line, row.fault) == ("en-IE", {"topic": "tea"}, 1, None)


@pytest.mark.parametrize(
    ("line", "fault", "where"),
    [
        (b"not json", "Invalid JSON", "the line"),
        (b'{"messages": [], "locale": "en"}', "at least 1 item", "messages"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "topic": "tea"}', "Extra inputs", "topic"),
        (b'{"messages": [{"role": "user", "text": "hi"}]}', "Field required", "messages.0.content"),
        (b'{"messages": [{"role": "bot", "content": "hi"}]}', "'system', 'user' or 'assistant'", "messages.0.role"),
        (b'{"messages": [{"role": "user", "content": "  "}]}', "at least 1 character", "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "valid string", "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "Invalid JSON", "the line"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8", "byte 43"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "tags": {"risk": 1}}', "valid string", "tags.risk"),
    ],
)
def test_a_row_that_can_not_be_read_says_why_and_where(tmp_path: Path, line: bytes, fault: str, where: str) -> None:
    (row,) = read(tmp_path, line)
    assert fault in (row.fault or "")
    assert row.fault_at == where
    assert row.turns == ()


def test_blank_lines_are_no_rows_and_still_count_as_lines(tmp_path: Path) -> None:
    assert [row.line for row in read(tmp_path, b"", messages("hi", "oh"), b"   ", messages("ho", "ah"))] == [2, 4]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_row(tmp_path: Path) -> None:
    rows = read(tmp_path, b"\xef\xbb\xbf" + messages("hi", "oh") + b"\r", messages("ho", "ah") + b"\r")
    assert [row.fault for row in rows] == [None, None]


@pytest.mark.parametrize("odd", ["\x1c", "\u2028x", "a\u2028b", "\x00"])
def test_odd_characters_neither_split_a_row_nor_break_the_reader(tmp_path: Path, odd: str) -> None:
    (row,) = read(tmp_path, messages(odd, "oh"))
    assert (row.fault is None) == bool(row.turns)


def test_words_that_stand_where_a_key_should_are_not_told(tmp_path: Path) -> None:
    (row,) = read(tmp_path, b'{"the kettle sings to me at night": "x"}')
    assert "kettle" not in (row.fault or "") + row.fault_at


def test_a_glob_without_a_file_is_an_error_that_names_the_source(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match=r"source 'toy': no file matches .*\.jsonl \(curate\.sources"):
        list(source(f"{tmp_path}/*.jsonl").read())


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.jsonl").write_bytes(messages(name, "oh"))
    assert [Path(row.file).stem for row in source(f"{tmp_path}/*.jsonl").read()] == ["a", "b", "c"]


@pytest.mark.parametrize("field", ["licence", "consent", "name"])
def test_a_source_without_licence_or_consent_is_none(field: str) -> None:
    declared = {"kind": "messages", "name": "toy", "files": "x", "licence": "CC0", "consent": "made up"}
    with pytest.raises(ValidationError, match=field):
        TypeAdapter(AnySource).validate_python({**declared, field: ""})
