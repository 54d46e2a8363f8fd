"""The audit sample: some of every decision, the same at every run."""

import json
from pathlib import Path

import pytest

from attunement import audit
from curation import curated, harmless, row


def test_every_rule_is_in_the_sample_and_the_rest_is_filled_up(tmp_path: Path) -> None:
    rows = [*map(harmless, range(30)), row("I want to kill myself.", "Oh.", line=40), row("a", "b", "c", line=41)]
    drafts = curated(*rows).drafts
    audit.write(tmp_path / "a.jsonl", drafts, 6)
    found = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(found) == 6
    assert {one["rule"] for one in found} == {"split", "crisis_without_safe_referral", "roles"}
    assert all(one["reviewer_agrees"] is None and one["turns"] for one in found)
    audit.write(tmp_path / "b.jsonl", drafts[::-1], 6)
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


@pytest.mark.parametrize("roles", ["ua", "uua"])
def test_what_tells_a_person_apart_is_masked_also_in_a_row_that_went_out_before_it_was(
    tmp_path: Path, roles: str
) -> None:
    said = ("I'm at ines.k@example.org.", "Or 07700 900123?", "Call 988 instead.")
    done = curated(row(*said[:len(roles)], roles=roles))
    audit.write(tmp_path / "a.jsonl", done.drafts, 5)
    (found,) = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert found["action"] == ("kept" if roles == "ua" else "quarantined")
    masked = ["I'm at [email].", "Or [phone]?", "Call 988 instead."]
    assert [turn["text"] for turn in found["turns"]] == masked[:len(roles)]
    assert [turn.text for turn in done.drafts[0].turns] == list(said[:len(roles)])


def test_of_fewer_decisions_all_are_drawn() -> None:
    assert len(audit.drawn(curated(harmless(1)).drafts, 5)) == 1
