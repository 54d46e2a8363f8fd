"""Readers of corpora: every row comes back, as turns or as the fault that kept it from being read."""

import gzip
import json
from glob import glob
from pathlib import Path

import pytest
import zstandard
from pydantic import TypeAdapter, ValidationError

from attunement.errors import DataError
from attunement.records import Turn
from attunement.sources.base import Row, Source
from attunement.sources.files import matching
from attunement.sources.messages import Messages
from attunement.sources.panel import AnySource
from attunement.sources.sharegpt import conversation_of


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
        (b'{"messages": [{"role": "user", "content": "hi"}], "topic": "tea"}', "an unknown field", "topic"),
        (b'{"messages": [{"role": "user"}]}', "is missing", "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": "hi", "name": "x"}]}', "an unknown field", "messages.0.name"),
        (b'{"messages": [{"role": "bot", "content": "hi"}]}', "declared are system, user", "messages.0.role"),
        (b'{"messages": [{"role": "user", "content": "  "}]}', "is empty", "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": 3}]}', "Expected `str`, got `int`", "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "Invalid JSON", "the line"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', "not UTF-8", "byte 43"),
        (b'{"messages": [{"role": "user", "content": "hi"}], "tags": {"risk": 1}}', "Expected `str`", "tags"),
    ],
)
def test_a_row_that_can_not_be_read_says_why_and_where(tmp_path: Path, line: bytes, fault: str, where: str) -> None:
    (row,) = read(tmp_path, line)
    assert fault in (row.fault or "")
    assert row.fault_at == where
    assert row.turns == ()


def told_of_itself(tmp_path: Path, **about: object) -> Row:
    line = json.loads(messages("hi", "oh")) | about
    (row,) = read(tmp_path, json.dumps(line).encode())
    return row


@pytest.mark.parametrize(
    ("locale", "plain"),
    [("und", "und"), ("en", "en"), ("en-GB", "en-GB"), ("en-Latn-GB", "en-Latn-GB"), ("en_GB", "en-GB"),
     ("en-gb", "en-GB"), ("EN_latn_gb", "en-Latn-GB"), ("UND", "und")],
)
def test_a_locale_is_written_as_bcp_47_writes_it(tmp_path: Path, locale: str, plain: str) -> None:
    row = told_of_itself(tmp_path, locale=locale)
    assert (row.locale, row.fault) == (plain, None)


@pytest.mark.parametrize("locale", ["Kettle Tealeaf", "english", "+44 7700 900123", "en-GB\n", "en-GB-x-kettle", "q9"])
def test_a_locale_of_another_shape_is_a_fault_that_does_not_repeat_it(tmp_path: Path, locale: str) -> None:
    row = told_of_itself(tmp_path, locale=locale)
    assert (row.fault_at, row.turns, row.locale) == ("locale", (), "und")
    assert "BCP 47 tag such as en, en-GB" in (row.fault or "")
    assert locale not in (row.fault or "")


@pytest.mark.parametrize("tags", [{"topic": "tea & cake"}, {"a1_b": ""}, {"x" * 40: "y" * 80}, {"at": "2021-04-02"}])
def test_tags_that_are_labels_are_left(tmp_path: Path, tags: dict[str, str]) -> None:
    row = told_of_itself(tmp_path, tags=tags)
    assert (row.tags, row.fault) == (tags, None)


@pytest.mark.parametrize("key", ["Risk", "kettle tealeaf", "", "1st", "x" * 41, "topic\n", "thé"])
def test_a_tags_key_of_another_shape_is_a_fault_that_does_not_repeat_it(tmp_path: Path, key: str) -> None:
    row = told_of_itself(tmp_path, tags={"topic": "tea", key: "high"})
    assert (row.fault_at, row.turns, row.tags) == ("tags", (), {})
    assert f"got one of {len(key)} characters" in (row.fault or "")
    assert not key or key not in (row.fault or "")


@pytest.mark.parametrize(
    ("value", "wrong"),
    [("t" * 81, "81 characters"), ("tea\ncake", "a line break"), ("tea\u2028cake", "a line break"),
     ("tea of 07700 900123", r"[phone]"), ("ines.k@example.org or @ines.k", r"[email], [handle]")],
)
def test_a_tags_value_that_is_no_label_is_a_fault_that_does_not_repeat_it(
    tmp_path: Path, value: str, wrong: str
) -> None:
    row = told_of_itself(tmp_path, tags={"topic": value}, locale="en-GB")
    assert (row.fault_at, row.turns, row.tags) == ("tags.topic", (), {})
    assert (row.fault or "").endswith(f"got {wrong}")
    assert value not in (row.fault or "")


def test_readers_of_named_fields_are_checked_too_and_what_is_declared_is_at_load(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("session,minute,who,words,topic\na,1,user,x,call 07700 900123\na,2,assistant,y,\n")
    (row,) = of("table", path, tags={"topic": "topic"}, **TABLE)
    assert row.fault_at == "tags.topic"
    with pytest.raises(ValidationError, match="BCP 47"):
        of("table", path, locale="english", **TABLE)
    with pytest.raises(ValidationError, match="pattern"):
        of("table", path, tags={"Topic": "topic"}, **TABLE)


def test_blank_lines_are_no_rows_and_still_count_as_lines(tmp_path: Path) -> None:
    assert [row.line for row in read(tmp_path, b"", messages("hi", "oh"), b"   ", messages("ho", "ah"))] == [2, 4]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_row(tmp_path: Path) -> None:
    rows = read(tmp_path, b"\xef\xbb\xbf" + messages("hi", "oh") + b"\r", messages("ho", "ah") + b"\r")
    assert [row.fault for row in rows] == [None, None]


MARKED = ["utf-8-sig", "utf-16", "utf-32"]


def marked(path: Path, text: str, encoding: str) -> Path:
    """The text in a file that begins with the encoding's byte order mark."""
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", MARKED)
def test_a_file_reads_as_its_byte_order_mark_says_in_every_family_of_readers(tmp_path: Path, encoding: str) -> None:
    line = json.dumps({"messages": [{"role": "user", "content": "café"}, {"role": "assistant", "content": "🫖"}]},
                      ensure_ascii=False)
    table = "session,minute,who,words\n" + "a,1,user,café\na,2,assistant,🫖\n"
    expected = ["user: café", "assistant: 🫖"]
    many = of("messages", marked(tmp_path / "a.jsonl", f"{line}\r\n" * 3, encoding))
    assert [(row.line, said(row)) for row in many] == [(number, expected) for number in (1, 2, 3)]
    (one,) = of("messages", marked(tmp_path / "a.json", f"[{line}]", encoding))
    (gathered,) = of("table", marked(tmp_path / "a.csv", table, encoding), **TABLE)
    (script,) = of("transcript", marked(tmp_path / "a.txt", "User: café\nAssistant: 🫖\n", encoding))
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(line.encode(encoding)))
    (unpacked,) = of("messages", packed)
    assert [said(row) for row in (one, gathered, script, unpacked)] == [expected] * 4


def test_a_file_that_breaks_off_in_utf_16_says_so_and_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes((messages("hi", "oh").decode() + "\n" + "half").encode("utf-16")[:-1])
    *whole, last = of("messages", path)
    assert len(whole) == 1
    assert last.fault == "not whole UTF-16, with whose mark the file begins; save it as UTF-8"


def test_half_of_a_surrogate_pair_in_utf_16_is_a_fault_of_its_line_alone(tmp_path: Path) -> None:
    lines = [messages("\ud83e", "oh").decode().replace("\\ud83e", "\ud83e"), messages("hi", "oh").decode()]
    (tmp_path / "t.jsonl").write_bytes("\n".join(lines).encode("utf-16", "surrogatepass"))
    first, second = of("messages", tmp_path / "t.jsonl")
    assert "not UTF-8" in (first.fault or "")
    assert second.fault is None


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


def test_a_file_that_is_not_there_is_told_with_the_nearest_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/dialogues.jsonl").touch()
    for wrong, near in (("corpus/dialogs.jsonl", "corpus/dialogues.jsonl"), ("corpsu/*.jsonl", "corpus")):
        with pytest.raises(DataError, match=rf"Is it {tmp_path}/{near}\? Correct `files`"):
            list(source(f"{tmp_path}/{wrong}").read())
    with pytest.raises(DataError, match=r"no file matches .*\*\.csv \(curate\.sources in params\.yaml\)\. Correct"):
        list(source(f"{tmp_path}/corpus/*.csv").read())


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.jsonl").write_bytes(messages(name, "oh"))
    assert [Path(row.file).stem for row in source(f"{tmp_path}/*.jsonl").read()] == ["a", "b", "c"]


@pytest.mark.parametrize("field", ["licence", "consent", "name"])
def test_a_source_without_licence_or_consent_is_none(field: str) -> None:
    declared = {"kind": "messages", "name": "toy", "files": "x", "licence": "CC0", "consent": "made up"}
    with pytest.raises(ValidationError, match=field):
        TypeAdapter(AnySource).validate_python({**declared, field: ""})


SAMPLES = Path(__file__).parent / "samples"
DECLARED = {"name": "toy", "licence": "CC0-1.0", "consent": "made up"}


def of(kind: str, files: Path | str, **declared: object) -> list[Row]:
    """The rows of a source as params.yaml would declare it."""
    made: Source = TypeAdapter(AnySource).validate_python({"kind": kind, "files": str(files), **DECLARED, **declared})
    return list(made.read())


def said(row: Row) -> list[str]:
    return [f"{turn.role}: {turn.text}" for turn in row.turns]


def told(rows: list[Row]) -> list[tuple[int, str, str | None]]:
    return [(row.line, row.fault_at, row.fault) for row in rows if row.fault]


@pytest.mark.parametrize("word", ["unknown", "None", "?", "TBD", " "])
@pytest.mark.parametrize("field", ["licence", "consent"])
def test_a_licence_that_says_nothing_is_not_declared(field: str, word: str) -> None:
    with pytest.raises(ValidationError, match="is not declared"):
        TypeAdapter(AnySource).validate_python({"kind": "messages", "files": "x", **DECLARED, field: word})


def test_sharegpt_is_read_with_parts_of_one_conversation_in_one_group() -> None:
    rows = of("sharegpt", SAMPLES / "sharegpt.json", locale="en")
    assert said(rows[0]) == ["user: The kettle is cold.", "assistant: Shall we warm it?"]
    assert [(row.group, row.line, row.locale) for row in rows[:2]] == [("QWJhYvA", 2, "en"), ("QWJhYvA", 3, "en")]
    ((line, at, what),) = told(rows)
    assert (line, at) == (4, "conversations.0.from")
    assert "unknown role" in (what or "")


@pytest.mark.parametrize(("key", "group"), [
    ("QWJhYvA_0", "QWJhYvA"), ("i6IyJda_17", "i6IyJda"), ("hRPPgZT_102", "hRPPgZT"), ("rgx4tq2_0", "rgx4tq2"),
    ("0b1f7c1e-9d3a-4e56-8a1b-2c3d4e5f6a7b_1", "0b1f7c1e-9d3a-4e56-8a1b-2c3d4e5f6a7b"),
    ("conv_0", "conv_0"), ("conversation_59", "conversation_59"), ("Dialogue_4", "Dialogue_4"), ("CHATS_4", "CHATS_4"),
    ("identity_0", "identity_0"), ("train_v2_7", "train_v2_7"), ("a1_0", "a1_0"), ("QWJhYvA", "QWJhYvA"),
    ("QWJhYvA_x", "QWJhYvA_x"), ("_0", "_0"), ("", ""),
])
def test_parts_are_told_by_an_id_and_a_word_that_numbers_a_file_is_none(key: str, group: str) -> None:
    assert conversation_of(key) == group


def test_alpaca_joins_instruction_and_input_and_refuses_an_empty_output() -> None:
    rows = of("alpaca", SAMPLES / "alpaca.json")
    assert said(rows[1]) == ["user: Say it kindly.\n\nGo away.", "assistant: I need a moment alone."]
    assert told(rows) == [(3, "output", "is empty")]


def test_answers_to_one_question_share_a_group() -> None:
    first, second = of("pairs", SAMPLES / "pairs.csv", question="Context", answer="Response")
    assert first.group == second.group != ""
    assert said(second)[1] == 'assistant: You said "cold".'
    declared = of("pairs", SAMPLES / "pairs.csv", question="Context", answer="Response", group="thread")
    assert {row.group for row in declared} == {"a"}


def test_a_column_that_is_not_there_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(DataError, match=r"no column 'Contxt' \(is it 'Context'\?\)"):
        of("pairs", SAMPLES / "pairs.csv", question="Contxt", answer="Response")


def test_esconv_is_read_as_published_and_what_was_mended_is_told() -> None:
    (row,) = of("esconv", SAMPLES / "esconv.json", tags={"topic": "problem_type"})
    assert said(row) == ["user: Hi.\nMy tea is cold.", "assistant: Since when?"]
    assert row.tags == {"topic": "cold tea"}
    assert row.repairs == ("merged 2 turns of one speaker", "dropped 1 leading turn of the assistant",
                           "dropped 1 trailing turn of the user")
    assert [(turn.role, turn.text) for turn in row.unanswered] == [("user", "Bye.")]


def test_esconv_is_read_from_its_splits_and_a_third_speaker_is_a_fault() -> None:
    rows = of("esconv", SAMPLES / "esconv.jsonl")
    assert said(rows[0]) == ["user: My tea is cold.", "assistant: Since when?"]
    assert told(rows)[0][:2] == (2, "dialog.0.speaker")


def test_empathetic_dialogues_have_commas_again_and_a_gap_is_a_fault() -> None:
    rows = of("empathetic_dialogues", SAMPLES / "empathetic_dialogues.csv", tags={"emotion": "context"})
    assert said(rows[0])[0] == 'user: I made tea, "hot" tea.'
    assert len(rows[0].turns) == 4, "a quote is a character, and a line may carry candidates"
    assert (rows[0].group, rows[0].tags) == ("hit:0", {"emotion": "proud"})
    assert told(rows) == [(6, "utterance_idx", "expected 2, got 3")]


def test_counsel_chat_loses_its_html_and_keeps_its_question_together() -> None:
    rows = of("counsel_chat", SAMPLES / "counsel_chat.csv", tags={"topic": "topic"})
    assert said(rows[0]) == ["user: Cold tea?\nMine is cold.\nAlways.", "assistant: Warm it.\nThen drink it."]
    assert said(rows[1])[1] == "assistant: I <3 cold tea."
    assert [(row.line, row.group, row.repairs) for row in rows[:2]] == [
        (2, "4", ("took HTML out of answerText",)), (4, "4", ())]
    assert told(rows) == [(6, "answerText", "holds HTML and no words")]


def test_annomi_reads_each_utterance_once_and_drops_the_therapists_greeting() -> None:
    rows = of("annomi", SAMPLES / "annomi.csv", tags={"quality": "mi_quality"})
    assert said(rows[0]) == ["user: Hi.\nI drink tea.", "assistant: How much?"]
    assert rows[0].repairs[0] == "left out 1 repeats of utterances"
    assert told(rows) == [(7, "utterance_id", "expected 1, got 2")]


def test_a_transcript_maps_declared_names_and_a_line_without_one_is_a_fault() -> None:
    roles = {"Caller": "user", "Helper": "assistant"}
    rows = of("transcript", SAMPLES / "transcript.txt", roles=roles)
    assert said(rows[0]) == ["user: My tea is cold.", "assistant: Since when: today?"]
    assert told(rows) == [(4, "line 5", "a line without a name; declared are Caller, Helper")]
    going_on = of("transcript", SAMPLES / "transcript.txt", roles=roles, continues=True)
    assert said(going_on[1])[0] == "user: Hi.\nand more"


def test_names_that_nobody_declared_do_not_become_words_of_the_other() -> None:
    (first, _) = of("transcript", SAMPLES / "transcript.txt", roles={"Caller": "user"}, continues=True)
    assert first.fault == "one speaker alone; declared are Caller"


TABLE = {"dialogue": "session", "role": "who", "text": "words", "order": "minute"}


def as_parquet(csv_file: Path, to: Path) -> Path:
    from pyarrow import csv, parquet

    parquet.write_table(csv.read_csv(csv_file), to)
    return to


def test_a_table_is_gathered_and_ordered_and_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    rows = of("table", SAMPLES / "table.csv", tags={"topic": "topic"}, **TABLE)
    assert [said(row) for row in rows] == [["user: My tea is cold.", "assistant: Since when?"],
                                           ["user: Hello.", "assistant: Hello you."]]
    packed = of("table", as_parquet(SAMPLES / "table.csv", tmp_path / "t.parquet"), tags={"topic": "topic"}, **TABLE)
    assert [(row.turns, row.tags) for row in packed] == [(row.turns, row.tags) for row in rows]


def test_a_broken_record_makes_a_hole_in_the_dialogues_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("session,minute,who,words\na,1,user,x\na,2\nb,1,user,x\nb,2,assistant,y\nc,1,user,x\n")
    rows = of("table", path, **TABLE)
    assert told(rows) == [
        (2, "the dialogue", "may miss a turn: line 3 beside it can not be read"),
        (3, "the line", "2 columns, expected 4"),
        (4, "the dialogue", "may miss a turn: line 3 beside it can not be read"),
    ]
    assert [row.line for row in rows] == [2, 3, 4, 6]


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        (b"a,1,user,\0x\n", "a NUL byte"),
        (b"a,1,user,\xff\n", "not UTF-8"),
        (b'a,1,user,"x\n', "a quote that never ends"),
        (b'a,1,user,"x"y\n', "a quote in the middle of a field"),
        (b"a,1,user," + b"x" * 140_000 + b"\n", "a field beyond csv.field_size_limit"),
    ],
)
def test_a_damaged_csv_record_is_a_fault_of_its_own(tmp_path: Path, record: bytes, fault: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"session,minute,who,words\n" + record)
    assert told(of("table", path, **TABLE)) == [(2, "the line", fault)]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_packed_lines_read_as_plain_ones_and_a_file_that_breaks_off_says_where(tmp_path: Path, packing: str) -> None:
    plain = b"".join(messages(f"{n} " * 50, "oh") + b"\n" for n in range(400))
    packed = gzip.compress(plain) if packing == ".gz" else zstandard.compress(plain)
    path = tmp_path / f"t.jsonl{packing}"
    path.write_bytes(packed + packed)
    assert [row.fault for row in of("messages", tmp_path)] == [None] * 800
    path.write_bytes(packed[: len(packed) // 2])
    *whole, last = of("messages", tmp_path)
    assert all(row.fault is None for row in whole)
    assert told([last]) == [(len(whole) + 1, "the file", f"the {packing} file breaks off")]


def test_a_parquet_file_that_is_cut_is_one_fault(tmp_path: Path) -> None:
    path = as_parquet(SAMPLES / "table.csv", tmp_path / "t.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    (row,) = of("table", path, **TABLE)
    assert (row.line, row.fault_at) == (1, "the file")


def test_an_array_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes((SAMPLES / "sharegpt.json").read_bytes()[:-60])
    rows = of("sharegpt", path)
    assert [row.line for row in rows] == [2, 3, 4]
    assert told(rows) == [(4, "the file", "not JSON from here on")]


@pytest.mark.parametrize("around", ["", "\n\n"])
def test_in_an_array_on_one_line_each_object_has_its_number_for_a_place(tmp_path: Path, around: str) -> None:
    elements = [messages(f"kettle {number}", "oh").decode() for number in range(3)]
    path = tmp_path / "t.json"
    path.write_text(f"{around}[{', '.join(elements)}]{around}", encoding="utf-8")
    assert [(row.line, said(row)[0]) for row in of("messages", path)] == [
        (1, "user: kettle 0"), (2, "user: kettle 1"), (3, "user: kettle 2")]
    path.write_text(f"[{', '.join(elements)[:-5]}", encoding="utf-8")
    rows = of("messages", path)
    assert [row.line for row in rows] == [1, 2, 3]
    assert told(rows) == [(3, "the file", "not JSON from here on")]


@pytest.mark.parametrize(("gaps", "places"), [
    ((", ", ",\n"), (1, 2, 3)), ((",\n\n", ",\n"), (1, 3, 4)), ((",\n", ", "), (1, 2, 3)),
])
def test_objects_of_an_array_never_share_a_place(
    tmp_path: Path, gaps: tuple[str, str], places: tuple[int, ...]
) -> None:
    elements = [messages(f"kettle {number}", "oh").decode() for number in range(3)]
    path = tmp_path / "t.json"
    text = f"[{elements[0]}{gaps[0]}{elements[1]}{gaps[1]}{elements[2]}]"
    path.write_text(text, encoding="utf-8")
    assert tuple(row.line for row in of("messages", path)) == places
    path.write_text(f"{text[:-1]}, {{", encoding="utf-8")
    *whole, torn = of("messages", path)
    assert [row.line for row in (*whole, torn)] == [1, 2, 3, 4], "where it breaks off is a place too"
    assert torn.fault == "not JSON from here on"


def test_a_folder_gives_the_files_that_the_kind_reads_and_a_list_several(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/b.jsonl", "a.ndjson", "notes.md", ".hidden.jsonl"):
        (tmp_path / name).write_bytes(messages(name, "oh"))
    assert [Path(row.file).name for row in of("messages", tmp_path)] == ["a.ndjson", "b.jsonl"]
    twice = Messages(kind="messages", files=(f"{tmp_path}/a.ndjson", f"{tmp_path}/*.ndjson"), **DECLARED)
    assert len(list(twice.read())) == 1


@pytest.mark.parametrize("files", ["", "/**/*.jsonl", "/**", "/*/*.jsonl", "/*/*/*.jsonl"])
def test_links_that_lead_back_neither_hang_nor_read_a_file_twice(tmp_path: Path, files: str) -> None:
    inside = tmp_path / "corpus/in/deep"
    inside.mkdir(parents=True)
    (inside / "a.jsonl").write_bytes(messages("hi", "oh"))
    (inside.parent / "b.jsonl").write_bytes(messages("ho", "ah"))
    for name in ("x", "y", "z"):  # two ways at each of forty links: `glob` would not live to see the end
        (inside / name).symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus/itself").symlink_to("itself")
    (tmp_path / "corpus/c.jsonl").symlink_to(inside / "a.jsonl")
    read_from = [Path(row.file).name for row in of("messages", f"{tmp_path}/corpus{files}")]
    once = {"/*/*.jsonl": ["b.jsonl"], "/*/*/*.jsonl": ["a.jsonl"]}
    assert read_from == once.get(files, ["b.jsonl", "a.jsonl"])


def test_a_folder_that_is_a_link_is_read(tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "away/a.jsonl").write_bytes(messages("hi", "oh"))
    (tmp_path / "corpus [1]").mkdir()
    (tmp_path / "corpus [1]/linked").symlink_to(tmp_path / "away")
    (tmp_path / "corpus [1]/first").symlink_to(tmp_path / "away")
    assert [row.file for row in of("messages", tmp_path / "corpus [1]")] == [f"{tmp_path}/corpus [1]/first/a.jsonl"]


@pytest.mark.parametrize("pattern", [
    "*.jsonl", "**/*.jsonl", "**", "in/**", "in/**/*.jsonl", "**/in/*", "*/*", "**/d??p/**/*", "[ai]*", ".h*", "none/*",
    "in/a.jsonl", "**/**/*.txt", "in/.hidden/*", "**/*in*", "", "in", "../corpus/*.jsonl",
])
def test_a_glob_matches_what_the_standard_one_does_where_no_link_is(tmp_path: Path, pattern: str) -> None:
    for name in ("a.jsonl", "in/a.jsonl", "in/deep/b.jsonl", "in/deep/er/c.txt", ".hid.jsonl", "in/.hidden/d.jsonl"):
        (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "corpus" / name).touch()
    whole = f"{tmp_path}/corpus/{pattern}"
    expected = sorted({path for name in glob(whole, recursive=True) if (path := Path(name)).is_file()})  # noqa: PTH207
    assert matching(whole) == expected


def test_extra_keys_are_read_when_declared_and_may_group(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(messages("hi", "oh")[:-1] + b', "thread": 4}\n' + messages("hi", "oh")[:-1] + b', "x": 4}\n')
    first, second = of("messages", path, extra=("thread",), group="thread")
    assert (first.group, first.fault) == ("4", None)
    assert (second.fault, second.fault_at) == ("an unknown field", "x")


def test_a_saved_dataset_is_read_by_its_turns_or_its_pairs(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    turns = [[{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Oh."}], []]
    saved = datasets.Dataset.from_dict({"messages": turns, "q": ["Hi.", "Ho."], "a": ["Oh.", None], "n": [1, 2]})
    datasets.DatasetDict({"train": saved}).save_to_disk(tmp_path / "d")
    rows = of("huggingface", tmp_path / "d", split="train", turns="messages", group="n")
    assert (said(rows[0]), rows[0].group) == (["user: Hi.", "assistant: Oh."], "1")
    assert told(rows) == [(2, "messages", "expected at least 1 turn")]
    pairs = of("huggingface", tmp_path / "d", split="train", prompt="q", response="a")
    assert told(pairs) == [(2, "a", "is empty")]
    with pytest.raises(DataError, match="has no split 'test'"):
        of("huggingface", tmp_path / "d", split="test", prompt="q", response="a")
    with pytest.raises(DataError, match="can not be read"):
        of("huggingface", tmp_path / "none", prompt="q", response="a")


def test_a_hub_dataset_needs_its_commit() -> None:
    declared = {"kind": "huggingface", **DECLARED, "hub": "owner/name", "split": "train", "turns": "messages"}
    with pytest.raises(ValidationError, match="needs its revision"):
        TypeAdapter(AnySource).validate_python(declared)
    with pytest.raises(ValidationError, match="revision"):
        TypeAdapter(AnySource).validate_python({**declared, "revision": "main"})
