"""Readers under damage: no crash, every line accounted for, and no word of the data in what is told of it."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from attunement.errors import DataError
from attunement.sources.base import Row, Source
from attunement.sources.panel import AnySource

WORDS = "marigold wither"  # in every text of the files below; no sentence of ours holds it
LINE = json.dumps({"messages": [{"role": role, "content": WORDS} for role in ("user", "assistant")]}).encode()
TURNS = "session,n,who,words\n" + "".join(
    f'{one},{n},{who},"{WORDS}, {n}"\n' for one in "abc" for n, who in enumerate(("user", "assistant")))
KINDS: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "messages": (".jsonl", (LINE + b"\n") * 4, {}),
    "sharegpt": (".json", json.dumps([{"conversations": [
        {"from": "human", "value": WORDS}, {"from": "gpt", "value": WORDS}]}] * 3, indent=1).encode(), {}),
    "alpaca": (".json", json.dumps([{"instruction": WORDS, "output": WORDS}] * 3).encode(), {}),
    "esconv": (".jsonl", (json.dumps({"dialog": [
        {"speaker": "usr", "text": WORDS}, {"speaker": "sys", "text": WORDS}]}) + "\n").encode() * 3, {}),
    "transcript": (".txt", f"User: {WORDS}\nAssistant: {WORDS}\n\n".encode() * 3, {}),
    "table": (".csv", TURNS.encode(), {"dialogue": "session", "order": "n", "role": "who", "text": "words"}),
    "pairs": (".csv", TURNS.encode(), {"question": "words", "answer": "words"}),
    "annomi": (".csv", TURNS.replace("session,n,who,words", "transcript_id,utterance_id,interlocutor,utterance_text")
               .replace("user", "client").replace("assistant", "therapist").encode(), {}),
    "empathetic_dialogues": (".csv", TURNS.replace("session,n,who,words", "conv_id,utterance_idx,speaker_idx,utterance")
                             .replace('"', "").replace(", ", "_comma_ ").encode(), {}),
    "counsel_chat": (".csv", b"questionID,questionTitle,questionText,answerText\n"
                     + f"1,{WORDS},{WORDS},<p>{WORDS}</p>\n".encode() * 3, {}),
}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor(write_checksum=True).compress}
PUT = st.sampled_from([b"", b"\0", b"\xff", b'"', b"\n", b"{", b"[", b",", b"\\"])
DAMAGE = st.lists(st.tuples(st.integers(0, 10_000), PUT, st.integers(0, 3)), min_size=1, max_size=4)


def damaged(data: bytes, damage: list[tuple[int, bytes, int]]) -> bytes:
    for place, put, taken in damage:
        at = place % (len(data) + 1)
        data = data[:at] + put + data[at + taken:]
    return data


def rows_of(kind: str, data: bytes, packing: str = "") -> list[Row] | None:
    """The rows; None when the file does not fit its declaration, which ends the stage with a message."""
    suffix, _, declared = KINDS[kind]
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}{packing}"
        path.write_bytes(data)
        made: Source = TypeAdapter(AnySource).validate_python({
            "kind": kind, "name": "toy", "files": path.as_posix(), "licence": "CC0", "consent": "made up", **declared})
        try:
            return list(made.read())
        except DataError as error:
            told_nothing(str(error))
            return None


def told_nothing(text: str) -> None:
    assert not any(word in text for word in WORDS.split()), "a person's word is told"


def one_line(rows: Sequence[Row]) -> bool:
    """Whether an array stands on one line, as many of its elements then do."""
    return all(".json" in Path(row.file).suffixes for row in rows)


def sound(rows: list[Row] | None) -> None:
    for row in rows or ():
        assert (row.fault is None) == bool(row.turns), "either turns or a fault"
        assert row.line >= 1
        told_nothing(f"{row.fault} {row.fault_at} {row.repairs}" if row.fault else f"{row.repairs}")
    places = [row.line for row in rows or ()]
    assert len(places) == len(set(places)) or one_line(rows or ()), "a place has one row"


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_has_no_fault(kind: str) -> None:
    rows = rows_of(kind, KINDS[kind][1])
    assert rows
    if kind != "empathetic_dialogues":  # its numbers begin at 1, those of the toy at 0
        assert [row.fault for row in rows] == [None] * len(rows)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_rows_or_faults(kind: str, data: bytes) -> None:
    sound(rows_of(kind, data))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=100, deadline=None)
@given(damage=DAMAGE)
def test_a_damaged_file_tells_of_its_faults_without_its_words(kind: str, damage: list[tuple[int, bytes, int]]) -> None:
    sound(rows_of(kind, damaged(KINDS[kind][1], damage)))


@settings(max_examples=200, deadline=None)
@given(damage=DAMAGE)
def test_every_line_of_messages_that_is_not_blank_gives_one_row(damage: list[tuple[int, bytes, int]]) -> None:
    data = damaged(KINDS["messages"][1], damage)
    expected = [number for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    rows = rows_of("messages", data)
    assert rows is not None
    assert [row.line for row in rows] == expected


@settings(max_examples=100, deadline=None)
@given(damage=DAMAGE)
def test_every_line_of_pairs_lies_within_a_row(damage: list[tuple[int, bytes, int]]) -> None:
    head, _, body = KINDS["pairs"][1].partition(b"\n")
    data = head + b"\n" + damaged(body, damage)
    rows = rows_of("pairs", data)
    assert rows is not None
    filled = [number for number, line in enumerate(data.split(b"\n"), 1) if line.strip()][1:]
    assert not filled or (rows and rows[0].line == filled[0])
    assert {row.line for row in rows} <= set(filled)


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 10_000), kind=st.sampled_from(sorted(KINDS)), packing=st.sampled_from(sorted(PACK)))
def test_a_packed_file_cut_anywhere_ends_with_a_fault(cut: int, kind: str, packing: str) -> None:
    packed = PACK[packing](KINDS[kind][1])
    rows = rows_of(kind, packed[: cut % len(packed)], packing)
    assert rows is not None
    assert any(row.fault_at == "the file" for row in rows)
    sound(rows)


@settings(max_examples=150, deadline=None)
@given(damage=DAMAGE, kind=st.sampled_from(sorted(KINDS)), packing=st.sampled_from(sorted(PACK)))
def test_a_damaged_packed_file_is_rows_and_faults(
    damage: list[tuple[int, bytes, int]], kind: str, packing: str
) -> None:
    sound(rows_of(kind, damaged(PACK[packing](KINDS[kind][1]), damage), packing))


@settings(max_examples=60, deadline=None)
@given(damage=DAMAGE)
def test_a_damaged_parquet_file_is_rows_and_faults(damage: list[tuple[int, bytes, int]]) -> None:
    import pyarrow
    from pyarrow import parquet

    held = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"q": [WORDS] * 3, "a": [WORDS] * 3}), held)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.parquet"
        path.write_bytes(damaged(held.getvalue().to_pybytes(), damage))
        made: Source = TypeAdapter(AnySource).validate_python({
            "kind": "pairs", "name": "toy", "files": path.as_posix(), "licence": "CC0", "consent": "made up",
            "question": "q", "answer": "a"})
        try:
            sound(list(made.read()))
        except DataError as error:
            told_nothing(str(error))
