"""The ledger answers: how many, why, show me, what changed, what if; and no answer holds a word of a dialogue."""

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from attunement import ledger as questions
from attunement.artefacts import ledger_schema, score_schema, write_parquet
from attunement.cli import app
from attunement.cli_data import COLUMNS, aligned, version
from attunement.curate import publish
from attunement.errors import DataError
from attunement.records import DialogueScore, LedgerRow
from attunement.sources.base import Row
from curation import curated, harmless, params, row, write

SCORED = {"kind": "score", "scorer": {"kind": "linear", "threshold": 0.8}, "on": "replies", "take": "max",
          "drop_at_least": 0.8, "drop_below": None}
ROWS = (*map(harmless, range(1, 12)), row("Kettle 3 sings.", "What does kettle 3 sing?", line=20),
        row("I want to kill myself.", "Peppermint.", line=21), row("a", "b", "c", line=22),
        row("Good evening.", "You are a fucking idiot.", line=23))


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("curated") / "one", *ROWS)


def published(folder: Path, *rows: Row) -> Path:
    declared = params()
    steps = params(steps=(*[step.model_dump(mode="json") for step in declared.steps], SCORED)).steps
    done = curated(*rows, steps=tuple(step.model_dump() for step in steps))
    publish(done, declared.model_copy(update={"steps": steps}), None, folder)
    return folder


def note(key: str, action: str, step: str, rule: str, *, seq: int = 0, line: int = 1, **more: Any) -> LedgerRow:
    """A row of a ledger made by hand."""
    told = {"source": "toy", "file": "data/toy.jsonl", "evidence": "", "turn": None, "score": None, "op": "",
            "limit": None, "ref": None} | more
    return LedgerRow(id=key, seq=seq, line=line, action=action, step=step, rule=rule, **told)  # type: ignore[arg-type]


def kept(key: str, line: int = 1, **more: Any) -> LedgerRow:
    return note(key, "kept", "split", "split", line=line, **{"evidence": "train"} | more)


def beyond(key: str, score: float, line: int = 1, *, op: str = ">=", limit: float = 0.8, **more: Any) -> LedgerRow:
    return note(key, "dropped", "score", "toxic", line=line, score=score, op=op, limit=limit, **more)


def made(
    folder: Path, *rows: LedgerRow, scores: dict[str, float | None] | None = None, scorer: str = "toxic"
) -> Path:
    write_parquet(folder / "ledger.parquet", rows, ledger_schema())
    given = [DialogueScore(id=key, scorer=scorer, version="1", value=value) for key, value in (scores or {}).items()]
    write_parquet(folder / "scores.parquet", given, score_schema())
    return folder


def told(at: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["ledger", "--at", str(at), *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def refused(at: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["ledger", "--at", str(at), *arguments])
    assert done.exit_code == 1, done.output
    return " ".join(done.output.split())


def test_the_parts_add_up_and_every_rule_is_counted_with_rows_and_decisions(at: Path) -> None:
    lines = told(at).splitlines()
    assert lines[0] == "15 read = 11 kept + 3 dropped + 1 quarantined"
    found = [line.split() for line in lines]
    assert ["toy", "dropped", "referral", "crisis_without_safe_referral", "1", "1"] in found
    assert ["toy", "dropped", "score", "linear", "1", "1"] in found
    assert ["toy", "quarantined", "form", "roles", "1", "1"] in found


def test_a_row_in_which_two_things_were_masked_is_one_row_and_two_decisions(tmp_path: Path) -> None:
    made(tmp_path, note("a", "changed", "pii", "email"), note("a", "changed", "pii", "email", seq=1), kept("a", seq=2))
    (masked,) = [one for one in questions.counts(questions.read(tmp_path)) if one.action == "changed"]
    assert (masked.rows, masked.decisions) == (1, 2)
    assert questions.totals(questions.read(tmp_path)) == {"read": 1, "kept": 1, "dropped": 0, "quarantined": 0}


@pytest.mark.parametrize(
    "rows",
    [
        (kept("a"), kept("a", seq=1)),
        (note("a", "changed", "repair", "text"), kept("b", line=2)),
        (kept("a"), note("b", "flagged", "duplicates", "template", line=2)),
    ],
)
def test_an_account_with_no_end_or_two_is_damage_that_names_its_place(
    tmp_path: Path, rows: tuple[LedgerRow, ...]
) -> None:
    assert "the ledger's account of data/toy.jsonl:" in refused(made(tmp_path, *rows))


def test_a_ledger_of_no_rows_answers_with_noughts(tmp_path: Path) -> None:
    assert told(made(tmp_path)) == "0 read = 0 kept + 0 dropped + 0 quarantined\n\n"
    assert told(tmp_path, "--against", str(tmp_path)) == "every row was decided alike\n"


def test_why_tells_every_decision_by_id_its_beginning_or_place(at: Path) -> None:
    by_place = told(at, "--why", "toy.jsonl:20")
    copy = next(one for one in questions.decisions(questions.read(at)) if one.rule == "exact_duplicate")
    assert f"see {copy.ref} (toy.jsonl:3, kept in " in " ".join(by_place.split())
    assert told(at, "--why", copy.id[:8]) == told(at, "--why", copy.id)
    assert "turn 1; score " in told(at, "--why", "toy.jsonl:23")


def test_why_says_in_order_and_in_words_what_was_done_and_by_which_number(tmp_path: Path) -> None:
    made(tmp_path, note("feed01", "changed", "form", "system_turn_removed", turn=0),
         note("feed01", "dropped", "decontaminate", "contaminated", seq=1, score=0.75, op=">=", limit=0.5,
              ref="suite/7"))
    lines = " ".join(told(tmp_path, "--why", "toy.jsonl:1").split())
    assert lines == (
        "feed01 data/toy.jsonl:1 (toy) 1. changed by form: system_turn_removed; the source's own system prompt was "
        "left out; turn 0 2. dropped by decontaminate: contaminated; it holds this share of an evaluation's text; "
        "score 0.75 >= 0.5; see suite/7")


def test_the_same_line_of_a_longer_name_is_another_place(tmp_path: Path) -> None:
    made(tmp_path, kept("aa", file="x/one.jsonl"), kept("bb", file="x/twone.jsonl"), kept("cc", 11, file="x/one.jsonl"))
    assert [one.id for one in questions.decisions(questions.about(questions.read(tmp_path), "one.jsonl:1"))] == ["aa"]


def test_an_id_that_is_nowhere_and_a_rule_that_decided_nothing_are_told(at: Path) -> None:
    assert "no row has an id" in refused(at, "--why", "zz")
    assert "no row has an id" in refused(at, "--why", "")
    assert "'referal' decided nothing here" in refused(at, "--show", "referal")
    assert "Did you mean 'referral'?" in refused(at, "--show", "referal")
    assert "no row of a source 'tiy' is here; sources: toy. Did you mean" in refused(
        at, "--show", "kept", "--source", "tiy")
    with pytest.raises(DataError, match="is missing"):
        questions.read(at / "nowhere")


def test_two_questions_at_once_and_words_of_nobody_are_refused(at: Path) -> None:
    assert "--why and --show are two questions" in refused(at, "--why", "a", "--show", "kept")
    assert "--words prints the dialogue that --why names" in refused(at, "--words")


def test_a_table_of_another_kind_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    write_parquet(tmp_path / "ledger.parquet", [DialogueScore(id="a", scorer="b", version="c", value=1.0)],
                  score_schema())
    assert "has no column seq, source" in refused(tmp_path)
    (tmp_path / "ledger.parquet").write_text("no table")
    assert "is no Parquet file" in refused(tmp_path)


def test_show_lists_the_rows_of_a_rule_step_action_or_step_and_rule(at: Path) -> None:
    assert "toy.jsonl:21" in told(at, "--show", "crisis_without_safe_referral")
    assert told(at, "--show", "score:linear") == told(at, "--show", "linear")
    assert len(told(at, "--show", "kept").splitlines()) == 11
    assert json.loads(told(at, "--show", "quarantined", "--json"))["line"] == 22
    some = CliRunner().invoke(app, ["ledger", "--at", str(at), "--show", "kept", "--limit", "2"])
    assert len(some.stdout.splitlines()) == 2
    assert "… and 9 more" in some.stderr


def test_another_limit_is_foretold_from_the_scores_that_were_kept(at: Path) -> None:
    scores, table = questions.scores_of(at, "linear"), questions.read(at)
    loose = questions.forecast(table, scores, "linear", 1.1, op=">=")
    assert len(loose.let_on) == 1
    assert not loose.dropped
    strict = questions.forecast(table, scores, "linear", 0.0, op=">=")
    assert len(strict.dropped) == 11
    assert strict.unknown == 3  # the copy, the crisis and the row of wrong roles were never shown to it
    assert "11 kept dialogues would be dropped" in told(at, "--if", "linear=0.0")
    assert "instead of >= 0.8" in told(at, "--if", "linear=0.0")
    assert "no dialogue has a score of 'detoxify'" in refused(at, "--if", "detoxify=0.5")


def test_a_run_with_the_other_limit_decides_as_was_foretold(at: Path, tmp_path: Path) -> None:
    table, scores = questions.read(at), questions.scores_of(at, "linear")
    limit = sorted(scores["value"].to_pylist())[-4]  # of twelve scored
    foretold = questions.forecast(table, scores, "linear", limit, op=">=")
    steps = params(steps=(*[step.model_dump(mode="json") for step in params().steps],
                          SCORED | {"drop_at_least": limit})).steps
    publish(curated(*ROWS, steps=tuple(step.model_dump() for step in steps)),
            params().model_copy(update={"steps": steps}), None, tmp_path / "run")
    found = questions.changes(table, questions.read(tmp_path / "run"))
    assert 0 < len(foretold.dropped) < 11
    assert [one.id for one in foretold.dropped] == [one.id for one in found]
    assert {one.after for one in found} == {"dropped by score: linear"}


def test_a_stricter_limit_never_drops_fewer(tmp_path: Path) -> None:
    scores = {f"{n:02}": n / 20 for n in range(20)}
    rows = [kept(key, n) if value < 0.8 else beyond(key, value, n) for n, (key, value) in enumerate(scores.items())]
    table = questions.read(made(tmp_path, *rows, scores=scores))
    found = [questions.forecast(table, questions.scores_of(tmp_path, "toxic"), "toxic", limit / 10, op=">=")
             for limit in range(11)]
    out = [len(one.dropped) - len(one.let_on) for one in found]
    assert out == sorted(out, reverse=True)
    assert (out[8], out[0], out[10]) == (0, 16, -4)


def test_of_what_was_not_scored_not_shown_or_out_anyhow_only_the_number_is_told(tmp_path: Path) -> None:
    made(tmp_path, kept("aa"), kept("bb", 2), note("cc", "dropped", "score", "toxic", line=3, evidence="unscored"),
         note("dd", "dropped", "tiers", "tier_low", line=4), note("aa", "dropped", "duplicates", "exact_duplicate",
                                                                  line=5, ref="aa"),
         note("ee", "quarantined", "form", "roles", line=6), beyond("ff", 0.9, 7),
         scores={"aa": 0.6, "bb": 0.1, "cc": None, "dd": 0.7, "ff": 0.9})
    found = questions.forecast(questions.read(tmp_path), questions.scores_of(tmp_path, "toxic"), "toxic", 0.5, op=">=")
    assert found.dropped == [questions.Foretold("aa", "data/toy.jsonl:1", 0.6)]
    assert not found.let_on
    assert (found.anyhow, found.unscored, found.unknown) == (1, 1, 2)
    assert "2 cannot be foretold" in told(tmp_path, "--if", "toxic=0.5")


def test_a_limit_is_foretold_for_one_side_and_one_source(tmp_path: Path) -> None:
    made(tmp_path, beyond("aa", 0.9), beyond("bb", 0.1, 2, op="<", limit=0.2), kept("cc", 3), kept("dd", 4, source="x"),
         scores={"aa": 0.9, "bb": 0.1, "cc": 0.5, "dd": 0.5})
    assert "toxic drops on both sides here; say which side is meant: --if 'toxic>=0.4'" in refused(
        tmp_path, "--if", "toxic=0.4")
    (low,) = map(json.loads, told(tmp_path, "--if", "toxic<0.6", "--json").splitlines())
    assert [one["id"] for one in low["dropped"]] == ["cc", "dd"]
    assert low["now"] == {"<": [0.2], ">=": [0.8]}
    (own,) = map(json.loads, told(tmp_path, "--if", "toxic<0.6", "--source", "x", "--json").splitlines())
    assert [one["id"] for one in own["dropped"]] == ["dd"]


def test_the_side_of_a_limit_that_dropped_nothing_is_read_from_the_params(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, kept("aa"), scores={"aa": 0.5})
    monkeypatch.chdir(tmp_path)
    assert "toxic has no limit here; say which side is meant" in refused(tmp_path, "--if", "toxic=0.4")
    assert "instead of no limit" in " ".join(told(tmp_path, "--if", "toxic>=0.4").split())
    monkeypatch.setattr("attunement.cli_data._declared_sides", {"toxic": {"<"}}.__getitem__)
    assert "dropping at < 0.4" in told(tmp_path, "--if", "toxic=0.4")


@pytest.mark.parametrize("told_limit", ["crisis>=0.9", "crisis=0.9", "crisis<0.2"])
def test_what_is_heard_drops_nothing_and_so_its_limit_cannot_be_foretold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told_limit: str
) -> None:
    made(tmp_path, note("aa", "changed", "hear", "risk", score=0.95, op=">=", limit=0.7), kept("aa", seq=1),
         scores={"aa": 0.95}, scorer="crisis")
    monkeypatch.chdir(tmp_path)
    assert "cannot be foretold without a run: step hear drops nothing by it" in refused(tmp_path, "--if", told_limit)
    monkeypatch.setattr("attunement.cli_data._declared_sides", {"crisis": {">="}}.__getitem__)
    assert "1 kept dialogues would be dropped" in told(tmp_path, "--if", "crisis>=0.9")


@pytest.mark.parametrize("told_limit", ["toxic", "=1", "toxic=", "toxic=high", "toxic=nan", "toxic==1", "toxic>1"])
def test_a_limit_that_is_none_is_refused_with_the_form_expected(told_limit: str) -> None:
    with pytest.raises(DataError, match="--if takes SCORER=LIMIT"):
        questions.limit_of(told_limit)


def test_names_with_colons_and_limits_below_nought_are_limits() -> None:
    assert questions.limit_of("rubric:support<-1e-1") == ("rubric:support", "<", -0.1)


def test_every_question_can_be_asked_of_one_source(tmp_path: Path) -> None:
    before = made(tmp_path / "a", kept("aa"), kept("ab", 2, source="x"), kept("ac", 3, source="gone"))
    after = made(tmp_path / "b", kept("aa", evidence="val"),
                 note("ab", "changed", "repair", "text", line=2, source="x"), beyond("ab", 0.9, 2, seq=1, source="x"))
    assert told(after, "--source", "x").startswith("1 read = 0 kept + 1 dropped + 0 quarantined\n")
    assert "toy" not in told(after, "--source", "x").split()
    assert [json.loads(line)["id"] for line in told(after, "--why", "a", "--source", "toy", "--json").splitlines()] == [
        "aa"]
    told_of = told(after, "--against", str(before), "--source", "x")
    assert told_of.startswith("1 rows decided otherwise, 0 new, 0 gone")
    assert "kept in val" not in told_of
    gone = told(after, "--against", str(before), "--source", "gone")
    assert gone.startswith("0 rows decided otherwise, 0 new, 1 gone")
    for arguments in ([], ["--why", "aa"], ["--show", "kept"], ["--against", str(before)]):
        assert "no row of a source 'y' is here" in refused(after, *arguments, "--source", "y")


def test_what_changed_is_told_by_fate(at: Path, tmp_path: Path) -> None:
    other = published(tmp_path / "two", *ROWS[:-1], harmless(77))
    text = told(at, "--against", str(other))
    assert text.startswith("0 rows decided otherwise, 1 new, 1 gone")
    assert "not read  ->  dropped by score: linear" in text
    assert told(at, "--against", str(at)) == "every row was decided alike\n"


def test_a_row_that_stands_elsewhere_is_the_same_row_and_copies_are_told_apart_by_number(tmp_path: Path) -> None:
    again = note("aa", "dropped", "duplicates", "exact_duplicate", line=2, ref="aa")
    before = questions.read(made(tmp_path / "a", kept("aa"), again, kept("bb", 3), kept("cc", 4)))
    after = questions.read(made(tmp_path / "b", kept("aa", 8), kept("bb", 9, evidence="val"), beyond("cc", 0.9, 10)))
    assert questions.changes(before, after) == [
        questions.Change("aa", "data/toy.jsonl:8", "dropped by duplicates: exact_duplicate", None),
        questions.Change("bb", "data/toy.jsonl:9", "kept in train", "kept in val"),
        questions.Change("cc", "data/toy.jsonl:10", "kept in train", "dropped by score: toxic"),
    ]


def test_a_rule_that_masks_more_is_told_although_every_row_is_kept(tmp_path: Path) -> None:
    before = made(tmp_path / "a", kept("aa"))
    after = made(tmp_path / "b", note("aa", "changed", "pii", "email"), kept("aa", seq=1))
    assert told(after, "--against", str(before)).splitlines()[-1].split() == ["changed", "pii", "email", "0", "1", "+1"]


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # DVC 3.67 asks pygtrie by the old name
def test_a_revision_is_had_from_dvcs_cache_and_without_it_told_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.repo import Repo

    monkeypatch.setattr(logging.getLogger("dvc"), "handlers", [])  # they write to the streams of tests that are over
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    made(Path("out/curate"), kept("aa"))
    git = ["git", "-c", "user.name=toy", "-c", "user.email=toy@example.org"]
    subprocess.run(["git", "init", "-q"], check=True)
    with Repo.init() as repo:
        repo.add("out/curate")
    for arguments in (["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *arguments], check=True)
    made(Path("out/curate"), beyond("aa", 0.9), kept("bb", 2))
    text = told(Path("out/curate"), "--against", "HEAD")
    assert text.startswith("1 rows decided otherwise, 1 new, 0 gone")
    assert "kept in train  ->  dropped by score: toxic" in text
    for path in Path(".dvc/cache").rglob("*"):
        if path.is_file():
            path.unlink()
    for named in ("HEAD", "no-such-revision"):
        with pytest.raises(DataError, match=f"'{named}' is no folder, and out/curate cannot be had"):
            version(named, tmp_path / "into", ("ledger.parquet",))


def test_words_are_read_from_the_file_again_and_only_where_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = row("The kettle\x1b[2J sings.", "It does.\nIndeed.")
    path = write(tmp_path / "toy.jsonl", given)
    declared = params(sources=({"kind": "messages", "name": "toy", "files": path.as_posix(), "licence": "CC0-1.0",
                                "consent": "made up"},))
    (read,) = declared.sources[0].read()
    monkeypatch.setattr("attunement.cli_data.load", lambda: type("P", (), {"curate": declared}))
    done = curated(read, given=declared.sources[0])
    write_parquet(tmp_path / "ledger.parquet", done.ledger, ledger_schema())
    assert "kettle" not in told(tmp_path, "--why", "toy.jsonl:1")
    assert "    user: The kettle\ufffd[2J sings.\n    assistant: It does.\n      Indeed." in told(
        tmp_path, "--why", "toy.jsonl:1", "--words")
    write(path, row("Another kettle.", "So it is."))
    answer = refused(tmp_path, "--why", "toy.jsonl:1", "--words")
    assert "holds another dialogue now" in answer
    assert "kettle" not in answer


def test_no_answer_holds_a_word_of_a_dialogue(at: Path) -> None:
    every = told(at) + told(at, "--show", "dropped") + told(at, "--why", "toy.jsonl:21") + told(at, "--if", "linear=0")
    assert "Peppermint" not in every
    assert "sings" not in every


def test_every_line_fits_a_terminal_and_no_id_or_path_is_broken(tmp_path: Path) -> None:
    file = f"data/sources/{'a_long_folder/' * 5}toy.jsonl"
    long = note("0123456789abcdef", "dropped", "referral", "crisis_without_safe_referral", file=file, score=0.3, op="<",
                limit=1.0, evidence="active risk (suicide); " + "no contact is named; " * 6, source="corpus" * 9)
    made(tmp_path, long, kept("fedcba9876543210", 2, file=file, source="corpus" * 9),
         scores={"0123456789abcdef": 0.2})
    for arguments in ([], ["--show", "dropped"], ["--why", "0123"], ["--if", "toxic>=0.1"]):
        lines = told(tmp_path, *arguments).splitlines()
        assert max(map(len, lines)) <= COLUMNS, arguments
    assert f"{file}:1" in told(tmp_path, "--show", "dropped")


def test_a_table_cuts_words_and_never_numbers() -> None:
    head, line = aligned(("word", "other", "n"), [("w" * 200, "short", 1234567)])
    assert len(line) == COLUMNS
    assert line.endswith("…  short  1234567")
    assert head.startswith("word ")
