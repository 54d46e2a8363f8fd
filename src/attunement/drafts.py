"""A dialogue on its way through curation, and what the steps write down about it.

In: a row of a source. A step looks at drafts and changes turns, adds tags and scores, flags, or takes a draft out, each
with a note. Out: dialogues, and ledger rows: the notes of all drafts account for every row read.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from attunement.records import Action, LedgerRow, Turn, turns_id
from attunement.sources.base import Row

DECISIVE: tuple[Action, ...] = ("kept", "dropped", "quarantined")  # exactly one of these ends a row's account


@dataclass(frozen=True, slots=True)
class Note:
    """One decision, or one change. ``evidence`` holds rule entries, types and offsets, never words."""

    action: Action
    step: str
    rule: str
    evidence: str = ""
    turn: int | None = None
    score: float | None = None
    op: Literal["", "<", "<=", ">", ">="] = ""
    limit: float | None = None
    ref: str | None = None


class Fingerprint(NamedTuple):
    """What near-copies are found by, of these very ``turns``; see `attunement.steps.fingerprints`."""

    turns: tuple[Turn, ...]
    letters: bytes
    sketch: bytes


@dataclass(slots=True)
class Draft:
    """A row as the steps have left it. ``id`` is the hash of what was read, before any step changed it."""

    id: str
    source: str
    licence: str
    file: str
    line: int
    locale: str
    group: str
    turns: tuple[Turn, ...]
    tags: dict[str, str]
    unanswered: tuple[Turn, ...] = ()  # the user's last words, left off: what danger they tell of still counts
    scores: dict[str, float | None] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    split: str = ""
    together: str = ""  # what lies in one split has one key; set with the split
    fingerprint: Fingerprint | None = None

    @property
    def told(self) -> tuple[Turn, ...]:
        """All that was said, also what was left off since nobody answered it."""
        return self.turns + self.unanswered

    @property
    def out(self) -> bool:
        """Whether a step has taken it out: later steps leave it alone."""
        return bool(self.notes) and self.notes[-1].action in ("dropped", "quarantined")

    def note(self, note: Note) -> None:
        """Write down a change or a decision; after the decisive one there is nothing to add."""
        if self.out:
            raise AssertionError(f"{self.id} is out already")
        self.notes.append(note)

    def said(self, role: Literal["user", "assistant"]) -> list[tuple[int, str]]:
        """(number of the turn, its text) of every turn of a role."""
        return [(number, turn.text) for number, turn in enumerate(self.turns) if turn.role == role]


def draft_of(row: Row, *, source: str, licence: str, step: str = "read") -> Draft:
    """The draft of a row; of one that could not be read, quarantined with its fault.

    The source's own system prompt is replaced by ours when a model is trained, so it is left out and told.
    """
    spoken = tuple(turn for turn in row.turns if turn.role != "system")
    made = Draft(id=turns_id(spoken) if spoken else f"{row.file}:{row.line}", source=source, licence=licence,
                 file=row.file, line=row.line, locale=row.locale, group=row.group, turns=row.turns, tags=dict(row.tags),
                 unanswered=row.unanswered)
    for fault in row.repairs:
        made.note(Note("changed", step, "reader", fault))
    if row.fault is not None:
        made.note(Note("quarantined", step, "unreadable", f"{row.fault_at}: {row.fault}"))
    return made


def ledger_rows(draft: Draft) -> list[LedgerRow]:
    """A draft's notes as records, numbered in the order in which they were made."""
    return [
        LedgerRow(id=draft.id, seq=seq, source=draft.source, file=draft.file, line=draft.line, action=note.action,
                  step=note.step, rule=note.rule, evidence=note.evidence, turn=note.turn, score=note.score, op=note.op,
                  limit=note.limit, ref=note.ref)
        for seq, note in enumerate(draft.notes)
    ]
