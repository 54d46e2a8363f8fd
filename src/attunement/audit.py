"""A small fixed sample of decisions for people to review: some of what was kept, and of what each rule took out.

In: drafts with their notes. Out: ``audit.jsonl``, a line a dialogue with its words, what was decided and why, and an
empty ``reviewer_agrees`` for a person to fill in. Which ones is decided by a hash, so that a sample can be compared
with the next. It holds people's words, and stays where the data stays. What tells a person apart is masked by its type
in every row, also of one that went out before step `pii` or where that step is not declared.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from attunement.artefacts import write_jsonl
from attunement.drafts import Draft
from attunement.helplines import known_helplines
from attunement.pii import find_pii_many
from attunement.records import AuditRow, Turn
from attunement.steps.pii import HELPLINES, masked


def write(path: Path, drafts: Sequence[Draft], amount: int) -> None:
    """Write the sample, in the order of ids."""
    chosen = sorted(drawn(drafts, amount), key=lambda draft: draft.id)
    write_jsonl(path, [_row(draft, turns) for draft, turns in zip(chosen, _masked(chosen), strict=True)])


def drawn(drafts: Sequence[Draft], amount: int) -> list[Draft]:
    """``amount`` drafts, in turn from each decision: of a rule that decided once a person sees that one."""
    by_decision: dict[tuple[str, str], list[Draft]] = {}
    for draft in drafts:
        if draft.turns:
            last = draft.notes[-1]
            by_decision.setdefault((last.action, "" if last.action == "kept" else last.rule), []).append(draft)
    waiting = [sorted(members, key=_lot, reverse=True) for _, members in sorted(by_decision.items())]
    chosen: list[Draft] = []
    while len(chosen) < amount and any(waiting):
        for members in waiting:
            if members and len(chosen) < amount:
                chosen.append(members.pop())
    return chosen


def _lot(draft: Draft) -> tuple[str, str, int]:
    return hashlib.sha256(f"audit:{draft.id}".encode()).hexdigest(), draft.file, draft.line


def _masked(drafts: Sequence[Draft]) -> list[tuple[Turn, ...]]:
    """The turns of each draft, every finding replaced by its type."""
    texts = [turn.text for draft in drafts for turn in draft.turns]
    locales = [draft.locale for draft in drafts for _ in draft.turns]
    found = iter(find_pii_many(texts, locales=locales, helplines=known_helplines(HELPLINES)))
    return [tuple(Turn(role=turn.role, text=masked(turn.text, next(found))) for turn in draft.turns)
            for draft in drafts]


def _row(draft: Draft, turns: tuple[Turn, ...]) -> AuditRow:
    last = draft.notes[-1]
    return AuditRow(id=draft.id, file=draft.file, line=draft.line, action=last.action, step=last.step, rule=last.rule,
                    because=last.evidence, turn=last.turn, turns=turns, reviewer_agrees=None, reviewer_note="")
