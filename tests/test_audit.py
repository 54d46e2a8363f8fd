"""The audit sample: some of every decision, the same at every run."""

import json
from pathlib import Path

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


def test_of_fewer_decisions_all_are_drawn() -> None:
    assert len(audit.drawn(curated(harmless(1)).drafts, 5)) == 1
