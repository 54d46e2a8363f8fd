"""The datasheet: its numbers are those of the ledger, and nothing in a corpus can break its tables."""

from attunement import datasheet
from attunement.flaws import Measured
from attunement.sources.base import Row
from attunement.sources.messages import Messages
from curation import curated, harmless, row, source


def sheet(*rows: Row, given: Messages | None = None, measured: dict[str, Measured] | None = None) -> str:
    declared = given or source()
    done = curated(*rows, given=declared)
    return datasheet.render(done.counts(), done.ledger, done.splits, [declared], measured)


def test_every_row_is_accounted_for_by_rule() -> None:
    told = sheet(*map(harmless, range(8)), harmless(3), row("a", "b", "c", line=10))
    assert "10 read = 8 kept + 1 dropped + 1 quarantined." in told
    assert "| dropped | duplicates | exact_duplicate | 1 |" in told
    assert "| quarantined | form | roles | 1 |" in told
    assert "| toy | CC0-1.0 | made up | 10 | 8 |" in told


def test_a_corpus_without_a_fault_says_so() -> None:
    assert "No row was changed, dropped or quarantined." in sheet(harmless(1))


def test_nothing_at_all_is_still_a_datasheet() -> None:
    told = sheet()
    assert "0 read = 0 kept + 0 dropped + 0 quarantined." in told
    assert "longest 0 (n = 0)" in told


def test_a_pipe_or_a_line_end_in_a_licence_or_a_tag_breaks_no_table() -> None:
    given = source().model_copy(update={"licence": "CC0 | or\nMIT"})
    told = sheet(row("a", "b", topic="tea|time"), given=given)
    assert "| toy | CC0 \\| or MIT | made up | 1 | 1 |" in told
    assert "| tea\\|time | 1 |" in told


def test_what_carries_no_tag_is_counted_as_such() -> None:
    told = sheet(row("a", "b", topic="tea"), row("c", "d", line=2), row("e", "f", line=3))
    assert "| not tagged | 2 |" in told
    assert "| tea | 1 |" in told


def test_the_summary_adds_up() -> None:
    done = curated(*map(harmless, range(8)), harmless(3))
    summary = datasheet.summary(done.counts(), done.ledger, done.splits)
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
