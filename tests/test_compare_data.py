"""Two versions of a dataset: growth moves nothing, and what came, went, moved or shifted is told."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from attunement.artefacts import dialogue_schema, ledger_schema, write_parquet
from attunement.cli import app
from attunement.cli_data import COLUMNS
from attunement.compare_data import Rewritten, _n_words, compare, shift, spread
from attunement.curate import publish
from attunement.errors import DataError
from attunement.records import Dialogue, LedgerRow, Turn
from attunement.sources.base import Row
from curation import curated, harmless, params, row

ROWS = (*map(harmless, range(1, 31)), row("a", "b", "c", line=40))


def published(folder: Path, *rows: Row) -> Path:
    publish(curated(*rows), params(), None, folder)
    return folder


def dialogue(key: str, *texts: str, scores: dict[str, float | None] | None = None, **tags: str) -> Dialogue:
    turns = tuple(Turn(role="assistant" if at % 2 else "user", text=text) for at, text in enumerate(texts or "ab"))
    return Dialogue(id=key, source="toy", licence="CC0-1.0", locale="en", turns=turns, tags=tags, scores=scores or {})


def kept(key: str, line: int) -> LedgerRow:
    return LedgerRow(id=key, seq=0, source="toy", file="toy.jsonl", line=line, action="kept", step="split",
                     rule="split", evidence="train", turn=None, score=None, op="", limit=None, ref=None)


def made(folder: Path, train: tuple[Dialogue, ...], val: tuple[Dialogue, ...] = (),
         ledger: tuple[LedgerRow, ...] | None = None) -> Path:
    for name, dialogues in (("train", train), ("val", val), ("test", ())):
        write_parquet(folder / f"{name}.parquet", dialogues, dialogue_schema())
    if ledger is not None:
        write_parquet(folder / "ledger.parquet", ledger, ledger_schema())
    return folder


def page(first: Path, second: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["compare", "--data", str(first), str(second), *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_growth_moves_no_dialogue_and_changes_no_words(tmp_path: Path) -> None:
    more = [harmless(100 + n) for n in range(20)]
    found = compare(published(tmp_path / "a", *ROWS), published(tmp_path / "b", *more, *ROWS))
    assert (found.both, len(found.only_first), len(found.only_second)) == (30, 0, 20)
    assert not found.moved
    assert not found.changed
    assert not found.rewritten
    assert {(one.before, one.after and one.after[:7]) for one in found.decided or ()} == {(None, "kept in")}


def test_a_version_is_like_itself(tmp_path: Path) -> None:
    folder = published(tmp_path / "a", *ROWS)
    found = compare(folder, folder)
    assert (found.both, found.only_first, found.only_second, found.decided) == (30, [], [], [])
    assert all(shift(values, found.sizes) == 0 for values in found.composition.values())
    assert page(folder, folder).rstrip().endswith("nothing")


def test_what_moved_and_what_was_masked_otherwise_is_told_by_id(tmp_path: Path) -> None:
    one, other, third = dialogue("01"), dialogue("02", "call 5", "so"), dialogue("03")
    first = made(tmp_path / "a", (one, other), (third,))
    second = made(tmp_path / "b", (dialogue("02", "call [phone]", "so"), third), (one,))
    found = compare(first, second)
    assert found.moved == {"01": ("train", "val"), "03": ("val", "train")}
    assert found.changed == ["02"]
    assert "2 moved from one split to another, 1 with other words" in page(first, second)
    assert "call" not in page(first, second) + page(first, second, "--json")


@pytest.mark.parametrize("words", [("a b", "c"), ("a", "b c"), ("b", "a")])
def test_the_same_letters_in_other_turns_are_other_words(tmp_path: Path, words: tuple[str, str]) -> None:
    first = made(tmp_path / "a", (dialogue("01", "a", "b", "c", "d"),))
    assert compare(first, made(tmp_path / "b", (dialogue("01", *words),))).changed == ["01"]


def test_a_line_that_was_rewritten_is_told_and_one_that_moved_down_is_not(tmp_path: Path) -> None:
    first = made(tmp_path / "a", (), ledger=(kept("aa", 1), kept("bb", 2), kept("cc", 3)))
    moved = made(tmp_path / "b", (), ledger=(kept("new", 1), kept("aa", 2), kept("bb", 3), kept("cc", 4)))
    assert compare(first, moved).rewritten == []
    other = made(tmp_path / "c", (), ledger=(kept("aa", 1), kept("b2", 2), kept("cc", 3)))
    assert compare(first, other).rewritten == [Rewritten("toy.jsonl:2", "bb", "b2")]


def test_shares_scores_and_lengths_are_told_with_their_numbers(tmp_path: Path) -> None:
    first = made(tmp_path / "a", (dialogue("01", "a", "one two", scores={"listening": 1.0}, topic="tea"),
                                  dialogue("02", scores={"listening": None}, topic="tea")))
    second = made(tmp_path / "b", (dialogue("01", scores={"listening": 0.5, "toxic": 0.1}, topic="milk"),))
    found = compare(first, second)
    assert found.composition["topic"] == {"milk": (0, 1), "tea": (2, 0)}
    assert shift(found.composition["topic"], found.sizes) == 1
    before, after = found.scores["listening"]
    assert before is not None
    assert after is not None
    assert (before.mean, before.n, before.unscored, after.mean) == (1.0, 1, 1, 0.5)
    assert found.scores["toxic"][0] is None
    words = found.lengths["words of the assistant"]
    assert words[0] is not None
    assert words[0].mean == 1.5
    text = page(first, second)
    assert "milk" in text
    assert "style" not in text  # no dialogue is tagged with one
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_words_are_counted_as_white_space_divides_them() -> None:
    chance = random.Random(5)
    for size in [n % 6 for n in range(300)]:
        texts = ["".join(chance.choices("ab \né", k=chance.randrange(6))) for _ in range(size)]
        column = pa.array(["zz", *texts, "q q"], pa.string()).slice(1, len(texts))
        assert list(_n_words(column)) == [len(text.split()) for text in texts]


def test_without_a_ledger_the_rest_is_still_compared(tmp_path: Path) -> None:
    first = made(tmp_path / "a", (dialogue("01"),))
    assert compare(first, first).decided is None
    assert "no ledger stands beside one of them" in page(first, first)


def test_no_value_is_no_spread() -> None:
    assert spread([None, None]) is None
    assert spread([]) is None


def test_a_folder_that_is_no_version_is_told_with_the_file_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.parquet is missing: expected a folder"):
        compare(tmp_path, tmp_path)
    write_parquet(tmp_path / "train.parquet", [kept("a", 1)], ledger_schema())
    with pytest.raises(DataError, match=r"train\.parquet has no column locale, turns"):
        compare(tmp_path, tmp_path)
    (tmp_path / "train.parquet").write_text("none")
    with pytest.raises(DataError, match="is no Parquet file"):
        compare(tmp_path, tmp_path)


def test_a_dialogue_that_stands_in_two_splits_is_damage(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", (dialogue("01"),), (dialogue("01"),))
    with pytest.raises(DataError, match=r"dialogue 01 stands there twice \(in train and val\)"):
        compare(folder, folder)


def test_for_machines_all_of_it_is_one_object(tmp_path: Path) -> None:
    first, second = published(tmp_path / "a", *ROWS), published(tmp_path / "b", *ROWS[1:])
    (found,) = map(json.loads, page(first, second, "--json").splitlines())
    assert found["sizes"] == [30, 29]
    assert [one["after"] for one in found["decided"]] == ["not read"]
    assert len(found["decided"][0]["ids"]) == 1
    assert set(found["composition"]) == {"split", "source", "locale", "risk", "topic", "style", "tier"}


def test_compare_names_what_is_no_version_and_asks_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no git at all
    done = CliRunner().invoke(app, ["compare", "--data", str(tmp_path), "no-such-revision"])
    assert done.exit_code == 1
    assert "'no-such-revision' is no folder" in done.output
    bare = CliRunner().invoke(app, ["compare", str(tmp_path), str(tmp_path)])
    assert bare.exit_code == 1
    assert "takes --data" in bare.output
