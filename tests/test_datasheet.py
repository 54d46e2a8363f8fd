"""The datasheet: its numbers are those of the ledger, and nothing in a corpus can break its tables."""

from collections import Counter

from attunement import datasheet
from attunement.flaws import Measured
from attunement.records import LedgerRow
from attunement.sources.base import Row
from attunement.sources.messages import Messages
from curation import curated, harmless, row, source


def sheet(*rows: Row, given: Messages | None = None, measured: dict[str, Measured] | None = None) -> str:
    declared = given or source()
    done = curated(*rows, given=declared)
    return datasheet.render(done.counts(), done.ledger, done.splits, [declared], measured, {})


def test_every_row_is_accounted_for_by_rule() -> None:
    told = sheet(*map(harmless, range(8)), harmless(3), row("a", "b", "c", line=10))
    assert "10 read = 8 kept + 1 dropped + 1 quarantined." in told
    assert "| dropped | duplicates | exact_duplicate | 1 | 1 |" in told
    assert "| quarantined | form | roles | 1 | 1 |" in told
    assert "| toy | CC0-1.0 | made up | 10 | 8 | 1 | 1 |" in told


def test_a_corpus_without_a_fault_says_so() -> None:
    assert "No row was changed, dropped or quarantined." in sheet(harmless(1))


def test_nothing_at_all_is_still_a_datasheet() -> None:
    told = sheet()
    assert "0 read = 0 kept + 0 dropped + 0 quarantined." in told
    assert "longest 0 (n = 0)" in told


def test_a_pipe_or_a_line_end_in_a_licence_or_a_tag_breaks_no_table() -> None:
    given = source().model_copy(update={"licence": "CC0 | or\nMIT"})
    told = sheet(row("a", "b", topic="tea|time"), given=given)
    assert "| toy | CC0 \\| or MIT | made up | 1 | 1 | 0 | 0 |" in told
    assert "| tea\\|time | 1 |" in told


def test_what_carries_no_tag_is_counted_as_such() -> None:
    told = sheet(row("a", "b", topic="tea"), row("c", "d", line=2), row("e", "f", line=3))
    assert "| not tagged | 2 |" in told
    assert "| tea | 1 |" in told


def test_a_kind_that_was_heard_beside_the_tagged_one_is_counted_and_explained() -> None:
    told = sheet(row("a", "b", risk_kind="abuse", heard_kind="suicide"))
    assert "| heard_kind | dialogues | train | val | test |" in told
    assert "| suicide | 1 |" in told
    assert "`heard_kind` is the kind it hears beside another" in told


def test_the_summary_adds_up() -> None:
    done = curated(*map(harmless, range(8)), harmless(3))
    summary = datasheet.summary(done.counts(), done.ledger, done.splits, {})
    assert summary["rows"] == {"read": 9, "kept": 8, "dropped": 1, "quarantined": 0}
    assert summary["rules"] == {"dropped:duplicates:exact_duplicate": 1}
    assert sum(summary["dialogues"].values()) * 2 == sum(summary["turns"].values()) == 16


def test_what_the_rules_find_is_told_with_intervals_and_otherwise_that_it_was_not_measured() -> None:
    assert "Not measured in this run." in sheet(harmless(1))
    counts = {"romance": Measured(8, 10, 0, 0), "none": Measured(19, 20, 0, 0), "step form": Measured(0, 0, 3, 4)}
    told = sheet(harmless(1), measured=counts)
    assert "| romance | 8 of 10 | 0.80 (0.44 to 0.97) |" in told
    assert "Without a flaw and untouched: 19 of 20, 0.95 (0.75 to 1.00)." in told
    assert "| form | 3 of 4 | 0.75 (0.19 to 0.99) |" in told


HEADINGS = ("Motivation", "Composition", "Collection process", "Preprocessing, cleaning and labelling", "Uses",
            "Distribution", "Maintenance")


def test_the_headings_are_those_of_gebru_and_others_in_their_order() -> None:
    told = sheet(harmless(1))
    assert tuple(line.removeprefix("## ") for line in told.splitlines() if line.startswith("## ")) == HEADINGS


def written(*rows: tuple[int, str, str, str, float | None, str | None]) -> str:
    """The datasheet of a ledger made by hand: line, action, step, rule, score, ref."""
    ledger, seen = [], Counter[int]()
    for line, action, step, rule, score, ref in rows:
        ledger.append(LedgerRow(id=f"{line:016}", seq=seen[line], source="toy", file="toy.jsonl", line=line,
                                action=action, step=step, rule=rule, evidence="", turn=None,  # type: ignore[arg-type]
                                score=score, op="", limit=None, ref=ref))
        seen[line] += 1
    ends = Counter(row.action for row in ledger)
    counts = {"read": len(seen), **{name: ends[name] for name in ("kept", "dropped", "quarantined")}}
    return datasheet.render(counts, ledger, {"train": [], "val": [], "test": []}, [source()], None, {})


def test_what_was_masked_is_counted_by_type_and_apart_for_what_is_kept() -> None:
    told = written((1, "changed", "pii", "email", None, None), (1, "changed", "pii", "email", None, None),
                   (1, "kept", "split", "split", None, None), (2, "changed", "pii", "phone", None, None),
                   (2, "dropped", "score", "toxic", 0.9, None))
    assert "| email | 2 | 2 |" in told
    assert "| phone | 1 | 0 |" in told
    assert "| changed | pii | email | 2 | 1 |" in told
    assert "Nothing was masked" in written((1, "kept", "split", "split", None, None))


def test_copies_are_told_with_how_near_they_were_and_how_many_of_one() -> None:
    told = written((1, "dropped", "duplicates", "near_duplicate", 0.81, "a"),
                   (2, "dropped", "duplicates", "near_duplicate", 0.95, "a"),
                   (3, "dropped", "duplicates", "exact_duplicate", None, "b"),
                   (4, "flagged", "duplicates", "template", None, None), (4, "kept", "split", "split", None, None))
    assert "| near_duplicate | 2 | 0.81 to 0.95 |" in told
    assert "| exact_duplicate | 1 | - |" in told
    assert "At most 2 copies were left out for one dialogue. Written on a template, and flagged: 1." in told


def test_scores_have_their_number_their_quantiles_and_what_could_not_be_scored() -> None:
    done = curated(*map(harmless, range(4)))
    values = iter([0.0, 1.0, None, 0.5])
    splits = {name: [one.model_copy(update={"scores": {"listening": next(values), "mute": None}}) for one in dialogues]
              for name, dialogues in done.splits.items()}
    told = datasheet.render(done.counts(), done.ledger, splits, [source()], None, {})
    assert "| scorer | n | unscored | mean | 5% | 25% | 50% | 75% | 95% |" in told
    assert "| listening | 3 | 1 | 0.500 | 0.050 | 0.250 | 0.500 | 0.750 | 0.950 |" in told
    assert "| mute | 0 | 4 | - | - | - | - | - | - |" in told


def test_the_composition_is_told_by_split_and_licences_are_counted() -> None:
    told = sheet(*map(harmless, range(40)), row("a", "b", line=60, locale="en-GB"))
    heads = next(line for line in told.splitlines() if line.startswith("| locale"))
    assert heads == "| locale | dialogues | train | val | test |"
    cells = next(line for line in told.splitlines() if line.startswith("| en-US")).strip("| ").split(" | ")
    assert cells[1] == "40"
    assert sum(map(int, cells[2:])) == 40
    assert "Dialogues by licence: CC0-1.0 (41); each row names its own." in told
