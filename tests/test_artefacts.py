"""Artefacts: published whole or not at all, read back as written, refused when changed, and silent about words."""

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from attunement.artefacts import (
    dialogue_schema,
    ledger_schema,
    manifest_of,
    publishing,
    put_all_back,
    read_json,
    read_jsonl,
    read_parquet,
    verify,
    write_json,
    write_jsonl,
    write_parquet,
    write_text,
)
from attunement.errors import DataError, IntegrityError, ends_clearly
from attunement.records import Bench, Dialogue, LedgerRow, Turn

BENCH = Bench(task="toy", version="1", metric="acc", value=0.5, stderr=None, n=4)


def published(folder: Path, text: str = "first") -> Path:
    with publishing(folder) as partial:
        write_text(partial / "a.txt", text)
        write_text(partial / "deep/b.txt", text)
    return folder


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


def dialogues() -> list[Dialogue]:
    turns = (Turn(role="user", text="the kettle — “sings”\n🫖"), Turn(role="assistant", text="It does."))
    tags: list[dict[str, str]] = [{"topic": "tea", "risk": "none"}, {}, {"z": "1", "a": "2"}]
    return [
        Dialogue(
            id=f"d{i}",
            source="toy",
            licence="CC0",
            locale="en-GB",
            turns=turns,
            tags=given,
            scores={"linear": None, "a": 0.1},
        )
        for i, given in enumerate(tags)
    ]


def test_a_published_folder_is_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    out = published(tmp_path / "out")
    assert verify(out) == out
    assert set(json.loads((out / "manifest.json").read_text())) == {"a.txt", "deep/b.txt"}
    assert beside(out) == ["out"]


def interrupted_after_writing(partial: Path) -> None:
    write_text(partial / "a.txt", "second")
    raise KeyboardInterrupt


def test_an_exception_while_writing_leaves_the_old_folder_and_no_partial_one(tmp_path: Path) -> None:
    out = published(tmp_path / "out")
    before = manifest_of(out)
    with pytest.raises(KeyboardInterrupt), publishing(out) as partial:
        interrupted_after_writing(partial)
    assert manifest_of(out) == before
    assert verify(out) == out
    assert beside(out) == ["out"]


def test_a_new_folder_replaces_the_old_one_entirely(tmp_path: Path) -> None:
    out = published(tmp_path / "out")
    with publishing(out) as partial:
        write_text(partial / "c.txt", "second")
    assert list(manifest_of(verify(out))) == ["c.txt"]


def test_what_a_killed_process_left_in_the_partial_folder_is_not_published(tmp_path: Path) -> None:
    (tmp_path / ".out.partial").mkdir()
    (tmp_path / ".out.partial/stale.txt").write_text("stale")
    assert "stale.txt" not in manifest_of(published(tmp_path / "out"))
    assert beside(tmp_path / "out") == ["out"]


KILLED = """
import os, sys
from pathlib import Path
from attunement.artefacts import publishing
with publishing(Path(sys.argv[1])) as partial:
    (partial / "stale.txt").write_text("stale")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_run_leaves_its_partial_folder_and_the_next_one_removes_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert done.returncode == -9
    (left,) = beside(out)
    assert left.startswith(".out.partial-")
    published(out)
    assert beside(out) == ["out"]


def test_of_two_runs_at_once_neither_takes_the_others_folder_and_the_last_to_end_stands(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with publishing(out) as longer:
        write_text(longer / "a.txt", "longer")
        with publishing(out) as shorter:
            write_text(shorter / "b.txt", "shorter")
        assert list(manifest_of(verify(out))) == ["b.txt"]
    assert list(manifest_of(verify(out))) == ["a.txt"]
    assert beside(out) == ["out"]


def test_many_runs_that_end_together_publish_one_whole_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: published(out, f"run {number}"), range(40)))
    assert len({(verify(out) / name).read_text() for name in ("a.txt", "deep/b.txt")}) == 1
    assert beside(out) == ["out"]


def killed_between_renames(out: Path) -> None:
    """What a kill -9 between the two renames of a publication leaves behind."""
    published(out)
    out.rename(out.parent / f".{out.name}.previous")
    published(out.parent / "other", "second").rename(out.parent / f".{out.name}.partial")


def test_a_kill_between_the_two_renames_loses_nothing_for_a_reader(tmp_path: Path) -> None:
    killed_between_renames(tmp_path / "out")
    assert (verify(tmp_path / "out") / "a.txt").read_text() == "first"


def test_a_kill_between_the_two_renames_loses_nothing_for_a_writer_that_fails(tmp_path: Path) -> None:
    out = tmp_path / "out"
    killed_between_renames(out)
    with pytest.raises(ValueError, match="toy"), publishing(out):
        raise ValueError("toy")
    assert (verify(out) / "a.txt").read_text() == "first"


def test_all_folders_that_a_kill_moved_away_are_put_back_for_one_who_lists_them(tmp_path: Path) -> None:
    killed_between_renames(tmp_path / "step-1")
    published(tmp_path / "step-2")
    put_all_back(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("step-*")) == ["step-1", "step-2"]
    put_all_back(tmp_path / "nothing here")


def test_all_that_is_published_is_forced_to_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: set[str] = set()
    fsync = os.fsync

    def noting(opened: int) -> None:
        forced.add(str(Path(f"/proc/self/fd/{opened}").readlink()))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", noting)
    with publishing(tmp_path / "out") as partial:
        (partial / "weights").mkdir()
        (partial / "weights/by a library").write_bytes(b"that does not force it")
    inside = {str(partial / name) for name in ("weights", "weights/by a library", "manifest.json")}
    assert {*inside, str(partial), str(tmp_path)} <= forced


def test_an_output_that_was_removed_on_purpose_does_not_come_back(tmp_path: Path) -> None:
    published(tmp_path / "out").rename(tmp_path / ".out.previous")
    with pytest.raises(IntegrityError, match="has no manifest"):
        verify(tmp_path / "out")


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, rename = published(tmp_path / "out"), Path.rename

    def fails_for_partial(self: Path, target: Path) -> Path:
        if self.name.startswith(".out.partial"):
            raise OSError(errno.EIO, "toy")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails_for_partial)
    with pytest.raises(OSError, match="toy"):
        published(out, "second")
    assert (verify(out) / "a.txt").read_text() == "first"
    assert beside(out) == ["out"]


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda out: (out / "a.txt").write_text("edited"), "a.txt"),
        (lambda out: (out / "deep/b.txt").unlink(), "deep/b.txt"),
        (lambda out: (out / "extra.txt").write_text("extra"), "extra.txt"),
        (lambda out: (out / "deep/manifest.json").write_text("{}"), "deep/manifest.json"),
        (lambda out: (out / "deep/.gitignore").write_text("*"), "deep/.gitignore"),
    ],
)
def test_a_file_changed_missing_or_extra_is_named(tmp_path: Path, harm: Any, named: str) -> None:
    out = published(tmp_path / "out")
    harm(out)
    with pytest.raises(IntegrityError, match=rf"changed, missing or extra: {named}\)"):
        verify(out)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a.txt": 1}'])
def test_a_damaged_manifest_is_an_error_that_says_what_to_do(tmp_path: Path, text: str) -> None:
    out = published(tmp_path / "out")
    (out / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"is damaged.*dvc repro"):
        verify(out)


def full_disk(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_a_full_disk_ends_with_one_message_and_the_old_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str, number: int
) -> None:
    out = published(tmp_path / "out")
    full_disk(monkeypatch, number)

    @ends_clearly
    def main() -> None:
        with publishing(out) as partial:
            if kind == "text":
                write_text(partial / "a.txt", "second")
            else:
                write_parquet(partial / "a.parquet", dialogues(), dialogue_schema())

    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "the disk is full" in (told := capsys.readouterr().err)
    assert "Nothing half-made was published" in told
    assert (verify(out) / "a.txt").read_text() == "first"
    assert beside(out) == ["out"]


def test_a_number_that_is_none_enters_no_artefact(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(ValidationError, match="finite"):
        Bench(task="toy", version="1", metric="acc", value=float("inf"), stderr=None, n=4)


def test_records_come_back_from_json_and_json_lines_as_they_were(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", BENCH)
    write_jsonl(tmp_path / "a.jsonl", [BENCH, BENCH])
    assert read_json(tmp_path / "a.json", Bench) == BENCH
    assert read_jsonl(tmp_path / "a.jsonl", Bench) == [BENCH, BENCH]


def test_a_broken_line_is_named_by_file_line_and_field_and_not_by_its_value(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = BENCH.model_dump_json()
    path.write_text(good + "\n" + good.replace('"n":4', '"n":"kettle"') + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:2 is not a Bench: n: ") as caught:
        read_jsonl(path, Bench)
    assert "kettle" not in str(caught.value)


def test_words_that_were_taken_for_a_key_are_not_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"the kettle sings to me at night": 1}\n', encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_jsonl(path, Turn)
    assert "kettle" not in str(caught.value)


def test_bytes_that_are_not_utf_8_are_an_error_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(BENCH.model_dump_json().encode() + b'\n{"task": "\xff"}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:2"):
        read_jsonl(path, Bench)


@pytest.mark.parametrize("read", [read_json, read_jsonl, read_parquet])
def test_a_missing_file_says_what_makes_it(tmp_path: Path, read: Any) -> None:
    with pytest.raises(DataError, match=r"a\.x is missing\. Run `dvc repro`"):
        read(tmp_path / "a.x", Bench)


def test_dialogues_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", dialogues(), dialogue_schema())
    assert read_parquet(tmp_path / "a.parquet", Dialogue) == dialogues()
    write_parquet(tmp_path / "none.parquet", [], dialogue_schema())
    assert read_parquet(tmp_path / "none.parquet", Dialogue) == []


def test_a_ledger_comes_back_from_parquet_with_its_nulls(tmp_path: Path) -> None:
    row = LedgerRow(
        id="a", seq=0, source="toy", file="f", line=3, action="dropped", step="s", rule="r", evidence="e", turn=None,
        score=None, op="<", limit=1.0, ref=None,
    )
    write_parquet(tmp_path / "a.parquet", [row], ledger_schema())
    assert read_parquet(tmp_path / "a.parquet", LedgerRow) == [row]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", dialogues(), dialogue_schema())
    write_parquet(tmp_path / "b.parquet", dialogues(), dialogue_schema())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("content", [b"", b"not parquet at all"])
def test_a_file_that_is_no_parquet_of_its_kind_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match="does not hold Dialogue records"):
        read_parquet(tmp_path / "a.parquet", Dialogue)


def test_parquet_of_another_record_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", dialogues(), dialogue_schema())
    with pytest.raises(DataError, match="does not hold LedgerRow records"):
        read_parquet(tmp_path / "a.parquet", LedgerRow)
