"""Curation: every row is accounted for with a rule, no word leaves the dialogues, and equal input gives equal bytes."""

import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from attunement import curate as stage
from attunement.artefacts import manifest_of, read_parquet, verify
from attunement.cli import app
from attunement.curate import Curated, check_quarantine, check_splits, curate, publish
from attunement.errors import DataError
from attunement.params import load
from attunement.records import Dialogue, LedgerRow, Turn, content_id, turns_id
from attunement.runner import running
from attunement.score_cache import ScoreCache
from attunement.sources.base import Row
from attunement.steps.asking import Work
from curation import REFERRAL, as_line, curated, harmless, params, row, source, write

ROOT = Path(__file__).resolve().parents[1]
TOY = (ROOT / "tests/toy/params.yaml").read_text(encoding="utf-8").replace("@SHA256@", "0" * 64).replace(
    '"@ENCODER_SHA256@"', f'{{config.json: "{"0" * 64}"}}')


def decisions(done: Curated) -> list[tuple[str, str, str]]:
    return [(entry.action, entry.rule, entry.evidence) for entry in done.ledger]


def kept(done: Curated) -> list[Dialogue]:
    return [dialogue for dialogues in done.splits.values() for dialogue in dialogues]


BROKEN = Row(file="toy.jsonl", line=9, fault="not UTF-8", fault_at="byte 3")


@pytest.mark.parametrize(
    ("given", "rule", "evidence"),
    [
        (BROKEN, "unreadable", "byte 3: not UTF-8"),
        (row("a", "b", roles="au"), "roles", "turn 0: expected user, got assistant"),
        (row("a", "b", "c", roles="uua"), "roles", "turn 1: expected assistant, got user"),
        (row("a", "b", "c"), "roles", "the last turn is not the assistant's"),
        (row("a", "b", "c", "d", roles="uasa"), "roles", "a system turn after the first turn"),
        (row("a", roles="s"), "roles", "the last turn is not the assistant's"),
        (row("a", "b"), "turns", "2 turns, expected 4 to 6"),
        (row(*"abcdefgh"), "turns", "8 turns, expected 4 to 6"),
        (row(*"abcd", risk="severe"), "tags", "a tag `risk` must be one of none, passive, active, imminent."),
    ],
)
def test_a_row_that_is_no_dialogue_is_quarantined_with_its_rule(given: Row, rule: str, evidence: str) -> None:
    done = curated(given, min_turns=4)
    assert decisions(done) == [("quarantined", rule, evidence)]
    assert kept(done) == []


def test_an_unknown_kind_of_risk_is_quarantined_with_the_known_ones() -> None:
    ((action, rule, evidence),) = decisions(curated(row("a", "b", risk="active", risk_kind="gloom")))
    assert (action, rule) == ("quarantined", "tags")
    assert "`risk_kind` must be one of suicide, " in evidence


def test_every_row_read_is_kept_dropped_or_quarantined() -> None:
    done = curated(*map(harmless, range(20)), harmless(3), row("I want to die.", "Oh."), BROKEN, row("a", "b", "c"))
    assert done.counts() == {"read": 24, "kept": 20, "dropped": 2, "quarantined": 2}
    assert len(kept(done)) == 20


def test_a_system_turn_of_the_source_is_left_out_and_told() -> None:
    done = curated(row("You are kind.", "Hello.", "Hello you.", roles="sua"))
    assert [(e.action, e.rule) for e in done.ledger] == [("changed", "system_turn_removed"), ("kept", "split")]
    assert [e.seq for e in done.ledger] == [0, 1]
    (dialogue,) = kept(done)
    assert [turn.role for turn in dialogue.turns] == ["user", "assistant"]
    assert {entry.id for entry in done.ledger} == {dialogue.id} == {turns_id(dialogue.turns)}
    assert done.counts()["read"] == 1


@pytest.mark.parametrize("again", ["The  KETTLE\tsings.", "the kettle sings."])
def test_a_duplicate_but_for_case_and_space_is_dropped_and_names_the_first(again: str) -> None:
    done = curated(row("The kettle sings.", "It does."), row(again, "It does.", line=2))
    (dropped,) = [entry for entry in done.ledger if entry.action == "dropped"]
    assert (dropped.rule, dropped.ref) == ("exact_duplicate", kept(done)[0].id)
    assert len(kept(done)) == 1


def test_a_duplicate_beneath_another_system_prompt_is_a_duplicate() -> None:
    done = curated(row("Hello.", "Hello you."), row("Be kind.", "Hello.", "Hello you.", roles="sua", line=2))
    assert sorted(rule for _, rule, _ in decisions(done)) == ["exact_duplicate", "split", "system_turn_removed"]


def test_equal_words_by_other_speakers_are_no_duplicate() -> None:
    assert len(kept(curated(row("a", "b", "c", "d"), row("a\nassistant:b", "b", "c", "d", line=2)))) == 2


def test_a_dialogue_keeps_its_split_when_others_come_or_go() -> None:
    def splits(*rows: Row) -> dict[str, str]:
        return {d.id: name for name, dialogues in curated(*rows).splits.items() for d in dialogues}

    few, many = splits(*map(harmless, range(30))), splits(*map(harmless, range(59, -1, -1)))
    assert few == {key: many[key] for key in few}
    assert set(many.values()) == {"train", "val", "test"}


def test_a_dialogue_lies_in_one_split_and_the_shares_are_near_those_declared() -> None:
    done = curated(*map(harmless, range(1000)), val_frac=0.2, test_frac=0.1)
    sizes = [len(done.splits[name]) for name in ("train", "val", "test")]
    assert sum(sizes) == 1000
    assert sizes == pytest.approx([700, 200, 100], abs=45)


@pytest.mark.parametrize("amount", [5, 12])
def test_of_more_dialogues_than_declared_a_sample_is_taken_and_the_ledger_says_of_each(amount: int) -> None:
    rows = [harmless(i) for i in range(30)]
    done = curated(*rows, dialogues=amount)
    assert sum(len(dialogues) for dialogues in done.splits.values()) == amount
    assert done.counts() == {"read": 30, "kept": amount, "dropped": 30 - amount, "quarantined": 0}
    dropped = [entry for entry in done.ledger if entry.action == "dropped"]
    assert {(entry.rule, entry.evidence) for entry in dropped} == {
        ("not_in_sample", f"{amount} of 30, curate.dialogues")}
    again = curated(*rows[::-1], dialogues=amount)
    assert again.splits == done.splits


def test_splits_are_sorted_by_id_and_the_ledger_by_place() -> None:
    done = curated(*map(harmless, (5, 3, 9, 1)))
    assert [entry.line for entry in done.ledger] == [1, 3, 5, 9]
    for dialogues in done.splits.values():
        assert [d.id for d in dialogues] == sorted(d.id for d in dialogues)


def test_too_much_quarantine_is_an_error_that_names_file_and_line() -> None:
    done = curated(*map(harmless, range(9)), row("a", "b", "c", line=12, risk="none"))
    check_quarantine(done, 0.1)
    with pytest.raises(DataError, match=r"1 of 10 rows are broken \(10\.0%\)") as caught:
        check_quarantine(done, 0.09)
    assert "toy.jsonl:12  roles: the last turn is not the assistant's" in str(caught.value)


def test_nothing_left_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match="no dialogue is left for: train, val"):
        check_splits(curated(row("a", "b", "c")))


def test_sources_without_a_row_are_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match=r"no row was read: the files of curate\.sources are empty\."):
        check_splits(curated())


def test_a_corpus_that_is_one_group_is_told_its_size_and_where_it_begins() -> None:
    rows = [replace(harmless(number), group="all") for number in range(1, 31)]
    with pytest.raises(DataError, match=r"Fit are 30 dialogues in 1 groups.* has 30 and begins at toy\.jsonl:1:"):
        check_splits(curated(*rows))


def words_of(*rows: Row) -> set[str]:
    return {word.casefold() for one in rows for turn in one.turns for word in re.findall(r"\w{6,}", turn.text)}


def test_no_word_of_a_dialogue_stands_in_the_ledger_the_summary_or_the_datasheet(tmp_path: Path) -> None:
    rows = [
        row("My marigolds wither; I want to kill myself.", "Marigolds, yes. Sorrowful."),
        row("Marigolds wither.", "Wither they must.", line=2),
        row("MARIGOLDS wither.", "Wither they must.", line=3),
        row("Sorrowful marigolds.", "Marigolds?", "Yesterday.", line=4),
        row("Yonder grows heather.", REFERRAL, line=5),
        row("Behave yourself.", "Yesterday.", "Sorrowful.", roles="sua", line=6),
    ]
    publish(curated(*rows), params(), None, tmp_path / "out")
    told = "".join(entry.model_dump_json() for entry in read_parquet(tmp_path / "out/ledger.parquet", LedgerRow))
    names = ("summary.json", "datasheet.md", "croissant.json")
    told += "".join((tmp_path / "out" / name).read_text(encoding="utf-8") for name in names)
    # Words of our own sentences ("person", "doctor") would be found by chance; those of the toys are not among them.
    found = words_of(*rows) & {word.casefold() for word in re.findall(r"\w+", told)}
    assert len(words_of(*rows)) > 10
    assert not found


def project(folder: Path, *rows: Row, **replaced: str) -> Path:
    """A project with the toy's parameters and a source's files of its own."""
    (folder / "data/sources/attunement").mkdir(parents=True)
    (folder / "data/resources").symlink_to(ROOT / "data/resources")
    for name in ("suites", "LABELLING.md"):
        (folder / "data" / name).symlink_to(ROOT / "data" / name)
    (folder / "data/tasks").symlink_to(ROOT / "data/tasks")
    text = TOY.replace("min_turns: 4", "min_turns: 2")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    write(folder / "data/sources/attunement/toy.jsonl", *rows)
    return folder


def test_a_run_of_the_stage_publishes_all_that_was_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path, *map(harmless, range(40))))
    stage.main()
    out = verify(Path("out/curate"))
    sizes = {name: len(read_parquet(out / f"{name}.parquet", Dialogue)) for name in ("train", "val", "test")}
    assert sum(sizes.values()) == len(read_parquet(out / "ledger.parquet", LedgerRow)) == 40
    assert "read 40, kept 40, dropped 0, quarantined 0" in capsys.readouterr().err


def test_a_broken_row_ends_the_stage_with_its_place_and_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*map(harmless, range(20)), row("The lilies are white.", "They are.", risk="severe")]
    monkeypatch.chdir(project(tmp_path, *rows))
    with pytest.raises(SystemExit) as ended:
        stage.main()
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "data/sources/attunement/toy.jsonl:21  tags: a tag `risk` must be one of none" in told
    assert "lilies" not in told
    assert not Path("out/curate").exists()


def test_the_ledger_of_a_run_that_was_stopped_can_be_asked_until_one_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [*map(harmless, range(20)), harmless(3), row("The lilies are white.", "They are.", risk="severe")]
    monkeypatch.chdir(project(tmp_path, *rows))
    with pytest.raises(SystemExit):
        stage.main()
    told = capsys.readouterr().err
    assert "Rows of this run: read 22, kept 20, dropped 1, quarantined 1." in told
    assert "1  dropped by duplicates: exact_duplicate\n" in told
    assert "1  quarantined by form: tags\n" in told
    assert "`attune ledger --at out/curate.failed`" in told
    asked = CliRunner().invoke(app, ["ledger", "--at", "out/curate.failed", "--show", "tags"])
    assert "toy.jsonl:22" in asked.output
    bare = CliRunner().invoke(app, ["ledger"])
    assert "The last run was stopped: `attune ledger --at out/curate.failed` answers for it." in bare.output
    write(Path("data/sources/attunement/toy.jsonl"), *rows[:-1])
    stage.main()
    assert [path.name for path in Path("out").iterdir()] == ["curate"]


def test_a_source_of_which_no_row_was_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path, *map(harmless, range(40))))
    Path("empty.jsonl").touch()
    other = ("    - {kind: messages, name: other, files: empty.jsonl, licence: CC0-1.0, consent: made up}\n"
             "  helplines: &helplines")
    text = Path("params.yaml").read_text(encoding="utf-8").replace("  helplines: &helplines", other, 1)
    Path("params.yaml").write_text(text, encoding="utf-8")
    stage.main()
    told = capsys.readouterr().err
    assert "curate: source 'other' has files, and no row was read from them\n" in told
    assert "source 'attunement'" not in told


def test_pairs_that_a_rule_about_turns_takes_whole_are_told_with_the_setting_that_lets_them_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path, *(row(*harmless_texts(number), line=number) for number in range(40))))
    pairs = "".join(f"Is pot {number} warm?,Pot {number} may be. Feel it.\n" for number in range(9))
    Path("pairs.csv").write_text(f"q,a\n{pairs}", encoding="utf-8")
    declared = ("    - {kind: pairs, name: mine, files: pairs.csv, licence: CC0-1.0, consent: made up, question: q, "
                "answer: a}\n  helplines: &helplines")
    text = TOY.replace("  helplines: &helplines", declared, 1)
    Path("params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit):
        stage.main()
    told = capsys.readouterr().err
    why = ("Nothing is left of source 'mine': all its 9 rows were quarantined by form: turns (2 turns, expected 4 to "
           "20), the first at pairs.csv:2. The step's settings (curate.steps): min_turns: 4, max_turns: 20. If you "
           "want dialogues of 2 turns of this source, add to the step `overrides: {mine: {min_turns: 2}}`.")
    assert f"\n{why}\n" in told
    text = text.replace("max_quarantined_frac: 0.0", "max_quarantined_frac: 0.5")
    Path("params.yaml").write_text(text, encoding="utf-8")
    stage.main()
    assert f"curate: {why}\n" in capsys.readouterr().err
    text = text.replace("min_turns: 4,", "min_turns: 4, overrides: {mine: {min_turns: 2}},")
    Path("params.yaml").write_text(text, encoding="utf-8")
    stage.main()
    told = capsys.readouterr().err
    assert "Nothing is left" not in told
    assert "quarantined 0" in told


def harmless_texts(number: int) -> tuple[str, ...]:
    """Two exchanges unlike any other number's."""
    return (f"Kettle {number} sings.", f"What does kettle {number} sing?", f"Song {number * 7}.", f"Of tea {number}?")


def test_an_empty_glob_ends_the_stage_with_the_name_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path))
    Path("data/sources/attunement/toy.jsonl").unlink()
    with pytest.raises(SystemExit):
        stage.main()
    assert "source 'attunement': no file matches data/sources/attunement/*.jsonl" in capsys.readouterr().err


def test_equal_input_gives_equal_bytes_in_another_process(tmp_path: Path) -> None:
    rows = [*map(harmless, range(40)), row("I want to kill myself.", REFERRAL, topic="tea", risk="active", style="x")]
    manifests = []
    for seed in ("0", "1"):
        folder = project(tmp_path / seed, *rows)
        subprocess.run(
            [sys.executable, "-m", "attunement.curate"],
            cwd=folder,
            check=True,
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        manifests.append(manifest_of(folder / "out/curate"))
    assert manifests[0] == manifests[1]
    assert len(manifests[0]) == 9


def test_a_dialogues_id_is_a_hash_of_its_words_alone() -> None:
    one, two = kept(curated(harmless(1))), kept(curated(replace(harmless(1), line=7, locale="en-GB")))
    assert one[0].id == two[0].id
    assert len(one[0].id) == 16


def test_the_shipped_corpus_gives_sixty_dialogues_or_more_each_alternating_and_licensed() -> None:
    declared = load(ROOT / "params.yaml").curate
    cheap = tuple(step for step in declared.steps if not step.asks and step.kind != "tiers")
    rows = []
    for given in declared.sources:
        placed = given.model_copy(update={"files": (ROOT / given.files).as_posix()})
        rows += [(given, one) for one in placed.read()]
    with running(declared.engine) as runner:
        done = curate(declared.model_copy(update={"steps": cheap}), rows, Work(runner, ScoreCache(None)))
    check_quarantine(done, declared.max_quarantined_frac)
    check_splits(done)
    assert len(kept(done)) >= 60
    for dialogue in kept(done):
        roles = [turn.role for turn in dialogue.turns]
        assert roles == ["user", "assistant"] * (len(roles) // 2), dialogue.id
        assert dialogue.licence == "CC-BY-4.0"


def test_a_row_reads_back_from_its_line_as_it_was(tmp_path: Path) -> None:
    given = row("The kettle — “sings”.", "It does.", risk="none")
    path = write(tmp_path / "toy.jsonl", given)
    (back,) = source(path.as_posix()).read()
    assert back.turns == given.turns
    assert hashlib.sha256(as_line(back).encode()).digest() == hashlib.sha256(as_line(given).encode()).digest()


def test_an_id_is_the_hash_of_canonical_json_whatever_signs_are_said() -> None:
    signs = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    assert turns_id([Turn(role="user", text=signs)]) == content_id([["user", signs]])
